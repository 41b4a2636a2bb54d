//! A device at the other end of a serial line: the link's machine, and what stands between it and the broker.
//!
//! To the broker a device is a peer like any other: it says HELLO, declares topics, subscribes and publishes in the frames
//! of stream links, which are made here from what it says on its line (`upward`), and what is for it is taken from its
//! outbox one frame at a time, when the line can take it (`downward`), so that nothing waits below the outbox's queues. A
//! device that speaks another protocol is the same to the broker (`foreign`).

mod downward;
mod fates;
mod foreign;
mod grants;
mod talker;
mod topics;
mod upward;

use std::collections::{BTreeMap, VecDeque};

use laneway_proto::lane::kind::LaneKind;
use laneway_proto::lane::repeats::{Heard, Repeats};
use laneway_proto::lane::table::LaneTable;
use laneway_proto::limits::LANES_MAX;
use laneway_proto::serial::Handle;
use laneway_proto::serial::frame::SerialKind;
use laneway_proto::serial::hello::{LaneOffer, Role, SERIAL_NODE_ID_BYTES};
use laneway_proto::serial::limits::{SERIAL_DEAD_MS_DEFAULT, SERIAL_MTU_MAX, SERIAL_WINDOW_MAX};
use laneway_proto::serial::link::{
    Counters, Ended, Event, LaneSetup, Link, Outgoing, Setup, Source, frame_bytes, transmit_bytes,
};
use laneway_proto::serial::mtu::{OVERHEAD_BYTES, mtu_of_baud};
use laneway_proto::time::Instant;

pub use self::fates::Count;
use self::fates::Fates;
pub use self::foreign::{Foreign, ForeignCounters};
use self::grants::{CREDIT_FRAMES, Grant};
pub use self::talker::{Seen, Talker};
use self::topics::{Knows, Topics};
use crate::counters::Drops;
use crate::outbox::Outbox;
use crate::pool::Pool;

/// Lanes of a line: those that exist without other arrangement.
pub const LINE_LANES: usize = 6;
/// Frames kept that arrive before the one they follow, of all lanes.
const KEPT_FRAMES: usize = 64;
/// Bytes of a message that is put together from fragments, on reliable lanes.
const ASSEMBLY_BYTES: u16 = 16 * 1024;
/// Fragments of a message on unreliable lanes.
const FRAGMENTS_UNRELIABLE: u16 = 16;
/// Publishers and lanes of which is known what they have said before.
const REPEATS_PLACES: usize = 16;
/// Bit times of a byte.
const BITS_PER_BYTE: u32 = 10;
/// Bytes that may wait in a queue that drops, at least; else as many as the line carries in a second.
const DROPPING_BYTES_MIN: u32 = 2_048;
/// Bytes of a frame as it travels.
pub const TRANSMIT_BYTES: usize = transmit_bytes(SERIAL_MTU_MAX);

type SerialLink = Link<LINE_LANES, SERIAL_WINDOW_MAX, KEPT_FRAMES, { frame_bytes(SERIAL_MTU_MAX) }>;

/// The number of the last message of each lane that a device has published.
pub type Numbers = [u32; LINE_LANES];

/// What a line is set to.
#[derive(Clone, Copy, Debug)]
pub struct LineSetup<'a> {
    /// Bits per second.
    pub baud: u32,
    /// Of the broker: the first bytes of its node id.
    pub node_id: [u8; SERIAL_NODE_ID_BYTES],
    /// The broker's lanes.
    pub lanes: &'a LaneTable,
    /// Topics that a session may publish on.
    pub topics_max: u32,
    /// The device's address on a half-duplex line; 0: it has its line for itself.
    pub address: u8,
    /// Devices on the line.
    pub devices: u8,
}

/// What the shard has to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Happened {
    /// The device is there, and has said who it is.
    Opened,
    /// The device is gone, or begins anew.
    Ended(Ended),
    /// There is something in [`Line::take_up`].
    Said,
    /// The device has received something, or never will.
    Counted(Count),
    /// On a half-duplex line: the device has said all it wants to say in its turn.
    TurnOver,
}

