//! How long one message takes: paced, from the moment it was due; and one at a time, there and back.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::rival::{Rival, Work};
use super::saturated::or_lost;
use super::stage::{Stage, named};
use super::{CASE, Peer, zenoh};
use crate::args::Common;
use crate::child::Child;
use crate::contest::Contestant;
use crate::error::{Error, Result};
use crate::load::paced::{self, Pace, histogram};
use crate::load::{Load, echo};
use crate::relay::Base;
use crate::rounds::{Rounds, Waited};
use crate::sched::Watch;
use crate::stats::Spread;

const ROUNDS: u32 = 5;
const MEASURING_MAX: Duration = Duration::from_secs(3 * 60);
/// How long a paced run takes.
const SPAN: Duration = Duration::from_secs(1);
const SPAN_QUICK: Duration = Duration::from_millis(200);
/// Round trips of one run.
const TRIPS: u32 = 10_000;
const TRIPS_QUICK: u32 = 500;
/// The same of a run that is not counted.
const WARM_UP_PART: u32 = 20;

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// So many messages a second, whatever the rival does.
    Paced(u32),
    /// Each message after the one before it was delivered.
    Echo,
}

pub(super) const WAYS: [Way; 3] = [Way::Echo, Way::Paced(1_000), Way::Paced(20_000)];

impl Way {
    pub(super) fn name(self) -> String {
        match self {
            Self::Paced(rate_hz) => format!("64 B at {rate_hz}/s"),
            Self::Echo => "round trip 64 B".into(),
        }
    }
}

/// Percentiles that are compared, with their names.
pub(super) const PERCENTILES: [(f64, &str); 3] = [(50.0, "p50"), (99.0, "p99"), (99.9, "p99.9")];

/// Microseconds at the percentiles, of one run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Delays {
    pub(super) us: [f64; 3],
    pub(super) wait_share: f64,
}

impl Delays {
    pub(super) fn of(latencies: &Histogram<u64>, wait_share: f64) -> Self {
        Self { us: PERCENTILES.map(|(at, _)| latencies.value_at_percentile(at) as f64 / 1e3), wait_share }
    }

    fn text(&self) -> String {
        let [p50, p99, p999] = self.us;
        format!("p50 {p50:.1} us, p99 {p99:.1} us, p99.9 {p999:.1} us")
    }
}

impl Waited for Delays {
    fn wait_share(&self) -> f64 {
        self.wait_share
    }
}

/// One rival one way, round by round.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Delayed {
    pub(super) way: Way,
    pub(super) rival: Rival,
    pub(super) runs: Vec<Option<Delays>>,
}

impl Delayed {
    /// Microseconds of each round at one of the percentiles.
    pub(super) fn values(&self, percentile: usize) -> Vec<Option<f64>> {
        self.runs.iter().map(|run| run.and_then(|run| run.us.get(percentile).copied())).collect()
    }

    pub(super) fn median(&self, percentile: usize) -> Option<f64> {
        Spread::of(self.values(percentile).into_iter().flatten()).map(|spread| spread.median)
    }
}

/// Measures every way with every rival.
pub(super) fn measure(stage: &Stage, peers: &[Peer], common: &Common) -> Result<Vec<Delayed>> {
    let own = [Contestant::Single, Contestant::Relay(Base::Uring), Contestant::Relay(Base::Tokio)];
    let rivals: Vec<Rival> = own.into_iter().map(Rival::Own).chain(peers.iter().copied().map(Rival::Peer)).collect();
    let mut all = Vec::new();
    for way in WAYS {
        let spinning = [Rival::Spinning, Rival::SpinningRelay].into_iter().filter(|_| way == Way::Echo);
        all.extend(rivals.iter().copied().chain(spinning).map(|rival| Delayed { way, rival, runs: Vec::new() }));
    }
    let mut rounds = Rounds::new(CASE, ROUNDS, common).repeating_for(MEASURING_MAX);
    let mut round = 1;
    while rounds.next(round) {
        for delayed in &mut all {
            let (way, rival) = (delayed.way, delayed.rival);
            let what = format!("{} {}", way.name(), rival.name());
            let run = || once(stage, rival, way, common.quick).map_err(|error| named(rival, error));
            delayed.runs.push(or_lost(rival, rounds.measure(round, &what, run, Delays::text))?);
        }
        round += 1;
    }
    println!("delays: {}", rounds.summary());
    Ok(all)
}

fn once(stage: &Stage, rival: Rival, way: Way, quick: bool) -> Result<Delays> {
    let (span, trips) = if quick { (SPAN_QUICK, TRIPS_QUICK) } else { (SPAN, TRIPS) };
    if rival == Rival::Peer(Peer::Zenoh) {
        return match way {
            Way::Paced(rate_hz) => zenoh::paced(stage, rate_hz, span),
            Way::Echo => zenoh::echo(stage, trips),
        };
    }
    let (child, mut loads) = stage.connect(rival, Work::Unbatched)?;
    let Some(load) = loads.first_mut() else { return Err(Error::Failed("no load".into())) };
    timed(&child, load, rival, |load, latencies, counts| match way {
        Way::Paced(rate_hz) => {
            let span = if counts { span } else { span / WARM_UP_PART };
            paced::run(load, Pace::new(rate_hz, span), latencies)
        }
        Way::Echo => echo::run(load, if counts { trips } else { trips / WARM_UP_PART }, latencies),
    })
}

/// Runs `part` twice: to warm up, and to count.
fn timed(
    child: &Child,
    load: &mut Load,
    rival: Rival,
    part: impl Fn(&mut Load, &mut Histogram<u64>, bool) -> Result<()>,
) -> Result<Delays> {
    part(load, &mut histogram()?, false)?;
    let mut latencies = histogram()?;
    let watch = Watch::start(child.id())?;
    part(load, &mut latencies, true)?;
    let watched = watch.finish()?;
    Ok(Delays::of(&latencies, rival.waited(&watched)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(ns: &[u64]) -> Option<Delays> {
        let mut latencies = histogram().expect("bounds");
        ns.iter().for_each(|&ns| latencies.saturating_record(ns));
        Some(Delays::of(&latencies, 0.0))
    }

    #[test]
    fn each_runs_percentiles_are_in_microseconds_and_their_medians_are_compared() {
        let quick: Vec<u64> = (1..=1_000).map(|us| us * 1_000).collect();
        // One run of three was disturbed.
        let runs = vec![run(&quick), run(&[50_000_000]), run(&quick), None];
        let delayed = Delayed { way: Way::Echo, rival: Rival::Peer(Peer::Nats), runs };
        for (place, wanted) in [500.0, 990.0, 999.0].into_iter().enumerate() {
            let median = delayed.median(place).expect("two clean runs");
            assert!((median / wanted - 1.0).abs() < 0.01, "percentile {place}: {median} us, wanted {wanted}");
        }
        assert_eq!(delayed.values(0).iter().flatten().count(), 3, "the lost run has no value");
    }
}
