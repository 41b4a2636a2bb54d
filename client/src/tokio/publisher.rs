//! Publishing to one topic again and again.

use std::sync::Arc;

use super::client::Link;
use crate::core::TopicId;
use crate::error::{PublishError, TryPublishError};
use crate::payload::Payload;
use crate::publish_options::PublishOptions;

/// A handle for one topic: the hot path. From [`Client::publisher`](super::Client::publisher).
#[derive(Clone, Debug)]
pub struct Publisher {
    link: Arc<Link>,
    topic: TopicId,
    options: PublishOptions,
}

impl Publisher {
    pub(super) fn new(link: Arc<Link>, topic: TopicId) -> Self {
        Self { link, topic, options: PublishOptions::default() }
    }

    /// The same topic with other options, for instance on another lane.
    ///
    /// ```no_run
    /// # fn example(client: &laneway_client::Client) -> Result<(), laneway_client::PublishError> {
    /// use laneway_client::Lane;
    /// let state = client.publisher("arm/position")?.with(Lane::STATE);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with(mut self, options: impl Into<PublishOptions>) -> Self {
        self.options = options.into();
        self
    }

    /// The topic's name.
    pub fn topic(&self) -> Arc<str> {
        self.link.shared.topic_name(self.topic)
    }

    /// As [`Client::publish`](super::Client::publish).
    pub async fn publish<'a>(&self, payload: impl Into<Payload<'a>>) -> Result<(), PublishError> {
        self.link.publish(self.topic, self.options, payload.into()).await
    }

    /// As [`Client::publish_batch`](super::Client::publish_batch).
    pub async fn publish_batch<'a, I>(&self, payloads: I) -> Result<(), PublishError>
    where
        I: IntoIterator,
        I::Item: Into<Payload<'a>>,
    {
        self.link.publish_batch(self.topic, self.options, payloads).await
    }

    /// As [`Client::try_publish`](super::Client::try_publish).
    pub fn try_publish<'a>(&self, payload: impl Into<Payload<'a>>) -> Result<(), TryPublishError> {
        self.link.try_publish(self.topic, self.options, payload.into())
    }
}
