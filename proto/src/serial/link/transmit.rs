//! What goes next on the line.

use super::receive::micros;
use super::{Cut, Handle, Link, Outcome, Outgoing, Source, Turn};
use crate::limits::WIRE_VERSION;
use crate::serial::cobs::Encoder;
use crate::serial::frame::{HEAD_BYTES_MAX, Head, SerialFrag, SerialKind};
use crate::serial::handshake::Say;
use crate::serial::hello::{Hello, LaneOffer, LinkBody, Offers, Role};
use crate::serial::hot::{HOT_BYTES_MAX, LaneAck, Poll, SerialTime, encode_ack};
use crate::serial::limits::{SERIAL_LANES_MAX, SERIAL_LINK_BYTES_MAX};
use crate::serial::rtt::Ticks;
use crate::serial::sender::Part;
use crate::serial::shares::Share;
use crate::time::Instant;
use crate::wire::Writer;

/// Zeros in front of a LINK frame.
const LINK_ZEROS: usize = 2;
/// Bytes of a POLL on the line.
const POLL_WIRE_BYTES: usize = 17;

impl<const L: usize, const W: usize, const H: usize, const F: usize> Link<L, W, H, F> {
    /// Writes the next frame to the front of `out`, as it travels, and returns its bytes; `None`: nothing may be sent
    /// now. `out` has [`super::transmit_bytes`] for the MTU. What is returned must be sent whole.
    pub fn poll_transmit(&mut self, now: Instant, source: &mut impl Source, out: &mut [u8]) -> Option<usize> {
        if self.has_events() || self.pacer.ready_at(self.frame_wire_bytes()) > now {
            return None;
        }
        match self.turn {
            Turn::Always => {
                if let Some(say) = self.shake.poll(now, true) {
                    return self.link_frame(now, say, out);
                }
                if !self.is_open() {
                    return None;
                }
                self.hot_frame(now, out)
                    .or_else(|| self.data_frame(now, source, out))
                    .or_else(|| self.ack_frame(now, out))
            }
            Turn::Theirs => None,
            Turn::Ours { until, budget_us, link_only } => {
                self.turn_frame(now, source, out, until, budget_us, link_only)
            }
        }
    }

    /// Half-duplex: the next frame of this side's turn; the last one gives it back.
    fn turn_frame(
        &mut self,
        now: Instant,
        source: &mut impl Source,
        out: &mut [u8],
        until: Instant,
        budget_us: u32,
        link_only: bool,
    ) -> Option<usize> {
        if let Some(say) = self.shake.poll(now, false) {
            if self.setup.role == Role::Host && !matches!(say, Say::Reset { .. }) {
                self.turn = Turn::Theirs;
            }
            return self.link_frame(now, say, out);
        }
        if !self.is_open() {
            self.turn = Turn::Theirs;
            return None;
        }
        if !link_only {
            if let Some(bytes) = self.ack_frame(now, out) {
                return Some(bytes);
            }
            let frame = self.pacer.airtime(self.frame_wire_bytes() + POLL_WIRE_BYTES);
            if now.max(self.pacer.free_at()) + frame <= until {
                let sent = self.time_answer(now, out).or_else(|| self.data_frame(now, source, out));
                if sent.is_some() || self.has_events() {
                    return sent;
                }
            }
        }
        self.turn = Turn::Theirs;
        let more = self.asked.is_some() || self.lanes.iter().any(super::Lane::can_send);
        let poll = match self.setup.role {
            Role::Host => Poll::Turn { budget_us },
            Role::Device => Poll::Done { more },
        };
        self.unnumbered(now, SerialKind::Poll, poll.encode(&mut [0; HOT_BYTES_MAX]), out)
    }

    /// An ACK that is due, the time, a sign of life.
    fn hot_frame(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let (patience, ticks) = (self.frame_ticks(), Ticks::at(now));
        let due = |due: Ticks| ticks.since(due) >= 0;
        if self.lanes.iter().any(|lane| lane.receiver.ack_due(lane.rules(), patience).is_some_and(due)) {
            return self.ack_frame(now, out);
        }
        if let Some(bytes) = self.time_answer(now, out) {
            return Some(bytes);
        }
        if self.sign_of_life_at() > now {
            return None;
        }
        let time = if self.setup.asks_time { SerialTime::Ask { t0: micros(now) } } else { SerialTime::Alive };
        self.unnumbered(now, SerialKind::Time, time.encode(&mut [0; HOT_BYTES_MAX]), out)
    }

