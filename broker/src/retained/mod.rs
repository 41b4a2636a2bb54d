//! Last values: what was published to be kept, by topic.
//!
//! Every shard keeps its own copy and is fed every run that asks to be kept, so a subscriber finds in its own shard what
//! it will see changed from there on. Which of two values is the newer one is told by a stamp that the whole broker
//! counts; so all shards end up with the same value, in whichever order the runs reached them.

mod halves;
pub mod replay;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use laneway_proto::frame::extensions::Extensions;
use laneway_proto::header::{Flags, Header};
use laneway_proto::limits::HEADER_BYTES;
use laneway_proto::time::Instant;
use laneway_proto::topic;

use self::halves::{Halves, Part, Whole};
use crate::intern::TopicIndex;
use crate::slab::Key;

/// The time to live of messages that are worth sending however late.
pub const TTL_NEVER: u32 = u32::MAX;
/// Deleted topics of which the stamp is remembered, so that an older value that comes late does not revive them.
const GRAVES_MAX: usize = 1_024;

/// Names a publisher for as long as it is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Publisher {
    /// The shard that owns its connection.
    pub shard: u8,
    /// Its connection on that shard.
    pub key: Key,
}

/// What is known of a frame that is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct Note<'a> {
    /// Its topic.
    pub topic: TopicIndex,
    /// The topic's name.
    pub name: &'a Arc<str>,
    /// Who published it.
    pub publisher: Publisher,
    /// Its place in the order of everything that the broker was asked to keep.
    pub stamp: u64,
    /// Its lane.
    pub lane: u8,
    /// Milliseconds it is worth sending: 0 as long as its lane says, [`TTL_NEVER`] however late.
    pub ttl_ms: u32,
    /// The time.
    pub now: Instant,
}

/// What became of a frame that was to be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// It is its topic's value.
    Stored,
    /// Its topic has no value any more.
    Deleted,
    /// It is a part of a message that is not whole yet, or of one that is not kept.
    Part,
    /// A newer one was there already.
    Outdated,
    /// There is no room. Its topic has no value now: an older one would be a false one.
    Refused,
}

/// A topic's last value.
#[derive(Debug)]
struct Value {
    /// Its frames, whole and in order, marked as a replay.
    frames: Vec<u8>,
    lane: u8,
    publisher: Publisher,
    ttl_ms: u32,
    /// When it was taken.
    since: Instant,
}

impl Value {
    /// Milliseconds it is still worth sending; `None` if that is over.
    fn ttl_ms_left(&self, now: Instant) -> Option<u32> {
        if matches!(self.ttl_ms, 0 | TTL_NEVER) {
            return Some(self.ttl_ms);
        }
        let age_ms = u32::try_from(now.since(self.since).as_millis()).unwrap_or(u32::MAX);
        self.ttl_ms.checked_sub(age_ms).filter(|&left| left > 0)
    }
}

#[derive(Debug)]
struct Entry {
    name: Arc<str>,
    /// Of the value, or of its end.
    stamp: u64,
    /// The shard's own count of changes when this one changed.
    changed: u64,
    value: Option<Value>,
}

/// Frames to be replayed to a new subscriber.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Whole frames.
    pub frames: &'a [u8],
    /// Their lane.
    pub lane: u8,
    /// Who published them.
    pub publisher: Publisher,
    /// Milliseconds they are still worth sending; 0 and [`TTL_NEVER`] as in a [`Note`].
    pub ttl_ms: u32,
}

/// The last values of a shard.
///
/// Invariants: `names` holds exactly the entries' names; `bytes` is the sum of all values' and halves' frames and at most
/// `bytes_max`; at most `topics_max` entries have a value.
#[derive(Debug)]
pub struct Retained {
    entries: HashMap<TopicIndex, Entry>,
    names: BTreeMap<Arc<str>, TopicIndex>,
    halves: Halves,
    values: u32,
    /// Of values; halves count their own.
    bytes: u64,
    changes: u64,
    graves: VecDeque<(TopicIndex, u64)>,
    topics_max: u32,
    bytes_max: u64,
}

impl Retained {
    /// A store without values.
    pub fn new(topics_max: u32, bytes_max: u64) -> Self {
        Self {
            entries: HashMap::new(),
            names: BTreeMap::new(),
            halves: Halves::default(),
            values: 0,
            bytes: 0,
            changes: 0,
            graves: VecDeque::new(),
            topics_max,
            bytes_max,
        }
    }

    /// Topics with a value.
    pub const fn topics(&self) -> u32 {
        self.values
    }

