//! Short frames of the datagram links: COOKIE, GONE, DEMOTE.
//!
//! ```text
//! COOKIE  u64 what the listener gave, and wants to see again
//! GONE    u32 the session that nobody knows
//! DEMOTE  u16 percent of the source's frames that this receiver asked for again | u16 0
//! ```

use crate::error::DecodeError;
use crate::header::{Header, Kind};
use crate::limits::HEADER_BYTES;

/// Bytes of a COOKIE frame.
pub const COOKIE_FRAME_BYTES: usize = HEADER_BYTES + 8;
/// Bytes of a GONE frame.
pub const GONE_FRAME_BYTES: usize = HEADER_BYTES + 4;
/// Bytes of a DEMOTE frame.
pub const DEMOTE_FRAME_BYTES: usize = HEADER_BYTES + 4;

/// Proof of an address: only who receives there can know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cookie(pub u64);

/// Nobody knows this session: its owner has gone, or started anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone(pub u32);

/// The receiver misses too much to be served by repairs: it should use a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Demote {
    /// Percent of the source's frames that it asked for again.
    pub percent: u16,
}

fn exactly<const N: usize>(body: &[u8]) -> Result<[u8; N], DecodeError> {
    let whole = body.first_chunk().ok_or(DecodeError::BodyTruncated)?;
    if body.len() == N { Ok(*whole) } else { Err(DecodeError::BodyMalformed) }
}

fn frame<const N: usize>(kind: Kind, content: &[u8]) -> [u8; N] {
    let mut frame = [0; N];
    let (head, body) = frame.split_at_mut(HEADER_BYTES);
    head.copy_from_slice(&Header::new(kind, body.len()).encode());
    body.copy_from_slice(content);
    frame
}

impl Cookie {
    /// Reads the body of a COOKIE frame.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        exactly(body).map(u64::from_le_bytes).map(Self)
    }

    /// The whole frame.
    pub fn encode(self) -> [u8; COOKIE_FRAME_BYTES] {
        frame(Kind::COOKIE, &self.0.to_le_bytes())
    }
}

impl Gone {
    /// Reads the body of a GONE frame.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        exactly(body).map(u32::from_le_bytes).map(Self)
    }

    /// The whole frame.
    pub fn encode(self) -> [u8; GONE_FRAME_BYTES] {
        frame(Kind::GONE, &self.0.to_le_bytes())
    }
}

impl Demote {
    /// Reads the body of a DEMOTE frame.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        match exactly(body)? {
            [p0, p1, 0, 0] => Ok(Self { percent: u16::from_le_bytes([p0, p1]) }),
            _ => Err(DecodeError::BodyMalformed),
        }
    }

    /// The whole frame.
    pub fn encode(self) -> [u8; DEMOTE_FRAME_BYTES] {
        let [p0, p1] = self.percent.to_le_bytes();
        frame(Kind::DEMOTE, &[p0, p1, 0, 0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_frames_are_read_as_they_were_written_and_at_no_other_length() {
        let (cookie, gone, demote) = (Cookie(u64::MAX - 1).encode(), Gone(7).encode(), Demote { percent: 51 }.encode());
        assert_eq!(Cookie::decode(&cookie[16..]), Ok(Cookie(u64::MAX - 1)));
        assert_eq!(Gone::decode(&gone[16..]), Ok(Gone(7)));
        assert_eq!(Demote::decode(&demote[16..]), Ok(Demote { percent: 51 }));
        assert_eq!(Demote::decode(&[51, 0, 1, 0]), Err(DecodeError::BodyMalformed));
        for bytes in 0..12 {
            let body = &[0; 12][..bytes];
            let error = |wanted| if bytes < wanted { DecodeError::BodyTruncated } else { DecodeError::BodyMalformed };
            assert_eq!(Cookie::decode(body).err(), (bytes != 8).then(|| error(8)), "{bytes} bytes");
            assert_eq!(Gone::decode(body).err(), (bytes != 4).then(|| error(4)), "{bytes} bytes");
            assert_eq!(Demote::decode(body).err(), (bytes != 4).then(|| error(4)), "{bytes} bytes");
        }
    }
}
