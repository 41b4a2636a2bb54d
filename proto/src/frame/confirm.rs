//! CONFIRM: how far the publishes of each lane are accepted or delivered.
//!
//! ```text
//!  0    1    2         4      5       6           8
//!  | n  | 0  |    0    | lane | level | receivers | u32 seq_through | lane ...     n times
//! ```
//! Cumulative: it speaks for every message of the lane up to and including `seq_through`.

use super::totals::{self, TOTALS_PREFIX_BYTES};
use crate::error::DecodeError;
use crate::header::Kind;
use crate::limits::{HEADER_BYTES, HOT_ENTRIES_MAX, LANES_MAX};
use crate::wire::Reader;

/// Bytes of one entry.
pub const CONFIRM_ENTRY_BYTES: usize = 8;
/// Bytes of the largest CONFIRM frame, header included.
pub const CONFIRM_FRAME_BYTES_MAX: usize = HEADER_BYTES + TOTALS_PREFIX_BYTES + HOT_ENTRIES_MAX * CONFIRM_ENTRY_BYTES;

/// What a confirmation says of a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u8)]
pub enum Level {
    /// The broker has it.
    Accepted = 1,
    /// As many client libraries as the publisher asked for have received it in full.
    Delivered = 2,
}

/// One lane's confirmation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Confirm {
    /// 1 to 15.
    pub lane: u8,
    /// What is confirmed.
    pub level: Level,
    /// Sessions that received the message `seq_through`; 0 where nobody counts.
    pub receivers: u16,
    /// The last message that is confirmed, in the publisher's numbering; never 0.
    pub seq_through: u32,
}

impl Level {
    /// The number that travels.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The level behind a number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Accepted),
            2 => Some(Self::Delivered),
            _ => None,
        }
    }
}

/// The entries of a checked body, in wire order.
#[derive(Clone, Debug)]
pub struct Confirms<'a> {
    reader: Reader<'a>,
}

/// Reads the body of a CONFIRM frame: 1 to 15 entries, each pair of lane and level once. All of it is checked before the
/// first entry.
pub fn decode(body: &[u8]) -> Result<Confirms<'_>, DecodeError> {
    let entries = totals::entries(body, CONFIRM_ENTRY_BYTES)?;
    let mut seen = 0u32;
    let mut reader = Reader::new(entries);
    while !reader.rest().is_empty() {
        let confirm = next(&mut reader).ok_or(DecodeError::BodyMalformed)?;
        let bit = 1 << (u32::from(confirm.lane) * 2 + u32::from(confirm.level.number()) - 1);
        if seen & bit != 0 {
            return Err(DecodeError::BodyMalformed);
        }
        seen |= bit;
    }
    Ok(Confirms { reader: Reader::new(entries) })
}

fn next(reader: &mut Reader<'_>) -> Option<Confirm> {
    let lane = reader.u8().filter(|&lane| lane > 0 && usize::from(lane) < LANES_MAX)?;
    let level = Level::from_number(reader.u8()?)?;
    let receivers = reader.u16()?;
    let seq_through = reader.u32().filter(|&seq| seq != 0)?;
    Some(Confirm { lane, level, receivers, seq_through })
}

impl Iterator for Confirms<'_> {
    type Item = Confirm;

    fn next(&mut self) -> Option<Confirm> {
        next(&mut self.reader)
    }
}

/// Writes the whole frame to the front of `out` and returns it.
///
/// # Panics
/// Without an entry, or with more than 15.
pub fn encode<'a>(confirms: &[Confirm], out: &'a mut [u8; CONFIRM_FRAME_BYTES_MAX]) -> &'a [u8] {
    let (entries, frame_bytes) = totals::open(Kind::CONFIRM, confirms.len(), CONFIRM_ENTRY_BYTES, out);
    for (place, confirm) in entries.chunks_exact_mut(CONFIRM_ENTRY_BYTES).zip(confirms) {
        let Confirm { lane, level, receivers, seq_through } = *confirm;
        debug_assert!(lane > 0 && usize::from(lane) < LANES_MAX && seq_through != 0, "{confirm:?} confirms nothing");
        let [r0, r1] = receivers.to_le_bytes();
        let [s0, s1, s2, s3] = seq_through.to_le_bytes();
        place.copy_from_slice(&[lane, level.number(), r0, r1, s0, s1, s2, s3]);
    }
    &out[..frame_bytes]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_may_be_confirmed_at_both_levels_but_each_only_once() {
        let accepted = [1, 1, 0, 0, 9, 0, 0, 0];
        let delivered = [1, 2, 3, 0, 8, 0, 0, 0];
        let both = [&[2, 0, 0, 0][..], &accepted, &delivered].concat();
        assert_eq!(decode(&both).map(Iterator::count), Ok(2));
        let twice = [&[2, 0, 0, 0][..], &accepted, &accepted].concat();
        assert_eq!(decode(&twice).err(), Some(DecodeError::BodyMalformed));
        assert_eq!(decode(&both[..19]).err(), Some(DecodeError::BodyTruncated));
    }

    #[test]
    fn a_confirmation_of_nothing_is_malformed() {
        for entry in [
            [0, 1, 0, 0, 9, 0, 0, 0],  // lane 0
            [16, 1, 0, 0, 9, 0, 0, 0], // no such lane
            [1, 0, 0, 0, 9, 0, 0, 0],  // no level
            [1, 3, 0, 0, 9, 0, 0, 0],  // no such level
            [1, 1, 0, 0, 0, 0, 0, 0],  // the number that means "unnumbered"
        ] {
            let body = [&[1, 0, 0, 0][..], &entry].concat();
            assert_eq!(decode(&body).err(), Some(DecodeError::BodyMalformed), "{entry:?}");
        }
        assert_eq!(decode(&[0, 0, 0, 0]).err(), Some(DecodeError::BodyMalformed), "no entry");
    }
}
