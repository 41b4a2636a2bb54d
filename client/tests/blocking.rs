//! The blocking flavour does what the async one does.
#![cfg(feature = "blocking")]

mod common;

use std::time::Duration;

use common::mini::MiniBroker;
use laneway_client::blocking::{Client, connect};
use laneway_client::{ConnectError, ConnectOptions, Lost};

/// A broker on a thread of its own; it lives as long as the test process.
fn broker() -> String {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            tell.send(MiniBroker::default().tcp().await).expect("the test waits");
            std::future::pending::<()>().await;
        });
    });
    told.recv().expect("a URL")
}

#[test]
fn messages_arrive_in_order_and_the_end_is_told() {
    let url = broker();
    let client = connect(&url).expect("connected");
    let mut inbox = client.subscribe("n/#").expect("subscribed");
    assert_eq!(inbox.recv_timeout(Duration::from_millis(10)), Ok(None));
    client.publish_batch("n/1", (0..50_000u32).map(|number| number.to_string())).expect("published");
    client.publish("n/2", "end").expect("published");
    client.flush().expect("accepted");
    assert!(client.ping().expect("answered") > Duration::ZERO);
    for number in 0..50_000u32 {
        assert_eq!(inbox.recv().expect("a number").text(), Some(&*number.to_string()));
    }
    let end = inbox.recv_timeout(Duration::from_secs(20)).expect("connected").expect("in time");
    assert_eq!((&*end.topic, end.text()), ("n/2", Some("end")));
    client.close().expect("closed");
    assert_eq!(inbox.recv(), Err(Lost::Closed));
    assert!(inbox.next().is_none(), "the iterator ends without an error when this side closed");
}

#[test]
fn publishing_waits_for_a_full_queue_and_loses_nothing() {
    let url = broker();
    let small = ConnectOptions::new().send_queue(1_000, 10);
    let publisher: Client = small.connect_blocking(&url).expect("connected");
    let subscriber = connect(&url).expect("connected");
    let mut inbox = subscriber.subscribe("a").expect("subscribed");
    let publishing = std::thread::spawn(move || {
        for number in 0..5_000u32 {
            publisher.publish("a", &number.to_le_bytes()).expect("published");
        }
        publisher.flush().expect("accepted");
    });
    for number in 0..5_000u32 {
        assert_eq!(inbox.recv().expect("a number").payload[..], number.to_le_bytes());
    }
    publishing.join().expect("no panic");
}

#[test]
fn failures_are_the_same_types() {
    assert!(matches!(connect("nonsense"), Err(ConnectError::Url(_))));
    assert!(matches!(connect("unix:///nonexistent/laneway.sock"), Err(ConnectError::Refused { .. })));
}
