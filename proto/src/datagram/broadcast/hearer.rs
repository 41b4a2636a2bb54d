//! What others said to all, on its way to the owner: whose datagram it is, whether it is new, and what of it is wanted.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::assembly::{Assemblies, Whole};
use super::holes::{BEGINNING_FRAMES, Fate, Holes};
use super::name::{name_of, without_name};
use super::unnamed::Unnamed;
use super::{Repair, Stats};
use crate::control::{Body, Control, DeclareTopics, Topic};
use crate::datagram::header::{DatagramHeader, Form, Stray};
use crate::datagram::heartbeat::{self, Beat};
use crate::datagram::interest::{Interest, topic_tag};
use crate::datagram::limits::{DEMOTE_MS, NAK_SPREAD_US_MIN, REPLAY_WINDOW_DATAGRAMS};
use crate::datagram::loss::RangeLost;
use crate::datagram::nak::{self, Missing, Nak};
use crate::datagram::received::Received;
use crate::frame::extensions::Extensions;
use crate::frame::fragment::Cutter;
use crate::frame::lost::{LossReason, Lost};
use crate::header::{Flags, Header, Kind, seq_after};
use crate::lane::kind::LaneKind;
use crate::lane::sequencer::{NewestOnly, forward};
use crate::lane::table::LaneTable;
use crate::limits::{
    EXTENSION_BYTES, FRAGMENT_BYTES_STREAM, FRAME_BYTES_MAX, HEADER_BYTES, SEQUENCE_STALE_MS, TOPIC_ID_DYNAMIC_FIRST,
    TOPICS_PER_SESSION_MAX,
};
use crate::time::{Duration, Instant};
use crate::topic::{check_name, matches};

/// Senders that are told apart; beyond, the one heard longest ago is forgotten.
const SENDERS_MAX: usize = 256;
/// Topics, streams and keys of one sender that are told apart.
const TOPICS_MAX: usize = 16_384;
/// Over which first requests are spread: six round trips, of which one is taken to last a millisecond.
const SPREAD: Duration = Duration::from_micros(if NAK_SPREAD_US_MIN > 6_000 { NAK_SPREAD_US_MIN } else { 6_000 });
/// Words of the window of datagrams.
const WINDOW_WORDS: usize = (REPLAY_WINDOW_DATAGRAMS / 64) as usize;

/// One sender's frames on one lane under one tag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct StreamId {
    pub(super) sender: u32,
    pub(super) tag: u32,
    pub(super) lane: u8,
}

/// A topic of a sender's numbering.
#[derive(Clone, Debug)]
struct Named {
    name: String,
    tag: u32,
    /// Whether a subscription matches it.
    wanted: bool,
}

/// A repaired stream.
#[derive(Debug)]
struct Missed {
    holes: Holes,
    /// What is settled and waits for the name of its topic.
    unnamed: Unnamed,
    ordered: bool,
    /// The last topic that was heard in it.
    topic: u32,
}

impl Missed {
    fn begin(kind: LaneKind, number: u32) -> Self {
        let ordered = kind == LaneKind::RO;
        Self { holes: Holes::begin(ordered, number), unnamed: Unnamed::default(), ordered, topic: 0 }
    }
}

/// A request to a source.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) to: SocketAddr,
    pub(super) stream: StreamId,
    pub(super) missing: Vec<Missing>,
}

/// What is known of a sender.
#[derive(Debug)]
struct Sender {
    epoch: u16,
    received: Received<WINDOW_WORDS>,
    topics: BTreeMap<u32, Named>,
    /// The newest number of each stream whose lane keeps an order.
    streams: BTreeMap<(u32, u8), u32>,
    /// What is missing of each repaired stream.
    holes: BTreeMap<(u32, u8), Missed>,
    /// Where its last datagram came from, and until when what it does not repeat is not asked for.
    address: SocketAddr,
    demoted_until: Instant,
    /// The newest number of each key of sequenced lanes: by lane, topic and conflation key.
    keys: BTreeMap<(u8, u32, u16), NewestOnly>,
    heard: Instant,
}

