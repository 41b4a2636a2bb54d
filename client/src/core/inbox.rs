//! Received messages that wait for their subscriber, still packed as they arrived.
//!
//! The reader only walks over frames; batches are opened by whoever consumes them, message by message.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use laneway_proto::frame::batch;
use laneway_proto::frame::extensions::Extensions;
use laneway_proto::frame::lost::LOST_FRAME_BYTES;
use laneway_proto::header::{Header, Kind, seq_after};
use laneway_proto::limits::HEADER_BYTES;
use laneway_proto::wire::Reader;

use super::credit::Charge;
use crate::item::{Item, LossReport};
use crate::lane::Lane;
use crate::message::Message;

/// A queue of received messages and reports of lost ones. It grows with what is put in; its owner keeps the bound.
#[derive(Debug, Default)]
pub struct Inbox {
    parcels: VecDeque<Parcel>,
    /// A batch that is being unpacked; it precedes the parcels.
    open: Option<OpenBatch>,
    messages: usize,
    reports: usize,
    bytes: usize,
    lost: u64,
    credit_due: bool,
}

/// Consecutive messages of one topic.
#[derive(Clone, Debug)]
pub(super) enum Parcel {
    /// Whole, checked data frames without fragments.
    Frames { topic: Arc<str>, frames: Bytes, messages: usize, charge: Option<Charge> },
    /// A message that was put together from fragments, or one that was kept.
    Whole(Message, Option<Charge>),
    /// Messages that were dropped between what precedes and what follows.
    Lost(LossReport),
}

#[derive(Debug)]
struct OpenBatch {
    topic: Arc<str>,
    lane: Lane,
    seq: u32,
    ts_ns: Option<u64>,
    items: Bytes,
    charge: Option<Charge>,
}

impl Parcel {
    fn messages(&self) -> usize {
        match self {
            Self::Frames { messages, .. } => *messages,
            Self::Whole(..) => 1,
            Self::Lost(_) => 0,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Frames { frames, .. } => frames.len(),
            Self::Whole(message, _) => message.payload.len(),
            // As it arrived: reports that nobody takes fill a queue, too.
            Self::Lost(_) => LOST_FRAME_BYTES,
        }
    }
}

impl Inbox {
    /// Messages waiting.
    pub const fn len(&self) -> usize {
        self.messages
    }

    /// Whether neither a message nor a report waits.
    pub const fn is_empty(&self) -> bool {
        self.messages == 0 && self.reports == 0
    }

    /// Bytes of the frames that hold them.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, parcel: Parcel) {
        self.messages += parcel.messages();
        self.reports += usize::from(matches!(parcel, Parcel::Lost(_)));
        self.bytes += parcel.bytes();
        self.parcels.push_back(parcel);
    }

    /// Moves everything from `other` behind what is here. Cheap when this one is empty: they trade places.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            let charge = self.open.take().and_then(|open| open.charge);
            self.settle(charge);
            std::mem::swap(self, other);
            std::mem::swap(&mut self.lost, &mut other.lost);
            self.credit_due |= other.take_credit_due();
            return;
        }
        debug_assert!(other.open.is_none(), "only the consumer opens batches");
        self.messages += std::mem::take(&mut other.messages);
        self.reports += std::mem::take(&mut other.reports);
        self.bytes += std::mem::take(&mut other.bytes);
        self.parcels.append(&mut other.parcels);
    }

    /// Messages that the reports taken from here so far speak of.
    pub const fn lost_messages(&self) -> u64 {
        self.lost
    }

    /// The next message; reports in front of it are counted and passed over.
    pub fn pop(&mut self) -> Option<Message> {
        loop {
            if let Item::Message(message) = self.pop_item()? {
                return Some(message);
            }
        }
    }

    /// The next message or report.
    pub fn pop_item(&mut self) -> Option<Item> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(message) = open.next() {
                    self.messages -= 1;
                    return Some(Item::Message(message));
                }
                let charge = self.open.take().and_then(|open| open.charge);
                self.settle(charge);
            }
            match self.parcels.front_mut()? {
                Parcel::Whole(..) => {
                    let Some(Parcel::Whole(message, charge)) = self.parcels.pop_front() else { continue };
                    self.messages -= 1;
                    self.bytes -= message.payload.len();
                    self.settle(charge);
                    return Some(Item::Message(message));
                }
                Parcel::Lost(_) => {
                    let Some(Parcel::Lost(report)) = self.parcels.pop_front() else { continue };
                    self.reports -= 1;
                    self.bytes -= LOST_FRAME_BYTES;
                    self.lost += u64::from(report.messages);
                    return Some(Item::Lost(report));
                }
                Parcel::Frames { topic, frames, charge, .. } => {
                    let before = frames.len();
                    let opened = open_frame(topic, frames);
                    self.bytes -= before - frames.len();
                    let over = frames.is_empty().then(|| charge.take());
                    if over.is_some() {
                        self.parcels.pop_front();
                    }
                    match (opened, over) {
                        (Opened::One(message), over) => {
                            self.messages -= 1;
                            self.settle(over.flatten());
                            return Some(Item::Message(message));
                        }
                        (Opened::Batch(batch), over) => {
                            self.open = Some(OpenBatch { charge: over.flatten(), ..batch });
                        }
                    }
                }
            }
        }
    }
}

