//! Round trips: how long they take, and how late a datagram may be before it is taken for lost.

use super::limits::{ACK_DELAY_US_MAX, REORDER_DATAGRAMS, RTT_MS_INITIAL};
use crate::time::{Duration, Instant};

/// Below this, a clock's ticks are no news.
const GRANULARITY: Duration = Duration::from_millis(1);
/// How long a sign of reordering is remembered.
const REORDER_MEMORY_NS: u64 = 16_000_000_000;
/// Lateness that is taken for reordering at most.
const REORDER_MS_MAX: u32 = 250;

/// The round trip, smoothed as in RFC 9002, section 5.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Rtt {
    smoothed: Duration,
    variance: Duration,
    latest: Duration,
    min: Option<Duration>,
}

impl Rtt {
    /// Nothing measured yet.
    pub const fn new() -> Self {
        let initial = Duration::from_millis(RTT_MS_INITIAL);
        Self { smoothed: initial, variance: Duration(initial.0 / 2), latest: initial, min: None }
    }

    /// A datagram was acknowledged `sample` after it was sent; of that, the peer says, it waited `ack_delay`.
    pub fn on_sample(&mut self, sample: Duration, ack_delay: Duration) {
        let Some(min) = self.min else {
            (self.smoothed, self.variance, self.latest, self.min) =
                (sample, Duration(sample.0 / 2), sample, Some(sample));
            return;
        };
        let min = min.min(sample);
        let delay = ack_delay.min(Duration::from_micros(ACK_DELAY_US_MAX));
        let adjusted = if sample.0 >= min.0 + delay.0 { Duration(sample.0 - delay.0) } else { sample };
        let apart = self.smoothed.0.abs_diff(adjusted.0);
        self.variance = Duration((3 * self.variance.0 + apart) / 4);
        self.smoothed = Duration((7 * self.smoothed.0 + adjusted.0) / 8);
        (self.latest, self.min) = (adjusted, Some(min));
    }

    /// The smoothed round trip.
    pub const fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// The shortest round trip; `None` before the first.
    pub const fn min(&self) -> Option<Duration> {
        self.min
    }

    /// How long after the last datagram without any acknowledgement to probe.
    pub fn probe_after(&self) -> Duration {
        let spread = Duration(4 * self.variance.0).max(GRANULARITY);
        Duration(self.smoothed.0 + spread.0 + ACK_DELAY_US_MAX * 1_000)
    }

    /// How long after it was sent a datagram may be acknowledged, once a newer one was, on a path that keeps the order.
    fn in_order_after(&self) -> Duration {
        let longest = self.smoothed.max(self.latest);
        Duration(longest.0 + longest.0 / 8).max(GRANULARITY)
    }
}

impl Default for Rtt {
    fn default() -> Self {
        Self::new()
    }
}

/// How far a path reorders, learned from datagrams that were taken for lost and turned up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Reordering {
    /// What had to be added to the time when last learned.
    peak: Duration,
    learned: Instant,
}

impl Reordering {
    /// A datagram that was taken for lost was acknowledged `age` after it was sent.
    pub fn on_spurious(&mut self, now: Instant, age: Duration, rtt: &Rtt) {
        let missing = age.0.saturating_sub(rtt.in_order_after().0);
        let wanted = Duration(missing + missing / 4 + GRANULARITY.0).min(Duration::from_millis(REORDER_MS_MAX));
        self.peak = self.extra(now).max(wanted);
        self.learned = now;
    }

    fn extra(&self, now: Instant) -> Duration {
        let left = REORDER_MEMORY_NS.saturating_sub(now.since(self.learned).0);
        Duration((u128::from(self.peak.0) * u128::from(left) / u128::from(REORDER_MEMORY_NS)) as u64)
    }

    /// How long after it was sent a datagram is lost, once a newer one was acknowledged.
    pub fn lost_after(&self, now: Instant, rtt: &Rtt) -> Duration {
        Duration(rtt.in_order_after().0 + self.extra(now).0)
    }

    /// How much newer an acknowledged datagram has to be for a missing one to be lost; `None`: the path reorders, only time
    /// tells.
    pub fn lost_behind(&self, now: Instant) -> Option<u32> {
        (self.extra(now) == Duration::ZERO).then_some(REORDER_DATAGRAMS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u32) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn round_trips_are_smoothed_and_the_peers_delay_is_no_part_of_them() {
        let mut rtt = Rtt::new();
        assert_eq!((rtt.smoothed(), rtt.min(), rtt.probe_after()), (ms(100), None, ms(302)));
        rtt.on_sample(ms(8), Duration::ZERO);
        assert_eq!((rtt.smoothed(), rtt.min(), rtt.probe_after()), (ms(8), Some(ms(8)), ms(8 + 16 + 2)));
        rtt.on_sample(ms(18), ms(2));
        assert_eq!((rtt.smoothed(), rtt.variance, rtt.latest), (ms(9), ms(5), ms(16)));
        rtt.on_sample(ms(18), ms(1_000));
        assert_eq!(rtt.latest, ms(16), "nobody delays for longer than allowed");
        (0..100).for_each(|_| rtt.on_sample(ms(4), ms(2)));
        assert_eq!(
            (rtt.min(), rtt.latest),
            (Some(ms(4)), ms(4)),
            "a delay that would make it shorter than any is no delay"
        );
        assert!(rtt.probe_after() < ms(8), "{rtt:?}");
    }

    #[test]
    fn a_path_that_reorders_is_learned_and_forgotten() {
        let mut rtt = Rtt::new();
        rtt.on_sample(ms(8), Duration::ZERO);
        let (mut path, start) = (Reordering::default(), Instant(77));
        assert_eq!((path.lost_behind(start), path.lost_after(start, &rtt)), (Some(3), ms(9)));
        path.on_spurious(start, ms(17), &rtt);
        assert_eq!((path.lost_behind(start), path.lost_after(start, &rtt)), (None, ms(9 + 8 + 2 + 1)));
        path.on_spurious(start, ms(13), &rtt);
        assert_eq!(path.lost_after(start, &rtt), ms(20), "a smaller sign takes nothing away");
        let later = start + ms(8_000);
        assert_eq!((path.lost_behind(later), path.lost_after(later, &rtt)), (None, Duration(14_500_000)));
        let long_after = start + ms(16_000);
        assert_eq!((path.lost_behind(long_after), path.lost_after(long_after, &rtt)), (Some(3), ms(9)));
        path.on_spurious(start, ms(60_000), &rtt);
        assert_eq!(path.lost_after(start, &rtt), ms(9 + 250), "an outage is no reordering");
    }
}
