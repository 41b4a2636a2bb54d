//! An end of a broadcast link with an owner that speaks in a stream of frames.

#![allow(dead_code, missing_docs, reason = "a test's own tools, of which each test binary uses its part")]

pub mod world;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use laneway_proto::control::{Body, Control, DeclareTopics, Hello, Sub, Subscribe, Topic, Unsubscribe, Welcome};
use laneway_proto::datagram::broadcast::{Broadcast, Repair, Setup};
use laneway_proto::frame::extensions::Extensions;
use laneway_proto::frame::fragment::Cutter;
use laneway_proto::frame::lost::Lost;
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::lane::table::LaneTable;
use laneway_proto::session::handshake::PREFACE;
use laneway_proto::time::Instant;

/// The sender that is a broker.
pub const BROKER: u32 = 99;

pub fn setup(sender: u32, epoch: u16) -> Setup {
    Setup {
        sender,
        epoch,
        datagram_bytes: 1_472,
        bytes_per_s: 0,
        lanes: LaneTable::STANDARD,
        repair: None,
        node_id: [7; 16],
    }
}

/// An end of a link.
pub struct Node {
    pub link: Broadcast,
    pub now: Instant,
    /// The owner's topics.
    topics: Vec<String>,
    /// Topics of the link.
    names: BTreeMap<u32, String>,
    /// Messages in fragments.
    partial: Vec<u8>,
    pub controls: Vec<Body>,
    next_request: u32,
    opened: bool,
    messages: Vec<(String, Vec<u8>)>,
    /// Messages that it was told are lost.
    pub lost: u64,
}

impl Node {
    pub fn new(link: Broadcast, now: Instant) -> Self {
        Self {
            link,
            now,
            topics: Vec::new(),
            names: BTreeMap::new(),
            partial: Vec::new(),
            controls: Vec::new(),
            next_request: 1,
            opened: false,
            messages: Vec::new(),
            lost: 0,
        }
    }

    /// A client that has shaken hands.
    pub fn client(sender: u32) -> Self {
        Self::client_of_epoch(sender, 0)
    }

    /// A client whose reliable lanes are repaired.
    pub fn repaired(sender: u32, epoch: u16, repair: Repair, bytes_per_s: u64) -> Self {
        Self::open(Setup { repair: Some(repair), bytes_per_s, ..setup(sender, epoch) })
    }

    pub fn client_of_epoch(sender: u32, epoch: u16) -> Self {
        Self::open(setup(sender, epoch))
    }

    fn open(setup: Setup) -> Self {
        let mut node = Self::new(Broadcast::for_client(setup), Instant(1));
        node.link.offer(node.now, &PREFACE);
        node.say(Body::Hello(Hello { version_min: 1, version_max: 1, node_id: vec![1; 16], ..Hello::default() }));
        node.read();
        assert!(matches!(node.controls.pop(), Some(Body::Welcome(_))));
        node
    }

    /// Answers the link's HELLO as a broker does; the filters that it subscribes to.
    pub fn welcome_broker(&mut self) -> Vec<String> {
        self.read();
        assert!(matches!(self.controls.pop(), Some(Body::Hello(_))));
        self.link.offer(self.now, &PREFACE);
        self.say(Body::Welcome(Welcome { version: 1, session: 5, ..Welcome::default() }));
        self.read();
        let Some(Body::Subscribe(subscribe)) = self.controls.pop() else { panic!("no subscription") };
        assert!(subscribe.subs.iter().all(|sub| sub.no_echo), "what it says is not told to it");
        subscribe.subs.into_iter().map(|sub| sub.pattern).collect()
    }

    fn say(&mut self, body: Body) {
        let request = Control::request(self.next_request, body);
        self.next_request += 1;
        // In two pieces, since streams have no borders.
        let frame = request.to_frame();
        let (first, second) = frame.split_at(frame.len() / 2);
        self.link.offer(self.now, first);
        self.link.offer(self.now, second);
    }

    fn expect_done(&mut self) {
        self.read();
        let Some(Body::Result(result)) = self.controls.pop() else { panic!("no answer") };
        assert_eq!(result.code, 0, "{}", result.text);
    }

