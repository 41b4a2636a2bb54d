//! What waits for one subscriber, between the reader and whoever consumes it.

use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

use super::lock;
use crate::core::{Inbox, Incoming, SubscriptionId};
use crate::error::Lost;

/// A bounded queue with one reader task at one end and one subscriber at the other.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    room: Notify,
    bytes_max: usize,
    messages_max: usize,
}

#[derive(Debug, Default)]
struct State {
    inbox: Inbox,
    consumer: Option<Waker>,
    reader_waits: bool,
    ended: Option<Lost>,
    abandoned: bool,
}

impl Queue {
    pub(super) fn new(bytes_max: usize, messages_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            room: Notify::new(),
            bytes_max: bytes_max.max(1),
            messages_max: messages_max.max(1),
        }
    }

    /// Moves what was staged for `id` behind what waits. Returns whether the queue is at its bound now, and whom to wake.
    pub(super) fn fill(&self, id: SubscriptionId, incoming: &mut Incoming) -> (bool, Option<Waker>) {
        let mut state = lock(&self.state);
        if state.closed() {
            incoming.take_messages(id, &mut Inbox::default());
            return (false, None);
        }
        incoming.take_messages(id, &mut state.inbox);
        let full = state.inbox.bytes() >= self.bytes_max || state.inbox.len() >= self.messages_max;
        (full, state.consumer.take())
    }

    /// Waits until the subscriber took what was there, or nobody wants it any more. Only the reader calls this.
    pub(super) async fn wait_for_room(&self) {
        loop {
            {
                let mut state = lock(&self.state);
                if state.inbox.is_empty() || state.closed() {
                    return;
                }
                state.reader_waits = true;
            }
            self.room.notified().await;
        }
    }

    /// Takes everything that waits into `out`, which is empty. Pending: the waker is kept. Error: nothing will come.
    pub(super) fn poll_take(&self, out: &mut Inbox, context: Option<&Context<'_>>) -> Poll<Result<(), Lost>> {
        let mut state = lock(&self.state);
        if !state.inbox.is_empty() {
            out.append(&mut state.inbox);
            let reader_waits = std::mem::take(&mut state.reader_waits);
            drop(state);
            if reader_waits {
                self.room.notify_one();
            }
            return Poll::Ready(Ok(()));
        }
        if let Some(lost) = &state.ended {
            return Poll::Ready(Err(lost.clone()));
        }
        if let Some(context) = context {
            match &mut state.consumer {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
        }
        Poll::Pending
    }

    /// Nothing will come any more. What waits can still be taken.
    pub(super) fn end(&self, lost: &Lost) {
        let mut state = lock(&self.state);
        state.ended.get_or_insert_with(|| lost.clone());
        let consumer = state.consumer.take();
        drop(state);
        if let Some(consumer) = consumer {
            consumer.wake();
        }
        self.room.notify_one();
    }

    /// The subscriber is gone.
    pub(super) fn abandon(&self) {
        let mut state = lock(&self.state);
        state.abandoned = true;
        state.inbox = Inbox::default();
        drop(state);
        self.room.notify_one();
    }
}

impl State {
    const fn closed(&self) -> bool {
        self.abandoned || self.ended.is_some()
    }
}
