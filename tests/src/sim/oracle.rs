//! What must be true of every delivery, and in the end.
//!
//! The oracle hears what clients ask for and what they get, in one order of events. It knows nothing of the broker.

mod confirmed;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use laneway_proto::lane::policy::Policy;

use super::hearing::Message;
use super::losses::{Losses, may_lose};
use super::speech::{self, STAMP_BYTES, Stamp};

/// Names a session of some client for the whole run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct SessionId(pub u32);

/// A message somebody published.
#[derive(Debug)]
struct Published {
    from: SessionId,
    lane: u8,
    /// Its number, from 0.
    place: usize,
    order: u64,
    topic: usize,
    len: usize,
    /// It is to be kept as its topic's last value.
    retain: bool,
    /// It is sent again until enough have it.
    again: bool,
    /// When the publisher was told that the broker has it.
    accepted: Option<u64>,
    /// Its publisher lost a link before it was told, and the lane may lose.
    forgiven: bool,
}

/// A subscription, with the moments of its life.
#[derive(Debug)]
struct Wanted {
    filter: String,
    request: u32,
    /// The client was told that it is in effect.
    confirmed: Option<u64>,
    /// The client asked for its end.
    cancelled: Option<u64>,
    /// The client was told that it has ended.
    gone: Option<u64>,
    /// When last values were asked for, too.
    retained: Option<u64>,
    /// Nobody else shares the connection.
    alone: bool,
}

#[derive(Debug, Default)]
struct Session {
    wanted: Vec<Wanted>,
    /// The session whose connection it shares; itself if that is `None`.
    link: Option<SessionId>,
    no_echo: bool,
    /// What a full queue towards it does; `None`: as its lanes say.
    policy: Option<Policy>,
    ended: bool,
    /// It was told that nothing more comes, so it has everything it will ever get.
    complete: bool,
    lanes: BTreeMap<u8, Vec<Published>>,
    /// The next place that may be delivered, by publisher and lane; where messages may be lost, by topic, too.
    next: BTreeMap<(SessionId, u8, Option<usize>), usize>,
    /// The same by topic on every lane, of messages that are to be kept.
    behind: BTreeMap<(SessionId, u8, usize), usize>,
    losses: Losses,
    delivered: u64,
    /// Messages it got that may come again.
    got: BTreeSet<(SessionId, u8, usize)>,
    /// It may have received messages of which the oracle will never hear.
    excused: bool,
    /// Last values it was sent, by topic.
    values: BTreeMap<usize, u64>,
    /// The place of the last value it was sent, by publisher, lane and topic: it gets everything behind that.
    floors: BTreeMap<(SessionId, u8, usize), usize>,
}

impl Session {
    /// The place behind the last message to be kept of a publisher, lane and topic that was delivered.
    fn delivered_next(&self, from: SessionId, lane: u8, topic: usize) -> usize {
        self.behind.get(&(from, lane, topic)).copied().unwrap_or(0)
    }
}

/// The judge of a run.
#[derive(Debug, Default)]
pub struct Oracle {
    order: u64,
    sessions: Vec<Session>,
    topics: Vec<String>,
    /// What publishers were told: of which message, and how many have received it.
    confirmed: Vec<((SessionId, u8, usize), u16)>,
    /// Promises that were broken, in words.
    broken: Vec<String>,
}

impl Oracle {
    /// A new session. With `no_echo` it does not want its own messages.
    pub fn open(&mut self, no_echo: bool) -> SessionId {
        self.sessions.push(Session { no_echo, ..Session::default() });
        SessionId(self.sessions.len() as u32 - 1)
    }

    /// A subscription that shares the connection of `link`: reports of losses there may be about any of them.
    pub fn open_beside(&mut self, link: SessionId) -> SessionId {
        self.sessions.push(Session { link: Some(link), ..Session::default() });
        SessionId(self.sessions.len() as u32 - 1)
    }

