//! Lane credit with a real broker: a lane that nobody takes from stops alone, on a connection whose other lanes go on.

use std::time::Duration;

use laneway_client::blocking::{Client, Subscription};
use laneway_client::{ConnectOptions, Lane};
use laneway_proto::control::Hello;
use laneway_proto::error::CloseCode;
use laneway_proto::session::handshake::feature;
use laneway_tests::real::Launch;
use laneway_tests::real::frames::{self, hello};
use laneway_tests::real::link::Place;
use laneway_tests::real::peer::{Event, Peer};
use laneway_tests::real::process::GUARD;

const BULK: &str = "disk/image";
const BULK_MESSAGES: u64 = 600;
const BULK_BYTES: usize = 40_000;
const COMMANDS: u64 = 2_000;
const LANE_CREDIT_BYTES: u64 = 256 * 1024;

fn connect(place: &Place) -> Client {
    let options = ConnectOptions::new().no_reconnect().lane_credit(LANE_CREDIT_BYTES);
    options.connect_blocking(&place.url()).unwrap_or_else(|error| panic!("{place}: {error}"))
}

fn numbered(number: u64, bytes: usize) -> Vec<u8> {
    let mut payload = vec![number as u8; bytes];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload
}

fn expect(subscription: &mut Subscription, number: u64, bytes: usize) {
    let got = subscription.recv_timeout(GUARD).expect("the connection holds").expect("a message");
    assert!(got.payload == numbered(number, bytes), "message {number} of {} was changed", got.topic);
}

/// Every command arrives, one by one.
fn command(commander: &Client, commands: &mut Subscription) {
    for number in 0..COMMANDS {
        commander.publish("robot/arm", numbered(number, 64)).expect("published");
        expect(commands, number, 64);
    }
}

fn check_that_one_lane_stops_alone(place: &Place) {
    let subscriber = connect(place);
    let mut bulk = subscriber.subscribe(BULK).expect("subscribed");
    let mut commands = subscriber.subscribe("robot/+").expect("subscribed");
    let source = connect(place);
    let flood = std::thread::spawn(move || {
        let messages = (0..BULK_MESSAGES).map(|number| numbered(number, BULK_BYTES));
        source.publish_batch_with(BULK, messages, Lane::BULK.into()).expect("published");
        source.flush().expect("accepted");
    });
    command(&connect(place), &mut commands);
    assert!(!flood.is_finished(), "24 MB wait for a subscriber who takes none of it");
    for number in 0..BULK_MESSAGES {
        expect(&mut bulk, number, BULK_BYTES);
    }
    flood.join().expect("the flood is over");
    assert!(bulk.recv_timeout(Duration::from_millis(10)).expect("the connection holds").is_none());
}

/// One publisher, two lanes, two subscribers on other connections: who takes no bulk stops the bulk of the publisher, and
/// nothing else of it.
fn check_that_a_stopped_lane_of_a_publisher_stops_alone(place: &Place) {
    let (idle, busy) = (connect(place), connect(place));
    let mut bulk = idle.subscribe(BULK).expect("subscribed");
    let mut commands = busy.subscribe("robot/+").expect("subscribed");
    let source = connect(place);
    let flooder = source.clone();
    let flood = std::thread::spawn(move || {
        let messages = (0..BULK_MESSAGES).map(|number| numbered(number, BULK_BYTES));
        flooder.publish_batch_with(BULK, messages, Lane::BULK.into()).expect("published");
    });
    command(&source, &mut commands);
    assert!(!flood.is_finished(), "24 MB wait for a subscriber who takes none of it");
    for number in 0..BULK_MESSAGES {
        expect(&mut bulk, number, BULK_BYTES);
    }
    flood.join().expect("the flood is over");
    source.flush().expect("accepted");
    source.publish("robot/arm", numbered(COMMANDS, 64)).expect("published");
    source.close().expect("said goodbye behind everything");
    expect(&mut commands, COMMANDS, 64);
}

#[test]
fn a_lane_that_is_stopped_stops_no_other_lane_of_its_publisher() {
    for shards in [1, 2] {
        let broker = Launch::new(shards).config("[limits]\nblock_ms_max = 3600000").start();
        check_that_a_stopped_lane_of_a_publisher_stops_alone(broker.tcp());
        check_that_a_stopped_lane_of_a_publisher_stops_alone(broker.unix());
        broker.stop_idle();
    }
}

#[test]
fn a_lane_that_the_application_leaves_stops_no_other_lane_of_its_connection() {
    for shards in [1, 2] {
        let broker = Launch::new(shards).config("[limits]\nblock_ms_max = 3600000").start();
        check_that_one_lane_stops_alone(broker.tcp());
        check_that_one_lane_stops_alone(broker.unix());
        broker.stop_idle();
    }
}

#[test]
fn a_publisher_that_sends_more_than_its_credit_is_sent_away_and_nobody_else_notices() {
    let config = "[limits]\nlane_credit_bytes = 262144\noutbox_bytes_max = 65536\nblock_ms_max = 3600000";
    let broker = Launch::new(1).config(config).start();
    let idle = ConnectOptions::new().no_reconnect().lane_credit(65_536).connect_blocking(&broker.tcp().url());
    let idle = idle.expect("connected");
    let _never_taken = idle.subscribe(BULK).expect("subscribed");
    let mut greedy = Peer::knock(broker.tcp(), Hello { features: hello().features | feature::CREDIT, ..hello() })
        .unwrap_or_else(|reject| panic!("refused: {reject:?}"));
    let id = greedy.topic(BULK);
    // What fits: at the subscriber, in its queue, and in the credit of the lane behind them.
    let frames_max = (2 * 65_536 + 262_144) / 40_016 + 3;
    for seq in 1..=frames_max {
        let _ = greedy.try_send(&frames::publish(id, 5, seq, &numbered(seq.into(), BULK_BYTES)));
    }
    let words = greedy.last_words();
    let sent_away = words
        .iter()
        .any(|word| matches!(word, Event::Goodbye(goodbye) if goodbye.code == CloseCode::FlowControl.number()));
    assert!(sent_away, "{words:?}");
    let (mut commands, source) = (idle.subscribe("robot/+").expect("subscribed"), connect(broker.tcp()));
    for number in 0..100 {
        source.publish("robot/arm", numbered(number, 64)).expect("published");
        expect(&mut commands, number, 64);
    }
    let ended = broker.stop();
    assert_eq!(ended.closed("flow_control"), 1, "{}", ended.stderr);
}
