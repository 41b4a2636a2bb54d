//! Waiting for a confirmation.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use super::client::Link;
use super::sending::Verdict;
use crate::core::ConfirmId;
use crate::error::{ConfirmError, Doubt};
use crate::level::Confirmed;

/// A little more than one tick of the runtime's clock.
const TICK: Duration = Duration::from_millis(1);

/// A message that was published with a level: a future of its confirmation. Dropping it stops waiting; the message is under
/// way, but is sent again no more. From [`Client::publish_receipt`](super::Client::publish_receipt).
#[derive(Debug)]
#[must_use = "await it to learn whether the message was confirmed"]
pub struct Receipt {
    link: Arc<Link>,
    /// `None` once it was told.
    id: Option<ConfirmId>,
    verdict: oneshot::Receiver<Verdict>,
    alarm: Pin<Box<Sleep>>,
}

impl Receipt {
    pub(super) fn new(link: Arc<Link>, id: ConfirmId, verdict: oneshot::Receiver<Verdict>, timeout: Duration) -> Self {
        // A time that cannot be reckoned with is a day.
        let now = Instant::now();
        let until = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(86_400));
        Self { link, id: Some(id), verdict, alarm: Box::pin(sleep_until(until)) }
    }
}

impl Future for Receipt {
    type Output = Result<Confirmed, ConfirmError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Poll::Ready(verdict) = Pin::new(&mut self.verdict).poll(context) {
                self.id = None;
                let verdict = verdict.unwrap_or_else(|_| Err(Doubt::Lost(self.link.shared.lost())));
                return Poll::Ready(verdict.map_err(ConfirmError::MaybeDelivered));
            }
            if self.alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            // There may be no link, and so nobody else who watches the time.
            self.link.shared.watch_the_time();
            self.alarm.as_mut().reset(Instant::now() + TICK);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.link.shared.give_up(id);
        }
    }
}
