use std::collections::VecDeque;

use laneway_proto::control::{Control, DeclareTopics, Topic};
use laneway_proto::frame::extensions::{Frag, Src};
use laneway_proto::framing::length::{self, Front};
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::lane::policy::Policy;
use laneway_proto::limits::{FRAME_BYTES_MAX, HEADER_BYTES};
use laneway_proto::serial::control::Control as Said;
use laneway_proto::serial::frame::Head;
use laneway_proto::session::handshake::PREFACE;
use laneway_proto::time::Duration;

use super::*;
use crate::outbox::{Frames, Service};
use crate::pool::{Piece, PoolShape};

const BAUD: u32 = 115_200;
const SHAPE: PoolShape = PoolShape {
    ingress_buffer_bytes: 1_024,
    ingress_buffers: 1,
    ingress_buffers_max: 1,
    egress_buffer_bytes: 65_536,
    egress_buffers_kept: 8,
};
/// The broker's id of a topic.
const TOPIC: u32 = 70_000;

/// Bytes on their way in one direction.
#[derive(Default)]
struct Pipe {
    on_it: VecDeque<(Instant, u8)>,
    free_at: Instant,
    /// The longest that what was put on it had to wait.
    backlog_max: Duration,
    writes: u32,
    /// Of so many bytes one is damaged; 0: none.
    hurts_one_in: u64,
    random: u64,
}

impl Pipe {
    fn put(&mut self, now: Instant, bytes: &[u8]) {
        self.free_at = self.free_at.max(now);
        for &byte in bytes {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let draw = self.random >> 33;
            let hurt = self.hurts_one_in > 0 && draw.is_multiple_of(self.hurts_one_in);
            let byte = if hurt { byte ^ 1 << (draw >> 20 & 7) } else { byte };
            self.free_at = self.free_at + Duration(10_000_000_000 / u64::from(BAUD));
            self.on_it.push_back((self.free_at, byte));
        }
        self.writes += u32::from(!bytes.is_empty());
        self.backlog_max = Duration(self.backlog_max.0.max(self.free_at.since(now).0));
    }

    fn arrived(&mut self, now: Instant) -> Vec<u8> {
        let count = self.on_it.iter().take_while(|(at, _)| *at <= now).count();
        self.on_it.drain(..count).map(|(_, byte)| byte).collect()
    }
}

/// What a device has to send, all on lane 0.
#[derive(Default)]
struct Controls {
    queue: VecDeque<Vec<u8>>,
    under_way: Vec<Vec<u8>>,
}

impl Source for Controls {
    fn next(&mut self, lane: u8) -> Option<Handle> {
        let message = self.queue.pop_front().filter(|_| lane == 0)?;
        self.under_way.push(message);
        Some(Handle(self.under_way.len() as u32 - 1))
    }

    fn describe(&self, message: Handle) -> Outgoing {
        let bytes = self.under_way[message.0 as usize].len() as u32;
        Outgoing { kind: SerialKind::Ctrl, topic: 0, ts: None, correlation: None, bytes }
    }

    fn bytes(&self, message: Handle, offset: usize, bytes: usize) -> &[u8] {
        &self.under_way[message.0 as usize][offset..offset + bytes]
    }
}

/// A line, its outbox, and a device at its other end, in virtual time.
struct Bench {
    now: Instant,
    line: Line,
    outbox: Outbox,
    pool: Pool,
    drops: Drops,
    device: Box<SerialLink>,
    controls: Controls,
    down: Pipe,
    up: Pipe,
    /// What the broker was told.
    said: Vec<u8>,
    /// What the device was told.
    got: Vec<(Head, Vec<u8>)>,
    opened: u32,
    counts: Vec<Count>,
}

impl Bench {
    /// Both are there, and the device takes part in the lanes that `has` says.
    fn new(has: impl Fn(u8) -> bool) -> Self {
        let host = LineSetup {
            baud: BAUD,
            node_id: [1; 8],
            lanes: &LaneTable::STANDARD,
            topics_max: 8,
            address: 0,
            devices: 1,
        };
        let mut setup = Setup { role: Role::Device, node_id: [2; 8], name: "probe", ..setup(&host) };
        for lane in &mut setup.lanes {
            (lane.offer.assembly, lane.offer.credit) = (1_024, 0);
            if !has(lane.offer.lane) {
                // It is another one then.
                lane.offer.kind = LaneKind::RU;
            }
        }
        Self {
            now: Instant(0),
            line: Line::new(Instant(0), &host, 7, Numbers::default()),
            outbox: Outbox::default(),
            pool: Pool::new(SHAPE),
            drops: Drops::default(),
            device: Box::new(Link::new(Instant(0), setup, 9)),
            controls: Controls::default(),
            down: Pipe::default(),
            up: Pipe::default(),
            said: Vec::new(),
            got: Vec::new(),
            opened: 0,
            counts: Vec::new(),
        }
    }

