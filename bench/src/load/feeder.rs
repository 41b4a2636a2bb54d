//! A publisher of its own beside the crowd's: it publishes at a pace and remembers for how long it was refused.

use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::laneway::publisher_of;
use super::link::{Holds, why_closed};
use crate::error::{Error, Result};
use crate::wire::{Block, Framing, Shape};

const SHAPE: Shape = Shape { payload_bytes: 1_024, topics: 1 };
/// Messages of one write.
const MESSAGES: u32 = 16;
/// Writes a second: 16 MiB of payload.
const WRITES_HZ: u32 = 1_000;
/// Bytes of its own send buffer: it shall notice soon that the broker does not read.
const SEND_BYTES: usize = 64 * 1024;

/// The longest time in which something was due and nothing was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stall {
    since: Option<Instant>,
    longest: Duration,
}

impl Stall {
    /// A write was refused.
    pub fn on_refused(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        self.longest = self.longest.max(now.duration_since(since));
    }

    /// A write was taken.
    pub fn on_taken(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.longest = self.longest.max(now.duration_since(since));
        }
    }

    /// The longest one so far, one that still goes on included.
    pub const fn longest(&self) -> Duration {
        self.longest
    }
}

/// The publisher.
#[derive(Debug)]
pub struct Feeder {
    socket: TcpStream,
    block: Block,
    left: usize,
    next_number: u32,
    due: Instant,
    /// Messages written.
    pub published: u64,
    /// When it was refused.
    pub stall: Stall,
}

impl Feeder {
    /// Publishes to `topic` on the default lane from now on.
    pub fn connect(at: SocketAddr, topic: &str) -> Result<Self> {
        let socket = publisher_of(at, [topic.to_owned()], Holds { send: SEND_BYTES, ..Holds::default() })?;
        socket.set_nonblocking(true).map_err(Error::io("making a socket non-blocking"))?;
        let block = Block::with_messages(Framing::Single, SHAPE, MESSAGES);
        let (due, stall) = (Instant::now(), Stall::default());
        Ok(Self { socket, block, left: 0, next_number: 1, due, published: 0, stall })
    }

    /// Writes what is due, once.
    pub fn turn(&mut self, now: Instant) -> Result<()> {
        if self.left == 0 {
            if now < self.due {
                return Ok(());
            }
            // What was due while it was refused is not made up for.
            self.due = self.due.max(now - Duration::from_millis(10)) + Duration::from_secs(1) / WRITES_HZ;
            self.block.number_from(self.next_number);
            self.next_number += MESSAGES;
            self.left = self.block.bytes().len();
        }
        let from = self.block.bytes().len() - self.left;
        match self.socket.write(&self.block.bytes()[from..]) {
            Ok(count) => {
                self.left -= count;
                self.published += if self.left == 0 { u64::from(MESSAGES) } else { 0 };
                self.stall.on_taken(now);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                self.stall.on_refused(now);
            }
            Err(error) => return Err(Error::Failed(why_closed(&mut self.socket, &error))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_lasts_from_the_first_refusal_to_the_next_write_taken() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut stall = Stall::default();
        stall.on_taken(at(0));
        stall.on_refused(at(10));
        stall.on_refused(at(40));
        assert_eq!(stall.longest(), Duration::from_millis(30), "it still goes on");
        stall.on_taken(at(50));
        stall.on_refused(at(100));
        stall.on_taken(at(110));
        assert_eq!(stall.longest(), Duration::from_millis(40), "the second one was shorter");
    }
}
