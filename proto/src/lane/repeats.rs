//! Messages that come again: whoever receives them takes each once, by (origin, lane, number).
//!
//! Only messages that are to be confirmed as delivered may come again: from a publisher whose link broke, or whose
//! broker was restarted, before it was told.

use super::seen::{Seen, Sight};

/// Words of an origin's window.
const WORDS: usize = 512;
/// How far behind the newest number of its origin and lane a message may be and still be recognised. A publisher does not
/// send again what is further behind.
pub const REPEAT_WINDOW: u32 = Seen::<WORDS>::WINDOW;

/// What an origin was heard to say on a lane, in 2 KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Heard {
    origin: u32,
    /// 0: the place is free.
    lane: u8,
    /// When it was last looked at, in messages.
    used: u64,
    seen: Seen<WORDS>,
}

/// What to do with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Take it.
    First,
    /// It was taken before: drop it, it is received.
    Repeated,
    /// Drop it, and say so: newer ones of its lane were taken, and it would go back (ordered lanes), or it is too old to
    /// tell.
    Late,
}

/// A bounded number of origins and lanes; the one that was silent for longest makes room for a new one. `S` is a row of
/// [`Heard`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repeats<S> {
    places: S,
    clock: u64,
    /// Where the last message's origin was found.
    recent: usize,
}

impl<S: AsRef<[Heard]> + AsMut<[Heard]>> Repeats<S> {
    /// Nothing heard yet. Without a place, every message is a first one.
    pub const fn new(places: S) -> Self {
        Self { places, clock: 0, recent: 0 }
    }

    /// A message arrived. `ordered`: its lane promises order.
    pub fn on_message(&mut self, origin: u32, lane: u8, seq: u32, ordered: bool) -> Verdict {
        self.clock += 1;
        let Some(place) = self.place_of(origin, lane) else { return Verdict::First };
        self.recent = place;
        let Some(heard) = self.places.as_mut().get_mut(place) else { return Verdict::First };
        heard.used = self.clock;
        let verdict = match heard.seen.sight(seq) {
            Sight::Newest => Verdict::First,
            Sight::Behind if ordered => Verdict::Late,
            Sight::Behind => Verdict::First,
            Sight::Again => Verdict::Repeated,
            Sight::TooOld => Verdict::Late,
        };
        // What is late was not taken, and will be late again.
        if verdict == Verdict::First {
            heard.seen.note(seq);
        }
        verdict
    }

    /// Whether a new origin finds a free place.
    pub fn is_full(&self) -> bool {
        self.places.as_ref().iter().all(|heard| heard.lane != 0)
    }

    /// The places, for an owner that exchanges them for more: what is in them must stay in front.
    pub const fn places_mut(&mut self) -> &mut S {
        &mut self.places
    }

    /// The place of an origin's lane; a free one, or the one that was silent for longest, if it has none.
    fn place_of(&mut self, origin: u32, lane: u8) -> Option<usize> {
        let places = self.places.as_mut();
        let known = |heard: &Heard| heard.origin == origin && heard.lane == lane;
        if places.get(self.recent).is_some_and(known) {
            return Some(self.recent);
        }
        if let Some(place) = places.iter().position(known) {
            return Some(place);
        }
        let (place, heard) = places.iter_mut().enumerate().min_by_key(|(_, heard)| (heard.lane != 0, heard.used))?;
        *heard = Heard { origin, lane, used: 0, seen: Seen::new() };
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_once_and_on_an_ordered_lane_never_behind_a_newer_one() {
        let mut repeats = Repeats::new([Heard::default(); 2]);
        assert_eq!([5, 7, 5, 6, 6].map(|seq| repeats.on_message(9, 1, seq, true)), {
            [Verdict::First, Verdict::First, Verdict::Repeated, Verdict::Late, Verdict::Late]
        });
        assert_eq!([5, 7, 5, 6, 6].map(|seq| repeats.on_message(9, 2, seq, false)), {
            [Verdict::First, Verdict::First, Verdict::Repeated, Verdict::First, Verdict::Repeated]
        });
        assert_eq!(repeats.on_message(9, 2, 7 + REPEAT_WINDOW + 1, false), Verdict::First);
        assert_eq!(repeats.on_message(9, 2, 7, false), Verdict::Late, "nobody can tell");
    }

    #[test]
    fn the_origin_that_was_silent_for_longest_makes_room() {
        let mut repeats = Repeats::new([Heard::default(); 2]);
        for origin in [1, 2, 1, 3] {
            repeats.on_message(origin, 1, 5, true);
        }
        assert!(repeats.is_full());
        assert_eq!(repeats.on_message(1, 1, 5, true), Verdict::Repeated);
        assert_eq!(repeats.on_message(2, 1, 5, true), Verdict::First, "it was forgotten");
        assert_eq!(Repeats::new([]).on_message(2, 1, 5, true), Verdict::First);
    }
}
