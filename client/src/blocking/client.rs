//! The handle of a blocking connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::driver::{Driven, Driver};
use super::events::Events;
use super::receipt::Receipt;
use super::subscription::Subscription;
use crate::core::Terms;
use crate::endpoint::Endpoint;
use crate::error::{
    CloseError, ConfirmError, ConnectError, FlushError, PublishError, RequestError, SubscribeError, TryPublishError,
};
use crate::level::{ConfirmOptions, Confirmed};
use crate::link::ConnectionState;
use crate::options::ConnectOptions;
use crate::payload::Payload;
use crate::peer::Peer;
use crate::publish_options::PublishOptions;
use crate::stat::Stat;
use crate::subscribe_options::SubscribeOptions;

/// A blocking connection. Clones share it, between threads, too. [`Client::close`] waits until everything is written;
/// dropping the last handle closes in the background, which a process that ends at once does not wait for.
#[derive(Clone, Debug)]
pub struct Client {
    driven: Arc<Driven>,
}

/// Connects with the default options; see [`ConnectOptions::connect_blocking`].
///
/// ```no_run
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = laneway_client::blocking::connect("unix:///run/laneway.sock")?;
/// client.publish("door/open", "front")?;
/// client.close()?;
/// # Ok(()) }
/// ```
pub fn connect(url: &str) -> Result<Client, ConnectError> {
    ConnectOptions::new().connect_blocking(url)
}

impl ConnectOptions {
    /// Connects to the broker at `url` and waits for it; the connection gets a background thread.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), laneway_client::ConnectError> {
    /// use laneway_client::{ConnectOptions, Retry};
    /// let client = ConnectOptions::new().retry(Retry::new()).connect_blocking("tcp://127.0.0.1:5263")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// Inside an async runtime.
    pub fn connect_blocking(&self, url: &str) -> Result<Client, ConnectError> {
        let endpoint: Endpoint = url.parse()?;
        let failed = |source: io::Error| ConnectError::Io { endpoint, source };
        let driver = Driver::start().map_err(failed)?;
        let client = driver.wait(self.connect(url))?;
        Ok(Client { driven: Driven::new(driver, client) })
    }
}

