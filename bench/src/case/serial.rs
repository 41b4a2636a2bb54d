//! `serial`: a broker, a line of 115,200 bits per second and an emulated Cortex-M with the C library. On a bad line everything
//! arrives in order; on a good one a command overtakes bulk, and bulk fills the line.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use laneway_client::blocking::{Client, Subscription};
use laneway_client::{ConnectOptions, Lane};
use laneway_proto::serial::mtu::{OVERHEAD_BYTES, mtu_of_baud};

use crate::args::Common;
use crate::contest::Arena;
use crate::error::{Error, Result};
use crate::load::uart::{Arrived, Faults, Uart};
use crate::report::Row;

const CASE: &str = "serial";
const SEED: u64 = 0x5E51_A1C0;
const BAUD: u32 = 115_200;
const MACHINE: &str = "lm3s6965evb";
const BAD: Faults = Faults { flips: 200, drops: 100 };
const MESSAGES: u32 = 10_000;
const MESSAGES_QUICK: u32 = 200;
const COMMANDS: u32 = 400;
const COMMANDS_QUICK: u32 = 20;
/// Between two commands.
const PAUSE: Duration = Duration::from_millis(40);
/// Beside one fragment's airtime, for the 99th percentile of commands.
const BESIDE: Duration = Duration::from_millis(15);
const OCCUPANCY_MIN: f64 = 0.9;
/// Bytes of a message of bulk, which travels as one frame.
const BULK_BYTES: usize = 88;
/// The library's own lanes, and bulk.
const LANES: &str = "{{LW_RO,0,0},{LW_RO,1,0},{LW_RU,2,0},{LW_US,2,0},{LW_UU,3,0},{LW_RO,5,0}}";
/// What commands begin with.
const MARK: u32 = 0xC0_44_A4_D5;
/// How long nothing may arrive.
const PATIENCE: Duration = Duration::from_secs(20);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Runs the case.
pub fn run(common: &Common) -> Result<Vec<Row>> {
    let arena = Arena::open(common)?;
    let image = image("lm3s")?;
    let messages = if common.quick { MESSAGES_QUICK } else { MESSAGES };
    let commands = if common.quick { COMMANDS_QUICK } else { COMMANDS };
    println!("{CASE}: {BAUD} bits per second, seed {SEED:#x}, {MACHINE} with the C library\n");
    let mut rows = complete(&arena, &image, messages)?;
    rows.extend(overtaking(&arena, &image, commands, Faults::default())?);
    rows.extend(overtaking(&arena, &image, commands, BAD)?);
    let _ = std::fs::remove_file(image);
    Ok(rows)
}

