//! One run to everybody who wants it: shared or copied into local outboxes, copied once towards each interested shard.

use laneway_proto::control::{Body as ControlBody, Control, DeclareTopics, Topic};
use laneway_proto::error::CloseCode;
use laneway_proto::lane::policy::Policy;

use super::{Keeper, Pushed, Shard};
use crate::config::Settings;
use crate::conn::Conn;
use crate::counters::CloseReason;
use crate::inbox::RunInfo;
use crate::intern::TopicIndex;
use crate::io::Io;
use crate::mesh::{Mesh, Record};
use crate::outbox::counted::Mark;
use crate::outbox::{Blocked, Feeder, Frames, Service};
use crate::pool::{Piece, Pool};
use crate::retained::{Publisher, TTL_NEVER};
use crate::router::SubOptions;
use crate::slab::Key;

/// Whether a run got through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// Everybody has it.
    Passed,
    /// Nobody has it; its publisher was stopped and will be resumed.
    Stopped,
}

/// The bytes of a run: `head`, then the pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'a> {
    pub(super) head: &'a [u8],
    pub(super) pieces: &'a [Piece],
}

impl<I: Io> Shard<I> {
    /// Routes a run of a local publisher, to all or to nobody.
    pub(super) fn deliver(&mut self, origin: Key, info: &RunInfo, body: Body<'_>) -> Flow {
        if self.stop_if_blocked(origin, info) || self.stop_if_ahead(origin, info) {
            return Flow::Stopped;
        }
        self.counters.on_run_in(info.lane, info.frames, info.messages);
        match self.pack(info, body) {
            Some((packed, piece)) => self.spread(origin, &packed, Body { head: &[], pieces: &[piece] }),
            None => self.spread(origin, info, body),
        }
        Flow::Passed
    }

    /// Gives a run to everybody who wants it: all of them have room.
    fn spread(&mut self, origin: Key, info: &RunInfo, body: Body<'_>) {
        let mark = if info.receivers == 0 { None } else { self.track(origin, info) };
        self.deliver_here(Some(origin), info, body, mark);
        let mut stamp = 0;
        if info.retain {
            stamp = self.mesh.next_stamp();
            self.keep(Publisher { shard: self.mesh.shard(), key: origin }, stamp, info, body);
        }
        let Self { router, mesh, io, counters, .. } = self;
        let Some(route) = router.route(info.topic) else { return };
        if route.targets.is_empty() && route.shards == 0 {
            counters.runs_unrouted += 1;
        }
        let record = Record {
            topic: info.topic.wire(),
            bytes: info.bytes,
            frames: info.frames,
            messages: info.messages,
            origin,
            lane: info.lane,
            ttl_ms: info.ttl_ms,
            ticket: mark.map(|mark| mark.ticket),
            stamp,
        };
        for shard in bits(shards_of(route.shards, info, mesh)) {
            mesh.push_run(shard, &record, body.head, body.pieces, io.pool_mut());
            counters.runs_crossed += 1;
        }
    }

    /// Stops the publisher if a queue it feeds is full and blocks, or the way to another shard is full.
    fn stop_if_blocked(&mut self, origin: Key, info: &RunInfo) -> bool {
        let Self { router, conns, mesh, settings, .. } = self;
        let Some(route) = router.route(info.topic) else { return false };
        let full = route.targets.iter().find_map(|target| {
            let conn = conns.slot(target.slot)?;
            let service = service_of(&target.options, info.lane, info.ttl_ms, settings);
            (conn.closing.is_none() && conn.outbox.is_full(&service)).then_some((target.slot, service))
        });
        if let Some((slot, service)) = full {
            self.block_on(slot, &service, origin, info.lane);
            return true;
        }
        if bits(shards_of(route.shards, info, mesh)).all(|shard| mesh.has_room(shard, info.bytes as usize)) {
            return false;
        }
        self.counters.paused_by_mesh += 1;
        if let Some(conn) = self.conns.at_mut(origin)
            && !conn.waits_for_mesh
        {
            conn.waits_for_mesh = true;
            let keeps_credit = conn.inbox.granted.is_some();
            self.mesh_waiters.push(origin);
            if !keeps_credit {
                self.stop_receiving(origin);
            }
        }
        true
    }

