//! What must be true of last values: who asks for them sees the newest one first and then every change.

use super::super::hearing::Message;
use super::{Oracle, Published, SessionId, naive_match};
use crate::sim::losses::may_lose;

impl Oracle {
    /// The session asked for `filters` and the last values of their topics. `alone`: nobody else shares its connection.
    pub fn subscribe_retained(&mut self, id: SessionId, filters: &[String], request: u32, alone: bool) {
        let asked = self.tick();
        let before = self.session(id).wanted.len();
        self.subscribe(id, filters, request);
        for wanted in &mut self.session(id).wanted[before..] {
            wanted.retained = Some(asked);
            wanted.alone = alone;
        }
    }

    /// The session publishes a message to be kept; otherwise as [`Self::publish`].
    pub fn publish_retained(&mut self, id: SessionId, topic: &str, lane: u8, len: usize) -> (u32, Vec<u8>) {
        let published = self.publish(id, topic, lane, len);
        if let Some(last) = self.session(id).lanes.get_mut(&lane).and_then(|lane| lane.last_mut()) {
            last.retain = true;
        }
        published
    }

    /// The session got a value that had been kept.
    pub fn replay(&mut self, id: SessionId, message: &Message) {
        if let Err(problem) = self.try_replay(id, message) {
            let Message { topic, lane, seq, payload, .. } = message;
            let bytes = payload.len();
            self.broken.push(format!(
                "session {} got the value `{topic}` lane {lane} seq {seq} ({bytes} bytes): {problem}",
                id.0
            ));
        }
    }

    fn try_replay(&mut self, id: SessionId, message: &Message) -> Result<(), String> {
        let (from, place) = self.find(message)?;
        let session = &self.sessions[id.0 as usize];
        let value = &self.sessions[from.0 as usize].lanes[&message.lane][place];
        if !value.retain || value.len == 0 {
            return Err("it was not to be kept".into());
        }
        if session.no_echo && from == id {
            return Err("the session did not want its own messages".into());
        }
        let asked = session.wanted.iter().filter(|wanted| naive_match(&wanted.filter, &message.topic));
        let asked: Vec<(u64, bool)> = asked.filter_map(|wanted| Some((wanted.retained?, wanted.alone))).collect();
        if asked.is_empty() {
            return Err("the session did not ask for values".into());
        }
        // A value on its way to another subscription of the connection is this one's, too.
        let earliest = self.values_asked(id, value.topic).min().unwrap_or(0);
        if let Some(newer) = self.newer(value, earliest) {
            return Err(format!("{newer} was accepted before the session asked"));
        }
        let key = (from, message.lane, value.topic);
        let next = session.delivered_next(from, message.lane, value.topic);
        if next > place + 1 {
            return Err(format!("number {next} of session {} had been delivered before it", from.0));
        }
        let heard = session.values.get(&value.topic).copied().unwrap_or(0) + 1;
        if asked.iter().all(|(_, alone)| *alone) && heard > asked.len() as u64 {
            return Err(format!("it is the {heard}. value for {} requests", asked.len()));
        }
        let topic = value.topic;
        let session = self.session(id);
        session.values.insert(topic, heard);
        session.floors.insert(key, place);
        session.delivered += 1;
        Ok(())
    }

    /// A message to be kept that is certainly newer than `value` and was certainly accepted before `asked`.
    fn newer(&self, value: &Published, asked: u64) -> Option<String> {
        self.kept(value.topic).find_map(|(publisher, other)| {
            let in_line = publisher == value.from && other.lane == value.lane && other.place > value.place;
            let later = value.accepted.is_some_and(|accepted| other.order > accepted);
            let known = other.accepted.is_some_and(|accepted| accepted <= asked);
            let newer = known && (in_line || later);
            newer.then(|| format!("number {} of session {}, lane {}", other.place + 1, publisher.0, other.lane))
        })
    }

    /// Everything published to a topic to be kept.
    fn kept(&self, topic: usize) -> impl Iterator<Item = (SessionId, &Published)> {
        let all = self.sessions.iter().enumerate().flat_map(|(index, session)| {
            session.lanes.values().flatten().map(move |published| (SessionId(index as u32), published))
        });
        all.filter(move |(_, published)| published.topic == topic && published.retain)
    }

    /// Whether a session that asked at `asked` has to be sent a value of the topic, whatever happened meanwhile.
    fn has_value(&self, topic: usize, asked: u64) -> bool {
        let sure = |(_, published): (SessionId, &Published)| published.len > 0 && !may_lose(published.lane);
        self.kept(topic).all(sure)
            && self.kept(topic).any(|(_, published)| published.accepted.is_some_and(|accepted| accepted <= asked))
    }

    /// An error if the session should have begun with a value of the topic and did not, before a message on `lane`.
    pub(super) fn check_begun(&self, id: SessionId, topic: usize, lane: u8) -> Result<(), String> {
        let session = &self.sessions[id.0 as usize];
        let mut wanted = session.wanted.iter().filter(|wanted| naive_match(&wanted.filter, &self.topics[topic]));
        let (Some(one), None) = (wanted.next(), wanted.next()) else { return Ok(()) };
        let Some(asked) = one.retained.filter(|_| one.alone && !session.no_echo) else { return Ok(()) };
        // A value on another lane may come later.
        let one_lane = self.kept(topic).all(|(_, published)| published.lane == lane);
        if one_lane && self.has_value(topic, asked) && !session.values.contains_key(&topic) {
            return Err("the topic's value should have come before it".into());
        }
        Ok(())
    }

    /// Values that a living session should have been sent.
    pub(super) fn values_missing(&self, id: SessionId) -> Vec<String> {
        let session = &self.sessions[id.0 as usize];
        if session.ended || session.no_echo {
            return Vec::new();
        }
        let mut missing = Vec::new();
        for wanted in session.wanted.iter().filter(|wanted| wanted.confirmed.is_some() && wanted.cancelled.is_none()) {
            let Some(asked) = wanted.retained else { continue };
            for (topic, name) in self.topics.iter().enumerate() {
                let wants = naive_match(&wanted.filter, name) && !session.values.contains_key(&topic);
                if wants && self.has_value(topic, asked) {
                    missing.push(format!("session {} was never sent the value of `{name}`", id.0));
                }
            }
        }
        missing
    }
}
