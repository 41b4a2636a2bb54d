//! Topic names and their broker-wide ids: the one table that all shards share.
//!
//! It is touched when a session declares a topic and when a shard first meets an id, never per message: each shard keeps
//! its own copy of the names it has met. Ids are never reused while the broker runs, so a stale copy cannot be wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use laneway_proto::limits::TOPIC_ID_DYNAMIC_FIRST;

/// Names a topic within this broker: the id on the wire, less the first dynamic id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct TopicIndex(pub u32);

impl TopicIndex {
    /// The id that travels in frames to subscribers.
    pub const fn wire(self) -> u32 {
        TOPIC_ID_DYNAMIC_FIRST + self.0
    }

    /// From an id that this broker wrote into a frame.
    pub const fn from_wire(id: u32) -> Option<Self> {
        match id.checked_sub(TOPIC_ID_DYNAMIC_FIRST) {
            Some(index) => Some(Self(index)),
            None => None,
        }
    }
}

#[derive(Debug, Default)]
struct Table {
    by_name: HashMap<Arc<str>, TopicIndex>,
    names: Vec<Arc<str>>,
}

/// The table.
#[derive(Debug)]
pub struct Intern {
    table: Mutex<Table>,
    topics_max: u32,
}

impl Intern {
    /// An empty table for at most `topics_max` names.
    pub fn new(topics_max: u32) -> Self {
        Self { table: Mutex::default(), topics_max }
    }

    /// Names in it.
    pub fn len(&self) -> u32 {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).names.len() as u32
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index of `name`, new or known; `None` when the table is full.
    pub fn intern(&self, name: &str) -> Option<TopicIndex> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&index) = table.by_name.get(name) {
            return Some(index);
        }
        let index = TopicIndex(u32::try_from(table.names.len()).ok().filter(|&count| count < self.topics_max)?);
        let name: Arc<str> = name.into();
        table.names.push(Arc::clone(&name));
        table.by_name.insert(name, index);
        Some(index)
    }

    /// The name behind an index that some shard interned.
    pub fn name(&self, index: TopicIndex) -> Option<Arc<str>> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.names.get(index.0 as usize).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_index_and_the_table_is_bounded() {
        let intern = Intern::new(2);
        assert_eq!(intern.intern("a"), Some(TopicIndex(0)));
        assert_eq!(intern.intern("b"), Some(TopicIndex(1)));
        assert_eq!(intern.intern("c"), None, "full");
        assert_eq!(intern.intern("a"), Some(TopicIndex(0)), "known names still work");
        assert_eq!(intern.name(TopicIndex(1)).as_deref(), Some("b"));
        assert_eq!(TopicIndex::from_wire(TopicIndex(7).wire()), Some(TopicIndex(7)));
        assert_eq!(TopicIndex::from_wire(3), None);
    }
}
