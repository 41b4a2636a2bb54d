//! As fast as it goes: every rival on every piece of work, interleaved round by round.

use std::time::Duration;

use super::rival::{Rival, Work};
use super::stage::{Pushed, Stage, named};
use super::{CASE, Peer, bars};
use crate::args::Common;
use crate::contest::{Cell, Contestant};
use crate::error::{Error, Result};
use crate::load::saturate::Timing;
use crate::relay::Base;
use crate::report;
use crate::rounds::Rounds;
use crate::stats::Spread;
use crate::wire::BATCH_PAYLOAD_BYTES_MAX;

const ROUNDS: u32 = 5;
/// After this time no further round starts; all parts together have 15 minutes.
const MEASURING_MAX: Duration = Duration::from_secs(7 * 60);
/// Rounds of a piece of work whose ratios lie on both sides of its bar, beyond the first.
const FURTHER_ROUNDS: u32 = 4;
const TIMING: Timing = Timing { warm_up: Duration::from_millis(150), measured: Duration::from_millis(400) };
const TIMING_QUICK: Timing = Timing { warm_up: Duration::from_millis(40), measured: Duration::from_millis(80) };

const WORK: [Work; 13] = [
    Work::Fanout(Cell::fanout(16, 1)),
    Work::Fanout(Cell::fanout(64, 1)),
    Work::Fanout(Cell::fanout(1_024, 1)),
    Work::Fanout(Cell::fanout(16_384, 1)),
    Work::Fanout(Cell::fanout(1_048_576, 1)),
    Work::Fanout(Cell::fanout(16, 10)),
    Work::Fanout(Cell::fanout(64, 10)),
    Work::Fanout(Cell::fanout(1_024, 10)),
    Work::Fanout(Cell::fanout(16, 100)),
    Work::Fanout(Cell::fanout(64, 100)),
    Work::Fanout(Cell::fanout(1_024, 100)),
    Work::Unbatched,
    Work::Pairs(10),
];
const WORK_QUICK: [Work; 4] =
    [Work::Fanout(Cell::fanout(64, 1)), Work::Fanout(Cell::fanout(1_024, 10)), Work::Unbatched, Work::Pairs(10)];

/// The figures of one rival on one piece of work, round by round; `None` where a round was lost.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry {
    pub(super) work: Work,
    pub(super) rival: Rival,
    pub(super) runs: Vec<Option<Pushed>>,
}

impl Entry {
    /// One value of each round.
    pub(super) fn values(&self, of: fn(&Pushed) -> f64) -> Vec<Option<f64>> {
        self.runs.iter().map(|run| run.as_ref().map(of)).collect()
    }

    /// Middle and ends of one value.
    pub(super) fn spread(&self, of: fn(&Pushed) -> f64) -> Option<Spread> {
        Spread::of(self.runs.iter().flatten().map(of))
    }
}

/// Everything that was measured.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Table(pub(super) Vec<Entry>);

impl Table {
    pub(super) fn of(&self, work: Work, rival: Rival) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.work == work && entry.rival == rival)
    }

    /// The work in the order of the table.
    pub(super) fn works(&self) -> Vec<Work> {
        let mut works = Vec::new();
        for entry in &self.0 {
            if !works.contains(&entry.work) {
                works.push(entry.work);
            }
        }
        works
    }
}

fn rivals(work: Work, peers: &[Peer]) -> Vec<Rival> {
    let mut own = vec![Contestant::Single];
    match work {
        Work::Fanout(cell) => {
            if cell.shape.payload_bytes <= BATCH_PAYLOAD_BYTES_MAX {
                own.insert(0, Contestant::Batch);
            }
            own.push(Contestant::Relay(Base::Uring));
        }
        Work::Unbatched => own.extend([Contestant::Relay(Base::Uring), Contestant::Relay(Base::Tokio)]),
        Work::Pairs(_) => own.push(Contestant::Relay(Base::Tokio)),
    }
    own.into_iter().map(Rival::Own).chain(peers.iter().copied().map(Rival::Peer)).collect()
}

