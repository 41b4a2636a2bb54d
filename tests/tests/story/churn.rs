//! Clients come and go at any moment of a session, in any way; the broker is left as it was.

use laneway_proto::time::Duration;
use laneway_tests::sim::churn::{Churn, Churner, Moment};
use laneway_tests::sim::rng::Rng;
use laneway_tests::sim::story::{Story, pause_ms, publish, subscribe};
use laneway_tests::sim::system::{Holdings, System};
use laneway_tests::sim::workload::{Leave, Step};

/// Longer than any deadline of the broker: what became needless has passed.
const ALL_DEADLINES: Duration = Duration::from_millis(30_000);
/// Clients that come and go at the same time.
const CHURNERS: u64 = 8;

/// Connections to make and kill: a hundred thousand with `LANEWAY_LONG=1`.
fn cycles() -> u64 {
    if std::env::var_os("LANEWAY_LONG").is_some_and(|value| value == "1") { 100_000 } else { 4_000 }
}

/// A broker with one session that stays, after all its start is over.
fn with_a_resident(shards: u8, seed: u64) -> (System, Holdings) {
    let mut story = Story::new(shards).client([subscribe("a/#"), vec![pause_ms(3_600_000_000)]].concat());
    story.seed = seed;
    let mut system = story.begin();
    system.advance(ALL_DEADLINES).expect("a calm start");
    let baseline = system.holdings();
    assert_eq!((baseline.connections, baseline.sockets, baseline.deadlines, baseline.buffers), (1, 1, 0, 0));
    (system, baseline)
}

/// Lets `count` clients make `cycles` connections together, and the broker come to rest.
fn churn(system: &mut System, count: u64, cycles: u64, moments: &[Moment], ways: &[Leave], seed: u64) {
    for number in 0..count {
        let (moments, ways) = (moments.to_vec(), ways.to_vec());
        let rng = Rng::new(seed, 100 + number);
        system
            .join(|id, world| Box::new(Churner::new(id, world, Churn { cycles: cycles / count, moments, ways, rng })));
    }
    let patience = cycles * 100;
    for _ in 0..patience {
        if system.guests_have_finished() {
            break;
        }
        system.advance(Duration::from_millis(100)).expect("nothing goes wrong");
    }
    assert!(system.guests_have_finished(), "{cycles} connections take their time");
    system.advance(ALL_DEADLINES).expect("nothing goes wrong");
}

#[test]
fn connections_that_die_at_random_leave_nothing_behind_however_many() {
    for shards in [1, 3] {
        let (mut system, baseline) = with_a_resident(shards, 9);
        let ways = [Leave::Close, Leave::Reset, Leave::Finish];
        let rounds = 4;
        for round in 0..rounds {
            churn(&mut system, CHURNERS, cycles() / rounds / 2, &Moment::ALL, &ways, round);
            assert_eq!(system.holdings(), baseline, "{shards} shards, after round {round}");
        }
        let accepted: u64 = system.shards().iter().map(|shard| shard.counters().accepted).sum();
        println!("{shards} shards: {accepted} connections accepted; what is held: {:?}", system.holdings());
        assert!(accepted > cycles() * 2 / 5, "only {accepted} connections were accepted");
    }
}

#[test]
fn whoever_dies_after_any_step_of_a_session_leaves_nothing_behind_and_disturbs_nobody() {
    for moment in Moment::ALL {
        for way in [Leave::Close, Leave::Reset, Leave::Finish, Leave::Vanish] {
            let bystander = [subscribe("a/#"), vec![pause_ms(3_600_000)]].concat();
            let writer: Vec<Step> =
                (0..50).flat_map(|_| [pause_ms(2), publish("a/b", 1, 100)]).chain([Step::Ping, Step::Settle]).collect();
            let mut system = Story::new(2).client(bystander).client(writer).begin();
            churn(&mut system, 4, 20, &[moment], &[way], 1);
            let held = system.holdings();
            assert_eq!(system.oracle().delivered(), 50, "{moment:?}, {way:?}: the others notice nothing");
            // A host that is gone without a sign in the middle of a session looks like one that has nothing to say.
            let silent = way == Leave::Vanish
                && matches!(
                    moment,
                    Moment::Hello
                        | Moment::Welcome
                        | Moment::Subscribe
                        | Moment::Subscribed
                        | Moment::Publish
                        | Moment::Delivered
                );
            let expected = if silent { None } else { Some(2) };
            assert!(
                expected.is_none_or(|expected| held.connections == expected && held.sockets == expected),
                "{moment:?}, {way:?}: {held:?}"
            );
            if !silent {
                assert_eq!((held.deadlines, held.buffers, held.pending), (0, 0, 0), "{moment:?}, {way:?}: {held:?}");
            }
        }
    }
}
