//! Laneway measured against the floor.
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`case`] | what can be measured: `floor`, `throughput`, `latency`, `ping`, `slow-consumer`, `conflate`, `lane-isolation`, `kill` |
//! | [`compare`] | the same beside other brokers, whose wire formats the load speaks |
//! | [`count`] | instructions of the hot paths over a committed baseline |
//! | [`rounds`] | interleaved runs; what counts and what is repeated |
//! | [`contest`] | who is measured on what: the broker and the relays, cells of payload and fan-out |
//! | [`load`] | the load generator: saturating, paced, one at a time; a crowd, many values, two lanes, messages that are confirmed |
//! | [`wire`] | what it sends and how it checks what arrives |
//! | [`relay`] | the baseline relays |
//! | [`child`], [`sched`], [`reaper`] | processes under test: their core, their processor time, their end |
//! | [`report`], [`gate`], [`stats`] | rows, bars, medians |
//!
//! Why a number can be trusted: broker and relays get the same payloads in the same writes, every delivered message is
//! checked for length, order and last byte, contestants are interleaved round by round, and a run in which load or
//! target had to wait for a processor is repeated.
#![forbid(unsafe_code)]

pub mod air;
pub mod args;
pub mod case;
pub mod child;
pub mod compare;
pub mod contest;
pub mod count;
pub mod error;
pub mod gate;
pub mod load;
pub mod netns;
pub mod reaper;
pub mod relay;
pub mod report;
pub mod rounds;
pub mod sched;
pub mod stats;
pub mod wire;
