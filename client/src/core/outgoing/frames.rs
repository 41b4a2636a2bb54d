//! From messages to frames: what is small shares one with its neighbours, what is large is cut.

use std::ops::Range;

use bytes::Bytes;
use laneway_proto::frame::batch;
use laneway_proto::frame::extensions::{MESSAGE_OPTIONS_BYTES_MAX, MessageOptions, Src};
use laneway_proto::frame::fragment::Cutter;
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::limits::{BATCH_MESSAGES_MAX, EXTENSION_BYTES, HEADER_BYTES};

use super::lanes::{Begins, Tail};
use super::{Outgoing, Shape, WOVEN_BYTES_MIN};
use crate::core::interner::TopicId;
use crate::core::transmit::Transmit;
use crate::payload::Payload;
use crate::publish_options::PublishOptions;

/// Bytes a frame grows by when it turns from PUB into BATCH, the new message not counted.
const BATCH_TURN_BYTES: usize = batch::BATCH_PREFIX_BYTES + batch::BATCH_ITEM_PREFIX_BYTES;

/// What stands in front of a message's payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) topic: TopicId,
    pub(super) options: PublishOptions,
    pub(super) seq: u32,
    /// Sessions that are to receive it before it counts as delivered; 0: nobody wants to know.
    pub(super) receivers: u16,
    /// Messages may be added to its frame.
    pub(super) grows: bool,
}

impl Form {
    fn message_options(&self, is_cut: bool) -> MessageOptions {
        // SRC alone asks for one session, but not on a fragment.
        let receivers = (self.receivers > 1 || self.receivers == 1 && is_cut).then_some(self.receivers);
        MessageOptions { receivers, ..self.options.message_options() }
    }

    /// SRC is part of it on every fragment anyway.
    fn header(&self, message_options: MessageOptions, body_bytes: usize) -> Header {
        let mut flags = Flags::default();
        let parts = [
            (self.options.ts_ns.is_some(), Flags::TS),
            (self.receivers > 0, Flags::SRC),
            (message_options != MessageOptions::default(), Flags::XHDR),
        ];
        for (_, flag) in parts.into_iter().filter(|(given, _)| *given) {
            flags = flags.with(flag);
        }
        let (topic, lane) = (self.topic.wire(), self.options.lane.number());
        Header { topic, lane, seq: self.seq, flags, ..Header::new(Kind::PUB, body_bytes) }
    }

    fn begins(&self) -> Begins {
        if self.receivers > 0 { Begins::Confirmed } else { Begins::Messages(1) }
    }
}

/// Where payload bytes come from.
enum Source<'a> {
    Copied(&'a [u8]),
    Woven(Bytes),
}

impl Source<'_> {
    fn put(&self, range: Range<usize>, transmit: &mut Transmit) {
        match self {
            Source::Copied(bytes) => transmit.inline.extend_from_slice(&bytes[range]),
            Source::Woven(bytes) => transmit.weave(bytes.slice(range)),
        }
    }
}

impl Outgoing {
    /// Puts one message in as many frames as it needs behind what waits on its lane.
    pub(super) fn put(&mut self, form: Form, payload: &mut Payload<'_>, shape: Shape) {
        let xhdr_bytes = form.message_options(false).encode(&mut [0; MESSAGE_OPTIONS_BYTES_MAX]).len();
        let ts_bytes = if form.options.ts_ns.is_some() { EXTENSION_BYTES } else { 0 };
        let src_bytes = if form.receivers > 0 { EXTENSION_BYTES } else { 0 };
        if HEADER_BYTES + ts_bytes + src_bytes + xhdr_bytes + payload.len() <= shape.frame_bytes_max {
            self.whole(form, payload);
        } else {
            self.fragments(form, payload, shape.fragment_bytes);
        }
    }

