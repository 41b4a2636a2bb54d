//! As much as fits: 64 KiB writes, at most 1 MiB in flight, messages counted over a measured time.

use std::time::{Duration, Instant};

use super::Load;
use crate::child::Child;
use crate::error::Result;
use crate::sched::Watch;

/// How long a measurement runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Before anything is counted.
    pub warm_up: Duration,
    /// What is counted.
    pub measured: Duration,
}

/// What one measurement found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Figure {
    /// Messages delivered per second, to all subscribers together.
    pub messages_per_s: f64,
    /// Nanoseconds of processor time of the target for each of them.
    pub cpu_ns_per_message: f64,
    /// Share of the measured time that target and load waited for a processor, 0.08 for 8 %.
    pub wait_share: f64,
}

/// Runs a load against `child` and measures it.
pub fn run(load: &mut Load, child: &Child, timing: Timing) -> Result<Figure> {
    drive(load, timing.warm_up)?;
    let before = load.delivered();
    let watch = Watch::start(child.id())?;
    drive(load, timing.measured)?;
    let watched = watch.finish()?;
    let delivered = (load.delivered() - before) as f64;
    Ok(Figure {
        messages_per_s: delivered / watched.elapsed.as_secs_f64(),
        cpu_ns_per_message: watched.target_run_ns as f64 / delivered.max(1.0),
        wait_share: watched.wait_share,
    })
}

/// Publishes and receives for a while.
fn drive(load: &mut Load, span: Duration) -> Result<()> {
    let start = Instant::now();
    loop {
        if load.source.left() == 0 && load.may_send() {
            load.begin_block();
        }
        if load.source.left() > 0 {
            load.write()?;
        }
        let now = Instant::now();
        load.receive(now)?;
        if now.duration_since(start) >= span {
            return Ok(());
        }
    }
}
