//! The four promises a lane can make.

use core::fmt;
use core::str::FromStr;

/// What a lane promises. Bit 1 of the number: reliable; bit 0: ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum LaneKind {
    /// Unreliable, unordered: each message at most once.
    UU = 0,
    /// Unreliable, sequenced: the same, and never one that is older than one already delivered.
    US = 1,
    /// Reliable, unordered: each message exactly once, or reported lost.
    RU = 2,
    /// Reliable, ordered: the same, in the order of publishing.
    RO = 3,
}

/// The text names no lane kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownKind;

impl LaneKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::UU, Self::US, Self::RU, Self::RO];

    /// The number that travels.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kind behind a number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Whether every message ends in delivered or reported.
    pub const fn is_reliable(self) -> bool {
        self as u8 & 2 != 0
    }

    /// Whether messages never go back: in the order of publishing (RO), or skipping what is older (US).
    pub const fn is_ordered(self) -> bool {
        self as u8 & 1 != 0
    }

    /// The name used in settings, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UU => "UU",
            Self::US => "US",
            Self::RU => "RU",
            Self::RO => "RO",
        }
    }
}

impl fmt::Display for LaneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LaneKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(UnknownKind)
    }
}

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such kind of lane; use UU, US, RU or RO")
    }
}

impl core::error::Error for UnknownKind {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_name_and_promise_belong_together() {
        let promises = [("UU", false, false), ("US", false, true), ("RU", true, false), ("RO", true, true)];
        for (number, (name, reliable, ordered)) in promises.into_iter().enumerate() {
            let kind: LaneKind = name.parse().expect("a kind");
            assert_eq!(usize::from(kind.number()), number);
            assert_eq!(LaneKind::from_number(kind.number()), Some(kind));
            assert_eq!((kind.name(), kind.is_reliable(), kind.is_ordered()), (name, reliable, ordered));
        }
        assert_eq!((LaneKind::from_number(4), "ro".parse::<LaneKind>()), (None, Err(UnknownKind)));
    }
}
