//! What waits for one peer: a queue for each lane and policy it is served by, and the order in which they leave.
//!
//! Frames wait in the queues and get their place on the link as late as possible, when the kernel takes more, so that
//! priority acts on everything that is not yet in the kernel. What a queue drops is remembered and reported to the
//! subscriber before the topic's next frame.

pub mod counted;
pub mod frames;
pub mod kept;
pub mod lane_queue;
pub mod losses;
pub mod newest;
mod rates;
pub mod runs;
pub mod sample;
pub mod tail;
pub mod way;
pub mod wire;

use laneway_proto::error::PeerFault;
use laneway_proto::frame::lost::LossReason;
use laneway_proto::lane::credit::CreditSender;
use laneway_proto::lane::policy::Policy;
use laneway_proto::lane::scheduler::{Next, Scheduler};
use laneway_proto::lane::table::LaneTable;
use laneway_proto::limits::{LANE_CREDIT_BYTES_DEFAULT, LANES_MAX};
use laneway_proto::time::Instant;

use self::counted::{Counted, Mark, Marks};
use self::frames::{FRONT_BYTES, Fragment, Shape, walk};
use self::kept::KeptFrames;
use self::lane_queue::{LaneQueue, Room};
use self::losses::Losses;
use self::newest::Newest;
use self::rates::{Rates, Verdict};
use self::runs::{Common, NEVER, Runs};
use self::sample::Sample;
use self::tail::Tail;
use self::way::Way;
use self::wire::Wire;
use crate::counters::{ByReason, Drops};
use crate::io::SEND_PIECES_MAX;
use crate::pool::{Piece, Pool};
use crate::rate::Rate;
use crate::slab::Key;

/// Bytes given a place on the link at once while one lane is in use: enough to keep the kernel busy.
const WIRE_BYTES_MAX: u64 = 256 * 1024;
/// The same while several lanes are in use, so that little stands in front of a more urgent frame.
const WIRE_BYTES_MAX_SHARED: u64 = 16 * 1024;

/// A publisher, on whichever shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Feeder {
    /// The shard that owns the publisher's connection.
    pub shard: u8,
    /// The publisher's connection on that shard.
    pub key: Key,
}

/// A lane of a publisher that was stopped because of an outbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// The publisher.
    pub feeder: Feeder,
    /// The lane it publishes on.
    pub lane: u8,
}

/// How one subscriber gets one run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Service {
    /// Lane it leaves on.
    pub lane: u8,
    /// What a full queue does.
    pub policy: Policy,
    /// Bytes of the queue.
    pub bytes_max: u32,
    /// Milliseconds after which it is not sent any more; 0: never.
    pub ttl_ms: u32,
    /// Messages of a topic a second at most; 0: all.
    pub rate_hz: u32,
}

/// Frames to be queued.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a> {
    /// The broker's id of their topic.
    pub topic: u32,
    /// Their bytes: `head`, then the pieces. More than one part: one frame.
    pub head: &'a [u8],
    /// The parts behind `head`.
    pub pieces: &'a [Piece],
    /// All of it in one piece of memory, for queues that look at single frames.
    pub whole: &'a [u8],
    /// Whether pieces are queued by reference.
    pub share: bool,
    /// How many.
    pub count: u32,
    /// Whom to tell when all of them are received, if anybody wants to know.
    pub mark: Option<Mark>,
}

impl<'a> Frames<'a> {
    /// Frames in one piece that nobody wants to have confirmed.
    pub const fn plain(topic: u32, piece: &'a Piece, share: bool, count: u32) -> Self {
        Self { topic, head: &[], pieces: std::slice::from_ref(piece), whole: &[], share, count, mark: None }
    }
}

