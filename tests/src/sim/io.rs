//! The door, simulated: the same promises as the ring, kept by a seed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use laneway_broker::io::{
    Completion, Errno, Io, ListenerId, PeerAddress, ReceiveEnd, SEND_PIECES_MAX, Socket, SocketOptions, Wait,
};
use laneway_broker::pool::{BufId, Piece, Pool, PoolShape};
use laneway_broker::slab::Key;
use laneway_proto::time::Instant;

use super::datagrams::DATAGRAMS;
use super::injection::Operation;
use super::net::Side;
use super::port::{Listener, Receive, Send};
use super::world::{Actor, World};

/// Most chunks one receive hands over in one turn.
const CHUNKS_PER_TURN_MAX: u64 = 8;

/// A shard's door into a [`World`].
///
/// Nobody can sleep on the one thread there is: a turn that would, fails with [`io::ErrorKind::WouldBlock`] instead, and
/// the shard stands where a sleeping thread would stand. Its driver calls the turn again when the world wakes it.
#[derive(Debug)]
pub struct SimIo {
    world: Rc<RefCell<World>>,
    shard: u8,
    pool: Pool,
    /// Ingress memory that is with the kernel.
    lent: VecDeque<(BufId, Box<[u8]>)>,
    now: Instant,
}

impl SimIo {
    /// The door of one shard.
    pub fn new(world: Rc<RefCell<World>>, shard: u8, shape: PoolShape) -> Self {
        let now = world.borrow().now();
        Self { world, shard, pool: Pool::new(shape), lent: VecDeque::new(), now }
    }

    fn submit(&mut self, act: impl FnOnce(&mut World, usize)) {
        let mut world = self.world.borrow_mut();
        act(&mut world, usize::from(self.shard));
        world.ports[usize::from(self.shard)].submitted = true;
        world.wake_soon(Actor::Shard(self.shard));
    }

    fn hand_over(&mut self, completions: &mut Vec<Completion>) {
        let world = Rc::clone(&self.world);
        let world = &mut *world.borrow_mut();
        let shard = usize::from(self.shard);
        world.ports[shard].submitted = false;
        let starting: Vec<_> = world.ports[shard].sends.iter().filter(|send| !send.started).map(|s| s.link).collect();
        for send in world.ports[shard].sends.iter_mut() {
            send.started = true;
        }
        for link in starting {
            world.pump(link);
        }
        if std::mem::take(&mut world.ports[shard].rung) {
            completions.push(Completion::Doorbell);
        }
        // Who is served first is up to the seed.
        let steps: &mut [u8; 3] = &mut [0, 1, 2];
        steps.rotate_left(world.streams.schedule.index(3));
        for step in steps {
            match *step {
                0 => self.hand_over_accepts(world, completions),
                1 => self.hand_over_sends(world, completions),
                _ => self.hand_over_receives(world, completions),
            }
        }
        if shard == 0 {
            self.hand_over_datagrams(world, completions);
        }
    }

    fn hand_over_accepts(&self, world: &mut World, completions: &mut Vec<Completion>) {
        let shard = usize::from(self.shard);
        for index in 0..world.ports[shard].listeners.len() {
            let listener = ListenerId(index as u16);
            while completions.len() < world.config.completions_max {
                let place: &mut Listener = &mut world.ports[shard].listeners[index];
                if let Some(error) = place.ending.take() {
                    place.armed = false;
                    completions.push(Completion::AcceptEnded { listener, error });
                }
                if !place.armed || !place.open || place.backlog.is_empty() {
                    break;
                }
                let exhausted = world.descriptors.iter().flatten().count() >= world.config.descriptors_max as usize;
                if exhausted || world.streams.network.chance(world.config.no_descriptor_permille) {
                    world.marks.hit("no_descriptor");
                    world.ports[shard].listeners[index].ending = Some(Some(Errno(libc::EMFILE)));
                    continue;
                }
                if let Some(error) = world.strike(Operation::Accept) {
                    world.ports[shard].listeners[index].ending = Some(Some(error));
                    if error.0 == libc::ECONNABORTED
                        && let Some(gone) = world.ports[shard].listeners[index].backlog.pop_front()
                    {
                        world.refuse(gone);
                    }
                    continue;
                }
                let Some(link) = world.ports[shard].listeners[index].backlog.pop_front() else { break };
                let socket = Socket(world.open_descriptor(link));
                completions.push(Completion::Accepted { listener, socket });
                if world.streams.network.chance(world.config.accept_restart_permille) {
                    world.marks.hit("accept_restart");
                    world.ports[shard].listeners[index].ending = Some(None);
                }
            }
        }
    }

