//! Lanes and policies with a real broker: a subscriber that stops reading loses what its policy says, is told of every
//! message it lost, and costs nobody else anything.

use std::collections::BTreeMap;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use laneway_client::blocking::{Client, Subscription};
use laneway_client::{
    CloseError, ConnectOptions, Item, Lane, LossReason, Lost, Message, Policy, PublishOptions, SubscribeOptions,
};
use laneway_tests::real::link::Place;
use laneway_tests::real::process::GUARD;
use laneway_tests::real::{Launch, RealBroker};

const TOPIC: &str = "flood/numbers";
const MESSAGES: u64 = 24_000;
const MESSAGE_BYTES: usize = 1_000;
/// Of the subscriber's queue at the broker, far below what is published.
const QUEUE_BYTES: u32 = 64 * 1024;

fn launch(shards: u32) -> RealBroker {
    // Whoever waited for a reader that has stopped would wait longer than the test.
    Launch::new(shards).config("[limits]\nblock_ms_max = 3600000\n[tcp]\nsend_buffer_bytes = 65536").start()
}

fn connect(place: &Place) -> Client {
    let options = ConnectOptions::new().no_reconnect().receive_queue(64 * 1024, 1_000);
    options.connect_blocking(&place.url()).unwrap_or_else(|error| panic!("{place}: {error}"))
}

fn asking(policy: Option<Policy>) -> SubscribeOptions {
    SubscribeOptions { policy, queue_bytes: QUEUE_BYTES, ..SubscribeOptions::default() }
}

/// A subscription on a connection of its own, which is not read until somebody receives from it.
fn subscribe(place: &Place, filter: &str, options: SubscribeOptions) -> Subscription {
    connect(place).subscribe_with(&[filter], options).expect("a valid subscription")
}

fn message(number: u64) -> Vec<u8> {
    let mut payload = vec![number as u8; MESSAGE_BYTES];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload
}

fn number_of(got: &Message) -> u64 {
    let number = u64::from_le_bytes(*got.payload.first_chunk().expect("a numbered message"));
    assert!(got.payload == message(number), "message {number} was changed on its way");
    number
}

/// Publishes every number; returns once the broker has accepted them.
fn publish_all(place: &Place, options: impl Into<PublishOptions>) {
    let client = connect(place);
    client.publish_batch_with(TOPIC, (0..MESSAGES).map(message), options.into()).expect("published");
    client.flush().expect("accepted");
}

/// A subscriber beside the others that reads all the time and must get everything in order.
fn keen(place: &Place) -> JoinHandle<()> {
    let mut subscription = subscribe(place, TOPIC, SubscribeOptions::default());
    std::thread::spawn(move || {
        for number in 0..MESSAGES {
            let got = subscription.recv_timeout(GUARD).expect("the connection holds").expect("a message");
            assert_eq!(number_of(&got), number, "the keen subscriber");
        }
        assert_eq!(subscription.lost_messages(), 0);
    })
}

/// What a subscriber got: the messages' numbers in order, and the losses by reason.
#[derive(Debug, Default)]
struct Got {
    numbers: Vec<u64>,
    /// Whether each message's number was the one before, the losses reported in between, and one.
    gaps_told: bool,
    lost: BTreeMap<&'static str, u64>,
}

impl Got {
    fn lost(&self) -> u64 {
        self.lost.values().sum()
    }

    fn total(&self) -> u64 {
        self.numbers.len() as u64 + self.lost()
    }

    fn check_order(&self) {
        assert!(self.numbers.is_sorted_by(|before, after| before < after), "not in the order of publishing");
    }
}

fn item(subscription: &mut Subscription, got: &Got) -> Item {
    let item = subscription.recv_item_timeout(GUARD).expect("the connection holds");
    item.unwrap_or_else(|| panic!("{} received, then silence; lost: {:?}", got.numbers.len(), got.lost))
}

