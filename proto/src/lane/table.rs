//! The lanes of a session: names, promises and places in the queue for the link.

use core::fmt;

use super::kind::LaneKind;
use super::policy::Policy;
use crate::limits::{LANE_CLASSES, LANE_NAME_BYTES_MAX, LANES_MAX};

/// Number of the lane that carries everything but messages.
pub const CONTROL_LANE: u8 = 0;
/// Number of the lane that a publisher uses who names none.
pub const DEFAULT_LANE: u8 = 1;

/// A lane's name: 1 to 16 of `a`-`z`, `0`-`9`, `_` and `-`, beginning with a letter.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneName {
    bytes: [u8; LANE_NAME_BYTES_MAX],
    len: u8,
}

/// What is wrong with a lane or a table of lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LaneError {
    /// The number is 16 or more.
    NumberTooLarge(u8),
    /// The name is no lane name.
    NameInvalid,
    /// Two lanes have this name.
    NameTaken(LaneName),
    /// The kind's number is unknown.
    KindUnknown,
    /// The policy's number is unknown.
    PolicyUnknown,
    /// The class is 8 or more.
    ClassTooLarge(LaneName),
    /// The weight is 0.
    WeightZero(LaneName),
    /// An unreliable lane would wait or end its session.
    PolicyUnfit(LaneName),
    /// Lanes of one class state different rates.
    RatesDiffer(LaneName),
    /// Lane 0 is missing or is not what the protocol needs.
    ControlChanged,
}

/// One lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneSpec {
    /// What people call it.
    pub name: LaneName,
    /// What it promises.
    pub kind: LaneKind,
    /// Priority class, 0 (first) to 7.
    pub class: u8,
    /// Share of the link among the lanes of its class, 1 to 255.
    pub weight: u8,
    /// What a full queue does.
    pub policy: Policy,
    /// Milliseconds after which an unsent message is dropped; 0: never.
    pub ttl_ms: u32,
    /// Bytes one subscriber's queue may hold; 0: as the broker is configured.
    pub queue_bytes: u32,
    /// Bytes per second of all lanes of the class together; 0: no limit.
    pub rate_bytes_per_s: u32,
}

/// The lanes of a session, by number. Every table is valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneTable {
    lanes: [Option<LaneSpec>; LANES_MAX],
}