    /// The broker greets its new peer, and tells it of its topic.
    fn greet(&mut self) {
        let topics = vec![Topic { id: TOPIC, name: "a/b".into(), ..Topic::default() }];
        let declare = Control::new(laneway_proto::control::Body::DeclareTopics(DeclareTopics { topics }));
        self.outbox.push_control(&PREFACE, &mut self.pool);
        self.outbox.push_control(&declare.to_frame(), &mut self.pool);
    }

    fn publish(&mut self, lane: u8, payload: &[u8]) {
        let header = Header { topic: TOPIC, lane, seq: 1, ..Header::new(Kind::PUB, payload.len()) };
        self.queue(lane, &[&header.encode()[..], payload].concat());
    }

    /// A message that is to be confirmed, and may come again.
    fn publish_confirmed(&mut self, seq: u32, payload: &[u8]) {
        let src = Src { origin: 77, seq }.encode();
        let header =
            Header { topic: TOPIC, lane: 1, seq, flags: Flags::SRC, ..Header::new(Kind::PUB, 8 + payload.len()) };
        self.queue(1, &[&header.encode()[..], &src, payload].concat());
    }

    fn queue(&mut self, lane: u8, frame: &[u8]) {
        let buf = self.pool.take_egress();
        self.pool.bytes_mut(buf)[..frame.len()].copy_from_slice(frame);
        let piece = Piece { buf, start: 0, len: frame.len() as u32 };
        let service = Service { lane, policy: Policy::Block, bytes_max: 1 << 20, ttl_ms: 0, rate_hz: 0 };
        let frames = Frames::plain(TOPIC, &piece, false, 1);
        self.outbox.push(self.now, &service, &frames, &LaneTable::STANDARD, &mut self.pool, &mut self.drops);
        self.pool.release(buf);
    }

