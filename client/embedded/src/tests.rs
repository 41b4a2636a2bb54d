//! The golden vectors of `docs/SERIAL.md`: encoded, decoded, said and understood.

extern crate std;

use std::boxed::Box;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::cobs::{Decoded, Decoder, encode, gap_bytes};
use crate::crc::{crc32, session_preset};
use crate::topics::{Entry, FILTER};
use crate::{Code, Config, Device, Event, Kind, Lane, LaneSetup, Refused, SizedMemory, Subscription};

const DOCUMENT: &str = include_str!("../../../docs/SERIAL.md");
const HOST: u32 = 0x1122_3344;
const DEVICE: u32 = 0xA1B2_C3D4;

struct Vector {
    preset: u32,
    frame: Vec<u8>,
    wire: Vec<u8>,
}

fn bytes(text: &str) -> Vec<u8> {
    let code = text.lines().map(|line| line.split(';').next().unwrap_or_default());
    let words = code.flat_map(str::split_whitespace);
    words.map(|word| u8::from_str_radix(word, 16).expect("two hexadecimal digits")).collect()
}

fn vectors() -> Vec<(String, Vector)> {
    let blocks = DOCUMENT.split("```hex ").skip(1).map(|rest| rest.split("```").next().expect("a block"));
    let vectors = blocks.map(|block| {
        let (title, text) = block.split_once('\n').expect("a title");
        let (name, preset) = title.split_once(" preset ").unwrap_or((title, ""));
        let preset = u32::from_str_radix(preset, 16).unwrap_or_else(|_| session_preset(HOST, DEVICE));
        let (frame, wire) = text.split_once("=>").expect("a frame and what travels");
        (name.to_string(), Vector { preset, frame: bytes(frame), wire: bytes(wire) })
    });
    vectors.collect()
}

fn vector(name: &str) -> Vector {
    let found = vectors().into_iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("no vector {name}")).1
}

/// What travels of a frame without its CRC.
fn wire(preset: u32, body: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 256];
    let from = gap_bytes(buffer.len());
    let crc_at = from + body.len();
    buffer[from..crc_at].copy_from_slice(body);
    buffer[crc_at..crc_at + 4].copy_from_slice(&crc32(preset, body).to_le_bytes());
    let end = encode(&mut buffer, from, crc_at + 4);
    buffer[2..end].to_vec()
}

/// A vector with some bytes of its body replaced.
fn patched(name: &str, changes: &[(usize, u8)]) -> Vec<u8> {
    let Vector { preset, mut frame, .. } = vector(name);
    frame.truncate(frame.len() - 4);
    for (at, byte) in changes {
        frame[*at] = *byte;
    }
    wire(preset, &frame)
}

const LANES: [LaneSetup; 6] = [
    LaneSetup { number: 0, kind: Kind::RO, class: 0, credit: 0 },
    LaneSetup { number: 1, kind: Kind::RO, class: 1, credit: 8 },
    LaneSetup { number: 5, kind: Kind::RO, class: 5, credit: 0 },
    LaneSetup { number: 3, kind: Kind::US, class: 2, credit: 0 },
    LaneSetup { number: 4, kind: Kind::UU, class: 3, credit: 0 },
    LaneSetup { number: 2, kind: Kind::RU, class: 2, credit: 0 },
];

struct Bench {
    device: Device<'static>,
    now: u32,
    events: Vec<String>,
}

impl Bench {
    /// A device of the vectors, which has said nothing.
    fn new(lanes: &'static [LaneSetup]) -> Self {
        let memory: &'static mut SizedMemory<96, 2, 16, 6, 128> = Box::leak(Box::new(SizedMemory::new()));
        let config = Config { lanes, dead_ms: 1_500, ..Config::new("probe", [1, 2, 3, 4, 5, 6, 7, 8], 115_200) };
        let mut device = Device::new(memory, Box::leak(Box::new(config)), DEVICE);
        device.connect(0);
        Self { device, now: 0, events: Vec::new() }
    }