    pub fn subscribe(&mut self, filters: &[&str]) {
        let sub = |filter: &&str| Sub { pattern: (*filter).into(), ..Sub::default() };
        self.say(Body::Subscribe(Subscribe { subs: filters.iter().map(sub).collect() }));
        self.expect_done();
    }

    pub fn unsubscribe(&mut self, filters: &[&str]) {
        self.say(Body::Unsubscribe(Unsubscribe { patterns: filters.iter().map(|&filter| filter.into()).collect() }));
        self.expect_done();
    }

    pub fn publish(&mut self, topic: &str, lane: u8, payload: &[u8]) {
        let place = self.topics.iter().position(|known| known == topic);
        let place = place.unwrap_or_else(|| {
            self.topics.push(topic.into());
            let place = self.topics.len() - 1;
            let declared = Topic { id: 65_536 + place as u32, name: topic.into(), ..Topic::default() };
            self.say(Body::DeclareTopics(DeclareTopics { topics: vec![declared] }));
            self.expect_done();
            place
        });
        let topic = 65_536 + place as u32;
        let mut put = |flags: Flags, front: &[u8], part: &[u8]| {
            let header = Header { topic, lane, flags, ..Header::new(Kind::PUB, front.len() + part.len()) };
            self.link.offer(self.now, &[&header.encode()[..], front, part].concat());
        };
        match Cutter::new(payload.len() as u32, 16_384) {
            None => put(Flags(0), &[], payload),
            Some(cutter) => cutter.for_each(|(frag, range)| put(Flags::FRAG, &frag.encode(), &payload[range])),
        }
    }

    /// What it has to send.
    pub fn datagrams(&mut self) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        let mut out = vec![0; self.link.datagram_bytes()];
        while let Some(sent) = self.link.poll_transmit(self.now, &mut out) {
            datagrams.push(out[..sent.bytes].to_vec());
        }
        datagrams
    }

    /// Takes what the link has for its owner.
    fn read(&mut self) {
        let mut bytes = self.link.up().to_vec();
        self.link.take_up(bytes.len());
        if !self.opened && !bytes.is_empty() {
            assert_eq!(bytes[..8], PREFACE);
            bytes.drain(..8);
            self.opened = true;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let header = Header::decode(rest.first_chunk().expect("whole frames")).expect("sound frames");
            let (frame, behind) = rest.split_at(usize::from(header.len));
            rest = behind;
            self.take(&header, &frame[16..]);
        }
    }

    fn take(&mut self, header: &Header, body: &[u8]) {
        if header.kind == Kind::CTRL {
            match Control::decode_body(body).expect("sound").body {
                Some(Body::DeclareTopics(declared)) => {
                    self.names.extend(declared.topics.into_iter().map(|topic| (topic.id, topic.name)));
                }
                Some(body) => self.controls.push(body),
                None => panic!("a control message without a body"),
            }
            return;
        }
        if header.kind == Kind::LOST {
            self.lost += u64::from(Lost::decode(header, body).expect("sound").count);
            return;
        }
        assert_eq!(header.kind, Kind::PUB);
        let (extensions, payload) = Extensions::decode(header.flags, body).expect("sound");
        self.partial.extend_from_slice(payload);
        if extensions.frag.is_none_or(|frag| frag.index + 1 == frag.count) {
            let name = self.names.get(&header.topic).expect("declared before").clone();
            self.messages.push((name, std::mem::take(&mut self.partial)));
        }
    }

    /// What it has heard since the last call.
    pub fn heard(&mut self) -> Vec<(String, Vec<u8>)> {
        self.read();
        std::mem::take(&mut self.messages)
    }
}

/// Where a node speaks from.
pub fn address(node: u32) -> SocketAddr {
    ([198, 18, 0, node as u8], 4_000).into()
}

/// Gives datagrams to all of `nodes`.
pub fn deliver(datagrams: &[Vec<u8>], nodes: &mut [Node]) {
    for datagram in datagrams {
        for node in &mut *nodes {
            let _ = node.link.on_datagram(node.now, address(1), datagram);
        }
    }
}
