//! Messages that came in fragments. They go on whole: those of several senders may stand between one another.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::hearer::StreamId;
use crate::datagram::limits::{PARTIAL_MESSAGES_MAX, PARTIAL_MS_MIN};
use crate::frame::extensions::{Extensions, Src};
use crate::header::{Flags, Header, seq_after};
use crate::lane::kind::LaneKind;
use crate::limits::{EXTENSION_BYTES, MESSAGE_BYTES_MAX_CEILING};
use crate::time::{Duration, Instant};

/// Bytes of incomplete messages at most; beyond, the oldest goes.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// A message that is complete: its header and extensions without FRAG.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) header: Header,
    pub(super) front: Vec<u8>,
    pub(super) payload: Vec<u8>,
    /// The number of its first fragment.
    pub(super) number: u32,
}

/// What fragments of one message share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Name {
    Source(Src),
    First(u32),
}

#[derive(Debug)]
struct Half {
    stream: StreamId,
    name: Name,
    number: u32,
    header: Header,
    front: Vec<u8>,
    count: u16,
    total_bytes: usize,
    parts: BTreeMap<u16, Vec<u8>>,
    bytes: usize,
    touched: Instant,
}

/// All incomplete messages.
#[derive(Debug, Default)]
pub(super) struct Assemblies {
    halves: Vec<Half>,
    bytes: usize,
}

impl Assemblies {
    /// A fragment arrived; the message, if it is the last one that was missing.
    pub(super) fn on_fragment(
        &mut self,
        now: Instant,
        stream: StreamId,
        kind: LaneKind,
        header: &Header,
        body: &[u8],
    ) -> Option<Whole> {
        let (extensions, payload) = Extensions::decode(header.flags, body).ok()?;
        let frag = extensions.frag?;
        let number = before(header.seq, u32::from(frag.index));
        let name = extensions.src.map_or(Name::First(number), Name::Source);
        let total_bytes = frag.total_len as usize;
        if frag.total_len > MESSAGE_BYTES_MAX_CEILING || payload.is_empty() || payload.len() > total_bytes {
            return None;
        }
        let place = self.halves.iter().position(|half| half.stream == stream && half.name == name);
        let place = place.unwrap_or_else(|| {
            if !kind.is_reliable() {
                self.make_room(now, stream);
            }
            let mut front = body.get(..body.len() - payload.len()).unwrap_or_default().to_vec();
            let at = if header.flags.has(Flags::TS) { EXTENSION_BYTES } else { 0 };
            front.drain(at..at + EXTENSION_BYTES);
            self.halves.push(Half {
                stream,
                name,
                number,
                header: Header { flags: Flags(header.flags.0 & !Flags::FRAG.0), ..*header },
                front,
                count: frag.count,
                total_bytes,
                parts: BTreeMap::new(),
                bytes: 0,
                touched: now,
            });
            self.halves.len() - 1
        });
        let half = self.halves.get_mut(place)?;
        let fits = (half.count, half.total_bytes) == (frag.count, total_bytes);
        if !fits || half.parts.contains_key(&frag.index) {
            return None;
        }
        half.touched = now;
        half.bytes += payload.len();
        self.bytes += payload.len();
        half.parts.insert(frag.index, payload.to_vec());
        if half.parts.len() < usize::from(half.count) {
            self.bound();
            return None;
        }
        let half = self.remove(place);
        if half.bytes != half.total_bytes {
            return None;
        }
        let payload = half.parts.into_values().collect::<Vec<_>>().concat();
        Some(Whole { header: half.header, front: half.front, payload, number: half.number })
    }

    /// Of an unreliable stream few messages are incomplete at a time, and none for long.
    fn make_room(&mut self, now: Instant, stream: StreamId) {
        let patience = Duration::from_millis(PARTIAL_MS_MIN);
        loop {
            let of_stream = || self.halves.iter().enumerate().filter(|(_, half)| half.stream == stream);
            let oldest = of_stream().min_by_key(|(_, half)| half.touched).map(|(place, half)| (place, half.touched));
            let is_full = of_stream().count() >= PARTIAL_MESSAGES_MAX;
            match oldest {
                Some((place, touched)) if is_full || now.since(touched) >= patience => drop(self.remove(place)),
                Some(_) | None => return,
            }
        }
    }

    fn bound(&mut self) {
        while self.bytes > BYTES_MAX {
            let oldest = self.halves.iter().enumerate().min_by_key(|(_, half)| half.touched).map(|(place, _)| place);
            let Some(place) = oldest else { return };
            self.remove(place);
        }
    }

    /// The streams for which `gone` holds are no more.
    pub(super) fn forget(&mut self, gone: impl Fn(StreamId) -> bool) {
        while let Some(place) = self.halves.iter().position(|half| gone(half.stream)) {
            self.remove(place);
        }
    }

    fn remove(&mut self, place: usize) -> Half {
        let half = self.halves.remove(place);
        self.bytes -= half.bytes;
        half
    }
}

/// The number `count` before `number`; numbers skip 0.
fn before(number: u32, count: u32) -> u32 {
    seq_after(number, u32::MAX - count)
}
