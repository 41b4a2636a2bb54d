//! Rules that clients break, and what they are to hear for it.

use laneway_proto::control::{Body, Control, Hello};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::extensions::Frag;
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::limits::MESSAGE_BYTES_MAX_CEILING;
use laneway_proto::session::handshake::PREFACE;
use laneway_proto::time::Duration;

use super::rng::Rng;
use super::speech;

/// First topic id of a session.
const TOPIC: u32 = 65_536;

/// What is said, when, and what the broker answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crime {
    /// What it is called.
    pub name: &'static str,
    /// The client goes through a proper handshake first.
    pub after_welcome: bool,
    /// What it says, each behind a pause.
    pub lines: Vec<(Duration, Vec<u8>)>,
    /// The code the broker gives, if it gives one before it closes.
    pub code: CloseCode,
}

const NAMES: &[&str] = &[
    "random_bytes",
    "http_request",
    "tls_hello",
    "silence",
    "half_a_preface",
    "byte_a_second",
    "false_length",
    "endless_frame",
    "undeclared_topic",
    "reserved_topic",
    "topic_id_out_of_range",
    "data_on_control_lane",
    "unknown_lane",
    "data_before_welcome",
    "second_hello",
    "short_node_id",
    "future_version",
    "other_network",
    "message_too_large",
    "unknown_kind",
    "malformed_control",
    "fragment_without_source",
    "batch_that_lies",
];

impl Crime {
    /// Some crime.
    pub fn draw(rng: &mut Rng) -> Self {
        let name = *rng.pick(NAMES);
        Self::commit(name, rng)
    }

    /// Every crime there is.
    pub fn all(rng: &mut Rng) -> Vec<Self> {
        NAMES.iter().map(|name| Self::commit(name, rng)).collect()
    }

    /// The crime of this name, one of [`Crime::all`].
    pub fn commit(name: &'static str, rng: &mut Rng) -> Self {
        let (after_welcome, lines, code) = match name {
            "random_bytes"
            | "http_request"
            | "tls_hello"
            | "silence"
            | "half_a_preface"
            | "byte_a_second"
            | "data_before_welcome"
            | "short_node_id"
            | "future_version"
            | "other_network" => at_the_door(name, rng),
            _ => inside(name),
        };
        Self { name, after_welcome, lines, code }
    }
}

type Plan = (bool, Vec<(Duration, Vec<u8>)>, CloseCode);

fn now(bytes: Vec<u8>) -> Vec<(Duration, Vec<u8>)> {
    vec![(Duration::ZERO, bytes)]
}

/// Crimes in place of a handshake.
fn at_the_door(name: &str, rng: &mut Rng) -> Plan {
    let said = |hello: Hello| now(speech::opening(hello));
    let good = speech::hello(0);
    let (lines, code) = match name {
        "random_bytes" => {
            let mut bytes: Vec<u8> = (0..rng.between(8, 5_000)).map(|_| rng.bits() as u8).collect();
            // Not even by chance the right first byte.
            bytes[0] &= 0x7F;
            (now(bytes), CloseCode::Malformed)
        }
        "http_request" => (now(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()), CloseCode::Malformed),
        "tls_hello" => (now(vec![0x16, 3, 1, 0, 0x80, 1, 0, 0, 0x7C, 3, 3]), CloseCode::Malformed),
        "silence" => (Vec::new(), CloseCode::Timeout),
        "half_a_preface" => (now(PREFACE[..rng.between(1, 7) as usize].to_vec()), CloseCode::Timeout),
        "byte_a_second" => {
            let bytes = speech::opening(good);
            let lines = bytes.into_iter().map(|byte| (Duration::from_millis(1_000), vec![byte])).collect();
            (lines, CloseCode::Timeout)
        }
        "data_before_welcome" => {
            let mut bytes = PREFACE.to_vec();
            bytes.extend(speech::publish(TOPIC, 1, 1, b"too early"));
            (now(bytes), CloseCode::OutOfTurn)
        }
        "short_node_id" => (said(Hello { node_id: vec![1; 15], ..good }), CloseCode::Malformed),
        "future_version" => (said(Hello { version_min: 2, version_max: 9, ..good }), CloseCode::Version),
        _ => (said(Hello { network_id: "elsewhere".into(), ..good }), CloseCode::Network),
    };
    (false, lines, code)
}

/// Crimes of a session that is open.
fn inside(name: &str) -> Plan {
    let raw = |header: Header, body: &[u8]| [&header.encode(), body].concat();
    let declared = |mut bytes: Vec<u8>| {
        let mut all = speech::declare(TOPIC, "a/b");
        all.append(&mut bytes);
        now(all)
    };
    let (lines, code) = match name {
        "false_length" => (now(vec![3, 0, 1, 0]), CloseCode::Malformed),
        "endless_frame" => {
            let bytes = speech::publish(TOPIC, 1, 1, &[7; 500]);
            (declared(bytes[..200].to_vec()), CloseCode::Timeout)
        }
        "undeclared_topic" => (now(speech::publish(TOPIC + 9, 1, 1, b"x")), CloseCode::Forbidden),
        "reserved_topic" => (now(speech::declare(TOPIC, "$sys/x")), CloseCode::Forbidden),
        "topic_id_out_of_range" => (now(speech::declare(7, "a/b")), CloseCode::Forbidden),
        "data_on_control_lane" => (declared(speech::publish(TOPIC, 0, 1, b"x")), CloseCode::Forbidden),
        "unknown_lane" => (declared(speech::publish(TOPIC, 16, 1, b"x")), CloseCode::Forbidden),
        "second_hello" => (now(Control::new(Body::Hello(speech::hello(0))).to_frame()), CloseCode::OutOfTurn),
        "message_too_large" => {
            let frag = Frag { index: 0, count: 2_000, total_len: MESSAGE_BYTES_MAX_CEILING + 1 };
            let body = [&frag.encode()[..], &[0; 8], &[9; 100]].concat();
            let flags = Flags::FRAG.with(Flags::SRC);
            let header = Header { flags, topic: TOPIC, lane: 1, seq: 1, ..Header::new(Kind::PUB, body.len()) };
            (declared(raw(header, &body)), CloseCode::Limit)
        }
        "unknown_kind" => (now(raw(Header::new(Kind(0x0F), 4), &[0; 4])), CloseCode::UnsupportedKind),
        "malformed_control" => {
            let one = raw(Header::new(Kind::CTRL, 9), &[0xFF; 9]);
            // A few a second are forgiven, however slowly they arrive.
            (now(one.repeat(40)), CloseCode::Malformed)
        }
        "fragment_without_source" => {
            let frag = Frag { index: 0, count: 2, total_len: 200 };
            let body = [&frag.encode()[..], &[9; 100]].concat();
            let header =
                Header { flags: Flags::FRAG, topic: TOPIC, lane: 1, seq: 1, ..Header::new(Kind::PUB, body.len()) };
            (declared(raw(header, &body)), CloseCode::Malformed)
        }
        _ => {
            let header = Header { topic: TOPIC, lane: 1, seq: 1, ..Header::new(Kind::BATCH, 6) };
            (declared(raw(header, &[9, 0, 0, 0, 0, 0])), CloseCode::Malformed)
        }
    };
    (true, lines, code)
}
