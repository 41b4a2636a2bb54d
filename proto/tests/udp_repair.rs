//! Repaired lanes of a broadcast: each receiver gets each message or learns that it is lost, exactly one of both, whatever the
//! network loses.
//!
//! `LANEWAY_LONG=1` runs the whole matrix instead of a part of it.
#![cfg(feature = "control")]

pub mod broadcast;

use broadcast::Node;
use broadcast::world::{MS, Random, Way, World};
use laneway_proto::datagram::broadcast::Repair;

const COMMAND: u8 = 1;
const EVENT: u8 = 2;
/// Repairs may take as much as they like.
const GENEROUS: Repair = Repair { percent: 200, receivers: 16 };
/// Bytes a second of a source.
const RATE: u64 = 10_000_000;

fn is_long() -> bool {
    std::env::var_os("LANEWAY_LONG").is_some()
}

/// One source, in front, and receivers that have subscribed.
fn world(receivers: usize, repair: Repair) -> World {
    let repair = Repair { receivers: receivers as u32, ..repair };
    let mut nodes: Vec<Node> =
        (1..=receivers as u32 + 1).map(|sender| Node::repaired(sender, 0, repair, RATE)).collect();
    nodes[1..].iter_mut().for_each(|node| node.subscribe(&["a/#"]));
    World::new(nodes)
}

/// A message that is long enough to be alone in its datagram.
fn message(number: u32) -> Vec<u8> {
    let mut payload = vec![0x5A; 1_000];
    payload[..4].copy_from_slice(&number.to_le_bytes());
    payload
}

/// Numbers of the messages a node has heard since the last call.
fn numbers(node: &mut Node) -> Vec<u32> {
    let number = |payload: &[u8]| u32::from_le_bytes(payload[..4].try_into().expect("four bytes"));
    node.heard().iter().map(|(_, payload)| number(payload)).collect()
}

/// Every number of `sent` once, or lost, and in order where the lane says so; how many are lost.
fn check(node: &mut Node, lane: u8, sent: std::ops::Range<u32>, what: &str) -> u64 {
    let mut heard = numbers(node);
    if lane == COMMAND {
        assert!(heard.is_sorted(), "{what}: out of order: {heard:?}");
    }
    let count = heard.len();
    heard.sort_unstable();
    heard.dedup();
    assert_eq!(heard.len(), count, "{what}: something came twice");
    assert!(heard.iter().all(|number| sent.contains(number)), "{what}: something came that was never sent");
    assert_eq!(count as u64 + node.lost, sent.len() as u64, "{what}: neither delivered nor lost, or both");
    node.lost
}