/// The receiving half.
#[derive(Debug)]
pub(super) struct Hearer {
    own: u32,
    lanes: LaneTable,
    /// Whether frames keep the number of their stream.
    numbered: bool,
    repair: Option<Repair>,
    /// Draws waits before requests.
    random: u64,
    /// Nothing is to be asked for before.
    due: Option<Instant>,
    filters: Vec<String>,
    senders: BTreeMap<u32, Sender>,
    assemblies: Assemblies,
    /// Names that the owner knows, and by which number.
    told: BTreeMap<String, u32>,
    /// The owner's stream.
    pub(super) up: Vec<u8>,
}

impl Hearer {
    pub(super) fn new(own: u32, lanes: LaneTable, numbered: bool, repair: Option<Repair>) -> Self {
        Self {
            own,
            lanes,
            numbered,
            repair,
            random: u64::from(own),
            due: None,
            filters: Vec::new(),
            senders: BTreeMap::new(),
            assemblies: Assemblies::default(),
            told: BTreeMap::new(),
            up: Vec::new(),
        }
    }

    /// What is wanted from now on.
    pub(super) fn set_filters(&mut self, filters: Vec<String>) {
        self.filters = filters;
        let interests = self.interests();
        for (&id, sender) in &mut self.senders {
            for topic in sender.topics.values_mut() {
                topic.wanted = is_wanted(&self.filters, &topic.name);
            }
            // Of what the socket does not let through any more, a later beginning is no gap.
            let seen = |tag: u32| interests.iter().any(|interest| interest.may_match(tag));
            sender.streams.retain(|&(tag, _), _| seen(tag));
            sender.holes.retain(|&(tag, _), _| seen(tag));
            self.assemblies.forget(|stream| stream.sender == id && !seen(stream.tag));
        }
    }

    /// What the socket should let through.
    pub(super) fn interests(&self) -> Vec<Interest> {
        self.filters.iter().map(|filter| Interest::of(filter)).collect()
    }

    /// A datagram with these frames arrived. Requests among them are given to `on_nak`.
    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        bytes: &[u8],
        stats: &mut Stats,
        on_nak: &mut impl FnMut(Nak<'_>),
    ) -> Result<(), Stray> {
        let (header, frames) = DatagramHeader::open(bytes)?;
        let Form::Broadcast { tag, sender } = header.form else { return Err(Stray::Flags) };
        if sender == self.own {
            stats.own += 1;
            return Ok(());
        }
        if !are_whole(frames) {
            stats.malformed += 1;
            return Ok(());
        }
        if !self.is_new(now, from, sender, header.epoch, header.number) {
            stats.repeated += 1;
            return Ok(());
        }
        stats.datagrams += 1;
        let mut rest = frames;
        while let Some((header, frame, behind)) = split(rest) {
            rest = behind;
            let stream = StreamId { sender, tag, lane: header.lane };
            let body = frame.get(HEADER_BYTES..).unwrap_or_default();
            match header.kind {
                Kind::PUB | Kind::BATCH => self.on_data(now, stream, &header, frame, stats),
                Kind::NAK => {
                    if let Ok(nak) = nak::decode(&header, body) {
                        stats.requests_in += 1;
                        on_nak(nak);
                    }
                }
                Kind::HEARTBEAT | Kind::LOST | Kind::DEMOTE => self.on_sign(now, stream, &header, body, stats),
                // Padding, and what may be skipped.
                _ => {}
            }
        }
        Ok(())
    }

    /// What a source says of its streams.
    fn on_sign(&mut self, now: Instant, stream: StreamId, header: &Header, body: &[u8], stats: &mut Stats) {
        if self.repair.is_none() {
            return;
        }
        let wait = self.draw();
        let Some(sender) = self.senders.get_mut(&stream.sender) else { return };
        match header.kind {
            Kind::HEARTBEAT => {
                for beat in heartbeat::decode(body).into_iter().flatten() {
                    self.on_beat(now, StreamId { lane: beat.lane, ..stream }, beat, wait, stats);
                }
            }
            Kind::LOST => {
                let Ok(lost) = RangeLost::decode(header, body) else { return };
                if let Some(missed) = sender.holes.get_mut(&(stream.tag, stream.lane)) {
                    missed.holes.on_lost(now, lost.first, lost.count, lost.reason, wait);
                }
                self.settle(now, stream, stats);
            }
            _ => {
                stats.demoted += 1;
                sender.demoted_until = now + Duration::from_millis(DEMOTE_MS);
                let streams: Vec<(u32, u8)> = sender.holes.keys().copied().collect();
                for (tag, lane) in streams {
                    self.settle(now, StreamId { tag, lane, ..stream }, stats);
                }
            }
        }
    }

