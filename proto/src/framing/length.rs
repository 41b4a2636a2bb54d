//! Length framing: the first two bytes of each frame are its length.

use crate::error::DecodeError;
use crate::header::Header;
use crate::limits::HEADER_BYTES;

/// What stands at the front of the bytes received so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Front {
    /// A whole frame of `header.len` bytes.
    Whole(Header),
    /// A header, but not all of its frame yet.
    Partial(Header),
    /// Not even a header yet.
    Short,
}

/// Looks at the front of `bytes`. `frame_bytes_max` is what the peer was told it may send.
pub const fn front(bytes: &[u8], frame_bytes_max: usize) -> Result<Front, DecodeError> {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
        return match *bytes {
            // A false length is refused before the rest of the header arrives.
            [l0, l1, ..] if (u16::from_le_bytes([l0, l1]) as usize) < HEADER_BYTES => Err(DecodeError::LengthTooSmall),
            _ => Ok(Front::Short),
        };
    };
    let header = match Header::decode(head) {
        Ok(header) => header,
        Err(error) => return Err(error),
    };
    let len = header.len as usize;
    if len > frame_bytes_max {
        return Err(DecodeError::LengthTooLarge);
    }
    Ok(if bytes.len() >= len { Front::Whole(header) } else { Front::Partial(header) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_whole_only_with_its_last_byte() {
        let mut bytes = [0u8; 20];
        bytes[0] = 20;
        assert_eq!(front(&bytes[..1], 100), Ok(Front::Short));
        assert_eq!(front(&bytes[..15], 100), Ok(Front::Short));
        assert!(matches!(front(&bytes[..19], 100), Ok(Front::Partial(header)) if header.len == 20));
        assert!(matches!(front(&bytes, 100), Ok(Front::Whole(_))));
    }

    #[test]
    fn a_false_length_is_refused_as_soon_as_it_is_seen() {
        assert_eq!(front(&[15, 0], 100), Err(DecodeError::LengthTooSmall));
        let mut bytes = [0u8; 16];
        bytes[..2].copy_from_slice(&101u16.to_le_bytes());
        assert_eq!(front(&bytes, 100), Err(DecodeError::LengthTooLarge));
    }
}
