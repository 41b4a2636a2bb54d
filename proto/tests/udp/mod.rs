//! Two sides of a session, and a network between them that loses, doubles, delays and reorders by a seed.
#![allow(dead_code, reason = "each test file uses a part")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use laneway_proto::datagram::loss::RangeLost;
use laneway_proto::datagram::outbound::{Carried, FrameSlot, Outcome, PayloadId};
use laneway_proto::datagram::sent::SentSlot;
use laneway_proto::datagram::session::{
    Dropped, Heard, LaneRule, NewestSlot, Session, Setup, Source, Upper, WINDOW_WORDS,
};
use laneway_proto::frame::extensions::Frag;
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::lane::kind::LaneKind;
use laneway_proto::limits::{HEADER_BYTES, LANES_MAX};
use laneway_proto::time::{Duration, Instant};

pub(crate) const RO: u8 = 1;
pub(crate) const RU: u8 = 2;
pub(crate) const US: u8 = 3;
pub(crate) const UU: u8 = 4;

pub(crate) type Machine = Session<Vec<FrameSlot>, Vec<SentSlot>, Vec<u64>, Vec<NewestSlot>>;

/// Random numbers that a seed repeats.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn percent(&mut self, percent: f64) -> bool {
        (self.below(1_000_000) as f64) < percent * 10_000.0
    }
}

/// What the path does to datagrams.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Path {
    pub(crate) loss_percent: f64,
    pub(crate) double_percent: f64,
    pub(crate) delay_us: u64,
    pub(crate) jitter_us: u64,
    /// So many come later than others by `reorder_us`.
    pub(crate) reorder_percent: f64,
    pub(crate) reorder_us: u64,
    /// So many have a wrong bit.
    pub(crate) corrupt_percent: f64,
}

impl Path {
    /// Nothing happens on it, and it takes no time.
    pub(crate) const CLEAN: Self = Self {
        loss_percent: 0.0,
        double_percent: 0.0,
        delay_us: 0,
        jitter_us: 0,
        reorder_percent: 0.0,
        reorder_us: 0,
        corrupt_percent: 0.0,
    };
}

/// Datagrams under way in one direction.
#[derive(Default)]
pub(crate) struct Wire {
    queue: BinaryHeap<Reverse<(u64, u64, Vec<u8>)>>,
    put: u64,
    /// Bytes of everything that was sent on it.
    pub(crate) bytes: u64,
}

impl Wire {
    pub(crate) fn put(&mut self, now: Instant, path: Path, dice: &mut Dice, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let copies = if dice.percent(path.double_percent) { 2 } else { 1 };
        for _ in 0..copies {
            if dice.percent(path.loss_percent) {
                continue;
            }
            let jitter = if path.jitter_us > 0 { dice.below(path.jitter_us) } else { 0 };
            self.put += 1;
            let late = if dice.percent(path.reorder_percent) { path.reorder_us } else { 0 };
            let mut bytes = bytes.to_vec();
            if dice.percent(path.corrupt_percent) {
                let at = dice.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << dice.below(8);
            }
            self.queue.push(Reverse((now.0 + (path.delay_us + jitter + late) * 1_000, self.put, bytes)));
        }
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((at, ..))| Instant(*at))
    }

    pub(crate) fn take(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next_at()? > now {
            return None;
        }
        self.queue.pop().map(|Reverse((.., bytes))| bytes)
    }
}

/// The owner of one side: what it wants to send, and what it got.
#[derive(Default)]
pub(crate) struct Owner {
    pub(crate) waiting: [VecDeque<Carried>; LANES_MAX],
    bodies: BTreeMap<u32, Vec<u8>>,
    next_body: u32,
    kept: BTreeMap<(u8, u32), (Header, Vec<u8>)>,
    pub(crate) delivered: Vec<(u8, Vec<u8>)>,
    /// Of each of them, its header and when it was delivered.
    pub(crate) headers: Vec<(Header, Instant)>,
    pub(crate) now: Instant,
    pub(crate) lost: Vec<RangeLost>,
    pub(crate) full: bool,
    once: Vec<u32>,
    pub(crate) sent: [u32; LANES_MAX],
    pub(crate) pongs: u32,
}