impl LaneName {
    /// Checks and keeps a name.
    pub const fn new(name: &str) -> Result<Self, LaneError> {
        let text = name.as_bytes();
        if text.is_empty() || text.len() > LANE_NAME_BYTES_MAX || !text[0].is_ascii_lowercase() {
            return Err(LaneError::NameInvalid);
        }
        let mut bytes = [0; LANE_NAME_BYTES_MAX];
        let mut at = 0;
        while at < text.len() {
            if !matches!(text[at], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-') {
                return Err(LaneError::NameInvalid);
            }
            bytes[at] = text[at];
            at += 1;
        }
        Ok(Self { bytes, len: text.len() as u8 })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// A lane of the default table.
const fn lane(name: &str, kind: LaneKind, class: u8, policy: Policy) -> Option<LaneSpec> {
    let Ok(name) = LaneName::new(name) else { panic!("the default lanes have valid names") };
    Some(LaneSpec { name, kind, class, weight: 1, policy, ttl_ms: 0, queue_bytes: 0, rate_bytes_per_s: 0 })
}

impl LaneTable {
    /// The lanes that exist unless somebody says otherwise.
    pub const STANDARD: Self = {
        let mut lanes = [None; LANES_MAX];
        lanes[0] = lane("control", LaneKind::RO, 0, Policy::Disconnect);
        lanes[1] = lane("command", LaneKind::RO, 1, Policy::Block);
        lanes[2] = lane("event", LaneKind::RU, 2, Policy::Block);
        lanes[3] = lane("state", LaneKind::US, 2, Policy::Conflate);
        lanes[4] = lane("stream", LaneKind::UU, 3, Policy::DropOldest);
        lanes[5] = lane("bulk", LaneKind::RO, 5, Policy::Block);
        Self { lanes }
    };

    /// A table of these lanes, at the places of their numbers.
    pub fn new(lanes: [Option<LaneSpec>; LANES_MAX]) -> Result<Self, LaneError> {
        let control = |lane: &LaneSpec| LaneSpec { weight: 1, queue_bytes: 0, ..*lane };
        if lanes[0].as_ref().map(control) != Self::STANDARD.lanes[0] {
            return Err(LaneError::ControlChanged);
        }
        for (number, lane) in lanes.iter().enumerate() {
            let Some(lane) = lane else { continue };
            lane.check()?;
            for other in lanes.iter().take(number).flatten() {
                if other.name == lane.name {
                    return Err(LaneError::NameTaken(lane.name));
                }
                if other.class == lane.class && other.rate_bytes_per_s != lane.rate_bytes_per_s {
                    return Err(LaneError::RatesDiffer(lane.name));
                }
            }
        }
        Ok(Self { lanes })
    }

    /// This table with one lane added, changed or removed.
    pub fn with(&self, number: u8, lane: Option<LaneSpec>) -> Result<Self, LaneError> {
        let mut lanes = self.lanes;
        *lanes.get_mut(usize::from(number)).ok_or(LaneError::NumberTooLarge(number))? = lane;
        Self::new(lanes)
    }

    /// The lane with this number.
    pub fn get(&self, number: u8) -> Option<&LaneSpec> {
        self.lanes.get(usize::from(number))?.as_ref()
    }

    /// The number of the lane with this name.
    pub fn find(&self, name: &str) -> Option<u8> {
        self.iter().find(|(_, lane)| lane.name.as_str() == name).map(|(number, _)| number)
    }

    /// Bit per lane that carries data and promises that all of it arrives.
    pub fn reliable(&self) -> u16 {
        let reliable = self.iter().filter(|&(lane, spec)| lane > 0 && spec.kind.is_reliable());
        reliable.fold(0, |bits, (lane, _)| bits | 1 << lane)
    }

    /// The lanes with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &LaneSpec)> {
        (0u8..).zip(&self.lanes).filter_map(|(number, lane)| Some((number, lane.as_ref()?)))
    }
}

impl LaneSpec {
    fn check(&self) -> Result<(), LaneError> {
        if usize::from(self.class) >= LANE_CLASSES {
            return Err(LaneError::ClassTooLarge(self.name));
        }
        if self.weight == 0 {
            return Err(LaneError::WeightZero(self.name));
        }
        // Nobody waits for, or dies of, a message that may be dropped.
        if !self.kind.is_reliable() && self.policy.loss_reason().is_none() {
            return Err(LaneError::PolicyUnfit(self.name));
        }
        Ok(())
    }
}

impl Default for LaneTable {
    fn default() -> Self {
        Self::STANDARD
    }
}

#[cfg(feature = "control")]
impl crate::control::Lane {
    /// The lane as it travels in HELLO and WELCOME.
    pub fn new(number: u8, lane: &LaneSpec) -> Self {
        Self {
            id: u32::from(number),
            name: lane.name.as_str().into(),
            kind: u32::from(lane.kind.number()),
            prio: u32::from(lane.class),
            weight: u32::from(lane.weight),
            overflow: u32::from(lane.policy.number()),
            ttl_ms: lane.ttl_ms,
            queue_bytes: lane.queue_bytes,
            repair: 0,
            rate_bps: lane.rate_bytes_per_s,
        }
    }

    /// Number and lane; fits a table only if [`LaneTable::with`] says so. Weight 0, which older peers leave out, is 1.
    pub fn spec(&self) -> Result<(u8, LaneSpec), LaneError> {
        let small = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
        let spec = LaneSpec {
            name: LaneName::new(&self.name)?,
            kind: LaneKind::from_number(small(self.kind)).ok_or(LaneError::KindUnknown)?,
            class: small(self.prio),
            weight: small(self.weight.max(1)),
            policy: Policy::from_number(self.overflow).ok_or(LaneError::PolicyUnknown)?,
            ttl_ms: self.ttl_ms,
            queue_bytes: self.queue_bytes,
            rate_bytes_per_s: self.rate_bps,
        };
        Ok((small(self.id), spec))
    }
}

impl fmt::Debug for LaneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for LaneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for LaneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NumberTooLarge(number) => write!(f, "lane {number} does not exist; use 1 to 15"),
            Self::NameInvalid => {
                f.write_str("a lane's name is 1 to 16 of a-z, 0-9, _ and -, beginning with a letter; choose another")
            }
            Self::NameTaken(name) => write!(f, "two lanes are called {name}; rename one"),
            Self::KindUnknown => f.write_str("no such kind of lane; use UU, US, RU or RO"),
            Self::PolicyUnknown => {
                f.write_str("no such policy; use block, drop_oldest, drop_newest, conflate, disconnect")
            }
            Self::ClassTooLarge(name) => write!(f, "lane {name} is in a class that does not exist; use 0 to 7"),
            Self::WeightZero(name) => write!(f, "lane {name} has weight 0 and would never send; use 1 to 255"),
            Self::PolicyUnfit(name) => {
                write!(f, "lane {name} is unreliable; use drop_oldest, drop_newest or conflate, or make it RU or RO")
            }
            Self::RatesDiffer(name) => {
                write!(f, "lane {name} has another rate than a lane of its class; the rate is the class's, state one")
            }
            Self::ControlChanged => {
                f.write_str("lane 0 is control: reliable, ordered, class 0, disconnect, without a rate; leave it so")
            }
        }
    }
}

impl core::error::Error for LaneError {}

#[cfg(test)]
mod tests;
