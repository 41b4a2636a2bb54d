//! `ping`: how long one message takes there and back, one at a time.

use super::trips::{self, Trips};
use crate::args::Common;
use crate::contest::{Arena, Cell, Contestant, named};
use crate::error::Result;
use crate::load::echo;
use crate::load::paced::histogram;
use crate::relay::Base;
use crate::report::Row;
use crate::rounds::Rounds;
use crate::sched::Watch;

const CASE: &str = "ping";
const ROUNDS: u32 = 5;
const CELL: Cell = Cell::fanout(64, 1);
/// Round trips of one run, and those before it that are not counted.
const TRIPS: u32 = 20_000;
const TRIPS_QUICK: u32 = 1_000;

/// What goes there and back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// PING, answered by the broker with PONG.
    Ping,
    /// A message published and delivered.
    Publish(Contestant),
}

const WAYS: [Way; 4] = [
    Way::Ping,
    Way::Publish(Contestant::Single),
    Way::Publish(Contestant::Relay(Base::Uring)),
    Way::Publish(Contestant::Relay(Base::Tokio)),
];

impl Way {
    fn name(self) -> String {
        match self {
            Self::Ping => "PING to PONG".into(),
            Self::Publish(contestant) => format!("publish to delivery, {}", contestant.name()),
        }
    }

    fn contestant(self) -> Contestant {
        match self {
            Self::Ping => Contestant::Single,
            Self::Publish(contestant) => contestant,
        }
    }
}

/// Runs the case.
pub fn run(common: &Common) -> Result<Vec<Row>> {
    let arena = Arena::open(common)?;
    let count = if common.quick { TRIPS_QUICK } else { TRIPS };
    let mut rounds = Rounds::new(CASE, ROUNDS, common);
    let mut sums = Vec::new();
    for _ in WAYS {
        sums.push(histogram()?);
    }
    let mut round = 1;
    while rounds.next(round) {
        for (way, sum) in WAYS.into_iter().zip(&mut sums) {
            let run = || once(&arena, way, count).map_err(|error| named(way.contestant(), error));
            if let Some(trips) = rounds.measure(round, &way.name(), run, Trips::text)? {
                *sum += &trips.latencies;
            }
        }
        round += 1;
    }
    println!("{}\nfigures of all rounds together, 64 B, the client spins\n", rounds.summary());
    let [ping, publish, bare, tokio] = &sums[..] else { return Ok(Vec::new()) };
    let mut rows = trips::rows(CASE, "PING to PONG over bare relay", ping, Some(bare));
    rows.extend(trips::rows(CASE, "publish to delivery over bare relay", publish, Some(bare)));
    rows.extend(trips::rows(CASE, "publish to delivery over tokio relay", publish, Some(tokio)));
    Ok(rows)
}

fn once(arena: &Arena, way: Way, count: u32) -> Result<Trips> {
    let mut latencies = histogram()?;
    let mut warm_up = histogram()?;
    let wait_share = match way {
        Way::Ping => {
            let child = arena.start(Contestant::Single, 0)?;
            echo::ping(child.address, count / 20, &mut warm_up)?;
            let watch = Watch::start(child.id())?;
            echo::ping(child.address, count, &mut latencies)?;
            watch.finish()?.wait_share
        }
        Way::Publish(contestant) => {
            let (child, mut load) = arena.connect(contestant, CELL, Some(1))?;
            echo::run(&mut load, count / 20, &mut warm_up)?;
            let watch = Watch::start(child.id())?;
            echo::run(&mut load, count, &mut latencies)?;
            watch.finish()?.wait_share
        }
    };
    Ok(Trips { latencies, wait_share })
}
