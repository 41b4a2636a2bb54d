//! The largest messages there can be, while commands pass them on the same connection.

use std::time::Duration;

use laneway_client::blocking::{Client, Subscription};
use laneway_client::{ConnectOptions, Lane};
use laneway_tests::real::Launch;
use laneway_tests::real::link::Place;
use laneway_tests::real::process::GUARD;

const LARGE_BYTES: usize = 16 * 1024 * 1024;
const LARGE_MESSAGES: u64 = 4;
const COMMANDS: u64 = 500;

fn connect(place: &Place) -> Client {
    let options = ConnectOptions::new().no_reconnect();
    options.connect_blocking(&place.url()).unwrap_or_else(|error| panic!("{place}: {error}"))
}

/// Bytes that differ from place to place and from message to message.
fn large(number: u64) -> Vec<u8> {
    (0..LARGE_BYTES as u64).map(|place| (place * 31 + (place >> 8) * 7 + number * 101) as u8).collect()
}

fn next(subscription: &mut Subscription) -> bytes::Bytes {
    subscription.recv_timeout(GUARD).expect("the connection holds").expect("a message").payload
}

fn check(publisher_at: &Place, subscriber_at: &Place) {
    let subscriber = connect(subscriber_at);
    let mut images = subscriber.subscribe("image/+").expect("subscribed");
    let mut commands = subscriber.subscribe("stop/+").expect("subscribed");
    let source = connect(publisher_at);
    let flood = std::thread::spawn(move || {
        for number in 0..LARGE_MESSAGES {
            source.publish_with("image/raw", large(number), Lane::BULK.into()).expect("published");
        }
        source.flush().expect("accepted");
    });
    // Commands pass images that are under way, and images that wait for the application, too.
    let commander = connect(publisher_at);
    for number in 0..COMMANDS {
        commander.publish("stop/arm", number.to_string()).expect("published");
        assert_eq!(next(&mut commands), number.to_string());
        if number == COMMANDS / 2 {
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    assert!(!flood.is_finished(), "{publisher_at}: nobody has taken an image, so most of them wait");
    for number in 0..LARGE_MESSAGES {
        assert!(next(&mut images) == large(number), "{publisher_at} to {subscriber_at}: image {number} was changed");
    }
    flood.join().expect("all was published");
    assert!(images.recv_timeout(Duration::from_millis(10)).expect("the connection holds").is_none());
}

#[test]
fn commands_overtake_messages_of_16_mib_which_arrive_intact() {
    let broker = Launch::new(2)
        .config("[limits]\nmessage_bytes_max = 16777216\nblock_ms_max = 3600000\noutbox_bytes_max = 33554432")
        .start();
    check(broker.tcp(), broker.unix());
    check(broker.unix(), broker.tcp());
    broker.stop_idle();
}
