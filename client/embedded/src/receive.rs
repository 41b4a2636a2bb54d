//! What a frame that arrived means.

use crate::config::Lane as LaneNumber;
use crate::crc::crc32;
use crate::event::{Code, Event, Message, Topic};
use crate::lane::Take;
use crate::limits::{CRC_BYTES, HEADER_BYTES, LANES_MAX, LINK_BYTES_MAX};
use crate::link::{u16_at, u32_at};
use crate::node::{Node, Tell};
use crate::topics::FILTER;

const PUB: u8 = 0;
const REQ: u8 = 1;
const RSP: u8 = 2;
pub(crate) const CTRL: u8 = 3;
pub(crate) const ACK: u8 = 4;
pub(crate) const TIME: u8 = 5;
pub(crate) const LINK: u8 = 7;

/// A good frame that breaks a rule: the session ends.
pub(crate) struct Malformed;

/// Ends the session if a rule is broken.
pub(crate) fn must(holds: bool) -> Result<(), Malformed> {
    if holds { Ok(()) } else { Err(Malformed) }
}

/// A numbered frame.
pub(crate) struct Numbered<'f> {
    pub(crate) lane: u8,
    pub(crate) topic: u16,
    pub(crate) time: Option<u32>,
    pub(crate) body: &'f [u8],
}

impl<'d> Node<'d> {
    /// A frame as it came, its CRC included.
    pub(crate) fn on_frame(&mut self, frame: &[u8], on_event: &mut Tell<'_, 'd>) {
        let crc_at = frame.len().saturating_sub(CRC_BYTES);
        let Some((body, rest)) = frame.get(..crc_at).and_then(|body| Some((body, body.get(HEADER_BYTES..)?))) else {
            self.on_bad();
            return;
        };
        let first = body.first().copied().unwrap_or_default();
        let is_link = first >> 5 == LINK;
        if !is_link && !self.link.has_preset() {
            self.on_stray();
            return;
        }
        let preset = if is_link { 0 } else { self.link.preset };
        if crc32(preset, body) != u32_at(frame, crc_at) {
            self.on_bad();
            return;
        }
        let is_plain = u32_at(body, 1) == 0 && first & 0x1F == 0;
        if is_link {
            if !is_plain || frame.len() > LINK_BYTES_MAX || !self.on_link(rest, on_event) {
                self.on_stray();
            }
            return;
        }
        self.on_good(on_event);
        let result = match first >> 5 {
            ACK if is_plain => self.on_ack(rest, on_event),
            TIME if is_plain => self.on_time(rest),
            PUB | REQ | RSP | CTRL => self.on_numbered(first, u16_at(body, 1), u16_at(body, 3), rest, on_event),
            _ => Err(Malformed),
        };
        if result.is_err() && self.is_open() {
            self.end(Code::MALFORMED, on_event);
        }
    }

    fn on_stray(&mut self) {
        self.counters.stray = self.counters.stray.wrapping_add(1);
    }

    pub(crate) fn on_dropped(&mut self) {
        self.counters.dropped = self.counters.dropped.wrapping_add(1);
    }

    fn on_time(&mut self, body: &[u8]) -> Result<(), Malformed> {
        must(matches!(body.len(), 0 | 4 | 12))?;
        if body.len() == 4 {
            self.asked = Some((u32_at(body, 0), self.now));
        }
        Ok(())
    }

    fn on_ack(&mut self, body: &[u8], on_event: &mut Tell<'_, 'd>) -> Result<(), Malformed> {
        let (count, mut rest) = body.split_first().ok_or(Malformed)?;
        must(usize::from(*count) * 5 == rest.len() && *count > 0)?;
        let mut seen = 0u8;
        while let Some((&[number, low, high, map_low, map_high], behind)) = rest.split_first_chunk() {
            rest = behind;
            must(number < LANES_MAX as u8 && seen >> number & 1 == 0)?;
            seen |= 1 << number;
            let Some(index) = self.index_of(number) else { continue };
            let Some((lane, slots)) = self.lane_mut(index) else { continue };
            must(lane.kind.is_reliable())?;
            let (next, map) = (u16::from_le_bytes([low, high]), u16::from_le_bytes([map_low, map_high]));
            for _ in 0..lane.on_ack(slots, next, map) {
                let Some((lane, topic)) = self.pop_if(index, true) else { break };
                if index == 0 {
                    self.on_said(topic.0);
                } else {
                    on_event.tell(self, Event::Acked { lane, topic });
                }
            }
        }
        Ok(())
    }

    fn on_numbered(
        &mut self,
        first: u8,
        seq: u16,
        topic: u16,
        rest: &[u8],
        on_event: &mut Tell<'_, 'd>,
    ) -> Result<(), Malformed> {
        let (kind, lane, is_fragment) = (first >> 5, first & 7, first & 0x10 != 0);
        must(kind == CTRL || (topic != 0 && lane != 0))?;
        let mut body = rest;
        if is_fragment {
            let (&[index, count], behind) = body.split_first_chunk().ok_or(Malformed)?;
            must(count >= 2 && index < count && !behind.is_empty())?;
            body = behind;
        }
        let mut time = None;
        if first & 8 != 0 {
            let (clock, behind) = body.split_first_chunk().ok_or(Malformed)?;
            (time, body) = (Some(u32::from_le_bytes(*clock)), behind);
        }
        // HELLO said how long a message may be; the blocks leave room for more.
        must(body.len() <= usize::from(self.mtu) && (!matches!(kind, REQ | RSP) || body.len() >= 3))?;
        let now = self.now;
        let known = self.find(lane).filter(|lane| lane.exists());
        let Some(known) = known else {
            self.on_dropped();
            return Ok(());
        };
        // Nothing is put together here, and HELLO said so.
        must(!is_fragment || !known.kind.is_reliable())?;
        let is_reliable = known.kind.is_reliable();
        let (Take::Yes(missed), false) = (known.on_frame(now, seq), is_fragment) else {
            self.on_dropped();
            return Ok(());
        };
        let frame = Numbered { lane, topic, time, body };
        match kind {
            PUB => self.on_message(&frame, missed, on_event),
            CTRL => {
                must(is_reliable)?;
                self.on_control(&frame, on_event)?;
            }
            _ => self.on_dropped(),
        }
        Ok(())
    }

    fn on_message(&mut self, frame: &Numbered<'_>, missed: u16, on_event: &mut Tell<'_, 'd>) {
        let Numbered { lane, topic, time, body } = *frame;
        let own = self.entry(topic).filter(|entry| !entry.is(FILTER));
        let is_wanted = match own {
            Some(entry) if entry.subscription.is_some() => true,
            own => (own.is_some() || topic >= self.first_ids().1 && !self.is_own(topic)) && self.has_filter(),
        };
        if is_wanted {
            let name = own.and_then(|entry| entry.name);
            let message = Message { name, topic, lane: LaneNumber(lane), missed, time, payload: body };
            on_event.tell(self, Event::Message(message));
        } else {
            self.on_dropped();
        }
    }

    /// Whether an id is one that this side binds.
    pub(crate) fn is_own(&self, topic: u16) -> bool {
        (topic ^ self.first_ids().0) & 0xC000 == 0
    }

    /// Whether messages of names that nobody here has given are wanted.
    fn has_filter(&self) -> bool {
        self.is_host() || self.topics.iter().any(|entry| entry.bits & FILTER != 0 && entry.subscription.is_some())
    }

    /// An id of this side as the application knows it.
    pub(crate) fn topic_at(&self, place: usize) -> Topic {
        Topic(self.first_ids().0 + place as u16)
    }
}
