//! One peer on one line: the session, its lanes, and whose turn it is on the wire.
//!
//! The owner reads and writes bytes; the link decides what they mean and what goes next. After every call of another
//! verb the owner takes all events with [`Link::poll_event`]:
//!
//! 1. [`Link::on_bytes`] takes bytes up to the end of a frame, [`Link::on_timeout`] is called when
//!    [`Link::poll_timeout`] says so, [`Link::set_ready`] when a lane has something to send;
//! 2. [`Link::poll_transmit`] writes the next frame, if the line can take one; then everything again until it says `None`;
//! 3. [`Link::poll_timeout`] says when to come back if nothing happens before.
//!
//! Messages stay with their owner until [`Event::Finished`]; the link knows their handles. Sizes are the owner's choice:
//! `L` lanes, `W` frames under way on each, `H` frames kept that arrived early, `F` bytes of a frame.

mod event;
mod receive;
mod time;
mod transmit;

use super::Handle;
use super::cobs::{Decoder, wire_bytes};
use super::control::LaneLimit;
use super::frame::{Correlation, HEAD_BYTES_MAX, Head, SerialKind};
use super::handshake::{Handshake, Phase};
use super::hello::{Hello, LaneOffer, Role, SERIAL_NODE_ID_BYTES};
use super::limits::{
    SERIAL_CRC_BYTES, SERIAL_FRAGMENTS_MAX, SERIAL_FRAGMENTS_UNRELIABLE_MAX, SERIAL_LINK_BYTES_MAX, SERIAL_MTU_MIN,
    SERIAL_NAME_BYTES_MAX, SERIAL_STALE_MS,
};
use super::mtu::{Adapt, OVERHEAD_BYTES};
use super::pacer::Pacer;
use super::receiver::{Receiver, Rules};
use super::rtt::{Rtt, Ticks};
use super::sender::Sender;
use super::shares::Share;
use crate::error::CloseCode;
use crate::limits::LANE_CLASSES;
use crate::time::{Duration, Instant};

/// Bytes of a frame buffer that takes frames of this MTU: the `F` of [`Link`].
pub const fn frame_bytes(mtu: usize) -> usize {
    let data = 1 + HEAD_BYTES_MAX + mtu + SERIAL_CRC_BYTES;
    let link = 1 + SERIAL_LINK_BYTES_MAX;
    if data > link { data } else { link }
}

/// Bytes that a frame of this MTU takes at most as [`Link::poll_transmit`] writes it.
pub const fn transmit_bytes(mtu: usize) -> usize {
    2 + wire_bytes(frame_bytes(mtu))
}

/// One lane of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneSetup {
    /// What HELLO says of it.
    pub offer: LaneOffer,
    /// Its priority class, 0 (first) to 7.
    pub class: u8,
    /// Its share of the airtime of its class, at least 1.
    pub weight: u8,
}

/// What a side is, for as long as it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup<const L: usize> {
    /// Which end.
    pub role: Role,
    /// Stable for the node.
    pub node_id: [u8; SERIAL_NODE_ID_BYTES],
    /// For people; at most 24 bytes.
    pub name: &'static str,
    /// Payload bytes of a frame, received or sent, at most.
    pub mtu: u16,
    /// Milliseconds without a good frame after which a session is given up.
    pub dead_ms: u16,
    /// Bits per second; 0: there is no such thing.
    pub baud: u32,
    /// Identifies a table of predefined topics; 0: none.
    pub topics_hash: u32,
    /// The device's address on a half-duplex line; 0: the line carries both directions at once.
    pub address: u8,
    /// Asks for the peer's clock when it would otherwise say only that it lives.
    pub asks_time: bool,
    /// Lane 0 must be among them, each at most once.
    pub lanes: [LaneSetup; L],
}

