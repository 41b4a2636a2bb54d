//! UDP as users see it: the same client and command line by the URL alone, over good and bad ways, beside TCP.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use laneway_client::blocking::{Client, Subscription};
use laneway_client::{ConfirmOptions, ConnectOptions, Lane, Level, ReconnectOptions, Retry};
use laneway_tests::real::lossy::{Harm, Lossy};
use laneway_tests::real::process::{GUARD, Process};
use laneway_tests::real::{Launch, RealBroker, laneway, run};

const FIVE_PERCENT: Harm = Harm { lost_permille: 50, doubled_permille: 10, late_permille: 20 };

fn client(url: &str) -> Client {
    let waits = Retry::new().waits(Duration::from_millis(5), Duration::from_millis(50));
    let options = ConnectOptions::new().reconnect(ReconnectOptions::new().retry(waits).breaker(0, Duration::ZERO));
    options.timeout(GUARD).connect_blocking(url).expect("a broker")
}

fn subscriber(url: &str, filter: &str) -> (Client, Subscription) {
    let client = client(url);
    let subscription = client.subscribe(filter).expect("allowed");
    (client, subscription)
}

fn url(broker: &RealBroker) -> String {
    format!("udp://{}", broker.udp())
}

fn payload(number: u32, bytes: usize) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.extend((4..bytes.max(4)).map(|at| (at as u32 ^ number) as u8));
    payload
}

/// The numbers of the next `count` messages.
fn numbers(subscription: &mut Subscription, count: u32) -> Vec<u32> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let message = subscription.recv_timeout(GUARD).expect("a link");
        let message = message.unwrap_or_else(|| panic!("{} of {count} messages came", numbers.len()));
        let number = u32::from_le_bytes(*message.payload.first_chunk().expect("a number"));
        assert!(message.payload[..] == payload(number, message.payload.len()), "message {number} is damaged");
        numbers.push(number);
    }
    numbers
}

#[test]
fn the_command_line_publishes_subscribes_and_pings_by_the_url_alone() {
    for shards in [1, 2] {
        let broker = Launch::new(shards).udp().start();
        let url = url(&broker);
        let mut subscriber = Process::spawn("laneway sub", laneway(&url, &["sub", "--verbose", "a/#", "--count", "3"]));
        subscriber.wait_for_stderr("subscribed\n");
        for (to, text) in [(&url, "one"), (&broker.tcp().url(), "two"), (&url, "three")] {
            let ended = run("laneway pub", laneway(to, &["pub", "a/b", text]));
            assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
        }
        let ended = subscriber.finish();
        assert_eq!((ended.code(), ended.text().as_str()), (Some(0), "a/b one\na/b two\na/b three\n"));
        assert_eq!(run("laneway ping", laneway(&url, &["ping", "--count", "2"])).code(), Some(0));
        assert_eq!(broker.stop().code(), Some(0), "it drains");
    }
}

#[test]
fn over_a_way_that_loses_five_percent_ordered_lanes_are_complete_and_in_order() {
    let broker = Launch::new(1).udp().start();
    let ways = [1, 2].map(|seed| Lossy::start(seed, FIVE_PERCENT, broker.udp()));
    let (_subscriber, mut ordered) = subscriber(&ways[0].url(), "a/ordered");
    let (_other, mut unordered) = subscriber(&ways[0].url(), "a/unordered");
    let (_beside, mut beside) = subscriber(&broker.tcp().url(), "a/ordered");
    let publisher = client(&ways[1].url());
    let count = 20_000;
    for number in 0..count {
        publisher.publish_with("a/ordered", payload(number, 64), Lane::COMMAND.into()).expect("a link");
        if number % 10 == 0 {
            publisher.publish_with("a/unordered", payload(number, 300), Lane::EVENT.into()).expect("a link");
        }
    }
    let all: Vec<u32> = (0..count).collect();
    assert!(numbers(&mut ordered, count) == all, "RO over UDP");
    assert!(numbers(&mut beside, count) == all, "RO from UDP to TCP");
    let expected: BTreeSet<u32> = (0..count).step_by(10).collect();
    assert!(numbers(&mut unordered, count / 10).into_iter().collect::<BTreeSet<_>>() == expected, "RU, each once");
    publisher.flush().expect("everything is accepted");
    for way in &ways {
        let (passed, lost) = way.counts();
        assert!(lost * 100 > passed * 3, "{lost} of {passed} datagrams were lost");
    }
}

