//! How a broken link is made again.

use std::time::Duration;

use crate::backoff::Retry;

/// Whether and how a client that lost its broker finds it again. Only trouble that can pass by itself is met with
/// another attempt; a broker of another version, or one that forbids, ends it at once.
///
/// ```
/// use laneway_client::{ConnectOptions, ReconnectOptions, Retry};
/// use std::time::Duration;
///
/// let patient = ReconnectOptions::new().retry(Retry::new().attempts_max(100)).breaker(5, Duration::from_secs(60));
/// let options = ConnectOptions::new().reconnect(patient);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReconnectOptions {
    pub(crate) retry: Retry,
    pub(crate) breaker_failures: u32,
    pub(crate) breaker_rest: Duration,
    pub(crate) trip_max: Option<Duration>,
}

impl ReconnectOptions {
    /// Waits of up to 100 ms at first and up to 30 s at last, for ever; after 10 failures in a row a rest of 30 s
    /// before each attempt.
    pub const fn new() -> Self {
        Self { retry: Retry::new(), breaker_failures: 10, breaker_rest: Duration::from_secs(30), trip_max: None }
    }

    /// The waits, and how many attempts or how much time each loss is worth. Unlike for a first connect, there is a
    /// wait before the first attempt, too: a restarted broker shall not meet all its clients at once.
    #[must_use]
    pub const fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Failures in a row after which each further attempt is preceded by a rest of this length; 0: never.
    #[must_use]
    pub const fn breaker(mut self, failures: u32, rest: Duration) -> Self {
        self.breaker_failures = failures;
        self.breaker_rest = rest;
        self
    }

    /// The longest good round trip. A link on which three in a row take longer is replaced: another one is made beside it,
    /// and once the broker answers there, the session goes on over that one. The same is done without this, too, when the
    /// broker is silent for half of the time after which it is taken for dead. Round trips are measured as often as
    /// [`keepalive`](crate::ConnectOptions::keepalive) says; links that are all slow are replaced ever more seldom.
    #[must_use]
    pub const fn trip_max(mut self, trip: Duration) -> Self {
        self.trip_max = Some(trip);
        self
    }
}

impl Default for ReconnectOptions {
    fn default() -> Self {
        Self::new()
    }
}
