//! One side of one session over UDP: which datagram goes next, what an arrived one means, and when to look again.
//!
//! The owner moves datagrams and keeps bytes; the session decides. After every call of another verb:
//!
//! 1. [`Session::on_datagram`] takes a datagram that arrived, [`Session::on_timeout`] is called when
//!    [`Session::poll_timeout`] says so;
//! 2. [`Session::poll_transmit`] writes the next datagram, until it says `None`;
//! 3. [`Session::poll_settled`] tells which bodies may go, until it says `None`;
//! 4. [`Session::poll_timeout`] says when to come back if nothing happens before.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`dial`], [`accept`] | how a session begins, on the client's side and on the broker's |
//! | `inbound` | which frames are new, and in which order they are delivered |
//! | `acks` | what the peer is told of what arrived |
//! | `recovery` | what is lost, and when to ask |
//! | `transmit` | what the next datagram carries |

pub mod accept;
mod acks;
pub mod dial;
mod inbound;
mod newest;
mod recovery;
mod transmit;

use self::acks::Acks;
use self::inbound::Inbound;
use self::recovery::Recovery;
use super::header::{DatagramHeader, Form, Stray};
use super::limits::{DATAGRAM_BYTES_MIN, DEAD_AFTER_MS_DEFAULT, KEEPALIVE_MS_DEFAULT, WINDOW_FRAMES_DEFAULT};
use super::loss::RangeLost;
use super::outbound::{Carried, FrameSlot, Outbound, PayloadId, Settled};
use super::pace::{Congestion, Pacer};
use super::received::newer;
use super::sent::{Fate, SentSlot};
use crate::error::DecodeError;
use crate::header::Header;
use crate::lane::kind::LaneKind;
use crate::limits::LANES_MAX;
use crate::time::{Duration, Instant};

pub use self::newest::NewestSlot;
pub use self::transmit::OWN_PING;

/// Words that each reliable lane's window takes in the caller's storage, for [`WINDOW_FRAMES_DEFAULT`] frames.
pub const WINDOW_WORDS: usize = 32;
/// Datagrams under way at most, unless the owner knows better: what a socket's receive buffer holds by default.
pub const IN_FLIGHT_MAX_DEFAULT: usize = 64;

const _: () = assert!(WINDOW_FRAMES_DEFAULT as usize + 1 == WINDOW_WORDS * 32, "the default window is whole words");

/// What both sides promise of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneRule {
    /// Whether it is reliable and ordered.
    pub kind: LaneKind,
    /// Its priority class, 0 (first) to 7.
    pub class: u8,
}

/// What the handshake has agreed upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    /// This side's number, by which the peer addresses it.
    pub own: u32,
    /// The peer's number.
    pub peer: u32,
    /// Low 16 bits of this side's epoch.
    pub epoch: u16,
    /// Low 16 bits of the peer's.
    pub peer_epoch: u16,
    /// Bytes of a datagram to the peer at most, its CRC included.
    pub datagram_bytes: usize,
    /// Datagrams under way at most.
    pub in_flight_max: usize,
    /// Frames of a reliable lane that the peer keeps apart.
    pub window_frames: u32,
    /// The lanes; lane 0 must be among them.
    pub lanes: [Option<LaneRule>; LANES_MAX],
    /// Whether datagrams end with a CRC-32C.
    pub crc: bool,
    /// Whether what is under way is bounded by what the path bears.
    pub wan: bool,
    /// Bytes per second; 0: no bound.
    pub bytes_per_s: u64,
    /// Silence that ends the session while something is outstanding.
    pub dead_after: Duration,
    /// Silence after which a sign of life is asked for.
    pub keepalive: Duration,
    /// Whether this side speaks first, which proves its address.
    pub opens: bool,
    /// The handshake's round trip, if it was measured.
    pub rtt: Option<Duration>,
    /// Both sides number datagrams and each lane's frames from here on, not 0. The protocol says 1.
    pub first: u32,
}

