//! Whatever a client says, it is sent away with the right code, and a well-behaved one beside it notices nothing.

use laneway_broker::counters::CloseReason;
use laneway_tests::sim::crime::Crime;
use laneway_tests::sim::rng::Rng;
use laneway_tests::sim::story::{Story, pause_ms, publish, subscribe};
use laneway_tests::sim::workload::Step;

#[test]
fn every_broken_rule_is_answered_with_its_code_and_counted() {
    for (seed, crime) in (0..).zip(Crime::all(&mut Rng::new(4, 4))) {
        let (name, reason) = (crime.name, CloseReason::Ours(crime.code));
        let subscriber = [subscribe("a/#"), vec![pause_ms(20_000)]].concat();
        let publisher: Vec<Step> =
            (0..100).flat_map(|_| [pause_ms(150), publish("a/b", 1, 100)]).chain([Step::Ping, Step::Settle]).collect();
        let mut story = Story::new(1).client(subscriber).client(publisher).criminal(crime);
        story.seed = seed;
        let system = story.play().unwrap_or_else(|failure| panic!("{name}: {failure:?}"));
        let counters = *system.shards()[0].counters();
        assert_eq!(system.oracle().delivered(), 100, "{name}: the others notice nothing");
        let closed = counters.closed_for(reason);
        assert!(closed > 0, "{name}: not counted as {}: {:?}", reason.name(), counters.closed);
    }
}
