//! Ends of a broadcast link that the benchmark drives itself, so that it can lose datagrams on purpose and count.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Instant as Clock;

use laneway_proto::control::{Body, Control, DeclareTopics, Hello, Sub, Subscribe, Topic};
use laneway_proto::datagram::broadcast::{Broadcast, Repair, Sent, Setup, Stats};
use laneway_proto::datagram::limits::DATAGRAM_BYTES_MAX;
use laneway_proto::frame::extensions::Extensions;
use laneway_proto::frame::lost::Lost;
use laneway_proto::header::{Header, Kind};
use laneway_proto::lane::table::LaneTable;
use laneway_proto::limits::{HEADER_BYTES, NODE_ID_BYTES, PREFACE_BYTES};
use laneway_proto::session::handshake::PREFACE;
use laneway_proto::time::Instant;
use nix::sys::socket::sockopt;
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::{Error, Result};
use crate::load::dice::Dice;
use crate::netns::CABLE;

/// The only topic here.
const TOPIC: &str = "plant/x";
const TOPIC_ID: u32 = 65_536;
/// Bytes that a socket should hold.
const SOCKET_BYTES: usize = 32 * 1024 * 1024;
/// Datagrams taken from a socket in a row.
const RECEIVES_MAX: usize = 64;

/// What an end has seen of the numbered messages of one publisher.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Messages that came.
    pub delivered: u64,
    /// Messages that were reported lost.
    pub lost: u64,
    /// Messages that were not newer than the one before.
    pub disordered: u64,
    /// The number that is the least to come next.
    next: u64,
}

/// One end.
#[derive(Debug)]
pub struct End {
    link: Broadcast,
    ear: UdpSocket,
    mouth: UdpSocket,
    group: SocketAddr,
    started: Clock,
    lane: u8,
    /// Parts of a thousand that are dropped before anything sees them.
    loss_per_mille: u64,
    dice: Dice,
    /// Datagrams dropped on purpose.
    pub dropped: u64,
    /// What came.
    pub tally: Tally,
    names: HashMap<u32, String>,
    preface_left: usize,
    buffer: Vec<u8>,
}

impl End {
    /// Opens an end on the host in whose namespace the calling thread is.
    pub fn open(
        group: (Ipv4Addr, u16),
        sender: u32,
        lane: u8,
        repair: Repair,
        bytes_per_s: u64,
        started: Clock,
    ) -> Result<Self> {
        let group = SocketAddr::from(group);
        let [ear, mouth] = [group, ([0, 0, 0, 0], 0).into()]
            .map(|address| socket(address).map_err(Error::io(format!("a socket for {group}"))));
        let setup = Setup {
            sender,
            epoch: 0,
            datagram_bytes: 1_472,
            bytes_per_s,
            lanes: LaneTable::STANDARD,
            repair: Some(repair),
            node_id: [0; NODE_ID_BYTES],
        };
        let mut end = Self {
            link: Broadcast::for_client(setup),
            ear: ear?,
            mouth: mouth?,
            group,
            started,
            lane,
            loss_per_mille: 0,
            dice: Dice::new(u64::from(sender)),
            dropped: 0,
            tally: Tally::default(),
            names: HashMap::new(),
            preface_left: PREFACE_BYTES,
            buffer: vec![0; DATAGRAM_BYTES_MAX],
        };
        let now = end.now();
        end.link.offer(now, &PREFACE);
        end.say(Body::Hello(Hello { version_min: 1, version_max: 1, node_id: vec![0; 16], ..Hello::default() }));
        Ok(end)
    }

    fn now(&self) -> Instant {
        Instant(self.started.elapsed().as_nanos() as u64 + 1)
    }

    fn say(&mut self, body: Body) {
        let now = self.now();
        self.link.offer(now, &Control::new(body).to_frame());
    }

