//! What the next datagram carries: acknowledgements first, then what asks, then the lanes in the order of their classes, each
//! with what it has to send again before what is new.

use super::super::header::{DatagramHeader, Form};
use super::super::heartbeat::Beat;
use super::super::limits::{DATAGRAM_CRC_BYTES, DATAGRAM_HEADER_BYTES};
use super::super::outbound::{Carried, Content, FrameSlot};
use super::super::sent::SentSlot;
use super::{NewestSlot, Session, Source};
use crate::frame::credit::{self, CREDIT_FRAME_BYTES_MAX, LaneTotal};
use crate::frame::lost::LossReason;
use crate::frame::ping::Ping;
use crate::header::{Flags, Header, Kind, seq_after};
use crate::limits::{LANE_CLASSES, LANES_MAX};
use crate::time::Instant;

/// In the time of a PING by which a session asks for a sign of life: nobody waits for the PONG.
pub const OWN_PING: u64 = 1 << 63;

/// The datagram that is being filled.
struct Filling<'a> {
    out: &'a mut [u8],
    end: usize,
    /// Something in it is waited for.
    waited_for: bool,
    /// Something in it is not an acknowledgement.
    has_frames: bool,
}

impl Filling<'_> {
    fn room(&self) -> usize {
        self.out.len() - self.end
    }

    /// Appends a part, if it fits.
    fn put(&mut self, parts: [&[u8]; 2]) -> bool {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if bytes > self.room() {
            return false;
        }
        for part in parts {
            self.out[self.end..self.end + part.len()].copy_from_slice(part);
            self.end += part.len();
        }
        self.has_frames = true;
        true
    }
}

