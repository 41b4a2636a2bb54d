//! What leaves, compared with bytes written by hand from the frame diagrams.

use super::*;
use crate::core::options::Identity;
use crate::error::PublishError;
use crate::lane::Lane;
use bytes::{Buf as _, Bytes};
use laneway_proto::control::{Limits, Welcome};
use laneway_proto::error::PeerFault;
use laneway_proto::frame::batch;
use laneway_proto::frame::count::LaneTotal;
use laneway_proto::frame::extensions::Extensions;
use laneway_proto::framing::length::{Front, front};
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::session::handshake::feature;

const IDENTITY: Identity = Identity { node_id: [7; 16], epoch: 1, nonce: 2, origin: 0x0A0B_0C0D };
/// The declaration of the first topic, `a`, as id 65,536.
const DECLARE_A: [u8; 27] = [
    27, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // header: 27 bytes, CTRL
    0x52, 9, // field 10 (declare_topics), 9 bytes
    0x0a, 7, // field 1 (topics), 7 bytes
    0x08, 0x80, 0x80, 0x04, // id = 65,536
    0x12, 1, b'a', // name
];

fn welcome(limits: Limits, features: u64) -> Terms {
    Terms::new(Welcome { features, limits: Some(limits), ..Welcome::default() })
}

fn open_with(options: &CoreOptions, terms: Terms) -> Outgoing {
    let mut outgoing = Outgoing::new(Instant(1), options);
    taken(&mut outgoing);
    outgoing.on_welcome(terms);
    outgoing
}

fn open() -> Outgoing {
    open_with(&CoreOptions::new(IDENTITY), welcome(Limits::default(), feature::BATCH))
}

fn taken(outgoing: &mut Outgoing) -> Vec<u8> {
    let mut transmit = Transmit::default();
    let mut bytes = Vec::new();
    while outgoing.poll_transmit(&mut transmit) {
        let count = transmit.remaining();
        bytes.extend_from_slice(&transmit.copy_to_bytes(count));
    }
    bytes
}

fn publish(outgoing: &mut Outgoing, topic: &str, lane: Lane, payload: &[u8]) {
    try_publish(outgoing, topic, lane, payload).expect("taken");
}

fn try_publish(outgoing: &mut Outgoing, topic: &str, lane: Lane, payload: &[u8]) -> Result<(), TryPublishError> {
    let topic = outgoing.intern(topic)?;
    outgoing.publish(topic, lane.into(), &mut payload.into())
}

