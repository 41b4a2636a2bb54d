//! What the broker tells of itself is what happened.

use std::collections::BTreeMap;

use laneway_client::{Stat, SubscribeOptions};
use laneway_proto::error::CloseCode;
use laneway_proto::time::Duration;
use laneway_tests::sim::guest::Act;
use laneway_tests::sim::story::{self, Story, pause_ms, subscribe};
use laneway_tests::sim::system::System;
use laneway_tests::sim::workload::Step;

const MS: fn(u32) -> Duration = Duration::from_millis;

fn publish(topic: &'static str, lane: u8, count: usize) -> Step {
    Step::Publish { topic, lane, lens: vec![100; count], batch: false }
}

/// The counters as a session is told them.
fn ask(system: &mut System, selector: &'static str) -> Vec<Stat> {
    let heard = system.invite(|_| {}, [Act::Stats(selector), Act::Goodbye]);
    system.advance(MS(100)).expect("nothing goes wrong");
    heard.borrow().stats().to_vec()
}

/// The numbers by name, those of all shards together.
fn sums(stats: &[Stat]) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for stat in stats {
        let name = stat.name.strip_prefix("shard.").and_then(|rest| Some(rest.split_once('.')?.1));
        if let (Some(name), Some(number)) = (name, stat.number()) {
            *sums.entry(name.to_owned()).or_insert(0.0) += number;
        }
    }
    sums
}

#[test]
fn the_counters_of_all_shards_and_lanes_are_what_the_oracle_saw() {
    for shards in [1, 2, 4] {
        let mut story = Story::new(shards);
        for lane in 1..=4 {
            story = story.client(subscribe("a/#")).library(vec![
                pause_ms(50),
                publish("a/b", lane, 30),
                publish("a/c", lane, 7),
                Step::Ping,
                Step::Settle,
            ]);
        }
        let mut system = story.begin();
        system.advance(MS(300)).expect("nothing goes wrong");
        let told = sums(&ask(&mut system, ""));
        let delivered = system.oracle().delivered() as f64;
        assert_eq!(told["messages_in"], 4.0 * 37.0, "{shards} shards");
        assert_eq!(told["messages_out"], 4.0 * 4.0 * 37.0);
        assert_eq!(told["messages_out"], delivered + told["dropped.conflated"], "{shards} shards");
        assert_eq!(told["queue_bytes"], 0.0);
        for lane in ["command", "event", "state", "stream"] {
            let of_lane = |name: &str| told[&format!("lane.{lane}.{name}")];
            assert_eq!(
                (of_lane("messages_in"), of_lane("messages_out")),
                (37.0, 4.0 * 37.0),
                "{shards} shards: {lane}"
            );
        }
        assert_eq!(told["connections"], 9.0, "eight clients and who asks");
        assert_eq!(told["welcomed"], 9.0);
    }
}

#[test]
fn messages_that_wait_are_counted_by_lane_with_the_time_they_have_waited() {
    for shards in [1, 2] {
        // Ten messages arrive in a millisecond and are taken in ten, and there is room for 65 of them ahead.
        let ten = [pause_ms(1), story::publish("a/b", 10, 1_000)];
        let steps = [vec![pause_ms(100)], vec![ten; 50].concat(), vec![Step::Ping, Step::Settle]].concat();
        let mut story = Story::new(shards)
            .library(subscribe("a/#"))
            .who(|who| {
                who.take_pause = MS(10);
                who.lane_credit_bytes = 65_535;
            })
            .client(steps);
        story.network.capacity_bytes_min = 1_000_000;
        story.network.capacity_bytes_max = 1_000_000;
        let mut system = story.begin();
        system.advance(MS(200)).expect("nothing goes wrong");
        let waiting = sums(&ask(&mut system, "shard."));
        assert!(waiting["lane.command.queue_bytes"] > 200_000.0, "{shards} shards: {waiting:?}");
        assert_eq!(waiting["lane.bulk.queue_bytes"], 0.0);
        system.advance(MS(2_000)).expect("nothing goes wrong");
        let after = sums(&ask(&mut system, "shard."));
        assert_eq!((after["lane.command.queue_bytes"], system.oracle().delivered()), (0.0, 500));
        // The last one comes 50 ms after the first one, and leaves when 435 have been taken.
        let most = after["lane.command.residency_us.max"];
        assert!((250_000.0..500_000.0).contains(&most), "{shards} shards: {most} us");
    }
}

