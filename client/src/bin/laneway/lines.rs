//! Lines of a byte stream, many at a time.

use std::io::{self, Read};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Reads a stream in chunks of whole lines. Holds one chunk and at most one unfinished line.
pub(crate) struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that hold data.
    filled: usize,
    /// Bytes of `buffer` that were given out.
    given: usize,
    line_bytes_max: usize,
    lines_given: u64,
    ended: bool,
}

/// Why there are no more lines.
#[derive(Debug)]
pub(crate) enum LineError {
    /// A line is longer than a message may be; holds its number, from 1.
    TooLong(u64),
    /// The stream failed.
    Read(io::Error),
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(source: R, line_bytes_max: usize) -> Self {
        Self { source, buffer: Vec::new(), filled: 0, given: 0, line_bytes_max, lines_given: 0, ended: false }
    }

    /// The next whole lines, joined by newlines, the last one without: split them at `\n`. `None` at the end. Waits for no
    /// more input than it takes to complete a line.
    pub(crate) fn next_chunk(&mut self) -> Result<Option<&[u8]>, LineError> {
        self.buffer.copy_within(self.given..self.filled, 0);
        self.filled -= self.given;
        self.given = 0;
        let mut searched = 0;
        while !self.ended {
            if self.filled > self.line_bytes_max {
                return Err(LineError::TooLong(self.lines_given + 1));
            }
            if self.buffer.len() < self.filled + CHUNK_BYTES {
                self.buffer.resize(self.filled + CHUNK_BYTES, 0);
            }
            match self.source.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.ended = true,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(LineError::Read(error)),
            }
            if let Some(last) = self.buffer[searched..self.filled].iter().rposition(|&byte| byte == b'\n') {
                self.given = searched + last + 1;
                return Ok(Some(self.count(self.given - 1)));
            }
            searched = self.filled;
        }
        if self.filled == 0 {
            return Ok(None);
        }
        self.given = self.filled;
        Ok(Some(self.count(self.filled)))
    }

    fn count(&mut self, end: usize) -> &[u8] {
        let chunk = &self.buffer[..end];
        self.lines_given += 1 + chunk.iter().filter(|&&byte| byte == b'\n').count() as u64;
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives `step` bytes at a time.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn lines(text: &[u8], step: usize) -> Result<Vec<Vec<u8>>, LineError> {
        let mut lines = Lines::new(Dribble(text, step), 8);
        let mut all = Vec::new();
        while let Some(chunk) = lines.next_chunk()? {
            all.extend(chunk.split(|&byte| byte == b'\n').map(<[u8]>::to_vec));
        }
        Ok(all)
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        for step in 1..=16 {
            let all = lines(b"one\n\ntwo\r\nlast", step).expect("short lines");
            assert_eq!(all, [&b"one"[..], b"", b"two\r", b"last"], "{step} bytes at a time");
        }
    }

    #[test]
    fn a_final_newline_ends_the_last_line_and_begins_none() {
        assert_eq!(lines(b"a\n", 9).expect("short"), [b"a"]);
        assert_eq!(lines(b"\n", 9).expect("short"), [b""]);
        assert!(lines(b"", 9).expect("short").is_empty());
    }

    #[test]
    fn a_line_over_the_bound_is_named_before_it_is_held() {
        let endless = io::repeat(b'x');
        let mut lines = Lines::new(endless, 100);
        assert!(matches!(lines.next_chunk(), Err(LineError::TooLong(1))));
        let mut second = Lines::new(Dribble(b"ok\n123456789", 3), 8);
        assert!(matches!(second.next_chunk(), Ok(Some(b"ok"))));
        assert!(matches!(second.next_chunk(), Err(LineError::TooLong(2))));
    }
}
