//! One to all, for those who speak in a stream of frames: the owner publishes and subscribes as on any link, and datagrams go
//! to everybody and come from everybody.
//!
//! A client's link plays its broker ([`Broadcast::for_client`]), a broker's link plays one of its clients
//! ([`Broadcast::for_broker`]). Without [`Setup::repair`] nothing is ever answered: what is lost is lost.
//!
//! | module | what lives there |
//! | --- | --- |
//! | `owner` | what the owner asks for in control messages |
//! | `speaker` | what it publishes: names, numbers |
//! | `packets` | frames on their way into datagrams |
//! | `hearer` | what others said: senders, topics, what is wanted of it |
//! | `assembly` | messages in fragments on their way back together |
//! | `source` | what is kept for repairs, and who asked for what |
//! | `holes` | what is missing of a repaired stream, and what becomes of it |
//! | `unnamed` | what waits for the name of its topic |
//! | `numbers` | numbers of a stream as places on a line |
//! | `name` | the topic's name inside a frame |

mod assembly;
mod hearer;
mod holes;
mod name;
mod numbers;
mod owner;
mod packets;
mod source;
mod speaker;
mod unnamed;

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use self::hearer::{Hearer, Request, split};
use self::owner::{Asked, Owner};
use self::speaker::Speaker;
use super::header::Stray;
use super::interest::Interest;
use super::limits::{DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN, REPAIR_PERCENT_DEFAULT};
use super::nak::{self, NAK_FRAME_BYTES_MAX, StreamKey};
use super::pace::Pacer;
use super::stream::WAITING_BYTES_MAX;
use crate::control::Control;
use crate::frame::ping::{Ping, Pong};
use crate::header::{Header, Kind};
use crate::lane::table::LaneTable;
use crate::limits::{HEADER_BYTES, NODE_ID_BYTES, PREFACE_BYTES};
use crate::time::Instant;

pub use self::name::XHDR_TOPIC;

/// What a broadcast link is told at its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    /// This sender among all, not 0; drawn at random, unless it is kept together with an epoch that grows.
    pub sender: u32,
    /// Grows (as numbers that wrap) with each start under the same `sender`.
    pub epoch: u16,
    /// Bytes of a datagram at most.
    pub datagram_bytes: usize,
    /// Bytes a second; 0: as fast as the owner is.
    pub bytes_per_s: u64,
    /// What each lane promises.
    pub lanes: LaneTable,
    /// Whether what is missing on reliable lanes is asked for and sent again.
    pub repair: Option<Repair>,
    /// Who the owner finds at the other end.
    pub node_id: [u8; NODE_ID_BYTES],
}

/// Repairs of reliable lanes, at both ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repair {
    /// Percent of the sender's rate that it may spend on repairs.
    pub percent: u32,
    /// About how many receivers there are: the more, the longer most of them wait before they ask.
    pub receivers: u32,
}

impl Default for Repair {
    fn default() -> Self {
        Self { percent: REPAIR_PERCENT_DEFAULT, receivers: RECEIVERS_DEFAULT }
    }
}

/// Receivers that are expected unless somebody says otherwise.
const RECEIVERS_DEFAULT: u32 = 16;
/// The least part of its rate to which a sender is brought down by those who ask.
const RATE_PARTS: u64 = 8;
/// Steps in which it comes back, one a second.
const RATE_STEPS: u64 = 16;

/// What was seen on a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Datagrams of others, each for the first time.
    pub datagrams: u64,
    /// Messages and batches that the owner got.
    pub frames: u64,
    /// Datagrams of its own that came back.
    pub own: u64,
    /// Datagrams that had been there, or are of before their sender began anew.
    pub repeated: u64,
    /// Datagrams that hold what no frame is, and frames on no lane.
    pub malformed: u64,
    /// Frames of topics that nobody here asked for.
    pub unwanted: u64,
    /// Frames of topics whose names are not known yet.
    pub unnamed: u64,
    /// Frames that came behind newer ones of their lane.
    pub outdated: u64,
    /// Frames of ordered lanes that did not come.
    pub missed: u64,
    /// Datagrams for which the owner had no room.
    pub dropped: u64,
    /// Frames of the owner that could not be sent.
    pub refused: u64,
    /// Frames of repaired streams that had been there.
    pub repeated_frames: u64,
    /// Frames of repaired streams that will not come.
    pub lost: u64,
    /// Requests for what is missing, to others and of others.
    pub requests_out: u64,
    /// Of others, to anybody.
    pub requests_in: u64,
    /// Times that a source said that too much is asked of it.
    pub demoted: u64,
    /// Datagrams sent that repeat frames.
    pub repairs: u64,
    /// Datagrams sent for the first time.
    pub datagrams_out: u64,
}

