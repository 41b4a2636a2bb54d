//! Control messages: what is declared to the host, and what the host says.

use crate::config::{Lane as LaneNumber, Subscription};
use crate::event::{Code, Event};
use crate::lane::Slot;
use crate::link::{u16_at, u32_at};
use crate::node::{Node, Tell};
use crate::receive::{Malformed, Numbered, must};
use crate::topics::{Entry, FILTER, KNOWN, RETAIN, SAY_SUB, SAY_TOPIC, SAY_UNSUB, UNFIT};
use crate::transmit::Frame;

const TOPIC: u8 = 1;
const SUB: u8 = 2;
const UNSUB: u8 = 3;
const CREDIT: u8 = 4;
const LOST: u8 = 5;
const CONFIRM: u8 = 6;
const RESULT: u8 = 7;

/// In the topic of a slot of lane 0: it takes the entry at this place, plus 1, back.
const GOES: u16 = 0x100;

impl<'d> Node<'d> {
    /// Queues control messages for as long as there are some and lane 0 has room.
    pub(crate) fn say(&mut self, on_event: &mut Tell<'_, 'd>) {
        while self.lanes.first().is_some_and(|lane| !lane.is_full()) {
            if !self.say_credit() && !self.say_answer() && !self.say_entry(on_event) {
                break;
            }
        }
    }

