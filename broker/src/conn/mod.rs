//! One peer: its socket, its session, what waits on both sides, and how far it is on its way out.

pub mod about;
pub mod datagrams;
pub mod lasting;
pub mod paced;

use std::collections::HashSet;
use std::sync::Arc;

use laneway_proto::control::Hello;
use laneway_proto::error::CloseCode;
use laneway_proto::limits::{NODE_ID_BYTES, TOPIC_ID_DYNAMIC_FIRST};
use laneway_proto::session::{Session, State};
use laneway_proto::time::Instant;

use self::about::About;
use self::datagrams::DatagramLink;
use self::lasting::{Lasting, LinkState};
use self::paced::Paced;
use crate::config::Settings;
use crate::confirms::Confirms;
use crate::counters::CloseReason;
use crate::histogram::Histogram;
use crate::inbox::Inbox;
use crate::inbox::granted::Granted;
use crate::intern::TopicIndex;
use crate::io::{ListenerId, PeerAddress, Socket};
use crate::outbox::Outbox;
use crate::rate::Rate;
use crate::retained::replay::Replay;

/// Whether bytes are being received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receiving {
    /// Not at all.
    Off,
    /// The door delivers until it is told to stop.
    Many,
    /// The door fills one buffer.
    Once,
    /// Not until there is a buffer for it.
    Waiting,
    /// The door was asked to stop; more may still arrive.
    Ending,
}

impl Receiving {
    /// Whether what the peer says now is heard, so that its silence means something.
    pub const fn hears(self) -> bool {
        match self {
            Self::Many | Self::Once => true,
            Self::Off | Self::Waiting | Self::Ending => false,
        }
    }
}

/// A connection that is being closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closing {
    /// Why.
    pub reason: CloseReason,
    /// When patience with the peer ends.
    pub until: Instant,
    /// We have told the peer that nothing more comes.
    pub finished_sending: bool,
}

/// The topic ids that a session declared, in its own numbering.
///
/// Ids are dense from the first dynamic one, so the table is a plain list; 0 means "not declared".
#[derive(Debug, Default)]
pub struct TopicMap {
    indexes: Vec<u32>,
}

impl TopicMap {
    /// The broker's index of a session's id.
    pub fn at(&self, id: u32) -> Option<TopicIndex> {
        let place = id.wrapping_sub(TOPIC_ID_DYNAMIC_FIRST) as usize;
        self.indexes.get(place).and_then(|index| index.checked_sub(1)).map(TopicIndex)
    }

    /// Binds an id below `topics_max`. False if it is out of range or bound to another topic.
    pub fn bind(&mut self, id: u32, topic: TopicIndex, topics_max: u32) -> bool {
        let place = id.wrapping_sub(TOPIC_ID_DYNAMIC_FIRST);
        if place >= topics_max {
            return false;
        }
        let place = place as usize;
        if self.indexes.len() <= place {
            self.indexes.resize(place + 1, 0);
        }
        let bound = &mut self.indexes[place];
        if *bound != 0 && *bound != topic.0 + 1 {
            return false;
        }
        *bound = topic.0 + 1;
        true
    }
}

/// One peer.
#[derive(Debug)]
pub struct Conn {
    /// Its socket.
    pub socket: Socket,
    /// Who it is, as the system says.
    pub address: PeerAddress,
    /// Where it connected.
    pub listener: ListenerId,
    /// The port, if it is a session on a serial line: it has no socket then.
    pub line: Option<u16>,
    /// Set if its HELLO will be answered with REJECT: too many connections.
    pub refused: Option<CloseCode>,
    /// The protocol's view of it.
    pub session: Session,
    /// Bytes of the preface that have arrived.
    pub preface: Vec<u8>,
    /// What arrived.
    pub inbox: Inbox,
    /// What waits for it.
    pub outbox: Outbox,
    /// What it is told of its publishes, if it understands that.
    pub confirms: Option<Box<Confirms>>,
    /// What lets its session outlive its link, if both sides want that.
    pub lasting: Option<Box<Lasting>>,
    /// What it says of itself, once its session has begun.
    pub about: Option<Box<About>>,
    /// When bytes of it arrived last.
    pub heard: Instant,
    /// Its session over UDP, if that is what it has.
    pub datagrams: Option<Box<DatagramLink>>,
    /// Its HELLO, which asks for a session: the connection goes there once nothing of it is in flight.
    pub moving: Option<Box<Hello>>,
    /// Topics it publishes to.
    pub topics: TopicMap,
    /// Topics whose names it was told.
    pub told: HashSet<TopicIndex>,
    /// Filters it subscribed to.
    pub filters: Vec<Arc<str>>,
    /// Last values that it is still to be sent.
    pub replay: Option<Box<Replay>>,
    /// Whether bytes are being received.
    pub receiving: Receiving,
    /// It keeps to the credit it is given.
    pub keeps_credit: bool,
    /// Nothing on the way to it has to cut BATCH frames; every client understands them.
    pub takes_batches: bool,
    /// Full outboxes that stop this publisher, or lanes of it.
    pub stops: u32,
    /// It waits for room towards another shard.
    pub waits_for_mesh: bool,
    /// How fast it may publish, if that is limited.
    pub paced: Option<Box<Paced>>,
    /// It is in the line of publishers that may go on.
    pub in_line: bool,
    /// The peer will send nothing more, for this reason.
    pub ended: Option<CloseReason>,
    /// On its way out.
    pub closing: Option<Closing>,
    /// In the list of connections to flush.
    pub dirty: bool,
    /// The earliest timer set for it.
    pub timer_at: Option<Instant>,
    /// When it connected.
    pub since: Instant,
    /// Bytes received.
    pub bytes_in: u64,
    /// Frames received that were taken.
    pub frames_in: u64,
    /// Bytes the kernel took for sending.
    pub bytes_out: u64,
    /// How long messages for it waited; made when the first one was followed.
    pub residency: Option<Box<Histogram>>,
    /// The number of its session; 0 before WELCOME.
    pub number: u32,
    /// The node id it states; zeros before WELCOME.
    pub node_id: [u8; NODE_ID_BYTES],
}

