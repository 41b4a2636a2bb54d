//! One plain struct of numbers per shard; no atomics.

use laneway_proto::error::CloseCode;
use laneway_proto::frame::lost::LossReason;

/// Why a connection ended, as counted and logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CloseReason {
    /// The peer said goodbye or closed its side.
    PeerLeft,
    /// The operating system reported a failure.
    ConnectionFailed,
    /// We ended it, with this code.
    Ours(CloseCode),
}

impl CloseReason {
    /// How many there are.
    pub const COUNT: usize = CloseCode::ALL.len() + 2;

    /// Every reason, by index.
    pub fn all() -> impl Iterator<Item = Self> {
        CloseCode::ALL.into_iter().map(Self::Ours).chain([Self::PeerLeft, Self::ConnectionFailed])
    }

    /// Its place in [`Counters::closed`].
    pub const fn index(self) -> usize {
        match self {
            Self::Ours(code) => code as usize,
            Self::PeerLeft => CloseCode::ALL.len(),
            Self::ConnectionFailed => CloseCode::ALL.len() + 1,
        }
    }

    /// The word used in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ours(code) => code.name(),
            Self::PeerLeft => "peer_left",
            Self::ConnectionFailed => "connection_failed",
        }
    }
}

/// Messages dropped, by [`LossReason::index`].
pub type Drops = [u64; LossReason::ALL.len()];

/// What one shard has counted since it started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Connections accepted, those refused at once included.
    pub accepted: u64,
    /// Connections closed at once because too many others were already being refused politely.
    pub refused_at_once: u64,
    /// Times accepting paused because the system had no descriptor or memory left.
    pub accept_paused: u64,
    /// New connections of which the system refused an option; they work without it.
    pub options_refused: u64,
    /// Sessions that reached WELCOME.
    pub welcomed: u64,
    /// Sessions refused with REJECT.
    pub rejected: u64,
    /// Connections ended, by [`CloseReason::index`].
    pub closed: [u64; CloseReason::COUNT],
    /// Bytes received.
    pub bytes_in: u64,
    /// Data frames accepted from publishers.
    pub frames_in: u64,
    /// Messages in them.
    pub messages_in: u64,
    /// Runs routed: the unit of routing work.
    pub runs: u64,
    /// Messages handed to local subscribers' outboxes.
    pub messages_out: u64,
    /// Messages dropped instead of delivered, by `LossReason::index`; each is reported to its subscriber.
    pub dropped: Drops,
    /// Publishes whose publisher wants to know when they are delivered.
    pub confirms_asked: u64,
    /// Of those, publishes that are not counted, because as many as may wait did.
    pub confirms_uncounted: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Sends handed to the kernel.
    pub sends: u64,
    /// Bytes the kernel took for sending.
    pub bytes_out: u64,
    /// Runs pushed to an outbox by reference.
    pub runs_shared: u64,
    /// Runs pushed to an outbox by copying.
    pub runs_copied: u64,
    /// Runs copied once towards another shard.
    pub runs_crossed: u64,
    /// Runs nobody here or elsewhere had subscribed to.
    pub runs_unrouted: u64,
    /// Messages not kept as their topic's last value because there was no room.
    pub retained_refused: u64,
    /// Last values whose time to live was over when they were asked for.
    pub retained_expired: u64,
    /// Last values handed to the outboxes of new subscribers; counted in `messages_out`, too.
    pub retained_replayed: u64,
    /// Well-framed frames dropped: reserved flag, skippable unknown kind, too many hops.
    pub frames_rejected: u64,
    /// Control messages that could not be decoded.
    pub control_malformed: u64,
    /// Frames that arrived in several buffers.
    pub frames_split: u64,
    /// Times a publisher was paused because an outbox was full.
    pub paused_by_outbox: u64,
    /// Times a publisher was paused because the way to another shard was full.
    pub paused_by_mesh: u64,
    /// Times frames for a subscriber had to wait because its credit was used up.
    pub credit_waits: u64,
    /// Times receiving stopped because no ingress buffer was free.
    pub no_buffers: u64,
    /// Sends of which the kernel took only a part.
    pub sends_short: u64,
    /// Completions of connections that no longer exist.
    pub completions_stale: u64,
    /// Doorbells rung at sleeping shards.
    pub doorbells: u64,
    /// Log lines left out because too many came within a second.
    pub logs_suppressed: u64,
}

impl Counters {
    /// Counts the end of a connection.
    pub const fn on_closed(&mut self, reason: CloseReason) {
        self.closed[reason.index()] += 1;
    }

    /// Connections ended for `reason`.
    pub const fn closed_for(&self, reason: CloseReason) -> u64 {
        self.closed[reason.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_reason_has_its_own_place() {
        let places: Vec<usize> = CloseReason::all().map(CloseReason::index).collect();
        assert_eq!(places, (0..CloseReason::COUNT).collect::<Vec<_>>());
    }
}
