//! Simulated stream connections: two pipes with a capacity, a latency and an end.

use std::collections::VecDeque;

use laneway_broker::io::{ListenerId, PeerAddress};
use laneway_proto::time::{Duration, Instant};

/// Names a connection for the whole run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// One of a connection's two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Side {
    /// The end that dialled.
    Client,
    /// The end that accepted.
    Broker,
}

impl Side {
    /// The end across.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Broker,
            Self::Broker => Self::Client,
        }
    }
}

/// How a direction ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Every byte arrived, and no more follow.
    Fin,
    /// The connection was torn down; bytes may be missing.
    Reset,
}

#[derive(Debug)]
struct Segment {
    due: Instant,
    bytes: Vec<u8>,
    /// Bytes already read from the front.
    read: usize,
}

/// One direction of a connection.
///
/// Invariant: `queued <= capacity`; segments are due in the order they were written.
#[derive(Debug)]
pub struct Pipe {
    segments: VecDeque<Segment>,
    queued: usize,
    capacity: usize,
    last_due: Instant,
    end: Option<(Instant, End)>,
}

impl Pipe {
    /// An empty pipe that holds `capacity` bytes, at least 1.
    pub const fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a pipe holds something");
        Self { segments: VecDeque::new(), queued: 0, capacity, last_due: Instant(0), end: None }
    }

    /// Bytes that can be written now.
    pub const fn room(&self) -> usize {
        if self.end.is_some() { 0 } else { self.capacity - self.queued }
    }

    /// Bytes written and not read.
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// Takes what fits; it can be read from `due` on. Returns the bytes taken and when they really arrive.
    pub fn write(&mut self, due: Instant, bytes: &[u8]) -> (usize, Instant) {
        let count = bytes.len().min(self.room());
        self.last_due = self.last_due.max(due);
        if count > 0 {
            self.queued += count;
            self.segments.push_back(Segment { due: self.last_due, bytes: bytes[..count].to_vec(), read: 0 });
        }
        (count, self.last_due)
    }

    /// Whether any byte has arrived.
    pub fn has_arrived(&self, now: Instant) -> bool {
        self.segments.front().is_some_and(|segment| segment.due <= now)
    }

    /// Fills the front of `out` with what has arrived; returns the bytes.
    pub fn read(&mut self, now: Instant, out: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < out.len() {
            let Some(segment) = self.segments.front_mut().filter(|segment| segment.due <= now) else { break };
            let rest = &segment.bytes[segment.read..];
            let count = rest.len().min(out.len() - filled);
            out[filled..filled + count].copy_from_slice(&rest[..count]);
            filled += count;
            segment.read += count;
            if segment.read == segment.bytes.len() {
                self.segments.pop_front();
            }
        }
        self.queued -= filled;
        filled
    }

    /// The writer is done; the end follows the last byte. Returns when it arrives.
    pub fn finish(&mut self, due: Instant) -> Instant {
        self.last_due = self.last_due.max(due);
        self.end.get_or_insert((self.last_due, End::Fin)).0
    }

    /// The connection broke: what has not arrived by `now` never does, and the reader learns of it at `due`. With
    /// `keep` the bytes that did arrive can still be read before that.
    pub fn reset(&mut self, now: Instant, due: Instant, keep: bool) {
        self.segments.retain(|segment| keep && segment.due <= now);
        self.queued = self.segments.iter().map(|segment| segment.bytes.len() - segment.read).sum();
        self.end = Some((due, End::Reset));
    }

    /// The end, once nothing is left to read before it.
    pub fn ended(&self, now: Instant) -> Option<End> {
        let (due, end) = self.end?;
        (due <= now && self.segments.is_empty()).then_some(end)
    }

    /// The end that was decided, wherever it is on its way.
    pub fn ending(&self) -> Option<End> {
        self.end.map(|(_, end)| end)
    }
}

/// Delay between two hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latency {
    /// Always.
    pub base: Duration,
    /// Up to this much more, drawn for each write.
    pub jitter: Duration,
}

/// One connection.
#[derive(Debug)]
pub struct Link {
    /// Bytes on their way to the broker.
    pub to_broker: Pipe,
    /// Bytes on their way to the client.
    pub to_client: Pipe,
    /// Who dialled.
    pub client: u32,
    /// Who the broker is told it is.
    pub address: PeerAddress,
    /// The shard that last used it, or whose listener has it.
    pub shard: u8,
    /// Where it was dialled.
    pub listener: ListenerId,
    /// Its delay.
    pub latency: Latency,
    /// Descriptor on the broker's side while open there.
    pub descriptor: Option<i32>,
    /// Refused before anybody accepted it.
    pub refused: bool,
    /// The broker has ended both directions.
    pub broker_shut: bool,
    /// The broker gave its end back.
    pub broker_closed: bool,
    /// The client is gone.
    pub client_closed: bool,
    /// Torn down once this many bytes were carried, both directions together.
    pub reset_after: Option<u64>,
    /// Bytes carried.
    pub carried: u64,
    /// Nothing arrives before this: a partition.
    pub stalled_until: Instant,
}

impl Link {
    /// The pipe that `side` writes to.
    pub const fn outgoing(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Client => &mut self.to_broker,
            Side::Broker => &mut self.to_client,
        }
    }

    /// The pipe that `side` reads from.
    pub const fn incoming(&mut self, side: Side) -> &mut Pipe {
        self.outgoing(side.other())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_when_due_and_the_end_comes_last() {
        let mut pipe = Pipe::new(10);
        assert_eq!(pipe.write(Instant(50), b"abc"), (3, Instant(50)));
        assert_eq!(pipe.write(Instant(40), b"de"), (2, Instant(50)), "later bytes never overtake");
        pipe.finish(Instant(45));
        let mut out = [0; 8];
        assert_eq!((pipe.read(Instant(49), &mut out), pipe.ended(Instant(49))), (0, None));
        assert_eq!((pipe.read(Instant(50), &mut out[..4]), pipe.ended(Instant(50))), (4, None));
        assert_eq!((pipe.read(Instant(50), &mut out[4..]), &out[..5]), (1, &b"abcde"[..]));
        assert_eq!(pipe.ended(Instant(50)), Some(End::Fin));
    }

    #[test]
    fn a_full_pipe_takes_what_fits_until_the_reader_makes_room() {
        let mut pipe = Pipe::new(4);
        assert_eq!(pipe.write(Instant(0), b"abcdef").0, 4);
        assert_eq!(pipe.write(Instant(0), b"ef").0, 0);
        assert_eq!((pipe.read(Instant(0), &mut [0; 3]), pipe.room()), (3, 3));
    }

    #[test]
    fn a_reset_loses_what_was_on_its_way() {
        let mut pipe = Pipe::new(100);
        pipe.write(Instant(10), b"here");
        pipe.write(Instant(90), b"never");
        pipe.reset(Instant(20), Instant(30), true);
        assert_eq!(pipe.ended(Instant(30)), None, "what arrived is read first");
        assert_eq!(pipe.read(Instant(99), &mut [0; 20]), 4);
        assert_eq!(pipe.ended(Instant(30)), Some(End::Reset));
        assert_eq!(pipe.room(), 0);
    }
}
