//! `slow-consumer`: a hundred subscribers, one of which stops reading: what becomes of its messages, of the broker's
//! memory, and of everybody else.

use std::time::Duration;

use laneway_proto::lane::policy::Policy;

use crate::args::Common;
use crate::child::Child;
use crate::contest::Arena;
use crate::error::Result;
use crate::load::crowd::{Crowd, Drive, IN_FLIGHT_BYTES_MAX, Slow, Window};
use crate::report::{Row, figure};
use crate::rounds::Patience;
use crate::stats::{Spread, median_interval};

const CASE: &str = "slow-consumer";
const OTHERS: u32 = 99;
const QUEUE_BYTES: u32 = 2 * IN_FLIGHT_BYTES_MAX;
/// What the broker may hold besides the queue: its buffers, and what has its place on the link.
const BUFFERS_BYTES: u64 = (INGRESS_BUFFERS_MAX * 64 + EGRESS_BUFFERS_KEPT * 16) * 1024 + 256 * 1024;
const INGRESS_BUFFERS_MAX: u64 = 256;
const EGRESS_BUFFERS_KEPT: u64 = 256;
/// What the kernel holds of each connection on the broker's side: little, so that who is stopped or stops is noticed at
/// once, and no less than may be on its way to anybody.
const KERNEL_BYTES: u32 = 256 * 1024;
/// Of what the broker can deliver while everybody reads.
const OFFERED_SHARE: f64 = 0.6;
/// The offered rate counts as kept above this share of it.
const OFFERED_KEPT: f64 = 0.98;
const THROUGHPUT_BAR: f64 = 0.97;
const CPU_BAR: f64 = 1.03;
const PAIRS: u32 = 20;
const PAIRS_QUICK: u32 = 2;
const POLICIES: [Policy; 5] =
    [Policy::DropOldest, Policy::DropNewest, Policy::Conflate, Policy::Disconnect, Policy::Block];

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
struct Times {
    capacity: Duration,
    stopped: Duration,
    window: Duration,
    /// Between two windows, not measured: queues fill or empty.
    settle: Duration,
    block_ms_max: u32,
    pairs: u32,
    /// Pairs that may be tried until there are enough clean ones.
    pairs_tried_max: u32,
}

impl Times {
    fn new(common: &Common) -> Self {
        let ms = Duration::from_millis;
        if common.quick {
            let pairs = common.runs.unwrap_or(PAIRS_QUICK);
            let (capacity, stopped, window, settle) = (ms(150), ms(1_500), ms(100), ms(40));
            Self { capacity, stopped, window, settle, block_ms_max: 400, pairs, pairs_tried_max: pairs }
        } else {
            let pairs = common.runs.unwrap_or(PAIRS);
            let (capacity, stopped, window, settle) = (ms(2_000), ms(10_000), ms(1_000), ms(200));
            let pairs_tried_max = pairs + pairs / 2;
            Self { capacity, stopped, window, settle, block_ms_max: 3_000, pairs, pairs_tried_max }
        }
    }

    fn config(&self) -> String {
        format!(
            "[limits]\nblock_ms_max = {}\n[pools]\ningress_buffers_max = {INGRESS_BUFFERS_MAX}\n\
             egress_buffers_kept = {EGRESS_BUFFERS_KEPT}\n[tcp]\nreceive_buffer_bytes = {KERNEL_BYTES}\nsend_buffer_bytes = {KERNEL_BYTES}\n",
            self.block_ms_max
        )
    }
}

/// Runs the case.
pub fn run(common: &Common) -> Result<Vec<Row>> {
    let arena = Arena::open(common)?;
    let times = Times::new(common);
    let mut rows = Vec::new();
    for policy in POLICIES {
        stopped_rows(&arena, &times, policy, &mut rows)?;
        alternating_rows(&arena, &times, policy, common.quick, &mut rows)?;
    }
    println!(
        "{CASE}: 1→{} 64 B, one of them with the policy named and a queue of {} KiB; the table's interval is that of the \
         median at 95 %\n",
        OTHERS + 1,
        QUEUE_BYTES / 1024
    );
    Ok(rows)
}

fn start(arena: &Arena, times: &Times, policy: Policy) -> Result<(Child, Crowd)> {
    let child = arena.broker(&times.config())?;
    let slow = Slow { policy, queue_bytes: QUEUE_BYTES, apart: policy == Policy::Block };
    let crowd = Crowd::connect(&child, OTHERS, slow)?;
    Ok((child, crowd))
}

