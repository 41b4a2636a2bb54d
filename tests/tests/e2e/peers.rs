//! Who is there and who is gone, and why: what real brokers tell on `$sys/peer/+` about real processes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use laneway_client::blocking::{Client, Subscription};
use laneway_client::{ConnectOptions, RequestError, StatValue, SubscribeOptions};
use laneway_proto::control::{Body, Control, Hello, Limits, PeerUpdate};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::ping::Ping;
use laneway_tests::real::frames::hello;
use laneway_tests::real::peer::{Event, Peer};
use laneway_tests::real::process::{GUARD, Process};
use laneway_tests::real::{Launch, RealBroker, laneway};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Somebody who is told of every peer.
struct Watcher {
    told: Subscription,
    _client: Client,
    /// The last that was said of each number.
    last: BTreeMap<u64, Value>,
}

impl Watcher {
    fn start(broker: &RealBroker) -> Self {
        let client = ConnectOptions::new().connect_blocking(&broker.tcp().url()).expect("a broker is there");
        let options = SubscribeOptions { retained: true, ..SubscribeOptions::default() };
        let told = client.subscribe_with(&["$sys/peer/+"], options).expect("subscribed");
        Self { told, _client: client, last: BTreeMap::new() }
    }

    fn next(&mut self) -> Value {
        let message = self.told.recv_timeout(GUARD).expect("connected").expect("something is told in time");
        let value: Value = serde_json::from_slice(&message.payload).expect("JSON");
        let number = value["peer"].as_u64().expect("a number");
        assert_eq!(*message.topic, format!("$sys/peer/{number}"));
        self.last.insert(number, value.clone());
        value
    }

    /// Waits until something is told that `wanted` accepts.
    fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + GUARD;
        loop {
            assert!(Instant::now() < until, "{what} is not told; the last of each: {:?}", self.last);
            let value = self.next();
            if wanted(&value) {
                return value;
            }
        }
    }

    fn expect_down(&mut self, number: &Value, reason: &str) {
        let value = self.wait_for(reason, |value| &value["peer"] == number && value["state"] == "down");
        assert_eq!(value["reason"], reason, "{value}");
    }
}

fn process_of(value: &Value, pid: u32) -> bool {
    value["address"].as_str().is_some_and(|address| address.ends_with(&format!("process {pid}")))
}

fn subscriber(broker: &RealBroker, watcher: &mut Watcher) -> (Process, Value) {
    let arguments = ["sub", "nothing/#", "--verbose"];
    let mut process = Process::spawn("laneway sub", laneway(&broker.unix().url(), &arguments));
    let pid = process.pid();
    let up = watcher.wait_for("a process", |value| process_of(value, pid) && value["state"] == "up");
    // From then on it says goodbye when it is told to end.
    process.wait_for_stderr("subscribed\n");
    assert_eq!(up["roles"], serde_json::json!(["client"]));
    (process, up["peer"].clone())
}

#[test]
fn a_process_that_exits_is_killed_or_hangs_is_told_with_its_reason() {
    for shards in [1, 2] {
        let broker = Launch::new(shards).start();
        let mut watcher = Watcher::start(&broker);
        let (clean, number) = subscriber(&broker, &mut watcher);
        clean.signal(Signal::SIGINT);
        watcher.expect_down(&number, "exit");
        let (killed, number) = subscriber(&broker, &mut watcher);
        killed.signal(Signal::SIGKILL);
        watcher.expect_down(&number, "killed");
        let (hung, number) = subscriber(&broker, &mut watcher);
        hung.signal(Signal::SIGSTOP);
        let since = Instant::now();
        watcher.expect_down(&number, "timeout");
        eprintln!("a stopped process was found after {:?}", since.elapsed());
        // Not before the time after which it takes itself for dead: what it says last was said up to a second before.
        assert!(since.elapsed() >= Duration::from_secs(8), "{:?} of silence are too few", since.elapsed());
        hung.signal(Signal::SIGCONT);
    }
}

fn watched(dead_after_ms: u32) -> Hello {
    Hello { limits: Some(Limits { dead_after_ms, ..Limits::default() }), ..hello() }
}