    fn hand_over_datagrams(&mut self, world: &mut World, completions: &mut Vec<Completion>) {
        while world.datagrams.are_ready() && completions.len() < world.config.completions_max {
            let Some((buf, mut memory)) = self.lent.pop_front() else {
                world.marks.hit("no_buffer_for_a_datagram");
                world.datagrams.armed = false;
                completions.push(Completion::DatagramsEnded { listener: DATAGRAMS, end: ReceiveEnd::NoBuffers });
                return;
            };
            let Some((from, bytes)) = world.datagrams.at_broker.pop_front() else { return };
            let len = bytes.len().min(memory.len());
            memory[..len].copy_from_slice(&bytes[..len]);
            self.pool.restore(buf, memory);
            completions.push(Completion::Datagram { listener: DATAGRAMS, from, buf, start: 0, len: len as u32 });
        }
    }

    fn hand_over_sends(&mut self, world: &mut World, completions: &mut Vec<Completion>) {
        let shard = usize::from(self.shard);
        let mut place = 0;
        while place < world.ports[shard].sends.len() && completions.len() < world.config.completions_max {
            let Some(result) = world.ports[shard].sends[place].result else {
                place += 1;
                continue;
            };
            let send = world.ports[shard].sends.remove(place);
            let mut at = 0;
            for &(buf, start, len) in &send.bufs {
                let there = self.pool.piece(Piece { buf, start, len });
                assert!(there == &send.bytes[at..at + len as usize], "buffer {} was changed while it was sent", buf.0);
                at += len as usize;
                self.pool.release(buf);
            }
            completions.push(Completion::Sent { key: send.key, result });
        }
    }

    fn hand_over_receives(&mut self, world: &mut World, completions: &mut Vec<Completion>) {
        let shard = usize::from(self.shard);
        let mut receives = std::mem::take(&mut world.ports[shard].receives);
        if !receives.is_empty() {
            let first = world.streams.schedule.index(receives.len());
            receives.rotate_left(first);
        }
        receives.retain(|receive| {
            if completions.len() >= world.config.completions_max {
                return true;
            }
            let end = self.receive_some(world, receive, completions);
            if let Some(end) = end {
                completions.push(Completion::ReceiveEnded { key: receive.key, end });
            }
            end.is_none()
        });
        world.ports[shard].receives = receives;
    }

    /// Hands over some of what arrived on one connection; `Some` if the receive is over.
    fn receive_some(
        &mut self,
        world: &mut World,
        receive: &Receive,
        completions: &mut Vec<Completion>,
    ) -> Option<ReceiveEnd> {
        if receive.cancelled && world.streams.network.chance(500) {
            return Some(ReceiveEnd::Cancelled);
        }
        for _ in 0..world.streams.network.between(1, CHUNKS_PER_TURN_MAX) {
            if !world.links[receive.link.0 as usize].to_broker.has_arrived(world.now()) {
                return world.receive_end(receive);
            }
            if completions.len() >= world.config.completions_max {
                return None;
            }
            if let Some(error) = world.strike(Operation::Receive) {
                return Some(end_of(error));
            }
            if self.lent.is_empty() || world.streams.network.chance(world.config.no_buffers_permille) {
                world.marks.hit("no_buffers");
                return Some(ReceiveEnd::NoBuffers);
            }
            self.receive_chunk(world, receive, completions);
            if receive.how == laneway_broker::io::Receive::Once {
                world.marks.hit("received_once");
                return Some(ReceiveEnd::Restart);
            }
            if world.streams.network.chance(world.config.restart_permille) {
                world.marks.hit("receive_restart");
                return Some(ReceiveEnd::Restart);
            }
        }
        None
    }

    fn receive_chunk(&mut self, world: &mut World, receive: &Receive, completions: &mut Vec<Completion>) {
        let Some((buf, mut bytes)) = self.lent.pop_front() else { return };
        let most = match world.streams.network.chance(world.config.receive_one_byte_permille) {
            true => 1,
            false => world.streams.network.between(1, world.config.receive_bytes_max) as usize,
        };
        let most = most.min(bytes.len());
        let len = world.collect(receive.link, Side::Broker, &mut bytes[..most]) as u32;
        self.pool.restore(buf, bytes);
        completions.push(Completion::Received { key: receive.key, buf, len });
    }

