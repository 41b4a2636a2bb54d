//! `docs/SERIAL.md` says what the code does: its tables are compared with the code, its vectors read and written.

pub mod document;

use std::collections::BTreeMap;

use document::{bytes, number};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::lost::LossReason;
use laneway_proto::lane::kind::LaneKind;
use laneway_proto::serial::cobs::{Decoded, Decoder, Encoder, checked, wire_bytes};
use laneway_proto::serial::control::{Control, Entries, LaneConfirm, LaneLimit, SubOptions, topics_hash};
use laneway_proto::serial::crc::session_preset;
use laneway_proto::serial::frame::{Correlation, HEAD_BYTES_MAX, Head, SerialFrag, SerialKind};
use laneway_proto::serial::hello::{Hello, LaneOffer, LinkBody, Offers, Role};
use laneway_proto::serial::hot::{HOT_BYTES_MAX, LaneAck, Poll, SerialTime, decode_ack, encode_ack};
use laneway_proto::serial::limits;
use laneway_proto::wire::Writer;

const DOCUMENT: &str = include_str!("../../docs/SERIAL.md");
const LIMITS_SOURCE: &str = include_str!("../src/serial/limits.rs");
const HOST: u32 = 0x1122_3344;
const DEVICE: u32 = 0xA1B2_C3D4;

fn table(first_columns: &[&str]) -> Vec<Vec<String>> {
    document::table(DOCUMENT, first_columns)
}

/// A vector of the document.
struct Vector {
    preset: u32,
    frame: Vec<u8>,
    wire: Vec<u8>,
}

fn vectors() -> BTreeMap<String, Vector> {
    let mut vectors = BTreeMap::new();
    for (title, text) in document::blocks(DOCUMENT) {
        let (frame, wire) = text.split_once("=>").expect("a frame and what travels");
        let (name, preset) = match title.split_once(" preset ") {
            Some((name, preset)) => (name, u32::from_str_radix(preset, 16).expect("a preset")),
            None => (title, session_preset(HOST, DEVICE)),
        };
        let vector = Vector { preset, frame: bytes(frame), wire: bytes(wire) };
        assert!(vectors.insert(name.to_owned(), vector).is_none(), "two vectors are called {name}");
    }
    vectors
}

#[test]
fn the_table_of_limits_is_the_code() {
    macro_rules! values {
        ($($name:ident)*) => { BTreeMap::from([$((stringify!($name), limits::$name as u64)),*]) };
    }
    let actual = values! {
        SERIAL_HEADER_BYTES SERIAL_CRC_BYTES SERIAL_FRAME_BYTES_MIN SERIAL_FRAME_BYTES_MAX SERIAL_LINK_BYTES_MAX
        SERIAL_LANES_MAX SERIAL_WINDOW_MAX SERIAL_MTU_MIN SERIAL_MTU_MAX SERIAL_NAME_BYTES_MAX SERIAL_HELLO_MS
        SERIAL_REFUSED_MS SERIAL_DEAD_MS_DEFAULT SERIAL_DEAD_MS_MIN SERIAL_BAD_FRAMES_MAX SERIAL_IDLE_MS
        SERIAL_STALE_MS SERIAL_RTO_MS_FIRST SERIAL_RTO_MS_MAX SERIAL_LEAD_US SERIAL_BELOW_US_MAX SERIAL_TURN_MS
        SERIAL_FRAGMENTS_MAX SERIAL_FRAGMENTS_UNRELIABLE_MAX SERIAL_ADDRESS_MAX SERIAL_TOPIC_DEVICE_FIRST
        SERIAL_TOPIC_HOST_FIRST
    };
    document::check_limits(DOCUMENT, LIMITS_SOURCE, &actual);
}

#[test]
fn the_table_of_kinds_is_the_code() {
    let rows = table(&["kind", "name", "numbered"]);
    let documented: Vec<_> = rows.iter().map(|row| (number(&row[0]), row[1].as_str(), row[2].as_str())).collect();
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    let actual = SerialKind::ALL.map(|kind| (u64::from(kind.number()), kind.name(), yes(kind.is_numbered())));
    assert_eq!(documented, actual);
}

#[test]
fn the_table_of_control_messages_is_the_code() {
    let rows = table(&["tag", "name", "from"]);
    let documented: Vec<_> = rows.iter().map(|row| (number(&row[0]), row[1].as_str())).collect();
    let names = ["TOPIC", "SUB", "UNSUB", "CREDIT", "LOST", "CONFIRM", "RESULT"];
    assert_eq!(documented, (1..).zip(names).collect::<Vec<_>>());
    let (mut limits, mut confirms) = ([0; 24], [0; 48]);
    let messages = [
        Control::Topic { topic: 1, retain: false, name: b"" },
        Control::Sub { request: 0, topic: 0, options: SubOptions::default(), filter: b"" },
        Control::Unsub { request: 0, topic: 0, filter: b"" },
        Control::Credit(Entries::credit(&[], &mut limits)),
        Control::Lost { lane: 1, reason: LossReason::Ttl, count: 1 },
        Control::Confirm(Entries::confirm(&[], &mut confirms)),
        Control::Result { request: 0, code: 0, text: b"" },
    ];
    for ((message, row), tag) in messages.iter().zip(&rows).zip(1..) {
        let mut bytes = [0xAA; 64];
        let len = message.encode(&mut bytes).expect("it fits");
        assert_eq!(bytes[0], tag, "{}", row[1]);
        // The fields of the table, their lengths added up.
        let fields = row[3].split(", n times").next().unwrap_or_default().split(['`', ',']).map(str::trim);
        let widths =
            fields.filter_map(|field| Some(field.split(' ').next()?.strip_prefix('u')?.parse::<usize>().ok()? / 8));
        assert_eq!(len, 1 + widths.sum::<usize>(), "the fields of {}", row[1]);
    }
}

