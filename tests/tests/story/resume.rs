//! Sessions that outlive their links: broken at every byte, on another shard, too late, too many, with a full queue.

use laneway_broker::counters::{CloseReason, Counters};
use laneway_broker::io::Io as _;
use laneway_proto::error::CloseCode;
use laneway_proto::time::Duration;
use laneway_tests::sim::story::{Story, pause_ms, publish, subscribe};
use laneway_tests::sim::system::System;
use laneway_tests::sim::workload::{Leave, Step};

/// Virtual time within which a calm system has done what was asked.
const SOON: Duration = Duration::from_millis(1_000);

/// A client whose session outlives its links.
fn lasting(story: Story, start_ms: u32, steps: Vec<Step>) -> Story {
    story.library(steps).who(|who| {
        who.resume = true;
        who.start_after = Duration::from_millis(start_ms);
    })
}

/// The sum of a counter over all shards.
fn sum(system: &System, of: fn(&Counters) -> u64) -> u64 {
    system.shards().iter().map(|shard| of(shard.counters())).sum()
}

/// A subscriber and a publisher on reliable lanes, whose links may break after exactly `bytes`.
fn broken_after(bytes: u64) -> Story {
    let mut story = Story::new(2);
    let talk = |lane: u8, lens: &[usize]| Step::Publish { topic: "a/b", lane, lens: lens.to_vec(), batch: false };
    let publisher = vec![
        pause_ms(5),
        talk(1, &[60; 3]),
        talk(2, &[40, 70]),
        pause_ms(3),
        talk(5, &[50, 20_000, 50]),
        talk(1, &[60; 3]),
        Step::Ping,
        Step::Settle,
    ];
    story = lasting(story, 0, [subscribe("a/#"), vec![pause_ms(5_000)]].concat());
    lasting(story, 0, publisher).broken_after(bytes)
}

#[test]
fn a_link_that_breaks_at_any_byte_of_handshake_resume_and_frames_costs_nothing() {
    let (mut resumed, mut resent, mut complete) = (0, 0, 0);
    for bytes in (1..1_000).chain((1_000..30_000).step_by(173)) {
        let system = broken_after(bytes).play();
        let system = system.unwrap_or_else(|failure| panic!("broken after {bytes} bytes: {failure:?}"));
        resumed += sum(&system, |counters| counters.sessions_resumed);
        resent += sum(&system, |counters| counters.frames_resent);
        complete += u64::from(system.oracle().delivered() == 11);
        let anew = system.world().borrow().marks.count("session_not_resumed");
        assert_eq!(anew, 0, "broken after {bytes} bytes: a session was not resumed");
    }
    println!("{resumed} sessions resumed, {resent} frames sent again, {complete} runs got everything");
    assert!(resumed > 400 && resent > 100, "{resumed} sessions were resumed, {resent} frames sent again");
    assert!(complete > 900, "where the subscription was there first, all eleven come: {complete} runs");
}

#[test]
fn a_client_that_comes_back_to_another_shard_finds_its_session() {
    // Clients go to shards 0, 1, 0. The second loses its link, somebody takes its place, and it comes back to shard 0.
    let mut story = Story::new(2).client(vec![pause_ms(60_000)]);
    let reset = vec![pause_ms(100), Step::Leave(Leave::Reset), pause_ms(60_000)];
    story = lasting(story, 1, [subscribe("a/#"), reset].concat());
    story = story.client(vec![pause_ms(150), publish("a/b", 30, 100), Step::Ping]);
    story = story.who(|who| who.start_after = Duration::from_millis(2));
    story = story.client(vec![pause_ms(60_000)]).who(|who| who.start_after = Duration::from_millis(105));
    let mut system = story.begin();
    system.advance(SOON).expect("nothing goes wrong");
    let [first, second] = [0, 1].map(|shard| *system.shards()[shard].counters());
    assert_eq!((first.sessions_resumed, second.sessions_resumed, second.sessions_parked), (0, 1, 1));
    assert_eq!(system.oracle().delivered(), 30);
    let held: Vec<usize> = system.shards().iter().map(|shard| shard.connections()).collect();
    assert_eq!((held, system.holdings().sockets), (vec![2, 2], 4), "the connection went to its session");
}

