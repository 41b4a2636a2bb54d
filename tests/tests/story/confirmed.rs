//! Publishes whose publisher wants to know: what it is told is so, whatever breaks when, and nobody gets anything twice.

use laneway_proto::time::Duration;
use laneway_tests::sim::story::{Story, confirm, pause_ms, publish, subscribe};
use laneway_tests::sim::system::System;
use laneway_tests::sim::workload::{Leave, Step};

fn lasting(story: Story, steps: Vec<Step>) -> Story {
    story.library(steps).who(|who| who.resume = true)
}

/// Two subscribers with the library, one by hand, and a publisher that wants to know of each message.
fn story(shards: u8, wanted: [u16; 2]) -> Story {
    let stays = || [subscribe("a/#"), vec![pause_ms(3_000)]].concat();
    let mut steps = vec![pause_ms(100)];
    for lane in [1, 2, 5] {
        steps.push(confirm("a/b", lane, 3, 100, wanted[0]));
        steps.push(publish("a/c", 2, 50));
        steps.push(confirm("a/b", lane, 1, 20_000, wanted[1]));
    }
    steps.extend([Step::Ping, Step::Settle]);
    lasting(lasting(lasting(Story::new(shards), stays()), stays()).client(stays()), steps)
}

fn marks(system: &System, name: &str) -> u64 {
    system.world().borrow().marks.count(name)
}

#[test]
fn each_message_is_confirmed_once_with_as_many_as_have_it() {
    for shards in [1, 2, 3] {
        for wanted in [[0, 0], [1, 2], [2, 1]] {
            let system = story(shards, wanted).play().expect("what is told is so");
            let [accepted, delivered] = ["publish_accepted", "publish_delivered"].map(|name| marks(&system, name));
            assert_eq!((accepted + delivered, system.oracle().confirmed()), (12, 12), "{shards} shards");
            assert_eq!((delivered > 0, marks(&system, "publish_in_doubt")), (wanted[0] > 0, 0));
            assert_eq!(system.oracle().delivered(), 3 * 18, "everybody gets everything once");
        }
    }
}

#[test]
fn too_few_receivers_are_doubt_in_time_and_who_comes_late_gets_it_once() {
    for shards in [1, 2] {
        let system = story(shards, [3, 1]).play().expect("what is told is so");
        let [told, doubted] = ["publish_delivered", "publish_in_doubt"].map(|name| marks(&system, name));
        // Those behind them may have as many as they want and be told so too late.
        assert!(told + doubted == 12 && doubted >= 9, "{shards} shards: {told} delivered, {doubted} in doubt");
        let late = vec![pause_ms(500), Step::Subscribe(vec!["a/#".into()]), Step::Settle, pause_ms(3_000)];
        let mut story = Story::new(shards).library([subscribe("a/#"), vec![pause_ms(3_000)]].concat()).library(late);
        story = story.library(vec![pause_ms(100), confirm("a/b", 2, 5, 100, 2), Step::Settle]);
        let system = story.play().expect("what is told is so");
        assert_eq!(marks(&system, "publish_delivered"), 5, "it is sent again until the second has it");
        assert_eq!(system.oracle().delivered(), 10);
    }
}

#[test]
fn links_that_break_at_any_byte_make_no_confirmation_untrue() {
    let (mut confirmed, mut doubted, mut resent) = (0, 0, 0);
    for bytes in (1..1_200).step_by(3).chain((1_200..60_000).step_by(611)) {
        let mut story = story(1 + (bytes % 2) as u8, [1, 2]);
        story.seed = bytes;
        story.network.reset_permille = 500;
        (story.network.reset_after_bytes_min, story.network.reset_after_bytes_max) = (bytes, bytes);
        let system = story.play().unwrap_or_else(|failure| panic!("broken after {bytes} bytes: {failure:?}"));
        confirmed += system.oracle().confirmed();
        doubted += marks(&system, "publish_in_doubt");
        resent += system.shards().iter().map(|shard| shard.counters().frames_resent).sum::<u64>();
    }
    println!("{confirmed} confirmed, {doubted} doubted, {resent} frames sent again");
    assert!(confirmed > 1_000 && resent > 100, "{confirmed} confirmed, {resent} frames sent again");
}

#[test]
fn a_subscriber_that_dies_is_no_receiver_of_what_it_had_not() {
    for leave in [Leave::Close, Leave::Reset, Leave::Goodbye] {
        let dies = [subscribe("a/#"), vec![pause_ms(60), Step::Leave(leave)]].concat();
        let mut story = Story::new(2).library([subscribe("a/#"), vec![pause_ms(3_000)]].concat()).library(dies);
        story = story.library(vec![pause_ms(50), confirm("a/b", 1, 200, 2_000, 2), Step::Settle]);
        story = story.who(|who| who.write_bytes_max = 5_000);
        story.network.latency_us_min = 500;
        story.network.latency_us_max = Duration::from_millis(2).0 / 1_000;
        let system = story.play().unwrap_or_else(|failure| panic!("{leave:?}: {failure:?}"));
        let [told, doubted] = ["publish_delivered", "publish_in_doubt"].map(|name| marks(&system, name));
        println!("{leave:?}: {told} delivered, {doubted} in doubt");
        assert_eq!(told + doubted, 200, "each is settled once");
        assert!(doubted > 0, "{leave:?}: the last have one receiver only");
    }
}