/// The head that the vector of this name describes, and its payload.
fn described(name: &str) -> (Head, Vec<u8>) {
    let counting: Vec<u8> = (0..16).collect();
    let publish = |lane, seq, topic| Head { lane, seq, topic, ..Head::unnumbered(SerialKind::Pub) };
    let frag = |index, count| Some(SerialFrag { index, count });
    let ctrl = |seq, message: Control<'_>| {
        let mut bytes = [0; 64];
        let len = message.encode(&mut bytes).expect("it fits");
        assert_eq!(Control::decode(&bytes[..len]), Ok(Some(message)));
        (Head { seq, ..Head::unnumbered(SerialKind::Ctrl) }, bytes[..len].to_vec())
    };
    match name {
        "publish-before-any-session" | "publish-other-preset" => (publish(3, 1234, 17), counting),
        "publish" | "publish-addressed" => (publish(1, 1, 0x4000), b"21.5".to_vec()),
        "publish-empty" => (publish(4, 65_535, 0x4001), Vec::new()),
        "publish-ts" => (Head { ts: Some(1_000_000), ..publish(3, 7, 0x4000) }, vec![0, 0]),
        "first-fragment" => (Head { frag: frag(0, 2), ..publish(5, 2, 16) }, b"abcd".to_vec()),
        "last-fragment" => (Head { frag: frag(1, 2), ..publish(5, 3, 16) }, b"ef".to_vec()),
        "fragment-ts" => (Head { frag: frag(0, 3), ts: Some(0x0102_0304), ..publish(5, 4, 16) }, b"a".to_vec()),
        "request" | "response" => {
            let (kind, seq, extra, text) =
                if name == "request" { (SerialKind::Req, 2, 5, b"?") } else { (SerialKind::Rsp, 9, 0, b"!") };
            let correlation = Some(Correlation { request: 300, extra });
            (Head { kind, correlation, ..publish(1, seq, 32) }, text.to_vec())
        }
        "topic" => ctrl(1, Control::Topic { topic: 0x4000, retain: false, name: b"a/b" }),
        "topic-retained" => ctrl(2, Control::Topic { topic: 0x4001, retain: true, name: b"level" }),
        "subscribe-filter" => {
            ctrl(3, Control::Sub { request: 7, topic: 0, options: SubOptions::default(), filter: b"a/#" })
        }
        "subscribe-topic" => {
            let options =
                SubOptions { retained: true, no_echo: true, lane_plus_one: 4, policy: 4, max_rate_hz: 50, ttl_ms: 300 };
            ctrl(4, Control::Sub { request: 8, topic: 0x4000, options, filter: b"" })
        }
        "unsubscribe" => ctrl(5, Control::Unsub { request: 9, topic: 0, filter: b"a/#" }),
        "credit" => {
            let limits = [(1, 24), (5, 4)].map(|(lane, through)| LaneLimit { lane, through });
            ctrl(6, Control::Credit(Entries::credit(&limits, &mut [0; 24])))
        }
        "lost" => {
            let (head, bytes) = ctrl(9, Control::Lost { lane: 5, reason: LossReason::Overflow, count: 300 });
            (Head { lane: 5, topic: 16, ..head }, bytes)
        }
        "confirm" => {
            let confirms = [LaneConfirm { lane: 1, level: 2, receivers: 3, through: 12 }];
            ctrl(7, Control::Confirm(Entries::confirm(&confirms, &mut [0; 48])))
        }
        "result-done" => ctrl(8, Control::Result { request: 7, code: CloseCode::Normal as u8, text: b"" }),
        "result-refused" => ctrl(9, Control::Result { request: 9, code: CloseCode::Forbidden as u8, text: b"no" }),
        _ => unnumbered(name),
    }
}