/// What is known of the peer, from its HELLO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Stable for the node.
    pub node_id: [u8; SERIAL_NODE_ID_BYTES],
    /// Payload bytes of the largest frame it takes.
    pub mtu: u16,
    /// Milliseconds without a good frame after which it gives the session up.
    pub dead_ms: u16,
    /// Bits per second as it knows them.
    pub baud: u32,
    /// Identifies its table of predefined topics; 0: none.
    pub topics_hash: u32,
    /// It has the table of our `topics_hash`.
    pub knows_topics: bool,
    name: [u8; SERIAL_NAME_BYTES_MAX],
    name_bytes: u8,
}

/// What the peer said of a lane that exists in the session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
struct PeerLane {
    exists: bool,
    selective: bool,
    window: u8,
    level: u8,
    assembly: u16,
    credit: u16,
}

/// A message that is being cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
struct Cut {
    handle: Handle,
    offset: u32,
    bytes_left: u32,
    size: u16,
    index: u8,
    count: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Lane<const W: usize> {
    setup: LaneSetup,
    peer: PeerLane,
    sender: Sender<W>,
    receiver: Receiver,
    share: Share,
    cut: Option<Cut>,
    /// The owner has a message for it.
    ready: bool,
}

/// A frame that arrived before the one it has to follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kept<const F: usize> {
    /// 255: free.
    lane: u8,
    seq: u16,
    len: u16,
    bytes: [u8; F],
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// Both sides send when they like.
    Always,
    /// Half-duplex: the other side's, or nobody's.
    Theirs,
    /// Half-duplex: ours.
    Ours {
        /// When it is over.
        until: Instant,
        /// Host: what the device gets for its turn.
        budget_us: u32,
        /// Device: only LINK frames were asked for.
        link_only: bool,
    },
}

/// What a message is, as its owner knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// PUB, REQ, RSP or CTRL.
    pub kind: SerialKind,
    /// The link's id; 0 for CTRL that is not LOST.
    pub topic: u16,
    /// Microseconds on this side's clock, if it shall travel.
    pub ts: Option<u32>,
    /// Of REQ and RSP.
    pub correlation: Option<Correlation>,
    /// Bytes of the whole message.
    pub bytes: u32,
}

/// Where the owner keeps its messages.
pub trait Source {
    /// The next message of `lane` (a number), which has its turn on the line now. It is kept until it is finished.
    /// `None`: there is none; the lane is asked again after [`Link::set_ready`].
    fn next(&mut self, lane: u8) -> Option<Handle>;
    /// What the message is; always the same.
    fn describe(&self, message: Handle) -> Outgoing;
    /// A part of its bytes.
    fn bytes(&self, message: Handle, offset: usize, bytes: usize) -> &[u8];
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Outcome {
    /// Reliable lanes: the peer has all of it.
    Arrived,
    /// Unreliable lanes: it was sent.
    Sent,
    /// The session ended: the peer may have it, or not.
    Maybe,
    /// Neither frame nor fragments of this peer hold it; it was not sent.
    TooLarge,
}

/// Why a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Ended {
    /// The peer began anew: it was reset, replaced, or gave the session up.
    PeerRestarted,
    /// The peer said so, with a close code.
    PeerReset(u8),
    /// Nothing good came for too long, or only bad frames.
    Silent,
    /// The peer broke a rule.
    PeerFault,
    /// [`Link::close`].
    Closed(CloseCode),
}

/// A frame of a lane, in the order the lane promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incoming<'a> {
    /// Kind, lane, number, topic, and the place in a message that was cut.
    pub head: Head,
    /// Unreliable lanes: frames lost since the last one.
    pub missed: u16,
    /// The message, or the part of it.
    pub payload: &'a [u8],
}

/// What the owner must know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A session is open; [`Link::peer`] says with whom. Topics and subscriptions are to be declared.
    Opened,
    /// The session is over. Messages under way are finished by the events that follow.
    Ended(Ended),
    /// A frame arrived.
    Frame(Incoming<'a>),
    /// The link has no more use for a message.
    Finished(Handle, Outcome),
    /// The peer answered with its clock, in microseconds that wrap: asked, received there, answered there, received.
    Clock([u32; 4]),
    /// Half-duplex host: the device's turn is over.
    TurnOver {
        /// It has more to send.
        more: bool,
    },
}

