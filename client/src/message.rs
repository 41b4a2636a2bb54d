//! A received message.

use std::sync::Arc;

use bytes::Bytes;

use crate::lane::Lane;

/// One message as a subscriber gets it.
///
/// `payload` is a slice of the receive buffer: nothing was copied, and keeping it keeps that buffer (up to 128 KiB) alive.
/// Copy a small payload that you mean to keep for long.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Message {
    /// The topic it was published to; cloning it costs one reference count.
    pub topic: Arc<str>,
    /// The bytes, exactly as published.
    pub payload: Bytes,
    /// The lane it travelled on.
    pub lane: Lane,
    /// The publisher's own number of this message in its session and lane; starts at 1, wraps past 0.
    pub seq: u32,
    /// Nanoseconds on the publisher's clock, if the publisher stamped the message.
    pub ts_ns: Option<u64>,
    /// It was not published just now: it is the value that its topic had when the subscription began.
    pub retained: bool,
}

impl Message {
    /// The payload as text, if it is UTF-8.
    ///
    /// ```no_run
    /// # async fn example(mut readings: laneway_client::Subscription) -> Result<(), laneway_client::Lost> {
    /// let message = readings.recv().await?;
    /// println!("{} {}", message.topic, message.text().unwrap_or("(binary)"));
    /// # Ok(()) }
    /// ```
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.payload).ok()
    }
}
