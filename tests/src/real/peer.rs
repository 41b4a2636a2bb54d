//! A client by hand: blocking, one socket, every frame visible. Knows the wire format and nothing of the client library.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects; everything else fails it")]

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use laneway_proto::control::{Answer, Body, Control, Goodbye, Hello, Reject, Stats, Welcome};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::batch::Messages;
use laneway_proto::frame::confirm::{self, Confirm};
use laneway_proto::frame::extensions::{Extensions, Src};
use laneway_proto::frame::fragment::{Assembly, Progress};
use laneway_proto::frame::ping::{Ping, Pong};
use laneway_proto::framing::length::{Front, front};
use laneway_proto::header::{Header, Kind};
use laneway_proto::limits::{FRAME_BYTES_MAX, HEADER_BYTES, TOPIC_ID_DYNAMIC_FIRST};
use laneway_proto::session::handshake::PREFACE;

use super::frames;
use super::link::{Link, Place};
use super::process::GUARD;

/// The lane that messages travel on unless a test says otherwise.
pub const LANE: u8 = 1;

const READ_BYTES: usize = 64 * 1024;

/// A message as a subscriber sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// The broker's id of its topic.
    pub topic_id: u32,
    /// Its lane.
    pub lane: u8,
    /// The publisher's number of it.
    pub seq: u32,
    /// What was published.
    pub payload: Vec<u8>,
}

/// What arrives from a broker.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The broker's half of the preface.
    Preface,
    /// The handshake is over.
    Welcome(Box<Welcome>),
    /// It was refused.
    Reject(Reject),
    /// A whole message.
    Message(Message),
    /// The answer to the control message of this number.
    Answer(u32, Answer),
    /// A part of the answer to the question for counters of this number.
    Stats(u32, Stats),
    /// The answer to a PING.
    Pong(Pong),
    /// The broker asks whether it is there.
    Ping(u64),
    /// How far publishes are accepted or delivered.
    Confirm(Vec<Confirm>),
    /// The broker is about to close.
    Goodbye(Goodbye),
    /// The broker closed its side, behind whole frames.
    Closed,
    /// The broker closed its side in the middle of a frame.
    Cut,
    /// The connection was reset.
    Reset,
}

/// A connection to a broker.
#[derive(Debug)]
pub struct Peer {
    link: Link,
    /// Bytes received and not yet understood, from `at` on.
    received: Vec<u8>,
    at: usize,
    preface_seen: bool,
    queue: VecDeque<Event>,
    names: HashMap<u32, String>,
    declared: HashMap<String, u32>,
    seqs: [u32; 16],
    requests: u32,
    assemblies: HashMap<(u32, u8, u32), (Assembly, Vec<u8>)>,
    session: u32,
}

impl Peer {
    /// Connects and says nothing.
    pub fn dial(place: &Place) -> io::Result<Self> {
        Ok(Self {
            link: Link::dial(place)?,
            received: Vec::new(),
            at: 0,
            preface_seen: false,
            queue: VecDeque::new(),
            names: HashMap::new(),
            declared: HashMap::new(),
            seqs: [0; 16],
            requests: 0,
            assemblies: HashMap::new(),
            session: 0,
        })
    }

    /// Opens a session.
    ///
    /// # Panics
    /// If the broker does not welcome it.
    pub fn open(place: &Place) -> Self {
        Self::knock(place, frames::hello()).unwrap_or_else(|reject| panic!("{place} refused: {reject:?}"))
    }

    /// Tries to open a session; an error if the broker refuses it politely.
    ///
    /// # Panics
    /// If there is neither a yes nor a no.
    pub fn knock(place: &Place, hello: Hello) -> Result<Self, Reject> {
        let mut peer = Self::dial(place).unwrap_or_else(|error| panic!("cannot connect to {place}: {error}"));
        peer.send(&frames::opening(hello));
        assert_eq!(peer.event(), Event::Preface, "the broker's preface comes first");
        match peer.event() {
            Event::Welcome(_) => Ok(peer),
            Event::Reject(reject) => Err(reject),
            other => panic!("neither WELCOME nor REJECT, but {other:?}"),
        }
    }

    /// The session's number; its low byte is the shard.
    pub const fn session(&self) -> u32 {
        self.session
    }

    /// The shard that owns the session.
    pub const fn shard(&self) -> u32 {
        self.session & 0xFF
    }

    /// The socket.
    pub const fn link(&self) -> &Link {
        &self.link
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// If the broker does not take them.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap_or_else(|error| panic!("the broker does not take {} bytes: {error}", bytes.len()));
    }

