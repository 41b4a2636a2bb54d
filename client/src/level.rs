//! How far a message has to get before its publisher is told.

use std::time::Duration;

use crate::lane::Lane;
use crate::publish_options::PublishOptions;

/// Time after which nobody waits for a confirmation any more, unless set otherwise.
pub const CONFIRM_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// How far a message has to get. `publish` waits for no level: the message is sent.
///
/// ```
/// use laneway_client::Level;
/// assert_eq!(Level::default(), Level::Accepted);
/// assert_eq!(Level::delivered(3), Level::Delivered { min_receivers: 3 });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Level {
    /// The broker has it. Works on every lane.
    #[default]
    Accepted,
    /// Client libraries have received all of it, on a reliable lane. It is sent again for as long as too few have, over
    /// new links and to restarted brokers, too; whoever has it drops what comes again.
    Delivered {
        /// Sessions that must have received it; 0 counts as 1.
        min_receivers: u16,
    },
}

impl Level {
    /// Received by at least `min_receivers` sessions.
    pub const fn delivered(min_receivers: u16) -> Self {
        Self::Delivered { min_receivers }
    }
}

/// How a message is published whose publisher wants to be told; the default is [`Level::Accepted`] within 10 s.
///
/// ```
/// use laneway_client::{ConfirmOptions, Lane, Level};
/// let options = ConfirmOptions { publish: Lane::BULK.into(), ..Level::delivered(2).into() };
/// assert_eq!(options.timeout.as_secs(), 10);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConfirmOptions {
    /// How far it has to get.
    pub level: Level,
    /// How long to wait for that; then it is [maybe delivered](crate::ConfirmError::MaybeDelivered).
    pub timeout: Duration,
    /// How it is published.
    pub publish: PublishOptions,
}

impl Default for ConfirmOptions {
    fn default() -> Self {
        Self { level: Level::default(), timeout: CONFIRM_TIMEOUT_DEFAULT, publish: PublishOptions::default() }
    }
}

impl From<Level> for ConfirmOptions {
    fn from(level: Level) -> Self {
        Self { level, ..Self::default() }
    }
}

impl From<Lane> for ConfirmOptions {
    fn from(lane: Lane) -> Self {
        Self { publish: lane.into(), ..Self::default() }
    }
}

/// The level that was asked for is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Confirmed {
    /// Sessions that are known to have received it: at least as many as were asked for, 0 at [`Level::Accepted`].
    pub receivers: u16,
}
