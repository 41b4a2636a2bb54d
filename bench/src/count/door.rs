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
use laneway_broker::tty::TtyOptions;
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

/// What has arrived on each connection and was not received yet; shared with who puts it there.
pub(super) type Arrived = Rc<RefCell<Vec<VecDeque<u8>>>>;

/// The door.
#[derive(Debug)]
pub(super) struct Door {
    arrived: Arrived,
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
        let arrived = Rc::new(RefCell::new(vec![VecDeque::new(); links]));
        let links = (0..links).map(|_| Link::default()).collect();
        let now = Instant(1_000_000_000);
        Self {
            arrived,
            pool: Pool::new(shape),
            lent: VecDeque::new(),
            links,
            sending: Vec::new(),
            held: Vec::new(),
            now,
        }
    }

    /// Where bytes are put so that they arrive.
    pub(super) fn arrived(&self) -> Arrived {
        Rc::clone(&self.arrived)
    }

    /// Whether everything that arrived was received.
    pub(super) fn is_empty(&self) -> bool {
        self.arrived.borrow().iter().all(VecDeque::is_empty) && self.sending.is_empty()
    }

    /// Bytes sent on a connection so far.
    pub(super) fn sent(&self, link: usize) -> u64 {
        self.links.get(link).map_or(0, |link| link.sent)
    }

    fn link_mut(&mut self, socket: Socket) -> Option<&mut Link> {
        self.links.get_mut(usize::try_from(socket.0).ok()?)
    }

    fn receive_all(&mut self, completions: &mut Vec<Completion>) {
        for (link, inbound) in self.links.iter_mut().zip(self.arrived.borrow_mut().iter_mut()) {
            let Some((key, how)) = link.receiving else { continue };
            while !inbound.is_empty() {
                let Some((buf, mut memory)) = self.lent.pop_front() else { break };
                let count = memory.len().min(inbound.len());
                uncounted_copy(inbound, &mut memory[..count]);
                self.pool.restore(buf, memory);
                completions.push(Completion::Received { key, buf, len: count as u32 });
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

/// Moves the front of what arrived into a buffer: the kernel's work, which is not counted.
#[inline(never)]
fn uncounted_copy(inbound: &mut VecDeque<u8>, memory: &mut [u8]) {
    let (front, back) = inbound.as_slices();
    let from_front = front.len().min(memory.len());
    let (first, second) = memory.split_at_mut(from_front);
    first.copy_from_slice(&front[..from_front]);
    second.copy_from_slice(&back[..second.len()]);
    inbound.drain(..memory.len());
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
