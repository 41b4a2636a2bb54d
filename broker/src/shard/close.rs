//! The end of a connection: what it had queued leaves if it can, nothing of it stays behind, and the reason is counted.

use laneway_proto::control::Control;
use laneway_proto::error::CloseCode;
use laneway_proto::time::{Duration, Instant};

use super::{Drain, Shard};
use crate::conn::lasting::LinkState;
use crate::conn::{Closing, Conn, Receiving};
use crate::counters::{CloseReason, Counters};
use crate::io::{Io, ListenerId, Receive};
use crate::mesh::Envelope;
use crate::router::Subscriber;
use crate::slab::Key;

/// Closing lines logged per second and shard; the rest is counted.
const LOG_LINES_PER_SECOND_MAX: u32 = 20;

/// Keeps a flood of closing connections from flooding the log.
#[derive(Debug, Default)]
pub(super) struct LogBudget {
    second: u64,
    lines: u32,
}

impl LogBudget {
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let second = now.0 / 1_000_000_000;
        if second != self.second {
            *self = Self { second, lines: 0 };
        }
        self.lines += 1;
        self.lines <= LOG_LINES_PER_SECOND_MAX
    }
}

impl<I: Io> Shard<I> {
    /// Starts an orderly end: no more frames are taken from or routed to the peer; what is queued, and `goodbye` behind
    /// it, still leaves within the linger time.
    pub(super) fn begin_close(&mut self, key: Key, reason: CloseReason, goodbye: Option<Control>) {
        let linger = Duration::from_millis(self.settings.limits.linger_ms_max);
        let until = self.drain.as_ref().map_or_else(|| self.now() + linger, Drain::deadline);
        let Some(conn) = self.conns.at_mut(key) else { return };
        if conn.closing.is_some() {
            return;
        }
        if goodbye.is_none() && self.drain.is_none() && conn.outlives(reason) {
            self.cut_link(key, reason);
            return;
        }
        if matches!(conn.lasting.as_ref().map(|lasting| lasting.link), Some(LinkState::Away(_))) {
            self.counters.on_closed(reason);
            self.end_away(key);
            return;
        }
        self.tell_confirms(key, true);
        let Some(conn) = self.conns.at_mut(key) else { return };
        conn.moving = None;
        conn.closing = Some(Closing { reason, until, finished_sending: false });
        conn.session.on_closing();
        if reason != CloseReason::Ours(CloseCode::Shutdown) {
            conn.outbox.end_credit();
        }
        if conn.is_deaf() {
            conn.inbox.clear(self.io.pool_mut());
        }
        self.tell_gone(key, reason);
        self.end_session(key);
        if let (Some(goodbye), Some(conn)) = (goodbye, self.conns.at_mut(key)) {
            conn.outbox.push_last(&goodbye.to_frame());
            self.mark_dirty(key);
        }
        self.arm_timer(key);
        self.progress_close(key);
    }

    /// Ends it now; what is queued is dropped.
    pub(super) fn abort(&mut self, key: Key, reason: CloseReason) {
        self.begin_close(key, reason, None);
        let now = self.now();
        let Some(conn) = self.conns.at_mut(key).filter(|conn| !conn.is_away()) else { return };
        conn.outbox.clear(self.io.pool_mut());
        let Some(closing) = &mut conn.closing else { return };
        closing.until = now;
        closing.finished_sending = true;
        let (socket, has_socket) = (conn.socket, conn.line.is_none() && conn.datagrams.is_none());
        if has_socket {
            // However much more it has to say, it is not waited for.
            self.stop_receiving(key);
            self.io.shutdown(socket);
        }
        self.progress_close(key);
    }

    /// The session is over for good: nobody can resume it. Takes its subscriptions and its hold on publishers away.
    pub(super) fn end_session(&mut self, key: Key) {
        self.leave_node(key);
        self.forget_lasting(key);
        let Some(conn) = self.conns.at_mut(key) else { return };
        let filters = std::mem::take(&mut conn.filters);
        conn.outbox.take_unblocked(true, &mut self.unblocked);
        conn.replay = None;
        for filter in filters {
            self.router.unsubscribe(&filter, Subscriber::Local(key.slot));
            self.tell_interest(&filter, false, 0);
        }
        self.tickets.retain(|_, ticket| ticket.key != key);
        self.abandon(key);
        self.bury(key);
        self.unblock();
    }

    /// Moves a closing connection along: send the rest, tell the peer, wait for its end, then let go.
    pub(super) fn progress_close(&mut self, key: Key) {
        let now = self.now();
        let Some(conn) = self.conns.at_mut(key) else { return };
        let Some(closing) = &mut conn.closing else { return };
        if conn.ended.is_some() {
            conn.outbox.end_credit();
        }
        if conn.outbox.in_flight() {
            return;
        }
        if !conn.outbox.is_empty() {
            self.mark_dirty(key);
            return;
        }
        if let Some(link) = conn.datagrams.as_deref_mut() {
            // The peer has all of it, or will not get it.
            closing.finished_sending = true;
            if link.speech.is_done() || closing.until <= now {
                self.let_go(key);
            } else {
                self.list_link(key);
            }
            return;
        }
        let (socket, on_line) = (conn.socket, conn.line.is_some());
        if !closing.finished_sending {
            closing.finished_sending = true;
            if !on_line {
                self.io.shutdown_send(socket);
            }
        }
        match conn.receiving {
            Receiving::Off | Receiving::Waiting if conn.ended.is_some() || closing.until <= now => self.let_go(key),
            Receiving::Off | Receiving::Waiting if on_line => {}
            // The peer's own end tells that it has read ours; closing earlier could destroy what it has not read yet.
            Receiving::Off | Receiving::Waiting => {
                conn.receiving = Receiving::Many;
                self.io.receive(key, socket, Receive::Many);
            }
            Receiving::Many | Receiving::Once | Receiving::Ending => {}
        }
    }

    fn let_go(&mut self, key: Key) {
        let Some(mut conn) = self.conns.remove(key) else { return };
        let now = self.now();
        let pool = self.io.pool_mut();
        conn.inbox.clear(pool);
        conn.outbox.clear(pool);
        let reason = conn.closing.map_or(CloseReason::PeerLeft, |closing| closing.reason);
        note_link_over(&conn, reason, now, &mut self.log_budget, &mut self.counters);
        if let Some(place) = conn.line {
            self.on_line_let_go(place, key, reason);
            return;
        }
        match conn.datagrams.as_deref() {
            Some(link) => self.forget_link(link),
            None => self.io.close(conn.socket),
        }
        self.tell_left(conn.listener, conn.refused.is_some());
    }

    /// A connection of this shard is closed.
    pub(super) fn tell_left(&mut self, listener: ListenerId, refused: bool) {
        if self.mesh.shard() == 0 {
            self.on_left(0, listener, refused);
        } else {
            self.mesh.post(0, Envelope::Left { listener, refused });
        }
    }
}

/// A link is over, with its session or without: counted, and logged unless too many are.
pub(super) fn note_link_over(
    conn: &Conn,
    reason: CloseReason,
    now: Instant,
    budget: &mut LogBudget,
    counters: &mut Counters,
) {
    counters.on_closed(reason);
    if !budget.take(now) {
        counters.logs_suppressed += 1;
        return;
    }
    let ms = now.since(conn.since).as_millis();
    let (peer, reason) = (conn.name(), reason.name());
    let (bytes_in, bytes_out) = (conn.bytes_in, conn.bytes_out);
    tracing::debug!(peer, reason, ms, bytes_in, bytes_out, "connection closed");
}
