//! The sending half of a session: numbers messages, declares topics, builds frames, and stops at its bounds.
//!
//! Consecutive messages of one topic and lane that wait together share a BATCH frame. Nothing ever waits *for* a
//! batch: a frame grows only while the socket is busy with what came before it. Each lane waits in a queue of its own, so
//! that one for which the broker has no room stops alone, and what is more urgent overtakes.

use laneway_proto::control::{Body, Control, Goodbye};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::count::LaneTotal;
use laneway_proto::frame::ping::{Ping, Pong};
use laneway_proto::header::seq_after;
use laneway_proto::limits::{HEADER_BYTES, LANES_MAX};
use laneway_proto::session::handshake::PREFACE;
use laneway_proto::time::Instant;

use super::interner::{Interner, TopicId};
use super::options::CoreOptions;
use super::pending::Pending;
use super::sent::Sent;
use super::terms::{FRAME_BYTES_USABLE, Terms, fragment_bytes_max};
use super::transmit::Transmit;
use crate::error::{PublishError, TryPublishError};
use crate::payload::Payload;
use crate::publish_options::PublishOptions;

/// Payload bytes up to which a message may share a frame.
pub const BATCH_ITEM_BYTES_MAX: usize = 4 * 1024;
/// Payload bytes from which an owned payload is written from where it is.
pub const WOVEN_BYTES_MIN: usize = 16 * 1024;

mod frames;
mod lanes;
mod levels;
mod marks;
mod resume;

use frames::Form;
use lanes::Lanes;
use marks::{ByLane, Marks};

/// The sending half. Its owner takes what is ready with [`Outgoing::poll_transmit`] whenever the socket is free.
#[derive(Debug)]
pub struct Outgoing {
    /// Everything but messages: goes before what waits on any lane.
    words: Transmit,
    /// Messages of this session that the broker has not received over the last link: go behind the words.
    again: Transmit,
    lanes: Lanes,
    /// The last word, which goes behind everything.
    farewell: Option<Control>,
    seq_next: [u32; LANES_MAX],
    topics: Interner,
    /// `None` until the handshake is over.
    terms: Option<Terms>,
    origin: u32,
    bytes_max: usize,
    messages_max: usize,
    ping_last: u64,
    /// Messages taken, ever, by lane, but for those that are to be delivered: they have a fate of their own.
    published: ByLane,
    /// Of those, the first so many were accepted by the broker or have been reported as [`Outgoing::doubted`].
    settled: ByLane,
    marks: Marks,
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
    /// A frame takes a quarter of a lane's credit at most, so that the broker can take one while the next is on its way.
    fn of(terms: &Terms) -> Self {
        let frame_bytes_max = (terms.credit_least() / 4).clamp(FRAME_BYTES_USABLE.into(), terms.frame_bytes_max.into());
        Self {
            frame_bytes_max: frame_bytes_max as usize,
            fragment_bytes: terms.fragment_bytes.min(fragment_bytes_max(frame_bytes_max as u32)),
        }
    }
}

