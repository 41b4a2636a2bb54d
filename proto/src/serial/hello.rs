//! LINK frames: who is there, and which session it is.
//!
//! ```text
//!  0     1             2             3       4               8                 16
//!  | 1 | version_min | version_max | flags | u32 nonce     | node id, 8 bytes |
//!  16             18             20           24                28
//!  | u16 mtu     | u16 dead_ms  | u32 baud   | u32 topics_hash | u8 lanes | lanes x 6 | u8 n | name |     HELLO
//!
//!  | 2 | u32 yours    | u32 mine    | flags |          WELCOME
//!  | 3 | u32 yours    | u32 mine    | code  |          RESET
//!
//!  one lane:   | level | kind | selective | lane | window | u16 assembly | u16 credit |
//! ```

use super::limits::{
    SERIAL_DEAD_MS_MIN, SERIAL_LANES_MAX, SERIAL_MTU_MAX, SERIAL_MTU_MIN, SERIAL_NAME_BYTES_MAX, SERIAL_WINDOW_MAX,
};
use crate::error::DecodeError;
use crate::lane::kind::LaneKind;
use crate::lane::table::CONTROL_LANE;
use crate::wire::{Reader, Writer};

const TAG_HELLO: u8 = 1;
const TAG_WELCOME: u8 = 2;
const TAG_RESET: u8 = 3;
const OFFER_BYTES: usize = 6;
const SELECTIVE_BIT: u8 = 0x08;

/// Bytes of a node id on serial links.
pub const SERIAL_NODE_ID_BYTES: usize = 8;

/// Which end of the line a side is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Role {
    /// The broker's end; master of a half-duplex line.
    Host,
    /// The other end.
    Device,
}

/// What a side says of one of its lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneOffer {
    /// 0 to 7.
    pub lane: u8,
    /// What it promises; both sides must say the same.
    pub kind: LaneKind,
    /// What the sender's publishes on it ask for: 0 nothing, 2 a CONFIRM of delivery.
    pub level: u8,
    /// The sender keeps frames that arrive ahead of a missing one.
    pub selective: bool,
    /// Frames it takes before it has acknowledged any, 1 to 16.
    pub window: u8,
    /// Bytes of the largest message it puts together from fragments; 0: none.
    pub assembly: u16,
    /// The last number the peer may send before a CREDIT; 0: any.
    pub credit: u16,
}

/// Everything a HELLO says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello<'a> {
    /// Lowest version the sender speaks.
    pub version_min: u8,
    /// Highest version it speaks.
    pub version_max: u8,
    /// Which end it is.
    pub role: Role,
    /// Drawn at its start, and when it ended a session; never 0.
    pub nonce: u32,
    /// Stable for the node.
    pub node_id: [u8; SERIAL_NODE_ID_BYTES],
    /// Payload bytes of the largest frame it takes.
    pub mtu: u16,
    /// Milliseconds without a good frame after which it gives the session up.
    pub dead_ms: u16,
    /// Bits per second; 0: there is no such thing.
    pub baud: u32,
    /// Identifies a table of predefined topics; 0: none.
    pub topics_hash: u32,
    /// Its lanes.
    pub lanes: Offers<'a>,
    /// For people.
    pub name: &'a str,
}

/// The lanes of a HELLO: a list to be written, or bytes that were read and checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offers<'a> {
    bytes: &'a [u8],
}

/// One LINK frame's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkBody<'a> {
    /// Who is there.
    Hello(Hello<'a>),
    /// Your HELLO was read.
    Welcome {
        /// The receiver's nonce.
        yours: u32,
        /// The sender's.
        mine: u32,
        /// The sender has the table of the receiver's `topics_hash`.
        knows_topics: bool,
    },
    /// The session is over.
    Reset {
        /// The receiver's nonce in it.
        yours: u32,
        /// The sender's nonce in it.
        mine: u32,
        /// A close code.
        code: u8,
    },
}