#[test]
fn large_messages_cross_a_bad_way_in_both_directions() {
    let broker = Launch::new(1).udp().start();
    let way = Lossy::start(3, FIVE_PERCENT, broker.udp());
    let (_subscriber, mut over_udp) = subscriber(&way.url(), "a/#");
    let (_beside, mut over_tcp) = subscriber(&broker.tcp().url(), "a/#");
    let publishers = [client(&way.url()), client(&broker.tcp().url())];
    let lengths = [0, 1_400, 1_500, 20_000, 70_000, 400_000, 1_000_000];
    let mut number = 0;
    for lane in [Lane::COMMAND, Lane::EVENT, Lane::BULK] {
        for publisher in &publishers {
            for bytes in lengths {
                publisher.publish_with("a/large", payload(number, bytes), lane.into()).expect("a link");
                for subscription in [&mut over_udp, &mut over_tcp] {
                    assert_eq!(numbers(subscription, 1), [number], "{bytes} bytes");
                }
                number += 1;
            }
        }
    }
}

#[test]
fn a_publish_over_udp_is_confirmed_with_the_subscribers_that_have_it() {
    let broker = Launch::new(1).udp().start();
    let way = Lossy::start(4, FIVE_PERCENT, broker.udp());
    let (_one, mut one) = subscriber(&way.url(), "a/#");
    let (_two, mut two) = subscriber(&broker.tcp().url(), "a/#");
    let publishers = [client(&way.url()), client(&broker.tcp().url())];
    for (number, publisher) in (0..40).zip(publishers.iter().cycle()) {
        let options = ConfirmOptions { level: Level::delivered(2), timeout: GUARD, publish: Lane::COMMAND.into() };
        let confirmed = publisher.publish_confirmed("a/b", payload(number, 40), options).expect("two have it");
        assert_eq!(confirmed.receivers, 2);
        assert_eq!((numbers(&mut one, 1), numbers(&mut two, 1)), (vec![number], vec![number]));
    }
}

#[test]
fn a_broker_that_starts_anew_is_found_out_and_dialled_again() {
    let mut broker = Launch::new(1).udp().start();
    let (subscriber, mut subscription) = subscriber(&url(&broker), "a/#");
    let publisher = client(&url(&broker));
    publisher.publish("a/b", payload(1, 4)).expect("a link");
    assert_eq!(numbers(&mut subscription, 1), [1]);
    broker.kill_and_restart();
    let until = Instant::now() + GUARD;
    // The subscriber's session and subscription are made anew, and then the publisher's.
    while subscriber.ping().is_err() || publisher.ping().is_err() {
        assert!(Instant::now() < until, "no link after a restart");
        std::thread::sleep(Duration::from_millis(10));
    }
    while subscription.recv_timeout(Duration::from_millis(50)).expect("a connection").is_none() {
        assert!(Instant::now() < until, "no message after a restart");
        let _ = publisher.publish("a/b", payload(2, 4));
    }
}

#[test]
fn a_subscriber_that_does_not_read_holds_up_no_other() {
    let broker = Launch::new(1).udp().start();
    let way = Lossy::start(5, FIVE_PERCENT, broker.udp());
    let (_slow, slow) = subscriber(&way.url(), "a/#");
    let (_fast, mut fast) = subscriber(&url(&broker), "a/#");
    let publisher = client(&url(&broker));
    // More than the slow one has room for, on a lane that drops the oldest.
    let mut got = 0;
    for number in 0..4_000 {
        publisher.publish_with("a/b", payload(number, 1_000), Lane::STREAM.into()).expect("a link");
        if number % 50 == 49 {
            publisher.ping().expect("a link");
            got += std::iter::from_fn(|| fast.try_recv()).count();
        }
    }
    let until = Instant::now() + GUARD;
    while got < 3_000 {
        assert!(Instant::now() < until, "{got} of 4000 messages came");
        got += usize::from(fast.recv_timeout(Duration::from_millis(100)).expect("a link").is_some());
    }
    drop(slow);
}
