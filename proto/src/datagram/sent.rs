//! Which datagrams are under way, in the order of their numbers.
//!
//! Datagrams that nobody waits for (they carry nothing that asks for an acknowledgement) are not in it. One that was taken
//! for lost stays for a while, so that it is noticed if it turns up.

use super::received::{Span, newer};
use crate::time::{Duration, Instant};

/// A place in a table of frames; [`NO_FRAME`]: none.
pub type FrameIndex = u16;
/// No place.
pub const NO_FRAME: FrameIndex = u16::MAX;
/// Unreliable lanes that share a datagram.
pub const UNRELIABLE_PER_DATAGRAM: usize = 2;

/// How long a lost datagram is remembered.
const LOST_MEMORY: Duration = Duration::from_millis(1_000);

/// What a datagram carries of one unreliable lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Unreliable {
    /// 1 to 15; 0: nothing.
    pub lane: u8,
    /// Frames of it.
    pub frames: u16,
    /// Their bytes, as credit counts them.
    pub bytes: u16,
}

/// Where a datagram stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Fate {
    /// Under way.
    #[default]
    InFlight,
    /// Taken for lost because a newer one arrived.
    Overtaken,
    /// Taken for lost because nothing was heard for long.
    Unheard,
    /// Acknowledged.
    Acked,
}

/// A datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct SentSlot {
    /// Its number.
    pub number: u32,
    /// When it left.
    pub sent: Instant,
    /// Its bytes.
    pub bytes: u16,
    /// Where it stands.
    pub fate: Fate,
    /// The first of its reliable frames.
    pub frames: FrameIndex,
    /// Bit per lane whose CREDIT it carries.
    pub credit: u16,
    /// What it carries of unreliable lanes.
    pub unreliable: [Unreliable; UNRELIABLE_PER_DATAGRAM],
}

impl Default for SentSlot {
    fn default() -> Self {
        Self {
            number: 0,
            sent: Instant(0),
            bytes: 0,
            fate: Fate::Acked,
            frames: NO_FRAME,
            credit: 0,
            unreliable: [Unreliable::default(); UNRELIABLE_PER_DATAGRAM],
        }
    }
}

/// A ring of datagrams in the caller's storage.
///
/// Invariant: numbers grow from the front to the back, and everything before `settled` is not in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sent<P> {
    slots: P,
    start: usize,
    len: usize,
    /// Places from the front up to the first datagram that may be in flight.
    settled: usize,
    in_flight: usize,
    in_flight_bytes: u64,
}

impl<P: AsRef<[SentSlot]> + AsMut<[SentSlot]>> Sent<P> {
    /// Nothing is under way. As many datagrams can be as `slots` has places.
    pub const fn new(slots: P) -> Self {
        Self { slots, start: 0, len: 0, settled: 0, in_flight: 0, in_flight_bytes: 0 }
    }

    /// Datagrams that can be remembered.
    pub fn capacity(&self) -> usize {
        self.slots.as_ref().len()
    }

