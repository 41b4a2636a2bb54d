//! What goes onto the line next, and how it looks there.

use crate::cobs::{self, gap_bytes};
use crate::crc::crc32;
use crate::event::Event;
use crate::lane::Lane;
use crate::limits::{CRC_BYTES, IDLE_US};
use crate::node::{Node, Tell};
use crate::receive::{ACK, CTRL, TIME};
use crate::topics::{KNOWN, UNFIT};

/// A frame that is being written into the transmit buffer.
pub(crate) struct Frame<'b> {
    pub(crate) buffer: &'b mut [u8],
    pub(crate) end: usize,
}

impl<'b> Frame<'b> {
    /// Begins a frame with its header.
    pub(crate) fn begin(buffer: &'b mut [u8], first: u8, seq: u16, topic: u16) -> Self {
        let end = gap_bytes(buffer.len());
        let mut frame = Self { buffer, end };
        frame.put8(first);
        frame.put16(seq);
        frame.put16(topic);
        frame
    }

    #[inline(never)]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let mut end = self.end;
        for byte in bytes {
            if let Some(place) = self.buffer.get_mut(end) {
                *place = *byte;
                end += 1;
            }
        }
        self.end = end;
    }

    pub(crate) fn put8(&mut self, byte: u8) {
        if let Some(place) = self.buffer.get_mut(self.end) {
            *place = byte;
            self.end += 1;
        }
    }

    #[inline(never)]
    pub(crate) fn put16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }

    #[inline(never)]
    pub(crate) fn put32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    pub(crate) const fn end(self) -> usize {
        self.end
    }
}

impl<'d> Node<'d> {
    /// Ends a frame: the transmit buffer holds what travels.
    pub(crate) fn finish(&mut self, end: usize, is_link: bool) {
        let from = gap_bytes(self.transmit.len());
        let preset = if is_link { 0 } else { self.link.preset };
        let crc = crc32(preset, self.transmit.get(from..end).unwrap_or_default());
        Frame { buffer: self.transmit, end }.put32(crc);
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
    pub(crate) fn next_frame(&mut self, on_event: &mut Tell<'_, 'd>) -> bool {
        if self.next_link_frame() {
            return true;
        }
        self.is_open() && (self.ack(false) || self.time() || self.data(on_event) || self.ack(true))
    }

    /// What has arrived on all lanes that owe it, if one cannot wait, or if the line is idle.
    fn ack(&mut self, is_idle: bool) -> bool {
        let frame_us = self.frame_us();
        let (mut is_due, mut owing) = (is_idle, 0);
        for index in 0..self.lanes.len() {
            if let Some((since, is_urgent)) = self.lanes.get(index).and_then(Lane::owes_ack) {
                is_due |= is_urgent || self.is_due(since.wrapping_add(frame_us));
                owing += 1;
            }
        }
        if !is_due || owing == 0 {
            return false;
        }
        let mut frame = Frame::begin(self.transmit, ACK << 5, 0, 0);
        frame.put8(owing);
        for lane in self.lanes.iter_mut().filter(|lane| lane.owes_ack().is_some()) {
            frame.put8(lane.number);
            frame.put16(lane.ack());
            // Nothing is kept that arrives ahead.
            frame.put16(0);
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
        let mut frame = Frame::begin(self.transmit, TIME << 5, 0, 0);
        if let Some((theirs, at)) = asked {
            frame.put32(theirs);
            frame.put32(at);
            frame.put32(now);
        }
        let end = frame.end();
        self.finish(end, false);
        true
    }

    fn data(&mut self, on_event: &mut Tell<'_, 'd>) -> bool {
        self.say(on_event);
        // Lanes of a smaller class first, then the one that had least of the line.
        let (mut least, mut index, mut offset) = (u32::MAX, 0, 0);
        for candidate in 0..self.lanes.len() {
            let Some(first) = self.candidate(candidate, on_event) else { continue };
            let Some(lane) = self.lanes.get(candidate) else { continue };
            let key = u32::from(lane.class) << 16 | u32::from(lane.spent);
            if key < least {
                (least, index, offset) = (key, candidate, first);
            }
        }
        if least == u32::MAX {
            return false;
        }
        let Some((lane, slots)) = self.lane_mut(index) else { return false };
        let (slot, seq, number) = (lane.slot(slots, offset), lane.number_of(offset), lane.number);
        let place = lane.place(offset);
        let from = (index * self.window + place) * self.message;
        let (kind, topic) = if index == 0 { (CTRL, 0) } else { (0, slot.topic) };
        let first = kind << 5 | u8::from(slot.is_timed()) << 3 | number;
        let mut frame = Frame::begin(self.transmit, first, seq, topic);
        if slot.is_timed() {
            frame.put32(slot.time);
        }
        frame.put(self.data.get(from..from + usize::from(slot.bytes)).unwrap_or_default());
        let end = frame.end();
        self.finish(end, false);
        let (left, bytes) = (self.free_at, (self.transmit_end - self.transmit_at) as u16);
        // A lane that said nothing meanwhile has no claim to what it did not use.
        for lane in self.lanes.iter_mut().filter(|lane| u32::from(lane.class) == least >> 16) {
            lane.spent = lane.spent.saturating_sub(least as u16);
        }
        if let Some((lane, slots)) = self.lane_mut(index) {
            lane.spent = bytes;
            let is_again = lane.on_sent(slots, offset, left);
            if !lane.kind.is_reliable() {
                lane.pop(true);
            }
            self.counters.repeated = self.counters.repeated.wrapping_add(u32::from(is_again));
        }
        true
    }

    /// The message of a lane that can go now. One that never can is dropped.
    fn candidate(&mut self, index: usize, on_event: &mut Tell<'_, 'd>) -> Option<u8> {
        loop {
            let (lane, slots) = self.lane_mut(index)?;
            if !lane.exists() {
                let (lane, topic) = self.pop_if(index, false)?;
                on_event.tell(self, Event::Dropped { lane, topic });
                continue;
            }
            let offset = lane.next_to_send(slots)?;
            let (slot, sent) = (lane.slot(slots, offset), lane.sent);
            if offset < sent || index == 0 {
                return Some(offset);
            }
            let bits = self.entry(slot.topic).map_or(UNFIT, |entry| entry.bits);
            if bits & UNFIT == 0 && slot.bytes <= self.payload {
                return (bits & KNOWN != 0).then_some(offset);
            }
            // It goes when those before it have arrived.
            let (lane, topic) = self.pop_if(index, false)?;
            on_event.tell(self, Event::Dropped { lane, topic });
        }
    }
}
