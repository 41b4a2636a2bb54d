//! The command line `laneway`: publish, subscribe, ping and look at a broker from a shell.

mod args;
mod broker;
mod failure;
mod format;
mod lines;
mod ping;
mod publish;
mod serial;
mod stats;
mod subscribe;
#[cfg(target_os = "linux")]
mod tap;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        Command::Pub(publish) => publish::run(&args.link, publish),
        Command::Sub(subscribe) => subscribe::run(&args.link, subscribe),
        Command::Ping(ping) => ping::run(&args.link, ping),
        Command::Stats(stats) => stats::run(&args.link, stats),
        Command::Serial(serial) => serial::run(serial),
        #[cfg(target_os = "linux")]
        Command::Tap(tap) => tap::run(args.link.url.as_deref(), tap),
    };
    done.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}