/// A datagram that was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    /// Its bytes.
    pub bytes: usize,
    /// To this receiver only; otherwise to all.
    pub to: Option<SocketAddr>,
}

/// One end of a broadcast link.
#[derive(Debug)]
pub struct Broadcast {
    setup: Setup,
    owner: Owner,
    speaker: Speaker,
    hearer: Hearer,
    pacer: Pacer,
    stats: Stats,
    partial: Vec<u8>,
    /// Preface bytes still to come from the owner.
    preface_left: usize,
    /// Grows when what the socket should let through changes.
    interest_version: u64,
    /// PINGs that are answered once everything in front of them was sent.
    pings: Vec<Ping>,
    /// The owner has said its last word, or nonsense.
    ended: bool,
    /// Whether the owner has room for what arrives.
    owner_has_room: bool,
    now: Instant,
}

impl Broadcast {
    /// A client's link: it waits for preface and HELLO from its owner.
    pub fn for_client(setup: Setup) -> Self {
        Self::new(setup, Owner::Client { filters: Vec::new() }, true)
    }

    /// A broker's link: what matches `out` goes to all, what matches `heard` comes from all. Its owner finds preface and
    /// HELLO in the stream.
    pub fn for_broker(setup: Setup, out: Vec<String>, heard: Vec<String>) -> Self {
        let mut link = Self::new(setup, Owner::Broker { out }, false);
        link.hearer.set_filters(heard);
        link
    }

    fn new(setup: Setup, owner: Owner, numbered: bool) -> Self {
        let datagram_bytes = setup.datagram_bytes.clamp(DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX);
        let mut hearer = Hearer::new(setup.sender, setup.lanes, numbered, setup.repair);
        owner.begin(&setup, &mut hearer.up);
        Self {
            setup: Setup { datagram_bytes, ..setup },
            owner,
            speaker: Speaker::new(
                setup.sender,
                setup.epoch,
                datagram_bytes,
                setup.lanes,
                setup.repair.map(|repair| (repair, setup.bytes_per_s)),
            ),
            hearer,
            pacer: Pacer::new(setup.bytes_per_s, datagram_bytes),
            stats: Stats::default(),
            partial: Vec::new(),
            preface_left: PREFACE_BYTES,
            interest_version: 0,
            pings: Vec::new(),
            ended: false,
            owner_has_room: true,
            now: Instant(0),
        }
    }

    /// What was seen so far.
    pub const fn stats(&self) -> Stats {
        Stats { refused: self.speaker.refused, repairs: self.speaker.repairs, ..self.stats }
    }

    /// What the socket should let through, and a number that changes with it.
    pub fn interests(&self) -> (u64, Vec<Interest>) {
        (self.interest_version, self.hearer.interests())
    }

    /// The number that [`Broadcast::interests`] has now.
    pub const fn interest_version(&self) -> u64 {
        self.interest_version
    }

    /// Whether the owner has ended it. What it published before may still wait.
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether everything that was offered has been sent.
    pub const fn is_done(&self) -> bool {
        self.speaker.waiting_bytes() == 0
    }

    /// Whether the owner has room for what arrives; what arrives without is dropped.
    pub const fn set_room(&mut self, has_room: bool) {
        self.owner_has_room = has_room;
    }

    /// Whether more should be offered.
    pub const fn has_room(&self) -> bool {
        self.speaker.waiting_bytes() < WAITING_BYTES_MAX && !self.ended
    }

    /// The owner's stream: what arrived.
    pub fn up(&self) -> &[u8] {
        &self.hearer.up
    }

    /// The owner has taken the first `bytes` of it.
    pub fn take_up(&mut self, bytes: usize) {
        self.hearer.up.drain(..bytes);
    }

    /// The owner's stream goes on with these bytes.
    pub fn offer(&mut self, now: Instant, bytes: &[u8]) {
        let skipped = self.preface_left.min(bytes.len());
        self.preface_left -= skipped;
        let mut partial = core::mem::take(&mut self.partial);
        partial.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
        let mut rest = &partial[..];
        while let Some(head) = rest.first_chunk::<HEADER_BYTES>() {
            if self.ended {
                return;
            }
            if Header::decode(head).is_err() {
                self.ended = true;
                return;
            }
            let Some((header, frame, behind)) = split(rest) else { break };
            self.take_frame(now, &header, frame);
            rest = behind;
        }
        let taken = partial.len() - rest.len();
        partial.drain(..taken);
        self.partial = partial;
    }

