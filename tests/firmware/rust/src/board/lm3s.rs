//! lm3s6965evb: Cortex-M3, PL011, SysTick.

use super::{read, write};

/// What the board is called.
pub const NAME: &str = "lm3s";

const UART: usize = 0x4000_C000;
const SYSTICK: usize = 0xE000_E010;
/// The core runs at 12 MHz out of reset.
const TICKS_PER_US: u32 = 12;

/// The board.
#[derive(Debug)]
pub struct Board {
    ticks: u32,
    rest: u32,
    micros: u32,
}

impl Board {
    /// Starts clock and port.
    pub fn start() -> Self {
        write(0x400F_E108, 1_u32);
        write(0x400F_E104, 1_u32);
        write(UART + 0x24, 6_u32);
        write(UART + 0x28, 33_u32);
        write(UART + 0x2C, 0x70_u32);
        write(UART + 0x30, 0x301_u32);
        write(SYSTICK + 4, 0xFF_FFFF_u32);
        write(SYSTICK + 8, 0_u32);
        write(SYSTICK, 5_u32);
        Self { ticks: read(SYSTICK + 8), rest: 0, micros: 0 }
    }

    /// Microseconds; wraps. To be asked once a second at least.
    pub fn micros(&mut self) -> u32 {
        let ticks: u32 = read(SYSTICK + 8);
        let passed = (self.ticks.wrapping_sub(ticks) & 0xFF_FFFF) + self.rest;
        (self.ticks, self.rest) = (ticks, passed % TICKS_PER_US);
        self.micros = self.micros.wrapping_add(passed / TICKS_PER_US);
        self.micros
    }

    /// Another number after each start, as far as the emulator has such a thing.
    pub fn entropy(&mut self) -> u32 {
        read::<u32>(SYSTICK + 8).wrapping_mul(0x9E37_79B9) | 1
    }

    pub(crate) fn has_byte(&self) -> bool {
        read::<u32>(UART + 0x18) & 0x10 == 0
    }

    pub(crate) fn take_byte(&self) -> u8 {
        read::<u32>(UART) as u8
    }

    pub(crate) fn has_room(&self) -> bool {
        read::<u32>(UART + 0x18) & 0x20 == 0
    }

    pub(crate) fn put_byte(&self, byte: u8) {
        write(UART, u32::from(byte));
    }
}
