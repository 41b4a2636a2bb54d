//! Why a subscription was not made.

use std::fmt;

use laneway_proto::topic::TopicError;

use super::{Class, Lost, Reason};

/// Why a subscription was not made.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SubscribeError {
    /// A filter is not well formed.
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        error: TopicError,
    },
    /// The list of filters is empty.
    NoFilter,
    /// This session already has as many filters as the broker allows.
    TooMany {
        /// The filters allowed.
        filters_max: u32,
    },
    /// The broker said no.
    Refused(Reason),
    /// The handshake is not over yet (only when driving the core directly).
    NotOpen,
    /// The connection is gone.
    Lost(Lost),
}

impl SubscribeError {
    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Filter { .. } | Self::NoFilter => Class::Permanent,
            Self::TooMany { .. } => Class::Limit,
            Self::Refused(reason) => reason.class(),
            Self::NotOpen => Class::Transient,
            Self::Lost(lost) => lost.class(),
        }
    }

    /// Whether the same call can succeed later, on a new connection if this one is lost.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Filter { .. } | Self::NoFilter | Self::TooMany { .. } => false,
            Self::Refused(reason) => reason.retryable(),
            Self::NotOpen => true,
            Self::Lost(lost) => lost.retryable(),
        }
    }
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter { filter, error } => write!(f, "the filter '{filter}' is not valid: {error}"),
            Self::NoFilter => f.write_str("no filter was given; name at least one"),
            Self::TooMany { filters_max } => {
                write!(f, "this session already has {filters_max} filters; use wildcards, or another connection")
            }
            Self::Refused(reason) => write!(f, "the broker refused the subscription: {reason}"),
            Self::NotOpen => f.write_str("the handshake is not over; wait for the welcome"),
            Self::Lost(lost) => lost.fmt(f),
        }
    }
}

impl std::error::Error for SubscribeError {}

impl From<Lost> for SubscribeError {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}
