//! A queue that keeps the newest message of each topic and key: a newer one takes the older one's place.
//!
//! The place stays the same, so a topic that changes often does not keep the others from being sent. Frames are copied
//! in: a slow reader of single values must not hold whole receive buffers.

use std::collections::{HashMap, VecDeque};

use laneway_proto::time::Instant;

/// What is replaced by what: a topic's id and the frame's conflation key.
pub type ConflationKey = (u32, u16);

#[derive(Debug)]
struct Slot {
    key: ConflationKey,
    /// One whole frame; its memory is kept for the next one.
    frame: Vec<u8>,
    messages: u32,
    deadline: Instant,
}

/// A frame that left its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Left {
    /// Its topic.
    pub topic: u32,
    /// Messages in it.
    pub messages: u32,
    /// Until when it was worth sending.
    pub deadline: Instant,
}

/// The newest frame of each key, in the order in which the keys came.
#[derive(Debug, Default)]
pub struct Newest {
    slots: Vec<Slot>,
    free: Vec<u32>,
    order: VecDeque<u32>,
    index: HashMap<ConflationKey, u32>,
    bytes: u64,
}

impl Newest {
    /// Bytes of all frames.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Puts a frame in; returns the messages of the one it replaced, 0 if there was none.
    pub fn put(&mut self, key: ConflationKey, frame: &[u8], messages: u32, deadline: Instant) -> u32 {
        self.bytes += frame.len() as u64;
        if let Some(&place) = self.index.get(&key) {
            let slot = &mut self.slots[place as usize];
            self.bytes -= slot.frame.len() as u64;
            slot.frame.clear();
            slot.frame.extend_from_slice(frame);
            slot.deadline = deadline;
            return std::mem::replace(&mut slot.messages, messages);
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { key, frame: Vec::new(), messages: 0, deadline });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[place as usize];
        (slot.key, slot.messages, slot.deadline) = (key, messages, deadline);
        slot.frame.extend_from_slice(frame);
        self.index.insert(key, place);
        self.order.push_back(place);
        0
    }

    /// Takes a key's frame out; returns its messages, 0 if there is none.
    pub fn remove(&mut self, key: ConflationKey) -> u32 {
        let Some(place) = self.index.remove(&key) else { return 0 };
        self.order.retain(|&other| other != place);
        let slot = &mut self.slots[place as usize];
        self.bytes -= slot.frame.len() as u64;
        slot.frame.clear();
        self.free.push(place);
        slot.messages
    }

    /// The frame in front, and what it is.
    pub fn front(&self) -> Option<(&[u8], Left)> {
        let slot = &self.slots[*self.order.front()? as usize];
        Some((&slot.frame, Left { topic: slot.key.0, messages: slot.messages, deadline: slot.deadline }))
    }

    /// The topic of each frame.
    pub fn topics(&self) -> impl Iterator<Item = u32> {
        self.order.iter().map(|&place| self.slots[place as usize].key.0)
    }

    /// Drops the frame in front.
    pub fn pop(&mut self) {
        let Some(place) = self.order.pop_front() else { return };
        let slot = &mut self.slots[place as usize];
        self.bytes -= slot.frame.len() as u64;
        slot.frame.clear();
        self.index.remove(&slot.key);
        self.free.push(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NEVER: Instant = Instant(u64::MAX);

    #[test]
    fn a_newer_value_takes_the_place_of_the_older_one_and_not_the_end_of_the_line() {
        let mut newest = Newest::default();
        assert_eq!(newest.put((1, 0), b"old", 1, NEVER), 0);
        assert_eq!(newest.put((2, 0), b"other", 1, NEVER), 0);
        assert_eq!(newest.put((1, 7), b"other key", 2, NEVER), 0);
        assert_eq!(newest.put((1, 0), b"newer", 3, NEVER), 1);
        assert_eq!(newest.bytes(), 19);
        let mut left = Vec::new();
        while let Some((frame, _)) = newest.front() {
            left.push(frame.to_vec());
            newest.pop();
        }
        assert_eq!(left, [&b"newer"[..], b"other", b"other key"]);
        assert_eq!((newest.bytes(), newest.is_empty()), (0, true));
    }

    #[test]
    fn a_value_that_is_overtaken_otherwise_is_taken_out() {
        let mut newest = Newest::default();
        newest.put((1, 0), b"one", 2, NEVER);
        newest.put((2, 0), b"two", 1, NEVER);
        assert_eq!((newest.remove((1, 0)), newest.remove((1, 0))), (2, 0));
        assert_eq!((newest.front().map(|(frame, _)| frame.to_vec()), newest.bytes()), (Some(b"two".to_vec()), 3));
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_list_of_keys_and_values(steps in proptest::collection::vec((any::<bool>(), 0u32..6, any::<u8>()), 0..200)) {
            let mut newest = Newest::default();
            let mut model: Vec<(u32, u8)> = Vec::new();
            for (put, topic, value) in steps {
                if put {
                    newest.put((topic, 0), &[value], 1, NEVER);
                    match model.iter_mut().find(|(known, _)| *known == topic) {
                        Some(entry) => entry.1 = value,
                        None => model.push((topic, value)),
                    }
                } else {
                    newest.pop();
                    if !model.is_empty() {
                        model.remove(0);
                    }
                }
                let front = newest.front().map(|(frame, left)| (left.topic, frame[0]));
                prop_assert_eq!(front, model.first().copied());
                prop_assert_eq!(newest.bytes(), model.len() as u64);
            }
        }
    }
}
