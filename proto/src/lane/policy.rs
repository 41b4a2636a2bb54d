//! What becomes of a message that a subscriber's full queue has no room for.

use core::fmt;
use core::str::FromStr;

use crate::frame::lost::LossReason;

/// What a full queue does. On the wire 0 means: as the lane says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Policy {
    /// The publishers of the lane wait, for a bounded time.
    Block = 1,
    /// The oldest queued frame goes.
    DropOldest = 2,
    /// The frame that arrives goes.
    DropNewest = 3,
    /// A newer message takes the place of the queued one of the same topic and key.
    Conflate = 4,
    /// The subscriber's session ends.
    Disconnect = 5,
}

/// The text names no policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownPolicy;

impl Policy {
    /// Every policy, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Block, Self::DropOldest, Self::DropNewest, Self::Conflate, Self::Disconnect];

    /// The number that travels.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The policy behind a number; 0 is none of them.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| u32::from(policy.number()) == number)
    }

    /// The word used in settings, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::DropOldest => "drop_oldest",
            Self::DropNewest => "drop_newest",
            Self::Conflate => "conflate",
            Self::Disconnect => "disconnect",
        }
    }

    /// What the policy's losses are reported as; `None` if it never drops a message of a live session.
    pub const fn loss_reason(self) -> Option<LossReason> {
        match self {
            Self::Block | Self::Disconnect => None,
            Self::DropOldest => Some(LossReason::Overflow),
            Self::DropNewest => Some(LossReason::DropNewest),
            Self::Conflate => Some(LossReason::Conflated),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        Self::ALL.into_iter().find(|policy| policy.name() == text).ok_or(UnknownPolicy)
    }
}

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such policy; use block, drop_oldest, drop_newest, conflate or disconnect")
    }
}

impl core::error::Error for UnknownPolicy {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_numbered_from_one_by_their_place_and_found_by_their_name() {
        for (place, policy) in Policy::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(policy.number()), place + 1);
            assert_eq!(Policy::from_number(u32::from(policy.number())), Some(policy));
            assert_eq!(policy.name().parse(), Ok(policy));
        }
        assert_eq!((Policy::from_number(0), Policy::from_number(6)), (None, None));
        assert_eq!("Block".parse::<Policy>(), Err(UnknownPolicy));
    }
}
