//! Two streams of frames with UDP between them: the same frames come out as on TCP, whatever the path does.
#![cfg(feature = "control")]

mod udp;

use std::collections::BTreeMap;

use laneway_proto::control::{Body, Control, Goodbye, Hello, Limits, Welcome};
use laneway_proto::datagram::session::accept;
use laneway_proto::datagram::stream::{End, Stream};
use laneway_proto::frame::batch;
use laneway_proto::frame::credit::{self, LaneTotal};
use laneway_proto::frame::extensions::{Extensions, Src};
use laneway_proto::frame::fragment::Cutter;
use laneway_proto::frame::ping::{Ping, Pong};
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::lane::table::LaneTable;
use laneway_proto::session::handshake::{PREFACE, feature};
use laneway_proto::time::{Duration, Instant};
use udp::{Dice, Path, RO, RU, US, UU, Wire};

const BAD: Path = Path { loss_percent: 10.0, double_percent: 5.0, delay_us: 200, jitter_us: 1_000, ..Path::CLEAN };
const GOOD: Path = Path { loss_percent: 0.0, double_percent: 0.0, delay_us: 50, jitter_us: 0, ..Path::CLEAN };

struct World {
    now: Instant,
    path: Path,
    dice: Dice,
    wires: [Wire; 2],
    client: Stream,
    broker: Option<Stream>,
    up: [Vec<u8>; 2],
}

fn hello() -> Vec<u8> {
    let limits = Limits { lane_credit: vec![100_000; 16], ..Limits::default() };
    let features = feature::CREDIT | feature::CONFIRM;
    let hello = Hello { features, limits: Some(limits), node_id: vec![7; 16], epoch: 5, ..Hello::default() };
    Control::new(Body::Hello(hello)).to_frame()
}

impl World {
    fn open(seed: u64, path: Path) -> Self {
        println!("seed {seed}");
        let now = Instant(1_000_000_000);
        let mut client = Stream::dial(now, 0xC11E, 5, 1_472);
        client.offer(now, &PREFACE);
        client.offer(now, &hello());
        let wires = [Wire::default(), Wire::default()];
        let mut world =
            Self { now, path, dice: Dice::new(seed), wires, client, broker: None, up: [Vec::new(), Vec::new()] };
        assert!(world.run(20_000, |world| world.client.is_open()), "no session");
        assert!(world.up[0].starts_with(&PREFACE) && world.up[1].starts_with(&PREFACE));
        for side in 0..2 {
            world.up[side].drain(..8);
            let first = world.frames(side);
            assert_eq!((first.len(), first[0].0.kind), (1, Kind::CTRL), "WELCOME, or HELLO");
        }
        world
    }

    fn side(&mut self, side: usize) -> &mut Stream {
        if side == 0 { &mut self.client } else { self.broker.as_mut().expect("it is open") }
    }

    fn on_attempt(&mut self, bytes: &[u8]) {
        let Some(attempt) = accept::attempt(bytes) else { return };
        match &mut self.broker {
            Some(broker) => broker.on_attempt(&attempt),
            None => {
                let mut broker = Stream::accept(&attempt, 0xB0B0, 9, LaneTable::STANDARD);
                let welcome = Welcome { features: feature::CREDIT | feature::CONFIRM, ..Welcome::default() };
                broker.offer(self.now, &[&PREFACE[..], &Control::new(Body::Welcome(welcome)).to_frame()].concat());
                self.broker = Some(broker);
            }
        }
    }

    fn step(&mut self, until: Instant) -> bool {
        let now = self.now;
        while let Some(bytes) = self.wires[0].take(now) {
            self.on_attempt(&bytes);
            if let Some(broker) = &mut self.broker {
                let _ = broker.on_datagram(now, &bytes);
            }
        }
        while let Some(bytes) = self.wires[1].take(now) {
            let _ = self.client.on_datagram(now, &bytes);
        }
        let Self { client, broker, wires, path, dice, up, .. } = self;
        let mut next = None;
        for (side, stream) in [Some(client), broker.as_mut()].into_iter().enumerate() {
            let Some(stream) = stream else { continue };
            if stream.poll_timeout().is_some_and(|at| at <= now) {
                stream.on_timeout(now);
            }
            let mut out = [0; 2_048];
            while let Some(bytes) = stream.poll_transmit(now, &mut out) {
                wires[side].put(now, *path, dice, &out[..bytes]);
            }
            up[side].extend_from_slice(stream.up());
            stream.take_up(stream.up().len());
            next = [next, stream.poll_timeout()].into_iter().flatten().min();
        }
        let arrivals = wires.iter().filter_map(Wire::next_at);
        let Some(next) = next.into_iter().chain(arrivals).min() else { return false };
        self.now = next.max(now + Duration(1)).min(until);
        true
    }

    fn run(&mut self, ms: u32, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.now + Duration::from_millis(ms);
        while !done(self) {
            if self.now >= until || !self.step(until) {
                return false;
            }
        }
        true
    }

