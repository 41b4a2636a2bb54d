//! `latency`: the open loop at fixed rates, from the intended moment of each message to its delivery.

use std::time::Duration;

use super::trips::{self, Trips};
use crate::args::Common;
use crate::contest::{Arena, Cell, Contestant, named};
use crate::error::Result;
use crate::load::paced::{self, Pace, histogram};
use crate::relay::Base;
use crate::report::Row;
use crate::rounds::Rounds;
use crate::sched::Watch;

const CASE: &str = "latency";
const ROUNDS: u32 = 3;
const CELL: Cell = Cell::fanout(64, 1);
const CONTESTANTS: [Contestant; 3] =
    [Contestant::Single, Contestant::Relay(Base::Uring), Contestant::Relay(Base::Tokio)];

/// Messages per second, and how long a run lasts.
const PACES: [(u32, Duration); 2] = [(1_000, Duration::from_secs(10)), (20_000, Duration::from_secs(5))];
const QUICK: Duration = Duration::from_millis(300);

/// Runs the case.
pub fn run(common: &Common) -> Result<Vec<Row>> {
    let arena = Arena::open(common)?;
    let mut rounds = Rounds::new(CASE, ROUNDS, common);
    let mut sums = Vec::new();
    for _ in 0..PACES.len() * CONTESTANTS.len() {
        sums.push(histogram()?);
    }
    let mut round = 1;
    while rounds.next(round) {
        for ((rate_hz, span), sums) in PACES.into_iter().zip(sums.chunks_exact_mut(CONTESTANTS.len())) {
            let span = if common.quick { QUICK } else { span };
            for (contestant, sum) in CONTESTANTS.into_iter().zip(sums) {
                let what = format!("{rate_hz}/s {}", contestant.name());
                let run = || once(&arena, contestant, rate_hz, span).map_err(|error| named(contestant, error));
                if let Some(trips) = rounds.measure(round, &what, run, Trips::text)? {
                    *sum += &trips.latencies;
                }
            }
        }
        round += 1;
    }
    println!("{}\nfigures of all rounds together, from the intended moment of sending\n", rounds.summary());
    let mut rows = Vec::new();
    for ((rate_hz, _), sums) in PACES.into_iter().zip(sums.chunks_exact(CONTESTANTS.len())) {
        let [laneway, bare, tokio] = sums else { continue };
        rows.extend(trips::rows(CASE, &format!("{rate_hz}/s over bare relay"), laneway, Some(bare)));
        rows.extend(trips::rows(CASE, &format!("{rate_hz}/s over tokio relay"), laneway, Some(tokio)));
    }
    Ok(rows)
}

fn once(arena: &Arena, contestant: Contestant, rate_hz: u32, span: Duration) -> Result<Trips> {
    let (child, mut load) = arena.connect(contestant, CELL, Some(1))?;
    // The first messages meet cold caches and a topic that is not declared yet.
    paced::run(&mut load, Pace::new(rate_hz, span / 20), &mut histogram()?)?;
    let mut latencies = histogram()?;
    let watch = Watch::start(child.id())?;
    paced::run(&mut load, Pace::new(rate_hz, span), &mut latencies)?;
    Ok(Trips { latencies, wait_share: watch.finish()?.wait_share })
}
