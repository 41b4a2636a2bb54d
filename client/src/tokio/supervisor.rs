//! The task behind a connection: it outlives its links and finds the next one.

use std::sync::Arc;
use std::time::Duration;

use laneway_proto::error::CloseCode;
use laneway_proto::time::Duration as Span;
use tokio::time::sleep_until;

use super::dial::{Dialler, suggested_wait};
use super::shared::Shared;
use super::tasks::{Streams, Tasks, race};
use crate::error::{ConnectError, Lost};
use crate::link::{Next, Reconnector};

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
        let unsent = Tasks::start(&shared, streams).ended().await;
        let (Some(redial), Some(reason)) = (&mut redial, shared.on_link_down(unsent)) else { break };
        match redial.next_link(&shared, reason).await {
            Some(next) => streams = next,
            None => break,
        }
    }
    drop(closing);
}

impl Redial {
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
            let error = match race(self.dialler.attempt(clock, offer), shared.no_link_wanted()).await? {
                Ok(dialled) => match shared.on_link_up(dialled) {
                    Ok(streams) => {
                        self.reconnector.on_up();
                        return Some(streams);
                    }
                    Err(fault) => ConnectError::Lost(Lost::Fault(fault)),
                },
                Err(error) => error,
            };
            let pause = Span(suggested_wait(&error).as_nanos() as u64);
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
