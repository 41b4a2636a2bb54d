//! One queue of an outbox: the frames of one lane that are served by one policy.

use laneway_proto::frame::lost::LossReason;
use laneway_proto::lane::credit::CreditSender;
use laneway_proto::lane::policy::Policy;
use laneway_proto::limits::FRAME_BYTES_MAX;
use laneway_proto::time::{Duration, Instant};

use super::{Blocked, Common, Frames, Losses, NEVER, Newest, Runs, Sample, Service, Way, walk};
use crate::counters::Drops;
use crate::pool::Pool;

/// The queue. Its bound is the largest that a subscription on it asked for.
#[derive(Debug)]
pub struct LaneQueue {
    lane: u8,
    policy: Policy,
    bytes_max: u64,
    runs: Runs,
    /// Used instead of `runs` by a queue that conflates, but for parts of large messages.
    newest: Option<Box<Newest>>,
    feeders: Vec<Blocked>,
    blocked_since: Option<Instant>,
    sample: Sample,
}

impl LaneQueue {
    /// An empty queue.
    pub fn new(service: &Service) -> Self {
        Self {
            lane: service.lane,
            policy: service.policy,
            bytes_max: u64::from(service.bytes_max),
            runs: Runs::default(),
            newest: (service.policy == Policy::Conflate).then(Box::default),
            feeders: Vec::new(),
            blocked_since: None,
            sample: Sample::default(),
        }
    }

    /// Whether frames of that service wait here.
    pub fn serves(&self, service: &Service) -> bool {
        self.lane == service.lane && self.policy == service.policy
    }

    /// Its lane.
    pub const fn lane(&self) -> u8 {
        self.lane
    }

    /// Bytes waiting.
    pub fn bytes(&self) -> u64 {
        self.runs.bytes() + self.newest.as_ref().map_or(0, |newest| newest.bytes())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.newest.as_ref().is_none_or(|newest| newest.is_empty())
    }

    /// Queues frames, and drops others or these if that is the policy at the bound; `lose` gets topic, reason, messages.
    /// True if the session has to end.
    pub fn push(
        &mut self,
        now: Instant,
        service: &Service,
        frames: &Frames<'_>,
        pool: &mut Pool,
        lose: &mut impl FnMut(u32, LossReason, u32),
    ) -> bool {
        self.bytes_max = self.bytes_max.max(u64::from(service.bytes_max));
        let deadline = match service.ttl_ms {
            0 => NEVER,
            ttl_ms => now + Duration::from_millis(ttl_ms),
        };
        // Where nothing is dropped, nobody asks for the topic, and frames of all topics are one entry.
        let drops_none = matches!(self.policy, Policy::Block | Policy::Disconnect) && deadline == NEVER;
        let common = Common { topic: if drops_none { 0 } else { frames.topic }, deadline };
        match self.policy {
            Policy::Block => self.queue(frames, common, pool),
            Policy::Disconnect if self.bytes() >= self.bytes_max => return true,
            Policy::Disconnect => self.queue(frames, common, pool),
            Policy::DropNewest if self.bytes() >= self.bytes_max => self.refuse(frames, lose),
            Policy::DropNewest => self.queue(frames, common, pool),
            Policy::DropOldest => {
                self.queue(frames, common, pool);
                self.shrink(pool, lose);
            }
            Policy::Conflate => self.conflate(frames, common, pool, lose),
        }
        false
    }

    /// Moves frames to the link, after what their topic has lost: up to `room` bytes, at least one frame, but none that
    /// `credit` does not allow. Those that are too late are dropped, and those that no credit will ever allow.
    pub fn take(
        &mut self,
        now: Instant,
        room: Room<'_>,
        way: &mut Way<'_>,
        losses: &mut Option<Box<Losses>>,
        pool: &mut Pool,
        drops: &mut Drops,
    ) -> u64 {
        let before = self.bytes();
        let taken = self.take_frames(now, room, way, losses, pool, drops);
        self.sample.on_left(before, self.bytes());
        taken
    }

