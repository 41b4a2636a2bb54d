//! Which session it is: HELLO, WELCOME and RESET, and the end of a session.

use crate::config::{Lane as LaneNumber, window};
use crate::crc::{crc32, session_preset};
use crate::event::{Code, Event, Topic};
use crate::lane::Lane;
use crate::limits::{
    BAD_FRAMES_MAX, DEAD_MS_MIN, HELLO_US, LANE_BYTES, LANES_MAX, MTU_MAX, MTU_MIN, NAME_BYTES_MAX, REFUSED_US, RTO_US,
    RTO_US_MAX, WINDOW_MAX,
};
use crate::node::{Node, Tell};
use crate::receive::LINK;
use crate::transmit::Frame;

pub(crate) const HELLO: u8 = 1;
pub(crate) const WELCOME: u8 = 2;
pub(crate) const RESET: u8 = 3;
const VERSION: u8 = 1;
/// Bytes of a HELLO in front of its lanes, the tag included.
const HELLO_BYTES: usize = 29;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Off,
    Seeking,
    HalfOpen,
    Open,
}

/// A session, and what is to be said of it.
#[derive(Clone, Debug)]
#[repr(C)]
pub(crate) struct Link {
    state: State,
    owes_welcome: bool,
    pub(crate) leaving: Option<Code>,
    pub(crate) mine: u32,
    /// 0: nothing is known of the peer.
    theirs: u32,
    pub(crate) preset: u32,
    hello_at: u32,
    /// A third of what the peer takes for our death, in microseconds.
    pub(crate) quiet_us: u32,
    /// RESET: the peer's nonce, ours, code.
    reset: Option<(u32, u32, u8)>,
}

/// Little-endian integers of a slice whose length was checked.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

#[inline(never)]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

impl Link {
    pub(crate) const fn new(entropy: u32) -> Self {
        Self {
            state: State::Off,
            mine: if entropy == 0 { 1 } else { entropy },
            theirs: 0,
            preset: 0,
            hello_at: 0,
            owes_welcome: false,
            quiet_us: 0,
            reset: None,
            leaving: None,
        }
    }

    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Whether frames of a session can be read.
    pub(crate) const fn has_preset(&self) -> bool {
        matches!(self.state, State::HalfOpen | State::Open)
    }

    pub(crate) fn seek(&mut self, hello_at: u32) {
        (self.state, self.theirs, self.hello_at, self.owes_welcome) = (State::Seeking, 0, hello_at, false);
    }
}

/// The lanes of a HELLO, if it breaks no rule.
fn lanes_of(hello: &[u8]) -> Option<&[u8]> {
    let (head, rest) = hello.split_at_checked(HELLO_BYTES)?;
    let count = usize::from(*head.last()?);
    let (lanes, name) = rest.split_at_checked(count * LANE_BYTES)?;
    let (name_bytes, name) = name.split_first()?;
    let is_name = usize::from(*name_bytes) == name.len() && name.len() <= NAME_BYTES_MAX;
    let is_mtu = (MTU_MIN..=MTU_MAX).contains(&u16_at(head, 16));
    if !is_name || !is_mtu || u16_at(head, 18) < DEAD_MS_MIN || u32_at(head, 4) == 0 || count > LANES_MAX {
        return None;
    }
    let (mut seen, mut rest) = (0u8, lanes);
    while let Some((&[first, window, ..], behind)) = rest.split_first_chunk::<LANE_BYTES>() {
        rest = behind;
        let bit = 1 << (first & 7);
        let window_max = if first & 0x20 == 0 { 1 } else { WINDOW_MAX as u8 };
        let is_control = first & 7 != 0 || first & 0x30 == 0x30;
        // Levels are 0 and 2.
        if seen & bit != 0 || window == 0 || window > window_max || !is_control || first & 0x40 != 0 {
            return None;
        }
        seen |= bit;
    }
    (seen & 1 != 0).then_some(lanes)
}

