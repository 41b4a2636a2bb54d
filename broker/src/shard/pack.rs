//! Runs of small messages that many subscribers get are made shorter once, for all of them.
//!
//! A plain message of 64 bytes is 80 on the link and 66 in a BATCH; what the kernel copies for each subscriber is most of
//! what a message costs. Nothing waits for it: only what has come together is packed together.

use laneway_proto::framing::pack::{self, PACKED_FRAME_BYTES_MAX, PACKED_MESSAGE_BYTES_MAX};
use laneway_proto::lane::policy::Policy;
use laneway_proto::limits::HEADER_BYTES;

use super::{Body, Shard, service_of};
use crate::conn::Conn;
use crate::inbox::RunInfo;
use crate::io::Io;
use crate::pool::Piece;

/// Subscribers from which on a run is packed: each saves the kernel 14 of 80 bytes a message, and for two that is not more
/// than the pass over the run costs (decision 0023).
const SUBSCRIBERS_MIN: usize = 3;
/// Messages from which on a run is packed.
const MESSAGES_MIN: u32 = 8;

impl<I: Io> Shard<I> {
    /// Packs a run that is about to be routed, if all who get it want every message, are reached by a stream and have room
    /// for a packed frame. Its bytes are nobody else's yet. Returns what is to be routed instead.
    pub(super) fn pack(&mut self, info: &RunInfo, body: Body<'_>) -> Option<(RunInfo, Piece)> {
        let &[piece] = body.pieces else { return None };
        let plain = body.head.is_empty() && info.receivers == 0 && info.ttl_ms == 0 && !info.retain;
        let small = info.bytes <= info.frames * (HEADER_BYTES + PACKED_MESSAGE_BYTES_MAX) as u32;
        if !plain || !small || info.frames < MESSAGES_MIN || info.messages != info.frames {
            return None;
        }
        let Self { router, conns, settings, io, counters, .. } = self;
        let route = router.route(info.topic)?;
        let all_take = route.targets.len() >= SUBSCRIBERS_MIN
            && route.shards == 0
            && route.targets.iter().all(|target| {
                let service = service_of(&target.options, info.lane, 0, settings);
                let takes_all = service.policy == Policy::Block && service.rate_hz == 0 && service.lane == info.lane;
                let fits = |conn: &Conn| conn.outbox.ever_fits(info.lane, PACKED_FRAME_BYTES_MAX as u64);
                takes_all && conns.slot(target.slot).is_some_and(|conn| conn.takes_batches && fits(conn))
            });
        if !all_take {
            return None;
        }
        let pool = io.pool_mut();
        let packed = pack::pack(pool.piece_mut(piece))?;
        counters.runs_packed += 1;
        let start = packed.start as u32;
        let piece = Piece { start: piece.start + start, len: piece.len - start, ..piece };
        Some((RunInfo { bytes: piece.len, frames: packed.frames, ..*info }, piece))
    }
}