/// Reads until everything published is received or reported, then makes sure that nothing was said twice.
fn read_on(place: &Place, subscription: &mut Subscription, lane: Lane) -> Got {
    let mut got = Got { gaps_told: true, ..Got::default() };
    while got.total() < MESSAGES {
        match item(subscription, &got) {
            Item::Message(message) => {
                assert_eq!((&*message.topic, message.lane), (TOPIC, lane));
                got.gaps_told &= number_of(&message) == got.total();
                got.numbers.push(number_of(&message));
            }
            Item::Lost(report) => {
                assert_eq!((report.topic.as_deref(), report.lane), (Some(TOPIC), lane));
                *got.lost.entry(report.reason.name()).or_default() += u64::from(report.messages);
            }
        }
    }
    assert_eq!((got.total(), got.lost()), (MESSAGES, subscription.lost_messages()));
    let after = connect(place);
    after.publish(TOPIC, "after").expect("published");
    match item(subscription, &got) {
        Item::Message(message) => assert_eq!(message.text(), Some("after")),
        Item::Lost(report) => panic!("more than was published: {report}"),
    }
    got
}

fn only(reason: LossReason, got: &Got) {
    assert!(got.lost() > 0 && got.lost.keys().all(|&name| name == reason.name()), "{:?}", got.lost);
}

/// Publishes while one subscriber with `policy` has stopped; returns what that gets once it reads on.
fn stopped_then_reading(place: &Place, policy: Policy) -> Got {
    let mut slow = subscribe(place, TOPIC, asking(Some(policy)));
    let keen = keen(place);
    publish_all(place, PublishOptions::default());
    keen.join().expect("the keen subscriber lost nothing");
    let got = read_on(place, &mut slow, Lane::COMMAND);
    got.check_order();
    got
}

/// Runs a check over both transports, on brokers of one and of two shards.
fn everywhere(check: impl Fn(&Place)) {
    for shards in [1, 2] {
        let broker = launch(shards);
        check(broker.unix());
        check(broker.tcp());
    }
}

#[test]
fn a_stopped_reader_that_drops_the_oldest_goes_on_with_the_newest_and_knows_what_it_lost() {
    everywhere(|place| {
        let got = stopped_then_reading(place, Policy::DropOldest);
        only(LossReason::Overflow, &got);
        assert_eq!(got.numbers.last(), Some(&(MESSAGES - 1)), "the newest is never the one that goes");
        assert!(got.gaps_told, "each loss is reported where it is");
    });
}

#[test]
fn a_stopped_reader_that_drops_the_newest_keeps_what_it_had_and_knows_what_it_lost() {
    everywhere(|place| {
        let got = stopped_then_reading(place, Policy::DropNewest);
        only(LossReason::DropNewest, &got);
        let kept = got.numbers.len() as u64;
        let first = u64::from(QUEUE_BYTES) / MESSAGE_BYTES as u64 / 2;
        assert!(got.numbers.iter().copied().take(first as usize).eq(0..first), "the first of {kept} stayed");
    });
}

#[test]
fn a_stopped_reader_that_conflates_gets_the_last_value_of_every_topic() {
    const TOPICS: u64 = 10;
    everywhere(|place| {
        let mut slow = subscribe(place, "value/+", asking(None));
        let mut keen = subscribe(place, "value/+", SubscribeOptions { policy: Some(Policy::Block), ..asking(None) });
        let reader = std::thread::spawn(move || {
            for number in 0..MESSAGES {
                let got = keen.recv_timeout(GUARD).expect("the connection holds").expect("a message");
                assert_eq!(number_of(&got), number, "the keen subscriber");
            }
        });
        let client = connect(place);
        for number in 0..MESSAGES {
            let topic = format!("value/{}", number % TOPICS);
            client.publish_with(&topic, message(number), Lane::STATE.into()).expect("published");
        }
        client.flush().expect("accepted");
        reader.join().expect("the keen subscriber lost nothing");
        // By topic: accounted for, and the newest number.
        let mut values: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut got = Got::default();
        while got.total() < MESSAGES {
            match item(&mut slow, &got) {
                Item::Message(message) => {
                    let value = values.entry(message.topic.to_string()).or_default();
                    let number = number_of(&message);
                    assert!(value.1 <= number, "{} went back from {} to {number}", message.topic, value.1);
                    *value = (value.0 + 1, number);
                    got.numbers.push(number);
                }
                Item::Lost(report) => {
                    let topic = report.topic.expect("few topics are reported one by one");
                    values.entry(topic.to_string()).or_default().0 += u64::from(report.messages);
                    *got.lost.entry(report.reason.name()).or_default() += u64::from(report.messages);
                }
            }
        }
        only(LossReason::Conflated, &got);
        let expected = |key: u64| (format!("value/{key}"), (MESSAGES / TOPICS, MESSAGES - TOPICS + key));
        assert_eq!(values, (0..TOPICS).map(expected).collect());
    });
}

