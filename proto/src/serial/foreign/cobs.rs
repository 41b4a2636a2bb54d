//! COBS frames ended by a zero, as the link itself has them, but without its CRC.

use super::{Found, Unfit, next};
use crate::serial::cobs::{Decoded, Decoder, Encoder};

/// Finds frames of up to `N` bytes. Empty ones mean nothing.
#[derive(Clone, Debug)]
pub struct Frames<const N: usize> {
    decoder: Decoder,
    bytes: [u8; N],
}

impl<const N: usize> Frames<N> {
    pub(super) const fn new() -> Self {
        Self { decoder: Decoder::new(), bytes: [0; N] }
    }

    pub(super) fn push(&mut self, bytes: &mut &[u8]) -> Option<Found<'_>> {
        while let Some(byte) = next(bytes) {
            match self.decoder.push(byte, &mut self.bytes) {
                Decoded::More | Decoded::Frame(0) => {}
                Decoded::Frame(len) => return Some(Found::Message(self.bytes.get(..len).unwrap_or_default())),
                Decoded::Bad => return Some(Found::Bad),
            }
        }
        None
    }
}

pub(super) fn encode(message: &[u8], out: &mut [u8]) -> Result<usize, Unfit> {
    let mut encoder = Encoder::new(out, 0, 0);
    encoder.push(message);
    encoder.finish_without_crc().ok_or(Unfit)
}
