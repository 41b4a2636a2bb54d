//! No child outlives the benchmark: whatever ends it, the processes it started are killed by their pid first.

use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::{panic, process, thread};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getppid};

use crate::error::{Error, Result};

static LIVE: Mutex<Vec<u32>> = Mutex::new(Vec::new());
static INSTALLED: Once = Once::new();

fn live() -> MutexGuard<'static, Vec<u32>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches for SIGINT, SIGTERM and panics from now on. Call before other threads start: they inherit the signal mask.
pub fn install() {
    INSTALLED.call_once(|| {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        if signals.thread_block().is_ok() {
            thread::spawn(move || {
                let signal = signals.wait();
                kill_all();
                process::exit(signal.map_or(1, |signal| 128 + signal as i32));
            });
        }
        let default_hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            default_hook(info);
            kill_all();
        }));
    });
}

fn kill_all() {
    for pid in live().drain(..) {
        kill_one(pid);
    }
}

fn kill_one(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have ended by itself; it is not reaped yet, so the number is still its own.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        let _ = waitpid(Pid::from_raw(pid), None);
    }
}

/// Ties the calling process to the one that started it: it is killed when that one ends, however that ends.
pub fn follow_parent(parent: u32) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).map_err(Error::errno("following the parent"))?;
    // It may have ended before the line above.
    if u32::try_from(getppid().as_raw()) == Ok(parent) {
        Ok(())
    } else {
        Err(Error::Failed("the process that started this one has ended".into()))
    }
}

/// Remembers a child that was just started.
pub fn adopt(pid: u32) {
    live().push(pid);
}

/// Forgets a child; call before it is reaped, while its number is still its own.
pub fn release(pid: u32) {
    live().retain(|&known| known != pid);
}
