//! When something has to be done although nothing happens.

use super::{Ended, Link, Turn};
use crate::error::CloseCode;
use crate::serial::limits::SERIAL_BAD_FRAMES_MAX;
use crate::serial::rtt::Ticks;
use crate::time::{Duration, Instant};

/// Signs of life in the time after which a side is given up.
const SIGNS_OF_LIFE: u32 = 3;

impl<const L: usize, const W: usize, const H: usize, const F: usize> Link<L, W, H, F> {
    /// Time has come to `now`.
    pub fn on_timeout(&mut self, now: Instant) {
        if !self.is_open() || self.has_events() {
            return;
        }
        if self.given_up_at() <= now {
            return self.end(now, Ended::Silent, CloseCode::Timeout);
        }
        if self.turn != Turn::Always {
            return;
        }
        let (frame, ticks) = (self.frame_ticks(), Ticks::at(now));
        let Self { lanes, rtt, adapt, .. } = self;
        for lane in lanes {
            while lane.sender.deadline(|backoff| rtt.timeout(frame, backoff)).is_some_and(|due| ticks.since(due) >= 0) {
                (0..lane.sender.on_timeout()).for_each(|_| adapt.on_lost());
            }
        }
    }

    /// When the session is given up if nothing good comes.
    fn given_up_at(&self) -> Instant {
        let dead_ms = u32::from(self.setup.dead_ms);
        let only_bad = self.bad_in_a_row >= SERIAL_BAD_FRAMES_MAX;
        self.heard + Duration::from_millis(if only_bad { dead_ms / SIGNS_OF_LIFE } else { dead_ms })
    }

    /// When the peer has to be told that this side lives.
    pub(super) fn sign_of_life_at(&self) -> Instant {
        self.said + Duration::from_millis(u32::from(self.peer.dead_ms) / SIGNS_OF_LIFE)
    }

    /// When to call [`Self::on_timeout`] and [`Self::poll_transmit`] if nothing happens before.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.has_events() {
            return Some(now);
        }
        let line = self.pacer.ready_at(self.frame_wire_bytes());
        let mut first: Option<Instant> = None;
        let mut due = |at: Instant| first = Some(first.map_or(at, |first| first.min(at)));
        if self.is_open() {
            due(self.given_up_at());
        }
        match self.turn {
            Turn::Theirs => return first,
            Turn::Ours { .. } => due(line),
            Turn::Always => {
                if let Some(at) = self.shake.poll_timeout() {
                    due(at.max(line));
                }
            }
        }
        if !self.is_open() || self.turn != Turn::Always {
            return first;
        }
        due(self.sign_of_life_at().max(line));
        let frame = self.frame_ticks();
        for lane in &self.lanes {
            if let Some(at) = lane.sender.deadline(|backoff| self.rtt.timeout(frame, backoff)) {
                // A tick is the last microsecond of it.
                due(at.plus(Ticks(1)).near(now));
            }
            if lane.can_send() || lane.receiver.owes_ack() || self.asked.is_some() {
                due(line);
            }
        }
        first
    }
}
