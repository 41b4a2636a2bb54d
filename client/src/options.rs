//! How a connection is made, and how much it may queue.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use laneway_proto::control::Will;
use laneway_proto::limits::{
    LANE_CREDIT_BYTES_DEFAULT, LANES_MAX, METADATA_BYTES_MAX, NETWORK_ID_BYTES_MAX, WILL_BYTES_MAX,
};
use laneway_proto::session::Patience;
use laneway_proto::topic;

use crate::backoff::Retry;
use crate::core::{CoreOptions, Identity, KeepaliveOptions, SEND_BYTES_MAX_DEFAULT, SEND_MESSAGES_MAX_DEFAULT};
use crate::error::OptionsError;
use crate::link::ReconnectOptions;
use crate::publish_options::PublishOptions;
use crate::random::{process_epoch, process_node_id, random_u64};
use crate::span::span;

/// Bytes a subscription's queue may hold before the socket is no longer read, unless set otherwise.
pub const RECEIVE_BYTES_MAX_DEFAULT: usize = 16 * 1024 * 1024;
/// Messages a subscription's queue may hold before the socket is no longer read, unless set otherwise.
pub const RECEIVE_MESSAGES_MAX_DEFAULT: usize = 1024 * 1024;
/// Bytes of the smallest credit: a frame of a small message fits.
const LANE_CREDIT_BYTES_MIN: u64 = 1_024;

const _: () = assert!(
    RECEIVE_BYTES_MAX_DEFAULT as u64 >= LANES_MAX as u64 * LANE_CREDIT_BYTES_DEFAULT,
    "a queue holds what all lanes may send, so that none of them stops the others"
);

/// Options of a connection; start from [`ConnectOptions::new`].
///
/// ```no_run
/// # async fn example() -> Result<(), laneway_client::ConnectError> {
/// use laneway_client::{ConnectOptions, Retry};
/// use std::time::Duration;
///
/// let client = ConnectOptions::new()
///     .timeout(Duration::from_secs(1))
///     .retry(Retry::new().attempts_max(5))
///     .metadata("rack", "7")
///     .connect("tcp://127.0.0.1:5263")
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectOptions {
    pub(crate) timeout: Duration,
    pub(crate) drain: Duration,
    pub(crate) retry: Option<Retry>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) will: Option<Will>,
    pub(crate) network_id: String,
    pub(crate) node_id: Option<[u8; 16]>,
    pub(crate) nodelay: bool,
    pub(crate) bind: Option<SocketAddr>,
    pub(crate) reconnect: Option<ReconnectOptions>,
    pub(crate) keepalive: Option<KeepaliveOptions>,
    pub(crate) lane_credit_bytes: u64,
    pub(crate) send_bytes_max: usize,
    pub(crate) send_messages_max: usize,
    pub(crate) receive_bytes_max: usize,
    pub(crate) receive_messages_max: usize,
}

