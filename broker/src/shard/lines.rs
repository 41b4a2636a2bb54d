//! Serial ports: opened, read and written, and opened again when the device was unplugged; a session on one is a connection
//! without a socket, like any other to the rest of the shard.

use laneway_proto::error::CloseCode;
use laneway_proto::serial::hello::SERIAL_NODE_ID_BYTES;
use laneway_proto::serial::link::Ended;
use laneway_proto::session::Session;
use laneway_proto::time::{Duration, Instant};

use super::{Bus, LISTENER_SLOT_FIRST, PortError, PortErrors, Shard, put_unread};
use crate::config::Settings;
use crate::config::url::Place;
use crate::conn::Conn;
use crate::counters::CloseReason;
use crate::io::{Errno, Io, ListenerId, PeerAddress, Receive, ReceiveEnd, Socket};
use crate::line::{Count, From, Happened, LineSetup, Numbers, Seen, Talker, dropping_bytes_max};
use crate::outbox::Outbox;
use crate::outbox::tail::Tail;
use crate::pool::{BufId, Piece};
use crate::slab::{GENERATIONS_MAX, Key};
use crate::tty::TtyOptions;

/// Ports of a shard at most.
const PORTS_MAX: u32 = 256;
/// Slots from here on, below the listeners', stand for ports in completions and timers.
const PORT_SLOT_FIRST: u32 = LISTENER_SLOT_FIRST - PORTS_MAX;
/// Pause before a port that is not there, or was lost, is looked for.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest pause before a port that is there and cannot be opened is tried again.
const RETRY_MAX: Duration = Duration::from_millis(2_000);
/// Pause before the rest of a write is tried that found no room, or a read that found no buffer.
const NO_ROOM: Duration = Duration::from_millis(2);
/// The longest such pause.
const NO_ROOM_MAX: Duration = Duration::from_millis(64);
/// How long a device is told that its session is over before a port is closed for good.
const FAREWELL: Duration = Duration::from_millis(100);
/// A connection of nobody's: it was not accepted.
const NO_LISTENER: ListenerId = ListenerId(u16::MAX);

/// One serial port.
#[derive(Debug)]
pub(super) struct Port {
    tty: TtyOptions,
    /// Times it was opened: the generation of its key.
    opened: u32,
    /// Open, or being let go of.
    socket: Option<Socket>,
    /// The device's line, while the port is open.
    line: Option<Box<Talker>>,
    receiving: bool,
    sending: bool,
    /// Frames that the port has not taken yet.
    unsent: Vec<u8>,
    /// The numbers that devices on it have used.
    numbers: Numbers,
    /// How long what it did not take waits before it is tried again, and until when.
    no_room: Duration,
    blocked_until: Option<Instant>,
    /// The session's connection.
    conn: Option<Key>,
    /// Instead of an outbox while there is no session.
    nothing: Outbox,
    timer_at: Option<Instant>,
    retry: Duration,
    /// A session on it was ended by the broker: the device is told until then.
    farewell_until: Option<Instant>,
    /// It was said that it cannot be opened.
    complained: bool,
    /// A half-duplex line: whose turn it is of the devices on it, which stand behind it among the ports.
    bus: Option<Bus>,
    /// A device on such a line: the place of the line's port.
    wire: Option<usize>,
    errors: PortErrors,
}

/// The port a key stands for.
pub(super) const fn port_of(key: Key) -> Option<usize> {
    if key.slot >= PORT_SLOT_FIRST && key.slot < LISTENER_SLOT_FIRST {
        Some((key.slot - PORT_SLOT_FIRST) as usize)
    } else {
        None
    }
}

