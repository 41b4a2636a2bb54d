//! COBS: frames without zeros, ended by a zero, both ways byte by byte.

use super::crc::Crc32;
use super::limits::SERIAL_CRC_BYTES;

/// Bytes of a run that is not ended by a zero.
const RUN_BYTES_MAX: u8 = 254;

/// The most that a frame of `bytes` takes on the line, its ending zero included.
pub const fn wire_bytes(bytes: usize) -> usize {
    bytes + bytes / RUN_BYTES_MAX as usize + 2
}

/// Writes one frame as it travels, with its CRC.
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut [u8],
    crc: Crc32,
    /// Where the code byte of the run stands that is being written.
    code: usize,
    at: usize,
    full: bool,
}

impl<'a> Encoder<'a> {
    /// A frame behind `zeros` zeros, checked with `preset`.
    pub fn new(out: &'a mut [u8], zeros: usize, preset: u32) -> Self {
        let full = zeros >= out.len();
        if !full {
            out[..zeros].fill(0);
        }
        Self { out, crc: Crc32::continued(preset), code: zeros, at: zeros + 1, full }
    }

    /// Appends bytes of the frame.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.crc.push(byte);
            self.byte(byte);
        }
    }

    fn byte(&mut self, byte: u8) {
        // A full run is ended by the byte behind it, because nothing follows it at the end of a frame.
        if self.at - self.code > usize::from(RUN_BYTES_MAX) {
            self.end_run();
        }
        if byte == 0 {
            return self.end_run();
        }
        match self.out.get_mut(self.at) {
            Some(place) => *place = byte,
            None => self.full = true,
        }
        self.at += 1;
    }

    fn end_run(&mut self) {
        match self.out.get_mut(self.code) {
            Some(place) => *place = (self.at - self.code) as u8,
            None => self.full = true,
        }
        self.code = self.at;
        self.at += 1;
    }

    /// Appends the CRC and the ending zero. Returns the bytes written, or `None` if `out` was too small.
    pub fn finish(mut self) -> Option<usize> {
        for byte in self.crc.value().to_le_bytes() {
            self.byte(byte);
        }
        self.finish_without_crc()
    }

    /// The same without a CRC, for frames of other protocols.
    pub(super) fn finish_without_crc(mut self) -> Option<usize> {
        self.end_run();
        // Where the next run's code would stand, the frame ends.
        *self.out.get_mut(self.code)? = 0;
        (!self.full).then_some(self.code + 1)
    }
}

/// What a byte from the line did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// Nothing yet.
    More,
    /// The first so many bytes of the buffer are a frame, its CRC still to be checked.
    Frame(usize),
    /// A frame ended that is none.
    Bad,
}

/// Reads frames byte by byte into the caller's buffer. It begins in the middle of anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decoder {
    len: u16,
    /// Bytes left of the run.
    left: u8,
    /// A zero stands in the frame before the next run.
    zero: bool,
    /// What arrives is skipped up to the next zero.
    skip: bool,
    /// Something was skipped, or read, since the last zero.
    begun: bool,
}

impl Decoder {
    /// A decoder at the beginning of a frame.
    pub const fn new() -> Self {
        Self { len: 0, left: 0, zero: false, skip: false, begun: false }
    }

    /// A byte has arrived; `buffer` is the same at every call.
    pub fn push(&mut self, byte: u8, buffer: &mut [u8]) -> Decoded {
        if byte == 0 {
            let ended = *self;
            *self = Self::new();
            return match ended {
                Self { begun: false, .. } => Decoded::More,
                Self { skip: false, left: 0, len, .. } => Decoded::Frame(usize::from(len)),
                _ => Decoded::Bad,
            };
        }
        self.begun = true;
        if self.skip {
            return Decoded::More;
        }
        if self.left > 0 {
            self.left -= 1;
            self.put(byte, buffer);
        } else {
            if self.zero {
                self.put(0, buffer);
            }
            self.left = byte - 1;
            self.zero = self.left < RUN_BYTES_MAX;
        }
        Decoded::More
    }

    fn put(&mut self, byte: u8, buffer: &mut [u8]) {
        match buffer.get_mut(usize::from(self.len)) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.skip = true,
        }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// The frame in front of its CRC, if that is right for `preset`.
pub fn checked(frame: &[u8], preset: u32) -> Option<&[u8]> {
    let (body, crc) = frame.split_last_chunk::<SERIAL_CRC_BYTES>()?;
    (super::crc::crc32(preset, body) == u32::from_le_bytes(*crc)).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn decode(wire: &[u8], buffer: &mut [u8]) -> Vec<Decoded> {
        let mut decoder = Decoder::new();
        wire.iter().map(|&byte| decoder.push(byte, buffer)).filter(|&decoded| decoded != Decoded::More).collect()
    }

    fn round_trip(frame: &[u8]) {
        let mut wire = vec![0xAA; wire_bytes(frame.len() + 4)];
        let mut encoder = Encoder::new(&mut wire, 0, 7);
        encoder.push(frame);
        let len = encoder.finish().expect("the bound is one");
        assert!(!wire[..len - 1].contains(&0) && wire[len - 1] == 0, "{wire:02x?}");
        let mut buffer = vec![0; frame.len() + 4];
        assert_eq!(decode(&wire[..len], &mut buffer), [Decoded::Frame(frame.len() + 4)]);
        assert_eq!(checked(&buffer, 7), Some(frame));
        assert_eq!(checked(&buffer, 8), None);
        let mut short = vec![0; len - 1];
        let mut encoder = Encoder::new(&mut short, 0, 7);
        encoder.push(frame);
        assert_eq!(encoder.finish(), None, "a buffer that is a byte too small");
        assert_eq!(decode(&wire[..len], &mut buffer[..frame.len() + 3]), [Decoded::Bad], "nor a frame");
    }

    #[test]
    fn frames_of_every_length_and_with_a_zero_anywhere_come_back() {
        for len in 0..520 {
            round_trip(&vec![1; len]);
            round_trip(&vec![0; len]);
            round_trip(&(0..len).map(|at| at as u8).collect::<Vec<_>>());
        }
        for zero in 240..262 {
            let mut frame = vec![0x55; 262];
            frame[zero] = 0;
            round_trip(&frame);
        }
    }

    #[test]
    fn a_zero_inside_a_run_costs_that_frame_and_empty_frames_nothing() {
        let mut buffer = [0; 16];
        assert_eq!(decode(&[0, 0, 5, 1, 0, 2, 9, 0, 0], &mut buffer), [Decoded::Bad, Decoded::Frame(1)]);
        assert_eq!(buffer[0], 9);
        assert_eq!(decode(&[1, 0], &mut buffer), [Decoded::Frame(0)], "an empty frame that says so");
    }
}