/// What waits for the device, or is under way to it.
#[derive(Debug)]
struct Message {
    kind: SerialKind,
    lane: u8,
    /// The link's id.
    topic: u16,
    bytes: Vec<u8>,
    /// A TOPIC that binds this id.
    binds: Option<u16>,
    /// The number of the frame on its lane in which it came; 0: in none.
    frame: u64,
}

/// What is the same in every session.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    /// Lanes (a bit each) whose messages all arrive.
    reliable: u8,
    /// Lanes whose messages never go back.
    ordered: u8,
}

/// What was said and is to be said in one session. A new one begins with nothing.
#[derive(Debug, Default)]
struct Desk {
    topics: Topics,
    /// Frames of a stream link that the device has said.
    up: Vec<u8>,
    /// The last number used on each lane; they go on in the next session, as subscribers may compare them.
    numbers: Numbers,
    /// Of each lane, the beginning of a message in fragments.
    parts: [Vec<u8>; LINE_LANES],
    /// The last time the device has stamped, and how often its clock had wrapped.
    clock: (u32, u32),
    /// What was taken from the outbox, by lane: one frame's messages at most, and control messages.
    queues: [VecDeque<Message>; LINE_LANES],
    /// Messages that may come again.
    repeats: Option<Repeats<Vec<Heard>>>,
    /// What the device may send, by lane.
    grants: [Grant; LINE_LANES],
    /// The broker does not take what the device publishes.
    stopped: bool,
    /// What became of the frames that were taken, by lane.
    fates: [Fates; LINE_LANES],
    /// Lanes (a bit each) of which something new may be sent.
    ready: u8,
    /// Lanes whose next message waits until its topic is known to the device.
    waits: u8,
    facts: Facts,
    /// The broker's preface has been read.
    greeted: bool,
    /// The broker has said its last word.
    goodbye: Option<u8>,
}

/// A device's line.
#[derive(Debug)]
pub struct Line {
    link: Box<SerialLink>,
    desk: Desk,
    under_way: BTreeMap<u32, Message>,
    handles: u32,
    topics_max: u32,
    facts: Facts,
    /// What was taken from the outbox; reused.
    pulled: Vec<u8>,
    dropped: u64,
}

fn setup(line: &LineSetup<'_>) -> Setup<LINE_LANES> {
    let mtu = mtu_of_baud(line.baud);
    let frame_ms = (u64::from(mtu) + OVERHEAD_BYTES as u64) * 10_000 / u64::from(line.baud.max(1));
    // Where devices take turns, each hears of the host once a round only.
    let frames = 30 * u64::from(line.devices.max(1));
    let dead_ms = SERIAL_DEAD_MS_DEFAULT.max((frames * frame_ms).min(u64::from(u16::MAX)) as u32) as u16;
    let lanes = std::array::from_fn(|lane| {
        let spec = line.lanes.get(lane as u8);
        let kind = spec.map_or(LaneKind::UU, |spec| spec.kind);
        let (window, assembly) = if kind.is_reliable() {
            (SERIAL_WINDOW_MAX as u8, ASSEMBLY_BYTES)
        } else {
            (1, FRAGMENTS_UNRELIABLE * mtu)
        };
        let credit = if kind.is_reliable() && lane > 0 { CREDIT_FRAMES } else { 0 };
        let offer = LaneOffer { lane: lane as u8, kind, level: 0, selective: true, window, assembly, credit };
        let (class, weight) = spec.map_or((0, 1), |spec| (spec.class, spec.weight));
        LaneSetup { offer, class, weight }
    });
    Setup {
        role: Role::Host,
        node_id: line.node_id,
        name: "lanewayd",
        mtu,
        dead_ms,
        baud: line.baud,
        topics_hash: 0,
        address: line.address,
        asks_time: false,
        lanes,
    }
}

/// A bit for each lane whose messages never go back.
fn ordered(lanes: &LaneTable) -> u8 {
    let ordered = lanes.iter().filter(|(_, spec)| spec.kind.is_ordered());
    ordered.fold(0, |bits, (lane, _)| bits | 1_u8.checked_shl(u32::from(lane)).unwrap_or(0))
}