    fn time_answer(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let (t0, received) = self.asked.take()?;
        let answer = SerialTime::Answer { t0, t1: micros(received), t2: micros(now) };
        self.unnumbered(now, SerialKind::Time, answer.encode(&mut [0; HOT_BYTES_MAX]), out)
    }

    fn ack_frame(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let mut body = [0; HOT_BYTES_MAX];
        let owing = self.lanes.iter_mut().filter(|lane| lane.receiver.owes_ack());
        let mut any = false;
        let acks = owing.map(|lane| {
            any = true;
            lane.receiver.on_acked();
            let (next, map) = lane.receiver.state();
            LaneAck { lane: lane.number(), next, map }
        });
        let body = encode_ack(acks, &mut body);
        if any { self.unnumbered(now, SerialKind::Ack, body, out) } else { None }
    }

    fn link_frame(&mut self, now: Instant, say: Say, out: &mut [u8]) -> Option<usize> {
        let (mut body, mut offers) = ([0; SERIAL_LINK_BYTES_MAX], [0; 6 * SERIAL_LANES_MAX]);
        let mut writer = Writer::new(&mut body);
        let said = match say {
            Say::Hello { nonce } => {
                let mut lanes = [self.lanes[0].setup.offer; SERIAL_LANES_MAX];
                lanes
                    .iter_mut()
                    .zip(&self.lanes)
                    .for_each(|(offer, lane): (&mut LaneOffer, _)| *offer = lane.setup.offer);
                LinkBody::Hello(Hello {
                    version_min: WIRE_VERSION,
                    version_max: WIRE_VERSION,
                    role: self.setup.role,
                    nonce,
                    node_id: self.setup.node_id,
                    mtu: self.setup.mtu,
                    dead_ms: self.setup.dead_ms,
                    baud: self.setup.baud,
                    topics_hash: self.setup.topics_hash,
                    lanes: Offers::new(&lanes[..L], &mut offers),
                    name: self.setup.name,
                })
            }
            Say::Welcome { yours, mine } => {
                let knows_topics = self.peer.topics_hash != 0 && self.peer.topics_hash == self.setup.topics_hash;
                LinkBody::Welcome { yours, mine, knows_topics }
            }
            Say::Reset { yours, mine, code } => LinkBody::Reset { yours, mine, code },
        };
        said.encode(&mut writer)?;
        let bytes = writer.len();
        self.frame(now, LINK_ZEROS, 0, &Head::unnumbered(SerialKind::Link), &body[..bytes], out)
    }

    fn unnumbered(&mut self, now: Instant, kind: SerialKind, body: &[u8], out: &mut [u8]) -> Option<usize> {
        self.frame(now, 0, self.preset, &Head::unnumbered(kind), body, out)
    }

    /// Writes a frame and hands it over.
    fn frame(
        &mut self,
        now: Instant,
        zeros: usize,
        preset: u32,
        head: &Head,
        payload: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let zeros = zeros.max(usize::from(self.pacer.was_idle(now)));
        let mut encoder = Encoder::new(out, zeros, preset);
        if let Some(address) = self.address() {
            encoder.push(&[address]);
        }
        encoder.push(head.encode(&mut [0; HEAD_BYTES_MAX]));
        encoder.push(payload);
        let written = encoder.finish();
        debug_assert!(written.is_some(), "the owner's buffer is too small for the MTU");
        let bytes = written?;
        self.pacer.on_sent(now, bytes);
        (self.said, self.counters.sent) = (now, self.counters.sent + 1);
        Some(bytes)
    }

    /// The next frame of the lane whose turn it is.
    fn data_frame(&mut self, now: Instant, source: &mut impl Source, out: &mut [u8]) -> Option<usize> {
        loop {
            let index = self.pick()?;
            if let Some((seq, part)) = self.lanes[index].sender.next_lost() {
                self.counters.repeated += 1;
                return self.part_frame(now, index, seq, part, true, source, out);
            }
            if let Some(part) = self.next_part(index, source) {
                let seq = self.lanes[index].sender.next_seq();
                return self.part_frame(now, index, seq, part, false, source, out);
            }
            if self.finished.is_some() {
                return None;
            }
        }
    }

