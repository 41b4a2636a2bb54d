//! One lane: what waits for the line and what is under way on it, and what has arrived.

use crate::config::{Kind, LaneSetup};
use crate::limits::{LANE_BYTES, STALE_US};

/// A message that waits or is under way; its bytes lie elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot {
    /// When its last copy has left the line.
    pub(crate) left: u32,
    /// When it was made, if it says so.
    pub(crate) time: u32,
    /// The topic's id; of control messages the place in the table that is declared by it, plus 1.
    pub(crate) topic: u16,
    pub(crate) bytes: u16,
    /// How many frames of the lane went before its last copy.
    order: u8,
    flags: u8,
}

const TIMED: u8 = 1;
const LOST: u8 = 2;
const ARRIVED: u8 = 4;
const AGAIN: u8 = 8;

impl Slot {
    pub(crate) const fn new(topic: u16, bytes: u16, time: Option<u32>) -> Self {
        let (time, flags) = match time {
            Some(time) => (time, TIMED),
            None => (0, 0),
        };
        Self { left: 0, time, topic, bytes, order: 0, flags }
    }

    pub(crate) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) const fn is_timed(self) -> bool {
        self.has(TIMED)
    }
}

/// Wrapping comparison: `a` comes before `b`.
const fn before(a: u16, b: u16) -> bool {
    (a.wrapping_sub(b) as i16) < 0
}

/// What becomes of a frame of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Take {
    /// It is the next one; so many were lost before it.
    Yes(u16),
    No,
}

/// The lane. Small fields first: instructions of 16 bits reach bytes in the first 32 only.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Lane {
    pub(crate) number: u8,
    pub(crate) kind: Kind,
    pub(crate) class: u8,
    /// Slots of the ring: the oldest, all, and of these the ones under way.
    head: u8,
    pub(crate) count: u8,
    pub(crate) sent: u8,
    size: u8,
    // Of the host; a window of 0: the lane does not exist.
    window: u8,
    selective: bool,
    is_limited: bool,
    // Sending.
    order: u8,
    pub(crate) backoff: u8,
    is_recovering: bool,
    /// Something under way has to be sent again.
    is_hurt: bool,
    // Receiving.
    is_fresh: bool,
    /// Frames that arrived and were not acknowledged, and whether that cannot wait.
    owed: u8,
    is_urgent: bool,
    pub(crate) owes_credit: bool,
    credit: u16,
    granted: u16,
    next: u16,
    /// The number of the oldest slot.
    oldest: u16,
    /// The last number that the host takes.
    limit: u16,
    /// Recovery ends when this number is acknowledged.
    mark: u16,
    /// Airtime, in bytes, that the lane had more than others of its class.
    pub(crate) spent: u16,
    /// Reliable: since when an ACK is owed; otherwise when a frame was taken.
    since: u32,
}

impl Lane {
    /// All zeros, so that memory which nobody has used costs no flash.
    pub(crate) const EMPTY: Self = Self {
        number: 0,
        kind: Kind::UU,
        class: 0,
        head: 0,
        count: 0,
        sent: 0,
        size: 0,
        window: 0,
        selective: false,
        is_limited: false,
        order: 0,
        backoff: 0,
        is_recovering: false,
        is_hurt: false,
        is_fresh: false,
        owed: 0,
        is_urgent: false,
        owes_credit: false,
        credit: 0,
        granted: 0,
        next: 0,
        since: 0,
        oldest: 0,
        limit: 0,
        mark: 0,
        spent: 0,
    };

    pub(crate) fn set_up(&mut self, setup: &LaneSetup, size: u8) {
        (self.number, self.kind, self.class) = (setup.number, setup.kind, setup.class);
        (self.credit, self.size) = (setup.credit, size);
    }

    /// The host has restarted and described its lanes: this one is among them, or not.
    pub(crate) fn describe(&mut self, lanes: &[u8]) {
        let (mut rest, wanted) = (lanes, (self.kind as u8) << 4 | self.number);
        self.window = 0;
        while let Some((&[first, window, _, _, low, high], behind)) = rest.split_first_chunk::<LANE_BYTES>() {
            if first & 0x37 == wanted {
                (self.window, self.selective, self.limit) = (window, first & 8 != 0, u16::from_le_bytes([low, high]));
                self.is_limited = self.limit != 0 && self.number != 0;
            }
            rest = behind;
        }
    }

