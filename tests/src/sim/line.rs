//! What carries a simulated client's words: a stream, or a session over datagrams.

use laneway_proto::datagram::limits::{DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MAX};
use laneway_proto::datagram::stream::Stream;
use laneway_proto::time::Instant;

use super::net::{End, LinkId};
use super::world::{ClientRead, World};

/// The way to the broker.
#[derive(Debug)]
pub enum Line {
    /// A stream.
    Stream(LinkId),
    /// A session, and whose it is.
    Datagrams(Box<Stream>, u32),
}

impl Line {
    /// A session over datagrams that client `id` begins.
    pub fn datagrams(now: Instant, id: u32) -> Self {
        Self::Datagrams(Box::new(Stream::dial(now, 0x5EED_0000 + id, 1, DATAGRAM_BYTES_DEFAULT)), id)
    }

    /// Takes what has arrived.
    pub fn hear(&mut self, world: &mut World) {
        let Self::Datagrams(stream, id) = self else { return };
        let now = world.now();
        while let Some(bytes) = world.client_take_datagram(*id) {
            let _ = stream.on_datagram(now, &bytes);
        }
        if stream.poll_timeout().is_some_and(|at| at <= now) {
            stream.on_timeout(now);
        }
    }

    /// Sends what is to be sent.
    pub fn say(&mut self, world: &mut World) {
        let Self::Datagrams(stream, id) = self else { return };
        let mut out = vec![0; DATAGRAM_BYTES_MAX];
        while let Some(bytes) = stream.poll_transmit(world.now(), &mut out) {
            world.client_datagram(*id, &out[..bytes]);
        }
    }

    /// Reads what arrived into the front of `out`.
    pub fn read(&mut self, world: &mut World, out: &mut [u8]) -> ClientRead {
        match self {
            Self::Stream(link) => world.client_read(*link, out),
            Self::Datagrams(stream, _) => {
                let count = stream.up().len().min(out.len());
                out[..count].copy_from_slice(&stream.up()[..count]);
                stream.take_up(count);
                match (count, stream.end()) {
                    (0, Some(_)) => ClientRead::Ended(End::Reset),
                    (0, None) => ClientRead::Nothing,
                    (count, _) => ClientRead::Bytes(count),
                }
            }
        }
    }

    /// Writes what fits.
    pub fn write(&mut self, world: &mut World, bytes: &[u8]) -> usize {
        match self {
            Self::Stream(link) => world.client_write(*link, bytes),
            Self::Datagrams(stream, _) if stream.has_room() => {
                stream.offer(world.now(), bytes);
                bytes.len()
            }
            Self::Datagrams(..) => 0,
        }
    }

    /// Closes, or tears the connection down. Of a session nobody hears more.
    pub fn hang_up(&mut self, world: &mut World, reset: bool) {
        let Self::Stream(link) = self else {
            self.say(world);
            return;
        };
        if reset {
            world.client_reset(*link);
        }
        world.client_close(*link);
    }

    /// When it wants to be looked at.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Stream(_) => None,
            Self::Datagrams(stream, _) => stream.poll_timeout(),
        }
    }
}
