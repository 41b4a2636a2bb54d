//! One data frame: its extensions and what it counts for, by offsets.

use laneway_proto::error::{DecodeError, PeerFault};
use laneway_proto::frame::extensions::Extensions;
use laneway_proto::framing::run::{CHECK_BYTES, check_data_frame};
use laneway_proto::header::{Flags, Header};

/// Where things are in a frame's body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The four fixed blocks in wire order (TS, FRAG, CORR, SRC), if present.
    pub blocks: [Option<[u8; 8]>; 4],
    /// The type-length-value extensions, if XHDR is present.
    pub tlvs: Option<Vec<(u8, Vec<u8>)>>,
    /// Where the payload starts in the body.
    pub payload_at: usize,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Reads the extensions that `flags` announce from a frame's body.
pub fn layout(flags: u8, body: &[u8]) -> Result<Layout, DecodeError> {
    let fixed = 8 * (flags & 0x0F).count_ones() as usize;
    if body.len() < fixed {
        return Err(DecodeError::BodyTruncated);
    }
    let mut blocks = [None; 4];
    let mut at = 0;
    for (bit, block) in blocks.iter_mut().enumerate() {
        if flags & (1 << bit) != 0 {
            *block = body[at..].first_chunk::<8>().copied();
            at += 8;
        }
    }
    if let Some(frag) = blocks[1] {
        let (index, count) = (u16_at(&frag, 0), u16_at(&frag, 2));
        if count < 2 || index >= count {
            return Err(DecodeError::BodyMalformed);
        }
    }
    if flags & 0x10 == 0 {
        return Ok(Layout { blocks, tlvs: None, payload_at: at });
    }
    if body.len() < at + 2 {
        return Err(DecodeError::BodyTruncated);
    }
    let total = usize::from(u16_at(body, at));
    if total < 4 || total % 4 != 0 {
        return Err(DecodeError::BodyMalformed);
    }
    if body.len() < at + total {
        return Err(DecodeError::BodyTruncated);
    }
    let tlvs = tlvs(&body[at + 2..at + total]).ok_or(DecodeError::BodyMalformed)?;
    Ok(Layout { blocks, tlvs: Some(tlvs), payload_at: at + total })
}

fn tlvs(mut bytes: &[u8]) -> Option<Vec<(u8, Vec<u8>)>> {
    let mut found = Vec::new();
    // Type 0 is the padding: nothing but zeros may follow it.
    while bytes.first().is_some_and(|&kind| kind != 0) {
        let [kind, len, ref rest @ ..] = *bytes else { return None };
        // A time to live is four bytes, receivers are two, and "retain" says everything by being there.
        if kind == 0x05 && len != 4 || kind == 0x06 && len != 0 || kind == 0x07 && len != 2 {
            return None;
        }
        found.push((kind, rest.get(..usize::from(len))?.to_vec()));
        bytes = &rest[usize::from(len)..];
    }
    bytes.iter().all(|&byte| byte == 0).then_some(found)
}

/// What a whole data frame (PUB or BATCH) counts for, or why it is refused.
pub fn messages(frame: &[u8], message_bytes_max: u32) -> Result<u32, PeerFault> {
    let body = &frame[16..];
    let layout = layout(frame[3], body)?;
    let payload = &body[layout.payload_at..];
    if frame[2] == 0x05 {
        if frame[3] & 0x16 != 0 {
            return Err(PeerFault::Decode(DecodeError::BodyMalformed));
        }
        if payload.len() < 4 {
            return Err(PeerFault::Decode(DecodeError::BodyTruncated));
        }
        let count = u16_at(payload, 0);
        let plausible = (1..=4_095).contains(&count) && payload.len() >= 4 + 2 * usize::from(count);
        let reserved = u16_at(payload, 2);
        return if plausible && reserved == 0 { Ok(u32::from(count)) } else { Err(DecodeError::BodyMalformed.into()) };
    }
    let Some(frag) = layout.blocks[1] else {
        let fits = payload.len() as u64 <= u64::from(message_bytes_max);
        return if fits { Ok(1) } else { Err(PeerFault::MessageTooLarge) };
    };
    if layout.blocks[3].is_none() {
        Err(PeerFault::FragmentInvalid)
    } else if u32_at(&frag, 4) > message_bytes_max {
        Err(PeerFault::MessageTooLarge)
    } else {
        Ok(u32::from(u16_at(&frag, 0) == 0))
    }
}

