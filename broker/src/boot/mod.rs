//! From settings to running shards: limits, identity, listeners, threads; and their orderly end.

mod broadcast;
pub mod identity;
pub mod listen;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::config::url::Place;
use crate::config::{SHARDS_MAX, Settings};
use crate::counters::{CloseReason, Counters};
use crate::descriptors;
use crate::intern::Intern;
use crate::io::uring::{Doorbell, UringIo, UringParts};
use crate::io::{ListenerId, Wait};
use crate::mesh;
use crate::shard::{Identity, Shard, ShardParts, Status, ToAll};

use self::broadcast::open as open_to_all;
use self::listen::{DATAGRAM_BUFFER_BYTES, Endpoint};

/// Why the broker could not start or go on: one paragraph, with the remedy.
#[derive(Debug)]
pub struct BootError(String);

impl BootError {
    /// From a whole explanation.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// `what` failed with an error that a higher limit of descriptors avoids, or that `otherwise` does.
    pub fn with_remedy(what: &str, error: &io::Error, otherwise: &str) -> Self {
        let remedy = descriptors::remedy(error);
        Self(format!("{what}: {error}; {}", remedy.as_deref().unwrap_or(otherwise)))
    }
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BootError {}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    endpoints: Vec<Endpoint>,
    doorbells: Arc<[Doorbell]>,
    draining: Arc<AtomicBool>,
    shards: Vec<JoinHandle<Result<Counters, BootError>>>,
}

/// Asks a running broker to end, from any thread.
#[derive(Clone, Debug)]
pub struct Stopper {
    doorbells: Arc<[Doorbell]>,
    draining: Arc<AtomicBool>,
}

impl Stopper {
    /// Starts the shutdown.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        for doorbell in self.doorbells.iter() {
            doorbell.wake();
        }
    }
}

impl Broker {
    /// Starts every shard; returns once all of them accept.
    pub fn start(mut settings: Settings) -> Result<Self, BootError> {
        let cores = usable_cores();
        let shards = match settings.shards {
            0 => (cores.len() as u32).clamp(1, SHARDS_MAX),
            asked => asked,
        } as u8;
        bound_connections(&mut settings);
        let identity = identity::load(&settings)?;
        let endpoints = listen::bind_all(&settings)?;
        let draining = Arc::new(AtomicBool::new(false));
        let mut broker = Self { endpoints, doorbells: Arc::default(), draining, shards: Vec::new() };
        let started = broker.make_doorbells(shards).and_then(|()| broker.spawn_shards(settings, identity, &cores));
        if started.is_err() {
            listen::remove_sockets(&broker.endpoints);
        }
        started.map(|()| broker)
    }

    fn make_doorbells(&mut self, shards: u8) -> Result<(), BootError> {
        let made: io::Result<Arc<[Doorbell]>> = (0..shards).map(|_| Doorbell::new()).collect();
        let explain =
            |error| BootError::with_remedy("cannot make a wake-up descriptor", &error, "choose fewer --shards");
        self.doorbells = made.map_err(explain)?;
        Ok(())
    }

    fn spawn_shards(&mut self, settings: Settings, identity: Identity, cores: &[usize]) -> Result<(), BootError> {
        let count = self.doorbells.len() as u8;
        let settings = Arc::new(settings);
        let intern = Arc::new(Intern::new(settings.limits.topics_max));
        let start = std::time::Instant::now();
        let (report, reports) = mpsc::channel();
        for (id, mesh) in (0..count).zip(mesh::wire(count, settings.pools.mesh_chunks_max)) {
            let mut listeners = Vec::new();
            let mut bounds = Vec::new();
            let mut datagrams = Vec::new();
            let mut broadcasts = Vec::new();
            if id == 0 {
                for endpoint in &mut self.endpoints {
                    if let Some(socket) = endpoint.socket.take() {
                        let ear = ListenerId(bounds.len() as u16);
                        if matches!(endpoint.url.place, Place::Udp { .. } | Place::Broadcast(_)) {
                            datagrams.push(ear);
                        }
                        bounds.push(endpoint.url.connections_max);
                        listeners.push(socket);
                        if let (Place::Broadcast(options), Some(socket)) = (&endpoint.url.place, endpoint.mouth.take())
                        {
                            let mouth = ListenerId(bounds.len() as u16);
                            datagrams.push(mouth);
                            bounds.push(0);
                            listeners.push(socket);
                            broadcasts.push(ToAll { ear, mouth, options: options.clone() });
                        }
                    }
                }
            }
            let parts = UringParts {
                shard: id,
                doorbells: Arc::clone(&self.doorbells),
                listeners,
                pool: settings.pools.shape,
                start,
            };
            let (intern, settings, identity) = (Arc::clone(&intern), Arc::clone(&settings), identity.clone());
            let (stopper, report) = (self.stopper(), report.clone());
            let core = settings.pin.then(|| cores[(settings.pin_first as usize + usize::from(id)) % cores.len()]);
            let body = move || {
                pin(core);
                let io = match UringIo::open(parts) {
                    Ok(io) => io,
                    Err(error) => {
                        let _ = report.send(Err(BootError::new(error.to_string())));
                        return Err(BootError::new("this shard never ran"));
                    }
                };
                tracing::debug!(shard = id, features = ?io.features(), "ring open");
                let parts =
                    ShardParts { io, mesh, intern, settings, identity, listeners: bounds, datagrams, broadcasts };
                let mut shard = Shard::new(parts);
                shard.start();
                let _ = report.send(Ok(()));
                run(shard, &stopper)
            };
            let thread = std::thread::Builder::new().name(format!("shard-{id}")).spawn(body);
            self.shards.push(thread.map_err(|error| BootError::new(format!("cannot start a thread: {error}")))?);
        }
        for _ in 0..count {
            reports.recv().unwrap_or_else(|_| Err(BootError::new("a shard ended before it was ready")))?;
        }
        Ok(())
    }

