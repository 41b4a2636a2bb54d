//! NAK: numbers of a broadcast stream that a receiver misses, sent to the source alone.
//!
//! ```text
//!  0            4      5    6         8           12      14
//!  | u32 sender | lane | n  |    0    | u32 first | count |   0   | first ...     n times
//! ```
//! The header's topic is the stream's interest tag. `first` is never 0, `count` at least 1.

use super::limits::NAK_RANGES_MAX;
use crate::error::DecodeError;
use crate::header::{Header, Kind};
use crate::limits::{HEADER_BYTES, LANES_MAX};
use crate::wire::{Reader, Writer};

/// Bytes in front of the first range.
pub const NAK_PREFIX_BYTES: usize = 8;
/// Bytes of one range.
pub const NAK_RANGE_BYTES: usize = 8;
/// Bytes of the longest NAK frame, header included.
pub const NAK_FRAME_BYTES_MAX: usize = HEADER_BYTES + NAK_PREFIX_BYTES + NAK_RANGES_MAX * NAK_RANGE_BYTES;

/// Which stream of which source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct StreamKey {
    /// The source's id.
    pub sender: u32,
    /// The interest tag of the stream's datagrams.
    pub tag: u32,
    /// 1 to 15.
    pub lane: u8,
}

/// Numbers that are missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missing {
    /// The first of them.
    pub first: u32,
    /// How many, 1 at least.
    pub count: u16,
}

/// The ranges of a checked body, in wire order.
#[derive(Clone, Debug)]
pub struct Nak<'a> {
    /// Of which stream.
    pub stream: StreamKey,
    reader: Reader<'a>,
}

/// Reads a NAK frame: its header and its body, of 1 to 32 ranges. All of it is checked before the first range.
pub fn decode<'a>(header: &Header, body: &'a [u8]) -> Result<Nak<'a>, DecodeError> {
    let mut reader = Reader::new(body);
    let fields = (reader.u32(), reader.u8(), reader.u8(), reader.u16());
    let (Some(sender), Some(lane), Some(count), Some(zero)) = fields else { return Err(DecodeError::BodyTruncated) };
    let (ranges, count) = (reader.rest(), usize::from(count));
    let lane_sound = lane > 0 && usize::from(lane) < LANES_MAX;
    if count == 0 || count > NAK_RANGES_MAX || zero != 0 || !lane_sound || ranges.len() > count * NAK_RANGE_BYTES {
        return Err(DecodeError::BodyMalformed);
    }
    if ranges.len() < count * NAK_RANGE_BYTES {
        return Err(DecodeError::BodyTruncated);
    }
    let sound = |range: &[u8]| range[..4] != [0; 4] && range[4..6] != [0; 2] && range[6..] == [0; 2];
    if !ranges.chunks_exact(NAK_RANGE_BYTES).all(sound) {
        return Err(DecodeError::BodyMalformed);
    }
    Ok(Nak { stream: StreamKey { sender, tag: header.topic, lane }, reader: Reader::new(ranges) })
}

impl Iterator for Nak<'_> {
    type Item = Missing;

    fn next(&mut self) -> Option<Missing> {
        let (first, count) = (self.reader.u32()?, self.reader.u16()?);
        let _ = self.reader.u16()?;
        Some(Missing { first, count })
    }
}

/// Writes the whole frame: the first 32 of `missing`. Returns its bytes; 0 if nothing is missing.
pub fn encode(stream: StreamKey, missing: impl Iterator<Item = Missing>, out: &mut [u8; NAK_FRAME_BYTES_MAX]) -> usize {
    let mut count = 0usize;
    let ranges = out[HEADER_BYTES + NAK_PREFIX_BYTES..].chunks_exact_mut(NAK_RANGE_BYTES);
    for (place, Missing { first, count: numbers }) in ranges.zip(missing) {
        debug_assert!(first != 0 && numbers != 0, "a range of {numbers} numbers from {first}");
        let ([f0, f1, f2, f3], [c0, c1]) = (first.to_le_bytes(), numbers.to_le_bytes());
        place.copy_from_slice(&[f0, f1, f2, f3, c0, c1, 0, 0]);
        count += 1;
    }
    if count == 0 {
        return 0;
    }
    let body_bytes = NAK_PREFIX_BYTES + count * NAK_RANGE_BYTES;
    let header = Header { topic: stream.tag, ..Header::new(Kind::NAK, body_bytes) };
    let mut writer = Writer::new(out);
    let written = writer
        .bytes(&header.encode())
        .and_then(|()| writer.u32(stream.sender))
        .and_then(|()| writer.bytes(&[stream.lane, count as u8, 0, 0]));
    debug_assert!(written.is_some(), "the buffer is as long as the longest frame");
    HEADER_BYTES + body_bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const STREAM: StreamKey = StreamKey { sender: 0x0A0B_0C0D, tag: 0x514F_92F7, lane: 2 };

    fn header(tag: u32) -> Header {
        Header { topic: tag, ..Header::new(Kind::NAK, 0) }
    }

    #[test]
    fn ranges_are_read_as_they_were_written_and_those_without_room_left_out() {
        let mut out = [0; NAK_FRAME_BYTES_MAX];
        let missing = (1..100u32).map(|at| Missing { first: at * 10, count: at as u16 });
        let bytes = encode(STREAM, missing.clone(), &mut out);
        assert_eq!(bytes, NAK_FRAME_BYTES_MAX);
        let nak = decode(&header(STREAM.tag), &out[16..bytes]).expect("a NAK");
        assert_eq!(nak.stream, STREAM);
        assert!(nak.eq(missing.take(NAK_RANGES_MAX)));
        assert_eq!(encode(STREAM, [].into_iter(), &mut out), 0);
    }

    #[test]
    fn a_nak_that_lies_about_its_ranges_is_refused() {
        let mut out = [0; NAK_FRAME_BYTES_MAX];
        let bytes = encode(STREAM, [Missing { first: 7, count: 1 }].into_iter(), &mut out);
        let good: Vec<u8> = out[16..bytes].to_vec();
        assert!(decode(&header(0), &good).is_ok());
        for bytes in 0..good.len() {
            assert_eq!(decode(&header(0), &good[..bytes]).err(), Some(DecodeError::BodyTruncated), "{bytes} bytes");
        }
        for (at, value) in [(4, 0), (4, 16), (5, 0), (5, 33), (6, 1), (7, 1), (8, 0), (12, 0), (14, 1), (15, 1)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(decode(&header(0), &bad).is_err(), "byte {at} = {value}");
        }
        let longer = [&good[..], &[0]].concat();
        assert_eq!(decode(&header(0), &longer).err(), Some(DecodeError::BodyMalformed));
    }
}
