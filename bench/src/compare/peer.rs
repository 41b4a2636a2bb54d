//! The other brokers: which there are, and how each is started so that the comparison is fair.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::dialect::Dialect;
use crate::error::{Error, Result};

/// A broker that Laneway is compared with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum Peer {
    /// nats-server
    Nats,
    /// Eclipse Mosquitto
    Mosquitto,
    /// redis-server
    Redis,
    /// a proxy on libzmq
    Zeromq,
    /// rumqttd
    Rumqttd,
    /// zenohd
    Zenoh,
}

/// All of them.
pub(super) const ALL: [Peer; 6] = [Peer::Nats, Peer::Mosquitto, Peer::Redis, Peer::Zeromq, Peer::Rumqttd, Peer::Zenoh];

/// How a peer is started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Launch {
    pub(super) arguments: Vec<String>,
    /// Text for a configuration file, whose path takes the place of `{config}` in the arguments.
    pub(super) config: Option<String>,
}

impl Peer {
    /// Its name, in rows and of its program among the peers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Mosquitto => "mosquitto",
            Self::Redis => "redis",
            Self::Zeromq => "zeromq",
            Self::Rumqttd => "rumqttd",
            Self::Zenoh => "zenoh",
        }
    }

    /// What its load speaks; `None` for one whose load is a program of its own.
    pub(super) const fn dialect(self) -> Option<Dialect> {
        match self {
            Self::Nats => Some(Dialect::Nats),
            Self::Mosquitto | Self::Rumqttd => Some(Dialect::Mqtt),
            Self::Redis => Some(Dialect::Resp),
            Self::Zeromq => Some(Dialect::Zmtp),
            Self::Zenoh => None,
        }
    }

    /// What is not as the peer comes, and why, for people.
    pub const fn settings(self) -> &'static str {
        match self {
            Self::Nats => "as it comes; the load speaks its text protocol, `verbose` off",
            Self::Mosquitto => {
                "TCP_NODELAY, no log, no bound on queued messages (QoS 0 would be dropped); MQTT 3.1.1, QoS 0"
            }
            Self::Redis => "nothing saved to disk; pub/sub, the publisher with CLIENT REPLY OFF",
            Self::Zeromq => {
                "zmq_proxy between XSUB and XPUB, one I/O thread, no bound on queues (it would drop); \
                 ZMTP 3.0, one frame a message"
            }
            Self::Rumqttd => "payloads up to 2 MiB, ten segments of 10 MiB kept; MQTT 3.1.1, QoS 0",
            Self::Zenoh => {
                "no scouting; the load is a program on zenoh's own client: reliable, congestion control Block, \
                 one session a publisher or subscriber"
            }
        }
    }

    /// Its program, if it was installed.
    pub(super) fn program(self, peers: &Path) -> Option<PathBuf> {
        let path = peers.join("bin").join(self.name());
        let load = peers.join("bin/zenoh-load");
        (path.is_file() && (self != Self::Zenoh || load.is_file())).then_some(path)
    }

    /// What was installed.
    pub fn version(self, peers: &Path) -> String {
        let path = peers.join("bin").join(format!("{}.version", self.name()));
        std::fs::read_to_string(path).map_or_else(|_| "of unknown version".into(), |text| text.trim().to_owned())
    }

    /// How to start it at these addresses: one, but for ZeroMQ, which has one for publishers and one for subscribers.
    pub(super) fn launch(self, at: &[SocketAddr]) -> Result<Launch> {
        let (Some(first), Some(last)) = (at.first(), at.last()) else {
            return Err(Error::Failed("a peer needs an address".into()));
        };
        let port = first.port().to_string();
        let (arguments, config) = match self {
            Self::Nats => (format!("--addr 127.0.0.1 --port {port}"), None),
            Self::Mosquitto => ("-c {config}".into(), Some(mosquitto_config(&port))),
            Self::Redis => (format!("--bind 127.0.0.1 --port {port} --appendonly no --daemonize no --save"), None),
            Self::Zeromq => (format!("{port} {}", last.port()), None),
            Self::Rumqttd => ("-c {config}".into(), Some(rumqttd_config(&port))),
            Self::Zenoh => (format!("--no-multicast-scouting --listen tcp/127.0.0.1:{port}"), None),
        };
        let mut arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        if self == Self::Redis {
            // `--save ""`: never.
            arguments.push(String::new());
        }
        Ok(Launch { arguments, config })
    }
}

fn mosquitto_config(port: &str) -> String {
    format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nlog_type none\n\
         max_queued_messages 0\nmax_queued_bytes 0\npersistence false\n"
    )
}

fn rumqttd_config(port: &str) -> String {
    format!(
        "id = 0\n[router]\nid = 0\nmax_connections = 10010\nmax_outgoing_packet_count = 200\n\
         max_segment_size = 10485760\nmax_segment_count = 10\n\
         [v4.1]\nname = \"v4-1\"\nlisten = \"127.0.0.1:{port}\"\nnext_connection_delay_ms = 1\n\
         [v4.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 2097152\nmax_inflight_count = 100\n\
         dynamic_filters = true\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_is_started_at_the_port_it_is_given() {
        let at = [4321, 4322].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        for peer in ALL {
            let launch = peer.launch(&at).expect("an address");
            let text = format!("{} {}", launch.arguments.join(" "), launch.config.unwrap_or_default());
            assert!(text.contains("4321"), "{}: {text}", peer.name());
        }
        assert!(Peer::Nats.launch(&[]).is_err());
    }
}
