//! The load generator: one publisher and its subscribers on one thread that never sleeps.

pub mod beside;
mod credit;
pub mod crowd;
pub mod cutter;
pub mod dice;
pub mod echo;
pub mod feeder;
pub mod keys;
mod laneway;
pub(crate) mod link;
pub mod oath;
pub mod paced;
pub mod reader;
pub mod saturate;
mod source;
pub mod two_lanes;

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use laneway_proto::control::{Body, Sub, Subscribe};

use self::source::Source;
use crate::error::{Error, Result};
use crate::wire::{Block, Expect, Framing, Index, Receive, Relay, Shape, Walk};

/// Bytes one receive call may return.
const RECEIVE_BYTES_MAX: usize = 256 * 1024;
/// Bytes between what was sent and what the slowest subscriber has received; one block is always allowed.
const IN_FLIGHT_BYTES_MAX: u64 = 1024 * 1024;
/// How long nothing may arrive while something is under way.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// One subscriber's end.
pub(crate) struct Subscriber {
    /// Its connection; it never blocks.
    pub(crate) socket: TcpStream,
    /// What looks at what it receives.
    pub(crate) receive: Box<dyn Receive>,
}

/// A publisher and its subscribers, connected and ready.
pub struct Load {
    publisher: TcpStream,
    subscribers: Vec<Subscriber>,
    source: Source,
    topics: u64,
    next_number: u32,
    sent_bytes: u64,
    in_flight_bytes_max: u64,
    scratch: Vec<u8>,
    heard_at: Instant,
}

