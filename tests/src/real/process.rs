//! A child process whose output is kept, which never outlives its test and never hangs it.

use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::group;

/// Longest time anything here is waited for. No test asserts that something is faster; this only ends what hangs.
pub const GUARD: Duration = Duration::from_secs(120);

const POLL: Duration = Duration::from_millis(5);

/// What a stream has said so far.
#[derive(Debug, Default)]
struct Heard {
    bytes: Vec<u8>,
    ended: bool,
}

#[derive(Debug)]
struct Listener {
    heard: Arc<(Mutex<Heard>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    fn new(mut stream: impl Read + Send + 'static) -> Self {
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let shared = Arc::clone(&heard);
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let count = stream.read(&mut buffer).unwrap_or(0);
                let mut heard = shared.0.lock().expect("nobody panics while holding it");
                heard.bytes.extend_from_slice(&buffer[..count]);
                heard.ended = count == 0;
                shared.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self { heard, thread: Some(thread) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard.0.lock().expect("nobody panics while holding it").bytes).into_owned()
    }

    /// Waits until `wanted` was said; an error if the stream ended or the guard ran out first.
    fn wait_for(&self, wanted: &str) -> Result<(), &'static str> {
        let until = Instant::now() + GUARD;
        let mut heard = self.heard.0.lock().expect("nobody panics while holding it");
        loop {
            if heard.bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
                return Ok(());
            }
            if heard.ended {
                return Err("it ended without");
            }
            let left = until.checked_duration_since(Instant::now()).ok_or("it did not within the guard time")?;
            heard = self.heard.1.wait_timeout(heard, left).expect("nobody panics while holding it").0;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("listening does not fail");
        }
        std::mem::take(&mut self.heard.0.lock().expect("nobody panics while holding it").bytes)
    }
}

/// A running child process; killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Option<Listener>,
    stderr: Option<Listener>,
}

impl Process {
    /// Starts a command with pipes for its output. Its input is empty unless the command says otherwise.
    pub fn spawn(name: &str, command: Command) -> Self {
        Self::spawn_with_input(name, command, Stdio::null())
    }

    /// The same with an input.
    pub fn spawn_with_input(name: &str, mut command: Command, input: impl Into<Stdio>) -> Self {
        command.stdin(input);
        Self::spawn_again(name, &mut command)
    }

    /// Starts a command that may have been started before, with pipes for its output and the input it was given.
    pub fn spawn_again(name: &str, command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let stdout = child.stdout.take().map(Listener::new);
        let stderr = child.stderr.take().map(Listener::new);
        Self { name: name.into(), child, stdout, stderr }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, whatever it is.
    pub fn wait(&mut self) {
        self.child.wait().expect("a child can be waited for");
    }

    /// Takes its standard input, if it was started with a pipe for it.
    pub fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("a child that was not waited for can be signalled");
    }

    /// What it has said on standard error.
    pub fn stderr(&self) -> String {
        self.stderr.as_ref().map(Listener::text).unwrap_or_default()
    }

    /// Waits until it has said `wanted` on standard output; returns everything it said there.
    pub fn wait_for_stdout(&mut self, wanted: &str) -> String {
        self.wait_for(self.stdout.as_ref(), wanted)
    }

    /// Waits until it has said `wanted` on standard error; returns everything it said there.
    pub fn wait_for_stderr(&mut self, wanted: &str) -> String {
        self.wait_for(self.stderr.as_ref(), wanted)
    }

    /// Waits until it has said `wanted` on standard output, or has ended without: false.
    pub fn says(&self, wanted: &str) -> bool {
        self.stdout.as_ref().is_some_and(|listener| listener.wait_for(wanted).is_ok())
    }

    fn wait_for(&self, listener: Option<&Listener>, wanted: &str) -> String {
        let listener = listener.expect("output is listened to until the end");
        if let Err(why) = listener.wait_for(wanted) {
            panic!("{} should have said {wanted:?}, but {why}; it said: {}", self.name, self.stderr());
        }
        listener.text()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.status().is_none()
    }

    /// How it ended; `None` while it runs.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end; returns how it ended and all it said.
    ///
    /// # Panics
    /// If it does not end within [`GUARD`]; with what it waits for and what it said.
    pub fn finish(mut self) -> Ended {
        let until = Instant::now() + GUARD;
        let status = loop {
            if let Some(status) = self.status() {
                break status;
            }
            let (name, stands) = (&self.name, || group::describe(self.pid()));
            assert!(Instant::now() < until, "{name} does not end; {}; it said: {}", stands(), self.stderr());
            std::thread::sleep(POLL);
        };
        let stdout = self.stdout.take().map(Listener::finish).unwrap_or_default();
        let stderr = self.stderr.take().map(Listener::finish).unwrap_or_default();
        Ended { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Harmless if it was waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: String,
}

impl Ended {
    /// Its exit code; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// A number the broker counted, summed over its shards: a field of its last log lines.
    pub fn counted(&self, field: &str) -> u64 {
        let label = format!("{field}=");
        let words = self.last_lines().flat_map(str::split_whitespace);
        words.filter_map(|word| word.strip_prefix(&label)?.parse::<u64>().ok()).sum()
    }

    /// Connections the broker closed for `reason`, summed over its shards.
    pub fn closed(&self, reason: &str) -> u64 {
        self.closed_reasons().filter(|(name, _)| name == reason).map(|(_, count)| count).sum()
    }

    /// Connections the broker closed, for whatever reason.
    pub fn closed_in_all(&self) -> u64 {
        self.closed_reasons().map(|(_, count)| count).sum()
    }

    fn closed_reasons(&self) -> impl Iterator<Item = (String, u64)> {
        let lists = self.last_lines().filter_map(|line| line.split("closed=\"").nth(1)?.split('"').next());
        let reasons = lists.flat_map(|list| list.split(','));
        reasons.filter_map(|reason| {
            let (name, count) = reason.split_once('=')?;
            Some((name.to_owned(), count.parse().ok()?))
        })
    }

    /// The lines in which each shard says what it counted.
    fn last_lines(&self) -> impl Iterator<Item = &str> {
        self.stderr.lines().filter(|line| line.contains("drained shard="))
    }
}
