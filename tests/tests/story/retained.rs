//! Last values: whoever asks for them sees the newest one first and then every change.

use laneway_proto::time::Duration;
use laneway_tests::sim::faults::NetworkConfig;
use laneway_tests::sim::rng::Rng;
use laneway_tests::sim::story::{Story, pause_ms, publish};
use laneway_tests::sim::system::System;
use laneway_tests::sim::workload::{Step, Workload};

fn retain(topic: &'static str, lane: u8, lens: &[usize]) -> Step {
    Step::Retain { topic, lane, lens: lens.to_vec() }
}

fn ask(filter: &str) -> Vec<Step> {
    vec![Step::SubscribeRetained(vec![filter.to_owned()]), Step::Settle]
}

fn replayed(system: &System) -> u64 {
    system.shards().iter().map(|shard| shard.counters().retained_replayed).sum()
}

/// A run of a seed: writers that change values small and large all the time, and readers that come at any moment. The
/// oracle knows what each has to see.
fn crowd(seed: u64) -> Story {
    let mut rng = Rng::new(seed, 77);
    let mut story = Story::new(*rng.pick(&[1, 2, 3, 4]));
    story.seed = seed;
    // A shard that was held up finds requests and older mail at once.
    story.network = NetworkConfig {
        wake_us_max: *rng.pick(&[1, 100, 2_000]),
        stall_permille: *rng.pick(&[0, 300]),
        stall_us_max: 20_000,
        ..NetworkConfig::calm()
    };
    let Workload { settings, .. } = &mut story.workload;
    settings.limits.outbox_bytes_max = *rng.pick(&[3_000, 65_536, 1_048_576]);
    settings.pools.mesh_chunks_max = *rng.pick(&[2, 32]);
    for _ in 0..rng.between(1, 4) {
        let mut steps = Vec::new();
        for _ in 0..rng.between(5, 25) {
            let topic = *rng.pick(&["a/b", "a/c", "s/1/x"]);
            let len = *rng.pick(&[0, 20, 100, 3_000, 40_000]);
            steps.push(match rng.below(5) {
                0 => publish(topic, 1, len.min(3_000)),
                1 => Step::Ping,
                _ => retain(topic, *rng.pick(&[1, 1, 2]), &[len]),
            });
            if rng.chance(500) {
                steps.push(Step::Pause(Duration::from_micros(rng.below(3_000))));
            }
            if rng.chance(200) {
                steps.extend([Step::Ping, Step::Settle]);
            }
        }
        story = if rng.chance(500) { story.client(steps) } else { story.library(steps) };
    }
    for _ in 0..rng.between(1, 8) {
        let pause = Step::Pause(Duration::from_micros(rng.below(60_000)));
        let filter = *rng.pick(&["#", "a/#", "a/+", "a/b", "s/+/x", "tiny/#"]);
        let steps = [vec![pause], ask(filter), vec![pause_ms(50)]].concat();
        story = if rng.chance(700) { story.client(steps) } else { story.library(steps) };
        let write_bytes_max = *rng.pick(&[1, 64 * 1024]);
        story = story.who(|who| who.write_bytes_max = write_bytes_max);
    }
    story
}

#[test]
fn whoever_joins_at_any_time_sees_the_newest_value_and_then_every_change() {
    let mut values = 0;
    for seed in 0..150 {
        let system = crowd(seed).play().unwrap_or_else(|failure| panic!("seed {seed}: {failure:?}"));
        values += replayed(&system);
    }
    assert!(values > 300, "the readers were sent {values} values only");
}

#[test]
fn what_was_accepted_first_is_older_whichever_shards_took_it() {
    for shards in [1, 2, 4] {
        // Each waits until the one before it has been told that its value is accepted.
        let mut story = Story::new(shards);
        for place in 0..6 {
            let steps =
                vec![pause_ms(10 + 10 * place), retain("a/b", 1, &[20 + place as usize]), Step::Ping, Step::Settle];
            story = story.client(steps);
        }
        for _ in 0..shards {
            story = story.client([vec![pause_ms(100)], ask("a/b")].concat());
        }
        let system = story.play().expect("the oracle finds an older value");
        assert_eq!(replayed(&system), u64::from(shards), "{shards} shards: each reader got one value");
    }
}

#[test]
fn a_slow_reader_is_sent_many_values_without_more_memory_than_its_queue() {
    for shards in [1, 2] {
        let lens = vec![3_000; 1];
        let mut story = Story::new(shards);
        for _ in 0..100 {
            // Each has a topic of its own, and one they share.
            story = story.client(vec![retain("a/b", 1, &[10, 11]), retain("a/c", 1, &lens), Step::Ping, Step::Settle]);
        }
        story = story.client([vec![pause_ms(500)], ask("#"), vec![pause_ms(2_000)]].concat()).who(|who| {
            who.read_bytes_max = 500;
            who.read_pause = Duration::from_millis(1);
        });
        story.workload.settings.limits.outbox_bytes_max = 2_000;
        story.network.capacity_bytes_min = 500;
        story.network.capacity_bytes_max = 500;
        let mut system = story.begin();
        let mut most = 0;
        for _ in 0..600 {
            system.advance(Duration::from_millis(5)).expect("nothing goes wrong");
            most = most.max(system.shards().iter().map(|shard| shard.outbox_bytes()).sum::<u64>());
        }
        assert_eq!(replayed(&system), 101, "{shards} shards: 100 small values, and the shared one");
        // Half of the queue, the largest value, and a name for each.
        assert!(most < 2_000 + 3_100 + 101 * 60, "{shards} shards: {most} bytes waited");
    }
}

#[test]
fn beyond_its_bounds_a_value_is_not_kept_but_delivered() {
    for (topics_max, bytes_max, refused) in [(1, 1_000_000, 1), (1_000, 200, 1), (0, 0, 2), (1_000, 1_000_000, 0)] {
        let mut story = Story::new(2)
            .client([vec![Step::Subscribe(vec!["a/#".into()]), Step::Settle], vec![pause_ms(100)]].concat())
            .client(vec![pause_ms(20), retain("a/b", 1, &[100]), Step::Ping, Step::Settle])
            .client(vec![pause_ms(40), retain("a/c", 1, &[100]), Step::Ping, Step::Settle]);
        // What the broker keeps of its peers takes places, too.
        story.workload.settings.peers.presence = false;
        story.workload.settings.limits.retained_topics_max = topics_max;
        story.workload.settings.limits.retained_bytes_max = bytes_max;
        let mut system = story.begin();
        system.advance(Duration::from_millis(200)).expect("nothing goes wrong");
        assert_eq!(system.oracle().delivered(), 2, "both reach who is there");
        for shard in system.shards() {
            assert_eq!(shard.counters().retained_refused, refused, "{topics_max} topics, {bytes_max} bytes");
            assert_eq!(u64::from(shard.retained().topics()), 2 - refused);
            assert!(shard.retained().bytes() <= u64::from(bytes_max));
        }
    }
}
