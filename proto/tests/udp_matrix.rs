//! The matrix of paths: loss, doubles, reordering, damage, round trip, rate and length, for each kind of lane; each cell is
//! a session in virtual time that must keep every promise of its lane. A cover in which every two values of two columns
//! meet. The criteria that name one cell each are tests of their own.

mod udp;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use laneway_proto::datagram::limits::UNRELIABLE_FRAGMENTS_MAX;
use laneway_proto::datagram::session::{IN_FLIGHT_MAX_DEFAULT, Setup};
use laneway_proto::frame::extensions::{Extensions, Frag};
use laneway_proto::header::Flags;
use laneway_proto::limits::{EXTENSION_BYTES, HEADER_BYTES};
use laneway_proto::time::Duration;
use udp::{Dice, Pair, Path, RO, RU, US, UU};

const LOSS: [f64; 8] = [0.0, 0.1, 1.0, 5.0, 10.0, 20.0, 30.0, 50.0];
const DOUBLE: [f64; 4] = [0.0, 1.0, 10.0, 50.0];
const REORDER: [f64; 4] = [0.0, 1.0, 10.0, 30.0];
const REORDER_US: [u64; 3] = [1_000, 10_000, 40_000];
const CORRUPT: [f64; 5] = [0.0, 0.01, 1.0, 5.0, 30.0];
const RTT_US: [u64; 4] = [200, 5_000, 30_000, 150_000];
/// Bytes a second; 0: as fast as it goes.
const RATE: [u64; 4] = [8_000, 125_000, 12_500_000, 0];
const BYTES: [usize; 7] = [0, 1, 16, 1_432, 1_433, 16 * 1_024, 1_024 * 1_024];
const COLUMNS: [usize; 8] =
    [LOSS.len(), DOUBLE.len(), REORDER.len(), REORDER_US.len(), CORRUPT.len(), RTT_US.len(), RATE.len(), BYTES.len()];
/// Bytes of a datagram, as on Ethernet.
const DATAGRAM_BYTES: usize = 1_472;
/// Where more is lost than in the cells of 30 %, what lives may be silent for long.
const PATIENT_MS: u32 = 30_000;
const PATIENT_ABOVE: f64 = 0.31;
/// How long a healed session may take besides the time that its rate asks for.
const DRAIN_MS: u64 = 5_000;

type Places = [usize; COLUMNS.len()];

#[derive(Clone, Copy, Debug)]
struct Cell {
    lane: u8,
    path: Path,
    rate: u64,
    bytes: usize,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    sent: usize,
    delivered: usize,
    repeated_percent: f64,
    lost_in_error: u64,
    ms: u64,
}

impl Cell {
    fn new(lane: u8, places: Places) -> Self {
        let [loss, double, reorder, reorder_us, corrupt, rtt, rate, bytes] = places;
        let path = Path {
            loss_percent: LOSS[loss],
            double_percent: DOUBLE[double],
            delay_us: RTT_US[rtt] / 2,
            jitter_us: 0,
            reorder_percent: REORDER[reorder],
            reorder_us: REORDER_US[reorder_us],
            corrupt_percent: CORRUPT[corrupt],
        };
        Self { lane, path, rate: RATE[rate], bytes: BYTES[bytes] }
    }

    fn is_reliable(&self) -> bool {
        matches!(self.lane, RO | RU)
    }

    /// Parts of one that do not arrive as they were sent.
    fn harm(&self) -> f64 {
        1.0 - (1.0 - self.path.loss_percent / 100.0) * (1.0 - self.path.corrupt_percent / 100.0)
    }

    /// Messages that are worth the time of the cell.
    fn messages(&self) -> usize {
        let bytes_max = if self.rate == 0 { 1_500_000 } else { (self.rate * 3).min(1_500_000) } as usize;
        (bytes_max / (self.bytes + HEADER_BYTES)).clamp(3, 400)
    }

    fn pair(&self, seed: u64) -> Pair {
        let patient = self.harm() > PATIENT_ABOVE;
        Pair::agreed(seed, self.path, |setup| Setup {
            datagram_bytes: DATAGRAM_BYTES,
            crc: true,
            bytes_per_s: self.rate,
            dead_after: if patient { Duration::from_millis(PATIENT_MS) } else { setup.dead_after },
            ..setup
        })
    }

