//! What waits to be sent, by lane, and which of it goes next: lanes of a lower class first, those of one class by turns, and
//! each only as far as the broker has given it credit.
//!
//! A lane's frames wait in chunks that are handed to the link as they are, so nothing is copied while one lane is busy; and
//! because a chunk is small, what is more urgent waits for little.

use std::collections::VecDeque;

use laneway_proto::lane::credit::CreditSender;
use laneway_proto::lane::table::LaneTable;
use laneway_proto::limits::{LANE_CLASSES, LANES_MAX};

use super::marks::ByLane;
use crate::core::interner::TopicId;
use crate::core::terms::credit_least;
use crate::core::transmit::{Transmit, Untouched};

/// Bytes from which a chunk takes no further frame, unless credit is small; so many are handed to the link at a time, the
/// last chunk not counted.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// Empty buffers kept for reuse.
const SPARE_MAX: usize = 8;
/// The class of lanes that are not of the standard table.
const CLASS_OTHER: u8 = 3;

/// What a frame begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begins {
    /// A message, or several.
    Messages(usize),
    /// A message that waits for receivers.
    Confirmed,
    /// Nothing: it is a further part.
    Nothing,
}

/// A frame of small messages at the end of what waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    /// Where its header starts in the last chunk.
    pub(super) at: usize,
    pub(super) topic: TopicId,
    pub(super) count: u16,
}

/// Whole data frames of one lane.
#[derive(Debug, Default)]
struct Chunk {
    transmit: Transmit,
    frames: u64,
    messages: usize,
    /// Of those, the ones that wait for receivers.
    confirmed: usize,
}

/// One lane. Invariant: `bytes`, `messages` and `confirmed` are the sums of its chunks; `placed - taken` are their frames.
#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    messages: usize,
    confirmed: usize,
    tail: Option<Tail>,
    /// Frames ever put here, and taken from here.
    placed: u64,
    taken: u64,
    credit: Option<CreditSender>,
    /// Bytes served over weight, by the clock of its class.
    served: u64,
}

/// All lanes of a connection.
#[derive(Debug)]
pub(super) struct Lanes {
    queues: Box<[Queue; LANES_MAX]>,
    spare: Vec<Transmit>,
    chunk_bytes: usize,
    /// Where each class is in its turns.
    clocks: [u64; LANE_CLASSES],
}

impl Default for Lanes {
    fn default() -> Self {
        Self { queues: Box::default(), spare: Vec::new(), chunk_bytes: CHUNK_BYTES, clocks: [0; LANE_CLASSES] }
    }
}

impl Queue {
    fn sends_now(&self) -> bool {
        let fits = |credit: &CreditSender, front: &Chunk| front.transmit.len() as u64 <= credit.available();
        let front = self.chunks.front();
        front.is_some_and(|front| self.credit.as_ref().is_none_or(|credit| fits(credit, front)))
    }

    fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.bytes -= chunk.transmit.len();
        self.messages -= chunk.messages;
        self.confirmed -= chunk.confirmed;
        self.taken += chunk.frames;
        if self.chunks.is_empty() {
            self.tail = None;
        }
        Some(chunk)
    }
}

impl Lanes {
    /// The broker gives so much credit on each lane; `None`: it knows no credit. Lanes of the set `kept` go on with what
    /// they have.
    pub(super) fn set_credit(&mut self, totals: Option<&ByLane>, kept: u16) {
        self.chunk_bytes = CHUNK_BYTES.min(usize::try_from(credit_least(totals) / 4).unwrap_or(usize::MAX));
        for (lane, queue) in self.queues.iter_mut().enumerate() {
            let goes_on = kept & 1 << lane != 0 && queue.credit.is_some();
            if !(goes_on && totals.is_some()) {
                queue.credit = totals.map(|totals| CreditSender::new(totals[lane]));
            }
        }
    }

    /// The broker takes more of a lane. True if that lets something go.
    pub(super) fn on_credit(&mut self, lane: u8, total: u64) -> bool {
        let queue = &mut self.queues[usize::from(lane) % LANES_MAX];
        queue.credit.as_mut().is_some_and(|credit| credit.on_credit(total)) && queue.sends_now()
    }

    /// Bytes that wait on a lane, and messages.
    pub(super) fn waiting(&self, lane: u8) -> (usize, usize) {
        let queue = &self.queues[usize::from(lane) % LANES_MAX];
        (queue.bytes, queue.messages)
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.queues.iter().map(|queue| queue.bytes).sum()
    }

    /// Messages that wait, on all lanes.
    pub(super) fn messages(&self) -> usize {
        self.queues.iter().map(|queue| queue.messages).sum()
    }

