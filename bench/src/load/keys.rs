//! Two hundred values that change a thousand times a second, and a reader that takes a trickle of them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use laneway_proto::control::{Body, Sub, Subscribe};
use laneway_proto::frame::credit::{self, CREDIT_FRAME_BYTES_MAX, LaneTotal};
use laneway_proto::frame::lost::Lost;
use laneway_proto::header::{Header, Kind};
use laneway_proto::lane::policy::Policy;
use laneway_proto::limits::{HEADER_BYTES, TOPIC_ID_DYNAMIC_FIRST};

use super::laneway::publisher_of;
use super::link::{Holds, Link, why_closed};
use crate::error::{Error, Result};
use crate::wire::{Fault, Frames, goodbye};

/// Values.
pub const KEYS: usize = 200;
/// Updates of each a second.
pub const UPDATES_HZ: u64 = 1_000;
/// Bytes of one frame: the header, the nanosecond of the update, the number of the update, the key.
pub const FRAME_BYTES: usize = HEADER_BYTES + 16;
/// The lane of values.
const LANE_STATE: u8 = 3;
/// The bytes of its lane that the reader allows to be under way.
pub const CREDIT_BYTES: u64 = 4 * 1024;
/// How often the reader takes its share.
const SIP_EVERY: Duration = Duration::from_millis(10);
const SEQ_AT: usize = 12;

/// What tells the values apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// The conflation key of frames of one topic.
    Key,
    /// A topic each.
    Topic,
}

/// What the reader knows of the values. Times are nanoseconds since the start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// Of each value: when it was set, and the number of that update; 0: never heard of.
    values: Vec<(u64, u32)>,
    /// The oldest age that the newest known value of a key had reached.
    pub oldest_ns: u64,
    /// When the last key was heard of for the first time: topics are declared before.
    pub first_ns: u64,
    /// Messages received.
    pub received: u64,
    /// Messages reported lost.
    pub reported: u64,
    /// Bytes of frames received, which the broker may send anew.
    bytes: u64,
}

impl Known {
    /// Nothing yet.
    pub fn new(keys: usize) -> Self {
        Self { values: vec![(0, 0); keys], oldest_ns: 0, first_ns: 0, received: 0, reported: 0, bytes: 0 }
    }

    /// A value arrived. The one before it was the newest until now.
    pub fn on_value(&mut self, key: usize, set_ns: u64, number: u32, now_ns: u64) -> std::result::Result<(), Fault> {
        let Some(value) = self.values.get_mut(key) else { return Err(Fault(format!("there is no key {key}"))) };
        if number <= value.1 {
            return Err(Fault(format!("update {number} of key {key} came after update {}", value.1)));
        }
        let age_before = match value.1 {
            0 => &mut self.first_ns,
            _ => &mut self.oldest_ns,
        };
        *age_before = (*age_before).max(now_ns.saturating_sub(value.0));
        *value = (set_ns, number);
        self.received += 1;
        Ok(())
    }

    /// The source is about to stop: ages count until now.
    pub fn close(&mut self, now_ns: u64) {
        let known = self.values.iter().filter(|value| value.1 > 0);
        let oldest = known.map(|value| now_ns.saturating_sub(value.0)).max().unwrap_or(0);
        self.oldest_ns = self.oldest_ns.max(oldest);
    }

    /// Keys whose newest known value is update `number`.
    pub fn with_number(&self, number: u32) -> usize {
        self.values.iter().filter(|value| value.1 == number).count()
    }
}

/// Publisher and reader.
#[derive(Debug)]
pub struct Keys {
    publisher: TcpStream,
    reader: TcpStream,
    frames: Frames,
    block: Vec<u8>,
    left: usize,
    start: Instant,
    /// Updates of every key so far.
    pub updates: u32,
    /// What the reader knows.
    pub known: Known,
    bytes_taken: u64,
    bytes_per_s: u64,
    /// What is left of a CREDIT frame that the socket did not take.
    credit: Vec<u8>,
}

