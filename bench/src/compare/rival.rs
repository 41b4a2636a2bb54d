//! Who is compared, and on what work.

use super::Peer;
use crate::contest::{Cell, Contestant};
use crate::sched::Watched;

/// Who moves the messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rival {
    /// The broker or a relay of ours.
    Own(Contestant),
    /// The broker, set to `latency = "spin"`: round trips only.
    Spinning,
    /// The bare relay without sleep: round trips only.
    SpinningRelay,
    /// Another broker.
    Peer(Peer),
}

impl Rival {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Own(contestant) => contestant.name(),
            Self::Spinning => "laneway spin",
            Self::SpinningRelay => "bare relay, spinning",
            Self::Peer(peer) => peer.name(),
        }
    }

    pub(super) const fn is_laneway(self) -> bool {
        matches!(self, Self::Own(Contestant::Single | Contestant::Batch) | Self::Spinning)
    }

    /// Share of a run that counts as disturbed. Threads of one process that share a core wait for each other, which is
    /// a peer's own affair: there only the load's wait counts.
    pub(super) const fn waited(self, watched: &Watched) -> f64 {
        match self {
            Self::Own(_) | Self::Spinning | Self::SpinningRelay => watched.wait_share,
            Self::Peer(_) => watched.own_wait_share,
        }
    }
}

/// What is moved as fast as it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Work {
    /// One publisher, all subscribers on its topic, writes of 64 KiB.
    Fanout(Cell),
    /// One to one, 64 B, each message in a write of its own.
    Unbatched,
    /// As many publishers as subscribers, each pair on a topic of its own, 64 B, writes of 64 KiB.
    Pairs(u32),
}

impl Work {
    pub(super) fn name(self) -> String {
        match self {
            Self::Fanout(cell) => cell.name(),
            Self::Unbatched => "1→1 64 B, one a write".into(),
            Self::Pairs(count) => format!("{count} pairs on {count} topics 64 B"),
        }
    }

    pub(super) const fn payload_bytes(self) -> usize {
        match self {
            Self::Fanout(cell) => cell.shape.payload_bytes,
            Self::Unbatched | Self::Pairs(_) => 64,
        }
    }

    /// Publisher and subscribers of each stream, and how many streams there are.
    pub(super) const fn subscribers(self) -> (u32, u32) {
        match self {
            Self::Fanout(cell) => (cell.subscribers, 1),
            Self::Unbatched => (1, 1),
            Self::Pairs(count) => (1, count),
        }
    }

    /// Messages of a write; `None`: as many as fit.
    pub(super) const fn messages(self) -> Option<u32> {
        match self {
            Self::Unbatched => Some(1),
            Self::Fanout(_) | Self::Pairs(_) => None,
        }
    }

    /// Writes before deliveries are looked at: small ones would leave the load little time for anything else.
    pub(super) const fn writes(self) -> u32 {
        match self {
            Self::Unbatched => 16,
            Self::Fanout(_) | Self::Pairs(_) => 1,
        }
    }
}