/// Publishes `count` messages from the first node, one a millisecond, under a rule of loss; then the network is whole.
fn publish(world: &mut World, lane: u8, numbers: std::ops::Range<u32>, lost: &mut dyn FnMut(&Way<'_>) -> bool) {
    for number in numbers {
        world.nodes[0].publish("a/b", lane, &message(number));
        let until = world.now + MS;
        world.run(until, lost);
    }
}

fn heal(world: &mut World) {
    let until = world.now + 8_000 * MS;
    world.run(until, &mut |_| false);
}

#[test]
fn nothing_is_said_but_heartbeats_as_long_as_nothing_is_lost() {
    let mut world = world(8, Repair::default());
    publish(&mut world, COMMAND, 0..200, &mut |_| false);
    heal(&mut world);
    for place in 1..=8 {
        assert_eq!(check(&mut world.nodes[place], COMMAND, 0..200, "no loss"), 0);
        let stats = world.nodes[place].link.stats();
        assert_eq!((stats.requests_out, stats.repairs), (0, 0));
    }
    let stats = world.nodes[0].link.stats();
    assert_eq!((stats.repairs, stats.datagrams_out), (0, 200));
}

#[test]
fn a_lost_last_message_is_found_by_the_next_heartbeat() {
    for lost_beats in [0, 1] {
        let mut world = world(1, Repair::default());
        publish(&mut world, COMMAND, 0..40, &mut |_| false);
        let mut left = 1 + lost_beats;
        world.nodes[0].publish("a/b", COMMAND, &message(40));
        let until = world.now + if lost_beats == 0 { 30 } else { 75 } * MS;
        world.run(until, &mut |way| {
            let lost = way.from == 0 && left > 0;
            left -= u64::from(lost);
            lost
        });
        assert_eq!(numbers(&mut world.nodes[1]).len(), 41, "{lost_beats} heartbeats lost");
    }
}

#[test]
fn when_all_lose_the_same_few_ask_and_one_repair_is_for_all() {
    let receivers = 100;
    let mut world = world(receivers, Repair::default());
    // Every tenth datagram, but repairs.
    let mut dropped = 0;
    publish(&mut world, COMMAND, 0..300, &mut |way| {
        let lost = way.from == 0 && way.bytes[19] & 0x20 == 0 && way.number % 10 == 9;
        dropped += u64::from(lost && way.to == 1);
        lost
    });
    heal(&mut world);
    let requests: u64 = world.nodes[1..].iter().map(|node| node.link.stats().requests_out).sum();
    for place in 1..=receivers {
        assert_eq!(check(&mut world.nodes[place], COMMAND, 0..300, "all lose the same"), 0);
    }
    println!("{requests} requests for {dropped} lost datagrams");
    assert!(requests <= 3 * dropped, "{requests} requests for {dropped} lost datagrams");
    assert!(dropped > 20);
}

#[test]
fn when_one_loses_it_alone_asks_and_it_alone_is_answered() {
    let mut world = world(8, Repair::default());
    let mut random = Random(3);
    let mut dropped = 0;
    publish(&mut world, EVENT, 0..500, &mut |way| {
        let lost = way.to == 1 && way.from == 0 && random.below(100) < 5;
        dropped += u64::from(lost);
        lost
    });
    heal(&mut world);
    for place in 1..=8 {
        assert_eq!(check(&mut world.nodes[place], EVENT, 0..500, "one loses"), 0);
        let stats = world.nodes[place].link.stats();
        if place == 1 {
            assert!(stats.requests_out * 10 <= dropped * 12, "{} requests for {dropped}", stats.requests_out);
        } else {
            assert_eq!((stats.requests_out, stats.repeated_frames), (0, 0), "receiver {place}");
        }
    }
}

#[test]
fn who_loses_the_frames_that_name_a_topic_hears_the_rest_and_gets_or_misses_those() {
    for lane in [COMMAND, EVENT] {
        for are_repaired in [true, false] {
            let mut world = world(2, GENEROUS);
            let mut early = |way: &Way<'_>| {
                let is_repair = way.from == 0 && way.bytes[19] & 0x20 != 0;
                way.to == 1 && if is_repair { !are_repaired } else { way.number <= 3 }
            };
            publish(&mut world, lane, 0..40, &mut early);
            let until = world.now + 8_000 * MS;
            world.run(until, &mut early);
            // It is named again.
            publish(&mut world, lane, 40..41, &mut early);
            heal(&mut world);
            let what = format!("lane {lane}, repaired: {are_repaired}");
            let lost = check(&mut world.nodes[1], lane, 0..41, &what);
            assert_eq!(lost, if are_repaired { 0 } else { 3 }, "{what}");
            assert_eq!(check(&mut world.nodes[2], lane, 0..41, &what), 0);
        }
    }
}

