//! A session over UDP for those who speak in a stream of frames: the same preface, HELLO, WELCOME and frames as over TCP,
//! on both sides; between them each lane goes its own way.
//!
//! The owner puts the stream's bytes in with [`Stream::offer`] and takes those of the peer with [`Stream::take_up`];
//! datagrams go the other way. Frames are cut and put together here, credit is corrected for what is lost, and a PING is
//! answered once everything in front of it has arrived.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `outward` | frames on their way to the peer, by lane |
//! | `cut` | frames that are longer than a datagram |
//! | `inward` | frames that arrived, and what waits for its turn |
//! | `assembly` | messages on their way back together |

mod assembly;
mod cut;
mod inward;
mod outward;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

pub(in crate::datagram) use self::cut::cut;
use self::inward::Inward;
use self::outward::Outward;
use super::limits::{DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN, DATAGRAM_HEADER_BYTES};
use super::outbound::FrameSlot;
use super::sent::SentSlot;
use super::session::accept::{self, Answer, Attempt};
use super::session::dial::{Dial, Reply};
use super::session::{Counters, Dropped, Ended, Heard, LaneRule, NewestSlot, Session, Setup, WINDOW_WORDS};
use crate::control::{Body, Control, Hello, Welcome};
use crate::frame::credit::{self, CREDIT_FRAME_BYTES_MAX, LaneTotal};
use crate::header::{Header, Kind};
use crate::lane::table::LaneTable;
use crate::limits::{HEADER_BYTES, LANE_CREDIT_BYTES_DEFAULT, LANES_MAX, PREFACE_BYTES};
use crate::session::handshake::{PREFACE, feature};
use crate::time::Instant;

/// Frames of reliable lanes that may be under way.
const FRAMES_MAX: usize = 1_024;
/// Datagrams that are remembered.
const DATAGRAMS_MAX: usize = 256;
/// Keys of US lanes that are told apart.
const KEYS_MAX: usize = 512;
/// Bytes that wait to be sent at most for more to be taken.
pub const WAITING_BYTES_MAX: usize = 64 * 1024;

type Machine = Session<Vec<FrameSlot>, Vec<SentSlot>, Vec<u64>, Vec<NewestSlot>>;

/// Why a stream is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum End {
    /// Nothing was heard for too long.
    Dead,
    /// The peer does not know the session: it began anew.
    Gone,
    /// The broker refused; the stream carries its REJECT.
    Rejected,
    /// The first words do not fit a datagram, or are none.
    Unfit,
    /// The peer asked for more memory than there may be.
    Fault,
}

/// How far the handshake is.
#[derive(Debug)]
enum Phase {
    /// Client: HELLO is not known yet, or goes out.
    Dialling { dial: Dial, hello: Vec<u8> },
    /// Broker: HELLO arrived; the answer is not known yet.
    Asked { peer: u32, peer_epoch: u16, bytes: usize },
    /// The session is open; the broker's answer goes out again if HELLO comes again.
    Open { answer: Vec<u8> },
    /// The broker refuses, with this answer.
    Refused { answer: Vec<u8> },
}

/// A HELLO to be answered.
#[derive(Clone, Copy, Debug)]
struct ToAnswer {
    number: u32,
    bytes: usize,
}

/// One side of one stream.
#[derive(Debug)]
pub struct Stream {
    own: u32,
    epoch: u16,
    /// The client's number: whom answers go to. Broker only.
    peer: u32,
    peer_epoch: u16,
    phase: Phase,
    lanes: LaneTable,
    session: Option<Box<Machine>>,
    outward: Outward,
    inward: Inward,
    /// The offered bytes that are no whole frame yet.
    partial: Vec<u8>,
    /// Preface bytes still to come from the owner.
    preface_left: usize,
    to_answer: Option<ToAnswer>,
    end: Option<End>,
    /// Total credit that the owner was told, by lane; what the peer gave, before what was lost.
    given: Option<[u64; LANES_MAX]>,
    told: [u64; LANES_MAX],
}

