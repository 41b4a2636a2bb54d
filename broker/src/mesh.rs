//! Bounded queues between shards, and the wake-up of a shard that sleeps.
//!
//! Each ordered pair of shards has one link: a queue of [`Envelope`]s one way, and a queue of empty chunks the other
//! way. A run that crosses is copied once, into the chunk that is open towards that shard; a chunk is sent once a turn or
//! when it is full. Chunks are a pair's credit: when none is left, the publisher waits until one came home.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use crossbeam_queue::ArrayQueue;
use laneway_proto::control::{Hello, Sample};
use laneway_proto::error::CloseCode;
use laneway_proto::limits::{FRAME_BYTES_MAX, NODE_ID_BYTES};

use crate::io::{ListenerId, PeerAddress, Socket};
use crate::pool::{Piece, Pool};
use crate::slab::Key;

/// Shards a broker may have; their numbers fit a session id's low byte and a route's bit set.
pub const SHARDS_MAX: u8 = crate::config::SHARDS_MAX as u8;
/// Envelopes one link holds; more wait in the sender's own memory, which only control messages can cause.
const LINK_ENVELOPES_MAX: usize = 1_024;
/// Bytes in front of each run inside a chunk.
pub const RECORD_BYTES: usize = 44;
/// Bytes of a chunk: room for the largest frame and its record, and for a run as large as an ingress buffer.
pub const CHUNK_BYTES: usize = 68 * 1024;

const _: () = assert!(CHUNK_BYTES >= FRAME_BYTES_MAX + RECORD_BYTES, "any frame crosses in one chunk");

/// A connection on its way from the accepting shard to its owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handover {
    /// The connected socket.
    pub socket: Socket,
    /// Who is on the other side.
    pub address: PeerAddress,
    /// Where it connected.
    pub listener: ListenerId,
    /// Set if the session has to be refused: too many connections.
    pub refused: Option<CloseCode>,
}

/// A connection whose client asks for a session of the receiver, on its way there. Its preface and HELLO were read.
#[derive(Clone, PartialEq, Debug)]
pub struct Arrival {
    /// The connection.
    pub handover: Handover,
    /// The shard that it was counted for.
    pub from: u8,
    /// Its HELLO, which was found to be in order.
    pub hello: Hello,
    /// What arrived behind that.
    pub unread: Vec<u8>,
}

/// What one shard tells another.
#[derive(Debug)]
pub enum Envelope {
    /// Runs for local subscribers, `len` bytes of records.
    Runs {
        /// The memory; goes home when the last subscriber's send is over.
        chunk: Box<[u8]>,
        /// Bytes filled.
        len: u32,
    },
    /// A session of the sender subscribed or unsubscribed.
    Interest {
        /// The filter.
        filter: Arc<str>,
        /// Subscribed, or unsubscribed.
        add: bool,
        /// Answered by [`Envelope::InterestDone`] with the same number.
        ticket: u64,
    },
    /// Answered by [`Envelope::InterestDone`] behind everything that the receiver had sent before.
    Ask {
        /// With the same number.
        ticket: u64,
    },
    /// The receiver's subscription is in effect here.
    InterestDone {
        /// Of the request.
        ticket: u64,
    },
    /// An outbox here is full: stop this lane of a publisher of yours.
    Block {
        /// The publisher's connection on the receiving shard.
        publisher: Key,
        /// The lane it publishes on.
        lane: u8,
    },
    /// Sessions here have received publishes of yours that are to be confirmed.
    Received(Vec<Receipt>),
    /// That outbox has drained.
    Unblock {
        /// The publisher's connection on the receiving shard.
        publisher: Key,
        /// The lane it publishes on.
        lane: u8,
    },
    /// Tell me what you count.
    StatsAsk {
        /// Of the question.
        ticket: u64,
        /// What the names of the samples asked for begin with.
        selector: Arc<str>,
    },
    /// That is what I count.
    StatsTold {
        /// Of the question.
        ticket: u64,
        /// A bounded number of samples.
        samples: Vec<Sample>,
    },
    /// A publisher that has begun large messages to be kept is gone.
    Abandoned {
        /// Its connection on the sending shard.
        publisher: Key,
    },
    /// A process of a node has begun a session: those of its earlier processes are over.
    Node {
        /// The node.
        node_id: [u8; NODE_ID_BYTES],
        /// Of that process.
        epoch: u64,
    },
    /// A connection to own from now on.
    Connection(Handover),
    /// A connection that goes on with a session of yours.
    Arrival(Box<Arrival>),
    /// A connection that was counted for another shard is the sender's from now on.
    Moved {
        /// That shard.
        from: u8,
    },
    /// A connection that was handed over has ended.
    Left {
        /// Where it had connected.
        listener: ListenerId,
        /// Whether it had been refused.
        refused: bool,
    },
    /// Shutting down: no more runs will come from this shard.
    Drained,
}