#[test]
fn who_is_silent_is_found_and_who_says_anything_is_not() {
    let broker = Launch::new(2).start();
    let mut watcher = Watcher::start(&broker);
    let mut up = |node: u8, dead_after_ms: u32| {
        let hello = Hello { node_id: vec![node; 16], ..watched(dead_after_ms) };
        let peer = Peer::knock(broker.tcp(), hello).expect("welcome");
        let named = format!("{node:02x}").repeat(16);
        let value = watcher.wait_for("a raw peer", |value| value["node"] == named.as_str() && value["state"] == "up");
        (peer, value["peer"].clone())
    };
    let (mut silent, silent_number) = up(0xA1, 400);
    let (mut talking, talking_number) = up(0xA2, 400);
    let (mut answering, answering_number) = up(0xA3, 400);
    let (_unwatched, unwatched_number) = up(0xA4, 0);
    let until = Instant::now() + Duration::from_secs(3);
    let mut number = 0;
    let mut asked = 0;
    while Instant::now() < until {
        number += 1;
        talking.send(&Ping { t0: number }.encode());
        if let Some(Event::Ping(t0)) = answering.event_within(Duration::from_millis(50)) {
            asked += 1;
            answering.pong(t0);
        }
    }
    assert!(asked >= 3, "somebody who is only told things is asked whether it is there; it was, {asked} times");
    watcher.expect_down(&silent_number, "timeout");
    let goodbye = silent.last_words();
    assert!(goodbye.iter().any(|event| matches!(event, Event::Ping(_))), "it was asked before: {goodbye:?}");
    for number in [talking_number, answering_number, unwatched_number] {
        let state = &watcher.last[&number.as_u64().expect("a number")]["state"];
        assert_eq!(state, "up", "peer {number}");
    }
}

#[test]
fn what_a_peer_tells_of_itself_reaches_everybody_once_and_late_comers_too() {
    for shards in [1, 2, 3] {
        let broker = Launch::new(shards).start();
        let mut watchers: Vec<Watcher> = (0..4).map(|_| Watcher::start(&broker)).collect();
        let peer = ConnectOptions::new()
            .metadata("rack", "7")
            .connect_blocking(&broker.unix().url())
            .expect("a broker is there");
        peer.update_metadata([("rack", "8")]).expect("told");
        peer.update_metadata([("rack", "8"), ("load", "high")]).expect("told");
        assert_eq!(peer.update_metadata([("k", "v".repeat(4_096))]), Err(RequestError::TooLarge(4_097)));
        peer.close().expect("closed");
        let mut number = Value::Null;
        for watcher in &mut watchers {
            let mine = |value: &Value| value["metadata"]["rack"].is_string();
            let first = watcher.wait_for("metadata", mine);
            let rest = [(); 3].map(|()| watcher.wait_for("metadata", mine));
            let told: Vec<_> = std::iter::once(&first).chain(&rest).map(|value| &value["version"]).collect();
            assert_eq!(told, [0, 1, 2, 2], "each version once, and then its end");
            assert_eq!(first["metadata"], serde_json::json!({"rack": "7"}));
            assert_eq!(rest[0]["metadata"], serde_json::json!({"rack": "8"}));
            assert_eq!(rest[1]["metadata"], serde_json::json!({"rack": "8", "load": "high"}));
            assert_eq!((&rest[2]["state"], &rest[2]["reason"]), (&"down".into(), &"exit".into()));
            number = first["peer"].clone();
        }
        let mut late = Watcher::start(&broker);
        let value = late.wait_for("the past", |value| value["peer"] == number);
        assert_eq!((&value["state"], &value["version"]), (&"down".into(), &2.into()), "the last that was known");
    }
}

