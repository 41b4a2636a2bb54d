//! What of a lane has arrived, and whether the peer has to be told.

use super::rtt::Ticks;

/// What to do with a numbered frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Deliver it; then what was kept behind it. `missed`: frames lost before it (unreliable lanes).
    Deliver { missed: u16 },
    /// Keep it: one before it is missing.
    Keep,
    /// It is an old one, too new, or there is no room for it.
    Drop,
}

/// How a lane receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(super) struct Rules {
    pub(super) reliable: bool,
    pub(super) ordered: bool,
    pub(super) selective: bool,
    pub(super) window: u8,
    /// Without an accepted frame for so long, an unreliable lane takes any number.
    pub(super) stale: Ticks,
}

/// One direction of one lane.
///
/// Invariant: everything before `next` has arrived; bit i of `map` says that `next + 1 + i` has. Frames from
/// `delivered` to before `next` are kept, and are to be delivered now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(super) struct Receiver {
    next: u16,
    map: u16,
    delivered: u16,
    /// The last number that may come.
    limit: Option<u16>,
    /// Frames that arrived since the last ACK.
    owed: u8,
    /// The ACK must not wait.
    urgent: bool,
    /// When the first of them arrived; unreliable lanes: when the last was accepted.
    since: Ticks,
    begun: bool,
}

impl Receiver {
    pub(super) const fn new(credit: u16) -> Self {
        let limit = if credit == 0 { None } else { Some(credit) };
        Self { next: 1, map: 0, delivered: 1, limit, owed: 0, urgent: false, since: Ticks(0), begun: false }
    }

    /// What an ACK says: the first number that is missing, and what lies behind it.
    pub(super) const fn state(&self) -> (u16, u16) {
        (self.next, self.map)
    }

    pub(super) fn grant(&mut self, through: u16) {
        self.limit = self.limit.map(|limit| if through.wrapping_sub(limit) as i16 > 0 { through } else { limit });
    }

    /// A frame arrived. `fragment`: it must not overtake. `room`: there is a place to keep it.
    pub(super) fn on_frame(&mut self, now: Ticks, rules: Rules, seq: u16, fragment: bool, room: bool) -> Verdict {
        if !rules.reliable {
            return self.on_unreliable(now, rules, seq);
        }
        if self.limit.is_some_and(|limit| (limit.wrapping_sub(seq) as i16) < 0) {
            return Verdict::Drop;
        }
        if self.owed == 0 {
            self.since = now;
        }
        self.owed = self.owed.saturating_add(1);
        let ahead = seq.wrapping_sub(self.next);
        if ahead == 0 {
            self.step();
            self.delivered = seq.wrapping_add(1);
            return Verdict::Deliver { missed: 0 };
        }
        self.urgent = true;
        let bit = 1u16.checked_shl(u32::from(ahead) - 1).unwrap_or_default();
        if !rules.selective || ahead >= u16::from(rules.window) || self.map & bit != 0 {
            return Verdict::Drop;
        }
        let keep = rules.ordered || fragment;
        if keep && !room {
            return Verdict::Drop;
        }
        self.map |= bit;
        if keep { Verdict::Keep } else { Verdict::Deliver { missed: 0 } }
    }

    fn on_unreliable(&mut self, now: Ticks, rules: Rules, seq: u16) -> Verdict {
        let ahead = seq.wrapping_sub(self.next);
        let stale = now.since(self.since.plus(rules.stale)) >= 0;
        let fresh = self.begun && ahead < 0x8000;
        if self.begun && !fresh && !stale {
            return Verdict::Drop;
        }
        // Lost before the first frame means: counted from 1.
        let missed = if fresh || !self.begun { ahead } else { 0 };
        (self.next, self.since, self.begun) = (seq.wrapping_add(1), now, true);
        Verdict::Deliver { missed }
    }

    /// `next` has arrived.
    fn step(&mut self) {
        loop {
            self.next = self.next.wrapping_add(1);
            let arrived = self.map & 1 != 0;
            self.map >>= 1;
            if !arrived {
                break;
            }
        }
    }

    /// The number of a kept frame that is to be delivered now, if there is one; it may have been delivered earlier (RU).
    pub(super) const fn pop(&mut self) -> Option<u16> {
        if self.delivered == self.next {
            return None;
        }
        let seq = self.delivered;
        self.delivered = seq.wrapping_add(1);
        Some(seq)
    }

    /// Whether [`Self::pop`] has something.
    pub(super) const fn has_kept(&self) -> bool {
        self.delivered != self.next
    }

