//! Twice as much as a link can carry, and values that change faster than they can be taken: what is urgent is complete and
//! soon there, what is not is old by a bounded time, and memory is flat.

use laneway_broker::counters::Counters;
use laneway_client::{Lane, SubscribeOptions};
use laneway_proto::time::{Duration, Instant};
use laneway_tests::sim::guest::{Act, Heard};
use laneway_tests::sim::story::Story;
use laneway_tests::sim::system::System;

const RATE: u32 = 400_000;
const STREAM_LEN: usize = 4_000;

fn ms(ms: u32) -> Duration {
    Duration::from_millis(ms)
}

/// `count` messages of `len` bytes, each with its number in front, one every `every`.
fn steady(topic: &str, lane: Lane, len: usize, every: Duration, count: u32) -> Vec<Act> {
    let message = |number: u32| {
        let mut payload = vec![0; len];
        payload[..4].copy_from_slice(&number.to_le_bytes());
        [Act::Post(topic.to_owned(), payload, lane.into()), Act::Pause(every)]
    };
    std::iter::once(Act::Pause(ms(100))).chain((0..count).flat_map(message)).collect()
}

fn number(payload: &[u8]) -> usize {
    u32::from_le_bytes(payload[..4].try_into().expect("it has a number")) as usize
}

/// Of one topic, the number of each message, and how long after its publishing it came.
fn ages(heard: &Heard, topic: &str, published: &[Instant]) -> Vec<(usize, u64)> {
    let of = heard.messages.iter().filter(|(_, message)| &*message.topic == topic);
    let age = |(at, number): (Instant, usize)| (number, at.since(published[number]).as_millis());
    of.map(|(at, message)| age((*at, number(&message.payload)))).collect()
}

fn waiting(system: &System) -> u64 {
    system.shards().iter().map(|shard| shard.outbox_bytes()).sum()
}

fn sum(system: &System, of: impl Fn(&Counters) -> u64) -> u64 {
    system.shards().iter().map(|shard| of(shard.counters())).sum()
}

#[test]
fn twice_as_much_as_a_link_carries_costs_no_command_and_memory_stays_flat() {
    for shards in [1, 2] {
        let mut story = Story::new(shards);
        story.workload.settings.limits.egress_bytes_per_s = RATE;
        story.workload.settings.limits.outbox_bytes_max = 200_000;
        let mut system = story.begin();
        let reader = system.invite(|_| {}, [Act::Subscribe("#", SubscribeOptions::default())]);
        // 800,000 bytes a second of a stream, and fifty commands a second, for a minute.
        let stream = system.invite(|_| {}, steady("stream", Lane::STREAM, STREAM_LEN, ms(5), 12_000));
        let commands = system.invite(|_| {}, steady("command", Lane::COMMAND, 100, ms(20), 3_000));
        let mut held = Vec::new();
        for _ in 0..600 {
            system.advance(ms(100)).expect("nothing goes wrong");
            held.push(waiting(&system));
        }
        system.advance(ms(5_000)).expect("nothing goes wrong");
        let (heard, of_stream) = (reader.borrow(), stream.borrow());
        let urgent = ages(&heard, "command", &commands.borrow().published);
        assert_eq!(urgent.iter().map(|one| one.0).collect::<Vec<_>>(), (0..3_000).collect::<Vec<_>>(), "all, in order");
        let worst = urgent.iter().map(|one| one.1).max().expect("commands");
        let streamed = ages(&heard, "stream", &of_stream.published);
        let oldest = streamed.iter().map(|one| one.1).max().expect("a stream");
        println!("{shards} shards: {} of the stream, oldest {oldest} ms, commands within {worst} ms", streamed.len());
        // What has its place on the link already, a frame more, and a portion of the rate.
        assert!(worst <= 16_384 / (u64::from(RATE) / 1_000) + 10 + 10, "a command took {worst} ms");
        assert!(oldest <= 200_000 / (u64::from(RATE) / 1_000) + 100, "the stream is {oldest} ms old");
        assert_eq!(streamed.len() + heard.lost as usize, 12_000, "what is missing is reported");
        assert!((5_600..7_000).contains(&streamed.len()), "half of it fits: {}", streamed.len());
        let most = |part: &[u64]| *part.iter().max().expect("samples");
        let (early, late) = (most(&held[50..300]), most(&held[300..]));
        assert!(late <= early + STREAM_LEN as u64 + 200, "memory grows: {early}, then {late}");
        assert!(late < 200_000 + 64 * 1024, "{late} bytes wait");
    }
}

