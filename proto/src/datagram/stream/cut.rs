//! Frames that are longer than a datagram: batches become smaller batches, messages become fragments.
//!
//! Fragments that carry SRC belong to the message that it names, whatever their numbers: those of several publishers may
//! stand between one another. A frame without SRC is cut into fragments whose numbers follow one another.

use alloc::vec::Vec;

use super::super::limits::UNRELIABLE_FRAGMENTS_MAX;
use crate::frame::batch::{self, BATCH_ITEM_PREFIX_BYTES, BATCH_PREFIX_BYTES};
use crate::frame::extensions::{Extensions, Frag, Src};
use crate::frame::lost::{LOST_FRAME_BYTES, LossReason, Lost};
use crate::header::{Flags, Header, Kind, seq_after};
use crate::limits::{EXTENSION_BYTES, HEADER_BYTES};

/// Where a part goes: its header, and its body in three pieces.
pub(in crate::datagram) trait Sink: FnMut(&Header, [&[u8]; 3]) {}
impl<T: FnMut(&Header, [&[u8]; 3])> Sink for T {}

/// Bytes in front of FRAG in the extensions.
pub(super) const fn frag_at(flags: Flags) -> usize {
    if flags.has(Flags::TS) { EXTENSION_BYTES } else { 0 }
}

/// Gives the parts of a frame, each of which fits into `room` bytes with its header, to `sink`; one that fits as it is.
/// `once`: its lane is unreliable.
pub(in crate::datagram) fn cut(header: &Header, frame: &[u8], room: usize, once: bool, sink: &mut impl Sink) {
    let body = &frame[HEADER_BYTES..];
    let is_part = header.flags.has(Flags::FRAG) && header.kind == Kind::PUB;
    if frame.len() <= room && !is_part {
        sink(header, [body, &[], &[]]);
        return;
    }
    let Ok((extensions, payload)) = Extensions::decode(header.flags, body) else { return };
    let front = &body[..body.len() - payload.len()];
    if header.kind == Kind::BATCH {
        cut_batch(header, &extensions, front, payload, room, once, sink);
        return;
    }
    let fragments = Fragments { front, whole: extensions.frag, payload };
    fragments.cut(header, room, once, sink);
}

/// A message, or a fragment of one, that is cut.
struct Fragments<'a> {
    /// The extensions.
    front: &'a [u8],
    whole: Option<Frag>,
    payload: &'a [u8],
}

impl Fragments<'_> {
    fn cut(&self, header: &Header, room: usize, once: bool, sink: &mut impl Sink) {
        let Self { front, whole, payload } = *self;
        let frag_bytes = if whole.is_some() { 0 } else { EXTENSION_BYTES };
        let Some(most) = room.checked_sub(HEADER_BYTES + front.len() + frag_bytes).filter(|&most| most > 0) else {
            return;
        };
        // Parts of a fragment must be as long as those of its neighbours.
        let (step, start, total) = match whole {
            None => (most, 0, payload.len()),
            Some(frag) => {
                let last = frag.index + 1 == frag.count;
                let total = frag.total_len as usize;
                let start =
                    if last { total.saturating_sub(payload.len()) } else { usize::from(frag.index) * payload.len() };
                (1 << most.ilog2(), start, total)
            }
        };
        let count = total.div_ceil(step);
        if start % step != 0 || count > usize::from(u16::MAX) {
            return;
        }
        if once && count > usize::from(UNRELIABLE_FRAGMENTS_MAX) {
            if start == 0 {
                report(header, sink);
            }
            return;
        }
        let at = frag_at(header.flags);
        let (before, behind) = front.split_at(at.min(front.len()));
        let behind = if whole.is_some() { behind.get(EXTENSION_BYTES..).unwrap_or_default() } else { behind };
        let part_header = Header { flags: header.flags.with(Flags::FRAG), ..*header };
        for (place, part) in payload.chunks(step).enumerate() {
            let index = (start / step + place) as u16;
            let frag = Frag { index, count: count as u16, total_len: total as u32 };
            let middle: Vec<u8> = [before, &frag.encode(), behind].concat();
            sink(&part_header, [&middle, part, &[]]);
        }
    }
}

/// Too long for its lane: its subscriber learns that it is lost.
fn report(header: &Header, sink: &mut impl Sink) {
    let lost =
        Lost { topic: header.topic, lane: header.lane, reason: LossReason::DropNewest, first: 0, count: 1 }.encode();
    let of =
        Header { topic: header.topic, lane: header.lane, ..Header::new(Kind::LOST, LOST_FRAME_BYTES - HEADER_BYTES) };
    sink(&of, [&lost[HEADER_BYTES..], &[], &[]]);
}

fn cut_batch(
    header: &Header,
    extensions: &Extensions<'_>,
    front: &[u8],
    payload: &[u8],
    room: usize,
    once: bool,
    sink: &mut impl Sink,
) {
    let Ok(messages) = batch::Messages::new(payload) else { return };
    let overhead = HEADER_BYTES + front.len() + BATCH_PREFIX_BYTES;
    let (mut items, mut count, mut done) = (Vec::new(), 0u16, 0u32);
    let put = |items: &mut Vec<u8>, count: &mut u16, done: &mut u32, sink: &mut _| {
        if *count > 0 {
            let front = front_at(header.flags, front, extensions.src, *done);
            give(sink, &Header { seq: seq_of(header, *done), ..*header }, [&front, &batch::prefix(*count), items]);
        }
        *done += u32::from(*count);
        items.clear();
        *count = 0;
    };
    for message in messages.flatten() {
        let item = BATCH_ITEM_PREFIX_BYTES + message.len();
        if overhead + items.len() + item > room {
            put(&mut items, &mut count, &mut done, sink);
        }
        if overhead + item > room {
            // Too long for a batch of its own: a message in fragments.
            let alone = Header { kind: Kind::PUB, seq: seq_of(header, done), ..*header };
            let front = front_at(header.flags, front, extensions.src, done);
            Fragments { front: &front, whole: None, payload: message }.cut(&alone, room, once, sink);
            done += 1;
            continue;
        }
        items.extend_from_slice(&(message.len() as u16).to_le_bytes());
        items.extend_from_slice(message);
        count += 1;
    }
    put(&mut items, &mut count, &mut done, sink);
}

fn give(sink: &mut impl Sink, header: &Header, parts: [&[u8]; 3]) {
    sink(header, parts);
}

const fn seq_of(header: &Header, ahead: u32) -> u32 {
    if header.seq == 0 { 0 } else { seq_after(header.seq, ahead) }
}

/// The extensions of the message `ahead` of the first one of a batch.
fn front_at(flags: Flags, front: &[u8], src: Option<Src>, ahead: u32) -> Vec<u8> {
    let mut front = front.to_vec();
    if let Some(src) = src.filter(|src| src.seq != 0) {
        let at = frag_at(flags);
        let moved = Src { seq: seq_after(src.seq, ahead), ..src }.encode();
        if let Some(place) = front.get_mut(at..at + EXTENSION_BYTES) {
            place.copy_from_slice(&moved);
        }
    }
    front
}
