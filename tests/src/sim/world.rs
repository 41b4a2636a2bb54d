//! The world of one run: its time, its network, and who is to run next. Everything follows from the seed.

use std::collections::{BTreeMap, VecDeque};

use laneway_broker::io::{Errno, ListenerId, PeerAddress};
use laneway_proto::time::{Duration, Instant};

use super::clock::Clock;
use super::datagrams::Datagrams;
use super::faults::NetworkConfig;
use super::injection::{Injection, Operation};
use super::marks::Marks;
use super::net::{End, Link, LinkId, Pipe, Side};
use super::port::Port;
use super::rng::{Rng, Streams};
use super::trace::Trace;

/// Somebody who runs when woken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Actor {
    /// A shard of the broker.
    Shard(u8),
    /// A client.
    Client(u32),
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// Somebody's turn, if it is still the wake-up that was planned last.
    Wake(Actor),
    /// Something changed for this side of the connection.
    Arrive(LinkId, Side),
    /// A dial reaches the listener.
    Dialled(LinkId),
    /// A datagram arrives somewhere.
    Datagram,
}

/// What a client finds when it reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientRead {
    /// This many bytes.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    Ended(End),
}

/// The network between clients and shards, with its time.
#[derive(Debug)]
pub struct World {
    /// Time and what is due.
    clock: Clock<Event>,
    /// Random numbers.
    pub streams: Streams,
    /// What may go wrong.
    pub config: NetworkConfig,
    /// The one operation of the door that fails by plan.
    pub injection: Injection,
    /// What happened.
    pub trace: Trace,
    /// What was reached.
    pub marks: Marks,
    /// Datagrams between clients and shard 0.
    pub datagrams: Datagrams,
    pub(super) links: Vec<Link>,
    pub(super) ports: Vec<Port>,
    pub(super) descriptors: Vec<Option<LinkId>>,
    wakes: BTreeMap<Actor, Instant>,
}

impl World {
    /// A world of `shards` shards with `listeners` listeners each.
    pub fn new(seed: u64, config: NetworkConfig, shards: u8, listeners: u16, print: bool) -> Self {
        Self {
            clock: Clock::default(),
            streams: Streams::new(seed),
            config,
            injection: Injection::default(),
            trace: Trace::new(print),
            marks: Marks::default(),
            datagrams: Datagrams::default(),
            links: Vec::new(),
            ports: (0..shards).map(|_| Port::new(listeners)).collect(),
            descriptors: Vec::new(),
            wakes: BTreeMap::new(),
        }
    }

    /// The time.
    pub const fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Lets time pass up to `end`, or to the next event.
    pub fn sleep_until(&mut self, end: Instant) {
        let span = end.since(self.clock.now());
        self.clock.pass(span);
    }

    /// Notes an event in the trace.
    pub fn note(&mut self, what: &str, numbers: &[u64]) {
        self.trace.note(self.clock.now(), what, numbers);
    }

    /// Makes sure that `actor` runs within `after`.
    pub fn wake(&mut self, actor: Actor, after: Duration) {
        let mut at = self.clock.now() + after;
        if let Actor::Shard(shard) = actor {
            at = at.max(self.ports[usize::from(shard)].stalled_until);
        }
        if self.wakes.get(&actor).is_none_or(|&planned| planned > at) {
            self.wakes.insert(actor, at);
            self.clock.plan(at, Event::Wake(actor));
        }
    }

    /// Makes sure that `actor` runs soon, after a delay drawn from the seed.
    pub fn wake_soon(&mut self, actor: Actor) {
        let delay = Duration::from_micros(self.streams.schedule.below(self.config.wake_us_max + 1));
        self.wake(actor, delay);
    }

    /// Lets time pass until somebody has to run. `None` if nobody has to until `limit`.
    pub fn next(&mut self, limit: Instant) -> Option<Actor> {
        while let Some(event) = self.clock.advance(limit) {
            match event {
                Event::Wake(actor) => {
                    if self.wakes.get(&actor).is_some_and(|&at| at <= self.clock.now()) {
                        self.wakes.remove(&actor);
                        if self.has_to_run(actor) {
                            return Some(actor);
                        }
                    }
                }
                Event::Arrive(link, side) => self.arrive(link, side),
                Event::Dialled(link) => self.dialled(link),
                Event::Datagram => self.datagrams_arrive(),
            }
        }
        None
    }

