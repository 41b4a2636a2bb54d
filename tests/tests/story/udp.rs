//! UDP in the simulator: whole systems with datagrams that are lost, doubled, damaged, cut and reordered by the seed.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use laneway_client::{Lane, SubscribeOptions};
use laneway_proto::time::Duration;
use laneway_tests::sim::datagrams::DatagramHarm;
use laneway_tests::sim::guest::{Act, Heard};
use laneway_tests::sim::story::Story;
use laneway_tests::sim::system::System;

const BAD: DatagramHarm = DatagramHarm {
    lost_permille: 100,
    doubled_permille: 50,
    damaged_permille: 0,
    cut_permille: 20,
    delay_us: 200,
    jitter_us: 2_000,
};

fn system(seed: u64, shards: u8, harm: DatagramHarm) -> System {
    println!("seed {seed}");
    let mut story = Story::new(shards);
    story.seed = seed;
    let system = story.begin();
    system.world().borrow_mut().datagrams.harm = harm;
    system
}

fn publishes(count: usize, lane: Lane, bytes: usize) -> Vec<Act> {
    let mut acts = vec![Act::Pause(Duration::from_millis(3_000))];
    let body = |number: usize| format!("{number} {}", "x".repeat(bytes)).into_bytes();
    acts.extend((0..count).map(|number| Act::Publish("a/b".into(), body(number), lane.into())));
    acts.push(Act::Goodbye);
    acts
}

fn subscribes() -> Vec<Act> {
    vec![Act::Subscribe("a/#", SubscribeOptions::default())]
}

fn numbers(heard: &Rc<RefCell<Heard>>) -> Vec<usize> {
    let number = |text: &str| text.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
    heard.borrow().texts().iter().map(|(_, text)| number(text)).collect()
}

#[test]
fn reliable_lanes_are_complete_on_udp_and_beside_it() {
    for seed in 1..=12 {
        let shards = 1 + (seed % 2) as u8;
        for (lane, ordered) in [(Lane::COMMAND, true), (Lane::EVENT, false)] {
            let mut system = system(seed, shards, BAD);
            let over_udp = system.invite_over_udp(|_| {}, subscribes());
            let over_stream = system.invite(|_| {}, subscribes());
            let publisher = system.invite_over_udp(|_| {}, publishes(100, lane, 100 * (seed as usize % 7)));
            system.advance(Duration::from_millis(120_000)).expect("nothing goes wrong");
            assert!(publisher.borrow().ended.is_some(), "seed {seed}: the publisher is not done");
            for heard in [&over_udp, &over_stream] {
                let got = numbers(heard);
                assert_eq!(got.len(), 100, "seed {seed}: {got:?}");
                if ordered {
                    assert!(got.is_sorted(), "seed {seed}: {got:?}");
                } else {
                    assert_eq!(got.iter().collect::<BTreeSet<_>>().len(), 100, "seed {seed}: {got:?}");
                }
            }
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let mut system = system(seed, 2, BAD);
        let heard = system.invite_over_udp(|_| {}, subscribes());
        system.invite_over_udp(|_| {}, publishes(30, Lane::COMMAND, 50));
        system.advance(Duration::from_millis(20_000)).expect("nothing goes wrong");
        assert_eq!(numbers(&heard).len(), 30);
        system.report(laneway_tests::sim::faults::NetworkConfig::calm(), None).hash
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn damaged_datagrams_do_not_hurt_the_broker() {
    for seed in 1..=6 {
        let harm = DatagramHarm { damaged_permille: 200, ..BAD };
        let mut system = system(seed, 1, harm);
        // Without a CRC what was damaged may be heard as something else: the broker must survive it, not understand it.
        system.invite_over_udp(|_| {}, subscribes());
        let over_stream = system.invite(|_| {}, subscribes());
        system.invite(|_| {}, publishes(50, Lane::COMMAND, 100));
        // A client that heard nonsense blames the broker, which ends each advance.
        for _ in 0..3_000 {
            let _ = system.advance(Duration::from_millis(10));
        }
        assert_eq!(numbers(&over_stream), (0..50).collect::<Vec<_>>(), "seed {seed}: streams go on");
    }
}

#[test]
fn a_shutdown_says_goodbye_over_udp_and_leaves_nothing_behind() {
    let mut system = system(3, 2, DatagramHarm { delay_us: 100, ..DatagramHarm::default() });
    let heard = system.invite_over_udp(|_| {}, subscribes());
    system.invite_over_udp(|_| {}, publishes(10, Lane::COMMAND, 10));
    system.advance(Duration::from_millis(10_000)).expect("nothing goes wrong");
    system.start_drain();
    system.advance(Duration::from_millis(20_000)).expect("nothing goes wrong");
    assert!(system.is_done(), "{:?}", system.holdings());
    assert_eq!(numbers(&heard).len(), 10);
    assert!(heard.borrow().last_word.is_some(), "the broker says goodbye");
    assert_eq!((system.holdings().buffers, system.holdings().connections), (0, 0));
}
