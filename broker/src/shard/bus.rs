//! Half-duplex lines: several devices on one port, each with a session of its own, and whose turn it is.

use std::ops::Range;

use laneway_proto::serial::limits::{SERIAL_HELLO_MS, SERIAL_TURN_MS};
use laneway_proto::serial::mtu::{OVERHEAD_BYTES, mtu_of_baud};
use laneway_proto::time::{Duration, Instant};

use super::Shard;
use crate::io::Io;

/// What the adapter and the system may take on top of what a device may.
const SLACK: Duration = Duration::from_millis(20);
/// A silence that ends a turn: two bytes' time, or this.
const QUIET: Duration = Duration::from_millis(2);
/// How soon it is tried again to send where that is not possible now.
const AGAIN: Duration = Duration::from_millis(1);
/// Turns without an answer after which a device is asked now and then only.
const SILENT_MAX: u32 = 2;
/// Bytes in a turn beside the largest frame: ACK, POLL and what COBS adds.
const BESIDE_BYTES: u32 = 80;
const BITS_PER_BYTE: u64 = 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// The next device is to be chosen.
    Nobody,
    /// The host's, for this device.
    Ours(usize),
    /// This device's.
    Theirs {
        place: usize,
        /// When it is over although the device has not said so.
        until: Instant,
        /// When it is over whatever comes.
        over: Instant,
        began: bool,
    },
}

/// What is known of a device's answers.
#[derive(Clone, Copy, Debug)]
struct Call {
    /// Turns in a row to which it said nothing.
    silent: u32,
    asked: Instant,
}

/// The devices of one line.
#[derive(Debug)]
pub(super) struct Bus {
    /// Their places among the ports.
    members: Range<usize>,
    calls: Vec<Call>,
    turn: Turn,
    /// Whose turn was the last, from the first member on.
    last: usize,
    baud: u32,
    /// When everything that was said to the device in this turn has left.
    leaves: Instant,
    open: bool,
}

impl Bus {
    /// Of the devices that stand at `members` among the ports.
    pub(super) fn new(members: Range<usize>, baud: u32) -> Self {
        let calls = members.clone().map(|_| Call { silent: 0, asked: Instant(0) }).collect();
        Self {
            last: members.len().saturating_sub(1),
            members,
            calls,
            turn: Turn::Nobody,
            baud,
            leaves: Instant(0),
            open: false,
        }
    }

    pub(super) fn members(&self) -> Range<usize> {
        self.members.clone()
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open
    }

    /// Its port was opened, or closed.
    pub(super) fn set_open(&mut self, open: bool) {
        self.open = open;
        self.turn = Turn::Nobody;
        self.calls.iter_mut().for_each(|call| call.silent = 0);
    }

    /// Whose bytes come now.
    pub(super) fn on_heard(&mut self, now: Instant) -> Option<usize> {
        let quiet = QUIET.0.max(self.airtime(2).0) + SLACK.0;
        let Turn::Theirs { place, until, over, began } = &mut self.turn else { return None };
        (*began, *until) = (true, (now + Duration(quiet)).min(*over));
        Some(*place)
    }

    /// The device whose turn it was has nothing more to say.
    pub(super) fn on_turn_over(&mut self, of: usize) {
        if matches!(self.turn, Turn::Theirs { place, .. } if place == of) {
            self.end_turn(true);
        }
    }

    fn end_turn(&mut self, answered: bool) {
        let call = self.calls.get_mut(self.last);
        if let Some(call) = call {
            call.silent = if answered { 0 } else { call.silent.saturating_add(1) };
        }
        self.turn = Turn::Nobody;
    }

    const fn airtime(&self, bytes: u64) -> Duration {
        Duration(bytes * BITS_PER_BYTE * 1_000_000_000 / self.baud as u64)
    }

    /// Microseconds that one side has for its turn: one of the largest frames.
    fn turn_us(&self) -> u32 {
        let bytes = u32::from(mtu_of_baud(self.baud)) + OVERHEAD_BYTES as u32 + BESIDE_BYTES;
        (self.airtime(u64::from(bytes)).0 / 1_000) as u32
    }

    /// The next device that is to be asked, and whether it was silent; or when one is.
    fn next(&mut self, now: Instant) -> Result<(usize, bool), Instant> {
        let count = self.members.len();
        let mut first = now + Duration::from_millis(SERIAL_HELLO_MS);
        for ahead in 1..=count {
            let member = (self.last + ahead) % count;
            let Some(call) = self.calls.get_mut(member) else { break };
            let due = call.asked + Duration::from_millis(SERIAL_HELLO_MS);
            if call.silent < SILENT_MAX || due <= now {
                call.asked = now;
                self.last = member;
                return Ok((self.members.start + member, call.silent > 0));
            }
            first = first.min(due);
        }
        Err(first)
    }

