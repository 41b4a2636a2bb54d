//! The broker's topic ids: their names, and which local subscriptions want each.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use laneway_proto::error::PeerFault;
use laneway_proto::topic::check_name;

use super::subscriptions::SubscriptionId;

/// Topics the broker may declare to one session.
pub const NAMES_MAX: usize = 1 << 20;

const _: () = assert!(laneway_proto::limits::TOPICS_MAX_DEFAULT as usize <= NAMES_MAX, "a broker's default table fits");

/// One topic of the broker.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) topic: Arc<str>,
    pub(super) wanted_by: Vec<SubscriptionId>,
}

/// All topics the broker declared in this session.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: HashMap<u32, Name, BuildHasherDefault<IdHasher>>,
}

impl Names {
    /// The broker declared a topic; `wanted_by` says who wants a name.
    pub(super) fn declare(
        &mut self,
        id: u32,
        name: &str,
        wanted_by: impl FnOnce(&str) -> Vec<SubscriptionId>,
    ) -> Result<(), PeerFault> {
        if let Some(known) = self.names.get(&id) {
            return if &*known.topic == name { Ok(()) } else { Err(PeerFault::TopicIdInvalid) };
        }
        if id == 0 || check_name(name).is_err() {
            return Err(PeerFault::TopicIdInvalid);
        }
        if self.names.len() >= NAMES_MAX {
            return Err(PeerFault::LimitExceeded);
        }
        self.names.insert(id, Name { topic: name.into(), wanted_by: wanted_by(name) });
        Ok(())
    }

    /// The topic behind an id.
    pub(super) fn find(&self, id: u32) -> Option<&Name> {
        self.names.get(&id)
    }

    /// A new subscription wants the names that `wants` picks.
    pub(super) fn add_subscription(&mut self, id: SubscriptionId, wants: impl Fn(&str) -> bool) {
        for name in self.names.values_mut().filter(|name| wants(&name.topic)) {
            name.wanted_by.push(id);
        }
    }

    /// A subscription ended.
    pub(super) fn remove_subscription(&mut self, id: SubscriptionId) {
        for name in self.names.values_mut() {
            name.wanted_by.retain(|&other| other != id);
        }
    }
}

/// Spreads ids by one multiplication. They come from the broker that this client trusts with its messages.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_name_for_the_session() {
        let mut names = Names::default();
        assert_eq!(names.declare(5, "a", |_| vec![]), Ok(()));
        assert_eq!(names.declare(5, "a", |_| vec![]), Ok(()), "said twice is harmless");
        assert_eq!(names.declare(5, "b", |_| vec![]), Err(PeerFault::TopicIdInvalid));
        assert_eq!(names.declare(0, "a", |_| vec![]), Err(PeerFault::TopicIdInvalid));
        assert_eq!(names.declare(6, "a/#", |_| vec![]), Err(PeerFault::TopicIdInvalid));
        assert_eq!(names.declare(7, "$sys/a", |_| vec![]), Ok(()), "the broker's own topics have names, too");
    }

    #[test]
    fn subscriptions_come_and_go_on_known_names() {
        let (first, second) = (SubscriptionId(1), SubscriptionId(2));
        let mut names = Names::default();
        names.declare(5, "a/b", |_| vec![first]).expect("valid");
        names.declare(6, "c", |_| vec![]).expect("valid");
        names.add_subscription(second, |name| name.starts_with("a/"));
        let wanted_by = |names: &Names, id| names.find(id).expect("declared").wanted_by.clone();
        assert_eq!((wanted_by(&names, 5), wanted_by(&names, 6)), (vec![first, second], vec![]));
        names.remove_subscription(first);
        assert_eq!(wanted_by(&names, 5), [second]);
    }
}
