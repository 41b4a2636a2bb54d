//! What happens to a connection, blocking.

use std::sync::Arc;
use std::time::Duration;

use ::tokio::time::timeout;

use super::driver::Driven;
use crate::link::ConnectionEvent;
use crate::tokio;

/// What happens to a connection, also an iterator that waits for each event; as [`crate::Events`], but it keeps the
/// connection open as a subscription does.
#[derive(Debug)]
pub struct Events {
    inner: tokio::Events,
    driven: Arc<Driven>,
}

impl Events {
    pub(super) const fn new(driven: Arc<Driven>, inner: tokio::Events) -> Self {
        Self { inner, driven }
    }

    /// Waits for the next event for at most `longest`; `None` if none came, or the connection is over.
    ///
    /// ```no_run
    /// # fn example(client: &laneway_client::blocking::Client) {
    /// let mut events = client.events();
    /// while let Some(event) = events.recv_timeout(std::time::Duration::from_secs(1)) {
    ///     println!("{event:?}");
    /// }
    /// # }
    /// ```
    pub fn recv_timeout(&mut self, longest: Duration) -> Option<ConnectionEvent> {
        let inner = &mut self.inner;
        // Made inside the runtime, which owns the clock.
        self.driven.wait(async move { timeout(longest, inner.recv()).await.ok().flatten() })
    }

    /// The next event, if one is here.
    pub fn try_recv(&mut self) -> Option<ConnectionEvent> {
        self.inner.try_recv()
    }
}

impl Iterator for Events {
    type Item = ConnectionEvent;

    fn next(&mut self) -> Option<Self::Item> {
        self.driven.wait(self.inner.recv())
    }
}