    /// The same in the session of the vectors, which has said HELLO and WELCOME.
    fn open() -> Self {
        let mut bench = Self::new(&LANES);
        // The host of the vectors has lanes 0, 1, 3 and 5; 2 and 4 are added as it would describe them.
        let Vector { mut frame, .. } = vector("hello-host");
        frame.truncate(frame.len() - 4);
        frame[33] = 6;
        let lanes = [0x22, 4, 0, 0, 0, 0, 0x04, 1, 0, 0, 0, 0];
        frame.splice(34..34, lanes);
        let at = frame.len() - 4 - 6;
        frame[at + 4..at + 6].fill(0);
        bench.hear(&wire(0, &frame));
        bench.said();
        bench.said();
        bench.hear(&vector("welcome-host").wire);
        assert!(bench.device.is_open(), "{:?}", bench.events);
        bench.events.clear();
        bench
    }

    fn hear(&mut self, bytes: &[u8]) {
        let events = &mut self.events;
        self.device.receive(self.now, bytes, |_, event| events.push(format!("{event:?}")));
    }

    /// The next frame that is written now; time passes until the line is free again.
    fn said(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        let events = &mut self.events;
        let write = |bytes: &[u8]| {
            let room = if said.is_empty() { bytes.len() } else { 0 };
            said.extend_from_slice(&bytes[..room]);
            room
        };
        self.device.poll(self.now, write, |_, event| events.push(format!("{event:?}")));
        self.now += said.len() as u32 * 87;
        said
    }

    /// The host has everything that is under way on a lane up to the number before `next`.
    fn acknowledge(&mut self, lane: u8, next: u16) {
        let [low, high] = next.to_le_bytes();
        let body = [0x80, 0, 0, 0, 0, 1, lane, low, high, 0, 0];
        self.hear(&wire(session_preset(HOST, DEVICE), &body));
    }
}

#[test]
fn every_vector_is_encoded_and_decoded() {
    let vectors = vectors();
    assert!(vectors.len() > 25, "{} vectors", vectors.len());
    for (name, Vector { preset, frame, wire: travels }) in vectors {
        let (body, crc) = frame.split_last_chunk().expect("a CRC");
        assert_eq!(crc32(preset, body), u32::from_le_bytes(*crc), "{name}");
        assert_eq!(wire(preset, body), travels, "{name}");
        let (mut decoder, mut buffer) = (Decoder::default(), [0; 128]);
        let (last, rest) = travels.split_last().expect("bytes");
        for byte in rest {
            assert_eq!(decoder.push(*byte, &mut buffer), Decoded::Nothing, "{name}");
        }
        assert_eq!(decoder.push(*last, &mut buffer), Decoded::Frame(frame.len()), "{name}");
        assert_eq!(buffer[..frame.len()], frame[..], "{name}");
    }
}

#[test]
fn runs_of_254_bytes_survive_and_bad_encodings_are_bad() {
    for bytes in [0, 1, 253, 254, 255, 507, 508, 509, 1_000] {
        let (mut buffer, mut decoded) = ([0; 1_100], [0; 1_100]);
        let from = gap_bytes(buffer.len());
        buffer[from..from + bytes].fill(7);
        let end = encode(&mut buffer, from, from + bytes);
        assert!(end - 2 <= bytes + bytes / 254 + 2 && !buffer[2..end - 1].contains(&0), "{bytes}");
        let mut decoder = Decoder::default();
        let last = buffer[2..end].iter().map(|byte| decoder.push(*byte, &mut decoded)).last();
        assert_eq!(last, Some(Decoded::Frame(bytes)));
        assert!(decoded[..bytes].iter().all(|byte| *byte == 7), "{bytes}");
    }
    let (mut decoder, mut buffer) = (Decoder::default(), [0; 4]);
    let mut last = |bytes: &[u8]| bytes.iter().map(|byte| decoder.push(*byte, &mut buffer)).last();
    assert_eq!(last(&[5, 1, 0]), Some(Decoded::Bad), "a zero inside a run");
    assert_eq!(last(&[6, 1, 1, 1, 1, 1, 0]), Some(Decoded::Bad), "longer than the buffer");
    assert_eq!(last(&[0]), Some(Decoded::Nothing), "nothing");
    assert_eq!(last(&[2, 1, 0]), Some(Decoded::Frame(1)), "and the next one is good");
}