impl Keys {
    /// Connects both; the reader takes `bytes_per_s`, and nothing before [`Self::run`].
    pub fn connect(at: SocketAddr, by: By, bytes_per_s: u64) -> Result<Self> {
        let topics = match by {
            By::Key => 1,
            By::Topic => KEYS,
        };
        let names = (0..topics).map(|topic| format!("values/{topic}"));
        let publisher = publisher_of(at, names, Holds::default())?;
        let mut link = Link::open_holding(at, Holds { lane_credit: CREDIT_BYTES, ..Holds::default() })?;
        let policy = u32::from(Policy::Conflate.number());
        let sub = Sub { pattern: "values/+".into(), policy, ..Sub::default() };
        link.request(Body::Subscribe(Subscribe { subs: vec![sub] }))?;
        let (reader, inbox) = link.into_parts();
        for socket in [&publisher, &reader] {
            socket.set_nonblocking(true).map_err(Error::io("making a socket non-blocking"))?;
        }
        let mut keys = Self {
            publisher,
            reader,
            frames: Frames::default(),
            block: block(by),
            left: 0,
            start: Instant::now(),
            updates: 0,
            known: Known::new(KEYS),
            bytes_taken: 0,
            bytes_per_s,
            credit: Vec::new(),
        };
        keys.take(&inbox, 0)?;
        Ok(keys)
    }

