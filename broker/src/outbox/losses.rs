//! Messages that were dropped for one subscriber and that it has not been told of yet.

use std::collections::HashMap;

use laneway_proto::frame::lost::{LOST_FRAME_BYTES, LossReason, Lost};
use laneway_proto::time::{Duration, Instant};

use crate::counters::ByReason;

/// Topics and lanes with losses at most; those of further topics are reported together, as topic 0.
const PENDING_MAX: usize = 1_024;
/// Room for topics that is kept for the next losses.
const IDLE_CAPACITY_MAX: usize = 64;
/// A loss is reported before its topic's next frame, or after this time if none waits (decision 0022).
const PATIENCE: Duration = Duration::from_millis(1_000);

/// What one topic lost on one lane.
#[derive(Debug, Default)]
struct Pending {
    counts: [u32; LossReason::ALL.len()],
    /// A frame of the topic waits, before which it will be told.
    waits: bool,
}

/// Losses by topic and lane.
#[derive(Debug, Default)]
pub struct Losses {
    pending: HashMap<(u32, u8), Pending>,
    /// When the oldest of them happened, or when [`Self::report_due`] was asked last.
    since: Option<Instant>,
    /// All that there ever were.
    total: ByReason,
}

impl Losses {
    /// Messages lost so far, those reported included.
    pub const fn total(&self) -> &ByReason {
        &self.total
    }

    /// Keeps a loss of `messages`.
    pub fn add(&mut self, now: Instant, topic: u32, lane: u8, reason: LossReason, messages: u32) {
        if messages == 0 {
            return;
        }
        self.since.get_or_insert(now);
        self.total[reason.index()] += u64::from(messages);
        let known = self.pending.len() < PENDING_MAX || self.pending.contains_key(&(topic, lane));
        let counts = &mut self.pending.entry((if known { topic } else { 0 }, lane)).or_default().counts;
        counts[reason.index()] = counts[reason.index()].saturating_add(messages);
    }

    /// Reports what a topic lost on a lane.
    pub fn report(&mut self, topic: u32, lane: u8, put: &mut impl FnMut(&[u8; LOST_FRAME_BYTES])) {
        if let Some(pending) = self.pending.remove(&(topic, lane)) {
            encode(topic, lane, &pending.counts, put);
            if self.pending.is_empty() {
                self.settle();
            }
        }
    }

    /// Reports everything; `put` gets the lane of each report, too.
    pub fn report_all(&mut self, put: &mut impl FnMut(u8, &[u8; LOST_FRAME_BYTES])) {
        for ((topic, lane), pending) in self.pending.drain() {
            encode(topic, lane, &pending.counts, &mut |frame| put(lane, frame));
        }
        self.settle();
    }

    /// Topics and lanes with losses that were not reported.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// A frame of a topic waits to be sent on a lane: [`Self::report_due`] leaves what it lost to that. True if that is news.
    pub fn note_waiting(&mut self, topic: u32, lane: u8) -> bool {
        let pending = self.pending.get_mut(&(topic, lane));
        pending.is_some_and(|pending| !std::mem::replace(&mut pending.waits, true))
    }

    /// Reports what no waiting frame will tell; `put` gets the lane of each report, too.
    pub fn report_due(&mut self, now: Instant, put: &mut impl FnMut(u8, &[u8; LOST_FRAME_BYTES])) {
        self.pending.retain(|&(topic, lane), pending| {
            let waits = std::mem::take(&mut pending.waits);
            if !waits {
                encode(topic, lane, &pending.counts, &mut |frame| put(lane, frame));
            }
            waits
        });
        if self.pending.is_empty() {
            self.settle();
        } else {
            self.since = Some(now);
            self.pending.shrink_to(IDLE_CAPACITY_MAX);
        }
    }

    /// Everything is reported.
    fn settle(&mut self) {
        self.since = None;
        if self.pending.capacity() > IDLE_CAPACITY_MAX {
            self.pending = HashMap::new();
        }
    }

