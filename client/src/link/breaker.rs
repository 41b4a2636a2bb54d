//! A circuit breaker: after many failures in a row nothing is tried for a while, then once.

use laneway_proto::time::{Duration, Instant};

/// Where a breaker stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum BreakerState {
    /// Attempts are made.
    #[default]
    Closed,
    /// Too many failures in a row: nothing is tried until the rest is over.
    Open,
    /// The rest is over: one attempt decides.
    HalfOpen,
}

impl BreakerState {
    /// The word for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// Counts failures in a row and opens when there are too many.
///
/// ```
/// use laneway_client::link::{Breaker, BreakerState};
/// use laneway_proto::time::{Duration, Instant};
///
/// let mut breaker = Breaker::new(2, Duration::from_millis(500));
/// breaker.on_failure(Instant(0));
/// assert_eq!(breaker.state(), BreakerState::Closed);
/// breaker.on_failure(Instant(0));
/// assert_eq!(breaker.opens_until(), Some(Instant(500_000_000)));
/// breaker.on_attempt(Instant(500_000_000));
/// assert_eq!(breaker.state(), BreakerState::HalfOpen);
/// breaker.on_success();
/// assert_eq!(breaker.state(), BreakerState::Closed);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Breaker {
    failures_max: u32,
    rest: Duration,
    failures: u32,
    state: BreakerState,
    until: Instant,
}

impl Breaker {
    /// Opens at `failures_max` failures in a row (0: never), for `rest` each time.
    pub const fn new(failures_max: u32, rest: Duration) -> Self {
        Self { failures_max, rest, failures: 0, state: BreakerState::Closed, until: Instant(0) }
    }

    /// Where it stands.
    pub const fn state(&self) -> BreakerState {
        self.state
    }

    /// When the next attempt is allowed; `None`: at any time.
    pub fn opens_until(&self) -> Option<Instant> {
        (self.state == BreakerState::Open).then_some(self.until)
    }

    /// An attempt begins. The first one after the rest is the probe.
    pub fn on_attempt(&mut self, now: Instant) {
        debug_assert!(self.opens_until().is_none_or(|until| until <= now), "nothing is tried while it is open");
        if self.state == BreakerState::Open {
            self.state = BreakerState::HalfOpen;
        }
    }

    /// An attempt failed. A failed probe opens it again.
    pub fn on_failure(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures_max > 0 && self.failures >= self.failures_max {
            self.state = BreakerState::Open;
            self.until = now + self.rest;
        }
    }

    /// An attempt succeeded.
    pub const fn on_success(&mut self) {
        self.failures = 0;
        self.state = BreakerState::Closed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_millis(1_000);

    #[test]
    fn it_opens_at_the_last_failure_allowed_and_a_failed_probe_opens_it_again() {
        let mut breaker = Breaker::new(3, REST);
        for number in 1..3 {
            breaker.on_failure(Instant(number));
            assert_eq!(breaker.state(), BreakerState::Closed);
        }
        breaker.on_failure(Instant(10));
        assert_eq!((breaker.state(), breaker.opens_until()), (BreakerState::Open, Some(Instant(10) + REST)));
        breaker.on_attempt(Instant(10) + REST);
        assert_eq!((breaker.state(), breaker.opens_until()), (BreakerState::HalfOpen, None));
        breaker.on_failure(Instant(2_000_000_000));
        assert_eq!(breaker.opens_until(), Some(Instant(3_000_000_000)), "one failed probe is enough");
    }

    #[test]
    fn a_success_closes_it_and_begins_the_count_anew() {
        let mut breaker = Breaker::new(2, REST);
        breaker.on_failure(Instant(1));
        breaker.on_success();
        breaker.on_failure(Instant(2));
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.on_failure(Instant(3));
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker.on_attempt(Instant(3) + REST);
        breaker.on_success();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn without_a_bound_it_never_opens() {
        let mut breaker = Breaker::new(0, REST);
        (0..1_000).for_each(|number| breaker.on_failure(Instant(number)));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
