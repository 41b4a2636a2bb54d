//! Publish levels as an application sees them: through the client library and the command line, against a real broker.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use laneway_client::blocking::{Client, Subscription, connect};
use laneway_client::{
    ConfirmError, ConfirmOptions, ConnectOptions, Doubt, Lane, Level, PublishError, ReconnectOptions, Retry,
};
use laneway_tests::real::link::Place;
use laneway_tests::real::process::{GUARD, Process};
use laneway_tests::real::{Launch, laneway, run};

const RELIABLE: [Lane; 3] = [Lane::COMMAND, Lane::EVENT, Lane::BULK];

fn client(place: &Place) -> Client {
    let waits = Retry::new().waits(Duration::from_millis(5), Duration::from_millis(50));
    let options = ConnectOptions::new().reconnect(ReconnectOptions::new().retry(waits).breaker(0, Duration::ZERO));
    options.connect_blocking(&place.url()).expect("a broker")
}

fn subscriber(place: &Place, filter: &str) -> (Client, Subscription) {
    let client = client(place);
    let subscription = client.subscribe(filter).expect("allowed");
    (client, subscription)
}

fn delivered(min_receivers: u16, lane: Lane, timeout: Duration) -> ConfirmOptions {
    ConfirmOptions { level: Level::delivered(min_receivers), timeout, publish: lane.into() }
}

fn next(subscription: &mut Subscription) -> Vec<u8> {
    let message = subscription.recv_timeout(GUARD).expect("a link").expect("a message in time");
    message.payload.to_vec()
}

/// Everything that is here, after everything that was published before is.
fn rest(client: &Client, subscription: &mut Subscription) -> usize {
    client.ping().expect("a link");
    std::iter::from_fn(|| subscription.try_recv()).count()
}

#[test]
fn a_message_is_confirmed_with_the_number_of_subscribers_whose_libraries_have_it() {
    for shards in [1, 2] {
        let broker = Launch::new(shards).start();
        for place in [broker.tcp(), broker.unix()] {
            let publisher = client(place);
            let (_first, mut one) = subscriber(place, "a/#");
            let (_second, mut two) = subscriber(place, "a/+");
            for lane in RELIABLE {
                for payload in [vec![], vec![7; 20], vec![8; 300_000]] {
                    let options = delivered(2, lane, GUARD);
                    let confirmed = publisher.publish_confirmed("a/b", payload.clone(), options).expect("two have it");
                    assert_eq!(confirmed.receivers, 2);
                    assert!(next(&mut one) == payload && next(&mut two) == payload);
                }
            }
            for lane in RELIABLE.into_iter().chain([Lane::STATE, Lane::STREAM]) {
                let confirmed = publisher.publish_confirmed("nowhere", "x", lane).expect("accepted");
                assert_eq!(confirmed.receivers, 0);
            }
        }
    }
}

#[test]
fn too_few_receivers_are_an_error_in_time_and_hold_up_neither_other_lanes_nor_what_follows() {
    let broker = Launch::new(1).start();
    let publisher = client(broker.tcp());
    let (_client, mut only) = subscriber(broker.tcp(), "a");
    let short = Duration::from_millis(400);
    let waits = publisher.publish_receipt("a", "too few", delivered(2, Lane::COMMAND, short)).expect("taken");
    let behind = publisher.publish_receipt("a", "behind", delivered(1, Lane::COMMAND, GUARD)).expect("taken");
    publisher.publish_confirmed("a", "beside", delivered(1, Lane::EVENT, GUARD)).expect("another lane");
    let error = waits.wait().expect_err("one subscriber is not two");
    assert_eq!(error, ConfirmError::MaybeDelivered(Doubt::Timeout(short)));
    assert!(!error.retryable(), "it may be there");
    assert_eq!(behind.wait().expect("the broker was told to go on").receivers, 1);
    let mut got: Vec<Vec<u8>> = (0..3).map(|_| next(&mut only)).collect();
    got.sort();
    assert_eq!(got, [b"behind".to_vec(), b"beside".to_vec(), b"too few".to_vec()]);
    let refused = publisher.publish_confirmed("a", "x", delivered(1, Lane::STATE, GUARD));
    assert_eq!(refused, Err(ConfirmError::Refused(PublishError::LaneLoses(Lane::STATE))));
}

#[test]
fn a_message_is_sent_again_until_enough_have_it_and_reaches_nobody_twice() {
    let broker = Launch::new(2).start();
    for lane in RELIABLE {
        let publisher = client(broker.tcp());
        let (early, mut first) = subscriber(broker.tcp(), "a");
        let receipt = publisher.publish_receipt("a", "again", delivered(2, lane, GUARD)).expect("taken");
        assert_eq!(next(&mut first), b"again");
        let (_late, mut second) = subscriber(broker.tcp(), "a");
        assert_eq!(next(&mut second), b"again", "sent again");
        assert_eq!(receipt.wait().expect("two have it").receivers, 2);
        assert_eq!(rest(&early, &mut first), 0, "it came again and was dropped");
    }
}

