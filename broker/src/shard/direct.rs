//! The shortest way, for what is most frequent: plain messages, of which nothing is asked, to a topic with one subscriber,
//! which is here and has room.
//!
//! Publisher, route and queue are looked up once each. Whatever is any different is left to `receive` and `deliver`, with
//! nothing of it done.

use laneway_proto::framing::run::{self, Run};
use laneway_proto::header::Header;
use laneway_proto::lane::policy::Policy;
use laneway_proto::limits::FRAME_BYTES_MAX;

use super::{Shard, is_shared, service_of};
use crate::conn::TopicMap;
use crate::io::Io;
use crate::outbox::Frames;
use crate::pool::Piece;
use crate::router::{Route, Target};
use crate::slab::Key;

impl<I: Io> Shard<I> {
    /// Routes runs from the front of a piece as long as they may go this way. Returns their bytes.
    pub(super) fn take_direct(&mut self, key: Key, piece: Piece) -> u32 {
        let Some(conn) = self.conns.at_mut(key) else { return 0 };
        if self.drain.is_some() || !conn.is_plain() {
            return 0;
        }
        // The publisher's own connection is not looked at again: it may be the subscriber's, too.
        let topics = std::mem::take(&mut conn.topics);
        let mut confirms = conn.confirms.take();
        let mut lasting = conn.lasting.take();
        let window_bytes = u64::from(self.settings.limits.lane_credit_bytes);
        let mut granted = if conn.granted(window_bytes).is_some() { conn.inbox.granted.take() } else { None };
        let mut arrived = Ok(());
        let now = self.now();
        let (mut taken, mut confirms_due) = (0, false);
        while taken < piece.len {
            let rest = Piece { start: piece.start + taken, len: piece.len - taken, ..piece };
            let Some((front, run)) = self.pass_direct(key, &topics, rest) else { break };
            taken += run.bytes as u32;
            if let Some(granted) = &mut granted {
                arrived = granted.on_received(front.lane, run.bytes as u32);
                if arrived.is_err() {
                    break;
                }
                granted.on_passed(front.lane, run.bytes as u32);
            }
            if let Some(lasting) = &mut lasting {
                lasting.tally.on_received(now, front.lane, run.frames);
                lasting.tally.on_bytes(run.bytes as u32);
            }
            if let Some(confirms) = &mut confirms {
                confirms_due |= confirms.on_accepted(now, front.lane, run.seq_through);
            }
        }
        if let Some(conn) = self.conns.at_mut(key) {
            (conn.topics, conn.confirms, conn.lasting) = (topics, confirms, lasting);
            conn.inbox.granted = granted;
            if taken > 0 && conn.lasting.is_some() {
                self.list_counts(key);
            }
        }
        if confirms_due {
            self.arm_timer(key);
        }
        if let Err(fault) = arrived {
            self.fail(key, fault);
        }
        taken
    }

    /// Routes the run in front; `None`, and nothing is done, if it has to go another way.
    #[inline]
    fn pass_direct(&mut self, origin: Key, topics: &TopicMap, rest: Piece) -> Option<(Header, Run)> {
        let Self { router, conns, io, counters, dirty, settings, .. } = self;
        let now = io.now();
        let pool = io.pool_mut();
        let front = run::plain_front(pool.piece(rest))?;
        let topic = topics.at(front.topic)?;
        let Some(Route { targets, shards: 0, .. }) = router.route(topic) else { return None };
        let &[Target { slot, declared: true, options }] = targets.as_slice() else { return None };
        if options.no_echo && origin.slot == slot {
            return None;
        }
        let conn = conns.slot_mut(slot)?;
        if conn.is_away() {
            return None;
        }
        let service = service_of(&options, front.lane, 0, settings);
        if service.rate_hz > 0
            || service.policy != Policy::Block
            || service.lane != front.lane
            || conn.closing.is_some()
        {
            return None;
        }
        let place = conn.outbox.place_with_room(&service)?;
        let bytes = pool.piece_mut(rest);
        let message_bytes_max = settings.limits.message_bytes_max;
        let run = run::take_run(bytes, &front, topic.wire(), FRAME_BYTES_MAX, message_bytes_max).ok()?;
        let piece = Piece { len: run.bytes as u32, ..rest };
        let share = is_shared(piece, settings, pool);
        conn.outbox.push_at(place, now, &service, &Frames::plain(topic.wire(), &piece, share, run.frames), pool);
        counters.on_run_in(front.lane, run.frames, run.messages);
        counters.on_out(service.lane, run.messages);
        *if share { &mut counters.runs_shared } else { &mut counters.runs_copied } += 1;
        if !conn.dirty {
            conn.dirty = true;
            dirty.push(slot);
        }
        Some((front, run))
    }
}