    fn on_beat(&mut self, now: Instant, stream: StreamId, beat: Beat, wait: Duration, stats: &mut Stats) {
        let Some(sender) = self.senders.get_mut(&stream.sender) else { return };
        let Some(kind) = self.lanes.get(beat.lane).map(|lane| lane.kind) else { return };
        let key = (stream.tag, stream.lane);
        // Of what is not heard otherwise only the beginning is missed.
        let is_beginning = beat.trail == 1 && u64::from(beat.lead) <= BEGINNING_FRAMES;
        let may_begin = is_beginning && kind.is_reliable() && !sender.is_full_of_holes(stream.tag, stream.lane);
        if may_begin && !sender.holes.contains_key(&key) && !sender.is_unwanted(stream.tag) {
            sender.holes.insert(key, Missed::begin(kind, 1));
        }
        let Some(missed) = sender.holes.get_mut(&key) else { return };
        missed.holes.on_beat(now, beat.trail, beat.lead, wait);
        self.settle(now, stream, stats);
    }

    /// What became of a stream's numbers goes on to the owner.
    fn settle(&mut self, now: Instant, stream: StreamId, stats: &mut Stats) {
        let Some(sender) = self.senders.get_mut(&stream.sender) else { return };
        let is_demoted = now < sender.demoted_until;
        let Some(missed) = sender.holes.get_mut(&(stream.tag, stream.lane)) else { return };
        if is_demoted {
            missed.holes.give_all_up(LossReason::SourceGaveUp);
        }
        let due = missed.holes.poll_timeout();
        self.due = [self.due, due].into_iter().flatten().min();
        missed.unnamed.push(missed.holes.take_fates());
        let (topics, topic) = (&sender.topics, missed.topic);
        let fates = missed.unnamed.take(missed.ordered, |fate| match fate {
            Fate::Frame(frame) => split(frame).is_none_or(|(header, ..)| topics.contains_key(&header.topic)),
            Fate::Lost(..) => topics.contains_key(&topic),
        });
        for fate in fates {
            match fate {
                Fate::Frame(frame) => {
                    if let Some((header, frame, _)) = split(&frame) {
                        self.on_turn(now, stream, &header, frame, stats);
                    }
                }
                Fate::Lost(count, reason) => {
                    stats.lost += count;
                    self.tell_lost(stream, topic, count, reason);
                }
            }
        }
    }

    /// A topic has a name now: streams of its tag go on, or are of no interest.
    fn settle_unnamed(&mut self, now: Instant, stream: StreamId, stats: &mut Stats) {
        let Some(sender) = self.senders.get(&stream.sender) else { return };
        let of_tag = sender.holes.range((stream.tag, 0)..=(stream.tag, u8::MAX));
        let waiting: Vec<u8> = of_tag.filter(|(_, missed)| !missed.unnamed.is_empty()).map(|(key, _)| key.1).collect();
        for lane in waiting {
            self.settle(now, StreamId { lane, ..stream }, stats);
        }
    }

    /// The owner learns that frames of a stream will not come, if it would have got them.
    fn tell_lost(&mut self, stream: StreamId, topic: u32, count: u64, reason: LossReason) {
        let Some(sender) = self.senders.get(&stream.sender) else { return };
        let Some(Named { name, wanted: true, .. }) = sender.topics.get(&topic).cloned() else { return };
        let Some(topic) = self.number_of(&name) else { return };
        // To a broker nobody says what it did not get.
        if self.numbered {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let lost = Lost { topic, lane: stream.lane, reason, first: 0, count };
            self.up.extend_from_slice(&lost.encode());
        }
    }

    /// How long to wait before a request, at random: the more receivers there are, the nearer to the end of the time over
    /// which requests are spread, so that one is early and the others hear the answer.
    fn draw(&mut self) -> Duration {
        let receivers = self.repair.map_or(1, |repair| repair.receivers).max(1);
        // SplitMix64: neighbours in sender ids have nothing in common from the first number on.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        // Of a number u between 0 and 1, in 256ths: how often it has to be doubled to be 1.
        let u = ((mixed ^ mixed >> 31) >> 32) as u32 | 1;
        let halvings = u64::from(u.leading_zeros()) * 256 + 255 - u64::from((u << u.leading_zeros() << 1) >> 24);
        let most = (u64::from(u32::BITS - receivers.leading_zeros()) + 2) * 256;
        Duration(SPREAD.0 - SPREAD.0 * halvings.min(most) / most)
    }