/// The queues towards one peer.
#[derive(Debug, Default)]
pub struct Outbox {
    wire: Wire,
    queues: Vec<LaneQueue>,
    /// Which of them is next; only once two lanes are in use.
    scheduler: Option<Box<Scheduler>>,
    losses: Option<Box<Losses>>,
    /// Of subscriptions that ask for fewer messages than there are.
    rates: Option<Box<Rates>>,
    /// What the peer has not counted, if it counts.
    kept: Option<Box<KeptFrames>>,
    /// By lane, what the peer has room for, if it says so.
    credit: Option<Box<[CreditSender; LANES_MAX]>>,
    /// The peer will say nothing more: what its credit does not allow is of no use to it.
    credit_over: bool,
    /// Times frames had to wait for credit, until somebody asked.
    credit_waits: u32,
    /// Times frames had to wait until the peer has counted others, until somebody asked.
    count_waits: u32,
    /// Every lane is ahead of its rate until then.
    paused_until: Option<Instant>,
    /// How fast the link is sent on, if that is limited.
    link_rate: Option<Box<Rate>>,
    /// Leaves behind everything else.
    last: Vec<u8>,
    /// Lanes (a bit each) that the link takes no more of for now.
    held: u16,
    /// There is no link: what the broker itself says is for nobody.
    no_link: bool,
    /// Bytes in queues that drop, at most; 0: as their subscriptions say.
    dropping_bytes_max: u32,
}

impl Outbox {
    /// Bytes waiting, those in flight included.
    pub fn bytes(&self) -> u64 {
        self.wire.bytes() + self.queues.iter().map(LaneQueue::bytes).sum::<u64>() + self.last.len() as u64
    }

    /// Lanes with a queue, and the bytes waiting there.
    pub fn depths(&self) -> impl Iterator<Item = (u8, u64)> {
        self.queues.iter().map(|queue| (queue.lane(), queue.bytes()))
    }

    /// Frames that were given their place on the link so far, reports of losses included.
    pub const fn frames_out(&self) -> u64 {
        self.wire.frames_out()
    }

    /// Messages dropped so far instead of delivered to this peer.
    pub fn lost(&self) -> ByReason {
        self.losses.as_ref().map_or_else(ByReason::default, |losses| *losses.total())
    }

    /// What came since this was called last came at `now`. If `begin` says so, the last of each queue is followed on its
    /// way; true if that begins now.
    pub fn follow(&mut self, now: Instant, begin: bool) -> bool {
        self.queues.iter_mut().fold(false, |follows, queue| queue.follow(now, begin) | follows)
    }

    /// For each lane on which something that was followed has left: since when it had waited.
    pub fn take_samples(&mut self) -> impl Iterator<Item = (u8, Instant)> {
        self.queues.iter_mut().filter_map(|queue| Some((queue.lane(), queue.take_sample()?)))
    }

