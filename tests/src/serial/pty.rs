//! A pseudo terminal: whoever opens its path has a serial port, and we have what is at the other end.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

/// One of them. Its path is gone when it is dropped.
#[derive(Debug)]
pub struct Pty {
    master: PtyMaster,
    path: PathBuf,
    /// Held open, so that the port may be closed and opened again without our noticing.
    slave: File,
}

impl Pty {
    /// A new one, raw.
    ///
    /// # Panics
    /// If the system has none left.
    pub fn new() -> Self {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).expect("the system has pseudo terminals");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        let path = PathBuf::from(ptsname_r(&master).expect("it has a path"));
        let slave = open(&path);
        Self { master, path, slave }
    }

    /// Where the port is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The port itself, to be looked at.
    pub fn port(&self) -> BorrowedFd<'_> {
        self.slave.as_fd()
    }

    /// What was written to the port.
    ///
    /// # Panics
    /// If reading fails otherwise than for want of bytes.
    pub fn read(&mut self) -> Vec<u8> {
        read(&mut self.master)
    }

    /// Writes as much as fits; returns how much that was.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        self.master.write(bytes).unwrap_or(0)
    }
}

impl Default for Pty {
    fn default() -> Self {
        Self::new()
    }
}

impl AsFd for Pty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}

/// Opens a port as a device's side does: raw, and never waiting.
///
/// # Panics
/// If there is none.
pub fn open(path: &Path) -> File {
    let flags = (OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits();
    let port = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).expect("the port is there");
    let mut set = tcgetattr(&port).expect("it is a terminal");
    cfmakeraw(&mut set);
    tcsetattr(&port, SetArg::TCSANOW, &set).expect("it takes its settings");
    port
}

/// What there is to be read now.
pub(super) fn read(from: &mut impl Read) -> Vec<u8> {
    let mut bytes = vec![0; 4_096];
    match from.read(&mut bytes) {
        Ok(count) => bytes.truncate(count),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => bytes.clear(),
        Err(error) => panic!("a pseudo terminal fails: {error}"),
    }
    bytes
}