#[test]
fn a_stopped_reader_that_blocks_stops_its_publisher_and_loses_nothing() {
    everywhere(|place| {
        let mut slow = subscribe(place, TOPIC, asking(Some(Policy::Block)));
        let keen = keen(place);
        let elsewhere = place.clone();
        let publisher = std::thread::spawn(move || publish_all(&elsewhere, PublishOptions::default()));
        // Another lane and topic of the same broker goes on meanwhile.
        let mut other = subscribe(place, "other", SubscribeOptions::default());
        let client = connect(place);
        for number in 0..100 {
            client.publish("other", message(number)).expect("published");
            let got = other.recv_timeout(GUARD).expect("the connection holds").expect("a message");
            assert_eq!(number_of(&got), number);
        }
        assert!(!publisher.is_finished(), "nobody has read what it publishes");
        let got = read_on(place, &mut slow, Lane::COMMAND);
        got.check_order();
        assert_eq!(got.lost(), 0, "{:?}", got.lost);
        publisher.join().expect("the publisher gets through");
        keen.join().expect("the keen subscriber lost nothing");
    });
}

#[test]
fn a_stopped_reader_that_asked_for_it_is_disconnected_and_nobody_waits() {
    everywhere(|place| {
        let mut slow = subscribe(place, TOPIC, asking(Some(Policy::Disconnect)));
        let keen = keen(place);
        publish_all(place, PublishOptions::default());
        keen.join().expect("the keen subscriber lost nothing");
        let mut next = 0;
        let lost: Lost = loop {
            match slow.recv_timeout(GUARD) {
                Ok(got) => assert_eq!(number_of(&got.expect("a message or the end")), next),
                Err(lost) => break lost,
            }
            next += 1;
        };
        assert!(next < MESSAGES && lost != Lost::Closed, "{next} received, then: {lost}");
        assert_eq!(slow.lost_messages(), 0, "its end is the report");
    });
}

#[test]
fn what_waits_longer_than_its_time_to_live_is_reported_instead_of_sent() {
    const TTL: Duration = Duration::from_millis(50);
    let ttl_ms = TTL.as_millis() as u32;
    // More than is published, so that nothing but time can take a message.
    let roomy = SubscribeOptions { queue_bytes: 256 * 1024 * 1024, ..SubscribeOptions::default() };
    let by_message = (roomy, PublishOptions { ttl_ms: Some(ttl_ms), ..PublishOptions::default() });
    let by_subscriber = (SubscribeOptions { ttl_ms, ..roomy }, PublishOptions::default());
    everywhere(|place| {
        for (subscribing, publishing) in [by_message, by_subscriber] {
            let mut slow = subscribe(place, TOPIC, subscribing);
            publish_all(place, publishing);
            std::thread::sleep(2 * TTL);
            let got = read_on(place, &mut slow, Lane::COMMAND);
            got.check_order();
            only(LossReason::Ttl, &got);
        }
    });
}

#[test]
fn a_subscriber_may_ask_for_another_lane_than_the_publishers() {
    everywhere(|place| {
        let newest = SubscribeOptions { lane: Some(Lane::STATE), ..asking(None) };
        let mut state = subscribe(place, TOPIC, newest);
        let mut bulk = subscribe(place, TOPIC, SubscribeOptions { lane: Some(Lane::BULK), ..asking(None) });
        let reader = std::thread::spawn(move || {
            for number in 0..MESSAGES {
                let got = bulk.recv_timeout(GUARD).expect("the connection holds").expect("a message");
                assert_eq!((number_of(&got), got.lane), (number, Lane::BULK));
            }
        });
        publish_all(place, Lane::COMMAND);
        reader.join().expect("another lane, the same promise");
        let got = read_on(place, &mut state, Lane::STATE);
        got.check_order();
        only(LossReason::Conflated, &got);
        assert_eq!(got.numbers.last(), Some(&(MESSAGES - 1)));
    });
}

