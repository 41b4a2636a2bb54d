//! Lists through a table of frames: no memory of their own but their ends.

use super::super::sent::{FrameIndex, NO_FRAME};
use super::FrameSlot;

/// First in, first out, through `next`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(super) struct Queue {
    first: FrameIndex,
    last: FrameIndex,
}

impl Queue {
    pub(super) const EMPTY: Self = Self { first: NO_FRAME, last: NO_FRAME };

    pub(super) fn first(&self) -> Option<FrameIndex> {
        (self.first != NO_FRAME).then_some(self.first)
    }

    pub(super) fn push_back(&mut self, frames: &mut [FrameSlot], index: FrameIndex) {
        frames[usize::from(index)].next = NO_FRAME;
        if self.first == NO_FRAME {
            self.first = index;
        } else {
            frames[usize::from(self.last)].next = index;
        }
        self.last = index;
    }

    pub(super) fn push_front(&mut self, frames: &mut [FrameSlot], index: FrameIndex) {
        frames[usize::from(index)].next = self.first;
        if self.first == NO_FRAME {
            self.last = index;
        }
        self.first = index;
    }

    /// The first one, or [`NO_FRAME`].
    pub(super) fn pop_front(&mut self, frames: &mut [FrameSlot]) -> FrameIndex {
        let index = self.first;
        if index != NO_FRAME {
            self.first = frames[usize::from(index)].next;
            frames[usize::from(index)].next = NO_FRAME;
        }
        index
    }

    /// Takes one out that may stand anywhere.
    pub(super) fn remove(&mut self, frames: &mut [FrameSlot], index: FrameIndex) {
        let before = unlink(frames, &mut self.first, index);
        if self.last == index {
            self.last = before;
        }
    }
}

/// Takes `index` out of the list that begins at `first`; returns the one before it.
pub(super) fn unlink(frames: &mut [FrameSlot], first: &mut FrameIndex, index: FrameIndex) -> FrameIndex {
    let (mut before, mut at) = (NO_FRAME, *first);
    while at != index {
        debug_assert!(at != NO_FRAME, "frame {index} is not in the list");
        (before, at) = (at, frames[usize::from(at)].next);
    }
    let next = frames[usize::from(index)].next;
    if before == NO_FRAME {
        *first = next;
    } else {
        frames[usize::from(before)].next = next;
    }
    frames[usize::from(index)].next = NO_FRAME;
    before
}

/// A lane's frames, through `older` and `newer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(super) struct Chain {
    first: FrameIndex,
    last: FrameIndex,
}

impl Chain {
    pub(super) const EMPTY: Self = Self { first: NO_FRAME, last: NO_FRAME };

    pub(super) fn first(&self) -> Option<FrameIndex> {
        (self.first != NO_FRAME).then_some(self.first)
    }

    pub(super) fn push_back(&mut self, frames: &mut [FrameSlot], index: FrameIndex) {
        self.insert_behind(frames, self.last, index);
    }

    /// Puts one behind `before`, or first if that is [`NO_FRAME`].
    pub(super) fn insert_behind(&mut self, frames: &mut [FrameSlot], before: FrameIndex, index: FrameIndex) {
        let behind = if before == NO_FRAME { self.first } else { frames[usize::from(before)].newer };
        let slot = &mut frames[usize::from(index)];
        (slot.older, slot.newer) = (before, behind);
        match before {
            NO_FRAME => self.first = index,
            before => frames[usize::from(before)].newer = index,
        }
        match behind {
            NO_FRAME => self.last = index,
            behind => frames[usize::from(behind)].older = index,
        }
    }

    pub(super) fn remove(&mut self, frames: &mut [FrameSlot], index: FrameIndex) {
        let FrameSlot { older, newer, .. } = frames[usize::from(index)];
        match older {
            NO_FRAME => self.first = newer,
            older => frames[usize::from(older)].newer = newer,
        }
        match newer {
            NO_FRAME => self.last = older,
            newer => frames[usize::from(newer)].older = older,
        }
        let slot = &mut frames[usize::from(index)];
        (slot.older, slot.newer) = (NO_FRAME, NO_FRAME);
    }
}
