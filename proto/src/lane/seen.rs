//! Which numbers of one source were seen: nothing is delivered twice, whichever way it came.
//!
//! For messages that may come again: from a publisher that sends them once more to a restarted broker, over two
//! bridges, or in duplicated datagrams. What is older than the window counts as seen.

use super::sequencer::forward;

/// How far behind the newest number a first sight is still recognised as one.
pub const SEEN_WINDOW: u32 = 1_000;

const BITS: u32 = 1_024;
const _: () = assert!(SEEN_WINDOW < BITS - 1, "the numbers of a window, and the 0 it may span, have a bit each");

/// The numbers seen of one source and lane, in 132 bytes.
///
/// Bit `seq % BITS` stands for the one number within the window that it can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    bits: [u32; (BITS / 32) as usize],
    /// 0: nothing was seen yet.
    newest: u32,
}

impl Seen {
    /// Nothing seen yet; the first number, whatever it is, is new.
    pub const fn new() -> Self {
        Self { bits: [0; (BITS / 32) as usize], newest: 0 }
    }

    /// Whether `seq` is seen for the first time. 0, which numbers nothing, always is.
    pub fn is_first(&mut self, seq: u32) -> bool {
        if seq == 0 {
            return true;
        }
        if self.newest == 0 {
            self.newest = seq;
        } else if forward(self.newest, seq).is_some() {
            self.forget_between(seq);
            self.newest = seq;
        } else if forward(seq, self.newest).is_none_or(|behind| behind > SEEN_WINDOW) {
            return false;
        }
        let (word, bit) = place(seq);
        let first = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        first
    }

    /// Frees the bits of the numbers behind the newest, up to and including `seq`, for their new owners.
    fn forget_between(&mut self, seq: u32) {
        let raw = seq.wrapping_sub(self.newest);
        if raw >= BITS {
            self.bits = [0; (BITS / 32) as usize];
            return;
        }
        for ahead in 1..=raw {
            let (word, bit) = place(self.newest.wrapping_add(ahead));
            self.bits[word] &= !bit;
        }
    }
}

const fn place(seq: u32) -> (usize, u32) {
    let at = seq % BITS;
    ((at / 32) as usize, 1 << (at % 32))
}

impl Default for Seen {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once_and_a_very_old_one_never() {
        let mut seen = Seen::new();
        for seq in [5_000, 4_999, 5_001, 4_001, 6_000, 5_500] {
            assert!(seen.is_first(seq) && !seen.is_first(seq), "{seq}");
        }
        assert!(!seen.is_first(4_002), "it never came, but is older than the window");
        assert!(seen.is_first(0) && seen.is_first(0), "0 numbers nothing");
    }

    #[test]
    fn the_window_spans_the_wrap_without_taking_one_number_for_another() {
        let mut seen = Seen::new();
        assert!(seen.is_first(u32::MAX - 500));
        for seq in (u32::MAX - 499..=u32::MAX).chain(1..=499) {
            assert!(seen.is_first(seq), "{seq}");
        }
        assert!(!seen.is_first(u32::MAX - 500) && !seen.is_first(u32::MAX) && !seen.is_first(1));
    }
}
