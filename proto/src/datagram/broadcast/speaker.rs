//! What its owner publishes, on its way to all: which topic it is about, its number in its stream, and its datagram.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::net::SocketAddr;

use super::Repair;
use super::name::with_name;
use super::packets::{Packet, Packets};
use super::source::{Again, Source};
use crate::datagram::header::{DatagramHeader, Form};
use crate::datagram::interest::topic_tag;
use crate::datagram::limits::DATAGRAM_HEADER_BYTES;
use crate::datagram::nak::Nak;
use crate::datagram::stream::cut;
use crate::frame::batch;
use crate::frame::extensions::Extensions;
use crate::header::{Flags, Header, Kind, seq_after};
use crate::lane::table::LaneTable;
use crate::limits::{EXTENSION_BYTES, HEADER_BYTES, LANE_CLASSES, TOPICS_PER_SESSION_MAX};
use crate::time::{Duration, Instant};

/// Frames at first that name their topic.
const NAMED_FRAMES: u8 = 3;
/// Milliseconds after which a topic is named again.
const NAMED_MS: u32 = 1_000;

/// A topic of the owner's numbering.
#[derive(Debug)]
struct Topic {
    name: String,
    tag: u32,
    /// Frames that named it, and when the last one did.
    named: u8,
    named_at: Instant,
}

impl Topic {
    /// Whether the next frame names it.
    fn is_due(&mut self, now: Instant) -> bool {
        let early = self.named < NAMED_FRAMES;
        let due = early || now.since(self.named_at) >= Duration::from_millis(NAMED_MS);
        if due {
            self.named_at = now;
            self.named = self.named.saturating_add(1);
        }
        due
    }
}

/// The sending half.
#[derive(Debug)]
pub(super) struct Speaker {
    sender: u32,
    epoch: u16,
    room: usize,
    lanes: LaneTable,
    topics: BTreeMap<u32, Topic>,
    /// The last number of each stream.
    streams: BTreeMap<(u32, u8), u32>,
    packets: Packets,
    number: u32,
    /// What is kept for repairs, where there are any.
    source: Option<Source>,
    /// Datagrams that repeat frames.
    pub(super) repairs: u64,
    /// Frames that could not be sent: of no topic, on no lane, or in too many fragments for theirs.
    pub(super) refused: u64,
}

impl Speaker {
    pub(super) fn new(
        sender: u32,
        epoch: u16,
        datagram_bytes: usize,
        lanes: LaneTable,
        repair: Option<(Repair, u64)>,
    ) -> Self {
        let room = datagram_bytes - DATAGRAM_HEADER_BYTES;
        Self {
            sender,
            epoch,
            room,
            lanes,
            topics: BTreeMap::new(),
            streams: BTreeMap::new(),
            packets: Packets::new(room),
            number: 0,
            source: repair.map(|(repair, bytes_per_s)| {
                Source::new(bytes_per_s.saturating_mul(repair.percent.into()) / 100, datagram_bytes)
            }),
            repairs: 0,
            refused: 0,
        }
    }

    /// The owner calls a topic by this number.
    pub(super) fn declare(&mut self, id: u32, name: &str) {
        if self.topics.len() < TOPICS_PER_SESSION_MAX as usize {
            let topic = Topic { name: name.into(), tag: topic_tag(name), named: 0, named_at: Instant(0) };
            self.topics.entry(id).or_insert(topic);
        }
    }

    /// A frame of the owner's stream. Batches of repaired lanes travel as their messages, so that what is lost can be counted.
    pub(super) fn take_data(&mut self, now: Instant, header: &Header, frame: &[u8]) {
        let is_reliable = self.lanes.get(header.lane).is_some_and(|lane| lane.kind.is_reliable());
        if header.kind == Kind::BATCH && is_reliable && self.source.is_some() {
            self.take_batch(now, header, frame);
        } else {
            self.take_frame(now, header, frame);
        }
    }

