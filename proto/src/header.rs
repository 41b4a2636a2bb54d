//! The frame header: 16 bytes, little-endian, on every IP and Unix link.
//!
//! ```text
//!  0        1        2        3        4        5        6        7
//!  |       len       |  kind  | flags  |               topic               |
//!  8        9        10       11       12       13       14       15
//!  |  lane  |  hops  |      ckey       |                seq                |
//!  | extension blocks in fixed order, as announced by flags                |
//!  | payload ...                                                           |
//! ```
//!
//! `len` counts the whole frame: header, extensions and payload.

use crate::error::{DecodeError, Rejected};
use crate::limits::{EXTENSION_BYTES, HEADER_BYTES};

/// What a frame is. Any byte is a `Kind`; [`Kind::is_known`] says whether this version defines it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// Skipped by the receiver.
    pub const PAD: Self = Self(0x00);
    /// One message, or one fragment of a message.
    pub const PUB: Self = Self(0x01);
    /// A request to a service (later version).
    pub const REQ: Self = Self(0x02);
    /// A response from a service (later version).
    pub const RSP: Self = Self(0x03);
    /// Cancels a request (later version).
    pub const CANCEL: Self = Self(0x04);
    /// Many messages of one topic and lane.
    pub const BATCH: Self = Self(0x05);
    /// A Protocol Buffers control message.
    pub const CTRL: Self = Self(0x80);
    /// Asks for a PONG.
    pub const PING: Self = Self(0x81);
    /// Answers a PING.
    pub const PONG: Self = Self(0x82);
    /// How many bytes the peer may send on each lane in all.
    pub const CREDIT: Self = Self(0x86);
    /// Messages of one lane that will not come, and why.
    pub const LOST: Self = Self(0x87);
    /// How many frames of each lane have been received in all.
    pub const COUNT: Self = Self(0x88);
    /// How far the publishes of each lane are accepted or delivered.
    pub const CONFIRM: Self = Self(0x89);
    /// Which datagrams arrived ([`crate::datagram`]; no kind of streams).
    pub const ACK: Self = Self(0x83);
    /// Which numbers of a broadcast are missing (no kind of streams).
    pub const NAK: Self = Self(0x84);
    /// How far a lane has come on a datagram link (no kind of streams).
    pub const HEARTBEAT: Self = Self(0x85);
    /// Proves an address (no kind of streams).
    pub const COOKIE: Self = Self(0x8A);
    /// Nobody knows the session (no kind of streams).
    pub const GONE: Self = Self(0x8B);
    /// Too much is missing to be repaired (no kind of streams).
    pub const DEMOTE: Self = Self(0x8C);
    /// If set in an unknown kind, the frame may be skipped.
    pub const SKIPPABLE_BIT: u8 = 0x40;

    /// Whether the frame carries messages and is routed by topic.
    pub const fn is_data(self) -> bool {
        matches!(self, Self::PUB | Self::BATCH)
    }

    /// Whether this version defines the kind for stream links.
    pub const fn is_known(self) -> bool {
        matches!(
            self,
            Self::PAD
                | Self::PUB
                | Self::BATCH
                | Self::CTRL
                | Self::PING
                | Self::PONG
                | Self::CREDIT
                | Self::LOST
                | Self::COUNT
                | Self::CONFIRM
        )
    }
}

/// The flag bits of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// A timestamp extension follows.
    pub const TS: Self = Self(0x01);
    /// A fragment extension follows.
    pub const FRAG: Self = Self(0x02);
    /// A correlation extension follows.
    pub const CORR: Self = Self(0x04);
    /// A source extension follows.
    pub const SRC: Self = Self(0x08);
    /// Type-length-value extensions follow.
    pub const XHDR: Self = Self(0x10);
    /// The frame is a retransmission: ignore it in latency statistics.
    pub const RETX: Self = Self(0x20);
    /// The sender has more queued: answers may wait.
    pub const MORE: Self = Self(0x40);
    /// Reserved; a frame with this bit set is rejected.
    pub const RESERVED: Self = Self(0x80);
    /// The bits that announce fixed 8-byte extensions.
    pub const FIXED_EXTENSIONS: Self = Self(0x0F);

    /// Whether all bits of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These bits and those of `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Bytes of the fixed extensions these flags announce, XHDR not included.
    pub const fn fixed_extension_bytes(self) -> usize {
        (self.0 & Self::FIXED_EXTENSIONS.0).count_ones() as usize * EXTENSION_BYTES
    }
}