    /// A shard that waits in the kernel runs only when the kernel has something for it.
    fn has_to_run(&mut self, actor: Actor) -> bool {
        let Actor::Shard(shard) = actor else { return true };
        if self.streams.schedule.chance(self.config.stall_permille) {
            self.marks.hit("stall");
            let span = Duration::from_micros(self.streams.schedule.below(self.config.stall_us_max) + 1);
            self.ports[usize::from(shard)].stalled_until = self.clock.now() + span;
            self.wake(actor, span);
            return false;
        }
        if self.port_ready(shard) {
            return true;
        }
        let spurious = self.streams.schedule.chance(self.config.spurious_permille);
        self.ports[usize::from(shard)].spurious = spurious;
        spurious
    }

    fn arrive(&mut self, id: LinkId, side: Side) {
        match side {
            Side::Client => {
                let client = self.links[id.0 as usize].client;
                self.wake_soon(Actor::Client(client));
            }
            Side::Broker => {
                self.pump(id);
                let shard = self.links[id.0 as usize].shard;
                if self.port_ready(shard) {
                    self.wake_soon(Actor::Shard(shard));
                }
            }
        }
    }

    /// Counts an operation of the door; the number of the error with which it fails, if it does.
    pub(super) fn strike(&mut self, operation: Operation) -> Option<Errno> {
        let errno = self.injection.strikes(operation)?;
        self.note("injected", &[operation as u64, errno as u64]);
        self.marks.hit("injected");
        Some(Errno(errno))
    }

    /// The delay of one write on a connection.
    fn due(&mut self, id: LinkId) -> Instant {
        let now = self.clock.now();
        let link = &mut self.links[id.0 as usize];
        let network: &mut Rng = &mut self.streams.network;
        let jitter = network.between(0, link.latency.jitter.0);
        if network.below(10_000) < u64::from(self.config.partition_per_10k) {
            let span = Duration::from_millis(network.between(1, self.config.partition_ms_max) as u32);
            link.stalled_until = link.stalled_until.max(now + span);
            self.marks.hit("partition");
        }
        (now + link.latency.base + Duration(jitter)).max(link.stalled_until)
    }

    pub(super) fn plan_datagrams(&mut self, at: Instant) {
        self.clock.plan(at, Event::Datagram);
    }

    pub(super) fn plan_arrival(&mut self, at: Instant, id: LinkId, side: Side) {
        self.clock.plan(at, Event::Arrive(id, side));
    }

    /// Puts bytes on the way from `side`; returns how many fitted.
    pub(super) fn carry(&mut self, id: LinkId, side: Side, bytes: &[u8]) -> usize {
        let due = self.due(id);
        let link = &mut self.links[id.0 as usize];
        let until_reset = link.reset_after.map_or(u64::MAX, |at| at.saturating_sub(link.carried));
        let bytes = &bytes[..bytes.len().min(usize::try_from(until_reset).unwrap_or(usize::MAX))];
        let (count, at) = link.outgoing(side).write(due, bytes);
        link.carried += count as u64;
        let broken = link.reset_after.is_some_and(|at| link.carried >= at);
        if count > 0 {
            self.plan_arrival(at, id, side.other());
        }
        if broken {
            self.marks.hit("reset");
            self.break_link(id);
        }
        count
    }

    /// Takes bytes that arrived at `side`; the writer learns about the room.
    pub(super) fn collect(&mut self, id: LinkId, side: Side, out: &mut [u8]) -> usize {
        let now = self.clock.now();
        let due = self.due(id);
        let pipe = self.links[id.0 as usize].incoming(side);
        let was_full = pipe.room() == 0;
        let count = pipe.read(now, out);
        if count > 0 && was_full {
            self.plan_arrival(due, id, side.other());
        }
        count
    }

    /// `side` writes no more.
    pub(super) fn finish(&mut self, id: LinkId, side: Side) {
        let due = self.due(id);
        let at = self.links[id.0 as usize].outgoing(side).finish(due);
        self.plan_arrival(at, id, side.other());
    }

    /// Tears a connection down; both ends learn of it, and may lose what was on its way.
    pub fn break_link(&mut self, id: LinkId) {
        let link = &self.links[id.0 as usize];
        if link.to_broker.ending() == Some(End::Reset) && link.to_client.ending() == Some(End::Reset) {
            return;
        }
        let now = self.clock.now();
        let due = self.due(id);
        let keep = self.streams.network.chance(500);
        let link = &mut self.links[id.0 as usize];
        link.to_broker.reset(now, due, keep);
        link.to_client.reset(now, due, keep);
        self.note("break", &[u64::from(id.0)]);
        for side in [Side::Client, Side::Broker] {
            self.plan_arrival(now, id, side);
            self.plan_arrival(due, id, side);
        }
    }

    /// Every connection that exists on at least one side, with its faults: for a report.
    pub fn live(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        let numbered = self.links.iter().enumerate().map(|(index, link)| (LinkId(index as u32), link));
        numbered.filter(|(_, link)| !(link.broker_closed || link.descriptor.is_none()) || !link.client_closed)
    }