impl Load {
    /// Connects a publisher and then `subscribers`, in order; with several topics, subscriber `k` gets topic `k`.
    pub fn connect(at: SocketAddr, framing: Framing, shape: Shape, subscribers: u32, block: Block) -> Result<Self> {
        let publisher = match framing {
            Framing::Relay | Framing::Index => link::connect(at)?,
            Framing::Single | Framing::Batch => laneway::publisher(at, shape.topics)?,
        };
        let subscribers = (0..subscribers)
            .map(|place| {
                let topic = place % shape.topics;
                let expect = Expect::new(topic, shape, block.messages());
                Ok(match framing {
                    Framing::Relay => {
                        let receive = Box::new(Walk::new(Relay::new(expect, shape)));
                        Subscriber { socket: link::connect(at)?, receive }
                    }
                    Framing::Index => {
                        let receive = Box::new(Walk::new(Index::new(expect, shape, topic)));
                        Subscriber { socket: link::connect(at)?, receive }
                    }
                    Framing::Single | Framing::Batch => {
                        let items = block.messages() / shape.topics;
                        let opening = laneway::Opening::new(framing, shape, topic, expect, items);
                        let (socket, receive) = laneway::subscriber(at, topic, opening)?;
                        Subscriber { socket, receive: Box::new(receive) }
                    }
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Self::of(publisher, subscribers, block, shape.topics)
    }

    /// A publisher and a subscriber of the broker on a topic of their own: place `topic` of the names.
    pub fn pair(at: SocketAddr, framing: Framing, shape: Shape, topic: u32, block: Block) -> Result<Self> {
        let publisher = laneway::publisher_of(at, [laneway::topic_name(topic)], link::Holds::default())?;
        let expect = Expect::new(0, shape, block.messages());
        let opening = laneway::Opening::new(framing, shape, topic, expect, block.messages());
        let (socket, receive) = laneway::subscriber(at, topic, opening)?;
        Self::of(publisher, vec![Subscriber { socket, receive: Box::new(receive) }], block, shape.topics)
    }

    /// A publisher and its subscribers that are connected already; blocks of the publisher are numbered from 1.
    pub(crate) fn of(publisher: TcpStream, subscribers: Vec<Subscriber>, block: Block, topics: u32) -> Result<Self> {
        for socket in subscribers.iter().map(|subscriber| &subscriber.socket).chain([&publisher]) {
            socket.set_nonblocking(true).map_err(Error::io("making a socket non-blocking"))?;
        }
        Ok(Self {
            publisher,
            subscribers,
            source: Source::new(block, IN_FLIGHT_BYTES_MAX)?,
            topics: u64::from(topics),
            next_number: 1,
            sent_bytes: 0,
            in_flight_bytes_max: IN_FLIGHT_BYTES_MAX,
            scratch: vec![0; RECEIVE_BYTES_MAX],
            heard_at: Instant::now(),
        })
    }

    /// A connection to the broker at `at` that is subscribed to what [`Self::connect`] publishes, for somebody who only
    /// holds it; `policy` is the number of what the broker does if nobody reads from it, 0: its default.
    pub fn held(at: SocketAddr, policy: u32) -> Result<TcpStream> {
        let mut link = link::Link::open(at)?;
        let sub = Sub { pattern: laneway::topic_name(0), policy, ..Sub::default() };
        link.request(Body::Subscribe(Subscribe { subs: vec![sub] }))?;
        Ok(link.into_parts().0)
    }

    /// Messages delivered so far, to all subscribers together.
    pub fn delivered(&self) -> u64 {
        self.subscribers.iter().map(|subscriber| subscriber.receive.messages()).sum()
    }

    /// Whether another block may follow without exceeding what may be in flight.
    fn may_send(&self) -> bool {
        let slowest = self.subscribers.iter().map(|subscriber| subscriber.receive.messages()).min().unwrap_or(0);
        // As they were sent: the broker may have made them shorter.
        let block = self.source.block();
        let (messages, block_messages) = (slowest * self.topics, u64::from(block.messages()));
        let block_bytes = block.bytes().len() as u64;
        let received =
            messages / block_messages * block_bytes + messages % block_messages * block_bytes / block_messages;
        let in_flight = self.sent_bytes.saturating_sub(received);
        in_flight == 0 || in_flight + block_bytes <= self.in_flight_bytes_max
    }

    /// Changes what may be in flight, before anything is sent.
    fn set_in_flight_bytes_max(&mut self, bytes: u64) -> Result<()> {
        debug_assert!(self.sent_bytes == 0, "nothing is under way");
        self.in_flight_bytes_max = bytes;
        self.source = Source::new(self.source.block().clone(), bytes)?;
        Ok(())
    }

    /// Numbers the next block; [`Self::write`] sends it.
    fn begin_block(&mut self) {
        self.source.begin(self.next_number);
        self.next_number += self.source.block().messages();
    }

    /// Writes as much of the block as the socket takes.
    fn write(&mut self) -> Result<()> {
        match self.source.write(&mut self.publisher) {
            Ok(count) => {
                self.sent_bytes += count as u64;
                Ok(())
            }
            Err(error) => Err(Error::Failed(link::why_closed(&mut self.publisher, &error))),
        }
    }

    /// Receives what is under way, and ends the block that was begun: the kernel refers to the blocks until then, and who
    /// reads from the socket would find what this memory is used for next.
    fn settle(&mut self) -> Result<()> {
        let until = Instant::now() + SILENCE_MAX;
        let all = u64::from(self.next_number - 1) * self.subscribers.len() as u64 / self.topics;
        while self.source.left() > 0 || self.delivered() < all {
            let now = Instant::now();
            if now > until {
                return Err(Error::Failed(format!("what was under way was not delivered within {SILENCE_MAX:?}")));
            }
            if self.source.left() > 0 {
                self.write()?;
            }
            self.receive(now)?;
        }
        Ok(())
    }

    /// Receives once from each subscriber and checks what came.
    fn receive(&mut self, now: Instant) -> Result<()> {
        for (place, subscriber) in self.subscribers.iter_mut().enumerate() {
            match subscriber.socket.read(&mut self.scratch) {
                Ok(0) => return Err(Error::Failed(format!("subscriber {place} was disconnected"))),
                Ok(count) => {
                    self.heard_at = now;
                    let fault = subscriber.receive.on_bytes(&self.scratch[..count]).err();
                    if let Some(fault) = fault {
                        return Err(Error::Failed(format!("subscriber {place}: {fault}")));
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(Error::Failed(format!("subscriber {place}: {error}"))),
            }
        }
        if now.duration_since(self.heard_at) > SILENCE_MAX {
            return Err(Error::Failed(format!("nothing was delivered for {SILENCE_MAX:?}")));
        }
        Ok(())
    }
}
