//! ACK: which datagrams arrived, where the number in the datagram header does not say it all.
//!
//! ```text
//!  0             4         6    7    8       10
//!  | u32 largest |  delay  | n  | 0  |  gap  |  len  | gap ...     n times
//! ```
//! Going down from `largest`: `gap` numbers did not arrive (0 in the first entry, and only there), then `len` numbers did.
//! `delay` is how long `largest` waited for this, in units of 8 microseconds; 0xFFFF: unknown.

use super::limits::ACK_RANGES_MAX;
use super::received::Span;
use crate::error::DecodeError;
use crate::header::{Header, Kind};
use crate::limits::HEADER_BYTES;
use crate::time::Duration;
use crate::wire::{Reader, Writer};

/// Bytes in front of the first range.
pub const ACK_PREFIX_BYTES: usize = 8;
/// Bytes of one range.
pub const ACK_RANGE_BYTES: usize = 4;

const DELAY_UNIT_NS: u64 = 8_000;
const DELAY_UNKNOWN: u16 = u16::MAX;

/// The ranges of a checked body, newest first.
#[derive(Clone, Debug)]
pub struct Ack<'a> {
    /// The newest number that arrived.
    pub largest: u32,
    /// How long it waited to be acknowledged.
    pub delay: Option<Duration>,
    reader: Reader<'a>,
    /// The number above the next range's gap.
    at: u32,
}

/// Reads the body of an ACK frame: 1 to 32 ranges. All of it is checked before the first range.
pub fn decode(body: &[u8]) -> Result<Ack<'_>, DecodeError> {
    let mut reader = Reader::new(body);
    let fields = (reader.u32(), reader.u16(), reader.u8(), reader.u8());
    let (Some(largest), Some(delay), Some(count), Some(zero)) = fields else { return Err(DecodeError::BodyTruncated) };
    let ranges = reader.rest();
    let count = usize::from(count);
    if count == 0 || count > ACK_RANGES_MAX || zero != 0 || ranges.len() > count * ACK_RANGE_BYTES {
        return Err(DecodeError::BodyMalformed);
    }
    if ranges.len() < count * ACK_RANGE_BYTES {
        return Err(DecodeError::BodyTruncated);
    }
    for (place, range) in ranges.chunks_exact(ACK_RANGE_BYTES).enumerate() {
        let [g0, g1, l0, l1] = *range else { return Err(DecodeError::BodyMalformed) };
        if [l0, l1] == [0, 0] || (place == 0) != ([g0, g1] == [0, 0]) {
            return Err(DecodeError::BodyMalformed);
        }
    }
    let delay = (delay != DELAY_UNKNOWN).then(|| Duration(u64::from(delay) * DELAY_UNIT_NS));
    Ok(Ack { largest, delay, reader: Reader::new(ranges), at: largest.wrapping_add(1) })
}

impl Iterator for Ack<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let (gap, len) = (self.reader.u16()?, self.reader.u16()?);
        let end = self.at.wrapping_sub(u32::from(gap));
        self.at = end.wrapping_sub(u32::from(len));
        Some(Span { first: self.at, last: end.wrapping_sub(1) })
    }
}

