//! Publishing, receiving, waiting and ending on one connection.

mod common;

use std::time::Duration;

use common::mini::MiniBroker;
use common::{connected, declare, frame, pipe};
use laneway_client::{
    Client, CloseError, ConnectOptions, FlushError, Item, Lane, LossReason, Lost, Policy, PublishError, PublishOptions,
    SubscribeError, SubscribeOptions, TryPublishError, connect,
};
use laneway_proto::control::{Body, Control, Goodbye};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::batch;
use laneway_proto::frame::lost;
use laneway_proto::frame::ping::{Ping, Pong};
use laneway_proto::header::Kind;
use tokio::time::{sleep, timeout};

/// Long enough for anything that is going to happen; nothing is measured by it.
const LONG: Duration = Duration::from_secs(20);
/// Short enough to wait for what is not going to happen.
const SHORT: Duration = Duration::from_millis(50);

/// The same story on every transport: what is published arrives once, in order, intact.
async fn echo(publisher: Client, subscriber: Client) {
    let mut inbox = subscriber.subscribe("echo/#").await.expect("subscribed");
    publisher.publish("echo/text", "hello").await.expect("published");
    let numbers = (0..20_000u32).map(|number| number.to_string());
    publisher.publish_batch("echo/numbers", numbers).await.expect("published");
    let large: Vec<u8> = (0..1 << 20).map(|place: u32| (place % 251) as u8).collect();
    publisher.publish_with("echo/large", &large, Lane::BULK.into()).await.expect("published");
    publisher.publish_with("echo/large", large.clone(), Lane::BULK.into()).await.expect("published");
    // What is more urgent would overtake.
    publisher.flush().await.expect("accepted");
    publisher.publish("echo/empty", "").await.expect("published");
    publisher.flush().await.expect("accepted");

    let first = inbox.recv().await.expect("text");
    assert_eq!((&*first.topic, first.text(), first.lane, first.seq), ("echo/text", Some("hello"), Lane::COMMAND, 1));
    for number in 0..20_000u32 {
        let message = inbox.recv().await.expect("a number");
        assert_eq!((message.text(), message.seq), (Some(&*number.to_string()), number + 2));
    }
    for seq in 1..=2 {
        let message = inbox.recv().await.expect("large");
        assert!(message.payload == large, "1 MiB arrives intact");
        assert_eq!((message.lane, message.seq), (Lane::BULK, seq));
    }
    assert_eq!(&*inbox.recv().await.expect("empty").topic, "echo/empty");
    assert!(inbox.try_recv().is_none());
    publisher.close().await.expect("closed");
    subscriber.close().await.expect("closed");
    assert_eq!(inbox.recv().await, Err(Lost::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_over_tcp() {
    let url = MiniBroker::default().tcp().await;
    timeout(LONG, echo(connect(&url).await.expect("first"), connect(&url).await.expect("second")))
        .await
        .expect("in time");
}

#[tokio::test]
async fn messages_arrive_over_unix_sockets() {
    let path = std::env::temp_dir().join(format!("laneway-flow-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let url = MiniBroker::default().unix(&path).await;
    timeout(LONG, echo(connect(&url).await.expect("first"), connect(&url).await.expect("second")))
        .await
        .expect("in time");
    std::fs::remove_file(&path).expect("removed");
}

#[tokio::test]
async fn messages_arrive_over_a_pipe_of_seven_bytes() {
    let broker = MiniBroker::default();
    let mut clients = Vec::new();
    for bytes in [7, 100_000] {
        let (stream, served) = tokio::io::duplex(bytes);
        tokio::spawn(broker.clone().serve(served));
        clients.push(ConnectOptions::new().connect_over(stream).await.expect("connected"));
    }
    let (slow, fast) = (clients.remove(0), clients.remove(0));
    let mut inbox = slow.subscribe("a").await.expect("subscribed");
    fast.publish_batch("a", (0..500u32).map(|number| number.to_string())).await.expect("published");
    for number in 0..500u32 {
        assert_eq!(inbox.recv().await.expect("a number").text(), Some(&*number.to_string()));
    }
    slow.publish("b", vec![7; 20_000]).await.expect("published");
    timeout(LONG, slow.flush()).await.expect("in time").expect("accepted");
}

#[tokio::test]
async fn an_idle_connection_sends_at_once_and_a_busy_one_gathers() {
    let (client, mut peer) = connected(ConnectOptions::new(), 64).await;
    client.publish("a", "first").await.expect("published");
    assert_eq!(peer.data().await.header.kind, Kind::PUB, "nothing waits for more");
    // Larger than the pipe: the writer stays busy with it while the others come.
    client.publish("a", vec![0; 5_000]).await.expect("published");
    sleep(SHORT).await;
    for _ in 0..10 {
        client.publish("a", "x").await.expect("published");
    }
    assert_eq!(peer.data().await.header.len, 5_016);
    let gathered = peer.data().await;
    assert_eq!((gathered.header.kind, gathered.header.seq), (Kind::BATCH, 3));
    assert_eq!(batch::message_count(&gathered.body), Ok(10));
}

#[tokio::test]
async fn publishing_waits_while_the_send_queue_is_full_and_goes_on_when_the_broker_reads() {
    let options = ConnectOptions::new().send_queue(10_000, 1_000);
    let (client, mut peer) = connected(options, 64).await;
    let publisher = client.publisher("a").expect("valid");
    let mut taken = 0;
    while let Ok(published) = timeout(SHORT, publisher.publish(&[0; 1_000])).await {
        published.expect("connected");
        taken += 1;
        assert!(taken < 100, "the bound never closed");
    }
    // One queue on its way into the socket, one behind it.
    assert!((10..=22).contains(&taken), "{taken} messages of 1,000 bytes against 10,000");
    assert_eq!(publisher.try_publish(&[0; 1_000]), Err(TryPublishError::Full));
    let reading = async {
        let mut messages = 0;
        while messages < taken + 1 {
            let frame = peer.data().await;
            messages += match frame.header.kind {
                Kind::BATCH => i32::from(batch::message_count(&frame.body).expect("a batch")),
                _ => 1,
            };
        }
        messages
    };
    let (published, messages) = tokio::join!(publisher.publish(&[0; 1_000]), reading);
    published.expect("taken in the end");
    assert_eq!(messages, taken + 1, "what was given up while waiting was never sent");
}

#[tokio::test]
async fn a_full_subscription_stops_the_reading_and_taking_resumes_it() {
    let options = ConnectOptions::new().receive_queue(1 << 20, 10);
    let (client, mut peer) = connected(options, 1_000).await;
    let (inbox, _) = tokio::join!(client.subscribe("a"), peer.confirm(CloseCode::Normal, ""));
    let mut inbox = inbox.expect("subscribed");
    peer.send(&declare(5, "a")).await;
    let flood = async {
        for seq in 1..=500 {
            peer.send(&frame(Kind::PUB, 5, seq, &[7; 1_000])).await;
        }
    };
    let mut flood = std::pin::pin!(flood);
    assert!(timeout(SHORT, flood.as_mut()).await.is_err(), "the client kept reading past its bound");
    let receiving = async {
        for seq in 1..=500 {
            assert_eq!(inbox.recv().await.expect("a message").seq, seq);
        }
    };
    timeout(LONG, async { tokio::join!(flood, receiving) }).await.expect("it went on");
}

#[tokio::test]
async fn a_dropped_subscription_lets_the_others_go_on() {
    let options = ConnectOptions::new().receive_queue(1 << 20, 1);
    let (client, mut peer) = connected(options, 1_000).await;
    let (full, _) = tokio::join!(client.subscribe("a"), peer.confirm(CloseCode::Normal, ""));
    let full = full.expect("subscribed");
    let (other, _) = tokio::join!(client.subscribe("b"), peer.confirm(CloseCode::Normal, ""));
    let mut other = other.expect("subscribed");
    let stuck = [declare(5, "a"), declare(6, "b"), frame(Kind::PUB, 5, 1, b"")].concat();
    peer.send(&stuck).await;
    sleep(SHORT).await;
    peer.send(&frame(Kind::PUB, 6, 2, b"behind")).await;
    assert!(timeout(SHORT, other.recv()).await.is_err(), "it waits behind the full one");
    drop(full);
    assert_eq!(timeout(LONG, other.recv()).await.expect("in time").expect("a message").seq, 2);
    let Some(Body::Unsubscribe(unsubscribe)) = peer.frame().await.expect("a frame").control().body else {
        panic!("the broker was not told");
    };
    assert_eq!(unsubscribe.patterns, ["a"]);
}

#[tokio::test]
async fn dropped_futures_leave_the_connection_usable() {
    let (client, mut peer) = connected(ConnectOptions::new(), 4_096).await;
    assert!(timeout(SHORT, client.flush()).await.is_err());
    assert!(timeout(SHORT, client.subscribe("gone")).await.is_err());
    let (inbox, _) = tokio::join!(client.subscribe("a"), async {
        let Kind::PING = peer.data().await.header.kind else { panic!("not the ping") };
        for expected in ["gone", "un-gone"] {
            let control = peer.frame().await.expect("a frame").control();
            match control.body {
                Some(Body::Subscribe(_)) => {
                    assert_eq!(expected, "gone");
                    peer.send(&Control::answer(control.id, CloseCode::Normal, "").to_frame()).await;
                }
                Some(Body::Unsubscribe(_)) => assert_eq!(expected, "un-gone"),
                other => panic!("unexpected {other:?}"),
            }
        }
        peer.confirm(CloseCode::Normal, "").await;
    });
    let mut inbox = inbox.expect("subscribed");
    assert!(timeout(SHORT, inbox.recv()).await.is_err());
    peer.send(&[declare(5, "a"), frame(Kind::PUB, 5, 1, b"late")].concat()).await;
    assert_eq!(inbox.recv().await.expect("a message").text(), Some("late"), "a dropped recv loses nothing");
    let answering = async {
        let ping = Ping::decode(&peer.data().await.body).expect("a ping");
        peer.send(&Pong { t0: ping.t0, t1: 0, t2: 0 }.encode()).await;
    };
    tokio::join!(client.flush(), answering).0.expect("the second flush has its own answer");
}

#[tokio::test]
async fn a_refused_subscription_says_why_and_only_it_fails() {
    let (client, mut peer) = connected(ConnectOptions::new(), 4_096).await;
    let (refused, _) = tokio::join!(client.subscribe("a"), peer.confirm(CloseCode::Forbidden, "not yours"));
    let Err(SubscribeError::Refused(reason)) = refused else { panic!("{refused:?}") };
    assert_eq!((reason.code(), reason.text()), (Some(CloseCode::Forbidden), "not yours"));
    assert!(matches!(client.subscribe("a/#/b").await, Err(SubscribeError::Filter { .. })));
    client.publish("still", "here").await.expect("published");
}

#[tokio::test]
async fn what_cannot_be_published_is_refused_and_the_connection_lives() {
    let (client, mut peer) = connected(ConnectOptions::new(), 4_096).await;
    assert!(matches!(client.publish("$sys/x", "").await, Err(PublishError::Topic(_))));
    assert!(matches!(client.publish("a/+", "").await, Err(PublishError::Topic(_))));
    let large = client.publish("a", vec![0; (1 << 20) + 1]).await;
    assert_eq!(large, Err(PublishError::TooLarge { bytes: (1 << 20) + 1, bytes_max: 1 << 20 }));
    let options = PublishOptions { lane: Lane::STATE, ts_ns: Some(7), ..PublishOptions::default() };
    client.publish_with("a", "x", options).await.expect("published");
    let frame = peer.data().await;
    assert_eq!((frame.header.lane, &frame.body[..]), (3, &[7, 0, 0, 0, 0, 0, 0, 0, b'x'][..]));
}

#[tokio::test]
async fn a_lost_connection_fails_everything_with_one_reason() {
    let (client, mut peer) = connected(ConnectOptions::new().send_queue(100, 10), 64).await;
    let (inbox, _) = tokio::join!(client.subscribe("a"), peer.confirm(CloseCode::Normal, ""));
    let mut inbox = inbox.expect("subscribed");
    peer.send(&[declare(5, "a"), frame(Kind::PUB, 5, 1, b"last")].concat()).await;
    let goodbye = Goodbye { code: CloseCode::Shutdown.number(), reason: "going down".into(), drain_ms: 0 };
    let publishing = async { while client.publish("b", &[0; 90]).await.is_ok() {} };
    let leaving = async {
        sleep(SHORT).await;
        peer.send(&Control::new(Body::Goodbye(goodbye)).to_frame()).await;
    };
    let (_, flushed, ()) =
        timeout(LONG, async { tokio::join!(publishing, client.flush(), leaving) }).await.expect("in time");
    let Err(FlushError::Lost(lost)) = flushed else { panic!("{flushed:?}") };
    let Lost::Goodbye(reason) = &lost else { panic!("{lost:?}") };
    assert_eq!((reason.code(), reason.text()), (Some(CloseCode::Shutdown), "going down"));
    assert!(lost.retryable());
    assert_eq!(inbox.recv().await.expect("what came before").text(), Some("last"));
    assert_eq!(inbox.recv().await, Err(lost.clone()));
    assert_eq!(client.publish("b", "").await, Err(PublishError::Lost(lost.clone())));
    assert_eq!(client.subscribe("b").await.err(), Some(SubscribeError::Lost(lost.clone())));
    assert_eq!(client.close().await, Err(CloseError::Lost(lost)));
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_then_says_goodbye() {
    let (client, mut peer) = connected(ConnectOptions::new(), 64).await;
    client.publish_batch("a", std::iter::repeat_n("x", 1_000)).await.expect("published");
    let reading = async {
        let mut messages = 0;
        loop {
            let frame = peer.frame().await.expect("a goodbye comes first");
            match frame.header.kind {
                Kind::BATCH => messages += batch::message_count(&frame.body).expect("a batch"),
                Kind::PUB => messages += 1,
                _ => {
                    if let Some(Body::Goodbye(goodbye)) = frame.control().body {
                        assert_eq!(goodbye.code, 0);
                        break;
                    }
                }
            }
        }
        assert_eq!(peer.frame().await, None, "nothing follows");
        drop(peer);
        messages
    };
    let (closed, messages) = tokio::join!(client.close(), reading);
    assert_eq!((closed, messages), (Ok(()), 1_000));
    assert_eq!(client.publish("a", "").await, Err(PublishError::Lost(Lost::Closed)));
}

#[tokio::test(start_paused = true)]
async fn closing_gives_up_on_a_broker_that_does_not_read() {
    let drain = Duration::from_millis(300);
    let (client, _peer) = connected(ConnectOptions::new().drain(drain), 64).await;
    client.publish("a", vec![0; 10_000]).await.expect("published");
    assert_eq!(client.close().await, Err(CloseError::Timeout(drain)));
}

#[tokio::test]
async fn the_last_handle_closes_the_connection_and_a_subscription_is_one() {
    let (client, mut peer) = connected(ConnectOptions::new(), 4_096).await;
    let (inbox, _) = tokio::join!(client.subscribe("a"), peer.confirm(CloseCode::Normal, ""));
    let mut inbox = inbox.expect("subscribed");
    client.publish("b", "before").await.expect("published");
    drop(client);
    peer.send(&[declare(5, "a"), frame(Kind::PUB, 5, 1, b"after")].concat()).await;
    assert_eq!(inbox.recv().await.expect("a message").text(), Some("after"));
    drop(inbox);
    let mut last = None;
    while let Some(frame) = peer.frame().await {
        last = Some(frame);
    }
    let last = last.expect("frames").control();
    assert!(matches!(last.body, Some(Body::Goodbye(_))), "{last:?}");
}

#[tokio::test]
async fn a_hundred_operations_wait_on_one_thread() {
    let (stream, mut peer) = pipe(100_000);
    let options = ConnectOptions::new();
    let (client, _) = tokio::join!(options.connect_over(stream), peer.greet(common::welcome()));
    let client = client.expect("connected");
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.ping().await })
        })
        .collect();
    for _ in 0..100 {
        let ping = Ping::decode(&peer.data().await.body).expect("a ping");
        peer.send(&Pong { t0: ping.t0, t1: 0, t2: 0 }.encode()).await;
    }
    for answered in waiting {
        answered.await.expect("no panic").expect("answered");
    }
}

#[tokio::test]
async fn waiting_pings_are_bounded_and_those_given_up_make_room() {
    use laneway_client::tokio::PINGS_MAX;
    let (client, _peer) = connected(ConnectOptions::new(), 64).await;
    let mut waiting: Vec<_> = (0..PINGS_MAX)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.ping().await })
        })
        .collect();
    sleep(SHORT).await;
    assert_eq!(client.flush().await, Err(FlushError::TooManyPending { pending_max: PINGS_MAX }));
    let given_up = waiting.pop().expect("many");
    given_up.abort();
    assert!(given_up.await.is_err());
    assert!(timeout(SHORT, client.flush()).await.is_err(), "it waits, so it was let in");
}

