//! Frames on their way to the peer: a queue for each lane, and the bodies of what is not settled.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::super::outbound::{Carried, PayloadId};
use super::super::session::Source;
use super::cut;
use super::inward::Inward;
use crate::frame::count::{self, COUNT_FRAME_BYTES_MAX};
use crate::frame::credit::LaneTotal;
use crate::frame::ping::{Ping, Pong};
use crate::header::{Flags, Header, Kind};
use crate::lane::table::LaneTable;
use crate::limits::{HEADER_BYTES, LANES_MAX};
use crate::time::{Duration, Instant};

/// Bytes of one lane that wait to be sent at most for more to be taken.
const LANE_WAITING_BYTES_MAX: usize = 32 * 1024;
/// A PING goes again after so many round trips without a PONG, and not before this.
const PING_AGAIN_ROUND_TRIPS: u64 = 3;
const PING_AGAIN_MIN: Duration = Duration::from_millis(50);

/// A body that is kept, and which of the owner's frames it is a part of.
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    lane: u8,
    frame: u64,
}

/// A PING of the owner, and how many frames of each lane stand in front of it.
#[derive(Debug)]
struct Asking {
    t0: u64,
    behind: [u64; LANES_MAX],
}

#[derive(Debug)]
pub(super) struct Outward {
    waiting: [VecDeque<Carried>; LANES_MAX],
    lane_bytes: [usize; LANES_MAX],
    pub(super) waiting_bytes: usize,
    bodies: Vec<Option<Kept>>,
    free: Vec<u32>,
    /// By lane, how many parts of each of the owner's frames are left, from frame `done` on.
    left: [VecDeque<u32>; LANES_MAX],
    done: [u64; LANES_MAX],
    told: [u64; LANES_MAX],
    reliable: u16,
    /// What the peer may send, by lane.
    pub(super) credit: [Option<u64>; LANES_MAX],
    /// Whether the owner wants to know by COUNT what has arrived.
    pub(super) counts: bool,
    /// Bytes of frames that a datagram has room for.
    room: usize,
    /// Frames that came before the session was open.
    early: Vec<u8>,
    asking: VecDeque<Asking>,
    /// PINGs whose turn has come and that wait for a PONG; the last one goes out and stands for all.
    unanswered: VecDeque<u64>,
    /// That one, and when it goes again.
    asked: Option<(u64, Instant)>,
    ping_due: bool,
    pongs: VecDeque<Vec<u8>>,
    /// The frame that [`Source::unnumbered`] lends.
    lent: Vec<u8>,
}

impl Outward {
    pub(super) fn new(lanes: &LaneTable) -> Self {
        Self {
            waiting: Default::default(),
            lane_bytes: [0; LANES_MAX],
            waiting_bytes: 0,
            bodies: Vec::new(),
            free: Vec::new(),
            left: Default::default(),
            done: [0; LANES_MAX],
            told: [0; LANES_MAX],
            reliable: lanes.reliable(),
            credit: [None; LANES_MAX],
            counts: false,
            room: 0,
            early: Vec::new(),
            asking: VecDeque::new(),
            unanswered: VecDeque::new(),
            asked: None,
            ping_due: false,
            pongs: VecDeque::new(),
            lent: Vec::new(),
        }
    }

    pub(super) fn set_lanes(&mut self, lanes: &LaneTable) {
        self.reliable = lanes.reliable();
    }

    /// Datagrams have room for so many bytes of frames; frames that waited for this are cut.
    pub(super) fn on_open(&mut self, room: usize) {
        self.room = room;
        let early = core::mem::take(&mut self.early);
        let mut rest = &early[..];
        while let Some(head) = rest.first_chunk::<HEADER_BYTES>() {
            let Ok(header) = Header::decode(head) else { return };
            let (frame, behind) = rest.split_at(usize::from(header.len));
            self.take_frame(&header, frame);
            rest = behind;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty) && self.pongs.is_empty() && self.early.is_empty()
    }

    pub(super) fn full_lanes(&self) -> u16 {
        let full = |lane: &usize| self.lane_bytes[*lane] >= LANE_WAITING_BYTES_MAX;
        (0..LANES_MAX).filter(full).fold(0, |bits, lane| bits | 1 << lane)
    }

    /// A frame of the owner.
    pub(super) fn take_frame(&mut self, header: &Header, frame: &[u8]) {
        if self.room == 0 {
            self.early.extend_from_slice(frame);
            return;
        }
        let body = &frame[HEADER_BYTES..];
        match header.kind {
            Kind::PING => {
                if let Ok(Ping { t0 }) = Ping::decode(body) {
                    let behind = core::array::from_fn(|lane| self.done[lane] + self.left[lane].len() as u64);
                    self.asking.push_back(Asking { t0, behind });
                }
            }
            Kind::PONG => self.pongs.push_back(frame.to_vec()),
            Kind::PUB | Kind::BATCH | Kind::LOST | Kind::CTRL | Kind::CONFIRM => {
                let lane = usize::from(header.lane) % LANES_MAX;
                let once = lane > 0 && self.reliable & 1 << lane == 0;
                let number = self.done[lane] + self.left[lane].len() as u64;
                self.left[lane].push_back(0);
                let room = self.room;
                cut(header, frame, room, once, &mut |part: &Header, ends: [&[u8]; 3]| {
                    self.push(part, ends, lane, number);
                });
                self.finish(lane);
            }
            // What the peer gives is told by totals, what arrived by acknowledgements; PAD is nothing.
            _ => {}
        }
    }