/// Bytes that may wait for a line of so many bits per second in a queue that drops what is too much.
pub fn dropping_bytes_max(baud: u32) -> u32 {
    (baud / BITS_PER_BYTE).max(DROPPING_BYTES_MIN)
}

impl Line {
    /// On a port that was just opened. `entropy`: 32 bits that differ from opening to opening. `numbers`: those of the
    /// line that was on it before.
    pub fn new(now: Instant, line: &LineSetup<'_>, entropy: u32, numbers: Numbers) -> Self {
        Self {
            link: Box::new(Link::new(now, setup(line), entropy)),
            desk: Desk { numbers, ..Desk::default() },
            under_way: BTreeMap::new(),
            handles: 0,
            topics_max: line.topics_max,
            facts: Facts { reliable: line.lanes.reliable() as u8, ordered: ordered(line.lanes) },
            pulled: Vec::new(),
            dropped: 0,
        }
    }

    /// The numbers it has used, for the line that comes after it.
    pub const fn numbers(&self) -> Numbers {
        self.desk.numbers
    }

    /// Bytes arrived. Takes them up to the end of a frame, or all, and returns how many; then [`Self::poll`].
    pub fn on_bytes(&mut self, now: Instant, bytes: &[u8]) -> usize {
        self.link.on_bytes(now, bytes)
    }

    /// The port has taken so many bytes that have not left.
    pub fn on_below(&mut self, now: Instant, bytes: u32) {
        self.link.on_below(now, bytes as usize);
    }

    /// Time has come to `now`; then [`Self::poll`].
    pub fn on_timeout(&mut self, now: Instant) {
        self.link.on_timeout(now);
    }

    /// The broker ends the session; then [`Self::poll`].
    pub fn close(&mut self, now: Instant, code: laneway_proto::error::CloseCode) {
        self.link.close(now, code);
    }

    /// Half-duplex: the host's turn for this device begins, see [`SerialLink::begin_turn`].
    pub fn begin_turn(&mut self, now: Instant, own_us: u32, budget_us: u32, unanswered: bool) {
        self.link.begin_turn(now, own_us, budget_us, unanswered);
    }

    /// Half-duplex: whether the host may still send.
    pub fn is_our_turn(&self) -> bool {
        self.link.is_our_turn()
    }

    /// The next thing the shard has to know; called until `None` after every other call.
    pub fn poll(&mut self) -> Option<Happened> {
        loop {
            if !self.desk.up.is_empty() {
                return Some(Happened::Said);
            }
            if let Some(count) = self.desk.poll_count() {
                return Some(Happened::Counted(count));
            }
            let Self { link, desk, under_way, facts, .. } = self;
            match link.poll_event()? {
                Event::Opened => {
                    *desk = Desk { facts: *facts, numbers: desk.numbers, ..Desk::default() };
                    return Some(Happened::Opened);
                }
                Event::Ended(ended) => {
                    *desk = Desk { numbers: desk.numbers, ..Desk::default() };
                    return Some(Happened::Ended(ended));
                }
                Event::Frame(incoming) => desk.on_frame(&incoming, self.topics_max),
                Event::Finished(Handle(handle), outcome) => {
                    if let Some(message) = under_way.remove(&handle) {
                        desk.on_finished(message, outcome);
                    }
                }
                Event::TurnOver { .. } => return Some(Happened::TurnOver),
                Event::Clock(_) => {}
            }
        }
    }

