//! The frame of a serial link, without its CRC.
//!
//! ```text
//!  0                    1        2        3        4
//!  | kind | F | T | lane |       seq       |      topic      |
//!  | F: index | count |   | T: u32 microseconds |
//!  | REQ: u16 request | u8 timeout |  or  RSP: u16 request | u8 status |
//!  | payload ...                                                       |
//! ```
//! Byte 0, from its highest bit: 3 bits kind, FRAG, TS, 3 bits lane.

use super::control::TAG_LOST;
use super::limits::{SERIAL_HEADER_BYTES, SERIAL_MTU_MAX};
use crate::error::DecodeError;
use crate::wire::{Reader, Writer};

/// Bytes of the longest header with all its blocks.
pub const HEAD_BYTES_MAX: usize = SERIAL_HEADER_BYTES + 2 + 4 + 3;

const FRAG_BIT: u8 = 0x10;
const TS_BIT: u8 = 0x08;
const LANE_BITS: u8 = 0x07;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum SerialKind {
    /// One message, or one fragment of a message.
    Pub = 0,
    /// A request to a service.
    Req = 1,
    /// The answer to a request.
    Rsp = 2,
    /// A control message: a tag and fixed fields.
    Ctrl = 3,
    /// What arrived on reliable lanes.
    Ack = 4,
    /// A sign of life, and clocks.
    Time = 5,
    /// Whose turn it is on a half-duplex line.
    Poll = 6,
    /// HELLO, WELCOME, RESET.
    Link = 7,
}

impl SerialKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 8] =
        [Self::Pub, Self::Req, Self::Rsp, Self::Ctrl, Self::Ack, Self::Time, Self::Poll, Self::Link];

    /// The number that travels.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kind in the highest bits of a frame's first byte.
    pub const fn of(first: u8) -> Self {
        Self::ALL[(first >> 5) as usize]
    }

    /// Whether its frames are counted on their lane.
    pub const fn is_numbered(self) -> bool {
        (self as u8) < Self::Ack as u8
    }

    /// The name in the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pub => "PUB",
            Self::Req => "REQ",
            Self::Rsp => "RSP",
            Self::Ctrl => "CTRL",
            Self::Ack => "ACK",
            Self::Time => "TIME",
            Self::Poll => "POLL",
            Self::Link => "LINK",
        }
    }
}

/// A fragment's place in its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SerialFrag {
    /// Below `count`.
    pub index: u8,
    /// At least 2.
    pub count: u8,
}

/// Which request a REQ or RSP belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Correlation {
    /// Chosen by whoever asks.
    pub request: u16,
    /// REQ: the timeout in units of 100 ms. RSP: the status, 0 is good.
    pub extra: u8,
}

/// Everything in front of the payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// What the frame is.
    pub kind: SerialKind,
    /// 0 to 7.
    pub lane: u8,
    /// Its number on its lane; 0 if the kind is not numbered.
    pub seq: u16,
    /// The link's id of the topic or service; 0: none.
    pub topic: u16,
    /// Its place in a message that was cut.
    pub frag: Option<SerialFrag>,
    /// Microseconds on the sender's clock.
    pub ts: Option<u32>,
    /// Of REQ and RSP, and only of them.
    pub correlation: Option<Correlation>,
}

impl Head {
    /// The head of a frame that is not numbered.
    pub const fn unnumbered(kind: SerialKind) -> Self {
        Self { kind, lane: 0, seq: 0, topic: 0, frag: None, ts: None, correlation: None }
    }

    /// Reads a frame without its CRC and checks what every frame must keep to; returns the payload with it.
    pub fn decode(body: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let mut reader = Reader::new(body);
        let (Some(first), Some(seq), Some(topic)) = (reader.u8(), reader.u16(), reader.u16()) else {
            return Err(DecodeError::BodyTruncated);
        };
        let (kind, lane) = (SerialKind::of(first), first & LANE_BITS);
        let mut head = Self { lane, seq, topic, ..Self::unnumbered(kind) };
        if first & FRAG_BIT != 0 {
            let (Some(index), Some(count)) = (reader.u8(), reader.u8()) else { return Err(DecodeError::BodyTruncated) };
            head.frag = Some(SerialFrag { index, count });
        }
        if first & TS_BIT != 0 {
            head.ts = Some(reader.u32().ok_or(DecodeError::BodyTruncated)?);
        }
        if matches!(kind, SerialKind::Req | SerialKind::Rsp) {
            let (Some(request), Some(extra)) = (reader.u16(), reader.u8()) else {
                return Err(DecodeError::BodyTruncated);
            };
            head.correlation = Some(Correlation { request, extra });
        }
        head.check(reader.rest())?;
        Ok((head, reader.rest()))
    }

