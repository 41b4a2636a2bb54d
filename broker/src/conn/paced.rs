//! A publisher that may publish no faster than a rate.

use laneway_proto::time::{Duration, Instant};

use crate::rate::Rate;

/// A publisher that hears nothing for so long while its messages wait is told that somebody is there.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// The rate, and whether it holds the publisher back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Paced {
    rate: Rate,
    /// What it publishes waits.
    stopped: bool,
    /// When it was told something last.
    told: Instant,
}

impl Paced {
    /// A publisher that has published nothing yet.
    pub const fn new(now: Instant, rate: Rate) -> Self {
        Self { rate, stopped: false, told: now }
    }

    /// Whether a run of `bytes` has to wait; takes them otherwise.
    pub fn stops(&mut self, now: Instant, bytes: u32) -> bool {
        self.stopped = self.stopped || self.rate.left(now).is_none();
        if !self.stopped {
            self.rate.take(now, u64::from(bytes));
        }
        self.stopped
    }

    /// Whether what it publishes waits.
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// When [`Self::on_timeout`] is to be called.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        if self.stopped { self.rate.poll_timeout() } else { None }
    }

    /// Time has passed. True if it may go on.
    pub fn on_timeout(&mut self, now: Instant) -> bool {
        let due = self.poll_timeout().is_some_and(|until| until <= now);
        self.stopped = self.stopped && !due;
        due
    }

    /// Whether it is to be told that somebody is there, because its own question waits behind its messages.
    pub fn poll_sign_of_life(&mut self, now: Instant) -> bool {
        let due = now.since(self.told) >= SIGN_OF_LIFE;
        if due {
            self.told = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_rate_waits_until_its_time_has_come() {
        let now = Instant(1_000_000_000);
        let mut paced = Paced::new(now, Rate::new(100_000, 1_000).expect("a rate"));
        assert!(!paced.stops(now, 1_500) && !paced.is_stopped(), "a run is never cut");
        assert!(paced.stops(now, 1));
        let until = paced.poll_timeout().expect("it waits");
        assert_eq!(until.since(now).as_millis(), 10, "500 bytes of debt and a portion");
        assert!(!paced.on_timeout(now) && paced.stops(now, 1));
        assert!(paced.on_timeout(until) && !paced.stops(until, 1));
    }
}
