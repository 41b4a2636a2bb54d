//! The bodies of frames that are not numbered: ACK, TIME, POLL.
//!
//! ```text
//!  0     1      2               4         6
//!  | n | lane | u16 next      | u16 map | lane ...     n times         ACK
//!  | nothing |  or  | u32 t0 |  or  | u32 t0 | u32 t1 | u32 t2 |       TIME
//!  | what | u32 budget |                                               POLL
//! ```

use super::limits::SERIAL_LANES_MAX;
use crate::error::DecodeError;
use crate::wire::Reader;

const ENTRY_BYTES: usize = 5;
/// Bytes of the longest of these bodies.
pub const HOT_BYTES_MAX: usize = 1 + ENTRY_BYTES * SERIAL_LANES_MAX;

/// What arrived on one lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneAck {
    /// 0 to 7.
    pub lane: u8,
    /// Every number before it has arrived.
    pub next: u16,
    /// Bit i: number `next + 1 + i` has arrived, too.
    pub map: u16,
}

/// What a TIME frame says. Clocks are in microseconds and wrap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SerialTime {
    /// The sender lives.
    Alive,
    /// Please answer.
    Ask {
        /// The sender's clock.
        t0: u32,
    },
    /// The answer.
    Answer {
        /// As it came.
        t0: u32,
        /// When it came, by the answerer's clock.
        t1: u32,
        /// When the answer left.
        t2: u32,
    },
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Poll {
    /// The device's.
    Turn {
        /// Microseconds of airtime it may use.
        budget_us: u32,
    },
    /// The host's again.
    Done {
        /// The device has more to send.
        more: bool,
    },
}

/// Reads an ACK's body; all of it is checked before the first entry.
pub fn decode_ack(body: &[u8]) -> Result<impl Iterator<Item = LaneAck>, DecodeError> {
    let (&count, entries) = body.split_first().ok_or(DecodeError::BodyTruncated)?;
    let count = usize::from(count);
    if count == 0 || count > SERIAL_LANES_MAX || entries.len() != count * ENTRY_BYTES {
        return Err(DecodeError::BodyMalformed);
    }
    let mut seen = 0u8;
    for entry in entries.chunks_exact(ENTRY_BYTES) {
        let bit =
            1u8.checked_shl(u32::from(entry[0])).filter(|bit| seen & bit == 0).ok_or(DecodeError::BodyMalformed)?;
        seen |= bit;
    }
    Ok(entries.chunks_exact(ENTRY_BYTES).map(|entry| LaneAck {
        lane: entry[0],
        next: u16::from_le_bytes([entry[1], entry[2]]),
        map: u16::from_le_bytes([entry[3], entry[4]]),
    }))
}

/// Writes an ACK's body and returns it. More than eight entries are left out.
pub fn encode_ack(acks: impl Iterator<Item = LaneAck>, out: &mut [u8; HOT_BYTES_MAX]) -> &[u8] {
    let (count, entries) = out.split_at_mut(1);
    let mut written = 0u8;
    for (place, ack) in entries.chunks_exact_mut(ENTRY_BYTES).zip(acks) {
        let ([n0, n1], [m0, m1]) = (ack.next.to_le_bytes(), ack.map.to_le_bytes());
        place.copy_from_slice(&[ack.lane, n0, n1, m0, m1]);
        written += 1;
    }
    count[0] = written;
    &out[..1 + ENTRY_BYTES * usize::from(written)]
}

impl SerialTime {
    /// Reads a TIME's body.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        match (body.len(), reader.u32(), reader.u32(), reader.u32()) {
            (0, ..) => Ok(Self::Alive),
            (4, Some(t0), ..) => Ok(Self::Ask { t0 }),
            (12, Some(t0), Some(t1), Some(t2)) => Ok(Self::Answer { t0, t1, t2 }),
            _ => Err(DecodeError::BodyMalformed),
        }
    }

    /// Writes a TIME's body and returns it.
    pub fn encode(self, out: &mut [u8; HOT_BYTES_MAX]) -> &[u8] {
        let (bytes, words) = match self {
            Self::Alive => (0, [0; 3]),
            Self::Ask { t0 } => (4, [t0, 0, 0]),
            Self::Answer { t0, t1, t2 } => (12, [t0, t1, t2]),
        };
        for (place, word) in out.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        &out[..bytes]
    }
}

impl Poll {
    /// Reads a POLL's body.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let [what, budget @ ..] = *body.first_chunk::<5>().ok_or(DecodeError::BodyTruncated)?;
        match (what, u32::from_le_bytes(budget), body.len()) {
            (0, budget_us, 5) => Ok(Self::Turn { budget_us }),
            (1 | 2, 0, 5) => Ok(Self::Done { more: what == 2 }),
            _ => Err(DecodeError::BodyMalformed),
        }
    }

    /// Writes a POLL's body and returns it.
    pub fn encode(self, out: &mut [u8; HOT_BYTES_MAX]) -> &[u8] {
        let (what, budget_us) = match self {
            Self::Turn { budget_us } => (0, budget_us),
            Self::Done { more } => (1 + u8::from(more), 0),
        };
        let [b0, b1, b2, b3] = budget_us.to_le_bytes();
        out[..5].copy_from_slice(&[what, b0, b1, b2, b3]);
        &out[..5]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_that_lie_about_their_number_or_name_a_lane_twice_are_malformed() {
        let refused = |body: &[u8]| assert_eq!(decode_ack(body).err(), Some(DecodeError::BodyMalformed), "{body:?}");
        assert_eq!(decode_ack(&[]).err(), Some(DecodeError::BodyTruncated));
        refused(&[0]);
        refused(&[1, 1, 0, 0, 0]);
        refused(&[1, 1, 0, 0, 0, 0, 0]);
        refused(&[1, 8, 0, 0, 0, 0]);
        refused(&[1, 255, 0, 0, 0, 0]);
        refused(&[2, 3, 0, 0, 0, 0, 3, 0, 0, 0, 0]);
        refused(&[9; 46]);
    }

    #[test]
    fn times_and_polls_of_another_length_are_malformed() {
        for bytes in (1..16).filter(|bytes| *bytes != 4 && *bytes != 12) {
            assert_eq!(SerialTime::decode(&[0; 16][..bytes]), Err(DecodeError::BodyMalformed), "{bytes}");
        }
        assert_eq!(Poll::decode(&[0; 4]), Err(DecodeError::BodyTruncated));
        for body in [&[0; 6][..], &[3, 0, 0, 0, 0], &[1, 1, 0, 0, 0]] {
            assert_eq!(Poll::decode(body), Err(DecodeError::BodyMalformed), "{body:?}");
        }
    }
}
