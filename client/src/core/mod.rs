//! A session without socket and clock: bytes in, bytes and events out, time as an argument.
//!
//! [`Core`] is what a simulator or a runtime of your own drives. The async flavour drives its two halves, [`Outgoing`]
//! and [`Incoming`], separately, so that publishers and the reader do not wait for each other.
//!
//! The order of calls is that of every machine in this house: the `on_` method for what happened, then
//! [`Core::poll_transmit`], then [`Core::poll_event`] until `None`, then [`Core::poll_timeout`].

mod assembly;
mod credit;
mod event;
mod inbox;
mod incoming;
mod interner;
mod keepalive;
mod names;
mod options;
mod outgoing;
mod pending;
mod repeats;
mod requests;
mod sent;
mod subscriptions;
mod terms;
mod transmit;

use bytes::BytesMut;
use laneway_proto::control::Resume;
use laneway_proto::error::{CloseCode, PeerFault};
use laneway_proto::time::Instant;

pub use assembly::{ASSEMBLIES_MAX, ASSEMBLY_BYTES_MAX};
pub use event::Event;
pub use inbox::Inbox;
pub use incoming::{Incoming, ReceiveCounts};
pub use interner::TopicId;
pub use keepalive::{Alarm, DEAD_AFTER_MS_UNSAID, DEAD_AFTER_SPANS, KEEPALIVE_MS_DEFAULT, KeepaliveOptions};
pub use names::NAMES_MAX;
pub use options::{CoreOptions, Identity, SEND_BYTES_MAX_DEFAULT, SEND_MESSAGES_MAX_DEFAULT};
pub use outgoing::{BATCH_ITEM_BYTES_MAX, Outgoing, WOVEN_BYTES_MIN};
pub use pending::{CONFIRM_BYTES_MAX, CONFIRMS_PENDING_MAX, ConfirmId, RESEND_MS_FIRST, RESEND_MS_MAX, Settled};
pub use repeats::ORIGINS_MAX;
pub use requests::{Answered, REQUESTS_MAX, RequestId};
pub use sent::LANE_SENT_BYTES_MAX;
pub use subscriptions::SubscriptionId;
pub use terms::Terms;
pub use transmit::Transmit;

use crate::error::{Lost, RequestError, SubscribeError, TryPublishError};
use crate::level::ConfirmOptions;
use crate::payload::Payload;
use crate::publish_options::PublishOptions;
use crate::subscribe_options::SubscribeOptions;

/// One client session.
///
/// ```
/// use laneway_client::core::{Core, CoreOptions, Identity, Transmit};
/// use laneway_proto::time::Instant;
///
/// let identity = Identity { node_id: [7; 16], epoch: 1, nonce: 2, origin: 3 };
/// let mut core = Core::new(Instant(0), &CoreOptions::new(identity));
/// let mut out = Transmit::default();
/// assert!(core.poll_transmit(&mut out), "preface and HELLO");
/// assert!(core.publish("a", "too early").is_err());
/// ```
#[derive(Debug)]
pub struct Core {
    outgoing: Outgoing,
    incoming: Incoming,
    /// Bytes of a frame that is not whole yet.
    partial: BytesMut,
}

impl Core {
    /// A session on a link that was just established.
    pub fn new(now: Instant, options: &CoreOptions) -> Self {
        Self {
            outgoing: Outgoing::new(now, options),
            incoming: Incoming::new(now, options.patience)
                .keepalive(options.keepalive)
                .resume(options)
                .credit(options.lane_credit_bytes),
            partial: BytesMut::new(),
        }
    }

    /// What it takes to go on with this session over another link: for [`CoreOptions::session`]. `None`: it cannot.
    pub fn offer(&self) -> Option<Resume> {
        self.incoming.offer().filter(|_| !self.outgoing.is_leaving())
    }

    /// The same connection over a link that was just established, on which `fresh`, a session of its own or this one
    /// resumed, was welcomed. `unsent` is what the old link had left. If the session is another one, subscriptions are made
    /// again, and publishes that are to be delivered are sent again. A fault is the broker's: the link is to be closed.
    pub fn adopt(&mut self, now: Instant, unsent: Transmit, fresh: Self, terms: Terms) -> Result<(), PeerFault> {
        self.outgoing.on_link_down(unsent, self.offer().is_some());
        self.partial = fresh.partial;
        let requests = self.incoming.adopt(fresh.incoming);
        self.outgoing.on_link_up(now, terms, &requests)?;
        self.incoming.on_bytes(now, &mut self.partial)
    }

    /// The two halves, for an owner that sends and receives in different places. It then hands the terms of
    /// [`Event::Welcomed`] to [`Outgoing::on_welcome`] and answers [`Event::Pinged`] itself.
    pub fn split(self) -> (Outgoing, Incoming) {
        (self.outgoing, self.incoming)
    }

    /// Bytes arrived. A fault is the broker's: a goodbye is ready to be sent, then the link is to be closed.
    pub fn on_bytes(&mut self, now: Instant, bytes: &[u8]) -> Result<(), PeerFault> {
        self.partial.extend_from_slice(bytes);
        let taken = self.incoming.on_bytes(now, &mut self.partial);
        taken.inspect_err(|fault| self.outgoing.goodbye(fault.close_code(), fault.text()))
    }

