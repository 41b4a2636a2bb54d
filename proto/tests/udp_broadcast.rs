//! One to all: several ends of a broadcast link, each with an owner that speaks in a stream of frames, and what each of them
//! hears.
#![cfg(feature = "control")]

pub mod broadcast;

use broadcast::{BROKER, Node, deliver};
use laneway_proto::datagram::broadcast::Broadcast;
use laneway_proto::datagram::header::{DatagramHeader, Form};
use laneway_proto::datagram::interest::{Interest, topic_tag};
use laneway_proto::frame::extensions::Extensions;
use laneway_proto::header::{Header, Kind};
use laneway_proto::time::Instant;

/// Lanes of the standard table.
const COMMAND: u8 = 1;
const EVENT: u8 = 2;
const STATE: u8 = 3;
const STREAM: u8 = 4;

#[test]
fn each_hears_what_it_asked_for_and_nothing_of_its_own() {
    let mut nodes = [Node::client(1), Node::client(2), Node::client(3)];
    nodes[1].subscribe(&["a/#"]);
    nodes[2].subscribe(&["a/b", "c"]);
    nodes[0].subscribe(&["#"]);
    for topic in ["a/b", "a/c", "c", "d"] {
        nodes[0].publish(topic, STREAM, topic.as_bytes());
    }
    let datagrams = nodes[0].datagrams();
    assert_eq!(datagrams.len(), 4, "one for each topic, whoever listens");
    deliver(&datagrams, &mut nodes);
    assert_eq!(nodes[0].heard(), [] as [(String, Vec<u8>); 0]);
    assert_eq!(nodes[0].link.stats().own, 4);
    let topics = |node: &mut Node| node.heard().into_iter().map(|(topic, _)| topic).collect::<Vec<_>>();
    assert_eq!(topics(&mut nodes[1]), ["a/b", "a/c"]);
    assert_eq!(topics(&mut nodes[2]), ["a/b", "c"]);
    assert_eq!(nodes[1].link.stats().unwanted, 2, "without a filter in front, the names decide");
}

#[test]
fn a_datagram_is_about_its_topic_and_names_it_at_first_and_then_every_second() {
    let mut node = Node::client(1);
    let mut named = Vec::new();
    for at in 0..6 {
        if at == 5 {
            node.now = Instant(node.now.0 + 1_000_000_000);
        }
        node.publish("a/b", STREAM, b"x");
        let datagram = node.datagrams().pop().expect("it is sent");
        let (header, frames) = DatagramHeader::open(&datagram).expect("a datagram");
        assert_eq!(header.form, Form::Broadcast { tag: topic_tag("a/b"), sender: 1 });
        assert_eq!(header.number, at + 1);
        let frame = Header::decode(frames.first_chunk().expect("a frame")).expect("a frame");
        assert_eq!((frame.kind, frame.lane, frame.seq), (Kind::PUB, STREAM, at + 1));
        let (extensions, payload) = Extensions::decode(frame.flags, &frames[16..]).expect("sound");
        assert_eq!(payload, b"x");
        named.push(extensions.xhdr.is_some());
    }
    assert_eq!(named, [true, true, true, false, false, true]);
}

#[test]
fn datagrams_that_come_again_or_are_damaged_change_nothing() {
    let mut nodes = [Node::client(1), Node::client(2)];
    nodes[1].subscribe(&["a"]);
    nodes[0].publish("a", STREAM, b"one");
    let datagrams = nodes[0].datagrams();
    for _ in 0..3 {
        deliver(&datagrams, &mut nodes[1..]);
    }
    assert_eq!(nodes[1].heard(), [("a".to_owned(), b"one".to_vec())]);
    assert_eq!(nodes[1].link.stats().repeated, 2);
    nodes[0].publish("a", STREAM, b"two");
    let whole = nodes[0].datagrams().pop().expect("it is sent");
    for bytes in 0..whole.len() {
        deliver(&[whole[..bytes].to_vec()], &mut nodes[1..]);
    }
    assert_eq!(nodes[1].heard(), [] as [(String, Vec<u8>); 0], "a part of a datagram is nothing");
    deliver(&[whole], &mut nodes[1..]);
    assert_eq!(nodes[1].heard(), [("a".to_owned(), b"two".to_vec())], "and does not use its number up");
}

#[test]
fn what_is_older_is_left_out_where_the_lane_keeps_an_order() {
    let mut nodes = [Node::client(1), Node::client(2)];
    nodes[1].subscribe(&["a"]);
    for (lane, expected) in [(STREAM, "132"), (EVENT, "132"), (STATE, "13"), (COMMAND, "13")] {
        let mut datagrams = Vec::new();
        for payload in ["1", "2", "3"] {
            nodes[0].publish("a", lane, payload.as_bytes());
            datagrams.extend(nodes[0].datagrams());
        }
        datagrams.swap(1, 2);
        deliver(&datagrams, &mut nodes[1..]);
        let heard: String = nodes[1].heard().iter().map(|(_, payload)| char::from(payload[0])).collect();
        assert_eq!(heard, expected, "lane {lane}");
    }
}

