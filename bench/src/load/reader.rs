//! One subscriber that may stop reading: it counts what it got and what it was told that it will not get.

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpStream};

use laneway_proto::control::{Body, Sub, Subscribe};
use laneway_proto::frame::lost::Lost;
use laneway_proto::header::{Header, Kind};
use laneway_proto::limits::HEADER_BYTES;

use super::RECEIVE_BYTES_MAX;
use super::link::{Holds, Link};
use crate::error::{Error, Result};
use crate::wire::{Fault, Frames, goodbye};

/// The account of one subscriber of numbered messages.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Messages received.
    pub received: u64,
    /// Messages reported lost.
    pub reported: u64,
    /// Number of the newest message received.
    pub newest: u32,
    /// What the broker said before it ended the session.
    pub farewell: Option<String>,
}

impl Tally {
    /// Takes one frame: header and front.
    pub fn on_frame(&mut self, header: &Header, front: &[u8]) -> std::result::Result<(), Fault> {
        let body = front.get(HEADER_BYTES..).unwrap_or_default();
        match header.kind {
            Kind::PUB => {
                let number = body.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
                if number <= self.newest {
                    return Err(Fault(format!("message {number} came after message {}", self.newest)));
                }
                self.newest = number;
                self.received += 1;
            }
            Kind::LOST => {
                let lost = Lost::decode(header, body).map_err(|error| Fault(format!("a LOST frame: {error}")))?;
                self.reported += u64::from(lost.count);
            }
            Kind::CTRL => self.farewell = goodbye(front).or_else(|| self.farewell.take()),
            other => return Err(Fault(format!("nobody asked for a frame of kind {:#04x}", other.0))),
        }
        Ok(())
    }

    /// Everything that is known to have become of what was published to it.
    pub const fn accounted(&self) -> u64 {
        self.received + self.reported
    }
}

/// The subscriber.
#[derive(Debug)]
pub struct Reader {
    socket: TcpStream,
    frames: Frames,
    scratch: Vec<u8>,
    /// What it got.
    pub tally: Tally,
    /// The session is over.
    pub ended: bool,
}

impl Reader {
    /// Subscribes as `sub` says; the kernel holds `receive_bytes` for it, 0: as it likes.
    pub fn open(at: SocketAddr, sub: Sub, receive_bytes: usize) -> Result<Self> {
        let mut link = Link::open_holding(at, Holds { receive: receive_bytes, ..Holds::default() })?;
        link.request(Body::Subscribe(Subscribe { subs: vec![sub] }))?;
        let (socket, inbox) = link.into_parts();
        socket.set_nonblocking(true).map_err(Error::io("making a socket non-blocking"))?;
        let scratch = vec![0; RECEIVE_BYTES_MAX];
        let mut reader = Self { socket, frames: Frames::default(), scratch, tally: Tally::default(), ended: false };
        let tally = &mut reader.tally;
        reader.frames.on_bytes(&inbox, &mut |header, front| tally.on_frame(header, front)).map_err(failed)?;
        Ok(reader)
    }

    /// Receives once. Its end, however it comes, is not an error.
    pub fn read(&mut self) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        match self.socket.read(&mut self.scratch) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                let Self { frames, tally, scratch, .. } = self;
                frames
                    .on_bytes(&scratch[..count], &mut |header, front| tally.on_frame(header, front))
                    .map_err(failed)?;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                self.ended = true;
            }
            Err(error) => return Err(Error::Failed(format!("the slow subscriber: {error}"))),
        }
        Ok(())
    }
}

fn failed(fault: Fault) -> Error {
    Error::Failed(format!("the slow subscriber: {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use laneway_proto::frame::lost::LossReason;

    fn message(number: u32) -> (Header, Vec<u8>) {
        let header = Header { lane: 1, ..Header::new(Kind::PUB, 8) };
        (header, [&header.encode()[..], &number.to_le_bytes(), &[0; 4]].concat())
    }

    #[test]
    fn received_and_reported_messages_add_up() {
        let mut tally = Tally::default();
        for number in [1, 2, 6] {
            let (header, frame) = message(number);
            tally.on_frame(&header, &frame).expect("in order");
        }
        let lost = Lost { topic: 9, lane: 1, reason: LossReason::Overflow, first: 0, count: 3 }.encode();
        let header = Header::decode(lost.first_chunk().expect("a header")).expect("valid");
        tally.on_frame(&header, &lost).expect("a report");
        assert_eq!((tally.received, tally.reported, tally.accounted(), tally.newest), (3, 3, 6, 6));
    }

    #[test]
    fn a_message_that_comes_twice_or_late_is_a_fault() {
        let mut tally = Tally { newest: 5, ..Tally::default() };
        for number in [5, 4] {
            let (header, frame) = message(number);
            assert!(tally.on_frame(&header, &frame).is_err());
        }
    }
}
