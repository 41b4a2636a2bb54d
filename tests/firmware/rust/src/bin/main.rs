//! The application of the test images. It publishes numbered messages on `board/up` for as long as there is room, and checks
//! the numbers of what it gets on `board/down`; each of its messages says what it has seen so far:
//!
//! `u32` own number, `u32` messages of `board/down`, `u32` of these with a wrong number, `u32` sessions
#![no_std]
#![no_main]

use laneway_embedded::{Config, Device, Event, Lane, Memory, Subscription};
use laneway_firmware::{Board, NAME};

const CONFIG: Config = Config { dead_ms: 5_000, ..Config::new(NAME, node_id(), baud()) };

/// Bits per second of the line, as the build was told.
const fn baud() -> u32 {
    let Some(text) = option_env!("BOARD_BAUD") else { return 921_600 };
    let (text, mut baud, mut at) = (text.as_bytes(), 0, 0);
    while at < text.len() {
        assert!(text[at].is_ascii_digit(), "BOARD_BAUD is a number");
        baud = baud * 10 + (text[at] - b'0') as u32;
        at += 1;
    }
    baud
}

const fn node_id() -> [u8; 8] {
    let (name, mut id, mut at) = (NAME.as_bytes(), [0; 8], 0);
    while at < name.len() && at < 8 {
        id[at] = name[at];
        at += 1;
    }
    id
}

/// What has been seen on `board/down`.
#[derive(Clone, Copy, Default)]
struct Seen {
    messages: u32,
    wrong: u32,
    sessions: u32,
}

impl Seen {
    fn take(&mut self, event: &Event<'_>) {
        match event {
            Event::Opened => self.sessions += 1,
            Event::Message(message) => {
                let number = message.payload.first_chunk().map_or(u32::MAX, |bytes| u32::from_le_bytes(*bytes));
                self.wrong += u32::from(number != self.messages);
                self.messages += 1;
            }
            Event::Closed(_)
            | Event::Acked { .. }
            | Event::Maybe { .. }
            | Event::Dropped { .. }
            | Event::Lost { .. }
            | Event::Result { .. }
            | Event::Named { .. } => {}
        }
    }
}

/// Called by what starts the board.
// SAFETY: nothing else here is called `main`.
#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    let (mut board, mut memory, mut seen, mut own) = (Board::start(), Memory::new(), Seen::default(), 0_u32);
    let entropy = board.entropy();
    let mut device = Device::new(&mut memory, &CONFIG, entropy);
    let up = device.topic("board/up", false);
    device.subscribe("board/down", &Subscription::PLAIN);
    device.connect(board.micros());
    loop {
        let now = board.micros();
        let Ok(_) = device.service(&mut board, now, |_, event| seen.take(&event));
        if let (Some(up), true) = (up, device.is_open()) {
            let words = [own, seen.messages, seen.wrong, seen.sessions].map(u32::to_le_bytes);
            own += u32::from(device.publish(up, Lane::COMMAND, words.as_flattened()).is_ok());
        }
    }
}
