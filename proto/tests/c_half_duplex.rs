//! Section 8 of `docs/SERIAL.md`: C devices with addresses on one line that only one side can drive at a time, and the
//! links of a host that gives them turns, in virtual time.

mod device;
mod serial;

use std::path::Path;

use laneway_proto::time::{Duration, Instant};

use device::build::program;
use device::host::Host;
use device::process::Device;
use serial::START;
use serial::random::Random;

const BAUD: u32 = 115_200;
const BYTE_NS: u64 = 10_000_000_000 / BAUD as u64;
const TURN_US: u32 = 12_000;
/// A device begins within 5 ms, and its turn is over when nothing came for 2 ms.
const BEGIN_NS: u64 = 5_000_000;
const QUIET_NS: u64 = 2_000_000;

struct Bus {
    now: Instant,
    hosts: Vec<Host>,
    devices: Vec<Device>,
    silent: Vec<u32>,
    random: Random,
    /// Of each byte.
    drop: f64,
    /// Devices without power say nothing.
    dead: Vec<bool>,
}

impl Bus {
    fn new(program: &Path, count: u8, seed: u64) -> Self {
        let host = |address| {
            let mut host = Host::new(START, BAUD, true, u32::from(address));
            host.set_address(address);
            host.restart(START, u32::from(address) + 100);
            host
        };
        let device = |address| {
            let mut device = Device::new(program, BAUD);
            device.address = address;
            device.start(1_000_000, u32::from(address) + 7);
            device
        };
        Self {
            now: START,
            hosts: (1..=count).map(host).collect(),
            devices: (1..=count).map(device).collect(),
            silent: vec![0; usize::from(count)],
            random: Random::new(seed),
            drop: 0.0,
            dead: vec![false; usize::from(count)],
        }
    }

    fn us(&self) -> u32 {
        (self.now.0 / 1_000) as u32
    }

    /// The time that bytes take, and what is left of them.
    fn travel(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.now = self.now + Duration(BYTE_NS * bytes.len() as u64);
        bytes.iter().copied().filter(|_| self.drop == 0.0 || !self.random.chance(self.drop)).collect()
    }

    /// Everybody but `speaker` hears; devices whose turn it is not must keep silent.
    fn hear(&mut self, bytes: &[u8], speaker: Option<usize>, turn: usize) {
        let us = self.us();
        for (at, device) in self.devices.iter_mut().enumerate().filter(|(at, _)| Some(*at) != speaker) {
            if !self.dead[at] {
                device.step(us, bytes);
                assert!(at == turn || device.written.is_empty(), "device {at} speaks in the turn of {turn}");
            }
        }
    }

    fn host_speaks(&mut self, at: usize) {
        let unanswered = self.silent[at] > 0;
        self.hosts[at].link.begin_turn(self.now, TURN_US, TURN_US, unanswered);
        self.hosts[at].turn_is_over = false;
        while self.hosts[at].link.is_our_turn() {
            let sent = self.hosts[at].service(self.now);
            if sent.is_empty() {
                self.now = self.now + Duration(100_000);
            } else {
                let left = self.travel(&sent);
                self.hear(&left, None, at);
            }
        }
    }

    fn device_speaks(&mut self, at: usize) {
        let (mut last, mut began) = (self.now, false);
        loop {
            let said = std::mem::take(&mut self.devices[at].written);
            if said.is_empty() {
                let patience = if began { QUIET_NS } else { BEGIN_NS };
                if self.now.since(last).0 > patience {
                    break;
                }
                self.now = self.now + Duration(250_000);
                let us = self.us();
                if !self.dead[at] {
                    self.devices[at].step(us, &[]);
                }
                continue;
            }
            began = true;
            let left = self.travel(&said);
            last = self.now;
            let now = self.now;
            self.hosts[at].on_bytes(now, &left);
            self.hear(&left, Some(at), at);
            if self.hosts[at].turn_is_over {
                break;
            }
        }
        self.silent[at] = if began { 0 } else { self.silent[at] + 1 };
    }

    /// A turn of every device; how long that took.
    fn round(&mut self) -> Duration {
        let start = self.now;
        for at in 0..self.devices.len() {
            self.host_speaks(at);
            self.device_speaks(at);
        }
        self.now.since(start)
    }

    /// Rounds until every device gets, and every host, `count` messages more on lane 1, in order.
    fn exchange(&mut self, count: u8, rounds_max: usize) {
        let mut next = vec![0; self.devices.len()];
        let before: Vec<_> = self.devices.iter().map(|device| device.acked[1]).collect();
        for at in 0..self.devices.len() {
            self.devices[at].received.clear();
            self.hosts[at].received.clear();
            for number in 0..count {
                let now = self.now;
                self.hosts[at].publish(now, 1, 0x4001, &[at as u8, number]);
            }
        }
        for _ in 0..rounds_max {
            for (at, device) in self.devices.iter_mut().enumerate() {
                while next[at] < count && u32::from(next[at]) < device.acked[1] - before[at] + 2 {
                    assert_eq!(device.publish(1, &[at as u8, next[at]]), 0, "there is room for two");
                    next[at] += 1;
                }
            }
            self.round();
            let done = |at: usize| {
                self.devices[at].received.len() >= usize::from(count)
                    && self.hosts[at].received.len() >= usize::from(count)
            };
            if (0..self.devices.len()).all(done) {
                break;
            }
        }
        for (at, device) in self.devices.iter().enumerate() {
            let expected: Vec<_> = (0..count).map(|number| vec![at as u8, number]).collect();
            let down: Vec<_> = device.received.iter().map(|got| got.payload.clone()).collect();
            let up: Vec<_> = self.hosts[at].received.iter().map(|got| got.2.clone()).collect();
            assert_eq!((&up, &down), (&expected, &expected), "device {at}");
        }
    }

    fn open(&mut self, rounds_max: usize) {
        for _ in 0..rounds_max {
            self.round();
            if self.hosts.iter().all(|host| host.link.is_open() && !host.wanted.is_empty()) {
                return;
            }
        }
        panic!("not everybody is open: {:?}", self.devices.iter().map(|device| device.is_open).collect::<Vec<_>>());
    }
}

#[test]
fn eight_devices_share_a_line_and_speak_only_in_their_turns() {
    let program = program("c-half-duplex", &["tests/host.c", "laneway.c"], &["-DLW_HALF_DUPLEX=1"]);
    let mut bus = Bus::new(&program, 8, 1);
    bus.open(12);
    let idle = bus.round();
    println!("an idle round of eight takes {idle:?}");
    assert!(idle <= Duration::from_millis(8 * 5), "{idle:?}");
    bus.exchange(20, 60);

    // One loses its memory while the others go on.
    let us = bus.us();
    bus.devices[2].start(us, 4_711);
    bus.open(12);
    bus.exchange(5, 30);

    // One has no power; then it has.
    bus.dead[5] = true;
    for _ in 0..10 {
        bus.round();
    }
    bus.dead[5] = false;
    let us = bus.us();
    bus.devices[5].start(us, 815);
    bus.open(12);
    bus.exchange(5, 30);

    bus.drop = 1e-3;
    bus.exchange(50, 600);
}
