//! How many messages of a topic a second a subscriber is passed on, where its subscription asks for fewer than there are.
//!
//! The rule is that of a leaky bucket with a virtual clock (GCRA, ITU-T I.371): a message takes one interval of it, and
//! passes unless the clock is more than a burst ahead. A queue that conflates keeps the newest message that did not pass
//! until its time has come, so the last value always arrives; any other loses it, and says so.

use std::collections::{BTreeSet, HashMap};

use laneway_proto::frame::extensions::Src;
use laneway_proto::lane::policy::Policy;
use laneway_proto::time::{Duration, Instant};

use super::{Service, Shape};

/// Topics and lanes of one subscriber that are counted apart; further ones share a place.
const TOPICS_MAX: usize = 4_096;
/// A burst is what is allowed in a tenth of a second, and at least one message.
const BURSTS_PER_SECOND: u32 = 10;
const SECOND_NS: u64 = 1_000_000_000;

/// What becomes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It goes on; so many messages that were kept are of no use any more.
    Pass(u32),
    /// It is kept until its time has come, instead of so many messages.
    Kept(u32),
    /// It is dropped.
    Drop,
}

/// The newest frame that did not pass.
#[derive(Debug)]
struct Newest {
    frame: Vec<u8>,
    messages: u32,
    service: Service,
}

#[derive(Debug, Default)]
struct Rate {
    /// The virtual clock.
    clock: Instant,
    /// The large message under way, and whether it passes.
    under_way: Option<(Src, bool)>,
    newest: Option<Newest>,
}

/// A topic and a lane.
type Name = (u32, u8);

/// The rates of one subscriber.
///
/// Invariant: `kept` names exactly the topics with a frame that is kept, each with its clock.
#[derive(Debug, Default)]
pub(super) struct Rates {
    topics: HashMap<Name, Rate>,
    kept: BTreeSet<(Instant, Name)>,
}

/// What a message takes of the clock.
fn interval(service: &Service) -> Duration {
    Duration(SECOND_NS / u64::from(service.rate_hz.max(1)))
}