    /// Publishes for `span` while the reader takes its trickle.
    pub fn run(&mut self, span: Duration) -> Result<()> {
        self.start = Instant::now();
        let span_ns = span.as_nanos() as u64;
        loop {
            let now_ns = self.now_ns();
            if self.left == 0 && now_ns >= span_ns {
                self.known.close(now_ns);
                return Ok(());
            }
            if self.left == 0 && now_ns >= u64::from(self.updates) * (1_000_000_000 / UPDATES_HZ) {
                self.begin(now_ns);
            }
            self.write()?;
            self.sip()?;
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// The source has stopped: the reader goes on until every last value is there, or nothing comes for `quiet`.
    pub fn drain(&mut self, quiet: Duration) -> Result<()> {
        let mut heard = (self.bytes_taken, Instant::now());
        while heard.1.elapsed() < quiet {
            if self.bytes_taken != heard.0 {
                heard = (self.bytes_taken, Instant::now());
            }
            self.sip()?;
            std::thread::sleep(SIP_EVERY / 10);
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn begin(&mut self, now_ns: u64) {
        self.updates += 1;
        for (frame, place) in self.block.chunks_exact_mut(FRAME_BYTES).zip(0u32..) {
            let seq = (self.updates - 1) * KEYS as u32 + place + 1;
            frame[SEQ_AT..HEADER_BYTES].copy_from_slice(&seq.to_le_bytes());
            frame[HEADER_BYTES..HEADER_BYTES + 8].copy_from_slice(&now_ns.to_le_bytes());
            frame[HEADER_BYTES + 8..HEADER_BYTES + 12].copy_from_slice(&self.updates.to_le_bytes());
        }
        self.left = self.block.len();
    }

    fn write(&mut self) -> Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        match self.publisher.write(&self.block[self.block.len() - self.left..]) {
            Ok(count) => self.left -= count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(Error::Failed(why_closed(&mut self.publisher, &error))),
        }
        Ok(())
    }

    /// Takes what the reader's rate allows by now, in sips of equal size. What it does not use up is not saved for later.
    fn sip(&mut self) -> Result<()> {
        let sip_bytes = self.bytes_per_s * SIP_EVERY.as_millis() as u64 / 1_000;
        let allowed = self.now_ns() / SIP_EVERY.as_nanos() as u64 * sip_bytes;
        if self.bytes_taken + sip_bytes > allowed {
            return Ok(());
        }
        let room = sip_bytes as usize;
        let mut part = vec![0; room];
        match self.reader.read(&mut part) {
            Ok(0) => Err(Error::Failed("the reader was disconnected".into())),
            Ok(count) => {
                self.bytes_taken = (self.bytes_taken + count as u64).max(allowed.saturating_sub(sip_bytes));
                self.take(&part[..count], self.now_ns())?;
                self.give_credit()
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(error) => Err(Error::Failed(format!("the reader: {error}"))),
        }
    }

    /// The broker may send as much again as was taken.
    fn give_credit(&mut self) -> Result<()> {
        if self.credit.is_empty() {
            let total = LaneTotal { lane: LANE_STATE, total: self.known.bytes + CREDIT_BYTES };
            self.credit.extend_from_slice(credit::encode(&[total], &mut [0; CREDIT_FRAME_BYTES_MAX]));
        }
        match self.reader.write(&self.credit) {
            Ok(count) => drop(self.credit.drain(..count)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(Error::Failed(why_closed(&mut self.reader, &error))),
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8], now_ns: u64) -> Result<()> {
        let Self { frames, known, .. } = self;
        let mut each = |header: &Header, front: &[u8]| on_frame(known, header, front, now_ns);
        frames.on_bytes(bytes, &mut each).map_err(|fault| Error::Failed(format!("the reader: {fault}")))
    }
}

fn on_frame(known: &mut Known, header: &Header, front: &[u8], now_ns: u64) -> std::result::Result<(), Fault> {
    let body = front.get(HEADER_BYTES..).unwrap_or_default();
    match header.kind {
        Kind::PUB => {
            let Some(&[s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, k0, k1, k2, k3]) = body.first_chunk() else {
                return Err(Fault(format!("a value of {} bytes", body.len())));
            };
            let key = u32::from_le_bytes([k0, k1, k2, k3]) as usize;
            let set_ns = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
            known.bytes += u64::from(header.len);
            known.on_value(key, set_ns, u32::from_le_bytes([n0, n1, n2, n3]), now_ns)
        }
        Kind::LOST => {
            let lost = Lost::decode(header, body).map_err(|error| Fault(format!("a LOST frame: {error}")))?;
            known.reported += u64::from(lost.count);
            Ok(())
        }
        Kind::CTRL => goodbye(front).map_or(Ok(()), |text| Err(Fault(text))),
        other => Err(Fault(format!("nobody asked for a frame of kind {:#04x}", other.0))),
    }
}

/// One frame a key.
fn block(by: By) -> Vec<u8> {
    let mut bytes = Vec::new();
    for key in 0..KEYS as u32 {
        let (topic, ckey) = match by {
            By::Key => (0, key as u16 + 1),
            By::Topic => (key, 0),
        };
        let header = Header {
            topic: TOPIC_ID_DYNAMIC_FIRST + topic,
            lane: LANE_STATE,
            ckey,
            ..Header::new(Kind::PUB, FRAME_BYTES - HEADER_BYTES)
        };
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(&[0; 12]);
        bytes.extend_from_slice(&key.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ages_until_the_next_one_of_its_key_arrives() {
        let mut known = Known::new(2);
        known.on_value(0, 100, 1, 150).expect("new");
        known.on_value(1, 100, 1, 160).expect("new");
        assert_eq!((known.oldest_ns, known.first_ns), (0, 160), "before the first one there is nothing that could age");
        known.on_value(0, 900, 9, 1_000).expect("newer");
        assert_eq!(known.oldest_ns, 900, "it was set at 100 and replaced at 1,000");
        known.close(1_050);
        assert_eq!(known.oldest_ns, 950, "nothing newer of key 1 had come by then");
        assert_eq!((known.with_number(9), known.with_number(1), known.received), (1, 1, 3));
    }

    #[test]
    fn an_older_value_after_a_newer_one_and_an_unknown_key_are_faults() {
        let mut known = Known::new(1);
        known.on_value(0, 5, 2, 6).expect("new");
        assert!(known.on_value(0, 4, 1, 7).is_err());
        assert!(known.on_value(0, 5, 2, 7).is_err());
        assert!(known.on_value(1, 5, 3, 7).is_err());
    }

    #[test]
    fn a_block_is_one_frame_of_32_bytes_for_each_key() {
        for by in [By::Key, By::Topic] {
            let mut seen = Vec::new();
            let mut each = |header: &Header, front: &[u8]| {
                seen.push((header.topic, header.ckey, front.len()));
                Ok(())
            };
            Frames::default().on_bytes(&block(by), &mut each).expect("frames");
            assert_eq!(seen.len(), KEYS);
            seen.dedup();
            assert_eq!(seen.len(), KEYS, "no two alike");
            assert!(seen.iter().all(|frame| frame.2 == 32));
        }
    }
}
