//! `conflate`: many values that change often, and an application that takes a trickle: how old what it knows can be.

use std::time::Duration;

use laneway_proto::frame::lost::LOST_FRAME_BYTES;

use crate::args::Common;
use crate::contest::Arena;
use crate::error::Result;
use crate::load::keys::{By, CREDIT_BYTES, FRAME_BYTES, KEYS, Keys, UPDATES_HZ};
use crate::report::Row;
use crate::rounds::Waited;
use crate::sched::Watch;

const CASE: &str = "conflate";
const RUNS: u32 = 3;
const BYTES_PER_S: u64 = 10_000;
const SPAN: Duration = Duration::from_secs(30);
const SPAN_QUICK: Duration = Duration::from_secs(5);
/// Longer than the broker keeps a report to itself.
const QUIET: Duration = Duration::from_millis(2_500);

/// The oldest age allowed: two sweeps over all keys, each with one report, and what the credit lets be under way.
fn age_max() -> f64 {
    let sweep_bytes = (FRAME_BYTES + LOST_FRAME_BYTES) * KEYS;
    (2 * sweep_bytes as u64 + CREDIT_BYTES) as f64 / BYTES_PER_S as f64
}

/// What one run showed.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    oldest_s: f64,
    first_s: f64,
    last_values: usize,
    known: u64,
    published: u64,
    wait_share: f64,
}

impl Waited for Outcome {
    fn wait_share(&self) -> f64 {
        self.wait_share
    }
}

/// Runs the case.
pub fn run(common: &Common) -> Result<Vec<Row>> {
    let arena = Arena::open(common)?;
    let span = if common.quick { SPAN_QUICK } else { SPAN };
    let runs = common.rounds(RUNS);
    let mut outcomes = [Vec::new(), Vec::new()];
    for round in 1..=runs {
        for (by, outcomes) in [By::Key, By::Topic].into_iter().zip(&mut outcomes) {
            let outcome = once(&arena, by, span)?;
            eprintln!(
                "{CASE} round {round}/{runs}: {}: oldest {:.2} s, {} of {KEYS} last values, {} of {} messages known, wait \
                 {:.1} %",
                name(by),
                outcome.oldest_s,
                outcome.last_values,
                outcome.known,
                outcome.published,
                outcome.wait_share * 100.0
            );
            outcomes.push(outcome);
        }
    }
    println!(
        "{CASE}: {KEYS} values, {UPDATES_HZ} updates a second each, {FRAME_BYTES} B frames, {BYTES_PER_S} B/s read, worst \
         of {runs} runs; its lane has {CREDIT_BYTES} B of credit\n"
    );
    let [by_key, by_topic] = outcomes;
    Ok([rows(By::Key, &by_key), rows(By::Topic, &by_topic)].concat())
}

fn rows(by: By, outcomes: &[Outcome]) -> Vec<Row> {
    let name = name(by);
    let oldest = outcomes.iter().map(|outcome| outcome.oldest_s).reduce(f64::max);
    let first = outcomes.iter().map(|outcome| outcome.first_s).reduce(f64::max);
    let last_values = outcomes.iter().map(|outcome| outcome.last_values).min().unwrap_or(0);
    let known: u64 = outcomes.iter().map(|outcome| outcome.known).sum();
    let published: u64 = outcomes.iter().map(|outcome| outcome.published).sum();
    let exact = outcomes.iter().all(|outcome| outcome.known == outcome.published);
    let messages = |count: u64| Some(count as f64);
    vec![
        Row::reported(CASE, format!("{name}: oldest newest value"), "s", oldest, Some(age_max())).with_ceiling(1.0),
        Row::reported(CASE, format!("{name}: every key heard of after"), "s", first, None),
        Row::reported(CASE, format!("{name}: last values"), "values", Some(last_values as f64), Some(KEYS as f64))
            .judged(last_values == KEYS),
        Row::reported(CASE, format!("{name}: accounted for"), "messages", messages(known), messages(published))
            .judged(exact),
    ]
}

const fn name(by: By) -> &'static str {
    match by {
        By::Key => "200 keys of a topic",
        By::Topic => "200 topics",
    }
}

fn once(arena: &Arena, by: By, span: Duration) -> Result<Outcome> {
    let child = arena.broker("")?;
    let mut keys = Keys::connect(child.address, by, BYTES_PER_S)?;
    let watch = Watch::start(child.id())?;
    keys.run(span)?;
    let wait_share = watch.finish()?.wait_share;
    keys.drain(QUIET)?;
    Ok(Outcome {
        oldest_s: keys.known.oldest_ns as f64 / 1e9,
        first_s: keys.known.first_ns as f64 / 1e9,
        last_values: keys.known.with_number(keys.updates),
        known: keys.known.received + keys.known.reported,
        published: u64::from(keys.updates) * KEYS as u64,
        wait_share,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_age_allowed_is_two_sweeps_and_the_credit() {
        assert_eq!((FRAME_BYTES, LOST_FRAME_BYTES), (32, 28));
        assert!((age_max() - (2.0 * 1.2 + 0.4096)).abs() < 1e-9);
    }

    #[test]
    fn one_missing_message_in_one_run_is_seen() {
        let good =
            Outcome { oldest_s: 1.0, first_s: 1.0, last_values: KEYS, known: 500, published: 500, wait_share: 0.0 };
        let short = Outcome { known: 499, ..good };
        let over = Outcome { known: 501, ..good };
        let verdicts = |outcomes: &[Outcome]| rows(By::Key, outcomes).iter().map(|row| row.holds).collect::<Vec<_>>();
        assert_eq!(verdicts(&[good, good]), [Some(true), None, Some(true), Some(true)]);
        assert_eq!(verdicts(&[short, over])[3], Some(false), "they do not make up for each other");
    }
}