fn unnumbered(name: &str) -> (Head, Vec<u8>) {
    let mut out = [0; HOT_BYTES_MAX];
    let ack = |lane, next, map| LaneAck { lane, next, map };
    let (kind, body) = match name {
        "ack" => (SerialKind::Ack, encode_ack([ack(1, 2, 0)].into_iter(), &mut out).to_vec()),
        "ack-map" => {
            let acks = [ack(1, 5, 0b110), ack(5, 65_535, 1)];
            let body = encode_ack(acks.into_iter(), &mut out).to_vec();
            assert!(decode_ack(&body).is_ok_and(|read| read.eq(acks)));
            (SerialKind::Ack, body)
        }
        "heartbeat" | "time-ask" | "time-answer" => {
            let time = match name {
                "heartbeat" => SerialTime::Alive,
                "time-ask" => SerialTime::Ask { t0: 1_000_000 },
                _ => SerialTime::Answer { t0: 1_000_000, t1: 0x8000_0000, t2: 0x8000_00C8 },
            };
            let body = time.encode(&mut out).to_vec();
            assert_eq!(SerialTime::decode(&body), Ok(time));
            (SerialKind::Time, body)
        }
        "poll" | "poll-done" => {
            let poll = if name == "poll" { Poll::Turn { budget_us: 10_000 } } else { Poll::Done { more: true } };
            let body = poll.encode(&mut out).to_vec();
            assert_eq!(Poll::decode(&body), Ok(poll));
            (SerialKind::Poll, body)
        }
        _ => (SerialKind::Link, link(name)),
    };
    (Head::unnumbered(kind), body)
}

fn link(name: &str) -> Vec<u8> {
    let offer = |lane, kind, window, assembly, credit| LaneOffer {
        lane,
        kind,
        level: 0,
        selective: false,
        window,
        assembly,
        credit,
    };
    let chosen = |lane, window, assembly, credit| LaneOffer {
        selective: true,
        ..offer(lane, LaneKind::RO, window, assembly, credit)
    };
    let mut offers = [0; 48];
    let hello = |role, nonce, node_id, topics_hash, lanes, name| Hello {
        version_min: 1,
        version_max: 1,
        role,
        nonce,
        node_id,
        mtu: 96,
        dead_ms: 1_500,
        baud: 115_200,
        topics_hash,
        lanes,
        name,
    };
    let body = match name {
        "hello-host" => {
            let unreliable = offer(3, LaneKind::US, 1, 0, 0);
            let lanes = [chosen(0, 4, 256, 0), chosen(1, 4, 4_096, 0), unreliable, chosen(5, 8, 65_535, 64)];
            let lanes = Offers::new(&lanes, &mut offers);
            LinkBody::Hello(hello(Role::Host, HOST, [0xC0, 0, 0, 0, 0, 0, 0, 1], 0, lanes, "lab"))
        }
        "hello-device" => {
            let lanes = [offer(0, LaneKind::RO, 1, 96, 0), LaneOffer { level: 2, ..offer(1, LaneKind::RO, 2, 0, 8) }];
            let (hash, lanes) = (topics_hash([(16, "log")]), Offers::new(&lanes, &mut offers));
            LinkBody::Hello(hello(Role::Device, DEVICE, [1, 2, 3, 4, 5, 6, 7, 8], hash, lanes, "probe"))
        }
        "welcome-host" | "welcome-addressed" => LinkBody::Welcome { yours: DEVICE, mine: HOST, knows_topics: true },
        "welcome-device" => LinkBody::Welcome { yours: HOST, mine: DEVICE, knows_topics: false },
        "reset" => LinkBody::Reset { yours: DEVICE, mine: HOST, code: CloseCode::Malformed as u8 },
        _ => panic!("what does the vector {name} say?"),
    };
    let mut out = [0; 128];
    let mut writer = Writer::new(&mut out);
    body.encode(&mut writer).expect("it fits");
    let len = writer.len();
    assert_eq!(LinkBody::decode(&out[..len]), Ok(body));
    out[..len].to_vec()
}

#[test]
fn every_vector_is_read_and_written_as_what_stands_beside_it() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 34, "vectors came or went; look whether each kind still has one");
    for (name, Vector { preset, frame, wire }) in &vectors {
        let mut buffer = vec![0; frame.len()];
        let mut decoder = Decoder::new();
        let decoded: Vec<_> =
            wire.iter().map(|&byte| decoder.push(byte, &mut buffer)).filter(|&what| what != Decoded::More).collect();
        assert_eq!((decoded, &buffer), (vec![Decoded::Frame(frame.len())], frame), "{name}: COBS");
        let body = checked(frame, *preset).unwrap_or_else(|| panic!("{name}: the CRC"));
        let address: &[u8] = match name.as_str() {
            "poll" | "welcome-addressed" => &[5],
            "poll-done" | "publish-addressed" => &[0x85],
            _ => &[],
        };
        let body = body.strip_prefix(address).unwrap_or_else(|| panic!("{name}: the address"));
        let (head, payload) = described(name);
        assert_eq!(Head::decode(body), Ok((head, &payload[..])), "{name}");
        assert!(head.kind != SerialKind::Link || *preset == 0, "{name}");
        let mut written = vec![0; wire_bytes(frame.len())];
        let mut encoder = Encoder::new(&mut written, 0, *preset);
        encoder.push(address);
        encoder.push(head.encode(&mut [0; HEAD_BYTES_MAX]));
        encoder.push(&payload);
        let len = encoder.finish().expect("it fits");
        assert_eq!(&written[..len], wire, "{name} as it is written");
    }
}
