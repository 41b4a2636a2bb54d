//! From bytes to frames to what they mean.

use super::{Arrived, Ended, Kept, Link, Peer, PeerLane, Turn};
use crate::error::CloseCode;
use crate::limits::WIRE_VERSION;
use crate::serial::cobs::{Decoded, checked};
use crate::serial::frame::{Head, SerialKind};
use crate::serial::handshake::{Heard, Phase};
use crate::serial::hello::{Hello, LinkBody, Role};
use crate::serial::hot::{Poll, SerialTime, decode_ack};
use crate::serial::limits::{SERIAL_CRC_BYTES, SERIAL_FRAME_BYTES_MIN};
use crate::serial::receiver::Verdict;
use crate::serial::rtt::Ticks;
use crate::time::{Duration, Instant};

/// Bytes of an ACK of one lane on the line: the quickest answer there is.
const ACK_WIRE_BYTES: usize = 17;
/// Set in the address of frames from a device.
const FROM_DEVICE: u8 = 0x80;

impl<const L: usize, const W: usize, const H: usize, const F: usize> Link<L, W, H, F> {
    /// Bytes arrived. Takes them up to the end of a frame, or all, and returns how many; the owner then takes the events
    /// and comes back with the rest.
    pub fn on_bytes(&mut self, now: Instant, bytes: &[u8]) -> usize {
        if self.has_events() {
            return 0;
        }
        for (at, &byte) in bytes.iter().enumerate() {
            match self.decoder.push(byte, &mut self.buffer) {
                Decoded::More => {}
                Decoded::Bad => self.on_bad(),
                Decoded::Frame(len) => {
                    self.on_frame(now, len);
                    return at + 1;
                }
            }
        }
        bytes.len()
    }

    /// The address in front of this side's own frames.
    pub(super) fn address(&self) -> Option<u8> {
        let from = if self.setup.role == Role::Device { FROM_DEVICE } else { 0 };
        (self.setup.address != 0).then_some(self.setup.address | from)
    }

    /// Bytes of the address in front of every frame.
    const fn address_bytes(&self) -> usize {
        (self.setup.address != 0) as usize
    }

    fn on_bad(&mut self) {
        self.counters.bad += 1;
        self.bad_in_a_row = self.bad_in_a_row.saturating_add(1);
    }

    fn on_frame(&mut self, now: Instant, len: usize) {
        let start = self.address_bytes();
        let frame = &self.buffer[..len];
        if len < SERIAL_FRAME_BYTES_MIN + start {
            return self.on_bad();
        }
        // What others say to each other is checked by them.
        if self.address().is_some_and(|ours| frame[0] != ours ^ FROM_DEVICE) {
            self.counters.stray += 1;
            return;
        }
        let is_link = SerialKind::of(frame[start]) == SerialKind::Link;
        let preset = if is_link { 0 } else { self.preset };
        if !is_link && self.shake.phase() == Phase::Seeking {
            self.counters.stray += 1;
            return;
        }
        let Some(body) = checked(frame, preset) else { return self.on_bad() };
        match (Head::decode(&body[start..]), is_link) {
            (Ok((_, payload)), true) => {
                let payload = len - SERIAL_CRC_BYTES - payload.len()..len - SERIAL_CRC_BYTES;
                self.on_link(now, payload);
            }
            (Err(_), true) => self.counters.stray += 1,
            (decoded, false) => {
                let decoded = decoded.map(|(head, payload)| (head, payload.len())).ok();
                self.on_session_frame(now, len, decoded);
            }
        }
    }

    /// A frame that was checked with the session's preset.
    fn on_session_frame(&mut self, now: Instant, len: usize, decoded: Option<(Head, usize)>) {
        self.counters.good += 1;
        (self.heard, self.bad_in_a_row) = (now, 0);
        if self.shake.on_good_frame() {
            self.on_opened(now);
        }
        let understood = decoded.is_some_and(|(head, payload_bytes)| {
            let end = len - SERIAL_CRC_BYTES;
            match head.kind {
                SerialKind::Pub | SerialKind::Req | SerialKind::Rsp | SerialKind::Ctrl => {
                    self.on_numbered(now, head, len);
                    true
                }
                SerialKind::Ack => self.on_ack(now, end - payload_bytes..end),
                SerialKind::Time => self.on_time(now, end - payload_bytes..end),
                SerialKind::Poll => self.on_poll(now, end - payload_bytes..end),
                SerialKind::Link => true,
            }
        });
        if !understood {
            self.end(now, Ended::PeerFault, CloseCode::Malformed);
        }
    }

