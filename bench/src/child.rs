//! A process under test: started on its own core, ready when it says so, always killed and reaped.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::args::ChildOptions;
use crate::error::{Error, Result};
use crate::reaper;
use crate::relay::Base;
use crate::sched::{self, Cores};

/// How long a process may take to say that it listens.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A relay or a broker that runs on the target's core.
#[derive(Debug)]
pub struct Child {
    process: Process,
    /// Kept open: a broker that prints into a closed pipe would fail.
    _stdout: Option<BufReader<ChildStdout>>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Child {
    /// Starts a relay of the `laneway-bench` at `own`, `flag` being what distinguishes its job; it forwards once
    /// `subscribers` have connected.
    pub fn relay(own: &Path, base: Base, flag: Option<&str>, subscribers: usize, cores: Cores) -> Result<Self> {
        let mut command = following(own, own);
        command.args(["relay", "--listen", "tcp://127.0.0.1:0", "--base", base.name()]);
        command.args(["--subscribers", &subscribers.to_string()]);
        command.args(flag);
        Self::start(command, "the relay", cores, "listening ")
    }

    /// Starts the `lanewayd` at `program` with one shard on a free port.
    pub fn broker(own: &Path, program: &Path, cores: Cores) -> Result<Self> {
        let mut command = following(own, program);
        command.args(["--listen", "tcp://127.0.0.1:0", "--shards", "1", "--log", "error"]);
        let name = program.display().to_string();
        Self::start(command, &name, cores, "ready")
    }

    /// The same broker with a configuration file, at an address.
    pub fn configured_broker(own: &Path, program: &Path, config: &Path, at: SocketAddr, cores: Cores) -> Result<Self> {
        let mut command = following(own, program);
        command.arg("--config").arg(config);
        command.args(["--listen", &format!("tcp://{at}"), "--shards", "1", "--log", "error"]);
        let name = program.display().to_string();
        Self::start(command, &name, cores, "ready")
    }

    /// Bytes of its memory that are resident.
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        let text = std::fs::read_to_string(&path).map_err(Error::io(format!("reading {path}")))?;
        resident_bytes(&text)
            .ok_or_else(|| Error::Failed(format!("{path} says nothing of VmRSS; the process has ended")))
    }

