//! `compare`: Laneway beside other brokers, each given the same work.
//!
//! Peers are what `bench/peers/install` has fetched. Each is started alone on its core at a port of its own, with the
//! settings that [`Peer::settings`] states, and is ended before the next one starts; runs are interleaved round by round.
//! The load speaks the peers' wire formats itself, pre-encoded, checks every delivery, and says who was the limit: a
//! rival that was on its core all the time, or the load.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `peer`, `dialect` | the other brokers, and their wire formats |
//! | `rival`, `stage`, `zenoh` | who moves what; how they are started and driven |
//! | `saturated`, `delays`, `idle`, `slow` | the parts of the comparison |
//! | `bars` | rows, and what has to be met |
//! | `page`, `plot` | what is written for people |

mod bars;
mod delays;
mod dialect;
mod idle;
mod page;
mod peer;
mod plot;
mod rival;
mod saturated;
mod slow;
mod stage;
mod zenoh;

pub use peer::Peer;

use std::fmt::Write as _;

use self::stage::Stage;
use crate::args::CompareOptions;
use crate::error::Result;
use crate::report::{self, Row};

const CASE: &str = "compare";

/// What can be measured by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Part {
    /// Messages as fast as it goes
    Throughput,
    /// Paced latency and round trips
    Latency,
    /// Memory of idle connections
    Idle,
    /// A reader beside one that has stopped
    Slow,
}

/// Everything that was found.
#[derive(Debug, Default)]
struct Found {
    table: saturated::Table,
    delays: Vec<delays::Delayed>,
    idle: idle::Idle,
    slow: slow::Slow,
}

/// Runs the case.
pub fn run(options: &CompareOptions) -> Result<Vec<Row>> {
    let stage = Stage::open(options)?;
    let wanted = |part: Part| options.part.is_empty() || options.part.contains(&part);
    let (mut present, mut rows) = (Vec::new(), Vec::new());
    for peer in peer::ALL.into_iter().filter(|peer| !options.without.contains(peer)) {
        if peer.program(&stage.peers).is_some() {
            present.push(peer);
        } else {
            eprintln!("{CASE}: no {} in {}: run bench/peers/install", peer.name(), stage.peers.display());
            rows.push(missing(peer));
        }
    }
    let mut found = Found::default();
    let common = &options.common;
    if wanted(Part::Throughput) {
        found.table = saturated::measure(&stage, &present, common)?;
        rows.extend(bars::saturated(&found.table));
    }
    if wanted(Part::Latency) {
        found.delays = delays::measure(&stage, &present, common)?;
        rows.extend(bars::delays(&found.delays));
    }
    if wanted(Part::Idle) {
        found.idle = idle::measure(&stage, &present, common)?;
        rows.extend(bars::idle(&found.idle));
    }
    if wanted(Part::Slow) {
        found.slow = slow::measure(&stage, &present, common)?;
        rows.extend(bars::slow(&found.slow));
    }
    println!("\n{}", summary(&found));
    if let Some(folder) = &options.out {
        page::write(folder, &stage, &present, &found, &rows)?;
    }
    Ok(rows)
}

/// A peer that is not here, and was not done without.
fn missing(peer: Peer) -> Row {
    let metric = format!("{} is here to be compared with", peer.name());
    Row::reported(CASE, metric, "peers", Some(0.0), Some(1.0)).with_bar(Some(1.0))
}

/// Who delivered what, and who was the limit.
fn summary(found: &Found) -> String {
    let mut text = String::new();
    for entry in &found.table.0 {
        let rate = entry.spread(|pushed| pushed.figure.messages_per_s);
        let busy = entry.spread(|pushed| pushed.busy_share).map_or(0.0, |spread| spread.median);
        let shown = |value: fn(crate::stats::Spread) -> f64| report::figure(rate.map(value));
        let _ = writeln!(
            text,
            "{:<28} {:<16} {:>9} messages/s ({} to {}), {:>3.0} % of its core, the {} limits",
            entry.work.name(),
            entry.rival.name(),
            shown(|spread| spread.median),
            shown(|spread| spread.min),
            shown(|spread| spread.max),
            busy * 100.0,
            saturated::limits(busy),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_peer_is_a_bar_that_is_not_met() {
        let row = missing(Peer::Rumqttd);
        assert_eq!((row.ratio, row.holds), (Some(0.0), Some(false)));
    }
}
