//! Who dies unannounced: others are told, once and in time, and its will is published, once.

use std::cell::RefCell;
use std::rc::Rc;

use laneway_client::core::{CoreOptions, KeepaliveOptions};
use laneway_client::{Lane, SubscribeOptions};
use laneway_proto::control::Will;
use laneway_proto::time::{Duration, Instant};
use laneway_tests::sim::guest::{Act, Heard};
use laneway_tests::sim::scenario::Scenario;
use laneway_tests::sim::story::Story;
use laneway_tests::sim::system::System;

const GRACE_MS: u32 = 700;

fn ms(ms: u32) -> Duration {
    Duration::from_millis(ms)
}

fn mourned(options: &mut CoreOptions) {
    options.will = Some(Will { topic: "will/it".into(), payload: b"gone".to_vec(), lane: 2, retain: false });
}

/// Somebody who is told of every peer and every will.
fn watcher(system: &mut System) -> Rc<RefCell<Heard>> {
    let retained = SubscribeOptions { retained: true, ..SubscribeOptions::default() };
    let watcher = system.invite(|_| {}, [Act::Subscribe("$sys/peer/+", retained), Act::Subscribe("will/#", retained)]);
    system.advance(ms(2_000)).expect("nothing goes wrong");
    watcher
}

/// What was told of one session: its states with their reasons, when it was told, and when its will came.
#[derive(Debug, Default)]
struct Told {
    states: Vec<String>,
    at: Vec<Instant>,
    wills: Vec<Instant>,
}

impl Told {
    fn of(heard: &Heard, node: &str) -> Self {
        let mut told = Self::default();
        for (at, message) in &heard.messages {
            if message.topic.starts_with("will/") {
                assert_eq!(message.text(), Some("gone"));
                told.wills.push(*at);
                continue;
            }
            let value: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
            if value["node"] == node {
                let reason = value["reason"].as_str().map(|reason| format!(" {reason}")).unwrap_or_default();
                told.states.push(format!("{}{reason}", value["state"].as_str().expect("a state")));
                told.at.push(*at);
            }
        }
        told
    }
}

/// How the broker names the guest with this number.
fn node(id: u32) -> String {
    let rest = "47".repeat(12);
    format!("{id:08x}{rest}")
}

/// What a session that is about to die does.
fn life(end: Option<Act>) -> Vec<Act> {
    let post = |number: u32| Act::Post("life".into(), vec![number as u8; 40], Lane::EVENT.into());
    let acts = std::iter::once(Act::Subscribe("life", SubscribeOptions::default())).chain((0..3).map(post));
    acts.chain([Act::Pause(ms(20)), post(3)]).chain(end.or_else(|| Some(Act::Pause(ms(60_000))))).collect()
}

#[test]
fn a_peer_that_freezes_is_down_when_its_time_is_over_and_a_tenth_later_at_most() {
    for shards in [1, 2] {
        for dead_after_ms in [300, 3_000, 10_000] {
            let mut system = Story::new(shards).begin();
            let watcher = watcher(&mut system);
            let watched = |options: &mut CoreOptions| {
                mourned(options);
                let every = Some(ms(dead_after_ms / 3));
                options.keepalive = Some(KeepaliveOptions { every, dead_after: Some(ms(dead_after_ms)) });
            };
            // It is silent for long before, and answers: that is no death.
            let acts = [Act::Pause(ms(4 * dead_after_ms)), Act::Post("a".into(), vec![1], Lane::EVENT.into())];
            let frozen = system.invite(watched, acts.into_iter().chain([Act::Pause(ms(1)), Act::Freeze]));
            system.advance(ms(10 * dead_after_ms)).expect("nothing goes wrong");
            let last = frozen.borrow().published[0];
            let told = Told::of(&watcher.borrow(), &node(1));
            assert_eq!(told.states, ["up", "down timeout"], "{shards} shards, {dead_after_ms} ms");
            let took = told.at[1].since(last).as_millis();
            println!("{shards} shards: dead after {dead_after_ms} ms, told after {took} ms");
            let bound = u64::from(dead_after_ms);
            assert!((bound..=bound + bound / 10 + 2).contains(&took), "{took} instead of {bound} ms");
            assert_eq!(told.wills.len(), 1, "its will");
        }
    }
}

