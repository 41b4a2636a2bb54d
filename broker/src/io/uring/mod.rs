//! The door on io_uring: one ring per shard, multishot accept and receive, gathered sends.
//!
//! This folder is the only place that knows io_uring, and the only one with `unsafe`. The ring is used by the thread
//! that made it and by no other; everything the kernel may touch later is owned here until its completion was read:
//! ingress memory by `BufferRing`, the ranges of a send by `SendTable` together with one reference on
//! each buffer.
#![allow(unsafe_code, reason = "the kernel is told addresses here; each block states why they stay valid")]

mod buffers;
mod datagrams;
mod hangup;
mod send;
pub mod setup;
mod sockets;
mod ttys;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use io_uring::{IoUring, cqueue, opcode, squeue, types};
use laneway_proto::time::{Duration, Instant};

use self::buffers::BufferRing;
use self::datagrams::Datagrams;
use self::hangup::Hangups;
use self::send::SendTable;
use self::setup::{Features, SetupError};
use self::sockets::borrow;
use self::ttys::Ttys;
use super::token::{self, Tag};
use super::{Completion, Errno, Io, ListenerId, PeerAddress, Receive, ReceiveEnd, Socket, SocketOptions, Wait};
use crate::pool::{Piece, Pool, PoolShape};
use crate::slab::Key;
use crate::tty::{TtyErrors, TtyOptions};

/// The way to wake one shard from anywhere in the process.
#[derive(Debug)]
pub struct Doorbell {
    /// Descriptor of the shard's ring once it runs, else -1.
    ring: AtomicI32,
    /// Works from any thread and without a ring of one's own.
    wake: OwnedFd,
}

impl Doorbell {
    /// A doorbell nobody listens to yet.
    pub fn new() -> io::Result<Self> {
        let wake = setup::event_descriptor()?;
        Ok(Self { ring: AtomicI32::new(-1), wake })
    }

    /// Wakes the shard from a thread without a ring.
    pub fn wake(&self) {
        setup::signal_event(&self.wake);
    }
}

/// What a shard needs to open its door.
#[derive(Debug)]
pub struct UringParts {
    /// This shard's number.
    pub shard: u8,
    /// One doorbell per shard.
    pub doorbells: Arc<[Doorbell]>,
    /// Listening sockets this shard accepts on.
    pub listeners: Vec<OwnedFd>,
    /// Sizes of the pool.
    pub pool: PoolShape,
    /// The process's zero of time.
    pub start: std::time::Instant,
}

/// The door of one shard.
#[derive(Debug)]
pub struct UringIo {
    ring: Ring,
    pool: Pool,
    buffers: BufferRing,
    sends: SendTable,
    datagrams: Datagrams,
    listeners: Vec<Option<OwnedFd>>,
    doorbells: Arc<[Doorbell]>,
    shard: u8,
    features: Features,
    start: std::time::Instant,
    now: Instant,
    reaped: Vec<(u64, i32, u32)>,
    wake_armed: bool,
    hangups: Hangups,
    ttys: Ttys,
}

struct Ring(IoUring);

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ring")
    }
}

impl UringIo {
    /// Opens the door on the thread that will use it.
    pub fn open(parts: UringParts) -> Result<Self, SetupError> {
        let (ring, features) = setup::ring()?;
        let buffers = BufferRing::register(&ring, parts.pool.ingress_buffers_max)?;
        parts.doorbells[usize::from(parts.shard)].ring.store(ring.as_raw_fd(), Ordering::Release);
        Ok(Self {
            ring: Ring(ring),
            pool: Pool::new(parts.pool),
            buffers,
            sends: SendTable::default(),
            datagrams: Datagrams::new(),
            listeners: parts.listeners.into_iter().map(Some).collect(),
            doorbells: parts.doorbells,
            shard: parts.shard,
            features,
            start: parts.start,
            now: Instant(parts.start.elapsed().as_nanos() as u64),
            reaped: Vec::with_capacity(setup::COMPLETIONS as usize),
            wake_armed: false,
            hangups: Hangups::default(),
            ttys: Ttys::default(),
        })
    }