#[test]
fn a_lane_without_a_name_of_its_own_goes_on_with_the_name_that_another_lane_brings() {
    let mut world = world(1, GENEROUS);
    for (lane, is_lost) in [(EVENT, true), (EVENT, true), (EVENT, true), (EVENT, false), (COMMAND, true)] {
        world.nodes[0].publish("a/b", lane, &message(0));
        let until = world.now + MS;
        world.run(until, &mut |way| is_lost && way.from == 0);
    }
    assert_eq!(numbers(&mut world.nodes[1]), [] as [u32; 0], "what has no name waits");
    heal(&mut world);
    assert_eq!((numbers(&mut world.nodes[1]).len(), world.nodes[1].lost), (5, 0));
}

#[test]
fn a_source_that_has_it_no_more_says_so_and_nothing_comes_after_that() {
    let mut world = world(2, GENEROUS);
    publish(&mut world, COMMAND, 0..50, &mut |_| false);
    // One receiver hears nothing for longer than anything is kept.
    let until = world.now + 3_000 * MS;
    let mut number = 50;
    while world.now < until {
        publish(&mut world, COMMAND, number..number + 1, &mut |way| way.to == 1);
        number += 1;
    }
    publish(&mut world, COMMAND, number..number + 50, &mut |_| false);
    heal(&mut world);
    let lost = check(&mut world.nodes[1], COMMAND, 0..number + 50, "partition");
    assert!(lost > 900, "{lost} lost");
    assert_eq!(check(&mut world.nodes[2], COMMAND, 0..number + 50, "beside it"), 0);
}

#[test]
fn who_asks_for_too_much_is_told_so_and_costs_the_others_nothing() {
    let mut world = world(4, Repair::default());
    let mut random = Random(5);
    publish(&mut world, COMMAND, 0..8_000, &mut |way| way.to == 1 && way.from == 0 && random.below(2) == 0);
    heal(&mut world);
    assert!(world.nodes[1].link.stats().demoted > 0);
    let lost = check(&mut world.nodes[1], COMMAND, 0..8_000, "half is lost");
    assert!(lost > 100, "{lost} lost");
    for place in 2..=4 {
        assert_eq!(check(&mut world.nodes[place], COMMAND, 0..8_000, "beside it"), 0);
    }
}

/// What happens besides loss.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    Steady,
    IdleTail,
    SourceRestart,
    LateJoin,
    ReceiverRestart,
    Partition,
}

/// Who loses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pattern {
    Independent,
    AllTheSame,
    OneHalf,
}

/// One cell of the matrix: everything is delivered or lost, exactly one of both, at every receiver.
fn cell(receivers: usize, percent: u64, pattern: Pattern, event: Event, lane: u8, seed: u64) {
    let what = format!("{receivers} receivers, {percent} % {pattern:?}, {event:?}, lane {lane}, seed {seed}");
    let mut world = world(receivers, GENEROUS);
    let mut random = Random(seed);
    let mut losses = |way: &Way<'_>| match pattern {
        Pattern::Independent => random.below(100) < percent,
        Pattern::AllTheSame => way.from == 0 && Random(seed ^ way.number).below(100) < percent,
        Pattern::OneHalf if way.to == 1 => random.below(2) == 0,
        Pattern::OneHalf => random.below(100) < percent,
    };
    let count = 300;
    let partitioned = 1;
    publish(&mut world, lane, 0..100, &mut losses);
    let repair = Repair { receivers: receivers as u32, ..GENEROUS };
    match event {
        Event::Steady | Event::IdleTail => {}
        Event::SourceRestart => {
            // What it had not repaired is gone with it; what comes is a stream of its own.
            heal(&mut world);
            for node in &mut world.nodes[1..] {
                check(node, lane, 0..100, &what);
                node.lost = 0;
            }
            let now = world.nodes[0].now;
            world.nodes[0] = Node::repaired(1, 1, repair, RATE);
            world.nodes[0].now = now;
        }
        Event::LateJoin | Event::ReceiverRestart => {
            let now = world.nodes[1].now;
            let sender = if event == Event::LateJoin { 200 } else { 2 };
            world.nodes[1] = Node::repaired(sender, 1, repair, RATE);
            world.nodes[1].now = now;
            world.nodes[1].subscribe(&["a/#"]);
            // The next message names its topic.
            let until = world.now + 1_000 * MS;
            world.run(until, &mut losses);
        }
        Event::Partition => {
            let until = world.now + 2_000 * MS;
            world.run(until, &mut |way| way.to == partitioned);
        }
    }
    publish(&mut world, lane, 100..count, &mut losses);
    if event == Event::IdleTail {
        let until = world.now + 3_000 * MS;
        world.run(until, &mut losses);
    }
    heal(&mut world);
    for place in 1..=receivers {
        let node = &mut world.nodes[place];
        if event == Event::SourceRestart {
            check(node, lane, 100..count, &what);
        } else if matches!(event, Event::LateJoin | Event::ReceiverRestart) && place == 1 {
            // It has missed nothing before what it heard first.
            let heard = numbers(node);
            let first = heard.iter().min().copied().unwrap_or(count);
            assert!(first == 100 || percent > 0 || pattern == Pattern::OneHalf, "{what}: begins at {first}");
            assert_eq!(heard.len() as u64 + node.lost, u64::from(count - first), "{what}");
        } else {
            check(node, lane, 0..count, &what);
        }
    }
}

