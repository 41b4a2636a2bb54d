//! From bytes on the line to frames, and back.

/// Bytes that must be free in front of a frame of `bytes` bytes that is encoded where it lies: two zeros, and what COBS adds.
pub(crate) const fn gap_bytes(bytes: usize) -> usize {
    3 + bytes / 254
}

/// Encodes the frame at `from` up to `to` where it lies, so that it begins at 2 behind two zeros and ends with one; the end
/// of it. `from` is at least [`gap_bytes`], and one byte is free at `to`.
pub(crate) fn encode(buffer: &mut [u8], from: usize, to: usize) -> usize {
    let (mut code_at, mut at, mut code) = (2, 3, 1);
    let put = |buffer: &mut [u8], at: usize, byte: u8| {
        if let Some(place) = buffer.get_mut(at) {
            *place = byte;
        }
    };
    put(buffer, 0, 0);
    put(buffer, 1, 0);
    for read in from..to {
        let byte = buffer.get(read).copied().unwrap_or_default();
        // A full run ends without a zero; another one follows only if the frame goes on.
        if code == 0xFF {
            put(buffer, code_at, code);
            (code_at, at, code) = (at, at + 1, 1);
        }
        if byte == 0 {
            put(buffer, code_at, code);
            (code_at, at, code) = (at, at + 1, 1);
        } else {
            put(buffer, at, byte);
            (at, code) = (at + 1, code + 1);
        }
    }
    put(buffer, code_at, code);
    put(buffer, at, 0);
    at + 1
}

/// What a byte from the line completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Decoded {
    /// Nothing yet.
    Nothing,
    /// A frame of so many bytes lies in the buffer.
    Frame(usize),
    /// What came was no frame.
    Bad,
}

/// Takes frames apart, byte by byte.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Decoder {
    len: usize,
    run_left: u8,
    /// A zero stands behind the run, unless the frame ends.
    zero: bool,
    bad: bool,
    begun: bool,
}

impl Decoder {
    /// The next byte; what it says stands in `buffer` from its beginning.
    pub(crate) fn push(&mut self, byte: u8, buffer: &mut [u8]) -> Decoded {
        if byte == 0 {
            let Self { len, run_left, bad, begun, .. } = core::mem::take(self);
            return match begun {
                false => Decoded::Nothing,
                true if bad || run_left > 0 => Decoded::Bad,
                true => Decoded::Frame(len),
            };
        }
        self.begun = true;
        if self.run_left > 0 {
            self.run_left -= 1;
            self.put(byte, buffer);
        } else {
            if self.zero {
                self.put(0, buffer);
            }
            (self.run_left, self.zero) = (byte - 1, byte != 0xFF);
        }
        Decoded::Nothing
    }

    fn put(&mut self, byte: u8, buffer: &mut [u8]) {
        match buffer.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.bad = true,
        }
    }
}
