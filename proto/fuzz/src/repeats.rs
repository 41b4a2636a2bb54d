//! Whoever receives messages that may come again takes each once, whatever comes in which order.
//!
//! Input: `u32` the first number | `u8` bit 0: ordered | `u8` places | (`u8` origin | `u16` place)*. At most 300 messages
//! are looked at, of 8 origins, and at most 15 origins are remembered.

use crate::input::Input;
use crate::model::lane::{compare_repeats, number};

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let (first, ordered, places) = (input.u32(), input.u8() & 1 != 0, usize::from(input.u8() % 16));
    let mut messages = Vec::new();
    while !input.is_empty() && messages.len() < 300 {
        messages.push((u32::from(input.u8() % 8), u64::from(input.u16())));
    }
    compare_repeats(number(1, u64::from(first)), ordered, places, &messages);
}
