//! Control messages: what is declared to the host, and what the host says.

use crate::config::{Lane as LaneNumber, Subscription};
use crate::event::{Code, Event};
use crate::lane::Slot;
use crate::limits::LANES_MAX;
use crate::link::{u16_at, u32_at};
use crate::node::{Handler, Node};
use crate::receive::{Malformed, Numbered, must};
use crate::topics::{Entry, FILTER, KNOWN, RETAIN, SAY_SUB, SAY_TOPIC, SAY_UNSUB, UNFIT};

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
    pub(crate) fn say(&mut self, on_event: Handler<'_, 'd>) {
        while self.lanes.first().is_some_and(|lane| !lane.is_full()) {
            if !self.say_credit() && !self.say_answer() && !self.say_entry(on_event) {
                break;
            }
        }
    }

    /// Queues one message; `entry` is what becomes of its slot's topic.
    fn queue_control(&mut self, entry: u16, parts: &[&[u8]]) {
        let Some(lane) = self.lanes.first_mut() else { return };
        lane.count += 1;
        let offset = lane.count - 1;
        self.fill(0, offset, Slot::new(entry, 0, None), parts);
    }

    fn say_credit(&mut self) -> bool {
        let mut entries = [[0; 3]; LANES_MAX];
        let mut count = 0;
        for lane in self.lanes.iter_mut().filter(|lane| lane.owes_credit) {
            lane.owes_credit = false;
            let Some(entry) = entries.get_mut(count) else { break };
            let [low, high] = lane.granted().to_le_bytes();
            (*entry, count) = ([lane.number, low, high], count + 1);
        }
        if count > 0 {
            let entries = entries.get(..count).unwrap_or_default().as_flattened();
            self.queue_control(0, &[&[CREDIT, count as u8], entries]);
        }
        count > 0
    }

    #[cfg(feature = "host")]
    fn say_answer(&mut self) -> bool {
        let request = core::mem::take(&mut self.answer);
        if request > 0 {
            self.queue_control(0, &[&[RESULT, request, 0]]);
        }
        request > 0
    }

    #[cfg(not(feature = "host"))]
    #[expect(clippy::unused_self, reason = "hosts answer, devices do not")]
    const fn say_answer(&self) -> bool {
        false
    }

    /// The next thing to be said of the table: topics first, as subscriptions name them.
    fn say_entry(&mut self, on_event: Handler<'_, 'd>) -> bool {
        if !self.has_to_say {
            return false;
        }
        let place = [SAY_TOPIC, SAY_SUB, SAY_UNSUB]
            .into_iter()
            .find_map(|bit| Some((bit, self.topics.iter().position(|entry| entry.is(bit))?)));
        let Some((bit, place)) = place else {
            self.has_to_say = false;
            return false;
        };
        let Some(entry) = self.topics.get_mut(place) else { return false };
        entry.bits &= !bit;
        let Entry { name: Some(name), subscription, bits } = *entry else { return true };
        let is_filter = bits & FILTER != 0;
        let (id, filter) = if is_filter { (0, name) } else { (self.topic_at(place).0, "") };
        let ([low, high], request) = (id.to_le_bytes(), place as u8 + 1);
        let overhead = if bit == SAY_TOPIC { 4 } else { 14 };
        if name.len() + overhead > usize::from(self.payload) {
            let topic = self.topic_at(place);
            if let Some(entry) = self.topics.get_mut(place) {
                entry.bits = entry.bits & (RETAIN | FILTER) | UNFIT;
            }
            on_event(self, Event::Result { topic: Some(topic), code: Code::LIMIT, text: b"" });
        } else if bit == SAY_TOPIC {
            self.queue_control(u16::from(request), &[&[TOPIC, bits & RETAIN, low, high], name.as_bytes()]);
        } else if bit == SAY_UNSUB {
            self.queue_control(GOES | u16::from(request), &[&[UNSUB, 0, low, high], filter.as_bytes()]);
        } else {
            let wanted = subscription.unwrap_or(&Subscription::PLAIN);
            let flags = u8::from(wanted.retained) | u8::from(wanted.no_echo) << 1;
            let head = [SUB, request, low, high, flags, wanted.lane_plus_one, wanted.policy, 0];
            let (rate, ttl) = (wanted.max_rate_hz.to_le_bytes(), wanted.ttl_ms.to_le_bytes());
            self.queue_control(0, &[&head, &rate, &ttl, filter.as_bytes()]);
        }
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
    pub(crate) fn on_control(&mut self, frame: &Numbered<'_>, on_event: Handler<'_, 'd>) -> Result<(), Malformed> {
        let Numbered { lane, topic, body, .. } = *frame;
        let (tag, fields) = body.split_first().ok_or(Malformed)?;
        must(*tag == LOST || (lane == 0 && topic == 0))?;
        match *tag {
            TOPIC => {
                let name = fields.get(3..).ok_or(Malformed)?;
                let topic = u16_at(fields, 1);
                must(topic >= self.first_ids().1 && !self.is_own(topic) && !name.is_empty())?;
                on_event(self, Event::Named { topic, name });
            }
            CREDIT => self.on_credit(fields)?,
            LOST => {
                let &[on, reason, _, ..] = fields else { return Err(Malformed) };
                must(fields.len() >= 7 && (lane == 0 || lane == on))?;
                on_event(self, Event::Lost { lane: LaneNumber(on), reason, topic, count: u32_at(fields, 3) });
            }
            CONFIRM => {
                let (count, entries) = fields.split_first().ok_or(Malformed)?;
                must(entries.len() >= usize::from(*count) * 6)?;
            }
            RESULT => {
                let (&[request, code], text) = fields.split_first_chunk().ok_or(Malformed)?;
                let topic = request.checked_sub(1).map(|place| self.topic_at(usize::from(place)));
                on_event(self, Event::Result { topic, code: Code(code), text });
            }
            #[cfg(feature = "host")]
            SUB | UNSUB if self.is_host() => self.answer = fields.first().copied().unwrap_or_default(),
            SUB | UNSUB => return Err(Malformed),
            _ => {}
        }
        Ok(())
    }

    fn on_credit(&mut self, fields: &[u8]) -> Result<(), Malformed> {
        let (count, entries) = fields.split_first().ok_or(Malformed)?;
        must(entries.len() >= usize::from(*count) * 3)?;
        for entry in entries.chunks_exact(3).take(usize::from(*count)) {
            let number = entry.first().copied().unwrap_or_default();
            if let Some(lane) = self.index_of(number).and_then(|index| self.lanes.get_mut(index)) {
                lane.on_credit(u16_at(entry, 1));
            }
        }
        Ok(())
    }
}
