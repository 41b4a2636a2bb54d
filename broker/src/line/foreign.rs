//! A device that speaks another protocol: what it says becomes messages of a client, and messages for it what it understands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use laneway_proto::control::{self, Body, DeclareTopics, Hello, Sub, Subscribe};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::batch::Messages;
use laneway_proto::frame::extensions::Extensions;
use laneway_proto::framing::length::{self, Front};
use laneway_proto::header::{Header, Kind, seq_after};
use laneway_proto::lane::table::LaneTable;
use laneway_proto::limits::{
    FRAME_BYTES_MAX, HEADER_BYTES, LANES_MAX, NODE_ID_BYTES, PREFACE_BYTES, TOPIC_BYTES_MAX, TOPIC_ID_DYNAMIC_FIRST,
    WIRE_VERSION,
};
use laneway_proto::serial::foreign::{Decoder, Found, Protocol, mavlink, nmea};
use laneway_proto::serial::link::Ended;
use laneway_proto::serial::pacer::Pacer;
use laneway_proto::session::handshake::{PREFACE, feature};
use laneway_proto::time::{Duration, Instant};

use super::{BITS_PER_BYTE, From, Happened, LineSetup, Numbers};
use crate::tty;

/// Bytes of a message that comes from a device.
const MESSAGE_BYTES_MAX: usize = 4_096;
/// Bytes that are kept while the broker takes none; what comes behind them is dropped.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// How soon it is looked whether the broker takes them again.
const LOOK: Duration = Duration::from_millis(20);
/// How long after the broker has ended a session another one begins.
const BACK_AFTER: Duration = Duration::from_millis(1_000);
/// Bytes that are handed to the port at once, at least; else what takes 4 ms.
const CHUNK_BYTES_MIN: usize = 32;
const CHUNKS_PER_SECOND: u32 = 250;
/// Components whose numbers are followed.
const COMPONENTS: usize = 64;
/// The request with which it subscribes.
const SUBSCRIBES: u32 = 1;

/// What was seen on the line of such a device, since its port was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ForeignCounters {
    /// Messages from the device.
    pub good: u64,
    /// Times that bytes came which are none: damaged, too long, or of another protocol.
    pub bad: u64,
    /// Messages that are missing according to their numbers (MAVLink).
    pub lost: u64,
    /// Messages whose layout is not known, so that damage is found less surely (MAVLink).
    pub unknown: u64,
    /// Messages that the broker did not take in time.
    pub dropped: u64,
    /// Messages for the device that were sent.
    pub sent: u64,
    /// Messages for the device that cannot be said in its protocol.
    pub unfit: u64,
}

/// One session: what was said, and what is to be.
#[derive(Debug, Default)]
struct Talk {
    /// Frames of a stream link that the device has said.
    up: Vec<u8>,
    /// Topics that were declared, by what stands behind the port's topic.
    topics: BTreeMap<String, u32>,
    /// The broker's ids of what ports with this topic have received.
    own: BTreeSet<u32>,
    greeted: bool,
    goodbye: Option<u8>,
}

/// The line of such a device.
#[derive(Debug)]
pub struct Foreign {
    options: tty::Foreign,
    decoder: Decoder<MESSAGE_BYTES_MAX>,
    losses: mavlink::Losses<COMPONENTS>,
    pacer: Pacer,
    chunk: usize,
    /// The lanes in the order in which they are emptied.
    lanes: Vec<u8>,
    topics_max: u32,
    /// When a session begins, while there is none.
    begins: Option<Instant>,
    ended: Option<Ended>,
    talk: Talk,
    /// The last number used on its lane.
    number: u32,
    heard: Instant,
    stopped: bool,
    /// What is on its way to the device.
    down: VecDeque<u8>,
    /// There may be more for it than the line could take.
    behind: bool,
    pulled: Vec<u8>,
    nonce: u64,
    counters: ForeignCounters,
}