    fn push(&mut self, header: &Header, parts: [&[u8]; 3], lane: usize, frame: u64) {
        let bytes = parts.concat();
        let Some(left) = self.left[lane].back_mut() else { return };
        *left += 1;
        let body_bytes = bytes.len() as u16;
        let kept = Kept { bytes, lane: lane as u8, frame };
        let place = match self.free.pop() {
            Some(place) => {
                self.bodies[place as usize] = Some(kept);
                place
            }
            None => {
                self.bodies.push(Some(kept));
                self.bodies.len() as u32 - 1
            }
        };
        let Header { kind, flags, topic, hops, ckey, .. } = *header;
        let flags = Flags(flags.0 & !(Flags::RETX.0 | Flags::MORE.0));
        let carried = Carried {
            kind,
            flags,
            hops,
            ckey,
            topic,
            payload: PayloadId(place),
            body_bytes,
            frag: None,
            messages: 1,
            deadline: None,
        };
        let bytes = usize::from(carried.frame_bytes());
        self.waiting_bytes += bytes;
        self.lane_bytes[lane] += bytes;
        self.waiting[lane].push_back(carried);
    }

    /// A body has arrived, or will not: it may go.
    pub(super) fn on_settled(&mut self, payload: PayloadId) {
        let Some(Kept { lane, frame, .. }) = self.bodies.get_mut(payload.0 as usize).and_then(Option::take) else {
            return;
        };
        self.free.push(payload.0);
        let lane = usize::from(lane);
        if let Some(left) = self.left[lane].get_mut((frame - self.done[lane]) as usize) {
            *left -= 1;
        }
        self.finish(lane);
    }

    /// Frames at the front of which nothing is left are done.
    fn finish(&mut self, lane: usize) {
        while self.left[lane].front() == Some(&0) {
            self.left[lane].pop_front();
            self.done[lane] += 1;
        }
    }

    /// Tells the owner by COUNT how many of its frames have arrived.
    pub(super) fn tell_counts(&mut self, up: &mut Vec<u8>) {
        let mut totals = [LaneTotal { lane: 0, total: 0 }; LANES_MAX - 1];
        let mut count = 0;
        for lane in (1..LANES_MAX).filter(|lane| self.reliable & 1 << lane != 0) {
            if self.done[lane] > self.told[lane] {
                self.told[lane] = self.done[lane];
                totals[count] = LaneTotal { lane: lane as u8, total: self.done[lane] };
                count += 1;
            }
        }
        if count > 0 {
            up.extend_from_slice(count::encode(&totals[..count], &mut [0; COUNT_FRAME_BYTES_MAX]));
        }
    }

    /// Passes on the PONGs that arrived, each once.
    pub(super) fn on_pongs(&mut self, inward: &mut Inward) {
        for pong in core::mem::take(&mut inward.pongs) {
            let Some(place) = self.unanswered.iter().position(|&t0| t0 == pong.t0) else { continue };
            for t0 in self.unanswered.drain(..=place) {
                inward.up.extend_from_slice(&Pong { t0, ..pong }.encode());
            }
            if self.unanswered.is_empty() {
                self.asked = None;
            }
        }
    }

    /// A datagram is about to be filled: a PING whose turn has come goes with it.
    pub(super) fn prepare(&mut self, now: Instant, round_trip: Duration) {
        let pause = Duration(round_trip.0 * PING_AGAIN_ROUND_TRIPS).max(PING_AGAIN_MIN);
        let Self { asking, done, unanswered, asked, .. } = self;
        while asking.front().is_some_and(|first| (0..LANES_MAX).all(|lane| done[lane] >= first.behind[lane])) {
            if let Some(Asking { t0, .. }) = asking.pop_front() {
                unanswered.push_back(t0);
                *asked = Some((t0, now));
            }
        }
        if let Some((t0, at)) = self.asked.filter(|&(_, at)| at <= now) {
            self.ping_due = true;
            self.asked = Some((t0, at.max(now) + pause));
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.asked.map(|(_, at)| at)
    }
}

impl Source for Outward {
    fn peek(&self, lane: u8) -> Option<Carried> {
        self.waiting[usize::from(lane)].front().copied()
    }

    fn take(&mut self, lane: u8, _: u32) {
        let Some(carried) = self.waiting[usize::from(lane)].pop_front() else { return };
        let bytes = usize::from(carried.frame_bytes());
        self.waiting_bytes -= bytes;
        self.lane_bytes[usize::from(lane)] -= bytes;
        if lane > 0 && self.reliable & 1 << lane == 0 {
            self.on_settled(carried.payload);
        }
    }

    fn body(&self, payload: PayloadId) -> &[u8] {
        let kept = self.bodies.get(payload.0 as usize).and_then(Option::as_ref);
        debug_assert!(kept.is_some(), "a body stays until it is settled");
        kept.map_or(&[], |kept| &kept.bytes)
    }

    fn unnumbered(&mut self, room: usize) -> Option<&[u8]> {
        if self.pongs.front().is_some_and(|pong| pong.len() <= room) {
            self.lent = self.pongs.pop_front()?;
            return Some(&self.lent);
        }
        let (t0, _) = self.asked.filter(|_| self.ping_due)?;
        let ping = Ping { t0 }.encode();
        if ping.len() > room {
            return None;
        }
        self.ping_due = false;
        self.lent.clear();
        self.lent.extend_from_slice(&ping);
        Some(&self.lent)
    }

    fn credit(&self, lane: u8) -> Option<u64> {
        self.credit[usize::from(lane)]
    }
}
