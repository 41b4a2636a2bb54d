//! What is under way on a reliable lane, and what of it has to be sent again.
//!
//! A line does not reorder. So an acknowledged frame proves that everything sent before it and not acknowledged is
//! lost; each copy gets a number of its own to tell what was sent before what.

use super::Handle;
use super::rtt::Ticks;

/// Where a frame of the window stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
enum Stand {
    /// Sent, and neither acknowledged nor given up.
    UnderWay,
    /// To be sent again. `proved`: its last copy is known to be lost; otherwise it may have arrived.
    Lost { proved: bool },
    /// It has arrived.
    Arrived,
}

/// A part of a message that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(super) struct Part {
    pub(super) handle: Handle,
    /// Where it begins in the message.
    pub(super) offset: u32,
    pub(super) bytes: u16,
    pub(super) index: u8,
    /// 1: the whole message.
    pub(super) count: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
struct Slot {
    part: Part,
    /// When its last copy has left the line.
    left: Ticks,
    /// The first copy that may have arrived, and the last copy.
    first_copy: u16,
    last_copy: u16,
    stand: Stand,
    /// Only one copy was ever sent.
    once: bool,
}

/// What an ACK brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Acked {
    /// Something was acknowledged for the first time.
    pub(super) progress: bool,
    /// How long the newest of it took, if that is certain.
    pub(super) sample: Option<u32>,
    /// Frames to be sent again because of it.
    pub(super) lost: u8,
}

/// The window of one lane.
///
/// Invariant: `count <= window <= W`; slots `head..head + count` (round the end) are numbers `base..base + count`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(super) struct Sender<const W: usize> {
    slots: [Option<Slot>; W],
    head: u8,
    count: u8,
    window: u8,
    /// The peer keeps what arrives ahead.
    selective: bool,
    backoff: u8,
    /// Not selective: everything before it was sent again, once.
    episode: Option<u16>,
    base: u16,
    copies: u16,
    /// The last number that may be sent.
    limit: Option<u16>,
}

impl<const W: usize> Sender<W> {
    /// A lane that does not exist in the session.
    pub(super) const fn closed() -> Self {
        Self {
            slots: [None; W],
            head: 0,
            count: 0,
            window: 0,
            selective: false,
            backoff: 0,
            episode: None,
            base: 1,
            copies: 0,
            limit: None,
        }
    }

    /// A lane whose peer takes so much; `credit` 0: without limit.
    pub(super) fn open(window: u8, selective: bool, credit: u16) -> Self {
        let limit = (credit != 0).then_some(credit);
        Self { window: window.min(W as u8), selective, limit, ..Self::closed() }
    }

    /// Whether one more frame may be numbered now.
    pub(super) fn has_room(&self) -> bool {
        let next = self.next_seq();
        self.count < self.window && self.limit.is_none_or(|limit| limit.wrapping_sub(next) as i16 >= 0)
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.count == 0
    }

    /// The number that the next new frame gets.
    pub(super) const fn next_seq(&self) -> u16 {
        self.base.wrapping_add(self.count as u16)
    }

    pub(super) fn on_credit(&mut self, through: u16) {
        self.limit = self.limit.map(|limit| if through.wrapping_sub(limit) as i16 > 0 { through } else { limit });
    }

    const fn place(&self, at: u8) -> usize {
        (self.head as usize + at as usize) % W
    }

    fn slot(&self, at: u8) -> Option<&Slot> {
        self.slots[self.place(at)].as_ref()
    }

    fn under_way(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.slots.iter_mut().flatten().filter(|slot| slot.stand == Stand::UnderWay)
    }

    /// A frame of an unreliable lane was sent: nothing of it is kept but its number.
    pub(super) const fn skip_number(&mut self) {
        self.base = self.base.wrapping_add(1);
    }