#[test]
fn the_handshake_is_that_of_the_vectors() {
    let mut bench = Bench::new(&LANES[..2]);
    // This library offers its own windows, no assembly, no level and no table.
    let changes = [(29, 0), (30, 0), (31, 0), (32, 0), (35, 2), (36, 0), (37, 0), (40, 0x31)];
    let hello = [&[0, 0][..], &patched("hello-device", &changes)].concat();
    let welcome = [&[0, 0][..], &vector("welcome-device").wire].concat();
    assert_eq!(bench.said(), hello, "a HELLO at once");
    bench.hear(&vector("hello-host").wire);
    assert_eq!([bench.said(), bench.said()], [hello, welcome.clone()], "HELLO and WELCOME");
    assert!(!bench.device.is_open(), "half open");
    bench.hear(&vector("welcome-host").wire);
    assert!(bench.device.is_open() && bench.events == ["Opened"], "{:?}", bench.events);
    bench.hear(&vector("hello-host").wire);
    assert_eq!(bench.said(), welcome, "a HELLO of the session is answered with WELCOME");
    bench.hear(&vector("reset").wire);
    assert_eq!(bench.events.last().map(String::as_str), Some("Closed(Code(2))"));
    bench.now += 4_900_000;
    assert_eq!(bench.said(), [], "who was refused is silent for five seconds");
    bench.now += 100_000;
    assert_ne!(bench.said(), [], "and no longer");
}

#[test]
fn a_session_ends_as_the_vectors_say() {
    let mut bench = Bench::open();
    // REQ without its three bytes.
    bench.hear(&wire(session_preset(HOST, DEVICE), &[0x21, 1, 0, 0x20, 0, 1]));
    assert_eq!(bench.events, ["Closed(Code(2))"]);
    let reset =
        patched("reset", &[(6, 0x44), (7, 0x33), (8, 0x22), (9, 0x11), (10, 0xD4), (11, 0xC3), (12, 0xB2), (13, 0xA1)]);
    assert_eq!(bench.said(), [&[0, 0][..], &reset].concat());
    assert!(bench.said().len() > 40, "and a HELLO");
}

#[test]
fn topics_and_subscriptions_are_declared_as_in_the_vectors() {
    const WANTED: Subscription =
        Subscription { retained: true, no_echo: true, lane_plus_one: 4, policy: 4, max_rate_hz: 50, ttl_ms: 300 };
    let mut bench = Bench::open();
    let topic = bench.device.topic("a/b", false).expect("room");
    bench.device.topic("level", true).expect("room");
    assert_eq!([bench.said(), bench.said()], [vector("topic").wire, vector("topic-retained").wire]);
    bench.acknowledge(0, 3);
    // The vectors' requests are 7 and 8.
    for entry in &mut bench.device.topics[2..6] {
        *entry = Entry { name: Some("elsewhere"), subscription: None, bits: FILTER };
    }
    let filter = bench.device.subscribe("a/#", &Subscription::PLAIN).expect("room");
    assert_eq!(bench.said(), vector("subscribe-filter").wire);
    bench.device.subscribe("a/b", &WANTED).expect("it is there");
    assert_eq!(bench.said(), patched("subscribe-topic", &[(6, 1)]));
    bench.acknowledge(0, 5);
    bench.device.unsubscribe(filter);
    assert_eq!(bench.said(), patched("unsubscribe", &[(6, 0)]), "nobody wants an answer");
    bench.acknowledge(0, 6);
    assert!(bench.device.entry(filter.id()).is_none() && bench.device.entry(topic.id()).is_some());
}

