//! Walks the bytes that a subscriber receives, however they were cut, and checks every unit.

use std::fmt;

use laneway_proto::control::{Body, Control};
use laneway_proto::framing::length::{Front, front};
use laneway_proto::header::Kind;
use laneway_proto::limits::{FRAME_BYTES_MAX, HEADER_BYTES};

use super::check::{HEAD_BYTES_MAX, Units};

/// A delivery that was not what it should be. It ends the run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault(pub String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wrong delivery: {}", self.0)
    }
}

/// Takes what one subscriber receives.
pub trait Receive {
    /// Checks the next bytes of the stream.
    fn on_bytes(&mut self, bytes: &[u8]) -> Result<(), Fault>;

    /// Messages received completely.
    fn messages(&self) -> u64;
}

/// Walks units of one framing.
#[derive(Debug)]
pub struct Walk<U> {
    units: U,
    messages: u64,
    /// Bytes seen of a unit that is not complete, and its front.
    partial_bytes: usize,
    partial_front: [u8; HEAD_BYTES_MAX],
}

impl<U: Units> Walk<U> {
    /// Starts at the front of a unit.
    pub const fn new(units: U) -> Self {
        Self { units, messages: 0, partial_bytes: 0, partial_front: [0; HEAD_BYTES_MAX] }
    }

    /// Keeps the front of a unit that goes on in the next bytes.
    fn keep(&mut self, bytes: &[u8]) {
        if let Some(place) = self.partial_front.get_mut(self.partial_bytes..) {
            let count = place.len().min(bytes.len());
            place[..count].copy_from_slice(&bytes[..count]);
        }
        self.partial_bytes += bytes.len();
    }

    /// Completes the unit that began in earlier bytes; returns what is behind it.
    fn complete<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        let unit_bytes = loop {
            let known = self.partial_bytes.min(HEAD_BYTES_MAX);
            match (self.units.unit_bytes(&self.partial_front[..known]), bytes.split_first_chunk::<1>()) {
                (Some(unit_bytes), _) => break unit_bytes,
                (None, Some((one, rest))) => {
                    self.keep(one);
                    bytes = rest;
                }
                (None, None) => return Ok(bytes),
            }
        };
        let missing = unit_bytes - self.partial_bytes;
        let (head, rest) = bytes.split_at(missing.min(bytes.len()));
        self.keep(head);
        if let (true, Some(&last)) = (head.len() == missing, head.last()) {
            let front_bytes = self.partial_bytes.min(HEAD_BYTES_MAX);
            let front = self.partial_front;
            self.partial_bytes = 0;
            match self.units.check(&front[..front_bytes], last) {
                Some(messages) => self.messages += u64::from(messages),
                None => return Err(self.fault(&front[..front_bytes])),
            }
        }
        Ok(rest)
    }

    #[cold]
    fn fault(&self, unit: &[u8]) -> Fault {
        if let Some(text) = goodbye(unit) {
            return Fault(text);
        }
        let shown = &unit[..unit.len().min(HEAD_BYTES_MAX)];
        let after = self.messages;
        let step = self.units.expect().next();
        Fault(format!("after {after} good messages, before number {step}, came a frame that starts {shown:02x?}"))
    }
}

impl<U: Units> Receive for Walk<U> {
    fn on_bytes(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut rest = if self.partial_bytes > 0 { self.complete(bytes)? } else { bytes };
        let mut messages = 0;
        while let Some((unit, behind)) = self.units.unit_bytes(rest).and_then(|bytes| rest.split_at_checked(bytes)) {
            let Some(count) = unit.last().and_then(|&last| self.units.check(unit, last)) else {
                self.messages += messages;
                return Err(self.fault(rest));
            };
            messages += u64::from(count);
            rest = behind;
        }
        self.messages += messages;
        if !rest.is_empty() {
            self.keep(rest);
        }
        Ok(())
    }

    fn messages(&self) -> u64 {
        self.messages
    }
}

/// The text of a Goodbye or Reject frame at the front of `bytes`.
pub fn goodbye(bytes: &[u8]) -> Option<String> {
    let Ok(Front::Whole(header)) = front(bytes, FRAME_BYTES_MAX) else { return None };
    if header.kind != Kind::CTRL {
        return None;
    }
    match Control::decode_body(bytes.get(HEADER_BYTES..usize::from(header.len))?).ok()?.body? {
        Body::Goodbye(goodbye) => Some(format!("the broker said goodbye ({}): {}", goodbye.code, goodbye.reason)),
        Body::Reject(reject) => Some(format!("the broker refused ({}): {}", reject.code, reject.reason)),
        Body::Hello(_)
        | Body::Welcome(_)
        | Body::DeclareTopics(_)
        | Body::Subscribe(_)
        | Body::Unsubscribe(_)
        | Body::Resume(_)
        | Body::PeerUpdate(_)
        | Body::StatsRequest(_)
        | Body::Stats(_)
        | Body::Result(_) => None,
    }
}
