//! Real processes: `lanewayd` and `laneway` as users start them, beside peers that speak the wire format themselves.

pub mod binaries;
pub mod bridge;
pub mod frames;
pub mod group;
pub mod link;
pub mod lossy;
pub mod netns;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod witness;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use self::link::Place;
use self::process::{Ended, GUARD, Process};

/// A directory for one test, removed at its end.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new, empty directory with a short path: Unix sockets live in it.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("laneway-e2e-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory among the temporary files");
        Self(path)
    }

    /// The path of `name` inside it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file; returns its path.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("the test's own directory takes files");
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a broker is started.
#[derive(Clone, Debug)]
pub struct Launch {
    shards: u32,
    top: String,
    config: String,
    listen: Vec<String>,
    also: Vec<String>,
    udp: bool,
    log: &'static str,
    under: Vec<String>,
}

impl Launch {
    /// A broker of `shards` shards with defaults, on a free TCP port and a Unix socket of its own.
    pub fn new(shards: u32) -> Self {
        Self {
            shards,
            top: String::new(),
            config: String::new(),
            listen: Vec::new(),
            also: Vec::new(),
            udp: false,
            log: "info",
            under: Vec::new(),
        }
    }

    /// A line of its configuration file that belongs to no table.
    #[must_use]
    pub fn top(mut self, line: &str) -> Self {
        self.top.push_str(line);
        self.top.push('\n');
        self
    }

    /// Lines of its configuration file, in tables.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// Options of the TCP and of the Unix endpoint, as in `?connections_max=5`.
    #[must_use]
    pub fn endpoint_options(mut self, tcp: &str, unix: &str) -> Self {
        self.listen = vec![tcp.into(), unix.into()];
        self
    }

    /// One more endpoint.
    #[must_use]
    pub fn also_listen(mut self, url: &str) -> Self {
        self.also.push(url.into());
        self
    }

    /// It has a UDP endpoint, too.
    #[must_use]
    pub const fn udp(mut self) -> Self {
        self.udp = true;
        self
    }

    /// What it logs.
    #[must_use]
    pub const fn log(mut self, level: &'static str) -> Self {
        self.log = level;
        self
    }

    /// Starts it through another program, which must replace itself by it.
    #[must_use]
    pub fn under(mut self, program: &[String]) -> Self {
        self.under = program.to_vec();
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If it does not get ready; with what it said.
    pub fn start(self) -> RealBroker {
        let scratch = Scratch::new();
        let state = scratch.path("state");
        // Brokers of several tests share the cores, so none insists on one.
        let head = format!("state_dir = \"{}\"\npin = false\n", state.display());
        let config = scratch.file("lanewayd.toml", head + &self.top + &self.config);
        let unix = scratch.path("sock");
        let options = |place: usize| self.listen.get(place).map_or("", String::as_str);
        let command = |port: u16, udp: u16| {
            let mut command = command_under(&self.under, binaries::lanewayd());
            command.arg("--config").arg(&config);
            command.args(["--listen", &format!("tcp://127.0.0.1:{port}{}", options(0))]);
            command.args(["--listen", &format!("unix://{}{}", unix.display(), options(1))]);
            for url in &self.also {
                command.args(["--listen", url]);
            }
            if self.udp {
                command.args(["--listen", &format!("udp://127.0.0.1:{udp}")]);
            }
            command.args(["--shards", &self.shards.to_string(), "--log", self.log]);
            command
        };
        let first = command(0, 0);
        let mut process = Process::spawn("lanewayd", first);
        let out = process.wait_for_stdout("ready\n");
        let tcp = out.lines().find_map(tcp_address).expect("a line 'listening tcp://...'");
        let descriptors_idle = descriptors(process.pid());
        let udp = out.lines().find_map(|line| line.strip_prefix("listening udp://")?.parse::<SocketAddr>().ok());
        let again = command(tcp.port(), udp.map_or(0, |udp| udp.port()));
        RealBroker { process, again, udp, tcp, unix: Place::Unix(unix), scratch, descriptors_idle }
    }
}

/// A command for a program that another one starts and becomes, if one is named.
pub fn command_under(under: &[String], program: &Path) -> Command {
    match under {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}

fn tcp_address(line: &str) -> Option<Place> {
    let address = line.strip_prefix("listening tcp://")?;
    let address = address.split('?').next().unwrap_or(address);
    Some(Place::Tcp(address.parse().expect("an address after 'listening tcp://'")))
}

/// A broker that runs in a process of its own; killed when it is dropped.
#[derive(Debug)]
pub struct RealBroker {
    process: Process,
    /// Starts it at the same places.
    again: Command,
    udp: Option<SocketAddr>,
    tcp: Place,
    unix: Place,
    scratch: Scratch,
    descriptors_idle: usize,
}

/// File descriptors a process has open.
fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

impl RealBroker {
    /// Its TCP endpoint.
    pub const fn tcp(&self) -> &Place {
        &self.tcp
    }

    /// Its UDP endpoint.
    ///
    /// # Panics
    /// If it was started without one.
    pub fn udp(&self) -> SocketAddr {
        self.udp.expect("it was started with a UDP endpoint")
    }

    /// Its Unix socket.
    pub const fn unix(&self) -> &Place {
        &self.unix
    }

    /// Kills it and starts another one at the same places.
    ///
    /// # Panics
    /// If that does not get ready; with what it said.
    pub fn kill_and_restart(&mut self) {
        self.process.signal(Signal::SIGKILL);
        // The new one waits for the port in vain while the old one dies.
        self.process.wait();
        self.process = Process::spawn_again("lanewayd", &mut self.again);
        self.process.wait_for_stdout("ready\n");
    }

    /// Its process.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The directory where its socket, configuration and state are.
    pub const fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// The command line client, told to use this broker's endpoint.
    pub fn laneway(&self, place: &Place, arguments: &[&str]) -> Command {
        laneway(&place.url(), arguments)
    }

    /// Bytes of memory it holds.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).expect("a live process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line VmRSS");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
        kib * 1024
    }

    /// Waits until it has taken so many connections in and let go of the others.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait_for_connections(&self, count: usize) {
        let until = Instant::now() + GUARD;
        while descriptors(self.process.pid()) != self.descriptors_idle + count {
            assert!(Instant::now() < until, "the broker has not {count} connections: {}", self.process.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it has let go of every connection, and then for its end: what it counted is then complete.
    ///
    /// # Panics
    /// If it holds descriptors that it did not hold at its start.
    pub fn stop_idle(self) -> Ended {
        self.wait_for_connections(0);
        self.stop()
    }

    /// Asks it to drain and waits for its end.
    pub fn stop(self) -> Ended {
        self.process.signal(Signal::SIGTERM);
        self.process.finish()
    }

    /// Waits for its end.
    pub fn finish(self) -> Ended {
        self.process.finish()
    }
}

/// The command line client with a broker's URL.
pub fn laneway(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(binaries::laneway());
    command.arg("--url").arg(url).args(arguments).env_remove("LANEWAY_URL");
    command
}

/// Runs a command to its end.
pub fn run(name: &str, command: Command) -> Ended {
    Process::spawn(name, command).finish()
}

/// Runs `lanewayd` with these arguments to its end, through another program if one is named.
pub fn run_lanewayd(under: &[String], arguments: &[&str]) -> Ended {
    let mut command = command_under(under, binaries::lanewayd());
    command.args(arguments);
    run("lanewayd", command)
}
