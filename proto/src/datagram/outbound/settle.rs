//! How frames end: acknowledged, given up, or with the session.

use super::super::loss::RangeLost;
use super::super::sent::{Fate, FrameIndex, NO_FRAME, SentSlot};
use super::lists::{Queue, unlink};
use super::slot::{Content, FrameSlot, Outcome, Place};
use super::{Lane, Outbound};
use crate::frame::lost::LossReason;
use crate::header::seq_after;
use crate::lane::sequencer::forward;
use crate::limits::LANES_MAX;

/// The parts that an acknowledgement touches.
pub(super) struct Settling<'a> {
    pub(super) frames: &'a mut [FrameSlot],
    pub(super) lanes: &'a mut [Lane; LANES_MAX],
    pub(super) told: &'a mut Queue,
    pub(super) free: &'a mut Queue,
    pub(super) free_count: &'a mut usize,
    pub(super) window: u32,
}

impl Settling<'_> {
    /// Settles a datagram's frames.
    pub(super) fn all_of(&mut self, mut index: FrameIndex) {
        while index != NO_FRAME {
            let slot = self.frames[usize::from(index)];
            match slot.content {
                Content::Frame(_) => self.frame(index, &slot),
                Content::Lost { .. } => self.lost(index, &slot),
                Content::Free => debug_assert!(false, "a free place is in a datagram"),
            }
            self.wake_waiting(slot.lane);
            index = slot.next;
        }
    }

    fn frame(&mut self, index: FrameIndex, slot: &FrameSlot) {
        let lane = &mut self.lanes[usize::from(slot.lane)];
        lane.unsettled.remove(self.frames, index);
        if let Content::Frame(carried) = &slot.content {
            if let Some(frag) = carried.frag {
                let name = slot.message();
                let frames = &*self.frames;
                let stands = |other: FrameIndex| other != NO_FRAME && frames[usize::from(other)].message() == name;
                let all_sent = forward(seq_after(name, u32::from(frag.count)), lane.next_seq).is_some();
                if all_sent && !stands(slot.older) && !stands(slot.newer) {
                    lane.partial_bytes -= u64::from(frag.total_len);
                }
            }
        }
        let at = &mut self.frames[usize::from(index)];
        (at.outcome, at.place) = (Outcome::Acked, Place::Nowhere);
        self.told.push_back(self.frames, index);
    }

    fn lost(&mut self, index: FrameIndex, slot: &FrameSlot) {
        let Content::Lost { lost, said, arrived, partial_bytes } = slot.content else { return };
        let lane = &mut self.lanes[usize::from(slot.lane)];
        if said < lost.count {
            let rest = RangeLost {
                first: seq_after(lost.first, said),
                count: lost.count - said,
                sent: lost.sent.saturating_sub(said),
                ..lost
            };
            let at = &mut self.frames[usize::from(index)];
            let arrived = arrived.saturating_sub(said);
            (at.content, at.seq) = (Content::Lost { lost: rest, said: 0, arrived, partial_bytes }, rest.first);
            (at.place, lane.waiting) = (Place::Nowhere, index);
            return;
        }
        lane.unsettled.remove(self.frames, index);
        lane.partial_bytes -= u64::from(partial_bytes);
        self.frames[usize::from(index)] = FrameSlot::default();
        self.free.push_back(self.frames, index);
        *self.free_count += 1;
    }

    /// A LOST that has more to say may go on when the window has moved.
    fn wake_waiting(&mut self, lane: u8) {
        let lane = &mut self.lanes[usize::from(lane)];
        if lane.waiting == NO_FRAME {
            return;
        }
        let waiting = self.frames[usize::from(lane.waiting)].seq;
        let oldest = lane.unsettled.first().map_or(waiting, |index| self.frames[usize::from(index)].first_missing());
        if forward(oldest, waiting).is_none_or(|ahead| ahead < self.window) {
            self.frames[usize::from(lane.waiting)].place = Place::Again;
            lane.again.push_back(self.frames, lane.waiting);
            lane.waiting = NO_FRAME;
        }
    }
}