impl Owner {
    pub(crate) fn offer(&mut self, lane: u8, topic: u32, body: &[u8], deadline: Option<Instant>) {
        self.offer_frame(lane, topic, None, body, deadline);
    }

    /// A frame, which may be a fragment; then its body begins with that block.
    pub(crate) fn offer_frame(
        &mut self,
        lane: u8,
        topic: u32,
        frag: Option<Frag>,
        body: &[u8],
        deadline: Option<Instant>,
    ) {
        self.next_body += 1;
        self.bodies.insert(self.next_body, body.to_vec());
        let (kind, payload) = (if lane == 0 { Kind::CTRL } else { Kind::PUB }, PayloadId(self.next_body));
        self.waiting[usize::from(lane)].push_back(Carried {
            kind,
            flags: if frag.is_some() { Flags::FRAG } else { Flags(0) },
            hops: 0,
            ckey: 0,
            topic,
            payload,
            body_bytes: body.len() as u16,
            frag,
            messages: 1,
            deadline,
        });
    }

    /// The bodies that arrived on a lane, in their order.
    pub(crate) fn of(&self, lane: u8) -> Vec<&[u8]> {
        self.delivered.iter().filter(|(of, _)| *of == lane).map(|(_, body)| &body[..]).collect()
    }

    pub(crate) fn bodies(&self) -> usize {
        self.bodies.len()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }
}

impl Upper for Owner {
    fn has_room(&self) -> bool {
        !self.full
    }

    fn deliver(&mut self, header: &Header, frame: &[u8]) {
        if header.kind == Kind::PUB || header.kind == Kind::CTRL {
            self.headers.push((*header, self.now));
            self.delivered.push((header.lane, frame[HEADER_BYTES..].to_vec()));
        }
        self.pongs += u32::from(header.kind == Kind::PONG);
    }

    fn keep(&mut self, header: &Header, frame: &[u8]) {
        let kept = (*header, frame[HEADER_BYTES..].to_vec());
        assert_eq!(self.kept.insert((header.lane, header.seq), kept), None, "a frame is kept once");
    }

    fn release(&mut self, lane: u8, seq: u32) {
        let (header, body) = self.kept.remove(&(lane, seq)).expect("what is released was kept");
        self.headers.push((header, self.now));
        self.delivered.push((lane, body));
    }

    fn forget(&mut self, lane: u8, seq: u32) {
        self.kept.remove(&(lane, seq)).expect("what is forgotten was kept");
    }

    fn lost(&mut self, lost: &RangeLost) {
        self.lost.push(*lost);
    }

    fn outdated(&mut self, _header: &Header) {}
}

impl Source for Owner {
    fn peek(&self, lane: u8) -> Option<Carried> {
        self.waiting[usize::from(lane)].front().copied()
    }

    fn take(&mut self, lane: u8, _seq: u32) {
        let carried = self.waiting[usize::from(lane)].pop_front().expect("it was there");
        self.sent[usize::from(lane)] += 1;
        if lane == US || lane == UU {
            self.once.push(carried.payload.0);
            self.bodies.remove(&carried.payload.0);
        }
    }

    fn body(&self, payload: PayloadId) -> &[u8] {
        self.bodies.get(&payload.0).expect("a body stays until it is settled")
    }

    fn unnumbered(&mut self, _room: usize) -> Option<&[u8]> {
        None
    }

    fn credit(&self, lane: u8) -> Option<u64> {
        Some(u64::from(lane) * 1_000)
    }
}

pub(crate) fn rules() -> [Option<LaneRule>; LANES_MAX] {
    let mut rules = [None; LANES_MAX];
    for (lane, kind, class) in [
        (0, LaneKind::RO, 0),
        (RO, LaneKind::RO, 1),
        (RU, LaneKind::RU, 2),
        (US, LaneKind::US, 2),
        (UU, LaneKind::UU, 3),
    ] {
        rules[usize::from(lane)] = Some(LaneRule { kind, class });
    }
    rules
}

