//! microbit: Cortex-M0, nRF51.

use super::{read, write};

/// What the board is called.
pub const NAME: &str = "microbit";

const UART: usize = 0x4000_2000;
const TIMER: usize = 0x4000_8000;
const RANDOM: usize = 0x4000_D000;

/// The board.
#[derive(Debug)]
pub struct Board {
    is_busy: bool,
}

impl Board {
    /// Starts clock and port.
    pub fn start() -> Self {
        write(UART + 0x500, 4_u32);
        write(UART + 0x524, 0x01D7_E000_u32);
        write(UART + 0x50C, 24_u32);
        write(UART + 0x514, 25_u32);
        write(UART, 1_u32);
        write(UART + 8, 1_u32);
        write(TIMER + 0x504, 0_u32);
        write(TIMER + 0x508, 3_u32);
        write(TIMER + 0x510, 4_u32);
        write(TIMER, 1_u32);
        write(RANDOM, 1_u32);
        Self { is_busy: false }
    }

    /// Microseconds; wraps.
    pub fn micros(&mut self) -> u32 {
        write(TIMER + 0x40, 1_u32);
        read(TIMER + 0x540)
    }

    /// Another number after each start.
    pub fn entropy(&mut self) -> u32 {
        let mut value = 0;
        for _ in 0..4 {
            for _ in 0..100_000 {
                if read::<u32>(RANDOM + 0x100) != 0 {
                    break;
                }
            }
            write(RANDOM + 0x100, 0_u32);
            value = value << 8 | read::<u32>(RANDOM + 0x508) & 0xFF;
        }
        value
    }

    pub(crate) fn has_byte(&self) -> bool {
        read::<u32>(UART + 0x108) != 0
    }

    pub(crate) fn take_byte(&self) -> u8 {
        write(UART + 0x108, 0_u32);
        read::<u32>(UART + 0x518) as u8
    }

    pub(crate) fn has_room(&self) -> bool {
        !self.is_busy || read::<u32>(UART + 0x11C) != 0
    }

    pub(crate) fn put_byte(&mut self, byte: u8) {
        write(UART + 0x11C, 0_u32);
        write(UART + 0x51C, u32::from(byte));
        self.is_busy = true;
    }
}
