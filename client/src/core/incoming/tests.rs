//! What arrives, fed as bytes written by hand or by the protocol crate's own encoders.

use super::*;
use crate::item::Item;
use laneway_proto::control::{DeclareTopics, Goodbye, Limits, Reject, Topic, Welcome};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::extensions::{Frag, Src};
use laneway_proto::frame::lost::LossReason;
use laneway_proto::header::Flags;
use laneway_proto::session::handshake::PREFACE;
use laneway_proto::time::Duration;

const NOW: Instant = Instant(1_000_000);

fn control(body: Body) -> Vec<u8> {
    Control::new(body).to_frame()
}

fn welcome() -> Vec<u8> {
    let limits = Limits { max_message: 50, ..Limits::default() };
    control(Body::Welcome(Welcome { version: 1, limits: Some(limits), ..Welcome::default() }))
}

fn declare(id: u32, name: &str) -> Vec<u8> {
    let topic = Topic { id, name: name.into(), ..Topic::default() };
    control(Body::DeclareTopics(DeclareTopics { topics: vec![topic] }))
}

fn frame(kind: Kind, flags: Flags, topic: u32, seq: u32, body: &[u8]) -> Vec<u8> {
    let header = Header { flags, topic, lane: 1, seq, ..Header::new(kind, body.len()) };
    [&header.encode()[..], body].concat()
}

fn message(topic: u32, seq: u32, payload: &[u8]) -> Vec<u8> {
    frame(Kind::PUB, Flags(0), topic, seq, payload)
}

fn fragment(topic: u32, origin: u32, seq: u32, (index, count): (u16, u16), total: u32, payload: &[u8]) -> Vec<u8> {
    let frag = Frag { index, count, total_len: total }.encode();
    let src = Src { origin, seq }.encode();
    frame(Kind::PUB, Flags::FRAG.with(Flags::SRC), topic, seq, &[&frag, &src, payload].concat())
}

fn feed(incoming: &mut Incoming, bytes: &[u8]) -> Result<(), PeerFault> {
    incoming.on_bytes(NOW, &mut BytesMut::from(bytes))
}

/// A session past its handshake, with a subscription to `a/#`.
fn subscribed() -> (Incoming, SubscriptionId) {
    let mut incoming = Incoming::new(NOW, Patience::default()).keepalive(None);
    feed(&mut incoming, &[&PREFACE[..], &welcome()].concat()).expect("handshake");
    let (id, requests) = incoming.subscribe(&["a/#"]).expect("valid");
    feed(&mut incoming, &Control::answer(requests[0].id, CloseCode::Normal, "").to_frame()).expect("answer");
    assert!(matches!(incoming.poll_event(), Some(Event::Welcomed(_))));
    assert_eq!(incoming.poll_event(), Some(Event::Subscribed(id)));
    assert_eq!(incoming.poll_event(), None);
    (incoming, id)
}

fn payloads(incoming: &mut Incoming, id: SubscriptionId) -> Vec<(String, u32, Vec<u8>)> {
    let mut inbox = Inbox::default();
    incoming.take_messages(id, &mut inbox);
    std::iter::from_fn(|| inbox.pop())
        .map(|message| (message.topic.to_string(), message.seq, message.payload.to_vec()))
        .collect()
}

