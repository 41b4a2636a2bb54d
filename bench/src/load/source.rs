//! Where a publisher's bytes come from: one block written again and again, or a ring of them given to the socket by
//! reference.

use std::io::{ErrorKind, IoSlice, Write as _};
use std::net::TcpStream;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice, vmsplice};
use nix::unistd::pipe2;

use crate::error::{Error, Result};
use crate::wire::Block;

/// Blocks from here on are given by reference: below, the calls cost more than the copy that they save.
const BY_REFERENCE_BYTES_MIN: usize = 16 * 1024;
/// Room for one block of 64 KiB at any alignment.
const PIPE_BYTES: i32 = 128 * 1024;
/// Blocks of a ring beyond those that may be in flight: the one being written, and one that is partly received.
const SPARE_BLOCKS: usize = 2;

/// The blocks of one publisher, one after the other.
#[derive(Debug)]
pub(super) struct Source {
    /// One, or as many as may be under way: what the kernel refers to must not change until everybody has received it.
    blocks: Vec<Block>,
    at: usize,
    /// Bytes of the block that have not left this process.
    left: usize,
    /// The way of the references; without it bytes are copied.
    pipe: Option<Pipe>,
}

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    /// Bytes of the block in the pipe.
    held: usize,
}

impl Source {
    /// A source of `block`s of which at most `in_flight_bytes_max` bytes have been written and not received by everybody.
    pub(super) fn new(block: Block, in_flight_bytes_max: u64) -> Result<Self> {
        let len = block.bytes().len();
        if len < BY_REFERENCE_BYTES_MIN {
            return Ok(Self { blocks: vec![block], at: 0, left: 0, pipe: None });
        }
        let under_way = usize::try_from(in_flight_bytes_max).unwrap_or(usize::MAX).div_ceil(len);
        let blocks = vec![block; under_way + SPARE_BLOCKS];
        Ok(Self { blocks, at: 0, left: 0, pipe: Some(Pipe::open()?) })
    }

    /// The block under way, or the one that was written last.
    pub(super) fn block(&self) -> &Block {
        &self.blocks[self.at]
    }

    /// Bytes of the block that are not written yet; 0 means that the next one may begin.
    pub(super) const fn left(&self) -> usize {
        self.left
    }

    /// Goes on to the next block and numbers its messages from `first`.
    pub(super) fn begin(&mut self, first: u32) {
        debug_assert!(self.left == 0, "the block before was written");
        self.at = (self.at + 1) % self.blocks.len();
        let block = &mut self.blocks[self.at];
        block.number_from(first);
        self.left = block.bytes().len();
    }

    /// Writes as much of the block as the socket takes; returns the bytes.
    pub(super) fn write(&mut self, socket: &mut TcpStream) -> std::io::Result<usize> {
        let bytes = self.blocks[self.at].bytes();
        let rest = &bytes[bytes.len() - self.left..];
        let written = match &mut self.pipe {
            Some(pipe) => pipe.give(rest, socket),
            None => socket.write(rest),
        };
        match written {
            Ok(count) => {
                self.left -= count;
                Ok(count)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

impl Pipe {
    fn open() -> Result<Self> {
        let (read, write) =
            pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(|errno| Error::io("making a pipe")(errno.into()))?;
        // Refused, it holds less at a time.
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        Ok(Self { read, write, held: 0 })
    }

    /// Gives `rest`, of which the pipe may hold the front, to the socket.
    fn give(&mut self, rest: &[u8], socket: &TcpStream) -> std::io::Result<usize> {
        if self.held < rest.len() {
            match vmsplice(&self.write, &[IoSlice::new(&rest[self.held..])], SpliceFFlags::SPLICE_F_NONBLOCK) {
                Ok(count) => self.held += count,
                Err(Errno::EAGAIN) if self.held > 0 => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let sent = splice(&self.read, None, socket, None, self.held, SpliceFFlags::SPLICE_F_NONBLOCK)?;
        self.held -= sent;
        Ok(sent)
    }
}
