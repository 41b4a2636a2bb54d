//! Why the broker's word that it has everything did not come.

use std::fmt;
use std::time::Duration;

use super::{Class, Lost};

/// Why `flush` or `ping` got no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FlushError {
    /// Too many flushes and pings are waiting on this connection already.
    TooManyPending {
        /// The number allowed.
        pending_max: usize,
    },
    /// A link broke in between, and the broker had not confirmed everything. All else is accepted by now, or waits for
    /// the next link. Publishing those messages again may make some of them arrive twice.
    MaybeDelivered {
        /// Messages of this connection, since the last `flush` of this handle, that the broker may or may not have
        /// taken.
        messages: u64,
    },
    /// The connection is gone. What was published since the last flush may or may not have reached the broker.
    Lost(Lost),
}

impl FlushError {
    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            Self::TooManyPending { .. } => Class::Limit,
            Self::MaybeDelivered { .. } => Class::Transient,
            Self::Lost(lost) => lost.class(),
        }
    }

    /// Whether the same call can succeed later, on a new connection if this one is lost. It never settles what became
    /// of messages in doubt.
    pub fn retryable(&self) -> bool {
        match self {
            Self::TooManyPending { .. } => true,
            Self::MaybeDelivered { .. } => false,
            Self::Lost(lost) => lost.retryable(),
        }
    }
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyPending { pending_max } => {
                write!(f, "{pending_max} flushes and pings are waiting already; await them first")
            }
            Self::MaybeDelivered { messages } => maybe_delivered(f, *messages),
            Self::Lost(lost) => lost.fmt(f),
        }
    }
}

fn maybe_delivered(f: &mut fmt::Formatter<'_>, messages: u64) -> fmt::Result {
    write!(f, "a link broke before the broker confirmed {messages} messages; publish them again if twice is no harm")
}

impl std::error::Error for FlushError {}

impl From<Lost> for FlushError {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

/// Why a connection did not end as asked.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CloseError {
    /// The broker did not take what was queued in the time allowed; holds the time.
    Timeout(Duration),
    /// Everything was written, but a link broke before, and the broker had not confirmed this many messages that this
    /// handle was not told about.
    MaybeDelivered {
        /// How many.
        messages: u64,
    },
    /// The connection was gone before everything queued was written.
    Lost(Lost),
}

impl CloseError {
    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Timeout(_) | Self::MaybeDelivered { .. } => Class::Transient,
            Self::Lost(lost) => lost.class(),
        }
    }

    /// Always false: the connection is gone either way.
    pub const fn retryable(&self) -> bool {
        false
    }
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(after) => {
                write!(f, "the broker did not take what was queued within {} s", after.as_secs_f64())
            }
            Self::MaybeDelivered { messages } => maybe_delivered(f, *messages),
            Self::Lost(lost) => lost.fmt(f),
        }
    }
}

impl std::error::Error for CloseError {}
