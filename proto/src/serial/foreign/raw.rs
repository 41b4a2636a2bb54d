//! Bytes as they come, cut where the device paused.

use super::{Found, Gathered, next};
use crate::time::Duration;

/// A pause that ends a chunk.
pub const SILENCE: Duration = Duration::from_millis(5);
/// Bytes of a chunk at most.
pub const CHUNK_BYTES_MAX: usize = 256;

/// Collects them.
#[derive(Clone, Debug)]
pub struct Chunks {
    gathered: Gathered<CHUNK_BYTES_MAX>,
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self { gathered: Gathered::new() }
    }

    pub(super) fn push(&mut self, bytes: &mut &[u8]) -> Option<Found<'_>> {
        while let Some(byte) = next(bytes) {
            self.gathered.put(byte);
            if self.gathered.len == CHUNK_BYTES_MAX {
                return self.on_silence();
            }
        }
        None
    }

    pub(super) const fn waits(&self) -> bool {
        self.gathered.len > 0
    }

    pub(super) fn on_silence(&mut self) -> Option<Found<'_>> {
        let (len, _) = self.gathered.take();
        (len > 0).then_some(Found::Message(self.gathered.upto(len)))
    }
}
