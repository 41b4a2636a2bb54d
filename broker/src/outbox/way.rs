//! The way to the link: what is put on it leaves in that order, and what may have to go again is kept.

use super::{KeptFrames, Wire};
use crate::io::SEND_PIECES_MAX;
use crate::pool::{Piece, Pool};

/// The link's end on our side, and what remembers for it.
#[derive(Debug)]
pub struct Way<'a> {
    /// What leaves next.
    pub wire: &'a mut Wire,
    /// What the peer has not counted, if it counts.
    pub kept: Option<&'a mut KeptFrames>,
}

impl Way<'_> {
    /// Puts whole frames of `lane`, or the next part of some, on the link; the caller numbers them. Takes over its reference.
    pub fn put(&mut self, lane: u8, piece: Piece, pool: &mut Pool) {
        keep(&mut self.kept, lane, piece, pool);
        self.wire.push(piece, pool);
    }

    /// Puts a copy of one frame of `lane` on the link.
    pub fn put_copy(&mut self, lane: u8, bytes: &[u8], pool: &mut Pool) {
        let Self { wire, kept } = self;
        wire.push_copy_seen(bytes, pool, &mut |piece, pool| keep(kept, lane, piece, pool));
        wire.on_frames(lane, 1, None);
    }

    /// Whether the next send is as long as a send may be.
    pub fn is_full(&self) -> bool {
        self.wire.pieces() >= SEND_PIECES_MAX
    }
}

fn keep(kept: &mut Option<&mut KeptFrames>, lane: u8, piece: Piece, pool: &mut Pool) {
    if let Some(kept) = kept
        && kept.keeps(lane)
    {
        pool.retain(piece.buf);
        kept.push(lane, piece, pool);
    }
}
