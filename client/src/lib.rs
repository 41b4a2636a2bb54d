//! Client library of the Laneway broker.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = laneway_client::connect("tcp://127.0.0.1:5263").await?;
//! let mut readings = client.subscribe("sensors/#").await?;
//! client.publish("sensors/imu/x", "21.5").await?;
//! println!("{:?}", readings.recv().await?);
//! # Ok(()) }
//! ```
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `tokio` (default) | the async flavour: [`connect`], [`Client`], [`Publisher`], [`Subscription`] |
//! | `blocking` | the same for code without a runtime, in [`mod@blocking`] |
//! | `cli` | what the binary `laneway` needs; nothing for library users |
//!
//! Without features there are [`mod@core`], the session without socket and clock, and [`mod@link`], which decides when
//! to dial again.
//!
//! What is promised: order per publisher and lane; a message is published whole or not at all; queues are bounded and a
//! full one makes its producer wait; a broken link is made again (see [`mod@link`]), and what the broker had not
//! confirmed is reported; what the broker drops for a subscriber is reported to it among its messages (see [`Item`]); a
//! lost connection fails every operation with the same [`Lost`] reason.
#![forbid(unsafe_code)]

pub mod core;
pub mod link;

#[cfg(feature = "blocking")]
pub mod blocking;
#[cfg(feature = "tokio")]
pub mod tokio;

mod backoff;
mod endpoint;
mod error;
#[cfg(all(feature = "tokio", target_os = "linux"))]
mod group;
mod item;
mod lane;
mod level;
mod message;
#[cfg(feature = "tokio")]
mod options;
mod payload;
#[cfg(feature = "tokio")]
mod peer;
mod publish_options;
#[cfg(feature = "tokio")]
mod random;
mod span;
mod stat;
mod subscribe_options;
#[cfg(all(feature = "tokio", target_os = "linux"))]
mod tap;

pub use backoff::Retry;
pub use endpoint::{Endpoint, TCP_PORT_DEFAULT, UrlError};
pub use error::{
    Class, CloseError, ConfirmError, ConnectError, Doubt, FlushError, Lost, OptionsError, PublishError, Reason,
    RequestError, SubscribeError, TryPublishError,
};
pub use item::{Item, LossReport};
pub use lane::{Lane, UnknownLane};
pub use laneway_proto::frame::lost::LossReason;
pub use laneway_proto::lane::policy::{Policy, UnknownPolicy};
pub use level::{CONFIRM_TIMEOUT_DEFAULT, ConfirmOptions, Confirmed, Level};
pub use link::{BreakerState, ConnectionEvent, ConnectionState, Degraded, Phase, ReconnectOptions};
pub use message::Message;
#[cfg(feature = "tokio")]
pub use options::{ConnectOptions, RECEIVE_BYTES_MAX_DEFAULT, RECEIVE_MESSAGES_MAX_DEFAULT};
pub use payload::Payload;
#[cfg(feature = "tokio")]
pub use peer::{Peer, Transport};
pub use publish_options::PublishOptions;
pub use stat::{Stat, StatValue};
pub use subscribe_options::SubscribeOptions;
#[cfg(all(feature = "tokio", target_os = "linux"))]
pub use tap::Tap;

#[cfg(feature = "tokio")]
pub use crate::tokio::{Client, Events, Publisher, Receipt, Subscription, connect};

/// The examples of the README, compiled with the documentation.
#[cfg(all(doctest, feature = "tokio", feature = "blocking"))]
#[doc = include_str!("../../README.md")]
pub struct Readme;
