//! What `--gate` says at the end.

use crate::report::Row;

/// What to do when no run of a contestant was undisturbed.
const TOO_BUSY: &str = "cannot run here: this machine is too busy, every run of a contestant waited for a processor. \
    Stop other work, or as root run the benchmark in a scheduling group of its own: \
    setsid -w sh -c 'echo -20 > /proc/self/autogroup; exec laneway-bench ...'";

/// Rows whose bar is not met: those that were measured, and those that could not be.
pub fn unmet(rows: &[Row]) -> (Vec<&Row>, Vec<&Row>) {
    rows.iter().filter(|row| row.holds == Some(false)).partition(|row| row.ratio.is_some())
}

/// Prints the rows whose bar is not met, last of all, and returns the exit code: 1 if there are any, 3 if the only ones
/// could not be measured.
pub fn close(rows: &[Row]) -> u8 {
    let (unmet, unmeasured) = unmet(rows);
    for row in unmeasured.iter().chain(&unmet) {
        println!("{}", row.line());
    }
    if !unmet.is_empty() {
        return 1;
    }
    if !unmeasured.is_empty() {
        println!("{TOO_BUSY}");
        return 3;
    }
    println!("every bar is met");
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn row(metric: &str, laneway: f64, bar: Option<f64>) -> Row {
        Row::reported("floor", metric.into(), "messages/s", Some(laneway), Some(1.0)).with_bar(bar)
    }

    #[test]
    fn a_bar_that_is_not_met_fails_the_gate_and_is_the_row_shown() {
        let rows = [row("good", 0.9, Some(0.5)), row("bad", 0.4, Some(0.5)), row("reported", 0.1, None)];
        let shown: Vec<_> = unmet(&rows).0.into_iter().map(|row| row.metric.as_str()).collect();
        assert_eq!(shown, ["bad"]);
        assert_eq!(close(&rows), 1);
        assert_eq!(close(&rows[..1]), 0);
    }

    #[test]
    fn a_bar_that_could_not_be_measured_is_missing_unless_another_one_failed() {
        let lost = || Row::reported("floor", "lost".into(), "messages/s", None, Some(1.0)).with_bar(Some(0.5));
        assert_eq!(close(&[row("good", 0.9, Some(0.5)), lost()]), 3);
        assert_eq!(close(&[row("bad", 0.4, Some(0.5)), lost()]), 1);
    }

    #[test]
    fn what_cannot_run_here_is_told_apart_from_what_failed() {
        assert_eq!(Error::Missing("no lanewayd".into()).exit_code(), 3);
        assert!(Error::Missing("no lanewayd".into()).to_string().contains("no lanewayd"));
        assert_eq!(Error::Failed("wrong delivery".into()).exit_code(), 1);
    }
}