    /// The next request that is due.
    pub(super) fn poll_request(&mut self, now: Instant, stats: &mut Stats) -> Option<Request> {
        if self.due.is_none_or(|due| due > now) {
            return None;
        }
        let mut due: Option<Instant> = None;
        for (&id, sender) in &mut self.senders {
            for (&(tag, lane), missed) in &mut sender.holes {
                if missed.holes.poll_timeout().is_some_and(|at| at <= now) {
                    let missing = missed.holes.poll_naks(now, SPREAD);
                    let stream = StreamId { sender: id, tag, lane };
                    let to = sender.address;
                    // What was asked for often enough is lost.
                    self.settle(now, stream, stats);
                    if !missing.is_empty() {
                        stats.requests_out += 1;
                        return Some(Request { to, stream, missing });
                    }
                    return self.poll_request(now, stats);
                }
                due = [due, missed.holes.poll_timeout()].into_iter().flatten().min();
            }
        }
        self.due = due;
        None
    }

    /// When [`Hearer::poll_request`] has something.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Whether this datagram of a sender is to be looked at; remembers it.
    fn is_new(&mut self, now: Instant, from: SocketAddr, id: u32, epoch: u16, number: u32) -> bool {
        let known = self.senders.get(&id).map(|sender| sender.epoch.wrapping_sub(epoch) as i16);
        match known {
            Some(0) => {}
            // It is of before the sender began anew.
            Some(1..) => return false,
            Some(_) | None => self.begin(now, from, id, epoch, number),
        }
        let Some(sender) = self.senders.get_mut(&id) else { return false };
        sender.heard = now;
        let is_new = sender.received.place(number).is_some();
        if is_new {
            sender.received.insert(number);
            sender.address = from;
        }
        is_new
    }

    fn begin(&mut self, now: Instant, from: SocketAddr, id: u32, epoch: u16, number: u32) {
        self.assemblies.forget(|stream| stream.sender == id);
        if !self.senders.contains_key(&id) && self.senders.len() >= SENDERS_MAX {
            let oldest = self.senders.iter().min_by_key(|(_, sender)| sender.heard).map(|(&id, _)| id);
            if let Some(oldest) = oldest {
                self.senders.remove(&oldest);
                self.assemblies.forget(|stream| stream.sender == oldest);
            }
        }
        // What was sent just before may still arrive.
        let first = number.wrapping_sub(REPLAY_WINDOW_DATAGRAMS / 2);
        let sender = Sender {
            epoch,
            received: Received::new(first),
            topics: BTreeMap::new(),
            streams: BTreeMap::new(),
            keys: BTreeMap::new(),
            holes: BTreeMap::new(),
            address: from,
            demoted_until: Instant(0),
            heard: now,
        };
        self.senders.insert(id, sender);
    }

