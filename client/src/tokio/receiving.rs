//! The receiving half behind its lock: who waits for what.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::BytesMut;
use laneway_proto::error::PeerFault;
use laneway_proto::frame::confirm::Confirm;
use laneway_proto::frame::count::LaneTotal;
use laneway_proto::time::{Duration as Span, Instant as Tick};
use tokio::sync::oneshot;

use super::queue::Queue;
use crate::core::{Answered, Event, Incoming, RequestId, SubscriptionId};
use crate::error::{FlushError, Lost, Reason};

/// Flushes and pings that may wait for their PONG at a time.
pub const PINGS_MAX: usize = 1_024;

/// The broker's answer to a subscription.
pub(super) type Answer = Result<(), Reason>;

/// PINGs and who waits for their PONGs.
pub(super) type Pings = VecDeque<(u64, oneshot::Sender<Duration>)>;

/// Who waits for the answer to a request.
pub(super) type Requests = HashMap<RequestId, oneshot::Sender<Answered>>;

/// What subscribers and the reader share.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) incoming: Incoming,
    queues: HashMap<SubscriptionId, Arc<Queue>>,
    confirmations: HashMap<SubscriptionId, oneshot::Sender<Answer>>,
    pings: Pings,
    requests: Requests,
    pub(super) lost: Option<Lost>,
}

/// Whom to tell once the lock is let go: a waker may run anybody's code.
#[derive(Debug, Default)]
pub(super) struct Tidings {
    consumers: Vec<Waker>,
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    pongs: Vec<(oneshot::Sender<Duration>, Duration)>,
    answered: Vec<(oneshot::Sender<Answered>, Answered)>,
    ended: Vec<(Arc<Queue>, Lost)>,
}

impl Tidings {
    pub(super) fn tell(&mut self) {
        for consumer in self.consumers.drain(..) {
            consumer.wake();
        }
        // Whoever asked may have stopped waiting.
        for (waiter, answer) in self.answers.drain(..) {
            let _ = waiter.send(answer);
        }
        for (waiter, rtt) in self.pongs.drain(..) {
            let _ = waiter.send(rtt);
        }
        for (waiter, answered) in self.answered.drain(..) {
            let _ = waiter.send(answered);
        }
        for (queue, lost) in self.ended.drain(..) {
            queue.end(&lost);
        }
    }
}

/// What one read brought beside messages.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// PINGs to be answered.
    pub(super) pinged: Vec<u64>,
    /// The last PING that was answered.
    pub(super) ponged: Vec<u64>,
    pub(super) goodbye: Option<Reason>,
    /// The broker's confirmations.
    pub(super) confirmed: Vec<Confirm>,
    /// What the broker has received, by lane.
    pub(super) counted: Vec<LaneTotal>,
    /// How much the broker takes.
    pub(super) credited: Vec<LaneTotal>,
    /// The session counts no more.
    pub(super) overtaken: bool,
    /// The round trip of the watch over silence.
    pub(super) trip: Option<Span>,
}

impl Receiving {
    pub(super) fn new(incoming: Incoming) -> Self {
        Self {
            incoming,
            queues: HashMap::new(),
            confirmations: HashMap::new(),
            pings: VecDeque::new(),
            requests: HashMap::new(),
            lost: None,
        }
    }

    /// Sorts what arrived. What came before a fault was good, and is delivered. `full` gets the queues at their bounds.
    pub(super) fn on_bytes(
        &mut self,
        now: Tick,
        buffer: &mut BytesMut,
        full: &mut Vec<Arc<Queue>>,
        tidings: &mut Tidings,
    ) -> (Result<(), PeerFault>, Brought) {
        let taken = self.incoming.on_bytes(now, buffer);
        let mut brought = Brought::default();
        while let Some(event) = self.incoming.poll_event() {
            match event {
                Event::Messages(id) => {
                    if let Some(queue) = self.queues.get(&id) {
                        let (is_full, consumer) = queue.fill(id, &mut self.incoming);
                        tidings.consumers.extend(consumer);
                        // Credit bounds what comes by lane; not to read would stop the other lanes, too.
                        if is_full && !self.incoming.keeps_credit() {
                            full.push(Arc::clone(queue));
                        }
                    }
                }
                Event::Subscribed(id) => self.on_answer(id, Ok(()), tidings),
                Event::SubscribeRefused(id, reason) => self.on_answer(id, Err(reason), tidings),
                Event::Pong { token, rtt, own } => {
                    if own {
                        brought.trip = Some(rtt);
                    }
                    brought.ponged.push(token);
                    self.on_pong(token, Duration::from_nanos(rtt.0), tidings);
                }
                Event::Answered(id, answered) => {
                    let waiter = self.requests.remove(&id);
                    tidings.answered.extend(waiter.map(|waiter| (waiter, answered)));
                }
                Event::Pinged(t0) => brought.pinged.push(t0),
                Event::Goodbye(reason) => brought.goodbye = Some(reason),
                Event::Counted(total) => brought.counted.push(total),
                Event::Credit(total) => brought.credited.push(total),
                Event::Confirm(confirm) => brought.confirmed.push(confirm),
                Event::Overtaken => brought.overtaken = true,
                // The handshake is over before this half gets here.
                Event::Welcomed(_) | Event::Rejected { .. } => {}
                // The other half's.
                Event::Settled(..) => {}
            }
        }
        (taken, brought)
    }