impl LaneOffer {
    const fn encode(&self) -> [u8; OFFER_BYTES] {
        let Self { lane, kind, level, selective, window, assembly, credit } = *self;
        let first = level << 6 | kind.number() << 4 | if selective { SELECTIVE_BIT } else { 0 } | lane;
        let ([a0, a1], [c0, c1]) = (assembly.to_le_bytes(), credit.to_le_bytes());
        [first, window, a0, a1, c0, c1]
    }

    fn decode(bytes: &[u8; OFFER_BYTES]) -> Option<Self> {
        let [first, window, a0, a1, c0, c1] = *bytes;
        let offer = Self {
            lane: first & 7,
            kind: LaneKind::from_number(first >> 4 & 3)?,
            level: first >> 6,
            selective: first & SELECTIVE_BIT != 0,
            window,
            assembly: u16::from_le_bytes([a0, a1]),
            credit: u16::from_le_bytes([c0, c1]),
        };
        let possible = window >= 1 && usize::from(window) <= SERIAL_WINDOW_MAX;
        (possible && (offer.lane != CONTROL_LANE || offer.kind == LaneKind::RO)).then_some(offer)
    }
}

impl<'a> Offers<'a> {
    /// Writes the lanes to the front of `out`, for a HELLO.
    ///
    /// # Panics
    /// With more than eight lanes.
    pub fn new(lanes: &[LaneOffer], out: &'a mut [u8; OFFER_BYTES * SERIAL_LANES_MAX]) -> Self {
        assert!(lanes.len() <= SERIAL_LANES_MAX, "a link has eight lanes at most");
        for (place, lane) in out.chunks_exact_mut(OFFER_BYTES).zip(lanes) {
            place.copy_from_slice(&lane.encode());
        }
        Self { bytes: &out[..OFFER_BYTES * lanes.len()] }
    }

    /// The lanes in the order of the frame.
    pub fn iter(&self) -> impl Iterator<Item = LaneOffer> + use<'a> {
        self.bytes.chunks_exact(OFFER_BYTES).filter_map(|bytes| LaneOffer::decode(bytes.first_chunk()?))
    }

    /// The lane with this number.
    pub fn get(&self, lane: u8) -> Option<LaneOffer> {
        self.iter().find(|offer| offer.lane == lane)
    }

    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let offers = Self { bytes };
        let mut seen = 0u8;
        for offer in offers.iter() {
            if seen & 1 << offer.lane != 0 {
                return None;
            }
            seen |= 1 << offer.lane;
        }
        (seen & 1 != 0 && seen.count_ones() as usize * OFFER_BYTES == bytes.len()).then_some(offers)
    }
}

impl<'a> Hello<'a> {
    fn decode(reader: &mut Reader<'a>) -> Option<Self> {
        let (version_min, version_max, flags) = (reader.u8()?, reader.u8()?, reader.u8()?);
        let nonce = reader.u32()?;
        let node_id = *reader.bytes(SERIAL_NODE_ID_BYTES)?.first_chunk()?;
        let (mtu, dead_ms, baud, topics_hash) = (reader.u16()?, reader.u16()?, reader.u32()?, reader.u32()?);
        let lanes = usize::from(reader.u8()?);
        let lanes = Offers::decode(reader.bytes(lanes * OFFER_BYTES)?)?;
        let name_bytes = usize::from(reader.u8()?);
        let name = core::str::from_utf8(reader.bytes(name_bytes)?).ok()?;
        let possible = nonce != 0
            && (SERIAL_MTU_MIN..=SERIAL_MTU_MAX).contains(&usize::from(mtu))
            && u32::from(dead_ms) >= SERIAL_DEAD_MS_MIN
            && name_bytes <= SERIAL_NAME_BYTES_MAX
            && version_min <= version_max;
        let role = if flags & 1 != 0 { Role::Host } else { Role::Device };
        let hello =
            Self { version_min, version_max, role, nonce, node_id, mtu, dead_ms, baud, topics_hash, lanes, name };
        possible.then_some(hello)
    }