/// One session has received one publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The publisher's connection on the receiving shard.
    pub publisher: Key,
    /// The lane it published on.
    pub lane: u8,
    /// What the publish is known by there.
    pub ticket: u32,
}

/// What stands in front of each run in a chunk.
///
/// ```text
///  0        4       8        12       16                     24     25       26  28    32       36      44
///  |  topic | bytes | frames | messages | origin slot, generation | lane | asks | 0 | ttl | ticket | stamp |
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Broker-wide topic id.
    pub topic: u32,
    /// Bytes of frames that follow.
    pub bytes: u32,
    /// Frames.
    pub frames: u32,
    /// Messages.
    pub messages: u32,
    /// The publisher's connection on the sending shard.
    pub origin: Key,
    /// Lane.
    pub lane: u8,
    /// Milliseconds, as in the run's description.
    pub ttl_ms: u32,
    /// What the run is known by at its publisher, who wants to know when it is received; 0 for a part of a message.
    pub ticket: Option<u32>,
    /// If it is to be kept as its topic's last value: its place in the order of those; else 0.
    pub stamp: u64,
}

impl Record {
    fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let words = [self.topic, self.bytes, self.frames, self.messages, self.origin.slot, self.origin.generation];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes[24] = self.lane;
        bytes[25] = u8::from(self.ticket.is_some());
        bytes[28..32].copy_from_slice(&self.ttl_ms.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.ticket.unwrap_or(0).to_le_bytes());
        bytes[36..].copy_from_slice(&self.stamp.to_le_bytes());
        bytes
    }

    /// Reads the record at the front of `bytes`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let record = bytes.first_chunk::<RECORD_BYTES>()?;
        let word = |at: usize| u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
        Some(Self {
            topic: word(0),
            bytes: word(4),
            frames: word(8),
            messages: word(12),
            origin: Key { slot: word(16), generation: word(20) },
            lane: record[24],
            ttl_ms: word(28),
            ticket: (record[25] != 0).then(|| word(32)),
            stamp: u64::from(word(36)) | u64::from(word(40)) << 32,
        })
    }
}

/// One direction between two shards.
#[derive(Debug)]
struct Link {
    envelopes: ArrayQueue<Envelope>,
    /// Empty chunks on their way back to the sender.
    home: ArrayQueue<Box<[u8]>>,
    /// The sender waits for a chunk and may sleep.
    sender_waits: AtomicBool,
}

/// The sending end of a link.
#[derive(Debug)]
struct Outgoing {
    link: Arc<Link>,
    /// Did not fit the link yet.
    waiting: VecDeque<Envelope>,
    /// The chunk being filled, and how far.
    open: Option<(Box<[u8]>, usize)>,
    chunks_made: u32,
    /// Something was sent since the last doorbell.
    rung: bool,
}

/// One shard's ends of all links.
#[derive(Debug)]
pub struct Mesh {
    shard: u8,
    incoming: Vec<Arc<Link>>,
    outgoing: Vec<Outgoing>,
    sleeping: Arc<[AtomicBool]>,
    /// Counts what the whole broker was asked to keep.
    stamps: Arc<AtomicU64>,
    chunks_max: u32,
}