/// The ports of one of so many shards.
pub(super) fn ports(settings: &Settings, shard: u8, shards: u8) -> Vec<Port> {
    let ttys = settings.listen.iter().filter_map(|url| match &url.place {
        Place::Serial(tty) => Some(tty),
        Place::Tcp { .. } | Place::Udp { .. } | Place::Unix(_) | Place::Broadcast(_) => None,
    });
    let mut all: Vec<Port> = Vec::new();
    for tty in ttys.skip(usize::from(shard)).step_by(usize::from(shards.max(1))) {
        let wire = all.len();
        let devices = tty.addresses.len();
        if wire + devices >= PORTS_MAX as usize {
            tracing::warn!(port = %tty, "a shard serves {PORTS_MAX} serial ports; use more shards");
            break;
        }
        all.push(Port::new(tty));
        if devices > 0 {
            all[wire].bus = Some(Bus::new(wire + 1..wire + 1 + devices, tty.baud));
        }
        let alone = |&address: &u8| TtyOptions { addresses: vec![address], ..tty.clone() };
        all.extend(tty.addresses.iter().map(|address| Port { wire: Some(wire), ..Port::new(&alone(address)) }));
    }
    all
}

impl Port {
    fn new(tty: &TtyOptions) -> Self {
        Self {
            tty: tty.clone(),
            opened: 0,
            socket: None,
            line: None,
            receiving: false,
            sending: false,
            unsent: Vec::new(),
            numbers: Numbers::default(),
            no_room: NO_ROOM,
            blocked_until: None,
            conn: None,
            nothing: Outbox::default(),
            timer_at: None,
            retry: RETRY_FIRST,
            farewell_until: None,
            complained: false,
            bus: None,
            wire: None,
            errors: PortErrors::default(),
        }
    }

    pub(super) const fn bus(&self) -> Option<&Bus> {
        self.bus.as_ref()
    }

    pub(super) const fn bus_mut(&mut self) -> Option<&mut Bus> {
        self.bus.as_mut()
    }

    pub(super) fn line_mut(&mut self) -> Option<&mut Talker> {
        self.line.as_deref_mut()
    }

    pub(super) const fn errors(&self) -> &PortErrors {
        &self.errors
    }

    pub(super) const fn errors_mut(&mut self) -> &mut PortErrors {
        &mut self.errors
    }

    /// Frames that its line has found bad, and where its driver is asked; each `None` if it is not there.
    pub(super) fn troubles(&self) -> (Option<u64>, Option<Socket>) {
        let bad = self.line.as_ref().map(|line| match line.seen() {
            Seen::Device(counters, _) => u64::from(counters.bad),
            Seen::Foreign(counters) => counters.bad,
        });
        (bad, self.socket)
    }

    pub(super) fn path(&self) -> String {
        self.tty.path.display().to_string()
    }

    /// The places of the devices on its line, if those are others than itself.
    fn members(&self) -> std::ops::Range<usize> {
        self.bus.as_ref().map_or(0..0, Bus::members)
    }

    /// Whether it is open and to stay so.
    fn works(&self) -> bool {
        self.line.is_some() || self.bus.as_ref().is_some_and(Bus::is_open)
    }

    fn key(&self, place: usize) -> Key {
        Key { slot: PORT_SLOT_FIRST + place as u32, generation: self.opened % GENERATIONS_MAX }
    }

    /// What it is, as it was configured.
    pub(super) fn url(&self) -> String {
        self.tty.to_string()
    }

    /// Times it was opened.
    pub(super) fn opened(&self) -> u64 {
        u64::from(self.opened)
    }

    /// Whether a device is there.
    pub(super) const fn in_session(&self) -> bool {
        self.conn.is_some()
    }

    /// What its line has seen; `None` while it is not open.
    pub(super) fn seen(&self) -> Option<Seen<'_>> {
        self.line.as_ref().map(|line| line.seen())
    }

    /// It has no room: where nobody reads at the other end, that may be so for long.
    fn block(&mut self, now: Instant) {
        self.blocked_until = Some(now + self.no_room);
        self.no_room = Duration((self.no_room.0 * 2).min(NO_ROOM_MAX.0));
    }

    const fn is_idle(&self) -> bool {
        !self.receiving && !self.sending
    }
}

