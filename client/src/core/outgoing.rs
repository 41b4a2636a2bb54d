//! The sending half of a session: numbers messages, declares topics, builds frames, and stops at its bounds.
//!
//! Consecutive messages of one topic and lane that wait together share a BATCH frame. Nothing ever waits *for* a
//! batch: a frame grows only while the socket is busy with what came before it.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use laneway_proto::control::{Body, Control, Goodbye};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::batch;
use laneway_proto::frame::extensions::{MESSAGE_OPTIONS_BYTES_MAX, MessageOptions, Src};
use laneway_proto::frame::fragment::Cutter;
use laneway_proto::frame::ping::{Ping, Pong};
use laneway_proto::header::{Flags, Header, Kind, seq_after};
use laneway_proto::limits::{BATCH_MESSAGES_MAX, EXTENSION_BYTES, HEADER_BYTES, LANES_MAX};
use laneway_proto::session::handshake::PREFACE;
use laneway_proto::time::Instant;

use super::interner::{Interner, TopicId};
use super::options::CoreOptions;
use super::pending::Pending;
use super::sent::Sent;
use super::terms::Terms;
use super::transmit::Transmit;
use crate::error::{PublishError, TryPublishError};
use crate::payload::Payload;
use crate::publish_options::PublishOptions;

/// Payload bytes up to which a message may share a frame.
pub const BATCH_ITEM_BYTES_MAX: usize = 4 * 1024;
/// Payload bytes from which an owned payload is written from where it is.
pub const WOVEN_BYTES_MIN: usize = 16 * 1024;

/// Bytes a frame grows by when it turns from PUB into BATCH, the new message not counted.
const BATCH_TURN_BYTES: usize = batch::BATCH_PREFIX_BYTES + batch::BATCH_ITEM_PREFIX_BYTES;

mod levels;
mod resume;

/// The sending half. Its owner takes what is ready with [`Outgoing::poll_transmit`] whenever the socket is free.
#[derive(Debug)]
pub struct Outgoing {
    ready: Transmit,
    ready_messages: usize,
    /// Of those, the ones that wait for receivers.
    ready_confirmed: usize,
    /// The last frame in `ready`, as long as it may grow.
    tail: Option<Tail>,
    seq_next: [u32; LANES_MAX],
    topics: Interner,
    /// `None` until the handshake is over.
    terms: Option<Terms>,
    origin: u32,
    bytes_max: usize,
    messages_max: usize,
    ping_last: u64,
    /// Messages taken, ever, but for those that are to be delivered: they have a fate of their own.
    published: u64,
    /// Of those, the first so many were accepted by the broker or have been reported as [`Outgoing::doubted`].
    settled: u64,
    /// What each unanswered PING stands behind: its number and `published` at that time.
    marks: VecDeque<(u64, u64)>,
    doubted: u64,
    /// Goodbye was said.
    leaving: bool,
    pending: Pending,
    /// The unanswered PING behind messages that are to be accepted.
    asked: Option<u64>,
    link_is_up: bool,
    /// What the newest broker takes.
    shape: Shape,
    /// How often what is ready was taken.
    takes: u64,
    /// The same when this link's handshake was over.
    takes_before: u64,
    resent: u64,
    /// Whether sessions are to outlive their links.
    resume: bool,
    /// What this session has sent and the broker has not counted, if it outlives its link.
    sent: Option<Box<Sent>>,
    /// While there is no link and the session may go on: what the writer was given last.
    parked: Option<Transmit>,
}

/// How large frames may be.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    frame_bytes_max: usize,
    fragment_bytes: u32,
}

impl Shape {
    const fn of(terms: &Terms) -> Self {
        Self { frame_bytes_max: terms.frame_bytes_max as usize, fragment_bytes: terms.fragment_bytes }
    }
}

/// What stands in front of a message's payload.
#[derive(Clone, Copy, Debug)]
struct Form {
    topic: TopicId,
    options: PublishOptions,
    seq: u32,
    /// Sessions that are to receive it before it counts as delivered; 0: nobody wants to know.
    receivers: u16,
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
}

/// Unanswered PINGs remembered; beyond it the newest stands for its neighbour, too.
const MARKS_MAX: usize = 2_048;

/// A frame of small messages at the end of what is ready.
#[derive(Clone, Copy, Debug)]
struct Tail {
    /// Where its header starts.
    at: usize,
    topic: TopicId,
    lane: u8,
    count: u16,
}

/// Where payload bytes come from.
enum Source<'a> {
    Copied(&'a [u8]),
    Woven(Bytes),
}