impl Foreign {
    /// On a port that was just opened.
    pub fn new(now: Instant, line: &LineSetup<'_>, options: &tty::Foreign, entropy: u32, numbers: Numbers) -> Self {
        Self {
            options: options.clone(),
            decoder: Decoder::new(options.protocol),
            losses: mavlink::Losses::default(),
            pacer: Pacer::new(line.baud),
            chunk: CHUNK_BYTES_MIN.max((line.baud / BITS_PER_BYTE / CHUNKS_PER_SECOND) as usize),
            lanes: in_order(line.lanes),
            topics_max: line.topics_max,
            begins: Some(now),
            ended: None,
            talk: Talk::default(),
            // Of a device of this kind only one lane has numbers.
            number: numbers[0],
            heard: now,
            stopped: false,
            down: VecDeque::new(),
            behind: false,
            pulled: Vec::new(),
            nonce: u64::from(entropy),
            counters: ForeignCounters::default(),
        }
    }

    pub(super) fn numbers(&self) -> Numbers {
        let mut numbers = Numbers::default();
        numbers[0] = self.number;
        numbers
    }

    pub(super) const fn counters(&self) -> &ForeignCounters {
        &self.counters
    }

    pub(super) fn on_bytes(&mut self, now: Instant, mut bytes: &[u8]) -> usize {
        // The timer may be late.
        self.on_silence(now);
        self.heard = now;
        let taken = bytes.len();
        let Self { decoder, .. } = self;
        let mut found = Vec::new();
        while let Some(item) = decoder.push(&mut bytes) {
            found.push(owned(item));
        }
        found.iter().for_each(|message| self.on_found(message.as_deref()));
        taken
    }

    fn on_silence(&mut self, now: Instant) {
        if self.silent_at().is_some_and(|at| at <= now) {
            let mut found = Vec::new();
            while let Some(item) = self.decoder.on_silence() {
                found.push(owned(item));
            }
            found.iter().for_each(|message| self.on_found(message.as_deref()));
        }
    }

    /// When the bytes that wait for others are decided about.
    fn silent_at(&self) -> Option<Instant> {
        self.decoder.silence().filter(|_| self.decoder.waits()).map(|silence| self.heard + silence)
    }

    pub(super) fn on_below(&mut self, now: Instant, bytes: u32) {
        self.pacer.on_below(now, bytes as usize);
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        self.on_silence(now);
    }

    pub(super) fn close(&mut self, now: Instant, code: CloseCode) {
        if self.begins.is_none() {
            self.begins = Some(now + BACK_AFTER);
            self.ended = Some(Ended::Closed(code));
            self.talk = Talk::default();
            self.down.clear();
        }
    }

    pub(super) fn poll(&mut self, now: Instant) -> Option<Happened> {
        if let Some(ended) = self.ended.take() {
            return Some(Happened::Ended(ended));
        }
        if self.begins.is_some_and(|at| at <= now) {
            self.begins = None;
            self.talk = Talk::default();
            self.subscribe();
            return Some(Happened::Opened);
        }
        (!self.talk.up.is_empty() && !self.stopped && self.begins.is_none()).then_some(Happened::Said)
    }

