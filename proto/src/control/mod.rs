//! Protocol Buffers control messages: the generated types, and their way into and out of CTRL frames.
//!
//! The types are generated from `schema/laneway.proto` and checked in; a test regenerates and compares them.

#[allow(missing_docs, clippy::use_self, unreachable_pub, reason = "generated code")]
#[rustfmt::skip]
mod laneway_v1;

use alloc::vec::Vec;

use prost::Message as _;

pub use laneway_v1::control::Body;
pub use laneway_v1::{
    Control, DeclareTopics, Goodbye, Hello, Lane, LaneCount, Limits, PeerUpdate, Reject, Result as Answer, Resume,
    Sample, Stats, StatsRequest, Sub, Subscribe, Topic, Unsubscribe, Welcome, Will,
};

use crate::error::{CloseCode, DecodeError};
use crate::frame::count::LaneTotal;
use crate::header::{Header, Kind};
use crate::limits::{CONTROL_BYTES_MAX, HEADER_BYTES, LANES_MAX};

/// Bytes of the samples in one Stats message.
const STATS_PART_BYTES_MAX: usize = 48 * 1024;
/// Bytes of a sample's tag and length at most.
const SAMPLE_OVERHEAD_BYTES: usize = 4;

/// Bytes of the fields around the samples.
const STATS_FIELD_BYTES_MAX: usize = 64;

const _: () =
    assert!(STATS_PART_BYTES_MAX + STATS_FIELD_BYTES_MAX < CONTROL_BYTES_MAX, "a part fits a control message");

impl Control {
    /// A message that asks for no answer.
    pub const fn new(body: Body) -> Self {
        Self { id: 0, body: Some(body) }
    }

    /// A message answered by a Result with the same id.
    pub const fn request(id: u32, body: Body) -> Self {
        Self { id, body: Some(body) }
    }

    /// The answer to message `id`: done, or a code and what to do.
    pub fn answer(id: u32, code: CloseCode, text: &str) -> Self {
        Self::request(id, Body::Result(Answer { code: code.number(), text: text.into() }))
    }

    /// Reads the body of a CTRL frame. Unknown fields are ignored; a message of an unknown kind has no body.
    pub fn decode_body(body: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(body).map_err(|_| DecodeError::BodyMalformed)
    }

    /// Appends the whole CTRL frame to `out`.
    ///
    /// # Panics
    /// If the message is larger than one frame: callers split lists of topics and subscriptions before they get here.
    pub fn append_frame(&self, out: &mut Vec<u8>) {
        let body_bytes = self.encoded_len();
        assert!(body_bytes <= CONTROL_BYTES_MAX, "a control message of {body_bytes} bytes does not fit a frame");
        out.reserve(HEADER_BYTES + body_bytes);
        out.extend_from_slice(&Header::new(Kind::CTRL, body_bytes).encode());
        let reserved = self.encode(out);
        debug_assert!(reserved.is_ok(), "a Vec grows as needed");
    }

    /// The whole CTRL frame.
    pub fn to_frame(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.append_frame(&mut out);
        out
    }
}

