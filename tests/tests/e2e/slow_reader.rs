//! A subscriber that stops reading: its publishers wait for it, for so long and no longer, and nobody else is affected.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects; everything else fails it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use laneway_tests::real::link::Place;
use laneway_tests::real::peer::{Event, Peer};
use laneway_tests::real::process::GUARD;
use laneway_tests::real::{Launch, RealBroker};

const TOPIC: &str = "flood/numbers";
/// Small enough to be full soon, beside what the kernel and the way between shards hold.
const SMALL_OUTBOX: &str = "outbox_bytes_max = 65536";
const SMALL_SOCKETS: &str = "[tcp]\nsend_buffer_bytes = 65536";
const MESSAGE_BYTES: usize = 1_000;
const MIB: u64 = 1024 * 1024;

fn message(number: u64) -> Vec<u8> {
    let mut payload = vec![number as u8; MESSAGE_BYTES];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload
}

/// A publisher of numbered messages in a thread of its own.
struct Flood {
    /// Messages the broker has accepted.
    accepted: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Flood {
    fn start(mut publisher: Peer, messages: u64) -> Self {
        let accepted = Arc::new(AtomicU64::new(0));
        let progress = Arc::clone(&accepted);
        let thread = std::thread::spawn(move || {
            for number in 0..messages {
                publisher.publish(TOPIC, &message(number));
                if number % 50 == 49 {
                    publisher.ping();
                    progress.store(number + 1, Ordering::Relaxed);
                }
            }
            publisher.ping();
            progress.store(messages, Ordering::Relaxed);
        });
        Self { accepted, thread }
    }

    /// Waits until nothing was accepted for a while.
    fn wait_until_stopped(&self) {
        let until = Instant::now() + GUARD;
        let mut before = (u64::MAX, 0);
        while before.1 < 5 {
            assert!(Instant::now() < until, "the publisher is never stopped");
            std::thread::sleep(Duration::from_millis(100));
            let now = self.accepted.load(Ordering::Relaxed);
            before = if now == before.0 && now > 0 { (now, before.1 + 1) } else { (now, 0) };
        }
    }

    fn finish(self) {
        self.thread.join().expect("the publisher gets through");
    }
}

/// Reads every number in order.
fn read_all(subscriber: &mut Peer, messages: u64) {
    for number in 0..messages {
        assert!(subscriber.message().payload == message(number), "something else than message {number}");
    }
}

/// A subscriber to the flood, and one to another topic, on the first shard; publishers for both on the last.
fn cast(place: &Place) -> [Peer; 4] {
    let mut slow = Peer::open(place);
    let publisher = Peer::open(place);
    let mut bystander = Peer::open(place);
    let bystander_source = Peer::open(place);
    slow.subscribe(&[TOPIC]);
    bystander.subscribe(&["quiet/+"]);
    [slow, publisher, bystander, bystander_source]
}

fn check_stop_and_go(broker: &RealBroker, place: &Place) {
    const MESSAGES: u64 = 32_000;
    let [mut slow, publisher, mut bystander, mut source] = cast(place);
    let mut keen = Peer::open(place);
    keen.subscribe(&[TOPIC]);
    let resident_before = broker.resident_bytes();
    let flood = Flood::start(publisher, MESSAGES);
    let keen = std::thread::spawn(move || {
        read_all(&mut keen, MESSAGES);
        keen
    });
    flood.wait_until_stopped();
    for number in 0..1_000u32 {
        source.publish("quiet/talk", &number.to_le_bytes());
        bystander.expect_message("quiet/talk", &number.to_le_bytes());
    }
    let grown = broker.resident_bytes().saturating_sub(resident_before);
    assert!(grown < 24 * MIB, "{grown} bytes are held for one slow reader");
    assert!(flood.accepted.load(Ordering::Relaxed) < MESSAGES, "the publisher waits");
    read_all(&mut slow, MESSAGES);
    flood.finish();
    let keen = keen.join().expect("the other subscriber lost nothing");
    // Whom the broker has asked meanwhile whether it is there has to read that, or its end is a reset.
    [slow, bystander, source, keen].iter_mut().for_each(Peer::ping);
}

#[test]
fn a_reader_that_stops_stops_its_publisher_only_and_loses_nothing_when_it_goes_on() {
    for shards in [1, 2] {
        let limits = "block_ms_max = 600000\npartial_frame_ms_max = 200";
        let config = format!("[limits]\n{SMALL_OUTBOX}\n{limits}\n{SMALL_SOCKETS}");
        let broker = Launch::new(shards).config(&config).start();
        check_stop_and_go(&broker, broker.unix());
        check_stop_and_go(&broker, broker.tcp());
        let ended = broker.stop_idle();
        assert_eq!((ended.closed("peer_left"), ended.closed_in_all()), (10, 10), "{}", ended.stderr);
    }
}

fn check_disconnect(place: &Place) {
    const MESSAGES: u64 = 12_000;
    let [mut slow, publisher, mut bystander, mut source] = cast(place);
    let mut keen = Peer::open(place);
    keen.subscribe(&[TOPIC]);
    let flood = Flood::start(publisher, MESSAGES);
    read_all(&mut keen, MESSAGES);
    flood.finish();
    source.publish("quiet/talk", b"still here");
    bystander.expect_message("quiet/talk", b"still here");
    let mut number = 0;
    loop {
        match slow.event() {
            Event::Message(got) => assert!(got.payload == message(number), "something else than message {number}"),
            Event::Closed | Event::Cut | Event::Reset => break,
            Event::Goodbye(_) => continue,
            other => panic!("neither a message nor the end: {other:?}"),
        }
        number += 1;
    }
    assert!(number < MESSAGES, "it was disconnected before the end");
}

#[test]
fn a_reader_that_stays_stopped_is_disconnected_and_its_publisher_goes_on() {
    for shards in [1, 2] {
        let config = format!("[limits]\n{SMALL_OUTBOX}\nblock_ms_max = 300\n{SMALL_SOCKETS}");
        let broker = Launch::new(shards).config(&config).start();
        check_disconnect(broker.unix());
        check_disconnect(broker.tcp());
        let ended = broker.stop_idle();
        assert_eq!((ended.closed("slow_consumer"), ended.closed_in_all()), (2, 10), "{}", ended.stderr);
    }
}

#[test]
fn several_readers_that_stop_at_once_are_all_disconnected_and_the_others_keep_everything() {
    const MESSAGES: u64 = 6_000;
    for shards in [1, 2] {
        let config = format!("[limits]\n{SMALL_OUTBOX}\nblock_ms_max = 200");
        let broker = Launch::new(shards).config(&config).start();
        let mut slow: Vec<Peer> = (0..6).map(|_| Peer::open(broker.unix())).collect();
        let mut keen: Vec<Peer> = (0..2).map(|_| Peer::open(broker.unix())).collect();
        for peer in slow.iter_mut().chain(&mut keen) {
            peer.subscribe(&["flood/#"]);
        }
        let floods: Vec<Flood> = (0..2).map(|_| Flood::start(Peer::open(broker.unix()), MESSAGES)).collect();
        let readers: Vec<JoinHandle<()>> =
            keen.into_iter().map(|peer| std::thread::spawn(move || read_two(peer, MESSAGES))).collect();
        for flood in floods {
            flood.finish();
        }
        for reader in readers {
            reader.join().expect("a keen reader lost nothing");
        }
        drop(slow);
        let ended = broker.stop_idle();
        assert_eq!((ended.closed("slow_consumer"), ended.closed_in_all()), (6, 10), "{}", ended.stderr);
    }
}

/// Reads the interleaved numbers of two publishers, each in its own order.
fn read_two(mut subscriber: Peer, messages: u64) {
    let mut next = [0u64; 2];
    for _ in 0..2 * messages {
        let payload = subscriber.message().payload;
        let whose = next.iter().position(|&number| payload == message(number));
        next[whose.expect("the next number of one of the publishers")] += 1;
    }
    assert_eq!(next, [messages; 2]);
}

#[test]
fn a_session_that_floods_itself_without_reading_is_the_one_that_ends() {
    for shards in [1, 2] {
        let config = format!("[limits]\n{SMALL_OUTBOX}\nblock_ms_max = 200");
        let broker = Launch::new(shards).config(&config).start();
        let mut bystander = Peer::open(broker.unix());
        let mut flooder = Peer::open(broker.unix());
        flooder.subscribe(&["#"]);
        let id = flooder.topic(TOPIC);
        let frame = laneway_tests::real::frames::publish(id, 1, 1, &message(1));
        let until = Instant::now() + GUARD;
        while flooder.try_send(&frame).is_ok() {
            assert!(Instant::now() < until, "the flooder is never ended");
        }
        bystander.ping();
        drop((bystander, flooder));
        let ended = broker.stop_idle();
        assert_eq!((ended.closed("slow_consumer"), ended.closed_in_all()), (1, 2), "{}", ended.stderr);
    }
}
