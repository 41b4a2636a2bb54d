//! A session over UDP, on a way that loses, doubles, holds back, changes and invents datagrams: nobody panics, nobody is
//! made to say more than there is to say, and as long as datagrams come unchanged every lane keeps its promise.
//!
//! Input: events, `u8` modulo 9 and what it needs. 0 wait (`u16` ms); 1 publish (`u8`: bit 0 the side, the rest the lane;
//! `u8` bytes); to the oldest datagram under way to a side (`u8`, bit 0): 2 deliver, 3 lose, 4 double, 5 hold back behind
//! the others, 6 change (`u16` where, `u8` xor); 7 invent one (`u8`: bit 0 the side, bit 1 with the session's front; `u8`
//! bytes; the bytes); 8 deliver everything, both ways.

use std::collections::{BTreeSet, VecDeque};

use laneway_proto::control::{Body, Control, Hello, Limits, Welcome};
use laneway_proto::datagram::session::accept;
use laneway_proto::datagram::stream::Stream;
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::lane::kind::LaneKind;
use laneway_proto::lane::table::LaneTable;
use laneway_proto::limits::HEADER_BYTES;
use laneway_proto::session::handshake::{PREFACE, feature};
use laneway_proto::time::{Duration, Instant};

use crate::input::Input;

/// Datagrams under way to one side at most; the oldest is lost beyond.
const UNDER_WAY_MAX: usize = 64;
/// Datagrams that one side may send at once: more than fits any window or queue.
const AT_ONCE_MAX: usize = 10_000;
/// Lanes that are published on.
const LANES: u8 = 5;

/// One end, with what it was sent and what came out.
struct Side {
    stream: Option<Stream>,
    /// Datagrams under way to it.
    way: VecDeque<Vec<u8>>,
    /// The front of the last whole datagram that came, for inventions.
    front: Vec<u8>,
    up: Vec<u8>,
    /// Messages published to it so far, by lane.
    sent: [u32; LANES as usize + 1],
    /// Numbers that came, by lane.
    came: [BTreeSet<u32>; LANES as usize + 1],
}

impl Side {
    fn new(stream: Option<Stream>) -> Self {
        Self {
            stream,
            way: VecDeque::new(),
            front: Vec::new(),
            up: Vec::new(),
            sent: [0; LANES as usize + 1],
            came: Default::default(),
        }
    }
}

struct World {
    now: Instant,
    /// The client, then the broker.
    sides: [Side; 2],
    /// Every datagram came as it was sent.
    untouched: bool,
}

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let mut world = World::new();
    while !input.is_empty() {
        world.event(&mut input);
        world.pump();
        world.judge();
    }
}

impl World {
    fn new() -> Self {
        let now = Instant(1_000_000_000);
        let mut client = Stream::dial(now, 0xC11E, 5, 1_472);
        let limits = Limits { lane_credit: vec![10_000; 16], ..Limits::default() };
        let features = feature::CREDIT | feature::CONFIRM;
        let hello = Hello { features, limits: Some(limits), node_id: vec![7; 16], epoch: 5, ..Hello::default() };
        client.offer(now, &PREFACE);
        client.offer(now, &Control::new(Body::Hello(hello)).to_frame());
        let mut world = Self { now, sides: [Side::new(Some(client)), Side::new(None)], untouched: true };
        world.pump();
        world
    }