impl<'d> Node<'d> {
    /// A LINK frame behind its header; whether it said something.
    #[inline(never)]
    pub(crate) fn on_link(&mut self, body: &[u8], on_event: &mut Tell<'_, 'd>) -> bool {
        let Some(tag) = body.first() else { return false };
        let (yours, mine) = (u32_at(body, 1), u32_at(body, 5));
        match (*tag, body.len()) {
            (HELLO, 8..) => self.on_hello(body, on_event),
            (WELCOME, 10) if yours == self.link.mine && mine == self.link.theirs && mine != 0 => {
                if self.link.state == State::HalfOpen {
                    self.on_open(on_event);
                }
                true
            }
            (RESET, 10) if yours == self.link.mine && (mine == self.link.theirs || self.link.theirs == 0) => {
                if self.link.state != State::Off {
                    let code = Code(body.get(9).copied().unwrap_or_default());
                    let was_open = self.is_open();
                    let wait = if code.helps_to_retry() { 0 } else { REFUSED_US };
                    self.link.seek(self.now.wrapping_add(wait));
                    if was_open {
                        self.on_ended(code, on_event);
                    }
                }
                true
            }
            _ => false,
        }
    }

    #[inline(never)]
    fn on_hello(&mut self, body: &[u8], on_event: &mut Tell<'_, 'd>) -> bool {
        let &[_, version_min, version_max, flags, ..] = body else { return false };
        let nonce = u32_at(body, 4);
        // One of our own role is an echo.
        if self.link.state == State::Off || flags != u8::from(!self.is_host()) || version_min > version_max {
            return false;
        }
        if version_min > VERSION || version_max < VERSION {
            self.link.reset = Some((nonce, self.link.mine, Code::VERSION.0));
            return true;
        }
        let Some(lanes) = lanes_of(body) else { return false };
        if nonce == self.link.theirs {
            self.link.owes_welcome = true;
            return true;
        }
        let was_open = self.is_open();
        self.link.state = State::HalfOpen;
        self.link.theirs = nonce;
        if was_open {
            self.on_ended(Code::RESTARTED, on_event);
        }
        let (host, device) = if self.is_host() { (self.link.mine, nonce) } else { (nonce, self.link.mine) };
        self.link.preset = session_preset(host, device);
        (self.link.hello_at, self.link.owes_welcome) = (self.now, true);
        self.payload = self.mtu.min(u16_at(body, 16));
        self.link.quiet_us = u32::from(u16_at(body, 18)) * 333;
        for lane in self.lanes.iter_mut() {
            lane.describe(lanes);
        }
        true
    }

    /// Both sides know both nonces.
    pub(crate) fn on_open(&mut self, on_event: &mut Tell<'_, 'd>) {
        self.link.state = State::Open;
        self.lanes.iter_mut().for_each(Lane::open);
        self.topics.iter_mut().for_each(|entry| {
            if entry.name.is_some() {
                entry.open()
            }
        });
        (self.heard, self.has_to_say, self.bad_in_a_row) = (self.now, true, 0);
        on_event.tell(self, Event::Opened);
    }

    /// A frame of the session is good.
    #[inline(never)]
    pub(crate) fn on_good(&mut self, on_event: &mut Tell<'_, 'd>) {
        if !self.is_open() {
            self.on_open(on_event);
        }
        (self.heard, self.bad_in_a_row) = (self.now, 0);
        self.counters.good = self.counters.good.wrapping_add(1);
    }

    /// A frame is bad.
    pub(crate) fn on_bad(&mut self) {
        self.counters.bad = self.counters.bad.wrapping_add(1);
        self.bad_in_a_row = self.bad_in_a_row.saturating_add(1);
    }

    /// This side ends the session.
    pub(crate) fn end(&mut self, code: Code, on_event: &mut Tell<'_, 'd>) {
        self.link.reset = Some((self.link.theirs, self.link.mine, code.0));
        let nonce = crc32(self.link.mine, &self.now.to_le_bytes());
        self.link.mine = if nonce == 0 { 1 } else { nonce };
        self.link.seek(self.now);
        self.on_ended(code, on_event);
    }

