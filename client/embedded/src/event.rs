//! What the application is told, and what its calls answer.

use crate::config::Lane;

/// A topic of this device: what [`crate::Node::topic`] and [`crate::Node::subscribe`] return.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Topic(pub(crate) u16);

impl Topic {
    /// The link's id of the topic.
    pub const fn id(self) -> u16 {
        self.0
    }
}

/// A message that arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// The topic's name as this device gave it. `None`: the host named it, see [`Event::Named`].
    pub name: Option<&'static str>,
    /// The link's id of the topic.
    pub topic: u16,
    /// The lane it came on.
    pub lane: Lane,
    /// Unreliable lanes: frames lost on the way since the last one.
    pub missed: u16,
    /// When it was made, in microseconds of the host's clock, if it says so.
    pub time: Option<u32>,
    /// Its bytes.
    pub payload: &'a [u8],
}

/// Why a session ended, or what became of a request: a code of `docs/PROTOCOL.md` section 8.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Code(pub u8);

impl Code {
    /// Nothing went wrong.
    pub const NORMAL: Self = Self(0);
    /// The process is shutting down; a device goes to sleep.
    pub const SHUTDOWN: Self = Self(1);
    /// A rule of the link was broken.
    pub const MALFORMED: Self = Self(2);
    /// Nothing good came for too long.
    pub const TIMEOUT: Self = Self(4);
    /// No version in common.
    pub const VERSION: Self = Self(5);
    /// No room.
    pub const LIMIT: Self = Self(8);
    /// Not of the protocol: the host has begun anew.
    pub const RESTARTED: Self = Self(255);

    /// Whether trying again can help without anybody changing a setting.
    #[inline(never)]
    pub(crate) const fn helps_to_retry(self) -> bool {
        matches!(self.0, 0 | 1 | 4 | 8 | 11 | 13)
    }
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A message of a topic that is subscribed to.
    Message(Message<'a>),
    /// A session is open; topics and subscriptions are being declared.
    Opened,
    /// It is over; the device seeks the next one.
    Closed(Code),
    /// The oldest message of a reliable lane has arrived at the host: there is room for another.
    Acked {
        /// The lane.
        lane: Lane,
        /// What it was published on.
        topic: Topic,
    },
    /// The session ended before that: it may have arrived.
    Maybe {
        /// The lane.
        lane: Lane,
        /// What it was published on.
        topic: Topic,
    },
    /// A message that was queued cannot be sent to this host: too large, or its lane or topic does not exist there.
    Dropped {
        /// The lane.
        lane: Lane,
        /// What it was published on.
        topic: Topic,
    },
    /// The host dropped messages on their way to this device.
    Lost {
        /// The lane.
        lane: Lane,
        /// Why: a reason of `docs/PROTOCOL.md` section 4.2.
        reason: u8,
        /// The topic's id; 0: several.
        topic: u16,
        /// How many.
        count: u32,
    },
    /// The answer to a subscription, or (`topic` is `None`) a name that the host refused.
    Result {
        /// Which subscription.
        topic: Option<Topic>,
        /// [`Code::NORMAL`]: done.
        code: Code,
        /// For people; UTF-8.
        text: &'a [u8],
    },
    /// The host uses this id for a name: messages of filters come with it.
    Named {
        /// The id.
        topic: u16,
        /// The name; UTF-8.
        name: &'a [u8],
    },
}

/// Why nothing was published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The lane holds as many messages as it can: try again after [`Event::Acked`].
    Full,
    /// More bytes than a frame of this link carries.
    TooLarge,
    /// There is no such lane, here or at the host.
    NoLane,
    /// No topic of this device, or a filter.
    NoTopic,
    /// No session, and on this lane nothing waits for one.
    NotOpen,
}

impl core::fmt::Display for Refused {
    #[inline]
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Full => "lane full",
            Self::TooLarge => "too large",
            Self::NoLane => "no such lane",
            Self::NoTopic => "no such topic",
            Self::NotOpen => "no session",
        })
    }
}

impl core::error::Error for Refused {}

/// Frames since the start; they only grow, and wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Of the session, and right.
    pub good: u32,
    /// With a wrong encoding or CRC.
    pub bad: u32,
    /// While no session was open, and LINK frames that were ignored.
    pub stray: u32,
    /// Repeated, ahead of a missing one, stale, or for nobody.
    pub dropped: u32,
    /// Sent again.
    pub repeated: u32,
}
