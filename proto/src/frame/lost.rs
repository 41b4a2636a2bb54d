//! LOST: messages of one topic and lane that will not come, and why.
//!
//! ```text
//!  0      1        2         4           8
//!  | lane | reason |    0    | u32 first | u32 count |
//! ```
//! It travels on the lane it reports, among that lane's data; the header's topic is the topic, or 0 for several. On stream
//! links `first` is 0 and `count` is messages.

use crate::error::DecodeError;
use crate::header::{Header, Kind};
use crate::limits::HEADER_BYTES;
use crate::wire::Reader;

/// Bytes of a LOST frame.
pub const LOST_FRAME_BYTES: usize = HEADER_BYTES + 12;

/// Why messages were lost. Numbers are never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u8)]
pub enum LossReason {
    /// Their deadline passed.
    Ttl = 1,
    /// The queue was full and the oldest went.
    Overflow = 2,
    /// Nobody holds them any more.
    RepairWindow = 3,
    /// The process that held them shut down.
    Shutdown = 4,
    /// A newer value of the same key took their place.
    Conflated = 5,
    /// The queue was full and the newest went.
    DropNewest = 6,
    /// The subscriber asked for fewer.
    RateLimit = 7,
    /// The queue stayed full for as long as publishers may wait.
    BlockTimeout = 8,
    /// The session could not be continued where it stopped.
    ResumeImpossible = 9,
    /// Their publisher gave up.
    SourceGaveUp = 10,
}

impl LossReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Ttl,
        Self::Overflow,
        Self::RepairWindow,
        Self::Shutdown,
        Self::Conflated,
        Self::DropNewest,
        Self::RateLimit,
        Self::BlockTimeout,
        Self::ResumeImpossible,
        Self::SourceGaveUp,
    ];

    /// The number that travels.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The place in [`Self::ALL`]: for tables of counters.
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    /// The reason behind a number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// The word used in logs, metrics and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ttl => "ttl",
            Self::Overflow => "overflow",
            Self::RepairWindow => "repair_window",
            Self::Shutdown => "shutdown",
            Self::Conflated => "conflated",
            Self::DropNewest => "drop_newest",
            Self::RateLimit => "rate_limit",
            Self::BlockTimeout => "block_timeout",
            Self::ResumeImpossible => "resume_impossible",
            Self::SourceGaveUp => "source_gave_up",
        }
    }
}

/// A report of lost messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// The topic's id in the sender's numbering; 0: several topics.
    pub topic: u32,
    /// 1 to 15.
    pub lane: u8,
    /// Why.
    pub reason: LossReason,
    /// The first lost number; 0 on stream links.
    pub first: u32,
    /// Messages lost, at least 1.
    pub count: u32,
}

impl Lost {
    /// Reads a LOST frame: its header and its body. The lane must be the header's.
    pub fn decode(header: &Header, body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let fields = (reader.u8(), reader.u8(), reader.u16(), reader.u32(), reader.u32());
        let (Some(lane), Some(reason), Some(zero), Some(first), Some(count)) = fields else {
            return Err(DecodeError::BodyTruncated);
        };
        let reason = LossReason::from_number(reason).ok_or(DecodeError::BodyMalformed)?;
        if lane != header.lane || zero != 0 || count == 0 || !reader.rest().is_empty() {
            return Err(DecodeError::BodyMalformed);
        }
        Ok(Self { topic: header.topic, lane, reason, first, count })
    }

    /// The whole frame.
    pub fn encode(&self) -> [u8; LOST_FRAME_BYTES] {
        let Self { topic, lane, reason, first, count } = *self;
        debug_assert!(lane > 0 && count > 0, "{self:?} reports nothing");
        let mut frame = [0; LOST_FRAME_BYTES];
        let (head, body) = frame.split_at_mut(HEADER_BYTES);
        head.copy_from_slice(&Header { topic, lane, ..Header::new(Kind::LOST, 12) }.encode());
        let [f0, f1, f2, f3] = first.to_le_bytes();
        let [c0, c1, c2, c3] = count.to_le_bytes();
        body.copy_from_slice(&[lane, reason.number(), 0, 0, f0, f1, f2, f3, c0, c1, c2, c3]);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_numbered_from_one_by_their_place() {
        for (place, reason) in LossReason::ALL.into_iter().enumerate() {
            assert_eq!((usize::from(reason.number()), reason.index()), (place + 1, place));
            assert_eq!(LossReason::from_number(reason.number()), Some(reason));
        }
        assert_eq!((LossReason::from_number(0), LossReason::from_number(11)), (None, None));
    }

    #[test]
    fn a_report_of_nothing_or_of_another_lane_is_malformed() {
        let good = Lost { topic: 7, lane: 3, reason: LossReason::Ttl, first: 0, count: 2 };
        let frame = good.encode();
        let header = Header { topic: 7, lane: 3, ..Header::new(Kind::LOST, 12) };
        assert_eq!(Lost::decode(&header, &frame[16..]), Ok(good));
        for (at, value) in [(16, 4), (17, 0), (17, 11), (18, 1), (19, 1), (24, 0)] {
            let mut frame = frame;
            frame[at] = value;
            assert_eq!(Lost::decode(&header, &frame[16..]), Err(DecodeError::BodyMalformed), "byte {at} = {value}");
        }
        for bytes in 0..12 {
            assert_eq!(Lost::decode(&header, &frame[16..16 + bytes]), Err(DecodeError::BodyTruncated));
        }
        let longer = [&frame[16..], &[0]].concat();
        assert_eq!(Lost::decode(&header, &longer), Err(DecodeError::BodyMalformed));
    }
}
