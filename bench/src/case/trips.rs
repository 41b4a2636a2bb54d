//! What `latency` and `ping` share: histograms of several contestants, as rows of percentiles.

use hdrhistogram::Histogram;

use crate::report::Row;
use crate::rounds::Waited;

/// Percentiles that are reported, with their names.
const PERCENTILES: [(f64, &str); 5] =
    [(50.0, "p50"), (99.0, "p99"), (99.9, "p99.9"), (99.99, "p99.99"), (100.0, "max")];

/// The latencies of one run, in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Trips {
    pub(super) latencies: Histogram<u64>,
    pub(super) wait_share: f64,
}

impl Waited for Trips {
    fn wait_share(&self) -> f64 {
        self.wait_share
    }
}

impl Trips {
    /// The run in a few words.
    pub(super) fn text(&self) -> String {
        let us = |percentile| self.latencies.value_at_percentile(percentile) as f64 / 1e3;
        format!("p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us", us(50.0), us(99.0), us(99.9))
    }
}

/// One row a percentile: `laneway` over `floor`. Smaller ratios are better here.
pub(super) fn rows(case: &str, name: &str, laneway: &Histogram<u64>, floor: Option<&Histogram<u64>>) -> Vec<Row> {
    let at = |latencies: &Histogram<u64>, percentile| {
        (!latencies.is_empty()).then(|| latencies.value_at_percentile(percentile) as f64 / 1e3)
    };
    let row = |&(percentile, label): &(f64, &str)| {
        let floor = floor.and_then(|floor| at(floor, percentile));
        Row::reported(case, format!("{name} {label}"), "us", at(laneway, percentile), floor)
    };
    PERCENTILES.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::paced;

    #[test]
    fn a_histogram_becomes_one_row_a_percentile_in_microseconds() {
        let mut fast = paced::histogram().expect("bounds");
        let mut slow = paced::histogram().expect("bounds");
        for ns in 1..=1_000 {
            fast.saturating_record(ns * 1_000);
            slow.saturating_record(ns * 2_000);
        }
        let rows = rows("latency", "x", &slow, Some(&fast));
        assert_eq!(rows.len(), 5);
        assert_eq!((rows[0].metric.as_str(), rows[0].unit.as_str()), ("x p50", "us"));
        assert!(rows.iter().all(|row| row.ratio.is_some_and(|ratio| (ratio - 2.0).abs() < 0.01)), "{rows:?}");
        assert!(rows.iter().all(|row| row.bar.is_none() && row.holds.is_none()));
    }
}
