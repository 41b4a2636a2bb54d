//! What happens to a connection, for whoever wants to know.

use std::fmt;
use std::time::Duration;

use super::breaker::BreakerState;
use crate::error::Lost;

/// Something that happened to a connection; from [`Client::events`](crate::Client::events).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// The broker is being dialled.
    Connecting {
        /// 1 for the first attempt since the link broke.
        attempt: u32,
    },
    /// The broker agreed. The session goes on, or all subscriptions have been asked for again.
    Up {
        /// The session's number.
        session: u32,
        /// Whether the session goes on with nothing lost in either direction.
        resumed: bool,
        /// Whether the broker is another process than the one before.
        restarted: bool,
    },
    /// The link is up, but in doubt.
    Degraded {
        /// Why.
        reason: Degraded,
    },
    /// The doubt is over.
    Recovered,
    /// There is no link. What the broker has for subscriptions meanwhile waits there, and is lost to them if the session does
    /// not go on.
    Down {
        /// Why.
        reason: Lost,
        /// When the next attempt comes; `None`: never, the connection is over.
        will_retry_in: Option<Duration>,
    },
    /// The link broke before the broker confirmed this many messages; each of them may or may not have been taken. The
    /// next [`flush`](crate::Client::flush) of each handle says so, too.
    MaybeDelivered {
        /// How many.
        messages: u64,
    },
}

/// Why a link is in doubt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Degraded {
    /// Nothing was heard for this long, though the broker was asked.
    Silent(Duration),
    /// Several round trips in a row took longer than they may; holds the last one.
    Slow(Duration),
}

impl fmt::Display for Degraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(silence) => write!(f, "the broker has been silent for {:.1} s", silence.as_secs_f64()),
            Self::Slow(trip) => write!(f, "a round trip takes {:.0} ms", trip.as_secs_f64() * 1_000.0),
        }
    }
}

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Phase {
    /// Messages flow.
    #[default]
    Up,
    /// There is a link, but the broker does not answer.
    Degraded,
    /// The link broke; the next attempt is due later.
    Waiting,
    /// The broker is being dialled.
    Connecting,
    /// It is over.
    Closed,
}

/// A look at a connection; from [`Client::state`](crate::Client::state).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ConnectionState {
    /// Where it stands.
    pub phase: Phase,
    /// Attempts since the link broke; 0 while it is up.
    pub attempts: u32,
    /// Where the circuit breaker stands.
    pub breaker: BreakerState,
    /// Links that broke so far.
    pub links_lost: u64,
    /// Messages so far of which nobody knows whether the broker took them.
    pub maybe_delivered: u64,
}