    /// Bytes of all frames kept, those of unfinished messages included.
    pub const fn bytes(&self) -> u64 {
        self.bytes + self.halves.bytes()
    }

    /// The shard's count of changes: what is asked for now stands before every later one.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes one whole, checked data frame that asks to be kept.
    pub fn put(&mut self, note: &Note<'_>, frame: &[u8]) -> Kept {
        let header = frame.first_chunk::<HEADER_BYTES>().map(Header::decode);
        let Some(Ok(header)) = header else { unreachable!("a routed frame has a valid header") };
        let Ok((extensions, payload)) = Extensions::decode(header.flags, &frame[HEADER_BYTES..]) else {
            unreachable!("a routed frame has valid extensions");
        };
        self.changes += 1;
        let Some(frag) = extensions.frag else {
            self.halves.forget(note.publisher, note.lane);
            return if payload.is_empty() { self.delete(note) } else { self.store(note, frame) };
        };
        let src = extensions.src.unwrap_or_else(|| unreachable!("a fragment without a source is not routed"));
        self.halves.make_room(frame.len() as u64, self.bytes_max.saturating_sub(self.bytes));
        let Note { topic, publisher, lane, ttl_ms, .. } = *note;
        let part = Part { topic, publisher, lane, ttl_ms, seq: src.seq, frag };
        match self.halves.put(part, frame, self.bytes_max.saturating_sub(self.bytes), self.changes) {
            Whole::NotYet => {
                // A subscriber that comes now has to find the topic by its name.
                if !self.entries.contains_key(&note.topic) {
                    self.entry(note);
                    self.dig(note.topic, 0);
                }
                Kept::Part
            }
            Whole::Never if frag.index + 1 < frag.count => Kept::Part,
            Whole::Never => self.refuse(note),
            Whole::Yes(frames) => {
                let kept = self.store(note, &frames);
                self.halves.recycle(frames);
                kept
            }
        }
    }

    /// A publisher is gone: what it has not finished is forgotten. True if there was something.
    pub fn forget(&mut self, publisher: Publisher) -> bool {
        self.halves.forget_all(publisher)
    }

    /// Forgets a value whose time is over; true if there was one.
    pub fn expire(&mut self, topic: TopicIndex, now: Instant) -> bool {
        let Some(entry) = self.entries.get(&topic) else { return false };
        let over = entry.value.as_ref().is_some_and(|value| value.ttl_ms_left(now).is_none());
        if over {
            let stamp = entry.stamp;
            self.bury(topic, stamp);
        }
        over
    }

    /// Whether a topic had something, `since` changes ago, that has not changed.
    pub fn stands(&self, topic: TopicIndex, since: u64) -> bool {
        let value = |entry: &Entry| entry.value.is_some() && entry.changed <= since;
        self.entries.get(&topic).is_some_and(value) || self.halves.of(topic, since).next().is_some()
    }

