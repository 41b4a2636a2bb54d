//! Publish levels on the wire: what the broker confirms to a publisher that understands it, and what it does not.

use laneway_proto::control::Hello;
use laneway_proto::error::CloseCode;
use laneway_proto::frame::confirm::{CONFIRM_FRAME_BYTES_MAX, Confirm, Level, encode};
use laneway_proto::frame::count::{COUNT_FRAME_BYTES_MAX, LaneTotal};
use laneway_proto::frame::extensions::{MESSAGE_OPTIONS_BYTES_MAX, MessageOptions, Src};
use laneway_proto::frame::fragment::Cutter;
use laneway_proto::frame::{batch, count};
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::limits::FRAGMENT_BYTES_STREAM;
use laneway_proto::session::handshake::feature;
use laneway_tests::real::link::Place;
use laneway_tests::real::peer::{Event, LANE, Peer};
use laneway_tests::real::{Launch, RealBroker, frames};

const TOPIC: &str = "levels/x";
const EVENT: u8 = 2;

fn launch(shards: u32) -> RealBroker {
    Launch::new(shards).start()
}

/// A peer that understands CONFIRM and is expected to send COUNT.
fn open(place: &Place) -> Peer {
    let hello = frames::hello();
    let features = hello.features | feature::CONFIRM;
    Peer::knock(place, Hello { features, ..hello }).unwrap_or_else(|reject| panic!("{place} refused: {reject:?}"))
}

fn subscriber(place: &Place) -> Peer {
    let mut peer = open(place);
    peer.subscribe(&["levels/#"]);
    peer
}

/// One message that is to be received by so many sessions: by SRC alone, or by XHDR.
fn asking(topic: u32, lane: u8, seq: u32, receivers: u16) -> Vec<u8> {
    let src = Src { origin: 7, seq }.encode();
    let head = |flags| Header { seq, flags, ..frames::header(Kind::PUB, topic, lane) };
    if receivers == 1 {
        return frames::raw(head(Flags::SRC), &[&src[..], b"x"].concat());
    }
    let mut block = [0; MESSAGE_OPTIONS_BYTES_MAX];
    let xhdr = MessageOptions { receivers: Some(receivers), ..MessageOptions::default() }.encode(&mut block);
    frames::raw(head(Flags::SRC.with(Flags::XHDR)), &[&src[..], xhdr, b"x"].concat())
}

fn counted(lane: u8, total: u64) -> Vec<u8> {
    count::encode(&[LaneTotal { lane, total }], &mut [0; COUNT_FRAME_BYTES_MAX]).to_vec()
}

const fn delivered(lane: u8, receivers: u16, seq_through: u32) -> Confirm {
    Confirm { lane, level: Level::Delivered, receivers, seq_through }
}

/// The next confirmation of level 2; those of level 1 in between are passed over.
fn next_delivered(publisher: &mut Peer) -> Confirm {
    loop {
        if let Event::Confirm(confirms) = publisher.event()
            && let Some(found) = confirms.into_iter().find(|confirm| confirm.level == Level::Delivered)
        {
            return found;
        }
    }
}

/// Waits until `subscriber` has so many messages.
fn receive(subscriber: &mut Peer, messages: usize) {
    for _ in 0..messages {
        subscriber.message();
    }
}

/// A second message on another lane, which is delivered to `subscriber`, its first one there: if its confirmation comes
/// first, nothing was confirmed before it.
fn nothing_is_confirmed(publisher: &mut Peer, subscriber: &mut Peer, seq: u32) {
    let topic = publisher.topic(TOPIC);
    publisher.send(&asking(topic, EVENT, seq, 1));
    receive(subscriber, 1);
    subscriber.send(&counted(EVENT, u64::from(seq)));
    assert_eq!(next_delivered(publisher), delivered(EVENT, 1, seq));
}

#[test]
fn what_the_broker_accepted_is_confirmed_on_every_reliable_lane() {
    let broker = launch(1);
    for place in [broker.tcp(), broker.unix()] {
        let mut publisher = open(place);
        let topic = publisher.topic(TOPIC);
        let lanes = [(LANE, 1), (LANE, 2), (EVENT, 1), (3, 1), (4, 1), (LANE, 3)];
        let bytes: Vec<u8> = lanes.iter().flat_map(|&(lane, seq)| frames::publish(topic, lane, seq, b"x")).collect();
        publisher.send(&bytes);
        let mut through = [0; 16];
        while (through[1], through[2]) != (3, 1) {
            let Event::Confirm(confirms) = publisher.event() else { panic!("only confirmations are awaited") };
            for confirm in confirms {
                assert_eq!((confirm.level, confirm.receivers), (Level::Accepted, 0));
                through[usize::from(confirm.lane)] = confirm.seq_through;
            }
        }
        assert_eq!((through[3], through[4]), (0, 0), "lanes that lose confirm nothing");
        let mut silent = Peer::open(place);
        silent.publish(TOPIC, b"y");
        silent.ping();
    }
}

