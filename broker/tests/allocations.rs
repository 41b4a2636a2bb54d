//! The steady state allocates nothing: a million messages from publish to send, on one shard and across two.
//!
//! The shards run on the test's own thread, whose allocations are counted; the peers run on others.

mod common;

use self::common::{Load, pass};

const WARM_UP_MESSAGES: u64 = 300_000;
const MEASURED_MESSAGES: u64 = 1_000_000;
/// Windows of so many messages in which lists may still grow.
const WINDOWS_MAX: u32 = 12;

/// Allocations on the shards' thread while a million messages go from one publisher to one subscriber per topic.
fn allocations(shards: u8, topics: usize, payload_bytes: usize) -> u64 {
    measured(Load { shards, topics, readers: 1, payload_bytes, mesh_chunks_max: 32, lasting: false })
}

fn measured(load: Load) -> u64 {
    let Load { topics, payload_bytes, .. } = load;
    // A list that reaches a length it never had before grows once; that is not a cost per message, and once every list
    // has had its longest, a window passes without any. A cost per message would show in every window.
    load.run(WARM_UP_MESSAGES, |shards| {
        let window = |_| allocation_counter::measure(|| pass(shards, MEASURED_MESSAGES)).count_total;
        let counts = (0..WINDOWS_MAX).map(window);
        let least =
            counts.inspect(|count| eprintln!("{topics} topics, {payload_bytes} B: {count}")).find(|&count| count == 0);
        least.unwrap_or(u64::MAX)
    })
}

#[test]
fn a_million_shared_messages_allocate_nothing() {
    assert_eq!(allocations(1, 1, 64), 0);
}

#[test]
fn a_million_copied_messages_of_ten_topics_allocate_nothing() {
    assert_eq!(allocations(1, 10, 64), 0);
}

#[test]
fn a_million_messages_across_shards_allocate_nothing() {
    assert_eq!(allocations(2, 1, 64), 0);
}

#[test]
fn messages_larger_than_a_receive_buffer_allocate_nothing() {
    assert_eq!(allocations(1, 1, 20_000), 0);
}

#[test]
fn a_million_messages_that_are_kept_until_they_are_counted_allocate_nothing() {
    for payload_bytes in [64, 2_000] {
        let load = Load { shards: 1, topics: 1, readers: 1, payload_bytes, mesh_chunks_max: 32, lasting: true };
        assert_eq!(measured(load), 0, "{payload_bytes} bytes");
    }
}