    /// What a full queue towards the session does; `None`: as its lanes say.
    pub fn serve(&mut self, id: SessionId, policy: Option<Policy>) {
        self.session(id).policy = policy;
    }

    /// Whether messages of a lane may be lost on their way to the session when they are reported.
    fn loses(&self, id: SessionId, lane: u8) -> bool {
        let policy = self.sessions[id.0 as usize].policy;
        may_lose(lane) || policy.is_some_and(|policy| policy.loss_reason().is_some())
    }

    /// The session was told that `count` messages of a topic and lane are lost.
    pub fn lose(&mut self, id: SessionId, topic: &str, lane: u8, count: u32) {
        let topic = self.topic(topic);
        let all = self.sessions.iter().filter_map(|session| session.lanes.get(&lane)).flatten();
        let published = all.filter(|message| message.topic == topic).count() as u64;
        // Values that are sent once more may be lost once more.
        let again = self.values_asked(id, topic).count() as u64;
        let verdict = match self.loses(id, lane) {
            true => self.session(id).losses.report((topic, lane), u64::from(count), published + again),
            false => Err("nothing may be lost on this lane".into()),
        };
        if let Err(problem) = verdict {
            let topic = &self.topics[topic];
            self.broken.push(format!("session {} lost {count} of `{topic}` lane {lane}: {problem}", id.0));
        }
    }

    /// When the values of a topic were asked for on the session's connection.
    fn values_asked(&self, id: SessionId, topic: usize) -> impl Iterator<Item = u64> {
        let link_of = |index: usize| self.sessions[index].link.map_or(index, |link| link.0 as usize);
        let link = link_of(id.0 as usize);
        let there = (0..self.sessions.len()).filter(move |&index| link_of(index) == link);
        let wanted = there.flat_map(|index| &self.sessions[index].wanted);
        wanted
            .filter(move |wanted| naive_match(&wanted.filter, &self.topics[topic]))
            .filter_map(|wanted| wanted.retained)
    }

    /// The session lost its link; what was under way on lanes that may lose is gone, and nobody reports it.
    pub fn cut(&mut self, id: SessionId) {
        let session = self.session(id);
        session.losses.cut();
        for (_, lane) in session.lanes.iter_mut().filter(|(lane, _)| may_lose(**lane)) {
            lane.iter_mut().filter(|one| one.accepted.is_none()).for_each(|one| one.forgiven = true);
        }
    }

    /// The session gets nothing any more.
    pub fn end(&mut self, id: SessionId) {
        self.session(id).ended = true;
    }

    /// The session gets nothing any more, and was told so behind its last message.
    pub fn complete(&mut self, id: SessionId) {
        self.session(id).ended = true;
        self.session(id).complete = true;
    }

    /// The session asked for `filters`.
    pub fn subscribe(&mut self, id: SessionId, filters: &[String], request: u32) {
        for filter in filters {
            let wanted = Wanted {
                filter: filter.clone(),
                request,
                confirmed: None,
                cancelled: None,
                gone: None,
                retained: None,
                alone: true,
            };
            self.session(id).wanted.push(wanted);
        }
    }

    /// The session asked for the end of its subscription to `filters`.
    pub fn unsubscribe(&mut self, id: SessionId, filters: &[String], request: u32) {
        let now = self.tick();
        let concerned = self.session(id).wanted.iter_mut();
        for wanted in concerned.filter(|wanted| wanted.cancelled.is_none() && filters.contains(&wanted.filter)) {
            wanted.cancelled = Some(now);
            wanted.request = request;
        }
        let Self { sessions, topics, .. } = self;
        let wants_no_longer = |topic: usize| filters.iter().any(|filter| naive_match(filter, &topics[topic]));
        sessions[id.0 as usize].floors.retain(|(_, _, topic), _| !wants_no_longer(*topic));
    }

