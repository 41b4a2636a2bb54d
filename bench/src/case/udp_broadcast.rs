//! `udp-broadcast`: one source and 32 hosts around a switch, a repaired lane, and datagrams lost on purpose.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use laneway_proto::datagram::broadcast::{Repair, Stats};

use crate::air::{End, Tally};
use crate::args::Common;
use crate::error::{Error, Result};
use crate::netns::Bridge;
use crate::report::Row;

const CASE: &str = "udp-broadcast";
const PORT: u16 = 5263;
const RECEIVERS: usize = 32;
const MESSAGES: u64 = 10_000;
const MESSAGES_QUICK: u64 = 500;
/// So long that two messages never share a datagram.
const PAYLOAD_BYTES: usize = 1_000;
/// Bytes a second of the source.
const BYTES_PER_S: u64 = 2_000_000;
/// Reliable and ordered.
const LANE: u8 = 1;
/// How long all may take, at the least rate to which requests bring a source down.
const PATIENCE: Duration = Duration::from_secs(150);
const IDLE: Duration = Duration::from_micros(100);

/// Runs the case.
pub fn run(common: &Common) -> Result<Vec<Row>> {
    let messages = if common.quick { MESSAGES_QUICK } else { MESSAGES };
    println!(
        "{CASE}: {messages} messages of {PAYLOAD_BYTES} bytes to {RECEIVERS} receivers, seeds 2 to {}\n",
        RECEIVERS + 1
    );
    let bridge = Bridge::lay(RECEIVERS + 1)?;
    let usual = Repair { receivers: RECEIVERS as u32, ..Repair::default() };
    let all = |per_mille: u64| move |_: usize| per_mille;
    let mut rows = Vec::new();

    let run = contest(&bridge, "0.5 %", messages, usual, all(5))?;
    rows.push(run.complete("0.5 %"));
    rows.push(run.repairs("0.5 %", 0.25));

    let run = contest(&bridge, "5 %, budget 200 %", messages, Repair { percent: 200, ..usual }, all(50))?;
    rows.push(run.complete("5 %, budget 200 %"));
    rows.push(run.repairs("5 %, budget 200 %", 1.5));

    let run = contest(&bridge, "5 %", messages, usual, all(50))?;
    rows.push(run.accounted("5 %"));

    let alone = contest(&bridge, "no loss", messages, usual, all(0))?;
    let beside = contest(&bridge, "one loses half", messages, usual, |place| if place == 0 { 500 } else { 0 })?;
    let (over, under) = (beside.goodput(messages), alone.goodput(messages));
    let metric = "messages/s of the others beside one that loses half, over those without".to_owned();
    rows.push(Row::reported(CASE, metric, "messages/s", Some(over), Some(under)).with_bar(Some(0.9)));
    rows.push(beside.accounted("one loses half"));
    Ok(rows)
}

/// What one run showed.
struct Run {
    messages: u64,
    source: Stats,
    tallies: Vec<Tally>,
    /// When each receiver had the last message, or knew that it is lost.
    ended: Vec<Duration>,
}

impl Run {
    fn row(&self, name: &str, what: &str, laneway: u64, holds: bool) -> Row {
        let floor = self.messages * self.tallies.len() as u64;
        Row::reported(CASE, format!("{name}: {what}"), "messages", Some(laneway as f64), Some(floor as f64))
            .judged(holds)
    }

    /// Everybody has everything, once and in order.
    fn complete(&self, name: &str) -> Row {
        let delivered = self.tallies.iter().map(|tally| tally.delivered).sum();
        let is_whole = |tally: &Tally| tally.delivered == self.messages && tally.lost == 0 && tally.disordered == 0;
        self.row(name, "delivered to all, in order", delivered, self.tallies.iter().all(is_whole))
    }

    /// Everything was delivered or reported lost, exactly one of both.
    fn accounted(&self, name: &str) -> Row {
        let known = self.tallies.iter().map(|tally| tally.delivered + tally.lost).sum();
        let is_whole = |tally: &Tally| tally.delivered + tally.lost == self.messages && tally.disordered == 0;
        self.row(name, "delivered or reported lost", known, self.tallies.iter().all(is_whole))
    }