impl<I: Io> Shard<I> {
    pub(super) fn start_ports(&mut self) {
        for place in 0..self.ports.len() {
            if self.ports[place].wire.is_none() {
                self.open_port(place);
            }
        }
    }

    fn open_port(&mut self, place: usize) {
        let now = self.now();
        if self.drain.is_some() {
            return;
        }
        let port = &mut self.ports[place];
        match self.io.open_tty(&port.tty) {
            Ok(socket) => {
                (port.socket, port.receiving, port.sending) = (Some(socket), true, false);
                (port.retry, port.complained) = (RETRY_FIRST, false);
                tracing::info!(port = %port.tty, "serial port open");
                port.errors.on_opened(self.io.tty_errors(socket));
                match &mut port.bus {
                    Some(bus) => {
                        bus.set_open(true);
                        port.opened += 1;
                        let (members, devices) = (bus.members(), bus.members().len() as u8);
                        members.for_each(|member| self.new_line(member, devices));
                    }
                    None => self.new_line(place, 1),
                }
                let port = &self.ports[place];
                let key = port.key(place);
                self.io.receive(key, socket, Receive::Many);
                self.serve_port(place);
            }
            Err(error) => {
                if !std::mem::replace(&mut port.complained, true) {
                    tracing::warn!(port = %port.tty, %error, remedy = remedy(&error), "serial port not open; it is tried again");
                }
                let wait = port.retry;
                if error.kind() != std::io::ErrorKind::NotFound {
                    port.retry = Duration((port.retry.0 * 2).min(RETRY_MAX.0));
                }
                self.set_port_timer(place, now + wait);
            }
        }
    }

    /// A device may be there, as one of so many.
    fn new_line(&mut self, place: usize, devices: u8) {
        let now = self.now();
        let port = &mut self.ports[place];
        port.opened += 1;
        let entropy = entropy(self.identity.epoch, place as u64, u64::from(port.opened), self.io.clock());
        let mut node_id = [0; SERIAL_NODE_ID_BYTES];
        node_id.copy_from_slice(&self.identity.node_id[..SERIAL_NODE_ID_BYTES]);
        let setup = LineSetup {
            baud: port.tty.baud,
            node_id,
            lanes: &self.settings.lanes,
            topics_max: self.settings.limits.session_topics_max,
            address: port.tty.addresses.first().copied().filter(|_| port.wire.is_some()).unwrap_or_default(),
            devices,
        };
        port.errors.on_begun();
        port.line = Some(Box::new(Talker::new(now, &port.tty, &setup, entropy, port.numbers)));
    }

    /// What a port has said. False if the completion is not one of the port as it is open now.
    pub(super) fn on_port_received(&mut self, key: Key, buf: BufId, len: u32) -> bool {
        let bytes = self.io.pool().piece(Piece { buf, start: 0, len }).to_vec();
        self.io.pool_mut().release(buf);
        let Some(place) = self.port_at(key) else { return false };
        self.counters.bytes_in += u64::from(len);
        let now = self.now();
        // On a half-duplex line, of the device whose turn it is; what comes in nobody's turn is of nobody.
        let speaker = self.ports[place].bus.as_mut().map_or(Some(place), |bus| bus.on_heard(now));
        let mut rest = &bytes[..];
        while let Some(speaker) = speaker
            && let Some(line) = self.ports[speaker].line.as_mut()
            && !rest.is_empty()
        {
            let taken = line.on_bytes(now, rest);
            rest = &rest[taken..];
            self.take_line_events(speaker);
        }
        self.serve_port(place);
        true
    }

    pub(super) fn on_port_receive_ended(&mut self, key: Key, end: ReceiveEnd) -> bool {
        let Some(place) = self.port_at(key) else { return false };
        let port = &mut self.ports[place];
        port.receiving = false;
        match end {
            ReceiveEnd::Restart | ReceiveEnd::NoBuffers if port.works() => {
                port.blocked_until = Some(self.io.now() + NO_ROOM);
                self.serve_port(place);
            }
            ReceiveEnd::Closed
            | ReceiveEnd::Failed(_)
            | ReceiveEnd::Cancelled
            | ReceiveEnd::Restart
            | ReceiveEnd::NoBuffers => self.lose_port(place),
        }
        true
    }