/// What a link has seen; all of it only grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames of the session that were right.
    pub good: u32,
    /// Frames with a wrong encoding or CRC.
    pub bad: u32,
    /// Frames while no session was open, and LINK frames that were ignored.
    pub stray: u32,
    /// Frames dropped: of a lane that does not exist, repeated, stale, or without room.
    pub dropped: u32,
    /// Frames sent, LINK and ACK included.
    pub sent: u32,
    /// Frames of reliable lanes sent again.
    pub repeated: u32,
}

/// One peer on one line.
#[derive(Clone, Debug)]
pub struct Link<const L: usize, const W: usize, const H: usize, const F: usize> {
    setup: Setup<L>,
    shake: Handshake,
    peer: Peer,
    lanes: [Lane<W>; L],
    decoder: Decoder,
    buffer: [u8; F],
    kept: [Kept<F>; H],
    preset: u32,
    pacer: Pacer,
    rtt: Rtt,
    adapt: Adapt,
    turn: Turn,
    /// When the last good frame came, and when the last frame was handed over.
    heard: Instant,
    said: Instant,
    bad_in_a_row: u8,
    counters: Counters,
    /// The peer asked for the time: its clock, and when.
    asked: Option<(u32, Instant)>,
    // Events not taken yet.
    opened: bool,
    ended: Option<Ended>,
    arrived: Option<Arrived>,
    finished: Option<(Handle, Outcome)>,
    clock: Option<[u32; 4]>,
    turn_over: Option<bool>,
}

/// A frame in the buffer that was not taken yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Arrived {
    len: u16,
    missed: u16,
}

impl Peer {
    const UNKNOWN: Self = Self {
        node_id: [0; SERIAL_NODE_ID_BYTES],
        mtu: SERIAL_MTU_MIN as u16,
        dead_ms: u16::MAX,
        baud: 0,
        topics_hash: 0,
        knows_topics: false,
        name: [0; SERIAL_NAME_BYTES_MAX],
        name_bytes: 0,
    };

    fn new(hello: &Hello<'_>) -> Self {
        let mut name = [0; SERIAL_NAME_BYTES_MAX];
        let bytes = hello.name.as_bytes();
        name[..bytes.len()].copy_from_slice(bytes);
        let Hello { node_id, mtu, dead_ms, baud, topics_hash, .. } = *hello;
        Self { node_id, mtu, dead_ms, baud, topics_hash, name, name_bytes: bytes.len() as u8, ..Self::UNKNOWN }
    }

