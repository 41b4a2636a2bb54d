//! A whole system of a seed: a broker of several shards, its clients, and the three acts of a run.
//!
//! First everything may go wrong. Then the faults stop, and what was accepted has to arrive. Then the broker shuts down,
//! and nothing of anybody may be left behind.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;

use laneway_broker::counters::CloseReason;
use laneway_broker::intern::Intern;
use laneway_broker::io::{Io as _, Wait};
use laneway_broker::mesh::{self, CHUNK_BYTES};
use laneway_broker::shard::{Identity, Shard, ShardParts, Status};
use laneway_client::core::CoreOptions;
use laneway_proto::error::CloseCode;
use laneway_proto::frame::lost::LossReason;
use laneway_proto::time::{Duration, Instant};

use super::client::Client;
use super::datagrams::DATAGRAMS;
use super::faults::NetworkConfig;
use super::guest::{Act, Guest, Heard};
use super::io::SimIo;
use super::library::LibraryPeer;
use super::marks::Marks;
use super::oracle::Oracle;
use super::peer::Peer;
use super::scenario::Scenario;
use super::workload::{PeerPlan, Workload};
use super::world::{Actor, World};

/// Virtual time for the first act.
const FAULTY_MAX: Duration = Duration::from_millis(60_000);
/// Virtual time within which everything accepted has arrived once the faults stopped.
const SETTLE_MAX: Duration = Duration::from_millis(400_000);
/// Virtual time within which a broker has shut down, besides its own bound.
const DRAIN_GRACE: Duration = Duration::from_millis(5_000);
/// Somebody's turns in one run; more means that somebody runs in circles.
const STEPS_MAX: u64 = 20_000_000;

/// How a run failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// A promise was broken.
    Promise(String),
    /// Something that had to happen did not.
    Stuck(String),
}

/// What a run was like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Hash of everything that happened.
    pub hash: u64,
    /// Events in it.
    pub events: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Conditions that were reached.
    pub marks: Marks,
    /// What went wrong, if something did.
    pub failure: Option<Failure>,
    /// The network, to be printed with a failing seed.
    pub network: NetworkConfig,
}

/// What a broker holds for its clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Holdings {
    /// Connections it knows.
    pub connections: usize,
    /// Subscriptions, those of other shards' interest included.
    pub subscriptions: usize,
    /// Deadlines it waits for.
    pub deadlines: usize,
    /// Subscriptions that other shards have not confirmed.
    pub pending: usize,
    /// Buffers somebody holds.
    pub buffers: usize,
    /// Bytes that wait for clients.
    pub outbox_bytes: u64,
    /// Sockets.
    pub sockets: usize,
    /// Receives and sends in flight.
    pub operations: usize,
}

/// A system in the middle of its run.
#[derive(Debug)]
pub struct System {
    world: Rc<RefCell<World>>,
    shards: Vec<Shard<SimIo>>,
    done: Vec<bool>,
    peers: Vec<Box<dyn Client>>,
    oracle: Oracle,
    workload: Workload,
    steps: u64,
    /// Shards that are told to shut down once they are awake.
    to_be_drained: Vec<bool>,
}

/// Runs a seed in a scenario, to its end or to its first failure.
pub fn run(seed: u64, scenario: Scenario, print: bool) -> Report {
    let (network, workload) = scenario.draw(seed);
    let mut system = System::new(seed, network.clone(), workload, print);
    let failure = system.play().err();
    system.report(network, failure)
}

