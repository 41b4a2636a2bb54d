//! Every knob of the simulated network has an effect, and only its own.

use laneway_proto::time::Duration;
use laneway_tests::sim::faults::NetworkConfig;
use laneway_tests::sim::marks::Marks;
use laneway_tests::sim::story::{Story, pause_ms, publish, subscribe};
use laneway_tests::sim::workload::Step;

/// Twenty clients of which half publish to the other half, in this network; what was reached before the faults stopped.
fn reached(network: NetworkConfig) -> Marks {
    let mut story = Story::new(2);
    for _ in 0..10 {
        let bursts = (0..5).flat_map(|_| [publish("a/b", 5, 2_000), pause_ms(1)]);
        let publisher: Vec<Step> = [pause_ms(50)].into_iter().chain(bursts).collect();
        story = story.client([subscribe("a/#"), vec![pause_ms(1)]].concat()).client(publisher);
    }
    story.network = network.clone();
    let mut system = story.begin();
    system.advance(Duration::from_millis(2_000)).expect("nothing is broken by it");
    let mut marks = system.report(network, None).marks;
    marks.add("delivered", system.oracle().delivered());
    marks
}

/// A knob, how it is turned, and the condition that it brings about.
type Knob = (&'static str, fn(&mut NetworkConfig), &'static str);

const KNOBS: &[Knob] = &[
    ("receive_bytes_max", |network| network.receive_bytes_max = 500, "frame_split"),
    ("short_send", |network| network.short_send_permille = 500, "broker_saw_short_send"),
    ("restart", |network| network.restart_permille = 300, "receive_restart"),
    ("no_buffers", |network| network.no_buffers_permille = 300, "broker_saw_no_buffers"),
    ("accept_restart", |network| network.accept_restart_permille = 500, "accept_restart"),
    ("no_descriptor", |network| network.no_descriptor_permille = 300, "accept_paused"),
    ("descriptors_max", |network| network.descriptors_max = 4, "accept_paused"),
    ("backlog_max", |network| network.backlog_max = 1, "dial_refused"),
    ("refuse", |network| network.refuse_permille = 300, "dial_refused"),
    ("hang", |network| network.hang_permille = 300, "dial_hangs"),
    ("reset", |network| (network.reset_permille, network.reset_after_bytes_max) = (800, 3_000), "reset"),
    ("partition", |network| (network.partition_per_10k, network.partition_ms_max) = (1_000, 50), "partition"),
    ("stall", |network| (network.stall_permille, network.stall_us_max) = (300, 1_000), "stall"),
];

#[test]
fn each_fault_happens_when_its_knob_is_turned_and_never_in_a_calm_network() {
    let calm = reached(NetworkConfig::calm());
    assert_eq!(calm.count("delivered"), 10 * 10 * 25);
    for (name, turn, condition) in KNOBS {
        // Frames of 2,000 bytes meet the border of a receive buffer in any network.
        let before = if *condition == "frame_split" { calm.count(condition) } else { 0 };
        assert!(calm.count(condition) <= before, "{name}: `{condition}` was reached in a calm network");
        let mut network = NetworkConfig::calm();
        turn(&mut network);
        let marks = reached(network);
        assert!(marks.count(condition) > before, "{name}: `{condition}` was never reached");
    }
}

/// Virtual milliseconds until one message has gone from its publisher to its subscriber.
fn transit_ms(network: &NetworkConfig) -> u64 {
    let subscriber = [subscribe("a/#"), vec![pause_ms(100_000)]].concat();
    let mut story = Story::new(1).client(subscriber).client(vec![pause_ms(60_000), publish("a/b", 1, 100)]);
    story.network = network.clone();
    let mut system = story.begin();
    system.advance(Duration::from_millis(50_000)).expect("the subscription is in effect");
    let before = system.oracle().mark();
    while system.oracle().mark() == before {
        system.advance(Duration::from_millis(1)).expect("the message is published");
    }
    let began = system.world().borrow().now();
    while system.oracle().delivered() == 0 {
        system.advance(Duration::from_millis(1)).expect("the message arrives");
    }
    system.world().borrow().now().since(began).as_millis()
}

#[test]
fn a_pair_of_hosts_keeps_its_latency() {
    let calm = NetworkConfig::calm();
    let far = NetworkConfig { latency_us_min: 20_000, latency_us_max: 20_000, ..calm.clone() };
    let slow = NetworkConfig { slow_pair_permille: 1_000, ..far.clone() };
    let times = [calm, far, slow].map(|network| transit_ms(&network));
    assert!(times[0] < 10, "{times:?}");
    // Two ways of 20 ms, and up to a quarter more; a slow pair takes a hundred times as long.
    assert!((38..=60).contains(&times[1]), "{times:?}");
    assert!((3_900..=6_000).contains(&times[2]), "{times:?}");
}

#[test]
fn a_connection_never_holds_more_than_its_capacity() {
    let mut story = Story::new(1)
        .client([subscribe("a/#"), vec![pause_ms(60_000)]].concat())
        .who(|who| who.read_pause = Duration::from_millis(60_000))
        .client(vec![pause_ms(100), publish("a/b", 300, 1_000), Step::Ping]);
    (story.network.capacity_bytes_min, story.network.capacity_bytes_max) = (5_000, 5_000);
    let mut system = story.begin();
    for _ in 0..1_000 {
        system.advance(Duration::from_millis(1)).expect("nothing goes wrong");
        let world = system.world().borrow();
        for (id, link) in world.live() {
            assert!(link.to_client.queued() <= 5_000 && link.to_broker.queued() <= 5_000, "{id:?}");
        }
    }
}