    /// The peer's name, for people.
    pub fn name(&self) -> &str {
        let bytes = self.name.get(..usize::from(self.name_bytes)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl<const W: usize> Lane<W> {
    const fn new(setup: LaneSetup) -> Self {
        let peer = PeerLane { exists: false, selective: false, window: 0, level: 0, assembly: 0, credit: 0 };
        let share = Share::new(setup.class, setup.weight);
        let receiver = Receiver::new(setup.offer.credit);
        Self { setup, peer, sender: Sender::closed(), receiver, share, cut: None, ready: false }
    }

    const fn number(&self) -> u8 {
        self.setup.offer.lane
    }

    const fn is_reliable(&self) -> bool {
        self.setup.offer.kind.is_reliable()
    }

    fn rules(&self) -> Rules {
        let LaneOffer { kind, selective, window, .. } = self.setup.offer;
        let stale = Ticks::of(Duration::from_millis(SERIAL_STALE_MS));
        Rules { reliable: kind.is_reliable(), ordered: kind.is_ordered(), selective, window, stale }
    }

    /// Whether a frame of it may go next.
    fn can_send(&self) -> bool {
        let has_new = self.ready || self.cut.is_some();
        self.peer.exists
            && (self.sender.next_lost().is_some() || has_new && (!self.is_reliable() || self.sender.has_room()))
    }

    /// It has nothing to send, and nothing is under way.
    fn is_done(&self) -> bool {
        !self.ready && self.cut.is_none() && self.sender.is_idle()
    }

    const fn fragments_max(&self) -> u32 {
        (if self.is_reliable() { SERIAL_FRAGMENTS_MAX } else { SERIAL_FRAGMENTS_UNRELIABLE_MAX }) as u32
    }
}

impl<const L: usize, const W: usize, const H: usize, const F: usize> Link<L, W, H, F> {
    /// A link on a line that was just opened. `entropy`: 32 bits that differ from start to start.
    ///
    /// # Panics
    /// If the lanes are no lanes (number 0 missing, one twice, a class over 7), the name is too long, the address over
    /// 127, or `F` too small for the MTU: mistakes of the program.
    pub fn new(now: Instant, setup: Setup<L>, entropy: u32) -> Self {
        assert!(F >= frame_bytes(usize::from(setup.mtu)), "the buffer takes a frame of the MTU");
        assert!(setup.name.len() <= SERIAL_NAME_BYTES_MAX, "a name has 24 bytes at most");
        assert!(setup.address <= super::limits::SERIAL_ADDRESS_MAX, "an address is seven bits");
        let mut seen = 0u8;
        for LaneSetup { offer, class, .. } in &setup.lanes {
            let bit = 1u8.checked_shl(u32::from(offer.lane)).unwrap_or_default();
            assert!(bit != 0 && seen & bit == 0, "lanes have different numbers below 8");
            assert!(usize::from(*class) < LANE_CLASSES, "classes are below 8");
            assert!(offer.window >= 1, "a lane takes one frame at least");
            seen |= bit;
        }
        assert!(seen & 1 != 0, "lane 0 is there");
        let turn = if setup.address == 0 { Turn::Always } else { Turn::Theirs };
        Self {
            setup,
            shake: Handshake::new(now, setup.role, entropy),
            peer: Peer::UNKNOWN,
            lanes: setup.lanes.map(Lane::new),
            decoder: Decoder::new(),
            buffer: [0; F],
            kept: [Kept { lane: u8::MAX, seq: 0, len: 0, bytes: [0; F] }; H],
            preset: 0,
            pacer: Pacer::new(setup.baud),
            rtt: Rtt::new(),
            adapt: Adapt::new(setup.mtu),
            turn,
            heard: now,
            said: now,
            bad_in_a_row: 0,
            counters: Counters::default(),
            asked: None,
            opened: false,
            ended: None,
            arrived: None,
            finished: None,
            clock: None,
            turn_over: None,
        }
    }

    /// Whether a session is open.
    pub fn is_open(&self) -> bool {
        self.shake.phase() == Phase::Open
    }

    /// Who the peer is; says nothing before the first HELLO.
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The nonces of this side and of the peer.
    pub const fn nonces(&self) -> (u32, u32) {
        self.shake.nonces()
    }

    /// What the link has seen.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// When everything handed to the driver has left the line.
    pub const fn free_at(&self) -> Instant {
        self.pacer.free_at()
    }

    /// Whether the lane exists in the open session.
    pub fn has_lane(&self, lane: u8) -> bool {
        self.is_open() && self.index(lane).is_some_and(|index| self.lanes[index].peer.exists)
    }

    /// What the peer's publishes on the lane ask for: 0 nothing, 2 a CONFIRM of delivery.
    pub fn peer_level(&self, lane: u8) -> u8 {
        self.index(lane).map_or(0, |index| self.lanes[index].peer.level)
    }

    /// Bytes of the largest message that can be sent on the lane now.
    pub fn message_bytes_max(&self, lane: u8) -> usize {
        let Some(index) = self.index(lane) else { return 0 };
        let (lane, frame) = (&self.lanes[index], self.frame_payload_max());
        let fragments = frame * lane.fragments_max() as usize;
        frame.max(usize::from(lane.peer.assembly).min(fragments))
    }

    /// Whether every frame of the lane that was sent has arrived, and nothing more is to be sent.
    pub fn is_settled(&self, lane: u8) -> bool {
        self.index(lane).is_none_or(|index| self.lanes[index].is_done())
    }

    /// The lane has a message for [`Source::next`].
    pub fn set_ready(&mut self, lane: u8) {
        if let Some(index) = self.index(lane) {
            self.lanes[index].ready = true;
        }
    }

    /// The peer may send on the lane up to and including this number: say so in a CREDIT, too.
    pub fn grant(&mut self, limit: LaneLimit) {
        if let Some(index) = self.index(limit.lane) {
            self.lanes[index].receiver.grant(limit.through);
        }
    }

    /// The driver says that so many bytes have not left yet.
    pub fn on_below(&mut self, now: Instant, bytes: usize) {
        self.pacer.on_below(now, bytes);
    }

    /// Half-duplex host: its turn for this device begins. It may use `own_us` of airtime and gives the device
    /// `budget_us`. `unanswered`: the device did not answer last time.
    pub fn begin_turn(&mut self, now: Instant, own_us: u32, budget_us: u32, unanswered: bool) {
        debug_assert!(self.turn != Turn::Always && self.setup.role == Role::Host, "only a host gives turns");
        self.shake.on_turn(unanswered);
        self.decoder = Decoder::new();
        self.take_turn(Instant(now.0) + Duration::from_micros(u64::from(own_us)), budget_us, false);
    }

    /// Half-duplex: whether it is this side's turn.
    pub const fn is_our_turn(&self) -> bool {
        matches!(self.turn, Turn::Ours { .. })
    }

    fn take_turn(&mut self, until: Instant, budget_us: u32, link_only: bool) {
        self.turn = Turn::Ours { until, budget_us, link_only };
        if !link_only {
            for lane in &mut self.lanes {
                (0..lane.sender.on_turn()).for_each(|_| self.adapt.on_lost());
            }
        }
    }

    /// This side ends the session; the link seeks a new one at once.
    pub fn close(&mut self, now: Instant, code: CloseCode) {
        self.end(now, Ended::Closed(code), code);
    }

    fn end(&mut self, now: Instant, ended: Ended, code: CloseCode) {
        if self.is_open() {
            self.on_ended(ended);
        }
        self.shake.end(now, code as u8);
    }

    /// The session is over: nothing that was kept is delivered.
    fn on_ended(&mut self, ended: Ended) {
        self.ended = Some(ended);
        (self.opened, self.arrived, self.asked) = (false, None, None);
        self.kept.iter_mut().for_each(|kept| kept.lane = u8::MAX);
        self.bad_in_a_row = 0;
    }

    /// Both sides know both nonces: lanes begin anew.
    fn on_opened(&mut self, now: Instant) {
        debug_assert!(self.lanes.iter().all(|lane| lane.sender.is_idle()), "events were not taken");
        for lane in &mut self.lanes {
            let PeerLane { window, selective, credit, .. } = lane.peer;
            let window = if lane.is_reliable() { window } else { 0 };
            lane.sender = Sender::open(window, selective, credit);
            lane.receiver = Receiver::new(lane.setup.offer.credit);
            lane.cut = None;
        }
        (self.heard, self.said, self.opened) = (now, now, true);
        self.rtt = Rtt::new();
        self.adapt = Adapt::new(self.frame_payload_max() as u16);
    }

    fn index(&self, lane: u8) -> Option<usize> {
        self.lanes.iter().position(|known| known.number() == lane)
    }

    fn frame_payload_max(&self) -> usize {
        usize::from(self.setup.mtu.min(self.peer.mtu))
    }

    /// Bytes on the line of the largest frame this side sends.
    fn frame_wire_bytes(&self) -> usize {
        let payload = self.frame_payload_max();
        payload + OVERHEAD_BYTES + payload / 254 + usize::from(self.setup.address != 0)
    }

    fn frame_ticks(&self) -> Ticks {
        Ticks::of(self.pacer.airtime(self.frame_wire_bytes()))
    }
}
