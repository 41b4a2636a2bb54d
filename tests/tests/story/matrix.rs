//! The matrix of streams, as far as a short run goes: every two of trouble, kind of lane, and policy meet.

use laneway_proto::lane::policy::Policy;
use laneway_proto::time::Duration;
use laneway_tests::sim::matrix::{Sum, cover, table};
use laneway_tests::sim::story::{Story, pause_ms, publish, subscribe};
use laneway_tests::sim::workload::Step;

#[test]
fn every_two_of_trouble_lane_and_policy_keep_every_promise_together() {
    let (mut sums, mut problems) = (Vec::new(), Vec::new());
    for cell in cover() {
        let mut sum = Sum::default();
        for seed in 0..2 {
            match cell.play(seed) {
                Ok(one) => {
                    sum.runs += one.runs;
                    sum.delivered += one.delivered;
                    sum.lost += one.lost;
                    sum.sent_away += one.sent_away;
                }
                Err(failure) => problems.push(format!("{cell}, seed {seed}: {failure:?}")),
            }
        }
        sums.push((cell, sum));
    }
    let of = |cell: &_| {
        let found = sums.iter().find(|(other, _)| other == cell);
        found.map_or_else(String::new, |(_, sum)| format!("{} -{} x{}", sum.delivered, sum.lost, sum.sent_away))
    };
    println!("delivered, -lost with a report, xsent away\n{}", table(of));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let total = |of: fn(&Sum) -> u64| sums.iter().map(|(_, sum)| of(sum)).sum::<u64>();
    assert!(total(|sum| sum.delivered) > 1_000 && total(|sum| sum.lost) > 10 && total(|sum| sum.sent_away) > 0);
}

/// When the last of a hundred subscribers but the first, which may be slow, has everything.
fn all_but_one_have_everything(slow: bool, policy: Policy) -> Duration {
    let mut story = Story::new(2);
    for number in 0..100 {
        let steps = [subscribe("a/#"), vec![pause_ms(60_000)]].concat();
        story = story.library(steps).who(|who| {
            who.policy = Some(policy);
            if slow && number == 0 {
                (who.read_bytes_max, who.read_pause) = (1_000, Duration::from_millis(100));
            }
        });
    }
    // Thirty bursts, each of which the others take at once.
    let bursts = (0..30).flat_map(|_| [publish("a/b", 10, 1_000), pause_ms(2)]);
    let steps = std::iter::once(pause_ms(200)).chain(bursts).chain([Step::Ping, Step::Settle]);
    story = story.library(steps.collect());
    story.workload.settings.limits.outbox_bytes_max = 64 * 1024;
    (story.network.capacity_bytes_min, story.network.capacity_bytes_max) = (8_192, 8_192);
    let mut system = story.begin();
    system.advance(Duration::from_millis(200)).expect("nothing goes wrong");
    let began = system.world().borrow().now();
    // The slow one gets at most what it has read.
    while system.oracle().delivered() < 99 * 300 {
        system.advance(Duration::from_millis(1)).expect("nothing goes wrong");
        let took = system.world().borrow().now().since(began);
        assert!(took < Duration::from_millis(30_000), "{policy:?}: {} delivered", system.oracle().delivered());
    }
    system.world().borrow().now().since(began)
}

#[test]
fn one_slow_reader_of_a_hundred_takes_nothing_from_the_others() {
    for policy in [Policy::DropOldest, Policy::DropNewest, Policy::Conflate, Policy::Disconnect] {
        let [alone, beside] = [false, true].map(|slow| all_but_one_have_everything(slow, policy));
        let (alone_us, beside_us) = (alone.0 / 1_000, beside.0 / 1_000);
        println!("{policy:?}: {alone_us} us without, {beside_us} us beside a slow reader");
        assert!(beside_us * 100 <= alone_us * 105 + 200_000, "{policy:?}: {alone_us} us, {beside_us} us");
    }
}
