//! US lanes: which keys (topic and conflation key) have had which number last.

use crate::lane::sequencer::{NewestOnly, forward};
use crate::limits::{LANES_MAX, SEQUENCE_STALE_MS};
use crate::time::{Duration, Instant};

/// Places looked at for one key.
const WAYS: usize = 8;

/// A place for one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NewestSlot {
    /// 0: free.
    lane: u8,
    ckey: u16,
    topic: u32,
    seq: u32,
    at: Instant,
    newest: NewestOnly,
}

/// The keys that are remembered, in the caller's storage. Of a key that had to go, its lane remembers how far it had come:
/// nothing older is taken of a key that is not known.
#[derive(Debug)]
pub(super) struct Newest<K> {
    keys: K,
    /// By lane, the newest number of a key that was forgotten, and when; 0: none was.
    forgotten: [(u32, Instant); LANES_MAX],
}

impl<K: AsRef<[NewestSlot]> + AsMut<[NewestSlot]>> Newest<K> {
    pub(super) fn new(mut keys: K) -> Self {
        keys.as_mut().fill(NewestSlot::default());
        Self { keys, forgotten: [(0, Instant(0)); LANES_MAX] }
    }

    /// Whether to deliver number `seq` of a key.
    pub(super) fn accepts(&mut self, now: Instant, lane: u8, topic: u32, ckey: u16, seq: u32) -> bool {
        let stale = Duration::from_millis(SEQUENCE_STALE_MS);
        let keys = self.keys.as_mut();
        if keys.is_empty() {
            return false;
        }
        let start = hash(lane, topic, ckey) as usize % keys.len();
        let ways = WAYS.min(keys.len());
        let mut victim = start;
        let mut free = None;
        for step in 0..ways {
            let place = (start + step) % keys.len();
            let oldest = keys[victim].at;
            let slot = &mut keys[place];
            if (slot.lane, slot.topic, slot.ckey) == (lane, topic, ckey) {
                let fresh = slot.newest.accepts(now, seq, stale);
                if fresh {
                    (slot.seq, slot.at) = (seq, now);
                }
                return fresh;
            }
            if slot.lane == 0 {
                free = free.or(Some(place));
            } else if slot.at < oldest {
                victim = place;
            }
        }
        let (floor, since) = self.forgotten[usize::from(lane)];
        let older = floor != 0 && forward(floor, seq).is_none_or(|steps| steps == 0);
        if older && now.since(since) < stale {
            return false;
        }
        let place = free.unwrap_or(victim);
        let slot = &mut keys[place];
        if slot.lane != 0 {
            let (floor, since) = &mut self.forgotten[usize::from(slot.lane)];
            if *floor == 0 || forward(*floor, slot.seq).is_some() {
                (*floor, *since) = (slot.seq, slot.at);
            }
        }
        let mut newest = NewestOnly::new();
        let fresh = newest.accepts(now, seq, stale);
        *slot = NewestSlot { lane, ckey, topic, seq, at: now, newest };
        fresh
    }
}

const fn hash(lane: u8, topic: u32, ckey: u16) -> u32 {
    let mixed = topic ^ (ckey as u32) << 16 ^ (lane as u32) << 11;
    mixed.wrapping_mul(0x9E37_79B1).rotate_right(15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_forgotten_never_goes_back() {
        let mut newest = Newest::new([NewestSlot::default(); 2]);
        let mut take = |topic, seq| newest.accepts(Instant(u64::from(seq)), 3, topic, 0, seq);
        assert!(take(1, 10) && take(2, 11) && take(3, 12), "the key of topic 1 goes");
        assert!(!take(1, 9) && !take(1, 10), "what it had is not forgotten");
        assert!(take(1, 13) && !take(1, 13) && !take(1, 12));
    }

    #[test]
    fn keys_are_told_apart_by_topic_key_and_lane() {
        let mut newest = Newest::new([NewestSlot::default(); 64]);
        for (lane, topic, ckey) in [(3, 1, 0), (3, 1, 1), (3, 2, 0), (4, 1, 0)] {
            assert!(newest.accepts(Instant(1), lane, topic, ckey, 5), "{lane} {topic} {ckey}");
        }
        assert!(!newest.accepts(Instant(1), 3, 1, 1, 5));
    }
}