impl ConnectOptions {
    /// The defaults, as each method tells them.
    pub fn new() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            drain: Duration::from_secs(5),
            retry: None,
            metadata: BTreeMap::new(),
            will: None,
            network_id: String::new(),
            node_id: None,
            nodelay: true,
            bind: None,
            reconnect: Some(ReconnectOptions::new()),
            keepalive: Some(KeepaliveOptions { every: None, dead_after: None }),
            lane_credit_bytes: LANE_CREDIT_BYTES_DEFAULT,
            send_bytes_max: SEND_BYTES_MAX_DEFAULT,
            send_messages_max: SEND_MESSAGES_MAX_DEFAULT,
            receive_bytes_max: RECEIVE_BYTES_MAX_DEFAULT,
            receive_messages_max: RECEIVE_MESSAGES_MAX_DEFAULT,
        }
    }

    /// How long one attempt may take: name lookup, connection and handshake together. Default 5 s.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a closing connection may take to write what is queued and to hear that the broker is done. Default 5 s.
    #[must_use]
    pub const fn drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// Try again when an attempt fails in a way that can pass by itself. Default: one attempt.
    #[must_use]
    pub const fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Tells the broker something about this client. Keys and values together may have 4,096 bytes. Default: nothing.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// A message that the broker publishes for this client if it goes without saying goodbye: because its process ends, its
    /// link breaks for longer than the session waits, or it breaks a rule. At most 16,384 bytes. Default: nothing.
    ///
    /// ```
    /// use laneway_client::{ConnectOptions, Lane, PublishOptions};
    /// let retained = PublishOptions { retain: true, ..Lane::EVENT.into() };
    /// let mourned = ConnectOptions::new().will("arm/state", "gone", retained);
    /// ```
    #[must_use]
    pub fn will(
        mut self,
        topic: impl Into<String>,
        payload: impl Into<Vec<u8>>,
        options: impl Into<PublishOptions>,
    ) -> Self {
        let PublishOptions { lane, retain, .. } = options.into();
        let lane = u32::from(lane.number());
        self.will = Some(Will { topic: topic.into(), payload: payload.into(), lane, retain });
        self
    }

    /// The network to join, at most 64 bytes; a broker of another one refuses. Default: whichever the broker serves.
    #[must_use]
    pub fn network_id(mut self, network_id: impl Into<String>) -> Self {
        self.network_id = network_id.into();
        self
    }

    /// This node's identity, stable over restarts. Default: drawn once per process.
    #[must_use]
    pub const fn node_id(mut self, node_id: [u8; 16]) -> Self {
        self.node_id = Some(node_id);
        self
    }

    /// Whether TCP sends small writes at once (`TCP_NODELAY`). Default true: this library gathers messages itself.
    #[must_use]
    pub const fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// The local address of TCP connections: which interface, and which port unless that is 0. Has no effect on Unix
    /// sockets. Default: the system's choice.
    ///
    /// ```
    /// use std::net::{Ipv4Addr, SocketAddr};
    /// let options = laneway_client::ConnectOptions::new().bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    /// ```
    #[must_use]
    pub const fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = Some(address);
        self
    }

    /// How a link that breaks is made again. Default: on, as [`ReconnectOptions::new`] tells. The first connect is not
    /// meant: see [`ConnectOptions::retry`].
    #[must_use]
    pub const fn reconnect(mut self, options: ReconnectOptions) -> Self {
        self.reconnect = Some(options);
        self
    }

    /// A link that breaks ends the connection.
    ///
    /// ```
    /// let once = laneway_client::ConnectOptions::new().no_reconnect();
    /// ```
    #[must_use]
    pub const fn no_reconnect(mut self) -> Self {
        self.reconnect = None;
        self
    }

    /// After how much silence the broker is asked for a sign of life, and after how much the link is dead (at least
    /// twice the first). The smaller of these and the broker's numbers hold. Default: the broker's; 1 s and 10 s if it
    /// has none.
    ///
    /// ```
    /// use std::time::Duration;
    /// let (every, dead_after) = (Duration::from_millis(200), Duration::from_millis(600));
    /// let alert = laneway_client::ConnectOptions::new().keepalive(every, dead_after);
    /// ```
    #[must_use]
    pub fn keepalive(mut self, every: Duration, dead_after: Duration) -> Self {
        self.keepalive = Some(KeepaliveOptions { every: Some(span(every)), dead_after: Some(span(dead_after)) });
        self
    }

    /// Silence means nothing: a link is given up only when the system says that it is gone.
    #[must_use]
    pub const fn no_keepalive(mut self) -> Self {
        self.keepalive = None;
        self
    }

    /// Bytes and messages that may wait on each lane to be written; beyond either, publishing on that lane waits. Some tens
    /// of kilobytes more may be on their way into the socket, and one message may pass the bound when nothing waits. Default
    /// 1 MiB and 65,536.
    #[must_use]
    pub const fn send_queue(mut self, bytes_max: usize, messages_max: usize) -> Self {
        self.send_bytes_max = bytes_max;
        self.send_messages_max = messages_max;
        self
    }

    /// Bytes and messages that may wait in each subscription's queue if the broker keeps to no
    /// [`lane_credit`](Self::lane_credit), which is the bound otherwise. At either bound the socket is no longer read until
    /// the subscriber takes them, and everything else that arrives on this connection waits, too. One read (up to
    /// 128 KiB) may pass the bound. Default 16 MiB and 1,048,576.
    #[must_use]
    pub const fn receive_queue(mut self, bytes_max: usize, messages_max: usize) -> Self {
        self.receive_bytes_max = bytes_max;
        self.receive_messages_max = messages_max;
        self
    }

    /// Bytes of each lane that the broker may send before the application has taken what came earlier. A small number
    /// keeps the queue in the broker, where a newer value can replace one that waits; a large one keeps a fast link busy.
    /// Messages in a frame longer than this are reported as lost. Default 1 MiB, at least 1 KiB.
    #[must_use]
    pub const fn lane_credit(mut self, bytes: u64) -> Self {
        self.lane_credit_bytes = if bytes < LANE_CREDIT_BYTES_MIN { LANE_CREDIT_BYTES_MIN } else { bytes };
        self
    }

    /// Finds what no broker would accept.
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        let metadata_bytes = self.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        if metadata_bytes > METADATA_BYTES_MAX {
            return Err(OptionsError::Metadata(metadata_bytes));
        }
        if self.network_id.len() > NETWORK_ID_BYTES_MAX {
            return Err(OptionsError::NetworkId(self.network_id.len()));
        }
        if let Some(will) = &self.will {
            topic::check_publish(&will.topic).map_err(|error| OptionsError::WillTopic(error.text()))?;
            if will.payload.len() > WILL_BYTES_MAX {
                return Err(OptionsError::Will(will.payload.len()));
            }
        }
        Ok(())
    }

    /// The options of one session, with numbers drawn for it.
    pub(crate) fn core(&self) -> CoreOptions {
        let identity = Identity {
            node_id: self.node_id.unwrap_or_else(process_node_id),
            epoch: process_epoch(),
            nonce: random_u64(),
            origin: random_u64() as u32,
        };
        let handshake = span(self.timeout);
        CoreOptions {
            network_id: self.network_id.clone(),
            metadata: self.metadata.clone(),
            will: self.will.clone(),
            lane_credit_bytes: self.lane_credit_bytes,
            send_bytes_max: self.send_bytes_max,
            send_messages_max: self.send_messages_max,
            patience: Patience { handshake, ..Patience::default() },
            keepalive: self.keepalive,
            ..CoreOptions::new(identity)
        }
    }
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_over_the_protocols_bounds_are_found_before_anything_is_tried() {
        assert_eq!(ConnectOptions::new().metadata("k", "v".repeat(4_095)).check(), Ok(()));
        let options = ConnectOptions::new().metadata("k", "v".repeat(4_096));
        assert_eq!(options.check(), Err(OptionsError::Metadata(4_097)));
        let options = ConnectOptions::new().network_id("n".repeat(65));
        assert_eq!(options.check(), Err(OptionsError::NetworkId(65)));
    }

    #[test]
    fn every_session_of_a_process_has_its_own_nonce_and_origin() {
        let (first, second) = (ConnectOptions::new().core().identity, ConnectOptions::new().core().identity);
        assert_eq!((first.node_id, first.epoch), (second.node_id, second.epoch));
        assert_ne!((first.nonce, first.origin), (second.nonce, second.origin));
        assert_eq!(ConnectOptions::new().node_id([9; 16]).core().identity.node_id, [9; 16]);
    }
}
