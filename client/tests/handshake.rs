//! Connecting: each cause of failure has its error, each option its effect.

mod common;

use std::time::Duration;

use common::mini::MiniBroker;
use common::{Peer, connected, pipe, welcome};
use laneway_client::{Class, ConnectError, ConnectOptions, Lost, OptionsError, Retry, Transport, UrlError, connect};
use laneway_proto::control::{Body, Control, Reject, Welcome};
use laneway_proto::error::{CloseCode, DecodeError, PeerFault};
use laneway_proto::session::handshake::PREFACE;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::time::Instant;

async fn refused_by(reject: Reject) -> ConnectError {
    let (stream, mut peer) = pipe(4_096);
    let answering = async {
        peer.hear_hello().await;
        peer.send(&[&PREFACE[..], &Control::new(Body::Reject(reject)).to_frame()].concat()).await;
    };
    let options = ConnectOptions::new();
    tokio::join!(options.connect_over(stream), answering).0.expect_err("rejected")
}

#[tokio::test]
async fn both_ends_know_each_other_after_the_handshake() {
    let (stream, mut peer) = pipe(4_096);
    let options = ConnectOptions::new().node_id([5; 16]).network_id("lab").metadata("rack", "7");
    let greeting = Welcome { metadata: [("zone".into(), "b".into())].into(), ..welcome() };
    let (client, hello) = tokio::join!(options.connect_over(stream), peer.greet(greeting));
    let client = client.expect("connected");
    assert_eq!((hello.node_id.clone(), hello.network_id.as_str()), (vec![5; 16], "lab"));
    assert_eq!(hello.metadata.get("rack").map(String::as_str), Some("7"));
    let (local, remote) = (client.local_peer(), client.remote_peer());
    assert_eq!((local.node_id, local.epoch, local.transport), ([5; 16], hello.epoch, Transport::Other));
    assert_eq!((remote.node_id, remote.epoch), ([9; 16], 42));
    assert_eq!(remote.metadata.get("zone").map(String::as_str), Some("b"));
    assert_eq!(client.terms().session, 0x0101);
}

#[tokio::test]
async fn a_rejection_carries_code_and_reason() {
    let error =
        refused_by(Reject { code: 8, reason: "too many".into(), retry_after_ms: 50, ..Reject::default() }).await;
    let ConnectError::Rejected { reason, retry_after } = &error else { panic!("{error:?}") };
    assert_eq!((reason.code(), reason.text()), (Some(CloseCode::Limit), "too many"));
    assert_eq!(*retry_after, Some(Duration::from_millis(50)));
    assert!(error.retryable() && error.class() == Class::Limit);

    let denied = refused_by(Reject { code: 9, ..Reject::default() }).await;
    assert!(!denied.retryable() && denied.class() == Class::Permanent);

    let version = refused_by(Reject { code: 5, version_min: 2, version_max: 3, ..Reject::default() }).await;
    assert!(matches!(version, ConnectError::Version { broker_min: 2, broker_max: 3 }), "{version:?}");
    assert!(!version.retryable());
}

#[tokio::test]
async fn something_else_than_a_broker_is_recognised() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("tcp://{}", listener.local_addr().expect("bound"));
    let answering = async {
        let (mut stream, _) = listener.accept().await.expect("a client");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("the client reads");
        stream
    };
    let (error, _stream) = tokio::join!(connect(&url), answering);
    let not_laneway = PeerFault::Decode(DecodeError::NotLaneway);
    assert!(matches!(error, Err(ConnectError::Lost(Lost::Fault(fault))) if fault == not_laneway), "{error:?}");
}

