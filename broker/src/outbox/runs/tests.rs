use super::*;
use crate::outbox::tests::SHAPE;
use crate::pool::PoolShape;
use laneway_proto::frame::extensions::Src;
use laneway_proto::header::{Header, Kind};
use proptest::prelude::*;

const COMMON: Common = Common { topic: 70_000, deadline: NEVER };

fn frame(payload: usize, value: u8) -> Vec<u8> {
    let mut bytes = Header { topic: 70_000, lane: 4, ..Header::new(Kind::PUB, payload) }.encode().to_vec();
    bytes.extend(std::iter::repeat_n(value, payload));
    bytes
}

fn frames<'a>(head: &'a [u8], pieces: &'a [Piece], share: bool, count: u32) -> Frames<'a> {
    Frames { topic: 70_000, head, pieces, whole: &[], share, count, mark: None }
}

fn mark(ticket: u32) -> Mark {
    use crate::outbox::Feeder;
    use crate::slab::Key;
    Mark { publisher: Feeder { shard: 0, key: Key { slot: 0, generation: 0 } }, lane: 4, ticket }
}

fn taken(runs: &mut Runs, bytes_max: u64, pool: &mut Pool) -> (Vec<u8>, Taken) {
    let mut bytes = Vec::new();
    let taken = runs.take(bytes_max, pool, &mut |piece, pool| {
        bytes.extend_from_slice(pool.piece(piece));
        pool.release(piece.buf);
    });
    assert_eq!(taken.bytes, bytes.len() as u64);
    (bytes, taken)
}

proptest! {
    /// Frames in one part or several, shared or copied, are taken, counted and dropped as from a list of frames; a mark
    /// comes with the last frame of its run, unless one of them was dropped.
    #[test]
    fn it_behaves_like_a_list_of_frames(
        steps in prop::collection::vec((0u8..4, 0usize..150, any::<bool>(), 0usize..6, 1u64..600), 1..80),
    ) {
        let mut pool = Pool::new(SHAPE);
        let mut runs = Runs::default();
        let mut model: VecDeque<(Vec<u8>, u32)> = VecDeque::new();
        let mut value = 0;
        let (mut run, mut spoilt) = (0, Vec::new());
        for (what, payload, share, cuts, bytes_max) in steps {
            match what {
                // A run of several frames in one part, or one frame in several parts.
                0 | 1 => {
                    let count = if what == 0 { cuts + 1 } else { 1 };
                    let mut bytes = Vec::new();
                    run += 1;
                    for _ in 0..count {
                        value = u8::wrapping_add(value, 1);
                        model.push_back((frame(payload, value), run));
                        bytes.extend(frame(payload, value));
                    }
                    let head = if what == 0 { 0 } else { (cuts * 7).min(bytes.len()) };
                    let Some((buf, mut memory)) = pool.lend() else { model.truncate(model.len() - count); continue };
                    memory[..bytes.len()].copy_from_slice(&bytes);
                    pool.restore(buf, memory);
                    let half = (bytes.len() - head) / 2;
                    let all = Piece { buf, start: head as u32, len: (bytes.len() - head) as u32 };
                    let parts = [Piece { len: half as u32, ..all }, Piece { start: all.start + half as u32, len: all.len - half as u32, ..all }];
                    let pieces: Vec<Piece> = match what { 0 => vec![all], _ => parts.into_iter().filter(|part| part.len > 0).collect() };
                    let mark = run.is_multiple_of(3).then(|| mark(run));
                    let run = Frames { mark, ..frames(&bytes[..head], &pieces, share, count as u32) };
                    runs.push(&run, COMMON, &mut pool);
                    pool.release(buf);
                }
                2 => {
                    let dropped = runs.drop_front(&mut pool);
                    let gone = model.pop_front();
                    spoilt.extend(gone.as_ref().map(|(_, run)| *run));
                    prop_assert_eq!(dropped, gone.map(|_| (70_000, 1)));
                }
                _ => {
                    let (bytes, taken) = taken(&mut runs, bytes_max, &mut pool);
                    let (mut wanted, mut count, mut last) = (Vec::new(), 0, 0);
                    while wanted.len() < bytes.len() {
                        let (frame, run) = model.pop_front().expect("as many frames");
                        wanted.extend(frame);
                        (count, last) = (count + 1, run);
                    }
                    prop_assert_eq!((&bytes, taken.frames), (&wanted, count), "whole frames, in order");
                    let over = last > 0 && model.front().is_none_or(|(_, next)| *next != last);
                    let told = over && last.is_multiple_of(3) && !spoilt.contains(&last);
                    prop_assert_eq!(taken.mark.map(|mark| mark.ticket), told.then_some(last));
                    let first = wanted.first_chunk().map_or(0, |len| u64::from(u16::from_le_bytes(*len)));
                    prop_assert!(bytes.len() as u64 <= bytes_max.max(first), "{} of {bytes_max} bytes", bytes.len());
                }
            }
            prop_assert_eq!(runs.bytes(), model.iter().map(|(frame, _)| frame.len() as u64).sum::<u64>());
            prop_assert_eq!(runs.is_empty(), model.is_empty());
        }
        runs.clear(&mut pool);
        prop_assert_eq!(pool.held(), 0);
    }
}

