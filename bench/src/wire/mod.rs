//! What travels: the payloads of the load, in the relays' framing and in Laneway's.
//!
//! Every payload starts with its number in the stream (`u32`, little-endian, from 1) and ends with a byte that follows
//! from the number; between them stands filling. The load generator writes pre-encoded blocks of whole messages and
//! changes nothing but the numbers, so it costs the same for a relay as for the broker.
//!
//! ```text
//! relay   u32 len | payload
//! index   u32 len | u32 index | payload            len counts the index
//! single  header (16) | payload                    a PUB frame; seq equals the number
//! batch   header (16) | u16 count | u16 0 | (u16 len | payload)*
//! peers   head | payload | tail                    an [`Envelope`]: what stands around is the same every time
//! pieces  header (16) | FRAG (8) | SRC (8) | part  messages that do not fit one frame
//! ```

mod block;
mod check;
mod envelope;
mod frames;
mod receive;

pub use block::Block;
pub use check::{Batch, Expect, Index, Pieces, Relay, Single, Units};
pub use envelope::{Envelope, Enveloped};
pub use frames::Frames;
pub use receive::{Fault, Receive, Walk, goodbye};

use laneway_proto::frame::batch::{BATCH_ITEM_PREFIX_BYTES, BATCH_PREFIX_BYTES};
use laneway_proto::limits::{FRAME_BYTES_MAX, HEADER_BYTES};

/// Bytes of the number in front of a payload.
pub const NUMBER_BYTES: usize = 4;
/// Bytes of the smallest payload: the number, the last byte, and enough between them for checks to read whole words.
pub const PAYLOAD_BYTES_MIN: usize = 8;
/// Bytes of one publisher write, unless a single message is larger.
pub const WRITE_BYTES_MAX: usize = 64 * 1024;
/// The lane that everything is published on: reliable and ordered.
pub const LANE: u8 = 1;
/// Bytes of a Laneway payload that still fits one frame.
pub const SINGLE_BYTES_MAX: usize = FRAME_BYTES_MAX - HEADER_BYTES;
/// Bytes of a payload that still fits a BATCH frame.
pub const BATCH_PAYLOAD_BYTES_MAX: usize = SINGLE_BYTES_MAX - BATCH_PREFIX_BYTES - BATCH_ITEM_PREFIX_BYTES;

/// How payloads are framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// 4-byte length, payload.
    Relay,
    /// 4-byte length, 4-byte index, payload.
    Index,
    /// One PUB frame a message; fragments if it does not fit.
    Single,
    /// As many messages in a BATCH frame as fit a write.
    Batch,
}

/// What one stream carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Bytes of every payload.
    pub payload_bytes: usize,
    /// Topics (or indices) that the stream's messages cycle through, at least 1.
    pub topics: u32,
}

/// The last byte of the message in place `slot` of its block; a frame in a wrong place has a wrong one.
const fn last_byte(slot: u32) -> u8 {
    (slot as u8) ^ 0x5A
}

#[cfg(test)]
mod tests;
