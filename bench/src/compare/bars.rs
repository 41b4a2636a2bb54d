//! What was measured, as rows, with the bars that have to be met.

use super::CASE;
use super::delays::{Delayed, PERCENTILES, Way};
use super::idle::Idle;
use super::rival::{Rival, Work};
use super::saturated::{Entry, Table};
use super::slow::{Slow, Slowed};
use super::stage::Pushed;
use crate::contest::Contestant;
use crate::relay::Base;
use crate::report::Row;
use crate::stats::Spread;

const BARE: Rival = Rival::Own(Contestant::Relay(Base::Uring));
const TOKIO: Rival = Rival::Own(Contestant::Relay(Base::Tokio));
const LANEWAY: Rival = Rival::Own(Contestant::Single);
const OVER_TOKIO: f64 = 1.2;
const LARGE_OVER_PEER: f64 = 0.9;

fn rate(pushed: &Pushed) -> f64 {
    pushed.figure.messages_per_s
}

fn cpu(pushed: &Pushed) -> f64 {
    pushed.figure.cpu_ns_per_message
}

/// The bar over the bare relay.
fn over_bare(work: Work, contestant: Contestant) -> Option<f64> {
    let Work::Fanout(cell) = work else { return None };
    match (contestant, cell.shape.payload_bytes, cell.subscribers) {
        (Contestant::Batch, 16, 1) => Some(0.7),
        (Contestant::Batch, 64, _) => Some(0.85),
        (Contestant::Single, 16, 1) => Some(0.35),
        (Contestant::Single, 64, 1) => Some(0.6),
        (Contestant::Single, 64, _) => Some(0.7),
        (Contestant::Single, 1_024.., _) => Some(0.9),
        (Contestant::Single | Contestant::Batch | Contestant::Relay(_) | Contestant::IndexRelay, _, _) => None,
    }
}

/// The bar over the best peer.
fn over_peer(work: Work, contestant: Contestant) -> Option<f64> {
    match (work, contestant) {
        (Work::Unbatched | Work::Pairs(_), Contestant::Single) => Some(1.0),
        (Work::Fanout(cell), Contestant::Batch) => match cell.shape.payload_bytes {
            ..=64 => Some(8.0),
            65..=1_024 => Some(2.0),
            _ => Some(1.3),
        },
        (Work::Fanout(cell), Contestant::Single) if cell.shape.payload_bytes >= 1 << 20 => Some(LARGE_OVER_PEER),
        (Work::Fanout(_) | Work::Unbatched | Work::Pairs(_), _) => None,
    }
}

/// One rival over another, round by round.
fn ratio_row(over: &Entry, under: &Entry, against: &str, bar: Option<f64>) -> Row {
    let metric = format!("{} {} over {against}", over.work.name(), over.rival.name());
    let median = |entry: &Entry| entry.spread(rate).map(|spread| spread.median);
    let ratio = Spread::of_ratios(&over.values(rate), &under.values(rate));
    Row::reported(CASE, metric, "messages/s", median(over), median(under)).with_ratio(ratio).with_bar(bar)
}

/// The same of the processor time that a delivered message costs; less is better, and a busy machine changes it little.
fn cost_row(over: &Entry, under: &Entry, against: &str) -> Row {
    let metric = format!("{} {} over {against}", over.work.name(), over.rival.name());
    let median = |entry: &Entry| entry.spread(cpu).map(|spread| spread.median);
    let ratio = Spread::of_ratios(&over.values(cpu), &under.values(cpu));
    Row::reported(CASE, metric, "ns of processor/message", median(over), median(under)).with_ratio(ratio)
}

/// The peer that delivered most.
pub(super) fn best_peer(table: &Table, work: Work) -> Option<&Entry> {
    let median = |entry: &Entry| entry.spread(rate).map_or(0.0, |spread| spread.median);
    let peers = table.0.iter().filter(|entry| entry.work == work && matches!(entry.rival, Rival::Peer(_)));
    peers.filter(|entry| median(entry) > 0.0).max_by(|a, b| median(a).total_cmp(&median(b)))
}

/// The rows of one piece of work that have a bar.
fn gated(table: &Table, work: Work) -> Vec<Row> {
    let mut rows = Vec::new();
    for contestant in [Contestant::Batch, Contestant::Single] {
        let Some(laneway) = table.of(work, Rival::Own(contestant)) else { continue };
        if let Some(bare) = table.of(work, BARE) {
            let row = ratio_row(laneway, bare, BARE.name(), over_bare(work, contestant));
            rows.extend(row.bar.is_some().then_some(row));
        }
        if let Some(tokio) = table.of(work, TOKIO) {
            rows.push(ratio_row(laneway, tokio, TOKIO.name(), Some(OVER_TOKIO)));
        }
        if let (Some(bar), Some(peer)) = (over_peer(work, contestant), best_peer(table, work)) {
            let row = ratio_row(laneway, peer, &format!("the best peer, {}", peer.rival.name()), Some(bar));
            rows.push(if work.payload_bytes() >= 1 << 20 { or_cheaper(row, laneway, peer) } else { row });
        }
    }
    rows
}