    /// The broker confirmed a request of the session.
    pub fn confirm(&mut self, id: SessionId, request: u32) {
        let now = self.tick();
        for wanted in self.session(id).wanted.iter_mut().filter(|wanted| wanted.request == request) {
            match wanted.cancelled {
                Some(_) => wanted.gone = Some(now),
                None => wanted.confirmed = Some(now),
            }
        }
    }

    /// The session publishes a message of `len` bytes; returns its number and its bytes.
    pub fn publish(&mut self, id: SessionId, topic: &str, lane: u8, len: usize) -> (u32, Vec<u8>) {
        let order = self.tick();
        let topic = self.topic(topic);
        let published = self.session(id).lanes.entry(lane).or_default();
        let place = published.len();
        published.push(Published {
            from: id,
            lane,
            place,
            order,
            topic,
            len,
            retain: false,
            again: false,
            accepted: None,
            forgiven: false,
        });
        let seq = published.len() as u32;
        (seq, speech::payload(Stamp { session: id.0, lane, seq }, len))
    }

    /// Messages the session has published on a lane.
    pub fn published(&self, id: SessionId, lane: u8) -> usize {
        self.sessions[id.0 as usize].lanes.get(&lane).map_or(0, Vec::len)
    }

    /// A mark for everything published so far, for [`Self::accept`].
    pub const fn mark(&self) -> u64 {
        self.order
    }

    /// The broker has everything that the session published up to `mark`.
    pub fn accept(&mut self, id: SessionId, mark: u64) {
        let now = self.tick();
        for published in self.session(id).lanes.values_mut().flatten().filter(|one| one.order <= mark && !one.forgiven)
        {
            published.accepted.get_or_insert(now);
        }
    }

    /// The session got a message.
    pub fn deliver(&mut self, id: SessionId, message: &Message) {
        if let Err(problem) = self.try_deliver(id, message) {
            let Message { topic, lane, seq, payload, .. } = message;
            self.broken.push(format!(
                "session {} got `{topic}` lane {lane} seq {seq} ({} bytes): {problem}",
                id.0,
                payload.len()
            ));
        }
    }

    /// The publisher of a message and its place there, if that is how it was published.
    fn find(&self, message: &Message) -> Result<(SessionId, usize), String> {
        let stamp = self.identify(message)?;
        let from = SessionId(stamp.session);
        let place = stamp.seq as usize - 1;
        let publisher = self.sessions.get(from.0 as usize).ok_or("its session never existed")?;
        let lane = publisher.lanes.get(&stamp.lane).ok_or("its publisher never used that lane")?;
        let published = lane.get(place).ok_or("its publisher never sent that number")?;
        if stamp.lane != message.lane || stamp.seq != message.seq {
            return Err(format!("it was published as lane {} seq {}", stamp.lane, stamp.seq));
        }
        if self.topics[published.topic] != message.topic {
            return Err(format!("it was published to `{}`", self.topics[published.topic]));
        }
        if message.payload != speech::payload(stamp, published.len) {
            return Err(format!("its {} bytes are not those that were sent", published.len));
        }
        Ok((from, place))
    }

