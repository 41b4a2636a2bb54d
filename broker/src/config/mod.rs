//! What the broker is set to: defaults, what a file changes, and every mistake in it with line and remedy.

pub mod keys;
pub mod peers;
pub mod read;
pub mod url;

use std::path::PathBuf;

use laneway_proto::lane::table::LaneTable;
use laneway_proto::limits;
use laneway_proto::session::Patience;
use laneway_proto::time::Duration;

use self::keys::{KEYS, Key, Kind};
use self::peers::{PeerRules, Rule, node_id_text, parse_node_id};
use self::url::ListenUrl;
use crate::pool::PoolShape;

/// Shards a broker may have; their numbers fit the low byte of a session id and the bits of a route.
pub const SHARDS_MAX: u32 = 64;

/// Bounds in counts, bytes and milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections at once; more are refused with REJECT.
    pub connections_max: u32,
    /// Bytes of one message.
    pub message_bytes_max: u32,
    /// Topics this broker interns in its life.
    pub topics_max: u32,
    /// Topic ids one session may declare.
    pub session_topics_max: u32,
    /// Subscriptions of one session.
    pub session_subscriptions_max: u32,
    /// Topics of which the last value is kept.
    pub retained_topics_max: u32,
    /// Bytes of all values kept, in each shard.
    pub retained_bytes_max: u32,
    /// Bytes waiting for one peer before its publishers are stopped.
    pub outbox_bytes_max: u32,
    /// Bytes a publisher may send on a lane ahead of what has been routed, if it keeps to credit; what is stopped waits here.
    pub lane_credit_bytes: u32,
    /// Bytes a second that are sent to one peer at most, unless its endpoint says otherwise; 0: no limit.
    pub egress_bytes_per_s: u32,
    /// Bytes of messages a second that one peer may publish, unless its endpoint says otherwise; 0: no limit.
    pub ingress_bytes_per_s: u32,
    /// Bytes that go at once after a silence, where there is a limit.
    pub rate_burst_bytes: u32,
    /// How long publishers may be stopped by one peer before that peer is disconnected.
    pub block_ms_max: u32,
    /// How long preface and handshake may take.
    pub handshake_ms_max: u32,
    /// How long a frame may stay incomplete.
    pub partial_frame_ms_max: u32,
    /// How long a closing peer is given to read its last bytes.
    pub linger_ms_max: u32,
    /// How long a shutdown waits for outboxes to empty.
    pub drain_ms_max: u32,
    /// Publishes of one session and lane that may wait to be confirmed as delivered; further ones are not counted.
    pub confirms_pending_max: u32,
    /// How long a session whose link broke waits to be resumed; 0: not at all, and nobody is told that it could.
    pub resume_grace_ms: u32,
    /// Bytes that were sent to one session and are kept until it has counted them; then nothing more is sent to it.
    pub resume_bytes_max: u32,
    /// Peers that are gone and still told of, in each shard.
    pub peers_gone_max: u32,
    /// Sessions without a link, in each shard; beyond it the one that was to end first is ended.
    pub resume_sessions_max: u32,
}

impl Limits {
    /// The session machine's time limits.
    pub fn patience(&self) -> Patience {
        Patience {
            handshake: Duration::from_millis(self.handshake_ms_max),
            partial_frame: Duration::from_millis(self.partial_frame_ms_max),
        }
    }
}

/// Sizes of buffers and queues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pools {
    /// Buffers of each shard.
    pub shape: PoolShape,
    /// Runs smaller than this are copied to each subscriber instead of shared.
    pub copy_below_bytes: u32,
    /// Chunks on the way between each ordered pair of shards.
    pub mesh_chunks_max: u32,
}

/// Options of TCP sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tcp {
    /// Send small segments at once.
    pub nodelay: bool,
    /// Whether the system's congestion control also paces connections that do not leave the machine.
    pub loopback_paced: bool,
    /// Seconds of silence before the kernel probes; 0 leaves probing off.
    pub keepalive_s: u32,
    /// Bytes the kernel may hold unsent; 0 leaves the system's default.
    pub notsent_lowat_bytes: u32,
    /// Bytes of the kernel's send buffer; 0 leaves the system's default.
    pub send_buffer_bytes: u32,
    /// Bytes of the kernel's receive buffer; 0 leaves the system's default.
    pub receive_buffer_bytes: u32,
    /// Connections the kernel queues before they are accepted.
    pub backlog: u32,
}

