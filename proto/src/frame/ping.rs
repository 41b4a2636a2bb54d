//! PING and PONG: round trip, clock offset, and "you have read everything before this".
//!
//! ```text
//! PING  u64 t0
//! PONG  u64 t0 | u64 t1 (received) | u64 t2 (sent)
//! ```
//! Nanoseconds, each on the clock of the side that wrote it.

use crate::error::DecodeError;
use crate::header::{Header, Kind};
use crate::limits::HEADER_BYTES;
use crate::wire::Reader;

/// Bytes of a PING frame.
pub const PING_BYTES: usize = HEADER_BYTES + 8;
/// Bytes of a PONG frame.
pub const PONG_BYTES: usize = HEADER_BYTES + 24;

/// The body of a PING.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ping {
    /// When the asker sent it, on the asker's clock; comes back unchanged.
    pub t0: u64,
}

/// The body of a PONG.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pong {
    /// The PING's `t0`.
    pub t0: u64,
    /// When the PING was received, on the answerer's clock.
    pub t1: u64,
    /// When this PONG was sent, on the answerer's clock.
    pub t2: u64,
}

impl Ping {
    /// Reads the body of a PING frame.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let t0 = reader.u64().ok_or(DecodeError::BodyTruncated)?;
        if reader.rest().is_empty() { Ok(Self { t0 }) } else { Err(DecodeError::BodyMalformed) }
    }

    /// The whole frame.
    pub fn encode(self) -> [u8; PING_BYTES] {
        let mut frame = [0; PING_BYTES];
        let (head, body) = frame.split_at_mut(HEADER_BYTES);
        head.copy_from_slice(&Header::new(Kind::PING, 8).encode());
        body.copy_from_slice(&self.t0.to_le_bytes());
        frame
    }
}

impl Pong {
    /// Reads the body of a PONG frame.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let mut next = || reader.u64().ok_or(DecodeError::BodyTruncated);
        let pong = Self { t0: next()?, t1: next()?, t2: next()? };
        if reader.rest().is_empty() { Ok(pong) } else { Err(DecodeError::BodyMalformed) }
    }

    /// The whole frame.
    pub fn encode(self) -> [u8; PONG_BYTES] {
        let mut frame = [0; PONG_BYTES];
        let (head, body) = frame.split_at_mut(HEADER_BYTES);
        head.copy_from_slice(&Header::new(Kind::PONG, 24).encode());
        for (place, time) in body.chunks_exact_mut(8).zip([self.t0, self.t1, self.t2]) {
            place.copy_from_slice(&time.to_le_bytes());
        }
        frame
    }
}
