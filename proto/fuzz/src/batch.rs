//! A BATCH body yields the messages that the naive reader finds.
//!
//! Input: the body, behind the extensions.

use crate::model::batch;

/// Checks one input.
pub fn check(data: &[u8]) {
    batch::compare(data);
}
