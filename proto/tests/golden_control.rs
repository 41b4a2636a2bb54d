//! Golden bytes of every control message with every field set, written by hand from `schema/laneway.proto`.
//!
//! A field is its key (`number << 3 | type`; types: 0 varint, 1 eight bytes, 2 length and bytes) and its value.
#![cfg(feature = "control")]

use std::collections::BTreeMap;

use laneway_proto::control::{
    Answer, Body, Control, DeclareTopics, Goodbye, Hello, Lane, LaneCount, Limits, PeerUpdate, Reject, Resume, Sample,
    Stats, StatsRequest, Sub, Subscribe, Topic, Unsubscribe, Welcome, Will,
};
use laneway_proto::error::CloseCode;
use laneway_proto::header::{Header, Kind};

/// The body decodes to `control`, and `control` is written as exactly this body behind a CTRL header.
fn check(body: &[u8], control: &Control) {
    assert_eq!(Control::decode_body(body).as_ref(), Ok(control));
    let frame = control.to_frame();
    let header = Header::decode(frame.first_chunk().expect("a header")).expect("a valid header");
    assert_eq!(header, Header::new(Kind::CTRL, body.len()));
    assert_eq!(frame[16..], *body, "written as it was read");
}

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("k".into(), "v".into())])
}

fn lane() -> Lane {
    Lane {
        id: 1,
        name: "cmd".into(),
        kind: 3,
        prio: 1,
        weight: 2,
        overflow: 4,
        ttl_ms: 300,
        queue_bytes: 65_536,
        repair: 1,
        rate_bps: 9_600,
    }
}

fn limits() -> Limits {
    Limits {
        max_frame: 65_535,
        max_message: 1_048_576,
        frag_size: 16_384,
        keepalive_ms: 1_000,
        dead_after_ms: 3_000,
        resume_grace_ms: 5_000,
        lane_credit: vec![1, 300],
        max_topics: 65_536,
        max_subs: 16_384,
    }
}

#[rustfmt::skip]
const LANE: &[u8] = &[
    0x08, 0x01,                             // id = 1
    0x12, 0x03, b'c', b'm', b'd',           // name = "cmd"
    0x18, 0x03,                             // kind = 3
    0x20, 0x01,                             // prio = 1
    0x28, 0x02,                             // weight = 2
    0x30, 0x04,                             // overflow = 4
    0x38, 0xac, 0x02,                       // ttl_ms = 300
    0x40, 0x80, 0x80, 0x04,                 // queue_bytes = 65,536
    0x48, 0x01,                             // repair = 1
    0x50, 0x80, 0x4b,                       // rate_bps = 9,600
];

#[rustfmt::skip]
const LIMITS: &[u8] = &[
    0x08, 0xff, 0xff, 0x03,                 // max_frame = 65,535
    0x10, 0x80, 0x80, 0x40,                 // max_message = 1,048,576
    0x18, 0x80, 0x80, 0x01,                 // frag_size = 16,384
    0x20, 0xe8, 0x07,                       // keepalive_ms = 1,000
    0x28, 0xb8, 0x17,                       // dead_after_ms = 3,000
    0x30, 0x88, 0x27,                       // resume_grace_ms = 5,000
    0x3a, 0x03, 0x01, 0xac, 0x02,           // lane_credit = [1, 300], packed
    0x40, 0x80, 0x80, 0x04,                 // max_topics = 65,536
    0x48, 0x80, 0x80, 0x01,                 // max_subs = 16,384
];

const NODE_ID: [u8; 16] = *b"sixteen bytes ok";

