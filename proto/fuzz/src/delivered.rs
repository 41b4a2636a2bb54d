//! A lane whose publisher waits for deliveries is told of exactly those that happened, whatever happens in which order.
//!
//! Input: `u32` the lane's first number | `u8` places, 0 for plenty | (`u8` what, modulo 5: 0 messages, 1 again, 2 received,
//! 3 give up, 4 tell | `u8` how many or which | of 0 and 1 `u8` receivers wanted)*. At most 200 events are looked at.

use crate::input::Input;
use crate::model::lane::{Asking, compare_deliveries, number};

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let (first, places) = (input.u32(), input.u8());
    let places = if places == 0 { 400 } else { usize::from(places) };
    let mut events = Vec::new();
    while !input.is_empty() && events.len() < 200 {
        let (what, which) = (input.u8() % 5, input.u8());
        events.push(match what {
            0 => Asking::Message(which % 4, u16::from(input.u8() % 4)),
            1 => Asking::Again(u64::from(which % 8), u16::from(input.u8() % 4)),
            2 => Asking::Received(usize::from(which)),
            3 => Asking::GiveUp(u64::from(which % 8)),
            _ => Asking::Tell,
        });
    }
    compare_deliveries(number(1, u64::from(first)), places, &events);
}
