use super::*;
use crate::pool::{BufId, PoolShape};

const SHAPE: PoolShape = PoolShape {
    ingress_buffer_bytes: 64,
    ingress_buffers: 1,
    ingress_buffers_max: 1,
    egress_buffer_bytes: 64,
    egress_buffers_kept: 4,
};

fn record(bytes: u32) -> Record {
    Record {
        topic: 70_000,
        bytes,
        frames: 1,
        messages: 2,
        origin: Key { slot: 3, generation: 4 },
        lane: 5,
        ttl_ms: 6,
        ticket: Some(7),
        stamp: u64::MAX - 7,
    }
}

fn pair(chunks_max: u32) -> (Mesh, Mesh) {
    let mut shards = wire(2, chunks_max);
    let second = shards.pop().expect("two shards");
    (shards.pop().expect("two shards"), second)
}

#[test]
fn a_run_crosses_with_its_record_and_its_chunk_comes_home() {
    let (mut a, b) = pair(1);
    let mut pool = Pool::new(SHAPE);
    let buf: BufId = pool.take_egress();
    pool.bytes_mut(buf)[..4].copy_from_slice(b"body");
    assert!(a.has_room(1, 8));
    a.push_run(1, &record(8), b"head", &[Piece { buf, start: 0, len: 4 }], &mut pool);
    assert_eq!(a.flush(), 0, "the other shard does not sleep");
    let Some(Envelope::Runs { chunk, len }) = b.receive(0) else { panic!("no runs arrived") };
    assert_eq!(len as usize, RECORD_BYTES + 8);
    assert_eq!(Record::decode(&chunk), Some(record(8)));
    assert_eq!(&chunk[RECORD_BYTES..len as usize], b"headbody");
    assert!(!a.has_room(1, 8), "the only chunk is away");
    b.send_home(0, chunk);
    assert!(a.has_room(1, 8));
}

#[test]
fn a_full_chunk_is_closed_and_the_next_one_opened() {
    let (mut a, b) = pair(2);
    let mut pool = Pool::new(SHAPE);
    let large = vec![7; 60_000];
    for _ in 0..2 {
        assert!(a.has_room(1, large.len()));
        a.push_run(1, &record(60_000), &large, &[], &mut pool);
    }
    assert!(!a.has_room(1, large.len()), "both chunks are used up");
    a.flush();
    let runs = std::iter::from_fn(|| b.receive(0)).filter(|envelope| matches!(envelope, Envelope::Runs { .. }));
    assert_eq!(runs.count(), 2);
}

#[test]
fn a_sleeping_shard_is_woken_once_and_does_not_sleep_over_mail() {
    let (mut a, b) = pair(1);
    assert!(b.prepare_sleep());
    a.post(1, Envelope::Drained);
    assert_eq!(a.flush(), 1 << 1);
    a.post(1, Envelope::Drained);
    assert_eq!(a.flush(), 0, "already roused");
    assert!(!b.prepare_sleep(), "mail has arrived");
    while b.receive(0).is_some() {}
    assert!(b.prepare_sleep());
}

#[test]
fn a_sender_that_waits_for_a_chunk_is_woken_when_one_comes_home() {
    let (mut a, b) = pair(1);
    let mut pool = Pool::new(SHAPE);
    assert!(a.has_room(1, 4));
    a.push_run(1, &record(4), b"head", &[], &mut pool);
    a.flush();
    let Some(Envelope::Runs { chunk, .. }) = b.receive(0) else { panic!("no runs arrived") };
    assert!(!a.has_room(1, CHUNK_BYTES - RECORD_BYTES));
    assert!(a.prepare_sleep());
    assert!(b.send_home(0, chunk), "its owner sleeps and waits");
    assert!(!a.prepare_sleep(), "a chunk is there");
}

#[test]
fn control_messages_beyond_the_links_bound_wait_and_arrive_in_order() {
    let (mut a, b) = pair(1);
    for ticket in 0..LINK_ENVELOPES_MAX as u64 + 10 {
        a.post(1, Envelope::InterestDone { ticket });
    }
    a.flush();
    assert!(a.is_stuck());
    let mut expected = 0;
    while !a.is_flushed() || expected < LINK_ENVELOPES_MAX as u64 + 10 {
        while let Some(Envelope::InterestDone { ticket }) = b.receive(0) {
            assert_eq!(ticket, expected);
            expected += 1;
        }
        a.flush();
    }
}

#[test]
fn a_wait_that_nobody_renews_does_not_keep_the_shard_awake() {
    let (mut a, b) = pair(1);
    let mut pool = Pool::new(SHAPE);
    assert!(a.has_room(1, 4));
    a.push_run(1, &record(4), b"head", &[], &mut pool);
    a.flush();
    assert!(!a.has_room(1, 4), "a publisher waits for the only chunk");
    let Some(Envelope::Runs { chunk, .. }) = b.receive(0) else { panic!("no runs arrived") };
    b.send_home(0, chunk);
    assert!(!a.prepare_sleep(), "the chunk is there for the publisher");
    a.on_awake();
    assert!(a.prepare_sleep(), "the publisher is gone and asked no more");
}
