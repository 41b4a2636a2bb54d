//! The async flavour, on tokio.
//!
//! ```text
//! publish ─► [send queue] ─► writer task ─► socket ─► reader task ─► [queue per subscription] ─► recv
//! ```
//! Publishing encodes into one shared, bounded buffer and wakes the writer if it sleeps. While the writer is busy,
//! messages gather, and consecutive ones of a topic share a frame. The reader hands each subscription everything that
//! one read brought, in one step. Both tasks belong to a link; a third one, the connection's own, waits for their end and
//! finds the next link. Queues, subscriptions and numbers outlive links.

#[cfg(target_os = "linux")]
mod broadcasts;
mod client;
mod clock;
mod datagrams;
mod dial;
mod events;
mod publisher;
mod queue;
mod receipt;
mod receiving;
mod sending;
mod shared;
mod subscription;
mod supervisor;
mod tasks;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use client::Client;
pub use dial::connect;
pub use events::{EVENTS_MAX, Events};
pub use publisher::Publisher;
pub use receipt::Receipt;
pub use receiving::PINGS_MAX;
pub use subscription::{Items, Subscription};

/// Nothing under these locks panics halfway through a change, so a poisoned one is as good as new.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
