//! A link that does badly is replaced before it breaks: another one is made beside it, and the session goes over.

use std::thread;
use std::time::{Duration, Instant};

use laneway_client::blocking::{Client, Events, Subscription};
use laneway_client::{ConnectOptions, ConnectionEvent, Degraded, Lane, ReconnectOptions, Retry};
use laneway_tests::real::process::GUARD;
use laneway_tests::real::proxy::{Happened, Proxy};
use laneway_tests::real::{Launch, RealBroker};

/// What a link is asked for its life, and what a client has published so far.
struct Talk {
    client: Client,
    heard: Subscription,
    events: Events,
    published: u32,
    received: u32,
}

impl Talk {
    fn begin(way: &Proxy, options: &ConnectOptions) -> Self {
        let client = options.connect_blocking(&way.place().url()).expect("a broker");
        let heard = client.subscribe("a").expect("allowed");
        let events = client.events();
        Self { client, heard, events, published: 0, received: 0 }
    }

    /// Publishes a few messages, each with its number.
    fn publish(&mut self) {
        for _ in 0..20 {
            self.client
                .publish_with("a", &self.published.to_le_bytes()[..], Lane::COMMAND.into())
                .expect("a connection");
            self.published += 1;
        }
    }

    /// The link is up, and messages go through.
    fn settle(&mut self) {
        self.publish();
        self.expect_all();
        self.wait_for(|event| matches!(event, ConnectionEvent::Up { .. }), false);
    }

    /// Everything that was published comes, once and in order.
    fn expect_all(&mut self) {
        while self.received < self.published {
            let message = self.heard.recv_timeout(GUARD).expect("a connection").expect("a message in time");
            assert_eq!(message.payload.as_ref(), self.received.to_le_bytes(), "once and in order");
            self.received += 1;
        }
        let more = self.heard.recv_timeout(Duration::from_millis(100)).expect("a connection");
        assert!(more.is_none(), "one too many: {more:?}");
    }

    /// The next event that `wanted` accepts; `going` goes on meanwhile.
    fn wait_for(&mut self, wanted: impl Fn(&ConnectionEvent) -> bool, going: bool) -> ConnectionEvent {
        let until = Instant::now() + GUARD;
        let mut seen = Vec::new();
        loop {
            assert!(Instant::now() < until, "it is not told; there was {seen:?}");
            match self.events.try_recv() {
                Some(event) if wanted(&event) => return event,
                Some(ConnectionEvent::Down { reason, .. }) => panic!("it was without a link: {reason}"),
                Some(event) => seen.push(event),
                None if going => {
                    self.publish();
                    thread::sleep(Duration::from_millis(5));
                }
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

fn options(reconnect: ReconnectOptions, dead_after: Duration) -> ConnectOptions {
    let waits = Retry::new().waits(Duration::from_millis(1), Duration::from_millis(10));
    let reconnect = reconnect.retry(waits).breaker(0, Duration::ZERO);
    ConnectOptions::new().reconnect(reconnect).keepalive(Duration::from_millis(100), dead_after)
}

fn broker(shards: u32) -> (RealBroker, Proxy) {
    let broker = Launch::new(shards).start();
    let way = Proxy::start(broker.tcp());
    (broker, way)
}

/// The session went over, and the broker had answered on the second link before the first one was left.
fn assert_went_over(talk: &mut Talk, way: &Proxy) {
    let up = talk.wait_for(|event| matches!(event, ConnectionEvent::Up { .. }), true);
    assert!(matches!(up, ConnectionEvent::Up { resumed: true, restarted: false, .. }), "{up:?}");
    talk.publish();
    talk.expect_all();
    // What a link that ails keeps hides its end.
    way.recover();
    let until = Instant::now() + GUARD;
    while !way.diary().contains(&Happened::Ended(0)) {
        assert!(Instant::now() < until, "the first link is left: {:?}", way.diary());
        thread::sleep(Duration::from_millis(1));
    }
    let diary = way.diary();
    let place = |what| diary.iter().position(|&happened| happened == what).expect("it happened");
    assert!(place(Happened::Answered(1)) < place(Happened::Ended(0)), "{diary:?}");
    assert_eq!((talk.client.state().links_lost, talk.client.state().maybe_delivered), (1, 0));
}

#[test]
fn a_link_in_doubt_is_left_for_another_one_and_nothing_is_lost() {
    for shards in [1, 2] {
        let (_broker, way) = broker(shards);
        // It would not be taken for dead for a long time.
        let mut talk = Talk::begin(&way, &options(ReconnectOptions::new(), Duration::from_secs(8)));
        talk.settle();
        way.ail(None);
        talk.publish();
        let doubt = talk.wait_for(|event| matches!(event, ConnectionEvent::Degraded { .. }), false);
        assert!(matches!(doubt, ConnectionEvent::Degraded { reason: Degraded::Silent(_) }), "{doubt:?}");
        assert_went_over(&mut talk, &way);
    }
}

#[test]
fn a_slow_link_is_left_for_another_one_and_nothing_is_lost() {
    let (_broker, way) = broker(1);
    let reconnect = ReconnectOptions::new().trip_max(Duration::from_millis(150));
    let mut talk = Talk::begin(&way, &options(reconnect, Duration::from_secs(20)));
    talk.settle();
    way.ail(Some(Duration::from_millis(150)));
    let doubt = talk.wait_for(|event| matches!(event, ConnectionEvent::Degraded { .. }), true);
    assert!(matches!(doubt, ConnectionEvent::Degraded { reason: Degraded::Slow(_) }), "{doubt:?}");
    assert_went_over(&mut talk, &way);
}

#[test]
fn a_link_stays_where_no_better_one_can_be_had_and_the_doubt_may_pass() {
    let (_broker, way) = broker(1);
    let mut talk = Talk::begin(&way, &options(ReconnectOptions::new(), Duration::from_secs(8)));
    talk.wait_for(|event| matches!(event, ConnectionEvent::Up { .. }), false);
    way.refuse();
    way.ail(None);
    talk.publish();
    talk.wait_for(|event| matches!(event, ConnectionEvent::Degraded { .. }), false);
    thread::sleep(Duration::from_millis(700));
    way.recover();
    talk.wait_for(|event| *event == ConnectionEvent::Recovered, false);
    talk.publish();
    talk.expect_all();
    assert_eq!(talk.client.state().links_lost, 0);
}
