//! The task behind a connection: it outlives its links and finds the next one.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use laneway_proto::error::CloseCode;
use tokio::time::{sleep, sleep_until};

use super::dial::{Dialler, Reached, suggested_wait};
use super::shared::Shared;
use super::tasks::{Streams, Tasks, race};
use crate::error::{ConnectError, Lost};
use crate::link::{Next, Reconnector};
use crate::span::span;

/// Pause before a link beside an ailing one is tried again.
const BESIDE_PAUSE: Duration = Duration::from_millis(500);

/// What it takes to connect again.
pub(super) struct Redial {
    pub(super) dialler: Dialler,
    pub(super) reconnector: Reconnector,
}

/// Carries a connection from link to link, until there is none or nobody wants one.
pub(super) async fn supervise(shared: Arc<Shared>, first: Streams, mut redial: Option<Redial>) {
    let closing = shared.closing();
    let mut streams = first;
    loop {
        let tasks = Tasks::start(&shared, streams);
        let mut beside = None;
        let unsent = match &redial {
            Some(redial) => {
                let mut ended = pin!(tasks.ended());
                let replacing = async {
                    beside = Some(redial.link_beside(&shared).await);
                    shared.leave_link();
                };
                match race(ended.as_mut(), replacing).await {
                    Some(unsent) => unsent,
                    None => ended.await,
                }
            }
            None => tasks.ended().await,
        };
        let (Some(redial), Some(reason)) = (&mut redial, shared.on_link_down(unsent)) else { break };
        let mut next = None;
        if let Some(reached) = beside {
            next = redial.go_over(&shared, reached).await;
        }
        if next.is_none() {
            next = redial.next_link(&shared, reason).await;
        }
        match next {
            Some(next) => streams = next,
            None => break,
        }
    }
    drop(closing);
}

impl Redial {
    /// Waits until the link there is does badly, and makes another one beside it, on which the broker answers.
    async fn link_beside(&self, shared: &Shared) -> Reached {
        loop {
            shared.another_link_wanted().await;
            let reached = self.dialler.reach_beside().await;
            // Meanwhile it may be well again.
            if let Some(reached) = reached.filter(|_| shared.wants_another_link()) {
                return reached;
            }
            sleep(BESIDE_PAUSE).await;
        }
    }

    /// The session goes over to the link beside the one that was left; `None`: it has to be sought in another way.
    async fn go_over(&mut self, shared: &Shared, reached: Reached) -> Option<Streams> {
        let session = shared.offer()?;
        self.dialler.tell(&shared.agreed().local.metadata);
        let opening = self.dialler.attempt(shared.clock(), Some(session), Some(reached));
        let dialled = race(opening, shared.no_link_wanted()).await?.ok()?;
        let streams = shared.on_link_up(dialled).ok()?;
        self.reconnector.on_up();
        Some(streams)
    }

    /// Dials until the broker agrees; `None`: the connection is over.
    async fn next_link(&mut self, shared: &Shared, mut reason: Lost) -> Option<Streams> {
        let clock = shared.clock();
        let mut next = self.reconnector.on_down(clock.now());
        while !shared.wants_no_link() {
            let Next::RetryIn(wait) = next else {
                shared.lose(reason, false);
                return None;
            };
            let breaker = self.reconnector.breaker();
            shared.hub.waiting(reason.clone(), Duration::from_nanos(wait.0), breaker);
            let attempt = race(self.due(shared), shared.no_link_wanted()).await?;
            shared.hub.connecting(attempt, self.reconnector.breaker());
            let offer = shared.offer();
            self.dialler.tell(&shared.agreed().local.metadata);
            let offered = offer.is_some();
            let error = match race(self.dialler.attempt(clock, offer, None), shared.no_link_wanted()).await? {
                Ok(dialled) => match shared.on_link_up(dialled) {
                    Ok(streams) => {
                        self.reconnector.on_up();
                        return Some(streams);
                    }
                    Err(fault) => ConnectError::Lost(Lost::Fault(fault)),
                },
                Err(error) => error,
            };
            let pause = span(suggested_wait(&error));
            // What contradicts itself will do so the next time, too; without the session there is nothing to contradict.
            let contradicts = offered && is_contradiction(&error);
            if contradicts {
                shared.forget_session();
            }
            next = self.reconnector.on_attempt_failed(clock.now(), contradicts || error.retryable(), pause);
            reason = no_link(error, attempt);
        }
        None
    }

    /// Waits until an attempt is due; returns its number.
    async fn due(&mut self, shared: &Shared) -> u32 {
        let clock = shared.clock();
        loop {
            if let Some(at) = self.reconnector.poll_timeout() {
                sleep_until(clock.when(at)).await;
            }
            if let Some(attempt) = self.reconnector.on_timeout(clock.now()) {
                return attempt;
            }
        }
    }
}

fn no_link(error: ConnectError, attempts: u32) -> Lost {
    if let ConnectError::Lost(lost) = &error
        && !lost.retryable()
    {
        return lost.clone();
    }
    Lost::Unreachable { attempts, class: error.class(), text: error.to_string() }
}

/// Whether one side says that the other's counts of a session cannot be.
fn is_contradiction(error: &ConnectError) -> bool {
    let ConnectError::Lost(lost) = error else { return false };
    let code = if let Lost::Goodbye(reason) = lost {
        reason.code()
    } else if let Lost::Fault(fault) = lost {
        Some(fault.close_code())
    } else {
        None
    };
    matches!(code, Some(CloseCode::OutOfTurn | CloseCode::Malformed))
}
