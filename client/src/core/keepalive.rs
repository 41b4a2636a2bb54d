//! When a silent link is asked, doubted and given up.
//!
//! Any byte counts as life. Silence alone is no death: only a PING that stays unanswered is, so that an owner that was
//! itself stopped for a while asks before it judges.

use laneway_proto::time::{Duration, Instant};

use super::terms::Terms;

/// Milliseconds of silence after which the broker is asked for a sign of life, unless it says otherwise.
pub const KEEPALIVE_MS_DEFAULT: u32 = 1_000;
/// Keepalive spans after which a silent link is dead, if a side says how long a span is but not how many.
pub const DEAD_AFTER_SPANS: u32 = 3;
/// Milliseconds after which a silent link is dead, if nobody says anything about it. A broker that does not may leave a
/// publisher unread, and so unanswered, for as long as a slow subscriber may block it.
pub const DEAD_AFTER_MS_UNSAID: u32 = 10_000;

/// This side's wishes; the smaller of both sides' numbers holds. `None`: whatever the broker says.
///
/// ```
/// use laneway_client::core::{CoreOptions, Identity, KeepaliveOptions};
/// use laneway_proto::time::Duration;
///
/// let mut options = CoreOptions::new(Identity { node_id: [7; 16], epoch: 1, nonce: 2, origin: 3 });
/// options.keepalive = Some(KeepaliveOptions { every: Some(Duration::from_millis(200)), dead_after: None });
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeepaliveOptions {
    /// Silence after which a PING is sent.
    pub every: Option<Duration>,
    /// Silence after which the link is dead; at least twice `every`.
    pub dead_after: Option<Duration>,
}

/// What the time brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alarm {
    /// Nothing to do.
    Nothing,
    /// A PING is to be sent; [`Incoming::on_asked`](super::Incoming::on_asked) wants its token.
    Ping,
    /// The PING is unanswered for half of its time; holds the silence so far.
    Doubtful(Duration),
}

/// The clock of one link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keepalive {
    every: Duration,
    dead_after: Duration,
    heard: Instant,
    /// When to look again, while nothing is asked.
    look: Instant,
    /// When the unanswered PING was sent.
    asked: Option<Instant>,
    doubted: bool,
}

/// What [`Keepalive::on_timeout`] finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Alive(Alarm),
    /// Nothing was heard for this long, though asked.
    Dead(Duration),
}

impl Keepalive {
    /// For a link on which the broker just agreed.
    pub(super) fn new(now: Instant, options: KeepaliveOptions, terms: &Terms) -> Self {
        let said = smaller(options.every, terms.keepalive_ms);
        let every = said.unwrap_or(Duration::from_millis(KEEPALIVE_MS_DEFAULT));
        let spans = |count: u32| Duration(every.0.saturating_mul(u64::from(count)));
        let unsaid = said.map_or(Duration::from_millis(DEAD_AFTER_MS_UNSAID), |_| spans(DEAD_AFTER_SPANS));
        let dead_after = smaller(options.dead_after, terms.dead_after_ms).unwrap_or(unsaid);
        Self { every, dead_after: dead_after.max(spans(2)), heard: now, look: now + every, asked: None, doubted: false }
    }

    /// Bytes arrived, or the owner reads again after a pause of its own. Returns whether that ended a doubt.
    pub(super) fn on_heard(&mut self, now: Instant) -> bool {
        self.heard = now;
        if self.asked.take().is_some() {
            self.look = now + self.every;
        }
        std::mem::take(&mut self.doubted)
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        let Some(asked) = self.asked else { return self.look };
        let patience = Duration(self.dead_after.0 - self.every.0);
        asked + if self.doubted { patience } else { Duration(patience.0 / 2) }
    }

    /// Time has passed. `unconfirmed`: the broker has not yet said that it took everything it was sent, and is asked
    /// even if it talks.
    pub(super) fn on_timeout(&mut self, now: Instant, unconfirmed: bool) -> Verdict {
        if now < self.poll_timeout() {
            return Verdict::Alive(Alarm::Nothing);
        }
        let silence = now.since(self.heard);
        if self.asked.is_none() {
            if silence < self.every && !unconfirmed {
                self.look = self.heard + self.every;
                return Verdict::Alive(Alarm::Nothing);
            }
            self.asked = Some(now);
            return Verdict::Alive(Alarm::Ping);
        }
        if self.doubted {
            return Verdict::Dead(silence);
        }
        self.doubted = true;
        Verdict::Alive(Alarm::Doubtful(silence))
    }
}

