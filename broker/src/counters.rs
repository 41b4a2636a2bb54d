//! One plain struct of numbers per shard; no atomics.

use laneway_proto::error::CloseCode;
use laneway_proto::frame::lost::LossReason;
use laneway_proto::limits::LANES_MAX;

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
pub type ByReason = [u64; LossReason::ALL.len()];
/// Messages dropped, by lane and [`LossReason::index`].
pub type Drops = [ByReason; LANES_MAX];

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
    /// Sessions whose link broke, and that waited to be resumed.
    pub sessions_parked: u64,
    /// Sessions that went on over a new link.
    pub sessions_resumed: u64,
    /// Sessions that nobody resumed in time.
    pub sessions_expired: u64,
    /// Sessions that ended before their time because as many as may wait for a link did.
    pub sessions_evicted: u64,
    /// Clients that asked for a session that was over or somebody else's, and were given a new one.
    pub resumes_refused: u64,
    /// Frames of reliable lanes that were sent again over a new link.
    pub frames_resent: u64,
    /// Connections ended, by [`CloseReason::index`].
    pub closed: [u64; CloseReason::COUNT],
    /// Bytes received.
    pub bytes_in: u64,
    /// Data frames accepted from publishers.
    pub frames_in: u64,
    /// Messages of local publishers that were routed, by the publisher's lane.
    pub messages_in: [u64; LANES_MAX],
    /// Runs routed: the unit of routing work.
    pub runs: u64,
    /// Messages handed to local subscribers' outboxes, by the subscriber's lane.
    pub messages_out: [u64; LANES_MAX],
    /// Messages dropped instead of delivered; each is reported to its subscriber.
    pub dropped: Drops,
    /// Publishes whose publisher wants to know when they are delivered.
    pub confirms_asked: u64,
    /// Of those, publishes that are not counted, because as many as may wait did.
    pub confirms_uncounted: u64,
    /// Wills published for sessions that ended without a GOODBYE.
    pub wills_published: u64,
    /// Messages of the broker itself (wills, `$sys`) that were dropped: no room towards a shard for too long, or no topic
    /// name left.
    pub own_dropped: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Sends handed to the kernel.
    pub sends: u64,
    /// Bytes the kernel took for sending.
    pub bytes_out: u64,
    /// Runs pushed to an outbox by reference.
    pub runs_shared: u64,
    /// Runs of small messages made shorter, once for all who get them.
    pub runs_packed: u64,
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
    /// Times a publisher was paused because it was ahead of its rate.
    pub paused_by_rate: u64,
    /// Runs of a publisher that were set aside because their lane's way was blocked.
    pub lane_waits: u64,
    /// Times frames for a subscriber had to wait because its credit was used up.
    pub credit_waits: u64,
    /// Times frames for a subscriber had to wait because it had not counted those before.
    pub count_waits: u64,
    /// Times receiving stopped because no ingress buffer was free.
    pub no_buffers: u64,
    /// Sends of which the kernel took only a part.
    pub sends_short: u64,
    /// Completions of connections that no longer exist.
    pub completions_stale: u64,
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Datagrams received that changed nothing: of no session, of another start of their sender, repeated, or damaged.
    pub datagrams_stray: u64,
    /// Doorbells rung at sleeping shards.
    pub doorbells: u64,
    /// Log lines left out because too many came within a second.
    pub logs_suppressed: u64,
}

/// Pairs of name and value. Every counter has to be named, so that a new one finds its place.
macro_rules! named {
    ($counters:expr; besides $($other:ident)*; $($name:ident)*) => {{
        let &Counters { $($name,)* $($other: _,)* } = $counters;
        [$((stringify!($name), $name),)*]
    }};
}

impl Counters {
    /// Counts a run of a local publisher.
    #[inline]
    pub fn on_run_in(&mut self, lane: u8, frames: u32, messages: u32) {
        self.runs += 1;
        self.frames_in += u64::from(frames);
        self.messages_in[usize::from(lane) % LANES_MAX] += u64::from(messages);
    }

    /// Counts messages handed to a local subscriber's outbox.
    #[inline]
    pub fn on_out(&mut self, lane: u8, messages: u32) {
        self.messages_out[usize::from(lane) % LANES_MAX] += u64::from(messages);
    }

    /// Messages that were routed, of all lanes.
    pub fn all_in(&self) -> u64 {
        self.messages_in.iter().sum()
    }

    /// Messages handed to outboxes, of all lanes.
    pub fn all_out(&self) -> u64 {
        self.messages_out.iter().sum()
    }

    /// Messages dropped for `reason`, on all lanes.
    pub fn dropped_for(&self, reason: LossReason) -> u64 {
        self.dropped.iter().map(|lane| lane[reason.index()]).sum()
    }

    /// Everything that is one number for the whole shard, by its name.
    pub const fn named(&self) -> [(&'static str, u64); 47] {
        named!(self; besides closed messages_in messages_out dropped;
            accepted refused_at_once accept_paused options_refused welcomed rejected
            sessions_parked sessions_resumed sessions_expired sessions_evicted resumes_refused frames_resent
            bytes_in frames_in runs confirms_asked confirms_uncounted wills_published own_dropped turns
            sends bytes_out runs_shared runs_packed runs_copied runs_crossed runs_unrouted
            retained_refused retained_expired retained_replayed frames_rejected control_malformed frames_split
            paused_by_outbox paused_by_mesh paused_by_rate lane_waits credit_waits count_waits no_buffers sends_short
            completions_stale
            datagrams_in datagrams_out datagrams_stray doorbells logs_suppressed
        )
    }

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
