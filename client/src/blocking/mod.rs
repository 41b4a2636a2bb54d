//! The blocking flavour: the async one, driven by a thread of its own.
//!
//! Each connection has one background thread that reads and writes; calls wait for it where they have to. Must not be
//! used inside an async runtime: waiting there panics. Use the async flavour instead.
//!
//! ```no_run
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = laneway_client::blocking::connect("tcp://127.0.0.1:5263")?;
//! client.publish("sensors/imu/x", "21.5")?;
//! client.close()?;
//! # Ok(()) }
//! ```

mod client;
mod driver;
mod events;
mod receipt;
mod subscription;

pub use client::{Client, connect};
pub use events::Events;
pub use receipt::Receipt;
pub use subscription::{Items, Subscription};
