//! What a lane's receiver does with the number of a message: [`NewestOnly`] for US, [`ExactlyOnce`] for RU and RO.
//!
//! Numbers run from 1 to 4,294,967,295 and on to 1; the nearer way round says which of two is older.

use crate::header::seq_after;
use crate::time::{Duration, Instant};

/// Numbers ahead of the first missing one that [`ExactlyOnce`] can tell apart.
pub const EXACT_WINDOW: u32 = 255;

const WORDS: usize = 4;
const _: () =
    assert!(EXACT_WINDOW == 64 * WORDS as u32 - 1, "the numbers of a window, and the 0 it may span, have a bit each");

/// Steps from number `from` forward to number `to`, if that is the nearer way round; 0 if they are the same. Neither is 0.
pub const fn forward(from: u32, to: u32) -> Option<u32> {
    let steps = if to >= from { to - from } else { u32::MAX - from + to };
    if steps <= u32::MAX / 2 { Some(steps) } else { None }
}

/// US: nothing older than, or the same as, what was delivered of one key (source, lane, topic, conflation key).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NewestOnly {
    /// 0: nothing was delivered yet.
    newest: u32,
    accepted: Instant,
}

impl NewestOnly {
    /// Nothing delivered yet.
    pub const fn new() -> Self {
        Self { newest: 0, accepted: Instant(0) }
    }

    /// Whether to deliver the message numbered `seq`. After `stale` without one, any number is taken: its source may have
    /// started anew, or the numbers gone round. Unnumbered messages (0) are always delivered.
    pub fn accepts(&mut self, now: Instant, seq: u32, stale: Duration) -> bool {
        if seq == 0 {
            return true;
        }
        let fresh = self.newest == 0
            || forward(self.newest, seq).is_some_and(|steps| steps > 0)
            || now.since(self.accepted) >= stale;
        if fresh {
            (self.newest, self.accepted) = (seq, now);
        }
        fresh
    }
}

/// What to do with a message of a reliable lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Deliver it. On RO, then [`ExactlyOnce::release`] what waited for it.
    Deliver,
    /// Keep it: one before it is missing (RO only).
    Hold,
    /// It was delivered, is held, or was reported lost: drop it, and acknowledge it.
    Duplicate,
    /// Too far ahead, or without a number: drop it, and do not acknowledge it.
    Beyond,
}

/// RU and RO: each number of one source stream delivered once or lost, never both; in 72 bytes, unless the caller brings
/// more room for a larger window.
///
/// Invariant: everything before `next` is delivered or lost; `next` is not lost, and is held only until the owner has
/// called [`Self::release`]. Bit `seq % bits` of each half of `words` stands for the one number of the window that it can
/// be. First half: delivered ahead of `next` (RU), or lost. Second half: waiting for `next` (RO).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct ExactlyOnce<W = [u64; 2 * WORDS]> {
    ordered: bool,
    next: u32,
    words: W,
}

/// What was known of a number that turns out to be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Before {
    /// It had not arrived.
    Missing,
    /// It was waiting for another one, and is lost with it.
    Held,
}

impl ExactlyOnce {
    /// A stream whose first number is `first` (not 0), with a window of [`EXACT_WINDOW`] numbers. `ordered`: RO.
    pub const fn new(first: u32, ordered: bool) -> Self {
        assert!(first != 0, "0 numbers nothing");
        Self { ordered, next: first, words: [0; 2 * WORDS] }
    }
}

impl<W: AsRef<[u64]> + AsMut<[u64]>> ExactlyOnce<W> {
    /// The same with a window in the caller's words: as many numbers, less one, as half of them have bits.
    ///
    /// # Panics
    /// If `words` is no power of two, or `first` is 0.
    pub fn with_words(mut words: W, first: u32, ordered: bool) -> Self {
        let len = words.as_ref().len();
        assert!(len >= 2 && len.is_power_of_two(), "{len} words are not two equal rings that close where numbers wrap");
        assert!(first != 0, "0 numbers nothing");
        words.as_mut().fill(0);
        Self { ordered, next: first, words }
    }

    /// Numbers from `next` on that are told apart.
    pub fn window(&self) -> u32 {
        self.bits() - 1
    }

    fn bits(&self) -> u32 {
        self.words.as_ref().len() as u32 * 32
    }

    /// The first number that is neither delivered nor lost: acknowledge everything before it.
    pub const fn next(&self) -> u32 {
        self.next
    }

    /// A message arrived.
    pub fn on_message(&mut self, seq: u32) -> Verdict {
        if seq == 0 {
            return Verdict::Beyond;
        }
        let Some(ahead) = forward(self.next, seq) else { return Verdict::Duplicate };
        if ahead >= self.window() {
            return Verdict::Beyond;
        }
        if self.is_done(seq) || self.is_held(seq) {
            return Verdict::Duplicate;
        }
        if ahead == 0 {
            self.step();
        } else if self.ordered {
            self.put(Half::Held, seq, true);
            return Verdict::Hold;
        } else {
            self.put(Half::Done, seq, true);
        }
        Verdict::Deliver
    }

