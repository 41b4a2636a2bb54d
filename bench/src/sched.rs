//! Where threads run, and what the scheduler says about them: processor time and time spent waiting for a processor.

use std::fs;
use std::ops::Sub;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::error::{Error, Result};

/// The two processors of a measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cores {
    /// For what is measured.
    pub target: usize,
    /// For the load.
    pub load: usize,
}

impl Cores {
    /// The first two processors this process may use: 0 and 1, unless it is confined.
    pub fn find() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).map_err(Error::errno("reading the allowed processors"))?;
        let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
        match (cores.next(), cores.next()) {
            (Some(target), Some(load)) => Ok(Self { target, load }),
            _ => Err(Error::Missing("two processors are needed, one for the broker and one for the load".into())),
        }
    }
}

/// Pins the calling thread; threads and processes it starts inherit this.
pub fn pin_self(core: usize) -> Result<()> {
    pin(Pid::from_raw(0), core)
}

/// Pins every thread of a process that runs.
pub fn pin_process(pid: u32, core: usize) -> Result<()> {
    for thread in threads(pid)? {
        pin(Pid::from_raw(thread), core)?;
    }
    Ok(())
}

fn pin(pid: Pid, core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core).map_err(Error::errno("naming a processor"))?;
    sched_setaffinity(pid, &set).map_err(Error::errno(format!("pinning thread {pid} to processor {core}")))
}

fn threads(pid: u32) -> Result<Vec<i32>> {
    let folder = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&folder).map_err(Error::io(format!("listing {folder}; the process has ended")))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Nanoseconds the scheduler has counted, of one thread or of a process's threads together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// On a processor.
    pub run_ns: u64,
    /// Ready, but waiting for the processor.
    pub wait_ns: u64,
}

impl Account {
    /// Of the calling thread.
    pub fn of_this_thread() -> Result<Self> {
        let text = fs::read_to_string("/proc/thread-self/schedstat").map_err(|_| no_schedstat())?;
        Self::parse(&text).ok_or_else(no_schedstat)
    }

    /// Of all threads of a process, kernel workers on its behalf included.
    pub fn of_process(pid: u32) -> Result<Self> {
        let mut sum = Self::default();
        for thread in threads(pid)? {
            // A thread may end between the listing and the reading.
            let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).unwrap_or_default();
            let account = Self::parse(&text).unwrap_or_default();
            sum.run_ns += account.run_ns;
            sum.wait_ns += account.wait_ns;
        }
        Ok(sum)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split_whitespace().map(str::parse);
        match (fields.next(), fields.next()) {
            (Some(Ok(run_ns)), Some(Ok(wait_ns))) => Some(Self { run_ns, wait_ns }),
            _ => None,
        }
    }
}

impl Sub for Account {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self {
            run_ns: self.run_ns.saturating_sub(earlier.run_ns),
            wait_ns: self.wait_ns.saturating_sub(earlier.wait_ns),
        }
    }
}

/// Watches the calling thread and a process over a measurement.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    target: Account,
    own: Account,
    start: Instant,
}

/// What a [`Watch`] saw.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Watched {
    /// Processor time of the process, in nanoseconds.
    pub target_run_ns: u64,
    /// Share of the time that thread and process waited for a processor, 0.08 for 8 %.
    pub wait_share: f64,
    /// The thread's part of it.
    pub own_wait_share: f64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Watch {
    /// Starts now.
    pub fn start(pid: u32) -> Result<Self> {
        let (target, own) = (Account::of_process(pid)?, Account::of_this_thread()?);
        Ok(Self { pid, target, own, start: Instant::now() })
    }

    /// Ends now.
    pub fn finish(self) -> Result<Watched> {
        let elapsed = self.start.elapsed();
        let own = Account::of_this_thread()? - self.own;
        let target = Account::of_process(self.pid)? - self.target;
        let share = |wait_ns: u64| wait_ns as f64 / elapsed.as_nanos().max(1) as f64;
        Ok(Watched {
            target_run_ns: target.run_ns,
            wait_share: share(own.wait_ns + target.wait_ns),
            own_wait_share: share(own.wait_ns),
            elapsed,
        })
    }
}

fn no_schedstat() -> Error {
    Error::Missing("the kernel gives no /proc/PID/schedstat; use one built with CONFIG_SCHED_INFO".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedstat_line_is_run_and_wait_nanoseconds() {
        assert_eq!(Account::parse("120 7 3\n"), Some(Account { run_ns: 120, wait_ns: 7 }));
        assert_eq!(Account::parse(""), None);
        assert_eq!(Account::parse("x 7 3"), None);
    }

    #[test]
    fn this_process_has_run() {
        let own = Account::of_process(std::process::id()).expect("proc");
        assert!(own.run_ns > 0);
    }
}
