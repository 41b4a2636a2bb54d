//! What is settled of a repaired stream, but whose topic has no name yet: it waits for the name, so that the owner gets it or
//! learns that it is lost.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::holes::Fate;
use crate::frame::lost::LossReason;

/// Frames of a stream that wait for a name; beyond, the oldest is lost.
const FRAMES_MAX: usize = 256;

/// Fates of one stream, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Unnamed {
    fates: VecDeque<Fate>,
    frames: usize,
}

impl Unnamed {
    /// These come behind those that wait.
    pub(super) fn push(&mut self, fates: Vec<Fate>) {
        for fate in fates {
            self.frames += usize::from(matches!(fate, Fate::Frame(_)));
            put(&mut self.fates, fate);
        }
    }

    /// What need not wait any more, because `is_named` says so; in the order of the stream, if it is `ordered`. What is too
    /// much stays as lost.
    pub(super) fn take(&mut self, ordered: bool, is_named: impl Fn(&Fate) -> bool) -> Vec<Fate> {
        let mut taken = Vec::new();
        let mut kept = VecDeque::new();
        for fate in core::mem::take(&mut self.fates) {
            if is_named(&fate) && (!ordered || kept.is_empty()) {
                self.frames -= usize::from(matches!(fate, Fate::Frame(_)));
                taken.push(fate);
            } else if self.frames > FRAMES_MAX && matches!(fate, Fate::Frame(_)) {
                self.frames -= 1;
                put(&mut kept, Fate::Lost(1, LossReason::Overflow));
            } else {
                put(&mut kept, fate);
            }
        }
        self.fates = kept;
        taken
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.fates.is_empty()
    }
}

/// Losses for the same reason are one.
fn put(fates: &mut VecDeque<Fate>, fate: Fate) {
    match (fates.back_mut(), &fate) {
        (Some(Fate::Lost(count, same)), Fate::Lost(more, reason)) if same == reason => *count += more,
        _ => fates.push_back(fate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn frame(number: usize) -> Fate {
        Fate::Frame(vec![number as u8])
    }

    fn lost(count: u64) -> Fate {
        Fate::Lost(count, LossReason::RepairWindow)
    }

    #[test]
    fn what_has_no_name_waits_and_holds_up_an_ordered_stream_only() {
        for ordered in [false, true] {
            let mut unnamed = Unnamed::default();
            unnamed.push(vec![frame(1), lost(1), lost(2), frame(2)]);
            let early = unnamed.take(ordered, |fate| *fate == frame(2));
            assert_eq!(early, if ordered { vec![] } else { vec![frame(2)] });
            assert!(!unnamed.is_empty());
            let later = unnamed.take(ordered, |_| true);
            let all = [frame(1), lost(3), frame(2)];
            assert_eq!(later, if ordered { &all[..] } else { &all[..2] });
            assert!(unnamed.is_empty());
        }
    }

    #[test]
    fn of_too_many_the_oldest_are_lost_and_none_is_forgotten() {
        let mut unnamed = Unnamed::default();
        for number in 0..FRAMES_MAX + 10 {
            unnamed.push(vec![frame(number)]);
            assert_eq!(unnamed.take(true, |_| false), []);
        }
        let fates = unnamed.take(true, |_| true);
        assert_eq!(fates[..2], [Fate::Lost(10, LossReason::Overflow), frame(10)]);
        assert_eq!(fates.len(), 1 + FRAMES_MAX);
    }
}
