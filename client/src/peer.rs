//! The two ends of a connection.

use std::collections::BTreeMap;
use std::fmt;

/// What carries a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// UDP broadcast or multicast: no broker, but all who listen.
    Broadcast,
    /// A Unix stream socket.
    Unix,
    /// A stream that the caller brought.
    Other,
}

impl Transport {
    /// The scheme in URLs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Broadcast => "udp+broadcast",
            Self::Unix => "unix",
            Self::Other => "other",
        }
    }
}

/// One end of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Peer {
    /// Stable for a node.
    pub node_id: [u8; 16],
    /// Random per process start: another epoch under the same node id means a restart.
    pub epoch: u64,
    /// What carries the connection.
    pub transport: Transport,
    /// Address on that transport; empty where an end has none, as a client's end of a Unix socket.
    pub address: String,
    /// What this end tells about itself.
    pub metadata: BTreeMap<String, String>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport.name(), self.address)
    }
}