    /// Offers frames as there is room, then waits until all have arrived.
    fn send(&mut self, side: usize, frames: &[Vec<u8>]) {
        for frame in frames {
            assert!(self.run(30_000, |world| world.side(side).has_room()), "stuck");
            let now = self.now;
            let (front, back) = frame.split_at(frame.len() / 3);
            self.side(side).offer(now, front);
            self.side(side).offer(now, back);
        }
        assert!(self.run(60_000, |world| world.side(side).is_done()), "not settled");
        self.run(50, |_| false);
    }

    /// The frames that came out on a side.
    fn frames(&mut self, side: usize) -> Vec<(Header, Vec<u8>)> {
        let mut frames = Vec::new();
        let up = std::mem::take(&mut self.up[side]);
        let mut rest = &up[..];
        while let Some(head) = rest.first_chunk() {
            let header = Header::decode(head).expect("a header");
            let (frame, behind) = rest.split_at(usize::from(header.len));
            frames.push((header, frame[16..].to_vec()));
            rest = behind;
        }
        frames
    }
}

fn publish(lane: u8, topic: u32, flags: Flags, body: &[u8]) -> Vec<u8> {
    let header = Header { lane, topic, flags, seq: 1, ..Header::new(Kind::PUB, body.len()) };
    [&header.encode()[..], body].concat()
}

fn payload(number: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 7 + number) as u8).collect()
}

/// A large message as a client cuts it for a stream.
fn fragments(lane: u8, origin: u32, payload: &[u8]) -> Vec<Vec<u8>> {
    let flags = Flags::FRAG.with(Flags::SRC);
    let cutter = Cutter::new(payload.len() as u32, 16 * 1024).expect("it is cut");
    let src = Src { origin, seq: 7 }.encode();
    cutter.map(|(frag, range)| publish(lane, 9, flags, &[&frag.encode()[..], &src, &payload[range]].concat())).collect()
}

#[test]
fn frames_of_any_length_come_out_as_they_went_in() {
    for seed in 1..=8 {
        let mut world = World::open(seed, BAD);
        for side in 0..2 {
            for lane in [RO, RU] {
                let lengths = [0, 1, 100, 1_400, 1_424, 1_430, 5_000, 30_000, 65_000];
                let sent: Vec<_> =
                    (0..60).map(|at| publish(lane, 9, Flags(0), &payload(at, lengths[at % lengths.len()]))).collect();
                world.send(side, &sent);
                let mut got: Vec<_> = world
                    .frames(1 - side)
                    .into_iter()
                    .filter(|(header, _)| header.kind == Kind::PUB)
                    .map(|(header, body)| {
                        assert_eq!((header.lane, header.topic, header.flags), (lane, 9, Flags(0)));
                        body
                    })
                    .collect();
                let mut expected: Vec<_> = sent.iter().map(|frame| frame[16..].to_vec()).collect();
                if lane == RU {
                    got.sort();
                    expected.sort();
                }
                assert!(got == expected, "seed {seed}, side {side}, lane {lane}: {} of {}", got.len(), expected.len());
            }
        }
    }
}

#[test]
fn large_messages_of_two_publishers_may_stand_between_one_another() {
    for (seed, lane) in [(1, RO), (2, RU), (3, RU), (4, RO)] {
        let mut world = World::open(seed, BAD);
        let sent = [payload(1, 300_001), payload(2, 200_000)];
        let cut = [fragments(lane, 1, &sent[0]), fragments(lane, 2, &sent[1])];
        let longest = cut[0].len().max(cut[1].len());
        let mixed: Vec<_> = (0..longest).flatten_pair(&cut);
        world.send(1, &mixed);
        let mut got: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for (header, body) in world.frames(0) {
            if header.kind != Kind::PUB {
                continue;
            }
            let (extensions, part) = Extensions::decode(header.flags, &body).expect("sound");
            let (src, frag) = (extensions.src.expect("a source"), extensions.frag.expect("a fragment"));
            let message = got.entry(src.origin).or_default();
            assert_eq!(message.len(), usize::from(frag.index) * 16 * 1024, "in order within the message");
            message.extend_from_slice(part);
        }
        assert!(got.values().eq(&sent), "seed {seed}, lane {lane}");
    }
}

trait FlattenPair {
    fn flatten_pair(self, cut: &[Vec<Vec<u8>>; 2]) -> Vec<Vec<u8>>;
}

impl FlattenPair for std::ops::Range<usize> {
    fn flatten_pair(self, cut: &[Vec<Vec<u8>>; 2]) -> Vec<Vec<u8>> {
        self.flat_map(|at| cut.iter().filter_map(move |message| message.get(at).cloned())).collect()
    }
}

#[test]
fn a_batch_that_is_too_long_becomes_smaller_ones_with_the_same_messages() {
    let mut world = World::open(5, BAD);
    let messages: Vec<_> = (0..50).map(|at| payload(at, if at == 20 { 3_000 } else { 120 + at })).collect();
    let mut body = batch::prefix(messages.len() as u16).to_vec();
    for message in &messages {
        body.extend_from_slice(&(message.len() as u16).to_le_bytes());
        body.extend_from_slice(message);
    }
    let mut frame = publish(RO, 9, Flags(0), &body);
    frame[2] = Kind::BATCH.0;
    world.send(0, &[frame]);
    let mut got = Vec::new();
    for (header, body) in world.frames(1) {
        match header.kind {
            Kind::BATCH => {
                let items = batch::Messages::new(&body).expect("a batch");
                got.extend(items.map(|item| item.expect("an item").to_vec()));
            }
            Kind::PUB => got.push(body),
            // A session that hears nothing for a while asks its peer.
            Kind::PING => {}
            kind => assert_eq!(kind, Kind::COUNT),
        }
    }
    assert!(got == messages);
}