    fn take_frames(
        &mut self,
        now: Instant,
        room: Room<'_>,
        way: &mut Way<'_>,
        losses: &mut Option<Box<Losses>>,
        pool: &mut Pool,
        drops: &mut Drops,
    ) -> u64 {
        let lane = self.lane;
        let Room { bytes: room, mut credit } = room;
        let mut lose = |topic, reason: LossReason, messages: u32, losses: &mut Option<Box<Losses>>| {
            drops[usize::from(lane)][reason.index()] += u64::from(messages);
            losses.get_or_insert_default().add(now, topic, lane, reason, messages);
        };
        let mut taken = 0;
        while let Some(front) = self.runs.front() {
            if front.deadline <= now {
                let Some((topic, messages)) = self.runs.drop_front(pool) else { break };
                lose(topic, LossReason::Ttl, messages, losses);
                continue;
            }
            if taken > 0 && taken >= room {
                return taken;
            }
            let mut bytes_max = room - taken.min(room);
            if let Some(credit) = &credit {
                match allowance(credit, || u64::from(self.runs.front_bytes(pool))) {
                    Allowance::Bytes(bytes) => bytes_max = bytes_max.min(bytes),
                    Allowance::Later => return taken,
                    Allowance::Never => {
                        let Some((topic, messages)) = self.runs.drop_front(pool) else { break };
                        lose(topic, LossReason::Overflow, messages, losses);
                        // The frames of a queue that never drops do not say their topic, so this cannot wait for the next.
                        report(losses, topic, lane, way, pool);
                        continue;
                    }
                }
            }
            report(losses, front.topic, lane, way, pool);
            let some = self.runs.take(bytes_max, pool, &mut |piece, pool| way.put(lane, piece, pool));
            way.wire.on_frames(lane, some.frames, some.mark);
            spend(&mut credit, some.bytes);
            taken += some.bytes;
            if way.is_full() {
                return taken;
            }
        }
        let Some(newest) = &mut self.newest else { return taken };
        while taken < room
            && let Some((frame, left)) = newest.front()
        {
            let allowance =
                credit.as_ref().map_or(Allowance::Bytes(0), |credit| allowance(credit, || frame.len() as u64));
            if left.deadline <= now {
                lose(left.topic, LossReason::Ttl, left.messages, losses);
            } else if allowance == Allowance::Later {
                return taken;
            } else if allowance == Allowance::Never {
                lose(left.topic, LossReason::Overflow, left.messages, losses);
            } else {
                report(losses, left.topic, lane, way, pool);
                taken += frame.len() as u64;
                spend(&mut credit, frame.len() as u64);
                way.put_copy(lane, frame, pool);
            }
            newest.pop();
        }
        taken
    }

    /// The topics of what waits, some of them several times; none where nothing is dropped.
    pub fn topics(&self) -> impl Iterator<Item = u32> {
        let newest = self.newest.iter().flat_map(|newest| newest.topics());
        self.runs.topics().chain(newest).filter(|&topic| topic != 0)
    }

    /// What came since this was called last came at `now`. If `begin` says so, the last of it is followed on its way; true
    /// if that begins now.
    pub fn follow(&mut self, now: Instant, begin: bool) -> bool {
        self.sample.follow(now, self.bytes(), begin)
    }

    /// When what was followed had come, if it has left for the link since this was asked last.
    pub const fn take_sample(&mut self) -> Option<Instant> {
        self.sample.left.take()
    }

    /// Moves everything out of buffers that the shard receives into, or that other shards lent.
    pub fn copy_out(&mut self, pool: &mut Pool) {
        self.runs.copy_out(pool);
    }