/// Measures everything, and what is undecided again.
pub(super) fn measure(stage: &Stage, peers: &[Peer], common: &Common) -> Result<Table> {
    let works = if common.quick { &WORK_QUICK[..] } else { &WORK };
    let entry = |work| move |rival| Entry { work, rival, runs: Vec::new() };
    let mut table = Table(works.iter().flat_map(|&work| rivals(work, peers).into_iter().map(entry(work))).collect());
    let mut rounds = Rounds::new(CASE, ROUNDS, common).repeating_for(MEASURING_MAX);
    let mut round = 1;
    while rounds.next(round) {
        measure_round(stage, &mut table, &mut rounds, round, common, |_| true)?;
        round += 1;
    }
    if !common.quick {
        for _ in 0..FURTHER_ROUNDS {
            let undecided = bars::undecided(&table);
            if undecided.is_empty() || rounds.is_late() {
                break;
            }
            measure_round(stage, &mut table, &mut rounds, round, common, |work| undecided.contains(&work))?;
            round += 1;
        }
    }
    println!("as fast as it goes: {}", rounds.summary());
    Ok(table)
}

fn measure_round(
    stage: &Stage,
    table: &mut Table,
    rounds: &mut Rounds,
    round: u32,
    common: &Common,
    wanted: impl Fn(Work) -> bool,
) -> Result<()> {
    let timing = if common.quick { TIMING_QUICK } else { TIMING };
    let mut places: Vec<usize> = (0..table.0.len()).collect();
    if round.is_multiple_of(2) {
        places.reverse();
    }
    for place in places {
        let Some(entry) = table.0.get_mut(place) else { continue };
        if !wanted(entry.work) {
            continue;
        }
        let (work, rival) = (entry.work, entry.rival);
        let what = format!("{} {}", work.name(), rival.name());
        let run = || stage.push(rival, work, timing).map_err(|error| named(rival, error));
        entry.runs.push(or_lost(rival, rounds.measure(round, &what, run, text))?);
    }
    Ok(())
}

fn text(pushed: &Pushed) -> String {
    let rate = report::figure(Some(pushed.figure.messages_per_s));
    format!("{rate} messages/s, {:.0} % of its core, {} limits", pushed.busy_share * 100.0, limits(pushed.busy_share))
}

/// Who limits a run in which a rival was this share of its core busy.
pub(super) fn limits(busy_share: f64) -> &'static str {
    if busy_share >= 0.9 { "broker" } else { "load" }
}

/// A peer that fails, or a broker that cannot spin, loses its run; our own failures end the case.
pub(super) fn or_lost<T>(rival: Rival, run: Result<Option<T>>) -> Result<Option<T>> {
    match (rival, run) {
        (Rival::Peer(_) | Rival::Spinning, Err(Error::Failed(text))) => {
            eprintln!("{CASE}: {text}");
            Ok(None)
        }
        (_, run) => run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_payloads_are_not_batched_and_relays_stand_beside_the_work_they_can_do() {
        let names = |work| rivals(work, &[Peer::Nats]).iter().map(|rival| rival.name()).collect::<Vec<_>>();
        let large = Work::Fanout(Cell::fanout(1_048_576, 1));
        assert_eq!(names(large), ["laneway single", "bare relay", "nats"]);
        assert_eq!(names(Work::Pairs(10)), ["laneway single", "tokio relay", "nats"]);
    }

    #[test]
    fn a_peer_that_fails_loses_its_run_and_the_broker_that_fails_ends_the_case() {
        let failed = || Err::<Option<u32>, _>(Error::Failed("x".into()));
        assert!(matches!(or_lost(Rival::Peer(Peer::Nats), failed()), Ok(None)));
        assert!(or_lost(Rival::Own(Contestant::Single), failed()).is_err());
    }
}
