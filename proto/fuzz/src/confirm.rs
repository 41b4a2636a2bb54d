//! CONFIRM bodies are read as the layout says, and written back as they were read.
//!
//! Input: a frame's body.

use crate::model::hot;

/// Checks one input.
pub fn check(data: &[u8]) {
    hot::compare_confirm(data);
}