    fn check(&self, payload: &[u8]) -> Result<(), DecodeError> {
        let right = match self.kind {
            SerialKind::Pub | SerialKind::Req | SerialKind::Rsp => self.topic != 0 && self.lane != 0,
            // What has a topic, or is on another lane, can only be LOST.
            SerialKind::Ctrl if self.topic == 0 && self.lane == 0 => !payload.is_empty(),
            SerialKind::Ctrl => payload.first() == Some(&TAG_LOST) && self.frag.is_none(),
            SerialKind::Ack | SerialKind::Time | SerialKind::Poll | SerialKind::Link => {
                let blank = Self::unnumbered(self.kind);
                *self == blank
            }
        };
        let whole = self.frag.is_none_or(|frag| frag.index < frag.count && frag.count >= 2 && !payload.is_empty());
        if right && whole && payload.len() <= SERIAL_MTU_MAX { Ok(()) } else { Err(DecodeError::BodyMalformed) }
    }

    /// Writes the bytes in front of the payload and returns them.
    pub fn encode<'a>(&self, out: &'a mut [u8; HEAD_BYTES_MAX]) -> &'a [u8] {
        let Self { kind, lane, seq, topic, frag, ts, correlation } = *self;
        debug_assert!(lane <= LANE_BITS, "lane {lane} does not exist on serial links");
        let bits = if frag.is_some() { FRAG_BIT } else { 0 } | if ts.is_some() { TS_BIT } else { 0 };
        let mut writer = Writer::new(out);
        let written = (|| {
            writer.u8(kind.number() << 5 | bits | lane & LANE_BITS)?;
            writer.u16(seq)?;
            writer.u16(topic)?;
            if let Some(SerialFrag { index, count }) = frag {
                writer.bytes(&[index, count])?;
            }
            if let Some(ts) = ts {
                writer.u32(ts)?;
            }
            if let Some(Correlation { request, extra }) = correlation {
                writer.u16(request)?;
                writer.u8(extra)?;
            }
            Some(writer.len())
        })();
        &out[..written.unwrap_or_default()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_numbered_by_their_place_and_the_first_four_are_counted() {
        for (place, kind) in SerialKind::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(kind.number()), place);
            assert_eq!(SerialKind::of(kind.number() << 5 | 0x1F), kind);
            assert_eq!(kind.is_numbered(), place < 4);
        }
    }

    #[test]
    fn frames_that_break_a_rule_of_their_kind_are_malformed() {
        let malformed = |body: &[u8]| assert_eq!(Head::decode(body), Err(DecodeError::BodyMalformed), "{body:02x?}");
        malformed(&[0x01, 1, 0, 0, 0, 9]); // PUB on topic 0
        malformed(&[0x00, 1, 0, 1, 0, 9]); // PUB on lane 0
        malformed(&[0x60, 1, 0, 0, 0]); // CTRL without a tag
        malformed(&[0x11, 1, 0, 1, 0, 0, 1, 9]); // one fragment
        malformed(&[0x11, 1, 0, 1, 0, 2, 2, 9]); // fragment 2 of 2
        malformed(&[0x11, 1, 0, 1, 0, 0, 2]); // an empty fragment
        malformed(&[0x81, 0, 0, 0, 0, 0]); // ACK on lane 1
        malformed(&[0xA0, 1, 0, 0, 0]); // TIME with a number
        malformed(&[0xA8, 0, 0, 0, 0, 1, 2, 3, 4]); // TIME with TS
        for bytes in 0..5 {
            assert_eq!(Head::decode(&[0; 5][..bytes]), Err(DecodeError::BodyTruncated));
        }
        assert_eq!(Head::decode(&[0x19, 1, 0, 1, 0, 0, 2, 1, 2, 3]), Err(DecodeError::BodyTruncated));
        assert_eq!(Head::decode(&[0x21, 1, 0, 1, 0, 0, 2]), Err(DecodeError::BodyTruncated));
    }
}
