//! Starts a program with less than it would have: fewer file descriptors, or no io_uring.
//!
//! `confine descriptors N PROGRAM ARGUMENT...` or `confine no-io-uring EPERM|ENOSYS PROGRAM ARGUMENT...`. It becomes the
//! program, so that process id and signals are the program's own. The child of a test cannot do this to itself: what runs
//! between fork and exec would be unsafe code.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, how, program, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: confine descriptors N PROGRAM ... | confine no-io-uring EPERM|ENOSYS PROGRAM ...");
        return ExitCode::from(2);
    };
    if let Err(error) = confine(what, how) {
        eprintln!("confine: {what} {how}: {error}");
        return ExitCode::from(2);
    }
    let error = Command::new(program).args(rest).exec();
    eprintln!("confine: cannot become {program}: {error}");
    ExitCode::from(2)
}

fn confine(what: &str, how: &str) -> Result<(), Box<dyn Error>> {
    match (what, how) {
        ("descriptors", count) => {
            let count = count.parse()?;
            setrlimit(Resource::RLIMIT_NOFILE, count, count)?;
            Ok(())
        }
        ("no-io-uring", "EPERM") => forbid_io_uring(libc::EPERM),
        ("no-io-uring", "ENOSYS") => forbid_io_uring(libc::ENOSYS),
        _ => Err("not a restriction this program knows".into()),
    }
}

fn forbid_io_uring(errno: i32) -> Result<(), Box<dyn Error>> {
    let any_arguments = Vec::new();
    let rules = BTreeMap::from([(libc::SYS_io_uring_setup, any_arguments)]);
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32), architecture)?;
    apply_filter(&BpfProgram::try_from(filter)?)?;
    Ok(())
}