impl Stream {
    /// The client's side, as session `own` (not 0): it waits for preface and HELLO from its owner. Datagrams have
    /// `datagram_bytes` at first.
    pub fn dial(now: Instant, own: u32, epoch: u16, datagram_bytes: usize) -> Self {
        let dial = Dial::new(now, own, epoch, datagram_bytes.min(DATAGRAM_BYTES_MAX));
        let phase = Phase::Dialling { dial, hello: Vec::new() };
        Self::new(own, epoch, 0, phase, LaneTable::STANDARD, false)
    }

    /// The broker's side of an attempt, as session `own`. Its owner finds preface and HELLO in the stream. `lanes` are those
    /// that both sides know.
    pub fn accept(attempt: &Attempt<'_>, own: u32, epoch: u16, lanes: LaneTable) -> Self {
        let Attempt { own: peer, epoch: peer_epoch, number, bytes, hello, .. } = *attempt;
        let phase = Phase::Asked { peer, peer_epoch, bytes };
        let mut stream = Self::new(own, epoch, peer, phase, lanes, true);
        stream.peer_epoch = peer_epoch;
        stream.to_answer = Some(ToAnswer { number, bytes });
        stream.inward.up.extend_from_slice(&PREFACE);
        stream.inward.put_control(hello);
        if let Some(Body::Hello(hello)) = control_of(hello) {
            stream.take_terms(hello.features, hello.limits.as_ref().map(|limits| &limits.lane_credit[..]));
            stream.outward.counts = hello.features & feature::CONFIRM != 0;
        }
        stream
    }

    fn new(own: u32, epoch: u16, peer: u32, phase: Phase, lanes: LaneTable, broker: bool) -> Self {
        Self {
            own,
            epoch,
            peer,
            peer_epoch: 0,
            phase,
            lanes,
            session: None,
            outward: Outward::new(&lanes),
            inward: Inward::new(&lanes, broker),
            partial: Vec::new(),
            preface_left: PREFACE_BYTES,
            to_answer: None,
            end: None,
            given: None,
            told: [0; LANES_MAX],
        }
    }

    /// What the peer gives of credit at first, if it gives any.
    fn take_terms(&mut self, features: u64, totals: Option<&[u64]>) {
        if features & feature::CREDIT != 0 {
            let totals = totals.unwrap_or_default();
            let first = |lane: usize| totals.get(lane).copied().unwrap_or(LANE_CREDIT_BYTES_DEFAULT);
            let given = core::array::from_fn(first);
            (self.given, self.told) = (Some(given), given);
        }
    }

    /// By which number the peer addresses this side.
    pub const fn own(&self) -> u32 {
        self.own
    }

    /// The client's number and the low bits of its epoch.
    pub const fn client(&self) -> (u32, u16) {
        (self.peer, self.peer_epoch)
    }

    /// Why it is over, if it is.
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// What the session has seen; `None` before it is open.
    pub fn counters(&self) -> Option<&Counters> {
        self.session.as_ref().map(|session| session.counters())
    }

    /// Its owner gives it up.
    pub fn give_up(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    /// Whether the session is open.
    pub const fn is_open(&self) -> bool {
        self.session.is_some()
    }

    /// Whether a datagram of the session has arrived: its peer is where it says.
    pub fn is_proven(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_proven())
    }

    /// Whether more should be offered.
    pub fn has_room(&self) -> bool {
        self.outward.waiting_bytes < WAITING_BYTES_MAX && self.end.is_none()
    }

    /// Lanes (a bit each) of which so much waits that more of them should not be offered.
    pub fn full_lanes(&self) -> u16 {
        self.outward.full_lanes()
    }

    /// Whether everything that was offered has arrived, as far as lanes promise that, or cannot any more.
    pub fn is_done(&self) -> bool {
        let settled = self.session.as_ref().is_none_or(|session| session.is_settled());
        self.end.is_some() || self.to_answer.is_none() && self.outward.is_empty() && settled
    }

    /// Whether the owner has room for what arrives.
    pub const fn set_room(&mut self, has_room: bool) {
        self.inward.has_room = has_room;
    }

    /// The stream's bytes that arrived.
    pub fn up(&self) -> &[u8] {
        &self.inward.up
    }

    /// The owner has taken the first `bytes` of them.
    pub fn take_up(&mut self, bytes: usize) {
        self.inward.up.drain(..bytes);
    }

