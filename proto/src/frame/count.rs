//! COUNT: how many data and LOST frames of each lane have been received since the session began.
//!
//! The sender of those frames may forget as many, and RESUME continues behind them. Layout: [`super::totals`].

use super::totals;
pub use super::totals::{LaneTotal, LaneTotals, TOTALS_FRAME_BYTES_MAX as COUNT_FRAME_BYTES_MAX};
use crate::error::DecodeError;
use crate::header::Kind;

/// Reads the body of a COUNT frame; all of it is checked before the first entry.
pub fn decode(body: &[u8]) -> Result<LaneTotals<'_>, DecodeError> {
    LaneTotals::decode(body)
}

/// Writes the whole frame to the front of `out` and returns it. Totals are frames; lanes are 1 to 15, each once.
///
/// # Panics
/// Without an entry, or with more than 15.
pub fn encode<'a>(totals: &[LaneTotal], out: &'a mut [u8; COUNT_FRAME_BYTES_MAX]) -> &'a [u8] {
    totals::encode(Kind::COUNT, totals, out)
}
