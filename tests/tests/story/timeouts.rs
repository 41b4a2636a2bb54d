//! Every bound in time is kept within 5 ms, seen on the virtual clock.

use laneway_broker::counters::CloseReason;
use laneway_proto::error::CloseCode;
use laneway_proto::session::handshake::PREFACE;
use laneway_proto::time::{Duration, Instant};
use laneway_tests::sim::crime::Crime;
use laneway_tests::sim::rng::Rng;
use laneway_tests::sim::story::{Story, pause_ms, publish, subscribe};
use laneway_tests::sim::system::System;
use laneway_tests::sim::workload::{PeerPlan, Step};

/// How far off a bound may be kept.
const TOLERANCE_MS: u64 = 5;
const HOUR: Duration = Duration::from_millis(3_600_000);

/// Lets milliseconds pass until `seen`; the moment it was.
fn when(system: &mut System, what: &str, seen: impl Fn(&System) -> bool) -> Instant {
    for _ in 0..120_000 {
        if seen(system) {
            return system.world().borrow().now();
        }
        system.advance(Duration::from_millis(1)).expect("nothing goes wrong");
    }
    panic!("{what} did not happen within two minutes");
}

#[track_caller]
fn assert_about(what: &str, since: Instant, until: Instant, bound_ms: u32) {
    let took_ms = until.since(since).as_millis();
    println!("{what}: {took_ms} ms, bound {bound_ms} ms");
    assert!(took_ms.abs_diff(u64::from(bound_ms)) <= TOLERANCE_MS, "{what}: {took_ms} ms instead of {bound_ms}");
}

fn is_accepted(system: &System) -> bool {
    system.shards().iter().map(|shard| shard.connections()).sum::<usize>() > 0
}

/// The broker has ended its side of every connection it took in.
fn is_sent_away(system: &System) -> bool {
    let world = system.world().borrow();
    world.live().all(|(_, link)| link.descriptor.is_none() || link.broker_shut || link.to_client.ending().is_some())
}

fn is_closed(system: &System) -> bool {
    system.world().borrow().broker_sockets() == 0
}

/// A client that only listens when it wants to.
fn deaf(who: &mut PeerPlan) {
    who.read_pause = HOUR;
}

fn named(name: &str) -> Crime {
    Crime::all(&mut Rng::new(1, 4)).into_iter().find(|crime| crime.name == name).expect("there is such a crime")
}

/// The silence of somebody who has said so much of a handshake.
fn silent_after(bytes: Vec<u8>) -> Crime {
    Crime { lines: vec![(Duration::ZERO, bytes)], ..named("silence") }
}

#[test]
fn a_handshake_is_ended_at_its_bound_wherever_it_stands() {
    for bound_ms in [700, 5_000] {
        let cases =
            [("silence", Vec::new()), ("half a preface", PREFACE[..4].to_vec()), ("a preface", PREFACE.to_vec())];
        for (what, bytes) in cases {
            let mut story = Story::new(1).criminal(silent_after(bytes));
            story.workload.settings.limits.handshake_ms_max = bound_ms;
            let mut system = story.begin();
            let accepted = when(&mut system, "the accept", is_accepted);
            let ended = when(&mut system, "the end", is_sent_away);
            assert_about(what, accepted, ended, bound_ms);
        }
    }
}

#[test]
fn an_incomplete_frame_is_ended_at_its_bound() {
    for bound_ms in [300, 10_000] {
        let mut story = Story::new(1).criminal(named("endless_frame"));
        story.workload.settings.limits.partial_frame_ms_max = bound_ms;
        let mut system = story.begin();
        // Everything it says, it says at once: the frame begins within a round trip of the accept.
        let began = when(&mut system, "the accept", is_accepted);
        let ended = when(&mut system, "the end", is_sent_away);
        assert_about("an incomplete frame", began, ended, bound_ms);
    }
}

#[test]
fn a_reader_that_blocks_its_publishers_is_sent_away_at_the_bound() {
    for (shards, bound_ms) in [(1, 400), (1, 5_000), (2, 5_000)] {
        let reader = [subscribe("a/#"), vec![pause_ms(3_600_000)]].concat();
        let writer = vec![pause_ms(200), publish("a/b", 1_000, 1_000), Step::Ping];
        let mut story = Story::new(shards).client(reader).who(deaf).client(writer);
        story.workload.settings.limits.outbox_bytes_max = 64 * 1024;
        story.workload.settings.limits.block_ms_max = bound_ms;
        (story.network.capacity_bytes_min, story.network.capacity_bytes_max) = (4_096, 4_096);
        let mut system = story.begin();
        let count = |system: &System, of: fn(&laneway_broker::counters::Counters) -> u64| {
            system.shards().iter().map(|shard| of(shard.counters())).sum::<u64>()
        };
        let blocked = when(&mut system, "the stop", |system| count(system, |counters| counters.paused_by_outbox) > 0);
        let slow = |counters: &laneway_broker::counters::Counters| {
            counters.closed_for(CloseReason::Ours(CloseCode::SlowConsumer))
        };
        let ended = when(&mut system, "the end", |system| count(system, slow) > 0);
        assert_about("a full queue", blocked, ended, bound_ms);
    }
}

#[test]
fn a_peer_that_does_not_take_its_goodbye_is_closed_at_the_bound() {
    for bound_ms in [50, 1_000] {
        let mut story = Story::new(1).criminal(named("future_version")).who(deaf);
        // It is refused, and never reads why.
        story.workload.settings.limits.linger_ms_max = bound_ms;
        let mut system = story.begin();
        when(&mut system, "the accept", is_accepted);
        let refused = when(&mut system, "the refusal", is_sent_away);
        let closed = when(&mut system, "the end", is_closed);
        assert_about("a last word that is not taken", refused, closed, bound_ms);
    }
}

#[test]
fn accepting_pauses_for_a_tenth_of_a_second_when_descriptors_run_out() {
    let mut story = Story::new(1).client(vec![pause_ms(3_600_000)]).client(vec![pause_ms(3_600_000)]);
    story.network.descriptors_max = 1;
    let mut system = story.begin();
    let paused = |system: &System| system.shards()[0].counters().accept_paused;
    let mut before = when(&mut system, "the first pause", |system| paused(system) == 1);
    for number in 2..6 {
        let next = when(&mut system, "another pause", |system| paused(system) == number);
        assert_about("a pause", before, next, 100);
        before = next;
    }
}

#[test]
fn a_shutdown_ends_at_its_bound_whoever_does_not_read() {
    for (shards, bound_ms) in [(1, 200), (2, 5_000)] {
        let reader = [subscribe("a/#"), vec![pause_ms(3_600_000)]].concat();
        let writer = vec![pause_ms(100), publish("a/b", 60, 1_000), pause_ms(3_600_000)];
        let mut story = Story::new(shards).client(reader).who(deaf).client(writer);
        story.workload.settings.limits.drain_ms_max = bound_ms;
        (story.network.capacity_bytes_min, story.network.capacity_bytes_max) = (4_096, 4_096);
        let mut system = story.begin();
        system.advance(Duration::from_millis(1_000)).expect("nothing goes wrong");
        let began = system.world().borrow().now();
        system.start_drain();
        let ended = when(&mut system, "the end", |system| system.is_done());
        assert_about("a shutdown", began, ended, bound_ms);
    }
}
