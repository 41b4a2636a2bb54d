//! One shard: the parts it owns by value, and the order of steps in a turn.
//!
//! Each step is a file: `accept`, `receive`, `direct` (the shortest way), `deliver`, `keep` (last values), `cross` (mail from
//! other shards), `command` (control messages), `confirm` (what publishers are told), `stats` (what is counted, for who
//! asks), `turns` (who goes on, who gets a buffer), `flush`, `tick` (deadlines), `close`, `drain`; `residency` measures;
//! `presence` tells who is there and publishes wills; `resume` keeps sessions over the breaks of their links; `lines` serves
//! the devices on serial ports.

mod accept;
mod broadcasts;
mod bus;
mod close;
mod command;
mod confirm;
mod cross;
mod datagrams;
mod deliver;
mod direct;
mod drain;
mod flush;
mod held;
mod keep;
mod lines;
mod nodes;
mod pack;
mod port_errors;
mod presence;
mod receive;
mod residency;
mod resume;
mod stats;
mod tick;
mod turns;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use laneway_proto::limits::NODE_ID_BYTES;
use laneway_proto::time::{Duration, Instant};

use crate::config::Settings;
use crate::conn::Conn;
use crate::counters::Counters;
use crate::inbox::Partial;
use crate::intern::Intern;
use crate::io::{Completion, Io, ListenerId, Wait};
use crate::mesh::{Mesh, Receipt};
use crate::outbox::Blocked;
use crate::outbox::counted::Mark;
use crate::pool::Piece;
use crate::retained::Retained;
use crate::router::Router;
use crate::slab::{Key, Slab};
use crate::timers::Timers;

use self::accept::{Accepting, LISTENER_SLOT_FIRST, listener_of};
pub use self::broadcasts::ToAll;
use self::bus::Bus;
use self::close::note_link_over;
use self::command::Ticket;
use self::datagrams::{Datagrams, Ear};
use self::deliver::{Body, Flow, declare, gather, is_shared, service_of};
use self::drain::Drain;
use self::keep::{Keeper, Pushed};
use self::lines::{Port, port_of};
use self::nodes::Nodes;
use self::port_errors::{PortError, PortErrors};
use self::presence::{Numbers, OwnQueue, watch_deadline};
use self::residency::Residency;
use self::resume::put_unread;
use self::stats::Gathering;

/// Room in the lists of connections that a turn works off, so that they seldom grow.
const LISTS_CAPACITY: usize = 256;
/// How long a shard sleeps at most while another shard's link is full.
const STUCK_RETRY: Duration = Duration::from_millis(1);

/// Who this broker is, for WELCOME.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Stable across restarts.
    pub node_id: [u8; NODE_ID_BYTES],
    /// Random per process start.
    pub epoch: u64,
    /// Random per process start, and told to nobody.
    pub secret: u64,
}

/// What a shard is made of.
#[derive(Debug)]
pub struct ShardParts<I> {
    /// The door.
    pub io: I,
    /// Its ends of the links to other shards.
    pub mesh: Mesh,
    /// Topic names.
    pub intern: Arc<Intern>,
    /// What the broker is set to.
    pub settings: Arc<Settings>,
    /// Who the broker is.
    pub identity: Identity,
    /// Listeners of the door, with the connections each may have at once (0: only the total bound). Shard 0 accepts for
    /// all; for the others this is empty.
    pub listeners: Vec<u32>,
    /// Those of them that are for datagrams.
    pub datagrams: Vec<ListenerId>,
    /// Links to all.
    pub broadcasts: Vec<ToAll>,
}

/// Whether a shard has more to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Call `turn` again.
    Running,
    /// Drained: every connection is closed.
    Done,
}