    fn take_frame(&mut self, now: Instant, header: &Header, frame: &[u8]) {
        let body = frame.get(HEADER_BYTES..).unwrap_or_default();
        match header.kind {
            Kind::PUB | Kind::BATCH => self.speaker.take_data(now, header, frame),
            Kind::PING => {
                self.pings.extend(Ping::decode(body));
                self.answer_pings(now);
            }
            Kind::CTRL => {
                let Ok(message) = Control::decode_body(body) else {
                    self.ended = true;
                    return;
                };
                match self.owner.on_control(&self.setup, message, &mut self.hearer.up) {
                    Asked::Nothing => {}
                    Asked::Topics(topics) => {
                        topics.iter().for_each(|(id, name)| self.speaker.declare(*id, name));
                    }
                    Asked::Filters(filters) => {
                        self.hearer.set_filters(filters);
                        self.interest_version += 1;
                    }
                    Asked::End => self.ended = true,
                }
            }
            // Credit, counts and the like are between two.
            _ => {}
        }
    }

    fn answer_pings(&mut self, now: Instant) {
        if self.speaker.waiting_bytes() > 0 {
            return;
        }
        for Ping { t0 } in self.pings.drain(..) {
            let pong = Pong { t0, t1: now.0, t2: now.0 };
            self.hearer.up.extend_from_slice(&pong.encode());
        }
    }

    /// A datagram arrived from this address.
    pub fn on_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> Result<(), Stray> {
        if !self.owner_has_room {
            self.stats.dropped += 1;
            return Ok(());
        }
        let Self { hearer, speaker, stats, .. } = self;
        hearer.on_datagram(now, from, bytes, stats, &mut |nak| speaker.on_nak(now, from, nak))
    }

    /// Time has come to `now`.
    pub fn on_timeout(&mut self, now: Instant) {
        self.answer_pings(now);
    }

    /// When [`Broadcast::on_timeout`] and [`Broadcast::poll_transmit`] want to be called, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let data = (!self.is_done()).then(|| self.pacer.wait_until(self.now).unwrap_or(self.now));
        [data, self.speaker.poll_timeout(self.now), self.hearer.poll_timeout()].into_iter().flatten().min()
    }

    /// Writes the next datagram to the front of `out`, which has room for [`Broadcast::datagram_bytes`].
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Sent> {
        self.now = now;
        if let Some(request) = self.hearer.poll_request(now, &mut self.stats) {
            return self.request(&request, out);
        }
        if let Some((bytes, to)) = self.speaker.poll_again(now, out) {
            return Some(Sent { bytes, to });
        }
        self.keep_rate(now);
        if self.pacer.wait_until(now).is_some() {
            return None;
        }
        let sent = self.speaker.poll_transmit(now, out);
        if let Some(bytes) = sent {
            self.stats.datagrams_out += 1;
            self.pacer.on_sent(now, bytes);
        }
        self.answer_pings(now);
        sent.map(|bytes| Sent { bytes, to: None })
    }

    fn request(&mut self, request: &Request, out: &mut [u8]) -> Option<Sent> {
        let mut frame = [0; NAK_FRAME_BYTES_MAX];
        let stream = request.stream;
        let key = StreamKey { sender: stream.sender, tag: stream.tag, lane: stream.lane };
        let end = nak::encode(key, request.missing.iter().copied(), &mut frame);
        let bytes = self.speaker.seal(stream.tag, frame.get(..end)?, out)?;
        Some(Sent { bytes, to: Some(request.to) })
    }

    /// When several miss too much, the rate halves, and comes back in steps.
    fn keep_rate(&mut self, now: Instant) {
        let (most, rate) = (self.setup.bytes_per_s, self.pacer.bytes_per_s());
        match self.speaker.poll_crowded(now).filter(|_| most > 0) {
            Some(true) => self.pacer.set_rate((rate / 2).max(most / RATE_PARTS).max(1), self.setup.datagram_bytes),
            Some(false) if rate < most => {
                self.pacer.set_rate((rate + most / RATE_STEPS).min(most), self.setup.datagram_bytes);
            }
            Some(false) | None => {}
        }
    }

    /// Bytes of the longest datagram that it writes.
    pub const fn datagram_bytes(&self) -> usize {
        self.setup.datagram_bytes
    }
}