    /// A new frame was sent. Returns its number.
    pub(super) fn on_new(&mut self, part: Part, left: Ticks) -> u16 {
        debug_assert!(self.has_room(), "a frame was sent that the window has no room for");
        let seq = self.next_seq();
        self.copies = self.copies.wrapping_add(1);
        let (first_copy, last_copy) = (self.copies, self.copies);
        let slot = Slot { part, left, first_copy, last_copy, stand: Stand::UnderWay, once: true };
        self.slots[self.place(self.count)] = Some(slot);
        self.count += 1;
        seq
    }

    /// The oldest frame that has to be sent again, and its number.
    pub(super) fn next_lost(&self) -> Option<(u16, Part)> {
        (0..self.count).find_map(|at| {
            let slot = self.slot(at).filter(|slot| matches!(slot.stand, Stand::Lost { .. }))?;
            Some((self.base.wrapping_add(u16::from(at)), slot.part))
        })
    }

    /// The frame with this number was sent again.
    pub(super) fn on_again(&mut self, seq: u16, left: Ticks) {
        self.copies = self.copies.wrapping_add(1);
        let (copy, place) = (self.copies, self.place(seq.wrapping_sub(self.base) as u8));
        let Some(slot) = &mut self.slots[place] else { return debug_assert!(false, "{seq} is not under way") };
        if slot.stand == (Stand::Lost { proved: true }) {
            slot.first_copy = copy;
        }
        (slot.last_copy, slot.left, slot.stand, slot.once) = (copy, left, Stand::UnderWay, false);
    }

    /// The peer says what it has. `ack`: what an ACK costs on the line, the least an answer takes.
    pub(super) fn on_ack(&mut self, now: Ticks, next: u16, map: u16, ack: Ticks) -> Acked {
        let advance = next.wrapping_sub(self.base);
        if advance > u16::from(self.count) {
            return Acked::default();
        }
        let mut acked = Acked::default();
        let mut proof: Option<u16> = None;
        let mut newest: Option<(u16, Ticks, bool)> = None;
        for at in 0..self.count {
            let ahead = u16::from(at).wrapping_sub(advance).wrapping_sub(1);
            let arrived = u16::from(at) < advance || ahead < 16 && map >> ahead & 1 != 0;
            let place = self.place(at);
            let Some(slot) = self.slots[place].as_mut().filter(|slot| arrived && slot.stand != Stand::Arrived) else {
                continue;
            };
            acked.progress = true;
            if proof.is_none_or(|copy| slot.first_copy.wrapping_sub(copy) as i16 > 0) {
                proof = Some(slot.first_copy);
            }
            if newest.is_none_or(|(copy, ..)| slot.last_copy.wrapping_sub(copy) as i16 > 0) {
                newest = Some((slot.last_copy, slot.left, slot.once));
            }
            slot.stand = Stand::Arrived;
        }
        if let Some((_, left, true)) = newest {
            acked.sample = Some(now.since(left).max(0) as u32);
        }
        if acked.progress {
            self.backoff = 0;
        }
        acked.lost = match proof {
            Some(copy) if self.selective => self.give_up_before(copy),
            _ if !self.selective && advance == 0 => self.give_up_window(now, ack),
            _ => 0,
        };
        if self.episode.is_some_and(|end| next.wrapping_sub(end) as i16 >= 0) {
            self.episode = None;
        }
        acked
    }

    /// Selective: what was sent before a copy that arrived, and has not arrived, is lost.
    fn give_up_before(&mut self, copy: u16) -> u8 {
        let mut lost = 0;
        for slot in self.under_way().filter(|slot| (slot.last_copy.wrapping_sub(copy) as i16) < 0) {
            slot.stand = Stand::Lost { proved: true };
            lost += 1;
        }
        lost
    }

    /// Not selective: an ACK that moves nothing was caused by a frame behind the first, which is lost, therefore; and
    /// what came behind it was dropped.
    fn give_up_window(&mut self, now: Ticks, ack: Ticks) -> u8 {
        let caused =
            self.slot(1).is_some_and(|slot| slot.stand == Stand::UnderWay && now.since(slot.left.plus(ack)) >= 0);
        let waiting = self.slot(0).is_some_and(|slot| slot.stand == Stand::UnderWay);
        if !caused || !waiting || self.episode.is_some() {
            return 0;
        }
        self.episode = Some(self.next_seq());
        self.give_up(true)
    }

