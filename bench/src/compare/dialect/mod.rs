//! The wire formats of the peers, as far as publishing and subscribing need them: pre-encoded by our own load, so that no
//! client library is measured.

mod mqtt;
mod nats;
mod resp;
mod talk;
mod zmtp;

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use self::talk::Talk;
use crate::error::{Error, Result};
use crate::load::{Load, Subscriber};
use crate::wire::{Block, Envelope, Enveloped};

/// How long a subscription that nobody confirms takes to be in force; a message that is lost nevertheless is a fault.
const SETTLE: Duration = Duration::from_millis(100);

/// A peer's wire format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    /// The text protocol of NATS: `PUB` and `MSG`.
    Nats,
    /// MQTT 3.1.1, `PUBLISH` with QoS 0.
    Mqtt,
    /// Redis's RESP2: `PUBLISH` without replies, and pub/sub messages.
    Resp,
    /// ZMTP 3.0 with the NULL mechanism: one frame a message, the topic in front.
    Zmtp,
}

/// Where publishers and subscribers connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Doors {
    pub(super) publish: SocketAddr,
    pub(super) subscribe: SocketAddr,
}

/// The name of a topic, of one length for all.
fn topic_name(topic: u32, separator: char) -> String {
    format!("bench{separator}{topic:02}")
}

impl Dialect {
    /// What stands around a payload that is published.
    fn published(self, topic: u32, payload_bytes: usize) -> Envelope {
        match self {
            Self::Nats => nats::published(topic, payload_bytes),
            Self::Mqtt => mqtt::publish(topic, payload_bytes),
            Self::Resp => resp::published(topic, payload_bytes),
            Self::Zmtp => zmtp::message(topic, payload_bytes),
        }
    }

    /// What stands around a payload that is delivered.
    fn delivered(self, topic: u32, payload_bytes: usize) -> Envelope {
        match self {
            Self::Nats => nats::delivered(topic, payload_bytes),
            Self::Mqtt => mqtt::publish(topic, payload_bytes),
            Self::Resp => resp::delivered(topic, payload_bytes),
            Self::Zmtp => zmtp::message(topic, payload_bytes),
        }
    }

    /// What may stand between two deliveries.
    const fn aside(self) -> &'static [u8] {
        match self {
            Self::Nats => nats::PING,
            Self::Mqtt | Self::Resp | Self::Zmtp => b"",
        }
    }

    fn publisher(self, at: SocketAddr) -> Result<TcpStream> {
        let mut talk = Talk::open(at)?;
        match self {
            Self::Nats => nats::connect(&mut talk)?,
            Self::Mqtt => mqtt::connect(&mut talk)?,
            Self::Resp => resp::publisher(&mut talk)?,
            Self::Zmtp => zmtp::connect(&mut talk, "PUB")?,
        }
        Ok(talk.into_parts().0)
    }

    /// A connection whose subscription to `topic` is confirmed, if the protocol confirms it, and what came behind.
    pub(super) fn subscriber(self, at: SocketAddr, topic: u32) -> Result<(TcpStream, Vec<u8>)> {
        let mut talk = Talk::open(at)?;
        match self {
            Self::Nats => nats::subscribe(&mut talk, topic)?,
            Self::Mqtt => mqtt::subscribe(&mut talk, topic)?,
            Self::Resp => resp::subscribe(&mut talk, topic)?,
            Self::Zmtp => zmtp::subscribe(&mut talk, topic)?,
        }
        Ok(talk.into_parts())
    }

    /// A publisher of `topic` and its subscribers, in blocks of `messages` or as many as fit a write.
    pub(super) fn load(self, doors: Doors, topic: u32, what: Batch, subscribers: u32) -> Result<Load> {
        let Batch { payload_bytes, messages } = what;
        let published = self.published(topic, payload_bytes);
        let block = Block::enveloped(&published, payload_bytes, messages);
        let publisher = self.publisher(doors.publish)?;
        let subscribers = (0..subscribers)
            .map(|_| {
                let (socket, behind) = self.subscriber(doors.subscribe, topic)?;
                let delivered = self.delivered(topic, payload_bytes);
                let receive = Enveloped::new(delivered, payload_bytes, block.messages(), self.aside());
                if !behind.is_empty() && behind != self.aside() {
                    return Err(Error::Failed(format!("before anything was published came {behind:?}")));
                }
                Ok(Subscriber { socket, receive: Box::new(receive) })
            })
            .collect::<Result<Vec<_>>>()?;
        Load::of(publisher, subscribers, block, 1)
    }

    /// Waits until every subscription is in force, where nothing says so.
    pub(super) fn settle(self) {
        match self {
            Self::Zmtp => thread::sleep(SETTLE),
            Self::Nats | Self::Mqtt | Self::Resp => {}
        }
    }
}

/// What one write carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Batch {
    pub(super) payload_bytes: usize,
    /// Messages of a write; `None`: as many as fit 64 KiB.
    pub(super) messages: Option<u32>,
}
