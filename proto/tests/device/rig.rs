//! A host and a device on a line that lives in virtual time.

use std::path::Path;

use laneway_proto::time::{Duration, Instant};

use crate::serial::START;
use crate::serial::line::{Damage, Wire};

use super::host::Host;
use super::process::Device;

/// The rig.
pub(crate) struct Rig {
    pub(crate) now: Instant,
    pub(crate) host: Host,
    pub(crate) device: Device,
    /// What the host says, and what the device says.
    pub(crate) wires: [Wire; 2],
    wake: Instant,
    /// Added to the device's clock, so that it wraps early.
    offset_us: u32,
    pub(crate) baud: u32,
    /// Bytes that have arrived at the device.
    arrived: Vec<u8>,
    /// The host does nothing.
    pub(crate) host_is_dead: bool,
}

impl Rig {
    /// Both are on; time begins at one second. The device's clock wraps two seconds later.
    pub(crate) fn new(program: &Path, baud: u32, selective: bool, seed: u64) -> Self {
        let host = Host::new(START, baud, selective, seed as u32 * 2 + 1);
        let wires = [Wire::new(baud, seed * 2 + 1), Wire::new(baud, seed * 2 + 2)];
        let device = Device::new(program, baud);
        let offset_us = 0u32.wrapping_sub(3_000_000);
        let arrived = Vec::new();
        let mut rig =
            Self { now: START, host, device, wires, wake: START, offset_us, baud, arrived, host_is_dead: false };
        rig.device.start(rig.device_us(), seed as u32 * 7 + 3);
        rig
    }

    /// The same, when both ends are open and the device has subscribed.
    ///
    /// # Panics
    /// If that takes more than a second.
    pub(crate) fn open(program: &Path, baud: u32, selective: bool, seed: u64) -> Self {
        let mut rig = Self::new(program, baud, selective, seed);
        let ready = |rig: &mut Self| rig.device.is_open && rig.host.link.is_open() && !rig.host.wanted.is_empty();
        assert!(rig.run_until(1_000, ready), "a good line opens: {:?}", rig.device.told);
        rig
    }

    /// The device's clock.
    pub(crate) fn device_us(&self) -> u32 {
        ((self.now.0 / 1_000) as u32).wrapping_add(self.offset_us)
    }

    /// The same damage on both ways from now on.
    pub(crate) fn damage(&mut self, damage: Damage) {
        self.wires.iter_mut().for_each(|wire| wire.damage = damage);
    }

    /// The device loses its memory.
    pub(crate) fn reset_device(&mut self, entropy: u32) {
        self.wires[1].cut(self.now);
        self.device.written.clear();
        self.arrived.clear();
        self.device.start(self.device_us(), entropy);
        self.step_device(&[]);
    }

    /// The host is killed and starts again.
    pub(crate) fn reset_host(&mut self, entropy: u32) {
        self.wires[0].cut(self.now);
        self.host.restart(self.now, entropy);
        self.step_host();
    }

    /// The device publishes on its topic `up`; whether it could.
    pub(crate) fn device_publish(&mut self, lane: u8, payload: &[u8]) -> bool {
        let taken = self.device.publish(lane, payload) == 0;
        if taken {
            self.wake = self.now;
        }
        taken
    }

    /// Something was asked of the device: it is polled at once.
    pub(crate) fn wake_device(&mut self) {
        self.wake = self.now;
    }

    pub(crate) fn step_device(&mut self, bytes: &[u8]) {
        let sleep_us = self.device.step(self.device_us(), bytes);
        self.wires[1].send(self.now, &std::mem::take(&mut self.device.written));
        self.wake = self.now + Duration(sleep_us.max(1) * 1_000);
    }

    fn step_host(&mut self) {
        if !self.host_is_dead {
            let sent = self.host.service(self.now);
            self.wires[0].send(self.now, &sent);
        }
    }

    /// Lets `ms` milliseconds pass.
    pub(crate) fn run_ms(&mut self, ms: u64) {
        self.run_until(ms, |_| false);
    }

    /// Lets time pass until `done`, at most so many milliseconds; whether it was `done`.
    pub(crate) fn run_until(&mut self, ms: u64, done: impl FnMut(&mut Self) -> bool) -> bool {
        self.run_until_ns(ms * 1_000_000, done)
    }

    /// The same, in nanoseconds.
    pub(crate) fn run_until_ns(&mut self, ns: u64, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.now + Duration(ns);
        self.step_host();
        loop {
            if done(self) {
                return true;
            }
            let timeout = self.host.timeout.filter(|_| !self.host_is_dead);
            let arrivals = [self.wires[0].next_arrival(), self.wires[1].next_arrival()];
            let next = arrivals.into_iter().chain([timeout, Some(self.wake)]).flatten().min().unwrap_or(until);
            let next = next.max(self.now);
            if next > until {
                self.now = until;
                return done(self);
            }
            self.now = next;
            self.arrive();
            if self.wake <= self.now {
                let bytes = std::mem::take(&mut self.arrived);
                self.step_device(&bytes);
            }
            if self.host.timeout.is_some_and(|due| due <= self.now) {
                self.step_host();
            }
        }
    }

    /// Everything that has arrived. The device gets its bytes when a frame has ended, or when it is polled: nothing
    /// depends on the others.
    fn arrive(&mut self) {
        while let Some(byte) = self.wires[0].arrive(self.now) {
            self.arrived.push(byte);
            if byte == 0 {
                self.wake = self.now;
            }
        }
        let mut bytes = Vec::new();
        while let Some(byte) = self.wires[1].arrive(self.now) {
            bytes.push(byte);
        }
        if !bytes.is_empty() && !self.host_is_dead {
            self.host.on_bytes(self.now, &bytes);
        }
    }
}
