//! Extension blocks between header and payload, in the fixed order TS, FRAG, CORR, SRC, XHDR.
//!
//! ```text
//! TS    u64 nanoseconds on the origin session's clock
//! FRAG  u16 index | u16 count (2..) | u32 total_len
//! CORR  u32 request | u16 code | u16 part
//! SRC   u32 origin node short id | u32 origin sequence
//! XHDR  u16 bytes including this field | (u8 type | u8 len | value)* | zeros to a multiple of 4
//!       type 0x05: u32 time to live in ms; type 0x06: retain, no value; type 0x07: u16 receivers
//! ```

use crate::error::DecodeError;
use crate::header::Flags;
use crate::wire::Reader;

/// XHDR type of a message's time to live.
pub const XHDR_TTL: u8 = 0x05;
/// XHDR type that asks the broker to keep the message as its topic's last value.
pub const XHDR_RETAIN: u8 = 0x06;
/// XHDR type of how many sessions must have received the message before it is confirmed as delivered.
pub const XHDR_RECEIVERS: u8 = 0x07;
/// Bytes of the largest XHDR block that [`MessageOptions::encode`] writes.
pub const MESSAGE_OPTIONS_BYTES_MAX: usize = 16;

/// Where a fragment stands in its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Frag {
    /// Place of this fragment, from 0.
    pub index: u16,
    /// Fragments of the message, at least 2.
    pub count: u16,
    /// Bytes of the whole message.
    pub total_len: u32,
}

/// Ties a response to its request (later version).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corr {
    /// The request's number.
    pub request: u32,
    /// Request: timeout in ms; response: status.
    pub code: u16,
    /// Part of a streamed response.
    pub part: u16,
}

/// Who first sent the message: its identity across links, brokers and restarts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Src {
    /// Short id of the origin, drawn from its node id and epoch.
    pub origin: u32,
    /// The origin's own number of the message in its lane.
    pub seq: u32,
}

/// The type-length-value extensions, still encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Xhdr<'a> {
    tlvs: &'a [u8],
}

/// What a publisher asks of the broker for one message, in XHDR.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MessageOptions {
    /// Milliseconds from its arrival at the first broker after which it is no longer sent; `Some(0)`: never, whatever the
    /// lane says; `None`: as the lane says.
    pub ttl_ms: Option<u32>,
    /// Keep it as the topic's last value; an empty message deletes that value.
    pub retain: bool,
    /// Confirm it once so many sessions have received it; 0 is taken as 1. `None`: do not, unless SRC says so.
    pub receivers: Option<u16>,
}

/// All extensions of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extensions<'a> {
    /// Nanoseconds on the origin session's clock.
    pub ts: Option<u64>,
    /// Place in a fragmented message.
    pub frag: Option<Frag>,
    /// Request identity.
    pub corr: Option<Corr>,
    /// Origin identity.
    pub src: Option<Src>,
    /// Type-length-value extensions.
    pub xhdr: Option<Xhdr<'a>>,
}

impl<'a> Extensions<'a> {
    /// Splits the bytes after the header into extensions and payload.
    pub fn decode(flags: Flags, body: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let mut reader = Reader::new(body);
        let fixed = reader.bytes(flags.fixed_extension_bytes()).ok_or(DecodeError::BodyTruncated)?;
        let mut fixed = Reader::new(fixed);
        let mut extensions = Self::default();
        if flags.has(Flags::TS) {
            extensions.ts = fixed.u64();
        }
        if flags.has(Flags::FRAG) {
            extensions.frag = Some(Frag::decode(&mut fixed)?);
        }
        if flags.has(Flags::CORR) {
            extensions.corr = corr(&mut fixed);
        }
        if flags.has(Flags::SRC) {
            extensions.src = src(&mut fixed);
        }
        if flags.has(Flags::XHDR) {
            extensions.xhdr = Some(Xhdr::decode(&mut reader)?);
        }
        Ok((extensions, reader.rest()))
    }

    /// How many sessions must have received the message before it is confirmed as delivered; 0: it is not to be.
    pub fn receivers_wanted(&self) -> u16 {
        match self.xhdr.and_then(|xhdr| xhdr.options().receivers) {
            Some(receivers) => receivers.max(1),
            None => (self.src.is_some() && self.frag.is_none()) as u16,
        }
    }
}

fn corr(reader: &mut Reader<'_>) -> Option<Corr> {
    Some(Corr { request: reader.u32()?, code: reader.u16()?, part: reader.u16()? })
}

fn src(reader: &mut Reader<'_>) -> Option<Src> {
    Some(Src { origin: reader.u32()?, seq: reader.u32()? })
}

