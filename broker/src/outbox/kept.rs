//! Frames of reliable lanes that went to the link and that the peer has not counted yet: if the link breaks and the session
//! is resumed, they go again.

use std::collections::VecDeque;

use laneway_proto::error::PeerFault;
use laneway_proto::lane::kept::{Again, Entry, Kept, Store};
use laneway_proto::limits::LANES_MAX;

use super::{Tail, Wire};
use crate::io::SEND_PIECES_MAX;
use crate::pool::{Home, Piece, Pool};

/// What one part costs besides its bytes, so that very small ones are bounded, too.
const PART_BYTES: u64 = 32;

/// A range of one buffer; holds one reference.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    piece: Piece,
    /// Bytes at its front that are the rest of a frame which began in the part before.
    lead: u32,
}

#[derive(Debug, Default)]
struct Parts(VecDeque<Entry<Part>>);

impl Store for Parts {
    type Handle = Part;

    fn count(&self) -> usize {
        self.0.len()
    }

    fn at(&self, index: usize) -> Option<Entry<Part>> {
        self.0.get(index).copied()
    }

    fn push(&mut self, entry: Entry<Part>) -> bool {
        self.0.push_back(entry);
        true
    }

    fn pop(&mut self) -> Option<Entry<Part>> {
        self.0.pop_front()
    }
}

/// Finds where frames begin in ranges that follow each other.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    /// Bytes that the frame in progress still lacks.
    missing: u32,
    /// Its length's first byte, if that was the last byte of the range.
    length_low: Option<u8>,
}

impl Walk {
    /// The bytes at the front of a range that belong to a frame which began earlier, and the frames that begin in it.
    fn measure(&mut self, bytes: &[u8]) -> (u32, u32) {
        if let (Some(low), Some(&high)) = (self.length_low, bytes.first()) {
            self.length_low = None;
            self.missing = u32::from(u16::from_le_bytes([low, high])) - 1;
        }
        let lead = self.missing.min(bytes.len() as u32);
        self.missing -= lead;
        let (mut at, mut frames) = (lead as usize, 0);
        while at < bytes.len() {
            frames += 1;
            if let Some(&[l0, l1]) = bytes.get(at..at + 2) {
                let end = at + usize::from(u16::from_le_bytes([l0, l1]));
                self.missing = end.saturating_sub(bytes.len()) as u32;
                at = end;
            } else {
                self.length_low = Some(bytes[at]);
                break;
            }
        }
        (lead, frames)
    }
}

#[derive(Debug)]
struct LaneFrames {
    lane: u8,
    kept: Kept<Parts>,
    walk: Walk,
}

/// What one peer has not counted, by lane.
///
/// Invariant: `bytes` is the sum of the parts' lengths, and of `PART_BYTES` for each; every part holds one reference.
#[derive(Debug)]
pub struct KeptFrames {
    lanes: Vec<LaneFrames>,
    /// Bit per lane that is kept.
    reliable: u16,
    bytes: u64,
    bytes_max: u64,
}

impl KeptFrames {
    /// Nothing was sent yet. `reliable` has a bit for each lane that is kept.
    pub const fn new(reliable: u16, bytes_max: u64) -> Self {
        Self { lanes: Vec::new(), reliable, bytes: 0, bytes_max }
    }

    /// Whether frames of `lane` are kept.
    pub const fn keeps(&self, lane: u8) -> bool {
        (lane as usize) < LANES_MAX && self.reliable & 1 << lane != 0
    }

    /// Bytes kept.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that may still be sent before some are counted.
    pub const fn room(&self) -> u64 {
        self.bytes_max.saturating_sub(self.bytes)
    }

    /// The same for one lane: as many as anybody wants, if it is not kept.
    pub const fn room_of(&self, lane: u8) -> u64 {
        if self.keeps(lane) { self.room() } else { u64::MAX }
    }

    /// Keeps a range that goes to the link now, and takes over a reference. Ranges of a lane follow each other without a
    /// gap.
    pub fn push(&mut self, lane: u8, piece: Piece, pool: &Pool) {
        let place = self.place(lane);
        let LaneFrames { kept, walk, .. } = &mut self.lanes[place];
        let (lead, frames) = walk.measure(pool.piece(piece));
        let kept = kept.push(Part { piece, lead }, frames);
        assert!(kept, "a queue on the heap has room");
        self.bytes += u64::from(piece.len) + PART_BYTES;
    }

    /// The peer has received `total` frames of `lane`; those are let go.
    pub fn on_count(&mut self, lane: u8, total: u64, pool: &mut Pool) -> Result<(), PeerFault> {
        if self.keeps(lane) {
            let place = self.place(lane);
            self.lanes[place].kept.on_count(total)?;
            self.free(place, pool);
        }
        Ok(())
    }

    /// The link is gone.
    pub fn on_link_lost(&mut self) {
        for LaneFrames { kept, walk, .. } in &mut self.lanes {
            debug_assert!(walk.missing == 0 && walk.length_low.is_none(), "whole frames go to the link");
            kept.on_link_lost();
        }
    }

