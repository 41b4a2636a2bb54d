//! A whole session on a virtual clock.

use super::*;
use bytes::Buf as _;
use laneway_proto::control::{Body, Control, Limits, Welcome};
use laneway_proto::control::{DeclareTopics, Topic};
use laneway_proto::frame::credit::{LaneTotal, decode};
use laneway_proto::frame::extensions::{Frag, Src};
use laneway_proto::frame::ping::{Ping, Pong};
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::limits::HEADER_BYTES;
use laneway_proto::session::handshake::{PREFACE, feature};
use laneway_proto::time::Duration;

const IDENTITY: Identity = Identity { node_id: [7; 16], epoch: 1, nonce: 2, origin: 3 };

fn at(ms: u32) -> Instant {
    Instant(0) + Duration::from_millis(ms)
}

fn sent(core: &mut Core) -> Vec<u8> {
    let mut transmit = Transmit::default();
    core.poll_transmit(&mut transmit);
    let count = transmit.remaining();
    transmit.copy_to_bytes(count).to_vec()
}

fn open(limits: Limits) -> Core {
    let mut core = Core::new(at(0), &CoreOptions::new(IDENTITY));
    sent(&mut core);
    let welcome = Welcome { version: 1, limits: Some(limits), ..Welcome::default() };
    core.on_bytes(at(0), &[&PREFACE[..], &Control::new(Body::Welcome(welcome)).to_frame()].concat()).expect("agreed");
    assert!(matches!(core.poll_event(at(0)), Some(Event::Welcomed(_))));
    core
}

fn pong_to(bytes: &[u8]) -> [u8; 40] {
    let ping = Ping::decode(&bytes[HEADER_BYTES..]).expect("a ping");
    Pong { t0: ping.t0, t1: 0, t2: 0 }.encode()
}

#[test]
fn a_broker_that_answers_lives_for_ever_and_nobody_hears_of_the_questions() {
    let mut core = open(Limits::default());
    for _ in 0..100 {
        let now = core.poll_timeout().expect("a time");
        core.on_timeout(now).expect("alive");
        let ping = sent(&mut core);
        if !ping.is_empty() {
            core.on_bytes(now + Duration::from_millis(5), &pong_to(&ping)).expect("a pong");
            assert_eq!(core.poll_event(now), None);
        }
    }
}

#[test]
fn a_broker_that_falls_silent_is_dead_at_exactly_the_time_it_announced() {
    let mut core = open(Limits { keepalive_ms: 200, dead_after_ms: 900, ..Limits::default() });
    let mut asked = Vec::new();
    let (died, lost) = loop {
        let now = core.poll_timeout().expect("a time");
        match core.on_timeout(now) {
            Ok(()) if sent(&mut core).is_empty() => {}
            Ok(()) => asked.push(now),
            Err(lost) => break (now, lost),
        }
    };
    assert_eq!((asked, died), (vec![at(200)], at(900)));
    assert_eq!(lost, Lost::Silent(std::time::Duration::from_millis(900)));
    assert!(lost.retryable());
}

#[test]
fn a_message_is_unconfirmed_until_the_watch_has_its_answer() {
    let mut core = open(Limits::default());
    core.publish("a", "x").expect("taken");
    sent(&mut core);
    assert_eq!(core.unconfirmed(), 1);
    core.on_timeout(at(1_000)).expect("alive");
    let ping = sent(&mut core);
    core.on_bytes(at(1_001), &pong_to(&ping)).expect("a pong");
    assert_eq!((core.poll_event(at(1_001)), core.unconfirmed()), (None, 0));
}

#[test]
fn without_keepalive_silence_means_nothing() {
    let options = CoreOptions { keepalive: None, ..CoreOptions::new(IDENTITY) };
    let mut core = Core::new(at(0), &options);
    let welcome = Control::new(Body::Welcome(Welcome { version: 1, ..Welcome::default() })).to_frame();
    core.on_bytes(at(0), &[&PREFACE[..], &welcome].concat()).expect("agreed");
    assert_eq!(core.poll_timeout(), None);
}

