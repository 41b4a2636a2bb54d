//! A serial line of so many bits per second between a broker's port, a pseudo terminal, and a board in an emulator: bytes take
//! their time on it, and some are damaged or get lost, by seed.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use laneway_proto::serial::cobs::{Decoded, Decoder};
use laneway_proto::serial::frame::{Head, SerialKind};
use laneway_proto::serial::limits::{SERIAL_CRC_BYTES, SERIAL_FRAME_BYTES_MAX};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt};

use super::dice::Dice;
use crate::error::{Error, Result};
use crate::reaper;

/// How long the line sleeps at most, in milliseconds.
const TICK_MS: u8 = 1;
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

/// A message, or a part of one, that has reached the board whole.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// When its last byte had arrived.
    pub at: Instant,
    /// Its lane.
    pub lane: u8,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// A running line with its board; both end when it is dropped.
#[derive(Debug)]
pub struct Uart {
    path: PathBuf,
    baud: u32,
    board: Process,
    stop: Arc<AtomicBool>,
    down_bytes: Arc<AtomicU64>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    thread: Option<JoinHandle<()>>,
}

struct Direction {
    dice: Dice,
    faults: Faults,
    byte: Duration,
    on_it: VecDeque<(Instant, u8)>,
    free_at: Instant,
}

impl Direction {
    fn new(baud: u32, seed: u64, faults: Faults) -> Self {
        let byte = Duration::from_nanos(BITS * 1_000_000_000 / u64::from(baud));
        Self { dice: Dice::new(seed), faults, byte, on_it: VecDeque::new(), free_at: Instant::now() }
    }

    fn put(&mut self, now: Instant, bytes: &[u8]) {
        self.free_at = self.free_at.max(now);
        for &byte in bytes {
            self.free_at += self.byte;
            let dropped = self.dice.below(MILLION) < self.faults.drops;
            let turned = u8::from(self.dice.below(MILLION) < self.faults.flips) << self.dice.below(8);
            if !dropped {
                self.on_it.push_back((self.free_at, byte ^ turned));
            }
        }
    }

    fn arrived(&mut self, now: Instant) -> Vec<u8> {
        let count = self.on_it.iter().take_while(|(at, _)| *at <= now).count();
        self.on_it.drain(..count).map(|(_, byte)| byte).collect()
    }
}

/// Sees the frames that reach the board.
struct Tap {
    decoder: Decoder,
    frame: [u8; SERIAL_FRAME_BYTES_MAX],
}

impl Tap {
    fn push(&mut self, at: Instant, byte: u8) -> Option<Arrived> {
        let Decoded::Frame(len) = self.decoder.push(byte, &mut self.frame) else { return None };
        let body = self.frame.get(..len.checked_sub(SERIAL_CRC_BYTES)?)?;
        let (head, payload) = Head::decode(body).ok()?;
        (head.kind == SerialKind::Pub).then(|| Arrived { at, lane: head.lane, payload: payload.to_vec() })
    }
}

struct Wires {
    host: PtyMaster,
    /// Held open, so that the broker may close the port without our noticing.
    _port: std::fs::File,
    to_board: ChildStdin,
    from_board: Receiver<Vec<u8>>,
    down: Direction,
    up: Direction,
    tap: Tap,
    down_bytes: Arc<AtomicU64>,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Wires {
    fn carry(&mut self) {
        let _ = poll(&mut [PollFd::new(self.host.as_fd(), PollFlags::POLLIN)], TICK_MS);
        let now = Instant::now();
        let mut bytes = [0; 4_096];
        let count = self.host.read(&mut bytes).unwrap_or(0);
        self.down_bytes.fetch_add(count as u64, Ordering::Relaxed);
        self.down.put(now, bytes.get(..count).unwrap_or_default());
        for said in self.from_board.try_iter() {
            self.up.put(now, &said);
        }
        let down = self.down.arrived(now);
        let frames = down.iter().filter_map(|&byte| self.tap.push(now, byte));
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).extend(frames);
        // A board that has ended hears nothing.
        let _ = self.to_board.write_all(&down).and_then(|()| self.to_board.flush());
        let up = self.up.arrived(now);
        let mut rest = &up[..];
        while !rest.is_empty() {
            match self.host.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What finds no room is lost, as on a line whose receiver is too slow.
                Err(_) => break,
            }
        }
    }
}

fn pty() -> Result<(PtyMaster, PathBuf)> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let master = posix_openpt(flags).map_err(Error::errno("opening a pseudo terminal"))?;
    grantpt(&master).and_then(|()| unlockpt(&master)).map_err(Error::errno("unlocking a pseudo terminal"))?;
    let path = ptsname_r(&master).map_err(Error::errno("naming a pseudo terminal"))?;
    Ok((master, path.into()))
}

fn pass_on(mut output: std::process::ChildStdout, to: &Sender<Vec<u8>>) {
    let mut bytes = [0; 256];
    while let Ok(count) = output.read(&mut bytes) {
        if count == 0 || to.send(bytes.get(..count).unwrap_or_default().to_vec()).is_err() {
            break;
        }
    }
}

impl Uart {
    /// Starts `machine` of QEMU with `image`, its serial port at the other end of a line.
    pub fn start(machine: &str, image: &Path, baud: u32, seed: u64, faults: Faults) -> Result<Self> {
        let (host, path) = pty()?;
        let port = std::fs::File::open(&path).map_err(Error::io(format!("opening {}", path.display())))?;
        let mut board = Command::new("qemu-system-arm")
            .args(["-M", machine, "-display", "none", "-monitor", "none", "-nodefaults"])
            .args(["-chardev", "stdio,id=line,signal=off", "-serial", "chardev:line", "-kernel"])
            .arg(image)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::io("starting qemu-system-arm"))?;
        reaper::adopt(board.id());
        let (Some(to_board), Some(output)) = (board.stdin.take(), board.stdout.take()) else {
            return Err(Error::Failed("the emulator has no pipes".into()));
        };
        let (sender, from_board) = channel();
        thread::spawn(move || pass_on(output, &sender));
        let (stop, down_bytes, arrived) = (Arc::default(), Arc::default(), Arc::default());
        let mut wires = Wires {
            host,
            _port: port,
            to_board,
            from_board,
            down: Direction::new(baud, seed, faults),
            up: Direction::new(baud, !seed, faults),
            tap: Tap { decoder: Decoder::new(), frame: [0; SERIAL_FRAME_BYTES_MAX] },
            down_bytes: Arc::clone(&down_bytes),
            arrived: Arc::clone(&arrived),
        };
        let stopped: Arc<AtomicBool> = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                wires.carry();
            }
        });
        Ok(Self { path, baud, board, stop, down_bytes, arrived, thread: Some(thread) })
    }

    /// What the broker is told to listen on.
    pub fn url(&self) -> String {
        format!("serial://{}?baud={}", self.path.display(), self.baud)
    }

    /// Bytes that the broker has put on the line so far.
    pub fn down_bytes(&self) -> u64 {
        self.down_bytes.load(Ordering::Relaxed)
    }

    /// The messages that have reached the board since the last time.
    pub fn take_arrived(&self) -> Vec<Arrived> {
        std::mem::take(&mut *self.arrived.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long so many bytes take.
    pub fn airtime(&self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes * BITS * 1_000_000_000 / u64::from(self.baud))
    }
}

impl Drop for Uart {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.board.kill();
        reaper::release(self.board.id());
        let _ = self.board.wait();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
