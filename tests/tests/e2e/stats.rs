//! What a real broker tells of itself, by the command line and by the library.

use std::collections::BTreeMap;

use laneway_client::blocking::{Client, Subscription};
use laneway_client::{ConnectOptions, Lane, Policy, PublishOptions, Stat, StatValue, SubscribeOptions};
use laneway_tests::real::process::Ended;
use laneway_tests::real::{Launch, RealBroker, laneway, run};

fn connect(broker: &RealBroker) -> Client {
    ConnectOptions::new().connect_blocking(&broker.tcp().url()).expect("a broker is there")
}

fn stats(broker: &RealBroker, arguments: &[&str]) -> Ended {
    run("laneway stats", laneway(&broker.tcp().url(), &[&["stats"], arguments].concat()))
}

/// The broker's numbers as the command line prints them.
fn numbers(broker: &RealBroker, prefix: &str) -> BTreeMap<String, f64> {
    let ended = stats(broker, &[prefix, "--json"]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
    let parsed: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("one JSON value");
    let object = parsed.as_object().expect("an object");
    object.iter().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect()
}

fn sum(numbers: &BTreeMap<String, f64>, end: &str) -> f64 {
    numbers.iter().filter(|(name, _)| name.starts_with("shard.") && name.ends_with(end)).map(|(_, value)| value).sum()
}

fn receive(subscription: &mut Subscription, count: usize) {
    (0..count).for_each(|_| drop(subscription.recv().expect("connected")));
}

#[test]
fn every_shard_is_asked_and_its_counters_are_what_was_published_and_received() {
    for shards in [1, 2, 4] {
        let broker = Launch::new(shards).start();
        let (writer, readers) = (connect(&broker), [connect(&broker), connect(&broker), connect(&broker)]);
        let mut subscriptions = readers.each_ref().map(|reader| reader.subscribe("load/#").expect("connected"));
        for lane in [Lane::COMMAND, Lane::BULK] {
            let options = PublishOptions { lane, ..PublishOptions::default() };
            writer
                .publish_batch_with("load/x", (0..5_000).map(|number| number.to_string()), options)
                .expect("connected");
        }
        writer.flush().expect("connected");
        subscriptions.iter_mut().for_each(|subscription| receive(subscription, 10_000));
        let told = numbers(&broker, "");
        for lane in ["command", "bulk"] {
            assert_eq!(sum(&told, &format!(".lane.{lane}.messages_in")), 5_000.0, "{shards} shards");
            assert_eq!(sum(&told, &format!(".lane.{lane}.messages_out")), 15_000.0, "{shards} shards");
        }
        assert_eq!(told["broker.shards"], f64::from(shards));
        assert!((0..shards).all(|shard| told.contains_key(&format!("shard.{shard}.messages_in"))), "{shards} shards");
        assert_eq!(sum(&told, ".connections"), 5.0, "four clients and who asks");
    }
}

#[test]
fn each_link_is_told_with_its_peer_and_what_passed_over_it() {
    let broker = Launch::new(2).start();
    let (writer, reader) = (connect(&broker), connect(&broker));
    let mut subscription = reader.subscribe("load/x").expect("connected");
    for _ in 0..300 {
        writer.publish("load/x", vec![7; 1_000]).expect("connected");
        subscription.recv().expect("connected");
    }
    let link = |client: &Client| format!("link.{}.", client.terms().session);
    let told = |client: &Client| client.stats(&link(client)).expect("connected");
    let find = |stats: &[Stat], end: &str| {
        let found = stats.iter().find(|stat| stat.name.ends_with(end)).unwrap_or_else(|| panic!("{end}: {stats:?}"));
        found.value.clone()
    };
    let (of_writer, of_reader) = (told(&writer), told(&reader));
    assert!(of_writer.iter().all(|stat| stat.name.starts_with(&link(&writer))));
    assert_eq!(find(&of_writer, ".peer"), StatValue::Text(writer.local_peer().address.clone()));
    assert_eq!(find(&of_writer, ".frames_in"), StatValue::Number(302.0), "HELLO and a topic come first");
    assert_eq!(find(&of_reader, ".frames_out"), StatValue::Number(300.0));
    assert_eq!(find(&of_reader, ".subscriptions"), StatValue::Number(1.0));
    let number = |value| if let StatValue::Number(number) = value { number } else { panic!("{value:?}") };
    assert!(number(find(&of_writer, ".bytes_in")) > 300.0 * 1_016.0);
    assert!(number(find(&of_reader, ".bytes_out")) > 300.0 * 1_016.0);
    assert!(number(find(&of_reader, ".residency_us.count")) >= 10.0, "{of_reader:?}");
    let most = number(find(&of_reader, ".residency_us.max"));
    assert!(most > 0.0, "a real turn takes time");
}

#[test]
fn what_waits_and_what_is_dropped_for_a_slow_reader_is_told() {
    let broker = Launch::new(2).start();
    let (writer, reader) = (connect(&broker), connect(&broker));
    let slow = ConnectOptions::new().lane_credit(65_536).connect_blocking(&broker.tcp().url()).expect("a broker");
    let drops =
        SubscribeOptions { policy: Some(Policy::DropOldest), queue_bytes: 100_000, ..SubscribeOptions::default() };
    let _never_read = slow.subscribe_with(&["load/#"], drops).expect("connected");
    let mut read = reader.subscribe("load/#").expect("connected");
    for _ in 0..1_000 {
        // Each in a frame of its own: a batch may be larger than what the credit or the queue has left.
        writer.publish("load/x", vec![7; 1_000]).expect("connected");
        writer.flush().expect("connected");
    }
    receive(&mut read, 1_000);
    let told = numbers(&broker, "shard.");
    let dropped = sum(&told, ".lane.command.dropped.overflow");
    // 65 fit the credit and 98 the queue.
    assert!((800.0..850.0).contains(&dropped), "{dropped}");
    assert_eq!(dropped, sum(&told, "0.dropped.overflow") + sum(&told, "1.dropped.overflow"));
    let waits = sum(&told, ".lane.command.queue_bytes");
    assert!((90_000.0..110_000.0).contains(&waits), "{waits}");
}

#[test]
fn the_table_is_aligned_and_a_prefix_that_nothing_has_is_an_error() {
    let broker = Launch::new(2).start();
    let table = stats(&broker, &["shard.1."]);
    assert_eq!(table.code(), Some(0), "{}", table.stderr);
    let text = table.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() > 50 && lines.iter().all(|line| line.starts_with("shard.1.")), "{text}");
    let width = lines[0].len();
    assert!(lines.iter().all(|line| line.len() == width), "numbers end in one column:\n{text}");
    let none = stats(&broker, &["nothing."]);
    assert_eq!((none.code(), none.stdout.is_empty()), (Some(1), true));
    assert!(none.stderr.contains("'laneway stats' prints all"), "{}", none.stderr);
}

#[test]
fn a_client_that_does_not_read_its_answers_gets_no_further_ones_and_harms_nobody() {
    use laneway_proto::control::{Body, Control, StatsRequest};
    use laneway_proto::error::CloseCode;
    use laneway_tests::real::peer::{Event, Peer};
    let broker = Launch::new(2).start();
    let mut greedy = Peer::open(broker.tcp());
    let ask = |id| Control::request(id, Body::StatsRequest(StatsRequest::default())).to_frame();
    (1..=2_000).for_each(|id| greedy.send(&ask(id)));
    assert!(broker.resident_bytes() < 100_000_000, "{}", broker.resident_bytes());
    let mut refused = 0;
    let mut last = 0;
    while last < 2_000 {
        let event = greedy.event();
        if let Event::Answer(id, answer) = event {
            assert_eq!(answer.code, CloseCode::Limit.number());
            refused += 1;
            last = last.max(id);
        } else if let Event::Stats(id, stats) = event {
            last = if stats.more { last } else { last.max(id) };
        } else {
            panic!("{event:?}");
        }
    }
    assert!(refused > 0, "one question is answered at a time");
    assert_eq!(connect(&broker).stats("broker.shards").expect("the broker answers others").len(), 1);
}
