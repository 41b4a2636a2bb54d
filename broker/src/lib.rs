//! `lanewayd`: a thread-per-core message broker on io_uring.
//!
//! One shard per core owns its connections, buffers and subscriptions by value. A shard is generic over one thing, the
//! door [`io::Io`], which is the ring in production and a seeded simulator in tests. `ARCHITECTURE.md` shows the rooms.
#![deny(unsafe_code)]

pub mod access;
pub mod boot;
pub mod config;
pub mod confirms;
pub mod conn;
pub mod counters;
pub mod descriptors;
pub mod histogram;
pub mod inbox;
pub mod intern;
pub mod io;
pub mod line;
pub mod mesh;
pub mod outbox;
pub mod pool;
pub mod rate;
pub mod retained;
pub mod router;
pub mod shard;
pub mod slab;
pub mod timers;
pub mod tty;
