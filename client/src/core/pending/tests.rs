use super::*;
use crate::lane::Lane;

const WHOLE: Duration = Duration::from_millis(10_000);
const START: Instant = Instant(1);

fn letter(lane: Lane, seq: u32, payload: &'static [u8]) -> Letter {
    let options = PublishOptions { lane, ..PublishOptions::default() };
    let topic = crate::core::interner::Interner::default().intern("a", 1).expect("a topic");
    Letter { topic, options, seq, receivers: 1, payload: Bytes::from_static(payload) }
}

fn delivered(lane: Lane, seq_through: u32, receivers: u16) -> Confirm {
    Confirm { lane: lane.number(), level: Said::Delivered, receivers, seq_through }
}

fn settled(pending: &mut Pending) -> Vec<Settled> {
    std::iter::from_fn(|| pending.poll_settled()).collect()
}

fn publish(pending: &mut Pending, lane: Lane, seqs: std::ops::RangeInclusive<u32>) -> Vec<ConfirmId> {
    seqs.map(|seq| pending.await_delivery(START, WHOLE, letter(lane, seq, b"abc"))).collect()
}

#[test]
fn a_confirmation_settles_all_up_to_its_number_on_its_lane_alone() {
    let mut pending = Pending::default();
    let commands = publish(&mut pending, Lane::COMMAND, 1..=3);
    let events = publish(&mut pending, Lane::EVENT, 1..=1);
    pending.on_confirm(delivered(Lane::COMMAND, 2, 7));
    let ok = |id| (id, Ok(Confirmed { receivers: 7 }));
    assert_eq!(settled(&mut pending), [ok(commands[0]), ok(commands[1])]);
    pending.on_confirm(delivered(Lane::COMMAND, 2, 7));
    assert_eq!(settled(&mut pending), [], "said twice, settled once");
    pending.on_confirm(delivered(Lane::EVENT, 1, 0));
    assert_eq!(settled(&mut pending), [(events[0], Ok(Confirmed { receivers: 1 }))], "at least what was asked for");
}

#[test]
fn what_takes_too_long_is_in_doubt_and_the_broker_is_told_to_go_on() {
    let mut pending = Pending::default();
    let first = pending.await_delivery(START, Duration::from_millis(5), letter(Lane::COMMAND, 1, b"x"));
    let second = publish(&mut pending, Lane::COMMAND, 2..=2)[0];
    pending.on_timeout(START + Duration::from_millis(4));
    assert_eq!(settled(&mut pending), []);
    pending.on_timeout(START + Duration::from_millis(5));
    let doubt = Doubt::Timeout(std::time::Duration::from_millis(5));
    assert_eq!(settled(&mut pending), [(first, Err(doubt))]);
    assert_eq!(pending.poll_given_up(), Some(delivered(Lane::COMMAND, 1, 0)));
    assert_eq!(pending.poll_given_up(), None, "once");
    pending.on_confirm(delivered(Lane::COMMAND, 2, 1));
    assert_eq!(settled(&mut pending), [(second, Ok(Confirmed { receivers: 1 }))]);
    assert_eq!(pending.poll_timeout().filter(|&at| at < START + WHOLE), pending.poll_timeout());
}

#[test]
fn a_lane_has_room_up_to_its_bounds_and_no_lane_takes_that_of_another() {
    let mut pending = Pending::default();
    publish(&mut pending, Lane::COMMAND, 1..=CONFIRMS_PENDING_MAX as u32);
    assert!(
        !pending.has_room(Lane::COMMAND.number(), 1) && pending.has_room(Lane::EVENT.number(), CONFIRM_BYTES_MAX * 2)
    );
    pending.on_confirm(delivered(Lane::COMMAND, 1, 1));
    assert!(pending.has_room(Lane::COMMAND.number(), 1), "one is settled");
    assert!(!pending.has_room(Lane::COMMAND.number(), CONFIRM_BYTES_MAX), "other bytes wait");
}

#[test]
fn a_broken_link_leaves_accepted_messages_in_doubt_and_those_to_be_delivered_waiting() {
    let mut pending = Pending::default();
    let asked = pending.await_acceptance(START, WHOLE, Lane::STATE.number(), 1, 1);
    let unsent = pending.await_acceptance(START, WHOLE, Lane::STATE.number(), 2, 2);
    let waits = publish(&mut pending, Lane::BULK, 1..=1)[0];
    pending.on_link_down(&[1; LANES_MAX]);
    assert_eq!(settled(&mut pending), [(asked, Err(Doubt::LinkLost))]);
    assert_eq!(pending.letters().map(|letter| letter.seq).collect::<Vec<_>>(), [1]);
    pending.on_link_up(START);
    pending.on_accepted(&[2; LANES_MAX]);
    pending.on_confirm(delivered(Lane::BULK, 1, 1));
    let expected = [(unsent, Ok(Confirmed { receivers: 0 })), (waits, Ok(Confirmed { receivers: 1 }))];
    assert_eq!(settled(&mut pending), expected);
    publish(&mut pending, Lane::BULK, 2..=2);
    pending.doubt_deliveries();
    assert!(matches!(settled(&mut pending)[..], [(_, Err(Doubt::BrokerChanged))]));
}

#[test]
fn an_ordered_lane_sends_only_its_newest_message_again_and_an_unordered_one_all() {
    let due = START + Duration::from_millis(RESEND_MS_FIRST);
    let resent = |seqs: std::ops::RangeInclusive<u32>, plan: Resend| -> Vec<u32> {
        let mut pending = Pending::default();
        publish(&mut pending, Lane::COMMAND, seqs);
        assert!(pending.poll_resend(START, |_| plan).is_none(), "not yet");
        let letters = pending.poll_resend(due, |_| plan).expect("it is time");
        letters.map(|letter| letter.seq).collect()
    };
    assert_eq!(resent(1..=3, Resend::All), [1, 2, 3]);
    assert_eq!(resent(3..=3, Resend::OnlyNewest { next: 4 }), [3]);
    assert_eq!(resent(3..=3, Resend::OnlyNewest { next: 5 }), [], "something newer went out");
    assert_eq!(resent(2..=3, Resend::OnlyNewest { next: 4 }), [], "it would come before an older one");
}
