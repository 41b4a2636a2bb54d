//! Grammar and matcher agree with the naive ones.
//!
//! Input: a filter, a line feed, a name. What is not UTF-8 never reaches the crate: control messages carry strings.

use crate::model::topic;

/// Checks one input.
pub fn check(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let (filter, name) = text.split_once('\n').unwrap_or((text, text));
    topic::compare(filter, name);
}
