//! Messages of other brokers' protocols: a payload between bytes that are the same every time.

use super::check::Expect;
use super::{Fault, NUMBER_BYTES, Receive, Shape};

/// Bytes of a message's front that are kept while it is not complete.
const FRONT_BYTES_MAX: usize = 128;

/// What stands around each payload of one size to one topic.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Envelope {
    /// In front of it, at most 124 bytes.
    pub head: Vec<u8>,
    /// Behind it.
    pub tail: &'static [u8],
}

impl Envelope {
    /// Bytes of a message with a payload of `payload_bytes`.
    pub const fn message_bytes(&self, payload_bytes: usize) -> usize {
        self.head.len() + payload_bytes + self.tail.len()
    }
}

/// A subscriber of enveloped messages: each has to have the head, the next number and the last byte of its place.
#[derive(Debug)]
pub struct Enveloped {
    envelope: Envelope,
    expect: Expect,
    message_bytes: usize,
    last_at: usize,
    /// What may stand between two messages, told apart by its first byte.
    aside: &'static [u8],
    messages: u64,
    seen: usize,
    /// Whether what is not complete yet is `aside`.
    is_aside: bool,
    front: [u8; FRONT_BYTES_MAX],
    last: u8,
}

impl Enveloped {
    /// For messages of `payload_bytes`, published in blocks of `block_messages`.
    pub fn new(envelope: Envelope, payload_bytes: usize, block_messages: u32, aside: &'static [u8]) -> Self {
        assert!(envelope.head.len() + NUMBER_BYTES <= FRONT_BYTES_MAX, "the head is kept with the number behind it");
        let shape = Shape { payload_bytes, topics: 1 };
        Self {
            expect: Expect::new(0, shape, block_messages),
            message_bytes: envelope.message_bytes(payload_bytes),
            last_at: envelope.head.len() + payload_bytes - 1,
            envelope,
            aside,
            messages: 0,
            seen: 0,
            is_aside: false,
            front: [0; FRONT_BYTES_MAX],
            last: 0,
        }
    }

    fn is_good(&mut self, front: &[u8], last: u8) -> bool {
        let Some(number) = front.strip_prefix(self.envelope.head.as_slice()).and_then(<[u8]>::first_chunk) else {
            return false;
        };
        self.expect.is_next(u32::from_le_bytes(*number), last)
    }

    #[cold]
    fn fault(&self, front: &[u8]) -> Fault {
        let shown = String::from_utf8_lossy(&front[..front.len().min(FRONT_BYTES_MAX)]).into_owned();
        Fault(format!("after {} good messages came {shown:?}", self.messages))
    }

    /// Takes bytes up to the end of the message they belong to; returns what is behind it.
    fn keep<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        if let (0, Some(first)) = (self.seen, bytes.first()) {
            self.is_aside = self.aside.first() == Some(first);
        }
        let whole = if self.is_aside { self.aside.len() } else { self.message_bytes };
        let (part, rest) = bytes.split_at(bytes.len().min(whole - self.seen));
        if let Some(place) = self.front.get_mut(self.seen..) {
            let count = place.len().min(part.len());
            place[..count].copy_from_slice(&part[..count]);
        }
        if let Some(&last) = self.last_at.checked_sub(self.seen).and_then(|at| part.get(at)) {
            self.last = last;
        }
        self.seen += part.len();
        if self.seen == whole {
            self.seen = 0;
            let front = self.front;
            let good = if self.is_aside {
                front.starts_with(self.aside)
            } else {
                self.messages += 1;
                self.is_good(&front, self.last)
            };
            if !good {
                return Err(self.fault(&front[..whole.min(FRONT_BYTES_MAX)]));
            }
        }
        Ok(rest)
    }
}

impl Receive for Enveloped {
    fn on_bytes(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            while let (0, Some((message, rest))) = (self.seen, bytes.split_at_checked(self.message_bytes)) {
                if message.first() != self.envelope.head.first() {
                    break;
                }
                let last = message[self.last_at];
                if !self.is_good(message, last) {
                    return Err(self.fault(message));
                }
                self.messages += 1;
                bytes = rest;
            }
            bytes = self.keep(bytes)?;
        }
        Ok(())
    }

    fn messages(&self) -> u64 {
        self.messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Block;

    fn envelope(head: &str) -> Envelope {
        Envelope { head: head.into(), tail: b"\r\n" }
    }

    fn subscriber() -> Enveloped {
        Enveloped::new(envelope("MSG t 1 16\r\n"), 16, 3, b"PING\r\n")
    }

    /// Three messages of one block, a PING before the last.
    fn stream() -> Vec<u8> {
        let delivered = Block::enveloped(&envelope("MSG t 1 16\r\n"), 16, Some(3));
        let (front, last) = delivered.bytes().split_at(2 * 30);
        [front, b"PING\r\n", last].concat()
    }

    #[test]
    fn messages_are_counted_however_the_stream_is_cut_and_what_stands_between_is_not() {
        let stream = stream();
        for step in 1..=stream.len() {
            let mut subscriber = subscriber();
            for part in stream.chunks(step) {
                subscriber.on_bytes(part).expect("good");
            }
            assert_eq!(subscriber.messages(), 3, "in steps of {step}");
        }
    }

    #[test]
    fn a_missing_message_a_wrong_last_byte_and_a_wrong_head_are_faults() {
        assert!(subscriber().on_bytes(&stream()[30..]).is_err(), "the first is missing");
        for at in [0, 3, 27] {
            let mut stream = stream();
            stream[at] ^= 1;
            for step in [7, 96] {
                let mut subscriber = subscriber();
                let fault = stream.chunks(step).find_map(|part| subscriber.on_bytes(part).err());
                assert!(fault.is_some(), "byte {at} in steps of {step}");
            }
        }
    }
}