impl Client {
    /// Publishes one message on the lane `command`; waits while the send queue is full.
    pub fn publish<'a>(&self, topic: &str, payload: impl Into<Payload<'a>>) -> Result<(), PublishError> {
        self.publish_with(topic, payload, PublishOptions::default())
    }

    /// [`Client::publish`] with a lane, a time stamp, a deadline, or as the topic's last value.
    pub fn publish_with<'a>(
        &self,
        topic: &str,
        payload: impl Into<Payload<'a>>,
        options: PublishOptions,
    ) -> Result<(), PublishError> {
        let mut payload = payload.into();
        let client = self.driven.client();
        let topic = client.intern(topic)?;
        while let Some(space) = client.push(topic, options, &mut payload)? {
            self.driven.wait(space);
        }
        Ok(())
    }

    /// Publishes one message and waits until it has got as far as asked.
    ///
    /// ```no_run
    /// # fn example(client: &laneway_client::blocking::Client) -> Result<(), laneway_client::ConfirmError> {
    /// use laneway_client::Level;
    /// let confirmed = client.publish_confirmed("plant/stop", "now", Level::delivered(2))?;
    /// println!("{} clients have it", confirmed.receivers);
    /// # Ok(()) }
    /// ```
    pub fn publish_confirmed<'a>(
        &self,
        topic: &str,
        payload: impl Into<Payload<'a>>,
        options: impl Into<ConfirmOptions>,
    ) -> Result<Confirmed, ConfirmError> {
        self.driven.wait(self.driven.client().publish_confirmed(topic, payload, options))
    }

    /// The first half of [`Client::publish_confirmed`]: returns when the message is queued, so that many can be under way.
    pub fn publish_receipt<'a>(
        &self,
        topic: &str,
        payload: impl Into<Payload<'a>>,
        options: impl Into<ConfirmOptions>,
    ) -> Result<Receipt, ConfirmError> {
        let receipt = self.driven.wait(self.driven.client().publish_receipt(topic, payload, options))?;
        Ok(Receipt::new(Arc::clone(&self.driven), receipt))
    }

    /// Publishes one message if there is room for it now.
    pub fn try_publish<'a>(&self, topic: &str, payload: impl Into<Payload<'a>>) -> Result<(), TryPublishError> {
        self.driven.client().try_publish(topic, payload)
    }

    /// Publishes many messages to one topic, in order, many to a frame; waits while the send queue is full.
    ///
    /// ```no_run
    /// # fn example(client: &laneway_client::blocking::Client) -> Result<(), laneway_client::PublishError> {
    /// client.publish_batch("numbers", (1..=1_000).map(|number| number.to_string()))?;
    /// # Ok(()) }
    /// ```
    pub fn publish_batch<'a, I>(&self, topic: &str, payloads: I) -> Result<(), PublishError>
    where
        I: IntoIterator,
        I::Item: Into<Payload<'a>>,
    {
        self.publish_batch_with(topic, payloads, PublishOptions::default())
    }

    /// [`Client::publish_batch`] with other options; those beside the lane put each message in a frame of its own.
    pub fn publish_batch_with<'a, I>(
        &self,
        topic: &str,
        payloads: I,
        options: PublishOptions,
    ) -> Result<(), PublishError>
    where
        I: IntoIterator,
        I::Item: Into<Payload<'a>>,
    {
        let client = self.driven.client();
        let topic = client.intern(topic)?;
        let mut payloads = payloads.into_iter();
        let mut left = None;
        while let Some(space) = client.push_some(topic, options, &mut payloads, &mut left)? {
            self.driven.wait(space);
        }
        Ok(())
    }

    /// Subscribes to the topics that match `filter`; returns when the broker has confirmed.
    ///
    /// ```no_run
    /// # fn example(client: &laneway_client::blocking::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// for message in client.subscribe("sensors/#")? {
    ///     println!("{}", message?.topic);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn subscribe(&self, filter: &str) -> Result<Subscription, SubscribeError> {
        self.subscribe_any(&[filter])
    }

    /// Subscribes to the topics that match any of `filters`; a message that matches several arrives once.
    pub fn subscribe_any(&self, filters: &[&str]) -> Result<Subscription, SubscribeError> {
        self.subscribe_with(filters, SubscribeOptions::default())
    }

    /// [`Client::subscribe_any`] to be served in another way than the lanes say.
    pub fn subscribe_with(&self, filters: &[&str], options: SubscribeOptions) -> Result<Subscription, SubscribeError> {
        let subscription = self.driven.wait(self.driven.client().subscribe_with(filters, options))?;
        Ok(Subscription::new(Arc::clone(&self.driven), subscription))
    }

    /// Waits until the broker has accepted everything published on this connection before this call.
    pub fn flush(&self) -> Result<(), FlushError> {
        self.driven.wait(self.driven.client().flush())
    }

    /// Measures the time to the broker and back.
    pub fn ping(&self) -> Result<Duration, FlushError> {
        self.driven.wait(self.driven.client().ping())
    }

    /// What the broker counts: the counters whose names begin with `selector`.
    ///
    /// ```no_run
    /// # fn example(client: &laneway_client::blocking::Client) -> Result<(), laneway_client::RequestError> {
    /// println!("{} links", client.stats("link.")?.len());
    /// # Ok(()) }
    /// ```
    pub fn stats(&self, selector: &str) -> Result<Vec<Stat>, RequestError> {
        self.driven.wait(self.driven.client().stats(selector))
    }

    /// Tells the broker something else about this client; see [`crate::Client::update_metadata`].
    ///
    /// ```no_run
    /// # fn example(client: &laneway_client::blocking::Client) -> Result<(), laneway_client::RequestError> {
    /// client.update_metadata([("rack", "8")])?;
    /// # Ok(()) }
    /// ```
    pub fn update_metadata<K, V>(&self, metadata: impl IntoIterator<Item = (K, V)>) -> Result<(), RequestError>
    where
        K: Into<String>,
        V: Into<String>,
    {
        self.driven.wait(self.driven.client().update_metadata(metadata))
    }

    /// Writes everything queued, says goodbye and waits until the broker is done.
    pub fn close(&self) -> Result<(), CloseError> {
        self.driven.wait(self.driven.client().close())
    }

    /// What happens to the connection from now on; first, where it stands.
    pub fn events(&self) -> Events {
        Events::new(Arc::clone(&self.driven), self.driven.client().events())
    }

    /// Where the connection stands.
    pub fn state(&self) -> ConnectionState {
        self.driven.client().state()
    }

    /// This end of the newest link.
    pub fn local_peer(&self) -> Arc<Peer> {
        self.driven.client().local_peer()
    }

    /// The broker's end of the newest link.
    pub fn remote_peer(&self) -> Arc<Peer> {
        self.driven.client().remote_peer()
    }

    /// What the broker agreed to on the newest link.
    pub fn terms(&self) -> Arc<Terms> {
        self.driven.client().terms()
    }
}
