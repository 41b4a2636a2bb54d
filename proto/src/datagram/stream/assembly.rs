//! Messages on their way back together, and into the form that they have in a stream: one frame if they fit, fragments as
//! streams know them otherwise. Of reliable lanes what is complete from the front goes on at once.

use alloc::vec::Vec;

use super::super::limits::{PARTIAL_MESSAGES_MAX, PARTIAL_MS_MIN};
use super::cut::frag_at;
use crate::frame::extensions::{Extensions, Frag, Src};
use crate::frame::fragment::Cutter;
use crate::header::{Flags, Header, Kind, seq_after};
use crate::lane::kind::LaneKind;
use crate::lane::sequencer::forward;
use crate::limits::{EXTENSION_BYTES, FRAGMENT_BYTES_STREAM, FRAME_BYTES_MAX, HEADER_BYTES, MESSAGE_BYTES_MAX_CEILING};
use crate::time::{Duration, Instant};

/// Bytes of incomplete messages of a session at most.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// A frame for the owner's stream.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) header: Header,
    pub(super) body: Vec<u8>,
    /// The number of the message's first fragment.
    pub(super) number: u32,
    /// Bytes that the peer has spent of its credit.
    pub(super) counted: u64,
}

/// Which message a fragment belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Name {
    Source(Src),
    First(u32),
}

#[derive(Debug)]
struct Half {
    lane: u8,
    name: Name,
    /// Number of its first fragment, if its numbers follow one another; else of the one that arrived first.
    number: u32,
    header: Header,
    /// Extensions without FRAG.
    front: Vec<u8>,
    frag: Frag,
    /// Payload bytes of every fragment but the last.
    step: Option<usize>,
    bytes: Vec<u8>,
    got: Vec<u64>,
    left: u16,
    /// Fragments that are there from the front on, and bytes that went on.
    prefix: u16,
    gone: usize,
    counted: u64,
    touched: Instant,
}

/// The incomplete messages of a session.
#[derive(Debug, Default)]
pub(super) struct Assemblies {
    halves: Vec<Half>,
    bytes: usize,
}

impl Assemblies {
    /// A fragment arrived; gives what can go on to `done` and adds to `dropped` the credit of what was given up. `None`: the
    /// peer sends nonsense, or asks for too much memory.
    pub(super) fn on_fragment(
        &mut self,
        now: Instant,
        kind: LaneKind,
        header: &Header,
        body: &[u8],
        done: &mut impl FnMut(Whole),
        dropped: &mut u64,
    ) -> Option<()> {
        let (extensions, payload) = Extensions::decode(header.flags, body).ok()?;
        let frag = extensions.frag?;
        let first = before(header.seq, u32::from(frag.index));
        let name = extensions.src.map_or(Name::First(first), Name::Source);
        let place = self.halves.iter().position(|half| (half.lane, half.name) == (header.lane, name));
        let place = match place {
            Some(place) => place,
            None => {
                if !kind.is_reliable() {
                    self.make_room(now, header.lane, dropped);
                }
                let front = &body[..body.len() - payload.len()];
                self.begin(now, header, frag, name, first, front)?
            }
        };
        let half = &mut self.halves[place];
        if (half.frag.count, half.frag.total_len) != (frag.count, frag.total_len) {
            return None;
        }
        let grown = half.take(now, frag, payload, header)?;
        self.bytes += grown;
        if self.bytes > BYTES_MAX {
            return None;
        }
        self.go_on(kind, header.lane, done);
        Some(())
    }

    fn begin(
        &mut self,
        now: Instant,
        header: &Header,
        frag: Frag,
        name: Name,
        number: u32,
        front: &[u8],
    ) -> Option<usize> {
        if frag.total_len > MESSAGE_BYTES_MAX_CEILING || frag.total_len < u32::from(frag.count) {
            return None;
        }
        let at = frag_at(header.flags);
        let mut front = front.to_vec();
        front.drain(at..at + EXTENSION_BYTES);
        self.halves.push(Half {
            lane: header.lane,
            name,
            number,
            header: Header { flags: Flags(header.flags.0 & !(Flags::FRAG.0 | Flags::RETX.0)), ..*header },
            front,
            frag,
            step: None,
            bytes: Vec::new(),
            got: alloc::vec![0; usize::from(frag.count).div_ceil(64)],
            left: frag.count,
            prefix: 0,
            gone: 0,
            counted: 0,
            touched: now,
        });
        Some(self.halves.len() - 1)
    }

    /// Of an unreliable lane few messages are incomplete at a time, and none for long.
    fn make_room(&mut self, now: Instant, lane: u8, dropped: &mut u64) {
        let patience = Duration::from_millis(PARTIAL_MS_MIN);
        loop {
            let of_lane = || self.halves.iter().enumerate().filter(|(_, half)| half.lane == lane);
            let oldest = of_lane().min_by_key(|(_, half)| half.touched).map(|(place, half)| (place, half.touched));
            let full = of_lane().count() >= PARTIAL_MESSAGES_MAX;
            match oldest {
                Some((place, touched)) if full || now.since(touched) >= patience => {
                    *dropped += self.remove(place).counted;
                }
                Some(_) | None => return,
            }
        }
    }

    /// Numbers of a lane will not come.
    pub(super) fn forget(&mut self, lane: u8, first: u32, count: u32) {
        let within = |half: &Half| half.lane == lane && forward(first, half.number).is_some_and(|ahead| ahead < count);
        while let Some(place) = self.halves.iter().position(within) {
            self.remove(place);
        }
    }

