//! Publishes and subscribes through a Zenoh router with zenoh's own client, as `laneway-bench compare` asks.
//!
//! `zenoh-load WAY --connect HOST:PORT [--NAME VALUE]...` prints `warm` when it begins to measure and `done ...` at the
//! end: messages delivered (`saturate`), or `nanoseconds:count` pairs (`paced`, `echo`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::CongestionControl;
use zenoh::{Config, Session, Wait};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Payload bytes between what was published and what the slowest subscriber has received.
const IN_FLIGHT_BYTES_MAX: u64 = 1024 * 1024;
/// Until the router knows every subscription.
const SETTLE: Duration = Duration::from_millis(300);
/// Without a delivery for this long something is lost.
const SILENCE_MAX: Duration = Duration::from_secs(5);

struct Options(HashMap<String, String>);

impl Options {
    fn number(&self, name: &str, default: u64) -> Result<u64, Failure> {
        self.0.get(name).map_or(Ok(default), |text| text.parse().map_err(|_| format!("--{name} {text}?").into()))
    }
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let way = arguments.next().ok_or("usage: zenoh-load saturate|paced|echo --connect HOST:PORT ...")?;
    let mut options = HashMap::new();
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        options.insert(name.trim_start_matches("--").to_owned(), value);
    }
    let options = Options(options);
    match way.as_str() {
        "saturate" => saturate(&options),
        "paced" | "echo" => timed(&options, way == "echo"),
        other => Err(format!("no way '{other}'").into()),
    }
}

fn open(options: &Options) -> Result<Session, Failure> {
    let at = options.0.get("connect").ok_or("--connect is missing")?;
    let mut config = Config::default();
    config.insert_json5("mode", "\"client\"")?;
    config.insert_json5("connect/endpoints", &format!("[\"tcp/{at}\"]"))?;
    config.insert_json5("scouting/multicast/enabled", "false")?;
    zenoh::open(config).wait()
}

/// One publisher and the counts of its subscribers.
struct Stream {
    publisher: Publisher<'static>,
    counts: Vec<Arc<AtomicU64>>,
    sent: u64,
    _subscribers: Vec<Subscriber<()>>,
    _sessions: Vec<Session>,
}

impl Stream {
    fn open(options: &Options, name: String, subscribers: u64, express: bool) -> Result<Self, Failure> {
        let (mut sessions, mut held, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..subscribers {
            let session = open(options)?;
            let count = Arc::new(AtomicU64::new(0));
            let own = Arc::clone(&count);
            let received = move |_| drop(own.fetch_add(1, Ordering::Release));
            held.push(session.declare_subscriber(name.clone()).callback(received).wait()?);
            counts.push(count);
            sessions.push(session);
        }
        let session = open(options)?;
        let publisher =
            session.declare_publisher(name).congestion_control(CongestionControl::Block).express(express).wait()?;
        sessions.push(session);
        Ok(Self { publisher, counts, sent: 0, _subscribers: held, _sessions: sessions })
    }

    fn slowest(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Acquire)).min().unwrap_or(0)
    }

    fn delivered(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Acquire)).sum()
    }
}

fn saturate(options: &Options) -> Result<(), Failure> {
    let payload = zenoh::bytes::ZBytes::from(vec![b'.'; options.number("payload", 64)? as usize]);
    let in_flight = (IN_FLIGHT_BYTES_MAX / options.number("payload", 64)?).max(1);
    let express = options.0.get("express").is_some_and(|text| text == "true");
    let streams = (0..options.number("streams", 1)?)
        .map(|number| Stream::open(options, format!("bench/{number:02}"), options.number("subscribers", 1)?, express));
    let mut streams = streams.collect::<Result<Vec<_>, _>>()?;
    std::thread::sleep(SETTLE);
    push(&mut streams, &payload, in_flight, options.number("warm-ms", 200)?)?;
    let delivered = |streams: &[Stream]| streams.iter().map(Stream::delivered).sum::<u64>();
    let before = delivered(&streams);
    println!("warm");
    push(&mut streams, &payload, in_flight, options.number("measure-ms", 500)?)?;
    println!("done {}", delivered(&streams) - before);
    leave()
}

