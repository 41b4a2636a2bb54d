//! BATCH: many messages of one topic and lane in one frame, routed as a unit.
//!
//! ```text
//!  0        2        4        6
//!  |  count |    0   |  len   | bytes ... |  len   | bytes ... |
//! ```
//! `count` is 1 to 4,095. The broker reads only `count`; the subscriber's library unpacks the rest.

use crate::error::DecodeError;
use crate::limits::BATCH_MESSAGES_MAX;
use crate::wire::Reader;

/// Bytes in front of the first message: the count and a reserved zero.
pub const BATCH_PREFIX_BYTES: usize = 4;
/// Bytes in front of each message: its length.
pub const BATCH_ITEM_PREFIX_BYTES: usize = 2;

/// The number of messages a BATCH body claims; all that a broker needs.
pub const fn message_count(body: &[u8]) -> Result<u16, DecodeError> {
    message_count_of(body, body.len())
}

/// The same for a body of `body_bytes` of which only the front is at hand.
pub const fn message_count_of(front: &[u8], body_bytes: usize) -> Result<u16, DecodeError> {
    let Some(prefix) = front.first_chunk::<BATCH_PREFIX_BYTES>() else {
        return Err(DecodeError::BodyTruncated);
    };
    let [c0, c1, r0, r1] = *prefix;
    let count = u16::from_le_bytes([c0, c1]);
    let reserved = u16::from_le_bytes([r0, r1]);
    let items = (body_bytes - BATCH_PREFIX_BYTES) / BATCH_ITEM_PREFIX_BYTES;
    if count == 0 || count > BATCH_MESSAGES_MAX || reserved != 0 || (count as usize) > items {
        return Err(DecodeError::BodyMalformed);
    }
    Ok(count)
}

/// The 4 bytes in front of the first message of a batch of `count`.
pub const fn prefix(count: u16) -> [u8; BATCH_PREFIX_BYTES] {
    let [c0, c1] = count.to_le_bytes();
    [c0, c1, 0, 0]
}

/// The messages of a BATCH body, in order. Ends early with an error if the body is malformed.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    reader: Reader<'a>,
    left: u16,
}

impl<'a> Messages<'a> {
    /// Reads the body's prefix.
    pub fn new(body: &'a [u8]) -> Result<Self, DecodeError> {
        let left = message_count(body)?;
        let mut reader = Reader::new(body);
        let _ = reader.u32();
        Ok(Self { reader, left })
    }

    /// Messages not yet returned.
    pub const fn left(&self) -> u16 {
        self.left
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<&'a [u8], DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let message = self.reader.u16().and_then(|len| self.reader.bytes(usize::from(len)));
        match message {
            Some(bytes) if self.left > 1 || self.reader.rest().is_empty() => {
                self.left -= 1;
                Some(Ok(bytes))
            }
            Some(_) | None => {
                self.left = 0;
                Some(Err(DecodeError::BodyMalformed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_batch_yields_its_messages_in_order() {
        let body = [3, 0, 0, 0, 1, 0, b'a', 0, 0, 2, 0, b'b', b'c'];
        assert_eq!(message_count(&body), Ok(3));
        let got: Result<Vec<&[u8]>, _> = Messages::new(&body).and_then(Iterator::collect);
        assert_eq!(got, Ok(alloc::vec![&b"a"[..], &b""[..], &b"bc"[..]]));
    }

    #[test]
    fn a_batch_that_lies_about_its_size_is_malformed() {
        for body in [
            &[0, 0, 0, 0][..],               // no message
            &[1, 0, 0, 0],                   // promised one, has none
            &[1, 0, 1, 0, 0, 0],             // reserved bits
            &[1, 0, 0, 0, 5, 0, b'a'],       // message longer than the body
            &[1, 0, 0, 0, 1, 0, b'a', b'b'], // bytes behind the last message
            &[0xff, 0x0f, 0, 0, 0, 0],       // more messages than prefixes fit
            &[0x00, 0x10, 0, 0],             // over the bound
        ] {
            let got = Messages::new(body).and_then(|messages| messages.collect::<Result<Vec<_>, _>>());
            assert_eq!(got.err(), Some(DecodeError::BodyMalformed), "{body:?}");
        }
        assert_eq!(message_count(&[1, 0, 0]), Err(DecodeError::BodyTruncated));
    }
}