    fn on_data(&mut self, now: Instant, stream: StreamId, header: &Header, frame: &[u8], stats: &mut Stats) {
        let Some(sender) = self.senders.get_mut(&stream.sender) else { return };
        let Some(kind) = self.lanes.get(header.lane).map(|lane| lane.kind) else {
            stats.malformed += 1;
            return;
        };
        let body = frame.get(HEADER_BYTES..).unwrap_or_default();
        if let Some(name) = name_of(header.flags, body).filter(|name| check_name(name).is_ok())
            && sender.learn(header.topic, name, &self.filters)
        {
            self.settle_unnamed(now, stream, stats);
        }
        let Some(sender) = self.senders.get_mut(&stream.sender) else { return };
        let is_repaired = self.repair.is_some() && kind.is_reliable() && header.seq != 0;
        if is_repaired && !sender.is_full_of_holes(stream.tag, stream.lane) {
            let key = (stream.tag, stream.lane);
            let is_wanted = |topic: u32| sender.topics.get(&topic).is_some_and(|topic| topic.wanted);
            let of = sender.holes.get(&key).map(|missed| missed.topic);
            // A stream is one of interest with the first frame that is; what is heard beside it is not asked for.
            if !is_wanted(header.topic) && !of.is_some_and(is_wanted) {
                let is_named = sender.topics.contains_key(&header.topic);
                if is_named {
                    sender.holes.remove(&key);
                    stats.unwanted += 1;
                    return;
                }
                // Who hears a stream begin asks for its first frames, and they name it.
                if of.is_none() && u64::from(header.seq) > BEGINNING_FRAMES {
                    stats.unnamed += 1;
                    return;
                }
            }
            let names_losses = is_wanted(header.topic) || !of.is_some_and(is_wanted);
            let wait = self.draw();
            let Some(sender) = self.senders.get_mut(&stream.sender) else { return };
            let missed = sender.holes.entry(key).or_insert_with(|| Missed::begin(kind, header.seq));
            if names_losses {
                missed.topic = header.topic;
            }
            stats.repeated_frames += u64::from(!missed.holes.on_frame(now, header.seq, frame, wait));
            self.settle(now, stream, stats);
            return;
        }
        if !sender.is_next(stream.tag, header, kind, stats) {
            stats.outdated += 1;
            return;
        }
        self.on_turn(now, stream, header, frame, stats);
    }

    /// A frame whose turn it is.
    fn on_turn(&mut self, now: Instant, stream: StreamId, header: &Header, frame: &[u8], stats: &mut Stats) {
        let Some(sender) = self.senders.get(&stream.sender) else { return };
        let Some(kind) = self.lanes.get(header.lane).map(|lane| lane.kind) else { return };
        let body = frame.get(HEADER_BYTES..).unwrap_or_default();
        match sender.topics.get(&header.topic) {
            None => stats.unnamed += 1,
            Some(topic) if !topic.wanted => stats.unwanted += 1,
            Some(_) => self.put(now, stream, kind, header, body, stats),
        }
    }

    /// A frame of a topic that is wanted, and whose turn it is.
    fn put(&mut self, now: Instant, stream: StreamId, kind: LaneKind, header: &Header, body: &[u8], stats: &mut Stats) {
        let Some((plain, front, payload)) = without_name(header, body) else { return };
        if plain.flags.has(Flags::FRAG) && plain.kind == Kind::PUB {
            let body = [&front[..], payload].concat();
            if let Some(whole) = self.assemblies.on_fragment(now, stream, kind, &plain, &body) {
                self.give(now, stream, kind, &whole, stats);
            }
            return;
        }
        let whole = Whole { header: plain, front, payload: payload.to_vec(), number: plain.seq };
        self.give(now, stream, kind, &whole, stats);
    }

    /// A whole message, or a batch.
    fn give(&mut self, now: Instant, stream: StreamId, kind: LaneKind, whole: &Whole, stats: &mut Stats) {
        let Whole { header, front, payload, number } = whole;
        let Some(sender) = self.senders.get_mut(&stream.sender) else { return };
        if kind == LaneKind::US && !sender.is_newest(now, header, *number) {
            stats.outdated += 1;
            return;
        }
        let Some(Named { name, .. }) = sender.topics.get(&header.topic).cloned() else { return };
        let Some(topic) = self.number_of(&name) else {
            stats.unnamed += 1;
            return;
        };
        let seq = if self.numbered { *number } else { 0 };
        let flags = Flags(header.flags.0 & !Flags::RETX.0);
        let header = Header { topic, seq, flags, ..*header };
        stats.frames += 1;
        let len = HEADER_BYTES + front.len() + payload.len();
        if len <= FRAME_BYTES_MAX {
            self.up.extend_from_slice(&Header { len: len as u16, ..header }.encode());
            self.up.extend_from_slice(front);
            self.up.extend_from_slice(payload);
            return;
        }
        let (before, behind) = front.split_at(if flags.has(Flags::TS) { EXTENSION_BYTES } else { 0 });
        for (frag, range) in Cutter::new(payload.len() as u32, FRAGMENT_BYTES_STREAM as u32).into_iter().flatten() {
            let part = payload.get(range).unwrap_or_default();
            let len = HEADER_BYTES + front.len() + EXTENSION_BYTES + part.len();
            let header = Header { len: len as u16, flags: flags.with(Flags::FRAG), ..header };
            for piece in [&header.encode()[..], before, &frag.encode(), behind, part] {
                self.up.extend_from_slice(piece);
            }
        }
    }

