//! How a command ends when it does not succeed.

use std::io::{self, Write as _};
use std::process::ExitCode;

/// Why a command stops, and with which exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line asks for something that cannot be: exit 2.
    Usage(String),
    /// It could not be done: exit 1.
    Failed(String),
    /// Whoever read our output has gone: exit 0, quietly.
    PipeClosed,
}

impl Failure {
    /// It could not be done, for this reason.
    pub(crate) fn failed(reason: impl ToString) -> Self {
        Self::Failed(reason.to_string())
    }

    /// An error of standard output.
    pub(crate) fn output(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::PipeClosed
        } else {
            Self::Failed(format!("standard output: {error}"))
        }
    }

    /// Says why on standard error.
    pub(crate) fn report(self) -> ExitCode {
        let (code, reason) = match self {
            Self::Usage(reason) => (2, reason),
            Self::Failed(reason) => (1, reason),
            Self::PipeClosed => return ExitCode::SUCCESS,
        };
        // Standard error may be closed, too; the exit code still tells.
        let _ = writeln!(io::stderr(), "laneway: {reason}");
        ExitCode::from(code)
    }
}
