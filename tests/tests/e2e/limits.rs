//! Every bound holds exactly: the last one within fits, the first one beyond is refused with a reason, and room that
//! becomes free is used again.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects; everything else fails it")]

use laneway_proto::control::{Answer, Hello, Reject};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::extensions::Src;
use laneway_proto::limits::TOPIC_ID_DYNAMIC_FIRST;
use laneway_tests::real::frames::{declare, fragments, hello, subscribe};
use laneway_tests::real::link::Place;
use laneway_tests::real::peer::{Event, LANE, Peer};
use laneway_tests::real::{Launch, RealBroker};

/// Tries until a session opens; connections that were closed may still be on their way out.
fn open_soon(place: &Place) -> Peer {
    loop {
        match Peer::knock(place, hello()) {
            Ok(peer) => return peer,
            Err(reject) => assert_eq!(code(&reject), CloseCode::Limit, "{}", reject.reason),
        }
    }
}

fn code(reject: &Reject) -> CloseCode {
    CloseCode::from_number(reject.code).expect("a known code")
}

fn answered(answer: &Answer) -> CloseCode {
    CloseCode::from_number(answer.code).expect("a known code")
}

/// Opens `count` sessions; returns those that were welcomed and the refusals.
fn knock_often(place: &Place, count: usize) -> (Vec<Peer>, Vec<Reject>) {
    let mut open = Vec::new();
    let mut refused = Vec::new();
    for _ in 0..count {
        match Peer::knock(place, hello()) {
            Ok(peer) => open.push(peer),
            Err(reject) => refused.push(reject),
        }
    }
    (open, refused)
}

fn goodbye_code(peer: &mut Peer) -> CloseCode {
    let words = peer.last_words();
    let [.., Event::Goodbye(goodbye), Event::Closed] = words.as_slice() else { panic!("no goodbye: {words:?}") };
    CloseCode::from_number(goodbye.code).expect("a known code")
}

#[test]
fn of_150_connections_100_are_up_and_50_are_refused_and_10_that_leave_make_room_for_10() {
    for shards in [1, 2] {
        let broker = Launch::new(shards).config("[limits]\nconnections_max = 100").start();
        let (mut open, refused) = knock_often(broker.tcp(), 150);
        assert_eq!((open.len(), refused.len()), (100, 50));
        for reject in &refused {
            assert_eq!(code(reject), CloseCode::Limit);
            assert!(reject.retry_after_ms > 0, "{}", reject.reason);
        }
        let on_last = open.iter().filter(|peer| peer.shard() == shards - 1).count();
        assert_eq!(on_last, 100 / shards as usize, "connections are spread evenly");
        open.truncate(90);
        open.extend((0..10).map(|_| open_soon(broker.tcp())));
        let (more, refused) = knock_often(broker.unix(), 1);
        assert_eq!((more.len(), refused.len()), (0, 1), "the bound counts all endpoints");
        let (more, refused) = knock_often(broker.unix(), 70);
        assert_eq!((more.len(), refused.len()), (0, 70), "a refusal that is over makes room for the next one");
        for peer in &mut open {
            peer.ping();
        }
        drop(open);
        let ended = broker.stop_idle();
        assert_eq!(ended.counted("welcomed"), 110, "{}", ended.stderr);
        assert_eq!(ended.closed("peer_left"), 110, "{}", ended.stderr);
    }
}

#[test]
fn beyond_the_refusals_at_a_time_connections_are_closed_at_once_and_counted() {
    let broker = Launch::new(1).config("[limits]\nconnections_max = 2").start();
    let inside = [Peer::open(broker.tcp()), Peer::open(broker.tcp())];
    // None of them speaks, so each refusal lasts.
    let mut outside: Vec<Peer> = (0..80).map(|_| Peer::dial(broker.tcp()).expect("the backlog")).collect();
    let closed = outside.split_off(64);
    for mut peer in closed {
        assert!(matches!(peer.last_words()[..], [Event::Closed | Event::Reset]));
    }
    drop((inside, outside));
    let ended = broker.stop_idle();
    assert_eq!(ended.counted("refused_at_once"), 16, "{}", ended.stderr);
    assert_eq!(ended.counted("accepted"), 82, "{}", ended.stderr);
}

#[test]
fn an_endpoint_has_a_bound_of_its_own() {
    let broker = Launch::new(2).endpoint_options("?connections_max=3", "?connections_max=1").start();
    let (tcp, tcp_refused) = knock_often(broker.tcp(), 4);
    let (unix, unix_refused) = knock_often(broker.unix(), 2);
    assert_eq!((tcp.len(), tcp_refused.len(), unix.len(), unix_refused.len()), (3, 1, 1, 1));
    drop(tcp);
    let (unix_more, _) = knock_often(broker.unix(), 1);
    assert_eq!(unix_more.len(), 0, "room at one endpoint is not room at the other");
    drop(unix);
    open_soon(broker.unix()).ping();
    open_soon(broker.tcp()).ping();
}

#[test]
fn a_session_declares_as_many_topics_as_it_was_told() {
    const TOPICS: u32 = 5;
    let broker = Launch::new(1).config("[limits]\nsession_topics_max = 5").start();
    for first_beyond in [TOPICS, TOPICS + 1, u32::MAX - TOPIC_ID_DYNAMIC_FIRST] {
        let mut peer = Peer::open(broker.tcp());
        for place in 0..TOPICS {
            let answer = peer.request(|number| declare(number, TOPIC_ID_DYNAMIC_FIRST + place, &format!("t/{place}")));
            assert_eq!(answered(&answer), CloseCode::Normal, "{}", answer.text);
        }
        peer.send(&declare(0, TOPIC_ID_DYNAMIC_FIRST + first_beyond, "one/more").to_frame());
        assert_eq!(goodbye_code(&mut peer), CloseCode::Forbidden, "an id that WELCOME did not allow");
    }
}

