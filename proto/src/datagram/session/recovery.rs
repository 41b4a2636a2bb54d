//! What is taken for lost, and when to ask whether anything arrives at all.

use super::super::limits::PROBE_MS_MAX;
use super::super::outbound::AckedDatagram;
use super::super::received::newer;
use super::super::rtt::{Reordering, Rtt};
use super::super::sent::{Fate, SentSlot};
use crate::time::{Duration, Instant};

/// Doublings of the pause between two probes at most; the pause has a bound of its own.
const DOUBLINGS_MAX: u32 = 16;

#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) rtt: Rtt,
    reordering: Reordering,
    /// The newest datagram that was acknowledged.
    pub(super) largest: Option<u32>,
    /// Probes since something was acknowledged.
    probes: u32,
    /// When the last datagram that is waited for left, or the peer was last heard of it.
    since: Instant,
}

/// What one acknowledgement brought.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The newest number that was in flight, and when it was sent.
    newest: Option<(u32, Instant)>,
    any: bool,
}

impl News {
    pub(super) fn note(&mut self, now: Instant, datagram: &AckedDatagram, recovery: &mut Recovery) {
        self.any = true;
        match datagram.fate {
            Fate::Overtaken => {
                recovery.reordering.on_spurious(now, now.since(datagram.sent), &recovery.rtt);
            }
            Fate::InFlight if self.newest.is_none_or(|(number, _)| newer(datagram.number, number)) => {
                self.newest = Some((datagram.number, datagram.sent));
            }
            Fate::InFlight | Fate::Unheard | Fate::Acked => {}
        }
    }
}

impl Recovery {
    pub(super) fn new(round_trip: Option<Duration>) -> Self {
        let mut rtt = Rtt::new();
        if let Some(round_trip) = round_trip {
            rtt.on_sample(round_trip, Duration::ZERO);
        }
        Self { rtt, reordering: Reordering::default(), largest: None, probes: 0, since: Instant(0) }
    }

    pub(super) fn on_news(&mut self, now: Instant, largest: u32, delay: Duration, news: &News) {
        if !news.any {
            return;
        }
        self.probes = 0;
        self.since = now;
        if self.largest.is_none_or(|known| newer(largest, known)) {
            self.largest = Some(largest);
        }
        if let Some((_, sent)) = news.newest.filter(|&(number, _)| number == largest) {
            self.rtt.on_sample(now.since(sent), delay);
        }
    }

    /// How far behind, and how long after it was sent, an overtaken datagram is lost.
    pub(super) fn lost_when(&self, now: Instant) -> (Option<u32>, Duration) {
        (self.reordering.lost_behind(now), self.reordering.lost_after(now, &self.rtt))
    }

    /// When the oldest datagram in flight is lost, if it was overtaken.
    pub(super) fn lost_at(&self, oldest: &SentSlot) -> Option<Instant> {
        let overtaken = self.largest.is_some_and(|largest| newer(largest, oldest.number));
        overtaken.then(|| oldest.sent + self.reordering.lost_after(oldest.sent, &self.rtt))
    }

    pub(super) const fn on_sent(&mut self, now: Instant) {
        self.since = now;
    }

    pub(super) const fn on_probe(&mut self, now: Instant) {
        self.probes = self.probes.saturating_add(1);
        self.since = now;
    }

    /// When to probe, if nothing is acknowledged before.
    pub(super) fn probe_at(&self) -> Instant {
        let first = self.rtt.probe_after();
        let pause = Duration(first.0.saturating_mul(1 << self.probes.min(DOUBLINGS_MAX)));
        self.since + pause.min(Duration::from_millis(PROBE_MS_MAX)).max(first.min(Duration::from_millis(PROBE_MS_MAX)))
    }
}
