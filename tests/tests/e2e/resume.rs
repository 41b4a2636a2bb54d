//! Sessions that outlive their links: the client library and a real broker, over links that are cut again and again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use laneway_client::blocking::{Client, Events, Subscription};
use laneway_client::{
    ConfirmOptions, ConnectOptions, ConnectionEvent, FlushError, Lane, Level, ReconnectOptions, Retry,
};
use laneway_tests::real::link::Place;
use laneway_tests::real::process::GUARD;
use laneway_tests::real::proxy::Proxy;
use laneway_tests::real::{Launch, RealBroker};
use laneway_tests::sim::rng::Rng;

const RELIABLE: [Lane; 3] = [Lane::COMMAND, Lane::EVENT, Lane::BULK];

/// Links to cut.
const CUTS: u64 = 100;

fn options() -> ConnectOptions {
    let waits = Retry::new().waits(Duration::from_millis(1), Duration::from_millis(10));
    ConnectOptions::new().reconnect(ReconnectOptions::new().retry(waits).breaker(0, Duration::ZERO))
}

fn client(place: &Place) -> Client {
    options().connect_blocking(&place.url()).expect("a broker")
}

/// The payload of a message: its number on its lane, and as many bytes more as the number says.
fn payload(number: u64, lane: Lane) -> Vec<u8> {
    let more = match number % 50 {
        7 if lane == Lane::BULK => 100_000,
        13 => 20_000,
        rest => rest as usize,
    };
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + more, number as u8);
    bytes
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().expect("a number in front"))
}

