//! `lane-isolation`: commands on a connection that a bulk lane saturates, against commands on one that is idle.

use std::time::Duration;

use super::trips::Trips;
use crate::args::Common;
use crate::contest::Arena;
use crate::error::Result;
use crate::load::paced::histogram;
use crate::load::two_lanes::{BULK_FRAME_BYTES, Hop, Ran, TwoLanes};
use crate::report::Row;
use crate::rounds::{Rounds, Waited};
use crate::sched::{Precedence, Watch};
use crate::stats::Spread;

const CASE: &str = "lane-isolation";
const ROUNDS: u32 = 5;
const HOPS: [Hop; 2] = [Hop::ToClient, Hop::ToBroker];
/// What the kernel may hold unsent of either side.
const NOT_SENT_BYTES: u32 = 16 * 1024;
/// What each lane may have under way in one direction: the least that the broker can be set to give.
const LANE_CREDIT_BYTES: u32 = 256 * 1024;
/// With bulk, and without it: the second is the steadier.
const SPANS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(12));
const SPANS_QUICK: (Duration, Duration) = (Duration::from_millis(800), Duration::from_millis(400));
/// The last round starts after four of 2 × 72 s.
const REPEATING_MAX: Duration = Duration::from_secs(11 * 60);
/// The command lane may take this many times as long as without bulk, and the time that stands in front of it.
const IDLE_TIMES: f64 = 2.0;

const fn name(hop: Hop) -> &'static str {
    match hop {
        Hop::ToClient => "broker to client",
        Hop::ToBroker => "client to broker",
    }
}

/// One run.
#[derive(Clone, Debug)]
struct Outcome {
    commands: Trips,
    ran: Ran,
}

impl Waited for Outcome {
    fn wait_share(&self) -> f64 {
        self.commands.wait_share
    }
}

impl Outcome {
    fn us_at(&self, percentile: f64) -> f64 {
        self.commands.latencies.value_at_percentile(percentile) as f64 / 1e3
    }

    fn text(&self) -> String {
        let left_out = self.left_out_share() * 100.0;
        let Ran { bulk_bytes_per_s, .. } = self.ran;
        format!("{}, bulk {:.0} MB/s, {left_out:.2} % left out", self.commands.text(), bulk_bytes_per_s / 1e6)
    }

    /// Of all commands, those that were under way while the load did not run.
    fn left_out_share(&self) -> f64 {
        let left_out = self.ran.left_out as f64;
        left_out / (left_out + self.commands.latencies.len() as f64).max(1.0)
    }
}

/// A connection with bulk and one without, of the same round.
type Pair = (Outcome, Outcome);

/// Microseconds allowed for the 99th percentile of a round.
fn allowed_us((with, without): &Pair) -> f64 {
    let in_front = (BULK_FRAME_BYTES as f64 + f64::from(NOT_SENT_BYTES)) / with.ran.bulk_bytes_per_s.max(1.0);
    IDLE_TIMES * without.us_at(99.0) + in_front * 1e6
}

/// Runs the case.
pub fn run(common: &Common) -> Result<Vec<Row>> {
    let arena = Arena::open(common)?;
    let precedence = Precedence::take();
    let mut rounds = Rounds::new(CASE, ROUNDS, common).repeating_for(REPEATING_MAX);
    let (with_span, without_span) = if common.quick { SPANS_QUICK } else { SPANS };
    let mut pairs = [Vec::new(), Vec::new()];
    let mut round = 1;
    while rounds.next(round) {
        for (hop, pairs) in HOPS.into_iter().zip(&mut pairs) {
            let mut measure = |span, bulk, what| {
                let what = format!("{}, {what}", name(hop));
                rounds.measure(round, &what, || once(&arena, hop, span, bulk), Outcome::text)
            };
            let without = measure(without_span, false, "idle")?;
            let with = measure(with_span, true, "with bulk")?;
            pairs.extend(with.zip(without));
        }
        round += 1;
    }
    println!(
        "{}\nfigures are medians of the rounds; allowed: 2 × p99 of an idle connection and the time of {BULK_FRAME_BYTES} + \
         {NOT_SENT_BYTES} bytes at the bulk's rate; both sides give {LANE_CREDIT_BYTES} bytes of credit a lane\ncommands that \
         were under way while the load itself did not run (its processor was taken from it) are left out\n{}\n",
        rounds.summary(),
        if precedence.is_taken() {
            "load and broker went before everything else on this machine"
        } else {
            "note: without root, load and broker share their processors with whatever else runs"
        }
    );
    Ok(HOPS.into_iter().zip(&pairs).flat_map(|(hop, pairs)| rows(hop, pairs)).collect())
}