/// Wires `shards` shards with each other. `chunks_max` bounds the chunks of each ordered pair.
pub fn wire(shards: u8, chunks_max: u32) -> Vec<Mesh> {
    assert!((1..=SHARDS_MAX).contains(&shards), "a broker has 1 to {SHARDS_MAX} shards");
    let link = || {
        Arc::new(Link {
            envelopes: ArrayQueue::new(LINK_ENVELOPES_MAX),
            home: ArrayQueue::new(chunks_max.max(1) as usize),
            sender_waits: AtomicBool::new(false),
        })
    };
    // links[from][to]
    let links: Vec<Vec<Arc<Link>>> = (0..shards).map(|_| (0..shards).map(|_| link()).collect()).collect();
    let sleeping: Arc<[AtomicBool]> = (0..shards).map(|_| AtomicBool::new(false)).collect();
    let stamps = Arc::new(AtomicU64::new(0));
    (0..shards)
        .map(|shard| Mesh {
            shard,
            incoming: links.iter().map(|row| Arc::clone(&row[usize::from(shard)])).collect(),
            outgoing: links[usize::from(shard)]
                .iter()
                .map(|link| Outgoing {
                    link: Arc::clone(link),
                    waiting: VecDeque::new(),
                    open: None,
                    chunks_made: 0,
                    rung: false,
                })
                .collect(),
            sleeping: Arc::clone(&sleeping),
            stamps: Arc::clone(&stamps),
            chunks_max,
        })
        .collect()
}

impl Mesh {
    /// Shards in the broker.
    pub fn shards(&self) -> u8 {
        self.outgoing.len() as u8
    }

    /// This shard's number.
    pub const fn shard(&self) -> u8 {
        self.shard
    }

    /// Chunks of each ordered pair at most.
    pub const fn chunks_max(&self) -> u32 {
        self.chunks_max
    }

    /// The other shards.
    pub fn others(&self) -> impl Iterator<Item = u8> + use<> {
        let me = self.shard;
        (0..self.shards()).filter(move |&shard| shard != me)
    }

    /// The other shards, a bit each.
    pub fn others_set(&self) -> u64 {
        u64::MAX >> (64 - u32::from(self.shards())) & !(1 << self.shard)
    }

