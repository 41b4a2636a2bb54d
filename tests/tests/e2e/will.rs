//! Last wills: published when a session ends without a goodbye, and never otherwise.

use std::time::Duration;

use laneway_client::blocking::{Client, Subscription};
use laneway_client::{ConnectError, ConnectOptions, Lane, OptionsError, PublishOptions, SubscribeOptions};
use laneway_proto::control::{Body, Control, Goodbye, Hello, Will};
use laneway_proto::error::CloseCode;
use laneway_proto::session::handshake::feature;
use laneway_tests::real::frames::hello;
use laneway_tests::real::peer::{Event, Peer};
use laneway_tests::real::process::GUARD;
use laneway_tests::real::{Launch, RealBroker};

const GRACE: Duration = Duration::from_millis(700);

fn broker(shards: u32) -> RealBroker {
    Launch::new(shards)
        .config(&format!(
            "[limits]\nresume_grace_ms = {}\nblock_ms_max = 300\noutbox_bytes_max = 65536",
            GRACE.as_millis()
        ))
        .start()
}

fn heir(broker: &RealBroker, filter: &str) -> (Client, Subscription) {
    let client = ConnectOptions::new().connect_blocking(&broker.unix().url()).expect("a broker is there");
    let options = SubscribeOptions { retained: true, ..SubscribeOptions::default() };
    let subscription = client.subscribe_with(&[filter], options).expect("subscribed");
    (client, subscription)
}

fn mourned(topic: &str) -> Hello {
    let will = Will { topic: topic.into(), payload: b"gone".to_vec(), lane: 2, retain: true };
    Hello { will: Some(will), ..hello() }
}

fn expect(subscription: &mut Subscription, topic: &str) {
    let message = subscription.recv_timeout(GUARD).expect("connected").expect("a will");
    assert_eq!((&*message.topic, message.text(), message.lane), (topic, Some("gone"), Lane::EVENT));
}

fn expect_nothing(subscription: &mut Subscription) {
    let message = subscription.recv_timeout(Duration::from_millis(300)).expect("connected");
    assert!(message.is_none(), "{message:?}");
}

#[test]
fn a_will_is_published_when_a_session_ends_in_any_way_but_goodbye() {
    for shards in [1, 2, 3] {
        let broker = broker(shards);
        let (_client, mut wills) = heir(&broker, "will/#");
        let session = |topic: &str| Peer::knock(broker.tcp(), mourned(topic)).expect("welcome");
        session("will/reset").reset();
        expect(&mut wills, "will/reset");
        drop(session("will/closed"));
        expect(&mut wills, "will/closed");
        let mut rude = session("will/rude");
        rude.send(&[0xFF; 64]);
        assert!(matches!(rude.event(), Event::Goodbye(_)), "it breaks a rule");
        expect(&mut wills, "will/rude");
        let mut slow = session("will/slow");
        slow.subscribe(&["flood"]);
        let mut flood = Peer::open(broker.tcp());
        for _ in 0..200 {
            flood.publish("flood", &[0; 60_000]);
        }
        expect(&mut wills, "will/slow");
        let mut polite = session("will/polite");
        let goodbye = Goodbye { code: CloseCode::Normal.number(), ..Goodbye::default() };
        polite.send(&Control::new(Body::Goodbye(goodbye)).to_frame());
        assert!(polite.last_words().iter().any(|word| matches!(word, Event::Goodbye(_))));
        expect_nothing(&mut wills);
        let (_late, mut kept) = heir(&broker, "will/reset");
        expect(&mut kept, "will/reset");
    }
}

#[test]
fn a_session_that_may_come_back_is_mourned_when_its_time_is_over() {
    let broker = broker(2);
    let (_client, mut wills) = heir(&broker, "will/#");
    let hello = mourned("will/late");
    let lasting = Hello { features: hello.features | feature::RESUME | feature::CONFIRM, ..hello };
    Peer::knock(broker.tcp(), lasting).expect("welcome").reset();
    let early = wills.recv_timeout(GRACE / 2).expect("connected");
    assert!(early.is_none(), "it may come back: {early:?}");
    expect(&mut wills, "will/late");
    expect_nothing(&mut wills);
}

#[test]
fn a_client_that_closes_leaves_no_will_and_one_whose_will_is_impossible_is_told_so() {
    let broker = broker(1);
    let (_client, mut wills) = heir(&broker, "#");
    let url = broker.tcp().url();
    let retained = PublishOptions { retain: true, ..Lane::EVENT.into() };
    let client = ConnectOptions::new().will("will/client", "gone", retained).connect_blocking(&url).expect("welcome");
    client.close().expect("closed");
    expect_nothing(&mut wills);
    let refused = |options: ConnectOptions| match options.connect_blocking(&url) {
        Err(ConnectError::Options(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(ConnectOptions::new().will("a", vec![0; 16_385], Lane::EVENT)), OptionsError::Will(16_385));
    let error = refused(ConnectOptions::new().will("$sys/x", "gone", Lane::EVENT));
    assert!(matches!(error, OptionsError::WillTopic(_)), "{error}");
    let knock =
        |will: Will| Peer::knock(broker.tcp(), Hello { will: Some(will), ..hello() }).expect_err("refused").code;
    let good = Will { topic: "a".into(), lane: 1, ..Will::default() };
    assert_eq!(knock(Will { lane: 0, ..good.clone() }), CloseCode::Forbidden.number());
    assert_eq!(knock(Will { lane: 16, ..good.clone() }), CloseCode::Forbidden.number());
    assert_eq!(knock(Will { topic: "a/+".into(), ..good.clone() }), CloseCode::Forbidden.number());
    assert_eq!(knock(Will { payload: vec![0; 16_385], ..good }), CloseCode::Limit.number());
}
