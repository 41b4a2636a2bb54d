//! The serial link: what two ends of a UART, a USB serial port or an RS-485 pair say to each other, in `docs/SERIAL.md`.
//!
//! The same code runs at both ends, on a broker and on a microcontroller, with other sizes.

pub mod cobs;
pub mod control;
pub mod crc;
pub mod frame;
pub mod hello;
pub mod hot;
pub mod limits;
