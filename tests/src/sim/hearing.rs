//! What clients hear: bytes from the broker, taken apart and put together again.

use std::collections::BTreeMap;

use laneway_proto::control::{Body, Control};
use laneway_proto::frame::batch::Messages;
use laneway_proto::frame::extensions::{Extensions, Frag};
use laneway_proto::frame::fragment::{Assembly, Progress};
use laneway_proto::frame::lost::Lost;
use laneway_proto::frame::ping::Pong;
use laneway_proto::framing::length::{Front, front};
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::limits::{FRAME_BYTES_MAX, HEADER_BYTES, PREFACE_BYTES};
use laneway_proto::session::handshake::PREFACE;

use super::losses::may_lose;

/// A message as a subscriber gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Name of its topic.
    pub topic: String,
    /// Its lane.
    pub lane: u8,
    /// The publisher's number of it.
    pub seq: u32,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// It was kept, and is sent to a new subscriber.
    pub retained: bool,
}

/// Something the broker said.
#[derive(Clone, PartialEq, Debug)]
pub enum Heard {
    /// A control message other than a declaration.
    Control(Box<Body>, u32),
    /// A message.
    Message(Message),
    /// Messages of a topic and lane are lost; `None`: of several topics.
    Lost(Option<String>, Lost),
    /// The answer to a PING, by its `t0`.
    Pong(u64),
}

/// A fragmented message that is not whole.
#[derive(Debug)]
struct Half {
    assembly: Assembly,
    payload: Vec<u8>,
}

/// The receiving half of one session.
#[derive(Debug, Default)]
pub struct Hearing {
    bytes: Vec<u8>,
    greeted: bool,
    topics: BTreeMap<u32, String>,
    halves: BTreeMap<(u32, u8, u32), Half>,
}

impl Hearing {
    /// Takes bytes that arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What the bytes so far say; an error is a promise the broker broke.
    pub fn listen(&mut self) -> Result<Vec<Heard>, String> {
        let mut heard = Vec::new();
        let mut at = 0;
        if !self.greeted {
            let Some(preface) = self.bytes.get(..PREFACE_BYTES) else { return Ok(heard) };
            if preface != PREFACE {
                return Err(format!("the broker's preface is {preface:x?}"));
            }
            self.greeted = true;
            at = PREFACE_BYTES;
        }
        let bytes = std::mem::take(&mut self.bytes);
        loop {
            match front(&bytes[at..], FRAME_BYTES_MAX) {
                Ok(Front::Whole(header)) => {
                    let end = at + usize::from(header.len);
                    self.frame(&header, &bytes[at + HEADER_BYTES..end], &mut heard)?;
                    at = end;
                }
                Ok(Front::Partial(_) | Front::Short) => break,
                Err(error) => return Err(format!("the broker sent something that is no frame: {error}")),
            }
        }
        self.bytes = bytes[at..].to_vec();
        Ok(heard)
    }

    /// Whether the last bytes are the start of something.
    pub fn is_incomplete(&self) -> bool {
        !self.bytes.is_empty()
    }

    fn frame(&mut self, header: &Header, body: &[u8], heard: &mut Vec<Heard>) -> Result<(), String> {
        match header.kind {
            Kind::CTRL => {
                let control = Control::decode_body(body).map_err(|error| format!("a control message: {error}"))?;
                match control.body {
                    Some(Body::DeclareTopics(declared)) => {
                        self.topics.extend(declared.topics.into_iter().map(|topic| (topic.id, topic.name)));
                    }
                    Some(body) => heard.push(Heard::Control(Box::new(body), control.id)),
                    None => return Err("a control message without a body".into()),
                }
            }
            Kind::PONG => {
                let pong = Pong::decode(body).map_err(|error| format!("a PONG: {error}"))?;
                heard.push(Heard::Pong(pong.t0));
            }
            Kind::LOST => {
                let lost = Lost::decode(header, body).map_err(|error| format!("a LOST: {error}"))?;
                let topic = match header.topic {
                    0 => None,
                    id => Some(self.topics.get(&id).cloned().ok_or("a LOST of a topic that was never declared")?),
                };
                heard.push(Heard::Lost(topic, lost));
            }
            Kind::PUB | Kind::BATCH => self.data(header, body, heard)?,
            other => return Err(format!("a frame of kind {:#x}", other.0)),
        }
        Ok(())
    }

