use super::*;
use crate::frame::extensions::Frag;
use crate::frame::lost::LossReason;
use crate::header::{Flags, Kind};
use alloc::vec;
use alloc::vec::Vec;

type Frames = Outbound<Vec<FrameSlot>, Vec<SentSlot>>;

const NOW: Instant = Instant(1);

fn outbound(places: usize, window: u32) -> Frames {
    Outbound::new(vec![FrameSlot::default(); places], vec![SentSlot::default(); 32], u32::MAX - 1, window)
}

fn whole(payload: u32) -> Carried {
    Carried {
        kind: Kind::PUB,
        flags: Flags(0),
        hops: 0,
        ckey: 0,
        topic: 7,
        payload: PayloadId(payload),
        body_bytes: 84,
        frag: None,
        messages: 1,
        deadline: None,
    }
}

fn piece(payload: u32, index: u16, count: u16) -> Carried {
    let frag = Frag { index, count, total_len: u32::from(count) * 76 - 46 };
    let body_bytes = if index + 1 == count { 38 } else { 84 };
    Carried { frag: Some(frag), body_bytes, ..whole(payload) }
}

/// Sends one datagram of these new frames of lane 1.
fn send(frames: &mut Frames, number: u32, carried: &[Carried]) -> Vec<u32> {
    let numbers = carried.iter().map(|carried| frames.add_new(NOW, 1, *carried)).collect();
    frames.close(NOW, number, 1_000, true);
    numbers
}

/// Sends one datagram of everything that is to be sent again on lane 1; returns the numbers.
fn send_again(frames: &mut Frames, number: u32) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Some(slot) = frames.again(1) {
        numbers.push(slot.first_seq());
        frames.add_again(1);
    }
    frames.close(NOW, number, 1_000, true);
    numbers
}

fn ack(frames: &mut Frames, number: u32) {
    frames.on_span(Span { first: number, last: number }, &mut |_| {});
}

fn settled(frames: &mut Frames) -> Vec<(u32, Outcome)> {
    core::iter::from_fn(|| frames.poll_settled()).map(|settled| (settled.payload.0, settled.outcome)).collect()
}

/// Everything is settled and every place free again.
fn assert_empty(frames: &mut Frames, places: usize) {
    assert_eq!(settled(frames), []);
    assert_eq!((frames.free_count, frames.sent.in_flight()), (places, 0));
    assert_eq!((frames.lanes[1].partial_bytes, frames.oldest_unsettled(1)), (0, None));
}

#[test]
fn a_frame_is_sent_again_in_another_datagram_until_it_is_acknowledged() {
    let mut frames = outbound(8, 100);
    assert_eq!(send(&mut frames, 1, &[whole(1), whole(2)]), [u32::MAX - 1, u32::MAX]);
    assert_eq!(send(&mut frames, 2, &[whole(3)]), [1], "0 numbers nothing");
    ack(&mut frames, 2);
    assert_eq!(settled(&mut frames), [(3, Outcome::Acked)]);
    assert!(frames.lose_oldest(Fate::Overtaken, |_| true).is_some());
    assert_eq!(send_again(&mut frames, 3), [u32::MAX - 1, u32::MAX]);
    assert!(frames.lose_oldest(Fate::Unheard, |_| true).is_some());
    ack(&mut frames, 1);
    assert_eq!(settled(&mut frames), [], "its frames are no longer in it");
    assert_eq!(send_again(&mut frames, 4), [u32::MAX - 1, u32::MAX]);
    frames.on_through(4, &mut |_| {});
    assert_eq!(settled(&mut frames), [(1, Outcome::Acked), (2, Outcome::Acked)]);
    assert_empty(&mut frames, 8);
}

#[test]
fn what_was_lost_earlier_is_sent_again_first() {
    let mut frames = outbound(8, 100);
    (1..4).for_each(|number| drop(send(&mut frames, number, &[whole(number)])));
    while frames.lose_oldest(Fate::Unheard, |slot| slot.number < 3).is_some() {}
    frames.add_again(1);
    frames.close(NOW, 4, 100, true);
    assert!(frames.lose_oldest(Fate::Overtaken, |slot| slot.number == 3).is_some());
    assert!(frames.lose_oldest(Fate::Overtaken, |slot| slot.number == 4).is_some());
    assert_eq!(send_again(&mut frames, 5), [u32::MAX - 1, u32::MAX, 1]);
}