impl Inbox {
    fn settle(&mut self, charge: Option<Charge>) {
        self.credit_due |= charge.is_some_and(Charge::release);
    }

    /// Whether taking messages has made so much room since the last call that the broker is worth being told.
    pub const fn take_credit_due(&mut self) -> bool {
        std::mem::replace(&mut self.credit_due, false)
    }
}

enum Opened {
    One(Message),
    Batch(OpenBatch),
}

/// Takes the first frame off `frames`. They were checked on arrival, so nothing here can fail.
fn open_frame(topic: &Arc<str>, frames: &mut Bytes) -> Opened {
    let Some(Ok(header)) = frames.first_chunk::<HEADER_BYTES>().map(Header::decode) else {
        unreachable!("a parcel holds whole frames");
    };
    let len = usize::from(header.len);
    let mut frame = if len == frames.len() { std::mem::take(frames) } else { frames.split_to(len) };
    let mut ts_ns = None;
    let mut skip = HEADER_BYTES;
    if header.flags.0 != 0
        && let Ok((extensions, payload)) = Extensions::decode(header.flags, &frame[HEADER_BYTES..])
    {
        ts_ns = extensions.ts;
        skip = len - payload.len();
    }
    let lane = lane_of(&header);
    if header.kind == Kind::BATCH {
        frame.advance(skip + batch::BATCH_PREFIX_BYTES);
        return Opened::Batch(OpenBatch {
            topic: Arc::clone(topic),
            lane,
            seq: header.seq,
            ts_ns,
            items: frame,
            charge: None,
        });
    }
    frame.advance(skip);
    let topic = Arc::clone(topic);
    Opened::One(Message { topic, payload: frame, lane, seq: header.seq, ts_ns, retained: false })
}

/// The lane of a data frame that the session machine let through.
pub(super) fn lane_of(header: &Header) -> Lane {
    Lane::new(header.lane).unwrap_or_default()
}

impl OpenBatch {
    fn next(&mut self) -> Option<Message> {
        let len = usize::from(Reader::new(&self.items).u16()?);
        self.items.advance(batch::BATCH_ITEM_PREFIX_BYTES);
        let payload = if len == self.items.len() { std::mem::take(&mut self.items) } else { self.items.split_to(len) };
        let seq = self.seq;
        self.seq = seq_after(seq, 1);
        let topic = Arc::clone(&self.topic);
        Some(Message { topic, payload, lane: self.lane, seq, ts_ns: self.ts_ns, retained: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, seq: u32, body: &[u8]) -> Vec<u8> {
        let header = Header { topic: 9, lane: 1, seq, ..Header::new(kind, body.len()) };
        [&header.encode()[..], body].concat()
    }

    fn parcel(messages: usize, frames: Vec<u8>) -> Parcel {
        Parcel::Frames { topic: "a".into(), frames: frames.into(), messages, charge: None }
    }

    fn popped(inbox: &mut Inbox) -> Vec<(u32, Vec<u8>)> {
        std::iter::from_fn(|| inbox.pop()).map(|message| (message.seq, message.payload.to_vec())).collect()
    }

    #[test]
    fn frames_and_batches_come_out_in_order_with_their_numbers() {
        let mut inbox = Inbox::default();
        let frames = [
            frame(Kind::PUB, u32::MAX - 1, b"x"),
            frame(Kind::BATCH, u32::MAX, &[3, 0, 0, 0, 1, 0, b'y', 0, 0, 2, 0, b'z', b'!']),
            frame(Kind::PUB, 3, b""),
        ];
        inbox.push(parcel(5, frames.concat()));
        assert_eq!(inbox.len(), 5);
        let all = popped(&mut inbox);
        let expected: [(u32, &[u8]); 5] = [(u32::MAX - 1, b"x"), (u32::MAX, b"y"), (1, b""), (2, b"z!"), (3, b"")];
        assert_eq!(all, expected.map(|(seq, bytes)| (seq, bytes.to_vec())));
        assert_eq!((inbox.len(), inbox.bytes()), (0, 0));
    }

    #[test]
    fn appending_keeps_the_order_in_the_middle_of_a_batch() {
        let mut inbox = Inbox::default();
        inbox.push(parcel(2, frame(Kind::BATCH, 1, &[2, 0, 0, 0, 1, 0, b'a', 1, 0, b'b'])));
        assert_eq!(inbox.pop().map(|message| message.seq), Some(1));
        let mut more = Inbox::default();
        more.push(parcel(1, frame(Kind::PUB, 3, b"c")));
        inbox.append(&mut more);
        assert_eq!((inbox.len(), more.len()), (2, 0));
        assert_eq!(popped(&mut inbox), [(2, b"b".to_vec()), (3, b"c".to_vec())]);
        assert_eq!(inbox.bytes(), 0);
    }
}
