//! From the broker to the device: what the frames of a stream link say, in messages of the line.

use laneway_proto::control::{self, Body};
use laneway_proto::frame::batch::Messages;
use laneway_proto::frame::extensions::Extensions;
use laneway_proto::frame::lost::{LossReason, Lost};
use laneway_proto::framing::length::{self, Front};
use laneway_proto::header::{Flags, Header, Kind, seq_after};
use laneway_proto::lane::repeats::Verdict;
use laneway_proto::limits::{FRAME_BYTES_MAX, HEADER_BYTES, PREFACE_BYTES, TOPIC_BYTES_MAX};
use laneway_proto::serial::control::Control;
use laneway_proto::serial::frame::SerialKind;
use laneway_proto::serial::link::Outcome;

use super::{Count, Desk, Heard, Knows, LINE_LANES, Message, REPEATS_PLACES, Repeats};

/// Bytes of a control message that the broker says: a TOPIC with the longest name.
const CONTROL_BYTES_MAX: usize = TOPIC_BYTES_MAX + 8;
/// Messages of a lane before which no more reports are queued: a device that is told of so much reads none of it.
const REPORTS_MAX: usize = 8_192;
/// Bytes of a RESULT without its text.
const RESULT_BYTES: usize = 3;
/// The tag of RESULT.
const TAG_RESULT: u8 = 7;
/// The lane of control messages.
const CONTROL: u8 = 0;

impl Desk {
    /// Whole frames that were taken from the outbox; messages of the lane `without` are dropped.
    pub(super) fn take_pulled(&mut self, pulled: &mut Vec<u8>, without: Option<u8>) {
        let mut rest = &pulled[..];
        if !self.greeted && rest.len() >= PREFACE_BYTES {
            self.greeted = true;
            rest = &rest[PREFACE_BYTES..];
        }
        while let Ok(Front::Whole(header)) = length::front(rest, FRAME_BYTES_MAX) {
            let (frame, behind) = rest.split_at(usize::from(header.len));
            rest = behind;
            if without == Some(header.lane) {
                self.note_taken(&header, 0, true);
            } else {
                self.on_down(&header, &frame[HEADER_BYTES..]);
            }
        }
        debug_assert!(rest.is_empty(), "an outbox gives whole frames");
        pulled.clear();
    }

    fn on_down(&mut self, header: &Header, body: &[u8]) {
        match header.kind {
            Kind::PUB | Kind::BATCH => self.on_data(header, body),
            Kind::LOST => {
                self.note_taken(header, 0, false);
                if let Ok(lost) = Lost::decode(header, body) {
                    let topic = self.on_line(lost.topic).unwrap_or_default();
                    self.push_lost(lost.lane, topic, lost.reason, lost.count);
                }
            }
            Kind::CTRL => {
                if let Ok(control) = control::Control::decode_body(body) {
                    self.on_broker_says(control);
                }
            }
            _ => {}
        }
    }

    fn on_data(&mut self, header: &Header, body: &[u8]) {
        let lane = header.lane;
        let topic = self.on_line(header.topic);
        let (Ok((extensions, payload)), Some(topic)) = (Extensions::decode(header.flags, body), topic) else {
            self.note_taken(header, 0, true);
            return;
        };
        if extensions.frag.is_some_and(|frag| frag.index == 0) {
            self.push_lost(lane, topic, LossReason::Overflow, 1);
        }
        if extensions.frag.is_some() {
            // More than any device takes.
            self.note_taken(header, 0, true);
            return;
        }
        let messages: Vec<&[u8]> = if header.kind == Kind::BATCH {
            Messages::new(payload).into_iter().flatten().flatten().collect()
        } else {
            vec![payload]
        };
        match self.verdict(header, &extensions, messages.len() as u32) {
            Verdict::First => {
                let frame = self.note_taken(header, messages.len() as u32, false);
                messages.into_iter().for_each(|message| self.push(lane, topic, message, frame));
            }
            // The device has it.
            Verdict::Repeated => drop(self.note_taken(header, 0, false)),
            Verdict::Late => drop(self.note_taken(header, 0, true)),
        }
    }

    /// Whether messages are some that came before: only those that are to be delivered come again, and what came in one
    /// frame comes again in one. Last values are told anew.
    fn verdict(&mut self, header: &Header, extensions: &Extensions<'_>, messages: u32) -> Verdict {
        let asked = extensions.receivers_wanted() > 0 && !header.flags.has(Flags::RETX);
        let Some(src) = extensions.src.filter(|_| asked) else { return Verdict::First };
        let ordered = self.facts.ordered & 1 << header.lane != 0;
        let places = || Repeats::new(vec![Heard::default(); REPEATS_PLACES]);
        let repeats = self.repeats.get_or_insert_with(places);
        let mut sights =
            (0..messages).map(|ahead| repeats.on_message(src.origin, header.lane, seq_after(src.seq, ahead), ordered));
        let first = sights.next().unwrap_or(Verdict::First);
        sights.for_each(drop);
        first
    }

    /// A frame of a lane was taken from the outbox. Returns its number there.
    fn note_taken(&mut self, header: &Header, messages: u32, lost: bool) -> u64 {
        let known = header.kind.is_data() || header.kind == Kind::LOST;
        let fates = self.fates.get_mut(usize::from(header.lane)).filter(|_| known);
        fates.map_or(0, |fates| fates.on_taken(messages, lost))
    }

