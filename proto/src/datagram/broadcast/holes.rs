//! A repaired stream at its receiver: what is missing, when it is asked for, and when it is given up. Every number ends in one
//! way, as a frame or as lost.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::numbers::{number_at, place_of};
use crate::datagram::limits::{BROADCAST_WINDOW_FRAMES, NAK_MS_MAX, NAK_RANGES_MAX, NAKS_MAX, REPAIR_LINGER_MS};
use crate::datagram::nak::Missing;
use crate::frame::lost::LossReason;
use crate::time::{Duration, Instant};

/// The first numbers of a stream: who hears one of them first has heard the stream begin, and asks for those before.
pub(super) const BEGINNING_FRAMES: u64 = 32;

/// What becomes of numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// A frame, whose turn it is.
    Frame(Vec<u8>),
    /// So many will not come.
    Lost(u64, LossReason),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Slot {
    /// It is asked for at `due`, having been asked for so often.
    Missing { due: Instant, asked: u8 },
    /// It came early, on an ordered lane.
    Kept(Vec<u8>),
    /// It was delivered out of order.
    Done,
    /// It is given up, and said to be when its turn comes.
    Lost(LossReason),
}

/// What one receiver knows of one stream. Invariant: `slots` has one for each place from `next` to `lead`, and the first
/// of them is missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Holes {
    ordered: bool,
    /// Everything before is settled.
    next: u64,
    /// The last that is known to have been sent.
    lead: u64,
    slots: BTreeMap<u64, Slot>,
    /// Nothing is due before.
    due: Option<Instant>,
    fates: Vec<Fate>,
}

impl Holes {
    /// A stream of which this number is the first that was heard of.
    pub(super) fn begin(ordered: bool, number: u32) -> Self {
        let place = u64::from(number.max(1));
        let next = if place <= BEGINNING_FRAMES { 1 } else { place };
        Self { ordered, next, lead: next - 1, slots: BTreeMap::new(), due: None, fates: Vec::new() }
    }

    /// A frame arrived; false if its number is settled. `wait` is how long to wait before asking for what is missing.
    pub(super) fn on_frame(&mut self, now: Instant, number: u32, frame: &[u8], wait: Duration) -> bool {
        let Some(place) = place_of(number, self.lead.max(1)) else { return false };
        if place < self.next {
            return false;
        }
        if place > self.lead {
            self.reach(place, now + wait);
        } else if !matches!(self.slots.get(&place), Some(Slot::Missing { .. })) {
            return false;
        }
        let slot = if self.ordered {
            Slot::Kept(frame.to_vec())
        } else {
            self.fates.push(Fate::Frame(frame.to_vec()));
            Slot::Done
        };
        self.slots.insert(place, slot);
        self.advance();
        true
    }

    /// The source has come to `lead`, and has nothing before `trail` any more.
    pub(super) fn on_beat(&mut self, now: Instant, trail: u32, lead: u32, wait: Duration) {
        if let Some(place) = place_of(lead, self.lead.max(1)).filter(|&place| place > self.lead) {
            self.reach(place, now + wait);
        }
        // `lead + 1` says that nothing is held.
        if let Some(place) = place_of(trail, self.lead.max(1)).filter(|&place| place <= self.lead + 1) {
            self.give_up(self.next, place, LossReason::RepairWindow);
        }
        self.advance();
    }

    /// The source does not have these any more.
    pub(super) fn on_lost(&mut self, now: Instant, first: u32, count: u32, reason: LossReason, wait: Duration) {
        let Some(first) = place_of(first, self.lead.max(1)) else { return };
        let end = first + u64::from(count);
        if end <= self.next {
            return;
        }
        if end - 1 > self.lead {
            self.reach(end - 1, now + wait);
        }
        self.give_up(first.max(self.next), end, reason);
        self.advance();
    }

    /// Everything that is missing will not be asked for any more.
    pub(super) fn give_all_up(&mut self, reason: LossReason) {
        self.give_up(self.next, self.lead + 1, reason);
        self.advance();
    }

