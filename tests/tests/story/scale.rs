//! Many peers in one simulated world.

use laneway_tests::sim::story::{Story, pause_ms, publish, subscribe};
use laneway_tests::sim::workload::Step;

const READERS: usize = 999;
const MESSAGES: usize = 20;

#[test]
fn a_thousand_peers_share_one_world_and_each_reader_gets_everything() {
    let mut story = Story::new(4);
    for _ in 0..READERS {
        story = story.client([subscribe("a/#"), vec![pause_ms(60_000)]].concat());
    }
    let talk = vec![pause_ms(10_000), publish("a/b", MESSAGES, 100), Step::Ping, Step::Settle];
    let system = story.client(talk).play().expect("a calm run keeps its promises");
    assert_eq!(system.oracle().delivered(), (READERS * MESSAGES) as u64);
}
