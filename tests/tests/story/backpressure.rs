//! A reader that does not keep up stops its publishers, costs a bounded amount of memory, and is sent away in the end.

use laneway_broker::counters::CloseReason;
use laneway_proto::error::CloseCode;
use laneway_proto::time::Duration;
use laneway_tests::sim::story::{Story, pause_ms, publish, subscribe};
use laneway_tests::sim::system::System;
use laneway_tests::sim::workload::{Conduct, Leave, Step};

/// Bytes of each message.
const LEN: usize = 1_000;

/// A reader that rests for good after its subscription, and a publisher of `count` messages; a broker of `shards`.
fn stuck_reader(shards: u8, count: usize) -> Story {
    let reader = [subscribe("a/#"), vec![pause_ms(3_600_000)]].concat();
    let writer = vec![pause_ms(200), publish("a/b", count, LEN), Step::Ping];
    let mut story = Story::new(shards)
        .client(reader)
        .who(|who| {
            // It reads the confirmation, and then nothing for an hour.
            who.read_pause = Duration::from_millis(3_600_000);
        })
        .client(writer);
    story.workload.settings.limits.outbox_bytes_max = 64 * 1024;
    story.workload.settings.pools.mesh_chunks_max = 2;
    story.network.capacity_bytes_min = 4_096;
    story.network.capacity_bytes_max = 4_096;
    story
}

fn waiting(system: &System) -> u64 {
    system.shards().iter().map(|shard| shard.outbox_bytes()).sum()
}

#[test]
fn a_stuck_reader_costs_bounded_memory_and_is_sent_away_after_the_bound() {
    for shards in [1, 2] {
        let mut system = stuck_reader(shards, 3_000).begin();
        system.advance(Duration::from_millis(4_000)).expect("nothing goes wrong");
        let slow = CloseReason::Ours(CloseCode::SlowConsumer);
        let sent_away =
            |system: &System| -> u64 { system.shards().iter().map(|shard| shard.counters().closed_for(slow)).sum() };
        let held = waiting(&system);
        assert!(held >= 64 * 1024, "{shards} shards: the outbox is full, not {held} bytes");
        // One run over the bound, and what was on its way between shards.
        assert!(held < 64 * 1024 + 4 * 68 * 1024, "{shards} shards: {held} bytes wait for one reader");
        assert_eq!(sent_away(&system), 0, "{shards} shards: not before the bound");
        system.advance(Duration::from_millis(4_000)).expect("nothing goes wrong");
        assert_eq!(sent_away(&system), 1, "{shards} shards");
        assert_eq!(waiting(&system), 0, "{shards} shards: its memory is free again");
    }
}

#[test]
fn a_publisher_that_was_stopped_goes_on_and_loses_nothing() {
    for shards in [1, 2] {
        let mut story = stuck_reader(shards, 1_000);
        story.workload.peers[0].conduct = Conduct::Good(subscribe("a/#"));
        story.workload.peers[0].read_pause = Duration::from_millis(2);
        story.workload.peers[0].read_bytes_max = 3_000;
        let system = story.play().expect("a slow reader gets everything");
        assert_eq!(system.oracle().delivered(), 1_000, "{shards} shards");
        let paused: u64 = system.shards().iter().map(|shard| shard.counters().paused_by_outbox).sum();
        assert!(paused > 0, "{shards} shards: the publisher was never stopped");
    }
}

#[test]
fn a_stopped_publisher_stops_nobody_else() {
    let mut story = stuck_reader(1, 3_000);
    story = story.client([subscribe("s/#"), vec![pause_ms(3_000)]].concat()).client(vec![
        pause_ms(1_000),
        publish("s/1/x", 100, 100),
        Step::Ping,
        Step::Settle,
    ]);
    let mut system = story.begin();
    system.advance(Duration::from_millis(2_000)).expect("nothing goes wrong");
    assert_eq!(system.oracle().delivered(), 100);
}

#[test]
fn what_a_publisher_sent_before_it_left_is_routed_even_if_it_was_stopped() {
    for shards in [1, 2] {
        for leave in [Leave::Goodbye, Leave::Finish] {
            let mut story = stuck_reader(shards, 300);
            story.workload.peers[0].read_pause = Duration::from_millis(5);
            story.workload.peers[0].read_bytes_max = 2_000;
            story.network.capacity_bytes_max = 1_000_000;
            story.workload.peers[1].conduct =
                Conduct::Good(vec![pause_ms(200), publish("a/b", 300, LEN), Step::Leave(leave)]);
            let mut system = story.begin();
            system.advance(Duration::from_millis(30_000)).expect("nothing goes wrong");
            assert_eq!(system.oracle().delivered(), 300, "{shards} shards, {leave:?}");
        }
    }
}
