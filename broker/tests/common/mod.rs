//! Shards on the test's own thread, and peers on others that publish and read as fast as they can.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use laneway_broker::config::Settings;
use laneway_broker::intern::Intern;
use laneway_broker::io::Wait;
use laneway_broker::io::uring::{Doorbell, UringIo, UringParts};
use laneway_broker::mesh;
use laneway_broker::shard::{Identity, Shard, ShardParts};
use laneway_proto::control::{Body, Control, DeclareTopics, Hello, Sub, Subscribe, Topic};
use laneway_proto::frame::count::{self, COUNT_FRAME_BYTES_MAX, LaneTotal};
use laneway_proto::header::{Header, Kind};
use laneway_proto::limits::{HEADER_BYTES, TOPIC_ID_DYNAMIC_FIRST};
use laneway_proto::session::handshake::{PREFACE, feature};

/// A guard against hanging, far above what is needed.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long nothing has to move before every queue counts as full.
const STILL: Duration = Duration::from_millis(300);
/// How long queues that may become full are waited for: where the way to another shard stops the publisher first, they
/// do not.
const FILL_PATIENCE: Duration = Duration::from_secs(3);
/// Bytes one write of the publisher has at most, unless a frame is larger.
const WRITE_BYTES_MAX: usize = 1024 * 1024;
/// Messages one write has at most; a multiple of every number of topics used here.
const WRITE_MESSAGES_MAX: usize = 960;

/// One publisher, and readers of its topics, on so many shards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Shards; connections go to them in turn, the publisher's first.
    pub(crate) shards: u8,
    /// Topics that the frames cycle through.
    pub(crate) topics: usize,
    /// Readers of each topic.
    pub(crate) readers: usize,
    /// Bytes of each payload; each has a frame of its own.
    pub(crate) payload_bytes: usize,
    /// Chunks on the way between two shards; readers that hold half of them get copies.
    pub(crate) mesh_chunks_max: u32,
    /// Whether sessions outlive their links: everybody counts, and keeps what is not counted.
    pub(crate) lasting: bool,
}

impl Load {
    /// Calls `measured` when the load flows and every queue has been full once; ends the load after it.
    pub(crate) fn run<T>(self, warm_up_messages: u64, measured: impl FnOnce(&mut [Shard<UringIo>]) -> T) -> T {
        let (mut shards, address) = open(self.shards, self.mesh_chunks_max);
        let names: Vec<String> = (0..self.topics).map(|topic| format!("load/{topic}")).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let mut reads = Vec::new();
        let mut publisher = connect(&mut shards, address, self.lasting);
        let mut peers = Vec::new();
        for name in names.iter().flat_map(|name| std::iter::repeat_n(name, self.readers)) {
            let mut reader = connect(&mut shards, address, self.lasting);
            subscribe(&mut reader, name);
            let read = Arc::new(AtomicBool::new(false));
            peers.push(if self.lasting { counting(reader) } else { reading(reader, Arc::clone(&read)) });
            reads.push(read);
        }
        for _ in 0..1_000 {
            turn(&mut shards);
        }
        declare(&mut publisher, &names);
        if self.lasting {
            let counts = publisher.try_clone().expect("descriptors are left");
            peers.push(reading(counts, Arc::new(AtomicBool::new(true))));
        }
        let stopping = Arc::clone(&stop);
        let load = frames(self.topics, self.payload_bytes);
        peers.push(std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) && publisher.write_all(&load).is_ok() {}
        }));
        // Every queue is full once, together and alone, before anything is measured: the worst case, after which memory
        // is reused.
        if !self.lasting {
            fill(&mut shards);
        }
        let let_read = |stopped: Option<usize>| {
            for (place, read) in reads.iter().enumerate() {
                read.store(stopped != Some(place), Ordering::Relaxed);
            }
        };
        for stopped in (0..reads.len()).filter(|_| !self.lasting) {
            let_read(Some(stopped));
            fill(&mut shards);
        }
        let_read(None);
        pass(&mut shards, warm_up_messages);
        let result = measured(&mut shards);
        stop.store(true, Ordering::Relaxed);
        // Closes every connection, which ends the peers.
        while !shards.is_empty() {
            shards.iter_mut().for_each(Shard::start_drain);
            turn(&mut shards);
            if shards.iter().all(|shard| shard.connections() == 0) {
                shards.clear();
            }
        }
        for peer in peers {
            peer.join().expect("peers only read and write");
        }
        result
    }
}

