//! What both bare relays share: the loop on the broker's door, its peers, and their ends.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::time::Instant;

use laneway_broker::boot::listen::UNPACED;
use laneway_broker::io::uring::{Doorbell, UringIo, UringParts};
use laneway_broker::io::{
    Completion, Io, ListenerId, Receive, ReceiveEnd, SEND_PIECES_MAX, Socket, SocketOptions, Wait,
};
use laneway_broker::pool::{BufId, Piece, Pool, PoolShape};
use laneway_broker::slab::{Key, Slab};

use socket2::SockRef;

use super::{Job, RECEIVE_BYTES, WAITING_BYTES_MAX, announce};
use crate::error::{Error, Result};

const LISTENER: ListenerId = ListenerId(0);

/// 4 MiB of ingress to start with; it grows only while large frames arrive in small pieces.
const POOL: PoolShape = PoolShape {
    ingress_buffer_bytes: RECEIVE_BYTES as u32,
    ingress_buffers: 64,
    ingress_buffers_max: 1_024,
    egress_buffer_bytes: 4 * 1024,
    egress_buffers_kept: 0,
};

/// How received bytes reach the subscribers: what makes one relay differ from another.
pub(super) trait Distribute: Default {
    /// Takes `len` bytes of `buf`, of which the caller holds one reference until this returns.
    fn on_received(&mut self, buf: BufId, len: u32, pool: &mut Pool, outboxes: &mut Outboxes) -> Result<()>;

    /// The publisher has left; gives up what belongs to an incomplete frame.
    fn on_left(&mut self, pool: &mut Pool);
}

/// What waits for one subscriber.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// The subscriber has left; what is pushed vanishes.
    abandoned: bool,
}

impl Outbox {
    /// Appends a range; takes a reference on its buffer unless the range continues the one before it.
    pub(super) fn push(&mut self, piece: Piece, pool: &mut Pool) {
        if self.abandoned || piece.len == 0 {
            return;
        }
        self.bytes += piece.len as usize;
        if let Some(back) = self.pieces.back_mut()
            && back.buf == piece.buf
            && back.start + back.len == piece.start
        {
            back.len += piece.len;
            return;
        }
        pool.retain(piece.buf);
        self.pieces.push_back(piece);
    }

    /// `count` bytes from the front have been sent.
    fn on_sent(&mut self, mut count: u32, pool: &mut Pool) {
        self.bytes -= count as usize;
        while let Some(front) = self.pieces.front_mut() {
            if count < front.len {
                front.start += count;
                front.len -= count;
                return;
            }
            count -= front.len;
            pool.release(front.buf);
            self.pieces.pop_front();
        }
    }

    fn abandon(&mut self, pool: &mut Pool) {
        self.abandoned = true;
        for piece in self.pieces.drain(..) {
            pool.release(piece.buf);
        }
        self.bytes = 0;
    }
}

/// The outboxes of all subscribers, in the order in which they connected.
pub(super) type Outboxes = Vec<Outbox>;

#[derive(Debug)]
struct Peer {
    socket: Socket,
    /// Place among the outboxes; `None` for a publisher.
    place: Option<usize>,
    receiving: bool,
    /// A receive was asked to end and has not ended yet.
    pausing: bool,
    sending: bool,
    closing: bool,
}

/// A bare relay.
struct Relay<D> {
    io: UringIo,
    distribute: D,
    peers: Slab<Peer>,
    publisher: Option<Key>,
    subscribers: Vec<Key>,
    outboxes: Outboxes,
    subscribers_min: usize,
    /// The publisher has left and what waits is still being delivered.
    finishing: bool,
    /// Who connected meanwhile.
    early: Vec<Socket>,
    scratch: Vec<Piece>,
}

/// Runs the relay that distributes as `D` says.
pub(super) fn serve<D: Distribute>(job: Job) -> Result<()> {
    let listener = TcpListener::bind(job.listen).map_err(Error::io(format!("listening on {}", job.listen)))?;
    // As the broker's: what the floor is compared with is not held back, so it must not be, either.
    let _ = SockRef::from(&listener).set_tcp_congestion(UNPACED.as_bytes());
    let address = listener.local_addr().map_err(Error::io("asking for the port"))?;
    let doorbell = Doorbell::new().map_err(Error::io("making a doorbell"))?;
    let parts = UringParts {
        shard: 0,
        doorbells: [doorbell].into(),
        listeners: vec![OwnedFd::from(listener)],
        pool: POOL,
        start: Instant::now(),
    };
    let mut io = UringIo::open(parts).map_err(|error| Error::Missing(error.to_string()))?;
    io.accept(LISTENER);
    announce(address)?;
    let mut relay = Relay {
        io,
        distribute: D::default(),
        peers: Slab::default(),
        publisher: None,
        subscribers: Vec::new(),
        outboxes: Vec::new(),
        subscribers_min: job.subscribers,
        finishing: false,
        early: Vec::new(),
        scratch: Vec::with_capacity(SEND_PIECES_MAX),
    };
    let mut completions = Vec::new();
    let wait = if job.spin { Wait::No } else { Wait::Forever };
    loop {
        relay.io.turn(wait, &mut completions).map_err(Error::io("waiting for the ring"))?;
        for completion in completions.drain(..) {
            relay.on_completion(completion)?;
        }
        relay.flush();
        relay.finish();
        relay.read_on();
    }
}

