//! Publishes whose publisher wants to be told: who waits for what, when to send again, and when to give up.
//!
//! Each lane has its own queue, so that none waits for another. Delivery is confirmed by number; acceptance by the PONG to
//! a PING behind the message, or by number where that comes first.

use std::collections::VecDeque;

use bytes::Bytes;
use laneway_proto::frame::confirm::{Confirm, Level as Said};
use laneway_proto::header::seq_after;
use laneway_proto::lane::confirm::{Await, Awaited};
use laneway_proto::lane::sequencer::forward;
use laneway_proto::limits::LANES_MAX;
use laneway_proto::time::{Duration, Instant};

use super::interner::TopicId;
use crate::error::Doubt;
use crate::level::Confirmed;
use crate::publish_options::PublishOptions;

/// Messages of one lane that may wait for a confirmation. At the bound publishing with a level waits for room.
pub const CONFIRMS_PENDING_MAX: usize = 1_024;
/// Payload bytes of one lane that are kept to be sent again; one message may pass it when nothing else waits.
pub const CONFIRM_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Milliseconds after which a message that was not delivered is sent again for the first time; then twice as long each
/// time.
pub const RESEND_MS_FIRST: u32 = 250;
/// Milliseconds between two times at most.
pub const RESEND_MS_MAX: u32 = 2_000;

const _: () = assert!(
    CONFIRMS_PENDING_MAX < laneway_proto::lane::repeats::REPEAT_WINDOW as usize,
    "a subscriber recognises everything that is sent again"
);

/// Places for messages that wait for receivers, at first.
const PLACES_FIRST: usize = 16;

/// A publish that waits for a confirmation: unique on its connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConfirmId {
    pub(super) lane: u8,
    number: u64,
}

/// What became of a publish.
pub type Settled = (ConfirmId, Result<Confirmed, Doubt>);

/// What it takes to build a message again.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) topic: TopicId,
    pub(super) options: PublishOptions,
    pub(super) seq: u32,
    pub(super) receivers: u16,
    pub(super) payload: Bytes,
}

/// How long somebody waits.
#[derive(Clone, Copy, Debug)]
struct Patience {
    until: Instant,
    whole: Duration,
}

#[derive(Debug)]
struct Wait {
    id: ConfirmId,
    letter: Letter,
    patience: Patience,
    /// Nobody waits any more, but something in front of it does.
    over: bool,
}

#[derive(Debug)]
struct Acceptance {
    id: ConfirmId,
    seq: u32,
    /// Messages published on its lane when it was, itself included.
    index: u64,
    patience: Patience,
}

/// Invariant: `awaited` and `waits` have the same entries in the same order.
#[derive(Debug)]
struct Lane {
    awaited: Awaited<Vec<Await>>,
    waits: VecDeque<Wait>,
    accepted: VecDeque<Acceptance>,
    bytes: usize,
    resend_at: Option<Instant>,
    resend_ms: u32,
    /// The broker has to be told that it need not count up to here.
    given_up: Option<u32>,
    /// The last of which it had to be told.
    given_up_last: Option<u32>,
}

/// All lanes of a connection.
#[derive(Debug, Default)]
pub(super) struct Pending {
    lanes: [Option<Box<Lane>>; LANES_MAX],
    number_last: u64,
    settled: VecDeque<Settled>,
    /// The earliest of all deadlines, or earlier.
    due: Option<Instant>,
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            awaited: Awaited::new(vec![Await::default(); PLACES_FIRST]),
            waits: VecDeque::new(),
            accepted: VecDeque::new(),
            bytes: 0,
            resend_at: None,
            resend_ms: RESEND_MS_FIRST,
            given_up: None,
            given_up_last: None,
        }
    }
}

impl Pending {
    /// Whether one more message of `bytes` may wait on `lane`.
    pub(super) fn has_room(&self, lane: u8, bytes: usize) -> bool {
        let Some(Some(lane)) = self.lanes.get(usize::from(lane)) else { return true };
        let waiting = lane.waits.len() + lane.accepted.len();
        waiting < CONFIRMS_PENDING_MAX && (lane.bytes == 0 || lane.bytes + bytes <= CONFIRM_BYTES_MAX)
    }

    /// A message went out that is to be delivered.
    pub(super) fn await_delivery(&mut self, now: Instant, whole: Duration, letter: Letter) -> ConfirmId {
        let lane_number = letter.options.lane.number();
        let id = self.next_id(lane_number);
        let patience = self.patience(now, whole);
        let lane = self.lanes[usize::from(lane_number)].get_or_insert_default();
        if lane.awaited.is_full() {
            lane.awaited.move_to(vec![Await::default(); lane.waits.len() * 2]);
        }
        let placed = lane.awaited.on_published(letter.seq);
        debug_assert!(placed, "there are as many places as are asked for");
        lane.bytes += letter.payload.len();
        lane.waits.push_back(Wait { id, letter, patience, over: false });
        if lane.waits.len() == 1 {
            lane.resend_ms = RESEND_MS_FIRST;
        }
        lane.resend_at = Some(now + Duration::from_millis(lane.resend_ms));
        self.due = earlier(self.due, lane.resend_at);
        id
    }

