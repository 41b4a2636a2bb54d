//! `docs/UDP.md` says what the code does: its tables are compared with the code, its vectors decoded.

pub mod document;

use std::collections::BTreeMap;

use document::number;
use laneway_proto::datagram::ack;
use laneway_proto::datagram::header::{DatagramHeader, Form, dflag};
use laneway_proto::datagram::heartbeat::{self, Beat};
use laneway_proto::datagram::interest::topic_tag;
use laneway_proto::datagram::limits;
use laneway_proto::datagram::loss::RangeLost;
use laneway_proto::datagram::nak::{self, Missing, NAK_FRAME_BYTES_MAX, StreamKey};
use laneway_proto::datagram::received::Span;
use laneway_proto::datagram::signs::{Cookie, Demote, Gone};
use laneway_proto::frame::lost::LossReason;
use laneway_proto::framing::length::{Front, front};
use laneway_proto::header::{Header, Kind};
use laneway_proto::time::Duration;

const DOCUMENT: &str = include_str!("../../docs/UDP.md");
const LIMITS_SOURCE: &str = include_str!("../src/datagram/limits.rs");

fn table(first_columns: &[&str]) -> Vec<Vec<String>> {
    document::table(DOCUMENT, first_columns)
}

#[test]
fn the_table_of_limits_is_the_code() {
    macro_rules! values {
        ($($name:ident)*) => { BTreeMap::from([$((stringify!($name), u64::from(limits::$name as u32))),*]) };
    }
    let actual = values! {
        DATAGRAM_HEADER_BYTES DATAGRAM_CRC_BYTES DATAGRAM_BYTES_MIN DATAGRAM_BYTES_DEFAULT DATAGRAM_BYTES_MAX
        RECEIVE_WINDOW_DATAGRAMS REPLAY_WINDOW_DATAGRAMS DATAGRAM_NUMBER_STEP_MAX WINDOW_FRAMES_DEFAULT ACK_RANGES_MAX
        ACK_DELAY_US_MAX ACK_EVERY_DATAGRAMS RTT_MS_INITIAL PROBE_MS_MAX REORDER_DATAGRAMS SENDS_MAX BURST_DATAGRAMS
        UNRELIABLE_FRAGMENTS_MAX PARTIAL_MESSAGES_MAX PARTIAL_MS_MIN DEAD_AFTER_MS_DEFAULT KEEPALIVE_MS_DEFAULT
        HELLO_MS_FIRST HELLO_MS_MAX HELLOS_PER_LENGTH COOKIE_MS NAK_RANGES_MAX NAKS_MAX NAK_MS_MAX NAK_SPREAD_US_MIN
        HEARTBEAT_MS_FIRST HEARTBEAT_MS_MAX REPAIR_LINGER_MS REPAIR_BYTES_DEFAULT REPAIR_MS_DEFAULT
        REPAIR_PERCENT_DEFAULT BROADCAST_WINDOW_FRAMES DEMOTE_PERCENT DEMOTE_MS FILTER_INSTRUCTIONS_MAX
        FILTER_LINEAR_TAGS_MAX
    };
    document::check_limits(DOCUMENT, LIMITS_SOURCE, &actual);
}

#[test]
fn the_tables_of_flags_and_kinds_are_the_code() {
    let rows = table(&["flag", "name", "meaning"]);
    let documented: Vec<_> = rows.iter().map(|row| (number(&row[0]), row[1].as_str())).collect();
    let flags = [(dflag::BCAST, "BCAST"), (dflag::ACK_ME, "ACK_ME"), (dflag::CRC, "CRC"), (dflag::HELLO, "HELLO")];
    assert_eq!(documented, flags.map(|(bit, name)| (u64::from(bit), name)));
    let bits = flags.iter().fold(0, |all, (bit, _)| all | bit);
    assert_eq!((bits & dflag::RESERVED, bits | dflag::RESERVED), (0, 0xFF));
    let rows = table(&["kind", "name", "body"]);
    let documented: Vec<_> = rows.iter().map(|row| (number(&row[0]), row[1].as_str())).collect();
    let kinds = [
        (Kind::ACK, "ACK"),
        (Kind::NAK, "NAK"),
        (Kind::HEARTBEAT, "HEARTBEAT"),
        (Kind::COOKIE, "COOKIE"),
        (Kind::GONE, "GONE"),
        (Kind::DEMOTE, "DEMOTE"),
    ];
    assert_eq!(documented, kinds.map(|(kind, name)| (u64::from(kind.0), name)));
    assert!(kinds.iter().all(|(kind, _)| !kind.is_known()), "none of them is a kind of streams");
}

