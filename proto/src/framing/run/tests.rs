use super::*;
use crate::header::Flags;
use alloc::vec::Vec;

fn frame(kind: Kind, flags: Flags, topic: u32, lane: u8, body: &[u8]) -> Vec<u8> {
    let header = Header { flags, topic, lane, seq: 1, ..Header::new(kind, body.len()) };
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

fn publish(topic: u32, lane: u8, body: &[u8]) -> Vec<u8> {
    frame(Kind::PUB, Flags(0), topic, lane, body)
}

fn take(bytes: &mut [u8], topic_out: u32) -> Result<Run, PeerFault> {
    let first = Header::decode(bytes.first_chunk().expect("a header")).expect("a valid header");
    take_run(bytes, &first, topic_out, 65_535, 1 << 20)
}

#[test]
fn a_run_takes_all_frames_of_one_topic_and_lane_and_renames_only_those() {
    let mut bytes = [publish(70_000, 1, b"a"), publish(70_000, 1, b"bc"), publish(70_001, 1, b"d")].concat();
    let run = take(&mut bytes, 5).expect("a run");
    assert_eq!(run, Run { bytes: 17 + 18, frames: 2, messages: 2, seq_through: 1 });
    assert_eq!(bytes, [publish(5, 1, b"a"), publish(5, 1, b"bc"), publish(70_001, 1, b"d")].concat());
}

#[test]
fn a_run_ends_at_another_lane_and_at_a_partial_frame() {
    let mut lanes = [publish(7, 1, b"a"), publish(7, 2, b"b")].concat();
    assert_eq!(take(&mut lanes, 7).map(|run| run.frames), Ok(1));
    let mut partial = [publish(7, 1, b"a"), publish(7, 1, b"b")].concat();
    partial.pop();
    assert_eq!(take(&mut partial, 7).map(|run| run.bytes), Ok(17));
}

#[test]
fn a_batch_counts_its_messages_and_a_fragmented_message_counts_once() {
    let batch = frame(Kind::BATCH, Flags(0), 7, 1, &[2, 0, 0, 0, 1, 0, b'a', 1, 0, b'b']);
    let src = [1, 0, 0, 0, 1, 0, 0, 0];
    let frag = |index: u8| [&[index, 0, 2, 0, 4, 0, 0, 0][..], &src, b"xy"].concat();
    let flags = Flags::FRAG.with(Flags::SRC);
    let mut bytes =
        [publish(7, 1, b"a"), batch, frame(Kind::PUB, flags, 7, 1, &frag(0)), frame(Kind::PUB, flags, 7, 1, &frag(1))]
            .concat();
    let whole = bytes.len();
    assert_eq!(take(&mut bytes, 7), Ok(Run { bytes: whole, frames: 4, messages: 4, seq_through: 1 }));
}

#[test]
fn a_faulty_frame_ends_the_run_before_it_and_is_reported_when_it_stands_first() {
    let flags = Flags::FRAG;
    let no_source = frame(Kind::PUB, flags, 7, 1, &[0, 0, 2, 0, 4, 0, 0, 0, b'x']);
    let mut behind = [publish(7, 1, b"a"), no_source.clone()].concat();
    assert_eq!(take(&mut behind, 7).map(|run| run.frames), Ok(1));
    assert_eq!(take(&mut no_source.clone(), 7), Err(PeerFault::FragmentInvalid));
    let mut large =
        frame(Kind::PUB, Flags::FRAG.with(Flags::SRC), 7, 1, &[0, 0, 2, 0, 1, 0, 16, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(take(&mut large, 7), Err(PeerFault::MessageTooLarge));
}

#[test]
fn a_message_over_a_small_bound_is_refused_even_as_a_plain_frame() {
    let mut bytes = publish(7, 1, &[0; 65]);
    let first = Header::decode(bytes.first_chunk().expect("header")).expect("valid");
    assert_eq!(take_run(&mut bytes, &first, 7, 65_535, 64), Err(PeerFault::MessageTooLarge));
    assert!(take_run(&mut bytes, &first, 7, 65_535, 65).is_ok());
}

#[test]
fn the_last_whole_message_of_a_run_is_known_by_its_number() {
    let through = |seq, kind, flags: Flags, body: &[u8]| {
        let mut bytes = frame(kind, flags, 7, 1, body);
        bytes[12..16].copy_from_slice(&u32::to_le_bytes(seq));
        take(&mut bytes, 7).map(|run| run.seq_through)
    };
    assert_eq!(through(9, Kind::PUB, Flags(0), b"a"), Ok(9));
    assert_eq!(through(0, Kind::PUB, Flags(0), b"a"), Ok(0), "unnumbered");
    let three = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(through(u32::MAX, Kind::BATCH, Flags(0), &three), Ok(2), "numbers go round without 0");
    let flags = Flags::FRAG.with(Flags::SRC);
    let frag = |index: u8| [&[index, 0, 2, 0, 4, 0, 0, 0][..], &[1, 0, 0, 0, 9, 0, 0, 0], b"xy"].concat();
    assert_eq!(through(9, Kind::PUB, flags, &frag(0)), Ok(8), "the rest is still to come");
    assert_eq!(through(9, Kind::PUB, flags, &frag(1)), Ok(9));
}

#[test]
fn frames_that_ask_to_be_confirmed_are_in_runs_of_their_own() {
    let src = [1, 0, 0, 0, 1, 0, 0, 0];
    let asking = || frame(Kind::PUB, Flags::SRC, 7, 1, &[&src[..], b"x"].concat());
    let mut first = [asking(), asking(), publish(7, 1, b"a")].concat();
    assert_eq!(take(&mut first, 7).map(|run| run.frames), Ok(2));
    let mut behind = [publish(7, 1, b"a"), asking()].concat();
    assert_eq!(take(&mut behind, 7).map(|run| run.frames), Ok(1));
}

#[test]
fn a_plain_front_is_a_whole_message_without_anything_asked() {
    let good = publish(7, 1, b"ab");
    assert_eq!(plain_front(&good).map(|front| (front.topic, front.lane, front.len)), Some((7, 1, 18)));
    assert_eq!(plain_front(&good[..17]), None, "not whole");
    assert_eq!(plain_front(&good[..15]), None, "not even its header");
    for (place, value) in [
        (0, 15),                      // shorter than a header
        (2, Kind::BATCH.0),           // several messages
        (2, Kind::CTRL.0),            // a control message
        (3, Flags::XHDR.0),           // options
        (3, Flags::RESERVED.0),       // rejected
        (8, 0),                       // the control lane
        (8, LANES_MAX as u8),         // no lane
        (9, crate::limits::HOPS_MAX), // went in a circle
    ] {
        let mut bad = good.clone();
        bad[place] = value;
        assert_eq!(plain_front(&bad), None, "byte {place} is {value}");
    }
}