impl<F, P> Outbound<F, P>
where
    F: AsRef<[FrameSlot]> + AsMut<[FrameSlot]>,
    P: AsRef<[SentSlot]> + AsMut<[SentSlot]>,
{
    /// Gives up the message of the frame that `lane` would send again next; LOST takes its place. `false`, and nothing
    /// changes, if there is no place for that before the owner has heard of others ([`Self::poll_settled`]).
    pub fn abandon_again(&mut self, lane: u8, reason: LossReason) -> bool {
        let Some(slot) = self.again(lane) else { return false };
        let Content::Frame(carried) = slot.content else { return false };
        let (name, full_bytes) = (slot.message(), slot.full_bytes);
        let Some((first, last)) = self.message_frames(lane, name) else { return false };
        let frames = self.frames.as_mut();
        let lost_index = self.free.pop_front(frames);
        if lost_index == NO_FRAME {
            return false;
        }
        self.free_count -= 1;
        let newest = frames[usize::from(last)];
        let FrameSlot { older: before, seq: missing, .. } = frames[usize::from(first)];
        let arrived = forward(name, missing).unwrap_or_default();
        self.tell_abandoned(lane, first, last);

        let at = &mut self.lanes[usize::from(lane)];
        let count = carried.frag.map_or(1, |frag| u32::from(frag.count));
        let sent = forward(name, at.next_seq).map_or(count, |sent| sent.min(count));
        if sent < count {
            (at.next_seq, at.skipping) = (seq_after(name, count), true);
        }
        let last_bytes = match newest.content {
            Content::Frame(carried) if carried.is_last() => carried.frame_bytes(),
            // It arrived, or was never sent.
            Content::Frame(_) | Content::Lost { .. } | Content::Free => 0,
        };
        let lost = RangeLost {
            topic: carried.topic,
            lane,
            reason,
            first: name,
            count,
            messages: carried.messages,
            sent,
            frame_bytes: full_bytes,
            last_bytes,
        };
        let partial_bytes = carried.frag.map_or(0, |frag| frag.total_len);
        let frames = self.frames.as_mut();
        let content = Content::Lost { lost, said: 0, arrived, partial_bytes };
        frames[usize::from(lost_index)] =
            FrameSlot { content, lane, seq: name, place: Place::Again, ..FrameSlot::default() };
        at.unsettled.insert_behind(frames, before, lost_index);
        at.again.push_front(frames, lost_index);
        true
    }

    /// The first and the last frame of a message that are not settled; `None` if one of them is in the datagram that is
    /// being filled.
    fn message_frames(&self, lane: u8, name: u32) -> Option<(FrameIndex, FrameIndex)> {
        let belongs = |index: FrameIndex| {
            let slot = self.slot(index);
            slot.message() == name && matches!(slot.content, Content::Frame(_))
        };
        let start = self.lanes[usize::from(lane)].again.first()?;
        let (mut first, mut last) = (start, start);
        while self.slot(first).older != NO_FRAME && belongs(self.slot(first).older) {
            first = self.slot(first).older;
        }
        while self.slot(last).newer != NO_FRAME && belongs(self.slot(last).newer) {
            last = self.slot(last).newer;
        }
        let mut index = first;
        while self.slot(index).place != Place::Open {
            if index == last {
                return Some((first, last));
            }
            index = self.slot(index).newer;
        }
        None
    }

    /// Takes a message's frames out of their lists and tells the owner.
    fn tell_abandoned(&mut self, lane: u8, first: FrameIndex, last: FrameIndex) {
        let Self { frames, lanes, told, sent, .. } = self;
        let (frames, at) = (frames.as_mut(), &mut lanes[usize::from(lane)]);
        let mut index = first;
        loop {
            let slot = frames[usize::from(index)];
            match slot.place {
                Place::Datagram => {
                    let chain = sent.frames_of(slot.datagram);
                    debug_assert!(chain.is_some(), "datagram {} is forgotten with frames in it", slot.datagram);
                    if let Some(chain) = chain {
                        unlink(frames, chain, index);
                    }
                }
                Place::Again => at.again.remove(frames, index),
                Place::Open | Place::Nowhere => debug_assert!(false, "a message is given up while it is written"),
            }
            at.unsettled.remove(frames, index);
            let told_slot = &mut frames[usize::from(index)];
            (told_slot.outcome, told_slot.place) = (Outcome::Abandoned, Place::Nowhere);
            told.push_back(frames, index);
            if index == last {
                break;
            }
            index = slot.newer;
        }
    }

    /// The session is over: every frame that is not settled becomes maybe delivered.
    pub fn tell_all(&mut self) {
        let Self { frames, lanes, told, free, free_count, sent, .. } = self;
        let frames = frames.as_mut();
        while sent.lose_oldest(Fate::Unheard, |_| true).is_some() {}
        for lane in lanes {
            (lane.again, lane.waiting, lane.partial_bytes) = (Queue::EMPTY, NO_FRAME, 0);
            while let Some(index) = lane.unsettled.first() {
                lane.unsettled.remove(frames, index);
                let slot = &mut frames[usize::from(index)];
                (slot.outcome, slot.place) = (Outcome::MaybeDelivered, Place::Nowhere);
                if matches!(slot.content, Content::Frame(_)) {
                    told.push_back(frames, index);
                } else {
                    free.push_back(frames, index);
                    *free_count += 1;
                }
            }
        }
    }
}
