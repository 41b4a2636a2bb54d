//! Which datagrams of one sender arrived: duplicates die here, and acknowledgements come from here.
//!
//! Datagram numbers are counted modulo 2^32; the nearer way round says which of two is older.

use super::limits::DATAGRAM_NUMBER_STEP_MAX;

/// The last `64 * WORDS` numbers of a sender.
///
/// Bit `number % (64 * WORDS)` stands for the one number of the window that it can be. Invariant: everything up to and
/// including `through` arrived or is not waited for any more, and `through` is not ahead of `largest`, unless the sender
/// said so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Received<const WORDS: usize> {
    bits: [u64; WORDS],
    largest: u32,
    through: u32,
}

/// What the number of a datagram means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The next one.
    Next,
    /// Ahead of some that are missing.
    Ahead,
    /// One that was missing.
    Late,
}

/// A run of numbers that arrived, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// The oldest.
    pub first: u32,
    /// The newest.
    pub last: u32,
}

/// Whether `number` is newer than `other`.
pub const fn newer(number: u32, other: u32) -> bool {
    number.wrapping_sub(other) as i32 > 0
}

impl<const WORDS: usize> Received<WORDS> {
    const BITS: u32 = 64 * WORDS as u32;

    /// Nothing arrived yet of a sender that begins with `first`; what is older counts as arrived.
    pub const fn new(first: u32) -> Self {
        const { assert!(WORDS.is_power_of_two(), "the ring of bits closes where the numbers wrap") };
        let before = first.wrapping_sub(1);
        Self { bits: [u64::MAX; WORDS], largest: before, through: before }
    }

    /// What it would mean if `number` arrived; `None`: it did already, or is too old or too far ahead to tell.
    pub const fn place(&self, number: u32) -> Option<Place> {
        let ahead = number.wrapping_sub(self.largest);
        if ahead as i32 > 0 {
            return match ahead {
                1 => Some(Place::Next),
                2..=DATAGRAM_NUMBER_STEP_MAX => Some(Place::Ahead),
                _ => None,
            };
        }
        if ahead.wrapping_neg() >= Self::BITS || self.has(number) { None } else { Some(Place::Late) }
    }

    /// `number`, which has a place, arrived.
    pub fn insert(&mut self, number: u32) {
        let ahead = number.wrapping_sub(self.largest);
        if ahead as i32 > 0 {
            if ahead >= Self::BITS {
                self.bits = [0; WORDS];
            } else {
                (1..ahead).for_each(|step| self.put(self.largest.wrapping_add(step), false));
            }
            self.largest = number;
        }
        self.put(number, true);
        self.advance();
    }

    /// The sender waits for nothing before `trail` any more.
    pub fn on_trail(&mut self, trail: u32) {
        let before = trail.wrapping_sub(1);
        // Never ahead of what it has sent, and what it has sent is not ahead of what arrived by much.
        if newer(before, self.through) && before.wrapping_sub(self.largest) as i32 <= DATAGRAM_NUMBER_STEP_MAX as i32 {
            self.through = before;
            self.advance();
        }
    }

    /// Moves `through` over what arrived behind it.
    fn advance(&mut self) {
        while newer(self.largest, self.through) {
            let next = self.through.wrapping_add(1);
            if self.largest.wrapping_sub(next) >= Self::BITS || !self.has(next) {
                break;
            }
            self.through = next;
        }
    }

    /// Everything up to and including this number arrived, or is not waited for any more.
    pub const fn through(&self) -> u32 {
        self.through
    }

    /// The newest number that arrived.
    pub const fn largest(&self) -> u32 {
        self.largest
    }

    /// Whether a number before the newest one is missing.
    pub const fn has_hole(&self) -> bool {
        newer(self.largest, self.through)
    }

    /// The runs of numbers that arrived, newest first, down to and including `low` or the end of the window.
    pub const fn spans(&self, low: u32) -> Spans<'_, WORDS> {
        Spans { received: self, at: self.largest, low }
    }

    const fn has(&self, number: u32) -> bool {
        let at = number % Self::BITS;
        self.bits[(at / 64) as usize] & 1 << (at % 64) != 0
    }

    const fn put(&mut self, number: u32, on: bool) {
        let at = number % Self::BITS;
        let word = &mut self.bits[(at / 64) as usize];
        *word = *word & !(1 << (at % 64)) | (on as u64) << (at % 64);
    }

    /// Numbers from `number` down that arrived (`on`), or did not, `bound` at most.
    const fn run_down(&self, number: u32, on: bool, bound: u32) -> u32 {
        let mut run = 0;
        while run < bound {
            let at = number.wrapping_sub(run) % Self::BITS;
            let word = self.bits[(at / 64) as usize] << (63 - at % 64);
            let same = if on { word.leading_ones() } else { word.leading_zeros() };
            let left = at % 64 + 1;
            if same < left {
                run += same;
                break;
            }
            run += left;
        }
        if run < bound { run } else { bound }
    }
}