    fn encode(&self, writer: &mut Writer<'_>) -> Option<()> {
        let Self { version_min, version_max, role, nonce, node_id, mtu, dead_ms, baud, topics_hash, lanes, name } =
            *self;
        debug_assert!(name.len() <= SERIAL_NAME_BYTES_MAX, "a name of {} bytes", name.len());
        writer.bytes(&[TAG_HELLO, version_min, version_max, u8::from(role == Role::Host)])?;
        writer.u32(nonce)?;
        writer.bytes(&node_id)?;
        writer.u16(mtu)?;
        writer.u16(dead_ms)?;
        writer.u32(baud)?;
        writer.u32(topics_hash)?;
        writer.u8((lanes.bytes.len() / OFFER_BYTES) as u8)?;
        writer.bytes(lanes.bytes)?;
        writer.u8(name.len() as u8)?;
        writer.bytes(name.as_bytes())
    }
}

impl<'a> LinkBody<'a> {
    /// Reads the payload of a LINK frame. An unknown tag, and anything that breaks a rule, is an error; the frame is
    /// then ignored.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let body = match reader.u8() {
            Some(TAG_HELLO) => Hello::decode(&mut reader).map(Self::Hello),
            Some(tag @ (TAG_WELCOME | TAG_RESET)) => (|| {
                let (yours, mine, last) = (reader.u32()?, reader.u32()?, reader.u8()?);
                Some(match tag {
                    TAG_WELCOME => Self::Welcome { yours, mine, knows_topics: last & 1 != 0 },
                    _ => Self::Reset { yours, mine, code: last },
                })
            })(),
            Some(_) | None => None,
        };
        body.ok_or(DecodeError::BodyMalformed)
    }

    /// Writes the payload; `None` if it does not fit.
    pub fn encode(&self, writer: &mut Writer<'_>) -> Option<()> {
        let (tag, yours, mine, last) = match *self {
            Self::Hello(ref hello) => return hello.encode(writer),
            Self::Welcome { yours, mine, knows_topics } => (TAG_WELCOME, yours, mine, u8::from(knows_topics)),
            Self::Reset { yours, mine, code } => (TAG_RESET, yours, mine, code),
        };
        writer.u8(tag)?;
        writer.u32(yours)?;
        writer.u32(mine)?;
        writer.u8(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const CONTROL: LaneOffer =
        LaneOffer { lane: 0, kind: LaneKind::RO, level: 0, selective: false, window: 1, assembly: 96, credit: 0 };

    fn hello(lanes: &[LaneOffer]) -> Vec<u8> {
        let mut offers = [0; 48];
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            role: Role::Device,
            nonce: 7,
            node_id: [9; 8],
            mtu: 96,
            dead_ms: 1_500,
            baud: 0,
            topics_hash: 0,
            lanes: Offers::new(lanes, &mut offers),
            name: "probe",
        };
        let mut out = [0; 128];
        let mut writer = Writer::new(&mut out);
        LinkBody::Hello(hello).encode(&mut writer).expect("it fits");
        let len = writer.len();
        assert!(
            matches!(LinkBody::decode(&out[..len]), Ok(LinkBody::Hello(read)) if read == hello) || lanes.is_empty()
        );
        out[..len].to_vec()
    }

    #[test]
    fn a_hello_that_cannot_be_true_is_refused_whatever_is_wrong_with_it() {
        let good = hello(&[CONTROL, LaneOffer { lane: 7, kind: LaneKind::UU, ..CONTROL }]);
        let refused =
            |bytes: &[u8]| assert_eq!(LinkBody::decode(bytes), Err(DecodeError::BodyMalformed), "{bytes:02x?}");
        for (at, value) in
            [(4, 0), (16, 31), (17, 5), (18, 0), (28, 3), (28, 9), (29, 0x20), (30, 0), (30, 17), (35, 0x30)]
        {
            let mut bad = good.clone();
            bad[at] = value;
            if at == 18 {
                bad[19] = 0;
            }
            refused(&bad);
        }
        for bytes in 0..good.len() {
            refused(&good[..bytes]);
        }
        refused(&hello(&[]));
        refused(&[4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let longer = [&good[..], &[1, 2, 3]].concat();
        assert!(LinkBody::decode(&longer).is_ok(), "a later version may add to it");
    }
}