    /// Of a lane: messages that wait, but for those that wait for receivers.
    pub(super) fn plain_messages(&self, lane: usize) -> usize {
        self.queues[lane].messages - self.queues[lane].confirmed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.chunks.is_empty())
    }

    /// Frames ever put on each lane.
    pub(super) fn placed(&self) -> ByLane {
        std::array::from_fn(|lane| self.queues[lane].placed)
    }

    /// Whether everything up to `placed` was handed to the link.
    pub(super) fn has_taken(&self, placed: &ByLane) -> bool {
        self.queues.iter().zip(placed).all(|(queue, placed)| queue.taken >= *placed)
    }

    /// Puts one frame, which `write` writes, behind what waits on a lane; with `tail` it may grow.
    pub(super) fn put(&mut self, lane: u8, begins: Begins, tail: Option<TopicId>, write: impl FnOnce(&mut Transmit)) {
        let Self { queues, spare, chunk_bytes, .. } = self;
        let queue = &mut queues[usize::from(lane) % LANES_MAX];
        if queue.chunks.back().is_none_or(|last| last.transmit.len() >= *chunk_bytes) {
            queue.chunks.push_back(Chunk { transmit: spare.pop().unwrap_or_default(), ..Chunk::default() });
        }
        let Some(last) = queue.chunks.back_mut() else { return };
        let before = last.transmit.len();
        queue.tail = tail.map(|topic| Tail { at: last.transmit.inline.len(), topic, count: 1 });
        write(&mut last.transmit);
        queue.bytes += last.transmit.len() - before;
        last.frames += 1;
        queue.placed += 1;
        let (messages, confirmed) = match begins {
            Begins::Messages(messages) => (messages, 0),
            Begins::Confirmed => (1, 1),
            Begins::Nothing => (0, 0),
        };
        (last.messages, last.confirmed) = (last.messages + messages, last.confirmed + confirmed);
        (queue.messages, queue.confirmed) = (queue.messages + messages, queue.confirmed + confirmed);
    }

    /// Adds a message to the last frame of a lane if `grow` says that it has room; it changes the frame's inline bytes.
    pub(super) fn grow(&mut self, lane: u8, grow: impl FnOnce(&mut Tail, &mut Vec<u8>) -> bool) -> bool {
        let queue = &mut self.queues[usize::from(lane) % LANES_MAX];
        let (Some(tail), Some(last)) = (&mut queue.tail, queue.chunks.back_mut()) else { return false };
        let before = last.transmit.inline.len();
        if !grow(tail, &mut last.transmit.inline) {
            return false;
        }
        queue.bytes += last.transmit.inline.len() - before;
        last.messages += 1;
        queue.messages += 1;
        true
    }

    /// The lane that goes next.
    fn next_lane(&self) -> Option<usize> {
        let turn = |lane: &usize| {
            let class = class_of(*lane);
            (class, self.queues[*lane].served.max(self.clocks[usize::from(class)]))
        };
        (1..LANES_MAX).filter(|&lane| self.queues[lane].sends_now()).min_by_key(turn)
    }

    /// Whether something may be handed to the link.
    pub(super) fn sends_now(&self) -> bool {
        self.queues.iter().any(Queue::sends_now)
    }

    /// Hands chunks to the link, behind what is in `out`.
    pub(super) fn take(&mut self, out: &mut Transmit) {
        while out.len() < CHUNK_BYTES
            && let Some(lane) = self.next_lane()
        {
            let queue = &mut self.queues[lane];
            let Some(mut chunk) = queue.pop() else { return };
            let bytes = chunk.transmit.len() as u64;
            if let Some(credit) = &mut queue.credit {
                let allowed = credit.spend(bytes);
                debug_assert!(allowed, "only what credit allows is taken");
            }
            let (class, weight) = (class_of(lane), weight_of(lane));
            let clock = &mut self.clocks[usize::from(class)];
            *clock = queue.served.max(*clock);
            queue.served = *clock + bytes / weight;
            if out.is_empty() {
                std::mem::swap(&mut chunk.transmit, out);
            } else {
                out.append(&mut chunk.transmit);
            }
            if self.spare.len() < SPARE_MAX {
                chunk.transmit.clear();
                self.spare.push(chunk.transmit);
            }
        }
    }

    /// All frames that wait, lane by lane.
    pub(super) fn frames(&self) -> impl Iterator<Item = Untouched<'_>> {
        self.queues.iter().flat_map(|queue| &queue.chunks).flat_map(|chunk| chunk.transmit.frames())
    }

    /// Takes everything out, to be put back behind something else.
    pub(super) fn take_out(&mut self) -> Waiting {
        let empty = |queue: &mut Queue| {
            (queue.bytes, queue.messages, queue.confirmed, queue.tail) = (0, 0, 0, None);
            std::mem::take(&mut queue.chunks)
        };
        Waiting { placed: self.placed(), chunks: self.queues.iter_mut().map(empty).collect() }
    }

    /// Everything is back that was taken out when so much had been placed, or will never be: what stood behind it stands
    /// behind what waits now.
    pub(super) fn on_put_back(&mut self, placed: ByLane) {
        for (queue, placed) in self.queues.iter_mut().zip(placed) {
            let waiting = queue.chunks.iter().map(|chunk| chunk.frames).sum();
            (queue.placed, queue.taken) = (placed, placed.saturating_sub(waiting));
        }
    }
}