    fn try_deliver(&mut self, id: SessionId, message: &Message) -> Result<(), String> {
        let (from, place) = self.find(message)?;
        let lane = &self.sessions[from.0 as usize].lanes[&message.lane];
        let published = &lane[place];
        let session = &self.sessions[id.0 as usize];
        if session.ended {
            return Err("the session had ended".into());
        }
        if session.no_echo && from == id {
            return Err("the session did not want its own messages".into());
        }
        let wants = |wanted: &Wanted| {
            wanted.gone.is_none_or(|gone| published.order < gone) && naive_match(&wanted.filter, &message.topic)
        };
        if !session.wanted.iter().any(wants) {
            return Err("no filter of the session matches".into());
        }
        self.check_begun(id, published.topic, message.lane)?;
        let floor = session.floors.get(&(from, message.lane, published.topic));
        if !published.may_be_late() && floor.is_some_and(|&floor| place <= floor) {
            return Err("it was sent as the topic's value before".into());
        }
        let lossy = self.loses(id, message.lane);
        let line = (from, message.lane, lossy.then_some(published.topic));
        let next = session.next.get(&line).copied().unwrap_or(0);
        if self.comes_again(id, (from, message.lane, place), next)? {
            return Ok(());
        }
        let in_line = |message: &Published| !lossy || message.topic == published.topic;
        let owed = |&skipped: &usize| in_line(&lane[skipped]) && self.is_owed(id, from, &lane[skipped]);
        let mut skipped = (next..place).filter(owed);
        let (topic, retain) = (published.topic, published.retain);
        let place_of_loss = (topic, message.lane);
        if lossy {
            let count = skipped.count() as u64;
            let session = self.session(id);
            session.losses.deliver(place_of_loss, count)?;
        } else if let (false, Some(lost)) = (lossy, skipped.next()) {
            return Err(format!("number {} of session {} is missing before it", lost + 1, from.0));
        }
        let session = self.session(id);
        session.next.insert(line, next.max(place + 1));
        if retain {
            session.behind.insert((from, message.lane, topic), place + 1);
        }
        session.delivered += 1;
        session.got.insert((from, message.lane, place));
        Ok(())
    }

    /// Short messages carry no stamp; they go to topics that tell their publisher.
    fn identify(&self, message: &Message) -> Result<Stamp, String> {
        if message.payload.len() >= STAMP_BYTES {
            return speech::stamp(&message.payload).ok_or_else(|| "its bytes were never sent".into());
        }
        let session = message.topic.strip_prefix("tiny/").and_then(|number| number.parse().ok());
        let session = session.ok_or("short messages are sent to tiny/… only")?;
        if message.seq == 0 {
            return Err("it has no number".into());
        }
        Ok(Stamp { session, lane: message.lane, seq: message.seq })
    }

    /// Whether the session has to get the message, if it lives on.
    fn is_owed(&self, id: SessionId, from: SessionId, published: &Published) -> bool {
        if published.forgiven {
            return false;
        }
        let session = &self.sessions[id.0 as usize];
        let topic = &self.topics[published.topic];
        let owed = |wanted: &Wanted| {
            wanted.cancelled.is_none()
                && wanted.confirmed.is_some_and(|confirmed| confirmed < published.order)
                && naive_match(&wanted.filter, topic)
        };
        let floor = session.floors.get(&(from, published.lane, published.topic));
        let behind_value =
            published.retain && !self.loses(id, published.lane) && floor.is_some_and(|&floor| published.place > floor);
        let wants = |wanted: &Wanted| {
            wanted.retained.is_some() && wanted.cancelled.is_none() && naive_match(&wanted.filter, topic)
        };
        let owed = session.wanted.iter().any(|wanted| owed(wanted) || behind_value && wants(wanted));
        !(session.no_echo && from == id) && owed
    }

    /// Accepted messages that living sessions still have to get, and complete ones should have got.
    pub fn outstanding(&self) -> Vec<String> {
        let mut missing = self.unreached();
        for (index, session) in
            self.sessions.iter().enumerate().filter(|(_, session)| !session.ended || session.complete)
        {
            let id = SessionId(index as u32);
            missing.extend(self.unexplained(id));
            missing.extend(self.values_missing(id));
            missing.extend(self.newest_missing(id));
            for (publisher, other) in self.sessions.iter().enumerate() {
                let from = SessionId(publisher as u32);
                for (&lane, published) in other.lanes.iter().filter(|(lane, _)| !self.loses(id, **lane)) {
                    let next = session.next.get(&(from, lane, None)).copied().unwrap_or(0);
                    let owed = published[next.min(published.len())..]
                        .iter()
                        .position(|message| message.accepted.is_some() && self.is_owed(id, from, message));
                    missing.extend(owed.map(|place| {
                        let seq = next + place + 1;
                        format!("session {index} never got number {seq} of session {publisher}, lane {lane}")
                    }));
                }
            }
        }
        missing
    }

