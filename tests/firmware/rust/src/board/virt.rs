//! virt: RV32, a 16550, the core's timer of 10 MHz.

use super::{read, write};

/// What the board is called.
pub const NAME: &str = "virt";

const UART: usize = 0x1000_0000;
const TIME: usize = 0x0200_BFF8;
const TICKS_PER_US: u32 = 10;

/// The board.
#[derive(Debug)]
pub struct Board {
    ticks: u32,
    rest: u32,
    micros: u32,
}

impl Board {
    /// Starts the port; the clock runs.
    pub fn start() -> Self {
        write(UART + 2, 1_u8);
        // A byte that came before the queue was switched on went with it; QEMU gives no other until somebody reads.
        let _lost: u8 = read(UART);
        Self { ticks: read(TIME), rest: 0, micros: 0 }
    }

    /// Microseconds; wraps. To be asked once in six minutes at least.
    pub fn micros(&mut self) -> u32 {
        let ticks: u32 = read(TIME);
        let passed = ticks.wrapping_sub(self.ticks) + self.rest;
        (self.ticks, self.rest) = (ticks, passed % TICKS_PER_US);
        self.micros = self.micros.wrapping_add(passed / TICKS_PER_US);
        self.micros
    }

    /// Another number after each start, as far as the emulator has such a thing.
    pub fn entropy(&mut self) -> u32 {
        read::<u32>(TIME).wrapping_mul(0x9E37_79B9) | 1
    }

    pub(crate) fn has_byte(&self) -> bool {
        read::<u8>(UART + 5) & 1 != 0
    }

    pub(crate) fn take_byte(&self) -> u8 {
        read(UART)
    }

    pub(crate) fn has_room(&self) -> bool {
        read::<u8>(UART + 5) & 0x20 != 0
    }

    pub(crate) fn put_byte(&self, byte: u8) {
        write(UART, byte);
    }
}
