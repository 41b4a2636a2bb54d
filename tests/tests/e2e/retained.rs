//! Last values through the command line and the library, against real brokers.

use laneway_client::blocking::Client;
use laneway_client::{ConnectOptions, Lane, PublishOptions, SubscribeOptions};
use laneway_tests::real::process::Process;
use laneway_tests::real::{Launch, RealBroker, laneway, run};

fn publish(broker: &RealBroker, arguments: &[&str]) {
    let ended = run("laneway pub", laneway(&broker.tcp().url(), &[&["pub"], arguments].concat()));
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
}

fn connect(broker: &RealBroker) -> Client {
    ConnectOptions::new().connect_blocking(&broker.tcp().url()).expect("a broker is there")
}

#[test]
fn a_subscriber_gets_the_last_value_first_and_then_what_changes() {
    for shards in [1, 2] {
        let broker = Launch::new(shards).start();
        publish(&broker, &["lamp/1", "off", "--retain"]);
        publish(&broker, &["lamp/1", "on", "--retain"]);
        publish(&broker, &["lamp/2", "blue", "--retain"]);
        publish(&broker, &["lamp/3", "gone", "--retain"]);
        publish(&broker, &["lamp/3", "", "--retain"]);
        publish(&broker, &["lamp/4", "not kept"]);
        let arguments = ["sub", "lamp/+", "--retained", "--verbose", "--count", "3", "--format", "json"];
        let mut subscriber = Process::spawn("laneway sub", laneway(&broker.tcp().url(), &arguments));
        subscriber.wait_for_stderr("subscribed\n");
        publish(&broker, &["lamp/1", "dimmed", "--retain"]);
        let ended = subscriber.finish();
        let mut lines: Vec<&str> = std::str::from_utf8(&ended.stdout).expect("text").lines().collect();
        assert_eq!(lines.last(), Some(&r#"{"topic":"lamp/1","lane":1,"seq":1,"ts_ns":null,"payload":"dimmed"}"#));
        lines.pop();
        lines.sort_unstable();
        let expected = [
            r#"{"topic":"lamp/1","lane":1,"seq":1,"ts_ns":null,"payload":"on","retained":true}"#,
            r#"{"topic":"lamp/2","lane":1,"seq":1,"ts_ns":null,"payload":"blue","retained":true}"#,
        ];
        assert_eq!(lines, expected, "{shards} shards");
    }
}

#[test]
fn who_does_not_ask_for_last_values_gets_none() {
    let broker = Launch::new(2).start();
    publish(&broker, &["lamp/1", "on", "--retain"]);
    let mut subscriber = Process::spawn(
        "laneway sub",
        laneway(&broker.tcp().url(), &["sub", "lamp/+", "--verbose", "--count", "1", "--format", "raw"]),
    );
    subscriber.wait_for_stderr("subscribed\n");
    publish(&broker, &["lamp/1", "off", "--retain"]);
    assert_eq!(subscriber.finish().text(), "off\n");
}

#[test]
fn a_value_of_a_megabyte_is_kept_whole() {
    for shards in [1, 2] {
        let broker = Launch::new(shards).start();
        let (writer, reader) = (connect(&broker), connect(&broker));
        let value: Vec<u8> = (0..1_000_000_u32).map(|place| (place * 7 + place / 256) as u8).collect();
        let options = PublishOptions { lane: Lane::BULK, retain: true, ..PublishOptions::default() };
        writer.publish_with("map", &value[..], options).expect("connected");
        writer.flush().expect("connected");
        let options = SubscribeOptions { retained: true, ..SubscribeOptions::default() };
        let mut values = reader.subscribe_with(&["map"], options).expect("connected");
        let message = values.recv().expect("a value");
        assert!(message.retained && message.payload == value && message.lane == Lane::BULK, "{shards} shards");
    }
}