    /// The session has ended: what was sent is maybe there, what was not waits for the next one.
    fn on_ended(&mut self, code: Code, on_event: &mut Tell<'_, 'd>) {
        self.asked = None;
        self.payload = self.mtu;
        if let Some(control) = self.lanes.first_mut() {
            control.clear();
        }
        on_event.tell(self, Event::Closed(code));
        for index in 1..self.lanes.len() {
            while let Some((lane, topic)) = self.pop_if(index, true) {
                on_event.tell(self, Event::Maybe { lane, topic });
            }
            while self.lanes.get(index).is_some_and(|lane| !lane.kind.waits()) {
                let Some((lane, topic)) = self.pop_if(index, false) else { break };
                on_event.tell(self, Event::Dropped { lane, topic });
            }
        }
    }

    /// Takes the oldest message off a lane, if there is one that is under way (or is not); which it was.
    #[inline(never)]
    pub(crate) fn pop_if(&mut self, index: usize, is_sent: bool) -> Option<(LaneNumber, Topic)> {
        let (lane, slots) = self.lane_mut(index)?;
        if lane.count == 0 || is_sent != (lane.sent > 0) {
            return None;
        }
        let topic = lane.slot(slots, 0).topic;
        lane.pop(is_sent);
        Some((LaneNumber(lane.number), Topic(topic)))
    }

    /// Time has passed.
    pub(crate) fn watch(&mut self, on_event: &mut Tell<'_, 'd>) {
        if let Some(code) = self.link.leaving.take() {
            if self.is_open() {
                self.end(code, on_event);
            }
            self.link.state = State::Off;
        }
        for lane in self.lanes.iter_mut() {
            lane.age(self.now);
        }
        if !self.is_open() {
            return;
        }
        let patience = if self.bad_in_a_row < BAD_FRAMES_MAX { self.dead_us } else { self.dead_us / 3 };
        if self.is_due(self.heard.wrapping_add(patience)) {
            self.end(Code::TIMEOUT, on_event);
            return;
        }
        let first = RTO_US + self.frame_us() * 3;
        for index in 0..self.lanes.len() {
            let Some((lane, slots)) = self.lane_mut(index) else { break };
            let rto = (first << lane.backoff).min(RTO_US_MAX.max(first));
            if lane.timer(slots).is_some_and(|left| self.is_due(left.wrapping_add(rto))) {
                if let Some((lane, slots)) = self.lane_mut(index) {
                    lane.on_timer(slots);
                }
            }
        }
    }

    /// The next LINK frame that is owed; whether there was one.
    pub(crate) fn next_link_frame(&mut self) -> bool {
        if let Some((yours, mine, code)) = self.link.reset.take() {
            self.answer(RESET, yours, mine, code);
        } else if self.link.state == State::Off {
            return false;
        } else if !self.is_open() && self.is_due(self.link.hello_at) {
            self.link.hello_at = self.now.wrapping_add(HELLO_US);
            self.hello();
        } else if self.link.owes_welcome {
            self.link.owes_welcome = false;
            self.answer(WELCOME, self.link.theirs, self.link.mine, 0);
        } else {
            return false;
        }
        true
    }

    fn answer(&mut self, tag: u8, yours: u32, mine: u32, last: u8) {
        let mut frame = Frame::begin(self.transmit, LINK << 5, 0, 0);
        frame.put8(tag);
        frame.put32(yours);
        frame.put32(mine);
        frame.put8(last);
        let end = frame.end();
        self.finish(end, true);
    }

    fn hello(&mut self) {
        let lanes = self.lanes.iter().take(self.config.lanes.len());
        let name = self.config.name.as_bytes();
        let name = name.get(..NAME_BYTES_MAX).unwrap_or(name);
        let (is_host, window) = (self.is_host(), window(self.window));
        let mut frame = Frame::begin(self.transmit, LINK << 5, 0, 0);
        frame.put32(u32::from_le_bytes([HELLO, VERSION, VERSION, u8::from(is_host)]));
        frame.put32(self.link.mine);
        frame.put(&self.config.node_id);
        frame.put16(self.mtu);
        frame.put16((self.dead_us / 1_000) as u16);
        frame.put32(self.config.baud);
        frame.put32(0);
        frame.put8(lanes.len() as u8);
        for lane in lanes {
            frame.put(&lane.offer(window));
        }
        frame.put8(name.len() as u8);
        frame.put(name);
        let end = frame.end();
        self.finish(end, true);
    }
}