/// Writes the whole frame: as many of `spans`, which go down from the newest number, as the layout and `out` have room
/// for. Returns its bytes; 0 if there is no span or no room for one.
pub fn encode(spans: impl Iterator<Item = Span>, delay: Duration, out: &mut [u8]) -> usize {
    let mut count = 0u8;
    let mut largest = 0;
    let mut above = None;
    let mut end = HEADER_BYTES + ACK_PREFIX_BYTES;
    for span in spans.take(ACK_RANGES_MAX) {
        let gap = match above {
            None => {
                largest = span.last;
                0
            }
            Some(above) => span.last.wrapping_add(1).wrapping_sub(above).wrapping_neg(),
        };
        let len = span.last.wrapping_sub(span.first).wrapping_add(1);
        let (Ok(gap), Ok(len)) = (u16::try_from(gap), u16::try_from(len)) else { break };
        let Some(place) = out.get_mut(end..end + ACK_RANGE_BYTES) else { break };
        let ([g0, g1], [l0, l1]) = (gap.to_le_bytes(), len.to_le_bytes());
        place.copy_from_slice(&[g0, g1, l0, l1]);
        (count, end, above) = (count + 1, end + ACK_RANGE_BYTES, Some(span.first));
    }
    if count == 0 {
        return 0;
    }
    let delay = u16::try_from(delay.0 / DELAY_UNIT_NS).unwrap_or(DELAY_UNKNOWN);
    let mut writer = Writer::new(out);
    let written = writer
        .bytes(&Header::new(Kind::ACK, end - HEADER_BYTES).encode())
        .and_then(|()| writer.u32(largest))
        .and_then(|()| writer.u16(delay))
        .and_then(|()| writer.u8(count))
        .and_then(|()| writer.u8(0));
    if written.is_some() { end } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn ranges_are_read_as_they_were_written_across_the_wrap() {
        let spans =
            [(3, 5), (u32::MAX, 1), (u32::MAX - 70_000 + 65_535, u32::MAX - 3), (u32::MAX - 40_000, u32::MAX - 30_000)];
        let spans = spans.map(|(first, last)| Span { first, last });
        let mut out = [0; 200];
        let bytes = encode(spans.into_iter(), Duration::from_micros(807), &mut out);
        assert_eq!(bytes, 16 + 8 + 4 * 4);
        let ack = decode(&out[16..bytes]).expect("an ACK");
        assert_eq!((ack.largest, ack.delay), (5, Some(Duration::from_micros(800))));
        assert_eq!(ack.collect::<Vec<_>>(), spans);
    }

    #[test]
    fn what_has_no_room_is_left_out() {
        let spans = (0..100u32).map(|step| Span { first: 1_000 - 3 * step, last: 1_001 - 3 * step });
        let mut out = [0; 400];
        let ranges = |bytes: usize, out: &[u8]| decode(&out[16..bytes]).map(Iterator::count);
        let bytes = encode(spans.clone(), Duration::ZERO, &mut out);
        assert_eq!(ranges(bytes, &out), Ok(ACK_RANGES_MAX));
        let bytes = encode(spans.clone(), Duration::ZERO, &mut out[..31]);
        assert_eq!((bytes, ranges(bytes, &out)), (28, Ok(1)));
        assert_eq!(encode(spans, Duration::ZERO, &mut out[..27]), 0);
        assert_eq!(encode([].into_iter(), Duration::ZERO, &mut out), 0);
        let late = [Span { first: 1, last: 1 }];
        encode(late.into_iter(), Duration::from_millis(10_000), &mut out);
        assert_eq!(decode(&out[16..28]).expect("an ACK").delay, None);
    }

    #[test]
    fn an_ack_that_lies_about_its_ranges_is_refused() {
        let body = |count: u8, zero: u8, ranges: &[[u8; 4]]| {
            let mut body = vec![9, 0, 0, 0, 1, 0, count, zero];
            ranges.iter().for_each(|range| body.extend(range));
            body
        };
        let good = body(2, 0, &[[0, 0, 1, 0], [1, 0, 1, 0]]);
        assert!(decode(&good).is_ok());
        for bytes in 0..good.len() {
            assert_eq!(decode(&good[..bytes]).err(), Some(DecodeError::BodyTruncated), "{bytes} bytes");
        }
        for bad in [
            body(0, 0, &[]),
            body(1, 1, &[[0, 0, 1, 0]]),
            body(1, 0, &[[1, 0, 1, 0]]),
            body(1, 0, &[[0, 0, 0, 0]]),
            body(2, 0, &[[0, 0, 1, 0], [0, 0, 1, 0]]),
            body(1, 0, &[[0, 0, 1, 0], [1, 0, 1, 0]]),
            body(33, 0, &[[0, 0, 1, 0]; 33]),
        ] {
            assert_eq!(decode(&bad).err(), Some(DecodeError::BodyMalformed), "{bad:?}");
        }
    }
}