impl System {
    /// A broker and its clients before their first turn.
    pub fn new(seed: u64, network: NetworkConfig, workload: Workload, print: bool) -> Self {
        let count = workload.shards;
        let world = Rc::new(RefCell::new(World::new(seed, network, count, 1, print)));
        let settings = Arc::new(workload.settings.clone());
        let intern = Arc::new(Intern::new(settings.limits.topics_max));
        let wired = mesh::wire(count, settings.pools.mesh_chunks_max).into_iter().zip(0..count);
        let shard = |(mesh, id): (mesh::Mesh, u8)| {
            let mut shard = Shard::new(ShardParts {
                io: SimIo::new(Rc::clone(&world), id, settings.pools.shape),
                mesh,
                intern: Arc::clone(&intern),
                settings: Arc::clone(&settings),
                identity: Identity { node_id: [1; 16], epoch: seed, secret: seed },
                listeners: if id == 0 { vec![0, 0] } else { Vec::new() },
                datagrams: if id == 0 { vec![DATAGRAMS] } else { Vec::new() },
                broadcasts: Vec::new(),
            });
            shard.start();
            world.borrow_mut().wake_soon(Actor::Shard(id));
            shard
        };
        let shards = wired.map(shard).collect();
        let peer = |(id, plan): (u32, &PeerPlan)| -> Box<dyn Client> {
            let (world, plan) = (Rc::clone(&world), plan.clone());
            if plan.library {
                Box::new(LibraryPeer::new(id, world, plan))
            } else {
                Box::new(Peer::new(id, world, plan))
            }
        };
        let peers = (0..).zip(&workload.peers).map(peer).collect();
        let [done, to_be_drained] = [(); 2].map(|()| vec![false; usize::from(count)]);
        Self { world, shards, done, peers, oracle: Oracle::default(), workload, steps: 0, to_be_drained }
    }

    /// All three acts.
    pub fn play(&mut self) -> Result<(), Failure> {
        if let Some(span) = self.workload.shut_down_after {
            self.play_until(span, |_| false)?;
            self.world.borrow_mut().marks.hit("shut_down_in_the_middle");
            return self.shut_down();
        }
        self.play_until(FAULTY_MAX, |system| system.peers.iter().all(|peer| peer.has_finished()))?;
        self.settle()?;
        self.shut_down()
    }

    /// Lets virtual time pass.
    pub fn advance(&mut self, span: Duration) -> Result<(), Failure> {
        let end = self.now() + span;
        self.play_until(span, |_| false)?;
        self.world.borrow_mut().sleep_until(end);
        Ok(())
    }

    /// One more client, named by the number it is given.
    pub fn join(&mut self, make: impl FnOnce(u32, Rc<RefCell<World>>) -> Box<dyn Client>) {
        let id = self.peers.len() as u32;
        self.peers.push(make(id, Rc::clone(&self.world)));
    }

    /// A guest with a script; the handle shows what it heard.
    pub fn invite(
        &mut self,
        options: impl FnOnce(&mut CoreOptions),
        acts: impl IntoIterator<Item = Act>,
    ) -> Rc<RefCell<Heard>> {
        let (guest, heard) = Guest::new(self.peers.len() as u32, Rc::clone(&self.world), options, acts);
        self.peers.push(Box::new(guest));
        heard
    }

    /// The same over UDP.
    pub fn invite_over_udp(
        &mut self,
        options: impl FnOnce(&mut CoreOptions),
        acts: impl IntoIterator<Item = Act>,
    ) -> Rc<RefCell<Heard>> {
        let (guest, heard) = Guest::new(self.peers.len() as u32, Rc::clone(&self.world), options, acts);
        self.peers.push(Box::new(guest.over_udp()));
        heard
    }

    /// Tells the broker to shut down, in the middle of whatever it does. Each shard hears of it when it is awake, as in
    /// a process.
    pub fn start_drain(&mut self) {
        self.to_be_drained.fill(true);
        (0..self.shards.len()).for_each(|id| self.world.borrow_mut().ring(id as u8));
    }

    /// Whether the broker has shut down.
    pub fn is_done(&self) -> bool {
        self.done.iter().all(|&done| done)
    }

    /// Whether every client that joined later has done what it had planned.
    pub fn guests_have_finished(&self) -> bool {
        self.peers[self.workload.peers.len()..].iter().all(|peer| peer.has_finished())
    }

    /// What the broker holds now.
    pub fn holdings(&self) -> Holdings {
        let sum = |of: fn(&Shard<SimIo>) -> usize| self.shards.iter().map(of).sum();
        let world = self.world.borrow();
        Holdings {
            connections: sum(Shard::connections),
            subscriptions: sum(Shard::filters),
            deadlines: sum(Shard::deadlines),
            pending: sum(Shard::pending),
            buffers: sum(|shard| shard.io().pool().held() as usize),
            outbox_bytes: self.shards.iter().map(Shard::outbox_bytes).sum(),
            sockets: world.broker_sockets(),
            operations: world.operations(),
        }
    }

