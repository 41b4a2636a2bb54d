//! What the owner of a session has to know.

use laneway_proto::frame::confirm::Confirm;
use laneway_proto::frame::count::LaneTotal;
use laneway_proto::time::Duration;

use super::pending::ConfirmId;
use super::requests::{Answered, RequestId};
use super::subscriptions::SubscriptionId;
use super::terms::Terms;
use crate::error::{Doubt, Reason};
use crate::level::Confirmed;

/// Something that happened to a session; from `poll_event`.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The handshake is over: messages may be published.
    Welcomed(Box<Terms>),
    /// The broker refused this client and closes.
    Rejected {
        /// Code and sentence.
        reason: Reason,
        /// Lowest version the broker speaks; 0 if it did not say.
        version_min: u32,
        /// Highest version the broker speaks; 0 if it did not say.
        version_max: u32,
        /// Milliseconds after which to try again; 0 if it did not say.
        retry_after_ms: u32,
    },
    /// Every publish from now on reaches this subscription.
    Subscribed(SubscriptionId),
    /// The broker refused this subscription; it is to be ended.
    SubscribeRefused(SubscriptionId, Reason),
    /// Messages, or reports of lost ones, wait to be taken for this subscription.
    Messages(SubscriptionId),
    /// The broker asks for a PONG with this number.
    Pinged(u64),
    /// The PONG to the PING with this number, and the time between them.
    Pong {
        /// What `ping` returned.
        token: u64,
        /// Round trip.
        rtt: Duration,
        /// Whether the watch over silence asked; nobody else waits for it.
        own: bool,
    },
    /// The broker answered a request.
    Answered(RequestId, Answered),
    /// The broker confirms publishes: for [`Outgoing::on_confirm`](super::Outgoing::on_confirm).
    Confirm(Confirm),
    /// The broker takes so many bytes of a lane: for [`Outgoing::on_credit`](super::Outgoing::on_credit).
    Credit(LaneTotal),
    /// The broker has received so many frames of a lane: for [`Outgoing::on_count`](super::Outgoing::on_count).
    Counted(LaneTotal),
    /// What became of a publish whose publisher wanted to know.
    Settled(ConfirmId, Result<Confirmed, Doubt>),
    /// A message that was sent again came behind newer ones of its lane and was dropped. The session counts no more; the
    /// link is to be closed and the session not resumed.
    Overtaken,
    /// The broker's last message.
    Goodbye(Reason),
}
