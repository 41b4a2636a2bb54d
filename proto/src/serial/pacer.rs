//! Airtime: what a byte costs, and when the driver may have another frame.

use super::limits::{SERIAL_BELOW_US_MAX, SERIAL_IDLE_MS, SERIAL_LEAD_US};
use crate::time::{Duration, Instant};

const BITS_PER_BYTE: u64 = 10;
/// What a byte costs where there is no rate (USB full speed, about).
const NS_PER_BYTE_UNRATED: u32 = 1_000;
const LEAD: Duration = Duration(SERIAL_LEAD_US as u64 * 1_000);
const BELOW_MAX: Duration = Duration(SERIAL_BELOW_US_MAX as u64 * 1_000);
const IDLE: Duration = Duration::from_millis(SERIAL_IDLE_MS);

/// Keeps what lies in the driver, below the scheduler, to two frames or 4 ms of airtime, whichever is more.
///
/// Invariant: `started <= free_at`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pacer {
    ns_per_byte: u32,
    /// When everything handed over has left.
    free_at: Instant,
    /// When the last frame handed over began, or begins, to leave.
    started: Instant,
}

impl Pacer {
    /// An idle line of this rate; 0: without one.
    pub const fn new(baud: u32) -> Self {
        let ns_per_byte = match baud {
            0 => NS_PER_BYTE_UNRATED,
            _ => (BITS_PER_BYTE * 1_000_000_000).div_ceil(baud as u64) as u32,
        };
        Self { ns_per_byte, free_at: Instant(0), started: Instant(0) }
    }

    /// How long so many bytes occupy the line.
    pub const fn airtime(&self, bytes: usize) -> Duration {
        Duration(bytes as u64 * self.ns_per_byte as u64)
    }

    /// When everything handed over has left.
    pub const fn free_at(&self) -> Instant {
        self.free_at
    }

    /// Whether a zero has to go ahead of the next frame.
    pub fn was_idle(&self, now: Instant) -> bool {
        now.since(self.free_at) >= IDLE
    }

    /// When a frame of at most `bytes` may be handed over.
    pub fn ready_at(&self, bytes: usize) -> Instant {
        let nearly_free = Instant(self.free_at.0.saturating_sub(LEAD.0));
        // Two frames already: a third one only if all of it is little.
        let little = Instant((self.free_at + self.airtime(bytes)).0.saturating_sub(BELOW_MAX.0));
        nearly_free.max(self.started.min(little))
    }

    /// So many bytes were handed over at `now`. Returns when the last of them leaves.
    pub fn on_sent(&mut self, now: Instant, bytes: usize) -> Instant {
        self.started = self.free_at.max(now);
        self.free_at = self.started + self.airtime(bytes);
        self.free_at
    }

    /// The driver says that so many bytes have not left yet: it is slower than its rate.
    pub fn on_below(&mut self, now: Instant, bytes: usize) {
        self.free_at = self.free_at.max(now + self.airtime(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn large_frames_lie_there_two_at_a_time_the_second_at_the_last_moment() {
        let mut pacer = Pacer::new(115_200);
        let start = Instant(1_000 * MS);
        assert!(pacer.ready_at(115) <= start && pacer.was_idle(start));
        let first = pacer.on_sent(start, 115);
        assert!((9_980_000..9_990_000).contains(&first.since(start).0), "{first:?}");
        assert_eq!(pacer.ready_at(115), Instant(first.0 - 2 * MS));
        let now = pacer.ready_at(115);
        let second = pacer.on_sent(now, 115);
        assert_eq!((pacer.ready_at(115), second), (Instant(second.0 - 2 * MS), first + pacer.airtime(115)));
        assert!(!pacer.was_idle(second + Duration::from_millis(9)) && pacer.was_idle(second + IDLE));
    }

    #[test]
    fn small_frames_lie_there_up_to_four_milliseconds() {
        let mut pacer = Pacer::new(115_200);
        let (now, mut frames) = (Instant(1_000 * MS), 0);
        while pacer.ready_at(11) <= now {
            pacer.on_sent(now, 11);
            frames += 1;
        }
        let below = pacer.free_at().since(now);
        assert!(frames == 3 && below.0 <= 4 * MS, "{frames} frames, {below:?}");
        assert!(pacer.ready_at(115) > now + Duration::from_micros(1_900), "not a large one behind three small ones");
    }

    #[test]
    fn a_driver_that_is_behind_gets_nothing_more() {
        let mut pacer = Pacer::new(0);
        pacer.on_sent(Instant(0), 100);
        pacer.on_below(Instant(5 * MS), 10_000);
        assert_eq!(pacer.free_at(), Instant(15 * MS));
        assert_eq!(pacer.ready_at(100), Instant(13 * MS));
    }
}
