//! Which connection wants to be looked at when.
//!
//! Deadlines are rare (handshakes, incomplete frames, blocked outboxes), so a heap serves; an idle broker has none and
//! sleeps for good. Entries are never removed early: the owner checks at the time whether anything is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use laneway_proto::time::Instant;

use crate::slab::Key;

/// Deadlines of a shard, earliest first.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Key)>>,
}

impl Timers {
    /// Wants `key` looked at when `at` has come.
    pub fn set(&mut self, at: Instant, key: Key) {
        self.heap.push(Reverse((at, key)));
    }

    /// How many are set.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|&Reverse((at, _))| at)
    }

    /// Takes one that is due at `now`.
    pub fn poll(&mut self, now: Instant) -> Option<Key> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, key))| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_due_in_their_order_and_not_before() {
        let key = |slot| Key { slot, generation: 0 };
        let mut timers = Timers::default();
        timers.set(Instant(30), key(3));
        timers.set(Instant(10), key(1));
        assert_eq!(timers.next(), Some(Instant(10)));
        assert_eq!(timers.poll(Instant(9)), None);
        assert_eq!(timers.poll(Instant(30)), Some(key(1)));
        assert_eq!(timers.poll(Instant(30)), Some(key(3)));
        assert_eq!(timers.poll(Instant(30)), None);
    }
}
