//! Which local sessions and which other shards want a topic.
//!
//! Filters live in a trie; what a topic's name matches is kept as a [`Route`] per topic until any subscription changes.

pub mod trie;

use std::sync::Arc;

use laneway_proto::lane::policy::Policy;

use self::trie::{Entry, Trie};
use crate::intern::{Intern, TopicIndex};

/// Who subscribed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Subscriber {
    /// The session in this slot of the shard's connections.
    Local(u32),
    /// Some session of another shard.
    Remote(u8),
}

/// How a session wants to be served by one subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SubOptions {
    /// Do not send it what it published itself.
    pub no_echo: bool,
    /// Lane it is served on; `None`: the publisher's.
    pub lane: Option<u8>,
    /// What its full queue does; `None`: as the lane says.
    pub policy: Option<Policy>,
    /// Bytes of its queue; 0: as the lane says.
    pub queue_bytes: u32,
    /// Milliseconds after which a message is not sent any more; 0: as the lane says.
    pub ttl_ms: u32,
    /// Messages of a topic that it is passed on a second; 0: all.
    pub max_rate_hz: u32,
}

/// A local session that gets the messages of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Slot of the session's connection.
    pub slot: u32,
    /// Whether the session is known to have been told the topic's name.
    pub declared: bool,
    /// How it is served.
    pub options: SubOptions,
}

/// Where the messages of one topic go.
#[derive(Debug, Default)]
pub struct Route {
    epoch: u64,
    /// The topic's name.
    pub name: Arc<str>,
    /// Local sessions, each once.
    pub targets: Vec<Target>,
    /// Bit per shard that has interest.
    pub shards: u64,
}

/// The subscriptions of one shard.
#[derive(Debug)]
pub struct Router {
    intern: Arc<Intern>,
    trie: Trie,
    routes: Vec<Option<Box<Route>>>,
    epoch: u64,
    order: u64,
    matched: Vec<Entry>,
}

impl Router {
    /// A router without subscriptions.
    pub fn new(intern: Arc<Intern>) -> Self {
        Self { intern, trie: Trie::default(), routes: Vec::new(), epoch: 1, order: 0, matched: Vec::new() }
    }

    /// Adds a subscription to a valid filter. A local session's second one to the same filter changes its options;
    /// another shard's are counted. True if the subscriber did not have this filter before.
    pub fn subscribe(&mut self, filter: &str, subscriber: Subscriber, options: SubOptions) -> bool {
        self.add(filter, subscriber, options, true)
    }

    /// [`Self::subscribe`] without an effect until [`Self::activate`], unless it was in effect before.
    pub fn subscribe_later(&mut self, filter: &str, subscriber: Subscriber, options: SubOptions) -> bool {
        self.add(filter, subscriber, options, false)
    }

    /// Puts a subscription into effect. False if there is none.
    pub fn activate(&mut self, filter: &str, subscriber: Subscriber) -> bool {
        self.epoch += 1;
        self.trie.activate(filter, subscriber)
    }

    fn add(&mut self, filter: &str, subscriber: Subscriber, options: SubOptions, active: bool) -> bool {
        self.order += 1;
        self.epoch += 1;
        self.trie.add(filter, Entry { subscriber, order: self.order, options, count: 1, active })
    }

    /// Removes a subscription, for another shard one of its count. False if there was none.
    pub fn unsubscribe(&mut self, filter: &str, subscriber: Subscriber) -> bool {
        self.epoch += 1;
        self.trie.remove(filter, subscriber)
    }

    /// The route of a topic, built if a subscription changed since the last time. `None` for an index that nobody
    /// interned: a bug of the caller.
    pub fn route(&mut self, topic: TopicIndex) -> Option<&mut Route> {
        let index = topic.0 as usize;
        let fresh = matches!(self.routes.get(index), Some(Some(route)) if route.epoch == self.epoch);
        if !fresh {
            self.rebuild(topic)?;
        }
        self.routes[index].as_deref_mut()
    }

    #[cold]
    fn rebuild(&mut self, topic: TopicIndex) -> Option<()> {
        let index = topic.0 as usize;
        if self.routes.len() <= index {
            self.routes.resize_with(index + 1, || None);
        }
        let route = match &mut self.routes[index] {
            Some(route) => route,
            place @ None => {
                let name = self.intern.name(topic)?;
                place.insert(Box::new(Route { name, ..Route::default() }))
            }
        };
        self.matched.clear();
        self.trie.collect(&route.name, &mut self.matched);
        self.matched.retain(|entry| entry.active);
        // A session gets each message once; of several matching subscriptions the first made sets the options.
        self.matched.sort_unstable_by_key(|entry| (entry.subscriber, entry.order));
        self.matched.dedup_by_key(|entry| entry.subscriber);
        route.targets.clear();
        route.shards = 0;
        for entry in &self.matched {
            match entry.subscriber {
                Subscriber::Local(slot) => {
                    route.targets.push(Target { slot, declared: false, options: entry.options });
                }
                Subscriber::Remote(shard) => route.shards |= 1 << shard,
            }
        }
        route.epoch = self.epoch;
        Some(())
    }

    /// Filters held, for the memory tests.
    pub fn filters(&self) -> usize {
        self.trie.entries()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(router: &mut Router, topic: TopicIndex) -> Vec<u32> {
        router.route(topic).expect("interned").targets.iter().map(|target| target.slot).collect()
    }

    #[test]
    fn a_session_with_several_matching_filters_gets_one_target_with_the_first_options() {
        let intern = Arc::new(Intern::new(10));
        let topic = intern.intern("a/b").expect("room");
        let mut router = Router::new(intern);
        let quiet = SubOptions { no_echo: true, ..SubOptions::default() };
        assert!(router.subscribe("a/#", Subscriber::Local(4), quiet));
        assert!(router.subscribe("a/+", Subscriber::Local(4), SubOptions::default()));
        assert!(router.subscribe("a/b", Subscriber::Remote(2), SubOptions::default()));
        let route = router.route(topic).expect("interned");
        assert_eq!(route.targets, [Target { slot: 4, declared: false, options: quiet }]);
        assert_eq!(route.shards, 1 << 2);
    }

    #[test]
    fn a_route_follows_every_change_of_subscriptions() {
        let intern = Arc::new(Intern::new(10));
        let topic = intern.intern("a").expect("room");
        let mut router = Router::new(intern);
        assert!(slots(&mut router, topic).is_empty());
        router.subscribe("a", Subscriber::Local(1), SubOptions::default());
        assert_eq!(slots(&mut router, topic), [1]);
        router.subscribe("#", Subscriber::Local(0), SubOptions::default());
        assert_eq!(slots(&mut router, topic), [0, 1]);
        assert!(router.unsubscribe("a", Subscriber::Local(1)));
        assert!(!router.unsubscribe("a", Subscriber::Local(1)));
        assert_eq!(slots(&mut router, topic), [0]);
    }

    #[test]
    fn another_shards_interest_lasts_until_its_last_subscription_is_gone() {
        let intern = Arc::new(Intern::new(10));
        let topic = intern.intern("a").expect("room");
        let mut router = Router::new(intern);
        assert!(router.subscribe("a", Subscriber::Remote(1), SubOptions::default()));
        assert!(!router.subscribe("a", Subscriber::Remote(1), SubOptions::default()));
        router.unsubscribe("a", Subscriber::Remote(1));
        assert_eq!(router.route(topic).expect("interned").shards, 1 << 1);
        router.unsubscribe("a", Subscriber::Remote(1));
        assert_eq!(router.route(topic).expect("interned").shards, 0);
        assert_eq!(router.filters(), 0);
    }
}
