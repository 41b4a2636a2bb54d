//! HEARTBEAT: how far a lane has come, and from where on its sender can still help.
//!
//! ```text
//!  0    1    2         4      5    6         8           12
//!  | n  | 0  |    0    | lane | 0  |    0    | u32 trail | u32 lead  | lane ...     n times
//! ```
//! `trail` is the oldest number that can be asked for (`lead + 1`: none), `lead` the last one that was sent (0: none). In a session the
//! only entry is lane 0, and the numbers are those of datagrams.

use crate::error::DecodeError;
use crate::header::{Header, Kind};
use crate::limits::{HEADER_BYTES, LANES_MAX};
use crate::wire::Reader;

/// Bytes in front of the first entry.
pub const HEARTBEAT_PREFIX_BYTES: usize = 4;
/// Bytes of one entry.
pub const HEARTBEAT_ENTRY_BYTES: usize = 12;
/// Bytes of a HEARTBEAT of one entry, header included.
pub const HEARTBEAT_FRAME_BYTES: usize = HEADER_BYTES + HEARTBEAT_PREFIX_BYTES + HEARTBEAT_ENTRY_BYTES;

/// One lane's entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beat {
    /// 0 in a session, 1 to 15 in a broadcast.
    pub lane: u8,
    /// The oldest number that is still kept, or waited for.
    pub trail: u32,
    /// The last number that was sent.
    pub lead: u32,
}

/// The entries of a checked body, in wire order.
#[derive(Clone, Debug)]
pub struct Heartbeat<'a> {
    reader: Reader<'a>,
}

/// Reads the body of a HEARTBEAT: 1 to 16 entries, each of another lane. All of it is checked before the first entry.
pub fn decode(body: &[u8]) -> Result<Heartbeat<'_>, DecodeError> {
    let Some(([count, zeros @ ..], entries)) = body.split_first_chunk::<HEARTBEAT_PREFIX_BYTES>() else {
        return Err(DecodeError::BodyTruncated);
    };
    let count = usize::from(*count);
    if count == 0 || count > LANES_MAX || *zeros != [0; 3] || entries.len() > count * HEARTBEAT_ENTRY_BYTES {
        return Err(DecodeError::BodyMalformed);
    }
    if entries.len() < count * HEARTBEAT_ENTRY_BYTES {
        return Err(DecodeError::BodyTruncated);
    }
    let mut seen = 0u16;
    for entry in entries.chunks_exact(HEARTBEAT_ENTRY_BYTES) {
        let [lane, 0, 0, 0, ..] = *entry else { return Err(DecodeError::BodyMalformed) };
        if usize::from(lane) >= LANES_MAX || seen & 1 << lane != 0 {
            return Err(DecodeError::BodyMalformed);
        }
        seen |= 1 << lane;
    }
    Ok(Heartbeat { reader: Reader::new(entries) })
}

impl Iterator for Heartbeat<'_> {
    type Item = Beat;

    fn next(&mut self) -> Option<Beat> {
        let [lane, ..] = *self.reader.bytes(4)? else { return None };
        Some(Beat { lane, trail: self.reader.u32()?, lead: self.reader.u32()? })
    }
}

impl Beat {
    /// The whole frame, of this entry.
    pub fn encode(self) -> [u8; HEARTBEAT_FRAME_BYTES] {
        let Self { lane, trail, lead } = self;
        let mut frame = [0; HEARTBEAT_FRAME_BYTES];
        let (head, body) = frame.split_at_mut(HEADER_BYTES);
        head.copy_from_slice(&Header::new(Kind::HEARTBEAT, body.len()).encode());
        body[0] = 1;
        body[4] = lane;
        body[8..12].copy_from_slice(&trail.to_le_bytes());
        body[12..].copy_from_slice(&lead.to_le_bytes());
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn an_entry_is_read_as_it_was_written_and_lies_are_refused() {
        let beat = Beat { lane: 2, trail: 0x0102_0304, lead: u32::MAX };
        let frame = beat.encode();
        let body = &frame[16..];
        assert!(decode(body).is_ok_and(|beats| beats.eq([beat])));
        for bytes in 0..body.len() {
            assert_eq!(decode(&body[..bytes]).err(), Some(DecodeError::BodyTruncated), "{bytes} bytes");
        }
        for (at, value) in [(0, 0), (0, 17), (1, 1), (3, 1), (4, 16), (5, 1), (7, 1)] {
            let mut bad: Vec<u8> = body.to_vec();
            bad[at] = value;
            assert_eq!(decode(&bad).err(), Some(DecodeError::BodyMalformed), "byte {at} = {value}");
        }
        let mut twice: Vec<u8> = [body, &body[4..]].concat();
        twice[0] = 2;
        assert_eq!(decode(&twice).err(), Some(DecodeError::BodyMalformed), "a lane twice");
        twice[16] = 3;
        assert_eq!(decode(&twice).map(Iterator::count), Ok(2));
    }
}
