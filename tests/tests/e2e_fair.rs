//! A hundred publishers that all have more to send than one shard can pass on: each gets the same share.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use laneway_proto::framing::length::{Front, front};
use laneway_proto::header::Kind;
use laneway_proto::limits::{FRAME_BYTES_MAX, HEADER_BYTES};
use laneway_tests::real::link::{Link, Place};
use laneway_tests::real::peer::{LANE, Peer};
use laneway_tests::real::process::GUARD;
use laneway_tests::real::{Launch, frames};

const PUBLISHERS: usize = 100;
const PAYLOAD_BYTES: usize = 2_000;
/// Messages of one publisher in one write.
const WRITE_MESSAGES: usize = 16;
/// Messages in all that pass before counting begins: what was queued while not everybody was there yet.
const WARM_UP_MESSAGES: u64 = 400_000;
/// Messages in all that are counted: 40 MB of each publisher, hundreds of turns, so that chance evens out.
const COUNTED_MESSAGES: u64 = 2_000_000;
/// The most favoured publisher has at most this many times the share of the least favoured one.
const RATIO_MAX: f64 = 1.1;
/// Whose crowd it is.
static ALONE: Mutex<()> = Mutex::new(());
/// Little may wait for a reader in the kernel, so that what is counted is what the shard chose just now.
const CONFIG: &str = "[limits]\nblock_ms_max = 600000\n[tcp]\nsend_buffer_bytes = 65536\nreceive_buffer_bytes = 262144";
/// Rest of a peer that found nothing to do, short against the time in which a socket's buffers empty.
const REST: Duration = Duration::from_micros(100);

/// Publishers and readers at work, until they are dropped.
struct Crowd {
    /// Messages delivered of each publisher.
    counts: Arc<Vec<AtomicU64>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Readers of these filters in one thread, and all publishers in another, so that a busy machine disturbs all alike.
    fn start(place: &Place, filters: &[String], pause: Duration) -> Self {
        let counts: Vec<AtomicU64> = (0..PUBLISHERS).map(|_| AtomicU64::new(0)).collect();
        let mut crowd = Self { counts: Arc::new(counts), stop: Arc::new(AtomicBool::new(false)), threads: Vec::new() };
        let readers: Vec<Reader> = filters
            .iter()
            .map(|filter| {
                let mut peer = Peer::open(place);
                peer.subscribe(&[filter]);
                Reader { stream: busy_stream(&peer), bytes: vec![0; 256 * 1024], filled: 0 }
            })
            .collect();
        let publishers: Vec<Publisher> = (0..PUBLISHERS)
            .map(|number| {
                let mut peer = Peer::open(place);
                let load = load(&mut peer, number);
                Publisher { stream: busy_stream(&peer), load, written: 0 }
            })
            .collect();
        let counts = Arc::clone(&crowd.counts);
        crowd.work(readers, move |reader| reader.read(&counts), pause);
        crowd.work(publishers, Publisher::write, Duration::ZERO);
        crowd
    }

    /// Visits each peer in turn until told to stop; `visit` says whether there was something to do.
    fn work<T: Send + 'static>(
        &mut self,
        mut peers: Vec<T>,
        visit: impl Fn(&mut T) -> bool + Send + 'static,
        pause: Duration,
    ) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let active = peers.iter_mut().filter_map(|peer| visit(peer).then_some(())).count();
                std::thread::sleep(if active == 0 { REST } else { pause });
            }
        }));
    }

    /// The counts at the moment when their sum has reached `messages`.
    fn counts_at(&self, messages: u64) -> Vec<u64> {
        let until = Instant::now() + GUARD;
        loop {
            let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            if counts.iter().sum::<u64>() >= messages {
                return counts;
            }
            assert!(Instant::now() < until, "nothing gets through any more: {counts:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a peer failed");
        }
    }
}

/// The socket of a peer whose answers have all been read, for calls that do not block.
fn busy_stream(peer: &Peer) -> TcpStream {
    let Link::Tcp(stream) = peer.link().share().expect("a descriptor") else { panic!("a TCP link") };
    stream.set_nonblocking(true).expect("a socket");
    stream
}

/// What a call that may find nothing to do has done.
fn done(result: std::io::Result<usize>) -> usize {
    match result {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("the broker ended a connection: {error}"),
    }
}

struct Publisher {
    stream: TcpStream,
    load: Vec<u8>,
    written: usize,
}

impl Publisher {
    fn write(&mut self) -> bool {
        let bytes = done(self.stream.write(&self.load[self.written..]));
        self.written = (self.written + bytes) % self.load.len();
        bytes > 0
    }
}

struct Reader {
    stream: TcpStream,
    bytes: Vec<u8>,
    filled: usize,
}

impl Reader {
    /// Reads once and counts whole messages by their publisher.
    fn read(&mut self, counts: &[AtomicU64]) -> bool {
        let read = done(self.stream.read(&mut self.bytes[self.filled..]));
        self.filled += read;
        let mut at = 0;
        while let Front::Whole(header) = front(&self.bytes[at..self.filled], FRAME_BYTES_MAX).expect("true lengths") {
            if header.kind == Kind::PUB {
                let number = self.bytes[at + HEADER_BYTES..].first_chunk().map(|number| u32::from_le_bytes(*number));
                counts[number.expect("a number") as usize].fetch_add(1, Ordering::Relaxed);
            }
            at += usize::from(header.len);
        }
        self.bytes.copy_within(at..self.filled, 0);
        self.filled -= at;
        read > 0
    }
}

fn topic(number: usize) -> String {
    format!("fair/{number}")
}

/// What a publisher writes again and again: messages that begin with its number.
fn load(publisher: &mut Peer, number: usize) -> Vec<u8> {
    let id = publisher.topic(&topic(number));
    publisher.ping();
    let mut payload = vec![7; PAYLOAD_BYTES];
    payload[..4].copy_from_slice(&(number as u32).to_le_bytes());
    frames::publish(id, LANE, 1, &payload).repeat(WRITE_MESSAGES)
}

/// `pause` is the readers' rest after each visit.
fn expect_fair(what: &str, filters: &[String], pause: Duration) {
    // One crowd at a time: two would share the processors by chance, and shares are what is measured.
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let broker = Launch::new(1).config(CONFIG).start();
    let crowd = Crowd::start(broker.tcp(), filters, pause);
    let before = crowd.counts_at(WARM_UP_MESSAGES);
    let after = crowd.counts_at(before.iter().sum::<u64>() + COUNTED_MESSAGES);
    let mut shares: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    shares.sort_unstable();
    let (least, middle, most) = (shares[0], shares[PUBLISHERS / 2], shares[PUBLISHERS - 1]);
    eprintln!("{what}: least {least}, middle {middle}, most {most}");
    assert!(most as f64 <= least as f64 * RATIO_MAX, "{what}: shares from {least} to {most} messages: {shares:?}");
    drop(crowd);
    broker.stop_idle();
}

#[test]
fn a_hundred_publishers_share_one_keen_reader() {
    expect_fair("one keen reader", &["fair/#".into()], Duration::ZERO);
}

#[test]
fn a_hundred_publishers_share_one_slow_reader() {
    expect_fair("one slow reader", &["fair/#".into()], Duration::from_micros(200));
}

#[test]
fn a_hundred_publishers_with_a_reader_each_share_the_shard() {
    let filters: Vec<String> = (0..PUBLISHERS).map(topic).collect();
    expect_fair("a reader each", &filters, Duration::ZERO);
}
