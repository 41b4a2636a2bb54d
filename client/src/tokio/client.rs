//! The handle of a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use laneway_proto::control::Control;
use tokio::sync::futures::Notified;
use tokio::time::timeout;

use super::events::Events;
use super::publisher::Publisher;
use super::receipt::Receipt;
use super::shared::{Asked, Pushed, Shared};
use super::subscription::Subscription;
use crate::core::{Incoming, RequestId, Terms, TopicId};
use crate::error::{
    CloseError, ConfirmError, FlushError, Lost, PublishError, RequestError, SubscribeError, TryPublishError,
};
use crate::level::{ConfirmOptions, Confirmed};
use crate::link::ConnectionState;
use crate::payload::Payload;
use crate::peer::Peer;
use crate::publish_options::PublishOptions;
use crate::stat::Stat;
use crate::subscribe_options::SubscribeOptions;

/// A connection to a broker. Clones share it; it closes when the last clone, [`Publisher`] and [`Subscription`] is
/// gone, or by [`Client::close`].
///
/// Every future of this library may be dropped at any point: the connection stays usable, and what the operation did
/// not finish is as if it had not been asked for, unless its documentation says more.
///
/// When the link breaks, the library dials again (see [`reconnect`](crate::ConnectOptions::reconnect)): subscriptions
/// go on, and publishing goes on within the bounds of the send queue. If the broker still has the session, it goes on where
/// it stood: on reliable lanes nothing is lost and nothing comes twice, in either direction. Otherwise what the broker had not
/// confirmed is reported by [`Client::flush`] and by [`Client::events`].
#[derive(Debug)]
pub struct Client {
    link: Arc<Link>,
    /// Messages in doubt, ever, that this handle has reported.
    told: AtomicU64,
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Self { link: Arc::clone(&self.link), told: AtomicU64::new(self.told.load(Ordering::Relaxed)) }
    }
}

/// Ends the connection when the last handle goes.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
}

impl Link {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Publishes one message, waiting while the send queue is full.
    pub(super) async fn publish(
        &self,
        topic: TopicId,
        options: PublishOptions,
        mut payload: Payload<'_>,
    ) -> Result<(), PublishError> {
        while let Some(space) = self.shared.push(topic, options, &mut payload)? {
            space.await;
        }
        Ok(())
    }

    /// Publishes one message with a level, waiting while there is no room.
    pub(super) async fn publish_receipt(
        self: &Arc<Self>,
        topic: TopicId,
        options: ConfirmOptions,
        mut payload: Payload<'_>,
    ) -> Result<Receipt, ConfirmError> {
        loop {
            match self.shared.push_confirmed(topic, options, &mut payload)? {
                Pushed::Full(space) => space.await,
                Pushed::Taken(id, verdict) => {
                    return Ok(Receipt::new(Arc::clone(self), id, verdict, options.timeout));
                }
            }
        }
    }

    /// Publishes what the iterator gives until the send queue is full; then says what to wait for before calling again.
    /// The message that did not fit is kept in `left`.
    pub(super) fn publish_some<'a, 's, I>(
        &'s self,
        topic: TopicId,
        options: PublishOptions,
        payloads: &mut I,
        left: &mut Option<Payload<'a>>,
    ) -> Result<Option<Notified<'s>>, PublishError>
    where
        I: Iterator,
        I::Item: Into<Payload<'a>>,
    {
        while let Some(mut payload) = left.take().or_else(|| payloads.next().map(Into::into)) {
            if let Some(space) = self.shared.push(topic, options, &mut payload)? {
                *left = Some(payload);
                return Ok(Some(space));
            }
        }
        Ok(None)
    }

