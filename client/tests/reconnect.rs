//! Links break, brokers restart; the client goes on, and what nobody knows is said.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test picks the events that it waits for")]

mod common;

use std::time::Duration;

use common::mini::MiniBroker;
use common::{Peer, welcome};
use laneway_client::{
    BreakerState, Class, Client, CloseError, ConnectOptions, ConnectionEvent, Degraded, Events, FlushError, Lost,
    Phase, PublishError, ReconnectOptions, Retry, TryPublishError,
};
use laneway_proto::control::{Body, Control, Goodbye, Reject, Welcome};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::batch;
use laneway_proto::frame::ping::{Ping, Pong};
use laneway_proto::header::Kind;
use laneway_proto::session::handshake::PREFACE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// Long enough for anything that is going to happen; nothing is measured by it.
const LONG: Duration = Duration::from_secs(20);
/// Short enough to wait for what is not going to happen.
const SHORT: Duration = Duration::from_millis(50);

/// Waits of a few milliseconds, for ever.
fn quick() -> ReconnectOptions {
    let waits = Retry::new().waits(Duration::from_millis(1), Duration::from_millis(5));
    ReconnectOptions::new().retry(waits).breaker(0, Duration::ZERO)
}

fn options() -> ConnectOptions {
    ConnectOptions::new().no_keepalive().reconnect(quick())
}

/// A port that a test answers by itself, connection by connection.
struct Port(TcpListener);

impl Port {
    async fn open() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    fn url(&self) -> String {
        format!("tcp://{}", self.0.local_addr().expect("bound"))
    }

    async fn accept(&self) -> Peer<TcpStream> {
        Peer::new(timeout(LONG, self.0.accept()).await.expect("in time").expect("a client").0)
    }

    async fn greet(&self, welcome: Welcome) -> Peer<TcpStream> {
        let mut peer = self.accept().await;
        peer.greet(welcome).await;
        peer
    }

    /// A client and the broker's end of its first link.
    async fn connected(&self, options: &ConnectOptions) -> (Client, Peer<TcpStream>) {
        let url = self.url();
        let (client, peer) = tokio::join!(options.connect(&url), self.greet(welcome()));
        (client.expect("connected"), peer)
    }
}

/// The next event for which `pick` has an answer.
async fn next<T>(events: &mut Events, mut pick: impl FnMut(ConnectionEvent) -> Option<T>) -> T {
    let found = async {
        loop {
            let event = events.recv().await.expect("the connection goes on");
            if let Some(found) = pick(event) {
                return found;
            }
        }
    };
    timeout(LONG, found).await.expect("in time")
}

async fn up(events: &mut Events) -> (u32, bool) {
    let pick = |event| match event {
        ConnectionEvent::Up { session, restarted, resumed: false } => Some((session, restarted)),
        _ => None,
    };
    next(events, pick).await
}

async fn down(events: &mut Events) -> (Lost, bool) {
    let pick = |event| match event {
        ConnectionEvent::Down { reason, will_retry_in } => Some((reason, will_retry_in.is_some())),
        _ => None,
    };
    next(events, pick).await
}

async fn answer_ping(peer: &mut Peer<TcpStream>) {
    loop {
        let frame = peer.data().await;
        if frame.header.kind == Kind::PING {
            let t0 = Ping::decode(&frame.body).expect("a ping").t0;
            peer.send(&Pong { t0, t1: 0, t2: 0 }.encode()).await;
            return;
        }
    }
}

#[tokio::test]
async fn a_subscription_goes_on_after_a_hundred_link_losses() {
    let broker = MiniBroker::default();
    let client = options().connect(&broker.tcp().await).await.expect("connected");
    let mut events = client.events();
    let mut inbox = client.subscribe("a/#").await.expect("subscribed");
    let publisher = client.publisher("a/number").expect("valid");
    let first = up(&mut events).await;
    for number in 0..100u32 {
        broker.sever();
        let again = up(&mut events).await;
        assert_ne!(again.0, first.0, "another session");
        publisher.publish(&number.to_le_bytes()).await.expect("published");
        timeout(LONG, client.flush()).await.expect("in time").expect("accepted");
        let message = timeout(LONG, inbox.recv()).await.expect("in time").expect("it goes on");
        assert_eq!((&*message.topic, &message.payload[..]), ("a/number", &number.to_le_bytes()[..]));
    }
    assert_eq!((client.state().links_lost, client.state().phase), (100, Phase::Up));
    assert_eq!(inbox.try_recv(), None);
    client.close().await.expect("closed");
}