#[test]
fn messages_reach_the_subscription_however_the_bytes_are_split() {
    let stream = [
        declare(5, "a/x"),
        message(5, 1, b"one"),
        frame(Kind::BATCH, Flags(0), 5, 2, &[2, 0, 0, 0, 1, 0, b'2', 0, 0]),
        declare(6, "a/y"),
        message(6, 4, b"four"),
        fragment(5, 9, 5, (0, 2), 4, b"fi"),
        message(6, 6, b"six"),
        fragment(5, 9, 5, (1, 2), 4, b"ve"),
    ]
    .concat();
    let expected: [(&str, u32, &[u8]); 6] = [
        ("a/x", 1, b"one"),
        ("a/x", 2, b"2"),
        ("a/x", 3, b""),
        ("a/y", 4, b"four"),
        ("a/y", 6, b"six"),
        ("a/x", 5, b"five"),
    ];
    let expected = expected.map(|(topic, seq, payload)| (topic.to_owned(), seq, payload.to_vec()));
    for step in (1..=stream.len()).step_by(7) {
        let (mut incoming, id) = subscribed();
        let mut buffer = BytesMut::new();
        let mut got = Vec::new();
        for piece in stream.chunks(step) {
            buffer.extend_from_slice(piece);
            incoming.on_bytes(NOW, &mut buffer).expect("valid");
            got.extend(payloads(&mut incoming, id));
        }
        assert_eq!(got, expected, "{step} bytes at a time");
    }
}

#[test]
fn neighbours_of_different_topics_keep_their_own() {
    let (mut incoming, id) = subscribed();
    let messages = [message(5, 1, b"x"), message(6, 2, b"y"), message(6, 3, b"z"), message(5, 4, b"w")];
    feed(&mut incoming, &[declare(5, "a/x"), declare(6, "a/y"), messages.concat()].concat()).expect("valid");
    let topics: Vec<_> = payloads(&mut incoming, id).into_iter().map(|(topic, seq, _)| (topic, seq)).collect();
    let expected = [("a/x", 1), ("a/y", 2), ("a/y", 3), ("a/x", 4)];
    assert_eq!(topics, expected.map(|(topic, seq)| (topic.to_owned(), seq)));
}

#[test]
fn payloads_are_slices_of_the_receive_buffer() {
    let (mut incoming, id) = subscribed();
    let mut buffer = BytesMut::from(&[declare(5, "a/x"), message(5, 1, b"payload")].concat()[..]);
    let place = buffer.as_ptr() as usize + buffer.len() - 7;
    incoming.on_bytes(NOW, &mut buffer).expect("valid");
    let mut inbox = Inbox::default();
    incoming.take_messages(id, &mut inbox);
    let message = inbox.pop().expect("one");
    assert_eq!((&message.payload[..], message.payload.as_ptr() as usize), (&b"payload"[..], place));
    assert_eq!((message.lane, message.ts_ns), (Lane::COMMAND, None));
}

#[test]
fn owners_are_told_once_until_they_take() {
    let (mut incoming, id) = subscribed();
    feed(&mut incoming, &[declare(5, "a/x"), message(5, 1, b""), message(5, 2, b"")].concat()).expect("valid");
    feed(&mut incoming, &message(5, 3, b"")).expect("valid");
    assert_eq!((incoming.poll_event(), incoming.poll_event()), (Some(Event::Messages(id)), None));
    assert_eq!(payloads(&mut incoming, id).len(), 3);
    feed(&mut incoming, &message(5, 4, b"")).expect("valid");
    assert_eq!(incoming.poll_event(), Some(Event::Messages(id)));
}

#[test]
fn local_subscriptions_that_overlap_each_get_the_message() {
    let (mut incoming, first) = subscribed();
    feed(&mut incoming, &declare(5, "a/x")).expect("valid");
    let (second, _) = incoming.subscribe(&["+/x"]).expect("valid");
    feed(&mut incoming, &message(5, 1, b"m")).expect("valid");
    assert_eq!(payloads(&mut incoming, first), payloads(&mut incoming, second));
    assert_eq!(incoming.unsubscribe(first).len(), 1);
    feed(&mut incoming, &message(5, 2, b"m")).expect("valid");
    assert_eq!(payloads(&mut incoming, second).len(), 1);
    incoming.unsubscribe(second);
    feed(&mut incoming, &message(5, 3, b"m")).expect("still in flight");
    assert_eq!(incoming.counts().messages_unwanted, 1);
}

