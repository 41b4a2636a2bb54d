//! Pre-encoded writes: whole messages, numbered in place.

use laneway_proto::frame::batch::{BATCH_ITEM_PREFIX_BYTES, BATCH_PREFIX_BYTES, prefix};
use laneway_proto::frame::extensions::Src;
use laneway_proto::frame::fragment::Cutter;
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::limits::{
    BATCH_MESSAGES_MAX, FRAGMENT_BYTES_STREAM, FRAME_BYTES_MAX, HEADER_BYTES, TOPIC_ID_DYNAMIC_FIRST,
};

use super::{Envelope, Framing, LANE, NUMBER_BYTES, SINGLE_BYTES_MAX, Shape, WRITE_BYTES_MAX, last_byte};

/// Offset of `seq` in a header.
const SEQ_AT: usize = 12;
/// The origin of fragmented messages; one publisher needs no other.
const ORIGIN: u32 = 0x1A2B_3C4D;

/// One write of the publisher: whole messages whose number and `seq` change from write to write.
#[derive(Clone, Debug)]
pub struct Block {
    bytes: Vec<u8>,
    messages: u32,
    numbering: Numbering,
}

/// Where the numbers stand.
#[derive(Clone, Debug)]
enum Numbering {
    /// Every message has its number at one distance: `at + i * stride`.
    Plain { at: usize, stride: usize },
    /// `seq` and number stand side by side at `at + i * stride`.
    SeqAndNumber { at: usize, stride: usize },
    /// One frame a topic, each with every `frames`-th number.
    Batches { frame_bytes: usize, item_bytes: usize, items: u32, frames: u32 },
    /// Fragments of `message_bytes` in all; `seq` in each header and each source block.
    Pieces { message_bytes: usize, heads_at: Vec<usize> },
}

impl Block {
    /// Encodes as many messages as fit one write, a multiple of the topics and at least one for each.
    pub fn new(framing: Framing, shape: Shape) -> Self {
        let framed = shape.payload_bytes + overhead(framing, shape.payload_bytes);
        let fitting = (WRITE_BYTES_MAX - reserve(framing, shape.topics)) / framed;
        let fitting = u32::try_from(fitting).unwrap_or(u32::MAX);
        let bound = if framing == Framing::Batch { u32::from(BATCH_MESSAGES_MAX) * shape.topics } else { u32::MAX };
        let messages = (fitting.min(bound) / shape.topics).max(1) * shape.topics;
        Self::with_messages(framing, shape, messages)
    }

    /// Encodes `messages` messages, a multiple of the topics.
    pub fn with_messages(framing: Framing, shape: Shape, messages: u32) -> Self {
        assert!(messages > 0 && messages.is_multiple_of(shape.topics), "a block holds whole cycles of topics");
        assert!(shape.payload_bytes >= super::PAYLOAD_BYTES_MIN, "a payload holds its number and its last byte");
        let (bytes, numbering) = match framing {
            Framing::Relay | Framing::Index => relay(framing, shape, messages),
            Framing::Single if shape.payload_bytes > SINGLE_BYTES_MAX => pieces(shape, messages),
            Framing::Single => single(shape, messages),
            Framing::Batch => batches(shape, messages),
        };
        let mut block = Self { bytes, messages, numbering };
        block.number_from(1);
        block
    }

    /// Encodes `messages` messages of a peer's protocol to one topic, or as many as fit one write.
    pub fn enveloped(envelope: &Envelope, payload_bytes: usize, messages: Option<u32>) -> Self {
        let stride = envelope.message_bytes(payload_bytes);
        let fitting = u32::try_from(WRITE_BYTES_MAX / stride).unwrap_or(u32::MAX).max(1);
        let messages = messages.unwrap_or(fitting);
        let mut bytes = Vec::new();
        for slot in 0..messages {
            bytes.extend_from_slice(&envelope.head);
            push_payload(&mut bytes, payload_bytes, slot);
            bytes.extend_from_slice(envelope.tail);
        }
        let mut block = Self { bytes, messages, numbering: Numbering::Plain { at: envelope.head.len(), stride } };
        block.number_from(1);
        block
    }

    /// Messages in the block.
    pub const fn messages(&self) -> u32 {
        self.messages
    }

    /// The bytes to write.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Numbers the block's messages `first`, `first + 1` and so on.
    pub fn number_from(&mut self, first: u32) {
        let bytes = &mut self.bytes;
        match &self.numbering {
            Numbering::Plain { at, stride } => {
                for (place, number) in bytes[*at..].chunks_mut(*stride).zip(first..) {
                    place[..4].copy_from_slice(&number.to_le_bytes());
                }
            }
            Numbering::SeqAndNumber { at, stride } => {
                for (place, number) in bytes[*at..].chunks_mut(*stride).zip(first..) {
                    let both = u64::from(number) | u64::from(number) << 32;
                    place[..8].copy_from_slice(&both.to_le_bytes());
                }
            }
            Numbering::Batches { frame_bytes, item_bytes, items, frames } => {
                for (frame, topic) in bytes.chunks_exact_mut(*frame_bytes).zip(0..) {
                    let seq = first + topic * items;
                    frame[SEQ_AT..SEQ_AT + 4].copy_from_slice(&seq.to_le_bytes());
                    let body = &mut frame[HEADER_BYTES + BATCH_PREFIX_BYTES + BATCH_ITEM_PREFIX_BYTES..];
                    let mut number = first + topic;
                    for item in body.chunks_mut(*item_bytes) {
                        item[..4].copy_from_slice(&number.to_le_bytes());
                        number += frames;
                    }
                }
            }
            Numbering::Pieces { message_bytes, heads_at } => {
                for (message, number) in bytes.chunks_exact_mut(*message_bytes).zip(first..) {
                    let number = number.to_le_bytes();
                    for &head in heads_at {
                        message[head + SEQ_AT..head + SEQ_AT + 4].copy_from_slice(&number);
                        message[head + HEADER_BYTES + 12..head + HEADER_BYTES + 16].copy_from_slice(&number);
                    }
                    message[HEADER_BYTES + 16..HEADER_BYTES + 20].copy_from_slice(&number);
                }
            }
        }
    }
}

