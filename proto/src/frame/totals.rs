//! One total per lane: the layout that CREDIT and COUNT share.
//!
//! ```text
//!  0    1    2         4      5    6         8
//!  | n  | 0  |    0    | lane | 0  |    0    | u64 total | lane ...     n times
//! ```
//! Totals are absolute and only grow, so a repeated or overtaken frame is harmless.

use crate::error::DecodeError;
use crate::header::{Header, Kind};
use crate::limits::{HEADER_BYTES, HOT_ENTRIES_MAX, LANES_MAX};
use crate::wire::Reader;

/// Bytes in front of the first entry: the count and three zeros.
pub const TOTALS_PREFIX_BYTES: usize = 4;
/// Bytes of one entry.
pub const TOTALS_ENTRY_BYTES: usize = 12;
/// Bytes of the largest frame of totals, header included.
pub const TOTALS_FRAME_BYTES_MAX: usize = HEADER_BYTES + TOTALS_PREFIX_BYTES + HOT_ENTRIES_MAX * TOTALS_ENTRY_BYTES;

/// A lane and its total.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneTotal {
    /// 1 to 15.
    pub lane: u8,
    /// Bytes (CREDIT) or frames (COUNT) since the session began.
    pub total: u64,
}

/// The entries of a checked body, in wire order.
#[derive(Clone, Debug)]
pub struct LaneTotals<'a> {
    reader: Reader<'a>,
}

impl<'a> LaneTotals<'a> {
    /// Checks a whole body: 1 to 15 entries, each of another lane, none of lane 0.
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let entries = entries(body, TOTALS_ENTRY_BYTES)?;
        let mut seen = 0u16;
        for entry in entries.chunks_exact(TOTALS_ENTRY_BYTES) {
            let [lane, 0, 0, 0, ..] = *entry else { return Err(DecodeError::BodyMalformed) };
            if lane == 0 || usize::from(lane) >= LANES_MAX || seen & 1 << lane != 0 {
                return Err(DecodeError::BodyMalformed);
            }
            seen |= 1 << lane;
        }
        Ok(Self { reader: Reader::new(entries) })
    }
}

impl Iterator for LaneTotals<'_> {
    type Item = LaneTotal;

    fn next(&mut self) -> Option<LaneTotal> {
        let [lane, ..] = *self.reader.bytes(4)? else { return None };
        Some(LaneTotal { lane, total: self.reader.u64()? })
    }
}

/// The entries behind the prefix `n | 0 | 0 | 0`, after checking that there are `n`, at least one and not too many.
pub(super) fn entries(body: &[u8], entry_bytes: usize) -> Result<&[u8], DecodeError> {
    let Some(([count, zeros @ ..], entries)) = body.split_first_chunk::<TOTALS_PREFIX_BYTES>() else {
        return Err(DecodeError::BodyTruncated);
    };
    let count = usize::from(*count);
    if count == 0 || count > HOT_ENTRIES_MAX || *zeros != [0; 3] || entries.len() > count * entry_bytes {
        return Err(DecodeError::BodyMalformed);
    }
    if entries.len() < count * entry_bytes {
        return Err(DecodeError::BodyTruncated);
    }
    Ok(entries)
}

/// Writes the header and the prefix of a frame of `count` entries; returns where the entries go and the frame's bytes.
pub(super) fn open(kind: Kind, count: usize, entry_bytes: usize, out: &mut [u8]) -> (&mut [u8], usize) {
    assert!(count > 0 && count <= HOT_ENTRIES_MAX, "the caller splits lists of {count} entries into frames");
    let body_bytes = TOTALS_PREFIX_BYTES + count * entry_bytes;
    let (head, body) = out.split_at_mut(HEADER_BYTES);
    head.copy_from_slice(&Header::new(kind, body_bytes).encode());
    let (prefix, entries) = body.split_at_mut(TOTALS_PREFIX_BYTES);
    prefix.copy_from_slice(&[count as u8, 0, 0, 0]);
    (entries, HEADER_BYTES + body_bytes)
}

/// Writes the whole frame to the front of `out`.
pub(super) fn encode<'a>(kind: Kind, totals: &[LaneTotal], out: &'a mut [u8; TOTALS_FRAME_BYTES_MAX]) -> &'a [u8] {
    let (entries, frame_bytes) = open(kind, totals.len(), TOTALS_ENTRY_BYTES, out);
    for (place, total) in entries.chunks_exact_mut(TOTALS_ENTRY_BYTES).zip(totals) {
        debug_assert!(total.lane > 0 && usize::from(total.lane) < LANES_MAX, "lane {} has no total", total.lane);
        let (lane, value) = place.split_at_mut(4);
        lane.copy_from_slice(&[total.lane, 0, 0, 0]);
        value.copy_from_slice(&total.total.to_le_bytes());
    }
    &out[..frame_bytes]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn totals_that_lie_about_their_number_or_name_a_lane_twice_are_refused() {
        let entry = |lane: u8| [lane, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let body = |count: u8, lanes: &[u8]| {
            let mut body = vec![count, 0, 0, 0];
            lanes.iter().for_each(|&lane| body.extend(entry(lane)));
            body
        };
        let lanes = |body: &[u8]| LaneTotals::decode(body).map(|totals| totals.map(|total| total.lane).collect());
        assert_eq!(lanes(&body(2, &[15, 1])), Ok(vec![15, 1]));
        let all: Vec<u8> = (1..16).collect();
        assert_eq!(lanes(&body(15, &all)).as_ref(), Ok(&all));
        let malformed = Err(DecodeError::BodyMalformed);
        for body in [body(0, &[]), body(1, &[0]), body(1, &[16]), body(2, &[3, 3]), body(1, &[1, 2]), body(255, &all)] {
            assert_eq!(lanes(&body), malformed, "{body:?}");
        }
        for at in [1, 2, 3, 5, 6, 7] {
            let mut reserved = body(1, &[1]);
            reserved[at] = 1;
            assert_eq!(lanes(&reserved), malformed, "byte {at} is reserved");
        }
        let whole = body(2, &[1, 2]);
        for bytes in 0..whole.len() {
            assert_eq!(lanes(&whole[..bytes]), Err(DecodeError::BodyTruncated), "{bytes} bytes");
        }
    }

    #[test]
    #[should_panic(expected = "splits lists")]
    fn more_entries_than_a_frame_holds_are_a_bug_of_the_caller() {
        let totals = [LaneTotal { lane: 1, total: 0 }; 16];
        encode(Kind::COUNT, &totals, &mut [0; TOTALS_FRAME_BYTES_MAX]);
    }
}
