//! Shutdown: what was accepted is delivered everywhere before anybody is sent away.
//!
//! First every shard stops reading and sends what it has towards the others, then says so. A shard that has heard it from
//! all others has everything its subscribers will ever get; it says goodbye to them behind it.

use laneway_proto::error::CloseCode;
use laneway_proto::time::{Duration, Instant};

use super::{Shard, Status};
use crate::counters::CloseReason;
use crate::io::Io;
use crate::mesh::Envelope;
use crate::slab::Key;

/// A shutdown in progress.
#[derive(Debug)]
pub(super) struct Drain {
    deadline: Instant,
    /// Shards whose runs have all arrived.
    heard: u64,
    said_goodbye: bool,
    aborted: bool,
}

impl Drain {
    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl<I: Io> Shard<I> {
    /// Starts to shut down; [`Shard::turn`] says when it is done.
    pub fn start_drain(&mut self) {
        if self.drain.is_some() {
            return;
        }
        let heard = self.drained_early | 1 << self.mesh.shard();
        let deadline = self.now() + Duration::from_millis(self.settings.limits.drain_ms_max);
        self.drain = Some(Drain { deadline, heard, said_goodbye: false, aborted: false });
        self.stop_accepting();
        let keys: Vec<Key> = self.conns.keys().collect();
        for key in keys {
            // Whoever gives credit goes on giving it.
            if self.conns.at(key).is_some_and(|conn| !conn.outbox.hears_credit()) {
                self.stop_receiving(key);
            }
        }
        for shard in self.mesh.others() {
            self.mesh.post_last(shard, Envelope::Drained);
        }
        self.flush_mesh();
    }

    pub(super) fn on_drained(&mut self, from: u8) {
        match &mut self.drain {
            Some(drain) => drain.heard |= 1 << from,
            None => self.drained_early |= 1 << from,
        }
    }

    pub(super) fn progress_drain(&mut self) -> Status {
        let now = self.now();
        let all = u64::MAX >> (64 - u32::from(self.mesh.shards()));
        let Some(drain) = &mut self.drain else { return Status::Running };
        let overdue = drain.deadline <= now;
        if overdue && !drain.aborted {
            drain.aborted = true;
            drain.said_goodbye = true;
            let keys: Vec<Key> = self.conns.keys().collect();
            for key in keys {
                self.abort(key, CloseReason::Ours(CloseCode::Shutdown));
            }
        } else if !drain.said_goodbye && drain.heard == all {
            drain.said_goodbye = true;
            let keys: Vec<Key> = self.conns.keys().collect();
            for key in keys {
                self.say_goodbye(key, CloseCode::Shutdown, "the broker is shutting down; connect again later");
            }
            self.flush();
        }
        if !self.conns.is_empty() {
            return Status::Running;
        }
        let closed = self.close_ports();
        if overdue || closed && self.mesh.is_flushed() && self.has_heard_all(all) {
            Status::Done
        } else {
            Status::Running
        }
    }

    fn has_heard_all(&self, all: u64) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.heard == all)
    }
}