#[test]
fn a_ping_is_answered_when_everything_in_front_of_it_has_arrived() {
    for seed in 1..=10 {
        let mut world = World::open(seed, BAD);
        let (now, mut sent) = (world.now, 0);
        for at in 0..200 {
            world.client.offer(now, &publish([RO, RU][at % 2], 9, Flags(0), &payload(at, 300)));
            sent += 1;
        }
        world.client.offer(now, &Ping { t0: 77 }.encode());
        let mut before = 0;
        let arrived = world.run(20_000, |world| {
            let up = world.frames(1);
            before += up.iter().filter(|(header, _)| header.kind == Kind::PUB).count();
            let asked = up.iter().any(|(header, body)| header.kind == Kind::PING && body[..] == 77u64.to_le_bytes());
            if asked {
                let now = world.now;
                world.side(1).offer(now, &Pong { t0: 77, t1: 1, t2: 2 }.encode());
            }
            asked
        });
        assert!(
            arrived && before == sent,
            "seed {seed}: {arrived}, {before} of {sent} {:?} {:?} {:?}",
            world.client.counters(),
            world.broker.as_ref().map(|b| (b.counters(), b.end())),
            world.client.end()
        );
        let pongs = |world: &mut World| {
            let up = world.frames(1);
            if up.iter().any(|(header, _)| header.kind == Kind::PING) {
                let now = world.now;
                world.side(1).offer(now, &Pong { t0: 77, t1: 1, t2: 2 }.encode());
            }
            world.frames(0).iter().filter(|(header, _)| header.kind == Kind::PONG).count()
        };
        let mut answered = 0;
        world.run(5_000, |world| {
            answered += pongs(world);
            answered > 0
        });
        world.run(1_000, |world| {
            answered += pongs(world);
            false
        });
        assert_eq!(answered, 1, "seed {seed}: once, however often it was asked");
    }
}

#[test]
fn credit_that_was_lost_with_its_frames_comes_back() {
    let mut world = World::open(6, Path { loss_percent: 25.0, ..GOOD });
    // The client gives 100,000 bytes of each lane at first. A broker that keeps to it must be able to go on for ever.
    let (mut allowed, mut spent, mut received, mut given) =
        ([100_000u64; 16], [0u64; 16], [0u64; 16], [100_000u64; 16]);
    let mut sent = 0;
    for round in 0..30_000u32 {
        for lane in [US, UU] {
            let frame = publish(lane, 9 + round % 5, Flags(0), &payload(round as usize, 200 + round as usize % 3_000));
            if spent[usize::from(lane)] + frame.len() as u64 <= allowed[usize::from(lane)] && world.side(1).has_room() {
                spent[usize::from(lane)] += frame.len() as u64;
                let now = world.now;
                world.side(1).offer(now, &frame);
                sent += 1;
            }
        }
        let until = world.now + Duration::from_micros(100);
        while world.now < until && world.step(until) {}
        for (header, body) in world.frames(1) {
            if header.kind == Kind::CREDIT {
                credit::decode(&body).expect("sound").for_each(|total| {
                    assert!(total.total > allowed[usize::from(total.lane)], "it only grows");
                    allowed[usize::from(total.lane)] = total.total;
                });
            }
        }
        for (header, _) in world.frames(0) {
            if header.kind == Kind::PUB {
                let lane = usize::from(header.lane);
                received[lane] += u64::from(header.len);
                assert!(received[lane] <= given[lane], "never more than was given");
                if given[lane] - received[lane] < 50_000 {
                    given[lane] = received[lane] + 100_000;
                    let frame = &mut [0; credit::CREDIT_FRAME_BYTES_MAX];
                    let total = LaneTotal { lane: header.lane, total: given[lane] };
                    let now = world.now;
                    world.client.offer(now, credit::encode(&[total], frame));
                }
            }
        }
    }
    assert!(sent > 20_000, "{sent} frames");
    assert!(received[usize::from(UU)] > 3_000_000 && received[usize::from(US)] > 1_000_000, "{received:?}");
}

#[test]
fn a_goodbye_arrives_behind_everything_else_and_a_refusal_ends_the_attempt() {
    let mut world = World::open(7, BAD);
    let goodbye = Control::new(Body::Goodbye(Goodbye::default())).to_frame();
    world.send(0, &[publish(RO, 9, Flags(0), b"last"), goodbye]);
    let kinds: Vec<_> = world.frames(1).into_iter().map(|(header, _)| header.kind).collect();
    assert!(kinds.contains(&Kind::PUB) && kinds.contains(&Kind::CTRL), "{kinds:?}");
    assert_eq!(world.client.end(), None::<End>);
}