    fn give_up(&mut self, proved: bool) -> u8 {
        let mut lost = 0;
        for slot in self.under_way() {
            slot.stand = Stand::Lost { proved };
            lost += 1;
        }
        lost
    }

    /// When the oldest frame under way has waited long enough, if `rto(backoff)` is how long that is.
    pub(super) fn deadline(&self, rto: impl Fn(u8) -> Ticks) -> Option<Ticks> {
        let mut under_way = self.slots.iter().flatten().filter(|slot| slot.stand == Stand::UnderWay);
        let first = under_way.next()?.left;
        let oldest = under_way.fold(first, |oldest, slot| if slot.left.since(oldest) < 0 { slot.left } else { oldest });
        Some(oldest.plus(rto(self.backoff)))
    }

    /// Gives up the oldest frame under way, or the whole window if the peer keeps nothing. Returns how many.
    pub(super) fn on_timeout(&mut self) -> u8 {
        self.backoff = self.backoff.saturating_add(1);
        self.episode = None;
        if !self.selective {
            return self.give_up(false);
        }
        let mut oldest: Option<&mut Slot> = None;
        for slot in self.under_way() {
            if oldest.as_ref().is_none_or(|oldest| slot.left.since(oldest.left) < 0) {
                oldest = Some(slot);
            }
        }
        oldest.map_or(0, |slot| {
            slot.stand = Stand::Lost { proved: false };
            1
        })
    }

    /// Half-duplex: one's own turn begins, and the peer has said what it has.
    pub(super) fn on_turn(&mut self) -> u8 {
        self.give_up(false)
    }

    /// Takes the oldest frame out of the window, if it has arrived.
    pub(super) fn pop_arrived(&mut self) -> Option<Part> {
        let place = self.place(0);
        let slot = self.slots[place].filter(|slot| slot.stand == Stand::Arrived)?;
        self.slots[place] = None;
        self.head = self.place(1) as u8;
        self.count -= 1;
        self.base = self.base.wrapping_add(1);
        Some(slot.part)
    }