    /// The endpoints, with the ports the system chose.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// A way to end it.
    pub fn stopper(&self) -> Stopper {
        Stopper { doorbells: Arc::clone(&self.doorbells), draining: Arc::clone(&self.draining) }
    }

    /// Waits until every shard has ended; logs what they counted.
    pub fn join(self) -> Result<(), BootError> {
        let mut result = Ok(());
        for (id, thread) in self.shards.into_iter().enumerate() {
            match thread.join() {
                Ok(Ok(counters)) => log_summary(id, &counters),
                Ok(Err(error)) => result = Err(error),
                Err(_) => result = Err(BootError::new(format!("shard {id} ended with a bug; see the log"))),
            }
        }
        listen::remove_sockets(&self.endpoints);
        result
    }
}

fn run(mut shard: Shard<UringIo>, stopper: &Stopper) -> Result<Counters, BootError> {
    loop {
        if stopper.draining.load(Ordering::SeqCst) {
            shard.start_drain();
        }
        match shard.turn(Wait::Forever) {
            Ok(Status::Running) => {}
            Ok(Status::Done) => return Ok(*shard.counters()),
            Err(error) => {
                // The others may be asleep.
                stopper.drain();
                return Err(BootError::new(format!("the ring failed: {error}; the broker cannot go on")));
            }
        }
    }
}

fn log_summary(shard: usize, counters: &Counters) {
    let closed: Vec<String> = CloseReason::all()
        .filter(|&reason| counters.closed_for(reason) > 0)
        .map(|reason| format!("{}={}", reason.name(), counters.closed_for(reason)))
        .collect();
    tracing::info!(
        shard,
        accepted = counters.accepted,
        welcomed = counters.welcomed,
        refused_at_once = counters.refused_at_once,
        messages_in = counters.all_in(),
        runs_packed = counters.runs_packed,
        messages_out = counters.all_out(),
        bytes_out = counters.bytes_out,
        sends = counters.sends,
        turns = counters.turns,
        closed = closed.join(","),
        "drained"
    );
}

/// Cores this process may run on.
fn usable_cores() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    let cores: Vec<usize> = (0..CpuSet::count()).filter(|&core| set.is_set(core).unwrap_or(false)).collect();
    if cores.is_empty() { vec![0] } else { cores }
}

fn pin(core: Option<usize>) {
    let Some(core) = core else { return };
    let mut set = CpuSet::new();
    if set.set(core).is_err() || sched_setaffinity(Pid::from_raw(0), &set).is_err() {
        tracing::warn!(core, "cannot pin a shard to its core; it runs where the system puts it");
    }
}

/// Raises the descriptor limit as far as allowed and keeps the bound on connections below it.
fn bound_connections(settings: &mut Settings) {
    let wanted = u64::from(settings.limits.connections_max) + descriptors::OWN;
    let Some(limit) = descriptors::raise_limit(wanted) else { return };
    if limit < wanted {
        let connections_max = limit.saturating_sub(descriptors::OWN).max(1) as u32;
        tracing::warn!(
            descriptors = limit,
            connections_max,
            "fewer descriptors than limits.connections_max needs; raise the limit (ulimit -n, LimitNOFILE=)"
        );
        settings.limits.connections_max = connections_max;
    }
}
