use super::*;

const SHAPE: Shape = Shape { payload_bytes: 64, topics: 1 };
const TOPIC: u32 = laneway_proto::limits::TOPIC_ID_DYNAMIC_FIRST;

/// Two blocks as a relay or broker forwards them to the only subscriber.
fn stream(framing: Framing, shape: Shape) -> (Vec<u8>, u32) {
    let mut block = Block::new(framing, shape);
    let mut bytes = block.bytes().to_vec();
    block.number_from(1 + block.messages());
    bytes.extend_from_slice(block.bytes());
    (bytes, block.messages())
}

fn receiver(framing: Framing, shape: Shape, block_messages: u32) -> Box<dyn Receive> {
    let expect = Expect::new(0, shape, block_messages);
    match framing {
        Framing::Relay => Box::new(Walk::new(Relay::new(expect, shape))),
        Framing::Index => Box::new(Walk::new(Index::new(expect, shape, 0))),
        Framing::Single if shape.payload_bytes > SINGLE_BYTES_MAX => {
            Box::new(Walk::new(Pieces::new(expect, shape, TOPIC)))
        }
        Framing::Single => Box::new(Walk::new(Single::new(expect, shape, TOPIC))),
        Framing::Batch => Box::new(Walk::new(Batch::new(expect, shape, TOPIC, block_messages))),
    }
}

#[test]
fn a_good_stream_passes_in_every_framing_however_it_is_cut() {
    let large = Shape { payload_bytes: 100_000, topics: 1 };
    let least = Shape { payload_bytes: PAYLOAD_BYTES_MIN, topics: 1 };
    let cells = [
        (Framing::Relay, least),
        (Framing::Index, least),
        (Framing::Single, least),
        (Framing::Batch, least),
        (Framing::Single, Shape { payload_bytes: SINGLE_BYTES_MAX, topics: 1 }),
        (Framing::Batch, Shape { payload_bytes: BATCH_PAYLOAD_BYTES_MAX, topics: 1 }),
        (Framing::Relay, SHAPE),
        (Framing::Relay, large),
        (Framing::Index, SHAPE),
        (Framing::Single, SHAPE),
        (Framing::Single, large),
        (Framing::Batch, SHAPE),
    ];
    for (framing, shape) in cells {
        let (bytes, messages) = stream(framing, shape);
        for cut in [1, 7, 41, 4_096, bytes.len()] {
            let mut receiver = receiver(framing, shape, messages);
            for part in bytes.chunks(cut) {
                receiver.on_bytes(part).unwrap_or_else(|fault| panic!("{framing:?} cut by {cut}: {fault}"));
            }
            assert_eq!(receiver.messages(), u64::from(messages) * 2, "{framing:?} cut by {cut}");
        }
    }
}

#[test]
fn single_messages_that_the_broker_has_packed_pass_however_they_are_cut_and_are_checked_as_well() {
    let (mut bytes, messages) = stream(Framing::Single, SHAPE);
    let half = bytes.len() / 2;
    let packed = laneway_proto::framing::pack::pack(&mut bytes[half..]).expect("alike");
    bytes.drain(half..half + packed.start);
    for cut in [1, 7, 41, 4_096, bytes.len()] {
        let mut receiver = receiver(Framing::Single, SHAPE, messages);
        for part in bytes.chunks(cut) {
            receiver.on_bytes(part).unwrap_or_else(|fault| panic!("cut by {cut}: {fault}"));
        }
        assert_eq!(receiver.messages(), u64::from(messages) * 2, "cut by {cut}");
    }
    // The length of a message, the number of one, the count of a head, its lane.
    for at in [half + 20, half + 22, half + 16, half + 8] {
        let mut wrong = bytes.clone();
        wrong[at] ^= 2;
        assert!(receiver(Framing::Single, SHAPE, messages).on_bytes(&wrong).is_err(), "byte {at}");
    }
}

#[test]
fn a_swapped_missing_repeated_or_corrupted_frame_is_caught() {
    let (good, messages) = stream(Framing::Relay, SHAPE);
    let unit = 68;
    let swapped = [&good[..unit], &good[2 * unit..3 * unit], &good[unit..2 * unit], &good[3 * unit..]].concat();
    let missing = [&good[..unit], &good[2 * unit..]].concat();
    let repeated = [&good[..unit], &good[..unit], &good[unit..]].concat();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let cases = [
        ("swapped", swapped),
        ("missing", missing),
        ("repeated", repeated),
        ("length", flipped(5 * unit)),
        ("number", flipped(5 * unit + 4)),
        ("last byte", flipped(6 * unit - 1)),
    ];
    for (name, bytes) in cases {
        assert!(receiver(Framing::Relay, SHAPE, messages).on_bytes(&bytes).is_err(), "{name} in one piece");
        let mut slow = receiver(Framing::Relay, SHAPE, messages);
        assert!(bytes.chunks(13).any(|part| slow.on_bytes(part).is_err()), "{name} in small pieces");
    }
}

