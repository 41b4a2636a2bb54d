//! Bytes that no client of ours would send: each sender gets a clean end with a counted reason, and a well-behaved pair
//! beside them notices nothing.

use std::collections::BTreeMap;

use laneway_proto::control::{Body, Control, Unsubscribe};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::ping::Ping;
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::limits::TOPIC_ID_DYNAMIC_FIRST;
use laneway_proto::session::handshake::PREFACE;
use laneway_tests::real::frames::{batch, declare, header, hello, opening, publish, raw, subscribe};
use laneway_tests::real::link::Place;
use laneway_tests::real::peer::{Event, Peer};
use laneway_tests::real::process::Ended;
use laneway_tests::real::witness::Witness;
use laneway_tests::real::{Launch, RealBroker};

const MIB: usize = 1024 * 1024;
/// The first id a session may declare.
const ID: u32 = TOPIC_ID_DYNAMIC_FIRST;
/// Nothing else fits beside a topic of this many bytes in one control message.
const LONGEST_NAME: usize = 65_500;

/// Repeatable noise.
fn noise(mut seed: u64, bytes: usize) -> Vec<u8> {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// What a session's last words must be.
fn expect_goodbye(what: &str, words: &[Event], code: CloseCode) {
    let [.., Event::Goodbye(goodbye), Event::Closed] = words else {
        panic!("{what}: the broker should have said goodbye and closed, not {words:?}");
    };
    assert_eq!(CloseCode::from_number(goodbye.code), Some(code), "{what}: {}", goodbye.reason);
    assert!(!goodbye.reason.is_empty(), "{what}: a goodbye says why");
}

/// Compares what the broker counted with what was done to it; the witnesses left by themselves.
fn expect_counts(ended: &Ended, expected: &BTreeMap<&str, u64>) {
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    for (&reason, &count) in expected {
        assert_eq!(ended.closed(reason), count, "{reason}: {}", ended.stderr);
    }
    let all: u64 = expected.values().sum();
    assert_eq!(ended.closed_in_all(), all, "{}", ended.stderr);
    assert_eq!(ended.counted("accepted"), all, "every connection is accounted for: {}", ended.stderr);
}

fn places(broker: &RealBroker) -> [Place; 2] {
    [broker.tcp().clone(), broker.unix().clone()]
}

#[test]
fn what_does_not_open_with_our_preface_is_closed_without_an_answer() {
    let tls_hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &noise(1, 506)].concat();
    let strangers: [(&str, Vec<u8>); 7] = [
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".to_vec()),
        ("a TLS hello", tls_hello),
        ("an MQTT connect", b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id".to_vec()),
        ("1 MiB of random bytes", noise(42, MIB)),
        ("one wrong byte", vec![0]),
        ("a preface that goes wrong at its end", vec![0x8b, 0x4c, 0x42, 0x1b]),
        ("zeros", vec![0; 64]),
    ];
    let broker = Launch::new(2).start();
    let witness = Witness::beside(broker.unix());
    for place in places(&broker) {
        for (what, bytes) in &strangers {
            let mut peer = Peer::dial(&place).expect("the broker listens");
            // It may have closed before it was sent everything.
            let _ = peer.try_send(bytes);
            let words = peer.last_words();
            assert!(matches!(words[..], [Event::Closed | Event::Reset]), "{what}: {words:?}");
        }
    }
    assert!(witness.finish() > 0);
    let expected = BTreeMap::from([("malformed", 2 * strangers.len() as u64), ("peer_left", Witness::CONNECTIONS)]);
    expect_counts(&broker.stop_idle(), &expected);
}

/// Bytes behind a correct preface, instead of HELLO.
fn instead_of_hello() -> Vec<(&'static str, Vec<u8>, CloseCode)> {
    let short = Header { len: 15, ..header(Kind::CTRL, 0, 0) };
    vec![
        ("a length below a header's", short.encode().to_vec(), CloseCode::Malformed),
        ("a length of zero", vec![0; 16], CloseCode::Malformed),
        ("two bytes of a false length", vec![3, 0], CloseCode::Malformed),
        ("a control message that is none", raw(header(Kind::CTRL, 0, 0), &[0xff; 32]), CloseCode::Malformed),
        ("data", publish(ID, 1, 1, b"early"), CloseCode::OutOfTurn),
        ("a PING", Ping { t0: 1 }.encode().to_vec(), CloseCode::OutOfTurn),
        ("a subscription", subscribe(1, &["#"]).to_frame(), CloseCode::OutOfTurn),
        ("a kind from the future", raw(header(Kind(0x0f), 0, 0), b""), CloseCode::UnsupportedKind),
        // It reads as a frame of 19,595 bytes that may be skipped; what stands behind it may not.
        ("another preface", [&PREFACE[..], &[0; 20_000]].concat(), CloseCode::Malformed),
    ]
}

#[test]
fn what_comes_instead_of_hello_is_answered_with_goodbye() {
    let broker = Launch::new(2).start();
    let witness = Witness::beside(broker.tcp());
    let mut expected = BTreeMap::from([("peer_left", Witness::CONNECTIONS)]);
    for place in places(&broker) {
        for (what, bytes, code) in instead_of_hello() {
            let mut peer = Peer::dial(&place).expect("the broker listens");
            let _ = peer.try_send(&[&PREFACE, bytes.as_slice()].concat());
            let words = peer.last_words();
            assert_eq!(words.first(), Some(&Event::Preface), "{what}");
            expect_goodbye(what, &words, code);
            *expected.entry(code.name()).or_insert(0) += 1;
        }
    }
    assert!(witness.finish() > 0);
    expect_counts(&broker.stop_idle(), &expected);
}

/// Frames of an open session that end it. The id was declared.
fn after_welcome() -> Vec<(&'static str, Vec<u8>, CloseCode)> {
    let frag_without_source = raw(Header { flags: Flags::FRAG, ..header(Kind::PUB, ID, 1) }, &[0, 0, 2, 0, 9, 0, 0, 0]);
    let huge_fragment = {
        let flags = Flags::FRAG.with(Flags::SRC);
        let blocks = [0, 0, 0xff, 0xff, 0, 0, 0x20, 0, 1, 0, 0, 0, 1, 0, 0, 0];
        raw(Header { flags, ..header(Kind::PUB, ID, 1) }, &blocks)
    };
    let empty_batch = raw(header(Kind::BATCH, ID, 1), &[0, 0, 0, 0]);
    let lying_batch = raw(header(Kind::BATCH, ID, 1), &[255, 15, 0, 0, 0, 0]);
    let long_name = "x".repeat(LONGEST_NAME);
    let to_broker = declare(1, ID + 1, "$SYS/shards").to_frame();
    vec![
        ("a length below a header's", vec![5, 0, 1, 0], CloseCode::Malformed),
        ("1 MiB of zeros", vec![0; MIB], CloseCode::Malformed),
        ("data on the control lane", publish(ID, 0, 1, b"x"), CloseCode::Forbidden),
        ("data on lane 16", publish(ID, 16, 1, b"x"), CloseCode::Forbidden),
        ("an undeclared topic", publish(ID + 1, 1, 1, b"x"), CloseCode::Forbidden),
        ("topic 0", publish(0, 1, 1, b"x"), CloseCode::Forbidden),
        ("a batch on an undeclared topic", batch(ID + 9, 1, 1, &[vec![1]]), CloseCode::Forbidden),
        ("a topic that belongs to the broker", to_broker, CloseCode::Forbidden),
        ("a topic with a wildcard", declare(0, ID + 1, "a/+").to_frame(), CloseCode::Forbidden),
        ("a topic of 65,500 bytes", declare(1, ID + 1, &long_name).to_frame(), CloseCode::Forbidden),
        ("an id twice", declare(0, ID, "another/name").to_frame(), CloseCode::Forbidden),
        ("an id below the dynamic ones", declare(0, 7, "seven").to_frame(), CloseCode::Forbidden),
        ("an id far above", declare(0, u32::MAX, "last").to_frame(), CloseCode::Forbidden),
        ("a kind that may not be skipped", raw(header(Kind(0x0f), 0, 0), b""), CloseCode::UnsupportedKind),
        ("a second HELLO", Control::new(Body::Hello(hello())).to_frame(), CloseCode::OutOfTurn),
        ("extensions beyond the frame", raw(Header { flags: Flags::TS, ..header(Kind::PUB, ID, 1) }, b"1234"), {
            CloseCode::Malformed
        }),
        ("a fragment without a source", frag_without_source, CloseCode::Malformed),
        ("a fragment of 512 MiB", huge_fragment, CloseCode::Limit),
        ("a batch of nothing", empty_batch, CloseCode::Malformed),
        ("a batch that lies", lying_batch, CloseCode::Malformed),
        ("a PING without its time", raw(header(Kind::PING, 0, 0), b"abc"), CloseCode::Malformed),
        ("four bad control messages", raw(header(Kind::CTRL, 0, 0), &[0xff; 9]).repeat(4), CloseCode::Malformed),
    ]
}

#[test]
fn what_breaks_a_rule_in_a_session_is_answered_with_goodbye() {
    let broker = Launch::new(2).start();
    let witness = Witness::beside(broker.unix());
    let mut expected = BTreeMap::from([("peer_left", Witness::CONNECTIONS)]);
    for place in places(&broker) {
        for (what, bytes, code) in after_welcome() {
            let mut peer = Peer::open(&place);
            assert_eq!(peer.topic("hostile/but/declared"), ID);
            let _ = peer.try_send(&bytes);
            expect_goodbye(what, &peer.last_words(), code);
            *expected.entry(code.name()).or_insert(0) += 1;
        }
    }
    assert!(witness.finish() > 0);
    expect_counts(&broker.stop_idle(), &expected);
}

#[test]
fn random_bytes_in_a_session_end_it_whatever_they_are() {
    // Noise that happens to look like frames ends in the middle of one.
    let broker = Launch::new(2).config("[limits]\npartial_frame_ms_max = 200").start();
    let witness = Witness::beside(broker.tcp());
    let seeds = 1..=10u64;
    let sessions = seeds.clone().count() as u64;
    for seed in seeds {
        let mut peer = Peer::open(broker.tcp());
        let _ = peer.try_send(&noise(seed, MIB));
        let words = peer.last_words();
        let [.., Event::Goodbye(goodbye), Event::Closed] = words.as_slice() else {
            panic!("seed {seed}: {words:?}");
        };
        assert_ne!(CloseCode::from_number(goodbye.code), Some(CloseCode::Internal), "seed {seed}");
    }
    assert!(witness.finish() > 0);
    let ended = broker.stop_idle();
    assert_eq!(ended.closed_in_all(), sessions + Witness::CONNECTIONS, "{}", ended.stderr);
    assert_eq!(ended.closed("peer_left"), Witness::CONNECTIONS, "{}", ended.stderr);
}

/// Frames that a session survives.
fn harmless() -> Vec<(&'static str, Vec<u8>)> {
    let reserved = raw(Header { flags: Flags::RESERVED, ..header(Kind::PUB, ID, 1) }, b"x");
    let hops = raw(Header { hops: 8, ..header(Kind::PUB, ID, 1) }, b"x");
    // A message that says its topic has 65,535 bytes, which is more than there are.
    let name_beyond_the_frame = [&[0x52, 0x87, 0x80, 4, 0x0a, 0x83, 0x80, 4, 0x12, 0xff, 0xff, 3][..], b"abc"].concat();
    vec![
        ("a kind that may be skipped", raw(header(Kind(0x4f), 0, 0), &[7; 100])),
        ("a reserved flag", reserved),
        ("a frame that went too far", hops),
        ("padding", raw(header(Kind::PAD, 0, 0), &[0; 1_000])),
        ("an empty control message", raw(header(Kind::CTRL, 0, 0), b"")),
        ("a control message of the future", raw(header(Kind::CTRL, 0, 0), &[0xfa, 0x7f, 2, 9, 9])),
        ("three bad control messages", raw(header(Kind::CTRL, 0, 0), &[0xff; 9]).repeat(3)),
        ("a topic of 65,535 bytes in fewer", raw(header(Kind::CTRL, 0, 0), &name_beyond_the_frame)),
    ]
}

#[test]
fn what_may_be_skipped_is_skipped_and_the_session_lives() {
    let broker = Launch::new(1).start();
    let mut subscriber = Peer::open(broker.tcp());
    subscriber.subscribe(&["harmless"]);
    for (what, bytes) in harmless() {
        let mut peer = Peer::open(broker.tcp());
        assert_eq!(peer.topic("harmless"), ID);
        peer.send(&bytes);
        peer.publish("harmless", what.as_bytes());
        peer.ping();
        subscriber.expect_message("harmless", what.as_bytes());
    }
    // Requests that cannot be met are answered, and nothing else happens.
    let long_filter = "x".repeat(LONGEST_NAME);
    for filter in ["", "a/#/b", "a+", &long_filter] {
        let answer = subscriber.request(|number| subscribe(number, &[filter]));
        assert_eq!(CloseCode::from_number(answer.code), Some(CloseCode::Forbidden), "a filter like {:.9}", filter);
    }
    let unknown = Unsubscribe { patterns: vec!["never/subscribed".into()] };
    let answer = subscriber.request(|number| Control::request(number, Body::Unsubscribe(unknown)));
    assert_eq!(CloseCode::from_number(answer.code), Some(CloseCode::Forbidden), "{}", answer.text);
    drop(subscriber);
    let ended = broker.stop_idle();
    assert_eq!(ended.closed("peer_left"), ended.closed_in_all(), "{}", ended.stderr);
}

#[test]
fn a_session_cut_into_single_bytes_works() {
    let broker = Launch::new(2).start();
    let mut subscriber = Peer::open(broker.tcp());
    subscriber.subscribe(&["#"]);
    for place in places(&broker) {
        let mut peer = Peer::dial(&place).expect("the broker listens");
        let script = [opening(hello()), declare(0, ID, "a").to_frame(), publish(ID, 1, 1, &noise(3, 100))].concat();
        for byte in script {
            peer.send(&[byte]);
        }
        subscriber.expect_message("a", &noise(3, 100));
    }
}
