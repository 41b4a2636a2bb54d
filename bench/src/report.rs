//! Rows of figures: as JSON for programs, as a table for people.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::stats::Spread;

/// One figure of the broker beside the figure it is measured against.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// The case.
    pub case: String,
    /// What was measured, and against what.
    pub metric: String,
    /// Of `laneway` and `floor`.
    pub unit: String,
    /// The broker's figure; `None` in a row that compares two relays.
    pub laneway: Option<f64>,
    /// The figure it is compared with.
    pub floor: Option<f64>,
    /// The first over the second.
    pub ratio: Option<f64>,
    /// What the ratio has to reach; `None` if it is only reported.
    pub bar: Option<f64>,
    /// Whether it does.
    pub holds: Option<bool>,
    /// Smallest and largest ratio of a round.
    #[serde(skip)]
    pub range: Option<(f64, f64)>,
}

impl Row {
    /// A row without a bar, its figures rounded to four digits.
    pub fn reported(case: &str, metric: String, unit: &str, laneway: Option<f64>, floor: Option<f64>) -> Self {
        let ratio = match (laneway, floor) {
            (Some(over), Some(under)) if under > 0.0 => Some(rounded(over / under)),
            _ => None,
        };
        Self {
            case: case.into(),
            metric,
            unit: unit.into(),
            laneway: laneway.map(rounded),
            floor: floor.map(rounded),
            ratio,
            bar: None,
            holds: None,
            range: None,
        }
    }

    /// The same row with the ratio found round by round.
    #[must_use]
    pub fn with_ratio(mut self, ratio: Option<Spread>) -> Self {
        self.ratio = ratio.map(|spread| rounded(spread.median));
        self.range = ratio.map(|spread| (spread.min, spread.max));
        self
    }

    /// The same row with a bar that its ratio has to reach. A ratio that could not be measured does not reach it.
    #[must_use]
    pub fn with_bar(mut self, bar: Option<f64>) -> Self {
        self.bar = bar;
        self.holds = bar.map(|bar| self.ratio.is_some_and(|ratio| ratio >= bar));
        self
    }

    /// The same row with a bar that its ratio must not exceed.
    #[must_use]
    pub fn with_ceiling(mut self, bar: f64) -> Self {
        self.bar = Some(bar);
        self.holds = Some(self.ratio.is_some_and(|ratio| ratio <= bar));
        self
    }

    /// The same row with an interval of the ratio instead of its smallest and largest value.
    #[must_use]
    pub const fn with_interval(mut self, interval: Option<(f64, f64)>) -> Self {
        self.range = interval;
        self
    }

    /// The same row with the verdict of an exact comparison, which four digits could not show.
    #[must_use]
    pub const fn judged(mut self, holds: bool) -> Self {
        self.bar = Some(1.0);
        self.holds = Some(holds);
        self
    }

    /// The row as one line for people.
    pub fn line(&self) -> String {
        let range = self.range.map_or_else(String::new, |(min, max)| format!("{min:.2}-{max:.2}"));
        let verdict = match self.holds {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "",
        };
        let line = format!(
            "{:<56} {:>11} {:>11} {:>7} {:>11} {:>5}  {verdict}",
            self.metric,
            figure(self.laneway),
            figure(self.floor),
            self.ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}")),
            range,
            self.bar.map_or_else(String::new, |bar| format!("{bar:.2}")),
        );
        line.trim_end().to_owned()
    }
}

/// Four digits say all that a run on a shared machine can know.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

/// A figure in few characters, with a thousands unit where it is large.
pub fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value >= 1e6 => format!("{:.2} M", value / 1e6),
        Some(value) if value >= 1e4 => format!("{:.1} k", value / 1e3),
        Some(value) => format!("{value:.1}"),
    }
}

/// All rows, grouped by unit.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut units: Vec<&str> = Vec::new();
    for row in rows {
        if !units.contains(&row.unit.as_str()) {
            units.push(&row.unit);
        }
    }
    for unit in units {
        let head = format!(
            "{:<56} {:>11} {:>11} {:>7} {:>11} {:>5}",
            format!("[{unit}]"),
            "laneway",
            "floor",
            "ratio",
            "min-max",
            "bar"
        );
        let _ = writeln!(text, "{head}");
        for row in rows.iter().filter(|row| row.unit == unit) {
            let _ = writeln!(text, "{}", row.line());
        }
        let _ = writeln!(text);
    }
    text
}

/// Writes the rows as a JSON list.
pub fn write_json(path: &Path, rows: &[Row]) -> Result<()> {
    std::fs::write(path, json(rows)?).map_err(Error::io(format!("writing {}", path.display())))
}

fn json(rows: &[Row]) -> Result<String> {
    let mut text = serde_json::to_string_pretty(rows).map_err(|error| Error::Failed(error.to_string()))?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_row_has_exactly_the_agreed_fields() {
        let gated = Row::reported("floor", "m".into(), "messages/s", Some(30.0), Some(40.0)).with_bar(Some(0.5));
        let reported = Row::reported("ping", "n".into(), "us", None, Some(2.0));
        let text = json(&[gated, reported]).expect("json");
        let value: serde_json::Value = serde_json::from_str(&text).expect("valid");
        assert_eq!(
            value,
            serde_json::json!([
                {"case": "floor", "metric": "m", "unit": "messages/s", "laneway": 30.0, "floor": 40.0, "ratio": 0.75,
                 "bar": 0.5, "holds": true},
                {"case": "ping", "metric": "n", "unit": "us", "laneway": null, "floor": 2.0, "ratio": null,
                 "bar": null, "holds": null}
            ])
        );
    }

    #[test]
    fn a_ratio_at_the_bar_holds_and_one_below_it_or_unmeasured_does_not() {
        let row = |laneway| Row::reported("floor", "m".into(), "messages/s", laneway, Some(100.0)).with_bar(Some(0.5));
        assert_eq!(row(Some(50.0)).holds, Some(true));
        assert_eq!(row(Some(49.9)).holds, Some(false));
        assert_eq!(row(None).holds, Some(false));
    }

    #[test]
    fn a_ratio_at_its_ceiling_holds_and_one_above_it_or_unmeasured_does_not() {
        let row = |laneway| Row::reported("x", "m".into(), "us", laneway, Some(100.0)).with_ceiling(1.03);
        assert_eq!(row(Some(103.0)).holds, Some(true));
        assert_eq!(row(Some(103.1)).holds, Some(false));
        assert_eq!(row(None).holds, Some(false));
    }

    #[test]
    fn one_message_of_a_million_is_missed_although_four_digits_do_not_show_it() {
        let (got, sent) = (999_999u32, 1_000_000u32);
        let row = Row::reported("x", "m".into(), "messages", Some(got.into()), Some(sent.into())).judged(got == sent);
        assert_eq!((row.ratio, row.holds), (Some(1.0), Some(false)));
    }

    #[test]
    fn figures_keep_four_digits() {
        assert_eq!(rounded(123_456.0), 123_500.0);
        assert_eq!(rounded(0.123_456), 0.1235);
        assert_eq!(rounded(0.0), 0.0);
    }

    #[test]
    fn the_table_shows_the_verdict_beside_the_bar() {
        let row = Row::reported("floor", "x".into(), "messages/s", Some(1e6), Some(4e6)).with_bar(Some(0.5));
        let text = table(&[row]);
        assert!(text.contains("1.00 M") && text.contains("0.25") && text.contains("NOT MET"), "{text}");
    }
}