/// One shard.
#[derive(Debug)]
pub struct Shard<I: Io> {
    io: I,
    mesh: Mesh,
    router: Router,
    retained: Retained,
    conns: Slab<Conn>,
    /// Serial ports.
    ports: Vec<Port>,
    timers: Timers,
    counters: Counters,
    residency: Residency,
    intern: Arc<Intern>,
    settings: Arc<Settings>,
    identity: Identity,
    accepting: Accepting,
    datagrams: Datagrams,
    /// Links to all that are not up yet.
    broadcasts: Vec<ToAll>,
    drain: Option<Drain>,
    /// Shards that were drained before this one was told to.
    drained_early: u64,
    completions: Vec<Completion>,
    /// Connections with something to send.
    dirty: Vec<u32>,
    /// New subscribers that are sent last values and may have room for more.
    replaying: VecDeque<Key>,
    /// Publishers that may go on.
    resumable: VecDeque<Key>,
    /// Publishers that an outbox lets go, on their way to [`Self::resumable`] or to their shard.
    unblocked: Vec<Blocked>,
    /// A run in one piece of memory, for queues that look at single frames; reused.
    gathered: Vec<u8>,
    /// Publishes that a peer has just counted; reused.
    received: Vec<Mark>,
    /// Receipts on their way to the publishers of other shards.
    receipts: HashMap<u8, Vec<Receipt>>,
    /// Publishers to tell what was delivered.
    confirming: Vec<Key>,
    /// Sessions that end because their queue had no room.
    overflowed: Vec<u32>,
    /// Readers that have just stopped a publisher of another shard, until their timers are set.
    blocked: Vec<u32>,
    /// Publishers that wait for room towards another shard.
    mesh_waiters: Vec<Key>,
    /// Connections that wait for a receive buffer, in the order of their turns.
    waiting: VecDeque<Key>,
    /// Set while receive buffers are handed out in turn.
    short_until: Option<Instant>,
    /// Subscriptions that other shards have not confirmed yet.
    tickets: HashMap<u64, Ticket>,
    ticket_last: u64,
    /// Questions for counters that other shards have not answered yet.
    gatherings: HashMap<u64, Gathering>,
    sessions_made: u32,
    /// Sessions that outlive their links, by number.
    lasting: HashMap<u32, Key>,
    /// Those that have none, by when they end.
    away: BTreeSet<(Instant, Key)>,
    /// Peers to tell what was received of them.
    counting: Vec<Key>,
    /// Numbers of the peers that others are told of.
    numbers: Numbers,
    nodes: Nodes,
    /// What the broker itself publishes, until there is room for it.
    own: OwnQueue,
    own_seq: u32,
    /// Connections that may be ready to go to their sessions.
    movers: Vec<Key>,
    /// Memory for frames across buffers, reused.
    #[allow(clippy::vec_box, reason = "a connection holds one by its box, so that idle connections stay small")]
    partials: Vec<Box<Partial>>,
    log_budget: close::LogBudget,
}

impl<I: Io> Shard<I> {
    /// A shard that has not had a turn yet.
    pub fn new(parts: ShardParts<I>) -> Self {
        let ShardParts { io, mesh, intern, settings, identity, listeners, datagrams, broadcasts } = parts;
        let accepting = Accepting::new(mesh.shards(), listeners);
        let ports = lines::ports(&settings, mesh.shard(), mesh.shards());
        let retained =
            Retained::new(settings.limits.retained_topics_max, u64::from(settings.limits.retained_bytes_max));
        Self {
            io,
            mesh,
            router: Router::new(Arc::clone(&intern)),
            retained,
            conns: Slab::default(),
            ports,
            timers: Timers::default(),
            counters: Counters::default(),
            residency: Residency::new(),
            intern,
            settings,
            accepting,
            datagrams: Datagrams::new(datagrams, identity.secret),
            broadcasts,
            identity,
            drain: None,
            drained_early: 0,
            completions: Vec::with_capacity(1_024),
            dirty: Vec::with_capacity(LISTS_CAPACITY),
            replaying: VecDeque::new(),
            resumable: VecDeque::with_capacity(LISTS_CAPACITY),
            unblocked: Vec::with_capacity(LISTS_CAPACITY),
            gathered: Vec::new(),
            received: Vec::new(),
            receipts: HashMap::new(),
            confirming: Vec::new(),
            overflowed: Vec::new(),
            blocked: Vec::with_capacity(LISTS_CAPACITY),
            mesh_waiters: Vec::with_capacity(LISTS_CAPACITY),
            waiting: VecDeque::with_capacity(LISTS_CAPACITY),
            short_until: None,
            tickets: HashMap::new(),
            ticket_last: 0,
            gatherings: HashMap::new(),
            sessions_made: 0,
            lasting: HashMap::new(),
            away: BTreeSet::new(),
            counting: Vec::new(),
            numbers: Numbers::default(),
            nodes: Nodes::default(),
            own: OwnQueue::default(),
            own_seq: 0,
            movers: Vec::new(),
            partials: Vec::new(),
            log_budget: close::LogBudget::default(),
        }
    }

