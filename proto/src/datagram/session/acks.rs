//! What the peer is told of what arrived, and how soon.

use super::super::ack;
use super::super::limits::{ACK_DELAY_US_MAX, ACK_EVERY_DATAGRAMS, RECEIVE_WINDOW_DATAGRAMS};
use super::super::received::{Place, Received};
use crate::time::{Duration, Instant};

const WORDS: usize = RECEIVE_WINDOW_DATAGRAMS as usize / 64;

/// Numbers below what all arrived up to that an ACK frame still shows: those that came late are among them.
const SHOWN_BELOW: u32 = 63;

#[derive(Debug)]
pub(super) struct Acks {
    pub(super) received: Received<WORDS>,
    /// Datagrams that ask to be acknowledged and are not.
    unanswered: u32,
    due: Option<Instant>,
    /// One arrived out of order since the last acknowledgement.
    late: bool,
    largest_at: Instant,
}

impl Acks {
    pub(super) const fn new(first: u32) -> Self {
        Self { received: Received::new(first), unanswered: 0, due: None, late: false, largest_at: Instant(0) }
    }

    pub(super) fn on_datagram(&mut self, now: Instant, number: u32, place: Place, ack_me: bool) {
        let had_hole = self.received.has_hole();
        self.received.insert(number);
        if place != Place::Late {
            self.largest_at = now;
        }
        self.late |= place == Place::Late && had_hole;
        if !ack_me {
            return;
        }
        self.unanswered += 1;
        let at_once = place != Place::Next || self.unanswered >= ACK_EVERY_DATAGRAMS;
        let due = if at_once { now } else { now + Duration::from_micros(ACK_DELAY_US_MAX) };
        self.due = Some(self.due.map_or(due, |set| set.min(due)));
    }

    pub(super) const fn answer_at_once(&mut self, now: Instant) {
        self.due = Some(now);
    }

    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Writes an ACK frame, if the number in the datagram header does not say it all; returns its bytes.
    pub(super) fn encode(&self, now: Instant, out: &mut [u8]) -> usize {
        let pending = self.due.is_some() || self.late;
        if !pending || !self.late && !self.received.has_hole() {
            return 0;
        }
        let low = self.received.through().wrapping_sub(SHOWN_BELOW);
        ack::encode(self.received.spans(low), now.since(self.largest_at), out)
    }

    /// A datagram left, with the acknowledgement in its header.
    pub(super) const fn on_sent(&mut self, whole: bool) {
        (self.unanswered, self.due) = (0, None);
        if whole {
            self.late = false;
        }
    }
}