#[test]
fn every_cell_of_the_matrix_delivers_or_reports_each_message() {
    let receivers = if is_long() { &[1, 8, 32, 100][..] } else { &[1, 8] };
    let mut cells = 0;
    for &receivers in receivers {
        for percent in [0, 1, 5, 20] {
            for pattern in [Pattern::Independent, Pattern::AllTheSame, Pattern::OneHalf] {
                for event in [
                    Event::Steady,
                    Event::IdleTail,
                    Event::SourceRestart,
                    Event::LateJoin,
                    Event::ReceiverRestart,
                    Event::Partition,
                ] {
                    for lane in [COMMAND, EVENT] {
                        cells += 1;
                        cell(receivers, percent, pattern, event, lane, 1_000 + cells);
                    }
                }
            }
        }
    }
    println!("{cells} cells");
}

/// Two receivers, three messages, and every way to lose up to so many of the first datagrams, one receiver at a time: the
/// real machines, explored to the end (model 4 of the protocol's list).
#[test]
fn every_way_to_lose_a_few_datagrams_ends_with_data_or_lost_at_both_receivers() {
    const MESSAGES: u32 = 3;
    let (choices, losses_max) = if is_long() { (24, 4) } else { (16, 3) };
    // A run is a list of decisions, the first ones given, the others "arrives"; the next run changes the last that may.
    let mut decisions: Vec<bool> = Vec::new();
    let mut runs = 0u32;
    loop {
        let mut world = world(2, GENEROUS);
        let mut taken: Vec<bool> = Vec::new();
        let mut lost = |_: &Way<'_>| {
            let lost = decisions.get(taken.len()).copied().unwrap_or(false);
            taken.push(lost);
            lost
        };
        publish(&mut world, COMMAND, 0..MESSAGES, &mut lost);
        let until = world.now + 200 * MS;
        world.run(until, &mut lost);
        heal(&mut world);
        let what = format!("{decisions:?}");
        for place in 1..=2 {
            let node = &mut world.nodes[place];
            let heard = numbers(node);
            let expected: Vec<u32> = (0..MESSAGES).collect();
            assert_eq!((heard, node.lost), (expected, 0), "receiver {place}, lost: {what}");
        }
        runs += 1;
        taken.truncate(choices);
        let count = |list: &[bool]| list.iter().filter(|lost| **lost).count();
        let next = (0..taken.len()).rev().find(|&at| !taken[at] && count(&taken[..at]) < losses_max);
        let Some(at) = next else { break };
        decisions = taken[..at].to_vec();
        decisions.push(true);
    }
    println!("{runs} runs");
    assert!(runs > 400, "{runs} runs");
}