fn frames(mut bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut all = Vec::new();
    while let Front::Whole(header) = front(bytes, 65_535).expect("whole frames") {
        let (frame, rest) = bytes.split_at(header.len.into());
        all.push((header, frame[16..].to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "bytes behind the last whole frame");
    all
}

#[test]
fn a_session_begins_with_preface_and_hello_and_publishes_nothing_before_the_welcome() {
    let mut outgoing = Outgoing::new(Instant(1), &CoreOptions::new(IDENTITY));
    assert_eq!(outgoing.intern("a").err(), Some(PublishError::NotOpen));
    let bytes = taken(&mut outgoing);
    assert_eq!(bytes[..8], [0x8b, 0x4c, 0x42, 0x1a, 1, 1, 0, 0]);
    let Some(Body::Hello(hello)) = Control::decode_body(&bytes[24..]).expect("control").body else {
        panic!("not HELLO");
    };
    assert_eq!((hello.version_min, hello.version_max, hello.node_id), (1, 1, vec![7; 16]));
    assert_eq!((hello.epoch, hello.nonce), (1, 2));
    assert_eq!(hello.features, feature::BATCH | feature::FRAGMENTS | feature::CREDIT | feature::CONFIRM);
}

#[test]
fn the_first_message_is_declared_and_framed_as_specified() {
    let mut outgoing = open();
    publish(&mut outgoing, "a", Lane::COMMAND, b"hi");
    let message = [18, 0, 0x01, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, b'h', b'i'];
    assert_eq!(taken(&mut outgoing), [&DECLARE_A[..], &message].concat());
    publish(&mut outgoing, "a", Lane::COMMAND, b"");
    let second = [16, 0, 0x01, 0, 0, 0, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0];
    assert_eq!(taken(&mut outgoing), second, "no second declaration, the next number");
}

#[test]
fn messages_that_wait_together_share_a_frame() {
    let mut outgoing = open();
    for payload in [&b"x"[..], b"", b"yz"] {
        publish(&mut outgoing, "a", Lane::COMMAND, payload);
    }
    let batch = [
        29, 0, 0x05, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, // header: BATCH, topic 65,536, lane 1, seq 1
        3, 0, 0, 0, // three messages
        1, 0, b'x', 0, 0, 2, 0, b'y', b'z',
    ];
    assert_eq!(taken(&mut outgoing), [&DECLARE_A[..], &batch].concat());
    publish(&mut outgoing, "a", Lane::COMMAND, b"w");
    let (header, _) = frames(&taken(&mut outgoing)).remove(0);
    assert_eq!((header.kind, header.seq), (Kind::PUB, 4), "what was taken does not grow, and counted three");
}

#[test]
fn another_topic_ends_a_shared_frame_and_a_ping_goes_behind_what_was_published_before_it() {
    let mut outgoing = open();
    for (topic, lane) in [("b", Lane::EVENT), ("a", Lane::COMMAND), ("b", Lane::COMMAND), ("b", Lane::EVENT)] {
        publish(&mut outgoing, topic, lane, b"1");
    }
    outgoing.ping(Instant(5));
    publish(&mut outgoing, "b", Lane::EVENT, b"2");
    outgoing.control(&Control::new(Body::DeclareTopics(Default::default())));
    publish(&mut outgoing, "a", Lane::EVENT, b"3");
    let got: Vec<_> = frames(&taken(&mut outgoing))
        .into_iter()
        .map(|(header, _)| (header.kind, header.topic, header.lane, header.seq))
        .collect();
    let (ctrl, (b, a)) = ((Kind::CTRL, 0, 0, 0), (65_536, 65_537));
    let expected = [
        ctrl,
        ctrl,
        ctrl,
        (Kind::PUB, a, 1, 1),
        (Kind::PUB, b, 1, 2),
        (Kind::BATCH, b, 2, 1),
        (Kind::PUB, a, 2, 4),
        (Kind::PING, 0, 0, 0),
    ];
    assert_eq!(got, expected);
}

#[test]
fn a_lane_for_which_the_broker_has_no_room_waits_alone_and_so_does_the_ping_behind_it() {
    let limits = Limits { lane_credit: vec![8_192; LANES_MAX], ..Limits::default() };
    let mut outgoing = open_with(&CoreOptions::new(IDENTITY), welcome(limits, feature::BATCH | feature::CREDIT));
    for _ in 0..3 {
        publish(&mut outgoing, "a", Lane::BULK, &[0; 5_000]);
    }
    let lens: Vec<u16> = frames(&taken(&mut outgoing)).iter().map(|(header, _)| header.len).skip(1).collect();
    assert!(lens.iter().all(|&len| len <= 2_048), "no frame is too large for the credit: {lens:?}");
    let sent: u64 = lens.iter().map(|&len| u64::from(len)).sum();
    assert!(sent <= 8_192 && sent > 4_096, "{sent} bytes");
    let behind = outgoing.ping(Instant(5));
    let alive = outgoing.ask_for_life(Instant(6));
    publish(&mut outgoing, "a", Lane::COMMAND, b"now");
    let got: Vec<(Kind, u8)> =
        frames(&taken(&mut outgoing)).iter().map(|(header, _)| (header.kind, header.lane)).collect();
    assert_eq!(got, [(Kind::PING, 0), (Kind::PUB, 1)], "what is asked of the broker's life waits for nothing");
    outgoing.on_pong(alive);
    assert_eq!(outgoing.unconfirmed(), 3, "it said nothing of them");
    assert!(outgoing.on_credit(LaneTotal { lane: 5, total: 30_000 }));
    let rest = frames(&taken(&mut outgoing));
    assert_eq!(rest.last().map(|(header, _)| header.kind), Some(Kind::PING));
    outgoing.on_pong(behind);
    assert_eq!((outgoing.unconfirmed(), outgoing.is_waiting()), (1, false), "the command came after the question");
}

#[test]
fn a_shared_frame_ends_at_its_bounds() {
    let mut outgoing = open();
    for _ in 0..4_097 {
        publish(&mut outgoing, "a", Lane::COMMAND, b"");
    }
    let counted = frames(&taken(&mut outgoing));
    assert_eq!(batch::message_count(&counted[1].1), Ok(4_095));
    assert_eq!((counted[2].0.kind, counted[2].0.seq), (Kind::BATCH, 4_096));

    for _ in 0..40 {
        publish(&mut outgoing, "a", Lane::COMMAND, &[0; 4_000]);
    }
    let sized = frames(&taken(&mut outgoing));
    let lens: Vec<_> = sized.iter().map(|(header, _)| header.len).collect();
    assert_eq!(lens, [20 + 16 * 4_002, 20 + 16 * 4_002, 20 + 8 * 4_002]);
}

#[test]
fn large_stamped_and_state_messages_and_brokers_without_batches_get_frames_of_their_own() {
    let kinds = |outgoing: &mut Outgoing| -> Vec<Kind> {
        frames(&taken(outgoing)).into_iter().skip(1).map(|(header, _)| header.kind).collect()
    };
    let mut outgoing = open();
    publish(&mut outgoing, "a", Lane::STATE, b"1");
    publish(&mut outgoing, "a", Lane::STATE, b"2");
    publish(&mut outgoing, "a", Lane::COMMAND, &[0; BATCH_ITEM_BYTES_MAX + 1]);
    publish(&mut outgoing, "a", Lane::COMMAND, &[0; BATCH_ITEM_BYTES_MAX + 1]);
    assert_eq!(kinds(&mut outgoing), [Kind::PUB; 4]);

    let mut plain = open_with(&CoreOptions::new(IDENTITY), welcome(Limits::default(), 0));
    publish(&mut plain, "a", Lane::COMMAND, b"1");
    publish(&mut plain, "a", Lane::COMMAND, b"2");
    assert_eq!(kinds(&mut plain), [Kind::PUB; 2]);

    let topic = outgoing.intern("a").expect("known");
    let stamped = PublishOptions { ts_ns: Some(0x0102), ..PublishOptions::default() };
    publish(&mut outgoing, "a", Lane::COMMAND, b"1");
    outgoing.publish(topic, stamped, &mut b"2".into()).expect("taken");
    let (header, body) = frames(&taken(&mut outgoing)).remove(1);
    assert_eq!((header.flags, body), (Flags::TS, vec![2, 1, 0, 0, 0, 0, 0, 0, b'2']));
}

#[test]
fn a_message_over_one_frame_is_cut_and_every_piece_says_whose_it_is() {
    let large: Vec<u8> = (0..70_000u32).map(|place| place as u8).collect();
    for payload in [Payload::from(&large), Payload::from(large.clone())] {
        let mut outgoing = open();
        publish(&mut outgoing, "a", Lane::BULK, b"first");
        let topic = outgoing.intern("a").expect("known");
        let mut payload = payload;
        outgoing.publish(topic, Lane::BULK.into(), &mut payload).expect("taken");
        let pieces = frames(&taken(&mut outgoing)).split_off(2);
        assert_eq!(pieces.len(), 5);
        let mut whole = Vec::new();
        for (index, (header, body)) in pieces.into_iter().enumerate() {
            assert_eq!((header.kind, header.flags, header.seq), (Kind::PUB, Flags(0x0A), 2));
            let total = 70_000u32.to_le_bytes();
            assert_eq!(body[..4], [index as u8, 0, 5, 0]);
            assert_eq!(body[4..8], total);
            assert_eq!(body[8..16], [0x0D, 0x0C, 0x0B, 0x0A, 2, 0, 0, 0]);
            whole.extend_from_slice(&body[16..]);
        }
        assert!(whole == large, "the pieces are the message");
        publish(&mut outgoing, "a", Lane::BULK, b"next");
        assert_eq!(frames(&taken(&mut outgoing))[0].0.seq, 3, "a cut message counts once");
    }
}

#[test]
fn the_largest_single_frame_is_not_cut_and_one_byte_more_is() {
    let mut outgoing = open();
    publish(&mut outgoing, "a", Lane::COMMAND, &[0; 65_535 - 16]);
    assert_eq!(frames(&taken(&mut outgoing))[1].0.len, 65_535);
    publish(&mut outgoing, "a", Lane::COMMAND, &[0; 65_535 - 15]);
    assert_eq!(frames(&taken(&mut outgoing)).len(), 4);
}

#[test]
fn a_full_queue_refuses_and_taking_opens_it() {
    let options = CoreOptions { send_messages_max: 3, ..CoreOptions::new(IDENTITY) };
    let mut outgoing = open_with(&options, welcome(Limits::default(), feature::BATCH));
    for _ in 0..3 {
        publish(&mut outgoing, "a", Lane::COMMAND, b"x");
    }
    assert_eq!(try_publish(&mut outgoing, "a", Lane::COMMAND, b"x"), Err(TryPublishError::Full));
    taken(&mut outgoing);
    publish(&mut outgoing, "a", Lane::COMMAND, b"x");

    let options = CoreOptions { send_bytes_max: 1_000, ..CoreOptions::new(IDENTITY) };
    let mut outgoing = open_with(&options, welcome(Limits::default(), feature::BATCH));
    publish(&mut outgoing, "a", Lane::COMMAND, &[0; 5_000]);
    assert_eq!(try_publish(&mut outgoing, "a", Lane::COMMAND, b""), Err(TryPublishError::Full));
    taken(&mut outgoing);
    publish(&mut outgoing, "a", Lane::COMMAND, &[0; 900]);
    assert_eq!(try_publish(&mut outgoing, "a", Lane::COMMAND, &[0; 900]), Err(TryPublishError::Full));
    assert_eq!(frames(&taken(&mut outgoing)).len(), 1, "what was refused left nothing behind");
}

#[test]
fn what_the_broker_does_not_take_is_refused_here() {
    let limits = Limits { max_message: 100, max_topics: 1, ..Limits::default() };
    let mut outgoing = open_with(&CoreOptions::new(IDENTITY), welcome(limits, feature::BATCH));
    let refused = try_publish(&mut outgoing, "a", Lane::COMMAND, &[0; 101]);
    assert_eq!(refused, Err(PublishError::TooLarge { bytes: 101, bytes_max: 100 }.into()));
    assert_eq!(outgoing.intern("b"), Err(PublishError::TooManyTopics { topics_max: 1 }));
    assert!(taken(&mut outgoing).is_empty());
}

#[test]
fn pings_carry_the_time_and_never_the_same_number_twice() {
    let mut outgoing = open();
    assert_eq!((outgoing.ping(Instant(9)), outgoing.ping(Instant(9)), outgoing.ping(Instant(4))), (9, 10, 11));
    outgoing.pong(Instant(3), 0x55);
    let frames = frames(&taken(&mut outgoing));
    assert_eq!(frames[1].1, [9, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((frames[0].0.kind, frames[0].1[0], frames[0].1[8]), (Kind::PONG, 0x55, 3));
}

#[test]
fn goodbye_is_the_last_word() {
    let mut outgoing = open();
    publish(&mut outgoing, "a", Lane::COMMAND, b"x");
    outgoing.goodbye(CloseCode::Normal, "");
    assert_eq!(outgoing.intern("a"), Err(PublishError::NotOpen));
    let all = frames(&taken(&mut outgoing));
    assert_eq!((all.len(), all[2].0.kind), (3, Kind::CTRL));
}

#[test]
fn a_pong_confirms_what_was_sent_before_its_ping_and_nothing_else() {
    let mut outgoing = open();
    publish(&mut outgoing, "a", Lane::COMMAND, b"1");
    assert_eq!(outgoing.unconfirmed(), 0, "it waits here still");
    let first = outgoing.ping(Instant(5));
    publish(&mut outgoing, "a", Lane::COMMAND, b"2");
    let second = outgoing.ping(Instant(5));
    taken(&mut outgoing);
    assert_eq!(outgoing.unconfirmed(), 2);
    outgoing.on_pong(first);
    assert_eq!(outgoing.unconfirmed(), 1);
    outgoing.on_pong(second);
    assert_eq!((outgoing.unconfirmed(), outgoing.doubted()), (0, 0));
}

#[test]
fn when_a_link_breaks_after_any_byte_each_message_is_doubted_or_sent_again_but_never_both() {
    let mut cuts = 0;
    loop {
        let mut outgoing = open();
        publish(&mut outgoing, "a", Lane::COMMAND, b"confirmed");
        let token = outgoing.ping(Instant(5));
        taken(&mut outgoing);
        outgoing.on_pong(token);
        // On the way: a message, a batch of two, one in three fragments, one more.
        publish(&mut outgoing, "b", Lane::COMMAND, b"one");
        publish(&mut outgoing, "c", Lane::COMMAND, b"two");
        publish(&mut outgoing, "c", Lane::COMMAND, b"three");
        let large = outgoing.intern("d").expect("valid");
        let mut payload = Bytes::from(vec![7; 100_000]).into();
        outgoing.publish(large, Lane::BULK.into(), &mut payload).expect("taken");
        publish(&mut outgoing, "b", Lane::COMMAND, b"five");
        let mut on_the_way = Transmit::default();
        outgoing.poll_transmit(&mut on_the_way);
        let whole = on_the_way.remaining();
        if cuts > whole {
            break;
        }
        on_the_way.advance(cuts);
        publish(&mut outgoing, "a", Lane::COMMAND, b"waits");
        outgoing.ping(Instant(6));
        outgoing.on_link_down(on_the_way, true);
        let (doubted, waiting) = (outgoing.doubted(), outgoing.waiting_messages() as u64);
        assert_eq!((doubted + waiting, outgoing.unconfirmed()), (6, 0), "cut after {cuts} bytes");
        outgoing.on_link_up(Instant(9), welcome(Limits::default(), feature::BATCH), &[]).expect("a new session");
        let again = frames(&taken(&mut outgoing));
        assert_eq!(messages_declared_first(&again), waiting, "cut after {cuts} bytes");
        assert_eq!(again.iter().filter(|(header, _)| header.kind == Kind::PING).count(), 0, "nobody waits for it");
        cuts += if cuts < 300 || whole - cuts < 300 { 1 } else { 997 };
    }
}

/// A session that can be resumed, and the second of two parts that its link was given; the first was sent, and the broker
/// has counted so many frames of it.
fn with_a_link_under_way(counted: u64) -> (Outgoing, Transmit) {
    let options = CoreOptions { resume: true, ..CoreOptions::new(IDENTITY) };
    let mut outgoing = open_with(&options, welcome(Limits::default(), feature::BATCH | feature::RESUME));
    let mut link = Transmit::default();
    publish(&mut outgoing, "a", Lane::COMMAND, b"one");
    publish(&mut outgoing, "b", Lane::STATE, b"gone with the link");
    publish(&mut outgoing, "b", Lane::COMMAND, b"two");
    outgoing.poll_transmit(&mut link);
    link.advance(link.len());
    assert_eq!(outgoing.on_count(LaneTotal { lane: 1, total: counted }), Ok(false));
    publish(&mut outgoing, "b", Lane::COMMAND, b"three");
    let large = outgoing.intern("c").expect("valid");
    outgoing.publish(large, Lane::COMMAND.into(), &mut Bytes::from(vec![7; 100_000]).into()).expect("taken");
    outgoing.poll_transmit(&mut link);
    (outgoing, link)
}

#[test]
fn a_session_that_goes_on_after_any_byte_sends_again_what_was_not_received_and_nothing_else() {
    let mut whole = Vec::new();
    let mut link = with_a_link_under_way(0).1;
    while link.has_remaining() {
        whole.extend_from_slice(link.chunk());
        link.advance(link.chunk().len());
    }
    // Where the frames of the lane end, and their messages' numbers: the large one is in seven parts.
    let (mut ends, mut end) = (Vec::new(), 0);
    for (header, body) in frames(&whole) {
        end += HEADER_BYTES + body.len();
        ends.extend(header.kind.is_data().then_some(end));
    }
    let numbers = [1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 5, 6];
    for bytes in (0..300).chain((300..whole.len()).step_by(997)).chain([whole.len()]) {
        let received = 2 + ends.iter().filter(|&&end| end <= bytes).count();
        let (mut outgoing, mut link) = with_a_link_under_way(bytes as u64 % 3);
        link.advance(bytes);
        publish(&mut outgoing, "a", Lane::COMMAND, b"waits");
        outgoing.on_link_down(link, true);
        publish(&mut outgoing, "d", Lane::COMMAND, b"said meanwhile");
        let mut terms = welcome(Limits::default(), feature::BATCH | feature::RESUME);
        terms.resumed = true;
        terms.received[1] = received as u64;
        outgoing.on_link_up(Instant(9), terms, &[]).expect("the counts are possible");
        let again = frames(&taken(&mut outgoing));
        let data = again.iter().filter(|(header, _)| header.kind.is_data());
        let sent: Vec<u32> = data.map(|(header, _)| header.seq).collect();
        assert_eq!((sent, outgoing.doubted()), (numbers[received..].to_vec(), 0), "{bytes} bytes were taken");
    }
}

#[test]
fn counts_that_contradict_what_was_sent_are_the_brokers_fault_and_leave_everything_in_doubt() {
    for received in [0, 11] {
        let (mut outgoing, mut link) = with_a_link_under_way(1);
        link.advance(link.len());
        outgoing.on_link_down(link, true);
        let mut terms = welcome(Limits::default(), feature::BATCH | feature::RESUME);
        terms.resumed = true;
        terms.received[1] = received;
        assert_eq!(outgoing.on_link_up(Instant(9), terms, &[]), Err(PeerFault::CountAhead));
        assert_eq!((outgoing.doubted(), outgoing.is_parked()), (5, false));
    }
}

/// Counts the messages; each topic has to be declared before its first frame, and no message may begin in its middle.
fn messages_declared_first(frames: &[(Header, Vec<u8>)]) -> u64 {
    let mut declared = std::collections::HashSet::new();
    let mut messages = 0;
    let mut begun = None;
    for (header, body) in frames {
        if header.kind == Kind::CTRL {
            let Some(Body::DeclareTopics(declare)) = Control::decode_body(body).expect("control").body else {
                panic!("only declarations");
            };
            declared.extend(declare.topics.into_iter().map(|topic| topic.id));
            continue;
        }
        assert!(declared.contains(&header.topic), "{header:?} is not declared");
        let (extensions, payload) = Extensions::decode(header.flags, body).expect("valid");
        messages += match extensions.frag {
            None if header.kind == Kind::BATCH => u64::from(batch::message_count(payload).expect("a batch")),
            None => 1,
            Some(frag) => {
                assert_eq!(begun.replace(frag.index).map_or(0, |before| before + 1), frag.index);
                u64::from(frag.index == 0)
            }
        };
    }
    messages
}

#[test]
fn what_is_published_without_a_link_waits_within_the_bounds_and_goes_behind_the_requests() {
    let options = CoreOptions { send_messages_max: 3, ..CoreOptions::new(IDENTITY) };
    let mut outgoing = open_with(&options, welcome(Limits::default(), feature::BATCH));
    outgoing.on_link_down(Transmit::default(), true);
    for text in [b"1", b"2", b"3"] {
        publish(&mut outgoing, "a", Lane::COMMAND, text);
    }
    assert_eq!(try_publish(&mut outgoing, "a", Lane::COMMAND, b"4"), Err(TryPublishError::Full));
    let request = Control::answer(9, CloseCode::Normal, "in front");
    outgoing.on_link_up(Instant(9), welcome(Limits::default(), feature::BATCH), &[request]).expect("a new session");
    let sent = frames(&taken(&mut outgoing));
    let kinds: Vec<Kind> = sent.iter().map(|(header, _)| header.kind).collect();
    assert_eq!(kinds, [Kind::CTRL, Kind::CTRL, Kind::BATCH]);
    assert_eq!(sent[2].0.seq, 1, "numbers go on as they would have");
    assert_eq!(outgoing.unconfirmed(), 3);
}

#[test]
fn a_broker_that_takes_less_than_the_one_before_is_not_sent_what_was_built_for_that() {
    let mut outgoing = open();
    outgoing.on_link_down(Transmit::default(), true);
    publish(&mut outgoing, "a", Lane::COMMAND, b"1");
    publish(&mut outgoing, "a", Lane::COMMAND, b"2");
    outgoing.ping(Instant(5));
    outgoing.on_link_up(Instant(9), welcome(Limits::default(), 0), &[]).expect("a new session");
    let kinds: Vec<Kind> = frames(&taken(&mut outgoing)).iter().map(|(header, _)| header.kind).collect();
    assert_eq!(kinds, [Kind::CTRL, Kind::PING], "the declaration and the question stay");
    assert_eq!((outgoing.doubted(), outgoing.unconfirmed()), (2, 0));
}

#[test]
fn a_goodbye_is_the_end_on_any_link() {
    let mut outgoing = open();
    outgoing.on_link_down(Transmit::default(), true);
    publish(&mut outgoing, "a", Lane::COMMAND, b"1");
    outgoing.goodbye(CloseCode::Normal, "");
    outgoing.on_link_up(Instant(9), welcome(Limits::default(), feature::BATCH), &[]).expect("a new session");
    let kinds: Vec<Kind> = frames(&taken(&mut outgoing)).iter().map(|(header, _)| header.kind).collect();
    assert_eq!(kinds, [Kind::CTRL, Kind::PUB, Kind::CTRL]);
    assert_eq!(outgoing.intern("a").err(), Some(PublishError::NotOpen));
}

#[test]
fn a_deadline_and_the_wish_to_be_kept_stand_behind_the_other_extensions() {
    let mut outgoing = open();
    let topic = outgoing.intern("a").expect("valid");
    let mut put = |options, payload: &[u8]| outgoing.publish(topic, options, &mut payload.into()).expect("taken");
    put(Lane::STATE.into(), b"");
    put(PublishOptions { ttl_ms: Some(258), ..PublishOptions::default() }, b"x");
    put(PublishOptions { ts_ns: Some(1), retain: true, ..PublishOptions::default() }, b"y");
    put(Lane::COMMAND.into(), b"plain");
    let sent = frames(&taken(&mut outgoing)[DECLARE_A.len()..]);
    let bodies: Vec<(u8, &[u8])> = sent.iter().map(|(header, body)| (header.flags.0, &body[..])).collect();
    let expected: [(u8, &[u8]); 4] = [
        (0x10, &[8, 0, 5, 4, 2, 1, 0, 0, b'x']),
        (0x11, &[1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 6, 0, b'y']),
        (0, b"plain"),
        (0, b""),
    ];
    assert_eq!(bodies, expected);
}

#[test]
fn every_fragment_of_a_message_carries_its_deadline() {
    let mut outgoing = open();
    let topic = outgoing.intern("a").expect("valid");
    let options = PublishOptions { ttl_ms: Some(9), retain: true, ..PublishOptions::default() };
    let payload: Vec<u8> = (0..100_000u32).map(|number| number as u8).collect();
    outgoing.publish(topic, options, &mut payload.clone().into()).expect("taken");
    let mut whole = Vec::new();
    for (header, body) in frames(&taken(&mut outgoing)[DECLARE_A.len()..]) {
        let (extensions, part) = Extensions::decode(header.flags, &body).expect("valid");
        assert_eq!(extensions.xhdr.map(|xhdr| xhdr.options()), Some(options.message_options()));
        assert!(extensions.frag.is_some() && extensions.src.is_some());
        whole.extend_from_slice(part);
    }
    assert_eq!(whole, payload);
}