    /// Whether the session may be resumed by a peer that has received so many frames of each lane.
    pub fn may_resume(&self, totals: &[u64; LANES_MAX]) -> Result<(), PeerFault> {
        for lane in (1..LANES_MAX as u8).filter(|&lane| self.keeps(lane)) {
            let total = totals[usize::from(lane)];
            match self.lanes.iter().find(|frames| frames.lane == lane) {
                Some(LaneFrames { kept, .. }) => kept.may_resume(total)?,
                None if total > 0 => return Err(PeerFault::CountAhead),
                None => {}
            }
        }
        Ok(())
    }

    /// The session goes on over a new link. Returns the frames that have to be sent again.
    pub fn on_resume(&mut self, totals: &[u64; LANES_MAX], pool: &mut Pool) -> Result<u64, PeerFault> {
        self.may_resume(totals)?;
        let mut again = 0;
        for place in 0..self.lanes.len() {
            let LaneFrames { lane, kept, .. } = &mut self.lanes[place];
            let total = totals[usize::from(*lane)];
            kept.on_resume(total)?;
            again += kept.total() - total;
            self.free(place, pool);
        }
        Ok(again)
    }

    /// Whether frames of `lane`, or of any, have to be sent again.
    pub fn has_again(&self, lane: Option<u8>) -> bool {
        self.lanes.iter().any(|frames| lane.is_none_or(|lane| frames.lane == lane) && frames.kept.has_again())
    }

    /// Puts frames of `lane`, or of any, on the link once more: up to `room` bytes, at least one part. Returns their bytes.
    pub fn take_again(&mut self, lane: Option<u8>, room: u64, wire: &mut Wire, pool: &mut Pool) -> u64 {
        let mut taken = 0;
        let concerned = self.lanes.iter_mut().filter(|frames| lane.is_none_or(|lane| frames.lane == lane));
        for LaneFrames { kept, .. } in concerned {
            while let Some(next) = kept.next_again() {
                // The rest of a frame follows its beginning, whatever the room.
                let must = taken == 0 || next.lead > 0;
                if !must && (taken >= room || wire.pieces() >= SEND_PIECES_MAX) {
                    return taken;
                }
                let Some(Again { handle: Part { piece, lead }, skip }) = kept.poll_again() else { break };
                let left_out =
                    skip.map_or(0, |frames| lead + frames_bytes(&pool.piece(piece)[lead as usize..], frames));
                let rest = Piece { start: piece.start + left_out, len: piece.len - left_out, ..piece };
                if rest.len > 0 {
                    pool.retain(rest.buf);
                    wire.push(rest, pool);
                    taken += u64::from(rest.len);
                }
            }
        }
        taken
    }

    /// Moves everything out of buffers that the shard receives into, or that other shards lent: nobody can tell how long a
    /// peer without a link stays away.
    pub fn copy_out(&mut self, pool: &mut Pool) {
        let mut bytes = 0;
        for LaneFrames { kept, .. } in &mut self.lanes {
            let parts = kept.store_mut();
            let old = std::mem::take(&mut parts.0);
            let mut walk = Walk { missing: old.front().map_or(0, |entry| entry.handle.lead), length_low: None };
            let mut put = |piece: Piece, pool: &mut Pool| {
                let (lead, frames) = walk.measure(pool.piece(piece));
                bytes += u64::from(piece.len) + PART_BYTES;
                parts.0.push_back(Entry { handle: Part { piece, lead }, frames });
            };
            let mut tail = Tail::default();
            for Entry { handle: Part { piece, .. }, .. } in old {
                if pool.home(piece.buf) == Home::Egress {
                    put(piece, pool);
                } else {
                    tail.append_piece(piece, pool, &mut put);
                    pool.release(piece.buf);
                }
            }
            tail.close(pool);
        }
        self.bytes = bytes;
    }

    /// Lets everything go.
    pub fn clear(&mut self, pool: &mut Pool) {
        for LaneFrames { kept, .. } in &mut self.lanes {
            while let Some(Part { piece, .. }) = kept.poll_drop() {
                pool.release(piece.buf);
            }
        }
        self.bytes = 0;
    }

    fn free(&mut self, place: usize, pool: &mut Pool) {
        while let Some(Part { piece, .. }) = self.lanes[place].kept.poll_free() {
            self.bytes -= u64::from(piece.len) + PART_BYTES;
            pool.release(piece.buf);
        }
    }

    fn place(&mut self, lane: u8) -> usize {
        self.lanes.iter().position(|frames| frames.lane == lane).unwrap_or_else(|| {
            let kept = Kept::new(Parts::default());
            self.lanes.push(LaneFrames { lane, kept, walk: Walk::default() });
            self.lanes.len() - 1
        })
    }
}

/// Bytes of the first `frames` whole frames in `bytes`.
fn frames_bytes(bytes: &[u8], frames: u32) -> u32 {
    let mut at = 0;
    for _ in 0..frames {
        let Some(&[l0, l1]) = bytes.get(at..at + 2) else { break };
        at += usize::from(u16::from_le_bytes([l0, l1]));
    }
    at as u32
}

#[cfg(test)]
mod tests;
