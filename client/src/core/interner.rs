//! Topic ids behind the names a publisher uses.

use std::collections::HashMap;
use std::sync::Arc;

use laneway_proto::control::{Body, Control, DeclareTopics, Topic};
use laneway_proto::limits::TOPIC_ID_DYNAMIC_FIRST;
use laneway_proto::topic::check_publish;

use crate::error::PublishError;

/// A topic this session publishes to: its place in the session's own numbering.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicId(u32);

impl TopicId {
    /// The number that travels in frame headers.
    pub const fn wire(self) -> u32 {
        TOPIC_ID_DYNAMIC_FIRST + self.0
    }

    /// The topic of a frame that this session built.
    pub(super) const fn from_wire(number: u32) -> Self {
        Self(number - TOPIC_ID_DYNAMIC_FIRST)
    }
}

/// Names and ids, dense upwards; at most as many as the broker allows one session.
#[derive(Debug, Default)]
pub(super) struct Interner {
    places: HashMap<Arc<str>, u32>,
    topics: Vec<Known>,
    /// The name asked for last: most callers repeat themselves.
    last: Option<u32>,
}

#[derive(Debug)]
struct Known {
    name: Arc<str>,
    declared: bool,
}

impl Interner {
    /// The id of `name`, new or known.
    pub(super) fn intern(&mut self, name: &str, topics_max: u32) -> Result<TopicId, PublishError> {
        if let Some(last) = self.last
            && &*self.topics[last as usize].name == name
        {
            return Ok(TopicId(last));
        }
        let place = match self.places.get(name) {
            Some(&place) => place,
            None => self.insert(name, topics_max)?,
        };
        self.last = Some(place);
        Ok(TopicId(place))
    }

    fn insert(&mut self, name: &str, topics_max: u32) -> Result<u32, PublishError> {
        check_publish(name)?;
        let place = self.topics.len() as u32;
        if place >= topics_max {
            return Err(PublishError::TooManyTopics { topics_max });
        }
        let name: Arc<str> = name.into();
        self.places.insert(Arc::clone(&name), place);
        self.topics.push(Known { name, declared: false });
        Ok(place)
    }

    /// The name behind an id.
    pub(super) fn name(&self, id: TopicId) -> &Arc<str> {
        &self.topics[id.0 as usize].name
    }

    /// A new broker session knows no declaration.
    pub(super) fn undeclare_all(&mut self) {
        for known in &mut self.topics {
            known.declared = false;
        }
    }

    /// The declaration of a topic, given out before or not.
    pub(super) fn declare_again(&mut self, id: TopicId) -> Option<Control> {
        self.topics[id.0 as usize].declared = false;
        self.declaration(id)
    }

    /// The declaration that has to precede the first frame on `id`; `None` once it was given out.
    pub(super) fn declaration(&mut self, id: TopicId) -> Option<Control> {
        let known = &mut self.topics[id.0 as usize];
        if known.declared {
            return None;
        }
        known.declared = true;
        let topic = Topic { id: id.wire(), name: String::from(&*known.name), ..Topic::default() };
        Some(Control::new(Body::DeclareTopics(DeclareTopics { topics: vec![topic] })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laneway_proto::topic::TopicError;

    #[test]
    fn names_get_dense_ids_from_the_first_dynamic_one_and_keep_them() {
        let mut interner = Interner::default();
        let mut id = |name| interner.intern(name, 3).map(TopicId::wire);
        assert_eq!((id("a"), id("b"), id("a")), (Ok(65_536), Ok(65_537), Ok(65_536)));
        assert_eq!(id("c"), Ok(65_538));
        assert_eq!(id("d"), Err(PublishError::TooManyTopics { topics_max: 3 }));
        assert_eq!(id("b"), Ok(65_537), "known names are found at the bound");
    }

    #[test]
    fn wildcards_and_the_brokers_own_topics_are_refused_before_they_get_an_id() {
        let mut interner = Interner::default();
        assert_eq!(interner.intern("a/#", 9), Err(PublishError::Topic(TopicError::WildcardInName)));
        assert_eq!(interner.intern("$sys/x", 9), Err(PublishError::Topic(TopicError::Reserved)));
        assert_eq!(interner.intern("", 9), Err(PublishError::Topic(TopicError::Empty)));
        assert_eq!(interner.intern("a", 9).map(TopicId::wire), Ok(65_536));
    }

    #[test]
    fn a_topic_is_declared_once() {
        let mut interner = Interner::default();
        let id = interner.intern("a", 9).expect("valid");
        assert!(interner.declaration(id).is_some());
        assert!(interner.declaration(id).is_none());
        interner.undeclare_all();
        assert!(interner.declaration(TopicId::from_wire(id.wire())).is_some(), "once for each session");
    }
}
