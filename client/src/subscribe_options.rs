//! How a subscription is served.

use laneway_proto::control::Sub;
use laneway_proto::lane::policy::Policy;

use crate::lane::Lane;

/// How the broker serves a subscription; the default leaves everything to the lanes of the publishers.
///
/// Two rules of the broker: of several filters of a connection that match a topic, the first made decides; and it knows
/// each filter of a connection once, so the options given last hold for all who share it. Use a connection of its own for
/// a second view of the same topics.
///
/// ```
/// use laneway_client::{Lane, Policy, SubscribeOptions};
/// // Only the newest value of each topic, whatever lane it was published on.
/// let newest = SubscribeOptions {
///     lane: Some(Lane::STATE),
///     policy: Some(Policy::Conflate),
///     ..SubscribeOptions::default()
/// };
/// assert!(!newest.no_echo);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SubscribeOptions {
    /// The lane the messages come on; `None`: the publisher's. Order is promised per lane.
    pub lane: Option<Lane>,
    /// What the broker does when this subscriber's queue is full; `None`: what its lane says.
    pub policy: Option<Policy>,
    /// Bytes that may wait at the broker; 0: what its lane says.
    pub queue_bytes: u32,
    /// Milliseconds after which a waiting message is dropped and reported; 0: what message and lane say. The shortest of
    /// the three holds.
    pub ttl_ms: u32,
    /// Messages of each topic a second, with a burst of a tenth of that; 0: all. What is left out is reported, and where
    /// the policy is to conflate, the newest comes when its time has come.
    pub max_rate_hz: u32,
    /// Leave out what this connection publishes.
    pub no_echo: bool,
    /// Begin with the last value of every topic, if its publishers asked for that to be kept: then come its changes,
    /// with none left out in between. After a reconnect that is so once more. A value that is on its way to another
    /// subscription of the connection may come before it.
    pub retained: bool,
}

impl SubscribeOptions {
    /// What the broker is asked for.
    pub(crate) fn sub(&self, filter: &str) -> Sub {
        Sub {
            pattern: filter.into(),
            policy: self.policy.map_or(0, |policy| u32::from(policy.number())),
            queue_bytes: self.queue_bytes,
            ttl_ms: self.ttl_ms,
            max_rate_hz: self.max_rate_hz,
            lane_plus_one: self.lane.map_or(0, |lane| u32::from(lane.number()) + 1),
            no_echo: self.no_echo,
            retained: self.retained,
            ..Sub::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_travels_as_zero_and_a_lane_as_its_number_plus_one() {
        assert_eq!(SubscribeOptions::default().sub("a"), Sub { pattern: "a".into(), ..Sub::default() });
        let options = SubscribeOptions {
            lane: Some(Lane::STREAM),
            policy: Some(Policy::DropNewest),
            queue_bytes: 7,
            ttl_ms: 8,
            max_rate_hz: 9,
            no_echo: true,
            retained: true,
        };
        let sub = options.sub("a/#");
        assert_eq!((sub.lane_plus_one, sub.policy, sub.queue_bytes, sub.ttl_ms), (5, 3, 7, 8));
        assert!(sub.no_echo && sub.retained);
    }
}
