//! How long to wait between attempts to connect: exponential, with full jitter, so that a crowd of clients spreads out.

use std::time::Duration;

/// When and how often a failed connect is tried again. Only errors that can pass by themselves are retried.
///
/// The wait before attempt n + 1 is drawn evenly from 0 to `min(cap, first * 2^(n-1))`.
///
/// ```
/// use std::time::Duration;
/// let retry = laneway_client::Retry::new().attempts_max(10).elapsed_max(Duration::from_secs(60));
/// let options = laneway_client::ConnectOptions::new().retry(retry);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    first: Duration,
    cap: Duration,
    attempts_max: Option<u32>,
    elapsed_max: Option<Duration>,
}

impl Retry {
    /// Waits of up to 100 ms at first and up to 30 s at last, for as long as it takes.
    pub const fn new() -> Self {
        Self { first: Duration::from_millis(100), cap: Duration::from_secs(30), attempts_max: None, elapsed_max: None }
    }

    /// The longest wait before the second attempt (`first`) and before any (`cap`).
    #[must_use]
    pub const fn waits(mut self, first: Duration, cap: Duration) -> Self {
        self.first = first;
        self.cap = cap;
        self
    }

    /// Attempts in all, the first included; 0 is taken as 1.
    #[must_use]
    pub const fn attempts_max(mut self, attempts: u32) -> Self {
        self.attempts_max = Some(attempts);
        self
    }

    /// How long to keep trying, counted from the first attempt. The last wait is shortened to end there.
    #[must_use]
    pub const fn elapsed_max(mut self, elapsed: Duration) -> Self {
        self.elapsed_max = Some(elapsed);
        self
    }

    /// The wait after `failures` failed attempts (1 or more), or `None` to give up. `elapsed` counts from the first
    /// attempt; `random` is any evenly drawn number.
    ///
    /// ```
    /// use std::time::Duration;
    /// let retry = laneway_client::Retry::new().attempts_max(3);
    /// assert!(retry.wait(1, Duration::ZERO, u64::MAX).is_some_and(|wait| wait <= Duration::from_millis(100)));
    /// assert_eq!(retry.wait(3, Duration::ZERO, 0), None);
    /// ```
    pub fn wait(&self, failures: u32, elapsed: Duration, random: u64) -> Option<Duration> {
        if self.attempts_max.is_some_and(|most| failures >= most) {
            return None;
        }
        let wait = self.drawn(failures, random);
        match self.elapsed_max {
            Some(limit) if elapsed >= limit => None,
            Some(limit) => Some(wait.min(limit - elapsed)),
            None => Some(wait),
        }
    }
}

impl Retry {
    /// A wait drawn from the window of the `number`th wait (1 or more), whatever the bounds say.
    pub(crate) fn drawn(&self, number: u32, random: u64) -> Duration {
        let most_ns = u64::try_from(self.window(number).as_nanos()).unwrap_or(u64::MAX);
        // The high half of a 128-bit product maps the draw evenly to 0..=most.
        Duration::from_nanos(((u128::from(random) * (u128::from(most_ns) + 1)) >> 64) as u64)
    }

    /// The longest `number`th wait.
    pub(crate) fn window(&self, number: u32) -> Duration {
        let doublings = number.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.cap)
    }

    /// Whether one more attempt is allowed after so many, and so much time.
    pub(crate) fn allows_more(&self, attempts: u32, elapsed: Duration) -> bool {
        self.attempts_max.is_none_or(|most| attempts < most.max(1))
            && self.elapsed_max.is_none_or(|most| elapsed < most)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waits_double_from_100_ms_to_30_s_and_stay_there() {
        let retry = Retry::new();
        let longest: Vec<_> = (1..=12)
            .map(|failures| retry.wait(failures, Duration::ZERO, u64::MAX).expect("no bound").as_millis())
            .collect();
        assert_eq!(longest, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000]);
        assert_eq!(retry.wait(u32::MAX, Duration::ZERO, u64::MAX), Some(30_000 * MS), "no overflow");
    }

    #[test]
    fn the_jitter_covers_the_whole_window() {
        let retry = Retry::new();
        assert_eq!(retry.wait(1, Duration::ZERO, 0), Some(Duration::ZERO));
        let middle = retry.wait(1, Duration::ZERO, u64::MAX / 2).expect("no bound");
        assert!(middle > 49 * MS && middle < 51 * MS, "{middle:?}");
    }

    #[test]
    fn attempts_and_time_are_bounded_and_the_last_wait_ends_at_the_bound() {
        let retry = Retry::new().attempts_max(2).elapsed_max(1_000 * MS);
        assert!(retry.wait(1, Duration::ZERO, 7).is_some());
        assert_eq!(retry.wait(2, Duration::ZERO, 7), None);
        let timed = Retry::new().elapsed_max(1_000 * MS);
        assert_eq!(timed.wait(9, 990 * MS, u64::MAX), Some(10 * MS));
        assert_eq!(timed.wait(9, 1_000 * MS, u64::MAX), None);
    }
}