    /// How far a lane has come, once for each that has.
    pub(super) fn poll_count(&mut self) -> Option<Count> {
        let lanes = (1..LINE_LANES as u8).filter(|lane| self.facts.reliable & 1 << lane != 0);
        lanes.into_iter().find_map(|lane| self.fates[usize::from(lane)].poll(lane))
    }

    /// The id on the line of one of the broker's. The device is told of a new one, ahead of what is on it.
    fn on_line(&mut self, id: u32) -> Option<u16> {
        let (topic, name) = self.topics.on_line(id)?;
        if let Some(name) = name {
            let control = Control::Topic { topic, retain: false, name: name.as_bytes() };
            self.push_control(&control, 0, Some(topic));
        }
        Some(topic)
    }

    fn on_broker_says(&mut self, control: control::Control) {
        match control.body {
            Some(Body::DeclareTopics(declared)) => {
                declared.topics.iter().for_each(|topic| self.topics.told(topic.id, &topic.name));
            }
            Some(Body::Result(result)) if control.id > 0 => {
                self.push_result(control.id as u8, result.code as u8, result.text.as_bytes());
            }
            Some(Body::Goodbye(goodbye)) => self.goodbye = Some(goodbye.code as u8),
            Some(Body::Reject(reject)) => self.goodbye = Some(reject.code as u8),
            Some(_) | None => {}
        }
    }

    /// Answers a SUB, an UNSUB, or a TOPIC with a name that may not be used.
    pub(super) fn push_result(&mut self, request: u8, code: u8, text: &[u8]) {
        let text = &text[..text.len().min(TOPIC_BYTES_MAX)];
        self.push_control(&Control::Result { request, code, text }, 0, None);
    }

    /// Tells the device of messages that will not come: in their place where all others arrive.
    fn push_lost(&mut self, lane: u8, topic: u16, reason: LossReason, count: u32) {
        if usize::from(lane) >= LINE_LANES || lane == CONTROL {
            return;
        }
        let place = if self.facts.reliable & 1 << lane != 0 { lane } else { CONTROL };
        if self.queues[usize::from(place)].len() >= REPORTS_MAX {
            return;
        }
        let mut bytes = vec![0; CONTROL_BYTES_MAX];
        let written = Control::Lost { lane, reason, count }.encode(&mut bytes);
        bytes.truncate(written.unwrap_or_default());
        self.queues[usize::from(place)].push_back(Message {
            kind: SerialKind::Ctrl,
            lane: place,
            topic,
            bytes,
            binds: None,
            frame: 0,
        });
        self.ready |= 1 << place;
    }

    pub(super) fn push_control(&mut self, control: &Control<'_>, topic: u16, binds: Option<u16>) {
        let mut bytes = vec![0; CONTROL_BYTES_MAX];
        let written = control.encode(&mut bytes);
        bytes.truncate(written.unwrap_or_default());
        self.queues[usize::from(CONTROL)].push_back(Message {
            kind: SerialKind::Ctrl,
            lane: CONTROL,
            topic,
            bytes,
            binds,
            frame: 0,
        });
        self.ready |= 1 << CONTROL;
    }

    fn push(&mut self, lane: u8, topic: u16, message: &[u8], frame: u64) {
        if let Some(queue) = self.queues.get_mut(usize::from(lane)) {
            let (kind, bytes) = (SerialKind::Pub, message.to_vec());
            queue.push_back(Message { kind, lane, topic, bytes, binds: None, frame });
            self.ready |= 1 << lane;
        }
    }

    /// The next message of a lane, unless it has to wait until the device knows its topic.
    pub(super) fn pop(&mut self, lane: u8) -> Option<Message> {
        let queue = self.queues.get_mut(usize::from(lane))?;
        while let Some(front) = queue.front() {
            if lane == CONTROL || front.topic == 0 {
                break;
            }
            match self.topics.knows(front.topic) {
                Knows::Yes => break,
                Knows::NotYet => {
                    self.waits |= 1 << lane;
                    return None;
                }
                Knows::Never => {
                    self.fates[usize::from(lane)].on_settled(front.frame, true);
                    queue.pop_front();
                }
            }
        }
        queue.pop_front()
    }

    /// The link has no more use for a message.
    pub(super) fn on_finished(&mut self, mut message: Message, outcome: Outcome) {
        let too_large = match outcome {
            Outcome::TooLarge => true,
            Outcome::Arrived | Outcome::Sent => false,
            // Of a session that is over.
            Outcome::Maybe => return,
        };
        self.fates[usize::from(message.lane)].on_settled(message.frame, too_large);
        if let Some(id) = message.binds {
            self.topics.on_told(id, if too_large { Knows::Never } else { Knows::Yes });
            self.ready |= std::mem::take(&mut self.waits);
        } else if too_large && message.kind == SerialKind::Pub {
            self.push_lost(message.lane, message.topic, LossReason::Overflow, 1);
        } else if too_large && message.bytes.first() == Some(&TAG_RESULT) && message.bytes.len() > RESULT_BYTES {
            message.bytes.truncate(RESULT_BYTES);
            self.queues[usize::from(CONTROL)].push_front(message);
            self.ready |= 1 << CONTROL;
        }
    }
}
