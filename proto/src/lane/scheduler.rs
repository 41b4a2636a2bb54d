//! Whose turn it is on the link: strict priority between classes, shares by weight inside a class.
//!
//! The owner says which lanes have something to send ([`Scheduler::set_ready`]), asks for the next lane when the link can
//! take a frame ([`Scheduler::next`]), sends at least one frame of it, and says how many bytes that was
//! ([`Scheduler::charge`]). Asked again before anything was sent, it answers the same.
//!
//! Inside a class this is deficit round robin that may overdraw: a lane in turn gets its weight in KiB and sends until
//! they are used up; what its last frame took too much is missing the next time. A class with a rate is passed over
//! while it is ahead of it, so the next class is served, not the link left idle.

use super::bucket::Bucket;
use super::table::LaneTable;
use crate::limits::{FRAME_BYTES_MAX, LANE_CLASSES, LANES_MAX};
use crate::time::{Duration, Instant};

/// Bytes that a lane of weight 1 may send in its turn.
pub const QUANTUM_BYTES: i32 = 1_024;
/// How far a class with a rate may be ahead of it.
pub const BURST: Duration = Duration::from_millis(5);

/// What to send next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Frames of this lane: one at least, and as many more as fit into `bytes_max` with it.
    Lane {
        /// The lane's number.
        lane: u8,
        /// Bytes of the lane's turn, at least 1.
        bytes_max: usize,
    },
    /// Nothing before this time: every class that has something to send is ahead of its rate.
    NotBefore(Instant),
    /// No lane has anything to send.
    Idle,
}

/// The turns of up to 16 lanes; below 300 bytes, every call in constant time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scheduler {
    /// Bit per lane.
    ready: u16,
    /// Bit per class: a lane of it is ready.
    classes_ready: u8,
    /// The lane in turn.
    turn: [u8; LANE_CLASSES],
    /// Bit per lane of the class.
    members: [u16; LANE_CLASSES],
    buckets: [Bucket; LANE_CLASSES],
    class: [u8; LANES_MAX],
    weight: [u8; LANES_MAX],
    /// Bytes left of the lane's turn; negative: taken in advance.
    deficit: [i32; LANES_MAX],
}

impl Scheduler {
    /// A scheduler of the lanes of `table`, none of which is ready. Lanes that are not in it are of the last class.
    pub fn new(table: &LaneTable) -> Self {
        let mut scheduler = Self {
            ready: 0,
            classes_ready: 0,
            turn: [0; LANE_CLASSES],
            members: [0; LANE_CLASSES],
            buckets: [Bucket::new(0); LANE_CLASSES],
            class: [0; LANES_MAX],
            weight: [0; LANES_MAX],
            deficit: [0; LANES_MAX],
        };
        for (lane, spec) in table.iter() {
            let (place, class) = (usize::from(lane), usize::from(spec.class));
            scheduler.class[place] = spec.class;
            scheduler.weight[place] = spec.weight;
            scheduler.members[class] |= 1 << lane;
            scheduler.buckets[class] = Bucket::new(spec.rate_bytes_per_s);
        }
        // Behind all others, but sent: nothing waits for ever because nobody described its lane.
        for lane in (1..LANES_MAX).filter(|&lane| table.get(lane as u8).is_none()) {
            scheduler.class[lane] = (LANE_CLASSES - 1) as u8;
            scheduler.weight[lane] = 1;
            scheduler.members[LANE_CLASSES - 1] |= 1 << lane;
        }
        scheduler
    }

    /// Whether `lane` has a frame to send.
    pub fn set_ready(&mut self, lane: u8, ready: bool) {
        let Some(&class) = self.class.get(usize::from(lane)) else { return };
        let (bit, members) = (1u16 << lane, self.members[usize::from(class)]);
        if ready {
            self.ready |= bit & members;
        } else {
            self.ready &= !bit;
            // An idle lane saves nothing up, but still owes what it overdrew.
            let deficit = &mut self.deficit[usize::from(lane)];
            *deficit = (*deficit).min(0);
        }
        let class_bit = 1 << class;
        if self.ready & members == 0 {
            self.classes_ready &= !class_bit;
        } else {
            self.classes_ready |= class_bit;
        }
    }

    /// Whether `lane` was said to have a frame to send.
    pub const fn is_ready(&self, lane: u8) -> bool {
        (lane as usize) < LANES_MAX && self.ready & 1 << lane != 0
    }

    /// Whose turn it is at `now`.
    pub fn next(&mut self, now: Instant) -> Next {
        let mut classes = self.classes_ready;
        let mut soonest: Option<Instant> = None;
        while classes != 0 {
            let class = classes.trailing_zeros() as usize;
            classes &= classes - 1;
            match self.buckets[class].left(now, BURST) {
                Ok(bucket_bytes) => {
                    let lane = self.lane_in_turn(class);
                    let turn_bytes = self.deficit[usize::from(lane)].max(1) as usize;
                    return Next::Lane { lane, bytes_max: turn_bytes.min(bucket_bytes) };
                }
                Err(until) => soonest = Some(soonest.map_or(until, |soonest| soonest.min(until))),
            }
        }
        soonest.map_or(Next::Idle, Next::NotBefore)
    }

    /// `bytes` of `lane` were sent at `now`.
    pub fn charge(&mut self, now: Instant, lane: u8, bytes: usize) {
        let place = usize::from(lane);
        let Some(&class) = self.class.get(place) else { return };
        // The bound keeps a lane from being shut out for long by one careless charge.
        let bytes = bytes.min(4 * FRAME_BYTES_MAX + usize::from(u8::MAX) * QUANTUM_BYTES as usize);
        self.deficit[place] = (self.deficit[place] - bytes as i32).max(-4 * FRAME_BYTES_MAX as i32);
        self.buckets[usize::from(class)].take(now, bytes as u64);
    }

    /// The lane in turn of a class that has a ready one; its deficit is positive.
    fn lane_in_turn(&mut self, class: usize) -> u8 {
        let ready = self.ready & self.members[class];
        debug_assert!(ready != 0, "class {class} has nothing to send");
        let turn = self.turn[class];
        if ready & 1 << turn != 0 && self.deficit[usize::from(turn)] > 0 {
            return turn;
        }
        self.pay_rounds(ready);
        // The lanes behind the one in turn, then those before it, and itself last.
        let behind = ready & !((2u32 << turn) - 1) as u16;
        for mut lanes in [behind, ready & !behind] {
            while lanes != 0 {
                let lane = lanes.trailing_zeros() as u8;
                lanes &= lanes - 1;
                let deficit = &mut self.deficit[usize::from(lane)];
                *deficit += i32::from(self.weight[usize::from(lane)]) * QUANTUM_BYTES;
                if *deficit > 0 {
                    self.turn[class] = lane;
                    return lane;
                }
            }
        }
        debug_assert!(false, "a lane is out of debt after the rounds paid for");
        ready.trailing_zeros() as u8
    }

    /// Pays every lane the rounds in which none of them gets out of debt, all at once.
    fn pay_rounds(&mut self, ready: u16) {
        let mut rounds = i32::MAX;
        let mut lanes = ready;
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes - 1;
            let quantum = i32::from(self.weight[lane]) * QUANTUM_BYTES;
            rounds = rounds.min((-self.deficit[lane]).max(0) / quantum);
        }
        let mut lanes = if rounds == 0 { 0 } else { ready };
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes - 1;
            self.deficit[lane] += rounds * i32::from(self.weight[lane]) * QUANTUM_BYTES;
        }
    }
}

#[cfg(test)]
mod tests;