    /// Takes one message, whole or not at all; it is [full](TryPublishError::Full) when too much waits to be sent.
    pub fn publish<'a>(&mut self, topic: &str, payload: impl Into<Payload<'a>>) -> Result<(), TryPublishError> {
        self.publish_with(topic, payload, PublishOptions::default())
    }

    /// [`Core::publish`] with options.
    pub fn publish_with<'a>(
        &mut self,
        topic: &str,
        payload: impl Into<Payload<'a>>,
        options: PublishOptions,
    ) -> Result<(), TryPublishError> {
        let topic = self.outgoing.intern(topic)?;
        self.outgoing.publish(topic, options, &mut payload.into())
    }

    /// Takes one message as [`Core::publish`] does; [`Event::Settled`] tells whether it got as far as `options` ask.
    pub fn publish_confirmed<'a>(
        &mut self,
        now: Instant,
        topic: &str,
        payload: impl Into<Payload<'a>>,
        options: ConfirmOptions,
    ) -> Result<ConfirmId, TryPublishError> {
        let topic = self.outgoing.intern(topic)?;
        self.outgoing.publish_confirmed(now, topic, options, &mut payload.into())
    }

    /// Subscribes to all of `filters` as one; [`Event::Subscribed`] or [`Event::SubscribeRefused`] follows.
    pub fn subscribe(&mut self, filters: &[&str]) -> Result<SubscriptionId, SubscribeError> {
        self.subscribe_with(filters, SubscribeOptions::default())
    }

    /// [`Core::subscribe`] to be served as `options` say.
    pub fn subscribe_with(
        &mut self,
        filters: &[&str],
        options: SubscribeOptions,
    ) -> Result<SubscriptionId, SubscribeError> {
        let (id, requests) = self.incoming.subscribe_with(filters, options)?;
        for request in &requests {
            self.outgoing.control(request);
        }
        Ok(id)
    }

    /// Ends a subscription. What was staged for it is gone.
    pub fn unsubscribe(&mut self, id: SubscriptionId) {
        for message in self.incoming.unsubscribe(id) {
            self.outgoing.control(&message);
        }
    }

    /// Asks for the counters whose names begin with `selector`; [`Event::Answered`] follows.
    pub fn ask_stats(&mut self, selector: &str) -> Result<RequestId, RequestError> {
        let (id, request) = self.incoming.ask_stats(selector)?;
        self.outgoing.control(&request);
        Ok(id)
    }

    /// Asks for [`Event::Pong`]: the broker's word that it has taken everything before it. Returns its token.
    pub fn ping(&mut self, now: Instant) -> u64 {
        self.outgoing.ping(now)
    }

    /// Says goodbye behind everything published; the link is to be closed once it was sent.
    pub fn close(&mut self) {
        self.incoming.on_leaving();
        if let Some(count) = self.incoming.poll_count() {
            self.outgoing.hot(&count);
        }
        self.outgoing.goodbye(CloseCode::Normal, "");
    }

    /// Moves what is ready to be sent into `out`; false if there is nothing.
    pub fn poll_transmit(&mut self, out: &mut Transmit) -> bool {
        for frame in self.incoming.poll_credit().into_iter().chain(self.incoming.poll_count()) {
            self.outgoing.hot(&frame);
        }
        self.outgoing.poll_transmit(out)
    }

    /// What happened; call until `None`.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event> {
        loop {
            if let Some((id, settled)) = self.outgoing.poll_settled() {
                return Some(Event::Settled(id, settled));
            }
            let event = self.incoming.poll_event()?;
            if let Event::Confirm(confirm) = event {
                self.outgoing.on_confirm(confirm);
                continue;
            }
            if let Event::Credit(total) = event {
                self.outgoing.on_credit(total);
                continue;
            }
            if let Event::Counted(total) = event {
                // A broker that counts what was never sent is found out when it is resumed.
                let _ = self.outgoing.on_count(total);
                continue;
            }
            if let Event::Pinged(t0) = event {
                self.outgoing.pong(now, t0);
                continue;
            }
            if let Event::Pong { token, own, .. } = event
                && (self.outgoing.on_pong(token) || own)
            {
                continue;
            }
            if let Event::Welcomed(terms) = &event {
                self.outgoing.on_welcome((**terms).clone());
            }
            return Some(event);
        }
    }

    /// Moves the messages staged for a subscription behind those in `out`.
    pub fn take_messages(&mut self, id: SubscriptionId, out: &mut Inbox) {
        self.incoming.take_messages(id, out);
    }

    /// Bytes waiting to be sent.
    pub fn waiting_bytes(&self) -> usize {
        self.outgoing.waiting_bytes()
    }

    /// Messages that were handed to the link and that the broker has not confirmed: with the link they are lost or not.
    pub fn unconfirmed(&self) -> u64 {
        self.outgoing.unconfirmed()
    }

    /// Whether something waits to be sent, though it may not go yet.
    pub fn is_waiting(&self) -> bool {
        self.outgoing.is_waiting()
    }

    /// When to call [`Core::on_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.incoming.poll_timeout().into_iter().chain(self.outgoing.poll_timeout()).min()
    }

    /// Time has passed; a PING may be ready to be sent. An error means that the broker took too long for something, or
    /// was silent for too long: the link is to be closed.
    pub fn on_timeout(&mut self, now: Instant) -> Result<(), Lost> {
        self.outgoing.on_timeout(now);
        match self.incoming.on_timeout(now, self.outgoing.unconfirmed() > 0) {
            Ok(Alarm::Ping) => self.incoming.on_asked(self.outgoing.ask_for_life(now)),
            Ok(Alarm::Nothing | Alarm::Doubtful(_)) => {}
            Err(Lost::Fault(fault)) => {
                self.outgoing.goodbye(fault.close_code(), fault.text());
                return Err(Lost::Fault(fault));
            }
            Err(lost) => return Err(lost),
        }
        Ok(())
    }

    /// What was received and not delivered.
    pub fn counts(&self) -> ReceiveCounts {
        self.incoming.counts()
    }
}

#[cfg(test)]
mod tests;
