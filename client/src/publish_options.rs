//! How one message is published.

use laneway_proto::frame::extensions::MessageOptions;

use crate::lane::Lane;

/// How a message is published; the default is the lane `command`, unstamped, without a deadline of its own.
///
/// Messages that are stamped, retained or have a deadline travel in frames of their own.
///
/// ```
/// use laneway_client::{Lane, PublishOptions};
/// let options = PublishOptions { lane: Lane::STATE, ttl_ms: Some(50), ..PublishOptions::default() };
/// assert_eq!(options.ts_ns, None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PublishOptions {
    /// The lane to travel on.
    pub lane: Lane,
    /// Nanoseconds on this node's clock; subscribers get the number as it is.
    pub ts_ns: Option<u64>,
    /// Milliseconds from its arrival at the broker after which it is not sent any more but reported as lost; `Some(0)`:
    /// never; `None`: as the lane says.
    pub ttl_ms: Option<u32>,
    /// Ask the broker to keep it as the topic's last value; an empty message deletes that value.
    pub retain: bool,
}

impl PublishOptions {
    /// What travels in the message's XHDR block.
    pub(crate) const fn message_options(&self) -> MessageOptions {
        MessageOptions { ttl_ms: self.ttl_ms, retain: self.retain, receivers: None }
    }

    /// Whether the message says no more than its lane, so that it may share a frame.
    pub(crate) const fn is_plain(&self) -> bool {
        self.ts_ns.is_none() && self.ttl_ms.is_none() && !self.retain
    }
}

impl From<Lane> for PublishOptions {
    fn from(lane: Lane) -> Self {
        Self { lane, ..Self::default() }
    }
}