    /// Starts another server, which is ready when it accepts connections at every address of `at`.
    pub fn server(own: &Path, program: &Path, arguments: &[String], at: &[SocketAddr], cores: Cores) -> Result<Self> {
        let mut command = following(own, program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let name = program.display().to_string();
        let mut process = spawn(&mut command, &name, cores)?;
        match await_accepting(at) {
            Some(address) => {
                let child = Self { process, _stdout: None, address };
                sched::pin_process(child.process.id(), cores.target)?;
                Ok(child)
            }
            None => {
                end(&mut process);
                let arguments = arguments.join(" ");
                Err(Error::Failed(format!("it accepts no connection within {READY_WITHIN:?}: {name} {arguments}")))
            }
        }
    }

    fn start(mut command: Command, name: &str, cores: Cores, ready_prefix: &'static str) -> Result<Self> {
        command.stdout(Stdio::piped());
        let mut process = spawn(&mut command, name, cores)?;
        let started = match process.stdout.take() {
            Some(stdout) => await_ready(stdout, ready_prefix),
            None => Err(Error::Failed("no pipe".into())),
        };
        match started {
            Ok((stdout, address)) => {
                let child = Self { process, _stdout: Some(stdout), address };
                sched::pin_process(child.process.id(), cores.target)?;
                Ok(child)
            }
            Err(error) => {
                let missing = own_exit_code(&mut process) == Some(3);
                end(&mut process);
                Err(if missing {
                    Error::Missing(format!("{name} says above what is missing"))
                } else {
                    Error::Failed(format!("{name} did not start: {error}"))
                })
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Starts a command on the target's core.
fn spawn(command: &mut Command, name: &str, cores: Cores) -> Result<Process> {
    command.stdin(Stdio::null());
    // The child inherits the core, so that not even its start disturbs the load's.
    sched::pin_self(cores.target)?;
    let spawned = command.spawn();
    sched::pin_self(cores.load)?;
    let process = spawned.map_err(Error::io(format!("starting {name}")))?;
    reaper::adopt(process.id());
    Ok(process)
}

/// The first address, once a connection to each was accepted.
fn await_accepting(at: &[SocketAddr]) -> Option<SocketAddr> {
    let start = Instant::now();
    for address in at {
        while TcpStream::connect_timeout(address, READY_WITHIN).is_err() {
            if start.elapsed() > READY_WITHIN {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
    at.first().copied()
}

/// A command that runs `program` by way of the `laneway-bench` at `own`, so that it ends when this process does.
fn following(own: &Path, program: &Path) -> Command {
    let mut command = Command::new(own);
    command.arg("child").arg(std::process::id().to_string()).arg(program);
    command
}

/// Turns the calling process into the program that `following` asked for; returns only if that fails.
pub fn become_program(options: &ChildOptions) -> Error {
    if let Err(error) = reaper::follow_parent(options.parent) {
        return error;
    }
    let error = Command::new(&options.program).args(&options.arguments).exec();
    Error::Failed(format!("starting {}: {error}", options.program.display()))
}

impl Drop for Child {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// Kills and reaps at once: a process under test has nothing to save.
fn end(process: &mut Process) {
    let _ = process.kill();
    reaper::release(process.id());
    let _ = process.wait();
}

/// The exit code of a process that is about to explain itself and exit; `None` if it does not within a moment.
fn own_exit_code(process: &mut Process) -> Option<i32> {
    for _ in 0..20 {
        if let Ok(Some(status)) = process.try_wait() {
            reaper::release(process.id());
            return status.code();
        }
        thread::sleep(Duration::from_millis(10));
    }
    None
}

type Ready = (BufReader<ChildStdout>, SocketAddr);

/// Reads until the line that says "ready"; the address stands in a line `listening tcp://HOST:PORT`.
fn await_ready(stdout: ChildStdout, ready_prefix: &'static str) -> Result<Ready> {
    let (send, receive) = mpsc::channel();
    // A pipe has no read timeout; the thread ends with the pipe, and that with the process.
    thread::spawn(move || {
        let _ = send.send(read_ready(stdout, ready_prefix));
    });
    match receive.recv_timeout(READY_WITHIN) {
        Ok(ready) => ready,
        Err(_) => Err(Error::Failed(format!("it printed no line '{ready_prefix}' within {READY_WITHIN:?}"))),
    }
}

fn read_ready(stdout: ChildStdout, ready_prefix: &str) -> Result<Ready> {
    let mut reader = BufReader::new(stdout);
    let mut address = None;
    loop {
        let mut line = String::new();
        let bytes = reader.read_line(&mut line).map_err(Error::io("reading its output"))?;
        if bytes == 0 {
            return Err(Error::Failed("it ended before it listened".into()));
        }
        let line = line.trim_end();
        if let Some(found) = line.strip_prefix("listening tcp://") {
            address = found.parse().ok();
        }
        if let (true, Some(address)) = (line.starts_with(ready_prefix), address) {
            return Ok((reader, address));
        }
    }
}

/// This executable.
pub fn own_program() -> Result<PathBuf> {
    std::env::current_exe().map_err(Error::io("finding this executable"))
}

/// Finds `lanewayd`: where the caller says, else beside this executable.
pub fn find_broker(given: Option<&Path>) -> Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => own_program()?.with_file_name("lanewayd"),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::Missing(format!(
        "no broker at {}; build it with 'cargo build --release --bin lanewayd' or name it with --broker PATH",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_memory_of_a_process_is_read_in_bytes() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\nThreads: 1\n"), Some(2 * 1024 * 1024));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }
}
