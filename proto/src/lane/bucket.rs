//! A rate in bytes per second, and a burst that silence saves up.
//!
//! Kept in time instead of tokens: what was sent is paid for by the rate until `paid`, and that may be a burst ahead of
//! now. So it needs no timer, and a pause of any length saves up one burst.

use crate::time::{Duration, Instant};

const NS_PER_S: u64 = 1_000_000_000;

/// What is sent, against a rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Bucket {
    /// 0: no limit.
    bytes_per_s: u32,
    /// When what was sent is paid for by the rate.
    paid: Instant,
}

impl Bucket {
    /// Of which nothing was taken yet; `bytes_per_s` 0 means: no limit.
    pub const fn new(bytes_per_s: u32) -> Self {
        Self { bytes_per_s, paid: Instant(0) }
    }

    /// Bytes per second; 0: no limit.
    pub const fn bytes_per_s(&self) -> u32 {
        self.bytes_per_s
    }

    /// Bytes that may be taken at `now`, at least 1, if `burst` is how far the rate may be anticipated; or when there will
    /// be one.
    pub fn left(&self, now: Instant, burst: Duration) -> Result<usize, Instant> {
        if self.bytes_per_s == 0 {
            return Ok(usize::MAX);
        }
        let ahead = self.paid.since(now).0;
        if ahead > burst.0 {
            return Err(Instant(self.paid.0 - burst.0));
        }
        let bytes = u128::from(burst.0 - ahead) * u128::from(self.bytes_per_s) / u128::from(NS_PER_S);
        Ok((bytes as usize).max(1))
    }

    /// `bytes` are taken at `now`; more than are left is a debt that is paid first.
    pub fn take(&mut self, now: Instant, bytes: u64) {
        if self.bytes_per_s != 0 {
            self.paid = Instant(self.paid.max(now).0.saturating_add(self.cost(bytes)));
        }
    }

    /// So many of the bytes taken last were not sent.
    pub fn give_back(&mut self, bytes: u64) {
        if self.bytes_per_s != 0 {
            self.paid = Instant(self.paid.0.saturating_sub(self.cost(bytes)));
        }
    }

    fn cost(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(NS_PER_S).div_ceil(u64::from(self.bytes_per_s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: Duration = Duration::from_millis(10);

    fn at_ms(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let mut bucket = Bucket::new(1_000_000);
        assert_eq!(bucket.left(at_ms(1_000), BURST), Ok(10_000));
        bucket.take(at_ms(1_000), 10_001);
        assert_eq!(bucket.left(at_ms(1_000), BURST), Err(Instant(1_000_001_000)));
        assert_eq!(bucket.left(at_ms(1_002), BURST), Ok(1_999));
        assert_eq!(bucket.left(at_ms(60_000), BURST), Ok(10_000), "a long silence saves up one burst");
    }

    #[test]
    fn over_ten_seconds_the_rate_is_kept_however_large_the_pieces() {
        for piece in [1, 100, 65_535] {
            let mut bucket = Bucket::new(1_000_000);
            let mut sent = 0;
            for ms in 1_000..11_000 {
                while bucket.left(at_ms(ms), BURST).is_ok() {
                    bucket.take(at_ms(ms), piece);
                    sent += piece;
                }
            }
            let excess = sent.abs_diff(10_000_000);
            assert!(excess <= 10_000 + piece, "{sent} bytes in pieces of {piece}");
        }
    }

    #[test]
    fn what_was_not_sent_may_be_sent_later_and_without_a_rate_everything_goes() {
        let mut bucket = Bucket::new(1_000);
        bucket.take(at_ms(5), 1_000);
        bucket.give_back(999);
        assert_eq!(bucket.left(at_ms(5), BURST), Ok(9));
        let mut free = Bucket::new(0);
        free.take(at_ms(5), u64::MAX);
        assert_eq!(free.left(at_ms(5), BURST), Ok(usize::MAX));
    }
}
