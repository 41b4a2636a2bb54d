//! The thread behind a blocking connection.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::tokio::Client;

/// A runtime on a thread of its own. Ends when the last owner goes, once the connection has been closed in order.
#[derive(Debug)]
pub(super) struct Driver {
    runtime: Handle,
    stop: Option<oneshot::Sender<Option<Client>>>,
}

impl Driver {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<Option<Client>>();
        let body = move || {
            runtime.block_on(async {
                if let Ok(Some(client)) = stopped.await {
                    // Bounded by the connection's time to drain; there is nobody left to tell.
                    let _ = client.close().await;
                }
            });
        };
        thread::Builder::new().name("laneway".into()).spawn(body)?;
        Ok(Self { runtime: handle, stop: Some(stop) })
    }

    /// Waits for a future while the background thread moves the bytes.
    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

/// A connection and its driver, shared by all handles.
#[derive(Debug)]
pub(super) struct Driven {
    driver: Driver,
    client: Client,
}

impl Driven {
    pub(super) fn new(driver: Driver, client: Client) -> Arc<Self> {
        Arc::new(Self { driver, client })
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.driver.wait(future)
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        if let Some(stop) = self.driver.stop.take() {
            // The thread closes the connection; it cannot be gone before.
            let _ = stop.send(Some(self.client.clone()));
        }
    }
}