/// Stops for a long while at an offered rate that leaves the broker room, then reads on: nothing may be missing.
fn stopped_rows(arena: &Arena, times: &Times, policy: Policy, rows: &mut Vec<Row>) -> Result<()> {
    let name = policy.name();
    let (child, mut crowd) = start(arena, times, policy)?;
    let before = child.resident_bytes()?;
    let full = |span, reads| Drive { span, offered: None, reads };
    crowd.window(&child, full(times.capacity / 4, true))?;
    let capacity = crowd.window(&child, full(times.capacity, true))?;
    let offered = capacity.others_per_s * OFFERED_SHARE;
    let stopped = Drive { span: times.stopped, offered: Some(offered), reads: false };
    let paced = crowd.window(&child, stopped)?;
    // A report that waits for its topic's next frame leaves by itself after a second.
    crowd.drain(Duration::from_millis(1_500))?;
    let resident = paced.resident_bytes.max(capacity.resident_bytes).max(child.resident_bytes()?);
    eprintln!(
        "{CASE}: {name}: capacity {} messages/s each, stopped for {:?} at {} messages/s, wait {:.1} %",
        figure(Some(capacity.others_per_s)),
        times.stopped,
        figure(Some(offered)),
        paced.wait_share * 100.0
    );
    rows.push(account_row(policy, &crowd));
    let growth = resident.saturating_sub(before) as f64;
    let bound = (u64::from(QUEUE_BYTES) + BUFFERS_BYTES) as f64;
    let metric = format!("{name}: broker memory growth over its bound");
    rows.push(Row::reported(CASE, metric, "bytes", Some(growth), Some(bound)).with_ceiling(1.0));
    let (wanted, got) = crowd.others_account();
    let metric = format!("{name}: others at 60 %, received over published");
    rows.push(Row::reported(CASE, metric, "messages", Some(got as f64), Some(wanted as f64)).judged(got == wanted));
    let metric = format!("{name}: rate at 60 %, kept over offered");
    // A load that had to wait for its processor says nothing about the broker.
    let counts = paced.offered_per_s >= offered * OFFERED_KEPT || paced.wait_share <= Patience::FULL.wait_share_max;
    let kept = counts.then_some(paced.offered_per_s);
    let row = Row::reported(CASE, metric, "messages/s", kept, Some(offered));
    rows.push(row.with_bar(Some(OFFERED_KEPT)));
    if let Some(feeder) = &crowd.feeder {
        let stall_ms = feeder.stall.longest().as_secs_f64() * 1e3;
        let metric = format!("{name}: longest stall of its publisher over block_ms_max");
        let floor = f64::from(times.block_ms_max);
        rows.push(Row::reported(CASE, metric, "ms", Some(stall_ms), Some(floor)).with_ceiling(1.0));
    }
    Ok(())
}

/// What became of the messages of the one that stopped.
fn account_row(policy: Policy, crowd: &Crowd) -> Row {
    let name = policy.name();
    let tally = &crowd.reader.tally;
    let published = crowd.published_to_slow();
    if ends_session(policy) {
        // It got a beginning without a gap, and then its session ended: nothing behind that was promised.
        let whole = tally.received == u64::from(tally.newest) && tally.reported == 0;
        let farewell = tally.farewell.as_deref().unwrap_or("no goodbye");
        eprintln!("{CASE}: {name}: disconnected {} ({farewell})", crowd.reader.ended);
        let metric = format!("{name}: received without a gap, then disconnected");
        let (got, newest) = (tally.received as f64, f64::from(tally.newest));
        return Row::reported(CASE, metric, "messages", Some(got), Some(newest)).judged(whole && crowd.reader.ended);
    }
    eprintln!("{CASE}: {name}: received {}, reported lost {}", tally.received, tally.reported);
    let metric = format!("{name}: accounted for over published");
    let (known, wanted) = (tally.accounted() as f64, published as f64);
    let holds = tally.accounted() == published && !crowd.reader.ended;
    Row::reported(CASE, metric, "messages", Some(known), Some(wanted)).judged(holds)
}

const fn ends_session(policy: Policy) -> bool {
    matches!(policy, Policy::Disconnect | Policy::Block)
}

/// Two windows that follow each other.
type Pair = (Window, Window);

