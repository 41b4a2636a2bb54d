//! `floor`: what the broker delivers, over what the bare relay and the other relays deliver in the same rounds.

use super::timing;
use crate::args::Common;
use crate::contest::{Arena, Cell, Contestant};
use crate::error::Result;
use crate::load::saturate::Figure;
use crate::relay::Base;
use crate::report::Row;
use crate::rounds::{Entry, Rounds, Series};
use crate::stats::Spread;

const CASE: &str = "floor";
const ROUNDS: u32 = 5;

/// A cell, and the bar over its floor.
struct Bar {
    cell: Cell,
    over_floor: f64,
}

const FANOUTS: [Bar; 3] = [
    Bar { cell: Cell::fanout(64, 1), over_floor: 0.5 },
    Bar { cell: Cell::fanout(64, 10), over_floor: 0.7 },
    Bar { cell: Cell::fanout(1_024, 10), over_floor: 0.8 },
];
const CYCLE: Bar = Bar { cell: Cell::cycle(64, 10), over_floor: 0.3 };
/// The bar over the tokio relay in every fan-out cell.
const OVER_TOKIO: f64 = 1.0;
/// The floor counts only if the bare relay reaches this over the tokio relay in `VALIDITY`.
const FLOOR_OVER_TOKIO: f64 = 1.1;
const VALIDITY: Cell = Cell::fanout(64, 10);

const BARE: Contestant = Contestant::Relay(Base::Uring);
const TOKIO: Contestant = Contestant::Relay(Base::Tokio);

fn messages(figure: &Figure) -> f64 {
    figure.messages_per_s
}

fn cpu(figure: &Figure) -> f64 {
    figure.cpu_ns_per_message
}

/// Who takes part in a cell, in the order of a round.
fn contestants(cell: Cell) -> Vec<Contestant> {
    let mut all = vec![Contestant::Single, Contestant::Batch];
    if cell.shape.topics > 1 {
        all.push(Contestant::IndexRelay);
        return all;
    }
    all.extend([BARE, TOKIO]);
    all.extend([Base::TokioUring, Base::Glommio].into_iter().filter(|base| base.is_built_in()).map(Contestant::Relay));
    all
}

/// Runs the case.
pub fn run(common: &Common) -> Result<Vec<Row>> {
    let arena = Arena::open(common)?;
    let entries: Vec<Entry> = FANOUTS
        .iter()
        .chain([&CYCLE])
        .flat_map(|bar| contestants(bar.cell).into_iter().map(|contestant| Entry { cell: bar.cell, contestant }))
        .collect();
    let mut rounds = Rounds::new(CASE, ROUNDS, common);
    let series = rounds.saturate(&arena, &entries, timing(common.quick))?;
    println!("{}\nfigures are medians, ratios are medians of the ratios of each round\n", rounds.summary());
    let results = Results { entries, series };
    let mut rows = Vec::new();
    for Bar { cell, over_floor } in FANOUTS {
        results.fanout_rows(cell, over_floor, &mut rows);
    }
    results.cycle_rows(&mut rows);
    Ok(rows)
}

struct Results {
    entries: Vec<Entry>,
    series: Vec<Series>,
}

impl Results {
    fn of(&self, cell: Cell, contestant: Contestant) -> Option<&Series> {
        let place = self.entries.iter().position(|&entry| entry == Entry { cell, contestant })?;
        self.series.get(place)
    }

    /// One contestant over another. A row about two relays has no figure of the broker.
    fn row(&self, cell: Cell, over: Contestant, under: Contestant) -> Option<Row> {
        let (first, second) = (self.of(cell, over)?, self.of(cell, under)?);
        let metric = format!("{} {} over {}", cell.name(), over.name(), under.name());
        let ratio = Spread::of_ratios(&first.values(messages), &second.values(messages));
        let (laneway, floor) = match over {
            Contestant::Single | Contestant::Batch => (first.median(messages), second.median(messages)),
            Contestant::Relay(_) | Contestant::IndexRelay => (None, first.median(messages)),
        };
        Some(Row::reported(CASE, metric, "messages/s", laneway, floor).with_ratio(ratio))
    }

    fn cpu_row(&self, cell: Cell, over: Contestant, under: Contestant) -> Option<Row> {
        let (first, second) = (self.of(cell, over)?, self.of(cell, under)?);
        let metric = format!("{} {} over {}", cell.name(), over.name(), under.name());
        let ratio = Spread::of_ratios(&first.values(cpu), &second.values(cpu));
        let row = Row::reported(CASE, metric, "ns of processor/message", first.median(cpu), second.median(cpu));
        Some(row.with_ratio(ratio))
    }

    fn fanout_rows(&self, cell: Cell, over_floor: f64, rows: &mut Vec<Row>) {
        let gated = [(BARE, over_floor), (TOKIO, OVER_TOKIO)];
        rows.extend(
            gated.into_iter().filter_map(|(under, bar)| {
                self.row(cell, Contestant::Single, under).map(|row| row.with_bar(Some(bar)))
            }),
        );
        for base in [Base::TokioUring, Base::Glommio] {
            rows.extend(self.row(cell, Contestant::Single, Contestant::Relay(base)));
        }
        rows.extend(self.row(cell, Contestant::Batch, BARE));
        let validity = (cell == VALIDITY).then_some(FLOOR_OVER_TOKIO);
        rows.extend(self.row(cell, BARE, TOKIO).map(|row| row.with_bar(validity)));
        for contestant in [Contestant::Single, Contestant::Batch] {
            rows.extend(self.cpu_row(cell, contestant, BARE));
        }
    }

    fn cycle_rows(&self, rows: &mut Vec<Row>) {
        let cell = CYCLE.cell;
        let single = self.row(cell, Contestant::Single, Contestant::IndexRelay);
        rows.extend(single.map(|row| row.with_bar(Some(CYCLE.over_floor))));
        rows.extend(self.row(cell, Contestant::Batch, Contestant::IndexRelay));
        for contestant in [Contestant::Single, Contestant::Batch] {
            rows.extend(self.cpu_row(cell, contestant, Contestant::IndexRelay));
        }
    }
}