#[test]
fn a_message_of_many_datagrams_arrives_whole_in_any_order_or_not_at_all() {
    let mut nodes = [Node::client(1), Node::client(2)];
    nodes[1].subscribe(&["a"]);
    let large: Vec<u8> = (0..15_000u32).map(|at| at as u8).collect();
    nodes[0].publish("a", STREAM, &large);
    let mut datagrams = nodes[0].datagrams();
    assert!(datagrams.len() > 10);
    datagrams.reverse();
    deliver(&datagrams, &mut nodes[1..]);
    assert_eq!(nodes[1].heard(), [("a".to_owned(), large.clone())]);
    nodes[0].publish("a", STREAM, &large);
    deliver(&nodes[0].datagrams()[1..], &mut nodes[1..]);
    nodes[0].publish("a", STREAM, b"next");
    deliver(&nodes[0].datagrams(), &mut nodes[1..]);
    assert_eq!(nodes[1].heard(), [("a".to_owned(), b"next".to_vec())]);
    nodes[0].publish("a", STREAM, &[0; 40_000]);
    assert_eq!((nodes[0].datagrams().len(), nodes[0].link.stats().refused), (0, 1), "too many fragments for the lane");
}

#[test]
fn messages_of_two_senders_in_fragments_do_not_mix() {
    let mut nodes = [Node::client(1), Node::client(2), Node::client(3)];
    nodes[2].subscribe(&["a"]);
    let of = |byte: u8| vec![byte; 100_000];
    let datagrams: Vec<Vec<Vec<u8>>> = nodes[..2]
        .iter_mut()
        .zip([1, 2])
        .map(|(node, byte)| {
            node.publish("a", COMMAND, &of(byte));
            node.datagrams()
        })
        .collect();
    let mixed: Vec<Vec<u8>> =
        datagrams[0].iter().zip(&datagrams[1]).flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
    deliver(&mixed, &mut nodes[2..]);
    let heard = nodes[2].heard();
    assert!(heard == [("a".to_owned(), of(1)), ("a".to_owned(), of(2))], "{} messages", heard.len());
}

#[test]
fn a_sender_that_begins_anew_is_heard_from_its_first_datagram_and_its_old_ones_are_not() {
    let mut nodes = [Node::client(1), Node::client(2)];
    nodes[1].subscribe(&["a"]);
    let mut old = Vec::new();
    for payload in ["1", "2"] {
        nodes[0].publish("a", COMMAND, payload.as_bytes());
        old.extend(nodes[0].datagrams());
    }
    deliver(&old[..1], &mut nodes[1..]);
    nodes[0] = Node::client_of_epoch(1, 1);
    nodes[0].publish("a", COMMAND, b"3");
    deliver(&nodes[0].datagrams(), &mut nodes[1..]);
    deliver(&old[1..], &mut nodes[1..]);
    let heard: Vec<_> = nodes[1].heard().into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(heard, [b"1", b"3"]);
}

#[test]
fn interests_follow_subscriptions() {
    let mut node = Node::client(1);
    let first = node.link.interest_version();
    node.subscribe(&["a/b", "c/#"]);
    let (version, interests) = node.link.interests();
    assert_eq!(interests, [Interest::of("a/b"), Interest::of("c/#")]);
    assert!(version != first && node.link.interest_version() == version);
    node.unsubscribe(&["a/b"]);
    assert_eq!(node.link.interests().1, [Interest::of("c/#")]);
    assert!(node.link.interest_version() != version);
}

#[test]
fn a_brokers_link_subscribes_to_what_goes_out_and_declares_what_it_hears() {
    let mut broker = Node::new(
        Broadcast::for_broker(broadcast::setup(BROKER, 0), vec!["out/#".into()], vec!["in/+".into()]),
        Instant(1),
    );
    assert_eq!(broker.welcome_broker(), ["out/#"]);
    let mut nodes = [Node::client(1)];
    nodes[0].subscribe(&["out/#"]);
    broker.publish("out/a", STREAM, b"1");
    deliver(&broker.datagrams(), &mut nodes);
    assert_eq!(nodes[0].heard(), [("out/a".to_owned(), b"1".to_vec())]);
    for topic in ["in/a", "in/a/b", "out/a"] {
        nodes[0].publish(topic, STREAM, b"2");
    }
    let datagrams = nodes[0].datagrams();
    deliver(&datagrams, std::slice::from_mut(&mut broker));
    assert_eq!(broker.heard(), [("in/a".to_owned(), b"2".to_vec())]);
}