    fn give_turn(&mut self, now: Instant, place: usize) {
        let turn = Duration::from_millis(SERIAL_TURN_MS);
        let begins = self.leaves.max(now) + turn + SLACK;
        let over = begins + Duration::from_micros(u64::from(self.turn_us()));
        self.turn = Turn::Theirs { place, until: begins, over, began: false };
    }
}

impl<I: Io> Shard<I> {
    /// Goes on with the turns on a half-duplex line, as far as that is possible now.
    pub(super) fn serve_bus(&mut self, wire: usize) {
        let now = self.now();
        // Each device gets a turn at most: what is said in it takes time.
        let mut turns = self.ports[wire].bus().map_or(0, |bus| bus.members.len() + 1);
        loop {
            let Some(bus) = self.ports[wire].bus_mut().filter(|bus| bus.open) else { return };
            match bus.turn {
                Turn::Nobody => {
                    let next = if turns > 0 { bus.next(now) } else { Err(now + AGAIN) };
                    turns = turns.saturating_sub(1);
                    match next {
                        Ok((place, unanswered)) => self.begin_turn(wire, place, unanswered),
                        Err(at) => return self.set_port_timer(wire, at),
                    }
                }
                Turn::Ours(place) => {
                    if !self.say_in_turn(wire, place) {
                        return;
                    }
                }
                Turn::Theirs { until, began, .. } => {
                    if until > now {
                        return self.set_port_timer(wire, until);
                    }
                    bus.end_turn(began);
                }
            }
        }
    }

    fn begin_turn(&mut self, wire: usize, place: usize, unanswered: bool) {
        let now = self.now();
        let Some(bus) = self.ports[wire].bus_mut() else { return };
        let turn_us = bus.turn_us();
        (bus.turn, bus.leaves) = (Turn::Ours(place), now);
        if let Some(line) = self.ports[place].line_mut() {
            line.begin_turn(now, turn_us, turn_us, unanswered);
        }
    }

    /// False if nothing more can be done now.
    fn say_in_turn(&mut self, wire: usize, place: usize) -> bool {
        let now = self.now();
        let sent = self.transmit(place);
        let ours = self.ports[place].line_mut().is_some_and(|line| line.is_our_turn());
        let wakes = self.ports[place].line_mut().and_then(|line| line.poll_timeout(now));
        let Some(bus) = self.ports[wire].bus_mut() else { return false };
        bus.leaves = bus.leaves.max(now) + bus.airtime(sent as u64);
        if ours {
            let at = wakes.unwrap_or(now).max(now + AGAIN);
            self.set_port_timer(wire, at);
            return false;
        }
        if bus.turn == Turn::Ours(place) {
            bus.give_turn(now, place);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn devices_get_their_turns_one_after_the_other_and_silent_ones_seldom() {
        let mut bus = Bus::new(4..7, 115_200);
        bus.set_open(true);
        let mut now = Instant(10_000 * MS);
        let mut turn = |bus: &mut Bus, answers: bool| {
            let (place, unanswered) = bus.next(now)?;
            bus.give_turn(now, place);
            now = now + Duration(MS);
            if answers {
                assert_eq!(bus.on_heard(now), Some(place));
                bus.on_turn_over(place);
            } else {
                bus.end_turn(false);
            }
            Ok::<_, Instant>((place, unanswered))
        };
        assert_eq!(
            [turn(&mut bus, true), turn(&mut bus, false), turn(&mut bus, true)],
            [Ok((4, false)), Ok((5, false)), Ok((6, false))]
        );
        assert_eq!(
            [turn(&mut bus, true), turn(&mut bus, false), turn(&mut bus, true)],
            [Ok((4, false)), Ok((5, true)), Ok((6, false))]
        );
        assert_eq!([turn(&mut bus, true), turn(&mut bus, true)], [Ok((4, false)), Ok((6, false))], "it is left out");
        assert_eq!(bus.on_heard(Instant(0)), None, "nobody's turn");
    }

    #[test]
    fn a_turn_is_over_when_nothing_began_and_when_nothing_came_any_more() {
        let mut bus = Bus::new(1..2, 115_200);
        let now = Instant(1_000 * MS);
        bus.leaves = now + Duration(3 * MS);
        bus.give_turn(now, 1);
        let Turn::Theirs { until, over, .. } = bus.turn else { panic!("it is the device's turn") };
        assert_eq!(until, Instant(1_028 * MS), "what was said to it is to leave first");
        assert!(over > until + Duration(10 * MS), "{over:?}");
        assert_eq!(bus.on_heard(until), Some(1));
        let Turn::Theirs { until: later, began: true, .. } = bus.turn else { panic!("it goes on") };
        assert!(later > until && later <= over);
    }
}