    /// When an ACK is due at the latest, if it may wait for `patience`; `None`: none is owed.
    pub(super) fn ack_due(&self, rules: Rules, patience: Ticks) -> Option<Ticks> {
        let half = rules.window.div_ceil(2);
        (self.owed > 0).then(|| if self.urgent || self.owed >= half { self.since } else { self.since.plus(patience) })
    }

    /// Whether an ACK is owed at all.
    pub(super) const fn owes_ack(&self) -> bool {
        self.owed > 0
    }

    pub(super) const fn on_acked(&mut self) {
        (self.owed, self.urgent) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const RO: Rules = Rules { reliable: true, ordered: true, selective: true, window: 4, stale: Ticks(0) };
    const US: Rules = Rules { reliable: false, ordered: true, selective: false, window: 1, stale: Ticks(100) };
    const DELIVER: Verdict = Verdict::Deliver { missed: 0 };

    fn arrive(receiver: &mut Receiver, rules: Rules, seqs: &[u16]) -> Vec<Verdict> {
        seqs.iter().map(|&seq| receiver.on_frame(Ticks(0), rules, seq, false, true)).collect()
    }

    #[test]
    fn an_ordered_lane_keeps_what_is_ahead_and_lets_it_go_behind_the_missing_one() {
        let mut receiver = Receiver::new(0);
        let (keep, drop) = (Verdict::Keep, Verdict::Drop);
        assert_eq!(arrive(&mut receiver, RO, &[1, 3, 4, 4, 6, 65_535]), [DELIVER, keep, keep, drop, drop, drop]);
        assert_eq!((receiver.state(), receiver.pop()), ((2, 0b11), None));
        assert_eq!(arrive(&mut receiver, RO, &[2]), [DELIVER]);
        let kept: Vec<u16> = core::iter::from_fn(|| receiver.pop()).collect();
        assert_eq!((kept, receiver.state()), (Vec::from([3, 4]), (5, 0)));
    }

    #[test]
    fn an_unordered_lane_delivers_at_once_but_for_fragments() {
        let rules = Rules { ordered: false, ..RO };
        let mut receiver = Receiver::new(0);
        assert_eq!(arrive(&mut receiver, rules, &[2, 2]), [DELIVER, Verdict::Drop]);
        assert_eq!(receiver.on_frame(Ticks(0), rules, 3, true, true), Verdict::Keep);
        assert_eq!(receiver.on_frame(Ticks(0), rules, 4, true, false), Verdict::Drop, "no room");
        assert_eq!((arrive(&mut receiver, rules, &[1]), receiver.state()), (Vec::from([DELIVER]), (4, 0)));
        assert_eq!((receiver.pop(), receiver.pop(), receiver.pop()), (Some(2), Some(3), None));
    }

    #[test]
    fn without_selection_nothing_is_kept_and_credit_is_a_bound() {
        let rules = Rules { selective: false, ..RO };
        let mut receiver = Receiver::new(2);
        assert_eq!(arrive(&mut receiver, rules, &[2, 1, 2, 3]), [Verdict::Drop, DELIVER, DELIVER, Verdict::Drop]);
        receiver.grant(1);
        receiver.grant(3);
        assert_eq!(arrive(&mut receiver, rules, &[4, 3]), [Verdict::Drop, DELIVER]);
    }

    #[test]
    fn an_unreliable_lane_goes_forward_only_until_it_was_silent_for_long() {
        let mut receiver = Receiver::new(0);
        let missed = |missed| Verdict::Deliver { missed };
        assert_eq!(arrive(&mut receiver, US, &[3, 4, 4, 2, 9, 65_535]), {
            [missed(2), missed(0), Verdict::Drop, Verdict::Drop, missed(4), Verdict::Drop]
        });
        assert_eq!(receiver.on_frame(Ticks(99), US, 7, false, true), Verdict::Drop);
        assert_eq!(receiver.on_frame(Ticks(100), US, 7, false, true), missed(0));
        assert!(!receiver.owes_ack());
    }

    #[test]
    fn an_ack_waits_for_company_unless_something_is_wrong() {
        let mut receiver = Receiver::new(0);
        let due = |receiver: &Receiver| receiver.ack_due(RO, Ticks(50)).map(|due| due.0);
        assert_eq!(due(&receiver), None);
        receiver.on_frame(Ticks(7), RO, 1, false, true);
        assert_eq!(due(&receiver), Some(57));
        receiver.on_frame(Ticks(9), RO, 2, false, true);
        assert_eq!(due(&receiver), Some(7), "half the window");
        receiver.on_acked();
        receiver.on_frame(Ticks(11), RO, 2, false, true);
        assert_eq!(due(&receiver), Some(11), "a repeated one");
    }
}
