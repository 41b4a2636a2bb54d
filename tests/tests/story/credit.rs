//! Credit by lane: whoever does not take from one lane stops that lane and no other, and loses nothing by it.

use laneway_broker::counters::CloseReason;
use laneway_proto::error::CloseCode;
use laneway_proto::limits::FRAME_BYTES_MAX;
use laneway_proto::time::Duration;
use laneway_tests::sim::story::{Story, pause_ms, publish, subscribe};
use laneway_tests::sim::workload::Step;

/// A subscriber whose application rests after every few messages of 1,000 bytes, and a publisher of `count` of them.
fn slow_application(shards: u8, count: usize, rest_ms: u32) -> Story {
    let mut story = Story::new(shards)
        .library(subscribe("a/#"))
        .who(|who| {
            who.take_pause = Duration::from_millis(rest_ms);
            who.lane_credit_bytes = FRAME_BYTES_MAX as u64;
        })
        .client(vec![pause_ms(100), publish("a/b", count, 1_000), Step::Ping, Step::Settle]);
    // What waits, waits at the broker.
    story.network.capacity_bytes_min = 1_000_000;
    story.network.capacity_bytes_max = 1_000_000;
    story
}

#[test]
fn an_application_that_is_slow_gets_everything_and_what_it_has_no_room_for_waits_at_the_broker() {
    for shards in [1, 2] {
        let mut system = slow_application(shards, 500, 10).begin();
        system.advance(Duration::from_millis(200)).expect("nothing goes wrong");
        let waiting: u64 = system.shards().iter().map(|shard| shard.outbox_bytes()).sum();
        assert!(waiting > 300_000, "{shards} shards: {waiting} of 500,000 bytes wait at the broker");
        system.play().expect("nothing is lost");
        assert_eq!(system.oracle().delivered(), 500, "{shards} shards");
        let waits: u64 = system.shards().iter().map(|shard| shard.counters().credit_waits).sum();
        assert!(waits > 0, "{shards} shards: credit never ran out");
    }
}

#[test]
fn a_shutdown_delivers_what_was_accepted_as_fast_as_the_application_makes_room() {
    for shards in [1, 2] {
        let mut story = slow_application(shards, 500, 20);
        story.workload.shut_down_after = Some(Duration::from_millis(400));
        let system = story.play().expect("the shutdown loses nothing");
        assert_eq!(system.oracle().delivered(), 500, "{shards} shards");
    }
}

#[test]
fn an_application_that_takes_nothing_is_sent_away_after_the_bound() {
    for shards in [1, 2] {
        let mut story = slow_application(shards, 3_000, 3_600_000);
        story.workload.settings.limits.outbox_bytes_max = 64 * 1024;
        let mut system = story.begin();
        system.advance(Duration::from_millis(4_000)).expect("nothing goes wrong");
        let sent_away = |system: &laneway_tests::sim::system::System| -> u64 {
            let slow = CloseReason::Ours(CloseCode::SlowConsumer);
            system.shards().iter().map(|shard| shard.counters().closed_for(slow)).sum()
        };
        assert_eq!(sent_away(&system), 0, "{shards} shards: not before the bound");
        system.advance(Duration::from_millis(4_000)).expect("nothing goes wrong");
        assert_eq!(sent_away(&system), 1, "{shards} shards");
    }
}