    /// Whether all of `count` numbers from `first` on are delivered, held or lost.
    pub fn is_settled(&self, first: u32, count: u32) -> bool {
        let (start, left) = match forward(self.next, first) {
            Some(_) => (first, count),
            None => (self.next, count.saturating_sub(forward(first, self.next).unwrap_or(u32::MAX))),
        };
        left <= self.window()
            && (0..left).map(|ahead| seq_after(start, ahead)).all(|seq| self.is_done(seq) || self.is_held(seq))
    }

    /// The sender will not send `count` numbers from `first` on. Returns how many of them are lost by that: those that
    /// neither arrived nor were lost before. On RO, then [`Self::release`] what waited for them.
    ///
    /// What lies beyond the window is not taken as long as something is held in it; the sender, to whom it is not
    /// acknowledged, says it again.
    pub fn on_lost(&mut self, first: u32, count: u32) -> u32 {
        let count = count.min(u32::MAX / 2);
        if first == 0 {
            return 0;
        }
        let (ahead, count) = match (forward(self.next, first), forward(first, self.next)) {
            (Some(ahead), _) => (ahead, count),
            (None, behind) => (0, count.saturating_sub(behind.unwrap_or(u32::MAX))),
        };
        let (end, window) = (ahead.saturating_add(count), self.window());
        let mut lost = 0;
        let start = self.next;
        for ahead in ahead..end.min(window) {
            let seq = seq_after(start, ahead);
            if !self.is_done(seq) && !self.is_held(seq) {
                self.put(Half::Done, seq, true);
                lost += 1;
            }
        }
        self.skip_done();
        let passed = forward(start, self.next).unwrap_or_default();
        if ahead == 0 && passed >= window && end > passed {
            // The window is empty again: the rest of the range needs no bits.
            self.next = seq_after(start, end);
            lost += end - passed;
        }
        lost
    }

    /// A message of `count` numbers from `first` on, all within the window, is lost unless all of them have arrived; calls
    /// `lost` with the place in the message of each number that is lost by that, and what was known of it. Returns
    /// whether the message is lost. On RO, then [`Self::release`] what waited for it.
    pub fn on_message_lost(&mut self, first: u32, count: u32, lost: &mut impl FnMut(u32, Before)) -> bool {
        if first == 0 || self.is_settled(first, count) {
            return false;
        }
        for place in 0..count {
            let seq = seq_after(first, place);
            match forward(self.next, seq) {
                Some(ahead) if ahead < self.window() => {}
                Some(_) => break,
                None => continue,
            }
            if self.is_held(seq) {
                self.put(Half::Held, seq, false);
                lost(place, Before::Held);
            } else if !self.is_done(seq) {
                lost(place, Before::Missing);
            }
            self.put(Half::Done, seq, true);
        }
        self.skip_done();
        true
    }

    /// RO: the number of a held message that is now to be delivered. Call it until it says `None`.
    pub fn release(&mut self) -> Option<u32> {
        let seq = self.next;
        if !self.is_held(seq) {
            return None;
        }
        self.put(Half::Held, seq, false);
        self.step();
        Some(seq)
    }

    fn step(&mut self) {
        self.next = seq_after(self.next, 1);
        self.skip_done();
    }

    fn skip_done(&mut self) {
        while self.is_done(self.next) {
            self.put(Half::Done, self.next, false);
            self.next = seq_after(self.next, 1);
        }
    }

    fn place(&self, half: Half, seq: u32) -> (usize, u64) {
        let at = seq & (self.bits() - 1);
        let first = match half {
            Half::Done => 0,
            Half::Held => self.words.as_ref().len() / 2,
        };
        (first + (at / 64) as usize, 1 << (at % 64))
    }

    fn has(&self, half: Half, seq: u32) -> bool {
        let (word, bit) = self.place(half, seq);
        self.words.as_ref()[word] & bit != 0
    }

    fn is_done(&self, seq: u32) -> bool {
        self.has(Half::Done, seq)
    }

    fn is_held(&self, seq: u32) -> bool {
        self.has(Half::Held, seq)
    }

    fn put(&mut self, half: Half, seq: u32, on: bool) {
        let (place, bit) = self.place(half, seq);
        let word = &mut self.words.as_mut()[place];
        *word = if on { *word | bit } else { *word & !bit };
    }
}

/// Which ring of bits.
#[derive(Clone, Copy)]
enum Half {
    Done,
    Held,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const STALE: Duration = Duration::from_millis(1_000);

    #[test]
    fn the_nearer_way_round_says_which_number_is_older() {
        assert_eq!((forward(1, 3), forward(3, 1), forward(7, 7)), (Some(2), None, Some(0)));
        assert_eq!((forward(u32::MAX, 1), forward(1, u32::MAX)), (Some(1), None), "0 is no number");
        assert_eq!((forward(1, 1 + u32::MAX / 2), forward(1, 2 + u32::MAX / 2)), (Some(u32::MAX / 2), None));
    }

