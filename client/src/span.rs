//! A time of the standard library, as the machines count it.

use std::time::Duration;

use laneway_proto::time::Duration as Span;

/// The same time in nanoseconds; 584 years if it is longer.
pub(crate) fn span(duration: Duration) -> Span {
    Span(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
