//! Lanes: the numbered promises that a message can travel under.

use std::fmt;
use std::str::FromStr;

use laneway_proto::limits::LANES_MAX;

/// The lane a message travels on, 1 to 15. Order is promised per publisher and lane, never between lanes.
///
/// ```
/// use laneway_client::Lane;
/// assert_eq!(Lane::default(), Lane::COMMAND);
/// assert_eq!("bulk".parse(), Ok(Lane::BULK));
/// assert_eq!(Lane::new(0), None, "lane 0 belongs to the protocol");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lane(u8);

/// The default lane table's names; lanes above it have only a number.
const NAMES: [(Lane, &str); 5] = [
    (Lane::COMMAND, "command"),
    (Lane::EVENT, "event"),
    (Lane::STATE, "state"),
    (Lane::STREAM, "stream"),
    (Lane::BULK, "bulk"),
];

impl Lane {
    /// Reliable and ordered: commands. The default.
    pub const COMMAND: Self = Self(1);
    /// Reliable, unordered: one-off events.
    pub const EVENT: Self = Self(2);
    /// The newest value of each topic: positions, health.
    pub const STATE: Self = Self(3);
    /// High-rate telemetry that may lose old samples.
    pub const STREAM: Self = Self(4);
    /// Reliable and ordered, below everything else: files, logs.
    pub const BULK: Self = Self(5);

    /// The lane with this number, or `None` if it is 0 (the protocol's own) or above 15.
    pub const fn new(number: u8) -> Option<Self> {
        if number == 0 || number as usize >= LANES_MAX { None } else { Some(Self(number)) }
    }

    /// The number that travels.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The lane's name in the default table.
    ///
    /// ```
    /// use laneway_client::Lane;
    /// assert_eq!(Lane::STATE.name(), Some("state"));
    /// assert_eq!(Lane::new(9).and_then(Lane::name), None);
    /// ```
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(lane, _)| *lane == self).map(|(_, name)| *name)
    }

    /// Whether messages may share a frame. On `state` each message must stay replaceable on its own.
    pub(crate) fn may_batch(self) -> bool {
        self != Self::STATE
    }
}

impl Default for Lane {
    fn default() -> Self {
        Self::COMMAND
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// The text names no lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownLane;

impl fmt::Display for UnknownLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such lane; use command, event, state, stream, bulk or a number from 1 to 15")
    }
}

impl std::error::Error for UnknownLane {}

impl FromStr for Lane {
    type Err = UnknownLane;

    fn from_str(text: &str) -> Result<Self, UnknownLane> {
        let named = NAMES.iter().find(|(_, name)| *name == text).map(|(lane, _)| *lane);
        named.or_else(|| text.parse().ok().and_then(Self::new)).ok_or(UnknownLane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_named_or_numbered_and_lane_0_and_16_do_not_exist() {
        assert_eq!("state".parse(), Ok(Lane::STATE));
        assert_eq!("15".parse(), Ok(Lane(15)));
        for wrong in ["0", "16", "control", "-1", "", "Command"] {
            assert_eq!(wrong.parse::<Lane>(), Err(UnknownLane), "{wrong}");
        }
        assert_eq!((Lane::BULK.to_string(), Lane(9).to_string()), ("bulk".into(), "9".into()));
    }
}