/// Nobody needs an orderly end.
fn leave() -> ! {
    std::process::exit(0)
}

fn push(streams: &mut [Stream], payload: &zenoh::bytes::ZBytes, in_flight: u64, ms: u64) -> Result<(), Failure> {
    let start = Instant::now();
    let mut heard = (start, 0);
    loop {
        let mut sent = false;
        for stream in &mut *streams {
            // In bursts: looking at the clock and the counts costs something, too.
            let room = in_flight.saturating_sub(stream.sent - stream.slowest()).min(256);
            for _ in 0..room {
                stream.publisher.put(payload.clone()).wait()?;
            }
            stream.sent += room;
            sent |= room > 0;
        }
        let now = Instant::now();
        if now.duration_since(start) >= Duration::from_millis(ms) {
            return Ok(());
        }
        let delivered = streams.iter().map(Stream::slowest).sum();
        if delivered != heard.1 {
            heard = (now, delivered);
        }
        if now.duration_since(heard.0) > SILENCE_MAX {
            return Err("nothing was delivered".into());
        }
        if !sent {
            // Its client receives on threads of its own, on this core.
            std::thread::yield_now();
        }
    }
}

fn timed(options: &Options, echo: bool) -> Result<(), Failure> {
    let latencies = Arc::new(Mutex::new(Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?));
    let received = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let session = open(options)?;
    let (own, count) = (Arc::clone(&latencies), Arc::clone(&received));
    let _subscriber = session
        .declare_subscriber("bench/00")
        .callback(move |sample: zenoh::sample::Sample| {
            let bytes = sample.payload().to_bytes();
            let due = bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            let now = start.elapsed().as_nanos() as u64;
            if let Ok(mut latencies) = own.lock() {
                latencies.saturating_record(now.saturating_sub(due).max(1));
            }
            count.fetch_add(1, Ordering::Release);
        })
        .wait()?;
    let other = open(options)?;
    let publisher = other
        .declare_publisher("bench/00")
        .congestion_control(CongestionControl::Block)
        .express(true)
        .wait()?;
    std::thread::sleep(SETTLE);
    let rate = options.number("rate", 1_000)?;
    let (count, period_ns) = if echo {
        (options.number("trips", 1_000)?, 0)
    } else {
        (rate * options.number("measure-ms", 500)? / 1_000, 1_000_000_000 / rate)
    };
    for part in [count / 20, count] {
        let before = received.load(Ordering::Acquire);
        if part == count {
            latencies.lock().map_err(|_| "a thread failed")?.reset();
            println!("warm");
        }
        let first_ns = start.elapsed().as_nanos() as u64;
        for number in 0..part {
            let due = if echo { start.elapsed().as_nanos() as u64 } else { first_ns + number * period_ns };
            while (start.elapsed().as_nanos() as u64) < due {
                std::thread::yield_now();
            }
            let mut payload = vec![b'.'; 64];
            payload[..8].copy_from_slice(&due.to_le_bytes());
            publisher.put(payload).wait()?;
            if echo {
                until(&received, before + number + 1)?;
            }
        }
        until(&received, before + part)?;
    }
    let latencies = latencies.lock().map_err(|_| "a thread failed")?;
    let pairs: Vec<String> =
        latencies.iter_recorded().map(|value| format!("{}:{}", value.value_iterated_to(), value.count_at_value())).collect();
    println!("done {}", pairs.join(" "));
    leave()
}

fn until(received: &AtomicU64, wanted: u64) -> Result<(), Failure> {
    let start = Instant::now();
    while received.load(Ordering::Acquire) < wanted {
        if start.elapsed() > SILENCE_MAX {
            return Err("the last messages did not arrive".into());
        }
        std::thread::yield_now();
    }
    Ok(())
}