/// Bytes around one payload.
fn overhead(framing: Framing, payload_bytes: usize) -> usize {
    match framing {
        Framing::Relay => 4,
        Framing::Index => 8,
        Framing::Single if payload_bytes > SINGLE_BYTES_MAX => {
            payload_bytes.div_ceil(FRAGMENT_BYTES_STREAM) * (HEADER_BYTES + 16)
        }
        Framing::Single => HEADER_BYTES,
        Framing::Batch => BATCH_ITEM_PREFIX_BYTES,
    }
}

/// Bytes of a write that no payload gets: the heads of its batches, and the byte by which a frame stays below 64 KiB.
const fn reserve(framing: Framing, topics: u32) -> usize {
    match framing {
        Framing::Batch => topics as usize * (HEADER_BYTES + BATCH_PREFIX_BYTES) + (WRITE_BYTES_MAX - FRAME_BYTES_MAX),
        Framing::Relay | Framing::Index | Framing::Single => 0,
    }
}

fn push_payload(bytes: &mut Vec<u8>, payload_bytes: usize, slot: u32) {
    let end = bytes.len() + payload_bytes;
    bytes.resize(end, b'.');
    bytes[end - 1] = last_byte(slot);
}

fn relay(framing: Framing, shape: Shape, messages: u32) -> (Vec<u8>, Numbering) {
    let head = overhead(framing, shape.payload_bytes);
    let mut bytes = Vec::new();
    for slot in 0..messages {
        let len = (head - 4 + shape.payload_bytes) as u32;
        bytes.extend_from_slice(&len.to_le_bytes());
        if framing == Framing::Index {
            bytes.extend_from_slice(&(slot % shape.topics).to_le_bytes());
        }
        push_payload(&mut bytes, shape.payload_bytes, slot);
    }
    (bytes, Numbering::Plain { at: head, stride: head + shape.payload_bytes })
}

fn header(kind: Kind, body_bytes: usize, topic: u32) -> Header {
    Header { lane: LANE, topic: TOPIC_ID_DYNAMIC_FIRST + topic, ..Header::new(kind, body_bytes) }
}

fn single(shape: Shape, messages: u32) -> (Vec<u8>, Numbering) {
    let mut bytes = Vec::new();
    for slot in 0..messages {
        bytes.extend_from_slice(&header(Kind::PUB, shape.payload_bytes, slot % shape.topics).encode());
        push_payload(&mut bytes, shape.payload_bytes, slot);
    }
    (bytes, Numbering::SeqAndNumber { at: SEQ_AT, stride: HEADER_BYTES + shape.payload_bytes })
}

fn batches(shape: Shape, messages: u32) -> (Vec<u8>, Numbering) {
    let items = messages / shape.topics;
    let item_bytes = BATCH_ITEM_PREFIX_BYTES + shape.payload_bytes;
    let body_bytes = BATCH_PREFIX_BYTES + items as usize * item_bytes;
    let mut bytes = Vec::new();
    for topic in 0..shape.topics {
        bytes.extend_from_slice(&header(Kind::BATCH, body_bytes, topic).encode());
        bytes.extend_from_slice(&prefix(items as u16));
        for item in 0..items {
            bytes.extend_from_slice(&(shape.payload_bytes as u16).to_le_bytes());
            push_payload(&mut bytes, shape.payload_bytes, item * shape.topics + topic);
        }
    }
    let frame_bytes = HEADER_BYTES + body_bytes;
    (bytes, Numbering::Batches { frame_bytes, item_bytes, items, frames: shape.topics })
}

fn pieces(shape: Shape, messages: u32) -> (Vec<u8>, Numbering) {
    let mut bytes = Vec::new();
    let mut heads_at = Vec::new();
    for slot in 0..messages {
        let start = bytes.len();
        let mut payload = Vec::new();
        push_payload(&mut payload, shape.payload_bytes, slot);
        let cutter = Cutter::new(shape.payload_bytes as u32, FRAGMENT_BYTES_STREAM as u32);
        heads_at.clear();
        for (frag, range) in cutter.into_iter().flatten() {
            heads_at.push(bytes.len() - start);
            let plain = header(Kind::PUB, 16 + range.len(), slot % shape.topics);
            bytes.extend_from_slice(&Header { flags: Flags::FRAG.with(Flags::SRC), ..plain }.encode());
            bytes.extend_from_slice(&frag.encode());
            bytes.extend_from_slice(&Src { origin: ORIGIN, seq: 0 }.encode());
            bytes.extend_from_slice(&payload[range]);
        }
    }
    (bytes.clone(), Numbering::Pieces { message_bytes: bytes.len() / messages as usize, heads_at })
}

const _: () = assert!(NUMBER_BYTES == 4, "number_from writes four bytes");
