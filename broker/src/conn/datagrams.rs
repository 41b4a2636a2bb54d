//! What a connection over UDP has instead of a socket: a session, and an address to answer to.

use std::net::SocketAddr;

use laneway_proto::datagram::stream::Stream;
use laneway_proto::time::Instant;

/// The session behind a connection.
#[derive(Debug)]
pub struct DatagramLink {
    /// Frames on their way both ways.
    pub stream: Stream,
    /// Where its first datagram came from.
    pub from: SocketAddr,
    /// Where its peer was heard last.
    pub to: SocketAddr,
    /// In the list of those that have something to take or to send.
    pub listed: bool,
}

impl DatagramLink {
    /// A session whose peer is at `from`.
    pub const fn new(stream: Stream, from: SocketAddr) -> Self {
        Self { stream, from, to: from, listed: false }
    }

    /// When it wants to be looked at.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.stream.poll_timeout()
    }
}
