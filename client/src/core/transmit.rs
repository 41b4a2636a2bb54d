//! Bytes on their way to the socket: frames built in one buffer, with large payloads woven in from where they are.
//!
//! ```text
//! inline   | frame | frame | header |        | header | frame |
//! woven in                          ^ payload         ^ payload
//! ```

use std::io::IoSlice;
use std::ops::Range;

use bytes::{Buf, Bytes};
use laneway_proto::header::Header;
use laneway_proto::limits::HEADER_BYTES;

/// Whole frames in order, read as one stream of bytes through [`Buf`]. Reused: what was sent leaves its room behind.
///
/// Invariant: the places of `woven` do not fall, and each is at most `inline.len()`; `sent <= inline.len()`.
#[derive(Debug, Default)]
pub struct Transmit {
    pub(super) inline: Vec<u8>,
    woven: Vec<Woven>,
    /// Inline bytes already sent.
    sent: usize,
    /// Payloads already sent whole.
    woven_sent: usize,
    /// Bytes already sent of the payload behind those.
    woven_at: usize,
    woven_bytes: usize,
}

/// A payload that stands in front of the inline byte at `place`.
#[derive(Debug)]
struct Woven {
    place: usize,
    bytes: Bytes,
}

/// One frame.
#[derive(Clone, Debug)]
pub(super) struct Untouched<'a> {
    pub(super) header: Header,
    range: Range<usize>,
    /// Header, extensions, and the payload if that is not woven in.
    pub(super) inline: &'a [u8],
    pub(super) woven: Option<&'a Bytes>,
}

impl Transmit {
    /// Bytes not sent yet.
    pub fn len(&self) -> usize {
        self.inline.len() - self.sent + self.woven_bytes
    }

    /// Whether everything was sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all bytes, sent or not, and keeps the room.
    pub fn clear(&mut self) {
        self.inline.clear();
        self.woven.clear();
        (self.sent, self.woven_sent, self.woven_at, self.woven_bytes) = (0, 0, 0, 0);
    }

    /// Copies all of `other`, sent or not, behind what is here, if that is small and so is the sum. False, and nothing is
    /// done, if not.
    pub(super) fn gather(&mut self, other: &Self, bytes_max: usize, sum_bytes_max: usize) -> bool {
        let small = other.woven.is_empty() && other.inline.len() <= bytes_max;
        let fits = small && self.inline.len() + other.inline.len() <= sum_bytes_max;
        if fits {
            self.inline.extend_from_slice(&other.inline);
        }
        fits
    }

    /// Puts one frame of another one behind everything that is here.
    pub(super) fn put_frame(&mut self, frame: &Untouched<'_>) {
        self.inline.extend_from_slice(frame.inline);
        if let Some(payload) = frame.woven {
            self.weave(payload.clone());
        }
    }

    /// Puts a payload behind everything that is here.
    pub(super) fn weave(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.woven_bytes += bytes.len();
            self.woven.push(Woven { place: self.inline.len(), bytes });
        }
    }

    /// Puts everything of `other`, of which nothing was sent, behind what is here.
    pub(super) fn append(&mut self, other: &mut Self) {
        debug_assert!(other.sent == 0 && other.woven_sent == 0, "whole frames only");
        let offset = self.inline.len();
        self.inline.extend_from_slice(&other.inline);
        self.woven.extend(other.woven.drain(..).map(|woven| Woven { place: woven.place + offset, ..woven }));
        self.woven_bytes += other.woven_bytes;
        other.clear();
    }

    /// The frames of which no byte was sent, in order.
    pub(super) fn untouched(&self) -> impl Iterator<Item = Untouched<'_>> {
        self.frames().filter(|frame| frame.range.start >= self.sent)
    }

    /// All frames, sent or not; there is nothing but whole frames in here once the handshake is over.
    pub(super) fn frames(&self) -> impl Iterator<Item = Untouched<'_>> {
        let mut at = 0;
        let mut woven = self.woven.iter().peekable();
        std::iter::from_fn(move || {
            let header = Header::decode(self.inline[at..].first_chunk::<HEADER_BYTES>()?).ok()?;
            let whole = at + usize::from(header.len);
            // A woven payload stands at the end of its frame, so it begins before the frame would end inline.
            let payload = woven.next_if(|woven| woven.place < whole);
            let end = payload.map_or(whole, |woven| woven.place);
            let frame =
                Untouched { header, range: at..end, inline: &self.inline[at..end], woven: payload.map(|w| &w.bytes) };
            at = end;
            Some(frame)
        })
    }

    fn inline_until_next(&self) -> &[u8] {
        let end = self.woven.get(self.woven_sent).map_or(self.inline.len(), |woven| woven.place);
        &self.inline[self.sent..end]
    }
}