    /// Datagrams in flight.
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Their bytes.
    pub const fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes
    }

    fn at(&self, place: usize) -> &SentSlot {
        let slots = self.slots.as_ref();
        &slots[(self.start + place) % slots.len()]
    }

    fn at_mut(&mut self, place: usize) -> &mut SentSlot {
        let slots = self.slots.as_mut();
        let len = slots.len();
        &mut slots[(self.start + place) % len]
    }

    /// Whether another datagram can be remembered, after forgetting what can be.
    pub fn has_room(&mut self, now: Instant) -> bool {
        self.forget(now);
        self.len < self.capacity()
    }

    /// A datagram leaves.
    ///
    /// # Panics
    /// If there is no room: ask first.
    pub fn push(&mut self, slot: SentSlot) {
        assert!(self.len < self.capacity(), "the caller asks whether there is room for another datagram");
        debug_assert!(self.len == 0 || newer(slot.number, self.at(self.len - 1).number), "numbers grow");
        self.len += 1;
        self.in_flight += 1;
        self.in_flight_bytes += u64::from(slot.bytes);
        *self.at_mut(self.len - 1) = SentSlot { fate: Fate::InFlight, ..slot };
    }

    /// Drops what is settled from the front: what was acknowledged, and what was lost long ago or is in the way.
    fn forget(&mut self, now: Instant) {
        while self.settled > 0 {
            let front = self.at(0);
            let crowded = self.len > self.capacity() / 2;
            if front.fate != Fate::Acked && !crowded && now.since(front.sent) < LOST_MEMORY {
                break;
            }
            self.start = (self.start + 1) % self.capacity();
            self.len -= 1;
            self.settled -= 1;
        }
    }

    /// The oldest datagram in flight.
    pub fn oldest(&self) -> Option<&SentSlot> {
        (self.settled < self.len).then(|| self.at(self.settled))
    }

    /// The first of the frames of datagram `number`, to be changed.
    pub fn frames_of(&mut self, number: u32) -> Option<&mut FrameIndex> {
        let place = self.first_from(number);
        (place < self.len && self.at(place).number == number).then(|| &mut self.at_mut(place).frames)
    }

    /// The place of the first datagram that is not older than `number`.
    fn first_from(&self, number: u32) -> usize {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = (low + high) / 2;
            if newer(number, self.at(middle).number) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Everything up to and including `through` arrived or is given up; calls `acked` for each that was in flight.
    pub fn on_through(&mut self, through: u32, acked: &mut impl FnMut(SentSlot)) {
        while let Some(slot) = self.oldest().filter(|slot| !newer(slot.number, through)).copied() {
            self.settle(self.settled, Fate::Acked);
            acked(slot);
        }
    }

    /// The datagrams of `span` arrived; calls `acked` for each that was not acknowledged before, with the fate it had.
    pub fn on_span(&mut self, span: Span, acked: &mut impl FnMut(SentSlot)) {
        let mut place = self.first_from(span.first);
        while place < self.len {
            let slot = *self.at(place);
            if newer(slot.number, span.last) {
                break;
            }
            if slot.fate != Fate::Acked {
                self.settle(place, Fate::Acked);
                acked(slot);
            }
            place += 1;
        }
    }

    /// Takes the oldest datagram in flight for lost, if `lost` says so of it; returns it.
    pub fn lose_oldest(&mut self, fate: Fate, lost: impl FnOnce(&SentSlot) -> bool) -> Option<SentSlot> {
        let slot = *self.oldest()?;
        if !lost(&slot) {
            return None;
        }
        self.settle(self.settled, fate);
        Some(slot)
    }

    fn settle(&mut self, place: usize, fate: Fate) {
        let slot = self.at_mut(place);
        let (before, bytes) = (slot.fate, u64::from(slot.bytes));
        slot.fate = fate;
        slot.frames = NO_FRAME;
        if before == Fate::InFlight {
            self.in_flight -= 1;
            self.in_flight_bytes -= bytes;
        }
        while self.settled < self.len && self.at(self.settled).fate != Fate::InFlight {
            self.settled += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn slot(number: u32, ms: u32) -> SentSlot {
        SentSlot { number, sent: Instant(0) + Duration::from_millis(ms), bytes: 100, ..SentSlot::default() }
    }

    fn numbers(
        sent: &mut Sent<Vec<SentSlot>>,
        act: impl Fn(&mut Sent<Vec<SentSlot>>, &mut dyn FnMut(SentSlot)),
    ) -> Vec<u32> {
        let mut seen = Vec::new();
        act(sent, &mut |slot| seen.push(slot.number));
        seen
    }

    #[test]
    fn datagrams_are_acknowledged_once_in_whichever_way_across_the_wrap() {
        let mut sent = Sent::new(vec![SentSlot::default(); 8]);
        for number in [u32::MAX - 1, u32::MAX, 2, 3, 4] {
            sent.push(slot(number, 0));
        }
        assert_eq!((sent.in_flight(), sent.in_flight_bytes()), (5, 500));
        let span = Span { first: 0, last: 3 };
        assert_eq!(numbers(&mut sent, |sent, mut see| sent.on_span(span, &mut see)), [2, 3]);
        assert_eq!(numbers(&mut sent, |sent, mut see| sent.on_span(span, &mut see)), [0; 0]);
        assert_eq!(numbers(&mut sent, |sent, mut see| sent.on_through(3, &mut see)), [u32::MAX - 1, u32::MAX]);
        assert_eq!((sent.in_flight(), sent.oldest().map(|slot| slot.number)), (1, Some(4)));
        assert_eq!(numbers(&mut sent, |sent, mut see| sent.on_through(9, &mut see)), [4]);
        assert_eq!((sent.in_flight(), sent.in_flight_bytes(), sent.oldest()), (0, 0, None));
    }

    #[test]
    fn a_lost_datagram_is_noticed_when_it_turns_up_and_forgotten_in_the_end() {
        let mut sent = Sent::new(vec![SentSlot::default(); 4]);
        sent.push(slot(1, 0));
        sent.push(slot(2, 1));
        assert_eq!(sent.lose_oldest(Fate::Overtaken, |slot| slot.number == 7), None);
        assert_eq!(sent.lose_oldest(Fate::Overtaken, |slot| slot.number == 1).map(|slot| slot.number), Some(1));
        assert_eq!(numbers(&mut sent, |sent, mut see| sent.on_through(1, &mut see)), [0; 0], "given up is not arrived");
        let mut fates = Vec::new();
        sent.on_span(Span { first: 1, last: 2 }, &mut |slot| fates.push(slot.fate));
        assert_eq!(fates, [Fate::Overtaken, Fate::InFlight]);
        for number in 3..5 {
            sent.push(slot(number, 2));
        }
        assert!(sent.has_room(Instant(0)), "acknowledged ones make room");
        sent.push(slot(5, 3));
        sent.push(slot(6, 3));
        assert!(!sent.has_room(Instant(0)));
        assert!(sent.lose_oldest(Fate::Unheard, |_| true).is_some());
        assert!(sent.has_room(Instant(0)), "a lost one goes when there is no room");
        assert_eq!((sent.in_flight(), sent.frames_of(4).is_some(), sent.frames_of(3).is_some()), (3, true, false));
    }
}
