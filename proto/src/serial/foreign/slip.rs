//! SLIP, RFC 1055: frames ended by END, in which END and ESC are written as two bytes.

use super::{Found, Gathered, Unfit, next};

const END: u8 = 0xC0;
const ESC: u8 = 0xDB;
const ESC_END: u8 = 0xDC;
const ESC_ESC: u8 = 0xDD;

/// Finds frames of up to `N` bytes. Empty ones mean nothing.
#[derive(Clone, Debug)]
pub struct Frames<const N: usize> {
    gathered: Gathered<N>,
    escaped: bool,
    /// The frame is damaged.
    bad: bool,
}

impl<const N: usize> Frames<N> {
    pub(super) const fn new() -> Self {
        Self { gathered: Gathered::new(), escaped: false, bad: false }
    }

    pub(super) fn push(&mut self, bytes: &mut &[u8]) -> Option<Found<'_>> {
        while let Some(byte) = next(bytes) {
            if byte == END {
                let (len, over) = self.gathered.take();
                let cut = core::mem::take(&mut self.escaped);
                if core::mem::take(&mut self.bad) || over || cut {
                    return Some(Found::Bad);
                }
                if len > 0 {
                    return Some(Found::Message(self.gathered.upto(len)));
                }
                continue;
            }
            match (core::mem::take(&mut self.escaped), byte) {
                (false, ESC) => self.escaped = true,
                (true, ESC_END) => self.gathered.put(END),
                (true, ESC_ESC) => self.gathered.put(ESC),
                (true, _) => self.bad = true,
                (false, _) => self.gathered.put(byte),
            }
        }
        None
    }
}

pub(super) fn encode(message: &[u8], out: &mut [u8]) -> Result<usize, Unfit> {
    let mut at = 0;
    let mut put = |byte: u8| {
        *out.get_mut(at).ok_or(Unfit)? = byte;
        at += 1;
        Ok(())
    };
    for &byte in message {
        match byte {
            END | ESC => {
                put(ESC)?;
                put(if byte == END { ESC_END } else { ESC_ESC })?;
            }
            _ => put(byte)?,
        }
    }
    put(END)?;
    Ok(at)
}
