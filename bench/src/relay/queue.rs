//! What waits for one subscriber of an async relay: refcounted chunks, bounded in bytes. For one thread, any runtime.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;

use super::WAITING_BYTES_MAX;

#[derive(Default)]
struct State {
    chunks: VecDeque<Bytes>,
    waiting_bytes: usize,
    /// No more is pushed; what waits is still popped.
    finished: bool,
    /// The writer is gone; what is pushed vanishes.
    abandoned: bool,
    pusher: Option<Waker>,
    popper: Option<Waker>,
}

/// A queue between the reader and one writer. Invariant: `waiting_bytes` is at most the bound, or one chunk waits.
#[derive(Default)]
pub(super) struct Queue {
    state: RefCell<State>,
}

impl Queue {
    /// Appends a chunk once there is room for it. Returns whether the subscriber is still there.
    pub(super) async fn push(&self, chunk: Bytes) -> bool {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if state.abandoned {
                return Poll::Ready(());
            }
            if state.waiting_bytes > 0 && state.waiting_bytes + chunk.len() > WAITING_BYTES_MAX {
                state.pusher = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        let mut state = self.state.borrow_mut();
        if !state.abandoned {
            state.waiting_bytes += chunk.len();
            state.chunks.push_back(chunk);
            wake(&mut state.popper);
        }
        !state.abandoned
    }

    /// The next chunk; `None` once everything was popped and no more will come.
    pub(super) async fn pop(&self) -> Option<Bytes> {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            match state.chunks.pop_front() {
                Some(chunk) => {
                    state.waiting_bytes -= chunk.len();
                    wake(&mut state.pusher);
                    Poll::Ready(Some(chunk))
                }
                None if state.finished => Poll::Ready(None),
                None => {
                    state.popper = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The reader's last word.
    pub(super) fn finish(&self) {
        let mut state = self.state.borrow_mut();
        state.finished = true;
        wake(&mut state.popper);
    }

    /// The writer's last word.
    pub(super) fn abandon(&self) {
        let mut state = self.state.borrow_mut();
        state.abandoned = true;
        state.chunks.clear();
        wake(&mut state.pusher);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// The subscribers of one publisher.
#[derive(Default)]
pub(super) struct Fanout {
    state: RefCell<FanoutState>,
}

#[derive(Default)]
struct FanoutState {
    queues: Vec<Rc<Queue>>,
    joined: Option<Waker>,
    finished: bool,
}

impl Fanout {
    /// Adds a subscriber; `None` once the publisher has left.
    pub(super) fn join(&self) -> Option<Rc<Queue>> {
        let mut state = self.state.borrow_mut();
        if state.finished {
            return None;
        }
        let queue = Rc::new(Queue::default());
        state.queues.push(Rc::clone(&queue));
        wake(&mut state.joined);
        Some(queue)
    }

    /// Waits until `count` subscribers have joined.
    pub(super) async fn joined(&self, count: usize) {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if state.queues.len() >= count {
                return Poll::Ready(());
            }
            state.joined = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Gives every subscriber the same bytes; waits for room where there is none.
    pub(super) async fn push(&self, chunk: Bytes) {
        let mut place = 0;
        loop {
            // Not borrowed while waiting: others may join meanwhile.
            let Some(queue) = self.state.borrow().queues.get(place).cloned() else { return };
            if queue.push(chunk.clone()).await {
                place += 1;
            } else {
                self.state.borrow_mut().queues.remove(place);
            }
        }
    }

    /// The publisher has left: writers end once they have written what waits.
    pub(super) fn finish(&self) {
        let mut state = self.state.borrow_mut();
        state.finished = true;
        for queue in state.queues.drain(..) {
            queue.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        let runtime = ::tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        ::tokio::task::LocalSet::new().block_on(&runtime, work)
    }

    #[test]
    fn a_full_queue_makes_the_reader_wait_until_the_writer_has_taken_some() {
        block_on(async {
            let queue = Rc::new(Queue::default());
            let chunk = Bytes::from(vec![0; WAITING_BYTES_MAX / 2 + 1]);
            assert!(queue.push(chunk.clone()).await);
            let pusher = ::tokio::task::spawn_local({
                let (queue, chunk) = (Rc::clone(&queue), chunk.clone());
                async move { queue.push(chunk).await }
            });
            ::tokio::task::yield_now().await;
            assert!(!pusher.is_finished(), "two chunks exceed the bound");
            assert_eq!(queue.pop().await.map(|bytes| bytes.len()), Some(chunk.len()));
            assert!(pusher.await.expect("no panic"));
        });
    }

    #[test]
    fn a_queue_ends_after_its_last_chunk_and_one_without_a_writer_takes_nothing() {
        block_on(async {
            let queue = Queue::default();
            queue.push(Bytes::from_static(b"a")).await;
            queue.finish();
            assert!(queue.pop().await.is_some());
            assert!(queue.pop().await.is_none());
            queue.abandon();
            assert!(!queue.push(Bytes::from_static(b"b")).await);
        });
    }

    #[test]
    fn a_lost_subscriber_leaves_the_others_alone() {
        block_on(async {
            let fanout = Fanout::default();
            let (lost, kept) = (fanout.join().expect("open"), fanout.join().expect("open"));
            lost.abandon();
            fanout.joined(2).await;
            fanout.push(Bytes::from_static(b"a")).await;
            assert_eq!(kept.pop().await.as_deref(), Some(&b"a"[..]));
            fanout.finish();
            assert!(kept.pop().await.is_none());
            assert!(fanout.join().is_none());
        });
    }
}