#[test]
fn messages_leave_as_in_the_vectors() {
    let mut bench = Bench::open();
    let topics = ["a/b", "level"].map(|name| bench.device.topic(name, false).expect("room"));
    assert_ne!([bench.said(), bench.said()], [[], []]);
    bench.acknowledge(0, 3);
    bench.device.publish(topics[0], Lane::COMMAND, b"21.5").expect("room");
    assert_eq!(bench.said(), vector("publish").wire);
    assert_eq!(bench.said(), [], "not again");
    bench.device.lanes[4].set_numbers(u16::MAX, 1);
    bench.device.publish(topics[1], Lane::STREAM, b"").expect("room");
    assert_eq!(bench.said(), vector("publish-empty").wire);
    bench.device.lanes[3].set_numbers(7, 1);
    bench.device.publish_at(topics[0], Lane::STATE, b"old", 5).expect("room");
    bench.device.publish_at(topics[0], Lane::STATE, &[0, 0], 1_000_000).expect("it takes the place of the older one");
    assert_eq!(bench.said(), vector("publish-ts").wire);
    assert_eq!(bench.device.publish(topics[0], Lane::BULK, &[0; 97]), Err(Refused::TooLarge));
    assert_eq!(bench.device.publish(topics[0], Lane(6), b""), Err(Refused::NoLane));
    bench.now += 100_000 + 3 * 9_900;
    let again = [&[0][..], &vector("publish").wire].concat();
    assert_eq!(bench.said(), again, "the timer ran out; a zero in front, as the line was silent");
    bench.acknowledge(1, 2);
    assert_eq!(bench.events.last().map(String::as_str), Some("Acked { lane: Lane(1), topic: Topic(16384) }"));
}

#[test]
fn what_arrives_is_acknowledged_and_clocks_are_answered_as_in_the_vectors() {
    let mut bench = Bench::open();
    bench.device.subscribe("a/b", &Subscription::PLAIN).expect("room");
    assert_eq!(bench.said(), vector("topic").wire);
    bench.hear(&vector("publish").wire);
    assert_eq!(bench.events.len(), 1);
    assert!(bench.events[0].contains("Some(\"a/b\")") && bench.events[0].contains("payload: [50, 49, 46, 53]"));
    // The subscription goes first: a single frame may wait that long.
    bench.said();
    assert_eq!(bench.said(), vector("ack").wire);
    bench.hear(&vector("publish").wire);
    assert_eq!((bench.events.len(), bench.said()), (1, vector("ack").wire), "a repeated one is only acknowledged");
    bench.acknowledge(0, 3);
    bench.now += 600_000;
    assert_eq!(bench.said(), [&[0][..], &vector("heartbeat").wire].concat());
    // Half of the clock's range later: nobody polled, so that the session has to be young.
    let mut bench = Bench::open();
    bench.now = 0x8000_0000;
    bench.device.heard = bench.now;
    (bench.device.said, bench.device.free_at) = (bench.now, bench.now);
    bench.hear(&vector("time-ask").wire);
    bench.now += 200;
    assert_eq!(bench.said(), vector("time-answer").wire);
}