    fn repairs(&self, name: &str, most: f64) -> Row {
        let Stats { repairs, datagrams_out, .. } = self.source;
        let metric = format!("{name}: repair datagrams over data datagrams");
        Row::reported(CASE, metric, "datagrams", Some(repairs as f64), Some(datagrams_out as f64)).with_ceiling(most)
    }

    /// Messages a second of all receivers but the first.
    fn goodput(&self, messages: u64) -> f64 {
        let last = self.ended.iter().skip(1).max().copied().unwrap_or_default();
        messages as f64 / last.as_secs_f64().max(1e-9)
    }
}

fn contest(
    bridge: &Bridge,
    name: &str,
    messages: u64,
    repair: Repair,
    loss_per_mille: impl Fn(usize) -> u64,
) -> Result<Run> {
    let started = Instant::now();
    let group = (Bridge::BROADCAST, PORT);
    let losses: Vec<u64> = (0..RECEIVERS).map(loss_per_mille).collect();
    let done = AtomicBool::new(false);
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let done = &done;
        let receivers = scope.spawn(move || {
            let heard = receive(bridge, group, &losses, repair, messages, started, || {
                let _ = ready.send(());
            });
            done.store(true, Ordering::Relaxed);
            heard
        });
        is_ready.recv().map_err(|_| Error::Failed("the receivers ended before they began".into()))?;
        let began = started.elapsed();
        let source = scope.spawn(move || send(bridge, group, repair, messages, started, done));
        let panicked = |_| Error::Failed("a thread panicked".into());
        let source = source.join().map_err(panicked)?;
        done.store(true, Ordering::Relaxed);
        let (tallies, ended) = receivers.join().map_err(panicked)??;
        let ended = ended.into_iter().map(|at| at.saturating_sub(began)).collect();
        let run = Run { messages, source: source?, tallies, ended };
        let lost: u64 = run.tallies.iter().map(|tally| tally.lost).sum();
        let Stats { repairs, datagrams_out, requests_in, .. } = run.source;
        eprintln!(
            "{CASE}: {name}: {datagrams_out} datagrams, {repairs} repairs, {requests_in} requests, {lost} lost, {:.1} s",
            (started.elapsed() - began).as_secs_f64()
        );
        Ok(run)
    })
}

/// All receivers in one thread, which opens the sockets of each on its host.
fn receive(
    bridge: &Bridge,
    group: (std::net::Ipv4Addr, u16),
    losses: &[u64],
    repair: Repair,
    messages: u64,
    started: Instant,
    ready: impl FnOnce(),
) -> Result<(Vec<Tally>, Vec<Duration>)> {
    let mut ends = Vec::new();
    for (place, &loss) in losses.iter().enumerate() {
        bridge.enter(place + 1)?;
        let mut end = End::open(group, place as u32 + 2, LANE, repair, BYTES_PER_S, started)?;
        end.subscribe(loss);
        ends.push(end);
    }
    ready();
    let mut ended: Vec<Option<Duration>> = vec![None; ends.len()];
    while ended.contains(&None) && started.elapsed() < PATIENCE {
        let mut moved = false;
        for (end, ended) in ends.iter_mut().zip(&mut ended) {
            moved |= end.step()?;
            if ended.is_none() && end.tally.delivered + end.tally.lost >= messages {
                *ended = Some(started.elapsed());
            }
        }
        if !moved {
            std::thread::sleep(IDLE);
        }
    }
    let ended = ended.into_iter().map(|at| at.unwrap_or(PATIENCE)).collect();
    Ok((ends.iter().map(|end| end.tally).collect(), ended))
}

fn send(
    bridge: &Bridge,
    group: (std::net::Ipv4Addr, u16),
    repair: Repair,
    messages: u64,
    started: Instant,
    done: &AtomicBool,
) -> Result<Stats> {
    bridge.enter(0)?;
    let mut end = End::open(group, 1, LANE, repair, BYTES_PER_S, started)?;
    end.declare();
    let mut payload = [0x5A; PAYLOAD_BYTES];
    let mut next = 0;
    while !done.load(Ordering::Relaxed) && started.elapsed() < PATIENCE {
        while next < messages && end.publish(next, &mut payload) {
            next += 1;
        }
        if !end.step()? {
            std::thread::sleep(IDLE);
        }
    }
    Ok(end.stats())
}