    fn note(&self, completions: &[Completion]) {
        let mut world = self.world.borrow_mut();
        let shard = u64::from(self.shard);
        for completion in completions {
            match *completion {
                Completion::Accepted { listener, socket } => {
                    world.note("accepted", &[shard, u64::from(listener.0), socket.0 as u64]);
                }
                Completion::AcceptEnded { listener, error } => {
                    world.note("accept_ended", &[shard, u64::from(listener.0), error.map_or(0, |e| e.0 as u64)]);
                }
                Completion::Received { key, len, .. } => {
                    world.note("received", &[shard, u64::from(key.slot), u64::from(len)]);
                }
                Completion::ReceiveEnded { key, end } => {
                    let kind = match end {
                        ReceiveEnd::Closed => 0,
                        ReceiveEnd::NoBuffers => 1,
                        ReceiveEnd::Cancelled => 2,
                        ReceiveEnd::Restart => 3,
                        ReceiveEnd::Failed(_) => 4,
                    };
                    world.note("receive_ended", &[shard, u64::from(key.slot), kind]);
                }
                Completion::Sent { key, result } => {
                    world.note("sent", &[shard, u64::from(key.slot), result.map_or(u64::MAX, u64::from)]);
                }
                Completion::Datagram { listener, len, .. } => {
                    world.note("datagram", &[shard, u64::from(listener.0), u64::from(len)]);
                }
                Completion::DatagramsEnded { listener, .. } => {
                    world.note("datagrams_ended", &[shard, u64::from(listener.0)]);
                }
                Completion::Doorbell => world.note("doorbell", &[shard]),
            }
        }
    }
}

/// How a receive ends with an error, as the ring reports it.
const fn end_of(error: Errno) -> ReceiveEnd {
    match error.0 {
        libc::ENOBUFS => ReceiveEnd::NoBuffers,
        libc::ECANCELED => ReceiveEnd::Cancelled,
        _ => ReceiveEnd::Failed(error),
    }
}

impl Io for SimIo {
    fn now(&self) -> Instant {
        self.now
    }