#[test]
fn more_messages_than_may_wait_make_their_publisher_wait_and_all_are_confirmed() {
    let broker = Launch::new(2).start();
    let publisher = client(broker.tcp());
    let (_client, mut subscription) = subscriber(broker.tcp(), "a");
    let count = 3 * laneway_client::core::CONFIRMS_PENDING_MAX;
    let receipts: Vec<_> = (0..count)
        .map(|number| publisher.publish_receipt("a", number.to_string(), delivered(1, Lane::COMMAND, GUARD)))
        .collect();
    for receipt in receipts {
        receipt.expect("taken").wait().expect("delivered");
    }
    for number in 0..count {
        assert_eq!(next(&mut subscription), number.to_string().into_bytes());
    }
}

/// What one subscriber got, by publisher's lane.
type Got = HashMap<Vec<u8>, Vec<u32>>;

fn collect(subscription: &mut Subscription, done: &AtomicBool) -> Got {
    let mut got = Got::new();
    loop {
        match subscription.recv_timeout(Duration::from_millis(100)).expect("the connection goes on") {
            Some(message) => {
                let (lane, number) = message.payload.split_at(1);
                let number = u32::from_le_bytes(number.try_into().expect("four bytes"));
                got.entry(lane.to_vec()).or_default().push(number);
            }
            None if done.load(Ordering::Acquire) => return got,
            None => {}
        }
    }
}

#[test]
fn what_was_confirmed_reached_every_subscriber_once_and_in_order_although_the_broker_was_killed() {
    const RECEIVERS: u16 = 3;
    const KILLS: u32 = 5;
    let mut broker = Launch::new(2).log("error").start();
    let place = broker.tcp().clone();
    let (publishing, done) = (AtomicBool::new(true), AtomicBool::new(false));
    let (publishing, done) = (&publishing, &done);
    thread::scope(|scope| {
        let subscribers: Vec<_> = (0..RECEIVERS)
            .map(|_| {
                let (client, mut subscription) = subscriber(&place, "k/#");
                scope.spawn(move || (collect(&mut subscription, done), client))
            })
            .collect();
        let publishers: Vec<_> = RELIABLE
            .into_iter()
            .map(|lane| {
                let client = client(&place);
                scope.spawn(move || {
                    let options = delivered(RECEIVERS, lane, GUARD);
                    let mut confirmed = 0;
                    while publishing.load(Ordering::Acquire) {
                        let payload = [&[lane.number()][..], &u32::to_le_bytes(confirmed)].concat();
                        client.publish_confirmed("k/x", payload, options).expect("delivered in time");
                        confirmed += 1;
                    }
                    confirmed
                })
            })
            .collect();
        for _ in 0..KILLS {
            thread::sleep(Duration::from_millis(150));
            broker.kill_and_restart();
        }
        thread::sleep(Duration::from_millis(300));
        publishing.store(false, Ordering::Release);
        let confirmed: Vec<u32> = publishers.into_iter().map(|one| one.join().expect("no panic")).collect();
        done.store(true, Ordering::Release);
        assert!(confirmed.iter().all(|&count| count > KILLS), "nothing to judge by: {confirmed:?}");
        for subscriber in subscribers {
            let (got, _client) = subscriber.join().expect("no panic");
            for (lane, &count) in RELIABLE.into_iter().zip(&confirmed) {
                let expected: Vec<u32> = (0..count).collect();
                assert_eq!(got.get(&vec![lane.number()]), Some(&expected), "lane {lane}");
            }
        }
    });
}

#[test]
fn the_command_line_says_to_how_many_it_was_delivered_or_fails() {
    let broker = Launch::new(1).start();
    let url = broker.tcp().url();
    let publish = |arguments: &[&str]| {
        let ended = run("laneway pub", laneway(&url, &[&["pub", "a"], arguments].concat()));
        (ended.code(), ended.text(), ended.stderr)
    };
    let alone = publish(&["x", "--level", "delivered", "--timeout", "0.3"]);
    assert_eq!((alone.0, alone.1.as_str()), (Some(1), ""));
    assert!(alone.2.contains("1 of 1 messages not confirmed: not confirmed within 0.3 s"), "{}", alone.2);
    let mut subscriber = Process::spawn("laneway sub", laneway(&url, &["sub", "a", "--verbose", "--count", "700"]));
    subscriber.wait_for_stderr("subscribed\n");
    let (_client, _other) = subscriber_of(&url);
    let told = publish(&["x", "--level", "delivered", "--min-receivers", "2", "--repeat", "700"]);
    assert_eq!(told, (Some(0), "delivered to 2\n".into(), String::new()));
    assert_eq!(subscriber.finish().code(), Some(0));
    let lossy = publish(&["x", "--level", "delivered", "--lane", "state"]);
    assert_eq!(lossy.0, Some(2), "{}", lossy.2);
    assert!(lossy.2.contains("use command, event or bulk"), "{}", lossy.2);
}

fn subscriber_of(url: &str) -> (Client, Subscription) {
    let client = connect(url).expect("a broker");
    let subscription = client.subscribe("a").expect("allowed");
    (client, subscription)
}
