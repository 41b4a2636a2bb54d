//! The credit a publisher is given, lane by lane, and what of it has arrived and waits because its lane's way is blocked.
//!
//! What waits is set aside, so that the connection is always read: one lane that is stopped stops no other. Credit bounds
//! it, lane by lane.

use std::collections::VecDeque;

use laneway_proto::error::PeerFault;
use laneway_proto::frame::credit::LaneTotal;
use laneway_proto::lane::credit::CreditReceiver;
use laneway_proto::limits::{FRAME_BYTES_MAX, HOT_ENTRIES_MAX, LANES_MAX};

use super::{Partial, RunInfo};
use crate::pool::Pool;

/// Unanswered PINGs behind what waits; one more ends the session.
const PINGS_MAX: usize = 4_096;

/// A run that waits: checked, renamed, and in memory of its own.
#[derive(Debug)]
pub struct Held {
    /// What it is.
    pub info: RunInfo,
    /// Its bytes.
    pub body: Box<Partial>,
    ticket: u64,
}

/// What one publisher may send, and what waits.
///
/// Invariants: `waiting` has the bits of exactly those lanes that hold a run or are stopped; tickets of a lane ascend.
#[derive(Debug)]
pub struct Granted {
    window_bytes: u64,
    receivers: [CreditReceiver; LANES_MAX],
    held: [VecDeque<Held>; LANES_MAX],
    /// Full queues, here and on other shards, that stop each lane.
    stops: [u32; LANES_MAX],
    waiting: u16,
    /// Lanes that may have room to be announced.
    freed: u16,
    ticket_last: u64,
    /// PINGs, by the ticket of the last run in front of them.
    pings: VecDeque<(u64, u64)>,
    /// The peer has said goodbye, behind what waits.
    pub farewell: bool,
}

const fn receiver(window_bytes: u64) -> CreditReceiver {
    CreditReceiver::new(window_bytes, FRAME_BYTES_MAX as u64)
}

impl Granted {
    /// Every lane begins with a credit of `window_bytes`.
    pub fn new(window_bytes: u64) -> Self {
        Self {
            window_bytes,
            receivers: [receiver(window_bytes); LANES_MAX],
            held: Default::default(),
            stops: [0; LANES_MAX],
            waiting: 0,
            freed: 0,
            ticket_last: 0,
            pings: VecDeque::new(),
            farewell: false,
        }
    }

    /// Data of a lane arrived; more than was allowed is the peer's fault.
    pub fn on_received(&mut self, lane: u8, bytes: u32) -> Result<(), PeerFault> {
        self.receivers[usize::from(lane) % LANES_MAX].on_received(u64::from(bytes))
    }

    /// It takes no more room here.
    pub fn on_passed(&mut self, lane: u8, bytes: u32) {
        self.receivers[usize::from(lane) % LANES_MAX].on_consumed(u64::from(bytes));
        self.freed |= 1 << lane;
    }

    /// Whether what arrives on a lane has to be set aside.
    pub const fn waits(&self, lane: u8) -> bool {
        self.waiting & 1 << lane != 0
    }

    /// Whether any lane waits or is stopped.
    pub const fn is_waiting(&self) -> bool {
        self.waiting != 0
    }

    /// Whether a run is set aside.
    pub fn is_holding(&self) -> bool {
        self.held.iter().any(|held| !held.is_empty())
    }

    /// Bytes set aside.
    pub fn held_bytes(&self) -> u64 {
        self.held.iter().flatten().map(|held| u64::from(held.info.bytes)).sum()
    }

    /// One more queue stops a lane.
    pub const fn on_stopped(&mut self, lane: u8) {
        self.stops[lane as usize % LANES_MAX] += 1;
        self.waiting |= 1 << lane;
    }

    /// One queue less stops a lane. True if none does.
    pub fn on_let_go(&mut self, lane: u8) -> bool {
        let stops = &mut self.stops[usize::from(lane) % LANES_MAX];
        *stops = stops.saturating_sub(1);
        self.note(lane);
        self.stops[usize::from(lane) % LANES_MAX] == 0
    }

    /// Sets a run aside, behind those of its lane.
    pub fn hold(&mut self, info: RunInfo, body: Box<Partial>) {
        self.ticket_last += 1;
        self.held[usize::from(info.lane) % LANES_MAX].push_back(Held { info, body, ticket: self.ticket_last });
        self.waiting |= 1 << info.lane;
    }

    /// The run of a lane that is next, if no queue stops the lane.
    pub fn pop(&mut self, lane: u8) -> Option<Held> {
        let place = usize::from(lane) % LANES_MAX;
        if self.stops[place] > 0 {
            return None;
        }
        let held = self.held[place].pop_front();
        self.note(lane);
        held
    }

    /// It did not get through.
    pub fn put_back(&mut self, held: Held) {
        let lane = held.info.lane;
        self.held[usize::from(lane) % LANES_MAX].push_front(held);
        self.waiting |= 1 << lane;
    }

    fn note(&mut self, lane: u8) {
        let place = usize::from(lane) % LANES_MAX;
        if self.stops[place] == 0 && self.held[place].is_empty() {
            self.waiting &= !(1 << lane);
        }
    }

    /// A PING that stands behind what waits.
    pub fn push_ping(&mut self, t0: u64) -> Result<(), PeerFault> {
        if self.pings.len() >= PINGS_MAX {
            return Err(PeerFault::FlowControl);
        }
        self.pings.push_back((self.ticket_last, t0));
        Ok(())
    }