#[tokio::test]
async fn a_broker_that_hangs_up_or_stays_silent_has_its_error() {
    let (stream, peer) = pipe(4_096);
    drop(peer);
    let error = ConnectOptions::new().connect_over(stream).await.expect_err("nobody there");
    assert!(matches!(error, ConnectError::Lost(_)) && error.retryable(), "{error:?}");

    tokio::time::pause();
    let (stream, _peer) = pipe(4_096);
    let begun = Instant::now();
    let options = ConnectOptions::new().timeout(Duration::from_millis(700));
    let error = options.connect_over(stream).await.expect_err("silence");
    assert!(matches!(error, ConnectError::Timeout { .. }) && error.retryable(), "{error:?}");
    // The paused clock moves in whole milliseconds.
    assert!((700..=702).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn nobody_listening_is_refused_and_bad_names_are_dns() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let refused = connect(&format!("tcp://127.0.0.1:{port}")).await.expect_err("nobody");
    assert!(matches!(refused, ConnectError::Refused { .. }) && refused.retryable(), "{refused:?}");
    assert!(refused.to_string().contains("connection refused"), "{refused}");
    let missing = connect("unix:///nonexistent/laneway.sock").await.expect_err("no socket");
    assert!(matches!(missing, ConnectError::Refused { .. }), "{missing:?}");
    let dns = connect("tcp://no-such-host.invalid:1").await.expect_err("no such name");
    assert!(matches!(dns, ConnectError::Dns { .. }), "{dns:?}");
}

#[tokio::test]
async fn bad_urls_and_options_are_refused_before_anything_is_tried() {
    for url in ["http://a:1", "tcp://", "127.0.0.1:5263", "unix://relative", "tcp://a?tls=1"] {
        let error = connect(url).await.expect_err(url);
        assert!(matches!(error, ConnectError::Url(_)) && !error.retryable(), "{url}: {error:?}");
    }
    assert!(matches!(connect("x").await, Err(ConnectError::Url(UrlError::NoScheme(_)))));
    let options = ConnectOptions::new().metadata("k", "v".repeat(5_000));
    let error = options.connect("tcp://127.0.0.1:1").await.expect_err("too much");
    assert!(matches!(error, ConnectError::Options(OptionsError::Metadata(5_001))), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn retrying_stops_after_the_attempts_allowed_and_only_what_can_pass_is_retried() {
    let begun = Instant::now();
    let options = ConnectOptions::new().retry(Retry::new().attempts_max(4));
    let error = options.connect("unix:///nonexistent/laneway.sock").await.expect_err("no socket");
    assert!(matches!(error, ConnectError::Refused { .. }));
    assert!(begun.elapsed() <= Duration::from_millis(100 + 200 + 400 + 3), "{:?}", begun.elapsed());

    let begun = Instant::now();
    let long = Duration::from_secs(20);
    let options = ConnectOptions::new().retry(Retry::new().elapsed_max(long));
    options.connect("unix:///nonexistent/laneway.sock").await.expect_err("no socket");
    assert!(begun.elapsed() >= long && begun.elapsed() < long + Duration::from_secs(1), "{:?}", begun.elapsed());

    let begun = Instant::now();
    options.connect("gopher://x").await.expect_err("no such scheme");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn retrying_finds_a_broker_that_starts_late() {
    let dir = std::env::temp_dir().join(format!("laneway-late-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let path = dir.join("late.sock");
    let _ = std::fs::remove_file(&path);
    let url = format!("unix://{}", path.display());
    let broker = MiniBroker::default();
    let starting = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        broker.unix(&path).await
    };
    let options = ConnectOptions::new().retry(Retry::new());
    let (client, _) = tokio::join!(options.connect(&url), starting);
    client.expect("connected in the end").close().await.expect("closed");
    std::fs::remove_dir_all(&dir).expect("removed");
}

#[tokio::test]
async fn one_dial_is_one_session_and_two_dials_are_two() {
    let url = MiniBroker::default().tcp().await;
    let (first, second) = (connect(&url).await.expect("first"), connect(&url).await.expect("second"));
    assert_ne!(first.terms().session, second.terms().session);
    assert_eq!(first.local_peer().node_id, second.local_peer().node_id, "one process, one node");
    assert_eq!(first.remote_peer().to_string(), url);
    assert_eq!(first.clone().terms().session, first.terms().session, "a clone shares its connection");
}

#[tokio::test]
async fn dropping_a_pending_connect_leaves_nothing_behind() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("tcp://{}", listener.local_addr().expect("bound"));
    let dialling = tokio::time::timeout(Duration::from_millis(50), connect(&url));
    let (given_up, accepted) = tokio::join!(dialling, listener.accept());
    assert!(given_up.is_err(), "it was still waiting");
    let mut peer = Peer::new(accepted.expect("a client").0);
    peer.hear_hello().await;
    assert_eq!(peer.frame().await, None, "the socket is closed");
}

#[tokio::test]
async fn the_client_tells_a_broker_what_it_did_wrong_before_it_leaves() {
    let (client, mut peer) = connected(ConnectOptions::new(), 4_096).await;
    peer.send(&common::frame(laneway_proto::header::Kind::PUB, 5, 1, b"undeclared")).await;
    let Some(Body::Goodbye(goodbye)) = peer.frame().await.expect("a goodbye").control().body else {
        panic!("not a goodbye");
    };
    assert_eq!(goodbye.code, CloseCode::Forbidden.number());
    let lost = client.flush().await.expect_err("gone");
    assert_eq!(lost.class(), Class::Protocol);
}