    /// What the kernel offers.
    pub const fn features(&self) -> &Features {
        &self.features
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: every address in an entry names memory owned by `self.sends`, `self.buffers` or `self.pool`, and
            // is kept there until the operation's last completion was read (see the module's doc).
            if unsafe { self.ring.0.submission().push(entry) }.is_ok() {
                return;
            }
            // The queue is full: hand over what is there. A refusal shows up again, with its error, in `turn`.
            if self.ring.0.submit().is_err() {
                std::thread::yield_now();
            }
        }
    }

    fn arm_wake(&mut self) {
        let wake = self.doorbells[usize::from(self.shard)].wake.as_raw_fd();
        let poll = opcode::PollAdd::new(types::Fd(wake), libc::POLLIN as u32).multi(true).build();
        self.push(&poll.user_data(token::pack_slot(Tag::Wake, 0)));
        self.wake_armed = true;
    }

    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let handed_over = self.ring.0.submission().len() as u32;
        let submitter = self.ring.0.submitter();
        let flags = setup::wait_flags(&self.features);
        let entered = match wait {
            Wait::No => submitter.submit(),
            Wait::Forever => {
                // SAFETY: the arguments are those of a plain wait: what is queued, one completion, no extra argument.
                unsafe { submitter.enter::<libc::sigset_t>(handed_over, 1, flags, None) }
            }
            Wait::Until(deadline) => {
                let now = Instant(self.start.elapsed().as_nanos() as u64);
                let Duration(left) = deadline.since(now);
                let time = types::Timespec::new().sec(left / 1_000_000_000).nsec((left % 1_000_000_000) as u32);
                let args = types::SubmitArgs::new().timespec(&time);
                // SAFETY: `args` is the structure that EXT_ARG announces; it and the time live across the call.
                unsafe { submitter.enter(handed_over, 1, flags | setup::ENTER_EXT_ARG, Some(&args)) }
            }
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // A deadline, a signal, or completions that have to be read first.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                Some(_) | None => Err(error),
            },
        }
    }

    fn reap(&mut self, completions: &mut Vec<Completion>) {
        let mut reaped = std::mem::take(&mut self.reaped);
        reaped.extend(self.ring.0.completion().map(|entry| (entry.user_data(), entry.result(), entry.flags())));
        let mut rung = false;
        for (bits, result, flags) in reaped.drain(..) {
            match token::unpack(bits) {
                Some((Tag::Receive, key)) => self.on_receive(key, result, flags, completions),
                Some((Tag::Send, place)) => {
                    let key = self.sends.finish(place.slot, &mut self.pool);
                    let result = if result < 0 { Err(Errno(-result)) } else { Ok(result as u32) };
                    completions.push(Completion::Sent { key, result });
                }
                Some((Tag::SendDatagram, place)) => self.datagrams.finish(place.slot, &mut self.pool),
                Some((Tag::Datagrams, place)) => {
                    self.on_datagram(ListenerId(place.slot as u16), result, flags, completions);
                }
                Some((Tag::Accept, place)) => on_accept(ListenerId(place.slot as u16), result, flags, completions),
                // A receive that is made anew finds what is left, and then the end.
                Some((Tag::Hangup, key)) if result >= 0 => {
                    self.hangups.on_hangup(key);
                    self.cancel_receive(key);
                }
                Some((Tag::Doorbell, _)) => rung = true,
                Some((Tag::Wake, _)) => {
                    rung = true;
                    setup::drain_event(&self.doorbells[usize::from(self.shard)].wake);
                    self.wake_armed &= cqueue::more(flags);
                }
                // Its ring could not take the message; its descriptor always can.
                Some((Tag::Ring, shard)) if result < 0 => self.doorbells[shard.slot as usize].wake(),
                Some((Tag::Ring | Tag::Hangup | Tag::Ignore, _)) | None => {}
            }
        }
        self.reaped = reaped;
        if rung {
            completions.push(Completion::Doorbell);
        }
    }

    fn on_receive(&mut self, key: Key, result: i32, flags: u32, completions: &mut Vec<Completion>) {
        if let Some(bid) = cqueue::buffer_select(flags) {
            let buf = self.buffers.take_back(bid, &mut self.pool);
            if result > 0 {
                completions.push(Completion::Received { key, buf, len: result as u32 });
            } else {
                self.pool.release(buf);
            }
        }
        if cqueue::more(flags) {
            return;
        }
        let end = match -result {
            0 => ReceiveEnd::Closed,
            libc::ENOBUFS => ReceiveEnd::NoBuffers,
            libc::ECANCELED if self.hangups.take(key) => ReceiveEnd::Restart,
            libc::ECANCELED => ReceiveEnd::Cancelled,
            errno if errno > 0 => ReceiveEnd::Failed(Errno(errno)),
            _ => ReceiveEnd::Restart,
        };
        completions.push(Completion::ReceiveEnded { key, end });
    }
}