    /// A PING in front of which nothing waits any more.
    pub fn pop_ping(&mut self) -> Option<u64> {
        let &(ticket, t0) = self.pings.front()?;
        let first = self.held.iter().filter_map(|held| held.front()).map(|held| held.ticket).min();
        if first.is_some_and(|first| first <= ticket) {
            return None;
        }
        self.pings.pop_front();
        Some(t0)
    }

    /// The totals that are worth announcing, for one CREDIT; none twice.
    pub fn poll_totals<'a>(&mut self, out: &'a mut [LaneTotal; HOT_ENTRIES_MAX]) -> &'a [LaneTotal] {
        let mut count = 0;
        while self.freed != 0 && count < HOT_ENTRIES_MAX {
            let lane = self.freed.trailing_zeros() as u8;
            self.freed &= self.freed - 1;
            if let Some(total) = self.receivers[usize::from(lane)].poll_grant() {
                out[count] = LaneTotal { lane, total };
                count += 1;
            }
        }
        &out[..count]
    }

    /// The session goes on over another link: lanes that lose begin anew, and what was announced on the others has to be
    /// said again.
    pub fn on_resume<'a>(&mut self, reliable: u16, out: &'a mut [LaneTotal; HOT_ENTRIES_MAX]) -> &'a [LaneTotal] {
        let mut count = 0;
        for lane in 1..LANES_MAX {
            let receiver_here = &mut self.receivers[lane];
            if reliable & 1 << lane == 0 {
                *receiver_here = receiver(self.window_bytes);
            } else {
                out[count] = LaneTotal { lane: lane as u8, total: receiver_here.granted() };
                count += 1;
            }
        }
        &out[..count]
    }

    /// Forgets what waits, as if it had never arrived.
    pub fn clear(&mut self, pool: &mut Pool) {
        for (lane, held) in self.held.iter_mut().enumerate() {
            held.drain(..).for_each(|mut held| held.body.clear(pool));
            self.receivers[lane].on_forgotten();
        }
        self.pings.clear();
        self.farewell = false;
        for lane in 0..LANES_MAX as u8 {
            self.note(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intern::TopicIndex;

    fn run(lane: u8, bytes: u32) -> RunInfo {
        RunInfo {
            topic: TopicIndex(0),
            lane,
            bytes,
            frames: 1,
            messages: 1,
            seq_first: 1,
            seq_through: 1,
            receivers: 0,
            ttl_ms: 0,
            retain: false,
        }
    }

    fn totals(granted: &mut Granted) -> Vec<(u8, u64)> {
        let mut out = [LaneTotal { lane: 0, total: 0 }; HOT_ENTRIES_MAX];
        granted.poll_totals(&mut out).iter().map(|total| (total.lane, total.total)).collect()
    }

    #[test]
    fn what_waits_takes_its_lanes_room_and_no_others() {
        let mut granted = Granted::new(1_000);
        assert_eq!(granted.on_received(1, 1_000), Ok(()));
        granted.hold(run(1, 1_000), Box::default());
        assert_eq!(granted.on_received(1, 1), Err(PeerFault::FlowControl));
        assert_eq!(granted.on_received(2, 600), Ok(()));
        granted.on_passed(2, 600);
        assert_eq!(totals(&mut granted), [(2, 1_600)]);
        let held = granted.pop(1).expect("nothing stops it");
        granted.on_passed(held.info.lane, held.info.bytes);
        assert_eq!(totals(&mut granted), [(1, 2_000)]);
        assert!(!granted.is_waiting());
    }

    #[test]
    fn a_lane_waits_until_the_last_queue_lets_it_go_and_its_runs_have_passed() {
        let mut granted = Granted::new(1_000);
        granted.on_stopped(3);
        granted.on_stopped(3);
        granted.hold(run(3, 10), Box::default());
        assert!(!granted.on_let_go(3) && granted.pop(3).is_none());
        assert!(granted.on_let_go(3) && granted.waits(3));
        let held = granted.pop(3).expect("free");
        assert!(!granted.waits(3));
        granted.put_back(held);
        assert!(granted.waits(3) && !granted.waits(1));
    }

    #[test]
    fn a_ping_is_answered_when_nothing_in_front_of_it_waits() {
        let mut granted = Granted::new(1_000);
        granted.hold(run(1, 10), Box::default());
        granted.push_ping(7).expect("room");
        granted.hold(run(2, 10), Box::default());
        granted.push_ping(8).expect("room");
        assert_eq!(granted.pop_ping(), None);
        granted.pop(1);
        assert_eq!((granted.pop_ping(), granted.pop_ping()), (Some(7), None));
        granted.pop(2);
        assert_eq!((granted.pop_ping(), granted.pop_ping()), (Some(8), None));
    }

    #[test]
    fn what_is_forgotten_with_its_link_may_come_again() {
        let mut granted = Granted::new(1_000);
        assert_eq!(granted.on_received(1, 900), Ok(()));
        granted.hold(run(1, 900), Box::default());
        let mut pool = Pool::new(crate::pool::PoolShape {
            ingress_buffer_bytes: 8_192,
            ingress_buffers: 1,
            ingress_buffers_max: 1,
            egress_buffer_bytes: 64,
            egress_buffers_kept: 1,
        });
        granted.clear(&mut pool);
        assert!(!granted.is_waiting());
        assert_eq!(granted.on_received(1, 1_000), Ok(()), "as if it had never arrived");
        let mut out = [LaneTotal { lane: 0, total: 0 }; HOT_ENTRIES_MAX];
        assert_eq!(granted.on_resume(1 << 1, &mut out), [LaneTotal { lane: 1, total: 1_000 }]);
    }
}