    /// Drops everything.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.runs.clear(pool);
        self.sample = Sample::default();
        if let Some(newest) = &mut self.newest {
            **newest = Newest::default();
        }
    }

    /// A publisher was stopped because of this queue. False if it was stopped before.
    pub fn block(&mut self, blocked: Blocked, now: Instant) -> bool {
        if self.feeders.contains(&blocked) {
            return false;
        }
        self.feeders.push(blocked);
        self.blocked_since.get_or_insert(now);
        true
    }

    /// Something has left, however little: those who are stopped have not waited in vain.
    pub fn block_anew(&mut self, now: Instant) {
        self.blocked_since = self.blocked_since.map(|_| now);
    }

    /// Since when publishers have been stopped because of this queue.
    pub const fn blocked_since(&self) -> Option<Instant> {
        self.blocked_since
    }

    /// Appends the publishers that may go on, if this queue and the bytes before it have drained to half, or `all`.
    pub fn take_unblocked(&mut self, all: bool, wire_bytes: u64, out: &mut Vec<Blocked>) {
        if !self.feeders.is_empty() && (all || self.bytes() + wire_bytes <= self.bytes_max / 2) {
            self.blocked_since = None;
            out.append(&mut self.feeders);
        }
    }

    fn queue(&mut self, frames: &Frames<'_>, common: Common, pool: &mut Pool) {
        self.runs.push(frames, common, pool);
    }

    fn refuse(&mut self, frames: &Frames<'_>, lose: &mut impl FnMut(u32, LossReason, u32)) {
        let mut messages = 0;
        walk(frames.whole, |_, shape| {
            messages += shape.fragment.map_or(shape.messages, |fragment| self.runs.refuse(fragment));
        });
        lose(frames.topic, LossReason::DropNewest, messages);
    }

    /// Drops the oldest of `runs` until the rest is within the bound. What is replaced has the same bound for itself.
    fn shrink(&mut self, pool: &mut Pool, lose: &mut impl FnMut(u32, LossReason, u32)) {
        let before = self.bytes();
        // As many go as came, mostly of one topic: their account is looked up once.
        let (mut topic, mut lost) = (0, 0);
        while self.runs.bytes() > self.bytes_max {
            let Some((next, messages)) = self.runs.drop_front(pool) else { break };
            if next != topic {
                lose(topic, LossReason::Overflow, lost);
                (topic, lost) = (next, 0);
            }
            lost += messages;
        }
        lose(topic, LossReason::Overflow, lost);
        self.sample.on_dropped(before, self.bytes());
    }

    fn conflate(
        &mut self,
        frames: &Frames<'_>,
        common: Common,
        pool: &mut Pool,
        lose: &mut impl FnMut(u32, LossReason, u32),
    ) {
        walk(frames.whole, |frame, shape| {
            let Some(newest) = &mut self.newest else { return };
            let key = (frames.topic, shape.ckey);
            let Some(fragment) = shape.fragment else {
                lose(frames.topic, LossReason::Conflated, newest.put(key, frame, shape.messages, common.deadline));
                return;
            };
            // The rest of a message that will not arrive replaces nothing.
            if self.runs.is_rest_of_cut(fragment) {
                self.runs.refuse(fragment);
                return;
            }
            // Parts of a large message cannot replace each other: they wait in `runs`, which leaves first.
            lose(frames.topic, LossReason::Conflated, newest.remove(key));
            // Nobody is told that a queue that replaces has received something.
            let part = Frames { head: frame, pieces: &[], share: false, count: 1, mark: None, ..*frames };
            self.queue(&part, common, pool);
            self.shrink(pool, lose);
        });
        let Some(newest) = &mut self.newest else { return };
        let runs_bytes = self.runs.bytes();
        let before = runs_bytes + newest.bytes();
        while newest.bytes() > self.bytes_max
            && let Some((_, left)) = newest.front()
        {
            newest.pop();
            lose(left.topic, LossReason::Overflow, left.messages);
        }
        self.sample.on_dropped(before, runs_bytes + newest.bytes());
    }
}

/// How much may leave a queue at once.
#[derive(Debug)]
pub struct Room<'a> {
    /// Bytes, or one frame if that is longer.
    pub bytes: u64,
    /// What the subscriber has room for, if it says so.
    pub credit: Option<&'a mut CreditSender>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Allowance {
    /// The frame in front may leave, and others with it up to so many bytes.
    Bytes(u64),
    /// It has to wait.
    Later,
    /// No credit will ever allow it.
    Never,
}

/// What credit allows; the frame in front is looked at only if that matters.
fn allowance(credit: &CreditSender, front_bytes: impl FnOnce() -> u64) -> Allowance {
    let available = credit.available();
    if available >= FRAME_BYTES_MAX as u64 {
        return Allowance::Bytes(available);
    }
    match front_bytes() {
        bytes if bytes <= available => Allowance::Bytes(available),
        bytes if credit.never_fits(bytes) => Allowance::Never,
        _ => Allowance::Later,
    }
}

fn spend(credit: &mut Option<&mut CreditSender>, bytes: u64) {
    if let Some(credit) = credit {
        let allowed = credit.spend(bytes);
        debug_assert!(allowed, "{bytes} bytes were allowed before");
    }
}

/// Tells the subscriber what a topic has lost, before its next frame.
fn report(losses: &mut Option<Box<Losses>>, topic: u32, lane: u8, way: &mut Way<'_>, pool: &mut Pool) {
    if let Some(pending) = losses {
        pending.report(topic, lane, &mut |frame| way.put_copy(lane, frame, pool));
    }
}