#[test]
#[rustfmt::skip]
fn hello() {
    let golden = [
        &[
            0x08, 0x01,                     // id = 1
            0x12, 0xab, 0x01,               // hello, 171 bytes
            0x08, 0x01,                     // version_min = 1
            0x10, 0x0f,                     // version_max = 15
            0x1a, 0x10,                     // node_id, 16 bytes
        ],
        &NODE_ID[..],
        &[
            0x21, 1, 2, 3, 4, 5, 6, 7, 8,   // epoch
            0x29, 9, 0, 0, 0, 0, 0, 0, 0,   // nonce = 9
            0x32, 0x03, b'l', b'a', b'b',   // network_id = "lab"
            0x3a, 0x06, b'c', b'l', b'i', b'e', b'n', b't', // roles = ["client"]
            0x40, 0x03,                     // features = 3
            0x4a, 0x1b,                     // lanes, 27 bytes
        ],
        LANE,
        &[0x52, 0x22],                      // limits, 34 bytes
        LIMITS,
        &[
            0x5a, 0x06, 0x0a, 0x01, b'k', 0x12, 0x01, b'v', // metadata = {"k": "v"}
            0x62, 0x01, 0xaa,               // auth
            0x69, 0, 0, 0, 0, 1, 0, 0, 0,   // clock_ns = 2^32
            0x72, 0x0a,                     // will, 10 bytes
            0x0a, 0x01, b'w',               // topic = "w"
            0x12, 0x01, 0xff,               // payload
            0x18, 0x02,                     // lane = 2
            0x20, 0x01,                     // retain
            0x7a, 0x11,                     // resume, 17 bytes
            0x08, 0x01,                     // session = 1
            0x11, 8, 7, 6, 5, 4, 3, 2, 1,   // epoch
            0x1a, 0x04, 0x08, 0x05, 0x10, 0x03, // received: lane = 5, count = 3
        ],
    ]
    .concat();
    check(&golden, &Control::request(1, Body::Hello(Hello {
        version_min: 1,
        version_max: 15,
        node_id: NODE_ID.to_vec(),
        epoch: 0x0807_0605_0403_0201,
        nonce: 9,
        network_id: "lab".into(),
        roles: vec!["client".into()],
        features: 3,
        lanes: vec![lane()],
        limits: Some(limits()),
        metadata: metadata(),
        auth: vec![0xaa],
        clock_ns: 1 << 32,
        will: Some(Will { topic: "w".into(), payload: vec![0xff], lane: 2, retain: true }),
        resume: Some(Resume { session: 1, epoch: 0x0102_0304_0506_0708, received: vec![LaneCount { lane: 5, count: 3 }] }),
    })));
}

#[test]
#[rustfmt::skip]
fn welcome() {
    let golden = [
        &[
            0x1a, 0x84, 0x01,               // welcome, 132 bytes
            0x08, 0x01,                     // version = 1
            0x10, 0x82, 0x02,               // session = 0x0102: shard 2
            0x19, 1, 2, 3, 4, 5, 6, 7, 8,   // epoch
            0x21, 9, 0, 0, 0, 0, 0, 0, 0,   // nonce = 9
            0x2a, 0x10,                     // node_id, 16 bytes
        ],
        &NODE_ID[..],
        &[0x32, 0x1b],                      // lanes, 27 bytes
        LANE,
        &[0x3a, 0x22],                      // limits, 34 bytes
        LIMITS,
        &[
            0x41, 0, 0, 0, 0, 1, 0, 0, 0,   // clock_ns = 2^32
            0x48, 0x01,                     // resumed
            0x52, 0x06, 0x0a, 0x01, b'k', 0x12, 0x01, b'v', // metadata = {"k": "v"}
            0x5a, 0x03, b'l', b'a', b'b',   // network_id = "lab"
            0x60, 0x03,                     // features = 3
        ],
    ]
    .concat();
    check(&golden, &Control::new(Body::Welcome(Welcome {
        version: 1,
        session: 0x0102,
        epoch: 0x0807_0605_0403_0201,
        nonce: 9,
        node_id: NODE_ID.to_vec(),
        lanes: vec![lane()],
        limits: Some(limits()),
        clock_ns: 1 << 32,
        resumed: true,
        metadata: metadata(),
        network_id: "lab".into(),
        features: 3,
    })));
}

