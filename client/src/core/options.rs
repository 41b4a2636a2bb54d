//! What a session needs to know before it starts.

use std::collections::BTreeMap;

use laneway_proto::control::{Hello, Limits, Resume, Will};
use laneway_proto::limits::{FRAME_BYTES_MAX, LANE_CREDIT_BYTES_DEFAULT, LANES_MAX, WIRE_VERSION};
use laneway_proto::session::Patience;
use laneway_proto::session::handshake::feature;
use laneway_proto::time::{Duration, Instant};

use super::keepalive::{DEAD_AFTER_MS_UNSAID, KeepaliveOptions};

/// Bytes that may wait to be written, unless set otherwise.
pub const SEND_BYTES_MAX_DEFAULT: usize = 1024 * 1024;
/// Messages that may wait to be written, unless set otherwise.
pub const SEND_MESSAGES_MAX_DEFAULT: usize = 65_536;

/// What every session of this library is, in the broker's words.
pub(super) const ROLE: &str = "client";

/// The numbers that tell one session from another. The core draws nothing itself, so that a run can be repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Stable for a node.
    pub node_id: [u8; 16],
    /// Random per process start.
    pub epoch: u64,
    /// Random per attempt to connect.
    pub nonce: u64,
    /// Random per connection, over all its links; marks fragments, and messages that may come again, so that subscribers
    /// can tell publishers apart.
    pub origin: u32,
}

/// Options of a [`Core`](super::Core).
#[derive(Clone, PartialEq, Debug)]
pub struct CoreOptions {
    /// Who this is.
    pub identity: Identity,
    /// The network to join; empty means whichever the broker serves.
    pub network_id: String,
    /// What the broker is told about this client; keys and values together at most 4,096 bytes.
    pub metadata: BTreeMap<String, String>,
    /// What the broker publishes if this client goes without a goodbye.
    pub will: Option<Will>,
    /// Bytes that may wait on each lane to be written; one message may pass it when nothing waits.
    pub send_bytes_max: usize,
    /// Messages that may wait on each lane to be written; 0 is taken as 1.
    pub send_messages_max: usize,
    /// Bytes of each lane that may be on their way or wait for the application; the broker keeps the rest.
    pub lane_credit_bytes: u64,
    /// How long the broker may take for the handshake and for one frame.
    pub patience: Patience,
    /// When a silent link is asked and given up; `None`: never.
    pub keepalive: Option<KeepaliveOptions>,
    /// Whether the session is to outlive its link, if the broker can: what is sent is kept until it is counted.
    pub resume: bool,
    /// The session to go on with, from [`Incoming::offer`](super::Incoming::offer); `None`: a new one.
    pub session: Option<Resume>,
}

impl CoreOptions {
    /// Defaults for this identity.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            network_id: String::new(),
            metadata: BTreeMap::new(),
            will: None,
            send_bytes_max: SEND_BYTES_MAX_DEFAULT,
            send_messages_max: SEND_MESSAGES_MAX_DEFAULT,
            lane_credit_bytes: LANE_CREDIT_BYTES_DEFAULT,
            patience: Patience::default(),
            keepalive: Some(KeepaliveOptions::default()),
            resume: false,
            session: None,
        }
    }

    /// The first message of the session.
    pub(super) fn hello(&self, now: Instant) -> Hello {
        let version = u32::from(WIRE_VERSION);
        let keepalive = self.keepalive.unwrap_or_default();
        // Who never asks whether the broker is there is not watched either.
        let dead_after =
            self.keepalive.map(|keepalive| keepalive.dead_after.unwrap_or(Duration::from_millis(DEAD_AFTER_MS_UNSAID)));
        let limits = Limits {
            max_frame: FRAME_BYTES_MAX as u32,
            keepalive_ms: ms_or_unsaid(keepalive.every),
            dead_after_ms: ms_or_unsaid(dead_after),
            lane_credit: vec![self.lane_credit_bytes; LANES_MAX],
            ..Limits::default()
        };
        Hello {
            version_min: version,
            version_max: version,
            node_id: self.identity.node_id.to_vec(),
            epoch: self.identity.epoch,
            nonce: self.identity.nonce,
            network_id: self.network_id.clone(),
            roles: vec![ROLE.into()],
            features: feature::BATCH
                | feature::FRAGMENTS
                | feature::CREDIT
                | feature::CONFIRM
                | if self.resume { feature::RESUME } else { 0 },
            limits: Some(limits),
            metadata: self.metadata.clone(),
            will: self.will.clone(),
            clock_ns: now.0,
            resume: self.session.clone(),
            ..Hello::default()
        }
    }
}

/// Milliseconds for the wire, where 0 stands for "not said".
fn ms_or_unsaid(span: Option<Duration>) -> u32 {
    span.map_or(0, |span| u32::try_from(span.as_millis()).unwrap_or(u32::MAX).max(1))
}
