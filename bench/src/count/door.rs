//! A shard's door in memory: what is put in front of it is received, what is sent is gone at once and counted.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use laneway_broker::io::{
    Completion, Errno, Io, ListenerId, PeerAddress, Receive, ReceiveEnd, Socket, SocketOptions, Wait,
};
use laneway_broker::pool::{BufId, Piece, Pool, PoolShape};
use laneway_broker::slab::Key;
use laneway_broker::tty::{TtyErrors, TtyOptions};
use laneway_proto::time::{Duration, Instant};

/// How long a turn takes.
const TURN: Duration = Duration::from_micros(100);

/// One connection.
#[derive(Debug, Default)]
struct Link {
    accepted: bool,
    receiving: Option<(Key, Receive)>,
    cancelled: bool,
    sent: u64,
}

/// What has arrived and was not received yet, in memory that changes places with the shard's buffers: a kernel's copies
/// are not counted.
#[derive(Debug)]
pub(super) struct Wires {
    /// Of each connection, buffers with the bytes in them.
    arrived: Vec<VecDeque<(Box<[u8]>, usize)>>,
    spare: Vec<Box<[u8]>>,
    buffer_bytes: usize,
}

impl Wires {
    /// Lets bytes arrive on a connection.
    pub(super) fn put(&mut self, link: usize, bytes: &[u8]) {
        let Some(arrived) = self.arrived.get_mut(link) else { return };
        for part in bytes.chunks(self.buffer_bytes) {
            let mut memory = self.spare.pop().unwrap_or_else(|| vec![0; self.buffer_bytes].into());
            memory[..part.len()].copy_from_slice(part);
            arrived.push_back((memory, part.len()));
        }
    }
}

/// The door.
#[derive(Debug)]
pub(super) struct Door {
    wires: Rc<RefCell<Wires>>,
    pool: Pool,
    lent: VecDeque<(BufId, Box<[u8]>)>,
    links: Vec<Link>,
    sending: Vec<(Key, u32)>,
    held: Vec<BufId>,
    now: Instant,
}

impl Door {
    /// A door in front of which `links` connections wait to be accepted.
    pub(super) fn new(shape: PoolShape, links: usize) -> Self {
        let arrived = (0..links).map(|_| VecDeque::new()).collect();
        let wires = Wires { arrived, spare: Vec::new(), buffer_bytes: shape.ingress_buffer_bytes as usize };
        let wires = Rc::new(RefCell::new(wires));
        let links = (0..links).map(|_| Link::default()).collect();
        let now = Instant(1_000_000_000);
        Self { wires, pool: Pool::new(shape), lent: VecDeque::new(), links, sending: Vec::new(), held: Vec::new(), now }
    }

    /// Where bytes are put so that they arrive.
    pub(super) fn wires(&self) -> Rc<RefCell<Wires>> {
        Rc::clone(&self.wires)
    }

    /// Whether everything that arrived was received.
    pub(super) fn is_empty(&self) -> bool {
        self.wires.borrow().arrived.iter().all(VecDeque::is_empty) && self.sending.is_empty()
    }

    /// Bytes sent on a connection so far.
    pub(super) fn sent(&self, link: usize) -> u64 {
        self.links.get(link).map_or(0, |link| link.sent)
    }

    fn link_mut(&mut self, socket: Socket) -> Option<&mut Link> {
        self.links.get_mut(usize::try_from(socket.0).ok()?)
    }

    fn receive_all(&mut self, completions: &mut Vec<Completion>) {
        let Wires { arrived, spare, .. } = &mut *self.wires.borrow_mut();
        for (link, inbound) in self.links.iter_mut().zip(arrived) {
            let Some((key, how)) = link.receiving else { continue };
            while !inbound.is_empty() {
                let Some((buf, empty)) = self.lent.pop_front() else { break };
                if let Some((memory, len)) = inbound.pop_front() {
                    spare.push(empty);
                    self.pool.restore(buf, memory);
                    completions.push(Completion::Received { key, buf, len: len as u32 });
                }
                if how == Receive::Once {
                    break;
                }
            }
            let short = !inbound.is_empty() && self.lent.is_empty();
            let end = match (link.cancelled, short, how) {
                (true, _, _) => Some(ReceiveEnd::Cancelled),
                (false, true, _) => Some(ReceiveEnd::NoBuffers),
                (false, false, Receive::Once) => Some(ReceiveEnd::Restart),
                (false, false, Receive::Many) => None,
            };
            if let Some(end) = end {
                (link.receiving, link.cancelled) = (None, false);
                completions.push(Completion::ReceiveEnded { key, end });
            }
        }
    }
}

impl Io for Door {
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

    fn accept(&mut self, _listener: ListenerId) {}

    fn receive_datagrams(&mut self, _listener: ListenerId) {}

    fn send_datagram(&mut self, _listener: ListenerId, _to: SocketAddr, _piece: Piece) {}

    fn close_listener(&mut self, _listener: ListenerId) {}

    fn peer(&self, _socket: Socket) -> PeerAddress {
        PeerAddress::Unknown
    }

    fn configure(&mut self, _socket: Socket, _options: &SocketOptions) -> Result<(), Errno> {
        Ok(())
    }

    fn open_tty(&mut self, _tty: &TtyOptions) -> io::Result<Socket> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn tty_unsent(&self, _socket: Socket) -> u32 {
        0
    }

    fn tty_errors(&self, _socket: Socket) -> TtyErrors {
        TtyErrors::default()
    }

    fn receive(&mut self, key: Key, socket: Socket, how: Receive) {
        if let Some(link) = self.link_mut(socket) {
            link.receiving = Some((key, how));
        }
    }

    fn cancel_receive(&mut self, key: Key) {
        for link in &mut self.links {
            link.cancelled |= link.receiving.is_some_and(|(known, _)| known == key);
        }
    }

    fn send(&mut self, key: Key, socket: Socket, pieces: &[Piece]) {
        let mut bytes = 0;
        for piece in pieces {
            self.pool.retain(piece.buf);
            self.held.push(piece.buf);
            bytes += piece.len;
        }
        if let Some(link) = self.link_mut(socket) {
            link.sent += u64::from(bytes);
        }
        self.sending.push((key, bytes));
    }

    fn shutdown_send(&mut self, _socket: Socket) {}

    fn shutdown(&mut self, _socket: Socket) {}

    fn release(&mut self, _socket: Socket) {}

    fn close(&mut self, _socket: Socket) {}

    fn ring_doorbell(&mut self, _shard: u8) {}

    fn turn(&mut self, _wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.now = self.now + TURN;
        while let Some(lent) = self.pool.lend() {
            self.lent.push_back(lent);
        }
        for (socket, link) in (0..).zip(&mut self.links) {
            if !std::mem::replace(&mut link.accepted, true) {
                completions.push(Completion::Accepted { listener: ListenerId(0), socket: Socket(socket) });
            }
        }
        for buf in self.held.drain(..) {
            self.pool.release(buf);
        }
        completions.extend(self.sending.drain(..).map(|(key, bytes)| Completion::Sent { key, result: Ok(bytes) }));
        self.receive_all(completions);
        Ok(())
    }
}
