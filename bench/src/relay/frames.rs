//! Where whole frames end: `u32 len | payload`, again and again.

use crate::error::{Error, Result};

/// Bytes of a length.
pub(super) const LENGTH_BYTES: usize = 4;
/// Bytes of a payload a relay forwards at most.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of the frame at the front of `bytes`, complete or not; `None` until its length has arrived.
pub(super) fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let payload_bytes = u32::from_le_bytes(*length) as usize;
    if payload_bytes > PAYLOAD_BYTES_MAX {
        return Err(Error::Failed(format!("the publisher claims a frame of {payload_bytes} bytes")));
    }
    Ok(Some(LENGTH_BYTES + payload_bytes))
}

/// Bytes of the whole frames at the front of `bytes`.
pub(super) fn whole_bytes(bytes: &[u8]) -> Result<usize> {
    let mut whole = 0;
    while let Some(frame) = frame_bytes(&bytes[whole..])? {
        if frame > bytes.len() - whole {
            break;
        }
        whole += frame;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_frames_count() {
        let bytes = [1, 0, 0, 0, b'a', 0, 0, 0, 0, 2, 0, 0, 0, b'b'];
        assert_eq!(whole_bytes(&bytes).ok(), Some(9));
        assert_eq!(whole_bytes(&bytes[..8]).ok(), Some(5));
        assert_eq!(whole_bytes(&bytes[..3]).ok(), Some(0));
        assert!(whole_bytes(&[0xff; 4]).is_err());
    }
}