#[test]
fn a_lane_waits_for_its_window_its_places_and_its_messages() {
    let mut frames = outbound(16, 3);
    let room = |frames: &Frames, class, begins| frames.check_room(1, class, begins, 200);
    drop(send(&mut frames, 1, &[whole(1), whole(2)]));
    assert_eq!(room(&frames, 0, None), Ok(()));
    drop(send(&mut frames, 2, &[whole(3)]));
    assert_eq!(room(&frames, 0, None), Err(Full::Window));
    ack(&mut frames, 2);
    assert_eq!(room(&frames, 0, None), Err(Full::Window), "the oldest one counts");
    ack(&mut frames, 1);
    assert_eq!((room(&frames, 0, None), room(&frames, 7, None)), (Ok(()), Ok(())));
    assert_eq!((room(&frames, 3, None), room(&frames, 13, None)), (Ok(()), Err(Full::Places)), "told of, not yet free");
    assert_eq!(settled(&mut frames).len(), 3);
    assert_eq!(room(&frames, 13, None), Ok(()));
    assert_eq!(room(&frames, 0, Some(1_000)), Ok(()), "one message may be as long as it likes");
    drop(send(&mut frames, 3, &[piece(4, 0, 2)]));
    assert_eq!((room(&frames, 0, Some(94)), room(&frames, 0, Some(95))), (Ok(()), Err(Full::Partial)));
    ack(&mut frames, 3);
    assert_eq!(room(&frames, 0, Some(95)), Err(Full::Partial), "the rest of it is still to come");
    drop(send(&mut frames, 4, &[piece(5, 1, 2)]));
    ack(&mut frames, 4);
    assert_eq!(room(&frames, 0, Some(10_000)), Ok(()));
    assert_eq!(settled(&mut frames).len(), 2);
    assert_empty(&mut frames, 16);
}

#[test]
fn a_message_is_given_up_as_a_whole_and_lost_stands_in_its_place() {
    let mut frames = outbound(8, 100);
    drop(send(&mut frames, 1, &[whole(1), piece(2, 0, 4)]));
    drop(send(&mut frames, 2, &[piece(3, 1, 4)]));
    drop(send(&mut frames, 3, &[piece(4, 2, 4)]));
    ack(&mut frames, 1);
    assert!(frames.lose_oldest(Fate::Overtaken, |_| true).is_some());
    assert!(frames.abandon_again(1, LossReason::Ttl));
    assert_eq!(settled(&mut frames), {
        [(1, Outcome::Acked), (2, Outcome::Acked), (3, Outcome::Abandoned), (4, Outcome::Abandoned)]
    });
    let lost = frames.lost_again(1).expect("a LOST");
    assert_eq!((lost.first, lost.count, lost.messages, lost.sent), (u32::MAX, 4, 1, 3));
    assert_eq!((lost.frame_bytes, lost.last_bytes, lost.topic), (100, 0, 7));
    assert!(frames.skips(1, Some(3)) && !frames.skips(1, None) && !frames.skips(1, Some(3)));
    assert_eq!(frames.next_seq(1), 4, "the fragment that was not taken has a number, too");
    assert_eq!(send_again(&mut frames, 4), [u32::MAX]);
    ack(&mut frames, 3);
    assert_eq!(settled(&mut frames), [], "what was in it was told");
    ack(&mut frames, 4);
    assert_empty(&mut frames, 8);
}

#[test]
fn a_loss_longer_than_the_window_is_said_in_parts() {
    let mut frames = outbound(8, 4);
    drop(send(&mut frames, 1, &[whole(1)]));
    drop(send(&mut frames, 2, &[piece(2, 0, 10), piece(3, 1, 10)]));
    ack(&mut frames, 9);
    while frames.lose_oldest(Fate::Unheard, |_| true).is_some() {}
    let oldest = frames.again(1).map(FrameSlot::first_seq);
    assert_eq!(oldest, Some(u32::MAX - 1));
    frames.add_again(1);
    frames.close(NOW, 3, 100, true);
    assert!(frames.abandon_again(1, LossReason::Ttl));
    let said = |frames: &Frames| frames.lost_again(1).map(|lost| (lost.first, lost.count, lost.messages, lost.sent));
    assert_eq!(said(&frames), Some((u32::MAX, 3, 0, 2)), "as far as the window goes");
    assert_eq!(send_again(&mut frames, 4), [u32::MAX]);
    ack(&mut frames, 4);
    assert_eq!(said(&frames), None, "the window has not moved");
    ack(&mut frames, 3);
    assert_eq!(said(&frames), Some((3, 4, 0, 0)));
    assert_eq!(send_again(&mut frames, 5), [3]);
    assert!(frames.lose_oldest(Fate::Unheard, |_| true).is_some());
    assert_eq!(said(&frames), Some((3, 4, 0, 0)));
    assert_eq!(send_again(&mut frames, 6), [3]);
    ack(&mut frames, 6);
    assert_eq!(said(&frames), Some((7, 3, 1, 0)), "the message is counted with the last part");
    assert_eq!(send_again(&mut frames, 7), [7]);
    assert_eq!(frames.check_room(1, 0, None, 0), Ok(()));
    ack(&mut frames, 7);
    assert_eq!(settled(&mut frames).len(), 3);
    assert_empty(&mut frames, 8);
}

#[test]
fn the_end_of_a_session_tells_of_everything_that_is_open() {
    let mut frames = outbound(8, 100);
    drop(send(&mut frames, 1, &[whole(1), whole(2)]));
    drop(send(&mut frames, 2, &[whole(3)]));
    assert!(frames.lose_oldest(Fate::Unheard, |_| true).is_some());
    assert!(frames.abandon_again(1, LossReason::Ttl));
    frames.tell_all();
    assert_eq!(settled(&mut frames), {
        [(1, Outcome::Abandoned), (2, Outcome::MaybeDelivered), (3, Outcome::MaybeDelivered)]
    });
    assert_empty(&mut frames, 8);
}