/// A fragment without payload: FRAG, then SRC.
fn fragment(index: u16, count: u16, src: Src) -> Vec<u8> {
    let mut bytes = vec![32, 0, 0x01, 0x0A, 0x70, 0x11, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(index.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(1_000u32.to_le_bytes());
    bytes.extend(src.origin.to_le_bytes());
    bytes.extend(src.seq.to_le_bytes());
    bytes
}

#[test]
fn a_message_of_which_a_fragment_is_dropped_is_one_loss_whatever_becomes_of_the_rest() {
    let mut pool = Pool::new(SHAPE);
    let mut runs = Runs::default();
    let (a, b) = (Src { origin: 1, seq: 5 }, Src { origin: 2, seq: 5 });
    let parts =
        [fragment(0, 4, a), fragment(1, 4, a), fragment(0, 2, b), fragment(2, 4, a), fragment(3, 4, a), frame(0, 0)];
    for part in &parts {
        runs.push(&frames(part, &[], false, 1), COMMON, &mut pool);
    }
    assert_eq!(runs.drop_front(&mut pool), Some((70_000, 1)), "both fragments in front go as one message");
    assert_eq!(runs.drop_front(&mut pool), Some((70_000, 1)), "the other message");
    assert_eq!(runs.drop_front(&mut pool), Some((70_000, 0)), "the rest of the first one was counted");
    assert_eq!(runs.drop_front(&mut pool), Some((70_000, 1)), "a whole message");
    assert_eq!((runs.drop_front(&mut pool), pool.held()), (None, 0));
}

#[test]
fn copied_runs_of_another_topic_or_deadline_stay_apart() {
    let mut pool = Pool::new(SHAPE);
    let mut runs = Runs::default();
    let bytes = frame(4, 1);
    let Some((buf, mut memory)) = pool.lend() else { panic!("a buffer is free") };
    memory[..bytes.len()].copy_from_slice(&bytes);
    pool.restore(buf, memory);
    let piece = Piece { buf, start: 0, len: bytes.len() as u32 };
    let all = [COMMON, COMMON, Common { topic: 70_001, ..COMMON }, Common { deadline: Instant(5), ..COMMON }];
    for common in all {
        runs.push(&frames(&[], &[piece], false, 1), common, &mut pool);
    }
    for common in all {
        assert_eq!(runs.front(), Some(common));
        runs.drop_front(&mut pool);
    }
    pool.release(buf);
    assert_eq!((runs.front(), pool.held()), (None, 0));
}

/// Frames that fill so many entries, and their way out.
fn pass_through(runs: &mut Runs, entries: usize, pool: &mut Pool) {
    let bytes = frame(SMALL.egress_buffer_bytes as usize - 16, 1);
    for _ in 0..entries {
        runs.push(&frames(&bytes, &[], false, 1), COMMON, pool);
    }
    assert_eq!(runs.queue.len(), entries);
    while !taken(runs, u64::MAX, pool).0.is_empty() {}
}

const SMALL: PoolShape = PoolShape { egress_buffer_bytes: 32, egress_buffers_kept: 1_000, ..SHAPE };

#[test]
fn a_queue_that_is_long_again_and_again_keeps_its_memory_and_one_that_is_not_gives_it_back() {
    let mut pool = Pool::new(SMALL);
    let mut runs = Runs::default();
    pass_through(&mut runs, 600, &mut pool);
    let capacity = runs.queue.capacity();
    for _ in 0..100 {
        pass_through(&mut runs, 600, &mut pool);
        pass_through(&mut runs, 1, &mut pool);
        assert_eq!(runs.queue.capacity(), capacity);
    }
    for _ in 0..UNUSED_TIMES_MAX {
        pass_through(&mut runs, 1, &mut pool);
    }
    assert!(runs.queue.capacity() <= IDLE_CAPACITY_MAX);
    assert_eq!(pool.held(), 0);
}