impl Hello {
    /// Bytes of all metadata keys and values.
    pub fn metadata_bytes(&self) -> usize {
        self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

impl Stats {
    /// The samples in as many messages as they need, in their order; one message, if there are none.
    pub fn parts(samples: Vec<Sample>) -> Vec<Self> {
        let mut parts = alloc::vec![Self::default()];
        let mut bytes = 0;
        for sample in samples {
            let sample_bytes = sample.encoded_len() + SAMPLE_OVERHEAD_BYTES;
            if bytes + sample_bytes > STATS_PART_BYTES_MAX {
                if let Some(full) = parts.last_mut() {
                    full.more = true;
                }
                parts.push(Self::default());
                bytes = 0;
            }
            bytes += sample_bytes;
            if let Some(part) = parts.last_mut() {
                part.samples.push(sample);
            }
        }
        parts
    }
}

impl Resume {
    /// Continues session `session` of whoever has this `epoch`; `received` has the lanes on which something was received.
    pub fn new(session: u32, epoch: u64, received: impl Iterator<Item = LaneTotal>) -> Self {
        let count = |entry: LaneTotal| LaneCount { lane: u32::from(entry.lane), count: entry.total };
        Self { session, epoch, received: received.map(count).collect() }
    }

    /// Frames received, by lane; those that are not listed stand at 0. Lane 0, one that does not exist, and one that
    /// stands there twice are malformed.
    pub fn totals(&self) -> Result<[u64; LANES_MAX], DecodeError> {
        let mut totals = [0; LANES_MAX];
        let mut seen = 0u16;
        for &LaneCount { lane, count } in &self.received {
            let total = totals.get_mut(lane as usize).ok_or(DecodeError::BodyMalformed)?;
            if lane == 0 || seen & 1 << lane != 0 {
                return Err(DecodeError::BodyMalformed);
            }
            seen |= 1 << lane;
            *total = count;
        }
        Ok(totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_names_each_lane_once_and_never_the_control_lane() {
        let of = |lanes: &[(u32, u64)]| {
            let received = lanes.iter().map(|&(lane, count)| LaneCount { lane, count }).collect();
            Resume { session: 1, epoch: 2, received }.totals()
        };
        let mut expected = [0; LANES_MAX];
        (expected[15], expected[1]) = (u64::MAX, 7);
        assert_eq!(of(&[(15, u64::MAX), (1, 7)]), Ok(expected));
        for bad in [&[(0, 1)][..], &[(16, 1)], &[(u32::MAX, 1)], &[(2, 1), (2, 1)]] {
            assert_eq!(of(bad), Err(DecodeError::BodyMalformed), "{bad:?}");
        }
        let listed = [LaneTotal { lane: 15, total: u64::MAX }, LaneTotal { lane: 1, total: 7 }];
        assert_eq!(Resume::new(1, 2, listed.into_iter()).totals(), Ok(expected));
    }

    #[test]
    fn samples_are_divided_into_messages_that_fit_a_frame_and_say_whether_more_follow() {
        let sample = |number: usize| Sample { name: alloc::format!("{number:0>200}"), value: 1.0, ..Sample::default() };
        let samples: Vec<Sample> = (0..2_000).map(sample).collect();
        let parts = Stats::parts(samples.clone());
        assert!(parts.len() > 2);
        let more: Vec<bool> = parts.iter().map(|part| part.more).collect();
        assert_eq!(more.iter().filter(|&&more| !more).count(), 1);
        assert_eq!(more.last(), Some(&false));
        for part in &parts {
            assert!(Control::request(1, Body::Stats(part.clone())).to_frame().len() < HEADER_BYTES + CONTROL_BYTES_MAX);
        }
        let together: Vec<Sample> = parts.into_iter().flat_map(|part| part.samples).collect();
        assert_eq!(together, samples);
        assert_eq!(Stats::parts(Vec::new()), [Stats::default()]);
    }

    #[test]
    fn a_subscribe_message_is_the_specified_bytes() {
        let control = Control::request(
            7,
            Body::Subscribe(Subscribe { subs: alloc::vec![Sub { pattern: "a/#".into(), ..Sub::default() }] }),
        );
        let golden = [
            27, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // header: 27 bytes, CTRL
            0x08, 7, // id = 7
            0x5a, 7, // field 11 (subscribe), 7 bytes
            0x0a, 5, // field 1 (subs), 5 bytes
            0x0a, 3, b'a', b'/', b'#', // field 1 (pattern)
        ];
        assert_eq!(control.to_frame(), golden);
        assert_eq!(Control::decode_body(&golden[16..]), Ok(control));
    }

    #[test]
    fn unknown_fields_are_ignored_and_garbage_is_malformed() {
        let future = [0x08, 1, 0xfa, 0x7f, 2, 9, 9];
        assert_eq!(Control::decode_body(&future), Ok(Control { id: 1, body: None }));
        assert_eq!(Control::decode_body(&[0xff; 9]), Err(DecodeError::BodyMalformed));
    }
}