    #[test]
    fn a_sequenced_lane_delivers_only_what_is_newer() {
        let mut newest = NewestOnly::new();
        let delivered: Vec<u32> =
            [1, 3, 2, 3, 5, 4, 5, 6].into_iter().filter(|&seq| newest.accepts(Instant(0), seq, STALE)).collect();
        assert_eq!(delivered, [1, 3, 5, 6]);
        assert!(newest.accepts(Instant(0), 0, STALE), "unnumbered");
        assert!(!newest.accepts(Instant(0), 6, STALE), "which changes nothing");
    }

    #[test]
    fn a_key_that_was_silent_for_long_takes_any_number() {
        let mut newest = NewestOnly::new();
        let at = |ms| Instant(0) + Duration::from_millis(ms);
        assert!(newest.accepts(at(0), 100, STALE));
        assert!(!newest.accepts(at(999), 1, STALE), "what is dropped is no sign of life");
        assert!(newest.accepts(at(1_000), 1, STALE));
        assert!(!newest.accepts(at(1_001), 1, STALE));
    }

    #[test]
    fn an_ordered_lane_waits_for_the_missing_one_and_goes_on_behind_a_loss() {
        let mut lane = ExactlyOnce::new(1, true);
        assert_eq!([1, 3, 5, 3].map(|seq| lane.on_message(seq)), {
            [Verdict::Deliver, Verdict::Hold, Verdict::Hold, Verdict::Duplicate]
        });
        assert_eq!((lane.release(), lane.next()), (None, 2));
        assert_eq!(lane.on_message(2), Verdict::Deliver);
        assert_eq!((lane.release(), lane.release()), (Some(3), None));
        assert_eq!(lane.on_lost(3, 3), 1, "3 and 5 arrived");
        assert_eq!((lane.release(), lane.release(), lane.next()), (Some(5), None, 6));
        assert_eq!(lane.on_message(4), Verdict::Duplicate, "lost is lost");
    }

    #[test]
    fn an_unordered_lane_delivers_at_once_and_never_twice() {
        let mut lane = ExactlyOnce::new(u32::MAX - 1, false);
        assert_eq!([1, u32::MAX, 1, u32::MAX - 1].map(|seq| lane.on_message(seq)), {
            [Verdict::Deliver, Verdict::Deliver, Verdict::Duplicate, Verdict::Deliver]
        });
        assert_eq!(lane.next(), 2);
        assert_eq!([0, 2 + EXACT_WINDOW].map(|seq| lane.on_message(seq)), [Verdict::Beyond; 2]);
        assert_eq!(lane.on_message(1 + EXACT_WINDOW), Verdict::Deliver);
    }

    #[test]
    fn a_message_of_several_numbers_is_lost_as_a_whole_or_not_at_all() {
        let mut lane = ExactlyOnce::with_words([0; 2], 5, true);
        assert_eq!(lane.window(), 63);
        assert_eq!([5, 7, 9, 10].map(|seq| lane.on_message(seq)), {
            [Verdict::Deliver, Verdict::Hold, Verdict::Hold, Verdict::Hold]
        });
        assert!(lane.is_settled(9, 2) && lane.is_settled(3, 3) && !lane.is_settled(5, 2));
        assert!(!lane.on_message_lost(9, 2, &mut |_, _| unreachable!()), "all of it is there");
        let mut seen = Vec::new();
        assert!(lane.on_message_lost(5, 4, &mut |place, before| seen.push((place, before))));
        assert_eq!(seen, [(1, Before::Missing), (2, Before::Held), (3, Before::Missing)]);
        assert_eq!((lane.release(), lane.release(), lane.release(), lane.next()), (Some(9), Some(10), None, 11));
        assert_eq!([6, 7, 8, 11 + 63].map(|seq| lane.on_message(seq)), {
            [Verdict::Duplicate, Verdict::Duplicate, Verdict::Duplicate, Verdict::Beyond]
        });
    }

    #[test]
    fn a_long_loss_is_one_step_and_a_repeated_one_counts_once() {
        let mut lane = ExactlyOnce::new(1, false);
        assert_eq!(lane.on_message(3), Verdict::Deliver);
        assert_eq!((lane.on_lost(1, 1_000_000), lane.next()), (999_999, 1_000_001));
        assert_eq!((lane.on_lost(1, 1_000_000), lane.on_lost(999_999, 4), lane.next()), (0, 2, 1_000_003));
        let mut ordered = ExactlyOnce::new(1, true);
        assert_eq!(ordered.on_message(3), Verdict::Hold);
        assert_eq!((ordered.on_lost(1, 1_000), ordered.release()), (EXACT_WINDOW - 1, Some(3)));
        assert_eq!((ordered.on_lost(1, 1_000), ordered.next()), (1_000 - EXACT_WINDOW, 1_001), "said again");
    }
}
