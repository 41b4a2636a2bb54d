//! Peers over UDP: datagrams are sorted to their sessions, and what those deliver goes the way that bytes of streams go.
//!
//! A session gives what it has in front of routing, and gets what waits for its peer behind it, once a turn each.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash};
use std::net::{IpAddr, SocketAddr};

use laneway_proto::datagram::broadcast::Sent;
use laneway_proto::datagram::limits::{COOKIE_MS, DATAGRAM_BYTES_MAX};
use laneway_proto::datagram::session::accept::{self, Answer, Attempt};
use laneway_proto::datagram::stream::{End, Stream};
use laneway_proto::error::CloseCode;
use laneway_proto::session::Session;
use laneway_proto::time::{Duration, Instant};

use super::{Shard, put_unread};
use crate::conn::datagrams::DatagramLink;
use crate::conn::{Conn, Receiving};
use crate::counters::CloseReason;
use crate::io::{Io, ListenerId, PeerAddress, ReceiveEnd, SEND_PIECES_MAX, Socket};
use crate::pool::{BufId, Piece};
use crate::slab::Key;

/// Sessions of this machine that have not proven their address, and get no cookie nevertheless.
const UNPROVEN_MAX: usize = 16;
/// Pause after there was no buffer for a datagram.
const DATAGRAM_PAUSE: Duration = Duration::from_millis(1);
/// Pause of a session that is due and can do nothing.
const DUE_AGAIN: Duration = Duration::from_micros(500);

/// A client's attempt, as long as its session lives: its address, its own session and its epoch.
type Client = (SocketAddr, u32, u16);

/// A listener that hears what is said to all, and the connection that it is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ear {
    pub(super) listener: ListenerId,
    pub(super) key: Key,
}

/// The sessions over UDP of a shard.
#[derive(Debug)]
pub(super) struct Datagrams {
    listeners: Vec<ListenerId>,
    by_session: HashMap<u32, Key>,
    by_client: HashMap<Client, Key>,
    /// Links to all.
    ears: Vec<Ear>,
    /// Those that have something to take or to send.
    busy: Vec<Key>,
    made: u64,
    secret: u64,
    /// A datagram that is being written.
    out: Vec<u8>,
}

impl Datagrams {
    pub(super) fn new(listeners: Vec<ListenerId>, secret: u64) -> Self {
        Self {
            listeners,
            by_session: HashMap::new(),
            by_client: HashMap::new(),
            ears: Vec::new(),
            busy: Vec::new(),
            made: 0,
            secret,
            out: Vec::new(),
        }
    }

    pub(super) fn takes(&self, listener: ListenerId) -> bool {
        self.listeners.contains(&listener)
    }

    /// A link to all is up.
    pub(super) fn add_ear(&mut self, ear: Ear) {
        self.ears.push(ear);
    }

    fn heard_by(&self, listener: ListenerId) -> Option<Key> {
        self.ears.iter().find(|ear| ear.listener == listener).map(|ear| ear.key)
    }

    /// A number that only who knows the secret can tell.
    fn draw(&self, of: impl Hash) -> u64 {
        BuildHasherDefault::<DefaultHasher>::default().hash_one((self.secret, of))
    }

    fn cookie(&self, from: SocketAddr, own: u32, period: u64) -> u64 {
        self.draw(("cookie", from, own, period))
    }

    /// Whether a cookie was given to this address not long ago.
    fn is_good(&self, cookie: u64, from: SocketAddr, own: u32, now: Instant) -> bool {
        let period = period_of(now);
        [period, period.saturating_sub(1)].into_iter().any(|period| self.cookie(from, own, period) == cookie)
    }

    /// A session's number that nobody has: random but for its low byte, which is the shard.
    fn number(&mut self, shard: u8) -> u32 {
        loop {
            self.made += 1;
            let number = (self.draw(("session", self.made)) as u32) << 8 | u32::from(shard);
            if number > 0xFF && !self.by_session.contains_key(&number) {
                return number;
            }
        }
    }
}

const fn period_of(now: Instant) -> u64 {
    now.0 / Duration::from_millis(COOKIE_MS).0
}