impl UringIo {
    fn on_datagram(&mut self, listener: ListenerId, result: i32, flags: u32, completions: &mut Vec<Completion>) {
        if let Some(bid) = cqueue::buffer_select(flags) {
            let buf = self.buffers.take_back(bid, &mut self.pool);
            let written = usize::try_from(result).ok().and_then(|bytes| self.pool.bytes(buf).get(..bytes));
            match written.and_then(datagrams::parse) {
                Some((from, start, len)) => {
                    completions.push(Completion::Datagram { listener, from, buf, start, len });
                }
                None => self.pool.release(buf),
            }
        }
        if cqueue::more(flags) {
            return;
        }
        let end = match -result {
            libc::ENOBUFS => ReceiveEnd::NoBuffers,
            libc::ECANCELED => ReceiveEnd::Cancelled,
            errno if errno > 0 => ReceiveEnd::Failed(Errno(errno)),
            _ => ReceiveEnd::Restart,
        };
        completions.push(Completion::DatagramsEnded { listener, end });
    }
}

fn on_accept(listener: ListenerId, result: i32, flags: u32, completions: &mut Vec<Completion>) {
    if result >= 0 {
        completions.push(Completion::Accepted { listener, socket: Socket(result) });
    }
    if !cqueue::more(flags) {
        let error = (result < 0).then_some(Errno(-result));
        completions.push(Completion::AcceptEnded { listener, error });
    }
}

impl Io for UringIo {
    fn now(&self) -> Instant {
        self.now
    }