    /// By which number the owner knows a topic; declares it first, if need be. `None`: there are too many.
    fn number_of(&mut self, name: &str) -> Option<u32> {
        if let Some(&id) = self.told.get(name) {
            return Some(id);
        }
        let count = self.told.len() as u32;
        if count >= TOPICS_PER_SESSION_MAX {
            return None;
        }
        let id = TOPIC_ID_DYNAMIC_FIRST + count;
        self.told.insert(name.into(), id);
        let topic = Topic { id, name: name.into(), ..Topic::default() };
        Control::new(Body::DeclareTopics(DeclareTopics { topics: [topic].into() })).append_frame(&mut self.up);
        Some(id)
    }
}

impl Sender {
    /// Whether no further stream can be repaired.
    fn is_full_of_holes(&self, tag: u32, lane: u8) -> bool {
        self.holes.len() >= TOPICS_MAX && !self.holes.contains_key(&(tag, lane))
    }

    /// A topic has this name; whether that is new.
    fn learn(&mut self, id: u32, name: &str, filters: &[String]) -> bool {
        let known = self.topics.get(&id).is_some_and(|topic| topic.name == name);
        let is_new = !known && (self.topics.len() < TOPICS_MAX || self.topics.contains_key(&id));
        if is_new {
            let topic = Named { name: name.into(), tag: topic_tag(name), wanted: is_wanted(filters, name) };
            self.topics.insert(id, topic);
        }
        is_new
    }

    /// Whether topics of this tag are known, and none of them is wanted.
    fn is_unwanted(&self, tag: u32) -> bool {
        let mut of_tag = self.topics.values().filter(|topic| topic.tag == tag).peekable();
        of_tag.peek().is_some() && of_tag.all(|topic| !topic.wanted)
    }

    /// On lanes that keep an order, whether a frame is newer than all before in its stream; counts those that did not come.
    fn is_next(&mut self, tag: u32, header: &Header, kind: LaneKind, stats: &mut Stats) -> bool {
        if header.seq == 0 || kind != LaneKind::RO {
            return true;
        }
        if self.streams.len() >= TOPICS_MAX && !self.streams.contains_key(&(tag, header.lane)) {
            return true;
        }
        let last = self.streams.entry((tag, header.lane)).or_insert_with(|| seq_after(header.seq, u32::MAX - 1));
        match forward(*last, header.seq) {
            None | Some(0) => false,
            Some(steps) => {
                stats.missed += u64::from(steps - 1);
                *last = header.seq;
                true
            }
        }
    }

    fn is_newest(&mut self, now: Instant, header: &Header, number: u32) -> bool {
        let key = (header.lane, header.topic, header.ckey);
        if self.keys.len() >= TOPICS_MAX && !self.keys.contains_key(&key) {
            self.keys.pop_first();
        }
        let stale = Duration::from_millis(SEQUENCE_STALE_MS);
        self.keys.entry(key).or_default().accepts(now, number, stale)
    }
}

fn is_wanted(filters: &[String], name: &str) -> bool {
    filters.iter().any(|filter| matches(filter, name))
}

/// The first frame: header, bytes, and what stands behind it.
pub(super) fn split(frames: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let header = Header::decode(frames.first_chunk::<HEADER_BYTES>()?).ok()?;
    let (frame, behind) = frames.split_at_checked(usize::from(header.len))?;
    Some((header, frame, behind))
}

/// Whether a datagram holds frames, of which each is sound.
fn are_whole(frames: &[u8]) -> bool {
    let mut rest = frames;
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let Some((header, frame, behind)) = split(rest) else { return false };
        rest = behind;
        let body = frame.get(HEADER_BYTES..).unwrap_or_default();
        let sound = match header.kind {
            Kind::PUB | Kind::BATCH => {
                header.lane != 0 && header.topic != 0 && Extensions::decode(header.flags, body).is_ok()
            }
            Kind::PAD => true,
            Kind::HEARTBEAT => heartbeat::decode(body).is_ok(),
            Kind::LOST | Kind::NAK | Kind::DEMOTE => true,
            kind => kind.0 & Kind::SKIPPABLE_BIT != 0,
        };
        if !sound || header.flags.has(Flags::RESERVED) {
            return false;
        }
    }
    true
}
