//! How fast a link is sent on: a rate, bursts of few datagrams, and, across wide areas, a window that losses shrink.

use super::limits::BURST_DATAGRAMS;
use crate::time::{Duration, Instant};

const NS_PER_S: u64 = 1_000_000_000;

/// A token bucket of bytes, in time: what was sent is paid for until `paid`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Pacer {
    bytes_per_s: u64,
    /// Nanoseconds that `paid` may be ahead for one more datagram to go.
    ahead_ns_max: u64,
    paid: Instant,
    /// The instant of the last datagram, and what left at that instant.
    instant: Instant,
    datagrams: u32,
    instant_ns: u64,
}

impl Pacer {
    /// A link of this rate (0: none), whose datagrams have at most `datagram_bytes`.
    pub fn new(bytes_per_s: u64, datagram_bytes: usize) -> Self {
        let mut pacer =
            Self { bytes_per_s, ahead_ns_max: 0, paid: Instant(0), instant: Instant(0), datagrams: 0, instant_ns: 0 };
        pacer.set_rate(bytes_per_s, datagram_bytes);
        pacer
    }

    /// Changes the rate.
    pub fn set_rate(&mut self, bytes_per_s: u64, datagram_bytes: usize) {
        self.bytes_per_s = bytes_per_s;
        self.ahead_ns_max = self.cost((BURST_DATAGRAMS as usize - 1) * datagram_bytes);
    }

    /// Bytes per second; 0: no limit.
    pub const fn bytes_per_s(&self) -> u64 {
        self.bytes_per_s
    }

    /// `None` if a datagram may leave at `now`; otherwise when one may.
    pub fn wait_until(&self, now: Instant) -> Option<Instant> {
        if self.bytes_per_s == 0 {
            return None;
        }
        let burst_over = Instant(self.paid.0.saturating_sub(self.ahead_ns_max));
        let spread = if now == self.instant && self.datagrams >= BURST_DATAGRAMS {
            Instant(self.instant.0 + self.instant_ns.max(1))
        } else {
            now
        };
        let until = burst_over.max(spread);
        (until > now).then_some(until)
    }

    /// A datagram of `bytes` leaves at `now`.
    pub fn on_sent(&mut self, now: Instant, bytes: usize) {
        if self.bytes_per_s == 0 {
            return;
        }
        let cost = self.cost(bytes);
        if now != self.instant {
            (self.instant, self.datagrams, self.instant_ns) = (now, 0, 0);
        }
        self.datagrams += 1;
        self.instant_ns = self.instant_ns.saturating_add(cost);
        self.paid = Instant(self.paid.max(now).0.saturating_add(cost));
    }

    fn cost(&self, bytes: usize) -> u64 {
        if self.bytes_per_s == 0 { 0 } else { (bytes as u64 * NS_PER_S).div_ceil(self.bytes_per_s) }
    }
}

/// What may be under way on a path that is shared with strangers: NewReno as in RFC 9002, section 7.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Congestion {
    enabled: bool,
    datagram_bytes: u64,
    window: u64,
    /// Above this, growth is slow.
    threshold: u64,
    /// Losses of datagrams that were sent before this are of an event that was answered.
    answered: Option<Instant>,
}

impl Congestion {
    /// A new path; without a window unless `enabled`.
    pub const fn new(enabled: bool, datagram_bytes: usize) -> Self {
        let datagram_bytes = datagram_bytes as u64;
        let (ten, two) = (10 * datagram_bytes, 2 * datagram_bytes);
        let floor = if two > 14_720 { two } else { 14_720 };
        let window = if ten < floor { ten } else { floor };
        Self { enabled, datagram_bytes, window, threshold: u64::MAX, answered: None }
    }

    /// Whether `in_flight` bytes leave room for a datagram.
    pub const fn has_room(&self, in_flight: u64) -> bool {
        !self.enabled || in_flight + self.datagram_bytes <= self.window
    }

    /// Bytes that may be under way; `None`: as many as the rate allows.
    pub const fn window(&self) -> Option<u64> {
        if self.enabled { Some(self.window) } else { None }
    }