    /// Everything that happens until `until`.
    fn run(&mut self, until: Instant) {
        while self.now < until {
            let arrivals = [&self.down, &self.up].into_iter().filter_map(|pipe| pipe.on_it.front().map(|&(at, _)| at));
            let timers = [self.line.poll_timeout(self.now), self.device.poll_timeout(self.now)].into_iter().flatten();
            let next = arrivals.chain(timers).min().unwrap_or(until);
            // What was due now has been done.
            self.now = next.max(self.now + Duration(1_000)).min(until);
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.now;
        let up = self.up.arrived(now);
        let mut rest = &up[..];
        while !rest.is_empty() {
            rest = &rest[self.line.on_bytes(now, rest)..];
            self.take_line_events();
        }
        self.line.on_timeout(now);
        self.take_line_events();
        let mut out = Vec::new();
        let mut from = From { outbox: &mut self.outbox, pool: &mut self.pool, drops: &mut self.drops };
        self.line.transmit(now, &mut from, &mut out);
        self.down.put(now, &out);
        self.take_line_events();
        let down = self.down.arrived(now);
        let mut rest = &down[..];
        while !rest.is_empty() {
            rest = &rest[self.device.on_bytes(now, rest)..];
            self.take_device_events();
        }
        self.device.on_timeout(now);
        self.take_device_events();
        if !self.controls.queue.is_empty() {
            self.device.set_ready(0);
        }
        let mut out = [0; TRANSMIT_BYTES];
        while let Some(bytes) = self.device.poll_transmit(now, &mut self.controls, &mut out) {
            self.up.put(now, &out[..bytes]);
            self.take_device_events();
        }
    }

    fn take_line_events(&mut self) {
        while let Some(happened) = self.line.poll() {
            match happened {
                Happened::Opened => {
                    self.opened += 1;
                    self.greet();
                }
                Happened::Ended(_) => self.outbox.clear(&mut self.pool),
                Happened::Said => self.line.take_up(&mut self.said),
                Happened::Counted(count) => self.counts.push(count),
                Happened::TurnOver => {}
            }
        }
    }

    fn take_device_events(&mut self) {
        while let Some(event) = self.device.poll_event() {
            if let Event::Frame(frame) = event {
                self.got.push((frame.head, frame.payload.to_vec()));
            }
        }
    }

    fn messages(&self) -> impl Iterator<Item = &(Head, Vec<u8>)> {
        self.got.iter().filter(|(head, _)| head.kind == SerialKind::Pub)
    }

    /// The frames that the broker was told, each with its header and payload.
    fn frames(&self) -> Vec<(Header, Vec<u8>)> {
        let (mut rest, mut frames) = (&self.said[..], Vec::new());
        while let Ok(Front::Whole(header)) = length::front(rest, FRAME_BYTES_MAX) {
            let (frame, behind) = rest.split_at(usize::from(header.len));
            frames.push((header, frame[HEADER_BYTES..].to_vec()));
            rest = behind;
        }
        frames
    }
}

const SECOND: Duration = Duration(1_000_000_000);

#[test]
fn never_more_than_two_frames_lie_below_the_scheduler() {
    let mut bench = Bench::new(|_| true);
    bench.run(Instant(0) + SECOND);
    assert_eq!(bench.opened, 1);
    for _ in 0..100 {
        bench.publish(5, &[0; 900]);
        bench.publish(3, &[1; 8]);
        bench.publish(1, &[2; 60]);
    }
    bench.run(bench.now + Duration(4 * SECOND.0));
    let frame = 10_000_000_000 * (96 + OVERHEAD_BYTES as u64 + 1) / u64::from(BAUD);
    eprintln!("{:?} at most, in {} writes", bench.down.backlog_max, bench.down.writes);
    assert!(bench.down.backlog_max.0 <= 2 * frame, "{:?} is more than two frames", bench.down.backlog_max);
    let bulk = bench.got.iter().filter(|(head, _)| head.lane == 5).count();
    assert!(bulk > 100 && bench.down.free_at > bench.now, "the line was busy to the end: {bulk}");
    assert_eq!(bench.messages().filter(|(head, _)| head.lane == 1).count(), 100, "commands went first");
}

#[test]
fn on_a_bad_line_everything_arrives_once_in_order_and_is_counted() {
    for seed in 0..20 {
        let mut bench = Bench::new(|_| true);
        for (pipe, stream) in [&mut bench.down, &mut bench.up].into_iter().zip([0, 1]) {
            (pipe.hurts_one_in, pipe.random) = (400, seed * 2 + stream);
        }
        bench.run(Instant(0) + Duration(5 * SECOND.0));
        assert_eq!(bench.opened, 1, "seed {seed}");
        for number in 0..100_u8 {
            bench.publish(1, &[number; 150]);
            bench.publish(5, &[number; 20]);
        }
        bench.run(bench.now + Duration(30 * SECOND.0));
        for lane in [1, 5] {
            let whole = |head: &&(Head, Vec<u8>)| head.0.lane == lane && head.0.frag.is_none_or(|frag| frag.index == 0);
            let got: Vec<u8> = bench.messages().filter(whole).map(|(_, bytes)| bytes[0]).collect();
            assert_eq!(got, (0..100).collect::<Vec<_>>(), "seed {seed}, lane {lane}");
            let last = bench.counts.iter().rfind(|count| count.lane == lane);
            assert_eq!(last, Some(&Count { lane, total: 100, received: true }), "seed {seed}");
        }
        assert_eq!((bench.outbox.bytes(), bench.pool.held()), (0, 0), "seed {seed}");
        assert!(bench.line.counters().0.bad > 0 && bench.device.counters().bad > 0, "seed {seed}: the line was bad");
    }
}

#[test]
fn a_topic_is_told_before_its_first_message_and_once() {
    let mut bench = Bench::new(|_| true);
    bench.run(Instant(0) + SECOND);
    bench.publish(1, b"x");
    bench.publish(2, b"y");
    bench.run(bench.now + SECOND);
    let told = bench.got.iter().position(|(head, _)| head.kind == SerialKind::Ctrl).expect("told");
    let Ok(Some(Said::Topic { topic, name, .. })) = Said::decode(&bench.got[told].1) else { panic!("a TOPIC") };
    assert_eq!((topic, name), (0x8000, &b"a/b"[..]));
    let messages: Vec<_> = bench.got[told + 1..].iter().map(|(head, bytes)| (head.topic, &bytes[..])).collect();
    assert_eq!(messages, [(0x8000, &b"x"[..]), (0x8000, b"y")]);
}

#[test]
fn what_has_arrived_is_counted_and_what_never_will_is_told_apart() {
    let mut bench = Bench::new(|_| true);
    bench.run(Instant(0) + SECOND);
    for payload in [&[1; 10][..], &[2; 1_025], &[3; 10]] {
        bench.publish(1, payload);
    }
    bench.publish(4, b"unreliable");
    bench.run(bench.now + SECOND);
    let counts: Vec<_> = bench.counts.iter().map(|count| (count.lane, count.total, count.received)).collect();
    assert_eq!(counts, [(1, 1, true), (1, 2, false), (1, 3, true)]);
}

#[test]
fn what_is_sent_again_reaches_the_device_once_and_counts_as_received() {
    let mut bench = Bench::new(|_| true);
    bench.run(Instant(0) + SECOND);
    for seq in [1, 2, 1, 2, 3] {
        bench.publish_confirmed(seq, &[seq as u8]);
    }
    bench.run(bench.now + SECOND);
    assert_eq!(bench.messages().map(|(_, bytes)| bytes[0]).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(bench.counts.last(), Some(&Count { lane: 1, total: 5, received: true }));
    assert!(bench.counts.iter().all(|count| count.received));
}

#[test]
fn parts_of_a_message_that_no_device_takes_hold_up_nothing() {
    let mut bench = Bench::new(|_| true);
    bench.run(Instant(0) + SECOND);
    bench.publish(1, b"its topic is known from then on");
    bench.run(bench.now + SECOND);
    for index in 0..50 {
        let frag = Frag { index, count: 50, total_len: 3_000_000 }.encode();
        let header = Header { topic: TOPIC, lane: 1, flags: Flags::FRAG, ..Header::new(Kind::PUB, 8 + 20) };
        bench.queue(1, &[&header.encode()[..], &frag, &[0; 20]].concat());
    }
    bench.run(bench.now + Duration(1_000_000));
    assert_eq!(bench.outbox.bytes(), 0, "they are gone at once");
    bench.publish(1, b"x");
    bench.run(bench.now + SECOND);
    let lost =
        bench.got.iter().filter(|(_, bytes)| matches!(Said::decode(bytes), Ok(Some(Said::Lost { count: 1, .. }))));
    assert_eq!((lost.count(), bench.messages().count()), (1, 2), "it is told once");
}

#[test]
fn what_is_on_a_lane_that_the_device_does_not_have_holds_up_nothing() {
    let mut bench = Bench::new(|lane| lane != 5);
    bench.run(Instant(0) + SECOND);
    for _ in 0..10 {
        bench.publish(5, b"nobody's");
        bench.publish(15, b"nobody's");
    }
    bench.publish(1, b"x");
    bench.step();
    assert_eq!((bench.outbox.bytes(), bench.line.dropped), (0, 20), "at once");
    bench.run(bench.now + SECOND);
    assert_eq!(bench.messages().map(|(_, bytes)| &bytes[..]).collect::<Vec<_>>(), [b"x"]);
    assert_eq!((bench.outbox.bytes(), bench.line.dropped), (0, 20));
    assert_eq!(bench.pool.held(), 0, "no buffer is kept");
}

#[test]
fn a_subscription_becomes_a_request_and_a_refused_name_an_answer() {
    let mut bench = Bench::new(|_| true);
    let said = |control: Said<'_>| {
        let mut bytes = [0; 64];
        let written = control.encode(&mut bytes).expect("it fits");
        bytes[..written].to_vec()
    };
    let options = laneway_proto::serial::control::SubOptions { no_echo: true, max_rate_hz: 7, ..Default::default() };
    bench.controls.queue.extend([
        said(Said::Topic { topic: 5, retain: false, name: b"a/+" }),
        said(Said::Topic { topic: 6, retain: false, name: b"a/b" }),
        said(Said::Sub { request: 9, topic: 6, options, filter: b"" }),
        said(Said::Sub { request: 10, topic: 7, options, filter: b"" }),
    ]);
    bench.run(Instant(0) + SECOND);
    let controls: Vec<_> = bench.frames().into_iter().map(|(_, body)| Control::decode_body(&body)).collect();
    let [Ok(declared), Ok(subscribed)] = &controls[..] else { panic!("{controls:?}") };
    assert!(matches!(&declared.body, Some(laneway_proto::control::Body::DeclareTopics(topics))
        if topics.topics[0].id == 65_536 && topics.topics[0].name == "a/b"));
    assert_eq!(subscribed.id, 9);
    assert!(matches!(&subscribed.body, Some(laneway_proto::control::Body::Subscribe(subscribe))
        if subscribe.subs[0].pattern == "a/b" && subscribe.subs[0].no_echo && subscribe.subs[0].max_rate_hz == 7));
    let answers: Vec<_> = bench
        .got
        .iter()
        .filter_map(|(_, bytes)| match Said::decode(bytes) {
            Ok(Some(Said::Result { request, code, .. })) => Some((request, code)),
            Ok(_) | Err(_) => None,
        })
        .collect();
    assert_eq!(answers, [(0, 7), (10, 7)], "both are forbidden");
}

#[test]
fn a_devices_clock_that_wraps_goes_on_and_a_little_back_is_back() {
    let mut desk = Desk::default();
    let wrap = 1_u64 << 32;
    let stamps = [5, 0x7000_0000, 0xC000_0000, 0xFFFF_FFF0, 3, 0xFFFF_FFF8, 20];
    let expected = [5, 0x7000_0000, 0xC000_0000, wrap - 16, wrap + 3, wrap - 8, wrap + 20];
    assert_eq!(stamps.map(|stamp| desk.nanoseconds(stamp)), expected.map(|micros| micros * 1_000));
}