/// The number of the last message that is whole with this data frame, which counts for something.
pub fn seq_through(frame: &[u8]) -> u32 {
    let seq = u32_at(frame, 12);
    let layout = layout(frame[3], &frame[16..]).expect("a checked frame");
    let more = match layout.blocks[1] {
        _ if seq == 0 => return 0,
        Some(frag) if u16_at(&frag, 0) + 1 == u16_at(&frag, 2) => 0,
        Some(_) => return seq - 1,
        None if frame[2] == 0x05 => u32::from(u16_at(frame, 16 + layout.payload_at)) - 1,
        None => 0,
    };
    // Numbers go round without 0.
    ((u64::from(seq) - 1 + u64::from(more)) % u64::from(u32::MAX)) as u32 + 1
}

/// How many sessions must have received a message with these extensions before it is confirmed; 0: it need not be.
pub fn receivers_wanted(layout: &Layout) -> u16 {
    let said = layout.tlvs.iter().flatten().find(|(kind, _)| *kind == 0x07);
    match said {
        Some((_, value)) => u16_at(value, 0).max(1),
        None => u16::from(layout.blocks[3].is_some() && layout.blocks[1].is_none()),
    }
}

/// Compares the crate's check of a whole data frame with the model, and with its check of the frame's first bytes.
///
/// # Panics
/// If they disagree.
pub fn compare_check(frame: &[u8], message_bytes_max: u32) -> Result<u32, PeerFault> {
    let expected = messages(frame, message_bytes_max);
    let header = frame.first_chunk().map(Header::decode).expect("a frame has a header").expect("a valid length");
    assert_eq!(check_data_frame(&header, frame, message_bytes_max), expected, "{header:?}");
    if frame[3] & 0x10 == 0 && frame.len() > CHECK_BYTES {
        let front = &frame[..CHECK_BYTES];
        assert_eq!(check_data_frame(&header, front, message_bytes_max), expected, "by the first bytes of {header:?}");
    }
    expected
}

/// Compares the crate's reading of extensions with the model.
///
/// # Panics
/// If they disagree.
pub fn compare_extensions(flags: u8, body: &[u8]) {
    let expected = layout(flags, body);
    let got = Extensions::decode(Flags(flags), body);
    let (extensions, payload) = match (&expected, got) {
        (Err(expected), Err(got)) => return assert_eq!(got, *expected, "flags {flags:#04x}"),
        (Ok(_), Ok(got)) => got,
        (expected, got) => panic!("flags {flags:#04x}: {got:?} instead of {expected:?}"),
    };
    let Ok(expected) = expected else { return };
    assert_eq!(extensions.receivers_wanted(), receivers_wanted(&expected), "{expected:?}");
    let Layout { blocks: [ts, frag, corr, src], tlvs, payload_at } = expected;
    assert_eq!(payload, &body[payload_at..], "the payload starts where the formula says");
    assert_eq!(extensions.ts.map(u64::to_le_bytes), ts);
    assert_eq!(extensions.frag.map(|frag| frag.encode()), frag);
    let corr_bytes = |block: [u8; 8]| (u32_at(&block, 0), u16_at(&block, 4), u16_at(&block, 6));
    assert_eq!(extensions.corr.map(|corr| (corr.request, corr.code, corr.part)), corr.map(corr_bytes));
    assert_eq!(extensions.src.map(|src| src.encode()), src);
    let critical = tlvs.iter().flatten().any(|(kind, _)| kind & 0x80 != 0);
    assert_eq!(extensions.xhdr.is_some_and(|xhdr| xhdr.has_unknown_critical()), critical);
    let found = extensions.xhdr.map(|xhdr| xhdr.iter().flatten().map(|(kind, value)| (kind, value.to_vec())).collect());
    assert_eq!(found, tlvs);
}
