//! How fast bytes go to or come from one peer.

use laneway_proto::lane::bucket::Bucket;
use laneway_proto::time::{Duration, Instant};

/// How long a debt is paid off before the next bytes go, so that what is slow goes in few portions.
const PORTION: Duration = Duration::from_millis(5);
const NS_PER_S: u64 = 1_000_000_000;

/// A rate, with its burst.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    bucket: Bucket,
    burst: Duration,
    /// Nothing goes until then.
    until: Option<Instant>,
}

impl Rate {
    /// `bytes_per_s`, of which `burst_bytes` may go at once after a silence; `None` without a limit (0).
    pub fn new(bytes_per_s: u32, burst_bytes: u32) -> Option<Self> {
        let rate = u64::from(bytes_per_s);
        let burst = (u64::from(burst_bytes) * NS_PER_S).checked_div(rate)?;
        Some(Self { bucket: Bucket::new(bytes_per_s), burst: Duration(burst), until: None })
    }

    /// Bytes that may go at `now`, at least 1; `None`: ask again at [`Self::poll_timeout`].
    pub fn left(&mut self, now: Instant) -> Option<usize> {
        if self.until.is_some_and(|until| now < until) {
            return None;
        }
        let left = self.bucket.left(now, self.burst);
        self.until = left.err().map(|until| until + Duration(PORTION.0.min(self.burst.0)));
        left.ok()
    }

    /// When more may go, if nothing may.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.until
    }

    /// `bytes` go at `now`. More than were left delay what comes next.
    pub fn take(&mut self, now: Instant, bytes: u64) {
        self.bucket.take(now, bytes);
    }

    /// So many of those bytes did not go.
    pub fn give_back(&mut self, bytes: u64) {
        self.bucket.give_back(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_a_debt_is_paid_off_with_a_portion_more() {
        let mut rate = Rate::new(1_000_000, 65_536).expect("there is a limit");
        let now = Instant(NS_PER_S);
        assert_eq!((rate.left(now), rate.poll_timeout()), (Some(65_536), None));
        rate.take(now, 66_536);
        assert_eq!(rate.left(now), None);
        let until = now + Duration::from_millis(1) + PORTION;
        assert_eq!(rate.poll_timeout(), Some(until));
        assert_eq!(rate.left(Instant(until.0 - 1)), None, "not before");
        assert_eq!((rate.left(until), rate.poll_timeout()), (Some(5_000), None));
        assert_eq!(Rate::new(0, 65_536), None);
    }
}
