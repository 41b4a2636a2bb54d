//! Last values: runs that ask to be kept go into this shard's store, and new subscribers are sent what is in it.

use std::sync::Arc;

use super::{Body, Shard, declare, gather, service_of};
use crate::config::Settings;
use crate::conn::Conn;
use crate::counters::{CloseReason, Counters};
use crate::inbox::RunInfo;
use crate::intern::TopicIndex;
use crate::io::Io;
use crate::mesh::Envelope;
use crate::outbox::Frames;
use crate::outbox::frames::walk;
use crate::pool::Pool;
use crate::retained::replay::Next;
use crate::retained::{Kept, Note, Publisher, Retained};
use crate::router::{SubOptions, Subscriber, Target};
use crate::slab::{Key, Slab};
use laneway_proto::error::CloseCode;
use laneway_proto::time::Instant;

/// Names of kept topics that are looked at in one turn, for all new subscribers together.
const NAMES_PER_TURN_MAX: u32 = 4_096;
/// The same for one of them.
const NAMES_PER_TURN_EACH: u32 = 512;

/// What it takes to put a kept value into an outbox.
pub(super) struct Keeper<'a> {
    pub(super) now: Instant,
    pub(super) shard: u8,
    pub(super) retained: &'a Retained,
    pub(super) settings: &'a Settings,
    pub(super) pool: &'a mut Pool,
    pub(super) counters: &'a mut Counters,
    pub(super) gathered: &'a mut Vec<u8>,
}

impl<I: Io> Shard<I> {
    /// Keeps a run that asks for it. It has been delivered.
    #[cold]
    pub(super) fn keep(&mut self, publisher: Publisher, stamp: u64, info: &RunInfo, body: Body<'_>) {
        let now = self.now();
        let Self { router, retained, gathered, io, counters, log_budget, .. } = self;
        let Some(route) = router.route(info.topic) else { return };
        let frame = gather(gathered, body, info.lane, io.pool());
        let RunInfo { topic, lane, ttl_ms, .. } = *info;
        let note = Note { topic, name: &route.name, publisher, stamp, lane, ttl_ms, now };
        if retained.put(&note, frame) == Kept::Refused {
            counters.retained_refused += 1;
            if log_budget.take(now) {
                let topic = &*route.name;
                tracing::warn!(
                    topic,
                    "a value is not kept; raise limits.retained_topics_max or limits.retained_bytes_max"
                );
            }
        }
    }

    /// A local publisher is gone: what it has not finished is forgotten everywhere.
    pub(super) fn abandon(&mut self, key: Key) {
        let publisher = Publisher { shard: self.mesh.shard(), key };
        if self.retained.forget(publisher) {
            for shard in self.mesh.others() {
                self.mesh.post_last(shard, Envelope::Abandoned { publisher: key });
            }
        }
    }

    /// Subscriptions to these filters come into effect, with the values that their topics have now.
    pub(super) fn begin_replay(&mut self, key: Key, filters: Vec<Arc<str>>) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        if conn.closing.is_some() {
            return;
        }
        let subscriber = Subscriber::Local(key.slot);
        let mut in_effect = filters;
        in_effect.retain(|filter| self.router.activate(filter, subscriber));
        conn.replay.get_or_insert_default().add(in_effect, &self.retained);
        self.line_up_replay(key);
    }

    pub(super) fn line_up_replay(&mut self, key: Key) {
        let Some(replay) = self.conns.at_mut(key).and_then(|conn| conn.replay.as_mut()) else { return };
        if !replay.in_line {
            replay.in_line = true;
            self.replaying.push_back(key);
        }
    }

    /// Goes on with the replays that may have room.
    pub(super) fn replay(&mut self) {
        let mut names = NAMES_PER_TURN_MAX;
        for _ in 0..self.replaying.len() {
            let Some(key) = self.replaying.pop_front() else { break };
            let mut budget = names.min(NAMES_PER_TURN_EACH);
            names -= budget;
            let goes_on = budget == 0 || self.replay_to(key, &mut budget);
            names += budget;
            if let Some(replay) = self.conns.at_mut(key).and_then(|conn| conn.replay.as_mut()) {
                replay.in_line = goes_on;
                if goes_on {
                    self.replaying.push_back(key);
                }
            }
        }
    }

    /// Sends one subscriber what its queues have room for. True if there is more to do at once.
    fn replay_to(&mut self, key: Key, budget: &mut u32) -> bool {
        let now = self.now();
        loop {
            let Self { conns, router, retained, settings, io, counters, gathered, mesh, .. } = self;
            let Some(conn) = conns.at_mut(key) else { return false };
            let Some(replay) = &mut conn.replay else { return false };
            let (topic, since) = match replay.next(retained, budget) {
                Next::Topic(topic, since) => (topic, since),
                Next::Later => return true,
                Next::Done => {
                    conn.replay = None;
                    return false;
                }
            };
            if retained.expire(topic, now) {
                counters.retained_expired += 1;
            }
            let Some(route) = router.route(topic) else { continue };
            let Ok(place) = route.targets.binary_search_by_key(&key.slot, |target| target.slot) else { continue };
            declare(conn, topic, &route.name, io.pool_mut());
            let shard = mesh.shard();
            let pool = io.pool_mut();
            let mut keeper = Keeper { now, shard, retained, settings, pool, counters, gathered };
            let pushed = keeper.push(key, conn, &route.targets[place].options, topic, since);
            self.mark_dirty(key);
            match pushed {
                Pushed::Room => {}
                Pushed::Full => return false,
                Pushed::Overflow => {
                    self.abort(key, CloseReason::Ours(CloseCode::SlowConsumer));
                    return false;
                }
            }
        }
    }
}