/// As fast as it goes, reading and stopped in turn.
fn alternating_rows(arena: &Arena, times: &Times, policy: Policy, quick: bool, rows: &mut Vec<Row>) -> Result<()> {
    let name = policy.name();
    let (child, mut crowd) = start(arena, times, policy)?;
    let drive = |span, reads| Drive { span, offered: None, reads };
    crowd.window(&child, drive(times.capacity / 2, true))?;
    let (mut pairs, mut tried): (Vec<Pair>, u32) = (Vec::new(), 0);
    while pairs.len() < times.pairs as usize && tried < times.pairs_tried_max {
        tried += 1;
        crowd.rejoin()?;
        crowd.window(&child, drive(times.settle, true))?;
        let reading = crowd.window(&child, drive(times.window, true))?;
        crowd.window(&child, drive(times.settle, false))?;
        let stopped = crowd.window(&child, drive(times.window, false))?;
        // It sees its end only when it reads again.
        crowd.window(&child, drive(times.settle / 4, true))?;
        if quick || stopped.wait_share.max(reading.wait_share) <= Patience::FULL.wait_share_max {
            pairs.push((stopped, reading));
        }
    }
    let throughput = Paired::of(&pairs, |window| window.others_per_s);
    let cpu = Paired::of(&pairs, |window| window.cpu_ns_per_message);
    eprintln!(
        "{CASE}: {name}: {} pairs at full speed ({} more waited for a processor): throughput {}, processor {}",
        pairs.len(),
        tried as usize - pairs.len(),
        throughput.text(),
        cpu.text()
    );
    let metric = format!("{name}: others' throughput, stopped over reading");
    rows.push(throughput.row(metric, "messages/s").with_bar(Some(THROUGHPUT_BAR)));
    let metric = format!("{name}: processor per message, stopped over reading");
    let interval = cpu.interval;
    let row = cpu.row(metric, "ns of processor/message").with_ceiling(CPU_BAR);
    rows.push(row.with_interval(interval));
    if !ends_session(policy) {
        crowd.drain(Duration::from_millis(1_500))?;
        let row = account_row(policy, &crowd);
        rows.push(Row { metric: format!("{name}: accounted for over published, full speed"), ..row });
    }
    Ok(())
}

/// One value of all pairs: medians of both windows, and the median of the ratios with its interval.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Paired {
    stopped: Option<f64>,
    reading: Option<f64>,
    ratio: Option<Spread>,
    interval: Option<(f64, f64)>,
}

impl Paired {
    fn of(pairs: &[Pair], value: fn(&Window) -> f64) -> Self {
        let ratios: Vec<f64> = pairs.iter().map(|(stopped, reading)| value(stopped) / value(reading)).collect();
        let median = |values: Vec<f64>| Spread::of(values).map(|spread| spread.median);
        Self {
            stopped: median(pairs.iter().map(|(stopped, _)| value(stopped)).collect()),
            reading: median(pairs.iter().map(|(_, reading)| value(reading)).collect()),
            interval: median_interval(&ratios),
            ratio: Spread::of(ratios),
        }
    }

    fn row(&self, metric: String, unit: &str) -> Row {
        let row = Row::reported(CASE, metric, unit, self.stopped, self.reading).with_ratio(self.ratio);
        row.with_interval(self.interval)
    }

    /// The change in percent, with its interval.
    fn text(&self) -> String {
        let change = |ratio: f64| (ratio - 1.0) * 100.0;
        let middle = self.ratio.map_or_else(|| "-".into(), |ratio| format!("{:+.2} %", change(ratio.median)));
        match self.interval {
            Some((low, high)) => format!("{middle} ({:+.2} to {:+.2})", change(low), change(high)),
            None => format!("{middle} (too few pairs for an interval)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(others_per_s: f64) -> Window {
        let (cpu_ns_per_message, offered_per_s) = (1.0, 1.0);
        Window { others_per_s, cpu_ns_per_message, offered_per_s, wait_share: 0.0, resident_bytes: 0 }
    }

    #[test]
    fn a_change_is_taken_within_each_pair_so_that_a_drift_of_the_machine_does_not_count() {
        let pairs: Vec<Pair> = (1..=20).map(f64::from).map(|speed| (window(speed * 0.98), window(speed))).collect();
        let paired = Paired::of(&pairs, |window| window.others_per_s);
        let row = paired.row("x".into(), "messages/s").with_bar(Some(THROUGHPUT_BAR));
        assert_eq!((row.ratio, row.holds), (Some(0.98), Some(true)));
        assert!(paired.text().starts_with("-2.00 % (-2.00 to -2.00)"), "{}", paired.text());
    }

    #[test]
    fn without_a_clean_pair_nothing_was_measured() {
        let paired = Paired::of(&[], |window| window.others_per_s);
        let row = paired.row("x".into(), "messages/s").with_bar(Some(THROUGHPUT_BAR));
        assert_eq!((row.ratio, row.holds), (None, Some(false)));
    }
}
