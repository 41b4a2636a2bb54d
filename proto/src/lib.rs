//! Laneway's wire format and protocol machines.
//!
//! Everything here *decides*; nothing here moves bytes. There is no clock (time is an argument), no socket, no heap
//! and no dependency in the default build, so the same code runs in the broker, in the clients, in the simulator, in
//! the fuzzers and on a microcontroller.
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`limits`] | every bound of the protocol with its unit |
//! | [`time`] | [`time::Instant`] and [`time::Duration`], plain nanoseconds |
//! | [`wire`] | little-endian readers and writers over slices |
//! | [`error`] | errors sorted by blame, and the close codes they map to |
//! | [`header`] | the 16-byte frame header |
//! | [`frame`] | the bodies of frames: extensions, batches, fragments, pings, credit, losses, confirmations |
//! | [`lane`] | what lanes promise: kinds, policies, the table, turns on the link, credit, sequence numbers |
//! | [`framing`] | where frames begin and end on a medium; runs of frames |
//! | [`datagram`] | lanes over UDP, to one peer or to all |
//! | [`topic`] | names and filters: grammar and matching |
//! | [`session`] | preface, handshake and the life of one peer |
//! | [`serial`] | the serial link: frames, sessions, reliable lanes and airtime on a UART |
//! | `control` | Protocol Buffers control messages (feature `control`) |
//!
//! All integers on the wire are little-endian. In the diagrams one cell is one byte; offsets count from the frame's
//! first byte.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "control"))]
extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(feature = "control")]
pub mod control;
pub mod datagram;
pub mod error;
pub mod frame;
pub mod framing;
pub mod header;
pub mod lane;
pub mod limits;
pub mod serial;
pub mod session;
pub mod time;
pub mod topic;
pub mod wire;
