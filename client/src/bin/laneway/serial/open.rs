//! A port, opened for nobody else.

use std::io;
use std::path::Path;
use std::time::Duration;

use serialport::TTYPort;

/// How long a read waits.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

/// Opens it: eight bits, no parity, one stop bit, exclusively. Reads wait [`PATIENCE`].
pub(super) fn open(path: &Path, baud: u32) -> io::Result<TTYPort> {
    serialport::new(path.to_string_lossy(), baud).timeout(PATIENCE).open_native().map_err(|error| match error.kind {
        // The library says of a port that somebody else has that there is none.
        serialport::ErrorKind::NoDevice if path.exists() => {
            io::Error::new(io::ErrorKind::ResourceBusy, error.description)
        }
        serialport::ErrorKind::NoDevice => io::Error::new(io::ErrorKind::NotFound, error.description),
        serialport::ErrorKind::InvalidInput | serialport::ErrorKind::Unknown | serialport::ErrorKind::Io(_) => {
            error.into()
        }
    })
}
