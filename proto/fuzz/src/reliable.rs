//! A reliable lane delivers each number once, or reports it lost, whatever arrives in which order.
//!
//! Input: `u32` the stream's first number | `u8` bit 0: ordered | (`u8` what: bit 0 clear a message, set a loss |
//! `u16` place | of a loss `u16` count)*. At most 200 arrivals are looked at, and places and counts below 2,048.

use crate::input::Input;
use crate::model::lane::{Arrival, compare_exact, number};

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let (first, ordered) = (input.u32(), input.u8() & 1 != 0);
    let mut arrivals = Vec::new();
    while !input.is_empty() && arrivals.len() < 200 {
        let what = input.u8();
        let place = u64::from(input.u16() % 2_048);
        arrivals.push(match what & 1 {
            0 => Arrival::Message(place),
            _ => Arrival::Lost(place, u32::from(input.u16() % 2_048)),
        });
    }
    compare_exact(number(1, u64::from(first)), ordered, &arrivals);
}