    /// When [`Self::report_due`] has to be asked.
    pub fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + PATIENCE)
    }
}

fn encode(topic: u32, lane: u8, counts: &[u32], put: &mut impl FnMut(&[u8; LOST_FRAME_BYTES])) {
    for (reason, &count) in LossReason::ALL.into_iter().zip(counts) {
        if count > 0 {
            put(&Lost { topic, lane, reason, first: 0, count }.encode());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laneway_proto::header::Header;
    use laneway_proto::limits::HEADER_BYTES;

    fn read(frame: &[u8; LOST_FRAME_BYTES]) -> Lost {
        let header = Header::decode(frame.first_chunk::<HEADER_BYTES>().expect("a header")).expect("valid");
        Lost::decode(&header, &frame[HEADER_BYTES..]).expect("valid")
    }

    #[test]
    fn losses_of_a_topic_add_up_and_are_reported_once() {
        let mut losses = Losses::default();
        losses.add(Instant(5), 70_000, 4, LossReason::Overflow, 2);
        losses.add(Instant(9), 70_000, 4, LossReason::Overflow, 3);
        losses.add(Instant(9), 70_000, 4, LossReason::Ttl, 1);
        losses.add(Instant(9), 70_001, 4, LossReason::Ttl, 7);
        assert_eq!(losses.due(), Some(Instant(5) + PATIENCE));
        let mut reports = Vec::new();
        losses.report(70_000, 4, &mut |frame| reports.push(read(frame)));
        losses.report(70_000, 4, &mut |frame| reports.push(read(frame)));
        let lost = |topic, reason, count| Lost { topic, lane: 4, reason, first: 0, count };
        assert_eq!(reports, [lost(70_000, LossReason::Ttl, 1), lost(70_000, LossReason::Overflow, 5)]);
        reports.clear();
        losses.report_all(&mut |_, frame| reports.push(read(frame)));
        assert_eq!((reports, losses.due()), (vec![lost(70_001, LossReason::Ttl, 7)], None));
        let total = |reason: LossReason| losses.total()[reason.index()];
        assert_eq!((total(LossReason::Ttl), total(LossReason::Overflow)), (8, 5), "what was reported still counts");
    }

    #[test]
    fn a_loss_is_left_to_the_frame_that_waits_and_told_alone_when_none_does() {
        let mut losses = Losses::default();
        losses.add(Instant(0), 70_000, 4, LossReason::Conflated, 2);
        losses.add(Instant(0), 70_001, 4, LossReason::Overflow, 3);
        assert!(losses.note_waiting(70_000, 4) && !losses.note_waiting(70_000, 4));
        assert!(!losses.note_waiting(70_001, 3) && !losses.note_waiting(70_002, 4));
        let due = losses.due().expect("something was lost");
        let mut reports = Vec::new();
        losses.report_due(due, &mut |_, frame| reports.push(read(frame)));
        let lost = |topic, reason, count| Lost { topic, lane: 4, reason, first: 0, count };
        assert_eq!(reports, [lost(70_001, LossReason::Overflow, 3)]);
        assert_eq!(losses.due(), Some(due + PATIENCE), "it is asked again");
        losses.add(due, 70_000, 4, LossReason::Conflated, 1);
        losses.report_due(due + PATIENCE, &mut |_, frame| reports.push(read(frame)));
        assert_eq!((reports[1..].to_vec(), losses.due()), (vec![lost(70_000, LossReason::Conflated, 3)], None));
    }

    #[test]
    fn losses_of_very_many_topics_are_bounded_and_none_is_forgotten() {
        let mut losses = Losses::default();
        for topic in 1..=3_000 {
            losses.add(Instant(0), topic, 4, LossReason::Overflow, 1);
        }
        assert!(losses.pending.len() <= PENDING_MAX + 1);
        let mut total = 0;
        losses.report_all(&mut |_, frame| total += read(frame).count);
        assert_eq!(total, 3_000);
        assert!(losses.pending.capacity() <= IDLE_CAPACITY_MAX, "what many topics took is given back");
    }
}
