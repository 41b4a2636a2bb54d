#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

mod cobs;
mod config;
mod control;
mod crc;
mod device;
mod event;
mod lane;
mod limits;
mod link;
mod memory;
mod node;
mod receive;
#[cfg(test)]
mod tests;
mod topics;
mod transmit;

pub use config::{Config, Kind, Lane, LaneSetup, STANDARD_LANES, Subscription};
pub use device::Device;
pub use event::{Code, Counters, Event, Message, Refused, Topic};
pub use limits::{LANES_MAX, LINK_BYTES_MAX, MTU_MAX, MTU_MIN, NAME_BYTES_MAX, WINDOW_MAX};
pub use memory::{Memory, SizedMemory};
pub use node::Node;