    /// Starts accepting on every listener, and opens the serial ports.
    pub fn start(&mut self) {
        for listener in 0..self.accepting.listeners() {
            self.listen(ListenerId(listener));
        }
        self.start_ports();
        self.start_broadcasts();
    }

    /// One turn: waits as long as `wait` and its own deadlines allow, then does everything that came up.
    pub fn turn(&mut self, wait: Wait) -> io::Result<Status> {
        let wait = self.bound_wait(wait);
        let mut completions = std::mem::take(&mut self.completions);
        self.io.turn(wait, &mut completions)?;
        self.mesh.on_awake();
        self.counters.turns += 1;
        for completion in completions.drain(..) {
            self.on_completion(completion);
        }
        self.completions = completions;
        self.receive_mail();
        self.tick();
        self.hear_links();
        self.retry_mesh_waiters();
        self.replay();
        self.resume_publishers();
        self.feed_waiting();
        self.move_connections();
        self.route_own();
        self.flush_confirms();
        self.flush_counts();
        self.flush();
        self.pump_links();
        self.send_chunks_home();
        self.post_receipts();
        self.flush_mesh();
        Ok(self.progress_drain())
    }

    /// What it counted so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The door, for its buffers.
    pub const fn io(&self) -> &I {
        &self.io
    }

    /// Connections it owns.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Bytes waiting in its outboxes.
    pub fn outbox_bytes(&self) -> u64 {
        self.conns.values().map(|conn| conn.outbox.bytes()).sum()
    }

    /// Subscriptions it holds, other shards' interest included.
    pub fn filters(&self) -> usize {
        self.router.filters()
    }

    /// Deadlines it waits for, those that have become needless included.
    pub fn deadlines(&self) -> usize {
        self.timers.len()
    }

    /// Subscriptions that wait for other shards.
    pub fn pending(&self) -> usize {
        self.tickets.len()
    }

    /// Sessions that have no link and wait for one.
    pub fn sessions_away(&self) -> usize {
        self.away.len()
    }

    /// Questions for counters that wait for other shards.
    pub fn gatherings(&self) -> usize {
        self.gatherings.len()
    }

    /// The last values it keeps.
    pub const fn retained(&self) -> &Retained {
        &self.retained
    }

    fn now(&self) -> Instant {
        self.io.now()
    }

    fn bound_wait(&self, asked: Wait) -> Wait {
        let has_more = !self.resumable.is_empty() || !self.replaying.is_empty() || !self.movers.is_empty();
        if asked == Wait::No || has_more || !self.mesh.prepare_sleep() {
            return Wait::No;
        }
        let asked = match asked {
            Wait::Until(at) => Some(at),
            Wait::Forever | Wait::No => None,
        };
        let retry = self.mesh.is_stuck().then(|| self.now() + STUCK_RETRY);
        let drain = self.drain.as_ref().map(Drain::deadline);
        let earliest = [asked, self.timers.next(), retry, drain].into_iter().flatten().min();
        earliest.map_or(Wait::Forever, Wait::Until)
    }

    fn on_completion(&mut self, completion: Completion) {
        match completion {
            Completion::Received { key, buf, len } => self.on_received(key, buf, len),
            Completion::Sent { key, result } => self.on_sent(key, result),
            Completion::ReceiveEnded { key, end } => self.on_receive_ended(key, end),
            Completion::Accepted { listener, socket } => self.on_accepted(listener, socket),
            Completion::Datagram { listener, from, buf, start, len } => {
                self.on_datagram(listener, from, Piece { buf, start, len });
            }
            Completion::DatagramsEnded { listener, end } => self.on_datagrams_ended(listener, end),
            Completion::AcceptEnded { listener, error } => self.on_accept_ended(listener, error),
            // Mail is looked at in every turn anyway.
            Completion::Doorbell => {}
        }
    }
}