#[test]
fn laneways_frames_are_checked_in_header_number_and_last_byte() {
    let large = Shape { payload_bytes: 100_000, topics: 1 };
    for (framing, shape, places) in [
        (Framing::Single, SHAPE, &[0usize, 2, 3, 4, 8, 16, 79][..]),
        (Framing::Batch, SHAPE, &[0, 2, 4, 16, 20, 22, 85]),
        (Framing::Single, large, &[0, 3, 4, 16, 20, 28, 32, 16_416, 16_432]),
    ] {
        let (good, messages) = stream(framing, shape);
        for &place in places {
            let mut bytes = good.clone();
            bytes[place] ^= 1;
            let got = receiver(framing, shape, messages).on_bytes(&bytes);
            assert!(got.is_err(), "{framing:?} {} B: byte {place} was changed", shape.payload_bytes);
        }
    }
}

#[test]
fn a_stream_that_cycles_through_topics_gives_each_subscriber_every_tenth_number() {
    let shape = Shape { payload_bytes: 64, topics: 10 };
    for framing in [Framing::Index, Framing::Single, Framing::Batch] {
        let block = Block::new(framing, shape);
        assert!(block.messages().is_multiple_of(10));
        assert!(block.bytes().len() <= WRITE_BYTES_MAX);
        let expect = Expect::new(3, shape, block.messages());
        let items = block.messages() / 10;
        let (unit, mut receiver): (usize, Box<dyn Receive>) = match framing {
            Framing::Index => (72, Box::new(Walk::new(Index::new(expect, shape, 3)))),
            Framing::Batch => {
                let frame = block.bytes().len() / 10;
                (frame, Box::new(Walk::new(Batch::new(expect, shape, TOPIC + 3, items))))
            }
            Framing::Relay | Framing::Single => (80, Box::new(Walk::new(Single::new(expect, shape, TOPIC + 3)))),
        };
        for frame in block.bytes().chunks(unit).skip(3).step_by(10) {
            receiver.on_bytes(frame).unwrap_or_else(|fault| panic!("{framing:?}: {fault}"));
        }
        assert_eq!(receiver.messages(), u64::from(items), "{framing:?}");
    }
}

#[test]
fn a_write_holds_whole_messages_and_at_most_64_kib_unless_one_is_larger() {
    for payload_bytes in [16, 64, 1_024, 16_384, 65_000] {
        for framing in [Framing::Relay, Framing::Single, Framing::Batch] {
            let block = Block::new(framing, Shape { payload_bytes, topics: 1 });
            assert!(block.bytes().len() <= WRITE_BYTES_MAX, "{framing:?} {payload_bytes}");
        }
    }
    assert_eq!(Block::new(Framing::Relay, SHAPE).messages(), 963);
    assert_eq!(Block::new(Framing::Single, Shape { payload_bytes: 1 << 20, topics: 1 }).messages(), 1);
}

#[test]
fn what_the_load_publishes_is_what_the_protocol_accepts() {
    use laneway_proto::framing::run::take_run;
    use laneway_proto::header::Header;
    for (framing, payload_bytes) in [(Framing::Single, 64), (Framing::Batch, 64), (Framing::Single, 1 << 20)] {
        let block = Block::new(framing, Shape { payload_bytes, topics: 1 });
        let mut bytes = block.bytes().to_vec();
        let first = Header::decode(bytes.first_chunk().expect("a header")).expect("valid");
        let run = take_run(&mut bytes, &first, 7, 65_535, 1 << 20).expect("a run");
        assert_eq!((run.messages, run.bytes), (block.messages(), block.bytes().len()), "{framing:?}");
    }
}

#[test]
fn a_goodbye_in_the_stream_is_reported_with_its_reason() {
    use laneway_proto::control::{Body, Control, Goodbye};
    let frame =
        Control::new(Body::Goodbye(Goodbye { code: 11, reason: "reads too slowly".into(), drain_ms: 0 })).to_frame();
    let fault = receiver(Framing::Single, SHAPE, 10).on_bytes(&[frame.as_slice(), &[0; 80]].concat());
    assert!(fault.is_err_and(|fault| fault.0.contains("reads too slowly")));
}