#[test]
fn what_was_published_without_a_link_arrives_and_only_until_the_grace_is_over() {
    for (grace_ms, resumed, delivered) in [(10_000, 1, 20), (5, 0, 0)] {
        let reset = vec![pause_ms(100), Step::Leave(Leave::Reset), pause_ms(60_000)];
        let mut story = lasting(Story::new(1), 0, [subscribe("a/#"), reset].concat());
        story = story.client(vec![pause_ms(106), publish("a/b", 20, 100), Step::Ping]);
        story.workload.settings.limits.resume_grace_ms = grace_ms;
        let mut system = story.begin();
        system.advance(SOON).expect("nothing goes wrong");
        assert_eq!(sum(&system, |counters| counters.sessions_resumed), resumed, "{grace_ms} ms");
        assert_eq!(sum(&system, |counters| counters.sessions_expired), 1 - resumed, "{grace_ms} ms");
        assert_eq!(sum(&system, |counters| counters.resumes_refused), 1 - resumed, "{grace_ms} ms");
        assert_eq!(system.oracle().delivered(), delivered, "{grace_ms} ms");
        assert_eq!(system.holdings().buffers, 0, "{grace_ms} ms");
    }
}

#[test]
fn of_too_many_sessions_without_a_link_those_that_were_to_end_first_are_ended() {
    let mut story = Story::new(1);
    for number in 0..5 {
        let steps = vec![pause_ms(100 + number * 2), Step::Leave(Leave::Reset), pause_ms(60_000)];
        story = lasting(story, 0, [subscribe("a/#"), steps].concat());
    }
    story.workload.settings.limits.resume_sessions_max = 2;
    let mut system = story.begin();
    system.advance(Duration::from_millis(50)).expect("nothing goes wrong");
    system.world().borrow_mut().config.refuse_permille = 1_000;
    system.advance(Duration::from_millis(100)).expect("nothing goes wrong");
    let away = system.shards()[0].sessions_away();
    assert_eq!((away, sum(&system, |counters| counters.sessions_evicted)), (2, 3));
    assert_eq!((system.holdings().sockets, system.holdings().connections, system.holdings().subscriptions), (0, 2, 2));
    system.world().borrow_mut().config.refuse_permille = 0;
    system.advance(Duration::from_millis(3_000)).expect("nothing goes wrong");
    let marks = system.world().borrow().marks.clone();
    assert_eq!((marks.count("session_resumed"), marks.count("session_not_resumed")), (2, 3));
}

#[test]
fn a_session_without_a_link_stops_its_publishers_like_one_that_does_not_read() {
    let reset = vec![pause_ms(100), Step::Leave(Leave::Reset), pause_ms(60_000)];
    let mut story = lasting(Story::new(1), 0, [subscribe("a/#"), reset].concat());
    story = story.client(vec![pause_ms(150), publish("a/b", 40, 5_000), Step::Ping, Step::Settle, pause_ms(60_000)]);
    story.workload.settings.limits.outbox_bytes_max = 65_536;
    story.workload.settings.limits.block_ms_max = 300;
    let mut system = story.begin();
    system.advance(Duration::from_millis(105)).expect("nothing goes wrong");
    system.world().borrow_mut().config.refuse_permille = 1_000;
    system.advance(Duration::from_millis(200)).expect("nothing goes wrong");
    let paused = sum(&system, |counters| counters.paused_by_outbox);
    assert_eq!((system.shards()[0].sessions_away(), paused), (1, 1), "the publisher waits");
    assert!(system.holdings().outbox_bytes < 2 * 65_536 + 5_000, "{:?}", system.holdings());
    system.advance(SOON).expect("nothing goes wrong");
    let slow = system.shards()[0].counters().closed_for(CloseReason::Ours(CloseCode::SlowConsumer));
    assert_eq!((system.shards()[0].sessions_away(), slow, system.holdings().buffers), (0, 1, 0), "then it goes on");
}

#[test]
fn a_session_without_a_link_holds_no_receive_buffer() {
    let reset = vec![pause_ms(200), Step::Leave(Leave::Reset), pause_ms(60_000)];
    let mut story = lasting(Story::new(1), 0, [subscribe("a/#"), reset].concat());
    // Nothing is read, so that what is published waits in the buffers it came in.
    story = story.who(|who| (who.read_pause, who.read_bytes_max) = (Duration::from_millis(100), 300));
    story = story.client(vec![pause_ms(120), publish("a/b", 40, 3_000), pause_ms(60_000)]);
    (story.network.capacity_bytes_min, story.network.capacity_bytes_max) = (2_000, 2_000);
    story.workload.settings.pools.copy_below_bytes = 100;
    let mut system = story.begin();
    let held = |system: &System| {
        let pool = system.shards()[0].io().pool();
        pool.ingress_total() - pool.lent()
    };
    system.advance(Duration::from_millis(190)).expect("nothing goes wrong");
    assert!(held(&system) > 0, "what waits is shared");
    system.world().borrow_mut().config.refuse_permille = 1_000;
    for _ in 0..50 {
        if system.shards()[0].sessions_away() == 0 {
            system.advance(Duration::from_millis(10)).expect("nothing goes wrong");
        }
    }
    assert_eq!((system.shards()[0].sessions_away(), held(&system)), (1, 0));
    assert!(system.holdings().buffers > 0, "it was copied, and is kept");
}
