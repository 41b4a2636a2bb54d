//! What a connection over UDP has instead of a socket: a session, and an address to answer to; or a link to all.

use std::net::SocketAddr;

use laneway_proto::datagram::broadcast::{Broadcast, Sent};
use laneway_proto::datagram::stream::{End, Stream};
use laneway_proto::time::Instant;

/// The session behind a connection.
#[derive(Debug)]
pub struct DatagramLink {
    /// Frames on their way both ways.
    pub speech: Speech,
    /// Where its first datagram came from.
    pub from: SocketAddr,
    /// Where its peer was heard last.
    pub to: SocketAddr,
    /// In the list of those that have something to take or to send.
    pub listed: bool,
}

/// What makes a stream of frames of datagrams.
#[derive(Debug)]
pub enum Speech {
    /// With one peer.
    Session(Box<Stream>),
    /// With all.
    Broadcast(Box<Broadcast>),
}

impl DatagramLink {
    /// A session whose peer is at `from`.
    pub fn new(stream: Stream, from: SocketAddr) -> Self {
        Self { speech: Speech::Session(Box::new(stream)), from, to: from, listed: false }
    }

    /// A link to all who listen at `group`.
    pub fn to_all(link: Broadcast, group: SocketAddr) -> Self {
        Self { speech: Speech::Broadcast(Box::new(link)), from: group, to: group, listed: false }
    }

    /// The session, if it is one.
    pub fn session(&self) -> Option<&Stream> {
        match &self.speech {
            Speech::Session(stream) => Some(stream),
            Speech::Broadcast(_) => None,
        }
    }

    /// The session, if it is one.
    pub fn session_mut(&mut self) -> Option<&mut Stream> {
        match &mut self.speech {
            Speech::Session(stream) => Some(stream),
            Speech::Broadcast(_) => None,
        }
    }

    /// Whether it wants to be looked at: its time has come, or a link to all has an answer to what it was just told.
    pub fn is_due(&self, now: Instant) -> bool {
        let answers = matches!(self.speech, Speech::Broadcast(_)) && !self.speech.up().is_empty();
        answers || self.poll_timeout().is_some_and(|at| at <= now)
    }

    /// When it wants to be looked at.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.speech.poll_timeout()
    }
}

impl Speech {
    /// A datagram arrived; whether it is the newest of its session. `None`: it is none of this link's.
    pub fn on_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> Option<bool> {
        match self {
            Self::Session(stream) => stream.on_datagram(now, bytes).map(|heard| heard.newest).ok(),
            Self::Broadcast(link) => link.on_datagram(now, from, bytes).map(|()| false).ok(),
        }
    }

    /// The stream's bytes that arrived.
    pub fn up(&self) -> &[u8] {
        match self {
            Self::Session(stream) => stream.up(),
            Self::Broadcast(link) => link.up(),
        }
    }

    /// The first `bytes` of them were taken.
    pub fn take_up(&mut self, bytes: usize) {
        match self {
            Self::Session(stream) => stream.take_up(bytes),
            Self::Broadcast(link) => link.take_up(bytes),
        }
    }

    /// Whether there is room for what arrives.
    pub const fn set_room(&mut self, has_room: bool) {
        match self {
            Self::Session(stream) => stream.set_room(has_room),
            Self::Broadcast(link) => link.set_room(has_room),
        }
    }

    /// Why it is over, if it is.
    pub fn end(&self) -> Option<End> {
        match self {
            Self::Session(stream) => stream.end(),
            Self::Broadcast(_) => None,
        }
    }

    /// Whether everything that was offered has arrived, as far as it can; to all, whether it was sent.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Session(stream) => stream.is_done(),
            Self::Broadcast(link) => link.is_done(),
        }
    }

    /// Whether more should be offered.
    pub fn has_room(&self) -> bool {
        match self {
            Self::Session(stream) => stream.has_room(),
            Self::Broadcast(link) => link.has_room(),
        }
    }

    /// Lanes (a bit each) of which no more should be offered.
    pub fn full_lanes(&self) -> u16 {
        match self {
            Self::Session(stream) => stream.full_lanes(),
            Self::Broadcast(_) => 0,
        }
    }

    /// The stream goes on with these bytes.
    pub fn offer(&mut self, now: Instant, bytes: &[u8]) {
        match self {
            Self::Session(stream) => stream.offer(now, bytes),
            Self::Broadcast(link) => link.offer(now, bytes),
        }
    }

    /// Bytes of the longest datagram.
    pub fn datagram_bytes(&self) -> usize {
        match self {
            Self::Session(stream) => stream.datagram_bytes(),
            Self::Broadcast(link) => link.datagram_bytes(),
        }
    }

    /// Writes the next datagram; to whom, if not to the link's own address.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Sent> {
        match self {
            Self::Session(stream) => stream.poll_transmit(now, out).map(|bytes| Sent { bytes, to: None }),
            Self::Broadcast(link) => link.poll_transmit(now, out),
        }
    }

    /// Time has come to `now`.
    pub fn on_timeout(&mut self, now: Instant) {
        match self {
            Self::Session(stream) => stream.on_timeout(now),
            Self::Broadcast(link) => link.on_timeout(now),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Session(stream) => stream.poll_timeout(),
            Self::Broadcast(link) => link.poll_timeout(),
        }
    }
}