/// Iterator over the runs of numbers that arrived.
#[derive(Clone, Debug)]
pub struct Spans<'a, const WORDS: usize> {
    received: &'a Received<WORDS>,
    at: u32,
    low: u32,
}

impl<const WORDS: usize> Iterator for Spans<'_, WORDS> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let behind = self.received.largest.wrapping_sub(self.at);
        let window = Received::<WORDS>::BITS.checked_sub(behind)?;
        let left = self.at.wrapping_sub(self.low).wrapping_add(1);
        let bound = if left as i32 > 0 { left.min(window) } else { return None };
        let missing = self.received.run_down(self.at, false, bound);
        let last = self.at.wrapping_sub(missing);
        let run = self.received.run_down(last, true, bound - missing);
        self.at = last.wrapping_sub(run);
        (run > 0).then(|| Span { first: self.at.wrapping_add(1), last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn spans(received: &Received<2>, low: u32) -> Vec<(u32, u32)> {
        received.spans(low).map(|span| (span.first, span.last)).collect()
    }

    #[test]
    fn a_number_has_a_place_once() {
        for first in [1, 0, u32::MAX - 3] {
            let mut received = Received::<2>::new(first);
            let number = |step: u32| first.wrapping_add(step);
            assert_eq!(received.place(number(0)), Some(Place::Next));
            assert_eq!(received.place(number(0).wrapping_sub(1)), None, "before the first");
            for (step, place) in [(0, Place::Next), (3, Place::Ahead), (1, Place::Late), (4, Place::Next)] {
                assert_eq!(received.place(number(step)), Some(place));
                received.insert(number(step));
                assert_eq!(received.place(number(step)), None, "{step} from {first}");
            }
            assert_eq!((received.through(), received.largest()), (number(1), number(4)));
            assert_eq!(spans(&received, number(0)), [(number(3), number(4)), (number(0), number(1))]);
            received.insert(number(2));
            assert!(!received.has_hole() && received.through() == number(4));
        }
    }

    #[test]
    fn what_is_older_than_the_window_is_a_duplicate_and_never_claimed() {
        let mut received = Received::<2>::new(1);
        received.insert(1);
        received.insert(3);
        received.insert(130);
        assert_eq!((received.place(2), received.through()), (None, 1), "2 never came, but is too old");
        assert_eq!(received.place(4), Some(Place::Late));
        assert_eq!(spans(&received, 1), [(130, 130), (3, 3)]);
        received.insert(5_000);
        assert_eq!((spans(&received, 1), received.through()), (alloc::vec![(5_000, 5_000)], 1));
        assert_eq!(received.place(5_000 + DATAGRAM_NUMBER_STEP_MAX + 1), None, "too far ahead");
    }

    #[test]
    fn the_sender_says_what_is_not_waited_for() {
        let mut received = Received::<2>::new(1);
        for number in [1, 2, 5, 6, 9] {
            received.insert(number);
        }
        received.on_trail(3);
        assert_eq!(received.through(), 2);
        received.on_trail(5);
        assert_eq!(received.through(), 6);
        received.on_trail(4);
        assert_eq!(received.through(), 6, "an older one changes nothing");
        assert_eq!(received.place(4), Some(Place::Late), "it may still come");
        received.insert(4);
        assert_eq!(spans(&received, 4), [(9, 9), (4, 6)]);
        received.on_trail(9 + DATAGRAM_NUMBER_STEP_MAX + 2);
        assert_eq!(received.through(), 6, "a lie");
        received.on_trail(20);
        assert_eq!((received.through(), received.has_hole()), (19, false));
        received.insert(21);
        assert!(received.has_hole());
    }

    #[test]
    fn spans_are_what_a_set_of_numbers_says() {
        let mut received = Received::<2>::new(u32::MAX - 60);
        let mut all = Vec::new();
        let mut random = 7u32;
        for step in 0..100u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if random >> 30 != 0 {
                let number = (u32::MAX - 60).wrapping_add(step);
                received.insert(number);
                all.push(number);
            }
        }
        let listed: Vec<u32> = received
            .spans(u32::MAX - 60)
            .flat_map(|span| (0..=span.last.wrapping_sub(span.first)).map(move |step| span.last.wrapping_sub(step)))
            .collect();
        all.reverse();
        assert_eq!(listed, all);
    }
}