#[test]
fn time_stamps_arrive_and_unknown_critical_extensions_drop_the_frame() {
    let (mut incoming, id) = subscribed();
    feed(&mut incoming, &declare(5, "a/x")).expect("valid");
    let stamped = frame(Kind::PUB, Flags::TS, 5, 1, &[1, 2, 0, 0, 0, 0, 0, 0, b'p']);
    let critical = frame(Kind::PUB, Flags::XHDR, 5, 2, &[4, 0, 0x81, 0, b'p']);
    let optional = frame(Kind::PUB, Flags::XHDR, 5, 3, &[4, 0, 0x01, 0, b'q']);
    feed(&mut incoming, &[stamped, critical, optional].concat()).expect("valid");
    let mut inbox = Inbox::default();
    incoming.take_messages(id, &mut inbox);
    let first = inbox.pop().expect("stamped");
    assert_eq!((first.ts_ns, &first.payload[..]), (Some(0x0201), &b"p"[..]));
    assert_eq!(inbox.pop().map(|message| message.payload), Some(Bytes::from_static(b"q")));
    assert_eq!((inbox.pop(), incoming.counts().frames_rejected), (None, 1));
}

#[test]
fn each_broken_rule_of_the_broker_has_its_fault() {
    let fault = |bytes: Vec<u8>| {
        let (mut incoming, _) = subscribed();
        feed(&mut incoming, &declare(5, "a/x")).expect("valid");
        feed(&mut incoming, &bytes).expect_err("a fault")
    };
    assert_eq!(fault(message(6, 1, b"")), PeerFault::TopicUndeclared);
    assert_eq!(fault(declare(5, "other")), PeerFault::TopicIdInvalid);
    let malformed = PeerFault::Decode(DecodeError::BodyMalformed);
    assert_eq!(fault(frame(Kind::BATCH, Flags(0), 5, 1, &[2, 0, 0, 0, 1, 0, b'a', 9, 0])), malformed);
    assert_eq!(fault(frame(Kind::PUB, Flags::FRAG, 5, 1, &[0, 0, 2, 0, 4, 0, 0, 0])), PeerFault::FragmentInvalid);
    assert_eq!(fault(fragment(5, 1, 1, (0, 2), 51, b"x")), PeerFault::MessageTooLarge);
    assert_eq!(fault(welcome()), PeerFault::OutOfTurn);
    assert_eq!(fault(vec![3, 0]), PeerFault::Decode(DecodeError::LengthTooSmall));
}

#[test]
fn what_came_before_a_fault_is_delivered() {
    let (mut incoming, id) = subscribed();
    let bytes = [declare(5, "a/x"), message(5, 1, b"good"), declare(5, "other")].concat();
    assert!(feed(&mut incoming, &bytes).is_err());
    assert_eq!(payloads(&mut incoming, id).len(), 1);
}

#[test]
fn the_handshake_accepts_welcome_or_reject_and_nothing_else() {
    let begun = |bytes: &[u8]| {
        let mut incoming = Incoming::new(NOW, Patience::default());
        feed(&mut incoming, bytes).map(|()| incoming.poll_event())
    };
    let after_preface = |frame: Vec<u8>| begun(&[&PREFACE[..], &frame].concat());
    let reject = Reject { code: 10, reason: "another network".into(), ..Reject::default() };
    let reason = Reason::new(10, "another network".into());
    let rejected = Event::Rejected { reason, version_min: 0, version_max: 0, retry_after_ms: 0 };
    assert_eq!(after_preface(control(Body::Reject(reject))), Ok(Some(rejected)));
    assert_eq!(begun(b"HTTP/1.1 400"), Err(PeerFault::Decode(DecodeError::NotLaneway)));
    assert_eq!(begun(b"\x8bX"), Err(PeerFault::Decode(DecodeError::NotLaneway)), "at the first wrong byte");
    assert_eq!(begun(b"\x8bL"), Ok(None));
    assert_eq!(after_preface(declare(5, "a")), Err(PeerFault::OutOfTurn));
    assert_eq!(after_preface(message(5, 1, b"")), Err(PeerFault::DataBeforeWelcome));
    let newer = control(Body::Welcome(Welcome { version: 2, ..Welcome::default() }));
    assert_eq!(after_preface(newer), Err(PeerFault::VersionUnsupported));
}