    /// The link takes no more of these lanes (a bit each) for now, and of all others.
    pub fn hold(&mut self, lanes: u16) {
        let released = self.held & !lanes != 0;
        self.held = lanes;
        if released {
            self.set_all_ready();
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.wire.is_empty()
            && self.last.is_empty()
            && self.queues.iter().all(LaneQueue::is_empty)
            && !self.has_again(None)
    }

    /// Whether a send is in flight.
    pub const fn in_flight(&self) -> bool {
        self.wire.in_flight()
    }

    /// Appends what the broker itself says: it leaves before all frames that wait for their turn.
    pub fn push_control(&mut self, bytes: &[u8], pool: &mut Pool) {
        if !self.no_link {
            self.wire.push_copy(bytes, pool);
        }
    }

    /// Says what leaves behind everything that is queued.
    pub fn push_last(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
    }

    /// The peer says what it has room for: at first `totals`, by lane, or the default.
    pub fn set_credit(&mut self, totals: &[u64]) {
        let first = |lane| totals.get(lane).copied().unwrap_or(LANE_CREDIT_BYTES_DEFAULT);
        self.credit = Some(Box::new(std::array::from_fn(|lane| CreditSender::new(first(lane)))));
    }

    /// The session goes on over a new link: on lanes that are not `reliable` (a bit each) the peer's room begins anew with
    /// `totals`, as what was under way is gone.
    pub fn renew_credit(&mut self, totals: &[u64], reliable: u16) {
        let first = |lane| totals.get(lane).copied().unwrap_or(LANE_CREDIT_BYTES_DEFAULT);
        for (lane, sender) in self.credit.iter_mut().flat_map(|credit| credit.iter_mut()).enumerate() {
            if reliable & 1 << lane == 0 {
                *sender = CreditSender::new(first(lane));
            }
        }
    }

    /// Whether the peer can ever have room for a frame of `frame_bytes` on `lane`.
    pub fn ever_fits(&self, lane: u8, frame_bytes: u64) -> bool {
        let credit = self.credit.as_ref().and_then(|credit| credit.get(usize::from(lane)));
        credit.is_none_or(|credit| !credit.never_fits(frame_bytes))
    }

    /// The peer has room for `total` bytes of `lane` since the session began. True if that is more than before.
    pub fn on_credit(&mut self, lane: u8, total: u64) -> bool {
        let sender = self.credit.as_mut().and_then(|credit| credit.get_mut(usize::from(lane)));
        let more = sender.is_some_and(|sender| sender.on_credit(total));
        if more
            && let Some(scheduler) = &mut self.scheduler
            && self.queues.iter().any(|queue| queue.lane() == lane && !queue.is_empty())
        {
            scheduler.set_ready(lane, true);
        }
        more
    }

    /// Whether the peer may still say that it has room for more.
    pub const fn hears_credit(&self) -> bool {
        self.credit.is_some() && !self.credit_over
    }

    /// The peer will say nothing more: what its credit allows still leaves, the rest is dropped.
    pub const fn end_credit(&mut self) {
        self.credit_over = true;
    }

    /// Times since the last call that frames had to wait for credit.
    pub const fn take_credit_waits(&mut self) -> u32 {
        std::mem::replace(&mut self.credit_waits, 0)
    }

    /// Times since the last call that frames had to wait until the peer has counted others.
    pub const fn take_count_waits(&mut self) -> u32 {
        std::mem::replace(&mut self.count_waits, 0)
    }

    /// Whether the publishers that feed this queue have to wait.
    pub fn is_full(&self, service: &Service) -> bool {
        service.policy == Policy::Block
            && self.queue(service).is_some_and(|queue| self.fill_of(queue) >= u64::from(service.bytes_max))
    }

    /// Where frames of a policy that blocks may be queued; `None` if the queue is full or was never used.
    pub fn place_with_room(&self, service: &Service) -> Option<usize> {
        let place = self.queues.iter().position(|queue| queue.serves(service))?;
        (self.fill_of(&self.queues[place]) < u64::from(service.bytes_max)).then_some(place)
    }

    /// Queues frames that nobody wants to have confirmed in the queue that [`Self::place_with_room`] has found.
    #[inline]
    pub fn push_at(&mut self, place: usize, now: Instant, service: &Service, frames: &Frames<'_>, pool: &mut Pool) {
        self.queues[place].push(now, service, frames, pool, &mut |_, _, _| {});
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.set_ready(service.lane, true);
        }
    }

    /// Whether frames that can wait may be queued: the queue holds no more than half of its bound.
    pub fn is_half_empty(&self, service: &Service) -> bool {
        let fill = self.queue(service).map_or_else(|| self.wire.bytes(), |queue| self.fill_of(queue));
        fill <= u64::from(service.bytes_max / 2)
    }

    /// What is dropped for want of room is so when more than `bytes_max` waits: on a slow link it would be old when it left.
    pub const fn bound_dropping(&mut self, bytes_max: u32) {
        self.dropping_bytes_max = bytes_max;
    }

    fn bound_of(&self, service: &Service) -> u32 {
        let drops = self.dropping_bytes_max > 0 && service.policy.loss_reason().is_some();
        if drops { service.bytes_max.min(self.dropping_bytes_max) } else { service.bytes_max }
    }

    /// Queues frames. True if the queue has no room and its policy is to end the session.
    pub fn push(
        &mut self,
        now: Instant,
        service: &Service,
        frames: &Frames<'_>,
        lanes: &LaneTable,
        pool: &mut Pool,
        drops: &mut Drops,
    ) -> bool {
        if service.rate_hz == 0 {
            return self.push_all(now, service, frames, lanes, pool, drops);
        }
        let mut rates = self.rates.take().unwrap_or_default();
        let (mut overflow, mut left) = (false, frames.count);
        // The queue is there when what is kept is put into it.
        self.place(service, lanes);
        walk(frames.whole, |frame, shape| {
            left = left.saturating_sub(1);
            let mark = frames.mark.filter(|_| left == 0);
            let lost = match rates.judge(now, frames.topic, service, frame, &shape) {
                Verdict::Pass(kept) => {
                    let one =
                        Frames { head: frame, pieces: &[], whole: frame, share: false, count: 1, mark, ..*frames };
                    overflow |= self.push_all(now, service, &one, lanes, pool, drops);
                    kept
                }
                Verdict::Kept(replaced) => replaced,
                Verdict::Drop => shape.messages,
            };
            drops[usize::from(service.lane)][LossReason::RateLimit.index()] += u64::from(lost);
            self.losses.get_or_insert_default().add(now, frames.topic, service.lane, LossReason::RateLimit, lost);
        });
        self.rates = Some(rates);
        overflow
    }