#[test]
fn the_hosts_control_messages_are_understood() {
    let mut bench = Bench::open();
    let mut hear = |name: &str, seq: u16, expected: &str| {
        bench.events.clear();
        bench.device.lanes[0].set_numbers(1, seq);
        bench.hear(&vector(name).wire);
        assert_eq!(bench.events.concat(), expected, "{name}");
        assert!(bench.device.is_open(), "{name}");
    };
    hear("result-done", 8, "Result { topic: Some(Topic(16390)), code: Code(0), text: [] }");
    hear("result-refused", 9, "Result { topic: Some(Topic(16392)), code: Code(7), text: [110, 111] }");
    hear("confirm", 7, "");
    hear("credit", 6, "");
    bench.device.lanes[1].set_numbers(1, 1);
    bench.events.clear();
    // Lane 5 is the third of this device.
    bench.device.lanes[2].set_numbers(1, 9);
    bench.hear(&vector("lost").wire);
    assert_eq!(bench.events.concat(), "Lost { lane: Lane(5), reason: 2, topic: 16, count: 300 }");
    bench.events.clear();
    bench.device.lanes[0].set_numbers(1, 1);
    bench.hear(&patched("topic", &[(8, 0x80)]));
    assert_eq!(bench.events.concat(), "Named { topic: 32768, name: [97, 47, 98] }");
    bench.events.clear();
    bench.device.lanes[0].set_numbers(1, 1);
    bench.hear(&vector("topic").wire);
    assert_eq!(bench.events.concat(), "Closed(Code(2))", "only devices bind ids of this range");
}

#[test]
fn requests_fragments_and_other_lanes_are_dropped_and_counted() {
    let mut bench = Bench::open();
    bench.device.lanes[1].set_numbers(1, 2);
    bench.hear(&vector("request").wire);
    assert_eq!((bench.device.counters().dropped, bench.device.is_open()), (1, true), "acknowledged, not served");
    assert_eq!(bench.said()[..], patched("ack", &[(7, 3)])[..]);
    bench.device.lanes[2].set_numbers(1, 2);
    bench.hear(&vector("first-fragment").wire);
    assert_eq!(bench.events, ["Closed(Code(2))"], "a fragment on a lane without assembly is out of place");
    let mut bench = Bench::new(&LANES[..2]);
    bench.hear(&vector("publish").wire);
    assert_eq!(bench.device.counters().stray, 1, "no session");
    bench.hear(&vector("publish-other-preset").wire);
    bench.hear(&[1, 2, 3, 0]);
    assert_eq!(bench.device.counters().bad, 1);
}

#[test]
fn a_message_longer_than_hello_allows_ends_the_session() {
    for (more, is_open) in [(0, true), (1, false)] {
        let mut bench = Bench::open();
        bench.device.subscribe("a/b", &Subscription::PLAIN).expect("room");
        bench.said();
        // A frame has room for a clock as well, which this one does not carry.
        let Vector { preset, mut frame, .. } = vector("publish");
        frame.resize(5, 0);
        frame.resize(5 + usize::from(bench.device.mtu) + more, b'x');
        bench.hear(&wire(preset, &frame));
        assert_eq!((bench.device.is_open(), bench.events.len()), (is_open, 1), "{:?}", bench.events);
    }
}

#[test]
fn who_leaves_says_so_and_is_silent() {
    let mut bench = Bench::open();
    let topic = bench.device.topic("a/b", false).expect("room");
    bench.said();
    bench.acknowledge(0, 2);
    bench.device.publish(topic, Lane::COMMAND, b"1").expect("room");
    bench.said();
    bench.device.publish(topic, Lane::COMMAND, b"2").expect("room");
    bench.device.disconnect(Code::SHUTDOWN);
    let said = bench.said();
    assert!(said.starts_with(&[0, 0]) && said.len() < 30, "RESET: {said:?}");
    assert_eq!(bench.events, ["Closed(Code(1))", "Maybe { lane: Lane(1), topic: Topic(16384) }"]);
    bench.now += 10_000_000;
    assert_eq!(bench.said(), []);
    assert_eq!(bench.device.publish(topic, Lane::STREAM, b""), Err(Refused::NotOpen));
    assert!(matches!(bench.device.publish(topic, Lane::COMMAND, b"3"), Ok(())), "the second one still waits");
    let Err(refused) = bench.device.publish(topic, Lane::COMMAND, b"4") else { panic!("there is no room") };
    assert_eq!(refused.to_string(), "lane full");
    let _event = Event::Opened;
}
