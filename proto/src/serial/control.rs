//! CTRL: what the two ends agree upon besides the link itself. One tag byte, then fixed fields.

use super::limits::SERIAL_LANES_MAX;
use crate::error::DecodeError;
use crate::frame::lost::LossReason;
use crate::wire::{Reader, Writer};

/// The tag of LOST, the only control message on other lanes than 0.
pub const TAG_LOST: u8 = 5;

const TAG_TOPIC: u8 = 1;
const TAG_SUB: u8 = 2;
const TAG_UNSUB: u8 = 3;
const TAG_CREDIT: u8 = 4;
const TAG_CONFIRM: u8 = 6;
const TAG_RESULT: u8 = 7;
const CREDIT_ENTRY_BYTES: usize = 3;
const CONFIRM_ENTRY_BYTES: usize = 6;

/// What a subscription asks for; zero is always the lane's, or the broker's, own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SubOptions {
    /// The last values of matching topics, too.
    pub retained: bool,
    /// Nothing that the device itself published.
    pub no_echo: bool,
    /// The lane to receive on, plus one; 0: the publisher's.
    pub lane_plus_one: u8,
    /// A policy's number; 0: the lane's.
    pub policy: u8,
    /// Messages of a topic per second at most; 0: all.
    pub max_rate_hz: u16,
    /// Milliseconds after which an unsent message is dropped; 0: as its lane says.
    pub ttl_ms: u32,
}

/// Where a lane's credit ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneLimit {
    /// 1 to 7.
    pub lane: u8,
    /// The last number that may be sent.
    pub through: u16,
}

/// How far what a device sent on a lane is confirmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneConfirm {
    /// 1 to 7.
    pub lane: u8,
    /// What is confirmed; 2: delivered.
    pub level: u8,
    /// Sessions that received the last message.
    pub receivers: u16,
    /// The last number that is confirmed.
    pub through: u16,
}

/// The entries of a CREDIT or CONFIRM, as they travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entries<'a> {
    bytes: &'a [u8],
}

/// One control message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control<'a> {
    /// Binds an id to a name.
    Topic {
        /// The id, not 0.
        topic: u16,
        /// Publishes on it are kept as its last value.
        retain: bool,
        /// The name, not checked here.
        name: &'a [u8],
    },
    /// Asks for the messages of a topic, or of all that a filter matches.
    Sub {
        /// Echoed in the RESULT; 0: no answer.
        request: u8,
        /// A topic of the table; 0: the filter.
        topic: u16,
        /// Everything else.
        options: SubOptions,
        /// The filter, not checked here; empty with a topic.
        filter: &'a [u8],
    },
    /// Takes a subscription back.
    Unsub {
        /// Echoed in the RESULT; 0: no answer.
        request: u8,
        /// A topic of the table; 0: the filter.
        topic: u16,
        /// The filter as it was subscribed.
        filter: &'a [u8],
    },
    /// How far the peer may send: [`Entries::limits`].
    Credit(Entries<'a>),
    /// Messages that will not come; the header names the topic.
    Lost {
        /// 1 to 7.
        lane: u8,
        /// Why.
        reason: LossReason,
        /// How many, at least 1.
        count: u32,
    },
    /// How far publishes are delivered: [`Entries::confirms`].
    Confirm(Entries<'a>),
    /// Answers a SUB or UNSUB; request 0: a TOPIC.
    Result {
        /// As it was asked.
        request: u8,
        /// A close code; 0: done.
        code: u8,
        /// For people, not checked here.
        text: &'a [u8],
    },
}

impl<'a> Entries<'a> {
    /// Writes limits to the front of `out`, for a CREDIT. More than eight are left out.
    pub fn credit(limits: &[LaneLimit], out: &'a mut [u8; CREDIT_ENTRY_BYTES * SERIAL_LANES_MAX]) -> Self {
        let mut bytes = 0;
        for (place, limit) in out.chunks_exact_mut(CREDIT_ENTRY_BYTES).zip(limits) {
            let [t0, t1] = limit.through.to_le_bytes();
            place.copy_from_slice(&[limit.lane, t0, t1]);
            bytes += CREDIT_ENTRY_BYTES;
        }
        Self { bytes: &out[..bytes] }
    }

    /// Writes confirmations to the front of `out`, for a CONFIRM. More than eight are left out.
    pub fn confirm(confirms: &[LaneConfirm], out: &'a mut [u8; CONFIRM_ENTRY_BYTES * SERIAL_LANES_MAX]) -> Self {
        let mut bytes = 0;
        for (place, confirm) in out.chunks_exact_mut(CONFIRM_ENTRY_BYTES).zip(confirms) {
            let LaneConfirm { lane, level, receivers, through } = *confirm;
            let ([r0, r1], [t0, t1]) = (receivers.to_le_bytes(), through.to_le_bytes());
            place.copy_from_slice(&[lane, level, r0, r1, t0, t1]);
            bytes += CONFIRM_ENTRY_BYTES;
        }
        Self { bytes: &out[..bytes] }
    }

    /// The entries of a CREDIT.
    pub fn limits(&self) -> impl Iterator<Item = LaneLimit> + use<'a> {
        let entries = self.bytes.chunks_exact(CREDIT_ENTRY_BYTES);
        entries.map(|entry| LaneLimit { lane: entry[0], through: u16::from_le_bytes([entry[1], entry[2]]) })
    }

    /// The entries of a CONFIRM.
    pub fn confirms(&self) -> impl Iterator<Item = LaneConfirm> + use<'a> {
        self.bytes.chunks_exact(CONFIRM_ENTRY_BYTES).map(|entry| LaneConfirm {
            lane: entry[0],
            level: entry[1],
            receivers: u16::from_le_bytes([entry[2], entry[3]]),
            through: u16::from_le_bytes([entry[4], entry[5]]),
        })
    }

    fn decode(reader: &mut Reader<'a>, entry_bytes: usize) -> Option<Self> {
        let count = usize::from(reader.u8()?);
        Some(Self { bytes: reader.bytes(count * entry_bytes)? })
    }
}

