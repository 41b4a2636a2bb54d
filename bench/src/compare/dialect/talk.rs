//! A connection to a peer while it is being opened: blocking, with a time limit.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::error::{Error, Result};
use crate::load::link;

/// Bytes of the longest opening.
const INBOX_BYTES_MAX: usize = 64 * 1024;

pub(super) struct Talk {
    socket: TcpStream,
    inbox: Vec<u8>,
}

impl Talk {
    pub(super) fn open(at: SocketAddr) -> Result<Self> {
        Ok(Self { socket: link::connect(at)?, inbox: Vec::new() })
    }

    pub(super) fn say(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes).map_err(Error::io("writing to a peer"))
    }

    /// Reads until `find` knows how many bytes at the front of what came it was waiting for; takes and returns them.
    pub(super) fn hear(&mut self, what: &str, find: impl Fn(&[u8]) -> Option<usize>) -> Result<Vec<u8>> {
        loop {
            if let Some(count) = find(&self.inbox).filter(|&count| count <= self.inbox.len()) {
                return Ok(self.inbox.drain(..count).collect());
            }
            let mut part = [0; 4_096];
            let said = || format!("{what}: so far it said {:?}", String::from_utf8_lossy(&self.inbox));
            match self.socket.read(&mut part) {
                Ok(0) => return Err(Error::Failed(format!("the peer closed the connection before {}", said()))),
                Ok(_) if self.inbox.len() > INBOX_BYTES_MAX => {
                    return Err(Error::Failed(format!("the peer says too much before {what}")));
                }
                Ok(count) => self.inbox.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Failed(format!("waiting for {}: {error}", said()))),
            }
        }
    }

    /// The socket, and what came behind the last answer.
    pub(super) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.socket, self.inbox)
    }
}

/// The bytes up to the end of `text`, once it has come.
pub(super) fn behind(text: &'static [u8]) -> impl Fn(&[u8]) -> Option<usize> {
    move |inbox| inbox.windows(text.len()).position(|window| window == text).map(|at| at + text.len())
}