    /// The owner's stream goes on with these bytes.
    pub fn offer(&mut self, now: Instant, bytes: &[u8]) {
        if self.end.is_some() {
            return;
        }
        let skipped = self.preface_left.min(bytes.len());
        self.preface_left -= skipped;
        let mut rest = &bytes[skipped..];
        if !self.partial.is_empty() {
            let mut partial = core::mem::take(&mut self.partial);
            partial.extend_from_slice(rest);
            let taken = self.take_frames(now, &partial);
            partial.drain(..taken);
            self.partial = partial;
            return;
        }
        let taken = self.take_frames(now, rest);
        rest = &rest[taken..];
        self.partial.extend_from_slice(rest);
    }

    fn take_frames(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(head) = bytes.get(at..).and_then(|rest| rest.first_chunk::<HEADER_BYTES>()) {
            let Ok(header) = Header::decode(head) else {
                self.end = Some(End::Unfit);
                return bytes.len();
            };
            let Some(frame) = bytes.get(at..at + usize::from(header.len)) else { break };
            self.take_frame(now, &header, frame);
            at += frame.len();
        }
        at
    }

    fn take_frame(&mut self, now: Instant, header: &Header, frame: &[u8]) {
        match &mut self.phase {
            Phase::Dialling { hello, .. } if hello.is_empty() => {
                if header.kind != Kind::CTRL || !Dial::fits(frame.len()) {
                    self.end = Some(End::Unfit);
                    return;
                }
                *hello = frame.to_vec();
                if let Some(Body::Hello(said)) = control_of(frame) {
                    self.inward.on_own_hello(&said);
                }
            }
            &mut Phase::Asked { peer, peer_epoch, bytes } => {
                if header.kind != Kind::CTRL {
                    return;
                }
                let answer = frame.to_vec();
                match control_of(frame) {
                    Some(Body::Welcome(welcome)) => {
                        let setup = Setup { datagram_bytes: bytes, ..self.setup(peer, peer_epoch) };
                        if let Some(limits) = welcome.limits.as_ref().filter(|limits| !limits.lane_credit.is_empty()) {
                            self.inward.give_first(&limits.lane_credit);
                        }
                        self.open(now, setup, &welcome);
                        self.phase = Phase::Open { answer };
                    }
                    Some(_) | None => self.phase = Phase::Refused { answer },
                }
            }
            Phase::Refused { .. } => {}
            Phase::Dialling { .. } | Phase::Open { .. } => {
                self.outward.take_frame(header, frame);
                if header.kind == Kind::CREDIT {
                    self.say_credit(frame);
                }
            }
        }
    }

    /// The owner gives the peer more credit.
    fn say_credit(&mut self, frame: &[u8]) {
        let Ok(totals) = credit::decode(&frame[HEADER_BYTES..]) else { return };
        for LaneTotal { lane, total } in totals {
            self.inward.grant(lane, total);
            self.outward.credit[usize::from(lane)] = Some(self.inward.allowed(lane));
            if let Some(session) = &mut self.session {
                session.say_credit(lane);
            }
        }
    }

    fn setup(&self, peer: u32, peer_epoch: u16) -> Setup {
        Setup::new(self.own, peer, self.epoch, peer_epoch, rules(&self.lanes))
    }

    fn open(&mut self, now: Instant, setup: Setup, welcome: &Welcome) {
        let windows = core::array::from_fn(|_| vec![0; WINDOW_WORDS]);
        let frames = vec![FrameSlot::default(); FRAMES_MAX];
        let datagrams = vec![SentSlot::default(); DATAGRAMS_MAX];
        let keys = vec![NewestSlot::default(); KEYS_MAX];
        let session = Box::new(Session::new(now, setup, frames, datagrams, windows, keys));
        self.inward.on_open(welcome);
        self.outward.on_open(session.room_bytes());
        self.session = Some(session);
    }

