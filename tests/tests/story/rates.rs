//! Rates: what is sent to a peer and what a peer publishes keep to them over ten seconds, a burst goes at once, and what is
//! beyond waits and is not lost.

use laneway_broker::config::url::ListenUrl;
use laneway_broker::counters::{CloseReason, Counters};
use laneway_client::{Lane, PublishOptions, SubscribeOptions};
use laneway_proto::error::CloseCode;
use laneway_proto::time::Duration;
use laneway_tests::sim::guest::Act;
use laneway_tests::sim::scenario::Scenario;
use laneway_tests::sim::story::{Story, pause_ms, publish, subscribe};
use laneway_tests::sim::system::{self, System};
use laneway_tests::sim::workload::Step;

const RATE: u32 = 100_000;
const BURST: u64 = 64 * 1024;
const LEN: usize = 2_000;

fn sum(system: &System, of: impl Fn(&Counters) -> u64) -> u64 {
    system.shards().iter().map(|shard| of(shard.counters())).sum()
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(ms)
}

/// Who subscribes, and two who publish 600 messages each; by hand or through the library.
fn crowd(shards: u8, library: bool) -> Story {
    let add = |story: Story, steps| if library { story.library(steps) } else { story.client(steps) };
    let writer = || vec![pause_ms(200), publish("a/b", 600, LEN), Step::Ping, Step::Settle];
    let story = add(Story::new(shards), subscribe("a/#"));
    add(add(story, writer()), writer())
}

/// What `of` counts in ten seconds is so much, within two percent.
#[track_caller]
fn assert_ten_seconds(system: &mut System, what: &str, wanted: u64, of: impl Fn(&System) -> u64) {
    let before = of(system);
    system.advance(ms(10_000)).expect("nothing goes wrong");
    let count = of(system) - before;
    println!("{what}: {count} in ten seconds, {wanted} wanted");
    assert!(count.abs_diff(wanted) <= wanted / 50, "{what}: {count} instead of {wanted}");
}

#[test]
fn what_is_sent_to_a_peer_keeps_to_its_rate_and_nothing_is_lost() {
    for (shards, library) in [(1, false), (2, false), (1, true), (2, true)] {
        let mut story = crowd(shards, library);
        story.workload.settings.limits.egress_bytes_per_s = RATE;
        // Half of the queue lasts longer than publishers may be stopped by somebody who does not read.
        story.workload.settings.limits.outbox_bytes_max = 1_200_000;
        story.workload.settings.limits.block_ms_max = 1_000;
        let mut system = story.begin();
        system.advance(ms(1_500)).expect("nothing goes wrong");
        let what = format!("{shards} shards, library: {library}");
        let sent = |system: &System| sum(system, |counters| counters.bytes_out);
        assert_ten_seconds(&mut system, &what, 10 * u64::from(RATE), sent);
        system.play().expect("nothing is lost");
        assert_eq!(system.oracle().delivered(), 1_200, "{what}");
        assert_eq!(sum(&system, |counters| counters.closed_for(CloseReason::Ours(CloseCode::SlowConsumer))), 0);
    }
}

#[test]
fn never_more_leaves_than_a_burst_and_the_rate_whatever_the_span() {
    let mut story = crowd(1, false);
    story.workload.settings.limits.egress_bytes_per_s = RATE;
    let mut system = story.begin();
    let mut sent = Vec::new();
    for _ in 0..1_500 {
        system.advance(ms(1)).expect("nothing goes wrong");
        sent.push(sum(&system, |counters| counters.bytes_out));
    }
    // Publishers are told little, from buckets of their own.
    let frame = LEN as u64 + 16;
    for (from, &before) in sent.iter().enumerate() {
        for (to, &after) in sent.iter().enumerate().skip(from + 1) {
            let allowed = BURST + frame + 200 + u64::from(RATE) * (to - from + 1) as u64 / 1_000;
            assert!(after - before <= allowed, "{} bytes from {from} to {to} ms", after - before);
        }
    }
    // It has been silent before: the burst is there, and used.
    let first = sent.iter().position(|&bytes| bytes > 2 * frame).expect("something is sent");
    assert!(sent[first + 10] >= BURST, "{} bytes in the first ten milliseconds", sent[first + 10]);
}

#[test]
fn what_a_peer_publishes_is_routed_at_its_rate_and_nothing_is_lost() {
    for (shards, library) in [(1, false), (2, false), (1, true), (2, true)] {
        let mut story = crowd(shards, library);
        story.workload.settings.limits.ingress_bytes_per_s = RATE;
        let mut system = story.begin();
        system.advance(ms(1_500)).expect("nothing goes wrong");
        let what = format!("{shards} shards, library: {library}");
        // Two publishers, each with the rate.
        let routed = |system: &System| sum(system, |counters| counters.all_in() * LEN as u64);
        assert_ten_seconds(&mut system, &what, 20 * u64::from(RATE), routed);
        assert!(sum(&system, |counters| counters.paused_by_rate) > 100, "{what}");
        system.play().expect("nothing is lost");
        assert_eq!(system.oracle().delivered(), 1_200, "{what}");
    }
}