    /// Queues what had to wait for its time, if that has come.
    fn push_due(&mut self, now: Instant, pool: &mut Pool, drops: &mut Drops) {
        while let Some((topic, service, frame)) = self.rates.as_mut().and_then(|rates| rates.poll(now)) {
            let Some(place) = self.queues.iter().position(|queue| queue.serves(&service)) else { continue };
            let one = Frames { topic, head: &frame, pieces: &[], whole: &frame, share: false, count: 1, mark: None };
            self.push_in(place, now, &service, &one, pool, drops);
        }
    }

    fn push_all(
        &mut self,
        now: Instant,
        service: &Service,
        frames: &Frames<'_>,
        lanes: &LaneTable,
        pool: &mut Pool,
        drops: &mut Drops,
    ) -> bool {
        let bounded = Service { bytes_max: self.bound_of(service), ..*service };
        let service = &bounded;
        let place = self.place(service, lanes);
        if frames.mark.is_none() {
            return self.push_in(place, now, service, frames, pool, drops);
        }
        // Only a session that counts, on a lane that keeps what it has, can be a receiver.
        let counts = self.wire.counted().is_some() && lanes.reliable() & 1 << service.lane != 0;
        let frames = Frames { mark: frames.mark.filter(|_| counts), ..*frames };
        self.push_in(place, now, service, &frames, pool, drops)
    }