    /// The stream has come to `lead`: what lies between is missing.
    fn reach(&mut self, lead: u64, due: Instant) {
        let window = u64::from(BROADCAST_WINDOW_FRAMES);
        let oldest = lead.saturating_sub(window).max(self.next);
        if oldest > self.next {
            self.give_up(self.next, oldest.min(self.lead + 1), LossReason::RepairWindow);
            self.advance();
            if oldest > self.next {
                let lost = oldest - self.next;
                self.fates.push(Fate::Lost(lost, LossReason::RepairWindow));
                self.slots = self.slots.split_off(&oldest);
                (self.next, self.lead) = (oldest, self.lead.max(oldest - 1));
            }
        }
        for place in self.lead + 1..=lead {
            self.slots.insert(place, Slot::Missing { due, asked: 0 });
        }
        self.lead = lead;
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    fn give_up(&mut self, from: u64, to: u64, reason: LossReason) {
        if from >= to {
            return;
        }
        for (_, slot) in self.slots.range_mut(from..to) {
            if matches!(slot, Slot::Missing { .. }) {
                *slot = Slot::Lost(reason);
            }
        }
    }

    /// What is settled from the front on goes on.
    fn advance(&mut self) {
        while let Some(entry) = self.slots.first_entry() {
            if matches!(entry.get(), Slot::Missing { .. }) {
                return;
            }
            self.next = entry.key() + 1;
            match entry.remove() {
                Slot::Kept(frame) => self.fates.push(Fate::Frame(frame)),
                Slot::Lost(reason) => match self.fates.last_mut() {
                    Some(Fate::Lost(count, same)) if *same == reason => *count += 1,
                    Some(_) | None => self.fates.push(Fate::Lost(1, reason)),
                },
                Slot::Done | Slot::Missing { .. } => {}
            }
        }
    }

    /// What became of numbers since the last call.
    pub(super) fn take_fates(&mut self) -> Vec<Fate> {
        core::mem::take(&mut self.fates)
    }

    /// When something is to be asked for.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// What is to be asked for now; what was asked for often enough is given up.
    pub(super) fn poll_naks(&mut self, now: Instant, spread: Duration) -> Vec<Missing> {
        let mut ranges: Vec<Missing> = Vec::new();
        if self.due.is_none_or(|due| due > now) {
            return ranges;
        }
        let (mut next_due, mut last) = (None::<Instant>, 0);
        for (&place, slot) in &mut self.slots {
            let Slot::Missing { due, asked } = slot else { continue };
            if *due <= now && *asked >= NAKS_MAX {
                *slot = Slot::Lost(LossReason::SourceGaveUp);
                continue;
            }
            let goes_on = last != 0 && last + 1 == place && ranges.last().is_some_and(|range| range.count < u16::MAX);
            if *due <= now && (goes_on || ranges.len() < NAK_RANGES_MAX) {
                match ranges.last_mut().filter(|_| goes_on) {
                    Some(range) => range.count += 1,
                    None => ranges.push(Missing { first: number_at(place), count: 1 }),
                }
                last = place;
                let pause = spread.0 + (u64::from(REPAIR_LINGER_MS) * 1_000_000);
                let pause = (pause << *asked).min(Duration::from_millis(NAK_MS_MAX).0);
                *asked += 1;
                *due = now + Duration(pause);
            }
            next_due = Some(next_due.map_or(*due, |before| before.min(*due)));
        }
        self.due = next_due;
        self.advance();
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const WAIT: Duration = Duration::from_millis(2);

    fn at(ms: u64) -> Instant {
        Instant(1 + ms * 1_000_000)
    }

    fn frame(number: u32) -> Vec<u8> {
        vec![number as u8]
    }

    fn hear(holes: &mut Holes, ms: u64, numbers: &[u32]) -> Vec<Fate> {
        for &number in numbers {
            let _ = holes.on_frame(at(ms), number, &frame(number), WAIT);
        }
        holes.take_fates()
    }

    fn frames(numbers: &[u32]) -> Vec<Fate> {
        numbers.iter().map(|&number| Fate::Frame(frame(number))).collect()
    }

    #[test]
    fn a_hole_is_asked_for_after_a_while_and_holds_up_an_ordered_stream_only() {
        for ordered in [false, true] {
            let mut holes = Holes::begin(ordered, 1);
            let (at_once, later) = if ordered { (&[1][..], &[2, 3, 4][..]) } else { (&[1, 4][..], &[2, 3][..]) };
            assert_eq!(hear(&mut holes, 0, &[1, 4]), frames(at_once));
            assert_eq!(holes.poll_timeout(), Some(at(2)));
            assert_eq!(holes.poll_naks(at(1), WAIT), []);
            assert_eq!(holes.poll_naks(at(2), WAIT), [Missing { first: 2, count: 2 }]);
            assert_eq!(holes.poll_timeout(), Some(at(14)));
            assert_eq!(hear(&mut holes, 3, &[2, 3, 3, 2, 4]), frames(later));
            assert_eq!(holes.poll_naks(at(2_000), WAIT), []);
            assert_eq!(holes.poll_timeout(), None);
        }
    }

    #[test]
    fn what_nobody_sends_again_is_lost_after_so_many_questions() {
        let mut holes = Holes::begin(true, 1);
        assert_eq!(hear(&mut holes, 0, &[1, 3]), frames(&[1]));
        let mut asked = 0;
        while let Some(due) = holes.poll_timeout() {
            asked += holes.poll_naks(due, WAIT).len();
        }
        assert_eq!(asked, usize::from(NAKS_MAX));
        let fates = holes.take_fates();
        assert_eq!(fates, [Fate::Lost(1, LossReason::SourceGaveUp), Fate::Frame(frame(3))]);
        assert_eq!(hear(&mut holes, 9_000, &[2]), [], "what is lost stays lost");
    }

    #[test]
    fn a_beat_shows_the_end_and_what_the_source_has_no_more() {
        let mut holes = Holes::begin(true, 1);
        hear(&mut holes, 0, &[1]);
        holes.on_beat(at(20), 1, 4, WAIT);
        assert_eq!(holes.poll_naks(at(22), WAIT), [Missing { first: 2, count: 3 }]);
        holes.on_beat(at(40), 4, 4, WAIT);
        assert_eq!(holes.take_fates(), [Fate::Lost(2, LossReason::RepairWindow)]);
        holes.on_beat(at(60), 5, 4, WAIT);
        assert_eq!(holes.take_fates(), [Fate::Lost(1, LossReason::RepairWindow)]);
        holes.on_beat(at(80), 5, 4, WAIT);
        assert_eq!((holes.take_fates(), holes.poll_timeout()), (vec![], holes.due));
    }

    #[test]
    fn who_comes_late_misses_nothing_and_who_was_there_at_the_beginning_misses_its_first_frames() {
        let mut late = Holes::begin(true, 1_000);
        assert_eq!(hear(&mut late, 0, &[1_000, 999]), frames(&[1_000]));
        let mut early = Holes::begin(true, 3);
        assert_eq!(hear(&mut early, 0, &[3]), []);
        assert_eq!(early.poll_naks(at(2), WAIT), [Missing { first: 1, count: 2 }]);
    }

    #[test]
    fn a_leap_over_the_window_is_lost_at_once_and_numbers_wrap() {
        let mut holes = Holes::begin(false, 1);
        hear(&mut holes, 0, &[1]);
        assert_eq!(
            hear(&mut holes, 0, &[100_000]),
            [Fate::Lost(100_000 - 2_047 - 2, LossReason::RepairWindow), Fate::Frame(frame(100_000))]
        );
        let mut holes = Holes::begin(true, u32::MAX - 1);
        assert_eq!(hear(&mut holes, 0, &[u32::MAX - 1, 1, u32::MAX, 2]), frames(&[u32::MAX - 1, u32::MAX, 1, 2]));
    }
}