/// An address as rules and logs know it: IPv4 where a socket for both kinds shows it in IPv6's form.
fn plain(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V6(ip) => ip.to_ipv4_mapped().map_or(address, |ip| SocketAddr::new(IpAddr::V4(ip), address.port())),
        IpAddr::V4(_) => address,
    }
}

impl<I: Io> Shard<I> {
    pub(super) fn on_datagram(&mut self, listener: ListenerId, from: SocketAddr, piece: Piece) {
        self.counters.datagrams_in += 1;
        let now = self.io.now();
        if let Some(key) = self.datagrams.heard_by(listener) {
            self.hear(now, key, from, piece);
            self.io.pool_mut().release(piece.buf);
            return;
        }
        let bytes = self.io.pool().piece(piece);
        match accept::session_of(bytes) {
            Ok(Some(session)) => match self.datagrams.by_session.get(&session) {
                Some(&key) => self.hear(now, key, from, piece),
                None => {
                    self.counters.datagrams_stray += 1;
                    if let Some(gone) = accept::answer_gone(bytes, self.identity.epoch as u16) {
                        self.send_bytes(listener, from, &gone);
                    }
                }
            },
            Ok(None) => self.on_attempt(listener, from, piece),
            Err(_) => self.counters.datagrams_stray += 1,
        }
        self.io.pool_mut().release(piece.buf);
    }

    /// A datagram of a session.
    fn hear(&mut self, now: Instant, key: Key, from: SocketAddr, piece: Piece) {
        let Some(link) = self.conns.at_mut(key).and_then(|conn| conn.datagrams.as_deref_mut()) else { return };
        match link.speech.on_datagram(now, from, self.io.pool().piece(piece)) {
            Some(true) => link.to = from,
            Some(false) => {}
            None => self.counters.datagrams_stray += 1,
        }
        self.list_link(key);
    }

    /// A datagram that may be a HELLO.
    fn on_attempt(&mut self, listener: ListenerId, from: SocketAddr, piece: Piece) {
        let now = self.now();
        let bytes = self.io.pool().piece(piece);
        let Some(attempt) = accept::attempt(bytes) else {
            self.counters.datagrams_stray += 1;
            return;
        };
        let client = (from, attempt.own, attempt.epoch);
        if let Some(&key) = self.datagrams.by_client.get(&client) {
            if let Some(link) = self.conns.at_mut(key).and_then(|conn| conn.datagrams.as_deref_mut())
                && let Some(stream) = link.session_mut()
            {
                stream.on_attempt(&attempt);
            }
            self.list_link(key);
            return;
        }
        if self.is_accepting_no_more() {
            return;
        }
        let trusted = plain(from).ip().is_loopback() && self.unproven() < UNPROVEN_MAX;
        let proven = attempt.cookie.is_some_and(|cookie| self.datagrams.is_good(cookie, from, attempt.own, now));
        if !trusted && !proven {
            let cookie = self.datagrams.cookie(from, attempt.own, period_of(now));
            let mut out = [0; 128];
            let Attempt { own, number, .. } = attempt;
            let epoch = self.identity.epoch as u16;
            let answer = accept::answer(own, number, out.len(), epoch, Answer::Cookie(cookie), &mut out);
            if let Some(bytes) = answer {
                self.send_bytes(listener, from, &out[..bytes]);
            }
            return;
        }
        let number = self.datagrams.number(self.mesh.shard());
        let stream = Stream::accept(&attempt, number, self.identity.epoch as u16, self.settings.lanes);
        self.own_link(listener, from, client, stream);
    }

    /// Sessions whose first datagram has not come yet.
    fn unproven(&self) -> usize {
        let links = self.datagrams.by_session.values().filter_map(|&key| self.conns.at(key)?.datagrams.as_ref());
        links.filter(|link| link.session().is_some_and(|stream| !stream.is_proven())).count()
    }