#[test]
fn goodbye_pings_and_pongs_are_reported() {
    let (mut incoming, _) = subscribed();
    let goodbye = Goodbye { code: 1, reason: "drain".into(), drain_ms: 0 };
    let pong = Pong { t0: 400_000, t1: 0, t2: 0 }.encode();
    let stream = [&Ping { t0: 7 }.encode()[..], &pong, &control(Body::Goodbye(goodbye))].concat();
    feed(&mut incoming, &stream).expect("valid");
    assert_eq!(incoming.poll_event(), Some(Event::Pinged(7)));
    assert_eq!(incoming.poll_event(), Some(Event::Pong { token: 400_000, rtt: Duration(600_000), own: false }));
    assert_eq!(incoming.poll_event(), Some(Event::Goodbye(Reason::new(1, "drain".into()))));
}

#[test]
fn an_incomplete_frame_becomes_overdue_but_a_new_one_has_its_own_time() {
    let (mut incoming, _) = subscribed();
    let second = Duration::from_millis(1_000);
    let frames = [declare(5, "a/x"), message(5, 1, b"0123456789")].concat();
    let mut buffer = BytesMut::from(&frames[..frames.len() - 1]);
    incoming.on_bytes(NOW, &mut buffer).expect("valid");
    let first = incoming.poll_timeout().expect("a deadline");
    buffer.extend_from_slice(&frames[frames.len() - 1..]);
    buffer.extend_from_slice(&frames[..3]);
    incoming.on_bytes(NOW + second, &mut buffer).expect("valid");
    let later = incoming.poll_timeout().expect("a deadline");
    assert_eq!(later, first + second);
    assert_eq!(incoming.on_timeout(first, false), Ok(Alarm::Nothing));
    assert_eq!(incoming.on_timeout(later, false), Err(Lost::Fault(PeerFault::PartialFrameTimeout)));
}

#[test]
fn a_broker_that_never_answers_is_overdue() {
    let mut incoming = Incoming::new(NOW, Patience::default());
    let deadline = incoming.poll_timeout().expect("a deadline");
    assert_eq!(incoming.on_timeout(deadline, false), Err(Lost::Fault(PeerFault::HandshakeTimeout)));
}

#[test]
fn on_a_new_link_subscriptions_are_asked_for_again_and_the_old_brokers_names_mean_nothing() {
    let (mut incoming, id) = subscribed();
    let before = [declare(5, "a/x"), message(5, 1, b"before"), fragment(5, 9, 2, (0, 2), 4, b"ab")].concat();
    feed(&mut incoming, &before).expect("valid");
    let mut fresh = Incoming::new(NOW, Patience::default());
    feed(&mut fresh, &[&PREFACE[..], &welcome()].concat()).expect("handshake");
    assert!(matches!(fresh.poll_event(), Some(Event::Welcomed(_))));
    let requests = incoming.adopt(fresh);
    assert_eq!(requests.len(), 1);
    assert_eq!(incoming.counts().messages_given_up, 1, "its rest will not come");
    let after = [
        Control::answer(requests[0].id, CloseCode::Normal, "").to_frame(),
        declare(5, "a/another"),
        message(5, 1, b"after"),
    ];
    feed(&mut incoming, &after.concat()).expect("the id belongs to another topic now");
    let expected = [("a/x", "before"), ("a/another", "after")];
    assert_eq!(payloads(&mut incoming, id), expected.map(|(topic, text)| (topic.to_owned(), 1, text.into())));
    assert_eq!(incoming.poll_event(), Some(Event::Messages(id)));
    assert_eq!(incoming.poll_event(), Some(Event::Subscribed(id)));
    assert_eq!(feed(&mut incoming, &message(6, 1, b"")), Err(PeerFault::TopicUndeclared));
}

