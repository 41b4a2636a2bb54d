//! Deadlines: handshakes, incomplete frames, publishers stopped for too long, closing peers that do not read.

use laneway_proto::error::CloseCode;
use laneway_proto::frame::ping::Ping;
use laneway_proto::time::{Duration, Instant};

use super::{Shard, listener_of, port_of, watch_deadline};
use crate::conn::Conn;
use crate::conn::lasting::LinkState;
use crate::counters::CloseReason;
use crate::io::Io;
use crate::slab::Key;

impl<I: Io> Shard<I> {
    pub(super) fn tick(&mut self) {
        let now = self.now();
        while let Some(key) = self.timers.poll(now) {
            match listener_of(key) {
                Some(listener) => self.resume_accept(listener),
                None if port_of(key).is_some() => self.tick_port(now, key),
                None => self.tick_connection(now, key),
            }
        }
    }

    fn tick_connection(&mut self, now: Instant, key: Key) {
        self.tick_link(now, key);
        let Some(conn) = self.conns.at_mut(key) else { return };
        conn.timer_at = None;
        if conn.is_stopped() {
            // We are the ones who do not read: its incomplete frame is not its fault.
            conn.session.on_partial(now, false);
        }
        if let Some(until) = away_until(conn)
            && until <= now
        {
            self.expire(key);
            return;
        }
        self.let_go_on(now, key);
        if self.watch(now, key) {
            // It is asked in vain; if its session may, it goes on over another link.
            self.stop_receiving(key);
            self.abort(key, CloseReason::Ours(CloseCode::Timeout));
        }
        let Some(conn) = self.conns.at_mut(key) else { return };
        let count_is_due = count_deadline(conn).is_some_and(|at| at <= now);
        let report_is_due = conn.outbox.poll_timeout().is_some_and(|at| at <= now);
        let confirm_is_due = confirm_deadline(conn).is_some_and(|at| at <= now);
        if let Some(closing) = conn.closing {
            if closing.until <= now {
                // Its last completions come by themselves; a timer for a moment that is over would be due again at once.
                self.abort(key, closing.reason);
                return;
            }
        } else if let Err(fault) = conn.session.on_timeout(now) {
            self.fail(key, fault);
        } else if block_deadline(conn, self.settings.limits.block_ms_max).is_some_and(|deadline| deadline <= now) {
            self.abort(key, CloseReason::Ours(CloseCode::SlowConsumer));
        }
        if report_is_due {
            self.mark_dirty(key);
        }
        if count_is_due {
            self.list_counts(key);
        }
        if confirm_is_due {
            self.list_confirms(key);
        }
        self.arm_timer(key);
    }

    /// A publisher that was ahead of its rate goes on, if its time has come.
    fn let_go_on(&mut self, now: Instant, key: Key) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        let Some(paced) = &mut conn.paced else { return };
        if !paced.on_timeout(now) {
            return;
        }
        // Who keeps to credit is heard meanwhile, and may ask whether somebody is there behind all that waits.
        if conn.inbox.granted.is_some() && paced.poll_sign_of_life(now) && conn.closing.is_none() {
            self.push_control_bytes(key, &Ping { t0: now.0 }.encode());
        }
        self.line_up(key);
    }

    pub(super) fn arm_slot_timer(&mut self, slot: u32) {
        if let Some(key) = self.conns.key_at(slot) {
            self.arm_timer(key);
        }
    }

    /// Sets a timer for the connection's earliest deadline, unless an earlier one is set.
    pub(super) fn arm_timer(&mut self, key: Key) {
        let block_ms_max = self.settings.limits.block_ms_max;
        let now = self.now();
        let Some(conn) = self.conns.at_mut(key) else { return };
        // What is due in the outbox is done in this turn's flush.
        let report = conn.outbox.poll_timeout().filter(|&at| at > now);
        let deadlines = match conn.closing {
            Some(closing) => [Some(closing.until), report, None],
            None => [conn.session.poll_timeout(), block_deadline(conn, block_ms_max), report],
        };
        // The same of what it is told.
        let confirm = confirm_deadline(conn).filter(|&at| at > now && conn.closing.is_none());
        let count = count_deadline(conn).filter(|&at| at > now && conn.closing.is_none());
        // What is due of a session over UDP is done when it is pumped.
        let link = conn.datagrams.as_ref().and_then(|link| link.poll_timeout()).filter(|&at| at > now);
        let paced = conn.paced.as_ref().and_then(|paced| paced.poll_timeout());
        let more = [confirm, count, away_until(conn), watch_deadline(conn), link, paced];
        let Some(earliest) = deadlines.into_iter().chain(more).flatten().min() else { return };
        if conn.timer_at.is_none_or(|set| earliest < set) {
            conn.timer_at = Some(earliest);
            self.timers.set(earliest, key);
        }
    }
}

/// When the session ends unless it is resumed.
fn away_until(conn: &Conn) -> Option<Instant> {
    match conn.lasting.as_ref()?.link {
        LinkState::Away(until) => Some(until),
        LinkState::Up | LinkState::Cut => None,
    }
}

fn count_deadline(conn: &Conn) -> Option<Instant> {
    let lasting = conn.lasting.as_ref().filter(|lasting| lasting.link == LinkState::Up)?;
    lasting.tally.poll_timeout()
}

fn confirm_deadline(conn: &Conn) -> Option<Instant> {
    let confirms = conn.confirms.as_ref().filter(|_| !conn.is_away())?;
    confirms.poll_timeout()
}

fn block_deadline(conn: &Conn, block_ms_max: u32) -> Option<Instant> {
    conn.outbox.blocked_since().map(|since| since + Duration::from_millis(block_ms_max))
}