    pub(super) fn on_port_sent(&mut self, key: Key, result: Result<u32, Errno>) -> bool {
        let Some(place) = self.port_at(key) else { return false };
        let now = self.now();
        let port = &mut self.ports[place];
        port.sending = false;
        match result {
            Ok(sent) => {
                self.counters.bytes_out += u64::from(sent);
                let all = (sent as usize).min(port.unsent.len());
                port.unsent.drain(..all);
                port.no_room = NO_ROOM;
                if !port.unsent.is_empty() {
                    self.counters.sends_short += 1;
                    port.block(now);
                }
                if port.works() {
                    self.serve_port(place);
                } else {
                    self.lose_port(place);
                }
            }
            Err(Errno(libc::EAGAIN | libc::EINTR)) if port.works() => {
                port.block(now);
                self.serve_port(place);
            }
            Err(_) => self.lose_port(place),
        }
        true
    }

    pub(super) fn tick_port(&mut self, now: Instant, key: Key) {
        // A timer of an earlier opening serves as well: what is due is looked at.
        let Some(place) = port_of(key).filter(|&place| place < self.ports.len()) else { return };
        let port = &mut self.ports[place];
        if port.timer_at.is_some_and(|at| at <= now) {
            port.timer_at = None;
        }
        if port.socket.is_none() && port.wire.is_none() {
            if port.timer_at.is_none() {
                self.open_port(place);
            }
            self.tell_errors(place);
            return;
        }
        self.serve_port(place);
    }

    fn port_at(&self, key: Key) -> Option<usize> {
        let place = port_of(key)?;
        let port = self.ports.get(place)?;
        (port.key(place) == key && port.socket.is_some()).then_some(place)
    }

    pub(super) fn set_port_timer(&mut self, place: usize, at: Instant) {
        let port = &mut self.ports[place];
        if port.timer_at.is_none_or(|set| at < set) {
            port.timer_at = Some(at);
            self.timers.set(at, port.key(place));
        }
    }

    /// The connection of a session on a line has something for its device.
    pub(super) fn flush_line(&mut self, place: u16, key: Key) {
        let place = usize::from(place);
        if self.ports.get(place).is_some_and(|port| port.conn == Some(key)) {
            self.serve_port(place);
            return;
        }
        // Its device is gone.
        self.drop_waiting(key);
        self.progress_close(key);
    }