#[test]
#[rustfmt::skip]
fn reject() {
    let golden = [
        0x22, 0x0e,                         // reject, 14 bytes
        0x08, 0x05,                         // code = 5, version
        0x12, 0x03, b'o', b'l', b'd',       // reason = "old"
        0x18, 0x01,                         // version_min = 1
        0x20, 0x01,                         // version_max = 1
        0x28, 0xac, 0x02,                   // retry_after_ms = 300
    ];
    check(&golden, &Control::new(Body::Reject(Reject {
        code: CloseCode::Version.number(),
        reason: "old".into(),
        version_min: 1,
        version_max: 1,
        retry_after_ms: 300,
    })));
}

#[test]
#[rustfmt::skip]
fn resume() {
    let golden = [
        0x08, 0x02,                         // id = 2
        0x2a, 0x13,                         // resume (field 5), 19 bytes
        0x08, 0x82, 0x02,                   // session = 0x0102
        0x11, 1, 2, 3, 4, 5, 6, 7, 8,       // epoch
        0x1a, 0x05,                         // received, 5 bytes
        0x08, 0x01,                         // lane = 1
        0x10, 0xac, 0x02,                   // count = 300
    ];
    let received = vec![LaneCount { lane: 1, count: 300 }];
    let resume = Resume { session: 0x0102, epoch: 0x0807_0605_0403_0201, received };
    check(&golden, &Control::request(2, Body::Resume(resume)));
}

#[test]
#[rustfmt::skip]
fn peer_update() {
    let golden = [
        0xa2, 0x01, 0x10,                   // peer_update (field 20), 16 bytes
        0x08, 0x03,                         // version = 3
        0x12, 0x04, b'r', b'o', b'l', b'e', // roles = ["role"]
        0x1a, 0x06, 0x0a, 0x01, b'k', 0x12, 0x01, b'v', // metadata = {"k": "v"}
    ];
    let update = PeerUpdate { version: 3, roles: vec!["role".into()], metadata: metadata() };
    check(&golden, &Control::new(Body::PeerUpdate(update)));
}

#[test]
#[rustfmt::skip]
fn stats_request_and_stats() {
    let request = [
        0x08, 0x05,                         // id = 5
        0xc2, 0x02, 0x06,                   // stats_request (field 40), 6 bytes
        0x0a, 0x04, b'l', b'a', b'n', b'e', // selector = "lane"
    ];
    check(&request, &Control::request(5, Body::StatsRequest(StatsRequest { selector: "lane".into() })));
    let stats = [
        0x08, 0x05,                         // id = 5: the request that this answers
        0xca, 0x02, 0x18,                   // stats (field 41), 24 bytes
        0x0a, 0x0c,                         // samples, 12 bytes
        0x0a, 0x01, b'a',                   // name = "a"
        0x11, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, // value = 1.5
        0x0a, 0x06,                         // samples, 6 bytes
        0x0a, 0x01, b'b',                   // name = "b"
        0x1a, 0x01, b'w',                   // text = "w"
        0x10, 0x01,                         // more = true
    ];
    let value = Sample { name: "a".into(), value: 1.5, ..Sample::default() };
    let text = Sample { name: "b".into(), text: "w".into(), ..Sample::default() };
    check(&stats, &Control::request(5, Body::Stats(Stats { samples: vec![value, text], more: true })));
}

#[test]
#[rustfmt::skip]
fn goodbye() {
    let golden = [
        0x32, 0x0a,                         // goodbye, 10 bytes
        0x08, 0x01,                         // code = 1, shutdown
        0x12, 0x03, b'b', b'y', b'e',       // reason = "bye"
        0x18, 0xac, 0x02,                   // drain_ms = 300
    ];
    check(&golden, &Control::new(Body::Goodbye(Goodbye {
        code: CloseCode::Shutdown.number(),
        reason: "bye".into(),
        drain_ms: 300,
    })));
}