#[test]
fn the_lane_of_the_publisher_decides_for_a_subscriber_that_asks_for_nothing() {
    everywhere(|place| {
        for (lane, reason) in [(Lane::STREAM, LossReason::Overflow), (Lane::STATE, LossReason::Conflated)] {
            let mut slow = subscribe(place, TOPIC, asking(None));
            publish_all(place, lane);
            let mut got = Got::default();
            while got.total() < MESSAGES {
                match item(&mut slow, &got) {
                    Item::Message(message) => got.numbers.push(number_of(&message)),
                    Item::Lost(report) => {
                        *got.lost.entry(report.reason.name()).or_default() += u64::from(report.messages);
                    }
                }
            }
            assert_eq!(got.total(), MESSAGES);
            got.check_order();
            only(reason, &got);
        }
    });
}

#[test]
fn a_lane_that_nobody_described_is_served_beside_the_others() {
    everywhere(|place| {
        let mut subscription = subscribe(place, TOPIC, SubscribeOptions::default());
        let client = connect(place);
        for (number, lane) in (0..).zip([1, 9, 2, 15, 1]) {
            let lane = Lane::new(lane).expect("1 to 15");
            client.publish_with(TOPIC, message(number), lane.into()).expect("published");
            client.flush().expect("accepted");
            let got = subscription.recv_timeout(GUARD).expect("the connection holds").expect("a message");
            assert_eq!((number_of(&got), got.lane), (number, lane));
        }
    });
}

#[test]
fn who_wants_no_echo_hears_the_others_only() -> Result<(), CloseError> {
    let broker = launch(2);
    let client = connect(broker.tcp());
    let options = SubscribeOptions { no_echo: true, ..SubscribeOptions::default() };
    let mut subscription = client.subscribe_with(&["talk"], options).expect("a valid subscription");
    client.publish("talk", "mine").expect("published");
    client.flush().expect("accepted");
    let other = connect(broker.unix());
    other.publish("talk", "theirs").expect("published");
    let got = subscription.recv_timeout(GUARD).expect("the connection holds").expect("a message");
    assert_eq!((got.text(), subscription.lost_messages()), (Some("theirs"), 0));
    other.close()?;
    client.close()
}

#[test]
fn a_subscription_that_asks_for_fewer_messages_gets_so_many_a_second_and_is_told_of_the_rest() {
    const RATE_HZ: u32 = 20;
    /// Messages of a frame, which passes whole.
    const FRAME_MESSAGES: usize = 65;
    let broker = launch(1);
    let place = broker.tcp();
    let rare = |policy| SubscribeOptions { policy: Some(policy), max_rate_hz: RATE_HZ, ..SubscribeOptions::default() };
    let began = Instant::now();
    let mut sampled = subscribe(place, TOPIC, rare(Policy::DropOldest));
    let mut newest = subscribe(place, TOPIC, rare(Policy::Conflate));
    publish_all(place, PublishOptions::default());
    for (subscription, conflates) in [(&mut sampled, false), (&mut newest, true)] {
        let mut got = Got::default();
        while got.total() < MESSAGES {
            match item(subscription, &got) {
                Item::Message(message) => got.numbers.push(number_of(&message)),
                Item::Lost(report) => {
                    assert_eq!(report.topic.as_deref(), Some(TOPIC));
                    *got.lost.entry(report.reason.name()).or_default() += u64::from(report.messages);
                }
            }
        }
        assert_eq!(got.total(), MESSAGES, "received and reported");
        got.check_order();
        let told = [LossReason::RateLimit.name(), LossReason::Conflated.name()];
        assert!(got.lost.keys().all(|name| told[..=usize::from(conflates)].contains(name)), "{:?}", got.lost);
        let allowed = FRAME_MESSAGES + (f64::from(RATE_HZ) * (began.elapsed().as_secs_f64() + 0.1)) as usize;
        let allowed = if conflates { allowed + FRAME_MESSAGES } else { allowed };
        assert!(got.numbers.len() <= allowed, "{} messages where {allowed} were asked for", got.numbers.len());
        assert_eq!(got.numbers.last() == Some(&(MESSAGES - 1)), conflates, "only what conflates ends with the newest");
    }
}