    fn on_answer(&mut self, id: SubscriptionId, answer: Answer, tidings: &mut Tidings) {
        match (self.confirmations.remove(&id), answer) {
            (Some(waiter), answer) => tidings.answers.push((waiter, answer)),
            // Made again on a new link.
            (None, Ok(())) => {}
            (None, Err(reason)) => {
                let queue = self.queues.get(&id).cloned();
                tidings.ended.extend(queue.map(|queue| (queue, Lost::Refused(reason))));
            }
        }
    }

    /// One that nobody waits for is skipped.
    fn on_pong(&mut self, token: u64, rtt: Duration, tidings: &mut Tidings) {
        let Ok(place) = self.pings.binary_search_by_key(&token, |(waiting, _)| *waiting) else { return };
        let answered = self.pings.remove(place);
        tidings.pongs.extend(answered.map(|(_, waiter)| (waiter, rtt)));
    }

    /// Room for one more PING.
    pub(super) fn check_ping(&mut self) -> Result<(), FlushError> {
        if let Some(lost) = &self.lost {
            return Err(FlushError::Lost(lost.clone()));
        }
        if self.pings.len() >= PINGS_MAX {
            // Whoever stopped waiting frees a place.
            self.pings.retain(|(_, waiter)| !waiter.is_closed());
        }
        if self.pings.len() < PINGS_MAX { Ok(()) } else { Err(FlushError::TooManyPending { pending_max: PINGS_MAX }) }
    }

    pub(super) fn add_ping(&mut self, token: u64, waiter: oneshot::Sender<Duration>) {
        self.pings.push_back((token, waiter));
    }

    pub(super) fn add_queue(&mut self, id: SubscriptionId, queue: Arc<Queue>, waiter: oneshot::Sender<Answer>) {
        self.queues.insert(id, queue);
        self.confirmations.insert(id, waiter);
    }

    /// Forgets a subscription; what is returned is to be dropped once the lock is let go.
    pub(super) fn remove_queue(&mut self, id: SubscriptionId) -> (Option<Arc<Queue>>, Option<oneshot::Sender<Answer>>) {
        (self.queues.remove(&id), self.confirmations.remove(&id))
    }

    pub(super) fn add_request(&mut self, id: RequestId, waiter: oneshot::Sender<Answered>) {
        self.requests.insert(id, waiter);
    }

    /// No PONG and no answer comes on this link any more; dropping what is returned, once the locks are let go, tells
    /// those who wait.
    pub(super) fn on_link_down(&mut self) -> (Pings, Requests) {
        self.incoming.on_link_down();
        (std::mem::take(&mut self.pings), std::mem::take(&mut self.requests))
    }

    /// Nothing comes any more. Returns whom to tell, by dropping it once the lock is let go; `None` if that is known.
    pub(super) fn lose(&mut self, lost: &Lost) -> Option<Bereaved> {
        if self.lost.is_some() {
            return None;
        }
        self.lost = Some(lost.clone());
        Some(Bereaved {
            queues: self.queues.values().cloned().collect(),
            confirmations: std::mem::take(&mut self.confirmations),
            pings: std::mem::take(&mut self.pings),
            requests: std::mem::take(&mut self.requests),
        })
    }
}

/// Everybody who waited when the connection was lost. Dropping the senders tells those who wait for an answer.
#[derive(Debug)]
pub(super) struct Bereaved {
    queues: Vec<Arc<Queue>>,
    confirmations: HashMap<SubscriptionId, oneshot::Sender<Answer>>,
    pings: Pings,
    requests: Requests,
}

impl Bereaved {
    pub(super) fn tell(self, lost: &Lost) {
        let Self { queues, confirmations, pings, requests } = self;
        for queue in queues {
            queue.end(lost);
        }
        drop((confirmations, pings, requests));
    }
}