#[test]
fn twice_as_many_publishers_as_a_reader_can_take_lose_nothing_on_reliable_lanes() {
    let mut story = Story::new(2);
    story.workload.settings.limits.egress_bytes_per_s = RATE;
    story.workload.settings.limits.outbox_bytes_max = 100_000;
    let mut system = story.begin();
    let reader = system.invite(|_| {}, [Act::Subscribe("#", SubscribeOptions::default())]);
    for topic in ["one", "two"] {
        // Each asks for an answer after each, and so goes only as fast as it is let.
        let publish = |number: u32| Act::Publish(topic.into(), number.to_le_bytes().repeat(1_000), Lane::BULK.into());
        system.invite(|_| {}, std::iter::once(Act::Pause(ms(100))).chain((0..1_500).map(publish)));
    }
    let mut most = 0;
    for _ in 0..400 {
        system.advance(ms(100)).expect("nothing goes wrong");
        most = most.max(waiting(&system));
    }
    let heard = reader.borrow();
    assert_eq!((heard.messages.len(), heard.lost), (3_000, 0));
    assert!(sum(&system, |counters| counters.paused_by_outbox) > 0, "they were never stopped");
    assert!(most < 100_000 + 4 * 68 * 1024, "{most} bytes wait");
}

/// At every tick of a hundred a second, what is known is no older than two of them.
fn assert_fresh(what: &str, heard: &Heard, published: &[Instant]) {
    let (first, last) = (published[0], *published.last().expect("it published"));
    let mut told = heard.messages.iter().peekable();
    let (mut known, mut ticks, mut oldest) = (None, 0, 0);
    let mut tick = first + ms(20);
    while tick < last {
        while let Some((_, message)) = told.next_if(|(at, _)| *at <= tick) {
            let newest = number(&message.payload);
            assert!(known.is_none_or(|known| known < newest), "{what}: an older value came behind {known:?}");
            known = Some(newest);
        }
        let known = known.unwrap_or_else(|| panic!("{what}: nothing is known at {tick:?}"));
        // It is as old as the value that has replaced it.
        let age = published.get(known + 1).map_or(0, |&newer| tick.since(newer).0);
        oldest = oldest.max(age);
        ticks += 1;
        tick = tick + ms(10);
    }
    println!("{what}: {} values, at {ticks} ticks known within {} us", heard.messages.len(), oldest / 1_000);
    assert!(oldest <= ms(20).0, "{what}: what was known was outdated for {} us", oldest / 1_000);
    let end = heard.messages.last().map(|(_, message)| number(&message.payload));
    assert_eq!(end, Some(published.len() - 1), "{what}: the last value always comes");
}

#[test]
fn a_thousand_values_a_second_are_never_old_at_a_consumer_of_a_hundred() {
    let slow_link = |story: &mut Story| {
        // A hundred frames a second, and no burst to speak of.
        story.workload.settings.limits.egress_bytes_per_s = 100 * (16 + 100);
        story.workload.settings.limits.rate_burst_bytes = 200;
    };
    let sparing = SubscribeOptions { max_rate_hz: 100, ..SubscribeOptions::default() };
    for shards in [1, 2] {
        for (what, options, slow) in
            [("asks for a hundred", sparing, false), ("a slow link", SubscribeOptions::default(), true)]
        {
            let mut story = Story::new(shards);
            if slow {
                slow_link(&mut story);
            }
            let mut system = story.begin();
            let consumer = system.invite(|_| {}, [Act::Subscribe("set", options)]);
            // What it is told at the beginning takes its time on such a link, too.
            system.advance(ms(2_000)).expect("nothing goes wrong");
            let source = system.invite(|_| {}, steady("set", Lane::STATE, 100, ms(1), 10_000));
            system.advance(ms(15_000)).expect("nothing goes wrong");
            let (heard, source) = (consumer.borrow(), source.borrow());
            assert_eq!(source.published.len(), 10_000);
            assert_fresh(&format!("{shards} shards, {what}"), &heard, &source.published);
            // Reports of what is left out take their share of a slow link.
            assert!((750..1_200).contains(&heard.messages.len()), "{what}: {} values", heard.messages.len());
            assert_eq!(heard.messages.len() + heard.lost as usize, 10_000, "{what}: the others are reported");
        }
    }
}
