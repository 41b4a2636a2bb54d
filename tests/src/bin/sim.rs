//! `sim`: runs one seed, or many, each twice.
//!
//! The same seed and commit give the same run. Exit code 0: all well; 1: a broken promise; 2: usage; 3: no progress;
//! 4: two runs of one seed differed; 5: a condition that has to be met was never met; 101: a crash.

use std::process::ExitCode;
use std::time::Instant;

use laneway_tests::sim::marks::{EXPECTED, Marks};
use laneway_tests::sim::matrix::{self, Sum};
use laneway_tests::sim::scenario::Scenario;
use laneway_tests::sim::system::{self, Failure, Report};

const USAGE: &str = "usage: sim SEED [--scenario NAME] [--trace]\n       sim --seeds A..B [--scenario NAME]\n       \
                     sim --matrix A..B";

struct Arguments {
    seeds: std::ops::Range<u64>,
    one: bool,
    scenario: Scenario,
    trace: bool,
    /// The matrix of streams instead of a scenario.
    matrix: bool,
}

fn parse() -> Option<Arguments> {
    let mut arguments = Arguments { seeds: 0..0, one: true, scenario: Scenario::Any, trace: false, matrix: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--trace" => arguments.trace = true,
            "--scenario" => arguments.scenario = Scenario::named(&words.next()?)?,
            "--seeds" | "--matrix" => {
                arguments.matrix = word == "--matrix";
                let range = words.next()?;
                let (first, end) = range.split_once("..")?;
                arguments.seeds = first.parse().ok()?..end.parse().ok()?;
                arguments.one = false;
            }
            seed => {
                let seed = seed.parse().ok()?;
                arguments.seeds = seed..seed + 1;
            }
        }
    }
    (!arguments.seeds.is_empty()).then_some(arguments)
}

fn main() -> ExitCode {
    let Some(arguments) = parse() else {
        let names: Vec<&str> = Scenario::ALL.iter().map(|(name, _)| *name).collect();
        eprintln!("{USAGE}\nscenarios: {}", names.join(", "));
        return ExitCode::from(2);
    };
    match &arguments {
        Arguments { matrix: true, .. } => run_matrix(&arguments),
        Arguments { one: true, .. } => run_one(&arguments),
        Arguments { .. } => run_many(&arguments),
    }
}

fn run_one(arguments: &Arguments) -> ExitCode {
    let seed = arguments.seeds.start;
    let report = system::run(seed, arguments.scenario, arguments.trace);
    println!("seed {seed}: {} events, {} delivered, hash {:016x}", report.events, report.delivered, report.hash);
    for (name, count) in report.marks.iter() {
        println!("  {name} {count}");
    }
    explain(seed, arguments.scenario, &report);
    code(&report)
}

