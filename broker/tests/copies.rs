//! What the shards copy in memory, counted by their pools: large payloads not at all on one shard, small ones at most
//! once for each reader, and whatever crosses to another shard once for all readers there.

mod common;

use std::ops::RangeInclusive;

use laneway_broker::io::Io as _;
use laneway_broker::io::uring::UringIo;
use laneway_broker::shard::Shard;
use laneway_proto::limits::HEADER_BYTES;

use self::common::{Load, pass};

/// Payload bytes of the messages measured, counted at each reader.
const MEASURED_BYTES: u64 = 64 * 1024 * 1024;
/// So many that readers who lag behind as far as they may do not hold half of them.
const MESH_CHUNKS_MAX: u32 = 128;
/// Payloads that are shared: small enough for many to a receive buffer, about one, and several buffers to a payload.
const LARGE: [usize; 3] = [2 * 1024, 16 * 1024, 60 * 1024];

/// What happened on one shard.
#[derive(Clone, Copy, Debug)]
struct Tally {
    copied_bytes: u64,
    messages_in: u64,
    messages_out: u64,
}

fn tally(shard: &Shard<UringIo>) -> Tally {
    let counters = shard.counters();
    let copied_bytes = shard.io().pool().stats().bytes_copied;
    Tally { copied_bytes, messages_in: counters.all_in(), messages_out: counters.all_out() }
}

/// What happens on each shard while the load passes.
fn measure(load: Load) -> Vec<Tally> {
    let messages = MEASURED_BYTES / load.payload_bytes as u64;
    let tallies: Vec<Tally> = load.run(messages / 8, |shards| {
        let before: Vec<Tally> = shards.iter().map(tally).collect();
        pass(shards, messages);
        let since = |(shard, before): (&Shard<UringIo>, Tally)| {
            let now = tally(shard);
            Tally {
                copied_bytes: now.copied_bytes - before.copied_bytes,
                messages_in: now.messages_in - before.messages_in,
                messages_out: now.messages_out - before.messages_out,
            }
        };
        shards.iter().zip(before).map(since).collect()
    });
    eprintln!("{load:?}: {tallies:?}");
    tallies
}

/// Says it if the bytes copied are not so many per hundred of the bytes they are compared with.
fn check(load: Load, what: &str, copied_bytes: u64, of_bytes: u64, percent: RangeInclusive<f64>) -> Option<String> {
    let copied = copied_bytes as f64 * 100.0 / of_bytes as f64;
    let wrong = !percent.contains(&copied);
    wrong.then(|| format!("{load:?}: {copied:.2} % of the bytes {what} were copied, and {percent:?} are right"))
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn large_payloads_are_not_copied_on_one_shard() {
    let mut problems = Vec::new();
    for (payload_bytes, readers) in LARGE.into_iter().flat_map(|bytes| [(bytes, 1), (bytes, 3)]) {
        let load =
            Load { shards: 1, topics: 1, readers, payload_bytes, mesh_chunks_max: MESH_CHUNKS_MAX, lasting: false };
        let [Tally { copied_bytes, messages_out, .. }] = measure(load)[..] else { panic!("one shard") };
        // A frame that lies across receive buffers has its header copied, to be renamed, and of its payload what is too
        // little to hold a buffer for.
        problems.extend(check(load, "delivered", copied_bytes, messages_out * payload_bytes as u64, 0.0..=1.0));
    }
    assert_none(&problems);
}

#[test]
fn small_payloads_are_copied_at_most_once_for_each_reader() {
    let mut problems = Vec::new();
    for payload_bytes in [64, 512] {
        for (topics, readers) in [(1, 1), (1, 3), (10, 1), (10, 3)] {
            let load =
                Load { shards: 1, topics, readers, payload_bytes, mesh_chunks_max: MESH_CHUNKS_MAX, lasting: false };
            let [Tally { copied_bytes, messages_out, .. }] = measure(load)[..] else { panic!("one shard") };
            let frame_bytes = (HEADER_BYTES + payload_bytes) as u64;
            // One frame in thirty or fewer lies across receive buffers and is put together first.
            problems.extend(check(load, "delivered", copied_bytes, messages_out * frame_bytes, 0.0..=104.0));
        }
    }
    assert_none(&problems);
}

#[test]
fn across_shards_a_payload_is_copied_once_for_all_readers_there() {
    let mut problems = Vec::new();
    for payload_bytes in LARGE {
        // The publisher and the second reader are on the first shard, the first and the third reader on the other.
        let load =
            Load { shards: 2, topics: 1, readers: 3, payload_bytes, mesh_chunks_max: MESH_CHUNKS_MAX, lasting: false };
        let [here, there] = measure(load)[..] else { panic!("two shards") };
        assert!(there.messages_out > here.messages_out, "two of three readers are on the other shard");
        let crossed_bytes = here.messages_in * (HEADER_BYTES + payload_bytes) as u64;
        problems.extend(check(load, "published", here.copied_bytes, crossed_bytes, 99.0..=101.0));
        let delivered_bytes = there.messages_out * payload_bytes as u64;
        problems.extend(check(load, "delivered over there", there.copied_bytes, delivered_bytes, 0.0..=1.0));
    }
    assert_none(&problems);
}