#[test]
fn updates_that_are_old_or_too_large_change_nothing() {
    let broker = Launch::new(1).start();
    let mut watcher = Watcher::start(&broker);
    let node = vec![0xB1; 16];
    let mut peer = Peer::knock(broker.tcp(), Hello { node_id: node, ..hello() }).expect("welcome");
    let mut update = |version: u64, value: &str| {
        let metadata = [("k".to_owned(), value.to_owned())].into();
        let update = PeerUpdate { version, roles: vec!["arm".into()], metadata };
        peer.request(|number| Control::request(number, Body::PeerUpdate(update))).code
    };
    assert_eq!(update(5, "five"), CloseCode::Normal.number());
    assert_eq!(update(5, "again"), CloseCode::Normal.number());
    assert_eq!(update(4, "late"), CloseCode::Normal.number());
    assert_eq!(update(6, &"x".repeat(4_096)), CloseCode::Limit.number());
    assert_eq!(update(7, "seven"), CloseCode::Normal.number());
    let mine = |value: &Value| value["roles"] == serde_json::json!(["arm"]);
    let told = [(); 2].map(|()| watcher.wait_for("an update", mine));
    assert_eq!(told.each_ref().map(|value| value["metadata"]["k"].as_str()), [Some("five"), Some("seven")]);
}

#[test]
fn nobody_else_publishes_there_and_a_broker_can_be_told_to_tell_nothing() {
    let broker = Launch::new(1).config("[peers]\npresence = false").start();
    let client = ConnectOptions::new().connect_blocking(&broker.tcp().url()).expect("a broker is there");
    let mut told = client.subscribe("$sys/#").expect("subscribed");
    let other = ConnectOptions::new().connect_blocking(&broker.tcp().url()).expect("a broker is there");
    assert!(other.publish("$sys/peer/0", "forged").is_err());
    other.close().expect("closed");
    assert!(told.recv_timeout(Duration::from_millis(200)).expect("connected").is_none());
}

#[test]
fn the_end_of_every_connection_is_logged_with_peer_reason_duration_and_bytes() {
    let broker = Launch::new(1).log("debug").start();
    let mut peers: Vec<Peer> = (0..40).map(|_| Peer::open(broker.tcp())).collect();
    peers[0].publish("a", &[7; 1_000]);
    peers[0].ping();
    peers.into_iter().for_each(Peer::reset);
    let client = ConnectOptions::new().connect_blocking(&broker.unix().url()).expect("a broker is there");
    let number = |name: &str| match client.stats(name).expect("an answer").first().map(|stat| stat.value.clone()) {
        Some(StatValue::Number(number)) => number as usize,
        other => panic!("{name}: {other:?}"),
    };
    let until = Instant::now() + GUARD;
    while number("shard.0.connections") > 1 {
        assert!(Instant::now() < until, "40 connections are over");
        std::thread::sleep(Duration::from_millis(10));
    }
    let suppressed = number("shard.0.logs_suppressed");
    let ended = broker.stop();
    let lines: Vec<_> = ended.stderr.lines().filter(|line| line.contains("peer=\"127.0.0.1:")).collect();
    assert_eq!(lines.len() + suppressed, 40, "{}", ended.stderr);
    // A budget of one second may end and another begin in the middle.
    assert!(suppressed > 0 && lines.len() >= 20, "{} lines and {suppressed} that were not written", lines.len());
    for part in ["connection closed", "reason=", "ms=", "bytes_in=", "bytes_out="] {
        assert!(lines.iter().all(|line| line.contains(part)), "{part}: {lines:?}");
    }
}

#[test]
fn a_new_process_of_a_node_ends_the_sessions_of_the_one_before_it_on_every_shard() {
    let broker = Launch::new(2).start();
    let process = |epoch| Peer::knock(broker.tcp(), Hello { node_id: vec![9; 16], epoch, ..hello() }).expect("welcome");
    // Connections are spread over both shards.
    let mut before: Vec<Peer> = (0..3).map(|_| process(1)).collect();
    let other = Peer::knock(broker.tcp(), Hello { node_id: vec![8; 16], epoch: 1, ..hello() }).expect("welcome");
    let mut now = process(2);
    for peer in &mut before {
        let words = peer.last_words();
        let replaced = words
            .iter()
            .any(|word| matches!(word, Event::Goodbye(goodbye) if goodbye.code == CloseCode::Replaced.number()));
        assert!(replaced, "{words:?}");
    }
    now.subscribe(&["still/here"]);
    drop((now, other));
    let ended = broker.stop();
    assert_eq!(ended.closed("replaced"), 3, "{}", ended.stderr);
}
