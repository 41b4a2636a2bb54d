//! What clients say: bytes of Laneway frames, right and wrong ones.

use laneway_proto::control::{Body, Control, DeclareTopics, Goodbye, Hello, Sub, Subscribe, Topic, Unsubscribe};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::batch;
use laneway_proto::frame::extensions::{Src, XHDR_RETAIN};
use laneway_proto::frame::fragment::Cutter;
use laneway_proto::frame::ping::Ping;
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::limits::HEADER_BYTES;
use laneway_proto::session::handshake::{PREFACE, feature};

use super::rng::Rng;

/// Bytes in front of each payload that say whose message it is.
pub const STAMP_BYTES: usize = 16;

/// Whose message it is, and which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The publishing session.
    pub session: u32,
    /// Its lane.
    pub lane: u8,
    /// The message's number in the lane.
    pub seq: u32,
}

/// The payload of a message: its stamp, if there is room for one, and bytes that follow from it.
pub fn payload(stamp: Stamp, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    if len >= STAMP_BYTES {
        bytes.extend_from_slice(&stamp.session.to_le_bytes());
        bytes.extend_from_slice(&u32::from(stamp.lane).to_le_bytes());
        bytes.extend_from_slice(&stamp.seq.to_le_bytes());
        bytes.extend_from_slice(&(len as u32).to_le_bytes());
    }
    let mut rng = Rng::new(u64::from(stamp.session) << 32 | u64::from(stamp.seq), u64::from(stamp.lane));
    while bytes.len() < len {
        let word = rng.bits().to_le_bytes();
        bytes.extend_from_slice(&word[..word.len().min(len - bytes.len())]);
    }
    bytes
}

/// The stamp of a payload that has one.
pub fn stamp(payload: &[u8]) -> Option<Stamp> {
    let word = |at: usize| Some(u32::from_le_bytes(payload.get(at..at + 4)?.try_into().ok()?));
    let (session, lane, seq, len) = (word(0)?, word(4)?, word(8)?, word(12)?);
    (len as usize == payload.len()).then_some(Stamp { session, lane: u8::try_from(lane).ok()?, seq })
}

/// A HELLO as it should be.
pub fn hello(node: u32) -> Hello {
    let mut node_id = vec![0x4c; 12];
    node_id.extend_from_slice(&node.to_le_bytes());
    Hello {
        version_min: 1,
        version_max: 1,
        node_id,
        epoch: 1,
        nonce: u64::from(node),
        features: feature::BATCH | feature::FRAGMENTS,
        ..Hello::default()
    }
}

/// Preface and HELLO.
pub fn opening(hello: Hello) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    Control::new(Body::Hello(hello)).append_frame(&mut bytes);
    bytes
}

/// Binds `id` to `name`.
pub fn declare(id: u32, name: &str) -> Vec<u8> {
    let topic = Topic { id, name: name.into(), ..Topic::default() };
    Control::new(Body::DeclareTopics(DeclareTopics { topics: vec![topic] })).to_frame()
}

/// Asks for the messages of `filters`.
pub fn subscribe(request: u32, filters: &[String], no_echo: bool) -> Vec<u8> {
    let sub = |pattern: &String| Sub { pattern: pattern.clone(), no_echo, ..Sub::default() };
    Control::request(request, Body::Subscribe(Subscribe { subs: filters.iter().map(sub).collect() })).to_frame()
}

/// The same, and their last values.
pub fn subscribe_retained(request: u32, filters: &[String], no_echo: bool) -> Vec<u8> {
    let sub = |pattern: &String| Sub { pattern: pattern.clone(), no_echo, retained: true, ..Sub::default() };
    Control::request(request, Body::Subscribe(Subscribe { subs: filters.iter().map(sub).collect() })).to_frame()
}

/// The same frames, of which the broker is to keep the message.
pub fn retained(frames: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = frames;
    while let Some(Ok(header)) = rest.first_chunk::<HEADER_BYTES>().map(Header::decode) {
        let (frame, behind) = rest.split_at(usize::from(header.len));
        let fixed = HEADER_BYTES + header.flags.fixed_extension_bytes();
        let header = Header { len: header.len + 4, flags: header.flags.with(Flags::XHDR), ..header };
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(&frame[HEADER_BYTES..fixed]);
        bytes.extend_from_slice(&[4, 0, XHDR_RETAIN, 0]);
        bytes.extend_from_slice(&frame[fixed..]);
        rest = behind;
    }
    bytes
}

/// Wants no more messages of `filters`.
pub fn unsubscribe(request: u32, filters: &[String]) -> Vec<u8> {
    Control::request(request, Body::Unsubscribe(Unsubscribe { patterns: filters.to_vec() })).to_frame()
}

/// The polite end.
pub fn goodbye() -> Vec<u8> {
    let goodbye = Goodbye { code: CloseCode::Normal.number(), reason: String::new(), drain_ms: 0 };
    Control::new(Body::Goodbye(goodbye)).to_frame()
}

/// "Have you got everything?"
pub fn ping(t0: u64) -> Vec<u8> {
    Ping { t0 }.encode().to_vec()
}

/// One message in one frame.
pub fn publish(topic: u32, lane: u8, seq: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { topic, lane, seq, ..Header::new(Kind::PUB, payload.len()) };
    [&header.encode(), payload].concat()
}

/// Many messages in one frame.
pub fn publish_batch(topic: u32, lane: u8, seq: u32, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut body = batch::prefix(payloads.len() as u16).to_vec();
    for payload in payloads {
        body.extend_from_slice(&(payload.len() as u16).to_le_bytes());
        body.extend_from_slice(payload);
    }
    let header = Header { topic, lane, seq, ..Header::new(Kind::BATCH, body.len()) };
    [&header.encode(), &body[..]].concat()
}

/// One message in many frames; empty if it needs no cutting.
pub fn publish_cut(topic: u32, src: Src, lane: u8, payload: &[u8], fragment_bytes: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (frag, range) in Cutter::new(payload.len() as u32, fragment_bytes).into_iter().flatten() {
        let flags = Flags::FRAG.with(Flags::SRC);
        let header = Header { flags, topic, lane, seq: src.seq, ..Header::new(Kind::PUB, 16 + range.len()) };
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(&frag.encode());
        bytes.extend_from_slice(&src.encode());
        bytes.extend_from_slice(&payload[range]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_tells_whose_it_is_and_no_two_are_alike() {
        let stamped = Stamp { session: 7, lane: 3, seq: 9 };
        let bytes = payload(stamped, 100);
        assert_eq!((bytes.len(), stamp(&bytes)), (100, Some(stamped)));
        assert_ne!(payload(Stamp { seq: 10, ..stamped }, 12), payload(stamped, 12));
        assert_eq!(stamp(&bytes[..99]), None, "a cut payload has no stamp");
    }
}
