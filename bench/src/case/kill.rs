//! `kill`: the broker is killed again and again, and then connections are reset, while publishers want their messages
//! delivered to ten subscribers: what was confirmed has reached all of them, once and in order.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::args::Common;
use crate::child::Child;
use crate::contest::Arena;
use crate::error::{Error, Result};
use crate::load::cutter::Cutter;
use crate::load::dice::Dice;
use crate::load::oath::{Board, Crowd, Outcome, SUBSCRIBERS};
use crate::report::Row;

const CASE: &str = "kill";
const SEED: u64 = 0x0DD5_EED5;
const KILLS: u32 = 100;
const RESETS: u32 = 1_000;
const KILLS_QUICK: u32 = 5;
const RESETS_QUICK: u32 = 50;
/// How long there is load between two kills, in milliseconds.
const LOAD_MS: (u64, u64) = (50, 250);
/// Between two resets.
const PAUSE_MS: (u64, u64) = (10, 60);
/// At least so many messages are confirmed between two interruptions, or it is waited for them.
const CONFIRMED_MIN: u64 = 1;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(60);
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Runs the case.
pub fn run(common: &Common) -> Result<Vec<Row>> {
    let (kills, resets) = if common.quick { (KILLS_QUICK, RESETS_QUICK) } else { (KILLS, RESETS) };
    let arena = Arena::open(common)?;
    println!("{CASE}: {kills} kills of the broker, then {resets} resets of connections, seed {SEED:#x}\n");
    let killed = killing(&arena, kills)?;
    let reset = resetting(&arena, resets)?;
    Ok([rows("kills", &killed), rows("resets", &reset)].concat())
}

/// What one part showed.
struct Part {
    wanted: u32,
    done: u32,
    outcome: Outcome,
}

/// Tells how far it is.
struct Progress {
    what: &'static str,
    wanted: u32,
    since: Instant,
    shown: Instant,
}

impl Progress {
    fn new(what: &'static str, wanted: u32) -> Self {
        Self { what, wanted, since: Instant::now(), shown: Instant::now() }
    }

    fn show(&mut self, done: u32, board: &Board) {
        if self.shown.elapsed() >= PROGRESS_EVERY || done == self.wanted {
            self.shown = Instant::now();
            let confirmed = board.confirmed.load(Ordering::Relaxed);
            let seconds = self.since.elapsed().as_secs();
            eprintln!("{CASE}: {done} of {} {} in {seconds} s, {confirmed} messages confirmed", self.wanted, self.what);
        }
    }
}

/// A board that lives as long as the process: threads of a part that failed may still look at it.
fn board() -> &'static Board {
    Box::leak(Box::default())
}

/// Waits until something was confirmed since `before`.
fn await_load(board: &Board, before: u64) -> Result<()> {
    let since = Instant::now();
    while board.confirmed.load(Ordering::Relaxed) < before + CONFIRMED_MIN {
        if since.elapsed() > PATIENCE {
            return Err(Error::Failed(format!("nothing was confirmed for {PATIENCE:?}")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn killing(arena: &Arena, kills: u32) -> Result<Part> {
    let state = std::env::temp_dir().join(format!("laneway-bench-kill-{}", std::process::id()));
    let config = format!("state_dir = \"{}\"\n", state.display());
    let mut broker = arena.broker(&config)?;
    let address = broker.address;
    let board = board();
    let crowd = Crowd::start(&format!("tcp://{address}"), board)?;
    let mut dice = Dice::new(SEED);
    let mut progress = Progress::new("kills", kills);
    let mut done = 0;
    while done < kills {
        let before = board.confirmed.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(LOAD_MS.0 + dice.below(LOAD_MS.1 - LOAD_MS.0)));
        await_load(board, before)?;
        // The old one has to be gone before another can listen there.
        broker = kill_and_restart(broker, arena, &config)?;
        done += 1;
        progress.show(done, board);
    }
    await_load(board, board.confirmed.load(Ordering::Relaxed))?;
    let outcome = crowd.finish()?;
    drop(broker);
    let _ = std::fs::remove_dir_all(state);
    Ok(Part { wanted: kills, done, outcome })
}

fn kill_and_restart(broker: Child, arena: &Arena, config: &str) -> Result<Child> {
    let address = broker.address;
    drop(broker);
    arena.broker_at(config, address)
}

fn resetting(arena: &Arena, resets: u32) -> Result<Part> {
    let broker = arena.broker("")?;
    let mut dice = Dice::new(SEED + 1);
    let cutter = Cutter::start(broker.address, Dice::new(SEED + 2))?;
    let board = board();
    let crowd = Crowd::start(&format!("tcp://{}", cutter.address), board)?;
    let mut progress = Progress::new("resets", resets);
    let mut done = 0;
    while done < resets {
        std::thread::sleep(Duration::from_millis(PAUSE_MS.0 + dice.below(PAUSE_MS.1 - PAUSE_MS.0)));
        done += u32::from(cutter.cut());
        progress.show(done, board);
        if done.is_multiple_of(20) {
            await_load(board, board.confirmed.load(Ordering::Relaxed))?;
        }
    }
    await_load(board, board.confirmed.load(Ordering::Relaxed))?;
    let outcome = crowd.finish()?;
    drop((cutter, broker));
    Ok(Part { wanted: resets, done, outcome })
}

fn rows(name: &str, part: &Part) -> Vec<Row> {
    let Part { wanted, done, outcome } = part;
    let faults = outcome.faults();
    let confirmed = outcome.confirmed();
    let expected = confirmed * u64::from(SUBSCRIBERS);
    let received = outcome.received();
    let count = |number: u64| Some(number as f64);
    let row = |what: &str, unit: &str, laneway: u64, floor: u64| {
        Row::reported(CASE, format!("{name}: {what}"), unit, count(laneway), count(floor))
    };
    vec![
        row("done", name, u64::from(*done), u64::from(*wanted)).judged(done == wanted),
        row("confirmed, of those published", "messages", confirmed, outcome.published()),
        row("confirmed and received by each of the ten", "messages", expected - faults.missing, expected)
            .judged(faults.missing == 0 && confirmed > 0),
        row("received once", "messages", received - faults.doubled, received).judged(faults.doubled == 0),
        row("received in order", "messages", received - faults.out_of_order, received).judged(faults.out_of_order == 0),
    ]
}
