//! How well a link does, and when another one is to be made beside it.
//!
//! A link is doubted while a question about life stays unanswered, and it is slow after several round trips in a row that
//! took too long. Another one may be slow, too, so links are not replaced again and again.

use laneway_proto::time::{Duration, Instant};

/// Round trips in a row that are too long.
const SLOW_TRIPS: u32 = 3;
/// The time between two replacements of slow links at least; twice as long each time that the new one is slow, too.
const PAUSE_MIN: Duration = Duration::from_millis(10_000);
/// That time at most.
const PAUSE_MAX: Duration = Duration::from_millis(600_000);

/// The health of one connection, from link to link.
///
/// ```
/// use laneway_client::link::Health;
/// use laneway_proto::time::{Duration, Instant};
///
/// let mut health = Health::new(Some(Duration::from_millis(50)));
/// assert!((0..3).any(|second| health.on_trip(Instant(second * 1_000_000_000), Duration::from_millis(80))));
/// assert!(health.wants_another());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Health {
    /// The longest good round trip; `None`: any is good.
    trip_max: Option<Duration>,
    /// Bad ones in a row.
    slow_trips: u32,
    /// A question is unanswered.
    doubted: bool,
    /// Slow links are not replaced before.
    not_before: Instant,
    pause: Duration,
    slow: bool,
}

impl Health {
    /// Of a link that has just come up. `trip_max` is the longest good round trip, if that is looked after.
    pub const fn new(trip_max: Option<Duration>) -> Self {
        Self { trip_max, slow_trips: 0, doubted: false, not_before: Instant(0), pause: PAUSE_MIN, slow: false }
    }

    /// Whether round trips are to be measured even while the broker talks.
    pub const fn measures(&self) -> bool {
        self.trip_max.is_some()
    }

    /// Whether another link is to be made beside this one.
    pub const fn wants_another(&self) -> bool {
        self.doubted || self.slow
    }

    /// A question is unanswered for half of its time.
    pub const fn on_doubt(&mut self) {
        self.doubted = true;
    }

    /// Something was heard again.
    pub const fn on_recovered(&mut self) {
        self.doubted = false;
    }

    /// A round trip took `trip`. True if that makes the link a slow one.
    pub fn on_trip(&mut self, now: Instant, trip: Duration) -> bool {
        let Some(trip_max) = self.trip_max else { return false };
        if trip <= trip_max {
            (self.slow_trips, self.slow, self.pause) = (0, false, PAUSE_MIN);
            return false;
        }
        self.slow_trips = self.slow_trips.saturating_add(1);
        let becomes_slow = !self.slow && self.slow_trips >= SLOW_TRIPS && now >= self.not_before;
        self.slow |= becomes_slow;
        becomes_slow
    }

    /// A link came up at `now`, whatever became of the one before.
    pub fn on_up(&mut self, now: Instant) {
        if self.slow {
            self.not_before = now + self.pause;
            self.pause = Duration((self.pause.0 * 2).min(PAUSE_MAX.0));
        }
        (self.slow_trips, self.doubted, self.slow) = (0, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Duration = Duration::from_millis(5);
    const BAD: Duration = Duration::from_millis(80);

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    fn health() -> Health {
        Health::new(Some(Duration::from_millis(50)))
    }

    #[test]
    fn three_bad_trips_in_a_row_make_a_slow_link_and_a_good_one_clears_it() {
        let mut health = health();
        let found: Vec<bool> =
            [BAD, BAD, GOOD, BAD, BAD, BAD, BAD].into_iter().map(|trip| health.on_trip(at(1), trip)).collect();
        assert_eq!(found, [false, false, false, false, false, true, false]);
        assert!(health.wants_another());
        health.on_trip(at(2), GOOD);
        assert!(!health.wants_another());
    }

    #[test]
    fn a_doubt_lasts_until_something_is_heard() {
        let mut health = Health::new(None);
        health.on_doubt();
        assert!(health.wants_another());
        health.on_recovered();
        assert!(!health.wants_another() && !health.measures());
        assert!(!health.on_trip(at(1), BAD), "nobody asked for that");
    }

    #[test]
    fn links_that_are_all_slow_are_replaced_ever_more_seldom() {
        let mut health = health();
        let mut replaced = Vec::new();
        for second in 1..200 {
            if health.on_trip(at(second), BAD) {
                health.on_up(at(second));
                replaced.push(second);
            }
        }
        assert_eq!(replaced, [3, 13, 33, 73, 153]);
        health.on_trip(at(200), GOOD);
        for _ in 0..3 {
            health.on_trip(at(400), BAD);
        }
        health.on_up(at(400));
        assert!((0..3).all(|_| !health.on_trip(at(409), BAD)) && health.on_trip(at(410), BAD), "it begins anew");
    }
}
