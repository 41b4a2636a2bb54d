//! How many instructions a message of 64 bytes costs, when each takes a nanosecond (QEMU's `-icount shift=0`): prints
//! `MESSAGES PUBLISHED_US ACKNOWLEDGED_US 0`, the time of `publish` with `poll`, and that of `receive` with what a host
//! answers. The host is a second device, which plays it.
#![no_std]
#![no_main]

use embedded_io::Write as _;
use laneway_embedded::{Config, Device, Lane, Memory};
use laneway_firmware::{Board, NAME};

const MESSAGES: u32 = 200;
const CONFIG: Config = Config::new(NAME, [0; 8], 0);

/// What is on the line.
struct Line {
    bytes: [u8; 1_024],
    count: usize,
}

impl Line {
    fn write(&mut self, bytes: &[u8]) -> usize {
        let Some(room) = self.bytes.get_mut(self.count..self.count + bytes.len()) else { return 0 };
        room.copy_from_slice(bytes);
        self.count += bytes.len();
        bytes.len()
    }

    fn take(&mut self) -> &[u8] {
        let count = core::mem::take(&mut self.count);
        self.bytes.get(..count).unwrap_or_default()
    }
}

fn print(board: &mut Board, mut number: u32) {
    let mut text = [b' '; 12];
    let mut at = text.len() - 1;
    loop {
        at -= 1;
        if let Some(place) = text.get_mut(at) {
            *place = b'0' + (number % 10) as u8;
        }
        number /= 10;
        if number == 0 {
            break;
        }
    }
    let Ok(()) = board.write_all(text.get(at..).unwrap_or_default());
}

/// Called by what starts the board.
// SAFETY: nothing else here is called `main`.
#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    let (mut board, mut ours, mut theirs) = (Board::start(), Memory::new(), Memory::new());
    let mut host_config = CONFIG;
    host_config.is_host = true;
    let mut device = Device::new(&mut ours, &CONFIG, 1);
    let mut host = Device::new(&mut theirs, &host_config, 2);
    let mut line = Line { bytes: [0; 1_024], count: 0 };
    let mut payload = [0; 64];
    (0..).zip(&mut payload).for_each(|(at, byte): (u32, _)| *byte = (at * 37) as u8);
    let topic = device.topic("bench", false);
    device.connect(0);
    host.connect(0);
    for _ in 0..8 {
        device.poll(0, |bytes| line.write(bytes), |_, _| {});
        host.receive(0, line.take(), |_, _| {});
        host.poll(0, |bytes| line.write(bytes), |_, _| {});
        device.receive(0, line.take(), |_, _| {});
    }
    let (mut published, mut acknowledged, mut count) = (0, 0, 0);
    for _ in 0..MESSAGES {
        let start = board.micros();
        let taken = topic.is_some_and(|topic| device.publish(topic, Lane::COMMAND, &payload).is_ok());
        device.poll(0, |bytes| line.write(bytes), |_, _| {});
        published += board.micros() - start;
        host.receive(0, line.take(), |_, _| {});
        host.poll(0, |bytes| line.write(bytes), |_, _| {});
        let start = board.micros();
        let mut acked = 0;
        device.receive(0, line.take(), |_, _| acked += 1);
        acknowledged += board.micros() - start;
        count += u32::from(taken && acked == 1);
    }
    for number in [count, published, acknowledged, 0] {
        print(&mut board, number);
    }
    loop {
        core::hint::spin_loop();
    }
}