#[test]
fn the_broker_knows_as_many_topics_as_it_may_and_goes_on_with_those() {
    // What the broker publishes itself takes names, too.
    let config = "[limits]\ntopics_max = 6\nsession_topics_max = 4\n[peers]\npresence = false";
    let broker = Launch::new(2).config(config).start();
    let mut subscriber = Peer::open(broker.tcp());
    subscriber.subscribe(&["#"]);
    let mut sessions = [Peer::open(broker.tcp()), Peer::open(broker.tcp())];
    for (session, peer) in sessions.iter_mut().enumerate() {
        for place in 0..3 {
            let id = TOPIC_ID_DYNAMIC_FIRST + place;
            let answer = peer.request(|number| declare(number, id, &format!("{session}/{place}")));
            assert_eq!(answered(&answer), CloseCode::Normal, "{}", answer.text);
        }
    }
    let [first, second] = &mut sessions;
    let known = first.request(|number| declare(number, TOPIC_ID_DYNAMIC_FIRST + 3, "1/2"));
    assert_eq!(answered(&known), CloseCode::Normal, "a topic that is known already needs no room");
    let beyond = second.request(|number| declare(number, TOPIC_ID_DYNAMIC_FIRST + 3, "one/more"));
    assert_eq!(answered(&beyond), CloseCode::Limit, "{}", beyond.text);
    assert_eq!(goodbye_code(second), CloseCode::Limit);
    let id = TOPIC_ID_DYNAMIC_FIRST + 3;
    first.send(&laneway_tests::real::frames::publish(id, LANE, 1, b"still here"));
    subscriber.expect_message("1/2", b"still here");
}

#[test]
fn a_session_subscribes_as_often_as_it_was_told() {
    let broker = Launch::new(2).config("[limits]\nsession_subscriptions_max = 3").start();
    let mut peer = Peer::open(broker.tcp());
    peer.subscribe(&["a", "b"]);
    let beyond = peer.request(|number| subscribe(number, &["c", "d"]));
    assert_eq!(answered(&beyond), CloseCode::Limit, "{}", beyond.text);
    peer.subscribe(&["c"]);
    let beyond = peer.request(|number| subscribe(number, &["d"]));
    assert_eq!(answered(&beyond), CloseCode::Limit, "{}", beyond.text);
    let mut publisher = Peer::open(broker.tcp());
    for topic in ["d", "a", "b", "c"] {
        publisher.publish(topic, topic.as_bytes());
    }
    for topic in ["a", "b", "c"] {
        peer.expect_message(topic, topic.as_bytes());
    }
}

/// Publishes one message of `bytes`, in one frame or in fragments; says how that ended.
fn publish_once(broker: &RealBroker, bytes: usize) -> Result<(), CloseCode> {
    let mut subscriber = Peer::open(broker.tcp());
    subscriber.subscribe(&["size"]);
    let mut peer = Peer::open(broker.tcp());
    let id = peer.topic("size");
    let payload: Vec<u8> = (0..bytes).map(|place| place as u8).collect();
    peer.send(&fragments(id, LANE, Src { origin: 7, seq: 1 }, &payload));
    peer.send(&laneway_proto::frame::ping::Ping { t0: 5 }.encode());
    match peer.event() {
        Event::Pong(_) => {
            subscriber.expect_message("size", &payload);
            Ok(())
        }
        Event::Goodbye(goodbye) => Err(CloseCode::from_number(goodbye.code).expect("a known code")),
        other => panic!("neither taken nor refused: {other:?}"),
    }
}

#[test]
fn a_message_may_be_as_large_as_announced_and_not_a_byte_larger() {
    for limit in [1, 1_000, 16_384, 16_385, 100_000, 1_048_576, 3_000_000] {
        let broker = Launch::new(2).config(&format!("[limits]\nmessage_bytes_max = {limit}")).start();
        assert_eq!(publish_once(&broker, limit), Ok(()), "{limit} of {limit} bytes");
        assert_eq!(publish_once(&broker, limit + 1), Err(CloseCode::Limit), "{} of {limit} bytes", limit + 1);
        assert_eq!(publish_once(&broker, 0), Ok(()), "an empty message");
    }
}

#[test]
fn welcome_announces_the_limits_in_force() {
    let config = "[limits]\nmessage_bytes_max = 4096\nsession_topics_max = 7\nsession_subscriptions_max = 9";
    let broker = Launch::new(1).config(config).start();
    let mut peer = Peer::dial(broker.tcp()).expect("the broker listens");
    peer.send(&laneway_tests::real::frames::opening(Hello { nonce: 77, ..hello() }));
    assert_eq!(peer.event(), Event::Preface);
    let Event::Welcome(welcome) = peer.event() else { panic!("no WELCOME") };
    let limits = welcome.limits.clone().expect("limits");
    assert_eq!((limits.max_message, limits.max_topics, limits.max_subs), (4_096, 7, 9));
    assert_eq!((limits.max_frame, limits.frag_size), (65_535, 16_384));
    assert_eq!((welcome.version, welcome.nonce, welcome.node_id.len()), (1, 77, 16));
}
