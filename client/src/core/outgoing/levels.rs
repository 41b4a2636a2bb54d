//! Publishing with a level: messages that are to be confirmed, and are sent again until they are.

use laneway_proto::frame::confirm::{CONFIRM_FRAME_BYTES_MAX, Confirm, encode};
use laneway_proto::lane::table::LaneTable;
use laneway_proto::time::Instant;

use super::{Form, Outgoing, Shape};
use crate::core::interner::TopicId;
use crate::core::pending::{ConfirmId, Letter, Resend, Settled};
use crate::error::{PublishError, TryPublishError};
use crate::level::{ConfirmOptions, Level};
use crate::payload::Payload;
use crate::span::span;

impl Outgoing {
    /// Takes one message, whole or not at all, and tells by [`Outgoing::poll_settled`] what became of it. It is
    /// [full](TryPublishError::Full), and the payload as it was, also while too many messages of its lane wait for their
    /// confirmation.
    pub fn publish_confirmed(
        &mut self,
        now: Instant,
        topic: TopicId,
        options: ConfirmOptions,
        payload: &mut Payload<'_>,
    ) -> Result<ConfirmId, TryPublishError> {
        let lane = options.publish.lane;
        if !self.pending.has_room(lane.number(), payload.len()) {
            return Err(TryPublishError::Full);
        }
        let whole = span(options.timeout);
        let receivers = match options.level {
            Level::Accepted => {
                let seq = self.seq_next[usize::from(lane.number())];
                self.publish(topic, options.publish, payload)?;
                let index = self.published[usize::from(lane.number())];
                let id = self.pending.await_acceptance(now, whole, lane.number(), seq, index);
                self.ask_what_is_accepted();
                return Ok(id);
            }
            Level::Delivered { min_receivers } => min_receivers.max(1),
        };
        self.check_confirmable(options)?;
        let shape = self.room(lane.number(), payload.len())?;
        let payload = payload.take_owned().unwrap_or_else(|| bytes::Bytes::copy_from_slice(payload.as_slice()));
        let seq = self.take_number(lane.number());
        let letter = Letter { topic, options: options.publish, seq, receivers, payload };
        self.post(&letter, shape);
        Ok(self.pending.await_delivery(now, whole, letter))
    }

    /// Refuses what can never be confirmed as delivered.
    fn check_confirmable(&self, options: ConfirmOptions) -> Result<(), PublishError> {
        let terms = self.terms.as_ref().ok_or(PublishError::NotOpen)?;
        if !terms.confirms {
            return Err(PublishError::NoConfirms);
        }
        let lane = options.publish.lane;
        if LaneTable::STANDARD.reliable() & 1 << lane.number() == 0 {
            return Err(PublishError::LaneLoses(lane));
        }
        Ok(())
    }

    /// Puts a message that is to be delivered behind what is ready.
    fn post(&mut self, letter: &Letter, shape: Shape) {
        let Letter { topic, options, seq, receivers, .. } = *letter;
        self.declare(topic);
        let form = Form { topic, options, seq, receivers, grows: false };
        self.put(form, &mut Payload::from(letter.payload.clone()), shape);
    }

    /// Puts all of `letters` behind what is ready.
    pub(super) fn post_all(&mut self, letters: &[Letter]) {
        for letter in letters {
            self.post(letter, self.shape);
        }
    }

    /// One PING at a time is under way for everybody who wants to know what the broker has accepted.
    pub(super) fn ask_what_is_accepted(&mut self) {
        if self.asked.is_none() && self.terms.is_some() && self.pending.awaits_acceptance() {
            // Nobody measures the time by it.
            self.asked = Some(self.ping(Instant(0)));
        }
    }

    /// The broker confirms messages.
    pub fn on_confirm(&mut self, confirm: Confirm) {
        self.pending.on_confirm(confirm);
        self.tell_given_up();
    }

    /// Nobody waits for this publish any more; it is sent no more and settled no more.
    pub fn give_up(&mut self, id: ConfirmId) {
        self.pending.give_up(id);
        self.tell_given_up();
    }

    /// When to call [`Outgoing::on_timeout`].
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.pending.poll_timeout()
    }

    /// Time has passed: gives up publishes whose time is over, and makes ready again what was not delivered.
    pub fn on_timeout(&mut self, now: Instant) {
        self.pending.on_timeout(now);
        self.tell_given_up();
        let seq_next = self.seq_next;
        let plan = |lane: u8| match LaneTable::STANDARD.get(lane) {
            Some(spec) if !spec.kind.is_ordered() => Resend::All,
            Some(_) | None => Resend::OnlyNewest { next: seq_next[usize::from(lane)] },
        };
        loop {
            let Some(letters) = self.pending.poll_resend(now, plan) else { break };
            // What waits here still would only come twice.
            let lanes = &self.lanes;
            let is_sent = |letter: &&Letter| lanes.waiting(letter.options.lane.number()).1 == 0;
            let letters: Vec<Letter> = letters.filter(is_sent).cloned().collect();
            if self.link_is_up {
                self.resent += letters.len() as u64;
                self.post_all(&letters);
            }
        }
    }

    /// What became of a publish; call until `None`.
    pub fn poll_settled(&mut self) -> Option<Settled> {
        self.pending.poll_settled()
    }

    /// Messages, ever, that were sent again: to a link after the one that they were sent on, or because too few had
    /// received them.
    pub const fn resent(&self) -> u64 {
        self.resent
    }

    pub(super) fn tell_given_up(&mut self) {
        while let Some(given_up) = self.pending.poll_given_up() {
            // A broker that was never told of them need not be told that they are over.
            if self.link_is_up && self.terms.is_some() {
                self.hot(encode(&[given_up], &mut [0; CONFIRM_FRAME_BYTES_MAX]));
            }
        }
    }
}
