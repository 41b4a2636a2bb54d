//! The table of topics and filters.

use crate::config::Subscription;

/// What is to be said of an entry, and what was.
pub(crate) const RETAIN: u8 = 1;
pub(crate) const FILTER: u8 = 2;
/// The host has its name.
pub(crate) const KNOWN: u8 = 4;
pub(crate) const SAY_TOPIC: u8 = 8;
pub(crate) const SAY_SUB: u8 = 16;
pub(crate) const SAY_UNSUB: u8 = 32;
/// This host cannot be told: its frames are too small.
pub(crate) const UNFIT: u8 = 64;

/// One topic or filter; without a name the place is free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Option<&'static str>,
    pub(crate) subscription: Option<&'static Subscription>,
    pub(crate) bits: u8,
}

impl Entry {
    pub(crate) const FREE: Self = Self { name: None, subscription: None, bits: 0 };

    pub(crate) const fn is(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    /// A session is open: everything is to be said again.
    pub(crate) fn open(&mut self) {
        let say_topic = if self.is(FILTER) { 0 } else { SAY_TOPIC };
        let say_sub = if self.subscription.is_some() { SAY_SUB } else { 0 };
        self.bits = self.bits & (RETAIN | FILTER) | say_topic | say_sub;
        if self.is(FILTER) && self.subscription.is_none() {
            *self = Self::FREE;
        }
    }
}

/// Whether a name is a filter.
pub(crate) fn is_filter(name: &str) -> bool {
    name.as_bytes().iter().any(|byte| matches!(byte, b'+' | b'#'))
}

/// The place of a name, or a free one.
pub(crate) fn place(topics: &[Entry], name: &str) -> Option<usize> {
    let find = |wanted: Option<&str>| topics.iter().position(|entry| entry.name == wanted);
    find(Some(name)).or_else(|| find(None))
}