const _: () = assert!(size_of::<Conn>() <= 688, "ten thousand idle connections stay small");

impl Conn {
    /// A peer that has just connected.
    pub fn new(socket: Socket, address: PeerAddress, listener: ListenerId, session: Session, now: Instant) -> Self {
        Self {
            socket,
            address,
            listener,
            line: None,
            refused: None,
            session,
            preface: Vec::new(),
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            confirms: None,
            lasting: None,
            about: None,
            heard: now,
            datagrams: None,
            moving: None,
            topics: TopicMap::default(),
            told: HashSet::new(),
            filters: Vec::new(),
            replay: None,
            receiving: Receiving::Off,
            keeps_credit: false,
            takes_batches: false,
            stops: 0,
            waits_for_mesh: false,
            paced: None,
            in_line: false,
            ended: None,
            closing: None,
            dirty: false,
            timer_at: None,
            since: now,
            bytes_in: 0,
            frames_in: 0,
            bytes_out: 0,
            residency: None,
            number: 0,
            node_id: [0; NODE_ID_BYTES],
        }
    }

    /// Keeps its link to the rates that are set for it.
    pub fn limit(&mut self, now: Instant, settings: &Settings) {
        let (egress, ingress) = settings.rates_of(self.listener.0);
        let burst_bytes = settings.limits.rate_burst_bytes;
        if let Some(rate) = Rate::new(egress, burst_bytes) {
            self.outbox.limit(rate);
        }
        self.paced = Rate::new(ingress, burst_bytes).map(|rate| Box::new(Paced::new(now, rate)));
    }

    /// Whether what it sends has to wait, on all lanes: of who keeps to credit only the lanes wait that have to.
    pub fn is_stopped(&self) -> bool {
        let stopped = self.stops > 0 || self.waits_for_mesh || self.is_ahead_of_its_rate();
        stopped && self.inbox.granted.is_none() || self.moving.is_some()
    }

    fn is_ahead_of_its_rate(&self) -> bool {
        self.paced.as_ref().is_some_and(|paced| paced.is_stopped())
    }

    /// What it may send, if it keeps to credit.
    pub fn granted(&mut self, window_bytes: u64) -> Option<&mut Granted> {
        if !self.keeps_credit {
            return None;
        }
        Some(self.inbox.granted.get_or_insert_with(|| Box::new(Granted::new(window_bytes))))
    }

    /// So many bytes of it have arrived.
    pub fn on_heard(&mut self, now: Instant, bytes: u64) {
        self.bytes_in += bytes;
        self.heard = now;
        if let Some(about) = &mut self.about {
            about.asked = false;
        }
    }

    /// Whether something of it has arrived and waits for its way.
    pub fn is_holding(&self) -> bool {
        self.inbox.granted.as_ref().is_some_and(|granted| granted.is_holding())
    }

    /// Whether its session has no link that works, and waits for another.
    pub fn is_away(&self) -> bool {
        self.lasting.as_ref().is_some_and(|lasting| lasting.link != LinkState::Up)
    }

    /// Whether its session goes on without its link if that ends for this reason.
    pub fn outlives(&self, reason: CloseReason) -> bool {
        let silent = CloseReason::Ours(CloseCode::Timeout);
        let broke = matches!(reason, CloseReason::PeerLeft | CloseReason::ConnectionFailed) || reason == silent;
        let up = self.lasting.as_ref().is_some_and(|lasting| lasting.link == LinkState::Up);
        broke && up && self.closing.is_none() && self.session.state() == State::Open
    }

    /// Whether messages may go from its buffer straight to a queue: the session is open and nothing stands before them.
    pub fn is_plain(&self) -> bool {
        let inbox = &self.inbox;
        let free = self.closing.is_none() && self.paced.is_none() && inbox.partial.is_none() && inbox.stalled.is_none();
        let waits = inbox.granted.as_ref().is_some_and(|granted| granted.is_waiting());
        free && !waits && self.session.state() == State::Open
    }

    /// Whether nothing that it says makes a difference any more.
    pub fn is_deaf(&self) -> bool {
        self.closing.is_some() && !self.outbox.hears_credit() || self.is_away()
    }

    /// The peer in words, for logs.
    pub fn name(&self) -> String {
        match &self.address {
            PeerAddress::Tcp(address) => address.to_string(),
            PeerAddress::Udp(address) => format!("udp {address}"),
            PeerAddress::All(address) => format!("all at {address}"),
            PeerAddress::Unix { uid, pid } => format!("uid {uid}, process {pid}"),
            PeerAddress::Tty(path) => format!("serial {path}"),
            PeerAddress::Unknown => "unknown".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sessions_topic_ids_are_bounded_and_bound_once() {
        let mut topics = TopicMap::default();
        assert!(topics.bind(65_536, TopicIndex(9), 2));
        assert!(topics.bind(65_536, TopicIndex(9), 2), "the same again is harmless");
        assert!(!topics.bind(65_536, TopicIndex(8), 2), "another name is not");
        assert!(!topics.bind(65_538, TopicIndex(9), 2), "over the bound");
        assert!(!topics.bind(7, TopicIndex(9), 2), "predefined ids are not declared");
        assert_eq!(topics.at(65_536), Some(TopicIndex(9)));
        assert_eq!(topics.at(65_537), None);
        assert_eq!(topics.at(0), None);
    }
}
