//! When a lost broker is dialled again.

use laneway_proto::time::{Duration, Instant};

use super::breaker::{Breaker, BreakerState};
use super::draws::Draws;
use super::options::ReconnectOptions;
use crate::span::span;

/// Decides when to dial. The owner calls the `on_` method for what happened and [`Reconnector::on_timeout`] when the
/// time of [`Reconnector::poll_timeout`] has come.
///
/// ```
/// use laneway_client::ReconnectOptions;
/// use laneway_client::link::{Next, Reconnector};
/// use laneway_proto::time::{Duration, Instant};
///
/// let mut reconnector = Reconnector::new(ReconnectOptions::new(), 7);
/// let Next::RetryIn(wait) = reconnector.on_down(Instant(0)) else { panic!("the first attempt is always allowed") };
/// assert!(wait <= Duration::from_millis(100));
/// assert_eq!(reconnector.on_timeout(Instant(0) + wait), Some(1), "the first attempt");
/// assert_eq!(reconnector.on_attempt_failed(Instant(0) + wait, false, Duration::ZERO), Next::GiveUp);
/// ```
#[derive(Clone, Debug)]
pub struct Reconnector {
    options: ReconnectOptions,
    draws: Draws,
    breaker: Breaker,
    phase: Phase,
    attempts: u32,
    down_since: Instant,
}

/// What comes after a loss or a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Another attempt, after this time.
    RetryIn(Duration),
    /// Nothing: it is of no use, or enough was tried.
    GiveUp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Up,
    Waiting(Instant),
    Attempting,
    GivenUp,
}

impl Reconnector {
    /// For a link that is up. Equal seeds draw equal waits.
    pub fn new(options: ReconnectOptions, seed: u64) -> Self {
        let rest = span(options.breaker_rest);
        Self {
            options,
            draws: Draws::new(seed),
            breaker: Breaker::new(options.breaker_failures, rest),
            phase: Phase::Up,
            attempts: 0,
            down_since: Instant(0),
        }
    }

    /// The link broke.
    pub fn on_down(&mut self, now: Instant) -> Next {
        self.attempts = 0;
        self.down_since = now;
        self.plan(now, Duration::ZERO)
    }

    /// An attempt failed. `retryable`: whether it can succeed later; `not_before`: how long the broker asked to be left
    /// alone.
    pub fn on_attempt_failed(&mut self, now: Instant, retryable: bool, not_before: Duration) -> Next {
        debug_assert!(self.phase == Phase::Attempting, "only what was begun can fail");
        self.breaker.on_failure(now);
        if retryable {
            return self.plan(now, not_before);
        }
        self.phase = Phase::GivenUp;
        Next::GiveUp
    }

    /// The broker agreed: the next loss begins with short waits again.
    pub const fn on_up(&mut self) {
        self.breaker.on_success();
        self.phase = Phase::Up;
        self.attempts = 0;
    }

    /// When to call [`Reconnector::on_timeout`].
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(at) => Some(at),
            Phase::Up | Phase::Attempting | Phase::GivenUp => None,
        }
    }

    /// Time has passed. Returns the number of the attempt that is to be made now, if one is.
    pub fn on_timeout(&mut self, now: Instant) -> Option<u32> {
        match self.phase {
            Phase::Waiting(at) if at <= now => {
                self.phase = Phase::Attempting;
                self.attempts = self.attempts.saturating_add(1);
                self.breaker.on_attempt(now);
                Some(self.attempts)
            }
            Phase::Waiting(_) | Phase::Up | Phase::Attempting | Phase::GivenUp => None,
        }
    }

    /// Attempts since the link broke.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Where the circuit breaker stands.
    pub const fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    fn plan(&mut self, now: Instant, not_before: Duration) -> Next {
        let elapsed = std::time::Duration::from_nanos(now.since(self.down_since).0);
        if !self.options.retry.allows_more(self.attempts, elapsed) {
            self.phase = Phase::GivenUp;
            return Next::GiveUp;
        }
        let drawn = span(self.options.retry.drawn(self.attempts.saturating_add(1), self.draws.next_u64()));
        let at = (now + drawn.max(not_before)).max(self.breaker.opens_until().unwrap_or_default());
        self.phase = Phase::Waiting(at);
        Next::RetryIn(at.since(now))
    }
}

#[cfg(test)]
mod tests;
