//! A run follows from its seed alone, and virtual time costs nothing.

use laneway_proto::time::Duration;
use laneway_tests::sim::scenario::Scenario;
use laneway_tests::sim::story::{Story, pause_ms, publish, subscribe};
use laneway_tests::sim::system;

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let hashes: Vec<u64> = (0..8).map(|seed| system::run(seed, Scenario::Any, false).hash).collect();
    let again: Vec<u64> = (0..8).map(|seed| system::run(seed, Scenario::Any, false).hash).collect();
    assert_eq!(hashes, again);
    let mut distinct = hashes;
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 8);
}

#[test]
fn every_scenario_runs_and_its_name_finds_it() {
    for (name, scenario) in Scenario::ALL {
        assert_eq!(Scenario::named(name), Some(scenario));
        for seed in 0..5 {
            let report = system::run(seed, scenario, false);
            assert_eq!(report.failure, None, "{name}, seed {seed}");
        }
    }
}

#[test]
fn an_hour_in_which_nothing_happens_takes_no_turns() {
    let idle = [subscribe("a/#"), vec![pause_ms(4 * 3_600_000)]].concat();
    let mut system = Story::new(2).client(idle.clone()).client(idle).begin();
    system.advance(Duration::from_millis(60_000)).expect("a calm start");
    let before = (system.steps(), system.world().borrow().now());
    system.advance(Duration::from_millis(3_600_000)).expect("a calm hour");
    let spent = system.steps() - before.0;
    assert_eq!(spent, 0, "nobody has anything to do, but {spent} turns were taken");
}

#[test]
fn a_message_after_an_idle_hour_still_arrives() {
    let subscriber = [subscribe("a/#"), vec![pause_ms(2 * 3_600_000)]].concat();
    let publisher = vec![pause_ms(3_600_000), publish("a/b", 1, 100)];
    let mut system = Story::new(2).client(subscriber).client(publisher).begin();
    system.advance(Duration::from_millis(3_700_000)).expect("nothing goes wrong");
    assert_eq!(system.oracle().delivered(), 1);
}
