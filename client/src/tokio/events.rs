//! What happens to a connection, told to whoever listens.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;

use super::lock;
use crate::error::Lost;
use crate::link::{BreakerState, ConnectionEvent, ConnectionState, Phase};

/// Events that wait for one listener; beyond it the oldest is dropped.
pub const EVENTS_MAX: usize = 64;

/// What happens to a connection, from [`Client::events`](super::Client::events): a [`Stream`], or [`Events::recv`]. At
/// most [`EVENTS_MAX`] events wait; a listener that stays behind finds the newest ones.
#[derive(Debug)]
pub struct Events {
    listener: Arc<Listener>,
}

#[derive(Debug, Default)]
struct Listener {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<ConnectionEvent>,
    missed: u64,
    waker: Option<Waker>,
    ended: bool,
}

/// The teller's side.
#[derive(Debug)]
pub(super) struct Hub {
    board: Mutex<Board>,
}

#[derive(Debug)]
struct Board {
    listeners: Vec<Weak<Listener>>,
    state: ConnectionState,
    /// What a new listener is told first: where things stand.
    standing: ConnectionEvent,
}

impl Events {
    /// The next event, or `None` when the connection is over and everything was told. Dropping the future loses
    /// nothing.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) {
    /// let mut events = client.events();
    /// while let Some(event) = events.recv().await {
    ///     println!("{event:?}");
    /// }
    /// # }
    /// ```
    pub async fn recv(&mut self) -> Option<ConnectionEvent> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The next event, if one is here.
    pub fn try_recv(&mut self) -> Option<ConnectionEvent> {
        lock(&self.listener.waiting).events.pop_front()
    }

    /// [`Events::recv`] for callers that poll.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<ConnectionEvent>> {
        let mut waiting = lock(&self.listener.waiting);
        if let Some(event) = waiting.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if waiting.ended {
            return Poll::Ready(None);
        }
        waiting.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Events dropped so far because this listener stayed behind.
    pub fn missed(&self) -> u64 {
        lock(&self.listener.waiting).missed
    }
}

impl Stream for Events {
    type Item = ConnectionEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(context)
    }
}

impl Hub {
    /// For a connection that is up.
    pub(super) fn new(session: u32) -> Self {
        let standing = ConnectionEvent::Up { session, resumed: false, restarted: false };
        Self { board: Mutex::new(Board { listeners: Vec::new(), state: ConnectionState::default(), standing }) }
    }

    pub(super) fn listen(&self) -> Events {
        let mut board = lock(&self.board);
        let listener = Arc::new(Listener::default());
        let mut waiting = lock(&listener.waiting);
        waiting.events.push_back(board.standing.clone());
        waiting.ended = board.state.phase == Phase::Closed;
        drop(waiting);
        board.listeners.retain(|listener| listener.strong_count() > 0);
        board.listeners.push(Arc::downgrade(&listener));
        Events { listener }
    }

    pub(super) fn state(&self) -> ConnectionState {
        lock(&self.board).state
    }

    pub(super) fn connecting(&self, attempt: u32, breaker: BreakerState) {
        self.tell(ConnectionEvent::Connecting { attempt }, |state| {
            (state.phase, state.attempts, state.breaker) = (Phase::Connecting, attempt, breaker);
        });
    }

    pub(super) fn up(&self, session: u32, resumed: bool, restarted: bool) {
        self.tell(ConnectionEvent::Up { session, resumed, restarted }, |state| {
            (state.phase, state.attempts, state.breaker) = (Phase::Up, 0, BreakerState::Closed);
        });
    }

    /// The link is in doubt (`Degraded`) or not any more (`Recovered`).
    pub(super) fn doubt(&self, event: ConnectionEvent) {
        let phase = if event == ConnectionEvent::Recovered { Phase::Up } else { Phase::Degraded };
        self.tell(event, |state| state.phase = phase);
    }

    pub(super) fn link_lost(&self) {
        lock(&self.board).state.links_lost += 1;
    }

    pub(super) fn in_doubt(&self, messages: u64) {
        if messages > 0 {
            self.tell(ConnectionEvent::MaybeDelivered { messages }, |state| state.maybe_delivered += messages);
        }
    }

    pub(super) fn waiting(&self, reason: Lost, wait: Duration, breaker: BreakerState) {
        self.tell(ConnectionEvent::Down { reason, will_retry_in: Some(wait) }, |state| {
            (state.phase, state.breaker) = (Phase::Waiting, breaker);
        });
    }

    /// The connection is over: nothing is told after this.
    pub(super) fn over(&self, reason: Lost) {
        self.tell(ConnectionEvent::Down { reason, will_retry_in: None }, |state| state.phase = Phase::Closed);
    }

    fn tell(&self, event: ConnectionEvent, change: impl FnOnce(&mut ConnectionState)) {
        let mut wakers = Vec::new();
        let mut board = lock(&self.board);
        if board.state.phase == Phase::Closed {
            return;
        }
        change(&mut board.state);
        let ended = board.state.phase == Phase::Closed;
        board.listeners.retain(|listener| {
            let Some(listener) = listener.upgrade() else { return false };
            let mut waiting = lock(&listener.waiting);
            if waiting.events.len() >= EVENTS_MAX {
                waiting.events.pop_front();
                waiting.missed += 1;
            }
            waiting.events.push_back(event.clone());
            waiting.ended = ended;
            wakers.extend(waiting.waker.take());
            true
        });
        if !matches!(event, ConnectionEvent::MaybeDelivered { .. }) {
            board.standing = event;
        }
        drop(board);
        // A waker may run anybody's code.
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_told_first_where_things_stand_and_at_last_that_it_is_over() {
        let hub = Hub::new(7);
        hub.connecting(3, BreakerState::Closed);
        let mut events = hub.listen();
        hub.over(Lost::Ended);
        hub.up(8, false, false);
        assert_eq!(events.try_recv(), Some(ConnectionEvent::Connecting { attempt: 3 }));
        assert_eq!(events.try_recv(), Some(ConnectionEvent::Down { reason: Lost::Ended, will_retry_in: None }));
        assert_eq!(events.try_recv(), None, "nothing is told after the end");
        assert_eq!(hub.state().phase, Phase::Closed);
        let mut late = hub.listen();
        assert!(late.try_recv().is_some());
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(late.poll_recv(&mut context), Poll::Ready(None));
    }

    #[test]
    fn a_listener_that_stays_behind_keeps_the_newest() {
        let hub = Hub::new(7);
        let mut events = hub.listen();
        (1..=100).for_each(|attempt| hub.connecting(attempt, BreakerState::Closed));
        assert_eq!(events.missed(), 101 - EVENTS_MAX as u64);
        let all: Vec<_> = std::iter::from_fn(|| events.try_recv()).collect();
        assert_eq!((all.len(), all.last()), (EVENTS_MAX, Some(&ConnectionEvent::Connecting { attempt: 100 })));
    }

    #[test]
    fn listeners_that_left_are_forgotten() {
        let hub = Hub::new(7);
        (0..100).for_each(|_| drop(hub.listen()));
        hub.connecting(1, BreakerState::Closed);
        assert!(lock(&hub.board).listeners.is_empty());
    }
}
