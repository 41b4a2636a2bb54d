//! What waits in outboxes leaves: once a turn, one send for each peer that has none in flight.

use crate::io::{Errno, Io, SEND_PIECES_MAX};
use crate::pool::{BufId, Piece};
use crate::slab::Key;

use super::Shard;
use crate::counters::CloseReason;

impl<I: Io> Shard<I> {
    /// Queues bytes that the broker itself says to a peer.
    pub(super) fn push_control_bytes(&mut self, key: Key, bytes: &[u8]) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        conn.outbox.push_control(bytes, self.io.pool_mut());
        self.mark_dirty(key);
    }

    pub(super) fn mark_dirty(&mut self, key: Key) {
        if let Some(conn) = self.conns.at_mut(key)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(key.slot);
        }
    }

    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        self.residency.begin_flush(self.counters.turns);
        for slot in dirty.drain(..) {
            self.flush_slot(slot);
        }
        self.dirty = dirty;
    }

    fn flush_slot(&mut self, slot: u32) {
        let now = self.now();
        let Some(key) = self.conns.key_at(slot) else { return };
        let Some(conn) = self.conns.at_mut(key) else { return };
        conn.dirty = false;
        self.residency.follow(now, conn);
        if conn.datagrams.is_some() {
            self.flush_link(key);
            return;
        }
        if conn.outbox.in_flight() || conn.is_away() {
            return;
        }
        if let Some(place) = conn.line {
            self.flush_line(place, key);
            if self.conns.at(key).is_some_and(|conn| conn.outbox.poll_timeout().is_some()) {
                self.arm_timer(key);
            }
            return;
        }
        let mut pieces = [Piece { buf: BufId(0), start: 0, len: 0 }; SEND_PIECES_MAX];
        let count = self.start_send(key, &mut pieces);
        let Some(conn) = self.conns.at_mut(key) else { return };
        if count > 0 {
            self.counters.sends += 1;
            self.io.send(key, conn.socket, &pieces[..count]);
            self.residency.on_sending(conn, || self.io.clock());
        }
        let over = count == 0 && conn.closing.is_some() && conn.outbox.is_empty();
        if conn.outbox.poll_timeout().is_some() {
            self.arm_timer(key);
        }
        if over {
            self.progress_close(key);
        }
    }

    pub(super) fn on_sent(&mut self, key: Key, result: Result<u32, Errno>) {
        let Some(conn) = self.conns.at_mut(key) else {
            self.counters.completions_stale += u64::from(!self.on_port_sent(key, result));
            return;
        };
        let pool = self.io.pool_mut();
        match result {
            Ok(sent) if u64::from(sent) <= conn.outbox.wire_bytes() => {
                self.counters.bytes_out += u64::from(sent);
                conn.bytes_out += u64::from(sent);
                self.counters.sends_short += u64::from(conn.outbox.on_sent(sent, pool));
            }
            // The outbox was dropped while the send was in flight.
            Ok(_) => conn.outbox.on_send_failed(),
            Err(_) if conn.is_away() => conn.outbox.on_send_failed(),
            Err(_) => {
                conn.outbox.on_send_failed();
                self.abort(key, CloseReason::ConnectionFailed);
                return;
            }
        }
        if conn.is_away() {
            self.progress_cut(key);
            return;
        }
        if conn.moving.is_some() {
            self.movers.push(key);
        }
        let counts = conn.lasting.as_ref().is_some_and(|lasting| lasting.tally.poll_timeout().is_some());
        let more = !conn.outbox.is_empty() || conn.outbox.poll_timeout().is_some();
        if more {
            self.mark_dirty(key);
        }
        if counts {
            self.list_counts(key);
        }
        self.go_on_after_sending(key);
    }

    /// Gives frames their place on the link; returns how many pieces are to be sent.
    pub(super) fn start_send(&mut self, key: Key, pieces: &mut [Piece; SEND_PIECES_MAX]) -> usize {
        let now = self.now();
        let Some(conn) = self.conns.at_mut(key) else { return 0 };
        let count = conn.outbox.start_send(now, pieces, self.io.pool_mut(), &mut self.counters.dropped);
        self.counters.credit_waits += u64::from(conn.outbox.take_credit_waits());
        self.counters.count_waits += u64::from(conn.outbox.take_count_waits());
        count
    }

    /// Something has left for a peer: whoever waited for room goes on, and so does a connection that is on its way out.
    pub(super) fn go_on_after_sending(&mut self, key: Key) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        let (replays, closing) = (conn.replay.is_some(), conn.closing.is_some());
        conn.outbox.take_unblocked(false, &mut self.unblocked);
        self.unblock();
        if replays {
            self.line_up_replay(key);
        }
        if closing {
            self.progress_close(key);
        }
    }
}
