//! Two device libraries on a line that lives in virtual time; one of them plays the host.

use std::path::Path;

use laneway_proto::time::{Duration, Instant};

use crate::serial::START;
use crate::serial::line::{Damage, Wire};

use super::process::Device;

/// The pair: the host is the first of each.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) ends: [Device; 2],
    /// What each of them says.
    pub(crate) wires: [Wire; 2],
    wakes: [Instant; 2],
    arrived: [Vec<u8>; 2],
}

impl Pair {
    /// Both are on. The host publishes on `down`, the device on `up`; both want everything.
    pub(crate) fn new(host: &Path, device: &Path, baud: u32, seed: u64) -> Self {
        let wires = [Wire::new(baud, seed * 2 + 1), Wire::new(baud, seed * 2 + 2)];
        let ends = [Device::new(host, baud), Device::new(device, baud)];
        let mut pair = Self { now: START, ends, wires, wakes: [START; 2], arrived: Default::default() };
        (0..2).for_each(|end| pair.start(end, seed as u32 * 10 + end as u32 + 1));
        pair
    }

    /// An end loses its memory and starts.
    pub(crate) fn start(&mut self, end: usize, entropy: u32) {
        self.wires[end].cut(self.now);
        (self.wakes[end], self.ends[end].is_open) = (self.now, false);
        self.arrived[end].clear();
        let now_us = self.now_us(end);
        let side = &mut self.ends[end];
        side.written.clear();
        side.ask(&format!("i {entropy} {} 0", side.baud));
        let (name, id) = [("down", 0x8000), ("up", 0x4000)][end];
        assert_eq!(side.ask(&format!("t {name}")), id);
        side.ask("s # 0");
        side.ask(&format!("c {now_us}"));
    }

    /// The clocks of both wrap, soon and not at once.
    fn now_us(&self, end: usize) -> u32 {
        ((self.now.0 / 1_000) as u32).wrapping_sub(3_000_000 + end as u32 * 1_000_000)
    }

    pub(crate) fn damage(&mut self, damage: Damage) {
        self.wires.iter_mut().for_each(|wire| wire.damage = damage);
    }

    /// An end publishes on its topic; whether it could.
    pub(crate) fn publish(&mut self, end: usize, lane: u8, payload: &[u8]) -> bool {
        let bytes: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        let taken = self.ends[end].ask(&format!("p {lane} {} {bytes}", [0x8000, 0x4000][end])) == 0;
        self.wakes[end] = self.now;
        taken
    }

    /// Lets time pass until `done`, at most so many milliseconds; whether it was `done`.
    pub(crate) fn run_until(&mut self, ms: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.now + Duration(ms * 1_000_000);
        loop {
            if done(self) {
                return true;
            }
            let arrivals = [self.wires[0].next_arrival(), self.wires[1].next_arrival()];
            let next = arrivals.into_iter().flatten().chain(self.wakes).min().unwrap_or(until).max(self.now);
            if next > until {
                self.now = until;
                return done(self);
            }
            self.now = next;
            for end in 0..2 {
                while let Some(byte) = self.wires[1 - end].arrive(self.now) {
                    self.arrived[end].push(byte);
                    if byte == 0 {
                        self.wakes[end] = self.now;
                    }
                }
                if self.wakes[end] <= self.now {
                    let bytes = std::mem::take(&mut self.arrived[end]);
                    let now_us = self.now_us(end);
                    let sleep_us = self.ends[end].step(now_us, &bytes);
                    self.wires[end].send(self.now, &std::mem::take(&mut self.ends[end].written));
                    self.wakes[end] = self.now + Duration(sleep_us.max(1) * 1_000);
                }
            }
        }
    }
}