    /// A datagram arrived. `Ok` says whether it is the newest of the session, so that answers go to where it came from.
    pub fn on_datagram(&mut self, now: Instant, bytes: &[u8]) -> Result<Heard, Dropped> {
        match &mut self.phase {
            Phase::Dialling { .. } => self.on_reply(now, bytes),
            Phase::Asked { .. } | Phase::Refused { .. } => Err(Dropped::Stray),
            Phase::Open { .. } => {
                let Some(session) = &mut self.session else { return Err(Dropped::Stray) };
                self.inward.now = now;
                let heard = session.on_datagram(now, bytes, &mut self.inward);
                self.after(now);
                heard
            }
        }
    }

    /// An attempt arrived again: it gets the same answer.
    pub fn on_attempt(&mut self, attempt: &Attempt<'_>) {
        self.to_answer = Some(ToAnswer { number: attempt.number, bytes: attempt.bytes });
        let shorter = attempt.bytes;
        match (&mut self.phase, &mut self.session) {
            (Phase::Asked { bytes, .. }, _) => *bytes = shorter.min(*bytes),
            (Phase::Open { .. }, Some(session)) if !session.is_proven() => {
                session.shorten(shorter);
                if self.outward.is_empty() {
                    self.outward.on_open(session.room_bytes());
                }
            }
            (Phase::Open { .. } | Phase::Dialling { .. } | Phase::Refused { .. }, _) => {}
        }
    }

    fn on_reply(&mut self, now: Instant, bytes: &[u8]) -> Result<Heard, Dropped> {
        let Phase::Dialling { dial, .. } = &mut self.phase else { return Err(Dropped::Stray) };
        match dial.on_datagram(now, bytes) {
            Reply::None => Err(Dropped::Stray),
            Reply::Cookie => Ok(Heard { newest: true }),
            Reply::Reject(frame) => {
                self.inward.up.extend_from_slice(&PREFACE);
                self.inward.put_control(frame);
                self.end = Some(End::Rejected);
                Ok(Heard { newest: true })
            }
            Reply::Welcome { frame, peer, epoch, bytes, rtt } => {
                let Some(Body::Welcome(welcome)) = control_of(frame) else { return Err(Dropped::Stray) };
                for lane in &welcome.lanes {
                    if let Ok((number, spec)) = lane.spec() {
                        self.lanes = self.lanes.with(number, Some(spec)).unwrap_or(self.lanes);
                    }
                }
                self.outward.set_lanes(&self.lanes);
                self.inward.set_lanes(&self.lanes);
                self.inward.up.extend_from_slice(&PREFACE);
                self.inward.put_control(frame);
                (self.peer, self.peer_epoch) = (peer, epoch);
                let limits = welcome.limits.as_ref().map(|limits| &limits.lane_credit[..]);
                self.take_terms(welcome.features, limits.filter(|totals| !totals.is_empty()));
                let datagram_bytes = bytes.max(DATAGRAM_BYTES_MIN);
                let setup = Setup { datagram_bytes, opens: true, rtt: Some(rtt), ..self.setup(peer, epoch) };
                self.open(now, setup, &welcome);
                self.phase = Phase::Open { answer: Vec::new() };
                Ok(Heard { newest: true })
            }
        }
    }

    /// What the session has learned is passed on to the owner.
    fn after(&mut self, now: Instant) {
        let Some(session) = &mut self.session else { return };
        while let Some(settled) = session.poll_settled() {
            self.outward.on_settled(settled.payload);
        }
        self.inward.take_newest(now, session);
        self.outward.on_pongs(&mut self.inward);
        if self.outward.counts {
            self.outward.tell_counts(&mut self.inward.up);
        }
        if let Some(given) = &mut self.given {
            Self::tell_credit(given, &mut self.told, session, &mut self.inward);
        }
        for lane in self.inward.take_regranted() {
            self.outward.credit[usize::from(lane)] = Some(self.inward.allowed(lane));
            session.say_credit(lane);
        }
        if self.inward.fault {
            self.end = Some(End::Fault);
        }
        if let Some(ended) = session.ended() {
            self.end.get_or_insert(match ended {
                Ended::Dead => End::Dead,
                Ended::Gone => End::Gone,
            });
        }
    }