impl Outgoing {
    /// A half that has preface and HELLO ready.
    pub fn new(now: Instant, options: &CoreOptions) -> Self {
        let mut outgoing = Self {
            ready: Transmit::default(),
            ready_messages: 0,
            ready_confirmed: 0,
            tail: None,
            seq_next: [1; LANES_MAX],
            topics: Interner::default(),
            terms: None,
            origin: options.identity.origin,
            bytes_max: options.send_bytes_max,
            messages_max: options.send_messages_max.max(1),
            ping_last: 0,
            published: 0,
            settled: 0,
            marks: VecDeque::new(),
            doubted: 0,
            leaving: false,
            pending: Pending::default(),
            asked: None,
            link_is_up: true,
            shape: Shape::default(),
            takes: 0,
            takes_before: 0,
            resent: 0,
            resume: options.resume,
            sent: None,
            parked: None,
        };
        outgoing.ready.inline.extend_from_slice(&PREFACE);
        outgoing.control(&Control::new(Body::Hello(options.hello(now))));
        outgoing
    }

    /// The broker agreed: messages may be published from now on.
    pub fn on_welcome(&mut self, terms: Terms) {
        self.takes_before = self.takes;
        self.shape = Shape::of(&terms);
        self.sent = (self.resume && terms.resumes).then(|| Box::new(Sent::new()));
        self.terms = Some(terms);
    }

    /// Messages that were handed to the link and of which the broker has not said yet that it took them.
    pub const fn unconfirmed(&self) -> u64 {
        self.published - (self.ready_messages - self.ready_confirmed) as u64 - self.settled
    }

    /// Messages, ever, that a broken link left in doubt: the broker may or may not have taken each of them.
    pub const fn doubted(&self) -> u64 {
        self.doubted
    }

    /// Messages waiting to be taken.
    pub const fn waiting_messages(&self) -> usize {
        self.ready_messages
    }

    /// The broker answered a PING: it has taken everything in front of it. True if this half itself had asked.
    pub fn on_pong(&mut self, token: u64) -> bool {
        while let Some(&(asked, published)) = self.marks.front()
            && asked <= token
        {
            self.settled = self.settled.max(published);
            self.marks.pop_front();
        }
        self.pending.on_accepted(self.settled);
        let own = self.asked == Some(token);
        if self.asked.is_some_and(|asked| asked <= token) {
            self.asked = None;
            self.ask_what_is_accepted();
        }
        own
    }

    /// Bytes waiting to be taken.
    pub fn waiting_bytes(&self) -> usize {
        self.ready.len()
    }

    /// The id of a topic, for [`Outgoing::publish`]; it is declared to the broker with its first message.
    pub fn intern(&mut self, topic: &str) -> Result<TopicId, PublishError> {
        let terms = self.terms.as_ref().ok_or(PublishError::NotOpen)?;
        self.topics.intern(topic, terms.topics_max)
    }

    /// The name behind an id.
    pub fn topic_name(&self, topic: TopicId) -> &std::sync::Arc<str> {
        self.topics.name(topic)
    }

    /// Takes one message, whole or not at all. On success the payload may have been emptied; when the queue is
    /// [full](TryPublishError::Full) it is as it was.
    pub fn publish(
        &mut self,
        topic: TopicId,
        options: PublishOptions,
        payload: &mut Payload<'_>,
    ) -> Result<(), TryPublishError> {
        let shape = self.room(options.lane.number(), payload.len())?;
        let takes_batches = self.terms.as_ref().is_some_and(|terms| terms.takes_batches);
        let small = takes_batches && payload.len() <= BATCH_ITEM_BYTES_MAX && options.lane.may_batch();
        let small = small && options.is_plain();
        if small && self.grow_tail(topic, options, payload.as_slice(), shape.frame_bytes_max) {
            self.take_number(options.lane.number());
        } else {
            self.declare(topic);
            let seq = self.take_number(options.lane.number());
            self.tail = small.then(|| self.tail_here(topic, options));
            self.put(Form { topic, options, seq, receivers: 0 }, payload, shape);
        }
        self.ready_messages += 1;
        self.published += 1;
        Ok(())
    }

    /// Whether a message of so many bytes may be taken, and what frames it may travel in.
    fn room(&self, lane: u8, bytes: usize) -> Result<Shape, TryPublishError> {
        let Some(terms) = &self.terms else {
            return Err(PublishError::NotOpen.into());
        };
        if bytes > terms.message_bytes_max as usize {
            return Err(PublishError::TooLarge { bytes, bytes_max: terms.message_bytes_max }.into());
        }
        let waiting = self.ready.len();
        let fits = waiting + HEADER_BYTES + bytes <= self.bytes_max && self.ready_messages < self.messages_max;
        let counted = self.sent.as_ref().is_none_or(|sent| sent.has_room(lane));
        if waiting > 0 && !fits || !counted {
            return Err(TryPublishError::Full);
        }
        Ok(self.shape)
    }

    /// The lane's next number.
    fn take_number(&mut self, lane: u8) -> u32 {
        let next = &mut self.seq_next[usize::from(lane)];
        std::mem::replace(next, seq_after(*next, 1))
    }

    fn declare(&mut self, topic: TopicId) {
        if let Some(declaration) = self.topics.declaration(topic) {
            self.control(&declaration);
        }
    }