    /// A session is open: numbers start anew. Nothing is under way.
    pub(crate) fn open(&mut self) {
        (self.oldest, self.next, self.order, self.backoff, self.granted) = (1, 1, 0, 0, self.credit);
        self.owed = 0;
        (self.is_recovering, self.is_hurt, self.is_fresh, self.is_urgent, self.owes_credit) = Default::default();
    }

    /// The next numbers that are sent and taken.
    #[cfg(test)]
    pub(crate) fn set_numbers(&mut self, sent: u16, taken: u16) {
        (self.oldest, self.next) = (sent, taken);
    }

    pub(crate) const fn exists(&self) -> bool {
        self.window != 0
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.count >= self.size
    }

    pub(crate) const fn granted(&self) -> u16 {
        self.granted
    }

    /// What HELLO says of it.
    pub(crate) fn offer(&self, window: u8) -> [u8; 6] {
        let window = if self.kind.is_reliable() { window } else { 1 };
        let [low, high] = self.credit.to_le_bytes();
        [(self.kind as u8) << 4 | self.number, window, 0, 0, low, high]
    }

    /// The place of the slot that is `offset` behind the oldest, in the lane's part of the memory.
    #[inline(never)]
    pub(crate) const fn place(&self, offset: u8) -> usize {
        let at = self.head + offset;
        (if at >= self.size { at - self.size } else { at }) as usize
    }

    #[inline(never)]
    pub(crate) fn slot(&self, slots: &[Slot], offset: u8) -> Slot {
        slots.get(self.place(offset)).copied().unwrap_or_default()
    }

    /// The oldest is gone. Its number goes with it, if it had one.
    #[inline(never)]
    pub(crate) fn pop(&mut self, has_number: bool) {
        self.head = self.place(1) as u8;
        self.count -= 1;
        self.sent = self.sent.saturating_sub(1);
        self.oldest = self.oldest.wrapping_add(u16::from(has_number));
    }

    /// Nothing waits any more.
    pub(crate) fn clear(&mut self) {
        (self.count, self.sent) = (0, 0);
    }

    /// The slot to be sent next, as an offset from the oldest.
    pub(crate) fn next_to_send(&self, slots: &[Slot]) -> Option<u8> {
        if !self.exists() {
            return None;
        }
        if self.is_hurt {
            return (0..self.sent).find(|offset| self.slot(slots, *offset).has(LOST));
        }
        let is_allowed = !self.kind.is_reliable()
            || (self.sent < self.window && !(self.is_limited && before(self.limit, self.number_of(self.sent))));
        (self.sent < self.count && is_allowed).then_some(self.sent)
    }

    pub(crate) const fn number_of(&self, offset: u8) -> u16 {
        self.oldest.wrapping_add(offset as u16)
    }

    /// A copy of this slot goes onto the line and has left at `left`; whether it is a repetition.
    pub(crate) fn on_sent(&mut self, slots: &mut [Slot], offset: u8, left: u32) -> bool {
        let is_again = offset < self.sent;
        if let Some(slot) = slots.get_mut(self.place(offset)) {
            (slot.left, slot.order) = (left, self.order);
            slot.flags = slot.flags & !LOST | if is_again { AGAIN } else { 0 };
        }
        self.order = self.order.wrapping_add(1);
        if !is_again {
            self.sent += 1;
        }
        self.look(slots);
        is_again
    }

    /// Whether something has to be sent again.
    #[inline(never)]
    fn look(&mut self, slots: &[Slot]) {
        self.is_hurt = (0..self.sent).any(|offset| self.slot(slots, offset).has(LOST));
    }

    /// Marks the first `count` slots that have not arrived; `newest`: those of them that went before it.
    #[inline(never)]
    fn lose(&mut self, slots: &mut [Slot], count: u8, newest: Option<u8>) {
        for offset in 0..count {
            if let Some(slot) = slots.get_mut(self.place(offset)) {
                let is_older = newest.is_none_or(|newest| newest.wrapping_sub(slot.order).wrapping_sub(1) < 127);
                if !slot.has(ARRIVED) && is_older {
                    slot.flags |= LOST;
                }
            }
        }
    }