    fn event(&mut self, input: &mut Input<'_>) {
        match input.u8() % 9 {
            0 => self.now = self.now + Duration::from_millis(u32::from(input.u16())),
            1 => {
                let (whom, bytes) = (input.u8(), input.u8());
                self.publish(usize::from(whom & 1), 1 + (whom >> 1) % LANES, bytes);
            }
            2 => self.deliver(usize::from(input.u8() & 1)),
            3 => drop(self.way(input).pop_front()),
            4 => {
                let way = self.way(input);
                let oldest = way.front().cloned();
                way.extend(oldest);
            }
            5 => {
                let way = self.way(input);
                let oldest = way.pop_front();
                way.extend(oldest);
            }
            6 => {
                let side = usize::from(input.u8() & 1);
                let (place, change) = (usize::from(input.u16()), input.u8());
                if let Some(oldest) = self.sides[side].way.front_mut() {
                    let place = place % oldest.len().max(1);
                    oldest.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= change);
                    self.untouched &= change == 0;
                }
            }
            7 => self.invent(input),
            _ => {
                for side in [0, 1] {
                    for _ in 0..self.sides[side].way.len() {
                        self.deliver(side);
                    }
                }
            }
        }
    }

    fn way(&mut self, input: &mut Input<'_>) -> &mut VecDeque<Vec<u8>> {
        &mut self.sides[usize::from(input.u8() & 1)].way
    }

    /// `from` publishes a message that begins with its number.
    fn publish(&mut self, from: usize, lane: u8, bytes: u8) {
        let Some(stream) = self.sides[from].stream.as_mut().filter(|stream| stream.is_open() && stream.has_room())
        else {
            return;
        };
        if stream.full_lanes() & 1 << lane != 0 {
            return;
        }
        let number = &mut self.sides[1 - from].sent[usize::from(lane)];
        *number += 1;
        let body = [&number.to_le_bytes()[..], &[lane; 255][..usize::from(bytes)]].concat();
        let header = Header { lane, topic: 9, flags: Flags(0), seq: *number, ..Header::new(Kind::PUB, body.len()) };
        let frame = [&header.encode()[..], &body].concat();
        if let Some(stream) = &mut self.sides[from].stream {
            stream.offer(self.now, &frame);
        }
    }

    fn invent(&mut self, input: &mut Input<'_>) {
        let (how, len) = (input.u8(), input.u8());
        let side = usize::from(how & 1);
        let mut bytes = if how & 2 != 0 { self.sides[side].front.clone() } else { Vec::new() };
        bytes.extend((0..len).map(|_| input.u8()));
        self.untouched = false;
        self.sides[side].way.push_front(bytes);
        self.deliver(side);
    }

    /// The oldest datagram under way to `side` arrives.
    fn deliver(&mut self, side: usize) {
        let Some(bytes) = self.sides[side].way.pop_front() else { return };
        // A stranger is answered with no more than it sent.
        if let Some(gone) = accept::answer_gone(&bytes, 9) {
            assert!(gone.len() <= bytes.len(), "{} bytes for {}", gone.len(), bytes.len());
        }
        let _ = (accept::gone_session(&bytes), accept::session_of(&bytes));
        let now = self.now;
        if side == 1
            && let Some(attempt) = accept::attempt(&bytes)
        {
            match &mut self.sides[1].stream {
                Some(broker) => broker.on_attempt(&attempt),
                None => {
                    let mut broker = Stream::accept(&attempt, 0xB0B0, 9, LaneTable::STANDARD);
                    let welcome = Welcome { features: feature::CREDIT | feature::CONFIRM, ..Welcome::default() };
                    broker.offer(now, &[&PREFACE[..], &Control::new(Body::Welcome(welcome)).to_frame()].concat());
                    self.sides[1].stream = Some(broker);
                }
            }
        }
        if let Some(stream) = &mut self.sides[side].stream {
            let _ = stream.on_datagram(now, &bytes);
        }
        self.sides[side].front = bytes[..bytes.len().min(12)].to_vec();
    }

    /// Timers, and what either side has to send.
    fn pump(&mut self) {
        let now = self.now;
        for side in [0, 1] {
            let Some(stream) = &mut self.sides[side].stream else { continue };
            if stream.poll_timeout().is_some_and(|at| at <= now) {
                stream.on_timeout(now);
            }
            let (mut out, mut sent) = ([0; 2_048], Vec::new());
            while let Some(bytes) = stream.poll_transmit(now, &mut out) {
                sent.push(out[..bytes].to_vec());
                assert!(sent.len() < AT_ONCE_MAX, "it never stops sending");
            }
            let up = stream.up().to_vec();
            stream.take_up(up.len());
            self.sides[side].up.extend(up);
            let way = &mut self.sides[1 - side].way;
            way.extend(sent);
            way.drain(..way.len().saturating_sub(UNDER_WAY_MAX));
        }
    }

    /// What came out is what lanes promise.
    fn judge(&mut self) {
        for side in &mut self.sides {
            let up = std::mem::take(&mut side.up);
            let mut rest = up.strip_prefix(&PREFACE[..]).unwrap_or(&up);
            while let Some(head) = rest.first_chunk::<HEADER_BYTES>() {
                let header = Header::decode(head).expect("whole frames come out");
                let (frame, behind) = rest.split_at(usize::from(header.len));
                rest = behind;
                if header.kind == Kind::PUB && self.untouched {
                    judge_message(side.sent, &mut side.came, &header, &frame[HEADER_BYTES..]);
                }
            }
            assert!(rest.is_empty(), "and nothing else");
        }
    }
}

fn judge_message(
    sent: [u32; LANES as usize + 1],
    came: &mut [BTreeSet<u32>; LANES as usize + 1],
    header: &Header,
    body: &[u8],
) {
    let lane = usize::from(header.lane);
    let number = body.first_chunk().map(|number| u32::from_le_bytes(*number)).expect("a number");
    let came = &mut came[lane];
    assert!((1..=sent[lane]).contains(&number), "nobody sent number {number} of lane {lane}");
    let last = came.last().copied().unwrap_or(0);
    assert!(came.insert(number), "number {number} of lane {lane} came twice");
    let kind = LaneTable::STANDARD.get(header.lane).map(|spec| spec.kind);
    match kind.expect("a lane of the table") {
        LaneKind::RO => assert_eq!(number, last + 1, "lane {lane} is in order and complete"),
        LaneKind::US => assert!(number > last, "lane {lane} never goes back"),
        LaneKind::RU | LaneKind::UU => {}
    }
}