/// Turns until `messages` more have been handed to subscribers.
pub(crate) fn pass(shards: &mut [Shard<UringIo>], messages: u64) {
    let delivered = |shards: &[Shard<UringIo>]| shards.iter().map(|shard| shard.counters().all_out()).sum::<u64>();
    let goal = delivered(shards) + messages;
    let since = Instant::now();
    while delivered(shards) < goal {
        turn(shards);
        assert!(since.elapsed() < PATIENCE, "messages flow");
    }
}

fn open(count: u8, mesh_chunks_max: u32) -> (Vec<Shard<UringIo>>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut listener = Some(listener);
    // Receive buffers are otherwise added while readers lag, which is growth and not a cost per message.
    let mut settings = Settings::default();
    settings.pools.shape.ingress_buffers = settings.pools.shape.ingress_buffers_max;
    settings.pools.shape.egress_buffers_kept = 65_536;
    settings.pools.mesh_chunks_max = mesh_chunks_max;
    // Readers that do not read are wanted here, for as long as a busy machine takes to fill their queues.
    settings.limits.block_ms_max = PATIENCE.as_millis() as u32;
    let settings = Arc::new(settings);
    let intern = Arc::new(Intern::new(1_000));
    let doorbells: Vec<Doorbell> = (0..count).map(|_| Doorbell::new().expect("a descriptor")).collect();
    let doorbells: Arc<[Doorbell]> = doorbells.into();
    let start = Instant::now();
    let shards = mesh::wire(count, settings.pools.mesh_chunks_max).into_iter().map(|mesh| {
        let listeners: Vec<_> = listener.take().map(Into::into).into_iter().collect();
        let bounds = vec![0; listeners.len()];
        let parts = UringParts {
            shard: mesh.shard(),
            doorbells: Arc::clone(&doorbells),
            listeners,
            pool: settings.pools.shape,
            start,
        };
        let io = UringIo::open(parts).expect("io_uring works here");
        let identity = Identity { node_id: [1; 16], epoch: 1, secret: 1 };
        let (intern, settings) = (Arc::clone(&intern), Arc::clone(&settings));
        let mut shard = Shard::new(ShardParts {
            io,
            mesh,
            intern,
            settings,
            identity,
            listeners: bounds,
            datagrams: Vec::new(),
            broadcasts: Vec::new(),
        });
        shard.start();
        shard
    });
    (shards.collect(), address)
}

fn turn(shards: &mut [Shard<UringIo>]) {
    for shard in shards {
        shard.turn(Wait::No).expect("the ring works");
    }
}

/// Turns until a queue is full and nothing moves any more. That nothing moves is not enough: on a busy machine the
/// publisher may just not have had its turn.
fn fill(shards: &mut [Shard<UringIo>]) {
    let received = |shards: &[Shard<UringIo>]| shards.iter().map(|shard| shard.counters().bytes_in).sum::<u64>();
    let waiting = |shards: &[Shard<UringIo>]| shards.iter().map(Shard::outbox_bytes).sum::<u64>();
    let full = u64::from(Settings::default().limits.outbox_bytes_max);
    let since = Instant::now();
    let mut still_since = Instant::now();
    let mut before = received(shards);
    while still_since.elapsed() < STILL || waiting(shards) < full && since.elapsed() < FILL_PATIENCE {
        turn(shards);
        let now = received(shards);
        if now != before {
            (before, still_since) = (now, Instant::now());
        }
    }
}

