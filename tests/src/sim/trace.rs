//! What happened, as one number: two runs of a seed did the same if their traces hash the same.

use laneway_proto::time::Instant;

/// A running hash over every event (FNV-1a over 64-bit words), and a printed log when asked for.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    print: bool,
}

impl Trace {
    /// An empty trace; with `print` every line goes to standard error.
    pub const fn new(print: bool) -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, events: 0, print }
    }

    /// Adds an event: when, what, and its numbers.
    pub fn note(&mut self, now: Instant, what: &str, numbers: &[u64]) {
        self.events += 1;
        self.mix(now.0);
        for byte in what.bytes() {
            self.mix(u64::from(byte));
        }
        for &number in numbers {
            self.mix(number);
        }
        if self.print {
            eprintln!("{:>14} {what} {numbers:?}", now.0);
        }
    }

    const fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01B3);
        self.hash ^= self.hash >> 29;
    }

    /// The hash so far.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Events so far.
    pub const fn events(&self) -> u64 {
        self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_order_another_number_or_another_time_gives_another_hash() {
        let hash = |events: &[(u64, &str, u64)]| {
            let mut trace = Trace::new(false);
            for &(now, what, number) in events {
                trace.note(Instant(now), what, &[number]);
            }
            trace.hash()
        };
        let base = hash(&[(1, "a", 1), (2, "b", 2)]);
        assert_eq!(base, hash(&[(1, "a", 1), (2, "b", 2)]));
        for other in [[(2, "b", 2), (1, "a", 1)], [(1, "a", 1), (2, "b", 3)], [(1, "a", 1), (3, "b", 2)]] {
            assert_ne!(base, hash(&other));
        }
    }
}