    pub(super) fn take_up(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.talk.up);
    }

    pub(super) const fn set_flowing(&mut self, flowing: bool) {
        self.stopped = !flowing;
    }

    pub(super) fn goodbye(&self) -> Option<u8> {
        if self.begins.is_none() && self.down.is_empty() { self.talk.goodbye } else { None }
    }

    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let looks = (self.stopped && !self.talk.up.is_empty()).then(|| now + LOOK);
        let sends = (self.behind || !self.down.is_empty()).then(|| self.pacer.ready_at(self.chunk));
        [self.begins, self.silent_at(), looks, sends].into_iter().flatten().min()
    }

    pub(super) fn introduce(&self, port: &str, out: &mut Vec<u8>) {
        let metadata = [("name", &*self.options.topic), ("port", port), ("protocol", self.protocol_name())];
        let hello = Hello {
            version_min: u32::from(WIRE_VERSION),
            version_max: u32::from(WIRE_VERSION),
            node_id: node_id(port).to_vec(),
            epoch: self.nonce,
            nonce: self.nonce,
            roles: vec!["device".into()],
            features: feature::BATCH | feature::FRAGMENTS,
            metadata: metadata.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            ..Hello::default()
        };
        out.extend_from_slice(&PREFACE);
        control::Control::new(Body::Hello(hello)).append_frame(out);
    }

    const fn protocol_name(&self) -> &'static str {
        match self.options.protocol {
            Protocol::Line(_) => "line",
            Protocol::Raw => "raw",
            Protocol::Slip => "slip",
            Protocol::Cobs => "cobs",
            Protocol::Nmea => "nmea",
            Protocol::Mavlink => "mavlink",
        }
    }

    fn subscribe(&mut self) {
        let own = format!("{}/tx/#", self.options.topic);
        let patterns = std::iter::once(own).chain(self.options.send.iter().cloned());
        let subs = patterns.map(|pattern| Sub { pattern, no_echo: true, ..Sub::default() }).collect();
        control::Control::request(SUBSCRIBES, Body::Subscribe(Subscribe { subs })).append_frame(&mut self.talk.up);
    }

    /// A message from the device, or something that is none.
    fn on_found(&mut self, message: Option<&[u8]>) {
        let Some(message) = message else {
            self.counters.bad += 1;
            return;
        };
        self.counters.good += 1;
        let below = match self.options.protocol {
            Protocol::Nmea => nmea::address(message).map(|of| format!("/{}/{}", of.talker, of.kind)),
            Protocol::Mavlink => mavlink::Head::of(message).map(|head| {
                self.counters.lost += u64::from(self.losses.on_frame(&head));
                self.counters.unknown += u64::from(!head.is_known());
                format!("/{}/{}/{}", head.system, head.component, head.message)
            }),
            Protocol::Line(_) | Protocol::Raw | Protocol::Slip | Protocol::Cobs => None,
        };
        if self.begins.is_some() || self.talk.up.len() + message.len() > KEPT_BYTES_MAX {
            self.counters.dropped += 1;
            return;
        }
        let topic = self.topic(&below.unwrap_or_default());
        self.number = seq_after(self.number, 1);
        let header =
            Header { topic, lane: self.options.lane, seq: self.number, ..Header::new(Kind::PUB, message.len()) };
        self.talk.up.extend_from_slice(&header.encode());
        self.talk.up.extend_from_slice(message);
    }

    /// The id of what the device says, by what stands behind `TOPIC/rx`; of what is too much, that of `TOPIC/rx` itself.
    fn topic(&mut self, below: &str) -> u32 {
        let Talk { up, topics, .. } = &mut self.talk;
        if let Some(&id) = topics.get(below) {
            return id;
        }
        let mut name = format!("{}/rx{below}", self.options.topic);
        let mut below = below;
        // One place is left for what is too much.
        if name.len() > TOPIC_BYTES_MAX || topics.len() as u32 + 1 >= self.topics_max {
            name.truncate(name.len() - below.len());
            below = "";
            if let Some(&id) = topics.get(below) {
                return id;
            }
        }
        let id = TOPIC_ID_DYNAMIC_FIRST + topics.len() as u32;
        topics.insert(below.to_owned(), id);
        let declared = control::Topic { id, name, ..control::Topic::default() };
        let body = Body::DeclareTopics(DeclareTopics { topics: vec![declared] });
        control::Control::new(body).append_frame(up);
        id
    }

    /// Writes what the line can take now behind what is in `out`.
    pub(super) fn transmit(&mut self, now: Instant, from: &mut From<'_>, out: &mut Vec<u8>) {
        self.behind = false;
        self.pull(now, None, from);
        loop {
            if self.pacer.ready_at(self.chunk) > now {
                // Whether there is more is seen then.
                self.behind = true;
                return;
            }
            if self.down.is_empty() && !self.pull_message(now, from) {
                return;
            }
            let bytes = self.down.len().min(self.chunk);
            self.pacer.on_sent(now, bytes);
            out.extend(self.down.drain(..bytes));
        }
    }

    /// Whether something is to be sent now.
    fn pull_message(&mut self, now: Instant, from: &mut From<'_>) -> bool {
        for place in 0..self.lanes.len() {
            let lane = self.lanes[place];
            while self.pull(now, Some(lane), from) {
                if !self.down.is_empty() {
                    return true;
                }
            }
        }
        false
    }

    fn pull(&mut self, now: Instant, lane: Option<u8>, from: &mut From<'_>) -> bool {
        let mut pulled = std::mem::take(&mut self.pulled);
        let any = from.pull(now, lane, &mut pulled);
        self.take_pulled(&pulled);
        pulled.clear();
        self.pulled = pulled;
        any
    }

    fn take_pulled(&mut self, mut rest: &[u8]) {
        if !self.talk.greeted && rest.len() >= PREFACE_BYTES {
            self.talk.greeted = true;
            rest = &rest[PREFACE_BYTES..];
        }
        while let Ok(Front::Whole(header)) = length::front(rest, FRAME_BYTES_MAX) {
            let (frame, behind) = rest.split_at(usize::from(header.len));
            rest = behind;
            let body = &frame[HEADER_BYTES..];
            if header.kind.is_data() {
                self.on_data(&header, body);
            } else if header.kind == Kind::CTRL
                && let Ok(control) = control::Control::decode_body(body)
            {
                self.on_broker_says(control);
            }
        }
        debug_assert!(rest.is_empty(), "an outbox gives whole frames");
    }

    fn on_data(&mut self, header: &Header, body: &[u8]) {
        // What ports with this topic have received is not said back to the devices behind them.
        if self.talk.own.contains(&header.topic) {
            return;
        }
        match Extensions::decode(header.flags, body) {
            Ok((extensions, payload)) if extensions.frag.is_none() => {
                if header.kind == Kind::BATCH {
                    let messages = Messages::new(payload).into_iter().flatten().flatten();
                    messages.for_each(|message| self.say(message));
                } else {
                    self.say(payload);
                }
            }
            Ok(_) | Err(_) => self.counters.unfit += 1,
        }
    }

    fn say(&mut self, message: &[u8]) {
        let mut wire = vec![0; Protocol::wire_bytes_max(message.len())];
        match self.options.protocol.encode(message, &mut wire) {
            Ok(bytes) => {
                self.counters.sent += 1;
                self.down.extend(&wire[..bytes]);
            }
            Err(_) => self.counters.unfit += 1,
        }
    }

    fn on_broker_says(&mut self, control: control::Control) {
        match control.body {
            Some(Body::DeclareTopics(declared)) => {
                let received = format!("{}/rx/#", self.options.topic);
                let own = |name: &str| laneway_proto::topic::matches(&received, name);
                self.talk.own.extend(declared.topics.iter().filter(|topic| own(&topic.name)).map(|topic| topic.id));
            }
            Some(Body::Result(result)) if control.id == SUBSCRIBES && result.code != 0 => {
                let topic = &self.options.topic;
                tracing::warn!(
                    topic,
                    text = result.text,
                    "what is for the device at a serial port is not subscribed to"
                );
            }
            Some(Body::Goodbye(goodbye)) => self.talk.goodbye = Some(goodbye.code as u8),
            Some(Body::Reject(reject)) => self.talk.goodbye = Some(reject.code as u8),
            Some(_) | None => {}
        }
    }
}

fn owned(found: Found<'_>) -> Option<Vec<u8>> {
    match found {
        Found::Message(message) => Some(message.to_vec()),
        Found::Bad => None,
    }
}

/// The lanes of messages, those of the first class first.
fn in_order(lanes: &LaneTable) -> Vec<u8> {
    let class = |lane: &u8| lanes.get(*lane).map_or(u8::MAX, |spec| spec.class);
    let mut order: Vec<u8> = (1..LANES_MAX as u8).filter(|&lane| lanes.get(lane).is_some()).collect();
    order.sort_by_key(class);
    order
}

/// The same as long as the port is.
fn node_id(port: &str) -> [u8; NODE_ID_BYTES] {
    let fnv = |seed: u64| {
        port.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)).to_le_bytes()
    };
    let mut id = [0; NODE_ID_BYTES];
    id[..8].copy_from_slice(&fnv(0xCBF2_9CE4_8422_2325));
    id[8..].copy_from_slice(b"\0foreign");
    id
}