    /// Milliseconds that the rate asks for, and what may be under way in a round trip.
    fn transfer_ms(&self, messages: usize) -> u64 {
        let bytes = messages * (self.bytes + self.bytes / 1_000 * 60 + 100);
        let round_trips = (bytes / DATAGRAM_BYTES / IN_FLIGHT_MAX_DEFAULT) as u64 + 1;
        round_trips * 2 * self.path.delay_us / 1_000 + self.rate_ms(bytes)
    }

    fn rate_ms(&self, bytes: usize) -> u64 {
        (bytes as u64 * 1_000).checked_div(self.rate).unwrap_or(0)
    }
}

/// The bytes of a message: its number, and what follows from it.
fn payload(number: usize, bytes: usize) -> Vec<u8> {
    let mut payload: Vec<u8> = (0..bytes).map(|at| (number * 31 + at * 7) as u8).collect();
    if let Some(front) = payload.first_chunk_mut() {
        *front = (number as u32).to_le_bytes();
    }
    payload
}

/// Offers a message as its owner does: in fragments, if a datagram has no room for it.
fn offer(pair: &mut Pair, lane: u8, payload: &[u8]) {
    let room = pair.sides[0].machine.room_bytes() - HEADER_BYTES;
    let owner = &mut pair.sides[0].owner;
    if payload.len() <= room {
        return owner.offer(lane, 70_000, payload, None);
    }
    let parts = payload.chunks(room - EXTENSION_BYTES);
    let count = parts.len() as u16;
    for (part, index) in parts.zip(0u16..) {
        let frag = Frag { index, count, total_len: payload.len() as u32 };
        owner.offer_frame(lane, 70_000, Some(frag), &[&frag.encode()[..], part].concat(), None);
    }
}

/// The messages that arrived whole, in the order in which they became so.
fn arrived(pair: &mut Pair, lane: u8) -> Vec<Vec<u8>> {
    let now = pair.now;
    let side = &mut pair.sides[1];
    let mut partial: BTreeMap<u32, BTreeMap<u16, Vec<u8>>> = BTreeMap::new();
    let mut whole = Vec::new();
    for ((of, body), (header, _)) in side.owner.delivered.iter().zip(&side.owner.headers) {
        if *of != lane {
            continue;
        }
        if !header.flags.has(Flags::FRAG) {
            whole.push(body.clone());
            continue;
        }
        let (extensions, part) = Extensions::decode(header.flags, body).expect("sound");
        let frag = extensions.frag.expect("a fragment");
        let first = header.seq - u32::from(frag.index);
        let parts = partial.entry(first).or_default();
        assert!(parts.insert(frag.index, part.to_vec()).is_none(), "a fragment came twice");
        if parts.len() == usize::from(frag.count) {
            let message = partial.remove(&first).expect("it is there").into_values().collect::<Vec<_>>().concat();
            assert_eq!(message.len(), frag.total_len as usize);
            if lane != US || side.machine.accepts_newest(now, header, first) {
                whole.push(message);
            }
        }
    }
    whole
}

/// Plays a cell, and judges it.
fn play(cell: &Cell, seed: u64) -> Result<Row, String> {
    let (messages, lane) = (cell.messages(), cell.lane);
    let mut pair = cell.pair(seed);
    for number in 0..messages {
        offer(&mut pair, lane, &payload(number, cell.bytes));
    }
    let start = pair.now;
    let over = |pair: &Pair| pair.sides.iter().any(|side| side.machine.ended().is_some());
    let transfer_ms = cell.transfer_ms(messages);
    // Long enough for what is sent again and again; then the path is whole.
    let settled = pair.run(transfer_ms as u32 * 4 + 60_000, |pair| pair.is_settled() || over(pair));
    let ms = pair.now.since(start).as_millis();
    if !settled {
        pair.path = Path { delay_us: cell.path.delay_us, ..Path::CLEAN };
        if !pair.run((transfer_ms + DRAIN_MS) as u32, |pair| pair.is_settled() || over(pair)) {
            return Err("it does not come to its end after the path was whole again".into());
        }
    }
    if let Some(ended) = pair.sides.iter().find_map(|side| side.machine.ended()) {
        return Err(format!("the session ended after {ms} ms: {ended:?}"));
    }
    // What is still under way arrives.
    pair.run(300, |_| false);
    let counters = *pair.sides[0].machine.counters();
    let arrived = arrived(&mut pair, lane);
    judge(cell, messages, &arrived)?;
    Ok(Row {
        sent: messages,
        delivered: arrived.len(),
        repeated_percent: 100.0 * counters.retransmitted as f64 / counters.sent.max(1) as f64,
        lost_in_error: counters.lost_in_error,
        ms,
    })
}