impl Buf for Transmit {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        let inline = self.inline_until_next();
        match self.woven.get(self.woven_sent) {
            Some(woven) if inline.is_empty() => &woven.bytes[self.woven_at..],
            Some(_) | None => inline,
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut put = |bytes: &'a [u8]| {
            if !bytes.is_empty() && filled < slices.len() {
                slices[filled] = IoSlice::new(bytes);
                filled += 1;
            }
            filled < slices.len()
        };
        let mut from = self.sent;
        let mut skip = self.woven_at;
        for woven in &self.woven[self.woven_sent..] {
            if !(put(&self.inline[from..woven.place]) && put(&woven.bytes[skip..])) {
                return filled;
            }
            (from, skip) = (woven.place, 0);
        }
        put(&self.inline[from..]);
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len(), "advanced past the end: {count} of {}", self.len());
        while count > 0 {
            let inline = self.inline_until_next().len();
            if inline > 0 {
                let step = inline.min(count);
                self.sent += step;
                count -= step;
                continue;
            }
            let left = self.woven[self.woven_sent].bytes.len() - self.woven_at;
            let step = left.min(count);
            self.woven_at += step;
            self.woven_bytes -= step;
            count -= step;
            if step == left {
                self.woven_sent += 1;
                self.woven_at = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Transmit {
        let mut transmit = Transmit::default();
        transmit.inline.extend_from_slice(b"ab");
        transmit.weave(Bytes::from_static(b"CDE"));
        transmit.weave(Bytes::from_static(b"FG"));
        transmit.inline.extend_from_slice(b"hij");
        transmit
    }

    #[test]
    fn the_stream_is_the_same_in_steps_of_any_size() {
        for step in 1..=10 {
            let mut transmit = sample();
            let mut out = Vec::new();
            while transmit.has_remaining() {
                let chunk = transmit.chunk();
                let count = step.min(chunk.len());
                out.extend_from_slice(&chunk[..count]);
                transmit.advance(count);
            }
            assert_eq!(out, b"abCDEFGhij", "steps of {step}");
        }
    }

    #[test]
    fn slices_hold_everything_in_order_from_any_place() {
        for sent in 0..10 {
            let mut transmit = sample();
            transmit.advance(sent);
            let mut slices = [IoSlice::new(&[]); 8];
            let filled = transmit.chunks_vectored(&mut slices);
            let all: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            assert_eq!(all, &b"abCDEFGhij"[sent..]);
            assert_eq!(transmit.chunks_vectored(&mut slices[..1]), 1);
        }
    }

    #[test]
    fn after_any_byte_the_untouched_frames_are_those_that_begin_behind_it() {
        use laneway_proto::header::Kind;
        let header = |seq, body| Header { seq, lane: 1, ..Header::new(Kind::PUB, body) }.encode();
        let mut whole = Transmit::default();
        whole.inline.extend_from_slice(&header(1, 2));
        whole.inline.extend_from_slice(b"ab");
        whole.inline.extend_from_slice(&header(2, 3));
        whole.weave(Bytes::from_static(b"CDE"));
        whole.inline.extend_from_slice(&header(3, 0));
        // Their first bytes are 0, 18 and 37.
        for sent in 0..=53 {
            let mut transmit = Transmit::default();
            transmit.append(&mut Transmit {
                inline: whole.inline.clone(),
                woven: vec![Woven { place: 34, bytes: Bytes::from_static(b"CDE") }],
                woven_bytes: 3,
                ..Transmit::default()
            });
            assert_eq!(transmit.len(), 53);
            transmit.advance(sent);
            let left: Vec<u32> = transmit.untouched().map(|frame| frame.header.seq).collect();
            let expected: Vec<u32> =
                [(0, 1), (18, 2), (37, 3)].into_iter().filter(|(at, _)| *at >= sent).map(|(_, seq)| seq).collect();
            assert_eq!(left, expected, "{sent} bytes sent");
        }
    }

    #[test]
    fn clearing_leaves_nothing_behind() {
        let mut transmit = sample();
        transmit.advance(4);
        transmit.clear();
        assert!(transmit.is_empty());
        transmit.inline.push(1);
        assert_eq!(transmit.chunk(), [1]);
    }
}