impl Frag {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let fields = (reader.u16(), reader.u16(), reader.u32());
        let (Some(index), Some(count), Some(total_len)) = fields else {
            return Err(DecodeError::BodyTruncated);
        };
        if count < 2 || index >= count {
            return Err(DecodeError::BodyMalformed);
        }
        Ok(Self { index, count, total_len })
    }

    /// The 8 bytes of the block.
    pub const fn encode(self) -> [u8; 8] {
        let [i0, i1] = self.index.to_le_bytes();
        let [c0, c1] = self.count.to_le_bytes();
        let [t0, t1, t2, t3] = self.total_len.to_le_bytes();
        [i0, i1, c0, c1, t0, t1, t2, t3]
    }
}

impl Src {
    /// The 8 bytes of the block.
    pub const fn encode(self) -> [u8; 8] {
        let [o0, o1, o2, o3] = self.origin.to_le_bytes();
        let [s0, s1, s2, s3] = self.seq.to_le_bytes();
        [o0, o1, o2, o3, s0, s1, s2, s3]
    }
}

impl MessageOptions {
    /// The XHDR block, written to the front of `out`; empty (and the flag is then not set) if nothing is asked for.
    pub fn encode(self, out: &mut [u8; MESSAGE_OPTIONS_BYTES_MAX]) -> &[u8] {
        *out = [0; MESSAGE_OPTIONS_BYTES_MAX];
        let mut end = 2;
        let mut put = |tlv: &[u8]| {
            out[end..end + tlv.len()].copy_from_slice(tlv);
            end += tlv.len();
        };
        let Self { ttl_ms, retain, receivers } = self;
        if let Some(ttl_ms) = ttl_ms {
            let [t0, t1, t2, t3] = ttl_ms.to_le_bytes();
            put(&[XHDR_TTL, 4, t0, t1, t2, t3]);
        }
        if retain {
            put(&[XHDR_RETAIN, 0]);
        }
        if let Some(receivers) = receivers {
            let [r0, r1] = receivers.to_le_bytes();
            put(&[XHDR_RECEIVERS, 2, r0, r1]);
        }
        if end == 2 {
            return &[];
        }
        let bytes = end.next_multiple_of(4);
        out[0] = bytes as u8;
        &out[..bytes]
    }
}

impl<'a> Xhdr<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let bytes = reader.u16().ok_or(DecodeError::BodyTruncated)?;
        if bytes < 4 || bytes % 4 != 0 {
            return Err(DecodeError::BodyMalformed);
        }
        let tlvs = reader.bytes(usize::from(bytes) - 2).ok_or(DecodeError::BodyTruncated)?;
        let xhdr = Self { tlvs };
        let sound = |tlv| match tlv {
            Ok((XHDR_TTL, value)) => <[u8]>::len(value) == 4,
            Ok((XHDR_RETAIN, value)) => value.is_empty(),
            Ok((XHDR_RECEIVERS, value)) => value.len() == 2,
            Ok(_) => true,
            Err(_) => false,
        };
        if xhdr.iter().all(sound) { Ok(xhdr) } else { Err(DecodeError::BodyMalformed) }
    }

    /// What the publisher asks for. Of a type that stands there twice the first counts.
    pub fn options(&self) -> MessageOptions {
        let mut options = MessageOptions::default();
        for (kind, value) in self.iter().flatten() {
            match kind {
                XHDR_TTL if options.ttl_ms.is_none() => options.ttl_ms = Reader::new(value).u32(),
                XHDR_RETAIN => options.retain = true,
                XHDR_RECEIVERS if options.receivers.is_none() => options.receivers = Reader::new(value).u16(),
                _ => {}
            }
        }
        options
    }

    /// The extensions as (type, value), in wire order; padding zeros end the list.
    pub const fn iter(&self) -> Tlvs<'a> {
        Tlvs { reader: Reader::new(self.tlvs) }
    }

    /// Whether a type this version does not know is marked critical (bit 7).
    pub fn has_unknown_critical(&self) -> bool {
        self.iter().flatten().any(|(kind, _)| kind & 0x80 != 0)
    }
}

/// Iterator over type-length-value extensions.
#[derive(Clone, Debug)]
pub struct Tlvs<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<(u8, &'a [u8]), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.reader.rest();
        // Type 0 is the padding, so one look behind it is enough, however many zeros a hostile frame holds.
        if *rest.first()? == 0 && rest.iter().all(|&byte| byte == 0) {
            return None;
        }
        let tlv = (|| {
            let kind = self.reader.u8().filter(|&kind| kind != 0)?;
            let len = self.reader.u8()?;
            Some((kind, self.reader.bytes(usize::from(len))?))
        })();
        if tlv.is_none() {
            self.reader = Reader::new(&[]);
        }
        Some(tlv.ok_or(DecodeError::BodyMalformed))
    }
}
