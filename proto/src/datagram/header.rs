//! The header of a datagram: 16 bytes in front of its frames.
//!
//! ```text
//!  0        1        2        3        4        5        6        7
//!  |  0xB1  | flags  |      epoch      | session, or interest tag          |
//!  8        9        10       11       12       13       14       15
//!  | ack, own session, or sender       |              number               |
//!  | frames back to back ...                      | CRC-32C, if announced  |
//! ```

use super::crc;
use super::limits::{DATAGRAM_CRC_BYTES, DATAGRAM_HEADER_BYTES};
use crate::limits::WIRE_VERSION;

/// The high half of the first byte: this protocol.
pub const MAGIC_NIBBLE: u8 = 0xB0;
/// The first byte of every datagram of this version.
pub const MAGIC_VERSION: u8 = MAGIC_NIBBLE | WIRE_VERSION;

/// The flag bits of a datagram.
pub mod dflag {
    /// A broadcast or multicast datagram, or the repair of one.
    pub const BCAST: u8 = 0x01;
    /// The sender wants to hear that it arrived.
    pub const ACK_ME: u8 = 0x02;
    /// The last four bytes are the CRC-32C of all before.
    pub const CRC: u8 = 0x04;
    /// Part of a handshake.
    pub const HELLO: u8 = 0x08;
    /// Zero in this version.
    pub const RESERVED: u8 = 0xF0;
}

/// What the two middle words of the header are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// One peer to another.
    Session {
        /// Chosen by the receiver; its low byte is the shard that owns it.
        session: u32,
        /// Everything up to and including this number arrived, or is not waited for any more.
        ack: u32,
    },
    /// Before there is a session.
    Hello {
        /// The receiver's session if it has said which; otherwise 0.
        session: u32,
        /// The session by which the sender wants to be addressed; 0: none.
        own: u32,
    },
    /// One to all.
    Broadcast {
        /// What it is about: [`super::interest`].
        tag: u32,
        /// The sender's id.
        sender: u32,
    },
}

/// A decoded datagram header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DatagramHeader {
    /// Who speaks to whom.
    pub form: Form,
    /// Whether the sender wants to hear that it arrived.
    pub ack_me: bool,
    /// Whether a CRC-32C stands behind the frames.
    pub crc: bool,
    /// Low 16 bits of the sender's epoch.
    pub epoch: u16,
    /// Number of the datagram; every one has a new one. In a handshake: of the attempt.
    pub number: u32,
}

/// Why a datagram is dropped before anything in it is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stray {
    /// Too short, or not of this protocol.
    NotLaneway,
    /// Of another version of the protocol.
    Version(u8),
    /// A reserved flag, or flags that exclude each other.
    Flags,
    /// The CRC-32C is not that of the bytes.
    Crc,
}

impl DatagramHeader {
    /// Reads a header; checks version and flags.
    pub const fn decode(bytes: &[u8; DATAGRAM_HEADER_BYTES]) -> Result<Self, Stray> {
        let [magic, flags, e0, e1, a0, a1, a2, a3, b0, b1, b2, b3, n0, n1, n2, n3] = *bytes;
        if magic & 0xF0 != MAGIC_NIBBLE {
            return Err(Stray::NotLaneway);
        }
        if magic != MAGIC_VERSION {
            return Err(Stray::Version(magic & 0x0F));
        }
        let (first, second) = (u32::from_le_bytes([a0, a1, a2, a3]), u32::from_le_bytes([b0, b1, b2, b3]));
        let form = match flags & (dflag::RESERVED | dflag::BCAST | dflag::HELLO) {
            0 => Form::Session { session: first, ack: second },
            dflag::HELLO => Form::Hello { session: first, own: second },
            dflag::BCAST => Form::Broadcast { tag: first, sender: second },
            _ => return Err(Stray::Flags),
        };
        Ok(Self {
            form,
            ack_me: flags & dflag::ACK_ME != 0,
            crc: flags & dflag::CRC != 0,
            epoch: u16::from_le_bytes([e0, e1]),
            number: u32::from_le_bytes([n0, n1, n2, n3]),
        })
    }

