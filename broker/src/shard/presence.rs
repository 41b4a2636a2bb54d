//! What the broker itself publishes: who is there and who is gone, on `$sys/peer/NUMBER`, and the wills of sessions that
//! ended without a GOODBYE.

use std::collections::VecDeque;

use laneway_proto::control::{Hello, PeerUpdate, Will};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::extensions::{MESSAGE_OPTIONS_BYTES_MAX, MessageOptions};
use laneway_proto::frame::ping::Ping;
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::limits::METADATA_BYTES_MAX;
use laneway_proto::time::{Duration, Instant};
use serde_json::json;

use super::{Body, Shard, service_of};
use crate::conn::Conn;
use crate::conn::about::About;
use crate::counters::CloseReason;
use crate::inbox::RunInfo;
use crate::io::Io;
use crate::mesh::Record;
use crate::outbox::{Blocked, Feeder};
use crate::retained::Publisher;
use crate::slab::Key;

/// Messages of the broker itself that may wait for room towards another shard; further ones are dropped and counted.
const OWN_MESSAGES_MAX: usize = 65_536;
/// Bytes of topics and payloads of those messages.
const OWN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The lane of what the broker tells of its peers: complete, and nothing waits for an older value.
const PRESENCE_LANE: u8 = 2;
/// The publisher of what nobody published: no connection has this key.
const NOBODY: Key = Key { slot: u32::MAX, generation: 0 };

/// A message of the broker itself.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Own {
    topic: String,
    lane: u8,
    retain: bool,
    payload: Vec<u8>,
}

impl From<Will> for Own {
    fn from(will: Will) -> Self {
        let Will { topic, payload, lane, retain } = will;
        Self { topic, lane: lane as u8, retain, payload }
    }
}

impl Own {
    const fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

/// What the broker itself publishes, in order, until there is room for it on its way.
#[derive(Debug, Default)]
pub(super) struct OwnQueue {
    messages: VecDeque<Own>,
    bytes: usize,
}

impl OwnQueue {
    /// False if it is full.
    fn push(&mut self, own: Own) -> bool {
        let fits = self.messages.len() < OWN_MESSAGES_MAX && self.bytes + own.bytes() <= OWN_BYTES_MAX;
        if fits {
            self.bytes += own.bytes();
            self.messages.push_back(own);
        }
        fits
    }

    fn pop(&mut self) -> Option<Own> {
        let own = self.messages.pop_front()?;
        self.bytes -= own.bytes();
        Some(own)
    }

    /// The one that was taken last was not published.
    fn put_back(&mut self, own: Own) {
        self.bytes += own.bytes();
        self.messages.push_front(own);
    }
}

/// Numbers of peers in the names of topics. They are used again, because a broker remembers every name it has seen: that
/// of the peer that has been gone longest first, once as many as are to be remembered are gone.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    made: u32,
    gone: VecDeque<u32>,
}

impl Numbers {
    fn take(&mut self, gone_max: u32) -> u32 {
        if self.gone.len() > gone_max as usize
            && let Some(number) = self.gone.pop_front()
        {
            return number;
        }
        self.made += 1;
        self.made - 1
    }

    fn give_back(&mut self, number: u32) {
        self.gone.push_back(number);
    }
}

impl<I: Io> Shard<I> {
    /// A session has begun.
    pub(super) fn introduce_peer(&mut self, key: Key, hello: &Hello) {
        let now = self.now();
        let tells = self.settings.peers.presence;
        let gone_max = self.settings.limits.peers_gone_max;
        let Some(conn) = self.conns.at_mut(key) else { return };
        let number = tells.then(|| self.numbers.take(gone_max));
        conn.about = Some(Box::new(About { number, ..About::new(hello) }));
        conn.heard = now;
        self.tell_peer(key, None);
    }

    /// The session has a link again.
    pub(super) fn reintroduce_peer(&mut self, key: Key) {
        let now = self.now();
        let Some(conn) = self.conns.at_mut(key) else { return };
        conn.heard = now;
        let Some(about) = &mut conn.about else { return };
        (about.is_down, about.asked) = (false, false);
        self.tell_peer(key, None);
    }

