//! A line between a broker's port and a device's: bytes take their time on it, and some are damaged or get lost, by seed.
//!
//! ```text
//! broker ── pty ◄── host ─ line ─ device ──► pty ── device
//! ```
//! On a shared line there are several devices, who all hear the host, and what is said while the other side speaks is damaged.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};

use super::pty::Pty;
use crate::sim::rng::Rng;

/// How long the line sleeps at most while bytes are on it, in milliseconds.
const TICK_MS: u8 = 1;
/// The same while none are.
const IDLE_MS: u8 = 10;
/// Bit times of a byte.
const BITS: u64 = 10;
/// Chances are out of so many.
const MILLION: u64 = 1_000_000;

/// How bad a line is; of each million bytes, in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Bytes of which a bit is turned over.
    pub flips: u64,
    /// Bytes that never arrive.
    pub drops: u64,
}

/// What a line has seen in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Bytes that were put on it.
    pub bytes: u64,
    /// Of those, damaged or lost.
    pub hurt: u64,
    /// The longest that bytes put on it had to wait until the last of them had left.
    pub backlog_max: Duration,
}

/// Both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// From the broker.
    pub down: Traffic,
    /// To the broker.
    pub up: Traffic,
}

enum Wish {
    Unplug,
    Plug,
    Faults(Faults),
    Report,
}

/// A running line; over when it is dropped.
#[derive(Debug)]
pub struct Line {
    wishes: Option<Sender<Wish>>,
    done: Receiver<Report>,
    thread: Option<JoinHandle<()>>,
    host_path: PathBuf,
    device_paths: Vec<PathBuf>,
    baud: u32,
    shared: bool,
}

impl Line {
    /// A line of `baud` bits per second; the broker's port is at `host_path`, a link that may be replaced.
    pub fn new(host_path: PathBuf, baud: u32, seed: u64, faults: Faults) -> Self {
        Self::with_devices(host_path, baud, seed, faults, None)
    }

    /// A line that only one side can drive at a time, with so many devices, whose addresses are 1 and the next.
    pub fn shared(host_path: PathBuf, baud: u32, seed: u64, faults: Faults, devices: usize) -> Self {
        Self::with_devices(host_path, baud, seed, faults, Some(devices))
    }

    fn with_devices(host_path: PathBuf, baud: u32, seed: u64, faults: Faults, shared: Option<usize>) -> Self {
        let (wishes, wanted) = mpsc::channel();
        let (tell, done) = mpsc::channel();
        let devices: Vec<Pty> = (0..shared.unwrap_or(1)).map(|_| Pty::new()).collect();
        let device_paths = devices.iter().map(|device| device.path().to_owned()).collect();
        let shared = shared.is_some();
        let down = Direction::new(baud, Rng::new(seed, 1), faults);
        let up = Direction::new(baud, Rng::new(seed, 2), faults);
        let mut wires = Wires { host: None, host_path: host_path.clone(), devices, shared, down, up };
        wires.plug();
        let thread = std::thread::spawn(move || {
            while wires.obey(&wanted, &tell) {
                wires.carry();
            }
        });
        Self { wishes: Some(wishes), done, thread: Some(thread), host_path, device_paths, baud, shared }
    }

    /// What the broker is told to listen on.
    pub fn url(&self) -> String {
        let url = format!("serial://{}?baud={}", self.host_path.display(), self.baud);
        if self.shared { format!("{url}&addresses=1-{}", self.device_paths.len()) } else { url }
    }

    /// Where the broker's port is.
    pub fn host_path(&self) -> &Path {
        &self.host_path
    }

    /// Where the device's port is.
    pub fn device_path(&self) -> &Path {
        self.device_path_of(0)
    }

    /// Where the port of one of several devices is, the first being 0.
    pub fn device_path_of(&self, device: usize) -> &Path {
        &self.device_paths[device]
    }

    fn wish(&self, wish: Wish) -> Report {
        let sent = self.wishes.as_ref().is_some_and(|wishes| wishes.send(wish).is_ok());
        assert!(sent, "the line runs");
        self.done.recv().expect("the line runs")
    }

    /// The broker's port is gone, with its device file.
    pub fn unplug(&self) {
        self.wish(Wish::Unplug);
    }

    /// The broker's port is there again: another device file behind the same link.
    pub fn plug(&self) {
        self.wish(Wish::Plug);
    }

    /// From now on it is as bad as that.
    pub fn set_faults(&self, faults: Faults) {
        self.wish(Wish::Faults(faults));
    }