    /// Receives and sends in flight.
    pub fn operations(&self) -> usize {
        self.ports.iter().map(|port| port.receives.len() + port.sends.len()).sum()
    }

    /// Connections the broker holds open.
    pub fn broker_sockets(&self) -> usize {
        self.descriptors.iter().flatten().count()
    }

    /// Rings a shard's doorbell from outside.
    pub fn ring(&mut self, shard: u8) {
        self.ports[usize::from(shard)].rung = true;
        self.wake_soon(Actor::Shard(shard));
    }

    // What follows is the client's side of the network.

    /// Dials a listener of a shard. Whether that works out shows when the client reads.
    pub fn dial(&mut self, client: u32, shard: u8, listener: ListenerId, address: PeerAddress) -> LinkId {
        let network = &mut self.streams.network;
        let latency = self.config.draw_latency(network);
        let (there, back) = (self.config.draw_capacity(network, latency), self.config.draw_capacity(network, latency));
        let reset_after = network
            .chance(self.config.reset_permille)
            .then(|| network.between(self.config.reset_after_bytes_min, self.config.reset_after_bytes_max));
        let id = LinkId(self.links.len() as u32);
        self.links.push(Link {
            to_broker: Pipe::new(there),
            to_client: Pipe::new(back),
            client,
            address,
            shard,
            listener,
            latency,
            descriptor: None,
            refused: false,
            broker_shut: false,
            broker_closed: false,
            client_closed: false,
            reset_after,
            carried: 0,
            stalled_until: Instant(0),
        });
        self.note("dial", &[u64::from(id.0), u64::from(client), u64::from(shard)]);
        if self.streams.network.chance(self.config.hang_permille) {
            self.marks.hit("dial_hangs");
        } else {
            let due = self.due(id);
            self.clock.plan(due, Event::Dialled(id));
        }
        id
    }

    fn dialled(&mut self, id: LinkId) {
        let (shard, listener) = {
            let link = &self.links[id.0 as usize];
            (link.shard, link.listener)
        };
        let refuse = self.streams.network.chance(self.config.refuse_permille);
        let backlog: Option<&mut VecDeque<LinkId>> = self.ports[usize::from(shard)].backlog(listener);
        match backlog {
            Some(backlog) if !refuse && backlog.len() < self.config.backlog_max => {
                backlog.push_back(id);
                if self.port_ready(shard) {
                    self.wake_soon(Actor::Shard(shard));
                }
            }
            Some(_) | None => self.refuse(id),
        }
    }

    /// Nobody will ever accept this connection.
    pub(super) fn refuse(&mut self, id: LinkId) {
        self.marks.hit("dial_refused");
        self.links[id.0 as usize].refused = true;
        self.break_link(id);
    }

    /// Writes what fits.
    pub fn client_write(&mut self, id: LinkId, bytes: &[u8]) -> usize {
        if self.links[id.0 as usize].broker_closed && self.links[id.0 as usize].to_client.ending().is_some() {
            // The other end is gone: the answer to these bytes is a reset.
            self.break_link(id);
            return 0;
        }
        self.carry(id, Side::Client, bytes)
    }

    /// Reads what arrived into the front of `out`.
    pub fn client_read(&mut self, id: LinkId, out: &mut [u8]) -> ClientRead {
        match self.collect(id, Side::Client, out) {
            0 => {
                let ended = self.links[id.0 as usize].to_client.ended(self.clock.now());
                ended.map_or(ClientRead::Nothing, ClientRead::Ended)
            }
            count => ClientRead::Bytes(count),
        }
    }

    /// Writes no more, but still reads.
    pub fn client_finish(&mut self, id: LinkId) {
        self.finish(id, Side::Client);
    }

    /// Closes; unread bytes turn that into a reset, as they do for TCP.
    pub fn client_close(&mut self, id: LinkId) {
        if std::mem::replace(&mut self.links[id.0 as usize].client_closed, true) {
            return;
        }
        if self.links[id.0 as usize].to_client.queued() > 0 {
            self.break_link(id);
        } else {
            self.finish(id, Side::Client);
        }
    }

    /// Closes with a reset.
    pub fn client_reset(&mut self, id: LinkId) {
        if !std::mem::replace(&mut self.links[id.0 as usize].client_closed, true) {
            self.break_link(id);
        }
    }

    /// Whether the broker has accepted the connection.
    pub fn client_accepted(&self, id: LinkId) -> bool {
        self.links[id.0 as usize].descriptor.is_some()
    }

    /// Whether the dial was refused.
    pub fn client_refused(&self, id: LinkId) -> bool {
        self.links[id.0 as usize].refused
    }
}