    fn clock(&self) -> Instant {
        self.now
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn pool_mut(&mut self) -> &mut Pool {
        &mut self.pool
    }

    fn accept(&mut self, listener: ListenerId) {
        self.submit(|world, shard| {
            if let Some(place) = world.ports[shard].listeners.get_mut(usize::from(listener.0)) {
                assert!(!place.armed || place.ending.is_some(), "a listener accepts once at a time");
                place.armed = place.open;
            }
        });
    }

    fn receive_datagrams(&mut self, listener: ListenerId) {
        assert!((self.shard, listener) == (0, DATAGRAMS), "shard {} has no such socket: {listener:?}", self.shard);
        let mut world = self.world.borrow_mut();
        assert!(!std::mem::replace(&mut world.datagrams.armed, true), "datagrams are received once at a time");
        if world.datagrams.are_ready() {
            world.wake_soon(Actor::Shard(0));
        }
    }

    fn send_datagram(&mut self, listener: ListenerId, to: SocketAddr, piece: Piece) {
        assert!((self.shard, listener) == (0, DATAGRAMS), "shard {} has no such socket: {listener:?}", self.shard);
        let bytes = self.pool.piece(piece);
        self.world.borrow_mut().broker_datagram(to, bytes);
    }

    fn close_listener(&mut self, listener: ListenerId) {
        self.submit(|world, shard| {
            let Some(place) = world.ports[shard].listeners.get_mut(usize::from(listener.0)) else { return };
            if std::mem::replace(&mut place.open, false) && place.armed {
                place.ending = Some(Some(Errno(libc::ECANCELED)));
            }
            for link in std::mem::take(&mut place.backlog) {
                world.refuse(link);
            }
        });
    }

    fn peer(&self, socket: Socket) -> PeerAddress {
        let mut world = self.world.borrow_mut();
        let link = world.link_of(socket.0);
        match world.strike(Operation::Peer) {
            Some(_) => PeerAddress::Unknown,
            None => world.links[link.0 as usize].address.clone(),
        }
    }

    fn configure(&mut self, socket: Socket, _options: &SocketOptions) -> Result<(), Errno> {
        let mut world = self.world.borrow_mut();
        let _ = world.link_of(socket.0);
        world.strike(Operation::Configure).map_or(Ok(()), Err)
    }

    fn open_tty(&mut self, _tty: &laneway_broker::tty::TtyOptions) -> io::Result<Socket> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn tty_errors(&self, _socket: Socket) -> laneway_broker::tty::TtyErrors {
        laneway_broker::tty::TtyErrors::default()
    }

    fn tty_unsent(&self, _socket: Socket) -> u32 {
        0
    }

    fn receive(&mut self, key: Key, socket: Socket, how: laneway_broker::io::Receive) {
        let this = self.shard;
        self.submit(|world, shard| {
            let link = world.link_of(socket.0);
            world.links[link.0 as usize].shard = this;
            let busy = world.ports.iter().flat_map(|port| &port.receives).any(|receive| receive.link == link);
            assert!(!busy, "descriptor {} already has a receive in flight", socket.0);
            world.ports[shard].receives.push(Receive { key, link, how, cancelled: false });
        });
    }

    fn cancel_receive(&mut self, key: Key) {
        self.submit(|world, shard| {
            if let Some(receive) = world.ports[shard].receives.iter_mut().find(|receive| receive.key == key) {
                receive.cancelled = true;
                world.marks.hit("receive_cancelled");
            }
        });
    }

    fn send(&mut self, key: Key, socket: Socket, pieces: &[Piece]) {
        assert!(!pieces.is_empty() && pieces.len() <= SEND_PIECES_MAX, "a send has 1 to {SEND_PIECES_MAX} pieces");
        let mut bytes = Vec::new();
        let mut bufs = Vec::new();
        for &piece in pieces {
            assert!(piece.len > 0, "a piece has bytes");
            self.pool.retain(piece.buf);
            bytes.extend_from_slice(self.pool.piece(piece));
            bufs.push((piece.buf, piece.start, piece.len));
        }
        let this = self.shard;
        self.submit(|world, shard| {
            let link = world.link_of(socket.0);
            world.links[link.0 as usize].shard = this;
            let busy = world.ports.iter().flat_map(|port| &port.sends).any(|send| send.link == link);
            assert!(!busy, "descriptor {} already has a send in flight", socket.0);
            let short = world.streams.network.chance(world.config.short_send_permille);
            let enough = if short { 1 + world.streams.network.index(bytes.len()) } else { bytes.len() };
            let result = world.strike(Operation::Send).map(Err);
            let send = Send { key, link, bytes, bufs, done: 0, enough, started: false, result };
            world.ports[shard].sends.push(send);
        });
    }

    fn shutdown_send(&mut self, socket: Socket) {
        self.submit(|world, _| {
            let link = world.link_of(socket.0);
            world.note("shutdown_send", &[u64::from(link.0)]);
            if world.strike(Operation::ShutdownSend).is_some() {
                // It fails on a connection that is gone, and on no other.
                world.break_link(link);
                return;
            }
            world.finish(link, Side::Broker);
            world.pump(link);
        });
    }

    fn shutdown(&mut self, socket: Socket) {
        self.submit(|world, _| {
            let link = world.link_of(socket.0);
            if !std::mem::replace(&mut world.links[link.0 as usize].broker_shut, true) {
                world.note("shutdown", &[u64::from(link.0)]);
                if world.strike(Operation::Shutdown).is_some() {
                    world.break_link(link);
                    return;
                }
                world.finish(link, Side::Broker);
                world.pump(link);
            }
        });
    }

    fn release(&mut self, socket: Socket) {
        self.submit(|world, _| {
            let id = world.link_of(socket.0);
            let receiving = world.ports.iter().flat_map(|port| &port.receives).any(|receive| receive.link == id);
            let sending = world.ports.iter().flat_map(|port| &port.sends).any(|send| send.link == id);
            assert!(!receiving && !sending, "descriptor {} was handed on while in use", socket.0);
            world.note("release", &[u64::from(id.0)]);
            world.marks.hit("connection_handed_on");
        });
    }

    fn close(&mut self, socket: Socket) {
        self.submit(|world, _| {
            let id = world.link_of(socket.0);
            let receiving = world.ports.iter().flat_map(|port| &port.receives).any(|receive| receive.link == id);
            let sending = world.ports.iter().flat_map(|port| &port.sends).any(|send| send.link == id);
            assert!(!receiving && !sending, "descriptor {} was closed while in use", socket.0);
            world.note("close", &[u64::from(id.0)]);
            world.descriptors[socket.0 as usize] = None;
            let unread = world.links[id.0 as usize].to_broker.queued() > 0;
            let link = &mut world.links[id.0 as usize];
            link.broker_closed = true;
            if unread {
                world.marks.hit("closed_with_unread_bytes");
                world.break_link(id);
            } else if !std::mem::replace(&mut link.broker_shut, true) {
                world.finish(id, Side::Broker);
            }
        });
    }

    fn ring_doorbell(&mut self, shard: u8) {
        self.world.borrow_mut().ring(shard);
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        if let Some(Errno(errno)) = self.world.borrow_mut().strike(Operation::Turn) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        while let Some(lent) = self.pool.lend() {
            self.lent.push_back(lent);
        }
        self.now = self.world.borrow().now();
        let first = completions.len();
        self.hand_over(completions);
        self.note(&completions[first..]);
        let mut world = self.world.borrow_mut();
        let shard = usize::from(self.shard);
        let spurious = std::mem::take(&mut world.ports[shard].spurious);
        let blocks = match wait {
            Wait::No => false,
            Wait::Until(deadline) => deadline > self.now,
            Wait::Forever => true,
        };
        if completions.len() > first || spurious || !blocks {
            world.ports[shard].wait = Wait::No;
            world.wake_soon(Actor::Shard(self.shard));
            return Ok(());
        }
        world.ports[shard].wait = wait;
        if let Wait::Until(deadline) = wait {
            let span = deadline.since(self.now);
            world.wake(Actor::Shard(self.shard), span);
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}
