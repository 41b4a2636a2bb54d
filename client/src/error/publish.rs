//! Why a message was not taken.

use std::fmt;

use laneway_proto::topic::TopicError;

use super::{Class, Lost};
use crate::lane::Lane;

/// Why a message was not taken. None of it was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic is no name one may publish to.
    Topic(TopicError),
    /// The message is larger than the broker allows.
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The bytes allowed.
        bytes_max: u32,
    },
    /// This session already publishes to as many topics as the broker allows.
    TooManyTopics {
        /// The topics allowed.
        topics_max: u32,
    },
    /// The handshake is not over yet (only when driving the core directly).
    NotOpen,
    /// The broker confirms nothing as delivered.
    NoConfirms,
    /// The lane may lose messages, so nobody counts who received them.
    LaneLoses(Lane),
    /// The connection is gone.
    Lost(Lost),
}

impl PublishError {
    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Topic(_) | Self::NoConfirms | Self::LaneLoses(_) => Class::Permanent,
            Self::TooLarge { .. } | Self::TooManyTopics { .. } => Class::Limit,
            Self::NotOpen => Class::Transient,
            Self::Lost(lost) => lost.class(),
        }
    }

    /// Whether the same call can succeed later, on a new connection if this one is lost.
    pub fn retryable(&self) -> bool {
        match self {
            Self::NotOpen => true,
            Self::Lost(lost) => lost.retryable(),
            Self::Topic(_)
            | Self::TooLarge { .. }
            | Self::TooManyTopics { .. }
            | Self::NoConfirms
            | Self::LaneLoses(_) => false,
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(error) => error.fmt(f),
            Self::TooLarge { bytes, bytes_max } => write!(
                f,
                "a message of {bytes} bytes is over the broker's limit of {bytes_max}; split it, or raise the limit"
            ),
            Self::TooManyTopics { topics_max } => {
                write!(f, "this session already publishes to {topics_max} topics; use fewer, or another connection")
            }
            Self::NotOpen => f.write_str("the handshake is not over; wait for the welcome"),
            Self::NoConfirms => {
                f.write_str("this broker cannot tell what was delivered; upgrade it, or ask for 'accepted'")
            }
            Self::LaneLoses(lane) => {
                write!(f, "lane {lane} may lose messages; use command, event or bulk, or ask for 'accepted'")
            }
            Self::Lost(lost) => lost.fmt(f),
        }
    }
}

impl std::error::Error for PublishError {}

impl From<TopicError> for PublishError {
    fn from(error: TopicError) -> Self {
        Self::Topic(error)
    }
}

impl From<Lost> for PublishError {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

/// Why a message was not taken at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TryPublishError {
    /// The send queue is at its bound; it empties as the broker reads.
    Full,
    /// The message would be refused later, too.
    Refused(PublishError),
}

impl TryPublishError {
    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Full => Class::Limit,
            Self::Refused(error) => error.class(),
        }
    }

    /// Whether the same call can succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Refused(error) => error.retryable(),
        }
    }
}

impl fmt::Display for TryPublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the send queue is full; wait until the broker has read some of it"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TryPublishError {}

impl From<PublishError> for TryPublishError {
    fn from(error: PublishError) -> Self {
        Self::Refused(error)
    }
}
