//! A reader at a fixed rate, beside whatever else its broker has to bear.

use std::time::{Duration, Instant};

use super::Load;
use crate::error::Result;

/// How often `look` is called.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A publisher that was not taken for this long does not make up for it.
const BEHIND_MAX: Duration = Duration::from_millis(10);

/// What the reader saw.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Seen {
    /// Messages that should have been published in the time.
    pub offered: f64,
    /// Messages that arrived in it.
    pub delivered: f64,
    /// The longest time in which nothing arrived.
    pub silence: Duration,
}

/// Publishes `rate_hz` messages a second for `span`, in the load's blocks; calls `look` now and then.
pub fn run(load: &mut Load, rate_hz: u32, span: Duration, mut look: impl FnMut() -> Result<()>) -> Result<Seen> {
    let before = load.delivered();
    let start = Instant::now();
    let period = Duration::from_secs(1) * load.source.block().messages() / rate_hz.max(1);
    let (mut due, mut looked_at, mut heard_at, mut silence) = (start, start, start, Duration::ZERO);
    let mut known = before;
    loop {
        let now = Instant::now();
        if now.duration_since(start) >= span {
            break;
        }
        if load.source.left() == 0 && now >= due {
            load.begin_block();
            due = due.max(now - BEHIND_MAX.min(now.duration_since(start))) + period;
        }
        if load.source.left() > 0 {
            load.write()?;
        }
        // Silence is a result here.
        load.heard_at = now;
        load.receive(now)?;
        if load.delivered() > known {
            known = load.delivered();
            heard_at = now;
        }
        silence = silence.max(now.duration_since(heard_at));
        if now.duration_since(looked_at) >= LOOK_EVERY {
            looked_at = now;
            look()?;
        }
    }
    let offered = f64::from(rate_hz) * span.as_secs_f64();
    Ok(Seen { offered, delivered: (known - before) as f64, silence })
}