impl Setup {
    /// A session of these numbers, epochs and lanes with everything else as by default.
    pub const fn new(own: u32, peer: u32, epoch: u16, peer_epoch: u16, lanes: [Option<LaneRule>; LANES_MAX]) -> Self {
        Self {
            own,
            peer,
            epoch,
            peer_epoch,
            datagram_bytes: DATAGRAM_BYTES_MIN,
            in_flight_max: IN_FLIGHT_MAX_DEFAULT,
            window_frames: WINDOW_FRAMES_DEFAULT,
            lanes,
            crc: false,
            wan: false,
            bytes_per_s: 0,
            dead_after: Duration::from_millis(DEAD_AFTER_MS_DEFAULT),
            keepalive: Duration::from_millis(KEEPALIVE_MS_DEFAULT),
            opens: false,
            rtt: None,
            first: 1,
        }
    }
}

/// Where frames go that arrived. A frame's bytes begin with its header; the number in it is that of its lane in the
/// session.
pub trait Upper {
    /// Whether there is room for more frames of lanes. Without, they are dropped as if they had not arrived.
    fn has_room(&self) -> bool;
    /// A frame whose turn it is.
    fn deliver(&mut self, header: &Header, frame: &[u8]);
    /// A frame of an ordered lane that came early: to be kept until [`Upper::release`] or [`Upper::forget`].
    fn keep(&mut self, header: &Header, frame: &[u8]);
    /// The turn of a kept frame has come: it is delivered now.
    fn release(&mut self, lane: u8, seq: u32);
    /// A kept frame is lost, with the message that it is part of.
    fn forget(&mut self, lane: u8, seq: u32);
    /// A message will not come.
    fn lost(&mut self, lost: &RangeLost);
    /// A frame of a US lane that is older than one that was delivered, and is dropped.
    fn outdated(&mut self, header: &Header);
}

/// Where frames come from that are to be sent. The owner keeps their bodies.
pub trait Source {
    /// The next new frame of `lane`, if there is one.
    fn peek(&self, lane: u8) -> Option<Carried>;
    /// That frame was put into a datagram. On a reliable lane its body stays until [`Session::poll_settled`] names it, on
    /// others it may go. On the wire it has this number.
    fn take(&mut self, lane: u8, seq: u32);
    /// The bytes of a body, as many as its description says.
    fn body(&self, payload: PayloadId) -> &[u8];
    /// A whole frame without a number that is to go in the next datagram: PING, PONG. Called until `None`, or until one
    /// does not fit into `room` bytes, which is then not taken.
    fn unnumbered(&mut self, room: usize) -> Option<&[u8]>;
    /// The bytes that the peer may send on `lane` in all, if it is told that.
    fn credit(&self, lane: u8) -> Option<u64>;
}

/// Why a session is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Ended {
    /// Nothing was heard for too long.
    Dead,
    /// The peer does not know the session.
    Gone,
}

/// Why a datagram changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dropped {
    /// Not of this protocol, damaged, or not addressed to this session.
    Stray,
    /// Of another start of the peer.
    Epoch,
    /// It arrived before, or is too old or too far ahead to tell.
    Duplicate,
    /// A frame is malformed, or has no place in a session.
    Malformed(DecodeError),
    /// A frame is beyond its lane's window.
    Beyond,
    /// The owner has no room.
    Full,
    /// The session is over.
    Over,
}

/// What a datagram was that counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// It is newer than all before: answers go to where it came from.
    pub newest: bool,
}

/// What a session has seen; all of it only grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that counted.
    pub received: u64,
    /// Datagrams that arrived again.
    pub duplicates: u64,
    /// Datagrams dropped for another reason.
    pub dropped: u64,
    /// Frames of reliable lanes sent again.
    pub retransmitted: u64,
    /// Frames that had arrived before, in another datagram.
    pub frames_repeated: u64,
    /// Datagrams taken for lost.
    pub lost: u64,
    /// Of those, the ones that had arrived after all.
    pub lost_in_error: u64,
    /// Times the peer was asked because nothing was acknowledged.
    pub probes: u64,
    /// Acknowledgements of what was never sent.
    pub acks_false: u64,
    /// Frames of US lanes that were older than one that was delivered.
    pub outdated: u64,
}