    /// Adds a message to the last frame of its lane, if that is of the same topic and has room.
    pub(super) fn grow_tail(
        &mut self,
        topic: TopicId,
        options: PublishOptions,
        payload: &[u8],
        frame_bytes_max: usize,
    ) -> bool {
        let grow = |tail: &mut Tail, inline: &mut Vec<u8>| {
            let turn_bytes = if tail.count == 1 { BATCH_TURN_BYTES } else { 0 };
            let frame_bytes = inline.len() - tail.at + turn_bytes + batch::BATCH_ITEM_PREFIX_BYTES + payload.len();
            if tail.topic != topic || frame_bytes > frame_bytes_max || tail.count == BATCH_MESSAGES_MAX {
                return false;
            }
            if tail.count == 1 {
                turn_into_batch(inline, tail.at);
            }
            tail.count += 1;
            inline.extend_from_slice(&(payload.len() as u16).to_le_bytes());
            inline.extend_from_slice(payload);
            inline[tail.at..tail.at + 2].copy_from_slice(&(frame_bytes as u16).to_le_bytes());
            let body = tail.at + HEADER_BYTES;
            inline[body..body + 2].copy_from_slice(&tail.count.to_le_bytes());
            true
        };
        self.lanes.grow(options.lane.number(), grow)
    }

    /// One message in one PUB frame.
    fn whole(&mut self, form: Form, payload: &mut Payload<'_>) {
        let bytes = payload.len();
        let ts = form.options.ts_ns.map(u64::to_le_bytes);
        let ts: &[u8] = ts.as_ref().map_or(&[], |ts| ts);
        let src = Src { origin: self.origin, seq: form.seq }.encode();
        let src: &[u8] = if form.receivers > 0 { &src } else { &[] };
        let mut block = [0; MESSAGE_OPTIONS_BYTES_MAX];
        let message_options = form.message_options(false);
        let xhdr = message_options.encode(&mut block);
        let header = form.header(message_options, ts.len() + src.len() + xhdr.len() + bytes);
        let tail = form.grows.then_some(form.topic);
        self.lanes.put(form.options.lane.number(), form.begins(), tail, |transmit| {
            for part in [&header.encode()[..], ts, src, xhdr] {
                transmit.inline.extend_from_slice(part);
            }
            let owned = if bytes >= WOVEN_BYTES_MIN { payload.take_owned() } else { None };
            match owned {
                Some(owned) => transmit.weave(owned),
                None => transmit.inline.extend_from_slice(payload.as_slice()),
            }
        });
    }

    /// One message in several PUB frames; all carry the message's own number.
    fn fragments(&mut self, form: Form, payload: &mut Payload<'_>, fragment_bytes: u32) {
        let total_bytes = payload.len() as u32;
        let owned = payload.take_owned();
        let source = match owned {
            Some(owned) => Source::Woven(owned),
            None => Source::Copied(payload.as_slice()),
        };
        let ts = form.options.ts_ns.map(u64::to_le_bytes);
        let ts: &[u8] = ts.as_ref().map_or(&[], |ts| ts);
        let mut block = [0; MESSAGE_OPTIONS_BYTES_MAX];
        let message_options = form.message_options(true);
        let xhdr = message_options.encode(&mut block);
        for (frag, range) in Cutter::new(total_bytes, fragment_bytes).into_iter().flatten() {
            let extension_bytes = ts.len() + 2 * EXTENSION_BYTES + xhdr.len();
            let plain = form.header(message_options, extension_bytes + range.len());
            let header = Header { flags: plain.flags.with(Flags::FRAG).with(Flags::SRC), ..plain };
            let src = Src { origin: self.origin, seq: header.seq }.encode();
            let begins = if frag.index == 0 { form.begins() } else { Begins::Nothing };
            self.lanes.put(header.lane, begins, None, |transmit| {
                for part in [&header.encode()[..], ts, &frag.encode(), &src, xhdr] {
                    transmit.inline.extend_from_slice(part);
                }
                source.put(range, transmit);
            });
        }
    }
}

/// Makes room for count and length in front of a lone message and relabels its frame.
fn turn_into_batch(inline: &mut Vec<u8>, at: usize) {
    let body = at + HEADER_BYTES;
    let [l0, l1] = ((inline.len() - body) as u16).to_le_bytes();
    let [c0, c1, r0, r1] = batch::prefix(1);
    inline.splice(body..body, [c0, c1, r0, r1, l0, l1]);
    inline[at + 2] = Kind::BATCH.0;
}