/// Connects and says hello; what the broker answers is read by whoever reads.
fn connect(shards: &mut [Shard<UringIo>], address: SocketAddr, lasting: bool) -> TcpStream {
    let before: usize = shards.iter().map(Shard::connections).sum();
    let mut stream = TcpStream::connect(address).expect("accepting");
    let features = feature::BATCH | feature::FRAGMENTS | if lasting { feature::RESUME } else { 0 };
    let hello = Hello { version_min: 1, version_max: 1, node_id: vec![7; 16], features, ..Hello::default() };
    stream.write_all(&PREFACE).expect("connected");
    stream.write_all(&Control::new(Body::Hello(hello)).to_frame()).expect("connected");
    let since = Instant::now();
    while shards.iter().map(Shard::connections).sum::<usize>() == before {
        turn(shards);
        assert!(since.elapsed() < PATIENCE, "the connection is taken in");
    }
    stream
}

/// Reads and forgets everything while it is told to.
fn reading(mut reader: TcpStream, told: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut memory = vec![0; 256 * 1024];
        loop {
            while !told.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !reader.read(&mut memory).is_ok_and(|bytes| bytes > 0) {
                break;
            }
        }
    })
}

/// Reads everything, and says so often enough.
fn counting(mut reader: TcpStream) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut memory = vec![0; 256 * 1024];
        let mut have = 0;
        let (mut total, mut told, mut preface) = (0, 0, PREFACE.len());
        while let Ok(bytes @ 1..) = reader.read(&mut memory[have..]) {
            have += bytes;
            let mut at = preface.min(have);
            preface -= at;
            while let Some(Ok(header)) = memory[at..have].first_chunk::<HEADER_BYTES>().map(Header::decode)
                && at + usize::from(header.len) <= have
            {
                total += u64::from(header.kind.is_data());
                at += usize::from(header.len);
            }
            memory.copy_within(at..have, 0);
            have -= at;
            if total >= told + 64 {
                told = total;
                let mut out = [0; COUNT_FRAME_BYTES_MAX];
                if reader.write_all(count::encode(&[LaneTotal { lane: 1, total }], &mut out)).is_err() {
                    break;
                }
            }
        }
    })
}

fn control(body: Body) -> Vec<u8> {
    Control::request(1, body).to_frame()
}

fn subscribe(stream: &mut TcpStream, filter: &str) {
    let subs = vec![Sub { pattern: filter.into(), ..Sub::default() }];
    stream.write_all(&control(Body::Subscribe(Subscribe { subs }))).expect("connected");
}

fn declare(stream: &mut TcpStream, names: &[String]) {
    let topic = |(place, name): (usize, &String)| Topic {
        id: TOPIC_ID_DYNAMIC_FIRST + place as u32,
        name: name.clone(),
        ..Topic::default()
    };
    let topics = names.iter().enumerate().map(topic).collect();
    stream.write_all(&control(Body::DeclareTopics(DeclareTopics { topics }))).expect("connected");
}

/// Frames that cycle through the topics, as one write.
fn frames(topics: usize, payload_bytes: usize) -> Vec<u8> {
    let frame_bytes = HEADER_BYTES + payload_bytes;
    let cycles = (WRITE_BYTES_MAX / frame_bytes).min(WRITE_MESSAGES_MAX) / topics;
    let mut bytes = Vec::new();
    for index in 0..cycles.max(1) * topics {
        let topic = TOPIC_ID_DYNAMIC_FIRST + (index % topics) as u32;
        let header = Header { topic, lane: 1, seq: 1, ..Header::new(Kind::PUB, payload_bytes) };
        bytes.extend_from_slice(&header.encode());
        bytes.resize(bytes.len() + payload_bytes, 7);
    }
    bytes
}