#[tokio::test]
async fn a_slow_iterator_does_not_hold_back_what_it_gave() {
    let (client, mut peer) = connected(ConnectOptions::new(), 4_096).await;
    let (give, given) = std::sync::mpsc::channel::<&str>();
    give.send("first").expect("open");
    let publishing = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Handle::current();
        runtime.block_on(client.publish_batch("a", given)).expect("published");
    });
    assert_eq!(peer.data().await.body, b"first");
    drop(give);
    publishing.await.expect("no panic");
}

#[tokio::test]
async fn a_subscription_is_a_stream_that_tells_its_end_once() {
    use futures_core::Stream as _;
    let (client, mut peer) = connected(ConnectOptions::new(), 4_096).await;
    let (inbox, _) = tokio::join!(client.subscribe("a"), peer.confirm(CloseCode::Normal, ""));
    let mut inbox = Box::pin(inbox.expect("subscribed"));
    peer.send(&[declare(5, "a"), frame(Kind::PUB, 5, 1, b"only")].concat()).await;
    drop(peer);
    let mut items = Vec::new();
    while let Some(item) = std::future::poll_fn(|context| inbox.as_mut().poll_next(context)).await {
        items.push(item.map(|message| message.seq));
    }
    assert_eq!(items, [Ok(1), Err(Lost::Ended)]);
}