    /// A datagram of `bytes`, sent at `sent`, was acknowledged while `in_flight` bytes, itself included, were under way.
    pub fn on_acked(&mut self, sent: Instant, bytes: u64, in_flight: u64) {
        let recovering = self.answered.is_some_and(|answered| sent <= answered);
        // A window that is not used says nothing about the path.
        if !self.enabled || recovering || in_flight + self.datagram_bytes < self.window {
            return;
        }
        self.window += if self.window < self.threshold { bytes } else { self.datagram_bytes * bytes / self.window };
    }

    /// A datagram sent at `sent` was taken for lost at `now`.
    pub fn on_lost(&mut self, now: Instant, sent: Instant) {
        if self.answered.is_some_and(|answered| sent <= answered) {
            return;
        }
        self.answered = Some(now);
        self.threshold = (self.window / 2).max(2 * self.datagram_bytes);
        self.window = self.threshold;
    }

    /// Nothing was acknowledged for so long that the path may be another one.
    pub fn on_persistent(&mut self) {
        self.window = 2 * self.datagram_bytes;
        self.answered = None;
    }
}

/// How long `bytes` take at `bytes_per_s`; nothing without a rate.
pub fn time_of(bytes: u64, bytes_per_s: u64) -> Duration {
    if bytes_per_s == 0 { Duration::ZERO } else { Duration((bytes * NS_PER_S).div_ceil(bytes_per_s)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_datagrams_leave_at_once_and_the_rate_is_kept() {
        let mut pacer = Pacer::new(1_000_000, 1_000);
        let (mut now, mut sent) = (Instant(5), 0u64);
        while now < Instant(NS_PER_S) {
            let mut at_once = 0;
            while pacer.wait_until(now).is_none() {
                pacer.on_sent(now, 1_000);
                at_once += 1;
                sent += 1_000;
            }
            assert!(at_once <= BURST_DATAGRAMS, "{at_once} at {now:?}");
            now = pacer.wait_until(now).expect("it is ahead");
        }
        assert!((1_000_000..=1_016_000).contains(&sent), "{sent} bytes in a second");
    }

    #[test]
    fn small_datagrams_are_not_sent_in_longer_bursts() {
        let mut pacer = Pacer::new(1_000_000, 1_000);
        let now = Instant(5);
        for _ in 0..BURST_DATAGRAMS {
            assert_eq!(pacer.wait_until(now), None);
            pacer.on_sent(now, 10);
        }
        assert_eq!(pacer.wait_until(now), Some(Instant(5 + 160_000)));
        assert_eq!(pacer.wait_until(Instant(5 + 160_000)), None);
        let mut free = Pacer::new(0, 1_000);
        (0..100).for_each(|_| free.on_sent(now, 1_000));
        assert_eq!(free.wait_until(now), None, "without a rate");
    }

    #[test]
    fn a_window_grows_fast_then_slowly_and_is_halved_once_for_each_event() {
        let mut path = Congestion::new(true, 1_000);
        assert_eq!(path.window(), Some(10_000));
        path.on_acked(Instant(1), 1_000, 5_000);
        assert_eq!(path.window(), Some(10_000), "it was not full");
        (0..10).for_each(|_| path.on_acked(Instant(1), 1_000, 20_000));
        assert_eq!(path.window(), Some(20_000));
        assert!(path.has_room(19_000) && !path.has_room(19_001));
        path.on_lost(Instant(10), Instant(2));
        path.on_lost(Instant(11), Instant(9));
        path.on_acked(Instant(10), 1_000, 20_000);
        assert_eq!(path.window(), Some(10_000), "one event");
        (0..10).for_each(|_| path.on_acked(Instant(11), 1_000, 20_000));
        assert!((10_900..=11_000).contains(&path.window().unwrap_or(0)), "{path:?}");
        path.on_persistent();
        assert_eq!(path.window(), Some(2_000));
        assert!(Congestion::new(false, 1_000).has_room(u64::MAX / 2), "a LAN");
    }
}