/// All are at the limit of the memory there: as good is who costs no more.
fn or_cheaper(mut row: Row, laneway: &Entry, peer: &Entry) -> Row {
    let cost = Spread::of_ratios(&laneway.values(cpu), &peer.values(cpu));
    if cost.is_some_and(|cost| cost.median <= 1.0) {
        row.holds = Some(true);
        row.metric.push_str(" (or cheaper: it is)");
    }
    row
}

/// Work some of whose ratios lie on both sides of their bar.
pub(super) fn undecided(table: &Table) -> Vec<Work> {
    let is_undecided = |row: &Row| match (row.range, row.bar) {
        (Some((min, max)), Some(bar)) => min < bar && bar <= max,
        (None, Some(_)) => true,
        (_, None) => false,
    };
    table.works().into_iter().filter(|&work| gated(table, work).iter().any(is_undecided)).collect()
}

/// Everything that was pushed as fast as it goes.
pub(super) fn saturated(table: &Table) -> Vec<Row> {
    let mut rows = Vec::new();
    for work in table.works() {
        let gated = gated(table, work);
        for contestant in [Contestant::Batch, Contestant::Single] {
            let Some(laneway) = table.of(work, Rival::Own(contestant)) else { continue };
            let others = table.0.iter().filter(|entry| entry.work == work && !entry.rival.is_laneway());
            let reported = others.clone().map(|other| ratio_row(laneway, other, other.rival.name(), None));
            rows.extend(others.map(|other| cost_row(laneway, other, other.rival.name())));
            rows.extend(reported.filter(|row| gated.iter().all(|known| known.metric != row.metric)));
        }
        rows.extend(gated);
        for entry in table.0.iter().filter(|entry| entry.work == work) {
            let metric = format!("{} {}: on its core", work.name(), entry.rival.name());
            let busy = entry.spread(|pushed| pushed.busy_share * 100.0).map(|spread| spread.median);
            let (laneway, other) = if entry.rival.is_laneway() { (busy, None) } else { (None, busy) };
            rows.push(Row::reported(CASE, metric, "% of its core", laneway, other));
        }
    }
    rows
}

/// Delays: p50, p99 and p99.9 over everybody, in microseconds; less is better.
pub(super) fn delays(all: &[Delayed]) -> Vec<Row> {
    let find = |way, rival| all.iter().find(|delayed| delayed.way == way && delayed.rival == rival);
    let mut rows = Vec::new();
    for way in super::delays::WAYS {
        let Some(laneway) = find(way, LANEWAY) else { continue };
        for (place, (_, label)) in PERCENTILES.iter().enumerate() {
            let over = |over: &Delayed, under: &Delayed, against: &str| {
                let metric = format!("{} {} over {against} {label}", way.name(), over.rival.name());
                let ratio = Spread::of_ratios(&over.values(place), &under.values(place));
                Row::reported(CASE, metric, "us", over.median(place), under.median(place)).with_ratio(ratio)
            };
            let others = all
                .iter()
                .filter(|other| other.way == way && !other.rival.is_laneway() && other.rival != Rival::SpinningRelay);
            rows.extend(others.map(|other| {
                let row = over(laneway, other, other.rival.name());
                if (way, other.rival, place) == (Way::Echo, TOKIO, 0) { row.with_ceiling(1.1) } else { row }
            }));
            if let (Some(spin), Some(relay)) = (find(way, Rival::Spinning), find(way, Rival::SpinningRelay)) {
                let row = over(spin, relay, relay.rival.name());
                let ceiling = [Some(1.2), None, Some(1.5)][place];
                rows.push(match ceiling {
                    Some(ceiling) => row.with_ceiling(ceiling),
                    None => row,
                });
            }
            let peers = all.iter().filter(|other| other.way == way && matches!(other.rival, Rival::Peer(_)));
            let best =
                peers.filter_map(|peer| Some((peer, peer.median(place)?))).min_by(|(_, a), (_, b)| a.total_cmp(b));
            if let (Way::Paced(20_000), Some((peer, _))) = (way, best) {
                let row = over(laneway, peer, &format!("the best peer, {}", peer.rival.name()));
                rows.push(row.with_ceiling(if place == 2 { 1.5 } else { 1.0 }));
            }
        }
    }
    rows
}

/// Memory of idle connections.
pub(super) fn idle(all: &Idle) -> Vec<Row> {
    let laneway = all.iter().find(|(rival, _)| rival.is_laneway()).and_then(|&(_, bytes)| bytes);
    let others = all.iter().filter(|(rival, _)| !rival.is_laneway());
    let row = |&(rival, bytes): &(Rival, Option<f64>)| {
        let metric = format!("idle connection, laneway over {}", rival.name());
        Row::reported(CASE, metric, "bytes resident", laneway, bytes)
    };
    others.map(row).collect()
}