#[test]
fn a_peer_that_is_busy_or_held_back_is_never_taken_for_dead() {
    for (shards, held_back) in [(1, false), (2, false), (1, true), (2, true)] {
        let mut story = Story::new(shards);
        if held_back {
            story.workload.settings.limits.ingress_bytes_per_s = 20_000;
        }
        let mut system = story.begin();
        let watcher = watcher(&mut system);
        let watched = |options: &mut CoreOptions| {
            mourned(options);
            options.keepalive = Some(KeepaliveOptions { every: Some(ms(500)), dead_after: Some(ms(1_500)) });
        };
        let busy = |_| [Act::Post("a".into(), vec![1; 1_000], Lane::EVENT.into()), Act::Pause(ms(20))];
        system.invite(watched, (0..1_000).flat_map(busy));
        system.advance(ms(30_000)).expect("nothing goes wrong");
        let told = Told::of(&watcher.borrow(), &node(1));
        assert_eq!((told.states, told.wills.len()), (vec!["up".to_owned()], 0), "{shards} shards");
    }
}

#[test]
fn a_link_that_breaks_at_any_byte_is_told_of_once_and_mourned_once() {
    let (mut died, mut unborn, mut lived) = (0, 0, 0);
    for bytes in 1..900 {
        let mut system = Story::new(1 + (bytes % 2) as u8).begin();
        let watcher = watcher(&mut system);
        {
            let config = &mut system.world().borrow_mut().config;
            (config.reset_permille, config.reset_after_bytes_min, config.reset_after_bytes_max) = (1_000, bytes, bytes);
        }
        system.invite(mourned, life(None));
        system.advance(ms(1_000)).expect("nothing goes wrong");
        let told = Told::of(&watcher.borrow(), &node(1));
        match told.states.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => unborn += 1,
            ["up"] => lived += 1,
            ["up", down] if down.starts_with("down ") => died += 1,
            other => panic!("broken after {bytes} bytes: {other:?}"),
        }
        let wanted = usize::from(told.states.len() == 2);
        assert_eq!(told.wills.len(), wanted, "broken after {bytes} bytes: {told:?}");
    }
    println!("{died} died, {unborn} never began, {lived} lived on");
    assert!(died > 100 && unborn > 100, "{died} died, {unborn} never began");
}

#[test]
fn however_a_session_ends_and_however_bytes_travel_it_is_told_of_once() {
    for seed in 0..120_u64 {
        let (end, wanted, wills) = match seed % 4 {
            0 => (Act::Close, "down", 1),
            1 => (Act::Reset, "down", 1),
            2 => (Act::Freeze, "down timeout", 1),
            _ => (Act::Goodbye, "down exit", 0),
        };
        let mut story = Story::new(1 + (seed % 3) as u8);
        story.seed = seed;
        story.network = Scenario::Partial.draw(seed).0;
        let mut system = story.begin();
        let watcher = watcher(&mut system);
        let lasts = seed % 8 >= 4;
        let watched = |options: &mut CoreOptions| {
            mourned(options);
            options.keepalive = Some(KeepaliveOptions { every: Some(ms(300)), dead_after: Some(ms(1_000)) });
            options.resume = lasts;
        };
        system.invite(watched, life(Some(end)));
        system.advance(ms(20_000)).expect("nothing goes wrong");
        let told = Told::of(&watcher.borrow(), &node(1));
        assert_eq!(told.states.len(), 2, "seed {seed}: {told:?}");
        assert!(told.states[1].starts_with(wanted), "seed {seed}: {told:?}");
        assert_eq!(told.wills.len(), wills, "seed {seed}: {told:?}");
    }
}

#[test]
fn a_session_that_may_come_back_is_down_at_once_and_mourned_when_its_grace_is_over() {
    for shards in [1, 2] {
        let mut story = Story::new(shards);
        story.workload.settings.limits.resume_grace_ms = GRACE_MS;
        let mut system = story.begin();
        let watcher = watcher(&mut system);
        let lasting = |options: &mut CoreOptions| {
            mourned(options);
            options.resume = true;
        };
        let gone = system.invite(lasting, life(Some(Act::Reset)));
        system.advance(ms(5_000)).expect("nothing goes wrong");
        let ended = gone.borrow().ended.expect("it tore its connection down");
        let told = Told::of(&watcher.borrow(), &node(1));
        assert_eq!((told.states.len(), told.wills.len()), (2, 1), "{told:?}");
        assert!(told.at[1].since(ended).as_millis() <= 5, "{told:?}");
        let mourned_ms = told.wills[0].since(ended).as_millis();
        assert!(mourned_ms.abs_diff(u64::from(GRACE_MS)) <= 5, "mourned after {mourned_ms} ms");
    }
}