impl Rates {
    /// Judges a frame of `topic`.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        topic: u32,
        service: &Service,
        frame: &[u8],
        shape: &Shape,
    ) -> Verdict {
        let Self { topics, kept } = self;
        let known = topics.len() < TOPICS_MAX || topics.contains_key(&(topic, service.lane));
        let name = (if known { topic } else { 0 }, service.lane);
        let rate = topics.entry(name).or_default();
        let interval = interval(service);
        if let (Some(fragment), Some((src, passes))) = (shape.fragment, rate.under_way)
            && fragment.index > 0
        {
            return if src == fragment.src && passes { Verdict::Pass(0) } else { Verdict::Drop };
        }
        let burst = u64::from((service.rate_hz / BURSTS_PER_SECOND).max(1)) - 1;
        let passes = rate.clock.0 <= now.0 + burst * interval.0;
        if let Some(fragment) = shape.fragment {
            rate.under_way = (!fragment.last).then_some((fragment.src, passes));
        }
        if passes {
            let replaced = rate.newest.take();
            if replaced.is_some() {
                kept.remove(&(rate.clock, name));
            }
            rate.clock = Instant(rate.clock.0.max(now.0) + interval.0 * u64::from(shape.messages));
            return Verdict::Pass(replaced.map_or(0, |newest| newest.messages));
        }
        if service.policy != Policy::Conflate || shape.fragment.is_some() || !known {
            return Verdict::Drop;
        }
        kept.insert((rate.clock, name));
        let mut memory = rate.newest.take();
        let replaced = memory.as_ref().map_or(0, |newest| newest.messages);
        let mut bytes = memory.as_mut().map(|newest| std::mem::take(&mut newest.frame)).unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(frame);
        rate.newest = Some(Newest { frame: bytes, messages: shape.messages, service: *service });
        Verdict::Kept(replaced)
    }

    /// When [`Self::poll`] is to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.kept.first().map(|(at, _)| *at)
    }

    /// A kept frame whose time has come: its topic, how it is served, and its bytes.
    pub(super) fn poll(&mut self, now: Instant) -> Option<(u32, Service, Vec<u8>)> {
        let &(_, name) = self.kept.first().filter(|(at, _)| *at <= now)?;
        self.kept.pop_first();
        let rate = self.topics.get_mut(&name)?;
        let Newest { frame, messages, service } = rate.newest.take()?;
        rate.clock = Instant(now.0 + interval(&service).0 * u64::from(messages));
        Some((name.0, service, frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { len: 20, topic: 70_000, ckey: 0, messages: 1, fragment: None };

    fn service(policy: Policy, rate_hz: u32) -> Service {
        Service { lane: 3, policy, bytes_max: 1_000, ttl_ms: 0, rate_hz }
    }

    fn at_ms(ms: u64) -> Instant {
        Instant(SECOND_NS + ms * 1_000_000)
    }

    #[test]
    fn over_ten_seconds_the_rate_is_kept_within_two_percent_and_a_burst_passes_at_once() {
        let mut rates = Rates::default();
        let service = service(Policy::DropOldest, 100);
        let passes = |rates: &mut Rates, at| matches!(rates.judge(at, 70_000, &service, &[], &SHAPE), Verdict::Pass(_));
        let burst = (0..50).filter(|_| passes(&mut rates, at_ms(0))).count();
        assert_eq!(burst, 10, "a tenth of a second");
        let passed = (1..=10_000).filter(|&ms| passes(&mut rates, at_ms(ms))).count();
        assert!((980..=1_020).contains(&passed), "{passed} in ten seconds of 1,000 a second");
        assert_eq!((0..50).filter(|_| passes(&mut rates, at_ms(60_000))).count(), 10, "silence saves up one burst");
    }

    #[test]
    fn a_queue_that_conflates_passes_on_the_newest_when_its_time_has_come() {
        let mut rates = Rates::default();
        let service = service(Policy::Conflate, 10);
        let mut judge = |ms, byte: u8| rates.judge(at_ms(ms), 70_000, &service, &[byte], &SHAPE);
        assert_eq!(judge(0, 1), Verdict::Pass(0));
        assert_eq!(judge(1, 2), Verdict::Kept(0));
        assert_eq!(judge(2, 3), Verdict::Kept(1), "what it replaced is lost");
        assert_eq!(rates.due(), Some(at_ms(100)));
        assert_eq!(rates.poll(at_ms(99)), None);
        assert_eq!(rates.poll(at_ms(100)), Some((70_000, service, vec![3])));
        assert_eq!((rates.poll(at_ms(100)), rates.due()), (None, None));
        assert_eq!(rates.judge(at_ms(150), 70_000, &service, &[4], &SHAPE), Verdict::Kept(0), "it took its place");
        assert_eq!(
            rates.judge(at_ms(200), 70_000, &service, &[5], &SHAPE),
            Verdict::Pass(1),
            "a newer one goes instead"
        );
    }

    #[test]
    fn a_large_message_passes_whole_or_not_at_all_and_topics_do_not_share() {
        use crate::outbox::frames::Fragment;
        let mut rates = Rates::default();
        let service = service(Policy::DropOldest, 1);
        let part = |seq, index| Shape {
            messages: u32::from(index == 0),
            fragment: Some(Fragment { src: Src { origin: 1, seq }, index, last: index == 2 }),
            ..SHAPE
        };
        let mut passes =
            |topic, shape: Shape| matches!(rates.judge(at_ms(0), topic, &service, &[], &shape), Verdict::Pass(_));
        let first: Vec<bool> = (0..3).map(|index| passes(70_000, part(1, index))).collect();
        let second: Vec<bool> = (0..3).map(|index| passes(70_000, part(2, index))).collect();
        assert_eq!((first, second), (vec![true; 3], vec![false; 3]));
        assert!(passes(70_001, SHAPE));
    }
}