/// How a subscriber's queue stands after a value was put into it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pushed {
    /// There is room for more.
    Room,
    /// It is half full: more when something was sent.
    Full,
    /// It has no room, and its policy is to end the session.
    Overflow,
}

impl Keeper<'_> {
    /// Before the first run of a topic since subscriptions changed: tells a session the topic's name, and what it stood
    /// at, if it asked for that and has not got it.
    #[cold]
    pub(super) fn introduce(
        &mut self,
        conns: &mut Slab<Conn>,
        target: &Target,
        topic: TopicIndex,
        name: &str,
    ) -> Pushed {
        let Some(key) = conns.key_at(target.slot) else { return Pushed::Room };
        let Some(conn) = conns.at_mut(key) else { return Pushed::Room };
        declare(conn, topic, name, self.pool);
        let since = conn.replay.as_mut().and_then(|replay| replay.overtake(topic, name, self.retained));
        since.map_or(Pushed::Room, |since| self.push(key, conn, &target.options, topic, since))
    }

    /// Puts what a topic stood at `since` changes ago into the outbox of connection `key`.
    pub(super) fn push(
        &mut self,
        key: Key,
        conn: &mut Conn,
        options: &SubOptions,
        topic: TopicIndex,
        since: u64,
    ) -> Pushed {
        let Self { now, shard, retained, settings, .. } = *self;
        let mut pushed = Pushed::Room;
        for piece in retained.pieces(topic, since, now) {
            if options.no_echo && piece.publisher == (Publisher { shard, key }) {
                continue;
            }
            let info = RunInfo {
                topic,
                lane: piece.lane,
                bytes: piece.frames.len() as u32,
                frames: 1,
                messages: 1,
                seq_first: 0,
                seq_through: 0,
                receivers: 0,
                ttl_ms: piece.ttl_ms,
                retain: true,
            };
            let service = service_of(options, info.lane, info.ttl_ms, settings);
            let Self { pool, counters, gathered, .. } = self;
            walk(piece.frames, |frame, shape| {
                let mut whole = frame;
                if service.lane != piece.lane {
                    gathered.clear();
                    gathered.extend_from_slice(frame);
                    gathered[8] = service.lane;
                    whole = gathered;
                }
                let (topic, count, mark) = (topic.wire(), 1, None);
                let frames = Frames { topic, head: whole, pieces: &[], whole, share: false, count, mark };
                if conn.outbox.push(now, &service, &frames, &settings.lanes, pool, &mut counters.dropped) {
                    pushed = Pushed::Overflow;
                }
                counters.on_out(service.lane, shape.messages);
                counters.retained_replayed += u64::from(shape.messages);
            });
            if pushed == Pushed::Room && !conn.outbox.is_half_empty(&service) {
                pushed = Pushed::Full;
            }
        }
        pushed
    }
}