    fn data(&mut self, header: &Header, body: &[u8], heard: &mut Vec<Heard>) -> Result<(), String> {
        let topic = self.topics.get(&header.topic).cloned();
        let topic = topic.ok_or_else(|| format!("topic id {} was used before it was declared", header.topic))?;
        let (extensions, payload) =
            Extensions::decode(header.flags, body).map_err(|error| format!("extensions: {error}"))?;
        let again = header.flags.has(Flags::RETX);
        let retained = again && extensions.xhdr.is_some_and(|xhdr| xhdr.options().retain);
        let message = |seq, payload: &[u8]| {
            let (topic, payload) = (topic.clone(), payload.to_vec());
            Heard::Message(Message { topic, lane: header.lane, seq, payload, retained })
        };
        if header.kind == Kind::BATCH {
            let messages = Messages::new(payload).map_err(|error| format!("a batch: {error}"))?;
            for (place, payload) in messages.enumerate() {
                let payload = payload.map_err(|error| format!("a batch: {error}"))?;
                heard.push(message(header.seq + place as u32, payload));
            }
        } else if let Some(frag) = extensions.frag {
            let src = extensions.src.ok_or("a fragment without a source")?;
            if let Some(whole) = self.fragment((src.origin, header.lane, header.topic), frag, payload)? {
                heard.push(message(src.seq, &whole));
            }
        } else {
            heard.push(message(header.seq, payload));
        }
        Ok(())
    }

    /// The whole message, with its last fragment.
    fn fragment(&mut self, of: (u32, u8, u32), frag: Frag, payload: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let broken = |fault| format!("fragment {} of {}: {fault}", frag.index, frag.count);
        if frag.index == 0 {
            let assembly = Assembly::start(frag, payload.len(), u32::MAX).map_err(broken)?;
            // A publisher that was cut off in the middle may come back: its message starts anew.
            self.halves.insert(of, Half { assembly, payload: payload.to_vec() });
            return Ok(None);
        }
        // Who subscribes in the middle of a message hears its end only.
        let Some(half) = self.halves.get_mut(&of) else { return Ok(None) };
        let progress = match half.assembly.on_fragment(frag, payload.len()) {
            Ok(progress) => progress,
            // What a queue dropped in the middle of it is reported.
            Err(_) if may_lose(of.1) => {
                self.halves.remove(&of);
                return Ok(None);
            }
            Err(fault) => return Err(broken(fault)),
        };
        half.payload.extend_from_slice(payload);
        match progress {
            Progress::Partial => Ok(None),
            Progress::Complete => Ok(self.halves.remove(&of).map(|half| half.payload)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::speech;
    use laneway_proto::frame::extensions::Src;

    #[test]
    fn every_way_to_publish_is_heard_however_it_is_cut() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(speech::declare(70_000, "a/b"));
        bytes.extend(speech::publish(70_000, 2, 1, b"one"));
        bytes.extend(speech::publish_batch(70_000, 2, 2, &[b"two".to_vec(), b"three".to_vec()]));
        bytes.extend(speech::publish_cut(70_000, Src { origin: 5, seq: 4 }, 2, b"four and more", 6));
        for step in [1, 7, 1_000] {
            let mut hearing = Hearing::default();
            let mut heard = Vec::new();
            for part in bytes.chunks(step) {
                hearing.feed(part);
                heard.extend(hearing.listen().expect("valid"));
            }
            let got: Vec<(u32, &[u8])> = heard
                .iter()
                .filter_map(|heard| match heard {
                    Heard::Message(message) => Some((message.seq, &message.payload[..])),
                    Heard::Control(..) | Heard::Pong(_) | Heard::Lost(..) => None,
                })
                .collect();
            assert_eq!(got, [(1, &b"one"[..]), (2, b"two"), (3, b"three"), (4, b"four and more")]);
        }
    }

    #[test]
    fn an_undeclared_topic_is_a_broken_promise() {
        let mut hearing = Hearing::default();
        hearing.feed(&PREFACE);
        hearing.feed(&speech::publish(70_000, 2, 1, b"one"));
        assert!(hearing.listen().is_err());
    }
}
