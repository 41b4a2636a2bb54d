//! LOST on datagram links: numbers of a lane that will not come (again).
//!
//! ```text
//!  0      1        2         4           8           12             16         20            22
//!  | lane | reason |    0    | u32 first | u32 count | u32 messages | u32 sent | frame_bytes | last_bytes |
//! ```
//! `first` and `count` are the lane's numbers, `messages` what they carried. Of the numbers, the first `sent` were ever sent, and
//! count for the lane's credit: `last_bytes` the last of all, `frame_bytes` each other. It says the same
//! however often it is said, and takes no number itself; a LOST of 12 bytes, whose `first` is 0, is a report like on
//! streams ([`crate::frame::lost`]) and takes one.

use crate::error::DecodeError;
use crate::frame::lost::LossReason;
use crate::header::{Header, Kind};
use crate::limits::HEADER_BYTES;
use crate::wire::Reader;

/// Bytes of the body.
pub const RANGE_LOST_BODY_BYTES: usize = 24;
/// Bytes of the frame.
pub const RANGE_LOST_FRAME_BYTES: usize = HEADER_BYTES + RANGE_LOST_BODY_BYTES;

/// Numbers that will not come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct RangeLost {
    /// The topic's id, or 0 for several.
    pub topic: u32,
    /// 1 to 15.
    pub lane: u8,
    /// Why.
    pub reason: LossReason,
    /// The first number; never 0.
    pub first: u32,
    /// How many numbers, 1 at least.
    pub count: u32,
    /// How many messages they carried; 0: unknown.
    pub messages: u32,
    /// How many of the numbers, from the first on, were ever sent.
    pub sent: u32,
    /// Bytes of each frame but the last, as credit counts them.
    pub frame_bytes: u16,
    /// Bytes of the last frame.
    pub last_bytes: u16,
}

impl RangeLost {
    /// Reads a LOST frame of a datagram link: its header and its body. The lane must be the header's.
    pub fn decode(header: &Header, body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let head = (reader.u8(), reader.u8(), reader.u16());
        let numbers = (reader.u32(), reader.u32(), reader.u32(), reader.u32());
        let sizes = (reader.u16(), reader.u16());
        let (Some(lane), Some(reason), Some(zero)) = head else { return Err(DecodeError::BodyTruncated) };
        let (Some(first), Some(count), Some(messages), Some(sent)) = numbers else {
            return Err(DecodeError::BodyTruncated);
        };
        let (Some(frame_bytes), Some(last_bytes)) = sizes else { return Err(DecodeError::BodyTruncated) };
        let reason = LossReason::from_number(reason).ok_or(DecodeError::BodyMalformed)?;
        let numbers_sound = first != 0 && count != 0 && count < u32::MAX / 2 && sent <= count;
        if lane != header.lane || lane == 0 || zero != 0 || !numbers_sound || !reader.rest().is_empty() {
            return Err(DecodeError::BodyMalformed);
        }
        Ok(Self { topic: header.topic, lane, reason, first, count, messages, sent, frame_bytes, last_bytes })
    }

    /// The whole frame.
    pub fn encode(&self) -> [u8; RANGE_LOST_FRAME_BYTES] {
        let Self { topic, lane, reason, first, count, messages, sent, frame_bytes, last_bytes } = *self;
        debug_assert!(lane > 0 && first != 0 && count != 0, "{self:?} reports nothing");
        let mut frame = [0; RANGE_LOST_FRAME_BYTES];
        let (head, body) = frame.split_at_mut(HEADER_BYTES);
        head.copy_from_slice(&Header { topic, lane, ..Header::new(Kind::LOST, RANGE_LOST_BODY_BYTES) }.encode());
        let (kind, words) = body.split_at_mut(4);
        kind.copy_from_slice(&[lane, reason.number(), 0, 0]);
        let sizes = u32::from(last_bytes) << 16 | u32::from(frame_bytes);
        for (place, word) in words.chunks_exact_mut(4).zip([first, count, messages, sent, sizes]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        frame
    }

    /// Bytes of the frame with the number `place` steps behind the first, as credit counts them; 0: it was never sent.
    pub const fn bytes_at(&self, place: u32) -> u16 {
        if place >= self.sent {
            0
        } else if place + 1 == self.count {
            self.last_bytes
        } else {
            self.frame_bytes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written_and_lies_are_refused() {
        let good = RangeLost {
            topic: 9,
            lane: 3,
            reason: LossReason::Ttl,
            first: 7,
            count: 2,
            messages: 1,
            sent: 2,
            frame_bytes: 99,
            last_bytes: 30,
        };
        assert_eq!([0, 1, 2].map(|place| good.bytes_at(place)), [99, 30, 0]);
        assert_eq!([0, 1].map(|place| RangeLost { sent: 1, ..good }.bytes_at(place)), [99, 0]);
        let frame = good.encode();
        let header = Header { topic: 9, lane: 3, ..Header::new(Kind::LOST, RANGE_LOST_BODY_BYTES) };
        assert_eq!(RangeLost::decode(&header, &frame[16..]), Ok(good));
        for (at, value) in [(16, 4), (17, 0), (17, 11), (18, 1), (19, 1), (20, 0), (24, 0), (27, 0x80), (32, 3)] {
            let mut bad = frame;
            bad[at] = value;
            assert_eq!(RangeLost::decode(&header, &bad[16..]), Err(DecodeError::BodyMalformed), "byte {at} = {value}");
        }
        for bytes in 0..RANGE_LOST_BODY_BYTES {
            assert_eq!(RangeLost::decode(&header, &frame[16..16 + bytes]), Err(DecodeError::BodyTruncated));
        }
        let longer = [&frame[16..], &[0]].concat();
        assert_eq!(RangeLost::decode(&header, &longer), Err(DecodeError::BodyMalformed));
    }
}
