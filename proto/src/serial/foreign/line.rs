//! Lines of text.

use super::{Found, Gathered, Unfit, next, put};

/// What stands behind a line that is sent. Received ones end with LF, with or without CR before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Ending {
    /// LF.
    Lf,
    /// CR LF.
    CrLf,
    /// CR.
    Cr,
}

impl Ending {
    const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
            Self::Cr => b"\r",
        }
    }
}

/// Finds lines of up to `N` bytes; longer ones are bad.
#[derive(Clone, Debug)]
pub struct Lines<const N: usize> {
    gathered: Gathered<N>,
}

impl<const N: usize> Lines<N> {
    pub(super) const fn new() -> Self {
        Self { gathered: Gathered::new() }
    }

    pub(super) fn push(&mut self, bytes: &mut &[u8]) -> Option<Found<'_>> {
        while let Some(byte) = next(bytes) {
            if byte != b'\n' {
                self.gathered.put(byte);
                continue;
            }
            let (len, over) = self.gathered.take();
            if over {
                return Some(Found::Bad);
            }
            let line = self.gathered.upto(len);
            return Some(Found::Message(line.strip_suffix(b"\r").unwrap_or(line)));
        }
        None
    }
}

/// A line that has its ending already gets no second one.
pub(super) fn encode(message: &[u8], ending: Ending, out: &mut [u8]) -> Result<usize, Unfit> {
    let ending = ending.bytes();
    put(out, &[message.strip_suffix(ending).unwrap_or(message), ending])
}