/// A decoded frame header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Bytes of the whole frame, 16 to 65,535.
    pub len: u16,
    /// What the frame is.
    pub kind: Kind,
    /// Which extensions follow, and hints.
    pub flags: Flags,
    /// Topic id in the sender's numbering; 0 on control frames.
    pub topic: u32,
    /// Lane, below [`crate::limits::LANES_MAX`].
    pub lane: u8,
    /// Brokers this frame has passed.
    pub hops: u8,
    /// Conflation key inside the topic; 0 means that the topic is one entity.
    pub ckey: u16,
    /// Number of the frame's first message in the publisher's session and lane; starts at 1, skips 0 when it wraps.
    pub seq: u32,
}

impl Header {
    /// A header for a frame with `body_bytes` after the header.
    ///
    /// # Panics
    /// If the frame would be longer than the length field can say: a bug of the caller.
    pub const fn new(kind: Kind, body_bytes: usize) -> Self {
        let len = HEADER_BYTES + body_bytes;
        assert!(len <= crate::limits::FRAME_BYTES_MAX, "the caller cuts messages before it frames them");
        Self { len: len as u16, kind, flags: Flags(0), topic: 0, lane: 0, hops: 0, ckey: 0, seq: 0 }
    }

    /// Reads a header; checks nothing but that the length can be true.
    pub const fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, DecodeError> {
        let [l0, l1, kind, flags, t0, t1, t2, t3, lane, hops, c0, c1, s0, s1, s2, s3] = *bytes;
        let len = u16::from_le_bytes([l0, l1]);
        if (len as usize) < HEADER_BYTES {
            return Err(DecodeError::LengthTooSmall);
        }
        Ok(Self {
            len,
            kind: Kind(kind),
            flags: Flags(flags),
            topic: u32::from_le_bytes([t0, t1, t2, t3]),
            lane,
            hops,
            ckey: u16::from_le_bytes([c0, c1]),
            seq: u32::from_le_bytes([s0, s1, s2, s3]),
        })
    }

    /// The 16 bytes that travel.
    pub const fn encode(&self) -> [u8; HEADER_BYTES] {
        let Self { len, kind, flags, topic, lane, hops, ckey, seq } = *self;
        let [l0, l1] = len.to_le_bytes();
        let [t0, t1, t2, t3] = topic.to_le_bytes();
        let [c0, c1] = ckey.to_le_bytes();
        let [s0, s1, s2, s3] = seq.to_le_bytes();
        [l0, l1, kind.0, flags.0, t0, t1, t2, t3, lane, hops, c0, c1, s0, s1, s2, s3]
    }

    /// Bytes after the header: extensions and payload.
    pub const fn body_bytes(&self) -> usize {
        self.len as usize - HEADER_BYTES
    }

    /// Whether a well-framed frame has to be dropped and counted.
    pub const fn rejected(&self) -> Option<Rejected> {
        if self.flags.has(Flags::RESERVED) {
            return Some(Rejected::ReservedFlag);
        }
        if !self.kind.is_known() && self.kind.0 & Kind::SKIPPABLE_BIT != 0 {
            return Some(Rejected::UnknownKind);
        }
        if self.hops >= crate::limits::HOPS_MAX {
            return Some(Rejected::TooManyHops);
        }
        None
    }
}

/// The number after `seq` in a lane, `count` messages on: it wraps past 0, which means "unnumbered".
pub const fn seq_after(seq: u32, count: u32) -> u32 {
    let (next, wrapped) = seq.overflowing_add(count);
    if wrapped { next + 1 } else { next }
}

#[cfg(test)]
mod tests;
