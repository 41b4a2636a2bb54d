//! The open loop: messages are due at fixed moments whatever the target does, and latency counts from those moments.
//!
//! A target that stalls therefore gets every message that was due meanwhile counted with its whole delay; a generator
//! that waited for the target before it sent the next one would leave them out (coordinated omission).

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::Load;
use crate::error::{Error, Result};

/// Nanoseconds of the largest latency told apart.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Messages written in a row before deliveries are looked at, when the schedule is late.
const BURST_MAX: u32 = 64;
/// How long the last deliveries may take.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Latencies in nanoseconds, three digits exact.
pub fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).map_err(|error| Error::Failed(error.to_string()))
}

/// When messages are due, and how late they arrived. Times are nanoseconds since the start.
#[derive(Debug)]
pub struct Pace {
    period_ns: u64,
    count: u64,
    sent: u64,
    received: u64,
    /// Messages before this one are not looked at: the generator stood still while they were under way.
    disturbed_below: u64,
    disturbed: u64,
}

impl Pace {
    /// `rate_hz` messages a second for `span`.
    pub fn new(rate_hz: u32, span: Duration) -> Self {
        let period_ns = 1_000_000_000 / u64::from(rate_hz.max(1));
        let count = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX) / period_ns;
        Self { period_ns, count, sent: 0, received: 0, disturbed_below: 0, disturbed: 0 }
    }

    /// Whether the next message should have left by now.
    pub const fn is_due(&self, now_ns: u64) -> bool {
        self.sent < self.count && self.sent * self.period_ns <= now_ns
    }

    /// The next message was handed over.
    pub const fn on_sent(&mut self) {
        self.sent += 1;
    }

    /// `total` messages have arrived by now, in order; records those that are new.
    pub fn on_received(&mut self, total: u64, now_ns: u64, latencies: &mut Histogram<u64>) {
        while self.received < total {
            let intended_ns = self.received * self.period_ns;
            if self.received < self.disturbed_below {
                self.disturbed += 1;
            } else {
                latencies.saturating_record(now_ns.saturating_sub(intended_ns).max(1));
            }
            self.received += 1;
        }
    }

    /// The generator itself did not run for a while that ends now: what is under way, or was due meanwhile, is late because
    /// of that.
    pub fn on_stood_still(&mut self, now_ns: u64) {
        self.disturbed_below = (now_ns / self.period_ns + 1).min(self.count);
    }

    /// Messages whose latencies were not recorded for that reason.
    pub const fn disturbed(&self) -> u64 {
        self.disturbed
    }

    /// Whether everything was sent.
    pub const fn is_sent(&self) -> bool {
        self.sent == self.count
    }

    /// Whether everything has arrived.
    pub const fn is_done(&self) -> bool {
        self.received == self.count
    }
}

/// Publishes at the pace to one subscriber; the load's block is one message. Adds to `latencies`.
pub fn run(load: &mut Load, mut pace: Pace, latencies: &mut Histogram<u64>) -> Result<()> {
    debug_assert!(
        load.source.block().messages() == 1 && load.subscribers.len() == 1,
        "each message has its own moment"
    );
    let before = load.delivered();
    let start = Instant::now();
    let mut sent_at = start;
    while !pace.is_done() {
        for _ in 0..BURST_MAX {
            let now_ns = nanoseconds(start);
            if load.source.left() == 0 && pace.is_due(now_ns) {
                load.begin_block();
                pace.on_sent();
            }
            if load.source.left() == 0 {
                break;
            }
            load.write()?;
            sent_at = Instant::now();
            if load.source.left() > 0 {
                break;
            }
        }
        // Between two messages of a slow pace silence is no fault.
        let now = Instant::now();
        load.heard_at = now;
        load.receive(now)?;
        pace.on_received(load.delivered() - before, nanoseconds(start), latencies);
        if pace.is_sent() && now.duration_since(sent_at) > DRAIN_MAX {
            return Err(Error::Failed(format!("the last messages did not arrive within {DRAIN_MAX:?}")));
        }
    }
    Ok(())
}

fn nanoseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that answers within 50 µs but stands still from 2 s to 3 s, at 1,000 messages a second for 10 s.
    fn stalled(latencies: &mut Histogram<u64>) {
        let mut pace = Pace::new(1_000, Duration::from_secs(10));
        let mut sent = 0;
        for now_us in (0..10_100_000u64).step_by(50) {
            let now_ns = now_us * 1_000;
            let standing = (2_000_000..3_000_000).contains(&now_us);
            if !standing {
                pace.on_received(sent, now_ns, latencies);
            }
            // The socket is full while the target stands, so nothing can be handed over either.
            while !standing && pace.is_due(now_ns) {
                pace.on_sent();
                sent += 1;
            }
        }
        assert!(pace.is_done());
    }

    #[test]
    fn what_was_under_way_or_due_while_the_generator_stood_still_is_left_out_and_counted() {
        let mut pace = Pace::new(1_000, Duration::from_millis(10));
        let mut latencies = histogram().expect("bounds");
        (0..2).for_each(|_| pace.on_sent());
        pace.on_received(1, 50_000, &mut latencies);
        // From 1.1 ms to 3.2 ms: message 1 was under way, 2 and 3 became due.
        pace.on_stood_still(3_200_000);
        (2..10).for_each(|_| pace.on_sent());
        pace.on_received(10, 9_100_000, &mut latencies);
        assert_eq!((pace.disturbed(), latencies.len()), (3, 7));
    }

    #[test]
    fn a_stall_is_charged_to_every_message_that_was_due_meanwhile() {
        let mut latencies = histogram().expect("bounds");
        stalled(&mut latencies);
        assert_eq!(latencies.len(), 10_000);
        // 1,000 of 10,000 messages were due in the stall, evenly late by 0 to 1 s.
        let at = |percentile| latencies.value_at_percentile(percentile) as f64 / 1e9;
        assert!(at(85.0) < 0.001, "nine tenths were not hit: {}", at(85.0));
        assert!((at(95.0) - 0.5).abs() < 0.01, "half of the stall: {}", at(95.0));
        assert!((at(99.0) - 0.9).abs() < 0.01, "nine tenths of the stall: {}", at(99.0));
        assert!((at(100.0) - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_message_is_due_at_its_own_moment_and_not_after_the_one_before_it() {
        let mut pace = Pace::new(1_000, Duration::from_millis(3));
        assert!(pace.is_due(0));
        pace.on_sent();
        assert!(!pace.is_due(999_999));
        assert!(pace.is_due(2_500_000));
        pace.on_sent();
        assert!(pace.is_due(2_500_000), "the third was due at 2 ms");
        pace.on_sent();
        assert!(pace.is_sent() && !pace.is_due(u64::MAX));
    }
}