    /// A session's link is over, for good or not: others are told, once.
    pub(super) fn tell_gone(&mut self, key: Key, reason: CloseReason) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        let on_line = conn.line.is_some();
        let Some(about) = conn.about.as_mut() else { return };
        if std::mem::replace(&mut about.is_down, true) {
            return;
        }
        let reason = match reason {
            CloseReason::ConnectionFailed if on_line => "unplugged",
            CloseReason::PeerLeft if about.said_goodbye => "exit",
            CloseReason::PeerLeft | CloseReason::ConnectionFailed => "killed",
            CloseReason::Ours(code) => code.name(),
        };
        self.tell_peer(key, Some(reason));
    }

    /// A session is over for good: its will is published unless it said GOODBYE, and its number may be used again.
    pub(super) fn bury(&mut self, key: Key) {
        let Some(about) = self.conns.at_mut(key).and_then(|conn| conn.about.take()) else { return };
        let About { number, will, said_goodbye, .. } = *about;
        if let Some(number) = number {
            self.numbers.give_back(number);
        }
        if let Some(will) = will.filter(|_| !said_goodbye)
            && self.publish_own(will.into())
        {
            self.counters.wills_published += 1;
        }
    }

    /// A peer tells something else of itself.
    pub(super) fn on_peer_update(&mut self, key: Key, id: u32, update: PeerUpdate) {
        let bytes: usize = update.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            self.answer(key, id, CloseCode::Limit, "more than 4096 bytes of metadata; tell less");
            return;
        }
        let Some(about) = self.conns.at_mut(key).and_then(|conn| conn.about.as_mut()) else { return };
        if about.update(update) {
            self.tell_peer(key, None);
        }
        self.answer(key, id, CloseCode::Normal, "");
    }

    fn tell_peer(&mut self, key: Key, reason: Option<&str>) {
        let shards = u32::from(self.mesh.shards());
        let shard = self.mesh.shard();
        let Some(conn) = self.conns.at(key) else { return };
        let Some((about, number)) = conn.about.as_ref().and_then(|about| Some((about, about.number?))) else { return };
        let number = number * shards + u32::from(shard);
        let mut value = json!({
            "peer": number,
            "state": if reason.is_some() { "down" } else { "up" },
            "node": conn.node_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            "address": conn.name(),
            "session": conn.number,
            "roles": about.roles,
            "metadata": about.metadata,
            "version": about.version,
        });
        if let Some(reason) = reason {
            value["reason"] = reason.into();
        }
        let payload = value.to_string().into_bytes();
        let topic = format!("$sys/peer/{number}");
        self.publish_own(Own { topic, lane: PRESENCE_LANE, retain: true, payload });
    }

    /// Publishes what is to be known now, and not kept.
    pub(super) fn tell(&mut self, topic: String, value: &serde_json::Value) {
        let payload = value.to_string().into_bytes();
        self.publish_own(Own { topic, lane: PRESENCE_LANE, retain: false, payload });
    }

    /// False if it will not be published: the broker is leaving, or too much waits.
    fn publish_own(&mut self, own: Own) -> bool {
        if self.drain.is_some() {
            return false;
        }
        let taken = self.own.push(own);
        self.counters.own_dropped += u64::from(!taken);
        taken
    }

    /// Routes what the broker itself publishes, as far as there is room towards other shards.
    pub(super) fn route_own(&mut self) {
        while let Some(own) = self.own.pop() {
            if !self.route_one(&own) {
                self.own.put_back(own);
                return;
            }
        }
    }

    /// False if there is no room towards another shard.
    fn route_one(&mut self, own: &Own) -> bool {
        let Some(topic) = self.intern.intern(&own.topic) else {
            self.counters.own_dropped += 1;
            return true;
        };
        let mut block = [0; MESSAGE_OPTIONS_BYTES_MAX];
        let options = MessageOptions { retain: own.retain, ..MessageOptions::default() }.encode(&mut block);
        let flags = if own.retain { Flags::default().with(Flags::XHDR) } else { Flags::default() };
        self.own_seq = laneway_proto::header::seq_after(self.own_seq, 1);
        let header = Header {
            topic: topic.wire(),
            lane: own.lane,
            seq: self.own_seq,
            flags,
            ..Header::new(Kind::PUB, options.len() + own.payload.len())
        };
        let frame = [&header.encode()[..], options, &own.payload].concat();
        let info = RunInfo {
            topic,
            lane: own.lane,
            bytes: frame.len() as u32,
            frames: 1,
            messages: 1,
            seq_first: self.own_seq,
            seq_through: self.own_seq,
            receivers: 0,
            ttl_ms: 0,
            retain: own.retain,
        };
        let others =
            if own.retain { self.mesh.others_set() } else { self.router.route(topic).map_or(0, |route| route.shards) };
        let shards = (0..64u8).filter(|shard| others & 1 << shard != 0);
        if !shards.clone().all(|shard| self.mesh.has_room(shard, frame.len())) {
            return false;
        }
        let body = Body { head: &frame, pieces: &[] };
        self.deliver_here(None, &info, body, None);
        self.bound_own(&info);
        let mut stamp = 0;
        if info.retain {
            stamp = self.mesh.next_stamp();
            self.keep(Publisher { shard: self.mesh.shard(), key: NOBODY }, stamp, &info, body);
        }
        let record = Record {
            topic: info.topic.wire(),
            bytes: info.bytes,
            frames: 1,
            messages: 1,
            origin: NOBODY,
            lane: info.lane,
            ttl_ms: 0,
            ticket: None,
            stamp,
        };
        for shard in shards {
            self.mesh.push_run(shard, &record, body.head, body.pieces, self.io.pool_mut());
            self.counters.runs_crossed += 1;
        }
        true
    }

    /// The broker cannot be stopped, but a reader that is full now is given its time as with any other publisher.
    fn bound_own(&mut self, info: &RunInfo) {
        let now = self.now();
        let me = self.mesh.shard();
        let nobody = Blocked { feeder: Feeder { shard: me, key: NOBODY }, lane: info.lane };
        let Self { router, conns, settings, blocked, .. } = self;
        let Some(route) = router.route(info.topic) else { return };
        for target in &route.targets {
            let Some(conn) = conns.slot_mut(target.slot) else { continue };
            let service = service_of(&target.options, info.lane, info.ttl_ms, settings);
            if conn.closing.is_none() && conn.outbox.is_full(&service) && conn.outbox.block(&service, nobody, now) {
                blocked.push(target.slot);
            }
        }
        while let Some(slot) = self.blocked.pop() {
            self.arm_slot_timer(slot);
        }
    }

    /// Looks after a peer that may have been silent for too long: asks it at half of its time. True if it is dead.
    pub(super) fn watch(&mut self, now: Instant, key: Key) -> bool {
        let Some(conn) = self.conns.at_mut(key) else { return false };
        let deaf = conn.is_stopped() || !conn.receiving.hears();
        let Some(due) = watch_deadline(conn).filter(|&due| due <= now) else { return false };
        let Some(about) = &mut conn.about else { return false };
        if deaf {
            // We do not listen, so it is not its fault that we hear nothing.
            (conn.heard, about.asked) = (now, false);
            return false;
        }
        if about.asked && due == conn.heard + about.dead_after {
            return true;
        }
        about.asked = true;
        self.push_control_bytes(key, &Ping { t0: now.0 }.encode());
        false
    }
}