/// The frames of a vector, which they fill.
fn frames(name: &str, mut bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let Ok(Front::Whole(header)) = front(bytes, 65_535) else { panic!("{name} is not whole frames") };
        let (frame, rest) = bytes.split_at(usize::from(header.len));
        assert_eq!(header.encode(), frame[..16], "the header of {name} is written as it was read");
        frames.push((header, frame[16..].to_vec()));
        bytes = rest;
    }
    frames
}

#[test]
fn the_vectors_of_datagrams_say_what_stands_beside_them() {
    let vectors = document::vectors(DOCUMENT);
    let open = |name: &str| {
        let (header, rest) = DatagramHeader::open(&vectors[name]).unwrap_or_else(|stray| panic!("{name}: {stray:?}"));
        let mut again = vectors[name].clone();
        again[..16].fill(0);
        let end = 16 + rest.len();
        assert_eq!(header.seal(&mut again, end), vectors[name].len());
        assert_eq!(again, vectors[name], "{name} is written as it was read");
        (header, frames(name, rest))
    };
    let session = Form::Session { session: 0x102, ack: 9 };
    let (header, data) = open("session");
    assert_eq!(header, DatagramHeader { form: session, ack_me: true, crc: false, epoch: 0x1234, number: 10 });
    assert_eq!((data[0].0.lane, data[0].0.seq, &data[0].1[..]), (3, 7, &b"hi"[..]));
    let (header, data) = open("acknowledgement-with-crc");
    assert_eq!(header, DatagramHeader { form: session, ack_me: false, crc: true, epoch: 0x1234, number: 11 });
    assert!(data.is_empty());
    let (header, hello) = open("hello-without-filling");
    assert_eq!((header.form, header.number), (Form::Hello { session: 0, own: 0x1234_5678 }, 1));
    assert_eq!(hello.iter().map(|(header, _)| header.kind).collect::<Vec<_>>(), [Kind::COOKIE, Kind::PAD]);
    let (header, data) = open("broadcast");
    let tag = topic_tag("sensors/imu/left/accel_x");
    assert_eq!((header.form, header.number), (Form::Broadcast { tag, sender: 0x0A0B_0C0D }, 77));
    assert_eq!((data[0].0.lane, data[0].0.seq), (3, 1234));
}

#[test]
fn the_vectors_of_frames_say_what_stands_beside_them() {
    let vectors = document::vectors(DOCUMENT);
    assert_eq!(vectors.len(), 11, "every vector is looked at, here or above");
    let frame = |name: &str| frames(name, &vectors[name]).remove(0);
    let spans = [Span { first: 98, last: 100 }, Span { first: 95, last: 95 }];
    let (_, body) = frame("ack");
    let read = ack::decode(&body).expect("an ACK");
    assert_eq!((read.largest, read.delay), (100, Some(Duration::from_millis(1))));
    assert!(read.eq(spans));
    let mut out = [0; NAK_FRAME_BYTES_MAX];
    let bytes = ack::encode(spans.into_iter(), Duration::from_millis(1), &mut out);
    assert_eq!(out[..bytes], vectors["ack"]);

    let stream = StreamKey { sender: 0x0A0B_0C0D, tag: 0x514F_92F7, lane: 2 };
    let missing = [Missing { first: 7, count: 1 }, Missing { first: 10, count: 5 }];
    let (header, body) = frame("nak");
    let read = nak::decode(&header, &body).expect("a NAK");
    assert_eq!(read.stream, stream);
    assert!(read.eq(missing));
    let bytes = nak::encode(stream, missing.into_iter(), &mut out);
    assert_eq!(out[..bytes], vectors["nak"]);

    let beat = Beat { lane: 2, trail: 64, lead: 1_000 };
    assert!(heartbeat::decode(&frame("heartbeat").1).is_ok_and(|read| read.eq([beat])));
    assert_eq!(beat.encode().as_slice(), vectors["heartbeat"]);

    let reason = LossReason::Ttl;
    let (sent, frame_bytes, last_bytes) = (3, 1_456, 100);
    let lost =
        RangeLost { topic: 0x1_0001, lane: 2, reason, first: 7, count: 3, messages: 1, sent, frame_bytes, last_bytes };
    let (header, body) = frame("lost");
    assert_eq!(RangeLost::decode(&header, &body), Ok(lost));
    assert_eq!(lost.encode().as_slice(), vectors["lost"]);

    assert_eq!(Cookie(0x0102_0304_0506_0708).encode().as_slice(), vectors["cookie"]);
    assert_eq!(Gone(0x102).encode().as_slice(), vectors["gone"]);
    assert_eq!(Demote { percent: 51 }.encode().as_slice(), vectors["demote"]);
}