    fn remove(&mut self, place: usize) -> Half {
        let half = self.halves.remove(place);
        self.bytes -= half.bytes.len();
        half
    }

    /// What is complete goes on; of reliable lanes also what is complete from the front, unless an earlier message of the
    /// same source is still on its way.
    fn go_on(&mut self, kind: LaneKind, lane: u8, done: &mut impl FnMut(Whole)) {
        loop {
            let mut finished = None;
            for place in 0..self.halves.len() {
                let half = &self.halves[place];
                if half.lane != lane || kind.is_reliable() && self.has_earlier(place) {
                    continue;
                }
                if kind.is_reliable() || half.left == 0 {
                    self.halves[place].emit(done);
                }
                if self.halves[place].left == 0 {
                    finished = Some(place);
                    break;
                }
            }
            match finished {
                Some(place) => drop(self.remove(place)),
                None => return,
            }
        }
    }

    /// Whether another message of the same lane, topic and source began earlier.
    fn has_earlier(&self, place: usize) -> bool {
        let half = &self.halves[place];
        let origin = half.origin();
        self.halves.iter().any(|other| {
            other.lane == half.lane
                && other.header.topic == half.header.topic
                && other.origin() == origin
                && other.name != half.name
                && forward(other.number, half.number).is_some_and(|ahead| ahead > 0)
        })
    }
}

impl Half {
    const fn origin(&self) -> Option<u32> {
        match self.name {
            Name::Source(src) => Some(src.origin),
            Name::First(_) => None,
        }
    }

    /// Takes a fragment's payload; returns by how many bytes the message has grown in memory.
    fn take(&mut self, now: Instant, frag: Frag, payload: &[u8], header: &Header) -> Option<usize> {
        let (word, bit) = (usize::from(frag.index) / 64, 1 << (frag.index % 64));
        let total = frag.total_len as usize;
        if self.got[word] & bit != 0 {
            return Some(0);
        }
        let is_last = frag.index + 1 == frag.count;
        let start = if is_last {
            total.checked_sub(payload.len())?
        } else {
            if *self.step.get_or_insert(payload.len()) != payload.len() {
                return None;
            }
            usize::from(frag.index) * payload.len()
        };
        let end = start.checked_add(payload.len()).filter(|&end| end <= total && !payload.is_empty())?;
        let before = self.bytes.len();
        if before < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(payload);
        self.got[word] |= bit;
        self.left -= 1;
        self.touched = now;
        // As its sender's owner counts: one header, whatever it was cut into.
        let first = if self.counted == 0 { HEADER_BYTES + self.front.len() } else { 0 };
        self.counted += (first + payload.len()) as u64;
        if forward(header.seq, self.number).is_some_and(|ahead| ahead > 0) {
            self.number = header.seq;
        }
        while self.prefix < self.frag.count && self.got[usize::from(self.prefix) / 64] & 1 << (self.prefix % 64) != 0 {
            self.prefix += 1;
        }
        Some(self.bytes.len() - before)
    }

    fn emit(&mut self, done: &mut impl FnMut(Whole)) {
        let total = self.frag.total_len as usize;
        let frame_bytes = HEADER_BYTES + self.front.len() + total;
        if frame_bytes <= FRAME_BYTES_MAX && !self.is_from_stream_fragments() || self.header.kind == Kind::CTRL {
            if self.left == 0 && frame_bytes <= FRAME_BYTES_MAX {
                let body = [&self.front[..], &self.bytes].concat();
                let header = Header { len: frame_bytes as u16, ..self.header };
                done(Whole { header, body, number: self.number, counted: self.counted });
            }
            return;
        }
        let there = if self.left == 0 { total } else { usize::from(self.prefix) * self.step.unwrap_or_default() };
        let cutter = Cutter::new(self.frag.total_len, FRAGMENT_BYTES_STREAM as u32);
        for (frag, range) in cutter.into_iter().flatten() {
            if range.start < self.gone {
                continue;
            }
            if range.end > there {
                break;
            }
            self.gone = range.end;
            done(self.stream_fragment(frag, range));
        }
    }

    /// Whether its publisher had cut it for a stream: then it has a source, and is longer than a frame of those.
    fn is_from_stream_fragments(&self) -> bool {
        let longest = FRAME_BYTES_MAX - HEADER_BYTES - self.front.len();
        self.frag.total_len as usize > longest
    }

    fn stream_fragment(&self, frag: Frag, range: core::ops::Range<usize>) -> Whole {
        let at = frag_at(self.header.flags);
        let (front, behind) = self.front.split_at(at.min(self.front.len()));
        let mut flags = self.header.flags.with(Flags::FRAG);
        let mut source = Vec::new();
        if !flags.has(Flags::SRC) && !flags.has(Flags::CORR) {
            // Streams tell messages apart by their sources.
            flags = flags.with(Flags::SRC);
            source.extend_from_slice(&Src { origin: self.number, seq: self.number }.encode());
        }
        let body = [front, &frag.encode(), &source, behind, &self.bytes[range]].concat();
        let header = Header { flags, len: (HEADER_BYTES + body.len()) as u16, ..self.header };
        Whole { header, body, number: self.number, counted: 0 }
    }
}

/// The number `count` steps before `seq`; 0 numbers nothing.
fn before(seq: u32, count: u32) -> u32 {
    let (number, wrapped) = seq.overflowing_sub(count);
    let number = if wrapped || number == 0 { number.wrapping_sub(1) } else { number };
    debug_assert!(number == 0 || seq_after(number, count) == seq);
    number
}