fn lost(topic: u32, reason: LossReason, count: u32) -> Vec<u8> {
    lost::Lost { topic, lane: 4, reason, first: 0, count }.encode().to_vec()
}

fn items(incoming: &mut Incoming, id: SubscriptionId) -> Vec<Item> {
    let mut inbox = Inbox::default();
    incoming.take_messages(id, &mut inbox);
    std::iter::from_fn(|| inbox.pop_item()).collect()
}

#[test]
fn a_loss_is_reported_in_its_place_to_whoever_wants_the_topic() {
    let (mut incoming, id) = subscribed();
    let (other, _) = incoming.subscribe(&["b"]).expect("valid");
    let stream = [
        declare(5, "a/x"),
        message(5, 1, b""),
        lost(5, LossReason::Overflow, 7),
        message(5, 9, b""),
        lost(0, LossReason::Ttl, 2),
    ];
    feed(&mut incoming, &stream.concat()).expect("valid");
    let told = items(&mut incoming, id);
    let report = |item: &Item| match item {
        Item::Message(message) => (Some(message.topic.to_string()), None, message.seq),
        Item::Lost(report) => (report.topic.as_ref().map(ToString::to_string), Some(report.reason), report.messages),
    };
    let topic = Some("a/x".to_owned());
    let mixed = (None, Some(LossReason::Ttl), 2);
    let expected =
        [(topic.clone(), None, 1), (topic.clone(), Some(LossReason::Overflow), 7), (topic, None, 9), mixed.clone()];
    assert_eq!(told.iter().map(report).collect::<Vec<_>>(), expected);
    assert_eq!(items(&mut incoming, other).iter().map(report).collect::<Vec<_>>(), [mixed]);
    assert_eq!(incoming.counts().messages_lost, 9);
    assert_eq!(incoming.poll_event(), Some(Event::Messages(id)));
    assert_eq!(incoming.poll_event(), Some(Event::Messages(other)));
}

#[test]
fn who_asks_for_messages_only_finds_the_losses_counted() {
    let (mut incoming, id) = subscribed();
    let stream = [declare(5, "a/x"), lost(5, LossReason::Overflow, 7), message(5, 8, b""), lost(5, LossReason::Ttl, 1)];
    feed(&mut incoming, &stream.concat()).expect("valid");
    let mut inbox = Inbox::default();
    incoming.take_messages(id, &mut inbox);
    assert_eq!((inbox.len(), inbox.lost_messages()), (1, 0));
    assert_eq!(inbox.pop().map(|message| message.seq), Some(8));
    assert_eq!((inbox.is_empty(), inbox.lost_messages()), (false, 7), "one report is left");
    assert_eq!((inbox.pop(), inbox.is_empty(), inbox.bytes()), (None, true, 0));
    feed(&mut incoming, &lost(5, LossReason::Ttl, 2)).expect("valid");
    incoming.take_messages(id, &mut inbox);
    assert_eq!((inbox.pop(), inbox.lost_messages()), (None, 10), "the count goes on");
}

#[test]
fn a_loss_of_an_undeclared_topic_or_of_nothing_is_the_brokers_fault() {
    let fault = |bytes: Vec<u8>| feed(&mut subscribed().0, &bytes).expect_err("a fault");
    assert_eq!(fault(lost(6, LossReason::Ttl, 1)), PeerFault::TopicUndeclared);
    let mut nothing = lost(0, LossReason::Ttl, 1);
    nothing[24] = 0;
    assert_eq!(fault(nothing), PeerFault::Decode(DecodeError::BodyMalformed));
}