    /// What it has seen so far.
    pub fn report(&self) -> Report {
        self.wish(Wish::Report)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.wishes = None;
        if let Some(thread) = self.thread.take() {
            let over = thread.join();
            assert!(over.is_ok() || std::thread::panicking(), "the line has failed");
        }
    }
}

/// One direction of a line.
#[derive(Debug)]
struct Direction {
    rng: Rng,
    faults: Faults,
    byte: Duration,
    /// When each byte has arrived.
    on_it: VecDeque<(Instant, u8)>,
    free_at: Instant,
    traffic: Traffic,
}

impl Direction {
    fn new(baud: u32, rng: Rng, faults: Faults) -> Self {
        let byte = Duration::from_nanos(BITS * 1_000_000_000 / u64::from(baud));
        Self { rng, faults, byte, on_it: VecDeque::new(), free_at: Instant::now(), traffic: Traffic::default() }
    }

    fn is_busy(&self, now: Instant) -> bool {
        self.free_at > now
    }

    /// `disturbed`: the other side speaks, too.
    fn put(&mut self, now: Instant, bytes: &[u8], disturbed: bool) {
        self.free_at = self.free_at.max(now);
        for &byte in bytes {
            self.free_at += self.byte;
            let (drop, flip) = (self.rng.below(MILLION), self.rng.below(MILLION));
            let bit = self.rng.below(8);
            let (drop, flip) = (drop < self.faults.drops, flip < self.faults.flips || disturbed);
            self.traffic.bytes += 1;
            self.traffic.hurt += u64::from(drop || flip);
            if !drop {
                self.on_it.push_back((self.free_at, byte ^ u8::from(flip) << bit));
            }
        }
        if !bytes.is_empty() {
            self.traffic.backlog_max = self.traffic.backlog_max.max(self.free_at - now);
        }
    }

    fn arrived(&mut self, now: Instant) -> Vec<u8> {
        let count = self.on_it.iter().take_while(|(at, _)| *at <= now).count();
        self.on_it.drain(..count).map(|(_, byte)| byte).collect()
    }
}

struct Wires {
    host: Option<Pty>,
    host_path: PathBuf,
    devices: Vec<Pty>,
    shared: bool,
    down: Direction,
    up: Direction,
}

impl Wires {
    /// False if nobody wants anything any more.
    fn obey(&mut self, wanted: &Receiver<Wish>, tell: &Sender<Report>) -> bool {
        let wish = match wanted.try_recv() {
            Err(mpsc::TryRecvError::Empty) => return true,
            Err(mpsc::TryRecvError::Disconnected) => return false,
            Ok(wish) => wish,
        };
        match wish {
            Wish::Unplug => {
                self.host = None;
                let _ = std::fs::remove_file(&self.host_path);
            }
            Wish::Plug => self.plug(),
            Wish::Faults(faults) => (self.down.faults, self.up.faults) = (faults, faults),
            Wish::Report => {}
        }
        tell.send(Report { down: self.down.traffic, up: self.up.traffic }).is_ok()
    }

    fn plug(&mut self) {
        let host = Pty::new();
        let _ = std::fs::remove_file(&self.host_path);
        symlink(host.path(), &self.host_path).expect("the link's directory takes it");
        self.host = Some(host);
    }

    fn carry(&mut self) {
        let busy = !self.down.on_it.is_empty() || !self.up.on_it.is_empty();
        let devices = self.devices.iter().map(|device| PollFd::new(device.as_fd(), PollFlags::POLLIN));
        let mut polled: Vec<PollFd<'_>> = devices.collect();
        polled.extend(self.host.as_ref().map(|host| PollFd::new(host.as_fd(), PollFlags::POLLIN)));
        let _ = poll(&mut polled, if busy { TICK_MS } else { IDLE_MS });
        let now = Instant::now();
        if let Some(host) = &mut self.host {
            let disturbed = self.shared && self.up.is_busy(now);
            self.down.put(now, &host.read(), disturbed);
        }
        for device in &mut self.devices {
            let disturbed = self.shared && self.down.is_busy(now);
            self.up.put(now, &device.read(), disturbed);
        }
        // What finds no room is lost, as on a line whose receiver is too slow.
        let down = self.down.arrived(now);
        for device in &mut self.devices {
            device.write(&down);
        }
        let up = self.up.arrived(now);
        if let Some(host) = &mut self.host {
            host.write(&up);
        }
    }
}
