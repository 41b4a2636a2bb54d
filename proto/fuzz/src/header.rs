//! A header is written back as it was read, and the front of a stream is judged the same whatever follows it.
//!
//! Input: `u16` largest frame (0 = 65,535) | the front of a stream.

use laneway_proto::error::DecodeError;
use laneway_proto::framing::length::{Front, front};
use laneway_proto::header::Header;

use crate::input::Input;

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let frame_bytes_max = match input.u16() {
        0 => 65_535,
        bytes => usize::from(bytes),
    };
    let stream = input.0;
    let whole = front(stream, frame_bytes_max);
    let Some(bytes) = stream.first_chunk::<16>() else {
        let false_length = matches!(*stream, [low, 0, ..] if low < 16);
        let expected = if false_length { Err(DecodeError::LengthTooSmall) } else { Ok(Front::Short) };
        return assert_eq!(whole, expected);
    };
    let len = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
    let Ok(header) = Header::decode(bytes) else {
        assert!(len < 16, "a length of {len} is possible");
        return assert_eq!(whole, Err(DecodeError::LengthTooSmall));
    };
    assert_eq!(header.encode(), *bytes);
    assert_eq!((usize::from(header.len), header.body_bytes()), (len, len - 16));
    let kept = bytes[3] & 0x80 == 0 && bytes[9] < 8 && (bytes[2] & 0x40 == 0 || header.kind.is_known());
    assert_eq!(header.rejected().is_none(), kept, "{header:?}");
    let expected = if len > frame_bytes_max {
        Err(DecodeError::LengthTooLarge)
    } else if stream.len() < len {
        Ok(Front::Partial(header))
    } else {
        Ok(Front::Whole(header))
    };
    assert_eq!(whole, expected);
    if let Ok(Front::Whole(_)) = whole {
        assert_eq!(front(&stream[..len], frame_bytes_max), whole, "what follows a frame does not change it");
        assert!(!matches!(front(&stream[..len - 1], frame_bytes_max), Ok(Front::Whole(_))), "its last byte counts");
    }
}