    /// Publishes all of `payloads`.
    pub(super) async fn publish_batch<'a, I>(
        &self,
        topic: TopicId,
        options: PublishOptions,
        payloads: I,
    ) -> Result<(), PublishError>
    where
        I: IntoIterator,
        I::Item: Into<Payload<'a>>,
    {
        let mut payloads = payloads.into_iter();
        let mut left = None;
        while let Some(space) = self.publish_some(topic, options, &mut payloads, &mut left)? {
            space.await;
        }
        Ok(())
    }

    pub(super) fn try_publish(
        &self,
        topic: TopicId,
        options: PublishOptions,
        mut payload: Payload<'_>,
    ) -> Result<(), TryPublishError> {
        match self.shared.push(topic, options, &mut payload)? {
            None => Ok(()),
            Some(_) => Err(TryPublishError::Full),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Client {
    pub(super) fn new(link: Link) -> Self {
        Self { link: Arc::new(link), told: AtomicU64::new(0) }
    }

    /// For the blocking flavour: takes one message, or says what to wait for before trying again.
    #[cfg(feature = "blocking")]
    pub(crate) fn push(
        &self,
        topic: TopicId,
        options: PublishOptions,
        payload: &mut Payload<'_>,
    ) -> Result<Option<Notified<'_>>, PublishError> {
        self.link.shared.push(topic, options, payload)
    }

    /// For the blocking flavour: [`Client::push`] for many.
    #[cfg(feature = "blocking")]
    pub(crate) fn push_some<'a, 's, I>(
        &'s self,
        topic: TopicId,
        options: PublishOptions,
        payloads: &mut I,
        left: &mut Option<Payload<'a>>,
    ) -> Result<Option<Notified<'s>>, PublishError>
    where
        I: Iterator,
        I::Item: Into<Payload<'a>>,
    {
        self.link.publish_some(topic, options, payloads, left)
    }

    pub(crate) fn intern(&self, topic: &str) -> Result<TopicId, PublishError> {
        self.link.shared.intern(topic)
    }

    /// Publishes one message on the lane `command`. Returns when the message is queued; it is written at once if the
    /// socket is idle. Waits while the send queue is full. [`Client::flush`] tells when the broker has it.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) -> Result<(), laneway_client::PublishError> {
    /// client.publish("sensors/imu/x", "21.5").await?;
    /// client.publish("camera/0", vec![0u8; 300_000]).await?; // not copied
    /// # Ok(()) }
    /// ```
    pub async fn publish<'a>(&self, topic: &str, payload: impl Into<Payload<'a>>) -> Result<(), PublishError> {
        self.publish_with(topic, payload, PublishOptions::default()).await
    }

    /// [`Client::publish`] with a lane, a time stamp, a deadline, or as the topic's last value.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) -> Result<(), laneway_client::PublishError> {
    /// use laneway_client::{Lane, PublishOptions};
    /// let options = PublishOptions { lane: Lane::BULK, ..PublishOptions::default() };
    /// client.publish_with("logs/boot", "ready", options).await?;
    /// # Ok(()) }
    /// ```
    pub async fn publish_with<'a>(
        &self,
        topic: &str,
        payload: impl Into<Payload<'a>>,
        options: PublishOptions,
    ) -> Result<(), PublishError> {
        let topic = self.intern(topic)?;
        self.link.publish(topic, options, payload.into()).await
    }

    /// Publishes one message and waits until it has got as far as asked: the broker has accepted it, or at least so many
    /// client libraries have received it. Other publishes do not wait for it, on whatever lane. Dropping the future stops
    /// waiting; what was taken is under way.
    ///
    /// A message that is to be delivered is sent again over a new link, to a restarted broker, and, with nothing newer on its
    /// lane or on an unordered one, as long as too few have received it; who took it drops what comes again.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) -> Result<(), laneway_client::ConfirmError> {
    /// use laneway_client::Level;
    /// let confirmed = client.publish_confirmed("plant/stop", "now", Level::delivered(2)).await?;
    /// println!("{} clients have it", confirmed.receivers);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ConfirmError::MaybeDelivered`] if the level was not reached in time, or cannot be reached any more.
    pub async fn publish_confirmed<'a>(
        &self,
        topic: &str,
        payload: impl Into<Payload<'a>>,
        options: impl Into<ConfirmOptions>,
    ) -> Result<Confirmed, ConfirmError> {
        self.publish_receipt(topic, payload, options).await?.await
    }

    /// The first half of [`Client::publish_confirmed`]: returns when the message is queued, with a future of its
    /// confirmation, so that many can be under way. At [`CONFIRMS_PENDING_MAX`](crate::core::CONFIRMS_PENDING_MAX) on a lane it
    /// waits until one is settled.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) -> Result<(), laneway_client::ConfirmError> {
    /// use laneway_client::{ConfirmOptions, Lane, Level};
    /// let options = ConfirmOptions { publish: Lane::BULK.into(), ..Level::delivered(1).into() };
    /// let first = client.publish_receipt("log/1", "one", options).await?;
    /// let second = client.publish_receipt("log/1", "two", options).await?;
    /// first.await?;
    /// second.await?;
    /// # Ok(()) }
    /// ```
    pub async fn publish_receipt<'a>(
        &self,
        topic: &str,
        payload: impl Into<Payload<'a>>,
        options: impl Into<ConfirmOptions>,
    ) -> Result<Receipt, ConfirmError> {
        let topic = self.intern(topic)?;
        self.link.publish_receipt(topic, options.into(), payload.into()).await
    }

    /// Publishes one message if there is room for it now.
    ///
    /// ```no_run
    /// # fn example(client: &laneway_client::Client) -> Result<(), laneway_client::PublishError> {
    /// use laneway_client::TryPublishError;
    /// match client.try_publish("sensors/imu/x", "21.5") {
    ///     Ok(()) => {}
    ///     Err(TryPublishError::Full) => println!("the broker is behind; sample dropped"),
    ///     Err(TryPublishError::Refused(error)) => return Err(error),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn try_publish<'a>(&self, topic: &str, payload: impl Into<Payload<'a>>) -> Result<(), TryPublishError> {
        let topic = self.intern(topic)?;
        self.link.try_publish(topic, PublishOptions::default(), payload.into())
    }

    /// Publishes many messages to one topic, in order, many to a frame. If the future is dropped or an error returned,
    /// those taken from the iterator so far are published, except the one it stopped at.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) -> Result<(), laneway_client::PublishError> {
    /// client.publish_batch("numbers", (1..=1_000).map(|number| number.to_string())).await?;
    /// # Ok(()) }
    /// ```
    pub async fn publish_batch<'a, I>(&self, topic: &str, payloads: I) -> Result<(), PublishError>
    where
        I: IntoIterator,
        I::Item: Into<Payload<'a>>,
    {
        self.publish_batch_with(topic, payloads, PublishOptions::default()).await
    }

    /// [`Client::publish_batch`] with other options; those beside the lane put each message in a frame of its own.
    pub async fn publish_batch_with<'a, I>(
        &self,
        topic: &str,
        payloads: I,
        options: PublishOptions,
    ) -> Result<(), PublishError>
    where
        I: IntoIterator,
        I::Item: Into<Payload<'a>>,
    {
        let topic = self.intern(topic)?;
        self.link.publish_batch(topic, options, payloads).await
    }

    /// A handle that publishes to one topic without looking its name up each time. The topic is declared to the broker
    /// with the first message.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) -> Result<(), laneway_client::PublishError> {
    /// let x = client.publisher("sensors/imu/x")?;
    /// for sample in 0..1_000_000u32 {
    ///     x.publish(&sample.to_le_bytes()).await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn publisher(&self, topic: &str) -> Result<Publisher, PublishError> {
        Ok(Publisher::new(Arc::clone(&self.link), self.intern(topic)?))
    }

    /// Subscribes to the topics that match `filter`. Returns when the broker has confirmed: everything published from
    /// then on, by anyone, arrives. Dropping the future or the [`Subscription`] unsubscribes.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut readings = client.subscribe("sensors/#").await?;
    /// loop {
    ///     let message = readings.recv().await?;
    ///     println!("{} {:?}", message.topic, message.payload);
    /// }
    /// # }
    /// ```
    pub async fn subscribe(&self, filter: &str) -> Result<Subscription, SubscribeError> {
        self.subscribe_any(&[filter]).await
    }

    /// Subscribes to the topics that match any of `filters`; a message that matches several arrives once.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) -> Result<(), laneway_client::SubscribeError> {
    /// let both = client.subscribe_any(&["sensors/#", "alarms/+"]).await?;
    /// # Ok(()) }
    /// ```
    pub async fn subscribe_any(&self, filters: &[&str]) -> Result<Subscription, SubscribeError> {
        self.subscribe_with(filters, SubscribeOptions::default()).await
    }

    /// [`Client::subscribe_any`] to be served in another way than the lanes say.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use laneway_client::{Item, Policy, SubscribeOptions};
    /// let options = SubscribeOptions { policy: Some(Policy::DropOldest), ..SubscribeOptions::default() };
    /// let mut samples = client.subscribe_with(&["sensors/#"], options).await?;
    /// match samples.recv_item().await? {
    ///     Item::Message(message) => println!("{}", message.topic),
    ///     Item::Lost(report) => eprintln!("{report}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn subscribe_with(
        &self,
        filters: &[&str],
        options: SubscribeOptions,
    ) -> Result<Subscription, SubscribeError> {
        let Asked { id, queue, answer } = self.link.shared.subscribe(filters, options)?;
        // From here on, dropping it unsubscribes.
        let subscription = Subscription::new(Arc::clone(&self.link), id, queue);
        match answer.await {
            Ok(Ok(())) => Ok(subscription),
            Ok(Err(reason)) => Err(SubscribeError::Refused(reason)),
            Err(_) => Err(SubscribeError::Lost(self.link.shared.lost())),
        }
    }

    /// Waits until the broker has accepted everything published on this connection before this call.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// client.publish("plant/stop", "").await?;
    /// client.flush().await?; // the broker has it
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`FlushError::MaybeDelivered`] if a session ended before the broker confirmed everything; each handle is told once.
    /// What is lost on lanes that lose, when a link breaks and the session goes on, is not told.
    /// While there is no link and nothing is in doubt it waits for the next one.
    pub async fn flush(&self) -> Result<(), FlushError> {
        loop {
            let answered = self.link.shared.ping()?.await.is_ok();
            let messages = self.take_doubts();
            if messages > 0 {
                return Err(FlushError::MaybeDelivered { messages });
            }
            if answered {
                return Ok(());
            }
            self.go_on()?;
        }
    }

    /// Messages in doubt that this handle was not told about yet.
    fn take_doubts(&self) -> u64 {
        let doubted = self.link.shared.doubted();
        doubted.saturating_sub(self.told.fetch_max(doubted, Ordering::Relaxed))
    }

    /// An answer did not come: an error if none will.
    fn go_on(&self) -> Result<(), FlushError> {
        self.link.shared.is_lost().map_or(Ok(()), |lost| Err(FlushError::Lost(lost)))
    }

    /// Measures the time to the broker and back, behind everything published before.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) -> Result<(), laneway_client::FlushError> {
    /// println!("{:?}", client.ping().await?);
    /// # Ok(()) }
    /// ```
    pub async fn ping(&self) -> Result<Duration, FlushError> {
        loop {
            match self.link.shared.ping()?.await {
                Ok(rtt) => return Ok(rtt),
                Err(_) => self.go_on()?,
            }
        }
    }

    /// What the broker counts, of every shard: the counters whose names begin with `selector`; all of them for `""`, but
    /// of the links of each shard only the 64 for which most waits.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) -> Result<(), laneway_client::RequestError> {
    /// for stat in client.stats("shard.0.lane.command.").await? {
    ///     println!("{} {}", stat.name, stat.value);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn stats(&self, selector: &str) -> Result<Vec<Stat>, RequestError> {
        self.request(|incoming| incoming.ask_stats(selector)).await
    }

    /// Tells the broker, and through it everybody who subscribes to `$sys/peer/+`, something else about this client than
    /// [`ConnectOptions::metadata`](crate::ConnectOptions::metadata) did. Keys and values together may have 4,096 bytes.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) -> Result<(), laneway_client::RequestError> {
    /// client.update_metadata([("rack", "8"), ("load", "high")]).await?;
    /// # Ok(()) }
    /// ```
    pub async fn update_metadata<K, V>(&self, metadata: impl IntoIterator<Item = (K, V)>) -> Result<(), RequestError>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let metadata = metadata.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let (version, metadata) = self.link.shared.set_metadata(metadata)?;
        self.request(|incoming| incoming.tell_metadata(version, metadata.clone())).await.map(drop)
    }

    /// Asks until a link lives long enough for the answer.
    async fn request(
        &self,
        ask: impl Fn(&mut Incoming) -> Result<(RequestId, Control), RequestError>,
    ) -> Result<Vec<Stat>, RequestError> {
        loop {
            match self.link.shared.request(&ask)?.await {
                Ok(answered) => return answered.map_err(RequestError::Refused),
                Err(_) => self.link.shared.is_lost().map_or(Ok(()), |lost| Err(RequestError::Lost(lost)))?,
            }
        }
    }

    /// Writes everything queued, says goodbye and waits until the broker is done, for at most the time set by
    /// [`drain`](crate::ConnectOptions::drain). Subscriptions end; what they hold can still be received. Other handles
    /// of this connection fail from now on. Dropping the future does not stop the closing.
    ///
    /// # Errors
    /// The connection was lost before, or not everything could be written in time. It is gone either way.
    pub async fn close(&self) -> Result<(), CloseError> {
        let shared = &self.link.shared;
        shared.close();
        // The tasks are ended when the time is over; this is only behind that.
        let _ = timeout(shared.drain() + Duration::from_secs(1), shared.wait_closed()).await;
        if shared.is_finished() {
            let messages = self.take_doubts();
            return if messages == 0 { Ok(()) } else { Err(CloseError::MaybeDelivered { messages }) };
        }
        let lost = shared.lost();
        Err(if lost == Lost::Closed { CloseError::Timeout(shared.drain()) } else { CloseError::Lost(lost) })
    }

    /// What happens to the connection from now on; first, where it stands.
    ///
    /// ```no_run
    /// # async fn example(client: laneway_client::Client) {
    /// use laneway_client::ConnectionEvent;
    /// let mut events = client.events();
    /// while let Some(event) = events.recv().await {
    ///     match event {
    ///         ConnectionEvent::Up { restarted: true, .. } => println!("another broker process"),
    ///         ConnectionEvent::Down { reason, .. } => println!("no link: {reason}"),
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// # }
    /// ```
    pub fn events(&self) -> Events {
        self.link.shared.hub.listen()
    }

    /// Where the connection stands.
    ///
    /// ```no_run
    /// # fn example(client: &laneway_client::Client) {
    /// use laneway_client::BreakerState;
    /// let state = client.state();
    /// println!("{:?}, attempts: {}, links lost: {}", state.phase, state.attempts, state.links_lost);
    /// assert_eq!(state.breaker, BreakerState::Closed);
    /// # }
    /// ```
    pub fn state(&self) -> ConnectionState {
        self.link.shared.hub.state()
    }

    /// This end of the newest link.
    ///
    /// ```no_run
    /// # fn example(client: &laneway_client::Client) {
    /// println!("from {} to {}", client.local_peer(), client.remote_peer());
    /// # }
    /// ```
    pub fn local_peer(&self) -> Arc<Peer> {
        self.link.shared.agreed().local
    }

    /// The broker's end of the newest link.
    pub fn remote_peer(&self) -> Arc<Peer> {
        self.link.shared.agreed().remote
    }

    /// What the broker agreed to on the newest link: limits and the session's number.
    pub fn terms(&self) -> Arc<Terms> {
        self.link.shared.agreed().terms
    }
}
