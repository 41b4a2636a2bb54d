//! What the handles of one connection and its tasks share, from link to link.
//!
//! Two locks, so that publishers and the reader do not wait for each other; whoever needs both takes `receiving`
//! first. Both are held for moments only, never across an await, and never while somebody else's code runs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use laneway_proto::control::{Control, Resume};
use laneway_proto::error::{CloseCode, PeerFault};
use laneway_proto::limits::METADATA_BYTES_MAX;
use laneway_proto::time::{Duration as Span, Instant as Tick};
use tokio::runtime::Handle;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::clock::Clock;
use super::dial::Dialled;
use super::events::Hub;
use super::lock;
use super::queue::Queue;
use super::receiving::{Answer, Receiving, Tidings};
use super::sending::{Next, Sending, Verdict, Verdicts};
use super::tasks;
use crate::core::{Alarm, Answered, ConfirmId, Incoming, RequestId, SubscriptionId, Terms, TopicId, Transmit};
use crate::error::{FlushError, Lost, PublishError, Reason, RequestError, SubscribeError, TryPublishError};
use crate::level::ConfirmOptions;
use crate::link::{ConnectionEvent, Degraded, Health};
use crate::options::ConnectOptions;
use crate::payload::Payload;
use crate::peer::Peer;
use crate::publish_options::PublishOptions;
use crate::span::span;
use crate::subscribe_options::SubscribeOptions;

/// What a client tells of itself.
type Metadata = BTreeMap<String, String>;

/// One connection.
#[derive(Debug)]
pub(super) struct Shared {
    sending: Mutex<Sending>,
    receiving: Mutex<Receiving>,
    /// Wakes the writer.
    work: Notify,
    /// Wakes publishers that found the queue full.
    space: Notify,
    /// Tells whoever looks for another link that there may be no use in it.
    ended: Notify,
    closed: watch::Sender<bool>,
    supervisor: OnceLock<AbortHandle>,
    runtime: Handle,
    clock: Clock,
    /// Whether another link is looked for when one breaks.
    reconnects: bool,
    pub(super) hub: Hub,
    drain: Duration,
    receive_bytes_max: usize,
    receive_messages_max: usize,
    agreed: Mutex<Agreed>,
    health: Mutex<Health>,
    /// Tells whoever makes links that another one is wanted beside the one there is.
    ailing: Notify,
}

/// Both ends, and what they agreed to on the newest link.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    /// Of what this side last told of itself.
    pub(super) metadata_version: u64,
    pub(super) terms: Arc<Terms>,
    pub(super) local: Arc<Peer>,
    pub(super) remote: Arc<Peer>,
}

/// What became of an attempt to publish with a level.
pub(super) enum Pushed<'a> {
    /// It is under way; its verdict comes.
    Taken(ConfirmId, oneshot::Receiver<Verdict>),
    /// There is no room; this says when to try again.
    Full(Notified<'a>),
}

/// A subscription that the broker has not answered yet.
pub(super) struct Asked {
    pub(super) id: SubscriptionId,
    pub(super) queue: Arc<Queue>,
    pub(super) answer: oneshot::Receiver<Answer>,
}

/// Why the reader stops.
pub(super) enum Ended {
    /// The broker broke a rule.
    Fault(PeerFault),
    /// The broker said its last word.
    Goodbye(Reason),
    /// The session counts no more.
    Overtaken,
}

/// Tells, when it is dropped with the last task, that the connection is over.
#[derive(Debug)]
pub(super) struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.lose(Lost::Ended, false);
        self.0.closed.send_replace(true);
    }
}

impl Shared {
    /// A connection over its first link.
    pub(super) fn new(dialled: Dialled, options: &ConnectOptions, reconnects: bool) -> (Arc<Self>, tasks::Streams) {
        let Dialled { outgoing, incoming, agreed, clock, streams } = dialled;
        let trip_max = options.reconnect.filter(|_| reconnects).and_then(|reconnect| reconnect.trip_max);
        let trip_max = trip_max.map(span);
        let shared = Self {
            sending: Mutex::new(Sending::new(outgoing)),
            receiving: Mutex::new(Receiving::new(incoming)),
            work: Notify::new(),
            space: Notify::new(),
            ended: Notify::new(),
            closed: watch::Sender::new(false),
            supervisor: OnceLock::new(),
            runtime: Handle::current(),
            clock,
            reconnects,
            hub: Hub::new(agreed.terms.session),
            drain: options.drain,
            receive_bytes_max: options.receive_bytes_max,
            receive_messages_max: options.receive_messages_max,
            agreed: Mutex::new(agreed),
            health: Mutex::new(Health::new(trip_max)),
            ailing: Notify::new(),
        };
        (Arc::new(shared), streams)
    }