/// Publishes on all reliable lanes until it is told to stop; returns how many on each.
fn publishing(client: Client, stop: Arc<AtomicBool>) -> JoinHandle<u64> {
    thread::spawn(move || {
        let mut published = 0;
        while !stop.load(Ordering::Relaxed) {
            for lane in RELIABLE {
                client.publish_with("a/b", payload(published, lane), lane.into()).expect("a connection");
            }
            published += 1;
            if published % 20 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        published
    })
}

/// Takes messages until it is told how many there are on each lane and has them; every one has to come once, and on
/// ordered lanes in order.
fn take_all(mut subscription: Subscription, total: impl Fn() -> Option<u64>) {
    let mut next: HashMap<Lane, u64> = HashMap::new();
    let mut seen: Vec<bool> = Vec::new();
    let mut taken = 0;
    let mut until = Instant::now() + GUARD;
    while total().is_none_or(|total| taken < 3 * total) {
        assert!(Instant::now() < until, "{taken} messages came, then no more: {next:?}");
        let Some(message) = subscription.recv_timeout(Duration::from_millis(20)).expect("a connection") else {
            continue;
        };
        until = Instant::now() + GUARD;
        taken += 1;
        let number = number(&message.payload);
        assert!(message.payload == payload(number, message.lane), "message {number} is whole");
        if message.lane == Lane::EVENT {
            let place = number as usize;
            seen.resize(seen.len().max(place + 1), false);
            assert!(!std::mem::replace(&mut seen[place], true), "event {number} came twice");
        } else {
            let next = next.entry(message.lane).or_default();
            assert_eq!(number, *next, "on {:?}", message.lane);
            *next += 1;
        }
    }
    assert!(seen.iter().all(|&seen| seen), "an event is missing");
    assert!(subscription.recv_timeout(Duration::from_millis(100)).expect("a connection").is_none(), "one too many");
}

/// Whether a connection went on with its session when it came up last.
fn went_on(events: &mut Events) -> bool {
    let ups = std::iter::from_fn(|| events.try_recv())
        .filter_map(|event| if let ConnectionEvent::Up { resumed, .. } = event { Some(resumed) } else { None });
    ups.last().expect("it came up")
}

/// Cuts links again and again, at bytes that a seed draws, until each client has lost its own often enough.
fn cut_often(ways: &[(&Proxy, &Client)], seed: u64) {
    let mut rng = Rng::new(seed, 1);
    let until = Instant::now() + GUARD * 4;
    while ways.iter().any(|(_, client)| client.state().links_lost < CUTS) {
        assert!(Instant::now() < until, "links come up again");
        for (way, _) in ways {
            let most = *rng.pick(&[100, 3_000, 60_000, 400_000]);
            way.cut_after(rng.between(0, most));
        }
        thread::sleep(Duration::from_millis(rng.between(1, 12)));
    }
    ways.iter().for_each(|(way, _)| way.cut_after(u64::MAX));
}

#[test]
fn over_links_that_are_cut_a_hundred_times_everything_arrives_once_and_in_order() {
    for shards in [1, 3] {
        let broker = Launch::new(shards).start();
        let ways = [Proxy::start(broker.tcp()), Proxy::start(broker.unix())];
        let (publisher, subscriber) = (client(ways[0].place()), client(ways[1].place()));
        let sessions = [&publisher, &subscriber].map(|client| client.terms().session);
        let subscription = subscriber.subscribe("a/#").expect("allowed");
        let stop = Arc::new(AtomicBool::new(false));
        let total = Arc::new(std::sync::OnceLock::new());
        let taking = {
            let total = Arc::clone(&total);
            thread::spawn(move || take_all(subscription, || total.get().copied()))
        };
        let publishing = publishing(publisher.clone(), Arc::clone(&stop));
        cut_often(&[(&ways[0], &publisher), (&ways[1], &subscriber)], u64::from(shards));
        stop.store(true, Ordering::Relaxed);
        let published = publishing.join().expect("publishing goes on over all links");
        assert_eq!(publisher.flush(), Ok(()), "nothing is in doubt");
        total.set(published).expect("once");
        taking.join().expect("every message, once");
        for (place, client) in [&publisher, &subscriber].into_iter().enumerate() {
            let state = client.state();
            println!(
                "{shards} shards: {published} messages on each lane; link {place} was lost {} times",
                state.links_lost
            );
            assert_eq!(client.terms().session, sessions[place], "it is the same session all the time");
            assert_eq!(state.maybe_delivered, 0);
        }
        drop((publisher, subscriber));
        broker.stop();
    }
}

#[test]
fn what_is_under_way_when_the_link_breaks_is_answered_over_the_next_one() {
    let broker = Launch::new(2).start();
    let way = Proxy::start(broker.tcp());
    let (asker, other) = (client(way.place()), client(broker.tcp()));
    let mut received = other.subscribe("a/#").expect("allowed");
    for round in 0..20_u64 {
        way.cut_after(round * 60);
        let accepted = ConfirmOptions { level: Level::Accepted, timeout: GUARD, publish: Lane::COMMAND.into() };
        asker.publish_confirmed("a/b", round.to_le_bytes().to_vec(), accepted).expect("accepted");
        let delivered = ConfirmOptions { level: Level::delivered(1), timeout: GUARD, publish: Lane::COMMAND.into() };
        asker.publish_confirmed("a/b", round.to_le_bytes().to_vec(), delivered).expect("delivered");
        let mut mine = asker.subscribe(&format!("mine/{round}")).expect("answered");
        asker.flush().expect("nothing is in doubt");
        other.publish(&format!("mine/{round}"), "x").expect("a link");
        assert!(mine.recv_timeout(GUARD).expect("a connection").is_some(), "the subscription is in effect");
        way.cut();
        asker.ping().expect("answered");
    }
    let numbers: Vec<u64> =
        std::iter::from_fn(|| received.try_recv()).map(|message| number(&message.payload)).collect();
    let expected: Vec<u64> = (0..20).flat_map(|round| [round, round]).collect();
    assert_eq!(numbers, expected, "each once");
    assert!(asker.state().links_lost >= 20 && asker.state().maybe_delivered == 0, "{:?}", asker.state());
}

#[test]
fn what_is_published_without_a_link_waits_within_its_bound_and_goes_out_when_the_session_goes_on() {
    let broker = Launch::new(2).start();
    let way = Proxy::start(broker.tcp());
    let publisher = client(way.place());
    let mut received = client(broker.tcp()).subscribe("a").expect("allowed");
    publisher.publish("a", "0").expect("a link");
    publisher.flush().expect("a link");
    way.set_open(false);
    wait_for("the link is missed", || publisher.state().links_lost == 1);
    for number in 1..=100 {
        publisher.publish("a", number.to_string()).expect("it waits");
    }
    let mut more = 0;
    while publisher.try_publish("a", vec![0; 10_000]).is_ok() {
        more += 1;
    }
    assert!((80..=105).contains(&more), "{more} messages of 10,000 bytes wait besides");
    way.set_open(true);
    publisher.flush().expect("nothing is in doubt");
    for number in 0..=100 {
        let message = received.recv_timeout(GUARD).expect("a connection").expect("in time");
        assert_eq!(message.payload, number.to_string());
    }
    let rest = std::iter::from_fn(|| received.recv_timeout(Duration::from_millis(200)).expect("a connection"));
    assert_eq!(rest.count(), more);
}

fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + GUARD;
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A publisher with an unanswered message loses its link for so long; returns what flushing says, and whether the session
/// went on.
fn absent_for(broker: &RealBroker, absence: Duration) -> (Result<(), FlushError>, bool) {
    let way = Proxy::start(broker.tcp());
    let (publisher, subscriber) = (client(way.place()), client(way.place()));
    let mut events = publisher.events();
    let mut received = subscriber.subscribe("a").expect("allowed");
    publisher.flush().expect("a link");
    // In the middle of the message.
    way.close_after(5);
    publisher.publish("a", "in doubt").expect("a link");
    wait_for("the link is missed", || publisher.state().links_lost == 1);
    thread::sleep(absence);
    way.set_open(true);
    let flushed = publisher.flush();
    let went_on = went_on(&mut events);
    subscriber.ping().expect("a link");
    publisher.publish("a", "last").expect("a link");
    while received.recv_timeout(GUARD).expect("a connection").expect("in time").payload != "last" {}
    (flushed, went_on)
}

#[test]
fn a_session_that_is_absent_for_too_long_is_over_and_what_it_had_sent_is_in_doubt() {
    let broker = Launch::new(2).config("[limits]\nresume_grace_ms = 300").start();
    assert_eq!(absent_for(&broker, Duration::from_millis(20)), (Ok(()), true));
    assert_eq!(
        absent_for(&broker, Duration::from_millis(1_500)),
        (Err(FlushError::MaybeDelivered { messages: 1 }), false)
    );
    let never = Launch::new(2).config("[limits]\nresume_grace_ms = 0").start();
    assert_eq!(absent_for(&never, Duration::from_millis(20)), (Err(FlushError::MaybeDelivered { messages: 1 }), false));
}

#[test]
fn a_subscriber_without_a_link_gets_what_was_published_meanwhile() {
    let broker = Launch::new(2).start();
    let way = Proxy::start(broker.unix());
    let (publisher, subscriber) = (client(broker.tcp()), client(way.place()));
    let mut received = subscriber.subscribe("a").expect("allowed");
    way.set_open(false);
    wait_for("the link is missed", || subscriber.state().links_lost == 1);
    for number in 0..1_000 {
        publisher.publish("a", number.to_string()).expect("a link");
    }
    publisher.flush().expect("a link");
    way.set_open(true);
    for number in 0..1_000 {
        let message = received.recv_timeout(GUARD).expect("a connection").expect("in time");
        assert_eq!(message.payload, number.to_string());
    }
}

#[test]
fn a_link_that_only_the_client_has_lost_is_ended_when_the_session_goes_on_over_another() {
    for shards in [1, 2] {
        let broker = Launch::new(shards).start();
        let way = Proxy::start(broker.tcp());
        let (publisher, subscriber) = (client(broker.tcp()), client(way.place()));
        let mut received = subscriber.subscribe("a").expect("allowed");
        let mut next = 0_u64;
        for round in 1..=10 {
            for _ in 0..100 {
                publisher.publish("a", next.to_string()).expect("a link");
                next += 1;
            }
            way.cut_for_clients();
            wait_for("the link is missed", || subscriber.state().links_lost == round);
            publisher.flush().expect("a link");
            for number in next - 100..next {
                let message = received.recv_timeout(GUARD).expect("a connection").expect("in time");
                assert_eq!(message.payload, number.to_string());
            }
        }
        let resumed = sum_of(&publisher, "sessions_resumed");
        assert_eq!((resumed, sum_of(&publisher, "connections")), (10, 2), "the broker has let go of the old links");
    }
}

/// What all shards together say of something.
fn sum_of(client: &Client, name: &str) -> u64 {
    let stats = client.stats("shard.").expect("a link");
    let of_it =
        stats.iter().filter(|stat| stat.name.rsplit('.').next() == Some(name) && stat.name.split('.').count() == 3);
    of_it.filter_map(|stat| stat.number()).sum::<f64>() as u64
}