    /// The next place, from 1, in the order of everything that any shard was asked to keep. A value that was accepted
    /// before another one was published has the lower place, whichever shards took them.
    pub fn next_stamp(&self) -> u64 {
        self.stamps.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Leaves an envelope for another shard; it is on its way after [`Self::flush`].
    pub fn post(&mut self, to: u8, envelope: Envelope) {
        self.outgoing[usize::from(to)].post(envelope);
    }

    /// Leaves an envelope behind every run that was pushed before.
    pub fn post_last(&mut self, to: u8, envelope: Envelope) {
        let outgoing = &mut self.outgoing[usize::from(to)];
        outgoing.close_chunk();
        outgoing.post(envelope);
    }

    /// Whether a run of `bytes` can cross to `to` now. If not, the shard is woken once it can.
    pub fn has_room(&mut self, to: u8, bytes: usize) -> bool {
        let chunks_max = self.chunks_max;
        self.outgoing[usize::from(to)].open_for(RECORD_BYTES + bytes, chunks_max)
    }

    /// Copies a run towards another shard. The caller has asked [`Self::has_room`] for it.
    pub fn push_run(&mut self, to: u8, record: &Record, head: &[u8], pieces: &[Piece], pool: &mut Pool) {
        let outgoing = &mut self.outgoing[usize::from(to)];
        let (chunk, filled) = outgoing.open.as_mut().expect("has_room opened a chunk");
        let mut put = |bytes: &[u8]| {
            chunk[*filled..*filled + bytes.len()].copy_from_slice(bytes);
            *filled += bytes.len();
        };
        put(&record.encode());
        put(head);
        for &piece in pieces {
            put(pool.piece(piece));
        }
        pool.on_copied(record.bytes as usize);
    }

    /// Sends open chunks and waiting envelopes; returns the shards that have to be woken.
    pub fn flush(&mut self) -> u64 {
        let mut wake = 0;
        for (to, outgoing) in self.outgoing.iter_mut().enumerate() {
            outgoing.close_chunk();
            outgoing.push_waiting();
            if std::mem::take(&mut outgoing.rung) && rouse(&self.sleeping[to]) {
                wake |= 1 << to;
            }
        }
        wake
    }

    /// The next envelope from another shard, fairly at most `budget` each.
    pub fn receive(&self, from: u8) -> Option<Envelope> {
        self.incoming[usize::from(from)].envelopes.pop()
    }

    /// Sends an empty chunk home; true if its owner has to be woken.
    pub fn send_home(&self, to: u8, chunk: Box<[u8]>) -> bool {
        let link = &self.incoming[usize::from(to)];
        // The queue has a place for every chunk there is.
        let overflow = link.home.push(chunk);
        debug_assert!(overflow.is_ok(), "more chunks came home than were made");
        fence(Ordering::SeqCst);
        link.sender_waits.load(Ordering::Relaxed) && rouse(&self.sleeping[usize::from(to)])
    }

    /// Whether all that was posted has been taken over by the links.
    pub fn is_flushed(&self) -> bool {
        self.outgoing.iter().all(|outgoing| {
            outgoing.waiting.is_empty() && outgoing.open.as_ref().is_none_or(|(_, filled)| *filled == 0)
        })
    }

    /// Announces sleep. False if something arrived meanwhile: then the shard must not sleep.
    pub fn prepare_sleep(&self) -> bool {
        let flag = &self.sleeping[usize::from(self.shard)];
        flag.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let arrived = self.incoming.iter().any(|link| !link.envelopes.is_empty());
        let came_home =
            self.outgoing.iter().any(|out| out.link.sender_waits.load(Ordering::Relaxed) && !out.link.home.is_empty());
        let stuck = self.outgoing.iter().any(|out| !out.waiting.is_empty() && !out.link.envelopes.is_full());
        if arrived || came_home || stuck {
            flag.store(false, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// The shard is awake. Whoever waits for a chunk tries again in every turn and announces it anew; an announcement of
    /// somebody who is gone would keep the shard from ever sleeping again.
    pub fn on_awake(&self) {
        self.sleeping[usize::from(self.shard)].store(false, Ordering::Relaxed);
        for outgoing in &self.outgoing {
            outgoing.link.sender_waits.store(false, Ordering::Relaxed);
        }
    }

    /// Whether envelopes are stuck because a link is full: then the shard must not sleep for good.
    pub fn is_stuck(&self) -> bool {
        self.outgoing.iter().any(|out| !out.waiting.is_empty())
    }
}

fn rouse(sleeping: &AtomicBool) -> bool {
    fence(Ordering::SeqCst);
    sleeping.load(Ordering::Relaxed) && sleeping.swap(false, Ordering::SeqCst)
}

impl Outgoing {
    fn post(&mut self, envelope: Envelope) {
        self.rung = true;
        self.waiting.push_back(envelope);
    }

    fn push_waiting(&mut self) {
        while let Some(envelope) = self.waiting.pop_front() {
            self.rung = true;
            if let Err(envelope) = self.link.envelopes.push(envelope) {
                self.waiting.push_front(envelope);
                return;
            }
        }
    }

    fn close_chunk(&mut self) {
        match self.open.take() {
            Some((chunk, 0)) => self.open = Some((chunk, 0)),
            Some((chunk, len)) => self.post(Envelope::Runs { chunk, len: len as u32 }),
            None => {}
        }
    }

    fn open_for(&mut self, bytes: usize, chunks_max: u32) -> bool {
        if let Some((_, filled)) = &self.open
            && filled + bytes > CHUNK_BYTES
        {
            self.close_chunk();
        }
        if self.open.is_some() {
            return true;
        }
        // Announce the wait before looking, so that a chunk that comes home meanwhile wakes us.
        self.link.sender_waits.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let chunk = match self.link.home.pop() {
            Some(chunk) => chunk,
            None if self.chunks_made < chunks_max => {
                self.chunks_made += 1;
                vec![0; CHUNK_BYTES].into_boxed_slice()
            }
            None => return false,
        };
        self.link.sender_waits.store(false, Ordering::Relaxed);
        self.open = Some((chunk, 0));
        true
    }
}

#[cfg(test)]
mod tests;
