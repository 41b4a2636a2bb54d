//! Whatever happens in whatever order, a session does what the list of rules says, never goes back and never moves a
//! deadline that stands.
//!
//! Input: `u16` milliseconds for the handshake | `u16` milliseconds for an incomplete frame | events: `u8` modulo 9, and
//! what it needs: 0 wait (`u16` ms), 1 our preface, 2 a preface (8 bytes), 3 agreed, 4 closing, 5 a frame (kind, flags,
//! lane, hops), 6 a read (bit 0: it left a frame incomplete), 7 malformed control, 8 the timer fires.

use laneway_proto::session::Patience;
use laneway_proto::session::handshake::PREFACE;
use laneway_proto::time::{Duration, Instant};

use crate::input::Input;
use crate::model::session::{Event, Watched};

/// Checks one input.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let mut ms = || Duration::from_millis(u32::from(input.u16()));
    let patience = Patience { handshake: ms(), partial_frame: ms() };
    let mut session = Watched::new(Instant(1_000), patience);
    while !input.is_empty() {
        if !session.on(next(&mut input)) {
            session.on(Event::Closing);
        }
    }
}

fn next(input: &mut Input<'_>) -> Event {
    match input.u8() % 9 {
        0 => Event::Wait(input.u16()),
        1 => Event::Preface(PREFACE),
        2 => Event::Preface(input.array()),
        3 => Event::Agreed,
        4 => Event::Closing,
        5 => {
            let [kind, flags, lane, hops] = input.array();
            Event::Frame([16, 0, kind, flags, 0, 0, 1, 0, lane, hops, 0, 0, 1, 0, 0, 0])
        }
        6 => Event::Read(input.u8() & 1 != 0),
        7 => Event::Malformed,
        _ => Event::Timeout,
    }
}
