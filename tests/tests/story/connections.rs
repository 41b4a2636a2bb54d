//! Connections: spread over shards, kept track of, broken at every byte, and cleaned up behind.

use laneway_proto::time::Duration;
use laneway_tests::sim::faults::NetworkConfig;
use laneway_tests::sim::scenario::Scenario;
use laneway_tests::sim::story::{Story, pause_ms, publish, subscribe};
use laneway_tests::sim::system;
use laneway_tests::sim::workload::Step;

/// Virtual time within which a calm system has done what was asked.
const SOON: Duration = Duration::from_millis(1_000);

#[test]
fn connections_are_spread_so_that_shards_differ_by_at_most_one() {
    for (shards, clients) in [(2, 7), (3, 9), (4, 2), (3, 20)] {
        let mut story = Story::new(shards);
        for _ in 0..clients {
            story = story.client([subscribe("a/#"), vec![pause_ms(60_000)]].concat());
        }
        let mut system = story.begin();
        system.advance(SOON).expect("a calm start");
        let counts: Vec<usize> = system.shards().iter().map(|shard| shard.connections()).collect();
        assert_eq!(counts.iter().sum::<usize>(), clients);
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{counts:?}");
    }
}

#[test]
fn the_world_lists_every_live_connection_with_its_faults() {
    let mut story = Story::new(2);
    story.network.reset_permille = 1_000;
    story.network.reset_after_bytes_max = 1_000_000;
    for _ in 0..5 {
        story = story.client([subscribe("a/#"), vec![pause_ms(60_000)]].concat());
    }
    let mut system = story.begin();
    system.advance(SOON).expect("a calm start");
    let world = system.world().borrow();
    let planned: Vec<_> = world.live().map(|(_, link)| (link.client, link.reset_after)).collect();
    assert_eq!(planned.iter().map(|(client, _)| *client).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(planned.iter().all(|(_, fault)| fault.is_some()), "{planned:?}");
}

/// One client subscribes and publishes; its connection breaks after exactly `bytes`.
fn broken_after(bytes: u64) -> Story {
    let talk = [subscribe("a/#"), vec![publish("a/b", 3, 60), Step::Ping, Step::Settle]].concat();
    Story::new(2).client(talk).client(vec![publish("a/b", 5, 60), Step::Ping]).broken_after(bytes)
}

#[test]
fn a_reset_at_any_byte_of_a_session_leaves_nothing_behind() {
    let mut resets = 0;
    for bytes in 1..700 {
        let story = broken_after(bytes);
        let network = story.network.clone();
        let system = story.play().unwrap_or_else(|failure| panic!("broken after {bytes} bytes: {failure:?}"));
        resets += system.report(network, None).marks.count("reset");
    }
    assert!(resets > 300, "only {resets} connections broke");
}

#[test]
fn one_byte_at_a_time_is_enough_in_both_directions() {
    let network = NetworkConfig {
        capacity_bytes_min: 1,
        capacity_bytes_max: 1,
        receive_bytes_max: 1,
        short_send_permille: 500,
        ..NetworkConfig::calm()
    };
    let subscriber = [subscribe("a/#"), vec![pause_ms(1)]].concat();
    let publisher = vec![pause_ms(500), publish("a/b", 20, 50), Step::Ping, Step::Settle];
    for (library, seed) in [(false, 1), (true, 2)] {
        let mut story = Story::new(2);
        (story.network, story.seed) = (network.clone(), seed);
        let story = if library {
            story.library(subscriber.clone()).library(publisher.clone())
        } else {
            story.client(subscriber.clone()).client(publisher.clone())
        };
        let system = story.play().expect("one byte at a time works");
        assert_eq!(system.oracle().delivered(), 20);
    }
}

#[test]
fn refused_and_hanging_dials_are_survived() {
    for seed in 0..20 {
        let report = system::run(seed, Scenario::Connect, false);
        assert_eq!(report.failure, None, "seed {seed}");
    }
}

#[test]
fn without_descriptors_accepting_pauses_and_sessions_that_are_up_go_on() {
    let subscriber = [subscribe("a/#"), vec![pause_ms(5_000)]].concat();
    let publisher = vec![pause_ms(100), publish("a/b", 50, 100), Step::Ping, Step::Settle, pause_ms(5_000)];
    let mut story = Story::new(2).client(subscriber).client(publisher);
    for _ in 0..3 {
        // Everybody else comes when no descriptor is left.
        story =
            story.client(vec![publish("a/c", 1, 100), Step::Ping]).who(|who| who.start_after = Duration(50_000_000));
    }
    story.network.descriptors_max = 2;
    let mut system = story.begin();
    system.advance(SOON).expect("nothing goes wrong");
    assert_eq!(system.oracle().delivered(), 50, "the sessions that were up went on");
    let paused: u64 = system.shards().iter().map(|shard| shard.counters().accept_paused).sum();
    assert!((5..20).contains(&paused), "a pause is 100 ms, but accepting ended {paused} times in a second");
    system.world().borrow_mut().config.heal();
    system.advance(SOON).expect("nothing goes wrong");
    assert_eq!(system.oracle().delivered(), 53, "with descriptors, the others are let in");
}
