//! Real brokers with serial lines: devices of ours, emulated boards, and devices that speak other protocols.

mod board;
mod foreign;
mod serial;
mod serial_tools;