    fn clock(&self) -> Instant {
        Instant(self.start.elapsed().as_nanos() as u64)
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn pool_mut(&mut self) -> &mut Pool {
        &mut self.pool
    }

    fn accept(&mut self, listener: ListenerId) {
        let Some(Some(descriptor)) = self.listeners.get(usize::from(listener.0)) else { return };
        let accept = opcode::AcceptMulti::new(types::Fd(descriptor.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        self.push(&accept.user_data(token::pack_slot(Tag::Accept, u32::from(listener.0))));
    }

    fn receive_datagrams(&mut self, listener: ListenerId) {
        let Some(Some(descriptor)) = self.listeners.get(usize::from(listener.0)) else { return };
        sockets::forbid_fragments(descriptor.as_raw_fd());
        let entry = self.datagrams.receive(descriptor.as_raw_fd(), listener.0, buffers::GROUP);
        self.push(&entry);
    }

    fn send_datagram(&mut self, listener: ListenerId, to: SocketAddr, piece: Piece) {
        let Some(Some(descriptor)) = self.listeners.get(usize::from(listener.0)) else { return };
        let entry = self.datagrams.send(descriptor.as_raw_fd(), to, piece, &mut self.pool);
        self.push(&entry);
    }

    fn close_listener(&mut self, listener: ListenerId) {
        let place = self.listeners.get_mut(usize::from(listener.0));
        if place.and_then(Option::take).is_some() {
            for tag in [Tag::Accept, Tag::Datagrams] {
                let cancel = opcode::AsyncCancel::new(token::pack_slot(tag, u32::from(listener.0))).build();
                self.push(&cancel.user_data(token::pack_slot(Tag::Ignore, 0)));
            }
        }
    }

    fn peer(&self, socket: Socket) -> PeerAddress {
        sockets::peer(socket)
    }

    fn configure(&mut self, socket: Socket, options: &SocketOptions) -> Result<(), Errno> {
        sockets::configure(socket, options)
    }

    fn open_tty(&mut self, tty: &TtyOptions) -> io::Result<Socket> {
        self.ttys.open(tty)
    }

    fn tty_unsent(&self, socket: Socket) -> u32 {
        ttys::unsent(socket)
    }

    fn tty_errors(&self, socket: Socket) -> TtyErrors {
        ttys::errors(socket)
    }

    fn receive(&mut self, key: Key, socket: Socket, how: Receive) {
        if self.ttys.has(socket) {
            let read = opcode::ReadMulti::new(types::Fd(socket.0), 0, buffers::GROUP).build();
            self.push(&read.user_data(token::pack(Tag::Receive, key)));
            return;
        }
        if self.hangups.watch(key, socket) {
            let poll = opcode::PollAdd::new(types::Fd(socket.0), libc::POLLRDHUP as u32).build();
            self.push(&poll.user_data(token::pack(Tag::Hangup, key)));
        }
        let socket = types::Fd(socket.0);
        let receive = match how {
            Receive::Many => opcode::RecvMulti::new(socket, buffers::GROUP).build(),
            // No memory is named: the kernel takes a buffer of the group, as large as that is.
            Receive::Once => opcode::Recv::new(socket, std::ptr::null_mut(), 0)
                .buf_group(buffers::GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
        };
        self.push(&receive.user_data(token::pack(Tag::Receive, key)));
    }

    fn cancel_receive(&mut self, key: Key) {
        let cancel = opcode::AsyncCancel::new(token::pack(Tag::Receive, key)).build();
        self.push(&cancel.user_data(token::pack_slot(Tag::Ignore, 0)));
    }

    fn send(&mut self, key: Key, socket: Socket, pieces: &[Piece]) {
        let entry = self.sends.start(key, socket, self.ttys.has(socket), pieces, &mut self.pool);
        self.push(&entry);
    }

    fn shutdown_send(&mut self, socket: Socket) {
        sockets::shutdown_send(socket);
    }

    fn shutdown(&mut self, socket: Socket) {
        if self.ttys.has(socket) {
            let all = types::CancelBuilder::fd(types::Fd(socket.0)).all();
            let cancel = opcode::AsyncCancel2::new(all).build();
            self.push(&cancel.user_data(token::pack_slot(Tag::Ignore, 0)));
            return;
        }
        sockets::shutdown(socket);
    }

    fn release(&mut self, socket: Socket) {
        if let Some(key) = self.hangups.forget(socket) {
            let cancel = opcode::AsyncCancel::new(token::pack(Tag::Hangup, key)).build();
            self.push(&cancel.user_data(token::pack_slot(Tag::Ignore, 0)));
        }
    }

    fn close(&mut self, socket: Socket) {
        // While it is polled, the kernel holds on to it: that has to end first.
        self.release(socket);
        self.ttys.forget(socket);
        let close = opcode::Close::new(types::Fd(socket.0)).build();
        self.push(&close.user_data(token::pack_slot(Tag::Ignore, 0)));
    }

    fn ring_doorbell(&mut self, shard: u8) {
        let doorbell = &self.doorbells[usize::from(shard)];
        let ring: RawFd = doorbell.ring.load(Ordering::Acquire);
        if ring < 0 || !self.features.message_ring {
            doorbell.wake();
            return;
        }
        let bits = token::pack_slot(Tag::Doorbell, u32::from(self.shard));
        let message = opcode::MsgRingData::new(types::Fd(ring), 0, bits, None).build();
        self.push(&message.user_data(token::pack_slot(Tag::Ring, u32::from(shard))));
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        if !self.wake_armed {
            self.arm_wake();
        }
        self.buffers.replenish(&mut self.pool);
        self.enter(wait)?;
        self.now = self.clock();
        self.reap(completions);
        Ok(())
    }
}

impl Drop for UringIo {
    fn drop(&mut self) {
        self.doorbells[usize::from(self.shard)].ring.store(-1, Ordering::Release);
        // Sockets that are to be closed are.
        let _ = self.ring.0.submit();
        // Nothing may be in flight when the memory goes: the kernel would write to it after it was freed.
        let all = types::CancelBuilder::any();
        let stopped = self.ring.0.submitter().register_sync_cancel(None, all);
        let idle = match stopped {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENOENT),
        };
        if !idle {
            self.buffers.leak();
            self.sends.leak();
            self.datagrams.leak();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    const SHAPE: PoolShape = PoolShape {
        ingress_buffer_bytes: 4_096,
        ingress_buffers: 1,
        ingress_buffers_max: 1,
        egress_buffer_bytes: 4_096,
        egress_buffers_kept: 1,
    };

    #[test]
    fn a_shard_is_woken_by_its_descriptor_if_its_ring_takes_no_message() {
        let doorbells: Arc<[Doorbell]> = [(); 2].map(|()| Doorbell::new().expect("a descriptor")).into();
        let parts = UringParts {
            shard: 0,
            doorbells: Arc::clone(&doorbells),
            listeners: Vec::new(),
            pool: SHAPE,
            start: std::time::Instant::now(),
        };
        let mut io = UringIo::open(parts).expect("io_uring works here");
        // A descriptor that is no ring: the message to it fails.
        let no_ring = setup::event_descriptor().expect("a descriptor");
        doorbells[1].ring.store(no_ring.as_raw_fd(), Ordering::Release);
        io.ring_doorbell(1);
        let mut completions = Vec::new();
        let mut is_awake = false;
        for _ in 0..1_000 {
            io.turn(Wait::No, &mut completions).expect("the ring works");
            let mut polled = [PollFd::new(doorbells[1].wake.as_fd(), PollFlags::POLLIN)];
            is_awake |= poll(&mut polled, PollTimeout::ZERO) == Ok(1);
        }
        assert!(is_awake, "nobody woke the other shard");
    }
}