    /// A message went out, as number `index` of its lane, that is to be accepted.
    pub(super) fn await_acceptance(
        &mut self,
        now: Instant,
        whole: Duration,
        lane: u8,
        seq: u32,
        index: u64,
    ) -> ConfirmId {
        let id = self.next_id(lane);
        let patience = self.patience(now, whole);
        let lane = self.lanes[usize::from(lane)].get_or_insert_default();
        lane.accepted.push_back(Acceptance { id, seq, index, patience });
        id
    }

    /// Whether the broker is to be asked what it has accepted.
    pub(super) fn awaits_acceptance(&self) -> bool {
        self.lanes.iter().flatten().any(|lane| !lane.accepted.is_empty())
    }

    /// The broker confirms.
    pub(super) fn on_confirm(&mut self, confirm: Confirm) {
        let Self { lanes, settled, .. } = self;
        let Some(Some(lane)) = lanes.get_mut(usize::from(confirm.lane)) else { return };
        match confirm.level {
            Said::Accepted => {
                while let Some(first) = lane.accepted.front()
                    && forward(first.seq, confirm.seq_through).is_some()
                {
                    settled.push_back((first.id, Ok(Confirmed { receivers: 0 })));
                    lane.accepted.pop_front();
                }
            }
            Said::Delivered => {
                let done = lane.awaited.on_confirm(confirm.seq_through);
                for wait in lane.waits.drain(..done) {
                    lane.bytes -= wait.letter.payload.len();
                    if !wait.over {
                        let receivers = confirm.receivers.max(wait.letter.receivers);
                        settled.push_back((wait.id, Ok(Confirmed { receivers })));
                    }
                }
                if lane.waits.front().is_some_and(|wait| wait.over) {
                    lane.give_up(0);
                }
                if done > 0 {
                    lane.resend_ms = RESEND_MS_FIRST;
                }
            }
        }
    }

    /// The broker has accepted the first so many messages of each lane.
    pub(super) fn on_accepted(&mut self, settled: &[u64; LANES_MAX]) {
        self.settle_acceptances(settled, &Ok(Confirmed { receivers: 0 }));
    }

    /// The link broke. Of the first so many messages of each lane those not accepted are in doubt; what is to be delivered
    /// is sent again at once, so its time to be sent again begins anew.
    pub(super) fn on_link_down(&mut self, settled: &[u64; LANES_MAX]) {
        self.settle_acceptances(settled, &Err(Doubt::LinkLost));
        for lane in self.lanes.iter_mut().flatten() {
            lane.resend_at = None;
            lane.resend_ms = RESEND_MS_FIRST;
            lane.given_up = None;
        }
    }

    /// The session goes on over a new link: the broker may not have heard what is given up.
    pub(super) fn on_resume(&mut self) {
        for lane in self.lanes.iter_mut().flatten() {
            lane.given_up = lane.given_up_last;
        }
    }

    /// Another session begins: its broker has been told of nothing.
    pub(super) fn on_new_session(&mut self) {
        for lane in self.lanes.iter_mut().flatten() {
            (lane.given_up, lane.given_up_last) = (None, None);
        }
    }

    /// Another link is there.
    pub(super) fn on_link_up(&mut self, now: Instant) {
        for lane in self.lanes.iter_mut().flatten().filter(|lane| !lane.waits.is_empty()) {
            lane.resend_at = Some(now + Duration::from_millis(lane.resend_ms));
            self.due = earlier(self.due, lane.resend_at);
        }
    }

    /// The new broker takes nothing of this.
    pub(super) fn doubt_deliveries(&mut self) {
        for lane in self.lanes.iter_mut().flatten() {
            let waits = std::mem::take(&mut lane.waits);
            let over = waits.into_iter().filter(|wait| !wait.over);
            self.settled.extend(over.map(|wait| (wait.id, Err(Doubt::BrokerChanged))));
            **lane = Lane { accepted: std::mem::take(&mut lane.accepted), ..Lane::default() };
        }
    }

    fn settle_acceptances(&mut self, settled: &[u64; LANES_MAX], result: &Result<Confirmed, Doubt>) {
        for (lane, &settled) in self.lanes.iter_mut().zip(settled) {
            let Some(lane) = lane else { continue };
            while lane.accepted.front().is_some_and(|first| first.index <= settled) {
                self.settled.extend(lane.accepted.pop_front().map(|first| (first.id, result.clone())));
            }
        }
    }

    /// Nobody waits for it any more.
    pub(super) fn give_up(&mut self, id: ConfirmId) {
        let Some(Some(lane)) = self.lanes.get_mut(usize::from(id.lane)) else { return };
        lane.accepted.retain(|acceptance| acceptance.id != id);
        if let Ok(index) = lane.waits.binary_search_by_key(&id.number, |wait| wait.id.number) {
            lane.give_up(index);
        }
    }

