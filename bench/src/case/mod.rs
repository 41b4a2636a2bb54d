//! What can be measured.

pub mod conflate;
pub mod floor;
pub mod kill;
pub mod lane_isolation;
pub mod latency;
pub mod ping;
pub mod slow_consumer;
pub mod throughput;
mod trips;
pub mod udp_broadcast;
pub mod udp_filter;

use std::time::Duration;

use crate::load::saturate::Timing;

/// How long one saturated run takes.
const fn timing(quick: bool) -> Timing {
    if quick {
        Timing { warm_up: Duration::from_millis(40), measured: Duration::from_millis(100) }
    } else {
        Timing { warm_up: Duration::from_millis(200), measured: Duration::from_millis(600) }
    }
}
