//! Counts of spans of time, in steps of a quarter of a power of two: exact enough for percentiles, a plain struct, and
//! nothing to allocate.

use laneway_proto::time::Duration;

/// Spans below this are one step.
const SPAN_NS_MIN: u64 = 1_024;
/// Steps of each doubling.
const STEPS_PER_DOUBLING: u64 = 4;
/// Doublings that are told apart: up to 137 s.
const DOUBLINGS: usize = 27;
/// Steps, with one below the first doubling and one above the last.
const STEPS: usize = DOUBLINGS * STEPS_PER_DOUBLING as usize + 2;

/// How long something took, how often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Histogram {
    counts: [u64; STEPS],
    count: u64,
    sum_ns: u64,
    most_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; STEPS], count: 0, sum_ns: 0, most_ns: 0 }
    }
}

impl Histogram {
    /// Counts one span.
    pub fn record(&mut self, span: Duration) {
        self.counts[step_of(span.0)] += 1;
        self.count += 1;
        self.sum_ns = self.sum_ns.saturating_add(span.0);
        self.most_ns = self.most_ns.max(span.0);
    }

    /// Spans counted.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Their mean; zero if there is none.
    pub fn mean(&self) -> Duration {
        Duration(self.sum_ns.checked_div(self.count).unwrap_or(0))
    }

    /// The longest.
    pub const fn most(&self) -> Duration {
        Duration(self.most_ns)
    }

    /// A span that so many of a thousand do not exceed, at most a quarter too long; zero if there is none.
    pub fn quantile(&self, per_mille: u64) -> Duration {
        let wanted = (self.count * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (step, &count) in self.counts.iter().enumerate() {
            seen += count;
            if count > 0 && seen >= wanted {
                return Duration(end_of(step).min(self.most_ns));
            }
        }
        Duration::ZERO
    }

    /// The steps that are not empty: where each ends, and how many spans are below that and not in an earlier one.
    pub fn steps(&self) -> impl Iterator<Item = (Duration, u64)> {
        let used = self.counts.iter().enumerate().filter(|&(_, &count)| count > 0);
        used.map(|(step, &count)| (Duration(end_of(step)), count))
    }
}

const fn step_of(ns: u64) -> usize {
    if ns < SPAN_NS_MIN {
        return 0;
    }
    let doubling = ns.ilog2() as u64;
    let within = (ns >> (doubling - 2)) % STEPS_PER_DOUBLING;
    let step = 1 + ((doubling - SPAN_NS_MIN.ilog2() as u64) * STEPS_PER_DOUBLING + within) as usize;
    if step < STEPS { step } else { STEPS - 1 }
}

/// The first span behind a step.
const fn end_of(step: usize) -> u64 {
    if step + 1 == STEPS {
        return u64::MAX;
    }
    let (doublings, within) = (step as u64 / STEPS_PER_DOUBLING, step as u64 % STEPS_PER_DOUBLING);
    (SPAN_NS_MIN << doublings) / STEPS_PER_DOUBLING * (STEPS_PER_DOUBLING + within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn steps_follow_one_another_without_a_gap() {
        for step in 0..STEPS - 2 {
            let end = end_of(step);
            assert_eq!((step_of(end - 1), step_of(end)), (step, step + 1), "step {step} ends at {end} ns");
        }
        assert_eq!((step_of(0), step_of(u64::MAX)), (0, STEPS - 1));
    }

    #[test]
    fn an_empty_histogram_is_all_zeros() {
        let none = Histogram::default();
        assert_eq!((none.count(), none.mean(), none.most(), none.quantile(990)), Default::default());
        assert_eq!(none.steps().count(), 0);
    }

    proptest! {
        #[test]
        fn quantiles_are_the_sorted_lists_and_at_most_a_quarter_longer(
            mut spans in proptest::collection::vec(0u64..200_000_000_000, 1..300), per_mille in 0u64..=1_000
        ) {
            let mut histogram = Histogram::default();
            spans.iter().for_each(|&ns| histogram.record(Duration(ns)));
            spans.sort_unstable();
            let place = (spans.len() as u64 * per_mille).div_ceil(1_000).max(1) as usize - 1;
            let (exact, found) = (spans[place], histogram.quantile(per_mille).0);
            let longest = if exact < 1_024 { 1_024 } else { exact + exact / 4 + 1 };
            prop_assert!(exact <= found, "{exact} {found}");
            prop_assert!(found <= longest || exact > 100_000_000_000, "{exact} {found}");
            prop_assert_eq!(histogram.most().0, *spans.last().expect("one at least"));
            prop_assert_eq!(histogram.steps().map(|(_, count)| count).sum::<u64>(), spans.len() as u64);
        }
    }
}
