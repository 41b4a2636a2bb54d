//! Virtual time: what is due, and when. Nothing here ever waits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use laneway_proto::time::{Duration, Instant};

#[derive(Debug)]
struct Due<E> {
    at: Instant,
    /// Events of one moment happen in the order they were planned.
    order: u64,
    event: E,
}

impl<E> Due<E> {
    const fn rank(&self) -> (Instant, u64) {
        (self.at, self.order)
    }
}

impl<E> PartialEq for Due<E> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl<E> Eq for Due<E> {}

impl<E> PartialOrd for Due<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Due<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// The time, and the events that wait for theirs.
#[derive(Debug)]
pub struct Clock<E> {
    now: Instant,
    planned: u64,
    agenda: BinaryHeap<Reverse<Due<E>>>,
}

impl<E> Default for Clock<E> {
    fn default() -> Self {
        Self { now: Instant(0), planned: 0, agenda: BinaryHeap::new() }
    }
}

impl<E> Clock<E> {
    /// The time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Plans an event; one in the past happens next.
    pub fn plan(&mut self, at: Instant, event: E) {
        self.planned += 1;
        self.agenda.push(Reverse(Due { at: at.max(self.now), order: self.planned, event }));
    }

    /// Plans an event in `after` from now.
    pub fn plan_in(&mut self, after: Duration, event: E) {
        self.plan(self.now + after, event);
    }

    /// When the next event is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.agenda.peek().map(|Reverse(due)| due.at)
    }

    /// Goes to the next event, unless it is after `limit`.
    pub fn advance(&mut self, limit: Instant) -> Option<E> {
        if self.next_at()? > limit {
            return None;
        }
        let Reverse(due) = self.agenda.pop()?;
        debug_assert!(due.at >= self.now, "time does not go back");
        self.now = due.at;
        Some(due.event)
    }

    /// Lets time pass without an event, at most up to the next one.
    pub fn pass(&mut self, span: Duration) {
        let wanted = self.now + span;
        self.now = self.next_at().map_or(wanted, |next| next.min(wanted)).max(self.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_happen_by_time_and_then_by_plan() {
        let mut clock = Clock::default();
        clock.plan(Instant(20), 'c');
        clock.plan(Instant(10), 'a');
        clock.plan(Instant(10), 'b');
        let order: Vec<_> = std::iter::from_fn(|| clock.advance(Instant(15))).collect();
        assert_eq!((order, clock.now()), (vec!['a', 'b'], Instant(10)));
        assert_eq!(clock.advance(Instant(100)), Some('c'));
    }

    #[test]
    fn an_idle_hour_costs_nothing() {
        let mut clock = Clock::default();
        let hour = Duration::from_millis(3_600_000);
        clock.plan_in(hour, ());
        assert!(clock.advance(Instant(u64::MAX)).is_some());
        assert_eq!(clock.now(), Instant(0) + hour);
    }
}
