//! Frames as a client sends them, and as nobody should.

use laneway_proto::control::{Body, Control, DeclareTopics, Hello, Sub, Subscribe, Topic};
use laneway_proto::frame::batch;
use laneway_proto::frame::extensions::Src;
use laneway_proto::frame::fragment::Cutter;
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::limits::FRAGMENT_BYTES_STREAM;
use laneway_proto::session::handshake::{PREFACE, feature};

/// A HELLO that every broker with default settings accepts.
pub fn hello() -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        node_id: (0..16).collect(),
        epoch: 1,
        nonce: 2,
        features: feature::BATCH | feature::FRAGMENTS,
        ..Hello::default()
    }
}

/// Preface and HELLO: all that a client sends before WELCOME.
pub fn opening(hello: Hello) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    Control::new(Body::Hello(hello)).append_frame(&mut bytes);
    bytes
}

/// A request to subscribe.
pub fn subscribe(request: u32, filters: &[&str]) -> Control {
    let subs = filters.iter().map(|&filter| Sub { pattern: filter.into(), ..Sub::default() }).collect();
    Control::request(request, Body::Subscribe(Subscribe { subs }))
}

/// The declaration of one topic.
pub fn declare(request: u32, id: u32, name: &str) -> Control {
    let topics = vec![Topic { id, name: name.into(), ..Topic::default() }];
    Control::request(request, Body::DeclareTopics(DeclareTopics { topics }))
}

/// Any frame: a header with these fields, and a body.
pub fn raw(header: Header, body: &[u8]) -> Vec<u8> {
    let whole = Header { len: Header::new(header.kind, body.len()).len, ..header };
    let mut frame = whole.encode().to_vec();
    frame.extend_from_slice(body);
    frame
}

/// A header for [`raw`] with everything else zero.
pub const fn header(kind: Kind, topic: u32, lane: u8) -> Header {
    Header { topic, lane, ..Header::new(kind, 0) }
}

/// One message in one frame.
pub fn publish(topic: u32, lane: u8, seq: u32, payload: &[u8]) -> Vec<u8> {
    raw(Header { seq, ..header(Kind::PUB, topic, lane) }, payload)
}

/// Many small messages in one frame.
pub fn batch(topic: u32, lane: u8, seq: u32, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut body = batch::prefix(payloads.len() as u16).to_vec();
    for payload in payloads {
        body.extend_from_slice(&(payload.len() as u16).to_le_bytes());
        body.extend_from_slice(payload);
    }
    raw(Header { seq, ..header(Kind::BATCH, topic, lane) }, &body)
}

/// One message in as many frames as it takes.
pub fn fragments(topic: u32, lane: u8, src: Src, payload: &[u8]) -> Vec<u8> {
    let Some(cuts) = Cutter::new(payload.len() as u32, FRAGMENT_BYTES_STREAM as u32) else {
        return publish(topic, lane, src.seq, payload);
    };
    let flags = Flags::FRAG.with(Flags::SRC);
    let head = Header { seq: src.seq, flags, ..header(Kind::PUB, topic, lane) };
    cuts.flat_map(|(frag, range)| raw(head, &[&frag.encode(), &src.encode(), &payload[range]].concat())).collect()
}