    /// Sends bytes; the broker may have closed already.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.link.write_all(bytes)
    }

    /// Sends a control message that asks for an answer; waits for it.
    pub fn request(&mut self, message: impl FnOnce(u32) -> Control) -> Answer {
        self.requests += 1;
        let number = self.requests;
        self.send(&message(number).to_frame());
        self.wait_for(|event| match event {
            Event::Answer(id, answer) if *id == number => Some(answer.clone()),
            _ => None,
        })
    }

    /// Subscribes and waits until the broker has confirmed it.
    ///
    /// # Panics
    /// If it does not.
    pub fn subscribe(&mut self, filters: &[&str]) {
        let answer = self.request(|number| frames::subscribe(number, filters));
        assert_eq!(answer.code, CloseCode::Normal.number(), "{filters:?}: {}", answer.text);
    }

    /// The id this session uses for a topic; declares it first if need be.
    pub fn topic(&mut self, name: &str) -> u32 {
        if let Some(&id) = self.declared.get(name) {
            return id;
        }
        let id = TOPIC_ID_DYNAMIC_FIRST + self.declared.len() as u32;
        self.declared.insert(name.into(), id);
        self.send(&frames::declare(0, id, name).to_frame());
        id
    }

    /// The next number on a lane, after taking `count`.
    pub const fn take_seq(&mut self, lane: u8, count: u32) -> u32 {
        let seq = self.seqs[lane as usize] + 1;
        self.seqs[lane as usize] += count;
        seq
    }

    /// Publishes a message of any size.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) {
        let id = self.topic(topic);
        let src = Src { origin: self.session, seq: self.take_seq(LANE, 1) };
        self.send(&frames::fragments(id, LANE, src, payload));
    }

    /// Publishes many small messages, `frame_messages` of them in a frame.
    pub fn publish_batches(&mut self, topic: &str, payloads: &[Vec<u8>], frame_messages: usize) {
        let id = self.topic(topic);
        for some in payloads.chunks(frame_messages) {
            let seq = self.take_seq(LANE, some.len() as u32);
            self.send(&frames::batch(id, LANE, seq, some));
        }
    }

    /// Waits until the broker has accepted everything sent so far.
    pub fn ping(&mut self) {
        self.requests += 1;
        let t0 = u64::from(self.requests);
        self.send(&Ping { t0 }.encode());
        self.wait_for(|event| matches!(event, Event::Pong(pong) if pong.t0 == t0).then_some(()));
    }

    /// Answers a PING.
    pub fn pong(&mut self, t0: u64) {
        self.send(&Pong { t0, t1: 0, t2: 0 }.encode());
    }

    /// Ends the sending direction.
    pub fn finish_sending(&self) {
        self.link.shutdown(Shutdown::Write).expect("a connected socket can be half closed");
    }

    /// Closes with a reset.
    pub fn reset(self) {
        self.link.reset();
    }

    /// The name the broker gave for a topic id.
    pub fn name(&self, topic_id: u32) -> &str {
        self.names.get(&topic_id).map(String::as_str).expect("a topic is declared before its first message")
    }

    /// The next message.
    ///
    /// # Panics
    /// If something else comes.
    pub fn message(&mut self) -> Message {
        match self.event() {
            Event::Message(message) => message,
            other => panic!("a message was expected, not {other:?}"),
        }
    }

    /// The next message, which must be this one.
    pub fn expect_message(&mut self, topic: &str, payload: &[u8]) {
        let message = self.message();
        assert_eq!(self.name(message.topic_id), topic);
        assert!(message.payload == payload, "{topic}: {} bytes that were not published", message.payload.len());
    }

    /// The broker's last words: everything until it closes.
    pub fn last_words(&mut self) -> Vec<Event> {
        let mut words = Vec::new();
        loop {
            let event = self.event();
            let last = matches!(event, Event::Closed | Event::Cut | Event::Reset);
            words.push(event);
            if last {
                return words;
            }
        }
    }

    /// Waits for an event that `pick` takes; others stay in their order.
    fn wait_for<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> T {
        let mut seen = 0;
        loop {
            while seen == self.queue.len() {
                self.read();
            }
            if let Some(picked) = pick(&self.queue[seen]) {
                self.queue.remove(seen);
                return picked;
            }
            let event = &self.queue[seen];
            let over = matches!(event, Event::Closed | Event::Cut | Event::Reset | Event::Goodbye(_));
            assert!(!over, "the broker ended the session while an answer was awaited: {event:?}");
            seen += 1;
        }
    }

    /// What comes next.
    ///
    /// # Panics
    /// If nothing comes for as long as [`super::process::GUARD`].
    pub fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return event;
            }
            self.read();
        }
    }

    /// What comes next within a time, if anything does.
    pub fn event_within(&mut self, time: Duration) -> Option<Event> {
        let until = Instant::now() + time;
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            self.link.patience(left).expect("a socket takes a time limit");
            let came = self.read_some();
            self.link.patience(GUARD).expect("a socket takes a time limit");
            if !came {
                return None;
            }
        }
    }

    /// Reads once and understands what it can.
    fn read(&mut self) {
        assert!(self.read_some(), "nothing arrived from the broker within the guard time");
    }

    /// The same; false if nothing came in time.
    fn read_some(&mut self) -> bool {
        self.received.drain(..self.at);
        self.at = 0;
        let filled = self.received.len();
        self.received.resize(filled + READ_BYTES, 0);
        let result = self.link.read(&mut self.received[filled..]);
        self.received.truncate(filled + *result.as_ref().unwrap_or(&0));
        match result {
            Ok(0) => self.queue.push_back(if self.received.is_empty() { Event::Closed } else { Event::Cut }),
            Ok(_) => while self.understand() {},
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
            Err(_) => self.queue.push_back(Event::Reset),
        }
        true
    }

    /// Takes one frame from the front of what was received; false if there is no whole one.
    fn understand(&mut self) -> bool {
        let bytes = &self.received[self.at..];
        if !self.preface_seen {
            let Some(preface) = bytes.first_chunk::<8>() else { return false };
            assert_eq!(*preface, PREFACE, "the broker's preface");
            self.preface_seen = true;
            self.at += PREFACE.len();
            self.queue.push_back(Event::Preface);
            return true;
        }
        let Front::Whole(header) = front(bytes, FRAME_BYTES_MAX).expect("the broker sends true lengths") else {
            return false;
        };
        let len = usize::from(header.len);
        let body = bytes[HEADER_BYTES..len].to_vec();
        self.at += len;
        self.on_frame(&header, &body);
        true
    }

    fn on_frame(&mut self, header: &Header, body: &[u8]) {
        assert_eq!(header.rejected(), None, "the broker sends nothing reserved: {header:?}");
        match header.kind {
            Kind::PUB | Kind::BATCH => self.on_data(header, body),
            Kind::CTRL => self.on_control(Control::decode_body(body).expect("the broker's control messages decode")),
            Kind::CONFIRM => {
                let confirms = confirm::decode(body).expect("the broker confirms something").collect();
                self.queue.push_back(Event::Confirm(confirms));
            }
            Kind::PING => self.queue.push_back(Event::Ping(Ping::decode(body).expect("a PING is 8 bytes").t0)),
            Kind::PONG => self.queue.push_back(Event::Pong(Pong::decode(body).expect("a PONG is 24 bytes"))),
            other => panic!("a broker does not send {other:?}"),
        }
    }

    fn on_control(&mut self, control: Control) {
        let event = match control.body {
            Some(Body::DeclareTopics(declared)) => {
                for topic in declared.topics {
                    assert!(self.names.insert(topic.id, topic.name).is_none(), "a topic is declared once");
                }
                return;
            }
            Some(Body::Welcome(welcome)) => {
                self.session = welcome.session;
                Event::Welcome(Box::new(welcome))
            }
            Some(Body::Reject(reject)) => Event::Reject(reject),
            Some(Body::Result(answer)) => Event::Answer(control.id, answer),
            Some(Body::Stats(stats)) => Event::Stats(control.id, stats),
            Some(Body::Goodbye(goodbye)) => Event::Goodbye(goodbye),
            other => panic!("a broker does not send {other:?}"),
        };
        self.queue.push_back(event);
    }

    fn on_data(&mut self, header: &Header, body: &[u8]) {
        assert!(self.names.contains_key(&header.topic), "topic {} was not declared", header.topic);
        let (topic_id, lane) = (header.topic, header.lane);
        let (extensions, payload) = Extensions::decode(header.flags, body).expect("the broker's extensions decode");
        if header.kind == Kind::BATCH {
            let messages = Messages::new(payload).expect("a batch has messages");
            for (place, message) in messages.enumerate() {
                let payload = message.expect("a batch is what its publisher made it").to_vec();
                let seq = header.seq + place as u32;
                self.queue.push_back(Event::Message(Message { topic_id, lane, seq, payload }));
            }
            return;
        }
        let payload = match extensions.frag {
            None => payload.to_vec(),
            Some(frag) => {
                let src = extensions.src.expect("a fragment names its source");
                let key = (src.origin, lane, topic_id);
                let done = if let Some((assembly, bytes)) = self.assemblies.get_mut(&key) {
                    bytes.extend_from_slice(payload);
                    assembly.on_fragment(frag, payload.len()).expect("fragments in sequence") == Progress::Complete
                } else {
                    let assembly = Assembly::start(frag, payload.len(), u32::MAX).expect("the first fragment first");
                    self.assemblies.insert(key, (assembly, payload.to_vec()));
                    false
                };
                match done.then(|| self.assemblies.remove(&key)).flatten() {
                    Some((_, bytes)) => bytes,
                    None => return,
                }
            }
        };
        self.queue.push_back(Event::Message(Message { topic_id, lane, seq: header.seq, payload }));
    }
}