/// When a peer that has said after how much silence it is dead is to be looked after; `None`: never.
pub(super) fn watch_deadline(conn: &Conn) -> Option<Instant> {
    let about = conn.about.as_ref().filter(|about| about.dead_after > Duration::default())?;
    if conn.closing.is_some() || conn.is_away() {
        return None;
    }
    Some(conn.heard + if about.asked { about.dead_after } else { Duration(about.dead_after.0 / 2) })
}

#[cfg(test)]
mod tests {
    use super::{Numbers, OWN_BYTES_MAX, OWN_MESSAGES_MAX, Own, OwnQueue};

    fn own(bytes: usize) -> Own {
        Own { topic: String::new(), lane: 2, retain: false, payload: vec![0; bytes] }
    }

    #[test]
    fn what_the_broker_publishes_is_bounded_in_messages_and_in_bytes() {
        let mut queue = OwnQueue::default();
        assert_eq!((0..=OWN_MESSAGES_MAX).filter(|_| queue.push(own(1))).count(), OWN_MESSAGES_MAX);
        let mut queue = OwnQueue::default();
        assert!(queue.push(own(OWN_BYTES_MAX - 1)) && !queue.push(own(2)) && queue.push(own(1)));
        let first = queue.pop().expect("it was taken");
        assert!(queue.push(own(OWN_BYTES_MAX - 1)), "what has left makes room");
        queue.put_back(first);
        assert_eq!(queue.pop().map(|own| own.payload.len()), Some(OWN_BYTES_MAX - 1), "what is put back is next");
    }

    #[test]
    fn numbers_are_used_again_when_enough_peers_are_gone_the_longest_first() {
        let mut numbers = Numbers::default();
        assert_eq!([numbers.take(2), numbers.take(2), numbers.take(2)], [0, 1, 2]);
        numbers.give_back(1);
        numbers.give_back(0);
        assert_eq!(numbers.take(2), 3, "two that are gone are remembered");
        numbers.give_back(2);
        assert_eq!(numbers.take(2), 1);
        assert_eq!(numbers.take(2), 4);
    }
}