/// The smaller of what both sides said; `None` if neither did.
fn smaller(own: Option<Duration>, broker_ms: u32) -> Option<Duration> {
    let own = own.filter(|span| *span > Duration::ZERO);
    let broker = (broker_ms > 0).then(|| Duration::from_millis(broker_ms));
    own.into_iter().chain(broker).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use laneway_proto::control::{Limits, Welcome};

    fn at(ms: u32) -> Instant {
        Instant(0) + Duration::from_millis(ms)
    }

    fn ms(ms: u32) -> Duration {
        Duration::from_millis(ms)
    }

    fn started(options: KeepaliveOptions, keepalive_ms: u32, dead_after_ms: u32) -> Keepalive {
        let limits = Limits { keepalive_ms, dead_after_ms, ..Limits::default() };
        Keepalive::new(at(0), options, &Terms::new(Welcome { limits: Some(limits), ..Welcome::default() }))
    }

    /// Follows the machine's own times up to `end`; returns what it found and when.
    fn follow(keepalive: &mut Keepalive, end: Instant, unconfirmed: bool) -> Vec<(u64, Verdict)> {
        let mut found = Vec::new();
        while keepalive.poll_timeout() <= end {
            let now = keepalive.poll_timeout();
            let verdict = keepalive.on_timeout(now, unconfirmed);
            found.push((now.since(at(0)).as_millis(), verdict));
            if matches!(verdict, Verdict::Dead(_)) {
                break;
            }
        }
        found
    }

    #[test]
    fn a_silent_link_is_asked_after_a_second_doubted_after_two_and_dead_after_three() {
        let mut keepalive = started(KeepaliveOptions::default(), 1_000, 0);
        let expected = [
            (1_000, Verdict::Alive(Alarm::Ping)),
            (2_000, Verdict::Alive(Alarm::Doubtful(ms(2_000)))),
            (3_000, Verdict::Dead(ms(3_000))),
        ];
        assert_eq!(follow(&mut keepalive, at(9_000), false), expected);
    }

    #[test]
    fn any_traffic_is_life_and_a_busy_link_is_never_asked() {
        let mut keepalive = started(KeepaliveOptions::default(), 1_000, 0);
        for step in 1..100 {
            assert!(!keepalive.on_heard(at(step * 900)));
            let found = follow(&mut keepalive, at(step * 900 + 899), false);
            assert!(found.iter().all(|(_, verdict)| *verdict == Verdict::Alive(Alarm::Nothing)), "{found:?}");
        }
    }

    #[test]
    fn an_answer_in_the_last_moment_keeps_the_link_and_ends_the_doubt() {
        let mut keepalive = started(KeepaliveOptions::default(), 1_000, 0);
        assert_eq!(follow(&mut keepalive, at(2_999), false).len(), 2);
        assert!(keepalive.on_heard(at(2_999)), "the doubt is over");
        assert_eq!(keepalive.poll_timeout(), at(3_999));
        assert_eq!(follow(&mut keepalive, at(3_999), false), [(3_999, Verdict::Alive(Alarm::Ping))]);
    }

    #[test]
    fn an_owner_that_was_stopped_asks_before_it_judges() {
        let mut keepalive = started(KeepaliveOptions::default(), 1_000, 0);
        assert_eq!(keepalive.on_timeout(at(60_000), false), Verdict::Alive(Alarm::Ping));
        assert_eq!(keepalive.poll_timeout(), at(61_000));
        assert_eq!(keepalive.on_timeout(at(61_000), false), Verdict::Alive(Alarm::Doubtful(ms(61_000))));
        assert_eq!(keepalive.on_timeout(at(61_999), false), Verdict::Alive(Alarm::Nothing));
        assert_eq!(keepalive.on_timeout(at(62_000), false), Verdict::Dead(ms(62_000)));
    }

    #[test]
    fn a_broker_that_talks_is_still_asked_once_a_span_for_what_it_took() {
        let mut keepalive = started(KeepaliveOptions::default(), 1_000, 0);
        keepalive.on_heard(at(990));
        assert_eq!(keepalive.on_timeout(at(1_000), true), Verdict::Alive(Alarm::Ping));
        keepalive.on_heard(at(1_001));
        assert_eq!(keepalive.poll_timeout(), at(2_001));
    }

    #[test]
    fn the_smaller_wish_holds_and_death_leaves_time_for_an_answer() {
        let own = KeepaliveOptions { every: Some(ms(200)), dead_after: Some(ms(700)) };
        let spans = |keepalive: Keepalive| (keepalive.every.as_millis(), keepalive.dead_after.as_millis());
        assert_eq!(spans(started(own, 0, 0)), (200, 700));
        assert_eq!(spans(started(own, 100, 5_000)), (100, 700));
        assert_eq!(spans(started(KeepaliveOptions::default(), 5_000, 0)), (5_000, 15_000));
        assert_eq!(spans(started(KeepaliveOptions::default(), 0, 0)), (1_000, 10_000));
        assert_eq!(spans(started(KeepaliveOptions::default(), 5_000, 1)), (5_000, 10_000));
    }
}
