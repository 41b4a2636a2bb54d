//! What must be true of publishes whose publisher wants to know: what it is told is so, and nobody gets a message twice.

use std::collections::BTreeSet;

use laneway_proto::lane::table::LaneTable;

use super::{Oracle, Published, SessionId};

/// Publisher, lane and place.
type Name = (SessionId, u8, usize);

impl Published {
    /// Whether it may come behind newer ones of its lane: where order is not promised, it may be sent again for somebody who
    /// came later.
    pub(super) fn may_be_late(&self) -> bool {
        self.again && LaneTable::STANDARD.get(self.lane).is_some_and(|spec| !spec.kind.is_ordered())
    }
}

impl Oracle {
    /// The session publishes a message that is sent again until enough have it; otherwise as [`Self::publish`].
    pub fn publish_again(&mut self, id: SessionId, topic: &str, lane: u8, len: usize) -> (u32, Vec<u8>) {
        let published = self.publish(id, topic, lane, len);
        if let Some(last) = self.session(id).lanes.get_mut(&lane).and_then(|lane| lane.last_mut()) {
            last.again = true;
        }
        published
    }

    /// The publisher was told that its message is at the broker, and at `receivers` sessions of the `wanted`.
    pub fn settle(&mut self, id: SessionId, lane: u8, seq: u32, wanted: u16, receivers: u16) {
        let now = self.tick();
        let place = seq as usize - 1;
        let published = self.session(id).lanes.get_mut(&lane).and_then(|lane| lane.get_mut(place));
        let Some(published) = published else {
            self.broke(format!("session {} never published number {seq} of lane {lane}", id.0));
            return;
        };
        if !published.forgiven {
            published.accepted.get_or_insert(now);
        }
        if receivers < wanted {
            self.broke(format!("session {} is content with {receivers} receivers of {wanted}", id.0));
        }
        self.confirmed.push(((id, lane, place), receivers));
    }

    /// What a session receives from now on, or has received and not taken, is not heard of.
    pub fn excuse(&mut self, id: SessionId) {
        self.session(id).excused = true;
    }

    /// Whether the session is to take no notice of a message, as it has it. An error if it should not have come.
    pub(super) fn comes_again(&self, id: SessionId, name: Name, next: usize) -> Result<bool, String> {
        let (from, lane, place) = name;
        let published = &self.sessions[from.0 as usize].lanes[&lane][place];
        let again = published.again;
        let session = &self.sessions[id.0 as usize];
        // The library drops what it has; who speaks by hand has to know it himself.
        let by_hand = session.link.is_none();
        if again && session.got.contains(&name) {
            return if by_hand { Ok(true) } else { Err("it had been delivered before".into()) };
        }
        if place < next && !published.may_be_late() {
            return Err(format!("number {next} of session {} had been delivered before it", from.0));
        }
        Ok(false)
    }

    /// Messages that fewer sessions got than their publisher was told.
    pub(super) fn unreached(&self) -> Vec<String> {
        let link_of = |index: usize| self.sessions[index].link.map_or(index, |link| link.0 as usize);
        let short = |&(name, receivers): &(Name, u16)| {
            let has = |index: &usize| {
                let session = &self.sessions[*index];
                session.excused || session.got.contains(&name)
            };
            let links: BTreeSet<usize> = (0..self.sessions.len()).filter(has).map(link_of).collect();
            let (from, lane, place) = name;
            (links.len() < usize::from(receivers)).then(|| {
                format!(
                    "{} sessions have number {} of session {}, lane {lane}, which was told of {receivers}",
                    links.len(),
                    place + 1,
                    from.0
                )
            })
        };
        self.confirmed.iter().filter(|(_, receivers)| *receivers > 0).filter_map(short).collect()
    }

    /// Publishes that were confirmed so far, at whichever level.
    pub fn confirmed(&self) -> usize {
        self.confirmed.len()
    }
}