#[test]
fn what_is_dropped_is_counted_by_reason_for_its_lane_and_its_link() {
    let mut story = Story::new(2).client(vec![pause_ms(50), publish("a/b", 4, 300), Step::Ping, Step::Settle]);
    story.workload.settings.limits.outbox_bytes_max = 2_000;
    story.network.capacity_bytes_min = 500;
    story.network.capacity_bytes_max = 500;
    let mut system = story.begin();
    let slow = system.invite(
        |_| {},
        [Act::Subscribe("a/#", SubscribeOptions::default()), Act::Deaf(MS(1_000)), Act::Pause(MS(5_000))],
    );
    system.advance(MS(3_000)).expect("nothing goes wrong");
    let stats = ask(&mut system, "");
    let lost = f64::from(slow.borrow().lost);
    assert!(lost > 0.0, "nothing was dropped");
    assert_eq!(lost + slow.borrow().messages.len() as f64, 300.0);
    let told = sums(&stats);
    assert_eq!((told["dropped.overflow"], told["lane.stream.dropped.overflow"]), (lost, lost));
    let of_link = format!("link.{}.dropped.overflow", slow.borrow().session);
    let found: Vec<f64> = stats.iter().filter(|stat| stat.name == of_link).filter_map(Stat::number).collect();
    assert_eq!(found, [lost]);
}

#[test]
fn a_selector_that_names_a_link_finds_it_among_many() {
    let mut story = Story::new(2);
    for _ in 0..200 {
        story = story.client(subscribe("a/#"));
    }
    let mut system = story.begin();
    system.advance(MS(300)).expect("nothing goes wrong");
    let all = ask(&mut system, "");
    let links = |stats: &[Stat]| {
        stats.iter().filter(|stat| stat.name.ends_with(".bytes_in") && stat.name.starts_with("link.")).count()
    };
    assert_eq!(links(&all), 2 * 64, "a bounded number of each shard");
    assert_eq!(sums(&all)["links_left_out"], 201.0 - 128.0);
    let one = system.invite(|_| {}, [Act::Pause(MS(1_000))]);
    system.advance(MS(10)).expect("nothing goes wrong");
    let name = format!("link.{}.", one.borrow().session);
    let found = ask(&mut system, name.clone().leak());
    assert!(!found.is_empty() && found.iter().all(|stat| stat.name.starts_with(&name)), "{found:?}");
}

#[test]
fn one_question_of_a_session_is_answered_at_a_time_and_none_is_left_behind() {
    let mut system = Story::new(3).begin();
    system.advance(MS(10)).expect("nothing goes wrong");
    // The second one is asked in the same breath.
    let heard = system.invite(|_| {}, [Act::Both("", "shard."), Act::Stats("broker.")]);
    system.advance(MS(100)).expect("nothing goes wrong");
    let heard = heard.borrow();
    let refused =
        heard.answers.iter().filter(|answer| answer.as_ref().is_err_and(|no| no.code() == Some(CloseCode::Limit)));
    assert_eq!((heard.answers.len(), refused.count()), (3, 1));
    assert_eq!(system.shards().iter().map(|shard| shard.gatherings()).sum::<usize>(), 0);
}

#[test]
fn a_session_that_is_gone_is_told_nothing_and_leaves_nothing_behind() {
    for seed in 0..20 {
        let mut story = Story::new(3);
        story.seed = seed;
        story.network.wake_us_max = 2_000;
        let mut system = story.begin();
        system.advance(MS(10)).expect("nothing goes wrong");
        system.invite(|_| {}, [Act::AskAndReset]);
        system.advance(MS(1_000)).expect("nothing goes wrong");
        assert_eq!(system.shards().iter().map(|shard| shard.gatherings()).sum::<usize>(), 0, "seed {seed}");
        assert_eq!(system.holdings().connections, 0, "seed {seed}");
    }
}
