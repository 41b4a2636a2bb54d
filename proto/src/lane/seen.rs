//! Which numbers of one source were seen: nothing is delivered twice, whichever way it came.
//!
//! For messages that may come again: from a publisher that sends them once more to a restarted broker, over two
//! bridges, or in duplicated datagrams. What is older than the window counts as seen.

use super::sequencer::forward;

/// Words of the window that suffices on one link and for datagrams.
pub const SEEN_WORDS: usize = 32;
/// How far behind the newest number a first sight is still recognised as one, with so many words.
pub const SEEN_WINDOW: u32 = Seen::<SEEN_WORDS>::WINDOW;

/// Bits that are never used: the 0 that a window may span has one, and the rest makes windows round numbers.
const SPARE_BITS: u32 = 24;

/// The numbers seen of one source and lane, in 4 bytes for each word and 4 more.
///
/// Bit `seq % Self::BITS` stands for the one number within the window that it can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen<const WORDS: usize = SEEN_WORDS> {
    bits: [u32; WORDS],
    /// 0: nothing was seen yet.
    newest: u32,
}

/// What a number is beside those seen before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sight {
    /// Newer than all, or of a source that nothing was seen of, or no number at all.
    Newest,
    /// Seen for the first time, but older than another.
    Behind,
    /// Seen before.
    Again,
    /// Too far behind the newest to tell.
    TooOld,
}

impl<const WORDS: usize> Seen<WORDS> {
    /// How far behind the newest number a first sight is still recognised as one.
    pub const WINDOW: u32 = Self::BITS - SPARE_BITS;

    const BITS: u32 = {
        assert!(WORDS > 0 && WORDS.is_power_of_two() && WORDS < 1 << 20, "bits wrap where numbers do");
        WORDS as u32 * 32
    };

    /// Nothing seen yet; the first number, whatever it is, is new.
    pub const fn new() -> Self {
        Self { bits: [0; WORDS], newest: 0 }
    }

    /// Whether `seq` is seen for the first time. 0, which numbers nothing, always is.
    pub fn is_first(&mut self, seq: u32) -> bool {
        let first = matches!(self.sight(seq), Sight::Newest | Sight::Behind);
        if first {
            self.note(seq);
        }
        first
    }

    /// What `seq` would be if it was seen now.
    pub fn sight(&self, seq: u32) -> Sight {
        if seq == 0 || self.newest == 0 {
            return Sight::Newest;
        }
        let Some(behind) = forward(seq, self.newest) else { return Sight::Newest };
        let (word, bit) = Self::place(seq);
        match () {
            () if behind > Self::WINDOW => Sight::TooOld,
            () if self.bits[word] & bit != 0 => Sight::Again,
            () => Sight::Behind,
        }
    }

    /// `seq`, which is not too old, counts as seen from now on.
    pub fn note(&mut self, seq: u32) {
        if seq == 0 {
            return;
        }
        if self.newest == 0 {
            self.newest = seq;
        } else if forward(self.newest, seq).is_some() {
            self.forget_between(seq);
            self.newest = seq;
        }
        let (word, bit) = Self::place(seq);
        self.bits[word] |= bit;
    }

    /// Frees the bits of the numbers behind the newest, up to and including `seq`, for their new owners.
    fn forget_between(&mut self, seq: u32) {
        let raw = seq.wrapping_sub(self.newest);
        if raw >= Self::BITS {
            self.bits = [0; WORDS];
            return;
        }
        for ahead in 1..=raw {
            let (word, bit) = Self::place(self.newest.wrapping_add(ahead));
            self.bits[word] &= !bit;
        }
    }

    const fn place(seq: u32) -> (usize, u32) {
        let at = seq % Self::BITS;
        ((at / 32) as usize, 1 << (at % 32))
    }
}

impl<const WORDS: usize> Default for Seen<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once_and_a_very_old_one_never() {
        let mut seen = Seen::<SEEN_WORDS>::new();
        for seq in [5_000, 4_999, 5_001, 4_001, 6_000, 5_500] {
            assert!(seen.is_first(seq) && !seen.is_first(seq), "{seq}");
        }
        assert!(!seen.is_first(4_002), "it never came, but is older than the window");
        assert!(seen.is_first(0) && seen.is_first(0), "0 numbers nothing");
    }

    #[test]
    fn the_window_spans_the_wrap_without_taking_one_number_for_another() {
        let mut seen = Seen::<SEEN_WORDS>::new();
        assert!(seen.is_first(u32::MAX - 500));
        for seq in (u32::MAX - 499..=u32::MAX).chain(1..=499) {
            assert!(seen.is_first(seq), "{seq}");
        }
        assert!(!seen.is_first(u32::MAX - 500) && !seen.is_first(u32::MAX) && !seen.is_first(1));
    }
}