    /// Frames of a stream link that the device has said, to be taken as if a client had sent them.
    pub fn take_up(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.desk.up);
    }

    /// Writes the frames that the line can take now behind what is in `out`.
    pub fn transmit(&mut self, now: Instant, from: &mut From<'_>, out: &mut Vec<u8>) {
        let mut frame = [0; TRANSMIT_BYTES];
        loop {
            self.look_around(now, from);
            let Self { link, desk, under_way, handles, pulled, .. } = self;
            let mut hands = Hands { now, desk, under_way, handles, pulled, from };
            let sent = link.poll_transmit(now, &mut hands, &mut frame);
            match sent {
                Some(bytes) => out.extend_from_slice(&frame[..bytes]),
                None if self.desk.ready == 0 || !self.link.is_open() || self.link.has_events() => return,
                None => {}
            }
            if self.link.has_events() {
                return;
            }
        }
    }

    /// What the broker says and reports is taken in any case, and what is on lanes that the device does not have is dropped.
    fn look_around(&mut self, now: Instant, from: &mut From<'_>) {
        let Self { link, desk, pulled, .. } = self;
        let mut waiting = 0u16;
        from.outbox.depths().filter(|&(_, bytes)| bytes > 0).for_each(|(lane, _)| waiting |= 1 << lane);
        if link.is_open() {
            for lane in (1..LANES_MAX as u8).filter(|lane| waiting & 1 << lane != 0) {
                if link.has_lane(lane) {
                    if desk.waits & 1 << lane == 0 {
                        link.set_ready(lane);
                    }
                } else {
                    // All of it: nothing asks for more.
                    while from.pull(now, Some(lane), pulled) {
                        self.dropped += 1;
                        desk.take_pulled(pulled, Some(lane));
                    }
                }
            }
        }
        from.pull(now, None, pulled);
        desk.take_pulled(pulled, None);
        let ready = std::mem::take(&mut desk.ready);
        for lane in (0..LINE_LANES as u8).filter(|lane| ready & 1 << lane != 0) {
            link.set_ready(lane);
        }
    }

    /// What the link has seen, and the frames for the device that were dropped because it does not have their lane.
    pub fn counters(&self) -> (&Counters, u64) {
        (self.link.counters(), self.dropped)
    }

    /// When to call [`Self::on_timeout`] and [`Self::transmit`] if nothing happens before.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.link.poll_timeout(now)
    }

    /// The code with which the broker has ended the session, once everything before it has arrived.
    pub fn goodbye(&self) -> Option<u8> {
        let code = self.desk.goodbye?;
        let idle = |lane: u8| self.link.is_settled(lane) && self.desk.queues[usize::from(lane)].is_empty();
        (0..LINE_LANES as u8).all(idle).then_some(code)
    }
}

/// Where what is for the device waits.
#[derive(Debug)]
pub struct From<'a> {
    /// Its outbox.
    pub outbox: &'a mut Outbox,
    /// The shard's buffers.
    pub pool: &'a mut Pool,
    /// What the shard has dropped.
    pub drops: &'a mut Drops,
}

impl From<'_> {
    /// Whether there was anything.
    fn pull(&mut self, now: Instant, lane: Option<u8>, out: &mut Vec<u8>) -> bool {
        self.outbox.pull(now, lane, self.pool, self.drops, out);
        !out.is_empty()
    }
}

/// Gives the link its messages.
struct Hands<'a, 'b> {
    now: Instant,
    desk: &'a mut Desk,
    under_way: &'a mut BTreeMap<u32, Message>,
    handles: &'a mut u32,
    pulled: &'a mut Vec<u8>,
    from: &'a mut From<'b>,
}

impl Source for Hands<'_, '_> {
    fn next(&mut self, lane: u8) -> Option<Handle> {
        let message = loop {
            if let Some(message) = self.desk.pop(lane) {
                break message;
            }
            let waits = lane == 0 || self.desk.waits & 1 << lane != 0;
            // What was taken may have been of no use to the device: then there may be more behind it.
            if waits || !self.from.pull(self.now, Some(lane), self.pulled) {
                return None;
            }
            self.desk.take_pulled(self.pulled, None);
        };
        // Of a large batch, too, each message that goes is one that has left.
        self.from.outbox.block_anew(lane, self.now);
        *self.handles = self.handles.wrapping_add(1);
        self.under_way.insert(*self.handles, message);
        Some(Handle(*self.handles))
    }

    fn describe(&self, message: Handle) -> Outgoing {
        let nothing = Outgoing { kind: SerialKind::Pub, topic: 0, ts: None, correlation: None, bytes: 0 };
        self.under_way.get(&message.0).map_or(nothing, |message| Outgoing {
            kind: message.kind,
            topic: message.topic,
            bytes: message.bytes.len() as u32,
            ..nothing
        })
    }

    fn bytes(&self, message: Handle, offset: usize, bytes: usize) -> &[u8] {
        let whole = self.under_way.get(&message.0).map_or(&[][..], |message| &message.bytes);
        whole.get(offset..offset + bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
