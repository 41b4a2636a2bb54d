//! Why a message was not confirmed.

use std::fmt;
use std::time::Duration;

use super::{Class, Lost, PublishError};

/// Why a message was not confirmed at the level that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConfirmError {
    /// It was not taken; none of it was sent.
    Refused(PublishError),
    /// It was taken, but the level was not reached: nobody knows how far it got. Publishing it again may make it arrive
    /// twice.
    MaybeDelivered(Doubt),
}

/// Why nobody knows how far a message got.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Doubt {
    /// Its time was over.
    Timeout(Duration),
    /// The link broke before the broker had accepted it.
    LinkLost,
    /// The broker of a new link takes no such message, or confirms none.
    BrokerChanged,
    /// The connection is gone.
    Lost(Lost),
}

impl ConfirmError {
    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Refused(error) => error.class(),
            Self::MaybeDelivered(Doubt::Lost(lost)) => lost.class(),
            Self::MaybeDelivered(Doubt::BrokerChanged) => Class::Permanent,
            Self::MaybeDelivered(Doubt::Timeout(_) | Doubt::LinkLost) => Class::Transient,
        }
    }

    /// Whether the same call can succeed later without a second copy of the message: only if it was not taken.
    ///
    /// ```
    /// use laneway_client::{ConfirmError, Doubt};
    /// assert!(!ConfirmError::MaybeDelivered(Doubt::LinkLost).retryable());
    /// ```
    pub fn retryable(&self) -> bool {
        match self {
            Self::Refused(error) => error.retryable(),
            Self::MaybeDelivered(_) => false,
        }
    }
}

impl fmt::Display for ConfirmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::MaybeDelivered(doubt) => write!(f, "{doubt}; publish it again if twice is no harm"),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout(after) => {
                write!(f, "not confirmed within {} s, so it is maybe delivered", after.as_secs_f64())
            }
            Self::LinkLost => f.write_str("the link broke before the broker confirmed it, so it is maybe delivered"),
            Self::BrokerChanged => {
                f.write_str("the broker of the new link confirms no such message, so it is maybe delivered")
            }
            Self::Lost(lost) => write!(f, "maybe delivered: {lost}"),
        }
    }
}

impl std::error::Error for ConfirmError {}

impl From<PublishError> for ConfirmError {
    fn from(error: PublishError) -> Self {
        Self::Refused(error)
    }
}
