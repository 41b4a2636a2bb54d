//! Many subscribers of one topic that read, beside one that may stop; a saturating or paced publisher feeds them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use laneway_proto::control::Sub;
use laneway_proto::lane::policy::Policy;

use super::Load;
use super::feeder::Feeder;
use super::reader::Reader;
use crate::child::Child;
use crate::error::{Error, Result};
use crate::sched::Watch;
use crate::wire::{Block, Framing, Shape};

const SHAPE: Shape = Shape { payload_bytes: 64, topics: 1 };
/// The crowd's topic, which [`Load`] publishes to.
const TOPIC: &str = "bench/0";
/// The topic of the one that may stop, if it has a publisher of its own.
const TOPIC_APART: &str = "apart/0";
/// What the kernel holds for the one that may stop: enough to keep up, little enough to be seen to stop at once.
const SLOW_RECEIVE_BYTES: usize = 256 * 1024;
/// Bytes on their way to the slowest of the others: less than one queue holds, so that only who stops overflows.
pub const IN_FLIGHT_BYTES_MAX: u32 = 256 * 1024;
/// How often the broker's memory is looked at.
const MEMORY_EVERY: Duration = Duration::from_millis(100);

/// The subscription of the one that may stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slow {
    /// What the broker does when it does not read.
    pub policy: Policy,
    /// Bytes of its queue.
    pub queue_bytes: u32,
    /// It hears a publisher of its own, so that stopping that one stops nobody else.
    pub apart: bool,
}

/// How a window is driven.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Drive {
    /// How long.
    pub span: Duration,
    /// Messages a second offered; `None`: as many as the crowd takes.
    pub offered: Option<f64>,
    /// Whether the one that may stop reads.
    pub reads: bool,
}

/// What one window showed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Window {
    /// Messages a second that each of the others received.
    pub others_per_s: f64,
    /// Nanoseconds of the broker's processor for each message delivered to anybody.
    pub cpu_ns_per_message: f64,
    /// Messages a second that were written.
    pub offered_per_s: f64,
    /// Share of the time that broker and load waited for a processor.
    pub wait_share: f64,
    /// Largest resident memory of the broker seen; 0 in windows too short to look.
    pub resident_bytes: u64,
}

/// Publisher and subscribers, connected.
pub struct Crowd {
    load: Load,
    others: u32,
    at: SocketAddr,
    slow: Slow,
    /// The one that may stop.
    pub reader: Reader,
    /// Its own publisher, if it is apart.
    pub feeder: Option<Feeder>,
}

impl Crowd {
    /// Connects everybody; `others` is without the one that may stop.
    pub fn connect(child: &Child, others: u32, slow: Slow) -> Result<Self> {
        let at = child.address;
        let block = Block::new(Framing::Single, SHAPE);
        let mut load = Load::connect(at, Framing::Single, SHAPE, others, block)?;
        load.set_in_flight_bytes_max(u64::from(IN_FLIGHT_BYTES_MAX))?;
        let reader = Self::subscribe(at, slow)?;
        let feeder = if slow.apart { Some(Feeder::connect(at, TOPIC_APART)?) } else { None };
        Ok(Self { load, others, at, slow, reader, feeder })
    }

    fn subscribe(at: SocketAddr, slow: Slow) -> Result<Reader> {
        let sub = Sub {
            pattern: if slow.apart { TOPIC_APART } else { TOPIC }.into(),
            policy: u32::from(slow.policy.number()),
            queue_bytes: slow.queue_bytes,
            ..Sub::default()
        };
        Reader::open(at, sub, SLOW_RECEIVE_BYTES)
    }

    /// Connects the one that may stop again, if it was disconnected.
    pub fn rejoin(&mut self) -> Result<()> {
        if self.reader.ended {
            self.reader = Self::subscribe(self.at, self.slow)?;
        }
        Ok(())
    }

    /// Messages published to the one that may stop since the start.
    pub fn published_to_slow(&self) -> u64 {
        match &self.feeder {
            Some(feeder) => feeder.published,
            None => u64::from(self.load.next_number - 1),
        }
    }

    /// Messages that all others together should have received, and have.
    pub fn others_account(&self) -> (u64, u64) {
        (u64::from(self.load.next_number - 1) * u64::from(self.others), self.load.delivered())
    }

    /// Drives for a while and measures it.
    pub fn window(&mut self, child: &Child, drive: Drive) -> Result<Window> {
        let (others, slow) = (self.load.delivered(), self.reader.tally.received);
        let sent = self.load.next_number;
        let watch = Watch::start(child.id())?;
        let resident_bytes = self.drive(child, drive)?;
        let watched = watch.finish()?;
        let seconds = watched.elapsed.as_secs_f64();
        let others = (self.load.delivered() - others) as f64;
        // A session that was opened anew counts from zero.
        let slow = self.reader.tally.received.saturating_sub(slow) as f64;
        Ok(Window {
            others_per_s: others / f64::from(self.others) / seconds,
            cpu_ns_per_message: watched.target_run_ns as f64 / (others + slow).max(1.0),
            offered_per_s: f64::from(self.load.next_number - sent) / seconds,
            wait_share: watched.wait_share,
            resident_bytes,
        })
    }

    fn drive(&mut self, child: &Child, drive: Drive) -> Result<u64> {
        let start = Instant::now();
        let block_messages = f64::from(self.load.source.block().messages());
        let (mut blocks, mut looked_at, mut resident_bytes) = (0.0, start, 0);
        loop {
            let now = Instant::now();
            let elapsed = now.duration_since(start);
            if elapsed >= drive.span {
                return Ok(resident_bytes);
            }
            let due = drive.offered.is_none_or(|rate| blocks * block_messages <= elapsed.as_secs_f64() * rate);
            // However late it is: what the kernel still refers to is not written over.
            if self.load.source.left() == 0 && due && self.load.may_send() {
                self.load.begin_block();
                blocks += 1.0;
            }
            self.turn(now, drive.reads)?;
            if now.duration_since(looked_at) >= MEMORY_EVERY {
                looked_at = now;
                resident_bytes = resident_bytes.max(child.resident_bytes()?);
            }
        }
    }

    fn turn(&mut self, now: Instant, reads: bool) -> Result<()> {
        if self.load.source.left() > 0 {
            self.load.write()?;
        }
        if let Some(feeder) = &mut self.feeder {
            feeder.turn(now)?;
        }
        self.load.receive(now)?;
        if reads {
            self.reader.read()?;
        }
        Ok(())
    }

    /// Publishes nothing more and receives until nothing has come for `quiet`.
    pub fn drain(&mut self, quiet: Duration) -> Result<()> {
        let feeder = self.feeder.take();
        let mut heard_at = Instant::now();
        let mut before = (0, 0, 0, false);
        loop {
            let now = Instant::now();
            // Silence is what this waits for.
            self.load.heard_at = now;
            self.turn(now, true)?;
            let state =
                (self.load.delivered(), self.reader.tally.accounted(), self.load.source.left(), self.reader.ended);
            if state != before {
                (before, heard_at) = (state, now);
            }
            if now.duration_since(heard_at) > quiet {
                break;
            }
        }
        self.feeder = feeder;
        match self.others_account() {
            (wanted, got) if wanted != got => {
                Err(Error::Failed(format!("the others received {got} of {wanted} messages")))
            }
            _ => Ok(()),
        }
    }
}
