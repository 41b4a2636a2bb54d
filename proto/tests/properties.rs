//! Random inputs against the naive models in `model/`. A failure prints its smallest input and keeps its seed beside
//! this file, where every later run replays it first.

pub mod model;

use laneway_proto::error::DecodeError;
use laneway_proto::header::{Flags, Header, seq_after};
use laneway_proto::session::Patience;
use laneway_proto::time::{Duration, Instant};
use model::session::{Event, Watched};
use model::stream::Bounds;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/properties.regressions");

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: count,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        ..ProptestConfig::default()
    }
}

/// Bytes that are zero, small, or anything: lengths and counts are then often nearly right.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![3 => Just(0), 4 => 1u8..8, 2 => any::<u8>()]
}

fn batch_body() -> impl Strategy<Value = Vec<u8>> {
    vec(vec(any::<u8>(), 0..6), 0..5).prop_map(|messages| {
        let mut body = vec![messages.len() as u8, 0, 0, 0];
        for message in messages {
            body.extend_from_slice(&(message.len() as u16).to_le_bytes());
            body.extend_from_slice(&message);
        }
        body
    })
}

/// Extension blocks as `flags` announces them, mostly plausible.
fn extensions(flags: u8) -> impl Strategy<Value = Vec<u8>> {
    let frag = (0u8..3, 1u8..4, any::<u8>()).prop_map(|(index, count, len)| vec![index, 0, count, 0, len, 0, 0, 0]);
    let tlvs = vec((byte(), vec(any::<u8>(), 0..4)), 0..3).prop_map(|tlvs| {
        let mut block = vec![0, 0];
        for (kind, value) in tlvs {
            block.extend_from_slice(&[kind, value.len() as u8]);
            block.extend_from_slice(&value);
        }
        block.resize(block.len().next_multiple_of(4).max(4), 0);
        block[0] = block.len() as u8;
        block
    });
    (vec(any::<u8>(), 24), frag, tlvs).prop_map(move |(fixed, frag, tlvs)| {
        let mut block = Vec::new();
        for (bit, bytes) in [&fixed[..8], &frag, &fixed[8..16], &fixed[16..], &tlvs].into_iter().enumerate() {
            if flags & (1 << bit) != 0 {
                block.extend_from_slice(bytes);
            }
        }
        block
    })
}

fn flags() -> impl Strategy<Value = u8> {
    prop_oneof![6 => Just(0u8), 2 => Just(0x01), 3 => Just(0x0A), 1 => Just(0x60), 2 => any::<u8>()]
}

fn body(kind: u8) -> BoxedStrategy<Vec<u8>> {
    if kind == 0x05 {
        prop_oneof![4 => batch_body(), 1 => vec(byte(), 0..12)].boxed()
    } else {
        vec(any::<u8>(), 0..40).boxed()
    }
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![8 => Just(0x01u8), 3 => Just(0x05), 1 => Just(0x80), 1 => Just(0x81), 1 => any::<u8>()];
    let place = (0u8..2, prop_oneof![6 => Just(1u8), 1 => 0u8..20], prop_oneof![9 => Just(0u8), 1 => 6u8..10]);
    (kind, flags(), place, any::<u32>())
        .prop_flat_map(|(kind, flags, place, seq)| (Just((kind, flags, place, seq)), extensions(flags), body(kind)))
        .prop_map(|((kind, flags, (topic, lane, hops), seq), extensions, body)| {
            let len = 16 + (extensions.len() + body.len()) as u16;
            let [l0, l1] = len.to_le_bytes();
            let mut frame = vec![l0, l1, kind, flags, topic, 0, 1, 0, lane, hops, 0, 0];
            frame.extend_from_slice(&seq.to_le_bytes());
            frame.extend_from_slice(&extensions);
            frame.extend_from_slice(&body);
            frame
        })
}

/// Frames back to back, now and then with one byte changed or the end cut off; or just bytes.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let frames = || vec(frame(), 0..24).prop_map(|frames| frames.concat());
    let damaged = (frames(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, byte)| {
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    });
    let cut = (frames(), any::<prop::sample::Index>()).prop_map(|(mut bytes, at)| {
        bytes.truncate(at.index(bytes.len() + 1));
        bytes
    });
    prop_oneof![4 => frames(), 2 => damaged, 2 => cut, 1 => vec(any::<u8>(), 0..200)]
}