#[test]
#[rustfmt::skip]
fn declare_topics() {
    let golden = [
        0x08, 0x09,                         // id = 9
        0x52, 0x1a,                         // declare_topics, 26 bytes
        0x0a, 0x0f,                         // topics, 15 bytes
        0x08, 0x80, 0x80, 0x04,             // id = 65,536
        0x12, 0x03, b'a', b'/', b'b',       // name = "a/b"
        0x18, 0x01,                         // lane = 1
        0x20, 0x09,                         // schema = 9
        0x28, 0x01,                         // predefined
        0x0a, 0x07,                         // topics, 7 bytes
        0x08, 0x81, 0x80, 0x04,             // id = 65,537
        0x12, 0x01, b'c',                   // name = "c"
    ];
    let first = Topic { id: 65_536, name: "a/b".into(), lane: 1, schema: 9, predefined: true };
    let second = Topic { id: 65_537, name: "c".into(), ..Topic::default() };
    check(&golden, &Control::request(9, Body::DeclareTopics(DeclareTopics { topics: vec![first, second] })));
}

#[test]
#[rustfmt::skip]
fn subscribe() {
    let golden = [
        0x08, 0xac, 0x02,                   // id = 300
        0x5a, 0x1d,                         // subscribe, 29 bytes
        0x0a, 0x1b,                         // subs, 27 bytes
        0x0a, 0x03, b'a', b'/', b'#',       // pattern = "a/#"; field 2 is reserved
        0x18, 0x0a,                         // max_rate_hz = 10
        0x20, 0x01,                         // retained
        0x2a, 0x01, b'g',                   // queue_group = "g"
        0x30, 0x01,                         // local_only
        0x38, 0x01,                         // policy = 1
        0x40, 0x80, 0x80, 0x04,             // queue_bytes = 65,536
        0x48, 0xac, 0x02,                   // ttl_ms = 300
        0x50, 0x03,                         // lane_plus_one = 3
        0x58, 0x01,                         // no_echo
    ];
    let sub = Sub {
        pattern: "a/#".into(),
        max_rate_hz: 10,
        retained: true,
        queue_group: "g".into(),
        local_only: true,
        policy: 1,
        queue_bytes: 65_536,
        ttl_ms: 300,
        lane_plus_one: 3,
        no_echo: true,
    };
    check(&golden, &Control::request(300, Body::Subscribe(Subscribe { subs: vec![sub] })));
}

#[test]
#[rustfmt::skip]
fn unsubscribe() {
    let golden = [
        0x08, 0x02,                         // id = 2
        0x62, 0x08,                         // unsubscribe, 8 bytes
        0x0a, 0x03, b'a', b'/', b'#',       // patterns = ["a/#", "b"]
        0x0a, 0x01, b'b',
    ];
    let patterns = vec!["a/#".into(), "b".into()];
    check(&golden, &Control::request(2, Body::Unsubscribe(Unsubscribe { patterns })));
}

#[test]
#[rustfmt::skip]
fn result() {
    let golden = [
        0x08, 0xac, 0x02,                   // id = 300: the message that this answers
        0xd2, 0x02, 0x08,                   // result (field 42), 8 bytes
        0x08, 0x08,                         // code = 8, limit
        0x12, 0x04, b'f', b'u', b'l', b'l', // text = "full"
    ];
    check(&golden, &Control::answer(300, CloseCode::Limit, "full"));
    let done = [0x08, 0x07, 0xd2, 0x02, 0x00]; // code 0 and no text take no bytes
    check(&done, &Control::request(7, Body::Result(Answer::default())));
}

#[test]
fn fields_and_kinds_of_a_later_version_are_passed_over() {
    let golden = [
        0x08, 0x07, // id = 7
        0x62, 0x03, // unsubscribe, 3 bytes
        0x98, 0x06, 0x01, // field 99 of Unsubscribe: unknown
        0x92, 0x03, 0x02, 0x08, 0x01, // field 50 of Control, 2 bytes: unknown
    ];
    assert_eq!(
        Control::decode_body(&golden),
        Ok(Control::request(7, Body::Unsubscribe(Unsubscribe::default()))),
        "unknown fields are ignored"
    );
    assert_eq!(Control::decode_body(&golden[7..]), Ok(Control { id: 0, body: None }), "an unknown message has no body");
}