    /// The session is over: takes the oldest frame out of the window, and says whether it had arrived.
    pub(super) fn pop_any(&mut self) -> Option<(Part, bool)> {
        let place = self.place(0);
        let slot = self.slots[place].take()?;
        self.head = self.place(1) as u8;
        self.count -= 1;
        self.base = self.base.wrapping_add(1);
        Some((slot.part, slot.stand == Stand::Arrived))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const ACK: Ticks = Ticks(1);

    fn part(handle: u32) -> Part {
        Part { handle: Handle(handle), offset: 0, bytes: 1, index: 0, count: 1 }
    }

    fn sent(selective: bool, frames: u32) -> Sender<4> {
        let mut sender = Sender::open(4, selective, 0);
        for frame in 1..=frames {
            sender.on_new(part(frame), Ticks(10 * frame));
        }
        sender
    }

    /// Sends everything again that has to be, at `left`, and says what that was.
    fn again(sender: &mut Sender<4>, left: u32) -> Vec<u16> {
        let lost = core::iter::from_fn(|| {
            let (seq, _) = sender.next_lost()?;
            sender.on_again(seq, Ticks(left));
            Some(seq)
        });
        lost.collect()
    }

    #[test]
    fn what_was_sent_before_an_acknowledged_frame_is_lost_and_is_sent_again_once() {
        let mut sender = sent(true, 4);
        assert!(!sender.has_room());
        let acked = sender.on_ack(Ticks(50), 2, 0b10, ACK); // 1 and 4 arrived
        assert_eq!(
            (acked, again(&mut sender, 60)),
            (Acked { progress: true, sample: Some(10), lost: 2 }, Vec::from([2, 3]))
        );
        assert_eq!(sender.on_ack(Ticks(51), 2, 0b10, ACK), Acked::default(), "said twice");
        assert_eq!(again(&mut sender, 70), [0; 0]);
        // 3 arrives, and 2 was sent before it: lost once more. It is not a sample, having been sent twice.
        assert_eq!(sender.on_ack(Ticks(80), 2, 0b11, ACK), Acked { progress: true, sample: None, lost: 1 });
        assert_eq!(again(&mut sender, 90), [2]);
        assert_eq!(sender.on_ack(Ticks(95), 5, 0, ACK).lost, 0);
        let arrived: Vec<u32> = core::iter::from_fn(|| sender.pop_arrived()).map(|part| part.handle.0).collect();
        assert_eq!((arrived, sender.next_seq(), sender.is_idle()), (Vec::from([1, 2, 3, 4]), 5, true));
    }

    #[test]
    fn a_frame_sent_again_by_time_proves_only_what_its_first_copy_proves() {
        let mut sender = sent(true, 3);
        assert_eq!((sender.on_timeout(), again(&mut sender, 100)), (1, Vec::from([1])));
        // Which copy of 1 has arrived, nobody knows; 2 and 3 may still be on their way.
        assert_eq!(sender.on_ack(Ticks(110), 2, 0, ACK), Acked { progress: true, sample: None, lost: 0 });
    }

    #[test]
    fn without_selection_the_window_is_sent_again_once_an_episode() {
        let mut sender = sent(false, 4);
        assert_eq!(sender.on_ack(Ticks(20), 1, 0, Ticks(5)).lost, 0, "no frame behind it can have caused that");
        assert_eq!(sender.on_ack(Ticks(30), 1, 0, ACK).lost, 4);
        assert_eq!(again(&mut sender, 60), [1, 2, 3, 4]);
        for at in 70..75 {
            assert_eq!(sender.on_ack(Ticks(at), 1, 0, ACK).lost, 0, "no storm");
        }
        assert!(sender.on_ack(Ticks(80), 3, 0, ACK).progress);
        assert_eq!(sender.on_ack(Ticks(81), 3, 0, ACK), Acked::default());
        assert!(sender.on_ack(Ticks(90), 5, 0, ACK).progress && sender.episode.is_none());
    }

    #[test]
    fn the_timer_counts_from_the_oldest_frame_that_has_left_and_backs_off() {
        let rto = |backoff: u8| Ticks(100 << backoff);
        let mut sender = sent(true, 2);
        assert_eq!(sender.deadline(rto), Some(Ticks(110)));
        assert_eq!((sender.on_timeout(), sender.deadline(rto)), (1, Some(Ticks(220))), "of 2, twice as long");
        assert_eq!(again(&mut sender, 150), [1]);
        assert_eq!((sender.on_timeout(), sender.deadline(rto)), (1, Some(Ticks(550))));
        assert!(sender.on_ack(Ticks(300), 3, 0, ACK).progress);
        assert_eq!(sender.deadline(rto), None);
    }

    #[test]
    fn numbers_go_round_and_credit_stops_the_lane() {
        let mut sender = Sender::<4> { base: 65_534, ..Sender::open(2, true, 0) };
        let mut seqs = Vec::new();
        for frame in 0..6 {
            seqs.push(sender.on_new(part(frame), Ticks(0)));
            assert!(sender.on_ack(Ticks(1), sender.next_seq(), 0, ACK).progress);
            assert!(sender.pop_arrived().is_some());
        }
        assert_eq!(seqs, [65_534, 65_535, 0, 1, 2, 3]);
        let mut sender = Sender::<4>::open(4, true, 2);
        sender.on_new(part(1), Ticks(0));
        assert!(sender.has_room());
        sender.on_new(part(2), Ticks(0));
        assert!(!sender.has_room());
        sender.on_credit(1);
        assert!(!sender.has_room(), "it never goes back");
        sender.on_credit(3);
        assert!(sender.has_room());
    }
}