fn event() -> impl Strategy<Value = Event> {
    let preface = prop_oneof![4 => Just([0x8B, 0x4C, 0x42, 0x1A, 1, 1, 0, 0]), 1 => any::<[u8; 8]>()];
    let header = (flags(), 0u8..18, 0u8..10, prop_oneof![4 => 0u8..6, 4 => 0x80u8..0x8B, 2 => any::<u8>()])
        .prop_map(|(flags, lane, hops, kind)| [16, 0, kind, flags, 0, 0, 1, 0, lane, hops, 0, 0, 1, 0, 0, 0]);
    prop_oneof![
        4 => prop_oneof![0u16..3, 300u16..1_100, any::<u16>()].prop_map(Event::Wait),
        2 => preface.prop_map(Event::Preface),
        2 => Just(Event::Agreed),
        1 => Just(Event::Closing),
        6 => header.prop_map(Event::Frame),
        4 => any::<bool>().prop_map(Event::Read),
        4 => Just(Event::Malformed),
        3 => Just(Event::Timeout),
    ]
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn a_header_survives_the_round_trip_and_a_false_length_does_not(bytes in any::<[u8; 16]>(), small in any::<bool>()) {
        let mut bytes = bytes;
        if small {
            (bytes[0], bytes[1]) = (bytes[0] % 32, 0);
        }
        let len = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
        match Header::decode(&bytes) {
            Ok(header) => {
                prop_assert!(len >= 16);
                prop_assert_eq!(header.encode(), bytes);
                prop_assert_eq!(header.body_bytes(), len - 16);
            }
            Err(error) => {
                prop_assert!(len < 16);
                prop_assert_eq!(error, DecodeError::LengthTooSmall);
            }
        }
    }

    #[test]
    fn sequence_numbers_advance_like_counting_that_skips_zero(
        seq in prop_oneof![1u32.., u32::MAX - 5_000..],
        count in 1u32..5_000,
    ) {
        let mut expected = seq;
        for _ in 0..count {
            expected = if expected == u32::MAX { 1 } else { expected + 1 };
        }
        prop_assert_eq!(seq_after(seq, count), expected);
    }

    #[test]
    fn batches_yield_what_the_naive_reader_finds(
        batch in batch_body(),
        noise in vec(byte(), 0..40),
        lost in 0usize..3,
        tail in vec(byte(), 0..3),
    ) {
        model::batch::compare(&batch);
        model::batch::compare(&batch[..batch.len() - lost.min(batch.len())]);
        model::batch::compare(&[batch, tail].concat());
        model::batch::compare(&noise);
    }

    #[test]
    fn hot_bodies_are_read_as_their_layouts_say(
        lanes in vec((0u8..18, prop_oneof![9 => Just(0u8), 1 => any::<u8>()], any::<[u8; 8]>()), 0..17),
        confirms in vec((0u8..6, 0u8..4, any::<[u8; 2]>(), byte()), 0..17),
        lost in (0u8..4, 0u8..4, 0u8..12, byte(), any::<[u8; 8]>()),
        cut in prop_oneof![3 => Just(0usize), 1 => 0usize..20],
        noise in vec(byte(), 0..40),
    ) {
        let mut totals = vec![lanes.len() as u8, 0, 0, 0];
        lanes.iter().for_each(|(lane, zero, total)| totals.extend([&[*lane, *zero, 0, 0][..], total].concat()));
        let mut levels = vec![confirms.len() as u8, 0, 0, 0];
        confirms.iter().for_each(|(lane, level, [r0, r1], seq)| levels.extend([*lane, *level, *r0, *r1, *seq, 0, 0, 0]));
        let (lane, said, reason, zero, numbers) = lost;
        let report = [&[said, reason, zero, 0][..], &numbers].concat();
        for body in [&totals, &levels, &report, &noise].map(|body| &body[..body.len().saturating_sub(cut)]) {
            model::hot::compare_credit(body);
            model::hot::compare_count(body);
            model::hot::compare_confirm(body);
            model::hot::compare_lost(7, lane, body);
        }
    }

    #[test]
    fn extensions_are_read_at_the_offsets_of_the_formula(
        (flags, body) in any::<u8>().prop_flat_map(|flags| (Just(flags), (extensions(flags), vec(any::<u8>(), 0..20)))),
        noise in vec(byte(), 0..80),
        lost in 0usize..12,
    ) {
        let (mut body, payload) = body;
        let blocks = body.len();
        body.extend_from_slice(&payload);
        model::frame::compare_extensions(flags, &body);
        model::frame::compare_extensions(flags, &body[..body.len().saturating_sub(lost)]);
        model::frame::compare_extensions(flags, &noise);
        if flags & 0x10 == 0 {
            let fixed = Flags(flags).fixed_extension_bytes();
            prop_assert_eq!(fixed, blocks);
if let Ok(layout) = model::frame::layout(flags, &body) {
                prop_assert_eq!(layout.payload_at, fixed);
            }
        }
    }

    #[test]
    fn runs_over_a_torn_stream_pass_on_what_a_walk_by_frames_does(
        stream in stream(),
        pieces in vec(any::<u8>(), 1..5),
        frame_bytes_max in prop_oneof![4 => Just(65_535usize), 1 => 16usize..80],
        message_bytes_max in prop_oneof![4 => Just(1u32 << 20), 1 => 0u32..64],
    ) {
        let bounds = Bounds { frame_bytes_max, message_bytes_max, topic_out: 0x0A0B_0C0D };
        model::stream::compare(&stream, &pieces, bounds);
        model::stream::compare(&stream, &[1], bounds);
    }

    #[test]
    fn a_cut_message_is_whole_again_with_its_last_fragment(
        (total, fragment) in prop_oneof![(any::<u32>(), any::<u32>()), (0u32..70_000, 0u32..70), (0u32..1 << 24, 200u32..20_000)]
    ) {
        model::fragment::compare_cut(total, fragment);
    }

    #[test]
    fn fragments_in_any_order_are_taken_or_refused_as_the_list_of_them_says(
        offers in vec((0u16..4, 2u16..4, 5u32..8, 0usize..5), 1..12)
    ) {
        let mut receiver = model::fragment::Receiver::default();
        for (index, count, total_len, payload_bytes) in offers {
            let frag = laneway_proto::frame::extensions::Frag { index: index % count, count, total_len };
            receiver.offer(frag, payload_bytes, 6);
        }
    }

    #[test]
    fn a_session_never_goes_back_and_never_moves_a_deadline_that_stands(
        events in vec(event(), 0..60),
        handshake_ms in 0u32..3_000,
        partial_frame_ms in 0u32..3_000,
    ) {
        let patience = Patience {
            handshake: Duration::from_millis(handshake_ms),
            partial_frame: Duration::from_millis(partial_frame_ms),
        };
        let mut session = Watched::new(Instant(7), patience);
        for event in events {
            if !session.on(event) {
                session.on(Event::Closing);
            }
        }
    }
}
