//! Topic filters as a trie of levels: finding what matches a name costs its depth, not the number of filters.

use std::collections::HashMap;

use super::{SubOptions, Subscriber};

/// One subscription at a filter's node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Who.
    pub subscriber: Subscriber,
    /// When, compared with others.
    pub order: u64,
    /// How it wants to be served.
    pub options: SubOptions,
    /// Subscriptions this stands for; more than 1 for other shards only.
    pub count: u32,
    /// Whether it is in effect.
    pub active: bool,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, Self>,
    /// The `+` child.
    plus: Option<Box<Self>>,
    /// Filters that end here.
    here: Vec<Entry>,
    /// Filters that end here with `/#`.
    tail: Vec<Entry>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.here.is_empty() && self.tail.is_empty()
    }

    fn child_for(&mut self, level: &str) -> &mut Self {
        if level == "+" {
            return self.plus.get_or_insert_default();
        }
        if !self.children.contains_key(level) {
            self.children.insert(level.into(), Self::default());
        }
        self.children.get_mut(level).expect("inserted above")
    }

    /// Removes a subscription below this node; nodes that become empty go with it.
    fn remove(&mut self, mut levels: std::str::Split<'_, char>, subscriber: Subscriber) -> bool {
        let Some(level) = levels.next() else { return drop_one(&mut self.here, subscriber) };
        if level == "#" {
            return drop_one(&mut self.tail, subscriber);
        }
        let child = if level == "+" { self.plus.as_deref_mut() } else { self.children.get_mut(level) };
        let Some(child) = child else { return false };
        let removed = child.remove(levels, subscriber);
        if child.is_empty() {
            if level == "+" {
                self.plus = None;
            } else {
                self.children.remove(level);
            }
        }
        removed
    }

    fn collect(&self, mut levels: std::str::Split<'_, char>, wildcards: bool, out: &mut Vec<Entry>) {
        if wildcards {
            out.extend_from_slice(&self.tail);
        }
        let Some(level) = levels.next() else {
            out.extend_from_slice(&self.here);
            return;
        };
        if let Some(child) = self.children.get(level) {
            child.collect(levels.clone(), true, out);
        }
        if let (Some(plus), true) = (&self.plus, wildcards) {
            plus.collect(levels, true, out);
        }
    }

    fn entries(&self) -> usize {
        let below: usize = self.children.values().chain(self.plus.as_deref()).map(Self::entries).sum();
        below + self.here.len() + self.tail.len()
    }
}

fn drop_one(entries: &mut Vec<Entry>, subscriber: Subscriber) -> bool {
    let Some(place) = entries.iter().position(|entry| entry.subscriber == subscriber) else { return false };
    entries[place].count -= 1;
    if entries[place].count == 0 {
        entries.swap_remove(place);
    }
    true
}

/// All filters of a shard.
#[derive(Debug, Default)]
pub struct Trie {
    root: Node,
}

impl Trie {
    /// Adds a subscription to a valid filter. Of one that is there already, a local session's takes the new options and
    /// another shard's is counted; then the answer is false.
    pub fn add(&mut self, filter: &str, new: Entry) -> bool {
        let mut node = &mut self.root;
        let mut tail = false;
        for level in filter.split('/') {
            if level == "#" {
                tail = true;
                break;
            }
            node = node.child_for(level);
        }
        let entries = if tail { &mut node.tail } else { &mut node.here };
        let Some(known) = entries.iter_mut().find(|entry| entry.subscriber == new.subscriber) else {
            entries.push(new);
            return true;
        };
        match new.subscriber {
            Subscriber::Local(_) => {
                known.options = new.options;
                known.active |= new.active;
            }
            Subscriber::Remote(_) => known.count += 1,
        }
        false
    }

    /// Puts a subscription into effect; false if there is none.
    pub fn activate(&mut self, filter: &str, subscriber: Subscriber) -> bool {
        let mut node = &mut self.root;
        let mut tail = false;
        for level in filter.split('/') {
            if level == "#" {
                tail = true;
                break;
            }
            let child = if level == "+" { node.plus.as_deref_mut() } else { node.children.get_mut(level) };
            let Some(child) = child else { return false };
            node = child;
        }
        let entries = if tail { &mut node.tail } else { &mut node.here };
        let known = entries.iter_mut().find(|entry| entry.subscriber == subscriber);
        known.map(|entry| entry.active = true).is_some()
    }

    /// Removes a subscription, or one of its count.
    pub fn remove(&mut self, filter: &str, subscriber: Subscriber) -> bool {
        self.root.remove(filter.split('/'), subscriber)
    }

    /// Appends every subscription whose filter matches `name`.
    pub fn collect(&self, name: &str, out: &mut Vec<Entry>) {
        self.root.collect(name.split('/'), !name.starts_with('$'), out);
    }

    /// Subscriptions held.
    pub fn entries(&self) -> usize {
        self.root.entries()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laneway_proto::topic;

    /// Small deterministic generator; the seed is printed when the test fails.
    fn words(seed: &mut u64, alphabet: &[&str], levels_max: u64) -> String {
        let mut next = |below: u64| {
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            *seed % below
        };
        let levels = 1 + next(levels_max);
        (0..levels).map(|_| alphabet[next(alphabet.len() as u64) as usize]).collect::<Vec<_>>().join("/")
    }

    #[test]
    fn the_trie_finds_exactly_what_the_plain_matcher_finds() {
        let mut seed = 0x1234_5678_9abc_def1;
        let mut trie = Trie::default();
        let mut filters = Vec::new();
        for slot in 0..400 {
            let mut filter = words(&mut seed, &["a", "b", "+", "", "$s"], 4);
            if slot % 3 == 0 {
                filter.push_str("/#");
            }
            if topic::check_filter(&filter).is_err() {
                continue;
            }
            let subscriber = Subscriber::Local(slot);
            trie.add(
                &filter,
                Entry { subscriber, order: u64::from(slot), options: SubOptions::default(), count: 1, active: true },
            );
            filters.push((filter, slot));
        }
        for round in 0..2_500 {
            let name = words(&mut seed, &["a", "b", "c", "", "$s"], 5);
            if topic::check_name(&name).is_err() {
                continue;
            }
            let mut found = Vec::new();
            trie.collect(&name, &mut found);
            let mut found: Vec<Subscriber> = found.into_iter().map(|entry| entry.subscriber).collect();
            found.sort_unstable();
            let mut expected: Vec<Subscriber> = filters
                .iter()
                .filter(|(filter, _)| topic::matches(filter, &name))
                .map(|&(_, slot)| Subscriber::Local(slot))
                .collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "round {round}, name {name:?}, seed {seed:#x}");
        }
        for (filter, slot) in &filters {
            assert!(trie.remove(filter, Subscriber::Local(*slot)), "{filter}");
        }
        assert_eq!(trie.entries(), 0);
        assert!(trie.root.is_empty(), "empty nodes are pruned");
    }
}