    /// Takes a session in.
    fn own_link(&mut self, listener: ListenerId, from: SocketAddr, client: Client, stream: Stream) {
        let Some(refused) = self.admit(listener) else { return };
        let now = self.now();
        let number = stream.own();
        let session = Session::new(now, self.settings.limits.patience());
        let address = PeerAddress::Udp(plain(from));
        let key = self.conns.insert_with(|_| Conn {
            refused,
            // Datagrams are received for all of them together.
            receiving: Receiving::Many,
            datagrams: Some(Box::new(DatagramLink::new(stream, from))),
            ..Conn::new(Socket::NONE, address, listener, session, now)
        });
        self.limit_rates(key);
        self.datagrams.by_session.insert(number, key);
        self.datagrams.by_client.insert(client, key);
        self.list_link(key);
        self.arm_timer(key);
    }

    /// The session of a connection is over.
    pub(super) fn forget_link(&mut self, link: &DatagramLink) {
        let Some(stream) = link.session() else {
            self.datagrams.ears.retain(|ear| self.conns.at(ear.key).is_some());
            return;
        };
        let (own, epoch) = stream.client();
        self.datagrams.by_session.remove(&stream.own());
        self.datagrams.by_client.remove(&(link.from, own, epoch));
    }

    pub(super) fn list_link(&mut self, key: Key) {
        let link = self.conns.at_mut(key).and_then(|conn| conn.datagrams.as_deref_mut());
        if let Some(link) = link.filter(|link| !link.listed) {
            link.listed = true;
            self.datagrams.busy.push(key);
        }
    }

    /// What sessions deliver goes to where bytes of streams go.
    pub(super) fn hear_links(&mut self) {
        for place in 0..self.datagrams.busy.len() {
            let key = self.datagrams.busy[place];
            self.hear_link(key);
        }
    }

