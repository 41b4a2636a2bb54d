//! `laneway serial`: the ports of this machine, what is said on them, and why one does not work.

mod doctor;
mod list;
mod monitor;
mod open;
mod readings;
mod system;

use std::io::{self, Write as _};

use self::open::open;
use self::readings::{Reading, Readings};
#[cfg(test)]
use self::system::tests::sample;
use self::system::{Port, System};
use crate::args::{Serial, SerialCommand};
use crate::failure::Failure;

pub(crate) fn run(args: &Serial) -> Result<(), Failure> {
    match &args.command {
        SerialCommand::List(list) => list::run(&System::default(), list),
        SerialCommand::Monitor(monitor) => monitor::run(monitor),
        SerialCommand::Doctor(doctor) => doctor::run(&System::default(), doctor),
    }
}

/// Writes all of it to standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
}