/// What the lane promises.
fn judge(cell: &Cell, sent: usize, arrived: &[Vec<u8>]) -> Result<(), String> {
    if cell.bytes < 4 {
        // They carry no number.
        let sound = arrived.iter().all(|message| message.len() == cell.bytes);
        let complete = !cell.is_reliable() || arrived.len() == sent;
        return if sound && complete && arrived.len() <= sent {
            Ok(())
        } else {
            Err(format!("{} of {sent} arrived, sound: {sound}", arrived.len()))
        };
    }
    let number = |message: &Vec<u8>| u32::from_le_bytes(*message.first_chunk().expect("a number")) as usize;
    let numbers: Vec<usize> = arrived.iter().map(number).collect();
    for (message, &number) in arrived.iter().zip(&numbers) {
        if number >= sent || *message != payload(number, cell.bytes) {
            return Err(format!("message {number} is not as it was sent"));
        }
    }
    let distinct: BTreeSet<usize> = numbers.iter().copied().collect();
    if distinct.len() != numbers.len() {
        return Err("something was delivered twice".into());
    }
    if matches!(cell.lane, RO | US) && !numbers.is_sorted() {
        return Err("an older one came behind a newer one".into());
    }
    if cell.is_reliable() && numbers.len() != sent {
        return Err(format!("{} of {sent} arrived", numbers.len()));
    }
    Ok(())
}

/// Cells in which every two values of two columns meet, and some more; the best of a few at random each time.
fn cover(dice: &mut Dice) -> Vec<Places> {
    let pairs = |cell: &Places| -> Vec<(usize, usize, usize, usize)> {
        let columns = 0..COLUMNS.len();
        columns
            .clone()
            .flat_map(|a| (a + 1..COLUMNS.len()).map(move |b| (a, b)))
            .map(|(a, b)| (a, b, cell[a], cell[b]))
            .collect()
    };
    let mut missing: BTreeSet<(usize, usize, usize, usize)> = BTreeSet::new();
    for (b, values) in COLUMNS.into_iter().enumerate() {
        for (a, others) in COLUMNS.into_iter().enumerate().take(b) {
            missing.extend((0..others).flat_map(|x| (0..values).map(move |y| (a, b, x, y))));
        }
    }
    let mut chosen = Vec::new();
    while let Some(&(a, b, x, y)) = missing.first() {
        let candidates = (0..30).map(|_| {
            let mut cell = random(dice);
            (cell[a], cell[b]) = (x, y);
            cell
        });
        let best = candidates.max_by_key(|cell| pairs(cell).iter().filter(|pair| missing.contains(pair)).count());
        let best = best.expect("there are candidates");
        for pair in pairs(&best) {
            missing.remove(&pair);
        }
        chosen.push(best);
    }
    chosen
}

fn random(dice: &mut Dice) -> Places {
    COLUMNS.map(|values| dice.below(values as u64) as usize)
}