impl<F, P, W, K> Session<F, P, W, K>
where
    F: AsRef<[FrameSlot]> + AsMut<[FrameSlot]>,
    P: AsRef<[SentSlot]> + AsMut<[SentSlot]>,
    W: AsRef<[u64]> + AsMut<[u64]>,
    K: AsRef<[NewestSlot]> + AsMut<[NewestSlot]>,
{
    /// Bytes of frames that a datagram to the peer has room for.
    pub const fn room_bytes(&self) -> usize {
        let crc = if self.setup.crc { DATAGRAM_CRC_BYTES } else { 0 };
        self.setup.datagram_bytes - DATAGRAM_HEADER_BYTES - crc
    }

    /// Writes the next datagram to the front of `out`, which has room for the longest, and returns its bytes; `None`: there is
    /// nothing to send now.
    pub fn poll_transmit(&mut self, now: Instant, source: &mut impl Source, out: &mut [u8]) -> Option<usize> {
        self.paused_until = None;
        if self.ended.is_some() || !self.proven {
            return None;
        }
        let end = DATAGRAM_HEADER_BYTES + self.room_bytes();
        let mut filling =
            Filling { out: &mut out[..end], end: DATAGRAM_HEADER_BYTES, waited_for: false, has_frames: false };
        let acks = self.acks.encode(now, &mut filling.out[filling.end..]);
        filling.end += acks;
        let asks = self.ask_due;
        if self.may_send(now, asks) {
            let beats = self.heartbeat_due && self.put_heartbeat(&mut filling);
            self.put_unnumbered(source, &mut filling);
            self.put_credit(source, &mut filling);
            self.put_lanes(now, source, &mut filling);
            if asks && !filling.waited_for {
                filling.waited_for = filling.put([&Ping { t0: OWN_PING | now.0 }.encode(), &[]]);
            }
            // It goes with others, unless they are too long to go with it.
            filling.has_frames |= beats && self.has_waiting(source);
        }
        let ack_due = self.acks.due().is_some_and(|due| due <= now);
        if !filling.has_frames && !ack_due {
            return None;
        }
        let Filling { end, waited_for, .. } = filling;
        Some(self.seal(now, out, end, waited_for, acks > 0))
    }

    fn seal(&mut self, now: Instant, out: &mut [u8], end: usize, waited_for: bool, acks: bool) -> usize {
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        let Self { setup, .. } = self;
        let form = Form::Session { session: setup.peer, ack: self.acks.received.through() };
        let header = DatagramHeader { form, ack_me: waited_for, crc: setup.crc, epoch: setup.epoch, number };
        let bytes = header.seal(out, end);
        self.outbound.close(now, number, bytes as u16, waited_for);
        if waited_for {
            self.recovery.on_sent(now);
            self.ask_due = false;
            self.pacer.on_sent(now, bytes);
        }
        self.acks.on_sent(acks);
        self.counters.sent += 1;
        bytes
    }

    /// Whether a datagram that is waited for may leave.
    fn may_send(&mut self, now: Instant, asks: bool) -> bool {
        if !self.outbound.has_room_for_datagram(now) {
            return false;
        }
        if asks {
            return true;
        }
        let sent = self.outbound.sent();
        if sent.in_flight() >= self.setup.in_flight_max || !self.congestion.has_room(sent.in_flight_bytes()) {
            return false;
        }
        self.paused_until = self.pacer.wait_until(now);
        self.paused_until.is_none()
    }

    /// Whether a lane has something to send, now or later.
    fn has_waiting(&self, source: &impl Source) -> bool {
        (0..LANES_MAX as u8).any(|lane| self.outbound.again(lane).is_some() || source.peek(lane).is_some())
    }

    /// Says what the peer need not wait for; `false` if there is no room for that.
    fn put_heartbeat(&mut self, filling: &mut Filling<'_>) -> bool {
        let lead = self.next_number;
        let trail = self.outbound.sent().oldest().map_or(lead, |slot| slot.number);
        let had_frames = filling.has_frames;
        let put = filling.put([&Beat { lane: 0, trail, lead }.encode(), &[]]);
        filling.has_frames = had_frames;
        self.heartbeat_due &= !put;
        put
    }

    fn put_unnumbered(&mut self, source: &mut impl Source, filling: &mut Filling<'_>) {
        while let Some(frame) = source.unnumbered(filling.room()) {
            let asks = frame.get(2) == Some(&Kind::PING.0);
            filling.put([frame, &[]]);
            filling.waited_for |= asks;
        }
    }

    fn put_credit(&mut self, source: &impl Source, filling: &mut Filling<'_>) {
        if self.credit_due == 0 || filling.room() < CREDIT_FRAME_BYTES_MAX {
            return;
        }
        let mut totals = [LaneTotal { lane: 0, total: 0 }; LANES_MAX - 1];
        let mut count = 0;
        let mut lanes = 0;
        for lane in (1..LANES_MAX as u8).filter(|&lane| self.credit_due & 1 << lane != 0) {
            if let Some(total) = source.credit(lane) {
                totals[count] = LaneTotal { lane, total };
                count += 1;
                lanes |= 1 << lane;
            }
        }
        self.credit_due = 0;
        if count > 0 {
            let mut frame = [0; CREDIT_FRAME_BYTES_MAX];
            filling.put([credit::encode(&totals[..count], &mut frame), &[]]);
            filling.waited_for = true;
            self.outbound.add_credit(lanes);
        }
    }

    fn put_lanes(&mut self, now: Instant, source: &mut impl Source, filling: &mut Filling<'_>) {
        for class in 0..LANE_CLASSES as u8 {
            for lane in 0..LANES_MAX as u8 {
                let Some(rule) = self.setup.lanes[usize::from(lane)].filter(|rule| rule.class == class) else {
                    continue;
                };
                if rule.kind.is_reliable() {
                    // New frames wait for those that go again: they are older.
                    if self.put_again(now, lane, source, filling) {
                        self.put_new(now, lane, class, source, filling);
                    }
                } else {
                    self.put_once(lane, source, filling);
                }
            }
        }
    }

    /// Frames of a reliable lane that are sent again. False if not all of them have fitted.
    fn put_again(&mut self, now: Instant, lane: u8, source: &impl Source, filling: &mut Filling<'_>) -> bool {
        while let Some(slot) = self.outbound.again(lane) {
            let put = match *slot.content() {
                Content::Frame(carried) => {
                    let late = carried.deadline.is_some_and(|deadline| deadline <= now);
                    if late && self.outbound.abandon_again(lane, LossReason::Ttl) {
                        continue;
                    }
                    let Some(seq) = self.outbound.again(lane).map(FrameSlot::first_seq) else { break };
                    let header = header_of(&carried, lane, seq, Flags::RETX);
                    filling.put([&header.encode(), source.body(carried.payload)])
                }
                Content::Lost { .. } => match self.outbound.lost_again(lane) {
                    Some(lost) => filling.put([&lost.encode(), &[]]),
                    None => false,
                },
                Content::Free => false,
            };
            if !put {
                return false;
            }
            self.counters.retransmitted += 1;
            filling.waited_for = true;
            self.outbound.add_again(lane);
        }
        true
    }

    fn put_new(&mut self, now: Instant, lane: u8, class: u8, source: &mut impl Source, filling: &mut Filling<'_>) {
        while let Some(carried) = source.peek(lane) {
            let fits = usize::from(carried.frame_bytes()) <= filling.room();
            let begins = carried.frag.filter(|frag| frag.index == 0).map(|frag| frag.total_len);
            if !fits || self.outbound.check_room(lane, class, begins, u64::MAX).is_err() {
                break;
            }
            let seq = self.outbound.add_new(now, lane, carried);
            let header = header_of(&carried, lane, seq, Flags(0));
            filling.put([&header.encode(), source.body(carried.payload)]);
            filling.waited_for = true;
            source.take(lane, seq);
        }
    }

    fn put_once(&mut self, lane: u8, source: &mut impl Source, filling: &mut Filling<'_>) {
        while let Some(carried) = source.peek(lane) {
            if usize::from(carried.frame_bytes()) > filling.room() || !self.outbound.takes_unreliable(lane) {
                break;
            }
            let next = &mut self.unreliable_seq[usize::from(lane)];
            let seq = *next;
            *next = seq_after(seq, 1);
            let header = header_of(&carried, lane, seq, Flags(0));
            filling.put([&header.encode(), source.body(carried.payload)]);
            filling.waited_for = true;
            self.outbound.add_unreliable(lane, counted(&carried));
            source.take(lane, seq);
        }
    }
}

/// Bytes that count for credit, as the owner counts: a report is no data, and a message in fragments has one header.
const fn counted(carried: &Carried) -> u16 {
    if !carried.kind.is_data() {
        0
    } else if carried.flags.has(Flags::FRAG) {
        carried.body_bytes.saturating_sub(carried.flags.fixed_extension_bytes() as u16)
    } else {
        carried.frame_bytes()
    }
}

fn header_of(carried: &Carried, lane: u8, seq: u32, more: Flags) -> Header {
    let Carried { kind, flags, hops, ckey, topic, body_bytes, .. } = *carried;
    Header { topic, lane, hops, ckey, seq, flags: flags.with(more), ..Header::new(kind, usize::from(body_bytes)) }
}