fn rows(hop: Hop, pairs: &[Pair]) -> Vec<Row> {
    let hop = name(hop);
    let median = |values: Vec<f64>| Spread::of(values).map(|spread| spread.median);
    let with = |percentile| median(pairs.iter().map(|(with, _)| with.us_at(percentile)).collect());
    let without = |percentile| median(pairs.iter().map(|(_, without)| without.us_at(percentile)).collect());
    let allowed = median(pairs.iter().map(allowed_us).collect());
    let ratio = Spread::of(pairs.iter().map(|pair| pair.0.us_at(99.0) / allowed_us(pair)));
    let mut rows = vec![
        Row::reported(CASE, format!("{hop}: command p99 with bulk over allowed"), "us", with(99.0), allowed)
            .with_ratio(ratio)
            .with_ceiling(1.0),
    ];
    for (percentile, label) in [(50.0, "p50"), (99.0, "p99"), (99.9, "p99.9")] {
        let metric = format!("{hop}: command {label} with bulk over idle");
        rows.push(Row::reported(CASE, metric, "us", with(percentile), without(percentile)));
    }
    let rate = median(pairs.iter().map(|(with, _)| with.ran.bulk_bytes_per_s / 1e6).collect());
    rows.push(Row::reported(CASE, format!("{hop}: bulk"), "MB/s", rate, None));
    let share = |outcome: &Outcome| outcome.left_out_share() * 100.0;
    let with = median(pairs.iter().map(|(with, _)| share(with)).collect());
    let without = median(pairs.iter().map(|(_, without)| share(without)).collect());
    rows.push(Row::reported(CASE, format!("{hop}: commands left out, with bulk and idle"), "%", with, without));
    rows
}

fn once(arena: &Arena, hop: Hop, span: Duration, bulk: bool) -> Result<Outcome> {
    let child = arena.broker(&format!(
        "[tcp]\nnotsent_lowat_bytes = {NOT_SENT_BYTES}\n[limits]\nlane_credit_bytes = {LANE_CREDIT_BYTES}\n"
    ))?;
    let mut lanes = TwoLanes::connect(child.address, hop, NOT_SENT_BYTES, LANE_CREDIT_BYTES.into())?;
    // The first messages meet cold caches and topics that are not declared yet.
    lanes.run(span / 20, bulk, &mut histogram()?)?;
    let mut latencies = histogram()?;
    let watch = Watch::start(child.id())?;
    let ran = lanes.run(span, bulk, &mut latencies)?;
    Ok(Outcome { commands: Trips { latencies, wait_share: watch.finish()?.wait_share }, ran })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(us: u64, bulk_bytes_per_s: f64) -> Outcome {
        let mut latencies = histogram().expect("bounds");
        latencies.saturating_record(us * 1_000);
        Outcome { commands: Trips { latencies, wait_share: 0.0 }, ran: Ran { bulk_bytes_per_s, left_out: 0 } }
    }

    #[test]
    fn what_stands_in_front_of_a_command_is_allowed_for_at_the_rate_of_the_bulk() {
        let pair = (outcome(100, 32_768.0 * 1e4), outcome(20, 0.0));
        assert!((allowed_us(&pair) - (2.0 * 20.0 + 100.0)).abs() < 0.5, "{}", allowed_us(&pair));
        assert_eq!(rows(Hop::ToClient, &[pair])[0].holds, Some(true));
        let pair = (outcome(150, 32_768.0 * 1e4), outcome(20, 0.0));
        assert_eq!(rows(Hop::ToClient, &[pair])[0].holds, Some(false));
    }
}