    fn hear_link(&mut self, key: Key) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        let Some(link) = conn.datagrams.as_deref() else { return };
        let arrived = link.speech.up().len();
        if arrived > 0 {
            conn.on_heard(self.io.now(), arrived as u64);
            self.counters.bytes_in += arrived as u64;
            let deaf = conn.is_deaf();
            let Some(link) = conn.datagrams.as_deref_mut() else { return };
            if !deaf {
                put_unread(&mut conn.inbox, link.speech.up(), self.io.pool_mut());
            }
            link.speech.take_up(arrived);
            self.ingest_if_free(key);
        }
        self.after_link(key);
    }

    /// Whether it may go on, or has come to its end.
    pub(super) fn after_link(&mut self, key: Key) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        let has_room = !conn.is_stopped() && conn.inbox.pieces.is_empty();
        let waits = !conn.outbox.is_empty();
        let closing = conn.closing.is_some();
        let Some(link) = conn.datagrams.as_deref_mut() else { return };
        link.speech.set_room(has_room);
        let end = link.speech.end();
        if waits {
            self.mark_dirty(key);
        }
        match end {
            Some(End::Rejected) | None => {}
            Some(End::Dead) => self.abort(key, CloseReason::Ours(CloseCode::Timeout)),
            Some(End::Gone | End::Unfit | End::Fault) => self.abort(key, CloseReason::ConnectionFailed),
        }
        if closing {
            self.progress_close(key);
        }
    }

    /// What waits for a peer goes to its session, as far as that takes it.
    pub(super) fn flush_link(&mut self, key: Key) {
        let now = self.now();
        self.list_link(key);
        let mut pieces = [Piece { buf: BufId(0), start: 0, len: 0 }; SEND_PIECES_MAX];
        loop {
            let Some(conn) = self.conns.at_mut(key) else { return };
            let Some(link) = conn.datagrams.as_deref_mut() else { return };
            if !link.speech.has_room() {
                break;
            }
            let full = link.speech.full_lanes();
            conn.outbox.hold(full);
            let count = self.start_send(key, &mut pieces);
            if count == 0 {
                break;
            }
            let Some(conn) = self.conns.at_mut(key) else { return };
            let Some(link) = conn.datagrams.as_deref_mut() else { return };
            let pool = self.io.pool_mut();
            let mut bytes = 0;
            for &piece in &pieces[..count] {
                link.speech.offer(now, pool.piece(piece));
                bytes += piece.len;
            }
            self.counters.sends += 1;
            self.counters.bytes_out += u64::from(bytes);
            conn.bytes_out += u64::from(bytes);
            conn.outbox.on_sent(bytes, pool);
        }
        if self.conns.at(key).is_some_and(|conn| conn.outbox.poll_timeout().is_some()) {
            self.arm_timer(key);
        }
        self.go_on_after_sending(key);
    }

    /// Sends what sessions have to say.
    pub(super) fn pump_links(&mut self) {
        let mut busy = std::mem::take(&mut self.datagrams.busy);
        let mut out = std::mem::take(&mut self.datagrams.out);
        for key in busy.drain(..) {
            if let Some(link) = self.conns.at_mut(key).and_then(|conn| conn.datagrams.as_deref_mut()) {
                link.listed = false;
            }
            self.pump_link(key, &mut out);
            self.arm_timer(key);
            let link = self.conns.at(key).and_then(|conn| conn.datagrams.as_ref());
            if link.is_some_and(|link| link.is_due(self.now())) {
                self.timers.set(self.now() + DUE_AGAIN, key);
            }
        }
        out.clear();
        self.datagrams.out = out;
        if self.datagrams.busy.is_empty() {
            self.datagrams.busy = busy;
        }
    }

    fn pump_link(&mut self, key: Key, out: &mut Vec<u8>) {
        let now = self.now();
        let room = self.io.pool().shape().egress_buffer_bytes as usize;
        // Datagrams share a buffer as long as another one fits.
        let mut shared: Option<(BufId, usize)> = None;
        while let Some(conn) = self.conns.at_mut(key) {
            let Some(link) = conn.datagrams.as_deref_mut() else { break };
            let longest = link.speech.datagram_bytes().min(DATAGRAM_BYTES_MAX);
            out.resize(longest, 0);
            let Some(Sent { bytes, to }) = link.speech.poll_transmit(now, out) else { break };
            if bytes > room {
                continue;
            }
            let (listener, to) = (conn.listener, to.unwrap_or(link.to));
            let pool = self.io.pool_mut();
            let (buf, start) = match shared.take() {
                Some((buf, start)) if start + bytes <= room => (buf, start),
                full => {
                    if let Some((buf, _)) = full {
                        pool.release(buf);
                    }
                    (pool.take_egress(), 0)
                }
            };
            pool.bytes_mut(buf)[start..start + bytes].copy_from_slice(&out[..bytes]);
            let piece = Piece { buf, start: start as u32, len: bytes as u32 };
            self.io.send_datagram(listener, to, piece);
            self.counters.datagrams_out += 1;
            shared = Some((buf, start + bytes));
        }
        if let Some((buf, _)) = shared {
            self.io.pool_mut().release(buf);
        }
    }

    /// Sends a datagram outside of a session.
    fn send_bytes(&mut self, listener: ListenerId, to: SocketAddr, bytes: &[u8]) {
        let pool = self.io.pool_mut();
        let buf = pool.take_egress();
        pool.bytes_mut(buf)[..bytes.len()].copy_from_slice(bytes);
        self.io.send_datagram(listener, to, Piece { buf, start: 0, len: bytes.len() as u32 });
        self.io.pool_mut().release(buf);
        self.counters.datagrams_out += 1;
    }

    /// Sessions over UDP whose timers are due.
    pub(super) fn tick_link(&mut self, now: Instant, key: Key) {
        let Some(link) = self.conns.at_mut(key).and_then(|conn| conn.datagrams.as_deref_mut()) else { return };
        if link.is_due(now) {
            link.speech.on_timeout(now);
            self.list_link(key);
            self.after_link(key);
        }
    }

    pub(super) fn on_datagrams_ended(&mut self, listener: ListenerId, end: ReceiveEnd) {
        match end {
            ReceiveEnd::NoBuffers => {
                self.counters.no_buffers += 1;
                self.pause_listener(listener, DATAGRAM_PAUSE);
            }
            // An ICMP error of an earlier datagram; the socket is as good as before.
            ReceiveEnd::Failed(_) | ReceiveEnd::Restart | ReceiveEnd::Closed => self.io.receive_datagrams(listener),
            ReceiveEnd::Cancelled => {}
        }
    }
}
