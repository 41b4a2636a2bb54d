//! The first minutes with Laneway: the broker says where it listens, and messages get through.

use std::sync::atomic::{AtomicBool, Ordering};

use laneway_tests::real::frames::publish;
use laneway_tests::real::link::Place;
use laneway_tests::real::peer::Peer;
use laneway_tests::real::process::Process;
use laneway_tests::real::{Launch, RealBroker, run};

/// A subscriber on the first shard, a publisher on the last.
fn pair(broker: &RealBroker, shards: u32, place: &Place) -> (Peer, Peer) {
    let (subscriber, publisher, _) = pair_of(broker, shards, place);
    (subscriber, publisher)
}

/// The same, and how many connections were opened for them.
fn pair_of(broker: &RealBroker, shards: u32, place: &Place) -> (Peer, Peer, u64) {
    // Those that have just left may still be counted where they were, so a shard is reached after a few.
    let mut others = Vec::new();
    let mut on_shard = |shard| {
        for _ in 0..=4 * shards {
            let peer = Peer::open(place);
            if peer.shard() == shard {
                return peer;
            }
            others.push(peer);
        }
        panic!("no connection comes to shard {shard} of {broker:?}");
    };
    let (subscriber, publisher) = (on_shard(0), on_shard(shards - 1));
    (subscriber, publisher, 2 + others.len() as u64)
}

#[test]
fn it_says_where_it_listens_and_then_that_it_is_ready() {
    let broker = Launch::new(2).start();
    let (tcp, unix) = (broker.tcp().url(), broker.unix().url());
    let ended = broker.stop();
    assert_eq!(ended.text(), format!("listening {tcp}\nlistening {unix}\nready\n"));
    assert!(!tcp.ends_with(":0"), "the real port is named");
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn messages_pass_over_tcp_and_unix_within_a_shard_and_between_two() {
    for shards in [1, 2] {
        let broker = Launch::new(shards).start();
        let mut opened = 0;
        for place in [broker.tcp(), broker.unix()] {
            let (mut subscriber, mut publisher, connections) = pair_of(&broker, shards, place);
            opened += connections;
            subscriber.subscribe(&["sensors/+/x"]);
            publisher.publish("sensors/imu/x", b"21.5");
            publisher.publish("sensors/imu/y", b"not asked for");
            publisher.publish("sensors/gps/x", b"");
            subscriber.expect_message("sensors/imu/x", b"21.5");
            subscriber.expect_message("sensors/gps/x", b"");
        }
        let ended = broker.stop_idle();
        assert_eq!(ended.counted("messages_in"), 6, "{}", ended.stderr);
        assert_eq!(ended.counted("messages_out"), 4, "{}", ended.stderr);
        assert_eq!((ended.closed("peer_left"), ended.closed_in_all()), (opened, opened), "{}", ended.stderr);
    }
}

#[test]
fn a_publisher_on_one_transport_reaches_subscribers_on_both_once_each() {
    let broker = Launch::new(2).start();
    let mut subscribers: Vec<Peer> =
        [broker.tcp(), broker.unix()].into_iter().cycle().take(4).map(Peer::open).collect();
    for subscriber in &mut subscribers {
        // Three filters match; each message comes once.
        subscriber.subscribe(&["#", "a/+", "a/b"]);
    }
    let mut publisher = Peer::open(broker.unix());
    for number in 0..100u32 {
        publisher.publish("a/b", &number.to_le_bytes());
    }
    for subscriber in &mut subscribers {
        for number in 0..100u32 {
            subscriber.expect_message("a/b", &number.to_le_bytes());
        }
        subscriber.ping();
    }
    let ended = broker.stop();
    assert_eq!(ended.counted("messages_out"), 400, "{}", ended.stderr);
}

/// Keeps a shard busy until told to stop: its turns get long, so that what others tell it waits.
fn keep_busy(mut publisher: Peer, stop: &AtomicBool) {
    let id = publisher.topic("nobody/listens");
    let frames = publish(id, 1, 1, &[0; 16]).repeat(2_000);
    while !stop.load(Ordering::Relaxed) {
        publisher.send(&frames);
    }
}

/// Stops it even if the test fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_confirmed_subscription_gets_every_later_message_even_from_a_busy_shard() {
    let broker = Launch::new(2).start();
    let (mut subscriber, mut publisher) = pair(&broker, 2, broker.unix());
    let [_, busy] = [Peer::open(broker.unix()), Peer::open(broker.unix())];
    assert_eq!(busy.shard(), 1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| keep_busy(busy, &stop));
        let _stop = StopAtEnd(&stop);
        for number in 0..500 {
            let topic = format!("confirmed/{number}");
            publisher.topic(&topic);
            subscriber.subscribe(&[&topic]);
            publisher.publish(&topic, b"at once");
            subscriber.expect_message(&topic, b"at once");
        }
    });
}

#[test]
fn unsubscribed_means_that_nothing_more_comes() {
    use laneway_proto::control::{Body, Control, Unsubscribe};
    for shards in [1, 2] {
        let broker = Launch::new(shards).start();
        let (mut subscriber, mut publisher) = pair(&broker, shards, broker.tcp());
        subscriber.subscribe(&["a", "b"]);
        let patterns = vec!["a".to_owned()];
        let answer = subscriber.request(|number| Control::request(number, Body::Unsubscribe(Unsubscribe { patterns })));
        assert_eq!(answer.code, 0, "{}", answer.text);
        publisher.publish("b", b"before");
        publisher.ping();
        subscriber.expect_message("b", b"before");
        publisher.publish("a", b"unwanted");
        publisher.publish("b", b"after");
        subscriber.expect_message("b", b"after");
    }
}

#[test]
fn the_command_line_prints_what_the_command_line_publishes() {
    let broker = Launch::new(2).start();
    for place in [broker.tcp(), broker.unix()] {
        let command = broker.laneway(place, &["sub", "sensors/#", "--count", "1", "--verbose"]);
        let mut subscriber = Process::spawn("laneway sub", command);
        subscriber.wait_for_stderr("subscribed\n");
        let publisher = run("laneway pub", broker.laneway(place, &["pub", "sensors/imu/x", "21.5"]));
        assert_eq!((publisher.code(), publisher.stderr.as_str()), (Some(0), ""));
        let subscriber = subscriber.finish();
        assert_eq!((subscriber.code(), subscriber.text().as_str()), (Some(0), "sensors/imu/x 21.5\n"));
    }
    let ping = run("laneway ping", broker.laneway(broker.tcp(), &["ping", "--count", "2", "--interval", "0"]));
    assert_eq!(ping.code(), Some(0), "{}", ping.stderr);
    assert_eq!(ping.text().lines().filter(|line| line.starts_with("pong from ")).count(), 2, "{}", ping.text());
}