pub(crate) fn machine(now: Instant, setup: Setup) -> Machine {
    let windows = std::array::from_fn(|_| vec![0; WINDOW_WORDS]);
    let frames = vec![FrameSlot::default(); 2_048];
    Session::new(now, setup, frames, vec![SentSlot::default(); 512], windows, vec![NewestSlot::default(); 256])
}

pub(crate) struct Side {
    pub(crate) machine: Machine,
    pub(crate) owner: Owner,
    pub(crate) settled: [u32; 3],
}

impl Side {
    fn transmit(&mut self, now: Instant, mut put: impl FnMut(&[u8])) {
        let mut out = [0; 2_048];
        while let Some(bytes) = self.machine.poll_transmit(now, &mut self.owner, &mut out) {
            put(&out[..bytes]);
        }
        while let Some(settled) = self.machine.poll_settled() {
            self.owner.bodies.remove(&settled.payload.0).expect("a body is settled once");
            self.settled[match settled.outcome {
                Outcome::Acked => 0,
                Outcome::Abandoned => 1,
                Outcome::MaybeDelivered => 2,
            }] += 1;
        }
    }

    pub(crate) fn on_datagram(&mut self, now: Instant, bytes: &[u8]) -> Result<Heard, Dropped> {
        self.owner.now = now;
        self.machine.on_datagram(now, bytes, &mut self.owner)
    }
}

/// Two sides and the network.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) sides: [Side; 2],
    pub(crate) wires: [Wire; 2],
    pub(crate) path: Path,
    pub(crate) dice: Dice,
    /// Every datagram, by the side that sent it.
    pub(crate) trace: Option<Vec<(usize, Vec<u8>)>>,
}

impl Pair {
    pub(crate) fn new(seed: u64, path: Path) -> Self {
        println!("seed {seed}");
        Self::agreed(seed, path, |setup| setup)
    }

    /// Both sides have agreed on what `change` makes of the usual.
    pub(crate) fn agreed(seed: u64, path: Path, change: impl Fn(Setup) -> Setup) -> Self {
        let now = Instant(1_000_000_000);
        let setup = |own, peer, epoch, peer_epoch, opens| Setup {
            opens,
            datagram_bytes: 1_200,
            ..Setup::new(own, peer, epoch, peer_epoch, rules())
        };
        let side = |setup| Side { machine: machine(now, change(setup)), owner: Owner::default(), settled: [0; 3] };
        let sides = [side(setup(0x101, 0x202, 1, 2, true)), side(setup(0x202, 0x101, 2, 1, false))];
        Self { now, sides, wires: Default::default(), path, dice: Dice::new(seed), trace: None }
    }

    /// Everything that is due now; then time goes on to what is next, `until` at most. False if nothing is to come.
    pub(crate) fn step(&mut self, until: Instant) -> bool {
        for from in 0..2 {
            while let Some(bytes) = self.wires[from].take(self.now) {
                let _ = self.sides[1 - from].on_datagram(self.now, &bytes);
            }
        }
        for side in &mut self.sides {
            if side.machine.poll_timeout().is_some_and(|at| at <= self.now) {
                side.machine.on_timeout(self.now);
            }
        }
        let Self { sides, wires, path, dice, now, trace, .. } = self;
        for (from, side) in sides.iter_mut().enumerate() {
            side.transmit(*now, |bytes| {
                if let Some(trace) = trace {
                    trace.push((from, bytes.to_vec()));
                }
                wires[from].put(*now, *path, dice, bytes);
            });
        }
        let timers = sides.iter().filter_map(|side| side.machine.poll_timeout());
        let arrivals = wires.iter().filter_map(Wire::next_at);
        let Some(next) = timers.chain(arrivals).min() else { return false };
        self.now = next.max(self.now + Duration(1)).min(until);
        true
    }

    /// Goes on until `done` says so, or for so many milliseconds; says whether it is done.
    pub(crate) fn run(&mut self, ms: u32, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.now + Duration::from_millis(ms);
        while self.now < until {
            if done(self) {
                return true;
            }
            if !self.step(until) {
                break;
            }
        }
        done(self)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.sides.iter().all(|side| side.owner.is_done() && side.machine.is_settled())
    }
}
