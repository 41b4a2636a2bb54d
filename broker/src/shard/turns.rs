//! Whose turn it is: publishers that may go on, and who gets a receive buffer while there are too few.
//!
//! Both are lines, first come, first served, and a turn is worth one buffer. Otherwise the publishers that are active
//! would keep all buffers among themselves, and the first to be let go would fill the outbox again alone.

use laneway_proto::time::Duration;

use super::Shard;
use crate::conn::Receiving;
use crate::io::{Io, Receive};
use crate::slab::Key;

/// How long buffers are handed out in turn after they were short; then each connection takes what it finds again.
const SHORT_FOR: Duration = Duration::from_millis(100);

impl<I: Io> Shard<I> {
    /// Starts receiving if that is what the connection's state wants, or moves its end along.
    pub(super) fn receive_again(&mut self, key: Key) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        if conn.is_away() {
            self.progress_cut(key);
            return;
        }
        if conn.moving.is_some() && conn.closing.is_none() {
            self.movers.push(key);
            return;
        }
        let hears = conn.outbox.hears_credit();
        let listens = hears && conn.ended.is_none() && !conn.outbox.is_empty();
        if conn.closing.is_some() && !listens {
            self.progress_close(key);
            return;
        }
        if conn.is_stopped() || conn.in_line {
            return;
        }
        if conn.ended.is_some() && conn.is_holding() {
            return;
        }
        if let Some(reason) = conn.ended {
            // What it sent before it left has been routed.
            self.begin_close(key, reason, None);
            return;
        }
        if conn.datagrams.is_some() {
            self.list_link(key);
            self.after_link(key);
            return;
        }
        // What is on a line is received by its port.
        if conn.line.is_some() || conn.receiving != Receiving::Off || self.drain.is_some() && !hears {
            return;
        }
        if self.short_until.is_some() {
            conn.receiving = Receiving::Waiting;
            self.waiting.push_back(key);
        } else {
            conn.receiving = Receiving::Many;
            self.io.receive(key, conn.socket, Receive::Many);
        }
    }

    /// Stops receiving from a publisher whose way is blocked, or whose turn is over.
    pub(super) fn stop_receiving(&mut self, key: Key) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        if matches!(conn.receiving, Receiving::Many | Receiving::Once) && conn.datagrams.is_none() {
            conn.receiving = Receiving::Ending;
            self.io.cancel_receive(key);
        }
    }

    /// A connection found no buffer: from now on they are handed out in turn, to it first.
    pub(super) fn on_short_of_buffers(&mut self, key: Key) {
        self.counters.no_buffers += 1;
        self.short_until = Some(self.now() + SHORT_FOR);
        if let Some(conn) = self.conns.at_mut(key)
            && conn.closing.is_none()
        {
            conn.receiving = Receiving::Waiting;
            self.waiting.push_front(key);
        }
    }

    /// Hands out the buffers there are, one each, while they are short.
    pub(super) fn feed_waiting(&mut self) {
        let Some(until) = self.short_until else { return };
        let now = self.now();
        for _ in 0..self.io.pool().lendable() {
            let Some(key) = self.waiting.pop_front() else { break };
            let Some(conn) = self.conns.at_mut(key) else { continue };
            // Meanwhile it may have been stopped, or it may be closing and receiving already.
            if conn.receiving != Receiving::Waiting {
                continue;
            }
            conn.receiving = Receiving::Off;
            if !conn.is_stopped() && (conn.closing.is_none() || conn.outbox.hears_credit()) {
                conn.receiving = Receiving::Once;
                self.io.receive(key, conn.socket, Receive::Once);
            }
        }
        if !self.waiting.is_empty() {
            self.short_until = Some(now + SHORT_FOR);
        } else if until <= now {
            self.short_until = None;
        }
    }

    /// Puts a publisher that may go on at the end of the line.
    pub(super) fn line_up(&mut self, key: Key) {
        if let Some(conn) = self.conns.at_mut(key)
            && !conn.in_line
        {
            conn.in_line = true;
            self.resumable.push_back(key);
        }
    }

    /// Publishers that may go on: works through one buffer of what each had sent, then receives again.
    pub(super) fn resume_publishers(&mut self) {
        for _ in 0..self.resumable.len() {
            let Some(key) = self.resumable.pop_front() else { break };
            let Some(conn) = self.conns.at_mut(key) else { continue };
            conn.in_line = false;
            if self.drain.is_some() && !conn.outbox.hears_credit() || conn.is_stopped() {
                continue;
            }
            let more = self.retry_held(key);
            self.ingest(key, 1);
            let Some(conn) = self.conns.at_mut(key) else { continue };
            if conn.line.is_some() {
                // Its device may be allowed to send more.
                self.mark_dirty(key);
            }
            let Some(conn) = self.conns.at_mut(key) else { continue };
            if conn.inbox.pieces.is_empty() || conn.is_stopped() || conn.closing.is_some() {
                self.receive_again(key);
            } else {
                self.line_up(key);
            }
            if more {
                self.line_up(key);
            }
        }
    }
}