    /// It hears the topic, and loses so many parts of a thousand of what comes.
    pub fn subscribe(&mut self, loss_per_mille: u64) {
        self.loss_per_mille = loss_per_mille;
        self.say(Body::Subscribe(Subscribe { subs: vec![Sub { pattern: TOPIC.into(), ..Sub::default() }] }));
    }

    /// It will publish to the topic.
    pub fn declare(&mut self) {
        let topic = Topic { id: TOPIC_ID, name: TOPIC.into(), ..Topic::default() };
        self.say(Body::DeclareTopics(DeclareTopics { topics: vec![topic] }));
    }

    /// Publishes message `number`, if there is room.
    pub fn publish(&mut self, number: u64, payload: &mut [u8]) -> bool {
        if !self.link.has_room() {
            return false;
        }
        payload[..8].copy_from_slice(&number.to_le_bytes());
        let header = Header { topic: TOPIC_ID, lane: self.lane, ..Header::new(Kind::PUB, payload.len()) };
        let now = self.now();
        self.link.offer(now, &header.encode());
        self.link.offer(now, payload);
        true
    }

    /// What it has seen and sent.
    pub fn stats(&self) -> Stats {
        self.link.stats()
    }

    /// Everything that can be done now; whether anything was.
    pub fn step(&mut self) -> Result<bool> {
        let heard = self.hear()?;
        let now = self.now();
        self.link.on_timeout(now);
        self.read();
        let mut sent_any = false;
        while let Some(Sent { bytes, to }) = self.link.poll_transmit(self.now(), &mut self.buffer) {
            sent_any = true;
            // What the system does not take is lost, as on the way.
            let _ = self.mouth.send_to(&self.buffer[..bytes], to.unwrap_or(self.group));
        }
        Ok(heard || sent_any)
    }

    fn hear(&mut self) -> Result<bool> {
        let mut heard = false;
        for place in 0..2 {
            for _ in 0..RECEIVES_MAX {
                let socket = if place == 0 { &self.mouth } else { &self.ear };
                match socket.recv_from(&mut self.buffer) {
                    Ok((bytes, from)) => {
                        heard = true;
                        if self.dice.below(1_000) < self.loss_per_mille {
                            self.dropped += 1;
                            continue;
                        }
                        let now = self.now();
                        let _ = self.link.on_datagram(now, from, &self.buffer[..bytes]);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(Error::Failed(format!("receiving: {error}"))),
                }
            }
        }
        Ok(heard)
    }

    /// Counts what came for the owner.
    fn read(&mut self) {
        let up = self.link.up();
        let skipped = self.preface_left.min(up.len());
        let mut rest = &up[skipped..];
        let bytes = up.len();
        while let Some(header) = rest.first_chunk::<HEADER_BYTES>().and_then(|head| Header::decode(head).ok()) {
            let (frame, behind) = rest.split_at(usize::from(header.len));
            rest = behind;
            let body = &frame[HEADER_BYTES..];
            match header.kind {
                Kind::CTRL => {
                    if let Ok(Control { body: Some(Body::DeclareTopics(declared)), .. }) = Control::decode_body(body) {
                        self.names.extend(declared.topics.into_iter().map(|topic| (topic.id, topic.name)));
                    }
                }
                Kind::LOST => {
                    self.tally.lost += Lost::decode(&header, body).map_or(0, |lost| u64::from(lost.count));
                }
                Kind::PUB => {
                    let payload = Extensions::decode(header.flags, body).map_or(&[][..], |(_, payload)| payload);
                    let number = payload.first_chunk().map_or(0, |number| u64::from_le_bytes(*number));
                    self.tally.delivered += 1;
                    self.tally.disordered += u64::from(number < self.tally.next);
                    self.tally.next = number + 1;
                }
                _ => {}
            }
        }
        self.preface_left -= skipped;
        self.link.take_up(bytes);
    }
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(CABLE.as_bytes()))?;
    socket.set_broadcast(true)?;
    socket.set_reuse_address(true)?;
    // Root may have more than others: what the benchmark loses it loses on purpose.
    let _ = nix::sys::socket::setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BYTES);
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