/// What became of a reader beside one that has stopped.
pub(super) fn slow(all: &Slow) -> Vec<Row> {
    type Value = fn(&Slowed) -> f64;
    let values: [(&str, &str, Value); 4] = [
        ("delivered over offered beside a stopped reader", "of 1", |slowed| {
            slowed.seen.delivered / slowed.seen.offered
        }),
        ("longest silence beside a stopped reader", "ms", |slowed| slowed.seen.silence.as_secs_f64() * 1e3),
        ("memory grown by a stopped reader", "bytes", |slowed| slowed.growth_bytes),
        ("the stopped reader was cut off", "1 if so", |slowed| if slowed.cut_off { 1.0 } else { 0.0 }),
    ];
    let laneway = all.iter().find(|(rival, _)| rival.is_laneway()).and_then(|(_, slowed)| slowed.as_ref());
    let mut rows = Vec::new();
    for (what, unit, value) in values {
        for (rival, slowed) in all.iter().filter(|(rival, _)| !rival.is_laneway()) {
            let metric = format!("{what}, laneway over {}", rival.name());
            rows.push(Row::reported(CASE, metric, unit, laneway.map(value), slowed.as_ref().map(value)));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Peer;
    use crate::contest::Cell;
    use crate::load::saturate::Figure;

    const WORK: Work = Work::Fanout(Cell::fanout(64, 1));

    fn entry(rival: Rival, rates: &[f64]) -> Entry {
        let run = |&messages_per_s: &f64| {
            let figure = Figure { messages_per_s, cpu_ns_per_message: 1e9 / messages_per_s, wait_share: 0.0 };
            Some(Pushed { figure, busy_share: 1.0 })
        };
        Entry { work: WORK, rival, runs: rates.iter().map(run).collect() }
    }

    fn table(batch: &[f64]) -> Table {
        Table(vec![
            entry(Rival::Own(Contestant::Batch), batch),
            entry(BARE, &[40.0, 40.0, 40.0]),
            entry(Rival::Peer(Peer::Nats), &[2.0, 2.0, 2.0]),
            entry(Rival::Peer(Peer::Zeromq), &[3.0, 3.0, 3.0]),
        ])
    }

    #[test]
    fn the_best_peer_is_the_one_that_delivered_most_and_its_bar_holds_at_eight_times() {
        let rows = gated(&table(&[24.0, 36.0, 36.0]), WORK);
        let over_best = rows.iter().find(|row| row.metric.contains("best peer")).expect("a row");
        assert_eq!((over_best.ratio, over_best.holds), (Some(12.0), Some(true)));
        assert!(over_best.metric.ends_with("zeromq"), "{}", over_best.metric);
        let over_bare = rows.iter().find(|row| row.metric.ends_with("bare relay")).expect("a row");
        assert_eq!((over_bare.ratio, over_bare.bar, over_bare.holds), (Some(0.9), Some(0.85), Some(true)));
    }

    #[test]
    fn work_is_undecided_while_rounds_contradict_each_other_about_a_bar() {
        assert_eq!(undecided(&table(&[36.0, 35.0, 36.0])), []);
        assert_eq!(undecided(&table(&[36.0, 30.0, 36.0])), [WORK]);
    }

    #[test]
    fn a_round_trip_may_take_a_tenth_longer_than_the_tokio_relays_and_a_paced_one_no_longer_than_the_best_peers() {
        use crate::compare::delays::Delays;
        let delayed = |way, rival, us: f64| {
            let run = Delays { us: [us, 2.0 * us, 3.0 * us], wait_share: 0.0 };
            Delayed { way, rival, runs: vec![Some(run)] }
        };
        let paced = Way::Paced(20_000);
        let rows = delays(&[
            delayed(Way::Echo, LANEWAY, 10.5),
            delayed(Way::Echo, TOKIO, 10.0),
            delayed(paced, LANEWAY, 12.0),
            delayed(paced, Rival::Peer(Peer::Nats), 30.0),
            delayed(paced, Rival::Peer(Peer::Redis), 10.0),
        ]);
        let barred: Vec<_> = rows.iter().filter_map(|row| Some((row.ratio?, row.bar?, row.holds?))).collect();
        let expected = [(1.05, 1.1, true), (1.2, 1.0, false), (1.2, 1.0, false), (1.2, 1.5, true)];
        assert_eq!(barred, expected, "{rows:?}");
    }

    #[test]
    fn a_large_message_may_be_slower_if_it_is_cheaper() {
        let (slow, fast) = (entry(LANEWAY, &[8.0]), entry(Rival::Peer(Peer::Redis), &[10.0]));
        let row = ratio_row(&slow, &fast, "redis", Some(LARGE_OVER_PEER));
        assert_eq!(or_cheaper(row.clone(), &slow, &fast).holds, Some(false));
        assert_eq!(or_cheaper(row, &fast, &slow).holds, Some(true));
    }
}
