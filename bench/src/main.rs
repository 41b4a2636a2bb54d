//! `laneway-bench CASE`: see `laneway-bench --help`.

use std::process::ExitCode;

use clap::Parser as _;
use laneway_bench::args::{Args, Command};
use laneway_bench::error::Result;
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

fn run(command: Command) -> Result<ExitCode> {
    let (common, rows) = match command {
        Command::Relay(options) => {
            let job = options.job()?;
            relay::serve(options.base, options.index, job)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Child(options) => return Err(child::become_program(&options)),
        Command::Floor(common) => {
            reaper::install();
            let rows = case::floor::run(&common)?;
            (common, rows)
        }
        Command::Counted { work } => {
            work.run()?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Count(options) => {
            reaper::install();
            let rows = count::run(&options)?;
            (options.common, rows)
        }
        Command::Compare(options) => {
            reaper::install();
            let rows = compare::run(&options)?;
            (options.common, rows)
        }
        Command::Throughput(options) => {
            reaper::install();
            let rows = case::throughput::run(&options)?;
            (options.common, rows)
        }
        Command::Latency(common) => {
            reaper::install();
            let rows = case::latency::run(&common)?;
            (common, rows)
        }
        Command::Ping(common) => {
            reaper::install();
            let rows = case::ping::run(&common)?;
            (common, rows)
        }
        Command::Conflate(common) => {
            reaper::install();
            let rows = case::conflate::run(&common)?;
            (common, rows)
        }
        Command::LaneIsolation(common) => {
            reaper::install();
            let rows = case::lane_isolation::run(&common)?;
            (common, rows)
        }
        Command::Kill(common) => {
            reaper::install();
            let rows = case::kill::run(&common)?;
            (common, rows)
        }
        Command::UdpBroadcast(common) => {
            reaper::install();
            let rows = case::udp_broadcast::run(&common)?;
            (common, rows)
        }
        Command::UdpFilter(common) => {
            reaper::install();
            let rows = case::udp_filter::run(&common)?;
            (common, rows)
        }
        Command::SlowConsumer(common) => {
            reaper::install();
            let rows = case::slow_consumer::run(&common)?;
            (common, rows)
        }
    };
    print!("{}", report::table(&rows));
    if let Some(path) = &common.json {
        report::write_json(path, &rows)?;
    }
    Ok(if common.gate { ExitCode::from(gate::close(&rows)) } else { ExitCode::SUCCESS })
}