    /// The shards, to look at.
    pub fn shards(&self) -> &[Shard<SimIo>] {
        &self.shards
    }

    /// The world, to look at or to interfere with.
    pub const fn world(&self) -> &Rc<RefCell<World>> {
        &self.world
    }

    /// What was delivered, and whether it should have been.
    pub const fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// Somebody's turns so far.
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    fn now(&self) -> Instant {
        self.world.borrow().now()
    }

    /// Runs until `done`, or for `span`; true if it is done.
    fn play_until(&mut self, span: Duration, done: impl Fn(&Self) -> bool) -> Result<bool, Failure> {
        let limit = self.now() + span;
        while !done(self) {
            // Somebody else must borrow the world while it takes its turn.
            let next = self.world.borrow_mut().next(limit);
            match next {
                Some(actor) => self.step(actor)?,
                None => return Ok(done(self)),
            }
        }
        Ok(true)
    }

    fn step(&mut self, actor: Actor) -> Result<(), Failure> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(Failure::Stuck(format!("{STEPS_MAX} turns passed; somebody runs in circles")));
        }
        match actor {
            Actor::Client(id) => self.peers[id as usize].run(&mut self.oracle),
            Actor::Shard(id) if !self.done[usize::from(id)] => {
                let shard = &mut self.shards[usize::from(id)];
                match shard.turn(Wait::Forever) {
                    Ok(Status::Running) => {}
                    Ok(Status::Done) => self.done[usize::from(id)] = true,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(Failure::Promise(format!("shard {id}: {error}"))),
                }
                if std::mem::take(&mut self.to_be_drained[usize::from(id)]) {
                    self.shards[usize::from(id)].start_drain();
                    self.world.borrow_mut().ring(id);
                }
                self.check_bounds(id);
            }
            Actor::Shard(_) => {}
        }
        match self.oracle.broken().first() {
            Some(problem) => Err(Failure::Promise(problem.clone())),
            None => Ok(()),
        }
    }

    /// Memory stays within its bounds after every turn.
    fn check_bounds(&mut self, id: u8) {
        let shard = &self.shards[usize::from(id)];
        let (settings, pool) = (&self.workload.settings, shard.io().pool());
        if pool.ingress_total() > u32::from(settings.pools.shape.ingress_buffers_max) {
            self.oracle.broke(format!("shard {id} has {} ingress buffers", pool.ingress_total()));
        }
        // A local publisher stops at the bound, one run over it; a remote one when it hears of it, all its chunks over it.
        let others = u64::from(self.workload.shards) - 1;
        let over = 2 * 65_536 + others * u64::from(settings.pools.mesh_chunks_max) * CHUNK_BYTES as u64;
        // Each lane has a queue of its own.
        let lanes = u64::from(settings.lanes.reliable().count_ones()) + 2;
        let bound = shard.connections() as u64 * (lanes * u64::from(settings.limits.outbox_bytes_max) + over);
        let waiting = shard.outbox_bytes();
        if waiting > bound {
            let count = shard.connections();
            self.oracle.broke(format!("shard {id} has {waiting} bytes waiting for {count} clients, over {bound}"));
        }
    }

    /// The faults stop; whatever was accepted arrives, and whoever broke a rule is gone.
    fn settle(&mut self) -> Result<(), Failure> {
        self.world.borrow_mut().config.heal();
        self.world.borrow_mut().note("heal", &[]);
        self.peers.iter_mut().for_each(|peer| peer.heal());
        let settled = self.play_until(SETTLE_MAX, |system| system.peers.iter().all(|peer| peer.is_settled()))?;
        if !settled {
            let waiting = self.peers.iter().filter(|peer| !peer.is_settled()).map(|peer| peer.describe());
            return Err(Failure::Stuck(waiting.collect::<Vec<_>>().join("; ")));
        }
        let arrived = self.play_until(SETTLE_MAX, |system| system.oracle.outstanding().is_empty())?;
        if !arrived {
            let missing = self.oracle.outstanding();
            return Err(Failure::Promise(format!("{} accepted messages are lost: {}", missing.len(), missing[0])));
        }
        Ok(())
    }

    /// The broker shuts down; then nothing is left of anything.
    fn shut_down(&mut self) -> Result<(), Failure> {
        self.peers.iter_mut().for_each(|peer| peer.retire());
        for id in 0..self.shards.len() {
            self.shards[id].start_drain();
            self.world.borrow_mut().ring(id as u8);
            let pause = Duration::from_micros(self.world.borrow_mut().streams.schedule.below(2_000));
            self.play_until(pause, |_| false)?;
        }
        let bound = Duration::from_millis(self.workload.settings.limits.drain_ms_max);
        let drained =
            self.play_until(Duration(bound.0 + DRAIN_GRACE.0), |system| system.done.iter().all(|&done| done))?;
        if !drained {
            let left: Vec<usize> = self.shards.iter().map(Shard::connections).collect();
            return Err(Failure::Stuck(format!("the broker never ends; connections left by shard: {left:?}")));
        }
        self.play_until(SETTLE_MAX, |system| !system.peers.iter().any(|peer| peer.is_connected()))?;
        if let Some(missing) = self.oracle.outstanding().first() {
            return Err(Failure::Promise(format!("the shutdown lost an accepted message: {missing}")));
        }
        self.check_nothing_is_left()
    }

    fn check_nothing_is_left(&self) -> Result<(), Failure> {
        // A deadline that became needless passes by itself, and nobody asks a shard that has ended for its interest.
        let left = Holdings { deadlines: 0, subscriptions: 0, pending: 0, ..self.holdings() };
        if left != Holdings::default() {
            return Err(Failure::Promise(format!("the broker ended with {left:?}")));
        }
        Ok(())
    }

    /// What the run was like so far.
    pub fn report(&self, network: NetworkConfig, failure: Option<Failure>) -> Report {
        let world = self.world.borrow();
        let mut marks = world.marks.clone();
        for shard in &self.shards {
            let counters = shard.counters();
            let closed = |code| counters.closed_for(CloseReason::Ours(code));
            for (name, count) in [
                ("frame_split", counters.frames_split),
                ("publisher_paused_by_outbox", counters.paused_by_outbox),
                ("subscriber_without_credit", counters.credit_waits),
                ("publisher_paused_by_mesh", counters.paused_by_mesh),
                ("publisher_paused_by_rate", counters.paused_by_rate),
                ("slow_consumer_disconnected", closed(CloseCode::SlowConsumer)),
                ("broker_saw_short_send", counters.sends_short),
                ("crossed_shards", counters.runs_crossed),
                ("broker_saw_no_buffers", counters.no_buffers),
                ("accept_paused", counters.accept_paused),
                ("session_parked", counters.sessions_parked),
                ("session_expired", counters.sessions_expired),
                ("session_evicted", counters.sessions_evicted),
                ("frame_resent", counters.frames_resent),
                ("broker_rejected", counters.rejected),
                ("message_conflated", counters.dropped_for(LossReason::Conflated)),
                ("message_overflowed", counters.dropped_for(LossReason::Overflow)),
                ("run_shared", counters.runs_shared),
                ("run_copied", counters.runs_copied),
                ("run_unrouted", counters.runs_unrouted),
                ("value_replayed", counters.retained_replayed),
                ("doorbell_rung", counters.doorbells),
                ("closed_malformed", closed(CloseCode::Malformed)),
                ("closed_timeout", closed(CloseCode::Timeout)),
                ("closed_forbidden", closed(CloseCode::Forbidden)),
                ("closed_out_of_turn", closed(CloseCode::OutOfTurn)),
                ("closed_limit", closed(CloseCode::Limit)),
                ("closed_shutdown", closed(CloseCode::Shutdown)),
                ("closed_by_peer", counters.closed_for(CloseReason::PeerLeft)),
                ("connection_failed", counters.closed_for(CloseReason::ConnectionFailed)),
                ("control_malformed", counters.control_malformed),
            ] {
                marks.add(name, count);
            }
        }
        Report {
            hash: world.trace.hash(),
            events: world.trace.events(),
            delivered: self.oracle.delivered(),
            marks,
            failure,
            network,
        }
    }
}
