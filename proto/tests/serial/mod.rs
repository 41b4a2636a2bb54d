//! Two ends on a line that lives in virtual time: paced bytes, seeded damage, and an oracle that knows what was sent.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod end;
pub(crate) mod line;
pub(crate) mod random;

use laneway_proto::time::{Duration, Instant};

use end::End;
use line::{Damage, Wire};

/// Both directions of a line and what hangs on them: 0 is the host, 1 the device.
pub(crate) struct Line {
    pub(crate) now: Instant,
    pub(crate) ends: [End; 2],
    /// What end 0 says, and what end 1 says.
    pub(crate) wires: [Wire; 2],
    /// Bytes of the last frames that each end handed over.
    pub(crate) longest_below: Duration,
    /// The end does nothing; what arrives waits for it, up to a buffer of 4 KiB.
    pub(crate) paused: [bool; 2],
}

impl Line {
    /// Two ends on a line of this rate. Time begins at one second.
    pub(crate) fn new(baud: u32, seed: u64, ends: [End; 2]) -> Self {
        let wires = [Wire::new(baud, seed * 2 + 1), Wire::new(baud, seed * 2 + 2)];
        Self { now: START, ends, wires, longest_below: Duration::ZERO, paused: [false; 2] }
    }

    /// The same damage on both ways from now on.
    pub(crate) fn damage(&mut self, damage: Damage) {
        self.wires.iter_mut().for_each(|wire| wire.damage = damage);
    }

    /// Lets `ms` milliseconds pass.
    pub(crate) fn run_ms(&mut self, ms: u64) {
        let until = self.now + Duration(ms * 1_000_000);
        self.run_until(until, |_| false);
    }

    /// Lets time pass until `done`, or until `until`; whether it was `done`.
    pub(crate) fn run_until(&mut self, until: Instant, mut done: impl FnMut(&Self) -> bool) -> bool {
        (0..2).filter(|&at| !self.paused[at]).collect::<Vec<_>>().into_iter().for_each(|at| self.service(at));
        while !done(self) {
            let next = (0..2).filter(|&at| !self.paused[at]).filter_map(|at| {
                [self.wires[1 - at].next_arrival(), self.ends[at].timeout].into_iter().flatten().min()
            });
            let next = next.min().unwrap_or(until).max(self.now);
            if next > until {
                self.now = until;
                return done(self);
            }
            self.now = next;
            for at in (0..2).filter(|&at| !self.paused[at]).collect::<Vec<_>>() {
                let due = self.ends[at].timeout.is_some_and(|due| due <= next);
                let mut ended = false;
                while let Some(byte) = self.wires[1 - at].arrive(next) {
                    self.ends[at].on_byte(next, byte);
                    ended |= byte == 0;
                }
                if due || ended {
                    self.service(at);
                }
            }
        }
        true
    }

    /// Lets the end do what there is to do now.
    pub(crate) fn service(&mut self, at: usize) {
        let mut rounds = 0;
        loop {
            self.ends[at].take_events(self.now);
            self.ends[at].on_timeout(self.now);
            let Some(frame) = self.ends[at].transmit(self.now) else { break };
            self.wires[at].send(self.now, &frame);
            self.longest_below = self.longest_below.max(self.wires[at].below(self.now));
            rounds += 1;
            assert!(rounds < 100, "the line takes no end of frames at once");
        }
        self.ends[at].plan(self.now);
    }

    /// The end stops for so long, as a computer does that is busy with something else.
    pub(crate) fn pause(&mut self, at: usize, ms: u64) {
        self.paused[at] = true;
        self.run_ms(ms);
        self.wires[1 - at].overrun(self.now, 4_096);
        self.paused[at] = false;
    }

    /// An end loses its memory: whatever it was sending stops where it is.
    pub(crate) fn reset(&mut self, at: usize, entropy: u32) {
        self.wires[at].cut(self.now);
        self.ends[at].restart(self.now, entropy);
        self.service(at);
    }
}

/// When the time of every test begins.
pub(crate) const START: Instant = Instant(1_000_000_000);