    /// Of topics with one publisher, towards a queue that keeps the newest: the last message that did not come.
    fn newest_missing(&self, id: SessionId) -> Vec<String> {
        let session = &self.sessions[id.0 as usize];
        if session.policy != Some(Policy::Conflate) || session.losses.was_cut() {
            return Vec::new();
        }
        let mut missing = Vec::new();
        for topic in 0..self.topics.len() {
            let all = self.sessions.iter().flat_map(|other| other.lanes.values().flatten());
            let mut all: Vec<&Published> = all.filter(|message| message.topic == topic).collect();
            all.sort_by_key(|message| message.order);
            let Some(last) = all.last() else { continue };
            let alone = all.iter().all(|message| (message.from, message.lane) == (last.from, last.lane));
            let next = session.next.get(&(last.from, last.lane, Some(topic))).copied().unwrap_or(0);
            if alone && last.accepted.is_some() && self.is_owed(id, last.from, last) && next <= last.place {
                missing.push(format!("session {} never got the newest of `{}`", id.0, self.topics[topic]));
            }
        }
        missing
    }

    /// On lanes that may lose: what the session neither got nor was told of.
    fn unexplained(&self, id: SessionId) -> Vec<String> {
        let session = &self.sessions[id.0 as usize];
        let mut waiting: BTreeMap<(usize, u8), u64> = BTreeMap::new();
        for (publisher, other) in self.sessions.iter().enumerate() {
            let from = SessionId(publisher as u32);
            for (&lane, published) in other.lanes.iter().filter(|(lane, _)| self.loses(id, **lane)) {
                for (place, message) in published.iter().enumerate() {
                    let next = session.next.get(&(from, lane, Some(message.topic))).copied().unwrap_or(0);
                    let owed = place >= next && message.accepted.is_some() && self.is_owed(id, from, message);
                    *waiting.entry((message.topic, lane)).or_default() += u64::from(owed);
                }
            }
        }
        let left = waiting.into_iter().filter_map(|(place, waiting)| {
            let count = session.losses.unexplained(place, waiting);
            let (topic, lane) = (&self.topics[place.0], place.1);
            (count > 0).then(|| format!("session {} misses {count} of `{topic}`, lane {lane}, unreported", id.0))
        });
        left.collect()
    }

    /// A promise was broken.
    pub fn broke(&mut self, problem: impl Into<String>) {
        self.broken.push(problem.into());
    }

    /// Promises that were broken.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// Messages delivered.
    pub fn delivered(&self) -> u64 {
        self.sessions.iter().map(|session| session.delivered).sum()
    }

    fn tick(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    fn session(&mut self, id: SessionId) -> &mut Session {
        &mut self.sessions[id.0 as usize]
    }

    fn topic(&mut self, name: &str) -> usize {
        self.topics.iter().position(|topic| topic == name).unwrap_or_else(|| {
            self.topics.push(name.to_owned());
            self.topics.len() - 1
        })
    }
}

/// Whether a filter matches a name, written down as the rule reads: level by level.
pub fn naive_match(filter: &str, name: &str) -> bool {
    fn levels(filter: &[&str], name: &[&str]) -> bool {
        match (filter, name) {
            (["#"], _) => true,
            ([], []) => true,
            (["+", filter @ ..], [_, name @ ..]) => levels(filter, name),
            ([wanted, filter @ ..], [level, name @ ..]) if wanted == level => levels(filter, name),
            _ => false,
        }
    }
    let (filter, name): (Vec<_>, Vec<_>) = (filter.split('/').collect(), name.split('/').collect());
    let hidden = name[0].starts_with('$') && matches!(filter[0], "+" | "#");
    !hidden && levels(&filter, &name)
}

#[cfg(test)]
mod tests;