    /// One message in as many frames as it needs.
    fn put(&mut self, form: Form, payload: &mut Payload<'_>, shape: Shape) {
        let xhdr_bytes = form.message_options(false).encode(&mut [0; MESSAGE_OPTIONS_BYTES_MAX]).len();
        let ts_bytes = if form.options.ts_ns.is_some() { EXTENSION_BYTES } else { 0 };
        let src_bytes = if form.receivers > 0 { EXTENSION_BYTES } else { 0 };
        if HEADER_BYTES + ts_bytes + src_bytes + xhdr_bytes + payload.len() <= shape.frame_bytes_max {
            self.whole(form, payload);
        } else {
            self.fragments(form, payload, shape.fragment_bytes);
        }
    }

    fn tail_here(&self, topic: TopicId, options: PublishOptions) -> Tail {
        Tail { at: self.ready.inline.len(), topic, lane: options.lane.number(), count: 1 }
    }

    /// Adds a message to the last frame, if that is of the same topic and lane and has room.
    fn grow_tail(&mut self, topic: TopicId, options: PublishOptions, payload: &[u8], frame_bytes_max: usize) -> bool {
        let Some(tail) = &mut self.tail else { return false };
        let inline = &mut self.ready.inline;
        let turn_bytes = if tail.count == 1 { BATCH_TURN_BYTES } else { 0 };
        let frame_bytes = inline.len() - tail.at + turn_bytes + batch::BATCH_ITEM_PREFIX_BYTES + payload.len();
        let same = tail.topic == topic && tail.lane == options.lane.number();
        if !same || frame_bytes > frame_bytes_max || tail.count == BATCH_MESSAGES_MAX {
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
        for part in [&header.encode()[..], ts, src, xhdr] {
            self.ready.inline.extend_from_slice(part);
        }
        let owned = if bytes >= WOVEN_BYTES_MIN { payload.take_owned() } else { None };
        match owned {
            Some(owned) => self.ready.weave(owned),
            None => self.ready.inline.extend_from_slice(payload.as_slice()),
        }
    }

    /// One message in several PUB frames; all carry the message's own number.
    fn fragments(&mut self, form: Form, payload: &mut Payload<'_>, fragment_bytes: u32) {
        self.tail = None;
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
            let inline = &mut self.ready.inline;
            inline.extend_from_slice(&header.encode());
            inline.extend_from_slice(ts);
            inline.extend_from_slice(&frag.encode());
            inline.extend_from_slice(&Src { origin: self.origin, seq: header.seq }.encode());
            inline.extend_from_slice(xhdr);
            self.part(&source, range);
        }
    }

    fn part(&mut self, source: &Source<'_>, range: Range<usize>) {
        match source {
            Source::Copied(bytes) => self.ready.inline.extend_from_slice(&bytes[range]),
            Source::Woven(bytes) => self.ready.weave(bytes.slice(range)),
        }
    }

    /// Queues a control message. Control is exempt from the bounds: what asks for it is bounded elsewhere.
    pub fn control(&mut self, control: &Control) {
        self.tail = None;
        control.append_frame(&mut self.ready.inline);
    }

    /// Queues a frame of the session itself.
    pub fn hot(&mut self, frame: &[u8]) {
        self.tail = None;
        self.ready.inline.extend_from_slice(frame);
    }

    /// Queues a PING behind everything published so far; returns the number its PONG will carry.
    pub fn ping(&mut self, now: Instant) -> u64 {
        self.tail = None;
        self.ping_last = now.0.max(self.ping_last + 1);
        self.ready.inline.extend_from_slice(&Ping { t0: self.ping_last }.encode());
        if self.marks.len() >= MARKS_MAX {
            self.marks.pop_back();
        }
        self.marks.push_back((self.ping_last, self.published));
        self.ping_last
    }

    /// Answers the broker's PING.
    pub fn pong(&mut self, now: Instant, t0: u64) {
        self.tail = None;
        self.ready.inline.extend_from_slice(&Pong { t0, t1: now.0, t2: now.0 }.encode());
    }

    /// Queues the last message of this side. Nothing may be published after it.
    pub fn goodbye(&mut self, code: CloseCode, reason: &str) {
        let goodbye = Goodbye { code: code.number(), reason: reason.into(), drain_ms: 0 };
        self.control(&Control::new(Body::Goodbye(goodbye)));
        self.terms = None;
        self.leaving = true;
    }

    /// Moves everything that is ready into `out` (which must have been sent or be new); false if there is nothing.
    pub fn poll_transmit(&mut self, out: &mut Transmit) -> bool {
        debug_assert!(out.is_empty(), "what was taken before is sent first");
        if self.ready.is_empty() {
            return false;
        }
        match &mut self.sent {
            Some(sent) => sent.take_back(out),
            None => out.clear(),
        }
        std::mem::swap(&mut self.ready, out);
        if let Some(sent) = &mut self.sent {
            sent.hand_out(out);
        }
        (self.ready_messages, self.ready_confirmed) = (0, 0);
        self.takes += 1;
        self.tail = None;
        true
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

#[cfg(test)]
mod tests;
