//! CREDIT: how many bytes of data frames the peer may ever have sent on each lane.
//!
//! What counts against it is the `len` field of every data frame of the lane. Layout: [`super::totals`].

use super::totals;
pub use super::totals::{LaneTotal, LaneTotals, TOTALS_FRAME_BYTES_MAX as CREDIT_FRAME_BYTES_MAX};
use crate::error::DecodeError;
use crate::header::Kind;

/// Reads the body of a CREDIT frame; all of it is checked before the first entry.
pub fn decode(body: &[u8]) -> Result<LaneTotals<'_>, DecodeError> {
    LaneTotals::decode(body)
}

/// Writes the whole frame to the front of `out` and returns it. Totals are bytes; lanes are 1 to 15, each once.
///
/// # Panics
/// Without an entry, or with more than 15.
pub fn encode<'a>(totals: &[LaneTotal], out: &'a mut [u8; CREDIT_FRAME_BYTES_MAX]) -> &'a [u8] {
    totals::encode(Kind::CREDIT, totals, out)
}
