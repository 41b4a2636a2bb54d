//! The time of a connection, as its machines count it.

use std::time::Duration;

use laneway_proto::time::Instant as Tick;
use tokio::time::Instant;

/// Counts from when the connection was asked for, over all its links.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Never says 0: that is the time before the session.
    pub(super) fn now(&self) -> Tick {
        Tick(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1))
    }

    pub(super) fn when(&self, tick: Tick) -> Instant {
        self.started + Duration::from_nanos(tick.0)
    }
}
