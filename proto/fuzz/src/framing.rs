//! A torn stream walked run by run passes on what the naive walk frame by frame does.
//!
//! Input: 4 x `u8` sizes of the pieces (cycled; 0 = 1) | `u16` largest frame (0 = 65,535) | `u16` largest message
//! (0 = 1 MiB) | the stream.

use crate::input::Input;
use crate::model::stream::{self, Bounds};

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let pieces: [u8; 4] = input.array();
    let frame_bytes_max = match input.u16() {
        0 => 65_535,
        bytes => usize::from(bytes),
    };
    let message_bytes_max = match input.u16() {
        0 => 1 << 20,
        bytes => u32::from(bytes),
    };
    stream::compare(input.0, &pieces, Bounds { frame_bytes_max, message_bytes_max, topic_out: 0x0A0B_0C0D });
}
