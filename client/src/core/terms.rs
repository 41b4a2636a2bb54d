//! What the broker agreed to.

use std::collections::BTreeMap;

use laneway_proto::control::Welcome;
use laneway_proto::frame::extensions::MESSAGE_OPTIONS_BYTES_MAX;
use laneway_proto::limits::{
    EXTENSION_BYTES, FRAGMENT_BYTES_STREAM, FRAME_BYTES_MAX, HEADER_BYTES, LANE_CREDIT_BYTES_DEFAULT, LANES_MAX,
    MESSAGE_BYTES_MAX_CEILING, MESSAGE_BYTES_MAX_DEFAULT, SUBSCRIPTIONS_PER_SESSION_MAX, TOPICS_PER_SESSION_MAX,
};
use laneway_proto::session::handshake::feature;

/// Bytes a frame must hold at least for this client to work: header, all fixed extensions, some payload.
pub(super) const FRAME_BYTES_USABLE: u32 = 1_024;

/// Payload bytes that fit a frame beside everything that may stand in front of them.
pub(super) const fn fragment_bytes_max(frame_bytes_max: u32) -> u32 {
    frame_bytes_max - (HEADER_BYTES + 4 * EXTENSION_BYTES + MESSAGE_OPTIONS_BYTES_MAX) as u32
}

/// The broker's side of the handshake, with the protocol's defaults where it said nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The session's number; its low byte is the shard that owns it.
    pub session: u32,
    /// The broker's node id.
    pub broker_node_id: [u8; 16],
    /// The broker's epoch: another one after a reconnect means that it restarted.
    pub broker_epoch: u64,
    /// The network the broker serves.
    pub network_id: String,
    /// What the broker tells about itself.
    pub metadata: BTreeMap<String, String>,
    /// Whether the broker takes BATCH frames.
    pub takes_batches: bool,
    /// Bytes of one frame, header included.
    pub frame_bytes_max: u32,
    /// Bytes of one message.
    pub message_bytes_max: u32,
    /// Payload bytes of one fragment.
    pub fragment_bytes: u32,
    /// Topics this session may publish to.
    pub topics_max: u32,
    /// Filters this session may subscribe to.
    pub filters_max: u32,
    /// Milliseconds of silence after which the broker wants to be asked for a sign of life; 0 if it did not say.
    pub keepalive_ms: u32,
    /// Milliseconds of silence after which the broker takes a link for dead; 0 if it did not say.
    pub dead_after_ms: u32,
    /// Bytes of each lane that this session may send before the broker has said that it takes more; `None`: the broker
    /// knows no credit, neither its own nor this side's.
    pub lane_credit: Option<[u64; LANES_MAX]>,
    /// Whether the broker confirms publishes, and counts as receivers who count what they receive.
    pub confirms: bool,
    /// Whether the broker counts what it receives, and keeps the session for a while if its link breaks.
    pub resumes: bool,
    /// Whether this session goes on from an earlier link with nothing lost.
    pub resumed: bool,
    /// If so: the frames of each lane that the broker has received.
    pub(super) received: [u64; LANES_MAX],
}

impl Terms {
    /// From the broker's WELCOME. Numbers out of their bounds are brought to the nearest one that works.
    pub fn new(welcome: Welcome) -> Self {
        let limits = welcome.limits.unwrap_or_default();
        let or = |value: u32, default: u32| if value == 0 { default } else { value };
        let frame_bytes_max =
            or(limits.max_frame, FRAME_BYTES_MAX as u32).clamp(FRAME_BYTES_USABLE, FRAME_BYTES_MAX as u32);
        Self {
            session: welcome.session,
            broker_node_id: welcome.node_id.try_into().unwrap_or_default(),
            broker_epoch: welcome.epoch,
            network_id: welcome.network_id,
            metadata: welcome.metadata,
            takes_batches: welcome.features & feature::BATCH != 0,
            frame_bytes_max,
            message_bytes_max: or(limits.max_message, MESSAGE_BYTES_MAX_DEFAULT).min(MESSAGE_BYTES_MAX_CEILING),
            fragment_bytes: or(limits.frag_size, FRAGMENT_BYTES_STREAM as u32).min(fragment_bytes_max(frame_bytes_max)),
            topics_max: or(limits.max_topics, TOPICS_PER_SESSION_MAX).min(TOPICS_PER_SESSION_MAX),
            filters_max: or(limits.max_subs, SUBSCRIPTIONS_PER_SESSION_MAX).min(SUBSCRIPTIONS_PER_SESSION_MAX),
            keepalive_ms: limits.keepalive_ms,
            dead_after_ms: limits.dead_after_ms,
            lane_credit: (welcome.features & feature::CREDIT != 0).then(|| first_totals(&limits.lane_credit)),
            confirms: welcome.features & feature::CONFIRM != 0,
            resumes: welcome.features & feature::RESUME != 0,
            resumed: welcome.resumed,
            received: [0; LANES_MAX],
        }
    }

    /// The smallest credit of a lane.
    pub(super) fn credit_least(&self) -> u64 {
        credit_least(self.lane_credit.as_ref())
    }

    /// Whether frames that were built under `before` are allowed under these terms, too.
    pub(super) fn allow_all_of(&self, before: &Self) -> bool {
        self.takes_batches >= before.takes_batches
            && self.frame_bytes_max >= before.frame_bytes_max
            && self.message_bytes_max >= before.message_bytes_max
            && self.confirms >= before.confirms
            && self.credit_least() >= before.credit_least()
    }
}

/// The smallest credit of a lane; without credit there is no bound.
pub(super) fn credit_least(totals: Option<&[u64; LANES_MAX]>) -> u64 {
    totals.into_iter().flat_map(|totals| &totals[1..]).copied().min().unwrap_or(u64::MAX)
}

/// The first totals by lane, the protocol's default where nothing was said.
fn first_totals(said: &[u64]) -> [u64; LANES_MAX] {
    std::array::from_fn(|lane| said.get(lane).copied().unwrap_or(LANE_CREDIT_BYTES_DEFAULT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use laneway_proto::control::Limits;

    #[test]
    fn a_silent_broker_means_the_protocols_defaults() {
        let terms = Terms::new(Welcome::default());
        assert_eq!((terms.frame_bytes_max, terms.message_bytes_max), (65_535, 1_048_576));
        assert_eq!((terms.fragment_bytes, terms.topics_max, terms.filters_max), (16_384, 65_536, 16_384));
        assert!(!terms.takes_batches);
        assert_eq!(terms.lane_credit, None);
    }

    #[test]
    fn a_broker_that_knows_credit_gives_a_mebibyte_on_each_lane_it_does_not_speak_of() {
        let limits = Limits { lane_credit: vec![0, 70_000], ..Limits::default() };
        let terms = Terms::new(Welcome { features: feature::CREDIT, limits: Some(limits), ..Welcome::default() });
        let credit = terms.lane_credit.expect("credit");
        assert_eq!((credit[1], credit[2], credit[15]), (70_000, 1 << 20, 1 << 20));
    }

    #[test]
    fn limits_that_cannot_be_met_are_brought_into_range() {
        let limits = Limits { max_frame: 20, max_message: u32::MAX, frag_size: 70_000, ..Limits::default() };
        let terms = Terms::new(Welcome { limits: Some(limits), ..Welcome::default() });
        assert_eq!((terms.frame_bytes_max, terms.message_bytes_max), (1_024, MESSAGE_BYTES_MAX_CEILING));
        assert!(terms.fragment_bytes < terms.frame_bytes_max - 16);
    }
}
