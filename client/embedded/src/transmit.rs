//! What goes onto the line next, and how it looks there.

use crate::cobs::{self, gap_bytes};
use crate::config::Lane as LaneNumber;
use crate::crc::crc32;
use crate::event::{Event, Topic};
use crate::lane::Lane;
use crate::limits::{CRC_BYTES, HEADER_BYTES, IDLE_US, LANES_MAX};
use crate::node::{Handler, Node};
use crate::receive::{ACK, CTRL, TIME};
use crate::topics::{KNOWN, UNFIT};

/// A frame that is being written into the transmit buffer.
pub(crate) struct Frame<'b> {
    buffer: &'b mut [u8],
    end: usize,
}

impl Frame<'_> {
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.buffer.get_mut(self.end..self.end + bytes.len()) {
            room.copy_from_slice(bytes);
            self.end += bytes.len();
        }
    }

    pub(crate) const fn end(self) -> usize {
        self.end
    }
}

impl<'d> Node<'d> {
    /// Begins a frame with its header.
    pub(crate) fn begin(&mut self, first: u8, seq: u16, topic: u16) -> Frame<'_> {
        let end = gap_bytes(self.transmit.len());
        let mut frame = Frame { buffer: self.transmit, end };
        frame.put(&[first]);
        frame.put(&seq.to_le_bytes());
        frame.put(&topic.to_le_bytes());
        frame
    }

    /// Ends a frame: the transmit buffer holds what travels.
    pub(crate) fn finish(&mut self, end: usize, is_link: bool) {
        let from = gap_bytes(self.transmit.len());
        let preset = if is_link { 0 } else { self.link.preset };
        let crc = crc32(preset, self.transmit.get(from..end).unwrap_or_default());
        if let Some(room) = self.transmit.get_mut(end..end + CRC_BYTES) {
            room.copy_from_slice(&crc.to_le_bytes());
        }
        self.transmit_end = cobs::encode(self.transmit, from, end + CRC_BYTES);
        let silent_us = self.now.wrapping_sub(self.free_at);
        let is_free = silent_us <= i32::MAX as u32;
        self.transmit_at = match (is_link, is_free && silent_us >= IDLE_US) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        };
        if is_free {
            self.free_at = self.now;
        }
        let airtime = ((self.transmit_end - self.transmit_at) as u32 * self.byte_us16) >> 4;
        (self.free_at, self.said) = (self.free_at.wrapping_add(airtime), self.now);
    }

    /// Writes the next frame into the transmit buffer; whether there is one.
    pub(crate) fn next_frame(&mut self, on_event: Handler<'_, 'd>) -> bool {
        if self.next_link_frame() {
            return true;
        }
        self.is_open() && (self.ack(false) || self.time() || self.data(on_event) || self.ack(true))
    }

    /// What has arrived on all lanes that owe it, if one cannot wait, or if the line is idle.
    fn ack(&mut self, is_idle: bool) -> bool {
        let frame_us = self.frame_us();
        let mut is_due = is_idle;
        for index in 0..self.lanes.len() {
            if let Some((since, is_urgent)) = self.lanes.get(index).and_then(Lane::owes_ack) {
                is_due |= is_urgent || self.is_due(since.wrapping_add(frame_us));
            }
        }
        if !is_due {
            return false;
        }
        let mut entries = [[0; 6]; LANES_MAX];
        let mut count = 0;
        for lane in self.lanes.iter_mut().filter(|lane| lane.owes_ack().is_some()) {
            let Some(entry) = entries.get_mut(count) else { break };
            let [low, high] = lane.ack().to_le_bytes();
            // Nothing is kept that arrives ahead: the map stays 0.
            (*entry, count) = ([lane.number, low, high, 0, 0, 0], count + 1);
        }
        if count == 0 {
            return false;
        }
        let mut frame = self.begin(ACK << 5, 0, 0);
        frame.put(&[count as u8]);
        for entry in entries.iter().take(count) {
            frame.put(entry.get(..5).unwrap_or_default());
        }
        let end = frame.end();
        self.finish(end, false);
        true
    }

    fn time(&mut self) -> bool {
        let now = self.now;
        let asked = self.asked.take();
        if asked.is_none() && !self.is_due(self.said.wrapping_add(self.link.quiet_us)) {
            return false;
        }
        let mut frame = self.begin(TIME << 5, 0, 0);
        if let Some((theirs, at)) = asked {
            [theirs, at, now].iter().for_each(|clock| frame.put(&clock.to_le_bytes()));
        }
        let end = frame.end();
        self.finish(end, false);
        true
    }

    fn data(&mut self, on_event: Handler<'_, 'd>) -> bool {
        self.say(on_event);
        // The lane, the offset of its message, and what it is compared by.
        let mut best: Option<(usize, u8, u8, u16)> = None;
        for index in 0..self.lanes.len() {
            let Some(offset) = self.candidate(index, on_event) else { continue };
            let Some(lane) = self.lanes.get(index) else { continue };
            let (class, spent) = (lane.class, lane.spent);
            let is_first = best.is_none_or(|(_, _, first, least)| {
                class < first || class == first && (spent.wrapping_sub(least) as i16) < 0
            });
            if is_first {
                best = Some((index, offset, class, spent));
            }
        }
        let Some((index, offset, class, spent)) = best else { return false };
        let Some((lane, slots)) = self.lane_mut(index) else { return false };
        let (slot, seq, number) = (lane.slot(slots, offset), lane.number_of(offset), lane.number);
        let place = lane.place(offset);
        let from = (index * self.window + place) * self.message;
        let (kind, topic) = if index == 0 { (CTRL, 0) } else { (0, slot.topic) };
        let first = kind << 5 | u8::from(slot.is_timed()) << 3 | number;
        self.begin(first, seq, topic);
        let mut frame = Frame { end: gap_bytes(self.transmit.len()) + HEADER_BYTES, buffer: self.transmit };
        if slot.is_timed() {
            frame.put(&slot.time.to_le_bytes());
        }
        frame.put(self.data.get(from..from + usize::from(slot.bytes)).unwrap_or_default());
        let end = frame.end();
        self.finish(end, false);
        let (left, bytes) = (self.free_at, (self.transmit_end - self.transmit_at) as u16);
        // Lanes of the class that said nothing meanwhile have no claim to what they did not use.
        for lane in self.lanes.iter_mut().filter(|lane| lane.class == class) {
            if (lane.spent.wrapping_sub(spent) as i16) < 0 {
                lane.spent = spent;
            }
        }
        if let Some((lane, slots)) = self.lane_mut(index) {
            lane.spent = spent.wrapping_add(bytes);
            let is_again = lane.on_sent(slots, offset, left);
            if !lane.kind.is_reliable() {
                lane.pop(true);
            }
            self.counters.repeated = self.counters.repeated.wrapping_add(u32::from(is_again));
        }
        true
    }

    /// The message of a lane that can go now. One that never can is dropped.
    fn candidate(&mut self, index: usize, on_event: Handler<'_, 'd>) -> Option<u8> {
        loop {
            let (lane, slots) = self.lane_mut(index)?;
            if !lane.exists() {
                let (lane, topic) = self.pop_if(index, |_| index > 0)?;
                on_event(self, Event::Dropped { lane, topic });
                continue;
            }
            let offset = lane.next_to_send(slots)?;
            let (slot, sent, number) = (lane.slot(slots, offset), lane.sent, lane.number);
            if offset < sent || index == 0 {
                return Some(offset);
            }
            let bits = self.entry(slot.topic).map_or(UNFIT, |entry| entry.bits);
            if bits & UNFIT == 0 && slot.bytes <= self.payload {
                return (bits & KNOWN != 0).then_some(offset);
            }
            self.take_out(index);
            on_event(self, Event::Dropped { lane: LaneNumber(number), topic: Topic(slot.topic) });
        }
    }

    /// Takes out the first message that has not been sent; those behind it move up.
    fn take_out(&mut self, index: usize) {
        let Some(lane) = self.lanes.get(index) else { return };
        let (sent, count) = (lane.sent, lane.count);
        for offset in sent..count - 1 {
            let (to, from) = (lane.place(offset), lane.place(offset + 1));
            let (to, from) = (index * self.window + to, index * self.window + from);
            let slot = self.slots.get(from).copied().unwrap_or_default();
            if let Some(place) = self.slots.get_mut(to) {
                *place = slot;
            }
            let data = from * self.message..(from + 1) * self.message;
            if data.end <= self.data.len() && (to + 1) * self.message <= self.data.len() {
                self.data.copy_within(data, to * self.message);
            }
        }
        if let Some(lane) = self.lanes.get_mut(index) {
            lane.count -= 1;
        }
    }
}
