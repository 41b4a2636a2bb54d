//! New connections: the first shard accepts for all, and hands each to the shard with the fewest.

use laneway_proto::error::CloseCode;
use laneway_proto::session::Session;
use laneway_proto::time::Duration;

use super::Shard;
use crate::config::Settings;
use crate::conn::{Conn, Receiving};
use crate::io::{Errno, Io, ListenerId, PeerAddress, Receive, Socket, SocketOptions};
use crate::mesh::{Envelope, Handover};
use crate::slab::Key;

/// Pause after the system had no descriptor or memory left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections over the bound that are refused with REJECT at the same time; further ones are closed at once.
const REFUSING_MAX: u32 = 64;
/// Slots from here on stand for listeners in the timers.
pub(super) const LISTENER_SLOT_FIRST: u32 = u32::MAX - u16::MAX as u32;

/// Who is where; only the first shard uses it.
#[derive(Debug)]
pub(super) struct Accepting {
    /// Connections of each shard.
    load: Vec<u32>,
    /// Connections of each listener, and their bound (0: none).
    listeners: Vec<(u32, u32)>,
    /// Connections being refused with REJECT.
    refusing: u32,
    /// Listeners whose accept ended because the system ran out.
    paused: Vec<ListenerId>,
    closed: bool,
}

impl Accepting {
    pub(super) fn new(shards: u8, listeners: Vec<u32>) -> Self {
        Self {
            load: vec![0; usize::from(shards)],
            listeners: listeners.into_iter().map(|max| (0, max)).collect(),
            refusing: 0,
            paused: Vec::new(),
            closed: false,
        }
    }

    pub(super) const fn listeners(&self) -> u16 {
        self.listeners.len() as u16
    }

    fn is_full(&self, listener: ListenerId, connections_max: u32) -> bool {
        let total: u32 = self.load.iter().sum();
        let (now, max) = self.listeners[usize::from(listener.0)];
        total >= connections_max || max > 0 && now >= max
    }

    fn least_loaded(&self) -> u8 {
        let least = self.load.iter().enumerate().min_by_key(|&(_, load)| load);
        least.map_or(0, |(shard, _)| shard as u8)
    }
}

/// What a new connection's socket is set to; only what its kind knows.
const fn socket_options(settings: &Settings, address: &PeerAddress) -> SocketOptions {
    let tcp = &settings.tcp;
    match address {
        PeerAddress::Unix { .. } => SocketOptions {
            nodelay: false,
            paced_again: false,
            keepalive_s: 0,
            notsent_lowat_bytes: 0,
            send_buffer_bytes: settings.unix.send_buffer_bytes,
            receive_buffer_bytes: tcp.receive_buffer_bytes,
        },
        PeerAddress::Tcp(_)
        | PeerAddress::Udp(_)
        | PeerAddress::All(_)
        | PeerAddress::Tty(_)
        | PeerAddress::Unknown => SocketOptions {
            nodelay: tcp.nodelay,
            paced_again: !tcp.loopback_paced && !address.is_loopback(),
            keepalive_s: tcp.keepalive_s,
            notsent_lowat_bytes: tcp.notsent_lowat_bytes,
            send_buffer_bytes: tcp.send_buffer_bytes,
            receive_buffer_bytes: tcp.receive_buffer_bytes,
        },
    }
}

/// The listener a timer's key stands for.
pub(super) const fn listener_of(key: Key) -> Option<ListenerId> {
    match key.slot.checked_sub(LISTENER_SLOT_FIRST) {
        Some(listener) => Some(ListenerId(listener as u16)),
        None => None,
    }
}

impl<I: Io> Shard<I> {
    /// Starts to take what arrives at a listener.
    pub(super) fn listen(&mut self, listener: ListenerId) {
        if self.datagrams.takes(listener) {
            self.io.receive_datagrams(listener);
        } else {
            self.io.accept(listener);
        }
    }

    /// Whether nobody new is let in any more.
    pub(super) const fn is_accepting_no_more(&self) -> bool {
        self.accepting.closed
    }

    /// Counts somebody new in, who stays on this shard: `None`, and nothing is counted, if there is not even room to
    /// refuse them; else whether they are to be refused.
    pub(super) fn admit(&mut self, listener: ListenerId) -> Option<Option<CloseCode>> {
        self.counters.accepted += 1;
        let full = self.accepting.is_full(listener, self.settings.limits.connections_max);
        if full && self.accepting.refusing >= REFUSING_MAX {
            self.counters.refused_at_once += 1;
            return None;
        }
        if full {
            self.accepting.refusing += 1;
        } else {
            self.accepting.load[usize::from(self.mesh.shard())] += 1;
            self.accepting.listeners[usize::from(listener.0)].0 += 1;
        }
        Some(full.then_some(CloseCode::Limit))
    }

