//! `laneway-bench CASE`: see `laneway-bench --help`.

use std::process::ExitCode;

use clap::Parser as _;
use laneway_bench::args::{Args, Command, Common};
use laneway_bench::error::Result;
use laneway_bench::report::Row;
use laneway_bench::{case, child, compare, count, gate, reaper, relay, report};

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("laneway-bench: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Runs a case; what it starts ends with it.
fn measure(case: impl FnOnce(&Common) -> Result<Vec<Row>>, common: &Common) -> Result<Vec<Row>> {
    reaper::install();
    case(common)
}

fn run(command: Command) -> Result<ExitCode> {
    let (common, rows) = match command {
        Command::Relay(options) => {
            let job = options.job()?;
            relay::serve(options.base, options.index, job)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Child(options) => return Err(child::become_program(&options)),
        Command::Counted { work } => {
            work.run()?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Count(options) => (options.common.clone(), measure(|_| count::run(&options), &options.common)?),
        Command::Compare(options) => (options.common.clone(), measure(|_| compare::run(&options), &options.common)?),
        Command::Throughput(options) => {
            (options.common.clone(), measure(|_| case::throughput::run(&options), &options.common)?)
        }
        Command::Floor(common) => (common.clone(), measure(case::floor::run, &common)?),
        Command::Latency(common) => (common.clone(), measure(case::latency::run, &common)?),
        Command::Ping(common) => (common.clone(), measure(case::ping::run, &common)?),
        Command::Conflate(common) => (common.clone(), measure(case::conflate::run, &common)?),
        Command::LaneIsolation(common) => (common.clone(), measure(case::lane_isolation::run, &common)?),
        Command::Kill(common) => (common.clone(), measure(case::kill::run, &common)?),
        Command::UdpBroadcast(common) => (common.clone(), measure(case::udp_broadcast::run, &common)?),
        Command::UdpFilter(common) => (common.clone(), measure(case::udp_filter::run, &common)?),
        Command::SlowConsumer(common) => (common.clone(), measure(case::slow_consumer::run, &common)?),
    };
    print!("{}", report::table(&rows));
    if let Some(path) = &common.json {
        report::write_json(path, &rows)?;
    }
    Ok(if common.gate { ExitCode::from(gate::close(&rows)) } else { ExitCode::SUCCESS })
}
