//! Why a benchmark ends early, sorted by whose fault it is; each sort has its exit code.

use std::{fmt, io};

/// Why a case could not be finished.
#[derive(Debug)]
pub enum Error {
    /// This machine or installation lacks something; the text names it and what to do.
    Missing(String),
    /// A process under test, a delivery or a file failed; the text says which.
    Failed(String),
}

/// What every step of a benchmark returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A kernel error, with what was being done.
    pub fn io(what: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Failed(format!("{what}: {error}"))
    }

    /// A kernel error of a call through `nix`, with what was being done.
    pub fn errno(what: impl fmt::Display) -> impl FnOnce(nix::errno::Errno) -> Self {
        move |errno| Self::Failed(format!("{what}: {}", errno.desc()))
    }

    /// 3 when something is missing here, 1 when something failed.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Missing(_) => 3,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(text) => write!(f, "cannot run here: {text}"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}