fn lost(topic: u32, count: u32) -> Vec<u8> {
    lost::Lost { topic, lane: 4, reason: LossReason::Overflow, first: 0, count }.encode().to_vec()
}

#[tokio::test]
async fn losses_stand_among_the_messages_and_are_counted_for_those_who_do_not_look() {
    let (client, mut peer) = connected(ConnectOptions::new(), 4_096).await;
    let options = SubscribeOptions { policy: Some(Policy::DropOldest), ..SubscribeOptions::default() };
    let (inbox, asked) = tokio::join!(client.subscribe_with(&["a"], options), peer.confirm(CloseCode::Normal, ""));
    let Some(Body::Subscribe(asked)) = asked.body else { panic!("not a subscription") };
    assert_eq!(asked.subs[0].policy, 2, "drop_oldest");
    let mut inbox = inbox.expect("subscribed");
    let told = [declare(5, "a"), lost(5, 3), frame(Kind::PUB, 5, 4, b""), lost(0, 2), frame(Kind::PUB, 5, 5, b"")];
    peer.send(&told.concat()).await;
    assert_eq!(inbox.recv().await.map(|message| message.seq), Ok(4));
    assert_eq!(inbox.lost_messages(), 3);
    match inbox.recv_item().await {
        Ok(Item::Lost(report)) => {
            assert_eq!((report.topic, report.lane, report.messages), (None, Lane::STREAM, 2));
            assert_eq!(report.reason, LossReason::Overflow);
        }
        other => panic!("no report: {other:?}"),
    }
    assert_eq!(inbox.try_recv().map(|message| message.seq), Some(5));
    // A report without a message behind it wakes nobody who waits for messages.
    peer.send(&lost(5, 1)).await;
    assert!(timeout(SHORT, inbox.recv()).await.is_err());
    assert_eq!(inbox.lost_messages(), 6);
    peer.send(&lost(5, 1)).await;
    drop(peer);
    let mut items = inbox.items();
    let mut next = async || {
        use futures_core::Stream as _;
        std::future::poll_fn(|context| std::pin::Pin::new(&mut items).poll_next(context)).await
    };
    assert!(matches!(next().await, Some(Ok(Item::Lost(_)))));
    assert!(matches!(next().await, Some(Err(Lost::Ended))));
    assert!(next().await.is_none());
}
