//! As much as fits: 64 KiB writes, at most 1 MiB in flight, messages counted over a measured time.

use std::time::{Duration, Instant};

use super::Load;
use crate::child::Child;
use crate::error::Result;
use crate::sched::{Watch, Watched};

/// Writes in a row before the load receives again. The target sleeps whenever it is faster than the load, and to wake it
/// costs the load's core about 10 µs: with one write a turn all targets were alike because the load was busy with waking
/// them.
const WRITES_PER_TURN: u32 = 4;

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
    run_all(std::slice::from_mut(load), child, timing, WRITES_PER_TURN).map(|(figure, _)| figure)
}

/// Runs several loads against `child` in turn, each with up to `writes` writes a turn, and measures them together; with
/// what was seen of the processors.
pub fn run_all(loads: &mut [Load], child: &Child, timing: Timing, writes: u32) -> Result<(Figure, Watched)> {
    drive(loads, timing.warm_up, writes)?;
    let before = delivered(loads);
    let watch = Watch::start(child.id())?;
    drive(loads, timing.measured, writes)?;
    let watched = watch.finish()?;
    let delivered = (delivered(loads) - before) as f64;
    loads.iter_mut().try_for_each(Load::settle)?;
    let figure = Figure {
        messages_per_s: delivered / watched.elapsed.as_secs_f64(),
        cpu_ns_per_message: watched.target_run_ns as f64 / delivered.max(1.0),
        wait_share: watched.wait_share,
    };
    Ok((figure, watched))
}

fn delivered(loads: &[Load]) -> u64 {
    loads.iter().map(Load::delivered).sum()
}

/// Publishes and receives for a while.
fn drive(loads: &mut [Load], span: Duration, writes: u32) -> Result<()> {
    let start = Instant::now();
    loop {
        let mut now = start;
        for load in &mut *loads {
            for _ in 0..writes {
                if load.source.left() == 0 && load.may_send() {
                    load.begin_block();
                }
                if load.source.left() == 0 {
                    break;
                }
                load.write()?;
            }
            now = Instant::now();
            load.receive(now)?;
        }
        if now.duration_since(start) >= span {
            return Ok(());
        }
    }
}