#[test]
fn a_message_is_delivered_when_as_many_sessions_as_asked_for_have_counted_it() {
    for shards in [1, 2] {
        let broker = launch(shards);
        let place = broker.tcp();
        let mut publisher = open(place);
        let (mut first, mut second) = (subscriber(place), subscriber(place));
        let mut silent = Peer::open(place);
        silent.subscribe(&["levels/#"]);
        let topic = publisher.topic(TOPIC);
        publisher.send(&[asking(topic, LANE, 5, 2), frames::publish(topic, LANE, 6, b"plain")].concat());
        [&mut first, &mut second, &mut silent].into_iter().for_each(|peer| receive(peer, 2));
        silent.send(&counted(LANE, 2));
        first.send(&counted(LANE, 1));
        nothing_is_confirmed(&mut publisher, &mut first, 1);
        second.send(&counted(LANE, 2));
        assert_eq!(next_delivered(&mut publisher), delivered(LANE, 2, 5), "on {shards} shards");
    }
}

#[test]
fn what_a_session_did_not_count_before_it_ended_is_delivered_only_when_it_is_sent_again() {
    let broker = launch(2);
    let place = broker.tcp();
    let mut publisher = open(place);
    let (mut stays, mut leaves) = (subscriber(place), subscriber(place));
    let topic = publisher.topic(TOPIC);
    publisher.send(&asking(topic, LANE, 1, 2));
    receive(&mut stays, 1);
    receive(&mut leaves, 1);
    stays.send(&counted(LANE, 1));
    leaves.reset();
    let mut back = subscriber(place);
    nothing_is_confirmed(&mut publisher, &mut stays, 1);
    receive(&mut back, 1);
    publisher.send(&asking(topic, LANE, 1, 2));
    receive(&mut stays, 1);
    receive(&mut back, 1);
    stays.send(&counted(LANE, 2));
    back.send(&counted(LANE, 1));
    assert_eq!(next_delivered(&mut publisher), delivered(LANE, 2, 1));
}

#[test]
fn a_message_that_nobody_receives_holds_up_its_lane_until_its_publisher_gives_it_up() {
    let broker = launch(1);
    let place = broker.tcp();
    let mut publisher = open(place);
    let mut only = subscriber(place);
    let (topic, nowhere) = (publisher.topic(TOPIC), publisher.topic("elsewhere"));
    publisher.send(&[asking(nowhere, LANE, 1, 1), asking(topic, LANE, 2, 1)].concat());
    receive(&mut only, 1);
    only.send(&counted(LANE, 1));
    nothing_is_confirmed(&mut publisher, &mut only, 1);
    let given_up = Confirm { lane: LANE, level: Level::Delivered, receivers: 0, seq_through: 1 };
    publisher.send(encode(&[given_up], &mut [0; CONFIRM_FRAME_BYTES_MAX]));
    assert_eq!(next_delivered(&mut publisher), delivered(LANE, 1, 2));
}

#[test]
fn a_large_message_and_a_batch_are_delivered_as_a_whole() {
    let broker = launch(2);
    let place = broker.tcp();
    let mut publisher = open(place);
    let mut reader = subscriber(place);
    let topic = publisher.topic(TOPIC);
    let payload = vec![7; 3 * FRAGMENT_BYTES_STREAM + 1];
    let mut block = [0; MESSAGE_OPTIONS_BYTES_MAX];
    let xhdr = MessageOptions { receivers: Some(1), ..MessageOptions::default() }.encode(&mut block).to_vec();
    let src = Src { origin: 7, seq: 1 };
    let flags = Flags::FRAG.with(Flags::SRC).with(Flags::XHDR);
    let head = Header { seq: 1, flags, ..frames::header(Kind::PUB, topic, LANE) };
    for (frag, range) in Cutter::new(payload.len() as u32, FRAGMENT_BYTES_STREAM as u32).into_iter().flatten() {
        publisher.send(&frames::raw(head, &[&frag.encode()[..], &src.encode(), &xhdr, &payload[range]].concat()));
    }
    receive(&mut reader, 1);
    reader.send(&counted(LANE, 3));
    nothing_is_confirmed(&mut publisher, &mut reader, 1);
    reader.send(&counted(LANE, 4));
    assert_eq!(next_delivered(&mut publisher), delivered(LANE, 1, 1));
    let body = [&Src { origin: 7, seq: 2 }.encode()[..], &batch::prefix(2), &[1, 0, b'a', 1, 0, b'b']].concat();
    let head = Header { seq: 2, flags: Flags::SRC, ..frames::header(Kind::BATCH, topic, LANE) };
    publisher.send(&frames::raw(head, &body));
    receive(&mut reader, 2);
    reader.send(&counted(LANE, 5));
    assert_eq!(next_delivered(&mut publisher), delivered(LANE, 1, 3));
}

#[test]
fn a_count_of_more_than_was_sent_ends_its_session_and_no_other() {
    let broker = launch(1);
    let place = broker.tcp();
    let (mut liar, mut other) = (subscriber(place), subscriber(place));
    liar.send(&counted(LANE, 1));
    let words = liar.last_words();
    let code = CloseCode::OutOfTurn.number();
    assert!(matches!(&words[..], [Event::Goodbye(goodbye), Event::Closed] if goodbye.code == code), "{words:?}");
    other.ping();
}
