//! What keeps a client connected: when to dial again, when not to bother, and what its owner is told.
//!
//! ```text
//!            link breaks               dial               agreed
//!   up ─────────────────► waiting ─────────► connecting ─────────► up
//!                            ▲     full jitter     │
//!                            └─────────────────────┘ failed, and may pass; otherwise closed
//! ```
//! The machines here have no socket and no clock; the async flavour drives them.

mod breaker;
mod draws;
mod event;
mod health;
mod options;
mod reconnector;

pub use breaker::{Breaker, BreakerState};
pub use draws::Draws;
pub use event::{ConnectionEvent, ConnectionState, Degraded, Phase};
pub use health::Health;
pub use options::ReconnectOptions;
pub use reconnector::{Next, Reconnector};