#[test]
fn a_peer_is_read_no_faster_than_it_may_publish() {
    // By hand: the socket is left alone. Through the library: credit is the bound of what is read ahead.
    for (library, ahead) in [(false, 600_000), (true, 400_000)] {
        let mut story = crowd(1, library);
        story.workload.settings.limits.ingress_bytes_per_s = RATE;
        story.workload.settings.limits.lane_credit_bytes = 300_000;
        let mut system = story.begin();
        for second in 1..=5 {
            system.advance(ms(1_000)).expect("nothing goes wrong");
            let (read, routed) = (sum(&system, |c| c.bytes_in), sum(&system, |c| c.all_in() * LEN as u64));
            assert!(read <= routed + 2 * ahead, "library: {library}, second {second}: {read} read, {routed} routed");
        }
    }
}

#[test]
fn a_library_that_has_to_wait_for_long_does_not_take_the_broker_for_dead() {
    let mut story = Story::new(1).library(subscribe("a/#")).library(vec![
        pause_ms(200),
        publish("a/b", 600, LEN),
        Step::Ping,
        Step::Settle,
    ]);
    // 1.2 MB, of which the first credit is asked for after half a megabyte: thirteen seconds.
    story.workload.settings.limits.ingress_bytes_per_s = 40_000;
    let system = story.play().expect("nothing is lost");
    assert_eq!(system.oracle().delivered(), 600);
    assert_eq!(sum(&system, |counters| counters.accepted), 2, "nobody dialled again");
}

#[test]
fn an_endpoint_may_have_rates_of_its_own() {
    let mut story = crowd(1, false);
    let url = |text| ListenUrl::parse(text).expect("a URL");
    story.workload.settings.limits.egress_bytes_per_s = 7;
    story.workload.settings.listen = vec![url("tcp://127.0.0.1:1?egress_bytes_per_s=100000"), url("udp://127.0.0.1:1")];
    let mut system = story.begin();
    system.advance(ms(1_500)).expect("nothing goes wrong");
    assert_ten_seconds(&mut system, "an endpoint", 10 * u64::from(RATE), |system| sum(system, |c| c.bytes_out));
}

#[test]
fn a_command_overtakes_what_waits_for_the_rate_both_ways() {
    let on = |lane: Lane| PublishOptions::from(lane);
    for (egress, ingress) in [(RATE, 0), (0, RATE)] {
        let mut story = Story::new(1);
        story.workload.settings.limits.egress_bytes_per_s = egress;
        story.workload.settings.limits.ingress_bytes_per_s = ingress;
        let mut system = story.begin();
        let reader = system.invite(|_| {}, [Act::Subscribe("a/#", SubscribeOptions::default())]);
        let mut acts = vec![Act::Pause(ms(100))];
        // One at a time: what is published together is one frame, and a frame is not divided.
        let bulk = || [Act::Post("a/bulk".into(), vec![1; LEN], on(Lane::BULK)), Act::Pause(ms(1))];
        acts.extend((0..100).flat_map(|_| bulk()));
        acts.push(Act::Pause(ms(300)));
        acts.push(Act::Post("a/command".into(), b"now".to_vec(), on(Lane::COMMAND)));
        let writer = system.invite(|_| {}, acts);
        system.advance(ms(5_000)).expect("nothing goes wrong");
        let asked = *writer.borrow().published.last().expect("it published");
        let heard = reader.borrow();
        assert_eq!(heard.messages.len(), 101);
        let command = heard.messages.iter().position(|(_, message)| &*message.topic == "a/command");
        let command = command.expect("the command came");
        let took = heard.messages[command].0.since(asked).as_millis();
        println!("egress {egress}, ingress {ingress}: number {command}, after {took} ms");
        // A portion, and what had its place already: a frame of 2,000 bytes takes 20 ms.
        assert!(
            (30..60).contains(&command) && took <= 60,
            "egress {egress}, ingress {ingress}: number {command}, {took} ms"
        );
        let last = heard.messages.last().expect("messages").0.since(asked).as_millis();
        assert!((900..1_200).contains(&last), "200,000 bytes less a burst take {last} ms longer");
    }
}

#[test]
fn every_promise_is_kept_while_everybody_is_held_back() {
    let mut held_back = 0;
    for seed in 0..60 {
        let report = system::run(seed, Scenario::Rates, false);
        assert_eq!(report.failure, None, "seed {seed}");
        held_back += u32::from(report.marks.count("publisher_paused_by_rate") > 0);
    }
    assert!(held_back > 30, "only {held_back} seeds held a publisher back");
}

#[test]
fn sessions_over_udp_keep_to_rates_too() {
    for (egress, ingress) in [(RATE, 0), (0, RATE)] {
        let mut story = Story::new(1);
        story.workload.settings.limits.egress_bytes_per_s = egress;
        story.workload.settings.limits.ingress_bytes_per_s = ingress;
        let mut system = story.begin();
        let reader = system.invite_over_udp(|_| {}, [Act::Subscribe("a/#", SubscribeOptions::default())]);
        let mut acts = vec![Act::Pause(ms(100))];
        acts.extend((0..100).map(|_| Act::Post("a/b".into(), vec![1; LEN], Lane::EVENT.into())));
        let writer = system.invite_over_udp(|_| {}, acts);
        system.advance(ms(5_000)).expect("nothing goes wrong");
        let asked = writer.borrow().published[0];
        let heard = reader.borrow();
        assert_eq!(heard.messages.len(), 100);
        let last = heard.messages[99].0.since(asked).as_millis();
        assert!((1_200..1_600).contains(&last), "200,000 bytes less a burst take {last} ms");
    }
}
