//! `throughput`: delivered messages by payload size and fan-out, the broker beside the bare relay.

use super::timing;
use crate::args::ThroughputOptions;
use crate::contest::{Arena, Cell, Contestant};
use crate::error::Result;
use crate::load::saturate::Figure;
use crate::relay::Base;
use crate::report::Row;
use crate::rounds::{Entry, Rounds};
use crate::stats::Spread;
use crate::wire::{BATCH_PAYLOAD_BYTES_MAX, SINGLE_BYTES_MAX};

const CASE: &str = "throughput";
const ROUNDS: u32 = 3;
const SIZES: [usize; 9] = [16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576];
const FANOUTS: [u32; 3] = [1, 10, 100];
const QUICK_SIZES: [usize; 3] = [64, 1_024, 1_048_576];
const QUICK_FANOUTS: [u32; 2] = [1, 10];

/// Runs the case.
pub fn run(options: &ThroughputOptions) -> Result<Vec<Row>> {
    let common = &options.common;
    let arena = Arena::open(common)?;
    let sizes = chosen(&options.size, if common.quick { &QUICK_SIZES } else { &SIZES });
    let fanouts = match options.topics {
        Some(_) => &[1][..],
        None => chosen(&options.fanout, if common.quick { &QUICK_FANOUTS } else { &FANOUTS }),
    };
    let mut pairs = Vec::new();
    for &subscribers in fanouts {
        for &payload_bytes in sizes {
            let batch = options.batch && payload_bytes <= BATCH_PAYLOAD_BYTES_MAX;
            let laneway = if batch { Contestant::Batch } else { Contestant::Single };
            let cell = options
                .topics
                .map_or_else(|| Cell::fanout(payload_bytes, subscribers), |topics| Cell::cycle(payload_bytes, topics));
            pairs.push((cell, laneway));
        }
    }
    let relay = if options.topics.is_some() { Contestant::IndexRelay } else { Contestant::Relay(Base::Uring) };
    let entries: Vec<Entry> = pairs
        .iter()
        .flat_map(|&(cell, laneway)| [laneway, relay].map(|contestant| Entry { cell, contestant }))
        .collect();
    let mut rounds = Rounds::new(CASE, ROUNDS, common);
    let series = rounds.saturate(&arena, &entries, timing(common.quick))?;
    println!("{}\nfigures are medians, ratios are medians of the ratios of each round\n", rounds.summary());
    let mut rows = Vec::new();
    for (&(cell, laneway), pair) in pairs.iter().zip(series.chunks_exact(2)) {
        let [first, second] = pair else { continue };
        let pieces = if cell.shape.payload_bytes > SINGLE_BYTES_MAX { " in fragments" } else { "" };
        let metric = format!("{} {}{pieces} over {}", cell.name(), laneway.name(), relay.name());
        let row = |unit, of: fn(&Figure) -> f64| {
            let ratio = Spread::of_ratios(&first.values(of), &second.values(of));
            Row::reported(CASE, metric.clone(), unit, first.median(of), second.median(of)).with_ratio(ratio)
        };
        rows.push(row("messages/s", |figure| figure.messages_per_s));
        rows.push(row("ns of processor/message", |figure| figure.cpu_ns_per_message));
    }
    Ok(rows)
}

const fn chosen<'a, T>(asked: &'a [T], default: &'a [T]) -> &'a [T] {
    if asked.is_empty() { default } else { asked }
}
