//! Small messages that come together leave together where a stream leads; for everybody they are the same messages.

use laneway_proto::control::{Body, Control, Hello, Limits, Sub, Subscribe};
use laneway_proto::frame::credit::{self, CREDIT_FRAME_BYTES_MAX, LaneTotal};
use laneway_proto::lane::policy::Policy;
use laneway_proto::limits::LANES_MAX;
use laneway_proto::session::handshake::feature;
use laneway_tests::real::Launch;
use laneway_tests::real::frames::{hello, publish};
use laneway_tests::real::peer::{LANE, Peer};

const MESSAGES: u32 = 500;
/// Bytes of a message alone: a header and eight digits.
const FRAME_BYTES: u64 = 24;
/// What a subscriber that gives credit has room for.
const ROOM_BYTES: u64 = 10 * FRAME_BYTES;

fn payload(number: u32) -> Vec<u8> {
    format!("{number:08}").into_bytes()
}

/// Publishes [`MESSAGES`] in one write to subscribers with these policies; returns how many runs were packed.
fn packed_for(policies: &[Policy]) -> u64 {
    packed_between(hello(), MESSAGES, policies)
}

/// The same for so many messages, to subscribers that begin with `hello`.
fn packed_between(hello: Hello, messages: u32, policies: &[Policy]) -> u64 {
    let gives_credit = hello.features & feature::CREDIT != 0;
    let broker = Launch::new(1).start();
    let subscribe = |&policy: &Policy| {
        let mut subscriber = Peer::knock(broker.tcp(), hello.clone()).expect("a welcome");
        let sub = Sub { pattern: "imu/#".into(), policy: u32::from(policy.number()), ..Sub::default() };
        let answer = subscriber.request(|id| Control::request(id, Body::Subscribe(Subscribe { subs: vec![sub] })));
        assert_eq!(answer.code, 0, "{}", answer.text);
        subscriber
    };
    let mut subscribers: Vec<Peer> = policies.iter().map(subscribe).collect();
    let mut publisher = Peer::open(broker.tcp());
    let topic = publisher.topic("imu/x");
    let run: Vec<u8> = (1..=messages).flat_map(|number| publish(topic, LANE, number, &payload(number))).collect();
    publisher.send(&run);
    for subscriber in &mut subscribers {
        for number in 1..=messages {
            let message = subscriber.message();
            assert_eq!((message.seq, message.lane, message.payload), (number, LANE, payload(number)));
            if gives_credit {
                let total = LaneTotal { lane: LANE, total: u64::from(number) * FRAME_BYTES + ROOM_BYTES };
                subscriber.send(credit::encode(&[total], &mut [0; CREDIT_FRAME_BYTES_MAX]));
            }
        }
    }
    let (messages_out, ended) = (u64::from(messages) * subscribers.len() as u64, broker.stop());
    assert_eq!((ended.counted("messages_in"), ended.counted("messages_out")), (u64::from(messages), messages_out));
    ended.counted("runs_packed")
}

#[test]
fn three_subscribers_get_small_messages_packed_and_with_their_numbers() {
    assert!(packed_for(&[Policy::Block; 3]) > 0);
}

#[test]
fn nothing_is_packed_for_two_or_beside_one_whose_queue_may_drop_single_messages() {
    assert_eq!(packed_for(&[Policy::Block; 2]), 0);
    assert_eq!(packed_for(&[Policy::Block, Policy::Block, Policy::Block, Policy::DropOldest]), 0);
}

#[test]
fn who_has_less_credit_than_a_packed_frame_loses_nothing_by_packing() {
    // Room for ten single messages; all fifty in one frame would never fit.
    let limits = Limits { lane_credit: vec![ROOM_BYTES; LANES_MAX], ..Limits::default() };
    let little = Hello { features: hello().features | feature::CREDIT, limits: Some(limits), ..hello() };
    assert_eq!(packed_between(little, 50, &[Policy::Block; 3]), 0);
}