/// Plays the cells of one kind of lane, and prints what they came to.
fn matrix(kind: &str, lane: u8) {
    let mut dice = Dice::new(u64::from(lane));
    let cells = cover(&mut dice);
    let mut table = format!(
        "{kind}: {} cells\n  seed  loss double reorder    ms corrupt rtt ms     kB/s   bytes \
         | delivered    of again lost in error      ms\n",
        cells.len()
    );
    let (mut wrong, mut delivered) = (Vec::new(), 0);
    for (seed, places) in (1..).zip(cells) {
        let mut cell = Cell::new(lane, places);
        let step = DATAGRAM_BYTES - 4 * HEADER_BYTES;
        if !cell.is_reliable() && cell.bytes.div_ceil(step) > usize::from(UNRELIABLE_FRAGMENTS_MAX) {
            // Longer than an unreliable lane takes.
            cell.bytes = 16 * 1_024;
        }
        match play(&cell, seed) {
            Ok(row) => {
                delivered += row.delivered;
                write_row(&mut table, seed, &cell, &row);
            }
            Err(problem) => wrong.push(format!("seed {seed}: {cell:?}: {problem}")),
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{kind}: {} cells:\n{}", wrong.len(), wrong.join("\n"));
    assert!(delivered > 1_000, "{kind}: {delivered} messages");
}

fn write_row(table: &mut String, seed: u64, cell: &Cell, row: &Row) {
    let Cell { path, rate, bytes, .. } = cell;
    writeln!(
        table,
        "{seed:6} {:4.1}% {:5.0}% {:6.0}% {:5} {:6.2}% {:6.1} {:8} {bytes:7} | {:9} {:5} {:4.0}% {:13} {:7}",
        path.loss_percent,
        path.double_percent,
        path.reorder_percent,
        path.reorder_us / 1_000,
        path.corrupt_percent,
        path.delay_us as f64 / 500.0,
        rate / 1_000,
        row.delivered,
        row.sent,
        row.repeated_percent,
        row.lost_in_error,
        row.ms,
    )
    .expect("a string takes it");
}

#[test]
fn reliable_ordered_lanes_keep_their_promise_in_every_cell() {
    matrix("RO", RO);
}

#[test]
fn reliable_unordered_lanes_keep_their_promise_in_every_cell() {
    matrix("RU", RU);
}

#[test]
fn sequenced_lanes_keep_their_promise_in_every_cell() {
    matrix("US", US);
}

#[test]
fn unreliable_lanes_keep_their_promise_in_every_cell() {
    matrix("UU", UU);
}

/// Latencies of a lane at 1,000 messages a second, in nanoseconds, sorted; and how many were sent.
fn latencies(lane: u8, path: Path) -> Vec<u64> {
    const MESSAGES: usize = 20_000;
    let mut pair = Pair::agreed(u64::from(lane), path, |setup| setup);
    let mut published = Vec::new();
    for number in 0..MESSAGES {
        pair.sides[0].owner.offer(lane, 70_000, &payload(number, 64), None);
        published.push(pair.now);
        pair.run(1, |_| false);
    }
    assert!(pair.run(10_000, |pair| pair.is_settled()));
    pair.run(100, |_| false);
    let owner = &pair.sides[1].owner;
    let latency = |((_, body), (_, at)): (&(u8, Vec<u8>), &(_, laneway_proto::time::Instant))| {
        at.since(published[u32::from_le_bytes(*body.first_chunk().expect("a number")) as usize]).0
    };
    let mut latencies: Vec<u64> = owner.delivered.iter().zip(&owner.headers).map(latency).collect();
    latencies.sort_unstable();
    latencies
}

#[test]
fn one_lost_in_a_hundred_costs_a_reliable_lane_two_round_trips_more_and_others_nothing() {
    let path = Path { loss_percent: 1.0, delay_us: 2_500, ..Path::CLEAN };
    for lane in [RO, US, UU] {
        let latencies = latencies(lane, path);
        let p99 = latencies[latencies.len() * 99 / 100];
        println!("lane {lane}: {} delivered, p99 {} us", latencies.len(), p99 / 1_000);
        let bound = if lane == RO { 3 * 5_000_000 } else { 2_500_000 * 12 / 10 };
        assert!(p99 <= bound, "lane {lane}: p99 {} us", p99 / 1_000);
    }
}

#[test]
fn a_rate_is_used_at_every_loss_up_to_one_in_ten_and_little_is_sent_in_vain() {
    const MESSAGES: usize = 20_000;
    for (rate, rtt_us) in [(125_000, 200), (125_000, 30_000), (12_500_000, 200), (0, 200)] {
        for loss_percent in [0.0, 1.0, 5.0, 10.0] {
            let path = Path { loss_percent, delay_us: rtt_us / 2, ..Path::CLEAN };
            let cell = Cell { lane: RO, path, rate, bytes: 1_400 };
            let mut pair = cell.pair(7);
            for number in 0..MESSAGES {
                offer(&mut pair, RO, &payload(number, 1_400));
            }
            let start = pair.now;
            let what = format!("{rate} B/s, round trip {rtt_us} us, {loss_percent} % lost");
            assert!(pair.run(400_000, |pair| pair.is_settled()), "{what}");
            let last = pair.sides[1].owner.headers.last().expect("all of them").1;
            let goodput = (MESSAGES * 1_400) as f64 / (last.since(start).0 as f64 / 1e9);
            let counters = *pair.sides[0].machine.counters();
            let (p, again) = (loss_percent / 100.0, counters.retransmitted as f64 / counters.sent as f64);
            println!("{what}: {goodput:.0} B/s, {again:.4} of what was sent was sent again");
            assert!(goodput >= 0.8 * (1.0 - p) * rate as f64, "{what}: {goodput:.0} B/s");
            // An acknowledgement that has none behind it is missed, too, when it is lost.
            let ways = if rate == 125_000 { 2.0 } else { 1.0 };
            assert!(again <= ways * 1.5 * p / (1.0 - p), "{what}: {again:.4} of what was sent is sent again");
        }
    }
}

#[test]
fn reordering_is_learned_within_a_second() {
    let path = Path { reorder_percent: 10.0, reorder_us: 10_000, delay_us: 2_500, ..Path::CLEAN };
    let cell = Cell { lane: RO, path, rate: 1_250_000, bytes: 1_400 };
    let mut pair = cell.pair(3);
    for number in 0..6_000 {
        offer(&mut pair, RO, &payload(number, 1_400));
    }
    pair.run(1_000, |_| false);
    let before = *pair.sides[0].machine.counters();
    assert!(pair.run(60_000, |pair| pair.is_settled()));
    let after = *pair.sides[0].machine.counters();
    let (again, sent) = (after.retransmitted - before.retransmitted, after.sent - before.sent);
    println!("{again} of {sent} sent again in vain after the first second");
    assert!(sent > 4_000 && again * 100 <= 2 * sent, "{again} of {sent}");
}

#[test]
fn acknowledgements_are_a_hundredth_of_what_they_acknowledge() {
    let cell = Cell { lane: RO, path: Path { delay_us: 100, ..Path::CLEAN }, rate: 0, bytes: 1_400 };
    let mut pair = cell.pair(5);
    for number in 0..20_000 {
        offer(&mut pair, RO, &payload(number, 1_400));
    }
    assert!(pair.run(60_000, |pair| pair.is_settled()));
    let [data, acks] = [pair.wires[0].bytes, pair.wires[1].bytes];
    println!("{acks} bytes acknowledge {data}");
    assert_eq!(pair.sides[0].machine.counters().retransmitted, 0);
    assert!(acks * 100 <= data, "{acks} bytes for {data}");
}

/// What arrived of every lane, and what it took.
fn story(first: u32) -> (Vec<(u8, Vec<u8>)>, String) {
    let path = Path {
        loss_percent: 5.0,
        double_percent: 5.0,
        delay_us: 500,
        reorder_percent: 10.0,
        reorder_us: 3_000,
        ..Path::CLEAN
    };
    let mut pair = Pair::agreed(11, path, |setup| Setup { first, ..setup });
    for number in 0..300 {
        for lane in [RO, RU, US, UU] {
            offer(&mut pair, lane, &payload(number, 900));
        }
    }
    assert!(pair.run(60_000, |pair| pair.is_settled()), "from {first} on");
    pair.run(300, |_| false);
    let counters = pair.sides.each_ref().map(|side| *side.machine.counters());
    (std::mem::take(&mut pair.sides[1].owner.delivered), format!("{counters:?}"))
}

#[test]
fn numbers_that_wrap_make_no_difference() {
    let usual = story(1);
    assert!(usual.0.len() > 1_100, "{} arrived", usual.0.len());
    for first in [(1 << 16) - 8, u32::MAX - 7, u32::MAX - 200, 1 << 31] {
        assert!(story(first) == usual, "from {first} on");
    }
}
