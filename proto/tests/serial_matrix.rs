//! The matrix of lines: rates, error rates, noise and accidents, each cell in virtual time with its criteria, as a
//! table. `LANEWAY_LONG=1` runs every cell; otherwise a cover in which every two values of two columns meet.

mod serial;

use std::fmt::Write as _;

use laneway_proto::serial::hello::Role;
use laneway_proto::serial::limits::{SERIAL_BELOW_US_MAX, SERIAL_LEAD_US};
use laneway_proto::serial::mtu::{OVERHEAD_BYTES, mtu_of_baud};
use laneway_proto::time::Duration;

use serial::end::{End, setup};
use serial::line::Damage;
use serial::random::Random;
use serial::{Line, START};

const BAUDS: [u32; 4] = [9_600, 115_200, 921_600, 3_000_000];
const BIT_ERRORS: [f64; 4] = [0.0, 1e-6, 1e-5, 1e-4];
const DROPS: [f64; 3] = [0.0, 1e-4, 1e-3];
const GARBAGE: [usize; 3] = [0, 64, 4_096];
const EVENTS: [Accident; 9] = [
    Accident::None,
    Accident::DeviceReset,
    Accident::HostKilled,
    Accident::Unplugged(100),
    Accident::Unplugged(1_000),
    Accident::Unplugged(10_000),
    Accident::Replugged,
    Accident::HostPaused,
    Accident::WrongBaud,
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Accident {
    None,
    DeviceReset,
    HostKilled,
    /// For so many milliseconds; the host sees it go, and opens it again.
    Unplugged(u64),
    /// The device gets power again, too, and the host finds it under another name.
    Replugged,
    HostPaused,
    WrongBaud,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    baud: u32,
    bit_errors: f64,
    drop: f64,
    garbage: usize,
    accident: Accident,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// The longest wait of a command that was sent once, before its first byte was on the line.
    command_wait: Duration,
    frame: Duration,
    /// Of the time that bulk was backlogged, in percent.
    airtime: f64,
    below: Duration,
    repeated: f64,
    /// From the accident to the next message both ways.
    heal: Duration,
}

fn cells() -> Vec<Cell> {
    let columns = [BAUDS.len(), BIT_ERRORS.len(), DROPS.len(), GARBAGE.len(), EVENTS.len()];
    let total: usize = columns.iter().product();
    let at = |mut number: usize| {
        columns.map(|values| {
            let value = number % values;
            number /= values;
            value
        })
    };
    let all = (0..total).map(at);
    let chosen: Vec<[usize; 5]> =
        if std::env::var_os("LANEWAY_LONG").is_some() { all.collect() } else { cover(all.collect()) };
    chosen
        .into_iter()
        .map(|[baud, bits, drop, garbage, event]| Cell {
            baud: BAUDS[baud],
            bit_errors: BIT_ERRORS[bits],
            drop: DROPS[drop],
            garbage: GARBAGE[garbage],
            accident: EVENTS[event],
        })
        .collect()
}

/// Cells in which every two values of two columns meet, chosen greedily.
fn cover(all: Vec<[usize; 5]>) -> Vec<[usize; 5]> {
    let pairs = |cell: &[usize; 5]| -> Vec<(usize, usize, usize, usize)> {
        (0..5).flat_map(|a| (a + 1..5).map(move |b| (a, b))).map(|(a, b)| (a, b, cell[a], cell[b])).collect()
    };
    let mut missing: std::collections::BTreeSet<_> = all.iter().flat_map(&pairs).collect();
    let mut chosen = Vec::new();
    while !missing.is_empty() {
        let new = |cell: &&[usize; 5]| pairs(cell).iter().filter(|pair| missing.contains(pair)).count();
        let best = *all.iter().max_by_key(new).expect("there are cells");
        pairs(&best).iter().for_each(|pair| {
            missing.remove(pair);
        });
        chosen.push(best);
    }
    chosen
}

fn line(baud: u32, seed: u64) -> Line {
    let (mtu, window) = (mtu_of_baud(baud), if baud > 1_000_000 { 16 } else { 8 });
    let end = |role: Role| End::new(START, setup(role, baud, mtu, window, true), seed as u32 ^ (role as u32 + 1));
    Line::new(baud, seed, [end(Role::Host), end(Role::Device)])
}

fn run(cell: Cell, seed: u64) -> Row {
    let Cell { baud, bit_errors, drop, garbage, accident } = cell;
    let mut line = line(baud, seed);
    assert!(
        line.run_until(START + Duration::from_millis(1_000), |line| line.ends.iter().all(|end| end.link.is_open()))
    );
    let frame_bytes = usize::from(mtu_of_baud(baud)) + OVERHEAD_BYTES + usize::from(mtu_of_baud(baud)) / 254;
    let frame = Duration(frame_bytes as u64 * (10_000_000_000 / u64::from(baud)));
    let mut row = Row { frame, ..Row::default() };
    line.damage(Damage { flip: bit_errors, drop, ..Damage::default() });
    line.ends[0].publish_endlessly(line.now, 5, 4 * u32::from(mtu_of_baud(baud)));
    line.run_ms(20);
    (line.wires[0].busy, line.longest_below) = (Duration::ZERO, Duration::ZERO);
    let (start, repeated) = (line.now, line.ends[0].link.counters().repeated);
    let mut random = Random::new(seed);
    for _ in 0..20 {
        line.ends[0].publish(line.now, 1, 16);
        line.run_ms(frame.0 / 100_000 + random.below(20));
    }
    let counters = line.ends[0].link.counters();
    row.airtime = 100.0 * line.wires[0].busy.0 as f64 / line.now.since(start).0 as f64;
    row.repeated = 100.0 * f64::from(counters.repeated - repeated) / f64::from(counters.sent.max(1));
    row.below = line.longest_below;
    row.command_wait = command_wait(&line, baud);
    line.ends[0].store.endless[5] = None;
    if garbage > 0 {
        let now = line.now;
        line.wires.iter_mut().for_each(|wire| wire.garbage(now, garbage));
    }
    suffer(&mut line, accident, random.below(1 << 32) as u32 | 1);
    // Noise that is still on the line is not the link's time.
    let noise =
        if garbage > 0 { Duration(garbage as u64 * (10_000_000_000 / u64::from(baud))) } else { Duration::ZERO };
    row.heal = Duration(flows_again(&mut line).0.saturating_sub(noise.0));
    row
}

/// The longest wait of commands that no loss delayed: what remains of their way without their own time on the line.
fn command_wait(line: &Line, baud: u32) -> Duration {
    let own = Duration(27 * (10_000_000_000 / u64::from(baud)) + line.wires[0].latency.0);
    let commands = line.ends[1].received.iter().filter(|(_, label)| label.lane == 1);
    let waits = commands.filter_map(|(when, label)| {
        let published = line.ends[0].store.published.get(&(1, label.number))?;
        let left = line.ends[0].first_sent.get(&(1, label.number))?;
        // Its first copy is the one that arrived.
        (when.since(*left) <= Duration(own.0 + 100_000)).then(|| left.since(*published))
    });
    waits.max().unwrap_or_default()
}

fn suffer(line: &mut Line, accident: Accident, entropy: u32) {
    match accident {
        Accident::None => {}
        Accident::DeviceReset => line.reset(1, entropy),
        Accident::HostKilled => line.reset(0, entropy),
        Accident::Unplugged(ms) => {
            line.wires.iter_mut().for_each(|wire| wire.unplugged = true);
            line.run_ms(ms);
            line.wires.iter_mut().for_each(|wire| wire.unplugged = false);
            line.reset(0, entropy);
        }
        Accident::Replugged => {
            line.wires.iter_mut().for_each(|wire| wire.unplugged = true);
            line.run_ms(300);
            line.wires.iter_mut().for_each(|wire| wire.unplugged = false);
            line.reset(1, entropy);
            line.run_ms(30);
            line.reset(0, entropy ^ 0x5555);
        }
        Accident::HostPaused => line.pause(0, 2_000),
        Accident::WrongBaud => {
            line.wires.iter_mut().for_each(|wire| wire.scrambled = true);
            line.run_ms(3_000);
            line.wires.iter_mut().for_each(|wire| wire.scrambled = false);
        }
    }
}

/// From now until a message published from now on has passed each way.
fn flows_again(line: &mut Line) -> Duration {
    let start = line.now;
    let passed = |line: &Line| {
        (0..2).all(|at| {
            let published = &line.ends[1 - at].store.published;
            line.ends[at].received.iter().rev().take_while(|(when, _)| *when >= start).any(|(_, label)| {
                label.lane == 2 && published.get(&(2, label.number)).is_some_and(|when| *when >= start)
            })
        })
    };
    let until = start + Duration::from_millis(6_000);
    while line.now < until {
        for at in 0..2 {
            if !line.ends[at].has_queued(2) {
                line.ends[at].publish(line.now, 2, 16);
            }
        }
        if line.run_until(line.now + Duration::from_millis(40), passed) {
            return line.now.since(start);
        }
    }
    Duration(u64::MAX)
}

fn problems(cell: Cell, row: Row) -> Vec<String> {
    let mut problems = Vec::new();
    let mut check = |good: bool, what: &str| {
        if !good {
            problems.push(format!("{cell:?}: {what}: {row:?}"));
        }
    };
    let clean = cell.bit_errors <= 1e-6 && cell.drop == 0.0;
    check(row.command_wait <= Duration(row.frame.0 + 1_000 * u64::from(SERIAL_LEAD_US)), "a command waits too long");
    check(row.below <= Duration::from_micros(u64::from(SERIAL_BELOW_US_MAX)).max(Duration(2 * row.frame.0)), "driver");
    check(!clean || row.airtime >= 95.0, "airtime");
    // With an error in every third frame, a message needs several attempts.
    let bad = cell.bit_errors >= 1e-4 || cell.drop >= 1e-3;
    let bound_ms = if cell.baud >= 115_200 && !bad { 500 } else { 1_000 };
    check(row.heal <= Duration::from_millis(bound_ms), "it heals too slowly");
    problems
}

#[test]
fn every_cell_of_the_matrix_keeps_its_criteria() {
    let ms = |span: Duration| span.0 as f64 / 1e6;
    let mut table = String::from(
        "baud     bit err drop    noise accident          | frame ms wait ms airtime driver ms repeated heal ms\n",
    );
    let mut wrong = Vec::new();
    for (seed, cell) in (1..).zip(cells()) {
        let row = run(cell, seed);
        let Cell { baud, bit_errors, drop, garbage, accident } = cell;
        let accident = format!("{accident:?}");
        writeln!(
            table,
            "{baud:8} {bit_errors:<7.0e} {drop:<7.0e} {garbage:5} {accident:17} | {:8.2} {:7.2} {:6.1}% {:9.2} {:7.1}% {:7.1}",
            ms(row.frame),
            ms(row.command_wait),
            row.airtime,
            ms(row.below),
            row.repeated,
            ms(row.heal)
        )
        .expect("a string takes it");
        wrong.extend(problems(cell, row));
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{} of the cells:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn an_ordered_lane_keeps_its_rate_where_one_byte_in_a_thousand_is_dropped() {
    let rate = |drop: f64, seed: u64| {
        let mut line = line(115_200, seed);
        line.run_ms(300);
        line.damage(Damage { drop, ..Damage::default() });
        line.ends[0].publish_endlessly(line.now, 1, 64);
        line.run_ms(10_000);
        line.ends[1].received.len()
    };
    let clean = rate(0.0, 1);
    for seed in 1..4 {
        let kept = 100 * rate(1e-3, seed) / clean;
        println!("seed {seed}: {kept} % of {clean} messages in 10 s");
        assert!(kept >= 70, "seed {seed}: {kept} %");
    }
}
