//! The end of a broker: what it accepted is delivered to everybody who reads in time, and each is told why it ends.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects; everything else fails it")]

use std::io::Write as _;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use laneway_proto::error::CloseCode;
use laneway_proto::frame::ping::Ping;
use laneway_tests::real::binaries::without_deadlines;
use laneway_tests::real::frames::{hello, opening, publish};
use laneway_tests::real::link::{Link, Place};
use laneway_tests::real::peer::{Event, Peer};
use laneway_tests::real::process::Process;
use laneway_tests::real::{Launch, RealBroker};
use nix::sys::signal::Signal;

const TOPIC: &str = "drain/numbers";
/// Longer than anything here waits: no test may pass because the drain was cut short.
const PATIENT: &str = "[limits]\ndrain_ms_max = 600000";
/// More than the kernel holds for a reader that does not read, less than an outbox.
const WAITING: u32 = 800;

/// Messages a busy publisher sends before it asks whether they were accepted.
const BURST: u64 = 1_000;

fn message(number: u32) -> Vec<u8> {
    let mut payload = vec![number as u8; 1_000];
    payload[..4].copy_from_slice(&number.to_le_bytes());
    payload
}

/// A subscriber that has read nothing of what the publisher has had accepted.
fn with_messages_waiting(place: &Place) -> [Peer; 2] {
    let mut subscriber = Peer::open(place);
    let mut publisher = Peer::open(place);
    subscriber.subscribe(&["drain/#"]);
    for number in 0..WAITING {
        publisher.publish(TOPIC, &message(number));
    }
    publisher.ping();
    [subscriber, publisher]
}

fn is_shutdown(words: &[Event]) -> bool {
    matches!(words, [Event::Goodbye(goodbye), Event::Closed]
        if CloseCode::from_number(goodbye.code) == Some(CloseCode::Shutdown))
}

fn check_drain(broker: RealBroker, place: &Place, signal: Signal) {
    let [mut subscriber, mut publisher] = with_messages_waiting(place);
    let mut broker = broker;
    broker.process().signal(signal);
    broker.process().wait_for_stderr("draining");
    for number in 0..WAITING {
        subscriber.expect_message(TOPIC, &message(number));
        if number % 20 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let words = subscriber.last_words();
    assert!(is_shutdown(&words), "goodbye is the last frame: {words:?}");
    let words = publisher.last_words();
    assert!(is_shutdown(&words), "the publisher is told, too: {words:?}");
    drop((subscriber, publisher));
    let ended = broker.finish();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!((ended.closed("shutdown"), ended.closed_in_all()), (2, 2), "{}", ended.stderr);
}

#[test]
fn a_signal_delivers_what_was_accepted_to_slow_readers_and_says_goodbye_behind_it() {
    for (shards, signal) in [(1, Signal::SIGTERM), (2, Signal::SIGTERM), (1, Signal::SIGINT), (2, Signal::SIGINT)] {
        let broker = Launch::new(shards).config(PATIENT).start();
        let unix = broker.unix().clone();
        check_drain(broker, &unix, signal);
        let broker = Launch::new(shards).config(PATIENT).config("[tcp]\nsend_buffer_bytes = 65536").start();
        let tcp = broker.tcp().clone();
        check_drain(broker, &tcp, signal);
    }
}

/// Publishes numbers as fast as the broker takes them, until it ends the session.
fn publish_until_the_end(mut link: Link, id: u32) {
    for burst in 0u64.. {
        let numbers = BURST * burst..BURST * (burst + 1);
        let frames: Vec<u8> = numbers.flat_map(|number| publish(id, 1, 1, &number.to_le_bytes())).collect();
        if link.write_all(&[&frames[..], &Ping { t0: BURST * (burst + 1) }.encode()].concat()).is_err() {
            return;
        }
    }
}

/// Reads what the broker has accepted of that.
fn read_answers(mut publisher: Peer, accepted: &AtomicU64) {
    loop {
        match publisher.event() {
            Event::Pong(pong) => accepted.store(pong.t0, Ordering::Relaxed),
            Event::Goodbye(_) | Event::Closed | Event::Cut | Event::Reset => break,
            other => panic!("neither accepted nor ended: {other:?}"),
        }
    }
    let _ = publisher.link().shutdown(Shutdown::Both);
}

/// Reads numbers without a gap until goodbye; returns how many came.
fn read_numbers(mut subscriber: Peer) -> u64 {
    for next in 0u64.. {
        match subscriber.event() {
            Event::Message(message) => assert_eq!(message.payload, next.to_le_bytes(), "a gap"),
            Event::Goodbye(_) => return next,
            other => panic!("neither a message nor goodbye: {other:?}"),
        }
    }
    unreachable!("a test ends before its numbers do")
}

#[test]
fn what_was_accepted_from_busy_publishers_before_the_signal_arrives_without_a_gap() {
    for round in 0..40 {
        let shards = if round % 8 == 0 { 1 } else { 2 };
        let broker = Launch::new(shards).config(PATIENT).start();
        let mut subscriber = Peer::open(broker.unix());
        subscriber.subscribe(&[TOPIC]);
        let mut publisher = Peer::open(broker.unix());
        let id = publisher.topic(TOPIC);
        let link = publisher.link().share().expect("a second handle");
        let accepted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&accepted);
        let writing = std::thread::spawn(move || publish_until_the_end(link, id));
        let answering = std::thread::spawn(move || read_answers(publisher, &count));
        let reading = std::thread::spawn(move || read_numbers(subscriber));
        while accepted.load(Ordering::Relaxed) < 5_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let ended = broker.stop();
        writing.join().expect("the publisher ends with the broker");
        answering.join().expect("the publisher ends with the broker");
        let read = reading.join().expect("the subscriber saw goodbye");
        let accepted = accepted.load(Ordering::Relaxed);
        assert!(read >= accepted, "{read} arrived of {accepted} accepted, {shards} shards, round {round}");
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut broker = Launch::new(2).config(PATIENT).start();
        // Nobody reads, so the drain alone would take its ten minutes.
        let unix = broker.unix().clone();
        let _unread = with_messages_waiting(&unix);
        broker.process().signal(signal);
        broker.process().wait_for_stderr("draining");
        assert!(broker.process().is_running(), "it waits for its readers");
        broker.process().signal(signal);
        let ended = broker.finish();
        assert_eq!((ended.code(), ended.signal()), (Some(1), None), "{}", ended.stderr);
    }
}