    /// What a subscriber of `since` changes ago is to be sent of a topic: the value, then the beginning of what is under
    /// way.
    pub fn pieces(&self, topic: TopicIndex, since: u64, now: Instant) -> impl Iterator<Item = Piece<'_>> {
        let entry = self.entries.get(&topic).filter(move |entry| entry.changed <= since);
        let value = entry.and_then(|entry| entry.value.as_ref()).and_then(move |value| {
            let ttl_ms = value.ttl_ms_left(now)?;
            Some(Piece { frames: &value.frames, lane: value.lane, publisher: value.publisher, ttl_ms })
        });
        value.into_iter().chain(self.halves.of(topic, since))
    }

    /// The first topic behind the name `after` that `filter` matches. Looks at `budget` names at most.
    fn find(&self, filter: &str, after: Option<&str>, budget: &mut u32) -> Found {
        let prefix = literal_prefix(filter);
        if prefix == filter {
            let known = if after.is_none() { self.names.get_key_value(filter) } else { None };
            *budget = budget.saturating_sub(1);
            return known.map_or(Found::End, |(name, &topic)| Found::Topic(topic, Arc::clone(name)));
        }
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let mut last = None;
        for (name, &topic) in self.names.range::<str, _>((from, Bound::Unbounded)) {
            if !name.starts_with(prefix) {
                return Found::End;
            }
            if *budget == 0 {
                return Found::Later(last);
            }
            *budget -= 1;
            if topic::matches(filter, name) {
                return Found::Topic(topic, Arc::clone(name));
            }
            last = Some(Arc::clone(name));
        }
        Found::End
    }

    fn store(&mut self, note: &Note<'_>, frames: &[u8]) -> Kept {
        let known = self.entries.get(&note.topic);
        if known.is_some_and(|entry| entry.stamp > note.stamp) {
            return Kept::Outdated;
        }
        let old = known.and_then(|entry| entry.value.as_ref());
        let (is_new, old_bytes) = (old.is_none(), old.map_or(0, |value| value.frames.len() as u64));
        let values_bytes = self.bytes - old_bytes + frames.len() as u64;
        if values_bytes > self.bytes_max || is_new && self.values >= self.topics_max {
            return self.refuse(note);
        }
        self.halves.make_room(0, self.bytes_max - values_bytes);
        (self.bytes, self.values) = (values_bytes, self.values + u32::from(is_new));
        let changed = self.changes;
        let entry = self.entry(note);
        (entry.stamp, entry.changed) = (note.stamp, changed);
        // The memory of the value before is used again.
        let mut place = entry.value.take().map(|value| value.frames).unwrap_or_default();
        place.clear();
        if place.capacity() > 2 * frames.len() + HEADER_BYTES {
            place.shrink_to(frames.len());
        }
        place.extend_from_slice(frames);
        mark_replay(&mut place);
        let Note { lane, publisher, ttl_ms, now: since, .. } = *note;
        entry.value = Some(Value { frames: place, lane, publisher, ttl_ms, since });
        Kept::Stored
    }

    fn delete(&mut self, note: &Note<'_>) -> Kept {
        if self.entries.get(&note.topic).is_some_and(|entry| entry.stamp > note.stamp) {
            return Kept::Outdated;
        }
        self.entry(note);
        self.bury(note.topic, note.stamp);
        Kept::Deleted
    }

    fn refuse(&mut self, note: &Note<'_>) -> Kept {
        if self.entries.contains_key(&note.topic) {
            self.delete(note);
        }
        Kept::Refused
    }

    /// Takes a topic's value away and remembers when.
    fn bury(&mut self, topic: TopicIndex, stamp: u64) {
        let changed = self.changes;
        let Some(entry) = self.entries.get_mut(&topic) else { return };
        (entry.stamp, entry.changed) = (stamp, changed);
        if let Some(value) = entry.value.take() {
            self.bytes -= value.frames.len() as u64;
            self.values -= 1;
        }
        self.dig(topic, stamp);
    }

    /// Remembers a topic without a value; forgets the one that was remembered longest if there are too many.
    fn dig(&mut self, topic: TopicIndex, stamp: u64) {
        self.graves.push_back((topic, stamp));
        if self.graves.len() <= GRAVES_MAX {
            return;
        }
        let Some((oldest, stamp)) = self.graves.pop_front() else { return };
        if self.halves.of(oldest, u64::MAX).next().is_some() {
            self.graves.push_back((oldest, stamp));
        } else if self.entries.get(&oldest).is_some_and(|entry| entry.value.is_none() && entry.stamp == stamp)
            && let Some(entry) = self.entries.remove(&oldest)
        {
            self.names.remove(&entry.name);
        }
    }

    /// The topic's entry, made if there is none.
    fn entry(&mut self, note: &Note<'_>) -> &mut Entry {
        let Self { entries, names, .. } = self;
        entries.entry(note.topic).or_insert_with(|| {
            names.insert(Arc::clone(note.name), note.topic);
            Entry { name: Arc::clone(note.name), stamp: 0, changed: 0, value: None }
        })
    }
}

/// Where a search got.
enum Found {
    /// This topic, of this name, matches.
    Topic(TopicIndex, Arc<str>),
    /// The budget is used up; go on behind this name, or where this search began.
    Later(Option<Arc<str>>),
    /// No further topic matches.
    End,
}

/// The part of a filter that every name it matches begins with; all of it if it has no wildcard.
fn literal_prefix(filter: &str) -> &str {
    let mut at = 0;
    for level in filter.split('/') {
        match level {
            "+" => return &filter[..at],
            // `a/#` matches `a`, too.
            "#" => return &filter[..at.saturating_sub(1)],
            _ => at += level.len() + 1,
        }
    }
    filter
}

/// Marks every frame as one that is sent once more.
fn mark_replay(frames: &mut [u8]) {
    let mut at = 0;
    while let Some([l0, l1, _, flags]) = frames.get_mut(at..at + 4) {
        *flags |= Flags::RETX.0;
        at += usize::from(u16::from_le_bytes([*l0, *l1]));
    }
}

#[cfg(test)]
mod tests;