    fn take_batch(&mut self, now: Instant, header: &Header, frame: &[u8]) {
        let body = frame.get(HEADER_BYTES..).unwrap_or_default();
        let Ok((extensions, payload)) = Extensions::decode(header.flags, body) else { return };
        let Ok(messages) = batch::Messages::new(payload) else { return };
        let mut front = body.get(..body.len() - payload.len()).unwrap_or_default().to_vec();
        let mut flags = header.flags;
        if extensions.src.is_some() {
            // It names the first message only.
            let at = [Flags::TS, Flags::CORR].iter().filter(|flag| flags.has(**flag)).count() * EXTENSION_BYTES;
            front.drain(at..at + EXTENSION_BYTES);
            flags = Flags(flags.0 & !Flags::SRC.0);
        }
        for message in messages.flatten() {
            let alone = Header { kind: Kind::PUB, flags, ..*header };
            let frame = [&alone.encode()[..], &front, message].concat();
            self.take_frame(now, &alone, &frame);
        }
    }

    fn take_frame(&mut self, now: Instant, header: &Header, frame: &[u8]) {
        let Self { lanes, topics, streams, packets, source, room, refused, .. } = self;
        let (Some(topic), Some(lane)) = (topics.get_mut(&header.topic), lanes.get(header.lane)) else {
            *refused += 1;
            return;
        };
        let tag = topic.tag;
        let named = if topic.is_due(now) { with_name(header, frame, &topic.name) } else { None };
        let (header, frame) = named.as_ref().map_or((header, frame), |(header, frame)| (header, frame));
        let last = streams.entry((tag, header.lane)).or_insert(0);
        let mut put = |part: &Header, body: [&[u8]; 3]| {
            if part.kind == Kind::LOST {
                *refused += 1;
                return;
            }
            *last = seq_after(*last, 1);
            let len = HEADER_BYTES + body.iter().map(|piece| piece.len()).sum::<usize>();
            let flags = Flags(part.flags.0 & !(Flags::RETX.0 | Flags::MORE.0));
            let sent = Header { len: len as u16, flags, seq: *last, ..*part }.encode();
            if let Some(source) = source.as_mut().filter(|_| lane.kind.is_reliable()) {
                source.on_sent(now, (tag, part.lane), [&sent[..], body[0], body[1], body[2]].concat());
            }
            packets.push(lane.class, tag, [&sent, body[0], body[1], body[2]]);
        };
        cut(header, frame, *room, !lane.kind.is_reliable(), &mut put);
    }

    /// Bytes that wait to be sent.
    pub(super) const fn waiting_bytes(&self) -> usize {
        self.packets.bytes()
    }

    /// A receiver misses something.
    pub(super) fn on_nak(&mut self, now: Instant, from: SocketAddr, nak: Nak<'_>) {
        if let Some(source) = self.source.as_mut().filter(|_| nak.stream.sender == self.sender) {
            source.on_nak(now, from, nak);
        }
    }

    /// Whether so much is asked for by several that the rate should fall; told once a second.
    pub(super) fn poll_crowded(&mut self, now: Instant) -> Option<bool> {
        self.source.as_mut()?.poll_crowded(now)
    }

    /// Writes the next datagram that repeats something, or says how far a stream has come; its bytes, and to whom.
    pub(super) fn poll_again(&mut self, now: Instant, out: &mut [u8]) -> Option<(usize, Option<SocketAddr>)> {
        let all_left = self.packets.bytes() == 0;
        let Again { to, tag, frames, repairs } = self.source.as_mut()?.poll(now, self.room, all_left)?;
        self.repairs += u64::from(repairs);
        Some((self.seal(tag, &frames, out)?, to))
    }

    /// When [`Speaker::poll_again`] has something.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.source.as_ref()?.poll_timeout(now, self.packets.bytes() == 0)
    }

    /// Writes the next datagram to the front of `out`; its bytes.
    pub(super) fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let Packet { tag, frames } = self.packets.pop()?;
        if let Some(source) = &mut self.source {
            source.on_left(now, tag);
        }
        self.seal(tag, &frames, out)
    }

    /// A datagram of these frames.
    pub(super) fn seal(&mut self, tag: u32, frames: &[u8], out: &mut [u8]) -> Option<usize> {
        self.number = self.number.wrapping_add(1);
        let form = Form::Broadcast { tag, sender: self.sender };
        let header = DatagramHeader { form, ack_me: false, crc: false, epoch: self.epoch, number: self.number };
        let end = DATAGRAM_HEADER_BYTES + frames.len();
        out.get_mut(DATAGRAM_HEADER_BYTES..end)?.copy_from_slice(frames);
        Some(header.seal(out, end))
    }
}

const _: () = assert!(LANE_CLASSES == 8, "a class for each queue");