    /// Drops what waits for a device, and lets those go on who were stopped because of it.
    fn drop_waiting(&mut self, key: Key) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        conn.outbox.clear(self.io.pool_mut());
        conn.outbox.take_unblocked(true, &mut self.unblocked);
        self.unblock();
    }

    /// Everything that is due on a port: timers, frames that the line can take, and when to come back.
    fn serve_port(&mut self, place: usize) {
        self.serve_line(place);
        if let Some(wire) = self.ports[place].wire {
            let wakes = self.ports[place].farewell_until;
            wakes.into_iter().for_each(|at| self.set_port_timer(place, at));
            return self.serve_bus(wire);
        }
        if self.ports[place].bus.is_some() {
            self.ports[place].members().for_each(|member| self.serve_line(member));
            self.serve_bus(place);
        } else {
            self.transmit(place);
        }
        let now = self.now();
        let port = &mut self.ports[place];
        let Some(socket) = port.socket.filter(|_| port.works()) else { return };
        if !port.receiving && port.blocked_until.is_none() {
            port.receiving = true;
            let key = port.key(place);
            self.io.receive(key, socket, Receive::Many);
        }
        // While something is being sent its end comes first.
        let busy = if port.sending { Some(now + NO_ROOM) } else { port.blocked_until };
        let due = port.line.as_ref().and_then(|line| line.poll_timeout(now));
        let due = due.map(|at| busy.map_or(at, |busy| at.max(busy)));
        if let Some(at) = [due, port.blocked_until, port.farewell_until].into_iter().flatten().min() {
            self.set_port_timer(place, at);
        }
    }

    /// What is due on a device's line, except that something is sent.
    fn serve_line(&mut self, place: usize) {
        let now = self.now();
        if let Some(line) = &mut self.ports[place].line {
            line.on_timeout(now);
        }
        self.take_line_events(place);
        let takes = self.ports[place].conn.and_then(|key| self.conns.at(key)).is_some_and(|conn| {
            let waits = conn.is_stopped() || conn.in_line || !conn.inbox.pieces.is_empty();
            !waits && self.drain.is_none()
        });
        let port = &mut self.ports[place];
        if let Some(line) = &mut port.line {
            line.set_flowing(takes);
        }
        for until in [&mut port.blocked_until, &mut port.farewell_until] {
            *until = until.filter(|&until| until > now);
        }
        self.tell_errors(place);
    }

    /// Hands what the line can take to the port. Returns how many bytes were new.
    pub(super) fn transmit(&mut self, place: usize) -> usize {
        let now = self.now();
        let Self { ports, conns, io, counters, unblocked, .. } = self;
        let wire = ports[place].wire.unwrap_or(place);
        let Some(socket) = ports[wire].socket else { return 0 };
        if ports[wire].sending || ports[wire].blocked_until.is_some_and(|until| until > now) {
            return 0;
        }
        let mut unsent = std::mem::take(&mut ports[wire].unsent);
        let (mut replays, mut new) = (false, 0);
        let port = &mut ports[place];
        if let Some(line) = port.line.as_mut().filter(|_| unsent.is_empty()) {
            line.on_below(now, io.tty_unsent(socket));
            let (outbox, bytes_out) = match port.conn.and_then(|key| conns.at_mut(key)) {
                Some(conn) => {
                    replays = conn.replay.is_some();
                    (&mut conn.outbox, Some(&mut conn.bytes_out))
                }
                None => (&mut port.nothing, None),
            };
            let mut from = From { outbox, pool: io.pool_mut(), drops: &mut counters.dropped };
            line.transmit(now, &mut from, &mut unsent);
            from.outbox.take_unblocked(false, unblocked);
            new = unsent.len();
            if let Some(bytes_out) = bytes_out {
                *bytes_out += new as u64;
            }
        }
        let conn = port.conn;
        let port = &mut ports[wire];
        port.unsent = unsent;
        if !port.unsent.is_empty() {
            port.sending = true;
            let key = port.key(wire);
            counters.sends += 1;
            send_copy(io, key, socket, &port.unsent);
        }
        self.unblock();
        if let Some(key) = conn {
            if replays {
                self.line_up_replay(key);
            }
            self.end_line_session_if_said(place, key);
        }
        self.take_line_events(place);
        new
    }

    /// The broker has said its last word to a device, and all before it has arrived.
    fn end_line_session_if_said(&mut self, place: usize, key: Key) {
        let now = self.now();
        let Some(line) = &mut self.ports[place].line else { return };
        let Some(code) = line.goodbye() else { return };
        if let Some(conn) = self.conns.at_mut(key) {
            conn.ended = Some(CloseReason::PeerLeft);
        }
        self.ports[place].farewell_until = Some(now + FAREWELL);
        let Some(line) = &mut self.ports[place].line else { return };
        line.close(now, CloseCode::from_number(u32::from(code)).unwrap_or(CloseCode::Internal));
        self.take_line_events(place);
    }

    fn take_line_events(&mut self, place: usize) {
        let now = self.now();
        while let Some(happened) = self.ports[place].line.as_mut().and_then(|line| line.poll(now)) {
            match happened {
                Happened::Opened => self.begin_line_session(place),
                Happened::Ended(ended) => self.end_line_session(place, reason_of(ended)),
                Happened::Counted(count) => self.on_line_count(place, count),
                Happened::TurnOver => {
                    let wire = self.ports[place].wire.unwrap_or(place);
                    if let Some(bus) = &mut self.ports[wire].bus {
                        bus.on_turn_over(place);
                    }
                }
                Happened::Said => {
                    let mut said = Vec::new();
                    if let Some(line) = &mut self.ports[place].line {
                        line.take_up(&mut said);
                    }
                    self.hear_line(place, &said);
                }
            }
        }
    }

    /// A device has received frames of a lane: whoever published what was in them is told. Of one that it will never have
    /// nobody is told.
    fn on_line_count(&mut self, place: usize, count: Count) {
        let Some(key) = self.ports[place].conn else { return };
        let Count { lane, total, received } = count;
        let counted = if received {
            self.take_count(key, lane, total)
        } else {
            let conn = self.conns.at_mut(key);
            conn.map_or(Ok(()), |conn| conn.outbox.take_received(lane, total, &mut Vec::new()))
        };
        debug_assert!(counted.is_ok(), "{count:?} was taken from the outbox");
    }

    fn begin_line_session(&mut self, place: usize) {
        let now = self.now();
        if self.drain.is_some() {
            if let Some(line) = &mut self.ports[place].line {
                line.close(now, CloseCode::Shutdown);
            }
            return;
        }
        let session = Session::new(now, self.settings.limits.patience());
        let path: std::sync::Arc<str> = self.ports[place].tty.path.to_string_lossy().into();
        let mut said = Vec::new();
        if let Some(line) = &self.ports[place].line {
            line.introduce(&path, &mut said);
        }
        let address = PeerAddress::Tty(path);
        let line = Some(place as u16);
        let bytes_max = dropping_bytes_max(self.ports[place].tty.baud);
        let key = self.conns.insert_with(|_| {
            let mut conn = Conn { line, ..Conn::new(Socket::NONE, address, NO_LISTENER, session, now) };
            conn.outbox.bound_dropping(bytes_max);
            conn
        });
        self.ports[place].conn = Some(key);
        self.counters.accepted += 1;
        self.arm_timer(key);
        self.hear_line(place, &said);
    }

    /// The device's session is over: what it had published is still routed, then it is forgotten.
    fn end_line_session(&mut self, place: usize, reason: CloseReason) {
        let Some(key) = self.ports[place].conn.take() else { return };
        let Some(conn) = self.conns.at_mut(key) else { return };
        conn.ended = Some(reason);
        self.drop_waiting(key);
        self.receive_again(key);
    }

    /// The connection of a session on a line is no more: the device is told, if it is still there.
    pub(super) fn on_line_let_go(&mut self, place: u16, key: Key, reason: CloseReason) {
        let now = self.now();
        let place = usize::from(place);
        let Some(port) = self.ports.get_mut(place).filter(|port| port.conn == Some(key)) else { return };
        port.conn = None;
        let code = match reason {
            CloseReason::Ours(code) => code,
            CloseReason::PeerLeft | CloseReason::ConnectionFailed => CloseCode::Normal,
        };
        if let Some(line) = &mut port.line {
            line.close(now, code);
            port.farewell_until = Some(now + FAREWELL);
        }
        // Not now: whoever lets go of the connection may be serving this port.
        self.set_port_timer(place, now);
    }

    /// Frames of a stream link that the device has said are taken as if they had been received.
    fn hear_line(&mut self, place: usize, said: &[u8]) {
        let Some(key) = self.ports[place].conn else { return };
        let now = self.now();
        let Some(conn) = self.conns.at_mut(key) else { return };
        if conn.is_deaf() {
            return;
        }
        conn.on_heard(now, said.len() as u64);
        put_unread(&mut conn.inbox, said, self.io.pool_mut());
        self.ingest_if_free(key);
    }

    /// A device's line is no more. Whether there was one.
    fn lose_line(&mut self, place: usize) -> bool {
        if let Some(bad) = self.ports[place].troubles().0 {
            self.ports[place].errors.on_line(bad);
        }
        let Some(line) = self.ports[place].line.take() else { return false };
        self.ports[place].numbers = line.numbers();
        self.ports[place].farewell_until = None;
        self.end_line_session(place, CloseReason::ConnectionFailed);
        true
    }

    /// The port does not work any more, or is no longer needed: it is closed once nothing is in flight on it.
    fn lose_port(&mut self, place: usize) {
        let now = self.now();
        let mut open = self.lose_line(place);
        for member in self.ports[place].members() {
            open |= self.lose_line(member);
        }
        if let Some(bus) = &mut self.ports[place].bus {
            bus.set_open(false);
        }
        if open {
            tracing::info!(port = %self.ports[place].tty, "serial port gone");
            if self.drain.is_none() {
                self.ports[place].errors.note(PortError::HangUp, 1);
                self.tell_errors(place);
            }
            if let Some(socket) = self.ports[place].socket {
                self.io.shutdown(socket);
            }
        }
        let port = &mut self.ports[place];
        port.unsent.clear();
        (port.blocked_until, port.farewell_until) = (None, None);
        if port.is_idle()
            && let Some(socket) = port.socket.take()
        {
            self.io.close(socket);
            port.timer_at = None;
            self.set_port_timer(place, now + RETRY_FIRST);
        }
    }

    /// A shutdown: says so to the devices, and closes the ports. Whether all are closed.
    pub(super) fn close_ports(&mut self) -> bool {
        let now = self.now();
        for place in (0..self.ports.len()).rev() {
            let port = &mut self.ports[place];
            if port.farewell_until.is_some_and(|until| until <= now) {
                port.farewell_until = None;
            }
            let farewells = |place: usize| self.ports[place].farewell_until.is_some();
            let waits = farewells(place) || self.ports[place].members().any(farewells);
            let port = &self.ports[place];
            if port.wire.is_none() && !waits && (port.works() || port.socket.is_some()) {
                self.lose_port(place);
            }
        }
        self.ports.iter().all(|port| port.socket.is_none())
    }
}