impl<D: Distribute> Relay<D> {
    fn on_completion(&mut self, completion: Completion) -> Result<()> {
        match completion {
            Completion::Accepted { socket, .. } => self.on_accepted(socket),
            Completion::AcceptEnded { error: None, .. } => self.io.accept(LISTENER),
            Completion::AcceptEnded { error: Some(errno), .. } => {
                return Err(Error::Failed(format!("accepting: {}", errno.text())));
            }
            Completion::Received { key, buf, len } => {
                if self.publisher == Some(key) {
                    let Self { io, distribute, outboxes, .. } = self;
                    distribute.on_received(buf, len, io.pool_mut(), outboxes)?;
                }
                self.io.pool_mut().release(buf);
            }
            Completion::ReceiveEnded { key, end } => {
                let Some(peer) = self.peers.at_mut(key) else { return Ok(()) };
                (peer.receiving, peer.pausing) = (false, false);
                match end {
                    ReceiveEnd::Closed | ReceiveEnd::Failed(_) => self.on_left(key),
                    ReceiveEnd::NoBuffers | ReceiveEnd::Cancelled | ReceiveEnd::Restart => {}
                }
                self.close_if_quiet(key);
            }
            Completion::Sent { key, result } => self.on_sent(key, result.ok()),
            Completion::Doorbell | Completion::Datagram { .. } | Completion::DatagramsEnded { .. } => {}
        }
        Ok(())
    }

    fn on_accepted(&mut self, socket: Socket) {
        if self.finishing {
            self.early.push(socket);
            return;
        }
        let _ = self.io.configure(socket, &SocketOptions { nodelay: true, ..SocketOptions::default() });
        let place = self.publisher.is_some().then_some(self.subscribers.len());
        let peer = Peer { socket, place, receiving: false, pausing: false, sending: false, closing: false };
        let key = self.peers.insert_with(|_| peer);
        if place.is_none() {
            self.publisher = Some(key);
            return;
        }
        self.subscribers.push(key);
        self.outboxes.push(Outbox::default());
        // Subscribers say nothing; this notices when they leave.
        self.receive(key);
    }

    fn receive(&mut self, key: Key) {
        if let Some(peer) = self.peers.at_mut(key) {
            peer.receiving = true;
            let socket = peer.socket;
            self.io.receive(key, socket, Receive::Many);
        }
    }

    /// A peer's stream has ended.
    fn on_left(&mut self, key: Key) {
        let place = self.peers.at(key).and_then(|peer| peer.place);
        self.shut(key);
        if self.publisher == Some(key) {
            self.publisher = None;
            self.finishing = true;
            self.distribute.on_left(self.io.pool_mut());
        } else if let Some(outbox) = place.and_then(|place| self.outboxes.get_mut(place)) {
            outbox.abandon(self.io.pool_mut());
        }
    }

    /// After the publisher has left: disconnects the subscribers once they have everything, then starts anew.
    fn finish(&mut self) {
        if !self.finishing || self.outboxes.iter().any(|outbox| outbox.bytes > 0) {
            return;
        }
        self.finishing = false;
        self.outboxes.clear();
        for key in std::mem::take(&mut self.subscribers) {
            self.shut(key);
        }
        for socket in std::mem::take(&mut self.early) {
            self.on_accepted(socket);
        }
    }

    fn shut(&mut self, key: Key) {
        if let Some(peer) = self.peers.at_mut(key)
            && !peer.closing
        {
            peer.closing = true;
            let socket = peer.socket;
            self.io.shutdown(socket);
        }
        self.close_if_quiet(key);
    }

    fn close_if_quiet(&mut self, key: Key) {
        let Some(peer) = self.peers.at(key) else { return };
        if peer.closing && !peer.receiving && !peer.sending {
            let socket = peer.socket;
            self.io.close(socket);
            self.peers.remove(key);
        }
    }

    fn on_sent(&mut self, key: Key, sent: Option<u32>) {
        let Some(peer) = self.peers.at_mut(key) else { return };
        peer.sending = false;
        let place = peer.place.filter(|_| !peer.closing);
        match (sent, place) {
            (Some(count), Some(place)) => self.outboxes[place].on_sent(count, self.io.pool_mut()),
            (None, Some(_)) => self.on_left(key),
            (_, None) => self.close_if_quiet(key),
        }
    }

    /// One gathered send for each subscriber that has none in flight.
    fn flush(&mut self) {
        for place in 0..self.subscribers.len() {
            self.send(place);
        }
    }

    fn send(&mut self, place: usize) {
        let key = self.subscribers[place];
        let pieces = &self.outboxes[place].pieces;
        let Some(peer) = self.peers.at_mut(key) else { return };
        if peer.sending || peer.closing || pieces.is_empty() {
            return;
        }
        peer.sending = true;
        self.scratch.clear();
        self.scratch.extend(pieces.iter().take(SEND_PIECES_MAX));
        let socket = peer.socket;
        self.io.send(key, socket, &self.scratch);
    }

    /// Receives from the publisher while every subscriber has room and there are buffers.
    fn read_on(&mut self) {
        let Some(key) = self.publisher else { return };
        let Some(receiving) = self.peers.at(key).map(|peer| peer.receiving) else { return };
        let full = self.outboxes.iter().any(|outbox| outbox.bytes > WAITING_BYTES_MAX);
        if receiving && full {
            self.pause(key);
        } else if !receiving && !full && self.subscribers.len() >= self.subscribers_min && self.io.pool().lendable() > 0
        {
            self.receive(key);
        }
    }

    fn pause(&mut self, key: Key) {
        if let Some(peer) = self.peers.at_mut(key)
            && !peer.pausing
        {
            peer.pausing = true;
            self.io.cancel_receive(key);
        }
    }
}