    /// A control message that is being queued; `entry` is what its slot says. Ends with [`Self::queued`].
    fn queue_control(&mut self, entry: u16) -> Frame<'_> {
        if let Some((lane, slots)) = self.lane_mut(0) {
            if let Some(slot) = slots.get_mut(lane.place(lane.count)) {
                *slot = Slot::new(entry, 0, None);
            }
        }
        let offset = self.lanes.first().map_or(0, |lane| lane.count);
        Frame { buffer: self.data_mut(0, offset), end: 0 }
    }

    /// It has so many bytes.
    fn queued(&mut self, bytes: usize) {
        if let Some((lane, slots)) = self.lane_mut(0) {
            if let Some(slot) = slots.get_mut(lane.place(lane.count)) {
                slot.bytes = bytes as u16;
            }
            lane.count += 1;
        }
    }

    fn say_credit(&mut self) -> bool {
        let Some(index) = self.lanes.iter().position(|lane| lane.owes_credit) else { return false };
        let Some(lane) = self.lanes.get_mut(index) else { return false };
        let (number, granted) = (lane.number, lane.granted());
        lane.owes_credit = false;
        let mut message = self.queue_control(0);
        message.put(&[CREDIT, 1, number]);
        message.put16(granted);
        let bytes = message.end();
        self.queued(bytes);
        true
    }

    #[cfg(feature = "host")]
    fn say_answer(&mut self) -> bool {
        let request = core::mem::take(&mut self.answer);
        if request > 0 {
            let mut message = self.queue_control(0);
            message.put(&[RESULT, request, 0]);
            let bytes = message.end();
            self.queued(bytes);
        }
        request > 0
    }

    #[cfg(not(feature = "host"))]
    #[expect(clippy::unused_self, reason = "hosts answer, devices do not")]
    const fn say_answer(&self) -> bool {
        false
    }

    /// The next thing to be said of the table: topics first, as subscriptions name them.
    fn say_entry(&mut self, on_event: &mut Tell<'_, 'd>) -> bool {
        if !self.has_to_say {
            return false;
        }
        let (mut bit, mut place) = (SAY_TOPIC, 0);
        loop {
            match self.topics.get(place) {
                Some(entry) if entry.is(bit) => break,
                Some(_) => place += 1,
                None if bit == SAY_UNSUB => {
                    self.has_to_say = false;
                    return false;
                }
                None => (bit, place) = (bit << 1, 0),
            }
        }
        let Some(entry) = self.topics.get_mut(place) else { return false };
        entry.bits &= !bit;
        let Entry { name: Some(name), subscription, bits } = *entry else { return true };
        if self.is_host() && bit != SAY_TOPIC {
            return true;
        }
        let overhead = if bit == SAY_TOPIC { 4 } else { 14 };
        let topic = self.topic_at(place);
        if name.len() + overhead > usize::from(self.payload) {
            if let Some(entry) = self.topics.get_mut(place) {
                entry.bits = entry.bits & (RETAIN | FILTER) | UNFIT;
            }
            on_event.tell(self, Event::Result { topic: Some(topic), code: Code::LIMIT, text: b"" });
            return true;
        }
        let request = place as u16 + 1;
        let is_filter = bits & FILTER != 0;
        let (what, first) = match bit {
            SAY_TOPIC => (request, u16::from(TOPIC) | u16::from(bits & RETAIN) << 8),
            SAY_SUB => (0, u16::from(SUB) | request << 8),
            _ => (GOES | request, u16::from(UNSUB)),
        };
        let mut message = self.queue_control(what);
        message.put16(first);
        message.put16(if is_filter { 0 } else { topic.0 });
        if bit == SAY_SUB {
            let wanted = subscription.unwrap_or(&Subscription::PLAIN);
            let flags = u8::from(wanted.retained) | u8::from(wanted.no_echo) << 1;
            message.put(&[flags, wanted.lane_plus_one, wanted.policy, 0]);
            message.put16(wanted.max_rate_hz);
            message.put32(wanted.ttl_ms);
        }
        if is_filter || bit == SAY_TOPIC {
            message.put(name.as_bytes());
        }
        let bytes = message.end();
        self.queued(bytes);
        true
    }

    /// A control message has arrived: the topic of its slot says what that means.
    pub(crate) fn on_said(&mut self, entry: u16) {
        let place = usize::from((entry & 0xFF).wrapping_sub(1));
        if let Some(known) = self.topics.get_mut(place) {
            if entry & GOES == 0 {
                known.bits |= KNOWN;
            } else if known.is(FILTER) && known.subscription.is_none() && !known.is(SAY_UNSUB) {
                *known = Entry::FREE;
            }
        }
    }

    /// A control message of the peer.
    pub(crate) fn on_control(&mut self, frame: &Numbered<'_>, on_event: &mut Tell<'_, 'd>) -> Result<(), Malformed> {
        let Numbered { lane, topic, body, .. } = *frame;
        let (tag, fields) = body.split_first().ok_or(Malformed)?;
        must(*tag == LOST || (lane == 0 && topic == 0))?;
        match *tag {
            TOPIC => {
                let name = fields.get(3..).ok_or(Malformed)?;
                let topic = u16_at(fields, 1);
                must(topic >= self.first_ids().1 && !self.is_own(topic) && !name.is_empty())?;
                on_event.tell(self, Event::Named { topic, name });
            }
            CREDIT => self.on_credit(fields)?,
            LOST => {
                let &[on, reason, _, ..] = fields else { return Err(Malformed) };
                must(fields.len() >= 7 && (lane == 0 || lane == on))?;
                on_event.tell(self, Event::Lost { lane: LaneNumber(on), reason, topic, count: u32_at(fields, 3) });
            }
            CONFIRM => {
                let (count, entries) = fields.split_first().ok_or(Malformed)?;
                must(entries.len() >= usize::from(*count) * 6)?;
            }
            RESULT => {
                let (&[request, code], text) = fields.split_first_chunk().ok_or(Malformed)?;
                let topic = request.checked_sub(1).map(|place| self.topic_at(usize::from(place)));
                on_event.tell(self, Event::Result { topic, code: Code(code), text });
            }
            #[cfg(feature = "host")]
            SUB | UNSUB if self.is_host() => self.answer = fields.first().copied().unwrap_or_default(),
            SUB | UNSUB => return Err(Malformed),
            _ => {}
        }
        Ok(())
    }

    fn on_credit(&mut self, fields: &[u8]) -> Result<(), Malformed> {
        let (count, mut rest) = fields.split_first().ok_or(Malformed)?;
        for _ in 0..*count {
            let (&[number, low, high], behind) = rest.split_first_chunk().ok_or(Malformed)?;
            rest = behind;
            if let Some(lane) = self.find(number) {
                lane.on_credit(u16::from_le_bytes([low, high]));
            }
        }
        Ok(())
    }
}