/// Every cell of the matrix with every seed; a cell shows what was delivered, lost with a report, and how many readers were
/// sent away.
fn run_matrix(arguments: &Arguments) -> ExitCode {
    let (mut sums, mut worst) = (Vec::new(), 0);
    for cell in matrix::all() {
        let (mut sum, mut broken) = (Sum::default(), 0);
        for seed in arguments.seeds.clone() {
            let played = std::panic::catch_unwind(|| cell.play(seed));
            match played {
                Ok(Ok(one)) => {
                    sum.runs += one.runs;
                    sum.delivered += one.delivered;
                    sum.lost += one.lost;
                    sum.sent_away += one.sent_away;
                }
                Ok(Err(failure)) => {
                    println!("FAILED seed {seed}, {cell}: {failure:?}");
                    (broken, worst) = (broken + 1, worst.max(1));
                }
                Err(_) => {
                    println!("FAILED seed {seed}, {cell}: a crash (see above)");
                    (broken, worst) = (broken + 1, 101);
                }
            }
        }
        sums.push((cell, sum, broken));
    }
    let of = |cell: &matrix::Cell| {
        let found = sums.iter().find(|(other, ..)| other == cell);
        found.map_or_else(String::new, |(_, sum, broken)| match broken {
            0 => format!("{} -{} x{}", sum.delivered, sum.lost, sum.sent_away),
            broken => format!("{broken} BROKEN"),
        })
    };
    println!("delivered, -lost with a report, xsent away\n{}", matrix::table(of));
    let passed = sums.iter().filter(|(_, _, broken)| *broken == 0).count();
    let failed = sums.len() - passed;
    println!("test result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    ExitCode::from(worst)
}

fn code(report: &Report) -> ExitCode {
    match &report.failure {
        None => ExitCode::SUCCESS,
        Some(Failure::Promise(_)) => ExitCode::from(1),
        Some(Failure::Stuck(_)) => ExitCode::from(3),
    }
}

fn explain(seed: u64, scenario: Scenario, report: &Report) {
    let (kind, text) = match &report.failure {
        None => return,
        Some(Failure::Promise(text)) => ("a broken promise", text),
        Some(Failure::Stuck(text)) => ("no progress", text),
    };
    println!("FAILED seed {seed}: {kind}: {text}\n  {:?}", report.network);
    println!("  reproduce: {}", command(seed, scenario));
}

fn command(seed: u64, scenario: Scenario) -> String {
    format!("cargo run --profile sim -p laneway-tests --bin sim -- {seed} --scenario {} --trace", scenario.name())
}

/// Seeds that failed once, from `tests/seeds.txt`: one per line, with an optional scenario; `#` starts a comment.
fn known_seeds() -> Vec<(u64, Scenario)> {
    let text = include_str!("../../seeds.txt");
    let lines = text.lines().filter_map(|line| line.split('#').next()).map(str::trim).filter(|line| !line.is_empty());
    let parsed = lines.map(|line| {
        let (seed, name) = line.split_once(' ').unwrap_or((line, "any"));
        let seed = seed.parse().unwrap_or_else(|_| panic!("seeds.txt: `{line}` starts with no seed"));
        (seed, Scenario::named(name.trim()).unwrap_or_else(|| panic!("seeds.txt: `{line}` names no scenario")))
    });
    parsed.collect()
}

/// Both runs of one seed; a crash is caught, so that the seed is named before the next one runs.
fn run_twice(seed: u64, scenario: Scenario) -> Result<Report, u8> {
    let once = || std::panic::catch_unwind(|| system::run(seed, scenario, false));
    let (Ok(first), Ok(second)) = (once(), once()) else {
        println!("FAILED seed {seed}: a crash (see above)\n  reproduce: {}", command(seed, scenario));
        return Err(101);
    };
    explain(seed, scenario, &first);
    if first.hash != second.hash {
        println!("FAILED seed {seed}: two runs differ: {:016x}, {:016x}", first.hash, second.hash);
        return Err(4);
    }
    match first.failure {
        None => Ok(first),
        Some(Failure::Promise(_)) => Err(1),
        Some(Failure::Stuck(_)) => Err(3),
    }
}

fn run_many(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let known = known_seeds();
    let drawn = arguments.seeds.clone().map(|seed| (seed, arguments.scenario));
    let total = known.len() as u64 + (arguments.seeds.end - arguments.seeds.start);
    let (mut marks, mut delivered, mut events, mut worst) = (Marks::default(), 0, 0, 0);
    let (mut passed, mut failed) = (0, 0);
    for (place, (seed, scenario)) in (1..).zip(known.into_iter().chain(drawn)) {
        match run_twice(seed, scenario) {
            Ok(report) => {
                passed += 1;
                delivered += report.delivered;
                events += report.events;
                marks.merge(&report.marks);
            }
            Err(code) => {
                failed += 1;
                worst = worst.max(code);
            }
        }
        if place % 20 == 0 || place == total {
            println!("{place}/{total} seeds, {delivered} messages, {events} events, {} s", began.elapsed().as_secs());
        }
    }
    for (name, count) in marks.iter() {
        println!("  {name} {count}");
    }
    let missing = marks.missing(EXPECTED);
    if total >= 200 && arguments.scenario == Scenario::Any {
        for name in &missing {
            println!("FAILED: no seed ever reached `{name}`");
        }
        failed += missing.len();
        worst = worst.max(if missing.is_empty() { 0 } else { 5 });
    }
    println!("test result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    ExitCode::from(worst)
}