    /// Stops the publisher for a while if it is ahead of its rate.
    fn stop_if_ahead(&mut self, origin: Key, info: &RunInfo) -> bool {
        let now = self.now();
        let Some(conn) = self.conns.at_mut(origin) else { return false };
        let Some(paced) = &mut conn.paced else { return false };
        let (stopped, stops) = (paced.is_stopped(), paced.stops(now, info.bytes));
        if stops && !stopped {
            let keeps_credit = conn.inbox.granted.is_some();
            self.counters.paused_by_rate += 1;
            self.arm_timer(origin);
            if !keeps_credit {
                self.stop_receiving(origin);
            }
        }
        stops
    }

    fn block_on(&mut self, slot: u32, service: &Service, origin: Key, lane: u8) {
        let now = self.now();
        let me = self.mesh.shard();
        self.counters.paused_by_outbox += 1;
        let Some(reader) = self.conns.slot_mut(slot) else { return };
        let stopped = Blocked { feeder: Feeder { shard: me, key: origin }, lane };
        if reader.outbox.block(service, stopped, now) {
            self.stop_publisher(origin, lane);
        }
        self.arm_slot_timer(slot);
    }

    /// Puts a run into the outboxes of local subscribers. `origin` is the publisher if it is local, too; `mark` says whom to
    /// tell when the run is received.
    pub(super) fn deliver_here(&mut self, origin: Option<Key>, info: &RunInfo, body: Body<'_>, mark: Option<Mark>) {
        let now = self.now();
        let me = self.mesh.shard();
        let Self { router, conns, io, counters, dirty, settings, gathered, overflowed, retained, .. } = self;
        let Some(route) = router.route(info.topic) else { return };
        let pool = io.pool_mut();
        let share =
            body.pieces.first().is_some_and(|&piece| is_shared(Piece { len: info.bytes, ..piece }, settings, pool));
        let (topic, count) = (info.topic.wire(), info.frames);
        let all = Frames { topic, head: body.head, pieces: body.pieces, whole: &[], share, count, mark };
        for target in &mut route.targets {
            if target.options.no_echo && origin.is_some_and(|origin| origin.slot == target.slot) {
                continue;
            }
            if !target.declared {
                target.declared = true;
                let mut keeper = Keeper { now, shard: me, retained, settings, pool, counters, gathered };
                if keeper.introduce(conns, target, info.topic, &route.name) == Pushed::Overflow {
                    overflowed.push(target.slot);
                    continue;
                }
            }
            let Some(conn) = conns.slot_mut(target.slot) else { continue };
            let service = service_of(&target.options, info.lane, info.ttl_ms, settings);
            let lanes = &settings.lanes;
            // Nobody knows when it comes back.
            let all = Frames { share: share && !conn.is_away(), ..all };
            let overflow = if service.lane != info.lane || needs_whole(&service) {
                let frames = Frames { whole: gather(gathered, body, service.lane, pool), ..all };
                let frames = match service.lane == info.lane {
                    true => frames,
                    false => Frames { head: frames.whole, pieces: &[], ..frames },
                };
                conn.outbox.push(now, &service, &frames, lanes, pool, &mut counters.dropped)
            } else {
                conn.outbox.push(now, &service, &all, lanes, pool, &mut counters.dropped)
            };
            if overflow {
                overflowed.push(target.slot);
                continue;
            }
            counters.on_out(service.lane, info.messages);
            if share {
                counters.runs_shared += 1;
            } else {
                counters.runs_copied += 1;
            }
            if !conn.dirty {
                conn.dirty = true;
                dirty.push(target.slot);
            }
        }
        self.end_overflowed();
    }

    /// Ends the sessions whose queue had no room and whose policy says so.
    fn end_overflowed(&mut self) {
        while let Some(slot) = self.overflowed.pop() {
            if let Some(key) = self.conns.key_at(slot) {
                self.abort(key, CloseReason::Ours(CloseCode::SlowConsumer));
            }
        }
    }