    /// Nothing is taken from a listener for a while.
    pub(super) fn pause_listener(&mut self, listener: ListenerId, pause: Duration) {
        self.accepting.paused.push(listener);
        let key = Key { slot: LISTENER_SLOT_FIRST + u32::from(listener.0), generation: 0 };
        self.timers.set(self.now() + pause, key);
    }

    pub(super) fn on_accepted(&mut self, listener: ListenerId, socket: Socket) {
        self.counters.accepted += 1;
        if self.accepting.closed {
            self.io.close(socket);
            return;
        }
        let full = self.accepting.is_full(listener, self.settings.limits.connections_max);
        if full && self.accepting.refusing >= REFUSING_MAX {
            self.counters.refused_at_once += 1;
            self.io.close(socket);
            return;
        }
        let refused = full.then_some(CloseCode::Limit);
        let owner = self.accepting.least_loaded();
        if full {
            self.accepting.refusing += 1;
        } else {
            self.accepting.load[usize::from(owner)] += 1;
            self.accepting.listeners[usize::from(listener.0)].0 += 1;
        }
        let handover = Handover { socket, address: self.io.peer(socket), listener, refused };
        if owner == self.mesh.shard() || full {
            self.own(handover);
        } else {
            self.mesh.post(owner, Envelope::Connection(handover));
        }
    }

    /// Takes a connection in.
    pub(super) fn own(&mut self, handover: Handover) {
        let Handover { socket, address, listener, refused } = handover;
        let now = self.now();
        let session = Session::new(now, self.settings.limits.patience());
        if let Err(error) = self.io.configure(socket, &socket_options(&self.settings, &address)) {
            self.on_options_refused(error);
        }
        let key = self.conns.insert_with(|_| Conn {
            refused,
            receiving: Receiving::Many,
            ..Conn::new(socket, address, listener, session, now)
        });
        self.limit_rates(key);
        self.io.receive(key, socket, Receive::Many);
        self.arm_timer(key);
    }

    /// Keeps a new connection to its rates.
    pub(super) fn limit_rates(&mut self, key: Key) {
        let now = self.now();
        if let Some(conn) = self.conns.at_mut(key) {
            conn.limit(now, &self.settings);
        }
    }

    /// The connection works without them, as the system's defaults are.
    fn on_options_refused(&mut self, error: Errno) {
        self.counters.options_refused += 1;
        if self.counters.options_refused == 1 {
            tracing::warn!(error = error.text(), "an option of a socket was refused; see the tables tcp and unix");
        }
    }

    /// A connection that this shard had accepted has ended, here or on another shard.
    pub(super) fn on_left(&mut self, shard: u8, listener: ListenerId, refused: bool) {
        if refused {
            self.accepting.refusing -= 1;
            return;
        }
        self.accepting.load[usize::from(shard)] -= 1;
        self.accepting.listeners[usize::from(listener.0)].0 -= 1;
    }

    /// A connection went from one shard to another, after its session.
    pub(super) fn on_moved(&mut self, from: u8, to: u8) {
        self.accepting.load[usize::from(from)] -= 1;
        self.accepting.load[usize::from(to)] += 1;
    }

    pub(super) fn on_accept_ended(&mut self, listener: ListenerId, error: Option<Errno>) {
        if self.accepting.closed {
            return;
        }
        let Some(error) = error else {
            self.io.accept(listener);
            return;
        };
        self.counters.accept_paused += 1;
        if self.counters.accept_paused == 1 {
            tracing::warn!(
                error = error.text(),
                "accepting pauses; if descriptors ran out, raise the limit (ulimit -n)"
            );
        }
        self.pause_listener(listener, ACCEPT_PAUSE);
    }

    pub(super) fn resume_accept(&mut self, listener: ListenerId) {
        let paused = self.accepting.paused.len();
        self.accepting.paused.retain(|&other| other != listener);
        if self.accepting.paused.len() < paused && (!self.accepting.closed || self.datagrams.takes(listener)) {
            self.listen(listener);
        }
    }

    pub(super) fn stop_accepting(&mut self) {
        self.accepting.closed = true;
        for listener in (0..self.accepting.listeners()).map(ListenerId) {
            // Sessions over UDP need theirs to the end.
            if !self.datagrams.takes(listener) {
                self.io.close_listener(listener);
            }
        }
    }
}
