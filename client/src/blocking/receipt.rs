//! Waiting for a confirmation, blocking.

use std::sync::Arc;

use super::driver::Driven;
use crate::error::ConfirmError;
use crate::level::Confirmed;
use crate::tokio;

/// A message that was published with a level. Dropping it stops waiting; the message is under way.
#[derive(Debug)]
#[must_use = "wait for it to learn whether the message was confirmed"]
pub struct Receipt {
    inner: tokio::Receipt,
    driven: Arc<Driven>,
}

impl Receipt {
    pub(super) const fn new(driven: Arc<Driven>, inner: tokio::Receipt) -> Self {
        Self { inner, driven }
    }

    /// Waits for the confirmation, or until the message's time is over.
    ///
    /// ```no_run
    /// # fn example(client: &laneway_client::blocking::Client) -> Result<(), laneway_client::ConfirmError> {
    /// use laneway_client::Level;
    /// let first = client.publish_receipt("log/1", "one", Level::Accepted)?;
    /// let second = client.publish_receipt("log/1", "two", Level::Accepted)?;
    /// first.wait()?;
    /// second.wait()?;
    /// # Ok(()) }
    /// ```
    pub fn wait(self) -> Result<Confirmed, ConfirmError> {
        self.driven.wait(self.inner)
    }
}