/// Gives the port a copy of `bytes`.
fn send_copy<I: Io>(io: &mut I, key: Key, socket: Socket, bytes: &[u8]) {
    let mut pieces = Vec::new();
    let mut tail = Tail::default();
    tail.append(bytes, io.pool_mut(), &mut |piece, _| pieces.push(piece));
    tail.close(io.pool_mut());
    io.send(key, socket, &pieces);
    // The door holds its own references until the port has taken them.
    pieces.iter().for_each(|piece| io.pool_mut().release(piece.buf));
}

const fn reason_of(ended: Ended) -> CloseReason {
    match ended {
        Ended::PeerRestarted | Ended::PeerReset(_) => CloseReason::PeerLeft,
        Ended::Silent => CloseReason::Ours(CloseCode::Timeout),
        Ended::PeerFault => CloseReason::Ours(CloseCode::Malformed),
        Ended::Closed(code) => CloseReason::Ours(code),
    }
}

/// 32 bits that differ from start to start, from port to port and from opening to opening.
fn entropy(epoch: u64, place: u64, opened: u64, now: Instant) -> u32 {
    let mut bits = epoch ^ (place << 48) ^ (opened << 32) ^ now.0;
    bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (bits ^ bits >> 31) as u32
}

fn remedy(error: &std::io::Error) -> &'static str {
    let kind = error.kind();
    if kind == std::io::ErrorKind::NotFound {
        "plug the device in; 'ls -l /dev/serial/by-id' lists those that are there"
    } else if kind == std::io::ErrorKind::PermissionDenied {
        "add this user to the port's group, usually dialout, and log in again"
    } else {
        "see who has it open with 'fuser -v PORT'"
    }
}
