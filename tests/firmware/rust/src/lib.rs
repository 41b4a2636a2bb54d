//! What a board is to the application: a clock, a serial port, and a number that differs from start to start.
#![no_std]

mod board;
mod start;

pub use board::{Board, NAME};

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};

impl ErrorType for Board {
    type Error = core::convert::Infallible;
}

impl ReadReady for Board {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        Ok(self.has_byte())
    }
}

impl Read for Board {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Self::Error> {
        while !self.has_byte() {}
        let mut count = 0;
        for byte in bytes {
            if !self.has_byte() {
                break;
            }
            *byte = self.take_byte();
            count += 1;
        }
        Ok(count)
    }
}

impl WriteReady for Board {
    fn write_ready(&mut self) -> Result<bool, Self::Error> {
        Ok(self.has_room())
    }
}

impl Write for Board {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        while !self.has_room() {}
        let mut count = 0;
        for byte in bytes {
            if !self.has_room() {
                break;
            }
            self.put_byte(*byte);
            count += 1;
        }
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}