/// Options of Unix sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unix {
    /// Permission bits of the socket's file.
    pub mode: u32,
    /// Bytes of the kernel's send buffer; 0 leaves the system's default.
    pub send_buffer_bytes: u32,
}

/// Everything the broker is set to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<ListenUrl>,
    /// Shards; 0 means one per core.
    pub shards: u32,
    /// Whether each shard stays on one core.
    pub pin: bool,
    /// The first core to pin to.
    pub pin_first: u32,
    /// Peers that name another network are refused; empty accepts any.
    pub network_id: String,
    /// Stable identity; `None` means: kept in `state_dir`, made at the first start.
    pub node_id: Option<[u8; limits::NODE_ID_BYTES]>,
    /// Where the identity is kept; `None` means: `$XDG_STATE_HOME/laneway`, else `~/.local/state/laneway`.
    pub state_dir: Option<PathBuf>,
    /// What is logged: `error`, `warn`, `info`, `debug` or `trace`.
    pub log: String,
    /// Bounds.
    pub limits: Limits,
    /// Lanes.
    pub lanes: LaneTable,
    /// Buffers.
    pub pools: Pools,
    /// TCP options.
    pub tcp: Tcp,
    /// Unix socket options.
    pub unix: Unix,
    /// Who may connect.
    pub peers: PeerRules,
}

impl Settings {
    /// Bytes per second to and from each peer that connects through this endpoint (they are numbered without serial ports).
    pub fn rates_of(&self, endpoint: u16) -> (u32, u32) {
        let url = self.listen.iter().filter(|url| !url.is_serial()).nth(usize::from(endpoint));
        let (egress, ingress) = url.map_or((0, 0), |url| (url.egress_bytes_per_s, url.ingress_bytes_per_s));
        let first = |said, otherwise| if said > 0 { said } else { otherwise };
        (first(egress, self.limits.egress_bytes_per_s), first(ingress, self.limits.ingress_bytes_per_s))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: ListenUrl::defaults(),
            shards: 0,
            pin: true,
            pin_first: 0,
            network_id: String::new(),
            node_id: None,
            state_dir: None,
            log: "info".into(),
            limits: Limits {
                connections_max: 16_384,
                message_bytes_max: limits::MESSAGE_BYTES_MAX_DEFAULT,
                topics_max: limits::TOPICS_MAX_DEFAULT,
                session_topics_max: limits::TOPICS_PER_SESSION_MAX,
                session_subscriptions_max: limits::SUBSCRIPTIONS_PER_SESSION_MAX,
                retained_topics_max: 65_536,
                retained_bytes_max: 64 * 1024 * 1024,
                outbox_bytes_max: 1024 * 1024,
                lane_credit_bytes: limits::LANE_CREDIT_BYTES_DEFAULT as u32,
                egress_bytes_per_s: 0,
                ingress_bytes_per_s: 0,
                rate_burst_bytes: 64 * 1024,
                block_ms_max: 5_000,
                handshake_ms_max: limits::HANDSHAKE_MS_MAX_DEFAULT,
                partial_frame_ms_max: limits::PARTIAL_FRAME_MS_MAX_DEFAULT,
                linger_ms_max: 1_000,
                drain_ms_max: 5_000,
                confirms_pending_max: 16_384,
                resume_grace_ms: limits::RESUME_GRACE_MS_DEFAULT,
                resume_bytes_max: 8 * 1024 * 1024,
                resume_sessions_max: 1_024,
                peers_gone_max: 1_024,
            },
            lanes: LaneTable::STANDARD,
            pools: Pools {
                shape: PoolShape {
                    ingress_buffer_bytes: 64 * 1024,
                    ingress_buffers: 16,
                    ingress_buffers_max: 256,
                    egress_buffer_bytes: 16 * 1024,
                    egress_buffers_kept: 256,
                },
                copy_below_bytes: 1_024,
                mesh_chunks_max: 32,
            },
            tcp: Tcp {
                nodelay: true,
                loopback_paced: false,
                keepalive_s: 60,
                notsent_lowat_bytes: 0,
                send_buffer_bytes: 0,
                receive_buffer_bytes: 0,
                backlog: 1_024,
            },
            unix: Unix { mode: 0o600, send_buffer_bytes: 0 },
            peers: PeerRules::default(),
        }
    }
}

/// One mistake in a configuration file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// The key, with its tables.
    pub key: String,
    /// What is wrong; what to do.
    pub text: String,
}
