//! LOST bodies are read as the layout says, and written back as they were read.
//!
//! Input: `u8` lane of the header | a frame's body.

use crate::input::Input;
use crate::model::hot;

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let lane = input.u8();
    hot::compare_lost(0x0001_0001, lane, input.0);
}
