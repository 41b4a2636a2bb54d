//! Receiving, blocking.

use std::sync::Arc;
use std::time::Duration;

use ::tokio::time::timeout;

use super::driver::Driven;
use crate::error::Lost;
use crate::item::Item;
use crate::message::Message;
use crate::tokio;

/// A confirmed subscription, also an iterator that waits for each message. Dropping it unsubscribes.
///
/// What the broker dropped for this subscriber it reports among the messages: [`Subscription::recv_item`] and
/// [`Subscription::items`] give both; the others pass over the reports, and [`Subscription::lost_messages`] adds them up.
#[derive(Debug)]
pub struct Subscription {
    inner: tokio::Subscription,
    driven: Arc<Driven>,
    /// The iterator has told its end.
    told: bool,
}

impl Subscription {
    pub(super) const fn new(driven: Arc<Driven>, inner: tokio::Subscription) -> Self {
        Self { inner, driven, told: false }
    }

    /// Waits for the next message; reports of lost ones are only counted. An error means that the connection is gone and no message is left.
    pub fn recv(&mut self) -> Result<Message, Lost> {
        match self.inner.try_recv() {
            Some(message) => Ok(message),
            None => self.driven.wait(self.inner.recv()),
        }
    }

    /// Waits for the next message for at most `longest`; `None` if none came.
    ///
    /// ```no_run
    /// # fn example(mut readings: laneway_client::blocking::Subscription) -> Result<(), laneway_client::Lost> {
    /// if readings.recv_timeout(std::time::Duration::from_secs(1))?.is_none() {
    ///     println!("silence");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn recv_timeout(&mut self, longest: Duration) -> Result<Option<Message>, Lost> {
        if let Some(message) = self.inner.try_recv() {
            return Ok(Some(message));
        }
        let inner = &mut self.inner;
        // Made inside the runtime, which owns the clock.
        self.driven.wait(async move { timeout(longest, inner.recv()).await.ok().transpose() })
    }

    /// The next message, if one is here.
    pub fn try_recv(&mut self) -> Option<Message> {
        self.inner.try_recv()
    }

    /// Waits for the next message or report of lost ones.
    pub fn recv_item(&mut self) -> Result<Item, Lost> {
        match self.inner.try_recv_item() {
            Some(item) => Ok(item),
            None => self.driven.wait(self.inner.recv_item()),
        }
    }

    /// Waits for the next message or report for at most `longest`; `None` if none came.
    pub fn recv_item_timeout(&mut self, longest: Duration) -> Result<Option<Item>, Lost> {
        if let Some(item) = self.inner.try_recv_item() {
            return Ok(Some(item));
        }
        let inner = &mut self.inner;
        self.driven.wait(async move { timeout(longest, inner.recv_item()).await.ok().transpose() })
    }

    /// The next message or report, if one is here.
    pub fn try_recv_item(&mut self) -> Option<Item> {
        self.inner.try_recv_item()
    }

    /// An iterator over messages and reports that waits for each; ends as the subscription's own does.
    ///
    /// ```no_run
    /// # fn example(mut readings: laneway_client::blocking::Subscription) -> Result<(), laneway_client::Lost> {
    /// use laneway_client::Item;
    /// for item in readings.items() {
    ///     if let Item::Lost(report) = item? {
    ///         eprintln!("{report}");
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub const fn items(&mut self) -> Items<'_> {
        Items { subscription: self }
    }

    /// Messages lost according to the reports that were received or passed over so far; see
    /// [`Subscription::lost_messages`](tokio::Subscription::lost_messages).
    pub const fn lost_messages(&self) -> u64 {
        self.inner.lost_messages()
    }

    /// What an iterator says: its end once, and nothing behind it.
    fn tell<T>(&mut self, received: Result<T, Lost>) -> Option<Result<T, Lost>> {
        match received {
            Ok(received) => Some(Ok(received)),
            Err(lost) => {
                self.told = true;
                (lost != Lost::Closed).then_some(Err(lost))
            }
        }
    }
}

/// Messages and reports of lost ones, from [`Subscription::items`].
#[derive(Debug)]
pub struct Items<'a> {
    subscription: &'a mut Subscription,
}

impl Iterator for Items<'_> {
    type Item = Result<Item, Lost>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.subscription.told {
            return None;
        }
        let received = self.subscription.recv_item();
        self.subscription.tell(received)
    }
}

impl Iterator for Subscription {
    type Item = Result<Message, Lost>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.told {
            return None;
        }
        let received = self.recv();
        self.tell(received)
    }
}