    /// The lane that goes next. What can send begins to count its airtime.
    fn pick(&mut self) -> Option<usize> {
        let mut first: Option<usize> = None;
        for index in 0..L {
            if !self.lanes[index].can_send() {
                continue;
            }
            if !self.lanes[index].share.is_active() {
                let others = self.lanes.iter().enumerate().filter(|(other, _)| *other != index);
                self.lanes[index].share = self.lanes[index].share.started(others.map(|(_, lane)| lane.share));
            }
            let is_first = first.is_none_or(|first| self.lanes[index].share.is_before(&self.lanes[first].share));
            if is_first {
                first = Some(index);
            }
        }
        first
    }

    /// The part that goes next of a new message, or of the one that is being cut.
    fn next_part(&mut self, index: usize, source: &mut impl Source) -> Option<Part> {
        if self.lanes[index].cut.is_none() {
            let Some(handle) = source.next(self.lanes[index].number()) else {
                self.lanes[index].ready = false;
                if self.lanes[index].is_done() {
                    self.lanes[index].share.stop();
                }
                return None;
            };
            let bytes = source.describe(handle).bytes;
            match self.fragment_bytes(index, bytes) {
                Some((size, count)) => {
                    self.lanes[index].cut = Some(Cut { handle, offset: 0, bytes_left: bytes, size, index: 0, count });
                }
                None => {
                    self.finished = Some((handle, Outcome::TooLarge));
                    return None;
                }
            }
        }
        let cut = self.lanes[index].cut.as_mut()?;
        let bytes = cut.bytes_left.min(u32::from(cut.size)) as u16;
        let part = Part { handle: cut.handle, offset: cut.offset, bytes, index: cut.index, count: cut.count };
        cut.offset += u32::from(bytes);
        cut.bytes_left -= u32::from(bytes);
        cut.index += 1;
        if cut.index == cut.count {
            self.lanes[index].cut = None;
        }
        Some(part)
    }

    /// Bytes and number of the frames that a message takes.
    fn fragment_bytes(&self, index: usize, bytes: u32) -> Option<(u16, u8)> {
        let (lane, whole) = (&self.lanes[index], self.frame_payload_max() as u16);
        let cut = |size: u16| {
            let count = bytes.div_ceil(u32::from(size));
            (count <= lane.fragments_max()).then_some((size, count as u8))
        };
        let small = self.adapt.bytes().min(whole);
        if bytes <= u32::from(small) {
            return Some((whole, 1));
        }
        if bytes <= u32::from(lane.peer.assembly) {
            return cut(small).or_else(|| cut(whole));
        }
        (bytes <= u32::from(whole)).then_some((whole, 1))
    }

    #[expect(clippy::too_many_arguments, reason = "what is sent, whether again, from where and to where")]
    fn part_frame(
        &mut self,
        now: Instant,
        index: usize,
        seq: u16,
        part: Part,
        again: bool,
        source: &impl Source,
        out: &mut [u8],
    ) -> Option<usize> {
        let Part { handle, offset, bytes, index: place, count } = part;
        let Outgoing { kind, topic, ts, correlation, .. } = source.describe(handle);
        let frag = (count > 1).then_some(SerialFrag { index: place, count });
        let head = Head { kind, lane: self.lanes[index].number(), seq, topic, frag, ts, correlation };
        let payload = source.bytes(handle, offset as usize, usize::from(bytes));
        let written = self.frame(now, 0, self.preset, &head, payload, out)?;
        let left = Ticks::at(self.pacer.free_at());
        let airtime = self.pacer.airtime(written);
        let lane = &mut self.lanes[index];
        if lane.is_reliable() {
            self.adapt.on_sent();
            if again {
                lane.sender.on_again(seq, left);
            } else {
                lane.sender.on_new(part, left);
            }
        } else {
            lane.sender.skip_number();
            self.finished = (place + 1 == count).then_some((handle, Outcome::Sent));
        }
        lane.share.charge(airtime);
        let served: Share = lane.share;
        self.lanes.iter_mut().for_each(|lane| lane.share.keep_up(&served));
        self.stop_if_done(index);
        Some(written)
    }

    fn stop_if_done(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        if lane.is_done() {
            lane.share.stop();
        }
    }
}

/// The number of messages under way is bounded by the windows; a handle is all that is kept of one.
const _: () = assert!(size_of::<Handle>() == 4, "a handle is four bytes");