impl<'a> Control<'a> {
    /// Reads a whole message. `None`: a tag of a later version, to be ignored.
    pub fn decode(message: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        let mut reader = Reader::new(message);
        let tag = reader.u8().ok_or(DecodeError::BodyTruncated)?;
        if tag == 0 || tag > TAG_RESULT {
            return Ok(None);
        }
        Self::fields(tag, &mut reader).map(Some).ok_or(DecodeError::BodyMalformed)
    }

    fn fields(tag: u8, reader: &mut Reader<'a>) -> Option<Self> {
        Some(match tag {
            TAG_TOPIC => {
                let (flags, topic) = (reader.u8()?, reader.u16().filter(|&topic| topic != 0)?);
                Self::Topic { topic, retain: flags & 1 != 0, name: reader.rest() }
            }
            TAG_SUB => {
                let (request, topic, flags) = (reader.u8()?, reader.u16()?, reader.u8()?);
                let (lane_plus_one, policy, _zero) = (reader.u8()?, reader.u8()?, reader.u8()?);
                let options = SubOptions {
                    retained: flags & 1 != 0,
                    no_echo: flags & 2 != 0,
                    lane_plus_one,
                    policy,
                    max_rate_hz: reader.u16()?,
                    ttl_ms: reader.u32()?,
                };
                Self::Sub { request, topic, options, filter: reader.rest() }
            }
            TAG_UNSUB => {
                let (request, topic) = (reader.u8()?, reader.u16()?);
                Self::Unsub { request, topic, filter: reader.rest() }
            }
            TAG_CREDIT => Self::Credit(Entries::decode(reader, CREDIT_ENTRY_BYTES)?),
            TAG_LOST => {
                let (lane, reason, _zero) = (reader.u8()?, LossReason::from_number(reader.u8()?)?, reader.u8()?);
                let known = (1..SERIAL_LANES_MAX as u8).contains(&lane);
                let count = reader.u32().filter(|&count| count != 0 && known)?;
                Self::Lost { lane, reason, count }
            }
            TAG_CONFIRM => Self::Confirm(Entries::decode(reader, CONFIRM_ENTRY_BYTES)?),
            _ => {
                let (request, code) = (reader.u8()?, reader.u8()?);
                Self::Result { request, code, text: reader.rest() }
            }
        })
    }

