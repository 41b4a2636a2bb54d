//! The serial link: what two ends of a UART, a USB serial port or an RS-485 pair say to each other, in `docs/SERIAL.md`.
//!
//! The same code runs at both ends, on a broker and on a microcontroller, with other sizes.
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`limits`] | every bound of the link with its unit |
//! | [`crc`], [`cobs`] | where frames begin and end, and whether they are whole |
//! | [`frame`], [`hello`], [`control`], [`hot`] | the layouts of frames and of their bodies |
//! | [`handshake`] | which session it is |
//! | [`pacer`], [`mtu`] | airtime: when the driver gets another frame, and how large it may be |
//! | [`foreign`] | what devices say that speak another protocol |
//! | [`link`] | everything together: one peer on one line |

pub mod cobs;
pub mod control;
pub mod crc;
pub mod foreign;
pub mod frame;
pub mod handshake;
pub mod hello;
pub mod hot;
pub mod limits;
pub mod link;
pub mod mtu;
pub mod pacer;
mod receiver;
mod rtt;
mod sender;
mod shares;

/// Names a message in its owner's memory. The link keeps handles, never bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Handle(pub u32);
