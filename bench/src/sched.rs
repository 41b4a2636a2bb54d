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

/// The kernel's scheduling group of this session's processes: the file to read it from, and to set its nice level with.
const AUTOGROUP: &str = "/proc/self/autogroup";
/// Before everybody else.
const FIRST: &str = "-20";

/// While it lives, the processes of this session go before all others, kernel threads included; what the machine does
/// besides would decide percentiles of 99 and more. That takes root and a kernel that schedules by session; otherwise nothing
/// changes.
#[derive(Debug)]
pub struct Precedence {
    /// The nice level before.
    before: Option<String>,
}

impl Precedence {
    /// Takes it, if it can be had.
    pub fn take() -> Self {
        let before = fs::read_to_string(AUTOGROUP).ok().and_then(|text| nice_of(&text).map(str::to_owned));
        Self { before: before.filter(|_| fs::write(AUTOGROUP, FIRST).is_ok()) }
    }

    /// Whether it was to be had.
    pub const fn is_taken(&self) -> bool {
        self.before.is_some()
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // There is nobody who could do anything about it.
            let _ = fs::write(AUTOGROUP, before);
        }
    }
}

/// The nice level in a line like `/autogroup-5 nice -20`.
fn nice_of(autogroup: &str) -> Option<&str> {
    autogroup.trim().rsplit_once(" nice ").map(|(_, nice)| nice)
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

/// Time in which the machine's host ran others on these processors, in nanoseconds since the start of the machine. What
/// is ready to run then does not know that it waits. 0 where the kernel does not say; its clock ticks 100 times a second.
fn stolen_ns(processors: &[usize]) -> u64 {
    const TICK_NS: u64 = 10_000_000;
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    processors.iter().filter_map(|&processor| stolen_ticks(&text, processor)).sum::<u64>() * TICK_NS
}

/// The eighth figure behind the processor's name.
fn stolen_ticks(stat: &str, processor: usize) -> Option<u64> {
    let mut fields = stat.lines().find_map(|line| line.strip_prefix(&format!("cpu{processor} ")))?.split_whitespace();
    fields.nth(7)?.parse().ok()
}

/// The processor a task of /proc ran on last.
fn processor_of(task: &str) -> Option<usize> {
    let text = fs::read_to_string(format!("/proc/{task}/stat")).ok()?;
    // Behind the name, which may hold anything: the 39th field of all.
    text.rsplit_once(')')?.1.split_whitespace().nth(36)?.parse().ok()
}

/// Watches the calling thread and a process over a measurement.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    processors: Vec<usize>,
    stolen_ns: u64,
    target: Account,
    own: Account,
    start: Instant,
}

/// What a [`Watch`] saw.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Watched {
    /// Processor time of the process, in nanoseconds.
    pub target_run_ns: u64,
    /// Share of the time that thread and process waited for a processor, 0.08 for 8 %; that the host ran others on their
    /// processors counts, too.
    pub wait_share: f64,
    /// The thread's part of it.
    pub own_wait_share: f64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Watch {
    /// Starts now.
    pub fn start(pid: u32) -> Result<Self> {
        let mut processors: Vec<_> =
            [processor_of(&pid.to_string()), processor_of("thread-self")].into_iter().flatten().collect();
        processors.dedup();
        let stolen_ns = stolen_ns(&processors);
        let (target, own) = (Account::of_process(pid)?, Account::of_this_thread()?);
        Ok(Self { pid, processors, stolen_ns, target, own, start: Instant::now() })
    }

    /// Ends now.
    pub fn finish(self) -> Result<Watched> {
        let elapsed = self.start.elapsed();
        let own = Account::of_this_thread()? - self.own;
        let target = Account::of_process(self.pid)? - self.target;
        let stolen_ns = stolen_ns(&self.processors).saturating_sub(self.stolen_ns);
        let share = |wait_ns: u64| wait_ns as f64 / elapsed.as_nanos().max(1) as f64;
        Ok(Watched {
            target_run_ns: target.run_ns,
            wait_share: share(own.wait_ns + target.wait_ns + stolen_ns),
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
    fn the_nice_level_of_a_session_is_behind_its_name() {
        assert_eq!(nice_of("/autogroup-5 nice -20\n"), Some("-20"));
        assert_eq!(nice_of("/autogroup-12 nice 0\n"), Some("0"));
        assert_eq!(nice_of(""), None);
    }

    #[test]
    fn a_schedstat_line_is_run_and_wait_nanoseconds() {
        assert_eq!(Account::parse("120 7 3\n"), Some(Account { run_ns: 120, wait_ns: 7 }));
        assert_eq!(Account::parse(""), None);
        assert_eq!(Account::parse("x 7 3"), None);
    }

    #[test]
    fn what_the_host_takes_is_the_eighth_figure_of_the_processors_line() {
        let stat = "cpu  9 9 9 9 9 9 9 99 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu10 1 2 3 4 5 6 7 80 9 10\n";
        assert_eq!((stolen_ticks(stat, 0), stolen_ticks(stat, 10), stolen_ticks(stat, 1)), (Some(8), Some(80), None));
    }

    #[test]
    fn this_thread_runs_on_a_processor_there_is() {
        let own = processor_of("thread-self").expect("proc");
        assert!(fs::read_to_string("/proc/stat").expect("proc").contains(&format!("cpu{own} ")));
    }

    #[test]
    fn this_process_has_run() {
        let own = Account::of_process(std::process::id()).expect("proc");
        assert!(own.run_ns > 0);
    }
}