impl Outgoing {
    /// A half that has preface and HELLO ready.
    pub fn new(now: Instant, options: &CoreOptions) -> Self {
        let mut outgoing = Self {
            words: Transmit::default(),
            again: Transmit::default(),
            lanes: Lanes::default(),
            farewell: None,
            seq_next: [1; LANES_MAX],
            topics: Interner::default(),
            terms: None,
            origin: options.identity.origin,
            bytes_max: options.send_bytes_max,
            messages_max: options.send_messages_max.max(1),
            ping_last: 0,
            published: [0; LANES_MAX],
            settled: [0; LANES_MAX],
            marks: Marks::default(),
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
        outgoing.words.inline.extend_from_slice(&PREFACE);
        outgoing.control(&Control::new(Body::Hello(options.hello(now))));
        outgoing
    }

    /// The broker agreed: messages may be published from now on.
    pub fn on_welcome(&mut self, terms: Terms) {
        self.takes_before = self.takes;
        self.shape = Shape::of(&terms);
        self.sent = (self.resume && terms.resumes).then(|| Box::new(Sent::new()));
        self.lanes.set_credit(terms.lane_credit.as_ref(), 0);
        self.terms = Some(terms);
    }

    /// Messages that were handed to the link and of which the broker has not said yet that it took them.
    pub fn unconfirmed(&self) -> u64 {
        (0..LANES_MAX).map(|lane| self.unconfirmed_on(lane)).sum()
    }

    fn unconfirmed_on(&self, lane: usize) -> u64 {
        self.published[lane] - self.settled[lane] - self.lanes.plain_messages(lane) as u64
    }

    /// Messages, ever, that a broken link left in doubt: the broker may or may not have taken each of them.
    pub const fn doubted(&self) -> u64 {
        self.doubted
    }

    /// Messages waiting to be taken.
    pub fn waiting_messages(&self) -> usize {
        self.lanes.messages()
    }

    /// The broker answered a PING: it has taken everything that was published before it. True if this half itself had
    /// asked.
    pub fn on_pong(&mut self, token: u64) -> bool {
        if let Some(published) = self.marks.on_pong(token) {
            for (settled, published) in self.settled.iter_mut().zip(published) {
                *settled = published.max(*settled);
            }
            self.pending.on_accepted(&self.settled);
        }
        let own = self.asked == Some(token);
        if own {
            self.asked = None;
            self.ask_what_is_accepted();
        }
        own
    }

    /// The broker takes more of a lane. True if something may go that had to wait.
    pub fn on_credit(&mut self, total: LaneTotal) -> bool {
        self.lanes.on_credit(total.lane, total.total)
    }

    /// Bytes waiting to be taken.
    pub fn waiting_bytes(&self) -> usize {
        self.words.len() + self.again.len() + self.lanes.bytes()
    }

    /// Whether something waits, though it may not go yet.
    pub fn is_waiting(&self) -> bool {
        !self.words.is_empty()
            || !self.again.is_empty()
            || !self.lanes.is_empty()
            || self.marks.waits()
            || self.farewell.is_some()
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
        let lane = options.lane.number();
        let shape = self.room(lane, payload.len())?;
        let takes_batches = self.terms.as_ref().is_some_and(|terms| terms.takes_batches);
        let small = takes_batches && payload.len() <= BATCH_ITEM_BYTES_MAX && options.lane.may_batch();
        let grows = small && options.is_plain();
        if grows && self.grow_tail(topic, options, payload.as_slice(), shape.frame_bytes_max) {
            self.take_number(lane);
        } else {
            self.declare(topic);
            let seq = self.take_number(lane);
            self.put(Form { topic, options, seq, receivers: 0, grows }, payload, shape);
        }
        self.published[usize::from(lane)] += 1;
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
        let (waiting, messages) = self.lanes.waiting(lane);
        let fits = waiting + HEADER_BYTES + bytes <= self.bytes_max && messages < self.messages_max;
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

    /// Queues a control message. Control is exempt from the bounds: what asks for it is bounded elsewhere.
    pub fn control(&mut self, control: &Control) {
        control.append_frame(&mut self.words.inline);
    }

    /// Queues a frame of the session itself.
    pub fn hot(&mut self, frame: &[u8]) {
        self.words.inline.extend_from_slice(frame);
    }

    /// Queues a PING behind everything published so far; returns the number its PONG will carry.
    pub fn ping(&mut self, now: Instant) -> u64 {
        let token = self.next_token(now);
        if !self.marks.push(token, self.published, self.lanes.placed()) {
            self.hot(&Ping { t0: token }.encode());
        }
        token
    }

    /// Queues a PING that waits for nothing. If something waits, its PONG says only that the broker is there.
    pub fn ask_for_life(&mut self, now: Instant) -> u64 {
        if self.lanes.is_empty() && !self.marks.waits() {
            return self.ping(now);
        }
        let token = self.next_token(now);
        self.hot(&Ping { t0: token }.encode());
        token
    }

    fn next_token(&mut self, now: Instant) -> u64 {
        self.ping_last = now.0.max(self.ping_last + 1);
        self.ping_last
    }

    /// Answers the broker's PING.
    pub fn pong(&mut self, now: Instant, t0: u64) {
        self.hot(&Pong { t0, t1: now.0, t2: now.0 }.encode());
    }

    /// Queues the last message of this side: behind everything if all is well, else at once. Nothing may be published
    /// after it.
    pub fn goodbye(&mut self, code: CloseCode, reason: &str) {
        let goodbye = Goodbye { code: code.number(), reason: reason.into(), drain_ms: 0 };
        let goodbye = Control::new(Body::Goodbye(goodbye));
        if code == CloseCode::Normal {
            self.farewell = Some(goodbye);
        } else {
            self.control(&goodbye);
        }
        self.terms = None;
        self.leaving = true;
    }

    /// Moves what may go now into `out` (which must have been sent or be new), some tens of kilobytes at a time; false if
    /// there is nothing.
    pub fn poll_transmit(&mut self, out: &mut Transmit) -> bool {
        debug_assert!(out.is_empty(), "what was taken before is sent first");
        let speaks = !self.words.is_empty() || !self.again.is_empty() || self.lanes.sends_now();
        if !speaks && !self.ping_is_due() && !self.farewell_is_due() {
            return false;
        }
        match &mut self.sent {
            Some(sent) => sent.take_back(out),
            None => out.clear(),
        }
        std::mem::swap(&mut self.words, out);
        out.append(&mut self.again);
        self.lanes.take(out);
        while self.ping_is_due()
            && let Some((token, _)) = self.marks.next()
        {
            out.inline.extend_from_slice(&Ping { t0: token }.encode());
            self.marks.on_sent();
        }
        if self.farewell_is_due()
            && let Some(farewell) = self.farewell.take()
        {
            farewell.append_frame(&mut out.inline);
        }
        if let Some(sent) = &mut self.sent {
            sent.hand_out(out);
        }
        self.takes += 1;
        true
    }

    fn ping_is_due(&self) -> bool {
        self.marks.next().is_some_and(|(_, placed)| self.lanes.has_taken(placed))
    }

    fn farewell_is_due(&self) -> bool {
        self.farewell.is_some() && self.lanes.is_empty() && !self.marks.waits()
    }
}

#[cfg(test)]
mod tests;
