//! Why the broker did not do, or tell, what it was asked for.

use std::fmt;

use super::{Class, Lost, Reason};

/// Why a request got no good answer.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RequestError {
    /// Too many requests are waiting on this connection already.
    TooManyPending {
        /// The number allowed.
        pending_max: usize,
    },
    /// The broker said no.
    Refused(Reason),
    /// What was to be told is larger than any broker takes; holds its bytes.
    TooLarge(usize),
    /// The handshake is not over yet (only when driving the core directly).
    NotOpen,
    /// The connection is gone.
    Lost(Lost),
}

impl RequestError {
    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            Self::TooManyPending { .. } | Self::TooLarge(_) => Class::Limit,
            Self::Refused(reason) => reason.class(),
            Self::NotOpen => Class::Transient,
            Self::Lost(lost) => lost.class(),
        }
    }

    /// Whether the same call can succeed later, on a new connection if this one is lost.
    pub fn retryable(&self) -> bool {
        match self {
            Self::TooManyPending { .. } | Self::NotOpen => true,
            Self::TooLarge(_) => false,
            Self::Refused(reason) => reason.retryable(),
            Self::Lost(lost) => lost.retryable(),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyPending { pending_max } => {
                write!(f, "{pending_max} requests are waiting already; await them first")
            }
            Self::Refused(reason) => write!(f, "the broker refused: {reason}"),
            Self::TooLarge(bytes) => write!(f, "{bytes} bytes of metadata; a session has at most 4096, so tell less"),
            Self::NotOpen => f.write_str("the handshake is not over; wait for the welcome"),
            Self::Lost(lost) => lost.fmt(f),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<Lost> for RequestError {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}