    /// Queues frames in the queue at `place`.
    #[inline]
    fn push_in(
        &mut self,
        place: usize,
        now: Instant,
        service: &Service,
        frames: &Frames<'_>,
        pool: &mut Pool,
        drops: &mut Drops,
    ) -> bool {
        let losses = &mut self.losses;
        let overflow =
            self.queues[place].push(now, service, frames, pool, &mut |topic, reason: LossReason, messages| {
                if messages == 0 {
                    return;
                }
                drops[usize::from(service.lane)][reason.index()] += u64::from(messages);
                losses.get_or_insert_default().add(now, topic, service.lane, reason, messages);
            });
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.set_ready(service.lane, true);
        }
        overflow
    }

    /// Gives frames their place on the link, in the order of their lanes, and returns the pieces of the next send: 0 if
    /// there is nothing to send now. Marks the send as in flight.
    pub fn start_send(
        &mut self,
        now: Instant,
        out: &mut [Piece; SEND_PIECES_MAX],
        pool: &mut Pool,
        drops: &mut Drops,
    ) -> usize {
        self.paused_until = None;
        let link_bytes = match &mut self.link_rate {
            None => u64::MAX,
            Some(rate) => match rate.left(now) {
                Some(bytes) => bytes as u64,
                None => return 0,
            },
        };
        self.push_due(now, pool, drops);
        self.report_due_losses(now, pool);
        let bytes_max = if self.scheduler.is_some() { WIRE_BYTES_MAX_SHARED } else { WIRE_BYTES_MAX };
        let bytes_max = bytes_max.min(link_bytes);
        while self.wire.bytes() < bytes_max && self.wire.pieces() < SEND_PIECES_MAX {
            let (lane, turn_bytes) = match &mut self.scheduler {
                None => (None, u64::MAX),
                Some(scheduler) => match scheduler.next(now) {
                    Next::Lane { lane, bytes_max } => (Some(lane), bytes_max as u64),
                    Next::NotBefore(until) => {
                        self.paused_until = Some(until);
                        break;
                    }
                    Next::Idle => break,
                },
            };
            // One lane in use: whole entries, up to the bound.
            let room = turn_bytes.min(bytes_max - self.wire.bytes());
            let taken = self.take_from(now, lane, room, pool, drops);
            if taken > 0 && self.link_rate.is_some() {
                // It is us who hold it back.
                self.queues.iter_mut().for_each(|queue| queue.block_anew(now));
            }
            let waits = taken == 0 && self.has_waiting(lane);
            let uncounted = self.is_uncounted();
            self.credit_waits += u32::from(waits && self.credit.is_some() && !uncounted);
            self.count_waits += u32::from(waits && uncounted);
            if let (Some(scheduler), Some(lane)) = (&mut self.scheduler, lane) {
                scheduler.charge(now, lane, taken as usize);
                // A lane of which nothing could be taken waits for credit, or until its frames are counted.
                let more = taken > 0 && has_frames(&self.queues, self.kept.as_deref(), lane);
                scheduler.set_ready(lane, more);
            } else if taken == 0 {
                break;
            }
        }
        let waits_for_credit = self.held == 0 && self.paused_until.is_none() && self.wire.bytes() == 0;
        if self.credit_over && waits_for_credit {
            self.queues.iter_mut().for_each(|queue| queue.clear(pool));
        }
        if !self.last.is_empty() && self.queues.iter().all(LaneQueue::is_empty) && !self.has_again(None) {
            self.report_losses(pool);
            let last = std::mem::take(&mut self.last);
            self.wire.push_copy(&last, pool);
        }
        let count = self.wire.start_send(out);
        if let Some(rate) = &mut self.link_rate {
            rate.take(now, out[..count].iter().map(|piece| u64::from(piece.len)).sum());
        }
        count
    }

    /// For a link that chooses the lane itself: appends to `out` what the broker says and reports and, if a lane is named, the
    /// frame in front of its queues; what leaves behind everything, once nothing else waits.
    pub fn pull(&mut self, now: Instant, lane: Option<u8>, pool: &mut Pool, drops: &mut Drops, out: &mut Vec<u8>) {
        self.push_due(now, pool, drops);
        self.report_due_losses(now, pool);
        if let Some(of) = lane {
            let one_frame = 1;
            if self.take_from(now, lane, one_frame, pool, drops) > 0 {
                self.block_anew(of, now);
            }
        }
        if !self.last.is_empty() && self.queues.iter().all(LaneQueue::is_empty) {
            self.report_losses(pool);
            let last = std::mem::take(&mut self.last);
            self.wire.push_copy(&last, pool);
        }
        self.wire.drain_to(out, pool);
    }

    /// The send is over and took `sent` bytes from the front. True if that was not all it was given.
    pub fn on_sent(&mut self, sent: u32, pool: &mut Pool) -> bool {
        let unsent = self.wire.bytes_in_flight().saturating_sub(u64::from(sent));
        if let Some(rate) = &mut self.link_rate {
            rate.give_back(unsent);
        }
        self.wire.on_sent(sent, pool)
    }

    /// Bytes that have their place on the link.
    pub const fn wire_bytes(&self) -> u64 {
        self.wire.bytes()
    }

    /// A send in flight came to an end that took nothing, after [`Self::clear`] or a failure.
    pub const fn on_send_failed(&mut self) {
        self.wire.on_send_failed();
    }

    /// From now on no more is sent than `rate` allows.
    pub fn limit(&mut self, rate: Rate) {
        self.link_rate = Some(Box::new(rate));
    }

    /// Drops everything that waits. A send in flight keeps its own references.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.wire.clear(pool);
        for queue in &mut self.queues {
            queue.clear(pool);
        }
        if let Some(kept) = &mut self.kept {
            kept.clear(pool);
        }
        self.last.clear();
        self.losses = None;
        self.rates = None;
    }

    /// From now on keeps what is sent on these lanes (a bit each), up to `bytes_max`, until the peer has counted it.
    pub fn keep(&mut self, lanes: u16, bytes_max: u32) {
        self.kept = Some(Box::new(KeptFrames::new(lanes, u64::from(bytes_max))));
    }

    /// Bytes that were sent and are kept.
    pub fn kept_bytes(&self) -> u64 {
        self.kept.as_ref().map_or(0, |kept| kept.bytes())
    }

    /// Whether nothing more is sent on reliable lanes until the peer counts what it has received.
    pub fn is_uncounted(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.room() == 0)
    }

    /// The peer has received `total` frames of `lane`. True if something may be sent because of that.
    pub fn on_count(&mut self, lane: u8, total: u64, pool: &mut Pool) -> Result<bool, PeerFault> {
        let Some(kept) = &mut self.kept else { return Ok(false) };
        let waits = kept.room() == 0;
        kept.on_count(lane, total, pool)?;
        let goes_on = waits && kept.room() > 0;
        if goes_on {
            self.set_all_ready();
        }
        Ok(goes_on)
    }

    /// The link is gone, and what had its place on it; what is kept goes again once the session is resumed.
    pub fn on_link_lost(&mut self, pool: &mut Pool) {
        self.wire.clear(pool);
        self.no_link = true;
        if let Some(kept) = &mut self.kept {
            kept.on_link_lost();
        }
    }

    /// Holds nothing any more that others have a use for: the peer may stay away for long.
    pub fn copy_out(&mut self, pool: &mut Pool) {
        self.queues.iter_mut().for_each(|queue| queue.copy_out(pool));
        if let Some(kept) = &mut self.kept {
            kept.copy_out(pool);
        }
    }

    /// Whether the session may be resumed by a peer that has received so many frames of each lane.
    pub fn may_resume(&self, totals: &[u64; LANES_MAX]) -> Result<(), PeerFault> {
        self.kept.as_ref().map_or(Ok(()), |kept| kept.may_resume(totals))
    }

    /// The session goes on over a new link. Returns the frames that have to be sent again.
    pub fn on_resume(&mut self, totals: &[u64; LANES_MAX], pool: &mut Pool) -> Result<u64, PeerFault> {
        let again = match &mut self.kept {
            Some(kept) => kept.on_resume(totals, pool)?,
            None => 0,
        };
        self.no_link = false;
        self.set_all_ready();
        Ok(again)
    }

    fn has_again(&self, lane: Option<u8>) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.has_again(lane))
    }

    fn set_all_ready(&mut self) {
        let Some(scheduler) = &mut self.scheduler else { return };
        for lane in (1..LANES_MAX as u8).filter(|&lane| has_frames(&self.queues, self.kept.as_deref(), lane)) {
            scheduler.set_ready(lane, true);
        }
    }

    /// The peer counts what it receives; before its first frame.
    pub fn count_frames(&mut self) {
        self.wire.count_frames();
    }

    /// The peer has received `total` frames of `lane`: appends whom to tell.
    pub fn take_received(&mut self, lane: u8, total: u64, out: &mut Vec<Mark>) -> Result<(), PeerFault> {
        self.wire.counted().map_or(Ok(()), |counted| counted.on_count(lane, total, out))
    }

    /// A publisher was stopped because of a queue. False if it was stopped before.
    pub fn block(&mut self, service: &Service, blocked: Blocked, now: Instant) -> bool {
        let place = self.queues.iter().position(|queue| queue.serves(service));
        place.is_some_and(|place| self.queues[place].block(blocked, now))
    }

    /// Something of a lane has left, however little: a link that is slower than its publishers is not one that stands still.
    pub fn block_anew(&mut self, lane: u8, now: Instant) {
        self.queues.iter_mut().filter(|queue| queue.lane() == lane).for_each(|queue| queue.block_anew(now));
    }

    /// Since when publishers have been stopped because of this outbox.
    pub fn blocked_since(&self) -> Option<Instant> {
        self.queues.iter().filter_map(LaneQueue::blocked_since).min()
    }

    /// Appends the publishers that may go on: those of queues that have drained by half, or all of them.
    pub fn take_unblocked(&mut self, all: bool, out: &mut Vec<Blocked>) {
        let waiting = self.wire.bytes();
        for queue in &mut self.queues {
            queue.take_unblocked(all, waiting, out);
        }
    }

    /// When [`Self::start_send`] has something to do without anything being queued: a report is due, or a rate allows
    /// more. `None` while a send is in flight: its end comes first.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.in_flight() {
            return None;
        }
        if let Some(until) = self.link_rate.as_ref().and_then(|rate| rate.poll_timeout()) {
            return Some(until);
        }
        let due = self.losses.as_ref().and_then(|losses| losses.due());
        let kept = self.rates.as_ref().and_then(|rates| rates.due());
        [due, kept, self.paused_until].into_iter().flatten().min()
    }

    fn queue(&self, service: &Service) -> Option<&LaneQueue> {
        self.queues.iter().find(|queue| queue.serves(service))
    }

    fn fill_of(&self, queue: &LaneQueue) -> u64 {
        self.wire.bytes() + queue.bytes()
    }

    /// The queue for `service`, made if there is none.
    fn place(&mut self, service: &Service, lanes: &LaneTable) -> usize {
        if let Some(place) = self.queues.iter().position(|queue| queue.serves(service)) {
            return place;
        }
        self.queues.push(LaneQueue::new(service));
        let several = self.queues.iter().any(|queue| queue.lane() != service.lane);
        if several && self.scheduler.is_none() {
            self.scheduler = Some(Box::new(Scheduler::new(lanes)));
            // What has to be sent again waits, too, although its queue is empty.
            self.set_all_ready();
        }
        self.queues.len() - 1
    }

    /// Moves frames of `lane`, or of the only one, to the link: up to `room` bytes, at least one frame if credit allows it.
    fn take_from(&mut self, now: Instant, lane: Option<u8>, room: u64, pool: &mut Pool, drops: &mut Drops) -> u64 {
        let Self { queues, wire, losses, kept, credit, held, .. } = self;
        let held = *held;
        if let Some(kept) = kept
            && kept.has_again(lane)
        {
            return kept.take_again(lane, room, wire, pool);
        }
        let mut way = Way { wire, kept: kept.as_deref_mut() };
        let mut taken = 0;
        // Queues of one lane take turns.
        for _ in 0..queues.len() {
            let kept = way.kept.as_deref();
            let may_leave = |of: u8| {
                held & 1 << of == 0
                    && lane.is_none_or(|lane| of == lane)
                    && kept.is_none_or(|kept| kept.room_of(of) > 0)
            };
            let Some(place) = queues.iter().position(|queue| !queue.is_empty() && may_leave(queue.lane())) else {
                break;
            };
            let lane = queues[place].lane();
            let room = Room {
                bytes: kept.map_or(room, |kept| room.min(kept.room_of(lane))),
                credit: credit.as_mut().map(|credit| &mut credit[usize::from(lane)]),
            };
            taken += queues[place].take(now, room, &mut way, losses, pool, drops);
            let served = queues.remove(place);
            queues.push(served);
            if taken > 0 {
                break;
            }
        }
        taken
    }

    /// Whether something waits on `lane`, or on any.
    fn has_waiting(&self, lane: Option<u8>) -> bool {
        let concerns = |queue: &LaneQueue| lane.is_none_or(|lane| queue.lane() == lane);
        self.queues.iter().any(|queue| concerns(queue) && !queue.is_empty())
    }

    fn report_due_losses(&mut self, now: Instant, pool: &mut Pool) {
        // What has to be sent again comes before it, as it was before.
        if self.has_again(None) {
            return;
        }
        let Self { queues, losses: Some(losses), wire, kept, last, .. } = self else { return };
        if losses.due().is_none_or(|due| due > now) {
            return;
        }
        // When the session ends nothing may have the time to leave, and nothing new comes.
        let waiting = queues.iter().filter(|_| last.is_empty());
        let mut topics = waiting.flat_map(|queue| queue.topics().map(|topic| (topic, queue.lane())));
        let mut unknown = losses.pending();
        while unknown > 0
            && let Some((topic, lane)) = topics.next()
        {
            unknown -= usize::from(losses.note_waiting(topic, lane));
        }
        let mut way = Way { wire, kept: kept.as_deref_mut() };
        losses.report_due(now, &mut |lane, frame| way.put_copy(lane, frame, pool));
    }

    fn report_losses(&mut self, pool: &mut Pool) {
        if let Some(losses) = &mut self.losses {
            let mut way = Way { wire: &mut self.wire, kept: self.kept.as_deref_mut() };
            losses.report_all(&mut |lane, frame| way.put_copy(lane, frame, pool));
        }
    }
}

/// Whether frames of `lane` wait, those that have to be sent again included.
fn has_frames(queues: &[LaneQueue], kept: Option<&KeptFrames>, lane: u8) -> bool {
    queues.iter().any(|queue| queue.lane() == lane && !queue.is_empty())
        || kept.is_some_and(|kept| kept.has_again(Some(lane)))
}

#[cfg(test)]
mod tests;
