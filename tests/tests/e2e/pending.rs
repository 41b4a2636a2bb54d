//! Many operations that wait at once, and many that are given up while they wait: what they leave behind.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use laneway_client::{Client, ConfirmOptions, ConnectOptions, Level, StatValue};
use laneway_tests::real::process::GUARD;
use laneway_tests::real::{Launch, RealBroker};
use laneway_tests::sim::rng::Rng;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Clients, and subscriptions of each that wait.
const CLIENTS: usize = 20;
const SUBSCRIPTIONS: usize = 500;
/// Operations that are begun and given up.
const CANCELLED: u64 = 1_000_000;
/// One in so many reaches the broker; the others wait for it.
const REQUEST_IN: u64 = 100;
const GROWTH_BYTES_MAX: u64 = 16 * 1024 * 1024;

async fn connect(broker: &RealBroker, number: usize) -> Client {
    let place = if number.is_multiple_of(2) { broker.tcp() } else { broker.unix() };
    ConnectOptions::new().no_reconnect().connect(&place.url()).await.expect("a broker is there")
}

fn on_one_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { timeout(GUARD, test).await.expect("it does not hang") });
}

/// Begins an operation, and gives it up if it has to wait.
async fn begin<T>(operation: impl Future<Output = T>) -> Option<T> {
    let mut operation = pin!(operation);
    poll_fn(|context| {
        Poll::Ready(match operation.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

#[test]
fn ten_thousand_operations_wait_on_one_thread_and_all_end() {
    let broker = Launch::new(2).start();
    on_one_thread(async {
        let mut waiting = JoinSet::new();
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            let connection = connect(&broker, client).await;
            for number in 0..SUBSCRIPTIONS {
                let topic = format!("pending/{client}/{number}");
                let mut subscription = connection.subscribe(&topic).await.expect("subscribed");
                waiting.spawn(async move {
                    let message = subscription.recv().await.expect("connected");
                    assert_eq!((&*message.topic, message.text()), (&*topic, Some("now")));
                });
            }
            clients.push(connection);
        }
        assert_eq!(waiting.len(), 10_000);
        tokio::task::yield_now().await;
        assert!(waiting.try_join_next().is_none(), "all of them wait");
        let publisher = connect(&broker, 0).await;
        for topic in (0..CLIENTS).flat_map(|client| (0..SUBSCRIPTIONS).map(move |number| (client, number))) {
            publisher.publish(&format!("pending/{}/{}", topic.0, topic.1), "now").await.expect("published");
        }
        while let Some(ended) = waiting.join_next().await {
            ended.expect("each got its message");
        }
    });
    broker.stop_idle();
}

/// What the broker holds for its clients, by name, over all shards.
async fn holdings(watcher: &Client) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for stat in watcher.stats("shard.").await.expect("an answer") {
        for name in ["connections", "filters", "buffers_held", "queue_bytes"] {
            let StatValue::Number(value) = stat.value else { continue };
            let mut parts = stat.name.split('.').skip(2);
            if parts.next() == Some(name) && parts.next().is_none() {
                *sums.entry(name).or_default() += value as u64;
            }
        }
    }
    sums
}

/// One operation that may have to wait, given up if it does.
async fn one(client: &Client, subscription: &mut laneway_client::Subscription, rng: &mut Rng) {
    if rng.below(REQUEST_IN) > 0 {
        assert!(begin(subscription.recv()).await.is_none(), "nothing is published there");
        return;
    }
    match rng.below(6) {
        0 => drop(begin(client.subscribe("cancelled/+/x")).await),
        1 => drop(begin(client.ping()).await),
        2 => drop(begin(client.flush()).await),
        3 => drop(begin(client.publish("cancelled/topic", "x")).await),
        4 => {
            let options = ConfirmOptions { timeout: Duration::from_millis(50), ..Level::delivered(3).into() };
            drop(begin(client.publish_confirmed("cancelled/confirmed", "x", options)).await);
        }
        _ => drop(begin(client.stats("broker.")).await),
    }
}

#[test]
fn a_million_operations_given_up_leave_nothing_behind() {
    let broker = Launch::new(2).start();
    let seed = 0x00CA_9CE1;
    on_one_thread(async {
        let watcher = connect(&broker, 0).await;
        let mut before = None;
        let mut resident = 0;
        for round in 0..4 {
            let client = connect(&broker, round).await;
            let mut quiet = client.subscribe("quiet").await.expect("subscribed");
            let mut rng = Rng::new(seed, round as u64);
            for number in 0..CANCELLED / 4 {
                one(&client, &mut quiet, &mut rng).await;
                if number.is_multiple_of(1_000) {
                    // The connection's own tasks get their turn.
                    tokio::task::yield_now().await;
                }
            }
            client.ping().await.expect("the connection is as good as before");
            client.close().await.expect("closed");
            // The first round makes the broker grow into its load.
            let baseline = before.get_or_insert(settled(&watcher, None).await);
            let after = settled(&watcher, Some(baseline)).await;
            assert_eq!(&after, baseline, "round {round} of seed {seed:#x}");
            let now = broker.resident_bytes();
            if round == 0 {
                resident = now;
            }
            assert!(now <= resident + GROWTH_BYTES_MAX, "round {round}: {resident} bytes became {now}");
        }
    });
    broker.stop_idle();
}

/// What the broker holds once that is `expected`, or only the watcher is connected; or what it holds in the end.
async fn settled(watcher: &Client, expected: Option<&BTreeMap<&'static str, u64>>) -> BTreeMap<&'static str, u64> {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let now = holdings(watcher).await;
        let rests = expected.map_or(now["connections"] == 1, |expected| &now == expected);
        if rests || Instant::now() > until {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
