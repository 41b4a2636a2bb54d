//! How long an answer takes, and when to stop waiting for it.

use super::limits::{SERIAL_RTO_MS_FIRST, SERIAL_RTO_MS_MAX};
use crate::time::{Duration, Instant};

const VARIATION_MIN: Ticks = Ticks(2_000_000 >> 10);

/// A point or span of time in units of 1,024 ns; wraps after 73 minutes. Timers of a line are far shorter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub(super) struct Ticks(pub(super) u32);

impl Ticks {
    pub(super) const fn at(now: Instant) -> Self {
        Self((now.0 >> 10) as u32)
    }

    pub(super) const fn of(span: Duration) -> Self {
        Self((span.0 >> 10) as u32)
    }

    pub(super) const fn plus(self, span: Self) -> Self {
        Self(self.0.wrapping_add(span.0))
    }

    /// Ticks from `earlier` to this; negative if it was later.
    pub(super) const fn since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// This point as an instant near `now`.
    pub(super) const fn near(self, now: Instant) -> Instant {
        let ahead = (self.since(Self::at(now)) as i64) << 10;
        Instant((now.0 & !0x3FF).saturating_add_signed(ahead))
    }
}

/// Smoothed as in RFC 6298. All of a link's lanes share it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Rtt {
    measured: bool,
    smoothed: u32,
    variation: u32,
}

impl Rtt {
    pub(super) const fn new() -> Self {
        Self { measured: false, smoothed: 0, variation: 0 }
    }

    /// The time from the end of a frame, sent once, to its acknowledgement.
    pub(super) fn sample(&mut self, ticks: u32) {
        if !self.measured {
            *self = Self { measured: true, smoothed: ticks, variation: ticks / 2 };
            return;
        }
        let off = self.smoothed.abs_diff(ticks);
        self.variation = self.variation - self.variation / 4 + off / 4;
        self.smoothed = self.smoothed - self.smoothed / 8 + ticks / 8;
    }

    /// How long to wait behind a frame's end, after `backoff` waits in vain.
    pub(super) fn timeout(&self, frame: Ticks, backoff: u8) -> Ticks {
        let first = if self.measured {
            self.smoothed + (4 * self.variation).max(VARIATION_MIN.0) + frame.0
        } else {
            Ticks::of(Duration::from_millis(SERIAL_RTO_MS_FIRST)).0 + 3 * frame.0
        };
        let most = Ticks::of(Duration::from_millis(SERIAL_RTO_MS_MAX)).0.max(first);
        Ticks(first.saturating_mul(1 << backoff.min(10)).min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_follows_what_was_measured_and_doubles_up_to_its_bound() {
        let frame = Ticks::of(Duration::from_millis(10));
        let ms = |ticks: Ticks| (u64::from(ticks.0) << 10).div_ceil(1_000_000);
        let mut rtt = Rtt::new();
        assert_eq!([0, 1, 2, 5, 200].map(|backoff| ms(rtt.timeout(frame, backoff))), [70, 140, 280, 1_000, 1_000]);
        for _ in 0..100 {
            rtt.sample(Ticks::of(Duration::from_millis(20)).0);
        }
        assert_eq!(ms(rtt.timeout(frame, 0)), 32, "20 ms, 2 ms, one frame");
        rtt.sample(Ticks::of(Duration::from_millis(60)).0);
        assert!(ms(rtt.timeout(frame, 0)) > 60);
        let slow = Ticks::of(Duration::from_millis(1_100));
        assert!(ms(rtt.timeout(slow, 3)) > 1_100, "never less than the first");
    }

    #[test]
    fn ticks_go_round_without_anybody_noticing() {
        let before = Instant((u64::from(u32::MAX) << 10) - 1_000_000);
        let after = before + Duration::from_millis(2);
        assert_eq!(Ticks::at(after).since(Ticks::at(before)), 2_000_000 >> 10);
        assert!(Ticks::at(after).near(before).since(after).0 < 1_024);
        assert_eq!(Ticks::at(before).near(after).0, before.0 & !0x3FF);
    }
}
