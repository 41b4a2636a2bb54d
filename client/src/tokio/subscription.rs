//! Receiving.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::client::Link;
use super::queue::Queue;
use crate::core::{Inbox, SubscriptionId};
use crate::error::Lost;
use crate::item::Item;
use crate::message::Message;

/// A confirmed subscription: a [`Stream`] of messages, or [`Subscription::recv`]. Dropping it unsubscribes.
///
/// What the broker dropped for this subscriber it reports among the messages: [`Subscription::recv_item`] and
/// [`Subscription::items`] give both; the others pass over the reports, and [`Subscription::lost_messages`] adds them up.
///
/// What it does not take waits at the broker: of each lane at most
/// [`lane_credit`](crate::ConnectOptions::lane_credit) comes ahead, then that lane stops and all others go on. A broker
/// disconnects a subscriber that stays behind for too long on a lane that may not drop.
#[derive(Debug)]
pub struct Subscription {
    link: Arc<Link>,
    id: SubscriptionId,
    queue: Arc<Queue>,
    /// Taken from the queue, not given out yet.
    taken: Inbox,
    /// The stream has told its end.
    told: bool,
}

impl Subscription {
    pub(super) fn new(link: Arc<Link>, id: SubscriptionId, queue: Arc<Queue>) -> Self {
        Self { link, id, queue, taken: Inbox::default(), told: false }
    }

    /// The next message; reports of lost ones are only counted. An error means that the connection is gone and no message is left; it is repeated when asked
    /// again. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Result<Message, Lost> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The next message, if one is here.
    ///
    /// ```no_run
    /// # async fn example(mut readings: laneway_client::Subscription) -> Result<(), laneway_client::Lost> {
    /// let mut newest = readings.recv().await?;
    /// while let Some(newer) = readings.try_recv() {
    ///     newest = newer;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn try_recv(&mut self) -> Option<Message> {
        loop {
            match self.try_recv_item()? {
                Item::Message(message) => return Some(message),
                Item::Lost(_) => {}
            }
        }
    }

    /// The next message or report of lost ones, otherwise as [`Subscription::recv`].
    ///
    /// ```no_run
    /// # async fn example(mut readings: laneway_client::Subscription) -> Result<(), laneway_client::Lost> {
    /// use laneway_client::Item;
    /// loop {
    ///     match readings.recv_item().await? {
    ///         Item::Message(message) => println!("{}", message.topic),
    ///         Item::Lost(report) => eprintln!("{} messages: {:?}", report.messages, report.reason),
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn recv_item(&mut self) -> Result<Item, Lost> {
        poll_fn(|context| self.poll_recv_item(context)).await
    }

    /// The next message or report, if one is here.
    pub fn try_recv_item(&mut self) -> Option<Item> {
        if self.taken.is_empty() {
            let _ = self.queue.poll_take(&mut self.taken, None);
        }
        let item = self.taken.pop_item();
        self.give_credit();
        item
    }

    /// A [`Stream`] of messages and reports; ends as the subscription's own stream does.
    ///
    /// ```no_run
    /// # async fn example(mut readings: laneway_client::Subscription) {
    /// # use std::{future::poll_fn, pin::Pin};
    /// use futures_core::Stream as _;
    /// let mut items = readings.items();
    /// let next = poll_fn(|context| Pin::new(&mut items).poll_next(context)).await;
    /// # }
    /// ```
    pub const fn items(&mut self) -> Items<'_> {
        Items { subscription: self }
    }

    /// Messages lost according to the reports that were received or passed over so far. Reports of several topics at once
    /// count in every subscription of the connection.
    pub const fn lost_messages(&self) -> u64 {
        self.taken.lost_messages()
    }

    /// Lets the broker send more if enough was taken.
    fn give_credit(&mut self) {
        if self.taken.take_credit_due() {
            self.link.shared.give_credit();
        }
    }

    /// [`Subscription::recv`] for callers that poll.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, Lost>> {
        loop {
            match self.poll_recv_item(context) {
                Poll::Ready(Ok(Item::Message(message))) => return Poll::Ready(Ok(message)),
                Poll::Ready(Ok(Item::Lost(_))) => {}
                Poll::Ready(Err(lost)) => return Poll::Ready(Err(lost)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// [`Subscription::recv_item`] for callers that poll.
    pub fn poll_recv_item(&mut self, context: &mut Context<'_>) -> Poll<Result<Item, Lost>> {
        loop {
            let item = self.taken.pop_item();
            self.give_credit();
            if let Some(item) = item {
                return Poll::Ready(Ok(item));
            }
            match self.queue.poll_take(&mut self.taken, Some(context)) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(lost)) => return Poll::Ready(Err(lost)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Messages until the connection ends; then the reason as one last error, unless this side closed it.
impl Stream for Subscription {
    type Item = Result<Message, Lost>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.told {
            return Poll::Ready(None);
        }
        self.poll_recv(context).map(|received| self.tell(received))
    }
}

impl Subscription {
    /// What a stream says: its end once, and nothing behind it.
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

impl Stream for Items<'_> {
    type Item = Result<Item, Lost>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let subscription = &mut *self.subscription;
        if subscription.told {
            return Poll::Ready(None);
        }
        subscription.poll_recv_item(context).map(|received| subscription.tell(received))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // What nobody takes makes room.
        self.taken = Inbox::default();
        self.link.shared.unsubscribe(self.id);
    }
}
