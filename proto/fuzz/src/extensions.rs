//! Extensions and payload are found at the offsets of the formula.
//!
//! Input: `u8` flags | a frame's body.

use crate::input::Input;
use crate::model::frame;

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    frame::compare_extensions(flags, input.0);
}