/// The test image of a board.
fn image(board: &str) -> Result<PathBuf> {
    let missing = |program: &str| {
        let status = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        !status.is_ok_and(|status| status.success())
    };
    if let Some(program) = ["arm-none-eabi-gcc", "qemu-system-arm"].into_iter().find(|program| missing(program)) {
        return Err(Error::Missing(format!("there is no {program}; install it")));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/firmware/c/build.sh");
    let options = format!("-DBOARD_BAUD={BAUD} -DLW_LANES=6 -DLW_LANE_TABLE={LANES}");
    let out = std::env::temp_dir().join(format!("laneway-bench-{board}-{}.elf", std::process::id()));
    let built = Command::new(&script).arg(board).arg(&out).env("OPTIONS", options).status();
    let built = built.map_err(Error::io(format!("running {}", script.display())))?;
    if built.success() { Ok(out) } else { Err(Error::Failed(format!("{} failed", script.display()))) }
}

/// A broker, a line and a board that has subscribed.
struct Bench {
    uart: Uart,
    client: Client,
    up: Subscription,
    _broker: crate::child::Child,
}

impl Bench {
    fn start(arena: &Arena, image: &Path, faults: Faults) -> Result<Self> {
        let uart = Uart::start(MACHINE, image, BAUD, SEED, faults)?;
        let broker = arena.broker_with_port(&uart.url())?;
        let client = ConnectOptions::new().connect_blocking(&format!("tcp://{}", broker.address)).map_err(failed)?;
        let up = client.subscribe("board/up").map_err(failed)?;
        let mut bench = Self { uart, client, up, _broker: broker };
        // It publishes once it has a session, and its subscription stands in front of that.
        bench.next()?;
        Ok(bench)
    }

    /// The board's next message: its number, messages it has seen, how many of those were wrong, its sessions.
    fn next(&mut self) -> Result<[u32; 4]> {
        match self.up.recv_timeout(PATIENCE) {
            Ok(Some(message)) => {
                let mut words = [0; 4];
                for (word, bytes) in words.iter_mut().zip(message.payload.chunks_exact(4)) {
                    *word = bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte));
                }
                Ok(words)
            }
            Ok(None) => Err(Error::Failed(format!("the board said nothing for {PATIENCE:?}"))),
            Err(error) => Err(failed(error)),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Failed(format!("the broker: {error}"))
}

/// Numbered messages both ways on a bad line.
fn complete(arena: &Arena, image: &Path, messages: u32) -> Result<Vec<Row>> {
    let mut bench = Bench::start(arena, image, BAD)?;
    let publisher = bench.client.clone();
    let sent = thread::spawn(move || {
        (0..messages).try_for_each(|number| publisher.publish("board/down", &number.to_le_bytes()[..]))
    });
    let (begin, mut shown) = (Instant::now(), Instant::now());
    let (mut expected, mut disordered, mut last) = (None, 0, [0; 4]);
    let mut own = 0;
    while own < messages || last[1] < messages {
        last = bench.next()?;
        disordered += u32::from(expected.is_some_and(|expected| expected != last[0]));
        expected = Some(last[0] + 1);
        own += 1;
        if shown.elapsed() > PROGRESS_EVERY {
            shown = Instant::now();
            eprintln!("{CASE}: {own} up, {} down of {messages} in {:.0?}", last[1], begin.elapsed());
        }
    }
    let sent = sent.join().map_err(|_| Error::Failed("the publisher failed".into()))?;
    sent.map_err(|error| Error::Failed(format!("publishing: {error}")))?;
    let count = |number: u32| Some(f64::from(number));
    let good_down = last[1].saturating_sub(last[2]);
    Ok(vec![
        Row::reported(
            CASE,
            "bad line: down, complete and in order".into(),
            "messages",
            count(good_down),
            count(messages),
        )
        .judged(last[1] == messages && last[2] == 0),
        Row::reported(
            CASE,
            "bad line: up, complete and in order".into(),
            "messages",
            count(own - disordered),
            count(own),
        )
        .judged(disordered == 0),
        Row::reported(CASE, "bad line: sessions".into(), "sessions", count(last[3]), Some(1.0)).judged(last[3] == 1),
    ])
}

/// Commands while bulk fills the line.
fn overtaking(arena: &Arena, image: &Path, commands: u32, faults: Faults) -> Result<Vec<Row>> {
    let bench = Bench::start(arena, image, faults)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (publisher, stopped) = (bench.client.clone(), Arc::clone(&stop));
    let bulk = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            if publisher.publish_with("board/down", &[0x55_u8; BULK_BYTES][..], Lane::BULK.into()).is_err() {
                break;
            }
        }
    });
    // Until the queues are full.
    thread::sleep(Duration::from_secs(2));
    let _ = bench.uart.take_arrived();
    let (begin, bytes) = (Instant::now(), bench.uart.down_bytes());
    let mut sent = Vec::new();
    for number in 0..commands {
        sent.push(Instant::now());
        let payload = [MARK.to_le_bytes(), number.to_le_bytes()].concat();
        let published = bench.client.publish("board/down", payload);
        published.map_err(|error| Error::Failed(format!("publishing: {error}")))?;
        thread::sleep(PAUSE);
    }
    let time = begin.elapsed();
    let occupancy = bench.uart.airtime(bench.uart.down_bytes() - bytes).as_secs_f64() / time.as_secs_f64();
    thread::sleep(Duration::from_secs(2));
    let arrived = bench.uart.take_arrived();
    stop.store(true, Ordering::Relaxed);
    drop(bench);
    let _ = bulk.join();
    let mut latencies = latencies(&sent, &arrived);
    latencies.sort_unstable();
    let at = |part: f64| {
        let place = (latencies.len() as f64 * part).ceil() as usize;
        latencies.get(place.saturating_sub(1)).map(|time| time.as_secs_f64() * 1e3)
    };
    let fragment = f64::from(mtu_of_baud(BAUD)) + OVERHEAD_BYTES as f64;
    let allowed = fragment * 10_000.0 / f64::from(BAUD) + BESIDE.as_secs_f64() * 1e3;
    let good = faults.drops == 0;
    let line = if good { "good line" } else { "bad line" };
    let row =
        |what: &str, unit: &str, laneway, floor| Row::reported(CASE, format!("{line}: {what}"), unit, laneway, floor);
    let p99 = row("commands beside bulk, 99th percentile, over what is allowed", "ms", at(0.99), Some(allowed));
    let occupied = row("occupied while there is bulk", "share", Some(occupancy), Some(1.0));
    let all = row("commands that arrived", "commands", Some(latencies.len() as f64), Some(f64::from(commands)));
    Ok(vec![
        row("commands beside bulk, median", "ms", at(0.5), Some(allowed)),
        if good { p99.with_ceiling(1.0) } else { p99 },
        if good { occupied.with_bar(Some(OCCUPANCY_MIN)) } else { occupied },
        all.judged(latencies.len() == sent.len()),
    ])
}

/// How long each command took until it had arrived, the first time if it did more than once.
fn latencies(sent: &[Instant], arrived: &[Arrived]) -> Vec<Duration> {
    let number = |payload: &[u8]| {
        let (mark, number) = payload.split_first_chunk::<4>()?;
        let number = u32::from_le_bytes(*number.first_chunk()?);
        (u32::from_le_bytes(*mark) == MARK).then_some(number as usize)
    };
    let mut first: Vec<Option<Instant>> = vec![None; sent.len()];
    for Arrived { at, payload, .. } in arrived {
        if let Some(place) = number(payload).and_then(|number| first.get_mut(number)) {
            place.get_or_insert(*at);
        }
    }
    sent.iter().zip(first).filter_map(|(sent, at)| Some(at?.saturating_duration_since(*sent))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_counts_when_it_arrives_first() {
        let now = Instant::now();
        let at = |ms: u64| now + Duration::from_millis(ms);
        let command = |number: u32, ms: u64| Arrived {
            at: at(ms),
            lane: 1,
            payload: [MARK.to_le_bytes(), number.to_le_bytes()].concat(),
        };
        let bulk = Arrived { at: at(1), lane: 5, payload: vec![0x55; BULK_BYTES] };
        let arrived = [bulk, command(1, 30), command(0, 10), command(1, 90), command(7, 1)];
        let took = latencies(&[at(5), at(20), at(40)], &arrived);
        assert_eq!(took, [Duration::from_millis(5), Duration::from_millis(10)], "the third has not arrived");
    }
}