    fn on_numbered(&mut self, now: Instant, head: Head, len: usize) {
        let Some(index) = self.index(head.lane).filter(|&index| self.lanes[index].peer.exists) else {
            self.counters.dropped += 1;
            return;
        };
        let free = self.kept.iter().position(|kept| kept.lane == u8::MAX);
        let lane = &mut self.lanes[index];
        let rules = lane.rules();
        match lane.receiver.on_frame(Ticks::at(now), rules, head.seq, head.frag.is_some(), free.is_some()) {
            Verdict::Deliver { missed } => self.arrived = Some(Arrived { len: len as u16, missed }),
            Verdict::Keep => {
                if let Some(free) = free {
                    let Kept { lane, seq, len: kept, bytes } = &mut self.kept[free];
                    (*lane, *seq, *kept) = (head.lane, head.seq, len as u16);
                    bytes[..len].copy_from_slice(&self.buffer[..len]);
                }
            }
            Verdict::Drop => self.counters.dropped += 1,
        }
    }

    fn on_ack(&mut self, now: Instant, body: core::ops::Range<usize>) -> bool {
        let ack = Ticks::of(self.pacer.airtime(ACK_WIRE_BYTES));
        let Self { buffer, lanes, rtt, adapt, .. } = self;
        let Ok(entries) = decode_ack(&buffer[body]) else { return false };
        for entry in entries {
            let known = lanes.iter_mut().find(|lane| lane.number() == entry.lane);
            let Some(lane) = known.filter(|lane| lane.peer.exists && lane.is_reliable()) else { continue };
            let acked = lane.sender.on_ack(Ticks::at(now), entry.next, entry.map, ack);
            if let Some(ticks) = acked.sample {
                rtt.sample(ticks);
            }
            (0..acked.lost).for_each(|_| adapt.on_lost());
        }
        true
    }

    fn on_time(&mut self, now: Instant, body: core::ops::Range<usize>) -> bool {
        match SerialTime::decode(&self.buffer[body]) {
            Ok(SerialTime::Alive) => {}
            Ok(SerialTime::Ask { t0 }) => self.asked = Some((t0, now)),
            Ok(SerialTime::Answer { t0, t1, t2 }) => self.clock = Some([t0, t1, t2, micros(now)]),
            Err(_) => return false,
        }
        true
    }

    fn on_poll(&mut self, now: Instant, body: core::ops::Range<usize>) -> bool {
        match (Poll::decode(&self.buffer[body]), self.setup.role) {
            (Ok(_), _) if self.turn == Turn::Always => true,
            (Ok(Poll::Turn { budget_us }), Role::Device) => {
                self.take_turn(now + Duration::from_micros(u64::from(budget_us)), 0, false);
                true
            }
            (Ok(Poll::Done { more }), Role::Host) => {
                self.turn_over = Some(more);
                true
            }
            (Ok(_) | Err(_), _) => false,
        }
    }

    fn on_link(&mut self, now: Instant, payload: core::ops::Range<usize>) {
        match LinkBody::decode(&self.buffer[payload]) {
            Ok(LinkBody::Hello(hello)) if hello.role == self.setup.role => self.counters.stray += 1,
            Ok(LinkBody::Hello(hello)) => {
                let fits = (hello.version_min..=hello.version_max).contains(&WIRE_VERSION);
                if !fits {
                    self.shake.on_unfit_hello(hello.nonce);
                } else if let Heard::Anew { was_open } = self.shake.on_hello(hello.nonce) {
                    let lanes = self.lanes.each_ref().map(|lane| peer_lane(lane.setup.offer, &hello));
                    self.peer = Peer::new(&hello);
                    self.lanes.iter_mut().zip(lanes).for_each(|(lane, peer)| lane.peer = peer);
                    if was_open {
                        self.on_ended(Ended::PeerRestarted);
                    }
                }
                self.preset = self.shake.preset();
                self.on_link_turn(now);
            }
            Ok(LinkBody::Welcome { yours, mine, knows_topics }) => {
                if (yours, mine) == self.shake.nonces() {
                    self.peer.knows_topics = knows_topics;
                }
                if self.shake.on_welcome(yours, mine) {
                    self.on_opened(now);
                }
                self.on_link_turn(now);
            }
            Ok(LinkBody::Reset { yours, mine, code }) => {
                let was_open = self.is_open();
                if self.shake.on_reset(now, yours, mine, code) && was_open {
                    self.on_ended(Ended::PeerReset(code));
                }
            }
            Err(_) => self.counters.stray += 1,
        }
    }

    /// Half-duplex: a LINK frame of the host gives the device a turn.
    fn on_link_turn(&mut self, now: Instant) {
        if self.turn != Turn::Always && self.setup.role == Role::Device {
            let unanswered = false;
            self.shake.on_turn(unanswered);
            self.take_turn(now, 0, true);
        }
    }
}

/// What the peer says of a lane, if it describes one of the same kind.
fn peer_lane(ours: crate::serial::hello::LaneOffer, hello: &Hello<'_>) -> PeerLane {
    let same = hello.lanes.get(ours.lane).filter(|theirs| theirs.kind == ours.kind);
    same.map_or_else(PeerLane::default, |theirs| PeerLane {
        exists: true,
        selective: theirs.selective,
        window: theirs.window,
        level: theirs.level,
        assembly: theirs.assembly,
        credit: theirs.credit,
    })
}

/// A clock that travels: microseconds, wrapping.
pub(super) const fn micros(now: Instant) -> u32 {
    (now.0 / 1_000) as u32
}
