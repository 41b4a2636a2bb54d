//! A place for one frame that is under way.

use super::super::loss::RangeLost;
use super::super::sent::{FrameIndex, NO_FRAME};
use crate::frame::extensions::Frag;
use crate::header::{Flags, Kind, seq_after};
use crate::limits::HEADER_BYTES;
use crate::time::Instant;

/// The owner's name for bytes that the machine never sees: a buffer, an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct PayloadId(pub u32);

/// A frame as its owner describes it. Its body (extension blocks and payload) is the owner's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Carried {
    /// What it is.
    pub kind: Kind,
    /// Which extensions its body begins with.
    pub flags: Flags,
    /// Brokers passed.
    pub hops: u8,
    /// Conflation key.
    pub ckey: u16,
    /// Topic id in the sender's numbering.
    pub topic: u32,
    /// Where the body's bytes are.
    pub payload: PayloadId,
    /// Bytes of the body.
    pub body_bytes: u16,
    /// Its place in a fragmented message; the block itself is part of the body.
    pub frag: Option<Frag>,
    /// Messages it carries; a fragment counts for its whole message.
    pub messages: u32,
    /// After this, it is not sent again.
    pub deadline: Option<Instant>,
}

impl Carried {
    /// Bytes of the whole frame.
    pub const fn frame_bytes(&self) -> u16 {
        HEADER_BYTES as u16 + self.body_bytes
    }

    /// Whether it is the last of its message, or all of it.
    pub fn is_last(&self) -> bool {
        self.frag.is_none_or(|frag| frag.index + 1 == frag.count)
    }
}

/// What a place holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Content {
    /// Nothing.
    #[default]
    Free,
    /// A frame.
    Frame(Carried),
    /// What was given up.
    Lost {
        /// What is still to be said about it.
        lost: RangeLost,
        /// How many of its numbers the datagram that carries it speaks of.
        said: u32,
        /// How many of its numbers, from the first on, are acknowledged: the peer's window begins behind them.
        arrived: u32,
        /// Bytes of the message, if it was fragmented.
        partial_bytes: u32,
    },
}

/// How a frame ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Outcome {
    /// The peer has it.
    #[default]
    Acked,
    /// It was given up; the peer is told, and may have it nevertheless.
    Abandoned,
    /// The session ended before anybody could know.
    MaybeDelivered,
}

/// A frame whose payload may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settled {
    /// Its lane.
    pub lane: u8,
    /// Its number.
    pub seq: u32,
    /// Its body.
    pub payload: PayloadId,
    /// How it ended.
    pub outcome: Outcome,
}

/// In which list a frame is, besides its lane's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub(super) enum Place {
    /// In none.
    #[default]
    Nowhere,
    /// In the datagram that is being filled.
    Open,
    /// In a datagram that was sent.
    Datagram,
    /// In the lane's queue of what is to be sent again.
    Again,
}

/// One place in the caller's table of frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct FrameSlot {
    pub(super) content: Content,
    pub(super) lane: u8,
    pub(super) sends: u8,
    pub(super) place: Place,
    pub(super) outcome: Outcome,
    /// Bytes of a full fragment's frame of its message.
    pub(super) full_bytes: u16,
    pub(super) seq: u32,
    /// The datagram that carries it, if it is in one that was sent.
    pub(super) datagram: u32,
    pub(super) first_sent: Instant,
    /// In its datagram or queue.
    pub(super) next: FrameIndex,
    /// In its lane.
    pub(super) older: FrameIndex,
    /// In its lane.
    pub(super) newer: FrameIndex,
}

impl FrameSlot {
    /// What it holds.
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// Its number in its lane; of a LOST, the first that it reports.
    pub const fn first_seq(&self) -> u32 {
        self.seq
    }

    /// The first of its numbers that the peer may not have.
    pub(super) fn first_missing(&self) -> u32 {
        match self.content {
            Content::Lost { lost, arrived, .. } => seq_after(lost.first, arrived),
            Content::Frame(_) | Content::Free => self.seq,
        }
    }

    /// How often it was sent.
    pub const fn sends(&self) -> u8 {
        self.sends
    }

    /// When it was sent for the first time.
    pub const fn first_sent(&self) -> Instant {
        self.first_sent
    }

    /// The name of its message: the number of the first fragment.
    pub(super) const fn message(&self) -> u32 {
        let index = match self.content {
            Content::Frame(Carried { frag: Some(frag), .. }) => frag.index as u32,
            Content::Frame(_) | Content::Lost { .. } | Content::Free => 0,
        };
        let (name, wrapped) = self.seq.overflowing_sub(index);
        // Numbers skip 0 on their way back, too.
        if wrapped || name == 0 { name.wrapping_sub(1) } else { name }
    }
}

impl Default for FrameSlot {
    fn default() -> Self {
        Self {
            content: Content::Free,
            lane: 0,
            sends: 0,
            place: Place::Nowhere,
            outcome: Outcome::Acked,
            full_bytes: 0,
            seq: 0,
            datagram: 0,
            first_sent: Instant(0),
            next: NO_FRAME,
            older: NO_FRAME,
            newer: NO_FRAME,
        }
    }
}