#[tokio::test]
async fn a_restarted_broker_is_recognised_and_told_everything_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let old = MiniBroker::with_epoch(1_000);
    old.listen(listener);
    let client = options().connect(&format!("tcp://{address}")).await.expect("connected");
    let mut events = client.events();
    assert!(!up(&mut events).await.1);
    let mut inbox = client.subscribe_any(&["a/+", "b"]).await.expect("subscribed");
    client.publish("a/x", "before").await.expect("published");
    client.flush().await.expect("accepted");
    assert_eq!(inbox.recv().await.expect("a message").text(), Some("before"));

    old.kill();
    down(&mut events).await;
    sleep(SHORT).await;
    let new = MiniBroker::with_epoch(2_000);
    new.listen(TcpListener::bind(address).await.expect("the same port"));
    assert!(up(&mut events).await.1, "restarted");
    assert_eq!(client.remote_peer().epoch, 2_000);
    for (topic, text) in [("a/x", "after"), ("b", "new")] {
        client.publish(topic, text).await.expect("published");
        let message = timeout(LONG, inbox.recv()).await.expect("in time").expect("it goes on");
        assert_eq!((&*message.topic, message.text()), (topic, Some(text)));
    }
}

#[tokio::test]
async fn what_is_published_without_a_link_waits_within_its_bounds_and_arrives_in_order() {
    let port = Port::open().await;
    let (client, peer) = port.connected(&options().send_queue(1 << 20, 50)).await;
    let mut events = client.events();
    drop(peer);
    down(&mut events).await;
    let mut taken = 0u32;
    while client.try_publish("a", taken.to_string()).is_ok() {
        taken += 1;
        assert!(taken < 1_000, "the bound never closed");
    }
    assert_eq!(taken, 50);
    assert_eq!(client.try_publish("a", "x"), Err(TryPublishError::Full));
    let waiting = client.publish("a", "50");
    let flushing = async {
        client.flush().await.expect("nothing was in doubt");
    };
    let serving = async {
        let mut peer = port.greet(welcome()).await;
        let Some(Body::DeclareTopics(topics)) = peer.frame().await.expect("a frame").control().body else {
            panic!("the topic comes first");
        };
        assert_eq!(topics.topics[0].name, "a");
        let mut texts = Vec::new();
        while texts.len() < 51 {
            let frame = peer.data().await;
            match frame.header.kind {
                Kind::BATCH => {
                    let messages = batch::Messages::new(&frame.body).expect("a batch");
                    texts.extend(messages.map(|text| String::from_utf8(text.expect("whole").to_vec()).expect("text")));
                }
                Kind::PUB => texts.push(String::from_utf8(frame.body).expect("text")),
                Kind::PING => {
                    let t0 = Ping::decode(&frame.body).expect("a ping").t0;
                    peer.send(&Pong { t0, t1: 0, t2: 0 }.encode()).await;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        answer_if_asked(&mut peer).await;
        texts
    };
    let all = async { tokio::join!(waiting, flushing, serving) };
    let (published, (), texts) = timeout(LONG, all).await.expect("in time");
    published.expect("taken in the end");
    assert_eq!(texts, (0..=50).map(|number| number.to_string()).collect::<Vec<_>>());
}

/// Answers a PING that may or may not still come.
async fn answer_if_asked(peer: &mut Peer<TcpStream>) {
    let _ = timeout(SHORT, answer_ping(peer)).await;
}

#[tokio::test]
async fn what_was_written_and_not_confirmed_is_reported_to_every_handle_once() {
    let port = Port::open().await;
    let (client, mut peer) = port.connected(&options()).await;
    let mut events = client.events();
    client.publish("a", "confirmed").await.expect("published");
    tokio::join!(client.flush(), answer_ping(&mut peer)).0.expect("accepted");
    for text in ["1", "2", "3"] {
        client.publish("a", text).await.expect("published");
        assert_eq!(peer.data().await.body, text.as_bytes());
    }
    let clone = client.clone();
    let flushing = tokio::spawn(async move { clone.flush().await });
    assert_eq!(peer.data().await.header.kind, Kind::PING);
    drop(peer);
    assert_eq!(flushing.await.expect("no panic"), Err(FlushError::MaybeDelivered { messages: 3 }));
    let told = next(&mut events, |event| match event {
        ConnectionEvent::MaybeDelivered { messages } => Some(messages),
        _ => None,
    });
    assert_eq!(told.await, 3);
    assert_eq!(client.state().maybe_delivered, 3);
    let mut peer = port.greet(welcome()).await;
    let later = client.clone();
    let (first, ()) = tokio::join!(client.flush(), answer_ping(&mut peer));
    assert_eq!(first, Err(FlushError::MaybeDelivered { messages: 3 }), "this handle had not been told");
    tokio::join!(client.flush(), answer_ping(&mut peer)).0.expect("told once");
    let (inherited, ()) = tokio::join!(later.flush(), answer_ping(&mut peer));
    assert_eq!(inherited, Err(FlushError::MaybeDelivered { messages: 3 }));
}

#[tokio::test]
async fn under_load_and_cuts_every_message_arrives_once_in_order_or_is_in_doubt() {
    let broker = MiniBroker::default();
    let url = broker.tcp().await;
    let (stream, served) = tokio::io::duplex(1 << 20);
    tokio::spawn(broker.clone().serve(served));
    let witness = ConnectOptions::new().connect_over(stream).await.expect("connected");
    let mut inbox = witness.subscribe_any(&["n", "end"]).await.expect("subscribed");
    let receiving = tokio::spawn(async move {
        let (mut last, mut received) = (None, 0u64);
        loop {
            let message = inbox.recv().await.expect("the witness stays");
            if &*message.topic == "end" {
                return received;
            }
            let number = u32::from_le_bytes(message.payload[..].try_into().expect("four bytes"));
            assert!(last.is_none_or(|last| last < number), "{number} after {last:?}");
            last = Some(number);
            received += 1;
        }
    });
    let client = options().connect(&url).await.expect("connected");
    let cutting = async {
        while client.state().links_lost < 40 {
            sleep(Duration::from_millis(5)).await;
            broker.sever();
        }
    };
    let publishing = async {
        let mut number = 0u32;
        while client.state().links_lost < 40 && number < 200_000 {
            client.publish("n", &number.to_le_bytes()).await.expect("the connection goes on");
            number += 1;
            if number.is_multiple_of(20) {
                sleep(Duration::from_millis(1)).await;
            }
        }
        number
    };
    let (published, ()) = timeout(LONG, async { tokio::join!(publishing, cutting) }).await.expect("in time");
    loop {
        match timeout(LONG, client.flush()).await.expect("in time") {
            Ok(()) => break,
            Err(FlushError::MaybeDelivered { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    witness.publish("end", "").await.expect("published");
    let received = timeout(LONG, receiving).await.expect("in time").expect("in order");
    let missing = u64::from(published) - received;
    let doubted = client.state().maybe_delivered;
    assert!(missing <= doubted, "{published} published, {received} received, {doubted} in doubt");
    assert!(received > 0 && client.state().links_lost >= 40, "{:?}", client.state());
}

#[tokio::test]
async fn a_link_that_breaks_at_any_byte_of_the_handshake_is_made_again() {
    let port = Port::open().await;
    let (client, peer) = port.connected(&options()).await;
    let mut events = client.events();
    up(&mut events).await;
    drop(peer);
    let answer = [&PREFACE[..], &Control::new(Body::Welcome(welcome())).to_frame()].concat();
    for cut in 0..answer.len() {
        let (mut stream, _) = timeout(LONG, port.0.accept()).await.expect("in time").expect("a client");
        // Cutting before the HELLO was read makes a reset, after it an end.
        if cut % 2 == 0 {
            let mut hello = [0; 8];
            stream.read_exact(&mut hello).await.expect("a preface");
        }
        let _ = stream.write_all(&answer[..cut]).await;
    }
    let _peer = port.greet(welcome()).await;
    up(&mut events).await;
    assert!(client.state().links_lost == 1, "no half-open link counted: {:?}", client.state());
}

#[tokio::test]
async fn a_link_that_breaks_inside_a_frame_delivers_what_was_whole_and_goes_on() {
    let port = Port::open().await;
    let (client, mut peer) = port.connected(&options()).await;
    let (inbox, _) = tokio::join!(client.subscribe("a"), peer.confirm(CloseCode::Normal, ""));
    let mut inbox = inbox.expect("subscribed");
    let whole = [common::declare(5, "a"), common::frame(Kind::PUB, 5, 1, b"whole")].concat();
    let half = common::frame(Kind::PUB, 5, 2, b"half");
    peer.send(&[&whole[..], &half[..half.len() - 1]].concat()).await;
    drop(peer);
    let mut peer = port.greet(welcome()).await;
    peer.confirm(CloseCode::Normal, "").await;
    peer.send(&[common::declare(9, "a"), common::frame(Kind::PUB, 9, 7, b"new")].concat()).await;
    for text in ["whole", "new"] {
        let message = timeout(LONG, inbox.recv()).await.expect("in time").expect("it goes on");
        assert_eq!(message.text(), Some(text));
    }
}

#[tokio::test]
async fn a_refusal_that_cannot_pass_ends_the_connection_at_once() {
    let rejects = [
        (
            Reject { code: CloseCode::Version.number(), version_min: 2, version_max: 3, ..Reject::default() },
            Class::Protocol,
        ),
        (Reject { code: CloseCode::Forbidden.number(), reason: "no".into(), ..Reject::default() }, Class::Permanent),
    ];
    for (reject, class) in rejects {
        let port = Port::open().await;
        let (client, mut peer) = port.connected(&options()).await;
        let (inbox, _) = tokio::join!(client.subscribe("a"), peer.confirm(CloseCode::Normal, ""));
        let mut events = client.events();
        drop(peer);
        let mut peer = port.accept().await;
        peer.hear_hello().await;
        peer.send(&[&PREFACE[..], &Control::new(Body::Reject(reject)).to_frame()].concat()).await;
        let lost = timeout(LONG, inbox.expect("subscribed").recv()).await.expect("in time").expect_err("over");
        assert_eq!((lost.class(), lost.retryable()), (class, false), "{lost}");
        assert!(matches!(lost, Lost::Unreachable { attempts: 1, .. }), "{lost:?}");
        assert_eq!(client.publish("a", "").await, Err(PublishError::Lost(lost.clone())));
        let mut last = None;
        while let Some(event) = timeout(LONG, events.recv()).await.expect("in time") {
            last = Some(event);
        }
        assert_eq!(last, Some(ConnectionEvent::Down { reason: lost, will_retry_in: None }));
        assert_eq!(client.state().phase, Phase::Closed);
        assert!(timeout(SHORT, port.0.accept()).await.is_err(), "nobody dials any more");
    }
}

#[tokio::test]
async fn a_goodbye_that_can_pass_is_followed_by_another_link_and_one_that_cannot_is_not() {
    for (code, goes_on) in [(CloseCode::Shutdown, true), (CloseCode::SlowConsumer, true), (CloseCode::Denied, false)] {
        let port = Port::open().await;
        let (client, mut peer) = port.connected(&options()).await;
        let mut events = client.events();
        let goodbye = Goodbye { code: code.number(), reason: String::new(), drain_ms: 0 };
        peer.send(&Control::new(Body::Goodbye(goodbye)).to_frame()).await;
        let (reason, will_retry) = down(&mut events).await;
        assert!(matches!(&reason, Lost::Goodbye(reason) if reason.code() == Some(code)), "{reason:?}");
        assert_eq!(will_retry, goes_on, "{code}");
        if goes_on {
            let _peer = port.greet(welcome()).await;
            up(&mut events).await;
        }
    }
}

#[tokio::test]
async fn it_gives_up_after_the_attempts_allowed() {
    let tired = ReconnectOptions::new()
        .retry(Retry::new().waits(Duration::from_millis(1), Duration::from_millis(1)).attempts_max(3));
    let port = Port::open().await;
    let (client, peer) = port.connected(&options().reconnect(tired)).await;
    let mut events = client.events();
    drop((port, peer));
    let mut attempts = Vec::new();
    while let Some(event) = timeout(LONG, events.recv()).await.expect("in time") {
        if let ConnectionEvent::Connecting { attempt } = event {
            attempts.push(attempt);
        }
    }
    assert_eq!(attempts, [1, 2, 3]);
    let lost = client.flush().await.expect_err("over");
    let FlushError::Lost(lost) = lost else { panic!("{lost:?}") };
    assert!(matches!(&lost, Lost::Unreachable { attempts: 3, class: Class::Transient, .. }), "{lost:?}");
    assert!(lost.retryable(), "somebody may try again later");
}

#[tokio::test]
async fn the_breaker_opens_after_failures_in_a_row_and_closes_on_success() {
    let port = Port::open().await;
    let address = port.0.local_addr().expect("bound");
    let broken = quick().breaker(3, Duration::from_millis(100));
    let (client, peer) = port.connected(&options().reconnect(broken)).await;
    let mut events = client.events();
    assert_eq!(client.state().breaker, BreakerState::Closed);
    drop((port, peer));
    let rest = next(&mut events, |event| match event {
        ConnectionEvent::Down { will_retry_in: Some(wait), .. } if wait > Duration::from_millis(10) => Some(wait),
        _ => None,
    });
    assert_eq!(rest.await, Duration::from_millis(100));
    let seen = client.state();
    assert!(seen.breaker != BreakerState::Closed && seen.attempts >= 3, "{seen:?}");
    let port = Port(TcpListener::bind(address).await.expect("the same port"));
    let _peer = port.greet(welcome()).await;
    up(&mut events).await;
    assert_eq!((client.state().breaker, client.state().attempts), (BreakerState::Closed, 0));
}

#[tokio::test]
async fn a_broker_that_falls_silent_is_doubted_and_left() {
    let port = Port::open().await;
    let watchful = options().keepalive(Duration::from_millis(60), Duration::from_millis(180));
    let (client, mut peer) = port.connected(&watchful).await;
    let mut events = client.events();
    assert_eq!(peer.data().await.header.kind, Kind::PING, "it is asked");
    let doubt = next(&mut events, |event| match event {
        ConnectionEvent::Degraded { reason: Degraded::Silent(silence) } => Some(silence),
        _ => None,
    });
    assert!(doubt.await >= Duration::from_millis(100));
    let (reason, will_retry) = down(&mut events).await;
    assert!(matches!(reason, Lost::Silent(_)) && will_retry, "{reason:?}");
    let _second = port.greet(welcome()).await;
    up(&mut events).await;
}

#[tokio::test]
async fn a_sign_of_life_ends_the_doubt() {
    let port = Port::open().await;
    let watchful = options().keepalive(Duration::from_millis(100), Duration::from_secs(60));
    let limits = laneway_proto::control::Limits { dead_after_ms: 400, ..Default::default() };
    let url = port.url();
    let (client, mut peer) =
        tokio::join!(watchful.connect(&url), port.greet(Welcome { limits: Some(limits), ..welcome() }));
    let client = client.expect("connected");
    let mut events = client.events();
    next(&mut events, |event| matches!(event, ConnectionEvent::Degraded { .. }).then_some(())).await;
    assert_eq!(client.state().phase, Phase::Degraded);
    answer_ping(&mut peer).await;
    next(&mut events, |event| (event == ConnectionEvent::Recovered).then_some(())).await;
    assert_eq!(client.state().phase, Phase::Up);
}

#[tokio::test]
async fn subscriptions_may_come_and_go_without_a_link() {
    let port = Port::open().await;
    let (client, mut peer) = port.connected(&options()).await;
    let (kept, _) = tokio::join!(client.subscribe("kept"), peer.confirm(CloseCode::Normal, ""));
    let (gone, _) = tokio::join!(client.subscribe("gone"), peer.confirm(CloseCode::Normal, ""));
    let mut events = client.events();
    drop(peer);
    down(&mut events).await;
    drop(gone.expect("subscribed"));
    let asking = client.subscribe("new");
    let serving = async {
        let mut peer = port.greet(welcome()).await;
        let mut patterns = Vec::new();
        for _ in 0..2 {
            let Some(Body::Subscribe(subscribe)) = peer.confirm(CloseCode::Normal, "").await.body else {
                panic!("not a subscription");
            };
            patterns.extend(subscribe.subs.into_iter().map(|sub| sub.pattern));
        }
        assert!(timeout(SHORT, peer.frame()).await.is_err(), "nothing else is asked for");
        (patterns, peer)
    };
    let (new, (patterns, _peer)) = timeout(LONG, async { tokio::join!(asking, serving) }).await.expect("in time");
    assert_eq!(patterns, ["kept", "new"]);
    drop((kept.expect("subscribed"), new.expect("subscribed on the new link")));
}

#[tokio::test]
async fn a_subscription_that_the_new_broker_refuses_ends_alone() {
    let port = Port::open().await;
    let (client, mut peer) = port.connected(&options()).await;
    let (refused, _) = tokio::join!(client.subscribe("a"), peer.confirm(CloseCode::Normal, ""));
    let (other, _) = tokio::join!(client.subscribe("b"), peer.confirm(CloseCode::Normal, ""));
    drop(peer);
    let mut peer = port.greet(welcome()).await;
    peer.confirm(CloseCode::Limit, "too many").await;
    peer.confirm(CloseCode::Normal, "").await;
    let lost = timeout(LONG, refused.expect("subscribed").recv()).await.expect("in time").expect_err("refused");
    assert!(matches!(&lost, Lost::Refused(reason) if reason.text() == "too many"), "{lost:?}");
    peer.send(&[common::declare(9, "b"), common::frame(Kind::PUB, 9, 1, b"on")].concat()).await;
    assert_eq!(other.expect("subscribed").recv().await.expect("it goes on").text(), Some("on"));
}

#[tokio::test]
async fn closing_without_a_link_writes_what_waits_if_one_comes_in_time() {
    let port = Port::open().await;
    let (client, peer) = port.connected(&options()).await;
    let mut events = client.events();
    drop(peer);
    down(&mut events).await;
    client.publish("a", "last words").await.expect("it waits");
    let serving = async {
        let mut peer = port.greet(welcome()).await;
        let message = peer.data().await;
        let goodbye = peer.frame().await.expect("a goodbye").control().body;
        assert!(matches!(goodbye, Some(Body::Goodbye(_))), "{goodbye:?}");
        assert_eq!(peer.frame().await, None);
        message.body
    };
    let (closed, body) = timeout(LONG, async { tokio::join!(client.close(), serving) }).await.expect("in time");
    assert_eq!((closed, &body[..]), (Ok(()), &b"last words"[..]));
}

#[tokio::test]
async fn closing_without_a_link_and_without_messages_is_quick_and_ends_the_dialling() {
    let port = Port::open().await;
    let slow = ReconnectOptions::new().retry(Retry::new().waits(LONG, LONG));
    let (client, mut peer) = port.connected(&options().reconnect(slow)).await;
    let mut events = client.events();
    client.publish("a", "in doubt").await.expect("published");
    peer.data().await;
    drop(peer);
    down(&mut events).await;
    let closed = timeout(Duration::from_secs(2), client.close()).await.expect("at once");
    assert_eq!(closed, Err(CloseError::MaybeDelivered { messages: 1 }));
    assert_eq!(down(&mut events).await, (Lost::Closed, false));
    assert_eq!(events.recv().await, None);
}

#[tokio::test]
async fn nobody_dials_for_handles_that_are_gone() {
    let port = Port::open().await;
    let (client, peer) = port.connected(&options()).await;
    let mut events = client.events();
    drop(peer);
    down(&mut events).await;
    drop(client);
    while timeout(LONG, events.recv()).await.expect("in time").is_some() {}
    // One that was under way may still be in the queue of the port.
    while let Ok(Ok((mut stream, _))) = timeout(SHORT, port.0.accept()).await {
        let mut hello = Vec::new();
        let _ = timeout(LONG, stream.read_to_end(&mut hello)).await.expect("it was dropped");
    }
}

#[tokio::test]
async fn without_reconnect_a_broken_link_ends_the_connection() {
    let port = Port::open().await;
    let (client, peer) = port.connected(&options().no_reconnect()).await;
    let mut events = client.events();
    drop(peer);
    assert!(!down(&mut events).await.1);
    assert!(matches!(client.flush().await, Err(FlushError::Lost(_))));
}

#[tokio::test]
async fn a_client_dials_from_the_address_it_was_told() {
    let port = Port::open().await;
    let address = "127.0.0.2:0".parse().expect("an address");
    let (client, _peer) = port.connected(&options().bind(address)).await;
    assert!(client.local_peer().address.starts_with("127.0.0.2:"), "{}", client.local_peer());
}

#[cfg(feature = "blocking")]
#[test]
fn the_blocking_flavour_goes_on_and_tells_the_same_events() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let broker = MiniBroker::default();
    let url = runtime.block_on(broker.tcp());
    let client = options().connect_blocking(&url).expect("connected");
    let mut events = client.events();
    let mut inbox = client.subscribe("a").expect("subscribed");
    assert!(matches!(events.next(), Some(ConnectionEvent::Up { .. })));
    broker.sever();
    let found =
        std::iter::from_fn(|| events.recv_timeout(LONG)).find(|event| matches!(event, ConnectionEvent::Up { .. }));
    assert!(found.is_some());
    client.publish("a", "again").expect("published");
    assert_eq!(inbox.recv_timeout(LONG).expect("connected").expect("in time").text(), Some("again"));
    assert_eq!(client.state().links_lost, 1);
    client.close().expect("closed");
}