    /// Tells the owner what it may send: what the peer gives, and what was sent in vain.
    fn tell_credit(given: &mut [u64; LANES_MAX], told: &mut [u64; LANES_MAX], session: &Machine, inward: &mut Inward) {
        let mut totals = [LaneTotal { lane: 0, total: 0 }; LANES_MAX - 1];
        let mut count = 0;
        let lanes = (0u8..).zip(given).zip(told).zip(&inward.credited).skip(1);
        for (((lane, given), told), credited) in lanes {
            *given = (*given).max(*credited);
            let total = *given + session.lost_bytes(lane);
            if total > *told {
                *told = total;
                totals[count] = LaneTotal { lane, total };
                count += 1;
            }
        }
        if count > 0 {
            let frame = &mut [0; CREDIT_FRAME_BYTES_MAX];
            inward.up.extend_from_slice(credit::encode(&totals[..count], frame));
        }
    }

    /// Time has come to `now`.
    pub fn on_timeout(&mut self, now: Instant) {
        if let Some(session) = &mut self.session {
            session.on_timeout(now);
            self.after(now);
        }
    }

    /// When [`Stream::on_timeout`] and [`Stream::poll_transmit`] want to be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            _ if self.end.is_some() => None,
            Phase::Dialling { dial, hello, .. } => (!hello.is_empty()).then(|| dial.poll_timeout()),
            Phase::Open { .. } => {
                let session = self.session.as_ref().and_then(|session| session.poll_timeout());
                [session, self.outward.poll_timeout()].into_iter().flatten().min()
            }
            Phase::Asked { .. } | Phase::Refused { .. } => None,
        }
    }

    /// Writes the next datagram to the front of `out`, which has room for [`Stream::datagram_bytes`]; returns its bytes.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        match &mut self.phase {
            Phase::Dialling { dial, hello, .. } if !hello.is_empty() && self.end.is_none() => {
                return dial.poll_transmit(now, hello, out);
            }
            Phase::Dialling { .. } | Phase::Asked { .. } => return None,
            Phase::Open { answer } | Phase::Refused { answer } => {
                if let Some(ToAnswer { number, bytes }) = self.to_answer.take() {
                    let open = self.session.is_some();
                    let said =
                        if open { Answer::Welcome { frame: answer, own: self.own } } else { Answer::Reject(answer) };
                    return accept::answer(self.peer, number, bytes, self.epoch, said, out);
                }
            }
        }
        let session = self.session.as_mut().filter(|_| self.end.is_none())?;
        self.outward.prepare(now, session.round_trip());
        session.poll_transmit(now, &mut self.outward, out)
    }

    /// Bytes of the longest datagram that it writes.
    pub fn datagram_bytes(&self) -> usize {
        let asked = self.to_answer.map_or(0, |attempt| attempt.bytes);
        let open = self.session.as_ref().map_or(0, |session| session.setup().datagram_bytes);
        let dialling = match &self.phase {
            Phase::Dialling { dial, .. } => dial.bytes_max(),
            Phase::Asked { .. } | Phase::Open { .. } | Phase::Refused { .. } => 0,
        };
        asked.max(open).max(dialling).max(DATAGRAM_BYTES_MIN)
    }
}

/// What each lane promises, for the session.
fn rules(lanes: &LaneTable) -> [Option<LaneRule>; LANES_MAX] {
    let mut rules = [None; LANES_MAX];
    for (number, lane) in lanes.iter() {
        rules[usize::from(number)] = Some(LaneRule { kind: lane.kind, class: lane.class });
    }
    rules
}

/// The message in a CTRL frame.
fn control_of(frame: &[u8]) -> Option<Body> {
    Control::decode_body(frame.get(HEADER_BYTES..)?).ok()?.body
}

impl Inward {
    fn on_own_hello(&mut self, hello: &Hello) {
        if hello.features & feature::CREDIT != 0 {
            let totals = hello.limits.as_ref().map_or(&[][..], |limits| &limits.lane_credit);
            self.give_first(totals);
        }
    }

    /// Without the broker's word that it keeps to credit there is none.
    fn on_open(&mut self, welcome: &Welcome) {
        if welcome.features & feature::CREDIT == 0 {
            self.granted = None;
        }
    }
}

const _: () = assert!(DATAGRAM_HEADER_BYTES < DATAGRAM_BYTES_MIN);