    /// When to call [`Pending::on_timeout`].
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Time has passed: gives up what took too long.
    pub(super) fn on_timeout(&mut self, now: Instant) {
        let Self { lanes, settled, .. } = self;
        for lane in lanes.iter_mut().flatten() {
            let late = |patience: Patience| (patience.until <= now).then(|| doubt(patience));
            lane.accepted.retain(|acceptance| match late(acceptance.patience) {
                None => true,
                Some(doubt) => {
                    settled.push_back((acceptance.id, Err(doubt)));
                    false
                }
            });
            let overdue: Vec<ConfirmId> = lane
                .waits
                .iter()
                .filter(|wait| !wait.over)
                .filter_map(|wait| {
                    settled.push_back((wait.id, Err(late(wait.patience)?)));
                    Some(wait.id)
                })
                .collect();
            for id in overdue {
                if let Ok(index) = lane.waits.binary_search_by_key(&id.number, |wait| wait.id.number) {
                    lane.give_up(index);
                }
            }
        }
        self.due = self.earliest();
    }

    /// The lane's number up to which the broker need not count any more; each is told once.
    pub(super) fn poll_given_up(&mut self) -> Option<Confirm> {
        let (lane, seq_through) =
            (0u8..).zip(&mut self.lanes).find_map(|(number, lane)| Some((number, lane.as_mut()?.given_up.take()?)))?;
        Some(Confirm { lane, level: Said::Delivered, receivers: 0, seq_through })
    }

    /// A lane whose messages are due to be sent again: what is to be sent, in order; empty if it is not worth it now.
    ///
    /// On an ordered lane only the newest message is sent again, alone: whoever missed it has nothing newer, and so it
    /// arrives in order. On an unordered one all that wait are.
    pub(super) fn poll_resend(
        &mut self,
        now: Instant,
        mut plan: impl FnMut(u8) -> Resend,
    ) -> Option<impl Iterator<Item = &Letter>> {
        let due = |lane: &Option<Box<Lane>>| {
            lane.as_ref().is_some_and(|lane| lane.resend_at.is_some_and(|at| at <= now) && !lane.waits.is_empty())
        };
        let number = self.lanes.iter().position(due)?;
        let lane = self.lanes[number].as_mut()?;
        lane.resend_ms = (lane.resend_ms * 2).min(RESEND_MS_MAX);
        lane.resend_at = Some(now + Duration::from_millis(lane.resend_ms));
        let resent = match (plan(number as u8), lane.waits.front()) {
            (Resend::All, _) => lane.waits.len(),
            (Resend::OnlyNewest { next }, Some(only)) if lane.waits.len() == 1 => {
                usize::from(seq_after(only.letter.seq, 1) == next)
            }
            (Resend::OnlyNewest { .. }, _) => 0,
        };
        self.due = self.earliest();
        let lane = self.lanes[number].as_ref()?;
        Some(lane.waits.iter().take(resent).filter(|wait| !wait.over).map(|wait| &wait.letter))
    }

    /// Everything that waits to be delivered, in the order of its lane.
    pub(super) fn letters(&self) -> impl Iterator<Item = &Letter> {
        let waits = self.lanes.iter().flatten().flat_map(|lane| &lane.waits);
        waits.filter(|wait| !wait.over).map(|wait| &wait.letter)
    }

    /// What became of a publish; call until `None`.
    pub(super) fn poll_settled(&mut self) -> Option<Settled> {
        self.settled.pop_front()
    }

    fn next_id(&mut self, lane: u8) -> ConfirmId {
        self.number_last += 1;
        ConfirmId { lane, number: self.number_last }
    }

    fn patience(&mut self, now: Instant, whole: Duration) -> Patience {
        let until = Instant(now.0.saturating_add(whole.0));
        self.due = earlier(self.due, Some(until));
        Patience { until, whole }
    }

    fn earliest(&self) -> Option<Instant> {
        let lanes = self.lanes.iter().flatten();
        lanes.filter_map(|lane| lane.earliest()).min()
    }
}

/// What may be sent again on a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Resend {
    /// Everything.
    All,
    /// The message in front of the number that comes next, if nothing else waits.
    OnlyNewest {
        /// That number.
        next: u32,
    },
}

impl Lane {
    /// Nobody waits for the message at `index` any more.
    fn give_up(&mut self, index: usize) {
        if let Some(wait) = self.waits.get_mut(index) {
            wait.over = true;
            self.bytes -= std::mem::take(&mut wait.letter.payload).len();
        }
        if let Some((done, seq)) = self.awaited.on_given_up(index) {
            self.waits.drain(..done);
            self.given_up = Some(seq);
            self.given_up_last = Some(seq);
        }
    }

    fn earliest(&self) -> Option<Instant> {
        let patience = self.waits.iter().filter(|wait| !wait.over).map(|wait| wait.patience.until);
        let accepted = self.accepted.iter().map(|acceptance| acceptance.patience.until);
        let resend = self.resend_at.filter(|_| !self.waits.is_empty());
        patience.chain(accepted).chain(resend).min()
    }
}

fn doubt(patience: Patience) -> Doubt {
    Doubt::Timeout(std::time::Duration::from_nanos(patience.whole.0))
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests;