    /// The 16 bytes that travel.
    pub const fn encode(&self) -> [u8; DATAGRAM_HEADER_BYTES] {
        let Self { form, ack_me, crc, epoch, number } = *self;
        let (bits, first, second) = match form {
            Form::Session { session, ack } => (0, session, ack),
            Form::Hello { session, own } => (dflag::HELLO, session, own),
            Form::Broadcast { tag, sender } => (dflag::BCAST, tag, sender),
        };
        let ack_me = if ack_me { dflag::ACK_ME } else { 0 };
        let crc = if crc { dflag::CRC } else { 0 };
        let [e0, e1] = epoch.to_le_bytes();
        let [a0, a1, a2, a3] = first.to_le_bytes();
        let [b0, b1, b2, b3] = second.to_le_bytes();
        let [n0, n1, n2, n3] = number.to_le_bytes();
        [MAGIC_VERSION, bits | ack_me | crc, e0, e1, a0, a1, a2, a3, b0, b1, b2, b3, n0, n1, n2, n3]
    }

    /// Splits a datagram into header and frames, after checking its CRC-32C if it has one.
    pub fn open(datagram: &[u8]) -> Result<(Self, &[u8]), Stray> {
        let Some((head, rest)) = datagram.split_first_chunk() else { return Err(Stray::NotLaneway) };
        let header = Self::decode(head)?;
        if !header.crc {
            return Ok((header, rest));
        }
        let Some((frames, trailer)) = rest.split_last_chunk::<DATAGRAM_CRC_BYTES>() else { return Err(Stray::Crc) };
        let covered = datagram.get(..DATAGRAM_HEADER_BYTES + frames.len()).unwrap_or_default();
        if crc::crc32c(covered) != u32::from_le_bytes(*trailer) {
            return Err(Stray::Crc);
        }
        Ok((header, frames))
    }

    /// Finishes a datagram whose frames end at `end` of `out`: writes the header in front and, if announced, the CRC-32C
    /// behind. Returns the datagram's bytes.
    ///
    /// # Panics
    /// If `out` has no room for them: a bug of the caller.
    pub fn seal(&self, out: &mut [u8], end: usize) -> usize {
        out[..DATAGRAM_HEADER_BYTES].copy_from_slice(&self.encode());
        if !self.crc {
            return end;
        }
        let sum = crc::crc32c(&out[..end]);
        out[end..end + DATAGRAM_CRC_BYTES].copy_from_slice(&sum.to_le_bytes());
        end + DATAGRAM_CRC_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: DatagramHeader = DatagramHeader {
        form: Form::Session { session: 0x0403_0201, ack: 7 },
        ack_me: true,
        crc: false,
        epoch: 0x1234,
        number: 9,
    };

    #[test]
    fn every_form_is_read_as_it_was_written() {
        let forms = [
            Form::Session { session: 1, ack: 2 },
            Form::Hello { session: 0, own: 3 },
            Form::Broadcast { tag: 4, sender: 5 },
        ];
        for form in forms {
            for bits in 0..4 {
                let header = DatagramHeader { form, ack_me: bits & 1 != 0, crc: bits & 2 != 0, ..SESSION };
                assert_eq!(DatagramHeader::decode(&header.encode()), Ok(header));
            }
        }
    }

    #[test]
    fn another_protocol_version_or_flag_is_a_stray() {
        let with = |at: usize, byte| {
            let mut bytes = SESSION.encode();
            bytes[at] = byte;
            DatagramHeader::decode(&bytes)
        };
        assert_eq!(with(0, b'G'), Err(Stray::NotLaneway));
        assert_eq!(with(0, 0xB2), Err(Stray::Version(2)));
        for flags in [0x10, 0x20, 0x40, 0x80, dflag::BCAST | dflag::HELLO] {
            assert_eq!(with(1, flags), Err(Stray::Flags), "{flags:#x}");
        }
        assert_eq!(DatagramHeader::open(&SESSION.encode()[..15]), Err(Stray::NotLaneway));
    }

    #[test]
    fn a_flipped_bit_anywhere_fails_the_crc_or_is_a_stray() {
        let header = DatagramHeader { crc: true, ..SESSION };
        let mut datagram = [0x5A; 40];
        assert_eq!(header.seal(&mut datagram, 36), 40);
        assert_eq!(DatagramHeader::open(&datagram), Ok((header, &[0x5A; 20][..])));
        for bit in 0..320 {
            let mut flipped = datagram;
            flipped[bit / 8] ^= 1 << (bit % 8);
            match DatagramHeader::open(&flipped) {
                Err(_) => {}
                Ok((header, _)) => assert!(!header.crc, "bit {bit}: a session with CRC refuses one without"),
            }
        }
        for bytes in 0..40 {
            assert!(DatagramHeader::open(&datagram[..bytes]).is_err(), "{bytes} bytes");
        }
    }
}