#[test]
fn a_slow_answer_is_waited_for_and_nobody_asks_twice() {
    let mut core = open(Limits { keepalive_ms: 1_000, ..Limits::default() });
    core.publish("a", "x").expect("taken");
    sent(&mut core);
    core.on_timeout(at(1_000)).expect("alive");
    let ping = sent(&mut core);
    let pad = Header::new(Kind::PAD, 0).encode();
    core.on_bytes(at(1_500), &pad).expect("a sign of life");
    core.on_timeout(at(2_500)).expect("alive");
    assert!(sent(&mut core).is_empty(), "the first PONG is still owed");
    core.on_bytes(at(2_600), &pong_to(&ping)).expect("a pong");
    assert_eq!((core.poll_event(at(2_600)), core.unconfirmed()), (None, 0));
    core.publish("a", "y").expect("taken");
    sent(&mut core);
    core.on_timeout(at(3_600)).expect("alive");
    assert!(!sent(&mut core).is_empty(), "the next question");
    let lost = (3_601..9_000).find_map(|ms| core.on_timeout(at(ms)).err().map(|lost| (ms, lost)));
    assert!(matches!(lost, Some((5_600, Lost::Silent(_)))), "{lost:?}");
}

/// A session with room for 1,000 bytes on each lane, subscribed to everything, that knows topic 70,000.
fn with_credit(features: u64) -> (Core, SubscriptionId) {
    let mut core = Core::new(at(0), &CoreOptions { lane_credit_bytes: 1_000, ..CoreOptions::new(IDENTITY) });
    sent(&mut core);
    let welcome = Welcome { version: 1, features, ..Welcome::default() };
    let topic = Topic { id: 70_000, name: "a".into(), ..Topic::default() };
    let declare = Body::DeclareTopics(DeclareTopics { topics: vec![topic] });
    let said = [PREFACE.to_vec(), Control::new(Body::Welcome(welcome)).to_frame(), Control::new(declare).to_frame()];
    core.on_bytes(at(0), &said.concat()).expect("agreed");
    while core.poll_event(at(0)).is_some() {}
    let id = core.subscribe(&["#"]).expect("valid");
    sent(&mut core);
    (core, id)
}

fn data(lane: u8, seq: u32, flags: Flags, body: &[u8]) -> Vec<u8> {
    let header = Header { lane, seq, flags, topic: 70_000, ..Header::new(Kind::PUB, body.len()) };
    [&header.encode()[..], body].concat()
}

fn credits(core: &mut Core) -> Vec<LaneTotal> {
    let bytes = sent(core);
    if bytes.is_empty() { Vec::new() } else { decode(&bytes[HEADER_BYTES..]).expect("a CREDIT").collect() }
}

#[test]
fn what_the_application_takes_makes_room_on_its_lane_and_what_it_leaves_does_not() {
    let (mut core, id) = with_credit(feature::CREDIT);
    for lane in [1, 5] {
        for seq in 1..=5 {
            core.on_bytes(at(1), &data(lane, seq, Flags::default(), &[0; 184])).expect("within the credit");
        }
    }
    assert_eq!(credits(&mut core), []);
    let mut inbox = Inbox::default();
    core.take_messages(id, &mut inbox);
    (0..3).for_each(|_| drop(inbox.pop()));
    assert_eq!(credits(&mut core), [LaneTotal { lane: 1, total: 1_600 }]);
    core.on_bytes(at(2), &data(1, 6, Flags::default(), &[0; 184])).expect("within the credit");
    let fault = core.on_bytes(at(2), &data(5, 6, Flags::default(), b""));
    assert_eq!(fault, Err(PeerFault::FlowControl), "nobody took anything of lane 5");
}

#[test]
fn a_message_larger_than_the_credit_arrives_in_fragments_and_takes_room_until_it_is_taken() {
    let (mut core, id) = with_credit(feature::CREDIT);
    let mut granted = 1_000;
    for index in 0..5u16 {
        let frag = Frag { index, count: 5, total_len: 4_000 };
        let body = [&frag.encode()[..], &Src { origin: 1, seq: 1 }.encode(), &[0; 800]].concat();
        core.on_bytes(at(1), &data(5, 1, Flags::FRAG.with(Flags::SRC), &body)).expect("within the credit");
        granted += 832;
        let expected = [LaneTotal { lane: 5, total: granted }];
        assert_eq!(credits(&mut core), if index < 4 { &expected[..] } else { &[] }, "fragment {index}");
    }
    let mut inbox = Inbox::default();
    core.take_messages(id, &mut inbox);
    assert_eq!(inbox.pop().map(|message| message.payload.len()), Some(4_000));
    assert_eq!(credits(&mut core), [LaneTotal { lane: 5, total: granted }]);
}

#[test]
fn a_broker_that_knows_no_credit_is_not_held_to_any() {
    let (mut core, _) = with_credit(0);
    for seq in 1..=20 {
        core.on_bytes(at(1), &data(1, seq, Flags::default(), &[0; 184])).expect("as it likes");
    }
    assert_eq!(credits(&mut core), []);
}