/// What waited, by lane.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Frames placed on each lane until then.
    pub(super) placed: ByLane,
    chunks: Vec<VecDeque<Chunk>>,
}

impl Waiting {
    /// All frames, lane by lane.
    pub(super) fn frames(&self) -> impl Iterator<Item = Untouched<'_>> {
        self.chunks.iter().flatten().flat_map(|chunk| chunk.transmit.frames())
    }
}

fn class_of(lane: usize) -> u8 {
    LaneTable::STANDARD.get(lane as u8).map_or(CLASS_OTHER, |spec| spec.class)
}

fn weight_of(lane: usize) -> u64 {
    LaneTable::STANDARD.get(lane as u8).map_or(1, |spec| u64::from(spec.weight.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use laneway_proto::header::{Header, Kind};

    /// Puts a frame of 116 bytes.
    fn put(lanes: &mut Lanes, lane: u8, seq: u32) {
        lanes.put(lane, Begins::Messages(1), None, |transmit| {
            transmit.inline.extend_from_slice(&Header { lane, seq, ..Header::new(Kind::PUB, 100) }.encode());
            transmit.inline.extend_from_slice(&[0; 100]);
        });
    }

    fn taken(lanes: &mut Lanes) -> Vec<(u8, u32)> {
        let mut out = Transmit::default();
        lanes.take(&mut out);
        out.frames().map(|frame| (frame.header.lane, frame.header.seq)).collect()
    }

    #[test]
    fn a_command_goes_before_the_bulk_that_waited_longer_but_for_one_chunk() {
        let mut lanes = Lanes::default();
        (0..2_000).for_each(|seq| put(&mut lanes, 5, seq));
        assert!(taken(&mut lanes).len() < 600, "the rest waits where a command can overtake it");
        put(&mut lanes, 1, 1);
        let next = taken(&mut lanes);
        assert_eq!(next[0], (1, 1));
        let rest: usize = std::iter::from_fn(|| Some(taken(&mut lanes).len()).filter(|&count| count > 0)).sum();
        assert_eq!(lanes.messages(), 0);
        assert!(rest > 800);
    }

    #[test]
    fn lanes_of_one_class_take_turns_also_with_one_that_was_idle() {
        let mut lanes = Lanes::default();
        for seq in 0..6_000 {
            put(&mut lanes, 2, seq);
        }
        taken(&mut lanes);
        taken(&mut lanes);
        for seq in 0..6_000 {
            put(&mut lanes, 3, seq);
        }
        let turns: Vec<u8> = (0..6).map(|_| taken(&mut lanes)[0].0).collect();
        assert_eq!(turns.iter().filter(|&&lane| lane == 2).count(), 3, "{turns:?}");
    }

    #[test]
    fn a_lane_without_credit_waits_and_holds_up_no_other() {
        let mut lanes = Lanes::default();
        lanes.set_credit(Some(&[464; LANES_MAX]), 0);
        for seq in 1..=10 {
            put(&mut lanes, 1, seq);
            put(&mut lanes, 5, seq);
        }
        let first = taken(&mut lanes);
        assert_eq!(first, [(1, 1), (1, 2), (1, 3), (1, 4), (5, 1), (5, 2), (5, 3), (5, 4)]);
        assert!(!lanes.sends_now());
        assert!(!lanes.on_credit(5, 100), "no more than before");
        assert!(lanes.on_credit(5, 464 + 116));
        assert_eq!(taken(&mut lanes), [(5, 5)]);
        assert!(!lanes.on_credit(1, 465), "too little for a frame");
        assert!(lanes.on_credit(1, 464 + 6 * 116));
        assert_eq!(taken(&mut lanes).len(), 6);
        assert_eq!(lanes.waiting(1), (0, 0));
        assert_eq!(lanes.waiting(5), (5 * 116, 5));
    }
}