#[test]
fn readers_that_never_read_do_not_keep_it_beyond_its_patience() {
    for shards in [1, 2] {
        let broker = Launch::new(shards).config("[limits]\ndrain_ms_max = 300").start();
        let unread = with_messages_waiting(broker.unix());
        let silent = Peer::dial(broker.tcp()).expect("the broker listens");
        broker.wait_for_connections(3);
        let ended = broker.stop();
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        assert_eq!((ended.closed("shutdown"), ended.closed_in_all()), (3, 3), "{}", ended.stderr);
        drop((unread, silent));
    }
}

#[test]
fn who_comes_during_a_drain_is_turned_away_and_nobody_hangs() {
    let mut broker = Launch::new(2).config(PATIENT).start();
    let unix = broker.unix().clone();
    let [mut subscriber, publisher] = with_messages_waiting(&unix);
    broker.process().signal(Signal::SIGTERM);
    broker.process().wait_for_stderr("draining");
    for place in [broker.tcp().clone(), unix] {
        if let Ok(mut late) = Peer::dial(&place) {
            let _ = late.try_send(&opening(hello()));
            let words = late.last_words();
            // One that was just in time is told like everybody else.
            let welcomed = words.iter().position(|word| matches!(word, Event::Welcome(_)));
            assert!(welcomed.is_none_or(|place| is_shutdown(&words[place + 1..])), "{words:?}");
            assert!(matches!(words.last(), Some(Event::Closed | Event::Reset)), "{words:?}");
        }
    }
    drop(publisher);
    subscriber.last_words();
    drop(subscriber);
    assert_eq!(broker.finish().code(), Some(0));
}

#[test]
fn a_shard_whose_ring_fails_takes_the_others_with_it_and_says_so() {
    for shards in [1, 2] {
        let broker = Launch::new(shards).under(&without_deadlines()).start();
        // A handshake has a deadline, so the shard that takes this connection fails; another one sleeps for good.
        let silent = Peer::dial(broker.tcp()).expect("the broker listens");
        let ended = broker.finish();
        assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("lanewayd: the ring failed"), "{}", ended.stderr);
        drop(silent);
    }
}

#[test]
fn the_command_line_reports_the_end_of_its_broker() {
    let broker = Launch::new(1).start();
    let command = broker.laneway(broker.tcp(), &["sub", "#", "--verbose"]);
    let mut subscriber = Process::spawn("laneway sub", command);
    subscriber.wait_for_stderr("subscribed\n");
    assert_eq!(broker.stop().code(), Some(0));
    let ended = subscriber.finish();
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("shutting down"), "{}", ended.stderr);
}
