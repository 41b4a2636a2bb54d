//! Who is at the other end of a serial line, whichever way it speaks.

use laneway_proto::error::CloseCode;
use laneway_proto::serial::link::Counters;
use laneway_proto::time::Instant;

use super::{Foreign, ForeignCounters, From, Happened, Line, LineSetup, Numbers};
use crate::tty::TtyOptions;

/// A device.
#[allow(clippy::large_enum_variant, reason = "a port keeps it in a box")]
#[derive(Debug)]
pub enum Talker {
    /// It speaks the link of `docs/SERIAL.md`.
    Device(Line),
    /// It speaks another protocol.
    Foreign(Foreign),
}

/// What was seen on a line since its port was opened.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// By the link; and frames for the device that were dropped because it does not have their lane.
    Device(&'a Counters, u64),
    /// By another protocol.
    Foreign(&'a ForeignCounters),
}

impl Talker {
    /// On a port that was just opened. `entropy`: 32 bits that differ from opening to opening. `numbers`: those of the
    /// line that was on it before.
    pub fn new(now: Instant, tty: &TtyOptions, line: &LineSetup<'_>, entropy: u32, numbers: Numbers) -> Self {
        match &tty.foreign {
            Some(options) => Self::Foreign(Foreign::new(now, line, options, entropy, numbers)),
            None => Self::Device(Line::new(now, line, entropy, numbers)),
        }
    }

    /// The numbers it has used, for the line that comes after it.
    pub fn numbers(&self) -> Numbers {
        match self {
            Self::Device(line) => line.numbers(),
            Self::Foreign(foreign) => foreign.numbers(),
        }
    }

    /// Bytes arrived. Takes some of them, and returns how many; then [`Self::poll`].
    pub fn on_bytes(&mut self, now: Instant, bytes: &[u8]) -> usize {
        match self {
            Self::Device(line) => line.on_bytes(now, bytes),
            Self::Foreign(foreign) => foreign.on_bytes(now, bytes),
        }
    }

    /// The port has taken so many bytes that have not left.
    pub fn on_below(&mut self, now: Instant, bytes: u32) {
        match self {
            Self::Device(line) => line.on_below(now, bytes),
            Self::Foreign(foreign) => foreign.on_below(now, bytes),
        }
    }

    /// Time has come to `now`; then [`Self::poll`].
    pub fn on_timeout(&mut self, now: Instant) {
        match self {
            Self::Device(line) => line.on_timeout(now),
            Self::Foreign(foreign) => foreign.on_timeout(now),
        }
    }

    /// The broker ends the session; then [`Self::poll`].
    pub fn close(&mut self, now: Instant, code: CloseCode) {
        match self {
            Self::Device(line) => line.close(now, code),
            Self::Foreign(foreign) => foreign.close(now, code),
        }
    }

    /// Half-duplex: the host's turn for this device begins.
    pub fn begin_turn(&mut self, now: Instant, own_us: u32, budget_us: u32, unanswered: bool) {
        match self {
            Self::Device(line) => line.begin_turn(now, own_us, budget_us, unanswered),
            Self::Foreign(_) => {}
        }
    }

    /// Half-duplex: whether the host may still send.
    pub fn is_our_turn(&self) -> bool {
        match self {
            Self::Device(line) => line.is_our_turn(),
            Self::Foreign(_) => false,
        }
    }

    /// The next thing the shard has to know; called until `None` after every other call.
    pub fn poll(&mut self, now: Instant) -> Option<Happened> {
        match self {
            Self::Device(line) => line.poll(),
            Self::Foreign(foreign) => foreign.poll(now),
        }
    }

    /// Preface and HELLO of the device, whose session has just opened.
    pub fn introduce(&self, port: &str, out: &mut Vec<u8>) {
        match self {
            Self::Device(line) => line.introduce(port, out),
            Self::Foreign(foreign) => foreign.introduce(port, out),
        }
    }

    /// Frames of a stream link that the device has said, to be taken as if a client had sent them.
    pub fn take_up(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Device(line) => line.take_up(out),
            Self::Foreign(foreign) => foreign.take_up(out),
        }
    }

    /// Whether the broker takes what the device publishes.
    pub fn set_flowing(&mut self, flowing: bool) {
        match self {
            Self::Device(line) => line.set_flowing(flowing),
            Self::Foreign(foreign) => foreign.set_flowing(flowing),
        }
    }

    /// Writes what the line can take now behind what is in `out`.
    pub fn transmit(&mut self, now: Instant, from: &mut From<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Device(line) => line.transmit(now, from, out),
            Self::Foreign(foreign) => foreign.transmit(now, from, out),
        }
    }

    /// What it has seen.
    pub fn seen(&self) -> Seen<'_> {
        match self {
            Self::Device(line) => {
                let (counters, dropped) = line.counters();
                Seen::Device(counters, dropped)
            }
            Self::Foreign(foreign) => Seen::Foreign(foreign.counters()),
        }
    }

    /// When to call [`Self::on_timeout`] and [`Self::transmit`] if nothing happens before.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Device(line) => line.poll_timeout(now),
            Self::Foreign(foreign) => foreign.poll_timeout(now),
        }
    }

    /// The code with which the broker has ended the session, once everything before it has arrived.
    pub fn goodbye(&self) -> Option<u8> {
        match self {
            Self::Device(line) => line.goodbye(),
            Self::Foreign(foreign) => foreign.goodbye(),
        }
    }
}
