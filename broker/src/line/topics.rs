//! The topics of one session on a line: the ids that both sides bind, and the broker's own.

use std::collections::HashMap;
use std::sync::Arc;

use laneway_proto::error::CloseCode;
use laneway_proto::limits::TOPIC_ID_DYNAMIC_FIRST;
use laneway_proto::serial::limits::SERIAL_TOPIC_HOST_FIRST;
use laneway_proto::topic;

/// A topic that the device has bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct DeviceTopic {
    pub(super) name: Arc<str>,
    /// The id towards the broker; `None`: nobody may publish on it.
    pub(super) stream: Option<u32>,
    /// What the device publishes on it is kept as its last value.
    pub(super) retain: bool,
}

/// Whether the device can be sent messages of an id that the broker has bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Knows {
    /// It was not told yet, or has not said that it knows.
    NotYet,
    Yes,
    /// Its name is too long for the device.
    Never,
}

#[derive(Debug, Default)]
pub(super) struct Topics {
    by_device: HashMap<u16, DeviceTopic>,
    /// Ids declared towards the broker.
    declared: u32,
    /// What the broker calls its own ids.
    names: HashMap<u32, Arc<str>>,
    /// The id of each name on the line.
    ids: HashMap<Arc<str>, u16>,
    /// Those that the broker has bound, in their order.
    by_host: Vec<(Arc<str>, Knows)>,
}

impl Topics {
    /// The device binds an id. Returns the id towards the broker if that has to be declared.
    pub(super) fn bind(
        &mut self,
        id: u16,
        name: &[u8],
        retain: bool,
        topics_max: u32,
    ) -> Result<Option<u32>, (CloseCode, &'static str)> {
        let name = std::str::from_utf8(name).map_err(|_| (CloseCode::Forbidden, "a topic's name is UTF-8"))?;
        topic::check_name(name).map_err(|error| (CloseCode::Forbidden, error.text()))?;
        if id >= SERIAL_TOPIC_HOST_FIRST {
            return Err((CloseCode::Forbidden, "ids from 0x8000 on are the host's"));
        }
        if let Some(known) = self.by_device.get_mut(&id) {
            if *known.name == *name {
                known.retain = retain;
                return Ok(None);
            }
            if self.ids.get(&known.name) == Some(&id) {
                self.ids.remove(&known.name);
            }
        }
        let stream = topic::check_publish(name).is_ok().then(|| TOPIC_ID_DYNAMIC_FIRST + self.declared);
        if stream.is_some() && self.declared >= topics_max {
            return Err((CloseCode::Limit, "too many topics in one session"));
        }
        self.declared += u32::from(stream.is_some());
        let name: Arc<str> = name.into();
        self.ids.insert(Arc::clone(&name), id);
        self.by_device.insert(id, DeviceTopic { name, stream, retain });
        Ok(stream)
    }

    /// What the device has bound.
    pub(super) fn of_device(&self, id: u16) -> Option<&DeviceTopic> {
        self.by_device.get(&id)
    }

    /// The name of an id, whoever has bound it.
    pub(super) fn name(&self, id: u16) -> Option<Arc<str>> {
        let host = |place: u16| self.by_host.get(usize::from(place)).map(|(name, _)| Arc::clone(name));
        match id.checked_sub(SERIAL_TOPIC_HOST_FIRST) {
            Some(place) => host(place),
            None => self.by_device.get(&id).map(|topic| Arc::clone(&topic.name)),
        }
    }

    /// The broker says what it calls one of its ids.
    pub(super) fn told(&mut self, id: u32, name: &str) {
        self.names.insert(id, name.into());
    }

    /// The id on the line of one of the broker's; the name, if the device has to be told. `None`: there is none left.
    pub(super) fn on_line(&mut self, id: u32) -> Option<(u16, Option<Arc<str>>)> {
        let name = self.names.get(&id)?;
        if let Some(&known) = self.ids.get(name) {
            return Some((known, None));
        }
        let place = u16::try_from(self.by_host.len()).ok()?;
        let new = SERIAL_TOPIC_HOST_FIRST.checked_add(place)?;
        self.by_host.push((Arc::clone(name), Knows::NotYet));
        self.ids.insert(Arc::clone(name), new);
        Some((new, Some(Arc::clone(name))))
    }

    /// Whether the device can be sent messages of this id.
    pub(super) fn knows(&self, id: u16) -> Knows {
        let host = |place: u16| self.by_host.get(usize::from(place)).map_or(Knows::Never, |&(_, knows)| knows);
        id.checked_sub(SERIAL_TOPIC_HOST_FIRST).map_or(Knows::Yes, host)
    }

    /// The device was told of an id that the broker has bound, or cannot be.
    pub(super) fn on_told(&mut self, id: u16, knows: Knows) {
        let place = id.checked_sub(SERIAL_TOPIC_HOST_FIRST).map(usize::from);
        if let Some((_, known)) = place.and_then(|place| self.by_host.get_mut(place)) {
            *known = knows;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u32 = TOPIC_ID_DYNAMIC_FIRST;

    #[test]
    fn the_devices_id_serves_both_directions_and_a_name_without_one_gets_the_hosts() {
        let mut topics = Topics::default();
        assert_eq!(topics.bind(0x4000, b"a/b", false, 9), Ok(Some(FIRST)));
        topics.told(70_000, "a/b");
        topics.told(70_001, "c");
        assert_eq!(topics.on_line(70_000), Some((0x4000, None)));
        assert_eq!(topics.on_line(70_001), Some((0x8000, Some("c".into()))));
        assert_eq!((topics.on_line(70_001), topics.on_line(5)), (Some((0x8000, None)), None));
        assert_eq!((topics.knows(0x4000), topics.knows(0x8000)), (Knows::Yes, Knows::NotYet));
        topics.on_told(0x8000, Knows::Yes);
        assert_eq!((topics.knows(0x8000), topics.name(0x8000)), (Knows::Yes, Some("c".into())));
    }

    #[test]
    fn an_id_that_is_bound_to_another_name_takes_a_new_one_towards_the_broker() {
        let mut topics = Topics::default();
        assert_eq!(topics.bind(1, b"a", false, 2), Ok(Some(FIRST)));
        assert_eq!(topics.bind(1, b"a", true, 2), Ok(None), "the same again");
        assert_eq!(topics.of_device(1).map(|topic| topic.retain), Some(true));
        assert_eq!(topics.bind(1, b"b", false, 2), Ok(Some(FIRST + 1)));
        topics.told(70_000, "a");
        assert_eq!(topics.on_line(70_000), Some((0x8000, Some("a".into()))), "the old name is no longer its");
        assert_eq!(topics.bind(2, b"c", false, 2).map_err(|(code, _)| code), Err(CloseCode::Limit));
    }

    #[test]
    fn a_name_that_may_not_be_used_is_refused_and_one_of_the_broker_is_for_subscribing() {
        let mut topics = Topics::default();
        for name in [&b"a/+"[..], b"", b"\xFF", b"a\0"] {
            assert_eq!(topics.bind(1, name, false, 9).map_err(|(code, _)| code), Err(CloseCode::Forbidden));
        }
        assert!(topics.bind(0x8000, b"a", false, 9).is_err(), "the host's id");
        assert_eq!(topics.bind(1, b"$sys/peer/0", false, 9), Ok(None));
        assert_eq!(topics.of_device(1).and_then(|topic| topic.stream), None);
        assert_eq!(topics.name(1).as_deref(), Some("$sys/peer/0"));
    }
}
