//! Sends in flight: the ranges the kernel reads from, and a reference on each buffer they lie in.

use std::ptr;

use io_uring::{opcode, squeue, types};

use super::super::token::{self, Tag};
use super::super::{SEND_PIECES_MAX, Socket};
use crate::pool::{BufId, Piece, Pool};
use crate::slab::Key;

/// Stop on a closed peer without a signal; take everything unless the peer goes away.
const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// Where a device is written that has no places.
const NO_OFFSET: u64 = u64::MAX;

/// One send. Boxed, so that the addresses the kernel was told stay where they are.
struct Slot {
    key: Key,
    count: usize,
    bufs: [BufId; SEND_PIECES_MAX],
    ranges: [libc::iovec; SEND_PIECES_MAX],
    message: libc::msghdr,
}

/// All sends of a ring; slots are reused, so the steady state allocates nothing.
#[derive(Default)]
pub(super) struct SendTable {
    #[allow(clippy::vec_box, reason = "the kernel is told addresses inside a slot, so it may not move")]
    slots: Vec<Box<Slot>>,
    free: Vec<u32>,
}

impl std::fmt::Debug for SendTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendTable").field("slots", &self.slots.len()).field("free", &self.free.len()).finish()
    }
}

impl SendTable {
    /// Takes a reference on each piece's buffer and describes the send to the kernel; a `tty` is written to.
    pub(super) fn start(
        &mut self,
        key: Key,
        socket: Socket,
        tty: bool,
        pieces: &[Piece],
        pool: &mut Pool,
    ) -> squeue::Entry {
        assert!(!pieces.is_empty() && pieces.len() <= SEND_PIECES_MAX, "a send has 1 to {SEND_PIECES_MAX} pieces");
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Box::new(Slot::empty()));
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[place as usize];
        slot.key = key;
        slot.count = pieces.len();
        for (index, &piece) in pieces.iter().enumerate() {
            pool.retain(piece.buf);
            let bytes = pool.piece(piece);
            slot.bufs[index] = piece.buf;
            slot.ranges[index] = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        }
        let descriptor = types::Fd(socket.0);
        let entry = if tty {
            let ranges = slot.ranges.as_ptr().cast();
            opcode::Writev::new(descriptor, ranges, slot.count as u32).offset(NO_OFFSET).build()
        } else if let [piece] = pieces {
            let bytes = pool.piece(*piece);
            opcode::Send::new(descriptor, bytes.as_ptr(), bytes.len() as u32).flags(FLAGS).build()
        } else {
            slot.message.msg_iov = slot.ranges.as_mut_ptr();
            slot.message.msg_iovlen = slot.count as _;
            opcode::SendMsg::new(descriptor, &raw const slot.message).flags(FLAGS as u32).build()
        };
        entry.user_data(token::pack_slot(Tag::Send, place))
    }

    /// The kernel is done with a send: drops its references and says whose it was.
    pub(super) fn finish(&mut self, place: u32, pool: &mut Pool) -> Key {
        let slot = &mut self.slots[place as usize];
        assert!(slot.count > 0, "a send ends once");
        for &buf in &slot.bufs[..slot.count] {
            pool.release(buf);
        }
        slot.count = 0;
        self.free.push(place);
        slot.key
    }

    /// Gives all memory up for good, because the kernel may still read it.
    pub(super) fn leak(&mut self) {
        for slot in self.slots.drain(..) {
            let _ = Box::leak(slot);
        }
    }
}

impl Slot {
    fn empty() -> Self {
        const NOTHING: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            key: Key { slot: 0, generation: 0 },
            count: 0,
            bufs: [BufId(0); SEND_PIECES_MAX],
            ranges: [NOTHING; SEND_PIECES_MAX],
            // SAFETY: all zeros is a valid `msghdr`: null pointers and zero lengths.
            message: unsafe { std::mem::zeroed() },
        }
    }
}
