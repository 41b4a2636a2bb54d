//! What a device is, and what its lanes promise.

use crate::limits::WINDOW_MAX;

/// What a lane promises: unreliable or reliable, unordered, sequenced or ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Kind {
    /// Each message once or not at all.
    #[default]
    UU = 0,
    /// The newest value of each topic; never an older one behind it.
    US = 1,
    /// Each message once, in any order.
    RU = 2,
    /// Each message once, in order.
    RO = 3,
}

impl Kind {
    pub(crate) const fn is_reliable(self) -> bool {
        matches!(self, Self::RU | Self::RO)
    }

    /// Messages wait for a session.
    pub(crate) const fn waits(self) -> bool {
        !matches!(self, Self::UU)
    }
}

/// A lane by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lane(pub u8);

impl Lane {
    /// Reliable, in order: start and stop, commands. Overtakes everything else.
    pub const COMMAND: Self = Self(1);
    /// Reliable, in any order: one-off events.
    pub const EVENT: Self = Self(2);
    /// The newest value of each topic: positions, levels, health.
    pub const STATE: Self = Self(3);
    /// Once or never: telemetry at a high rate.
    pub const STREAM: Self = Self(4);
    /// Reliable, in order, behind everything else. Not among [`STANDARD_LANES`].
    pub const BULK: Self = Self(5);
}

/// One lane of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneSetup {
    /// Its number, 0 to 7. The host has a lane of the same number and kind, or the lane does not exist.
    pub number: u8,
    /// Its promise.
    pub kind: Kind,
    /// Lanes of a smaller class go first, 0 to 7; those of one class share the line.
    pub class: u8,
    /// Reliable lanes: messages that the host may send before [`crate::Node::grant`] allows more; 0: as many as it likes.
    pub credit: u16,
}

const fn lane(number: u8, kind: Kind, class: u8) -> LaneSetup {
    LaneSetup { number, kind, class, credit: 0 }
}

/// The control lane and four for applications, as brokers have them.
pub const STANDARD_LANES: [LaneSetup; 5] =
    [lane(0, Kind::RO, 0), lane(1, Kind::RO, 1), lane(2, Kind::RU, 2), lane(3, Kind::US, 2), lane(4, Kind::UU, 3)];

/// What a device is.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// For people; bytes beyond the 24th are cut off.
    pub name: &'static str,
    /// Stable for the device: the chip's serial number.
    pub node_id: [u8; 8],
    /// Bits per second; 0: there is no such thing (USB).
    pub baud: u32,
    /// The session is given up after so many milliseconds of silence, at least 100. 0: 1,500, and at least thirty frame
    /// times.
    pub dead_ms: u16,
    /// Its lanes, the control lane (number 0) first. Those beyond the memory's `LANES` are not used.
    pub lanes: &'static [LaneSetup],
    /// Plays the host, for tests of device libraries.
    #[cfg(feature = "host")]
    pub is_host: bool,
}

impl Config {
    /// A device on a line of this rate, with the standard lanes.
    pub const fn new(name: &'static str, node_id: [u8; 8], baud: u32) -> Self {
        Self {
            name,
            node_id,
            baud,
            dead_ms: 0,
            lanes: &STANDARD_LANES,
            #[cfg(feature = "host")]
            is_host: false,
        }
    }
}

/// How a topic or filter is subscribed to. The fields mean what `Sub` of `docs/PROTOCOL.md` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscription {
    /// Send the kept value first.
    pub retained: bool,
    /// Send nothing that this device has published.
    pub no_echo: bool,
    /// The lane to get it on, plus 1; 0: the publisher's.
    pub lane_plus_one: u8,
    /// What happens when the queue for this device is full; 0: the lane's policy.
    pub policy: u8,
    /// Messages of a topic per second at most; 0: all.
    pub max_rate_hz: u16,
    /// Milliseconds after which a message is not sent any more; 0: the lane's.
    pub ttl_ms: u32,
}

impl Subscription {
    /// Everything, as it was published.
    pub const PLAIN: Self =
        Self { retained: false, no_echo: false, lane_plus_one: 0, policy: 0, max_rate_hz: 0, ttl_ms: 0 };
    /// The same, and first the value that the broker has kept.
    pub const RETAINED: Self = Self { retained: true, ..Self::PLAIN };
}

#[inline(never)]
pub(crate) const fn window(window: usize) -> u8 {
    (if window > WINDOW_MAX { WINDOW_MAX } else { window }) as u8
}