    /// What the supervisor holds until it ends.
    pub(super) fn closing(self: &Arc<Self>) -> Closing {
        Closing(Arc::clone(self))
    }

    pub(super) fn set_supervisor(&self, task: AbortHandle) {
        let first = self.supervisor.set(task).is_ok();
        debug_assert!(first, "a connection has one supervisor");
    }

    /// What this side tells of itself from now on, on later links, too; returns it with its number.
    pub(super) fn set_metadata(&self, metadata: Metadata) -> Result<(u64, Metadata), RequestError> {
        let bytes = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(RequestError::TooLarge(bytes));
        }
        let mut agreed = lock(&self.agreed);
        agreed.metadata_version += 1;
        agreed.local = Arc::new(Peer { metadata: metadata.clone(), ..Peer::clone(&agreed.local) });
        Ok((agreed.metadata_version, metadata))
    }

    pub(super) fn agreed(&self) -> Agreed {
        lock(&self.agreed).clone()
    }

    pub(super) const fn clock(&self) -> Clock {
        self.clock
    }

    fn now(&self) -> Tick {
        self.clock.now()
    }

    pub(super) fn when(&self, tick: Tick) -> Instant {
        self.clock.when(tick)
    }

    /// Why the connection is gone; `Ended` if nobody said.
    pub(super) fn lost(&self) -> Lost {
        self.is_lost().unwrap_or(Lost::Ended)
    }

    /// Why the connection is gone, if it is.
    pub(super) fn is_lost(&self) -> Option<Lost> {
        lock(&self.sending).lost().cloned()
    }

    /// Messages, ever, that broken links left in doubt.
    pub(super) fn doubted(&self) -> u64 {
        lock(&self.sending).outgoing.doubted()
    }

    pub(super) fn intern(&self, topic: &str) -> Result<TopicId, PublishError> {
        let mut sending = lock(&self.sending);
        sending.check()?;
        sending.outgoing.intern(topic)
    }

    pub(super) fn topic_name(&self, topic: TopicId) -> Arc<str> {
        Arc::clone(lock(&self.sending).outgoing.topic_name(topic))
    }

    /// Takes one message, or says what to wait for before trying again.
    pub(super) fn push(
        &self,
        topic: TopicId,
        options: PublishOptions,
        payload: &mut Payload<'_>,
    ) -> Result<Option<Notified<'_>>, PublishError> {
        let mut sending = lock(&self.sending);
        sending.check()?;
        match sending.outgoing.publish(topic, options, payload) {
            Ok(()) => {
                self.wake_writer(sending);
                Ok(None)
            }
            Err(TryPublishError::Full) => {
                sending.space_wanted = true;
                // Made under the lock: the writer cannot give way in between unnoticed.
                let space = self.space.notified();
                self.wake_writer(sending);
                Ok(Some(space))
            }
            Err(TryPublishError::Refused(error)) => Err(error),
        }
    }

    /// Takes one message whose publisher wants to know what becomes of it, or says what to wait for before trying again.
    pub(super) fn push_confirmed(
        &self,
        topic: TopicId,
        options: ConfirmOptions,
        payload: &mut Payload<'_>,
    ) -> Result<Pushed<'_>, PublishError> {
        let mut sending = lock(&self.sending);
        sending.check()?;
        match sending.outgoing.publish_confirmed(self.now(), topic, options, payload) {
            Ok(id) => {
                let verdict = sending.add_waiter(id);
                self.wake_writer(sending);
                Ok(Pushed::Taken(id, verdict))
            }
            Err(TryPublishError::Full) => {
                sending.space_wanted = true;
                let space = self.space.notified();
                self.wake_writer(sending);
                Ok(Pushed::Full(space))
            }
            Err(TryPublishError::Refused(error)) => Err(error),
        }
    }

    /// Nobody waits for this publish any more.
    pub(super) fn give_up(&self, id: ConfirmId) {
        let mut sending = lock(&self.sending);
        sending.remove_waiter(id);
        self.wake_writer(sending);
        self.space.notify_waiters();
    }

    /// Somebody's time is over: tells whom that concerns.
    pub(super) fn watch_the_time(&self) {
        let mut sending = lock(&self.sending);
        sending.watch_the_time(self.now());
        let verdicts = sending.take_verdicts();
        self.wake_writer(sending);
        self.tell(verdicts);
    }

    /// Tells publishers what became of their messages; what waits no more has made room.
    fn tell(&self, verdicts: Verdicts) {
        if verdicts.is_empty() {
            return;
        }
        for (waiter, verdict) in verdicts {
            // Whoever asked may have stopped waiting.
            let _ = waiter.send(verdict);
        }
        self.space.notify_waiters();
    }

    fn wake_writer(&self, mut sending: MutexGuard<'_, Sending>) {
        let sleeps = std::mem::take(&mut sending.writer_sleeps);
        drop(sending);
        if sleeps {
            self.work.notify_one();
        }
    }

    /// Sends a PING behind everything published; the receiver gets the round trip.
    pub(super) fn ping(&self) -> Result<oneshot::Receiver<Duration>, FlushError> {
        let mut receiving = lock(&self.receiving);
        receiving.check_ping()?;
        let (waiter, pong) = oneshot::channel();
        let mut sending = lock(&self.sending);
        let token = sending.outgoing.ping(self.now());
        receiving.add_ping(token, waiter);
        self.wake_writer(sending);
        Ok(pong)
    }

    /// Registers a subscription and asks the broker for it.
    pub(super) fn subscribe(&self, filters: &[&str], options: SubscribeOptions) -> Result<Asked, SubscribeError> {
        let mut receiving = lock(&self.receiving);
        if let Some(lost) = &receiving.lost {
            return Err(SubscribeError::Lost(lost.clone()));
        }
        let (id, requests) = receiving.incoming.subscribe_with(filters, options)?;
        let queue = Arc::new(Queue::new(self.receive_bytes_max, self.receive_messages_max));
        let (waiter, answer) = oneshot::channel();
        receiving.add_queue(id, Arc::clone(&queue), waiter);
        // Under the first lock still: requests about one filter leave in the order in which they were registered.
        self.send_control(&requests);
        Ok(Asked { id, queue, answer })
    }

    /// Sends what `ask` makes, on the next link if there is none; the receiver gets the broker's answer. It is told that
    /// none will come when a link breaks.
    pub(super) fn request(
        &self,
        ask: impl FnOnce(&mut Incoming) -> Result<(RequestId, Control), RequestError>,
    ) -> Result<oneshot::Receiver<Answered>, RequestError> {
        let mut receiving = lock(&self.receiving);
        if let Some(lost) = &receiving.lost {
            return Err(RequestError::Lost(lost.clone()));
        }
        let (id, request) = ask(&mut receiving.incoming)?;
        let (waiter, answer) = oneshot::channel();
        receiving.add_request(id, waiter);
        let mut sending = lock(&self.sending);
        sending.outgoing.control(&request);
        self.wake_writer(sending);
        Ok(answer)
    }

    pub(super) fn unsubscribe(&self, id: SubscriptionId) {
        let mut receiving = lock(&self.receiving);
        let (queue, waiter) = receiving.remove_queue(id);
        let farewell = receiving.incoming.unsubscribe(id);
        self.send_control(&farewell);
        drop(receiving);
        drop(waiter);
        if let Some(queue) = queue {
            queue.abandon();
        }
        self.give_credit();
    }

    /// Tells the broker what room there is, if that is worth it.
    pub(super) fn give_credit(&self) {
        let mut receiving = lock(&self.receiving);
        let Some(credit) = receiving.incoming.poll_credit() else { return };
        let mut sending = lock(&self.sending);
        // A new link begins with all the room there is.
        if sending.lost().is_none() && sending.broken().is_none() {
            sending.outgoing.hot(&credit);
            self.wake_writer(sending);
        }
    }

    fn send_control(&self, messages: &[Control]) {
        let mut sending = lock(&self.sending);
        // A new link begins with requests for all subscriptions that there are then.
        if sending.lost().is_some() || sending.broken().is_some() {
            return;
        }
        for message in messages {
            sending.outgoing.control(message);
        }
        self.wake_writer(sending);
    }

    /// What the writer does next; what it is to write is moved into `out`.
    pub(super) fn next_transmit(&self, out: &mut Transmit) -> Next<'_> {
        let mut sending = lock(&self.sending);
        let next = sending.next(self.now(), out, &self.work);
        let verdicts = sending.take_verdicts();
        drop(sending);
        self.tell(verdicts);
        if let Next::Write { space_wanted: true } = next {
            self.space.notify_waiters();
        }
        next
    }

    /// Resolves for this link's writer when writing on is of no use.
    pub(super) fn cut(&self) -> Arc<Notify> {
        lock(&self.sending).cut()
    }

    pub(super) fn on_finished(&self) {
        lock(&self.sending).on_finished();
    }

    /// Takes what arrived to its subscribers; `full` gets the queues that are at their bounds. Returns when an
    /// incomplete frame becomes overdue.
    pub(super) fn on_bytes(
        &self,
        buffer: &mut BytesMut,
        full: &mut Vec<Arc<Queue>>,
        tidings: &mut Tidings,
    ) -> Result<Option<Instant>, Ended> {
        let now = self.now();
        let mut receiving = lock(&self.receiving);
        let (taken, brought) = receiving.on_bytes(now, buffer, full, tidings);
        let deadline = receiving.incoming.poll_timeout();
        let recovered = receiving.incoming.take_recovered();
        let credit = receiving.incoming.poll_credit();
        let count = receiving.incoming.poll_count();
        drop(receiving);
        tidings.tell();
        self.on_signs_of_life(now, recovered, brought.trip);
        let heard = !brought.pinged.is_empty()
            || !brought.ponged.is_empty()
            || !brought.credited.is_empty()
            || !brought.confirmed.is_empty()
            || !brought.counted.is_empty();
        let mut ahead = Ok(());
        let mut room = false;
        if heard || credit.is_some() || count.is_some() {
            let mut sending = lock(&self.sending);
            for frame in credit.into_iter().chain(count) {
                sending.outgoing.hot(&frame);
            }
            for total in brought.counted {
                match sending.outgoing.on_count(total) {
                    Ok(more) => room |= more,
                    Err(fault) => ahead = Err(fault),
                }
            }
            for confirm in brought.confirmed {
                sending.outgoing.on_confirm(confirm);
            }
            for token in brought.ponged {
                sending.outgoing.on_pong(token);
            }
            for total in brought.credited {
                sending.outgoing.on_credit(total);
            }
            for t0 in brought.pinged {
                sending.outgoing.pong(now, t0);
            }
            let verdicts = sending.take_verdicts();
            self.wake_writer(sending);
            self.tell(verdicts);
        }
        if room {
            self.space.notify_waiters();
        }
        taken.and(ahead).map_err(Ended::Fault)?;
        match brought.goodbye {
            Some(reason) => Err(Ended::Goodbye(reason)),
            None if brought.overtaken => Err(Ended::Overtaken),
            None => Ok(deadline.map(|tick| self.when(tick))),
        }
    }

    /// A deadline has passed. Returns the next one, or why the link is of no use any more.
    pub(super) fn on_timeout(&self) -> Result<Option<Instant>, Lost> {
        let now = self.now();
        let mut receiving = lock(&self.receiving);
        let mut sending = lock(&self.sending);
        let asks = sending.outgoing.unconfirmed() > 0 || lock(&self.health).measures();
        let alarm = receiving.incoming.on_timeout(now, asks)?;
        let count = receiving.incoming.poll_count();
        if let Some(count) = &count {
            sending.outgoing.hot(count);
        }
        if alarm == Alarm::Ping {
            receiving.incoming.on_asked(sending.outgoing.ask_for_life(now));
        }
        if count.is_some() || alarm == Alarm::Ping {
            self.wake_writer(sending);
        } else {
            drop(sending);
        }
        if let Alarm::Doubtful(silence) = alarm {
            let reason = Degraded::Silent(Duration::from_nanos(silence.0));
            lock(&self.health).on_doubt();
            self.ailing.notify_one();
            self.hub.doubt(ConnectionEvent::Degraded { reason });
        }
        Ok(receiving.incoming.poll_timeout().map(|tick| self.when(tick)))
    }

    /// Something was heard: a doubt may be over, and the link may turn out to be slow, or to be so no longer.
    fn on_signs_of_life(&self, now: Tick, recovered: bool, trip: Option<Span>) {
        if !recovered && trip.is_none() {
            return;
        }
        let mut health = lock(&self.health);
        if recovered {
            health.on_recovered();
        }
        let was_ailing = health.wants_another();
        let slow = trip.is_some_and(|trip| health.on_trip(now, trip));
        let recovers = (recovered || was_ailing) && !health.wants_another();
        drop(health);
        if recovers {
            self.hub.doubt(ConnectionEvent::Recovered);
        }
        if slow {
            self.ailing.notify_one();
            let reason = Degraded::Slow(Duration::from_nanos(trip.unwrap_or_default().0));
            self.hub.doubt(ConnectionEvent::Degraded { reason });
        }
    }

    /// Whether another link is wanted beside the one there is, and the session can go over to it.
    pub(super) fn wants_another_link(&self) -> bool {
        let wanted = lock(&self.health).wants_another();
        let may_go_on = lock(&self.receiving).incoming.offer().is_some();
        wanted && may_go_on && self.is_lost().is_none()
    }

    /// Resolves when another link is wanted beside the one there is.
    pub(super) async fn another_link_wanted(&self) {
        while !self.wants_another_link() {
            self.ailing.notified().await;
        }
    }

    /// The session is to go over to another link, which is there: ends this one.
    pub(super) fn leave_link(&self) {
        if lock(&self.sending).break_link(Lost::Replaced) {
            self.work.notify_one();
        }
    }

    /// The reader reads again after a subscriber made it wait.
    pub(super) fn on_resumed(&self) -> Option<Instant> {
        let mut receiving = lock(&self.receiving);
        receiving.incoming.on_resumed(self.now());
        receiving.incoming.poll_timeout().map(|tick| self.when(tick))
    }

    /// This link is of no use any more. Another one is looked for if that can help; otherwise the connection is over.
    pub(super) fn on_link_lost(&self, lost: Lost) {
        if self.reconnects && lost.retryable() && lock(&self.sending).break_link(lost.clone()) {
            self.work.notify_one();
        } else {
            self.lose(lost, false);
        }
    }

    /// Settles what became of the queues when a link broke; `unsent` is what its writer was given last, if that is known.
    /// Returns why it broke, or `None` if the connection is over.
    pub(super) fn on_link_down(&self, unsent: Option<Transmit>) -> Option<Lost> {
        let mut receiving = lock(&self.receiving);
        let mut sending = lock(&self.sending);
        let reason = sending.broken()?.clone();
        let doubted = sending.outgoing.doubted();
        let may_resume = unsent.is_some() && reason.leaves_session() && receiving.incoming.offer().is_some();
        sending.outgoing.on_link_down(unsent.unwrap_or_default(), may_resume);
        let doubted = sending.outgoing.doubted() - doubted;
        sending.writer_sleeps = false;
        sending.space_wanted = false;
        let waiters = receiving.on_link_down();
        let verdicts = sending.take_verdicts();
        drop((sending, receiving));
        self.tell(verdicts);
        self.hub.link_lost();
        self.hub.in_doubt(doubted);
        // Whoever waited for them looks at what is in doubt, and asks again.
        drop(waiters);
        // What was in flight is not queued any more, so there may be room.
        self.space.notify_waiters();
        Some(reason)
    }

    /// The session that may go on over another link.
    pub(super) fn offer(&self) -> Option<Resume> {
        let receiving = lock(&self.receiving);
        let parked = lock(&self.sending).outgoing.is_parked();
        receiving.incoming.offer().filter(|_| parked)
    }

    /// The session will not go on: what was sent is in doubt.
    pub(super) fn forget_session(&self) {
        let mut receiving = lock(&self.receiving);
        let mut sending = lock(&self.sending);
        receiving.incoming.forget_session();
        let doubted = sending.outgoing.doubted();
        sending.outgoing.forget_session();
        let doubted = sending.outgoing.doubted() - doubted;
        let verdicts = sending.take_verdicts();
        drop((sending, receiving));
        self.tell(verdicts);
        self.hub.in_doubt(doubted);
        self.space.notify_waiters();
    }

    /// Another link is there: everything goes on over it. A fault is the broker's: the link is of no use.
    pub(super) fn on_link_up(&self, dialled: Dialled) -> Result<tasks::Streams, PeerFault> {
        let Dialled { incoming, agreed, streams, .. } = dialled;
        let mut receiving = lock(&self.receiving);
        let requests = receiving.incoming.adopt(incoming);
        let mut sending = lock(&self.sending);
        let doubted = sending.outgoing.doubted();
        let up = sending.outgoing.on_link_up(self.now(), Terms::clone(&agreed.terms), &requests);
        let doubted = sending.outgoing.doubted() - doubted;
        if up.is_ok() {
            sending.mend();
            lock(&self.health).on_up(self.now());
        } else {
            receiving.incoming.forget_session();
        }
        let verdicts = sending.take_verdicts();
        drop((sending, receiving));
        self.tell(verdicts);
        self.hub.in_doubt(doubted);
        self.space.notify_waiters();
        up?;
        let terms = Arc::clone(&agreed.terms);
        let mut now = lock(&self.agreed);
        // What was told while the link was made holds: it is said again.
        let local = Peer { metadata: now.local.metadata.clone(), ..Peer::clone(&agreed.local) };
        let agreed = Agreed { metadata_version: now.metadata_version, local: Arc::new(local), ..agreed };
        let before = std::mem::replace(&mut *now, agreed);
        drop(now);
        self.hub.up(terms.session, terms.resumed, terms.broker_epoch != before.terms.broker_epoch);
        Ok(streams)
    }

    /// Whether there is no use in another link.
    pub(super) fn wants_no_link(&self) -> bool {
        lock(&self.sending).wants_no_link()
    }

    /// Resolves when there is no use in another link.
    pub(super) async fn no_link_wanted(&self) {
        loop {
            // Made before the question, so that no answer is missed.
            let ended = self.ended.notified();
            if self.wants_no_link() {
                return;
            }
            ended.await;
        }
    }

    /// Ends the connection: nothing is accepted from now on. With `finish`, what is queued is still written. The first
    /// reason stays.
    pub(super) fn lose(&self, lost: Lost, finish: bool) {
        let bereaved = lock(&self.receiving).lose(&lost);
        if let Some(bereaved) = bereaved {
            bereaved.tell(&lost);
            self.hub.over(lost.clone());
        }
        let mut sending = lock(&self.sending);
        sending.lose(lost, finish);
        let verdicts = sending.take_verdicts();
        drop(sending);
        self.tell(verdicts);
        self.space.notify_waiters();
        self.ended.notify_waiters();
        self.work.notify_one();
    }

    /// Ends the connection with a goodbye behind what is queued; false if it had ended before.
    fn leave(&self, lost: Lost, code: CloseCode, reason: &str) -> bool {
        let mut receiving = lock(&self.receiving);
        let mut sending = lock(&self.sending);
        if sending.lost().is_some() {
            return false;
        }
        receiving.incoming.on_leaving();
        if let Some(count) = receiving.incoming.poll_count() {
            sending.outgoing.hot(&count);
        }
        sending.outgoing.goodbye(code, reason);
        sending.lose(lost.clone(), true);
        drop((sending, receiving));
        self.lose(lost, true);
        true
    }

    /// The broker broke a rule: says so and closes, or looks for another link if that can help.
    pub(super) fn on_fault(&self, fault: PeerFault) {
        let lost = Lost::Fault(fault);
        if self.reconnects && lost.retryable() {
            self.on_link_lost(lost);
        } else {
            self.leave(lost, fault.close_code(), fault.text());
        }
    }

    /// Says goodbye behind everything published. The tasks are ended when the time to drain is over.
    pub(super) fn close(self: &Arc<Self>) {
        if !self.leave(Lost::Closed, CloseCode::Normal, "") {
            return;
        }
        let shared = Arc::clone(self);
        self.runtime.spawn(async move {
            if timeout(shared.drain, shared.wait_closed()).await.is_err() {
                shared.abort();
            }
        });
    }

    /// Ends all tasks where they stand.
    pub(super) fn abort(&self) {
        if let Some(supervisor) = self.supervisor.get() {
            supervisor.abort();
        }
    }

    /// Waits until the tasks are over.
    pub(super) async fn wait_closed(&self) {
        let mut closed = self.closed.subscribe();
        // The sender lives as long as this borrow.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Whether this side ended the connection and everything queued was written.
    pub(super) fn is_finished(&self) -> bool {
        lock(&self.sending).is_finished()
    }

    pub(super) const fn drain(&self) -> Duration {
        self.drain
    }
}