    /// What an ACK says: how many of the oldest have arrived. They are still there.
    #[inline(never)]
    pub(crate) fn on_ack(&mut self, slots: &mut [Slot], next: u16, map: u16) -> u8 {
        let arrived = next.wrapping_sub(self.oldest);
        if arrived > u16::from(self.sent) {
            return 0;
        }
        let arrived = arrived as u8;
        let mut newest: Option<u8> = None;
        for offset in 0..self.sent {
            let said = offset < arrived || offset > arrived && map >> (offset - arrived - 1) & 1 == 1;
            if let Some(slot) = slots.get_mut(self.place(offset)) {
                if said && !slot.has(ARRIVED) {
                    slot.flags = slot.flags & !LOST | ARRIVED;
                    if !slot.has(AGAIN) && newest.is_none_or(|newest| slot.order.wrapping_sub(newest) < 128) {
                        newest = Some(slot.order);
                    }
                }
            }
        }
        if arrived > 0 {
            self.backoff = 0;
            self.is_recovering &= !before(self.mark, next);
        }
        if self.selective {
            let count = newest.map_or(0, |_| self.sent);
            self.lose(slots, count, newest);
        } else if arrived == 0 && self.sent > 1 && !self.is_recovering {
            self.is_recovering = true;
            self.mark = self.number_of(self.sent - 1);
            self.lose(slots, self.sent, None);
        }
        self.look(slots);
        arrived
    }

    /// When the oldest frame under way left, if a timer runs for it.
    pub(crate) fn timer(&self, slots: &[Slot]) -> Option<u32> {
        (self.sent > 0 && !self.is_hurt && self.kind.is_reliable()).then(|| self.slot(slots, 0).left)
    }

    /// The timer has run out.
    pub(crate) fn on_timer(&mut self, slots: &mut [Slot]) {
        self.backoff = (self.backoff + 1).min(8);
        self.is_recovering = false;
        self.lose(slots, if self.selective { 1 } else { self.sent }, None);
        self.look(slots);
    }

    /// CREDIT of the host: it never moves back.
    pub(crate) fn on_credit(&mut self, through: u16) {
        if before(self.limit, through) {
            self.limit = through;
        }
    }

    /// The host may send so many more.
    pub(crate) fn grant(&mut self, count: u16) {
        if self.credit != 0 {
            (self.granted, self.owes_credit) = (self.granted.wrapping_add(count), true);
        }
    }

    /// A frame with this number has arrived.
    pub(crate) fn on_frame(&mut self, now: u32, seq: u16) -> Take {
        if self.kind.is_reliable() {
            if self.credit != 0 && before(self.granted, seq) {
                return Take::No;
            }
            if self.owed == 0 {
                self.since = now;
            }
            self.owed = self.owed.saturating_add(1);
            if seq != self.next {
                self.is_urgent = true;
                return Take::No;
            }
            self.next = seq.wrapping_add(1);
            return Take::Yes(0);
        }
        let missed = seq.wrapping_sub(self.next);
        if self.is_fresh && missed > 0x7FFE {
            return Take::No;
        }
        let missed = if self.is_fresh { missed } else { 0 };
        (self.is_fresh, self.next, self.since) = (true, seq.wrapping_add(1), now);
        Take::Yes(missed)
    }

    /// Since when an ACK is owed, and whether it cannot wait: a frame came twice or ahead of a missing one, or half the
    /// window came. One frame alone always waits a little, as an ACK for each would leave no line to anybody else.
    pub(crate) fn owes_ack(&self) -> Option<(u32, bool)> {
        let half = (self.size >> 1).max(self.size.min(2));
        (self.owed > 0).then_some((self.since, self.is_urgent || self.owed >= half))
    }

    /// What ACK says of it; nothing is owed any more.
    pub(crate) fn ack(&mut self) -> u16 {
        (self.owed, self.is_urgent) = (0, false);
        self.next
    }

    /// Time passes: a lane that was silent for long takes any number.
    pub(crate) fn age(&mut self, now: u32) {
        self.is_fresh &= now.wrapping_sub(self.since) < STALE_US;
    }
}
