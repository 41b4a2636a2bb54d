//! Small messages that come together leave together, for those who understand it; for everybody they are the same messages.

use laneway_proto::control::{Body, Control, Sub, Subscribe};
use laneway_proto::lane::policy::Policy;
use laneway_tests::real::Launch;
use laneway_tests::real::frames::publish;
use laneway_tests::real::peer::{LANE, Peer};

const MESSAGES: u32 = 500;

fn payload(number: u32) -> Vec<u8> {
    format!("{number:08}").into_bytes()
}

/// Publishes [`MESSAGES`] in one write to subscribers with these policies; returns how many runs were packed.
fn packed_for(policies: &[Policy]) -> u64 {
    let broker = Launch::new(1).start();
    let subscribe = |&policy: &Policy| {
        let mut subscriber = Peer::open(broker.tcp());
        let sub = Sub { pattern: "imu/#".into(), policy: u32::from(policy.number()), ..Sub::default() };
        let answer = subscriber.request(|id| Control::request(id, Body::Subscribe(Subscribe { subs: vec![sub] })));
        assert_eq!(answer.code, 0, "{}", answer.text);
        subscriber
    };
    let mut subscribers: Vec<Peer> = policies.iter().map(subscribe).collect();
    let mut publisher = Peer::open(broker.tcp());
    let topic = publisher.topic("imu/x");
    let run: Vec<u8> = (1..=MESSAGES).flat_map(|number| publish(topic, LANE, number, &payload(number))).collect();
    publisher.send(&run);
    for subscriber in &mut subscribers {
        for number in 1..=MESSAGES {
            let message = subscriber.message();
            assert_eq!((message.seq, message.lane, message.payload), (number, LANE, payload(number)));
        }
    }
    let (messages_out, ended) = (u64::from(MESSAGES) * subscribers.len() as u64, broker.stop());
    assert_eq!((ended.counted("messages_in"), ended.counted("messages_out")), (u64::from(MESSAGES), messages_out));
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