    /// Writes the message to the front of `out` and returns its bytes; `None` if it does not fit.
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(out);
        self.write(&mut writer)?;
        Some(writer.len())
    }

    fn write(&self, writer: &mut Writer<'_>) -> Option<()> {
        match *self {
            Self::Topic { topic, retain, name } => {
                writer.bytes(&[TAG_TOPIC, u8::from(retain)])?;
                writer.u16(topic)?;
                writer.bytes(name)
            }
            Self::Sub { request, topic, options, filter } => {
                let SubOptions { retained, no_echo, lane_plus_one, policy, max_rate_hz, ttl_ms } = options;
                writer.bytes(&[TAG_SUB, request])?;
                writer.u16(topic)?;
                writer.bytes(&[u8::from(retained) | u8::from(no_echo) << 1, lane_plus_one, policy, 0])?;
                writer.u16(max_rate_hz)?;
                writer.u32(ttl_ms)?;
                writer.bytes(filter)
            }
            Self::Unsub { request, topic, filter } => {
                writer.bytes(&[TAG_UNSUB, request])?;
                writer.u16(topic)?;
                writer.bytes(filter)
            }
            Self::Credit(entries) => Self::entries(writer, TAG_CREDIT, entries, CREDIT_ENTRY_BYTES),
            Self::Lost { lane, reason, count } => {
                writer.bytes(&[TAG_LOST, lane, reason.number(), 0])?;
                writer.u32(count)
            }
            Self::Confirm(entries) => Self::entries(writer, TAG_CONFIRM, entries, CONFIRM_ENTRY_BYTES),
            Self::Result { request, code, text } => {
                writer.bytes(&[TAG_RESULT, request, code])?;
                writer.bytes(text)
            }
        }
    }

    fn entries(writer: &mut Writer<'_>, tag: u8, entries: Entries<'_>, entry_bytes: usize) -> Option<()> {
        writer.bytes(&[tag, (entries.bytes.len() / entry_bytes) as u8])?;
        writer.bytes(entries.bytes)
    }
}

/// The hash of a table of predefined topics, in the order of their ids; what HELLO calls `topics_hash`.
pub fn topics_hash<'n>(table: impl IntoIterator<Item = (u16, &'n str)>) -> u32 {
    table.into_iter().fold(0, |hash, (id, name)| {
        let [i0, i1] = id.to_le_bytes();
        super::crc::crc32(super::crc::crc32(hash, &[i0, i1, name.len() as u8]), name.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_are_too_short_or_say_nothing_are_malformed() {
        let whole: [&[u8]; 7] = [
            &[1, 0, 1, 0],
            &[2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[3, 1, 0, 0],
            &[4, 2, 1, 0, 0, 2, 0, 0],
            &[5, 1, 1, 0, 1, 0, 0, 0],
            &[6, 1, 1, 2, 0, 0, 0, 0],
            &[7, 1, 0],
        ];
        for message in whole {
            assert!(matches!(Control::decode(message), Ok(Some(_))), "{message:?}");
            for bytes in 1..message.len() {
                assert_eq!(Control::decode(&message[..bytes]), Err(DecodeError::BodyMalformed), "{message:?}");
            }
        }
        for message in
            [&[1, 0, 0, 0][..], &[5, 0, 1, 0, 1, 0, 0, 0], &[5, 8, 1, 0, 1, 0, 0, 0], &[5, 1, 0, 0, 1, 0, 0, 0]]
        {
            assert_eq!(Control::decode(message), Err(DecodeError::BodyMalformed), "{message:?}");
        }
        assert_eq!(Control::decode(&[5, 1, 1, 0, 0, 0, 0, 0]), Err(DecodeError::BodyMalformed), "none lost");
        assert_eq!(Control::decode(&[]), Err(DecodeError::BodyTruncated));
        assert_eq!((Control::decode(&[8]), Control::decode(&[0, 1])), (Ok(None), Ok(None)), "of a later version");
    }
}