/// One side of one session, in the caller's storage: places for frames (`F`) and datagrams (`P`) under way, words of the
/// lanes' windows (`W`, [`WINDOW_WORDS`] each), places for keys of US lanes (`K`).
#[derive(Debug)]
pub struct Session<F, P, W, K> {
    setup: Setup,
    outbound: Outbound<F, P>,
    inbound: Inbound<W, K>,
    acks: Acks,
    recovery: Recovery,
    pacer: Pacer,
    congestion: Congestion,
    next_number: u32,
    /// By lane, the number of the next frame that is sent once.
    unreliable_seq: [u32; LANES_MAX],
    /// By lane, bytes that were sent once and taken for lost.
    lost_bytes: [u64; LANES_MAX],
    /// Lanes (a bit each) whose credit is to be said.
    credit_due: u16,
    /// The peer waits for datagrams that will not come.
    heartbeat_due: bool,
    /// Something that asks for an answer has to go, whatever the pace.
    ask_due: bool,
    /// A datagram of the session has arrived, or this side opens it.
    proven: bool,
    heard: Instant,
    paused_until: Option<Instant>,
    ended: Option<Ended>,
    counters: Counters,
}

impl<F, P, W, K> Session<F, P, W, K>
where
    F: AsRef<[FrameSlot]> + AsMut<[FrameSlot]>,
    P: AsRef<[SentSlot]> + AsMut<[SentSlot]>,
    W: AsRef<[u64]> + AsMut<[u64]>,
    K: AsRef<[NewestSlot]> + AsMut<[NewestSlot]>,
{
    /// A session that was just agreed upon. `windows` are the words of each lane's window.
    pub fn new(now: Instant, setup: Setup, frames: F, datagrams: P, windows: [W; LANES_MAX], keys: K) -> Self {
        let datagram_bytes = setup.datagram_bytes;
        Self {
            outbound: Outbound::new(frames, datagrams, setup.first, setup.window_frames.max(1)),
            inbound: Inbound::new(windows, keys, &setup.lanes, setup.first),
            acks: Acks::new(setup.first),
            recovery: Recovery::new(setup.rtt),
            pacer: Pacer::new(setup.bytes_per_s, datagram_bytes),
            congestion: Congestion::new(setup.wan, datagram_bytes),
            next_number: setup.first,
            unreliable_seq: [setup.first; LANES_MAX],
            lost_bytes: [0; LANES_MAX],
            credit_due: 0,
            heartbeat_due: false,
            ask_due: setup.opens,
            proven: setup.opens,
            heard: now,
            paused_until: None,
            ended: None,
            counters: Counters::default(),
            setup,
        }
    }

    /// What was agreed upon.
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// What it has seen.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Why it is over, if it is.
    pub const fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// The smoothed round trip.
    pub const fn round_trip(&self) -> Duration {
        self.recovery.rtt.smoothed()
    }

    /// Whether a datagram of the session has arrived, or this side opens it.
    pub const fn is_proven(&self) -> bool {
        self.proven
    }

    /// Datagrams become no longer than this: the path carries no more. Before anything was sent.
    pub const fn shorten(&mut self, datagram_bytes: usize) {
        if datagram_bytes < self.setup.datagram_bytes {
            self.setup.datagram_bytes = datagram_bytes;
        }
    }

    /// Bytes of frames of an unreliable lane that were taken for lost: the peer did not count them.
    pub const fn lost_bytes(&self, lane: u8) -> u64 {
        self.lost_bytes[lane as usize]
    }

    /// The peer's credit of `lane` is to be said.
    pub const fn say_credit(&mut self, lane: u8) {
        self.credit_due |= 1 << lane;
    }

    /// Whether no frame of a reliable lane is under way.
    pub fn is_settled(&self) -> bool {
        (0..LANES_MAX as u8).all(|lane| self.outbound.oldest_unsettled(lane).is_none())
    }

    /// Datagrams under way.
    pub const fn in_flight(&self) -> usize {
        self.outbound.sent().in_flight()
    }

    /// Whether the message numbered `seq` of a US lane is to be delivered: its fragments are complete.
    pub fn accepts_newest(&mut self, now: Instant, header: &Header, seq: u32) -> bool {
        let fresh = self.inbound.newest.accepts(now, header.lane, header.topic, header.ckey, seq);
        self.counters.outdated += u64::from(!fresh);
        fresh
    }

    /// A datagram arrived.
    pub fn on_datagram(&mut self, now: Instant, bytes: &[u8], upper: &mut impl Upper) -> Result<Heard, Dropped> {
        let heard = self.take_datagram(now, bytes, upper);
        match heard {
            Ok(_) => self.counters.received += 1,
            Err(Dropped::Duplicate) => self.counters.duplicates += 1,
            Err(_) => self.counters.dropped += 1,
        }
        heard
    }

    fn take_datagram(&mut self, now: Instant, bytes: &[u8], upper: &mut impl Upper) -> Result<Heard, Dropped> {
        if self.ended.is_some() {
            return Err(Dropped::Over);
        }
        let (header, frames) = DatagramHeader::open(bytes).map_err(|_: Stray| Dropped::Stray)?;
        let Form::Session { session, ack } = header.form else {
            if accept::gone_session(bytes) == Some(self.setup.peer) {
                self.end(Ended::Gone);
            }
            return Err(Dropped::Stray);
        };
        if session != self.setup.own || self.setup.crc && !header.crc {
            return Err(Dropped::Stray);
        }
        if header.epoch != self.setup.peer_epoch {
            return Err(Dropped::Epoch);
        }
        let place = self.acks.received.place(header.number).ok_or(Dropped::Duplicate)?;
        let has_data = self.inbound.check(frames, &self.setup.lanes)?;
        self.heard = now;
        self.proven = true;
        if has_data && !upper.has_room() {
            // What it acknowledges counts, and the peer learns that this side lives.
            self.on_acknowledged(now, ack, frames);
            self.acks.answer_at_once(now);
            return Err(Dropped::Full);
        }
        let newest = newer(header.number, self.acks.received.largest());
        self.acks.on_datagram(now, header.number, place, header.ack_me);
        self.on_acknowledged(now, ack, frames);
        if let Some(trail) = inbound::trail_of(frames) {
            self.acks.received.on_trail(trail);
        }
        self.inbound.deliver(now, frames, &self.setup.lanes, &mut self.counters, upper);
        if header.ack_me && inbound::has_control(frames) {
            // Its sender may wait for it: it may be the last word.
            self.acks.answer_at_once(now);
        }
        Ok(Heard { newest })
    }

    /// Takes the acknowledgement of the header and the ACK frame, if there is one.
    fn on_acknowledged(&mut self, now: Instant, through: u32, frames: &[u8]) {
        let newest_sent = self.next_number.wrapping_sub(1);
        if newer(through, newest_sent) {
            self.counters.acks_false += 1;
            return;
        }
        let mut news = recovery::News::default();
        let Self { outbound, congestion, recovery, counters, lost_bytes, .. } = self;
        let in_flight = outbound.sent().in_flight_bytes();
        let mut acked = |datagram: super::outbound::AckedDatagram| {
            congestion.on_acked(datagram.sent, u64::from(datagram.bytes), in_flight);
            if matches!(datagram.fate, Fate::Overtaken | Fate::Unheard) {
                counters.lost_in_error += 1;
                for part in datagram.unreliable {
                    let lost = &mut lost_bytes[usize::from(part.lane)];
                    *lost = lost.saturating_sub(u64::from(part.bytes));
                }
            }
            news.note(now, &datagram, recovery);
        };
        outbound.on_through(through, &mut acked);
        let mut largest = through;
        let mut delay = Duration::ZERO;
        if let Some(ack) = inbound::ack_of(frames) {
            if newer(ack.largest, newest_sent) {
                counters.acks_false += 1;
            } else {
                (largest, delay) = (ack.largest, ack.delay.unwrap_or_default());
                let oldest = outbound.sent().oldest().map_or(self.next_number, |slot| slot.number);
                let mut above = ack.largest.wrapping_add(1);
                for span in ack {
                    // A hole below what is waited for stays one: the peer is told.
                    self.heartbeat_due |=
                        span.last.wrapping_add(1) != above && newer(oldest, span.last.wrapping_add(1));
                    above = span.first;
                    outbound.on_span(span, &mut acked);
                }
                let hole_at_end = newer(above, through.wrapping_add(1));
                self.heartbeat_due |= hole_at_end && newer(oldest, through.wrapping_add(1));
            }
        }
        self.recovery.on_news(now, largest, delay, &news);
        self.detect_losses(now);
    }

    /// Datagrams that newer ones have overtaken for too long are lost.
    fn detect_losses(&mut self, now: Instant) {
        let Some(largest) = self.recovery.largest else { return };
        let (behind, after) = self.recovery.lost_when(now);
        let overtaken = |slot: &SentSlot| {
            newer(largest, slot.number)
                && (behind.is_some_and(|behind| largest.wrapping_sub(slot.number) >= behind)
                    || now.since(slot.sent) >= after)
        };
        while let Some(slot) = self.outbound.lose_oldest(Fate::Overtaken, overtaken) {
            self.on_lost(now, &slot);
        }
    }

    fn on_lost(&mut self, now: Instant, slot: &SentSlot) {
        self.counters.lost += 1;
        self.credit_due |= slot.credit;
        for part in slot.unreliable {
            self.lost_bytes[usize::from(part.lane)] += u64::from(part.bytes);
        }
        self.congestion.on_lost(now, slot.sent);
    }

    /// Time has come to `now`.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.ended.is_some() {
            return;
        }
        if self.dead_at().is_some_and(|at| at <= now) {
            self.end(Ended::Dead);
            return;
        }
        self.detect_losses(now);
        if self.in_flight() > 0 && self.recovery.probe_at() <= now {
            self.counters.probes += 1;
            self.recovery.on_probe(now);
            if let Some(slot) = self.outbound.lose_oldest(Fate::Unheard, |_| true) {
                self.on_lost(now, &slot);
            }
            self.ask_due = true;
        }
        if self.keepalive_at().is_some_and(|at| at <= now) {
            self.ask_due = true;
        }
    }

    fn end(&mut self, ended: Ended) {
        self.ended = Some(ended);
        self.outbound.tell_all();
    }

    /// The owner ends it: everything that is not settled becomes maybe delivered.
    pub fn abandon(&mut self) {
        self.end(Ended::Gone);
    }

    /// A body that may go; call it until it says `None`.
    pub fn poll_settled(&mut self) -> Option<Settled> {
        self.outbound.poll_settled()
    }

    /// When silence ends the session.
    fn dead_at(&self) -> Option<Instant> {
        let outstanding = self.in_flight() > 0 || !self.proven || self.ask_due;
        outstanding.then(|| self.heard + self.setup.dead_after)
    }

    /// When to ask for a sign of life, unless something is under way that asks for one already.
    fn keepalive_at(&self) -> Option<Instant> {
        let idle = self.in_flight() == 0 && self.proven && !self.ask_due;
        (idle && self.setup.keepalive > Duration::ZERO).then(|| self.heard + self.setup.keepalive)
    }

    /// When [`Self::on_timeout`] and then [`Self::poll_transmit`] are to be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let in_flight = self.in_flight() > 0;
        let overtaken = self.outbound.sent().oldest().and_then(|slot| self.recovery.lost_at(slot));
        let probe = in_flight.then(|| self.recovery.probe_at());
        let all = [overtaken, probe, self.acks.due(), self.dead_at(), self.keepalive_at(), self.paused_until];
        all.into_iter().flatten().min()
    }
}