    /// Publishers that waited for room towards another shard try again.
    pub(super) fn retry_mesh_waiters(&mut self) {
        let mut waiters = std::mem::take(&mut self.mesh_waiters);
        for key in waiters.drain(..) {
            if let Some(conn) = self.conns.at_mut(key) {
                conn.waits_for_mesh = false;
                self.line_up(key);
            }
        }
        self.mesh_waiters = waiters;
    }
}

/// How a subscription is served with a run on `lane` that asks for `asked_ttl_ms`, as [`RunInfo`] has it: what it asked for, else what the lane says, else what the broker is set to.
pub(super) fn service_of(options: &SubOptions, lane: u8, asked_ttl_ms: u32, settings: &Settings) -> Service {
    let lane = options.lane.unwrap_or(lane);
    let (policy, queue_bytes, ttl_ms) =
        settings.lanes.get(lane).map_or((Policy::Block, 0, 0), |spec| (spec.policy, spec.queue_bytes, spec.ttl_ms));
    let first = |values: [u32; 3]| values.into_iter().find(|&value| value > 0).unwrap_or(0);
    Service {
        lane,
        policy: options.policy.unwrap_or(policy),
        bytes_max: first([options.queue_bytes, queue_bytes, settings.limits.outbox_bytes_max]),
        rate_hz: options.max_rate_hz,
        ttl_ms: match asked_ttl_ms {
            TTL_NEVER => 0,
            asked => [asked, options.ttl_ms, ttl_ms].into_iter().filter(|&ms| ms > 0).min().unwrap_or(0),
        },
    }
}

/// Whether a run, which begins with this buffer and has so many bytes, is queued by reference: it is long enough, and slow
/// readers do not hold most buffers.
pub(super) fn is_shared(run: Piece, settings: &Settings, pool: &Pool) -> bool {
    run.len >= settings.pools.copy_below_bytes && !pool.pressed(pool.home(run.buf), settings.pools.mesh_chunks_max)
}

/// Whether single frames are looked at as they come.
const fn needs_whole(service: &Service) -> bool {
    service.rate_hz > 0 || matches!(service.policy, Policy::Conflate | Policy::DropNewest)
}

/// Copies a run into one piece of memory, its frames on `lane`.
pub(super) fn gather<'a>(memory: &'a mut Vec<u8>, body: Body<'_>, lane: u8, pool: &Pool) -> &'a [u8] {
    memory.clear();
    memory.extend_from_slice(body.head);
    body.pieces.iter().for_each(|&piece| memory.extend_from_slice(pool.piece(piece)));
    let mut at = 0;
    while let Some([l0, l1, _, _, _, _, _, _, frame_lane]) = memory.get_mut(at..at + 9) {
        *frame_lane = lane;
        at += usize::from(u16::from_le_bytes([*l0, *l1]));
    }
    memory
}

/// Tells a session a topic's name, unless it was told before.
#[cold]
pub(super) fn declare(conn: &mut Conn, topic: TopicIndex, name: &str, pool: &mut Pool) {
    if !conn.told.insert(topic) {
        return;
    }
    let topic = Topic { id: topic.wire(), name: name.into(), ..Topic::default() };
    let frame = Control::new(ControlBody::DeclareTopics(DeclareTopics { topics: vec![topic] })).to_frame();
    conn.outbox.push_control(&frame, pool);
}

/// Shards a run goes to: those with interest, or all others if each is to keep it.
fn shards_of(interested: u64, info: &RunInfo, mesh: &Mesh) -> u64 {
    if info.retain { mesh.others_set() } else { interested }
}

/// The numbers of the bits set.
fn bits(mut set: u64) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let bit = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (bit < 64).then_some(bit as u8)
    })
}

#[cfg(test)]
mod tests {
    use super::bits;

    #[test]
    fn the_bits_of_a_set_come_in_order() {
        assert_eq!(bits(0).count(), 0);
        assert_eq!(bits(1 | 1 << 5 | 1 << 63).collect::<Vec<_>>(), [0, 5, 63]);
    }
}
