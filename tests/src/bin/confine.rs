//! Starts a program with less than it would have: fewer file descriptors, no io_uring, or one that cannot wait for a while.
//!
//! `confine descriptors N PROGRAM ARGUMENT...`, `confine no-io-uring EPERM|ENOSYS PROGRAM ARGUMENT...` or `confine
//! no-io-uring-deadlines EPERM|ENOSYS PROGRAM ARGUMENT...`. It becomes the program, so that process id and signals are the
//! program's own. The child of a test cannot do this to itself: what runs between fork and exec would be unsafe code.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use nix::sys::resource::{Resource, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// Flag of `io_uring_enter`, from the kernel's interface: the last argument is a structure with a timeout.
const ENTER_EXT_ARG: u64 = 1 << 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, how, program, rest @ ..] = arguments.as_slice() else {
        eprintln!("usage: confine descriptors N | no-io-uring ERROR | no-io-uring-deadlines ERROR, then PROGRAM ...");
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
        (_, "EPERM") => forbid(what, libc::EPERM),
        (_, "ENOSYS") => forbid(what, libc::ENOSYS),
        _ => Err("not a restriction this program knows".into()),
    }
}

fn forbid(what: &str, errno: i32) -> Result<(), Box<dyn Error>> {
    let (call, rules) = match what {
        "no-io-uring" => (libc::SYS_io_uring_setup, Vec::new()),
        "no-io-uring-deadlines" => {
            let masked = SeccompCmpOp::MaskedEq(ENTER_EXT_ARG);
            let flags = SeccompCondition::new(3, SeccompCmpArgLen::Dword, masked, ENTER_EXT_ARG)?;
            (libc::SYS_io_uring_enter, vec![SeccompRule::new(vec![flags])?])
        }
        _ => return Err("not a restriction this program knows".into()),
    };
    let rules = BTreeMap::from([(call, rules)]);
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32), architecture)?;
    apply_filter(&BpfProgram::try_from(filter)?)?;
    Ok(())
}
