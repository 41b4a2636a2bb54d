//! The bare relay, the floor: whole frames are forwarded as ranges of the buffers they arrived in, nothing is copied.

use laneway_broker::pool::{BufId, Piece, Pool};

use super::Job;
use super::frames::{LENGTH_BYTES, frame_bytes, whole_bytes};
use super::ring::{self, Distribute, Outboxes};
use crate::error::{Error, Result};

/// Buffers one incomplete frame may pin; below the pool's size, so that the rest of it can still arrive.
const PINNED_PIECES_MAX: usize = 768;

pub(super) fn serve(job: Job) -> Result<()> {
    ring::serve::<Whole>(job)
}

/// Follows frame boundaries through a stream, wherever it is cut.
#[derive(Debug, Default)]
struct Boundary {
    length: [u8; LENGTH_BYTES],
    length_known: usize,
    payload_owed: usize,
}

impl Boundary {
    /// Goes through the next bytes; returns the offset behind the last frame that ends in them, 0 if none does.
    fn advance(&mut self, bytes: &[u8]) -> Result<usize> {
        let (mut at, mut end) = (0, 0);
        while at < bytes.len() {
            if self.length_known < LENGTH_BYTES {
                let count = (LENGTH_BYTES - self.length_known).min(bytes.len() - at);
                self.length[self.length_known..self.length_known + count].copy_from_slice(&bytes[at..at + count]);
                self.length_known += count;
                at += count;
                if self.length_known < LENGTH_BYTES {
                    break;
                }
                self.payload_owed = frame_bytes(&self.length)?.unwrap_or(LENGTH_BYTES) - LENGTH_BYTES;
            }
            let count = self.payload_owed.min(bytes.len() - at);
            at += count;
            self.payload_owed -= count;
            if self.payload_owed > 0 {
                break;
            }
            self.length_known = 0;
            // The usual case, without bookkeeping.
            end = at + whole_bytes(&bytes[at..])?;
            at = end;
        }
        Ok(end)
    }
}

/// Gives every subscriber the same ranges.
#[derive(Debug, Default)]
struct Whole {
    boundary: Boundary,
    /// Ranges of a frame that is not complete, each with a reference.
    partial: Vec<Piece>,
}

impl Distribute for Whole {
    fn on_received(&mut self, buf: BufId, len: u32, pool: &mut Pool, outboxes: &mut Outboxes) -> Result<()> {
        let end = self.boundary.advance(&pool.bytes(buf)[..len as usize])? as u32;
        if end > 0 {
            for outbox in outboxes.iter_mut() {
                for &piece in &self.partial {
                    outbox.push(piece, pool);
                }
                outbox.push(Piece { buf, start: 0, len: end }, pool);
            }
            self.on_left(pool);
        }
        if end < len {
            if self.partial.len() == PINNED_PIECES_MAX {
                return Err(Error::Failed("a frame arrives in too many pieces; write it in larger ones".into()));
            }
            pool.retain(buf);
            self.partial.push(Piece { buf, start: end, len: len - end });
        }
        Ok(())
    }

    fn on_left(&mut self, pool: &mut Pool) {
        for piece in self.partial.drain(..) {
            pool.release(piece.buf);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_boundaries_are_found_however_the_stream_is_cut() {
        let frame = |text: &[u8]| [&(text.len() as u32).to_le_bytes()[..], text].concat();
        let stream = [frame(b"abc"), frame(b""), frame(b"d"), frame(b"efghij")].concat();
        let ends = [7usize, 11, 16, 26];
        for cut in 1..=stream.len() {
            let mut boundary = Boundary::default();
            let mut from = 0;
            for part in stream.chunks(cut) {
                let last_end = ends.into_iter().rfind(|&end| end > from && end <= from + part.len());
                let got = boundary.advance(part).expect("good");
                assert_eq!(got, last_end.map_or(0, |end| end - from), "cut by {cut}, from {from}");
                from += part.len();
            }
        }
        assert!(Boundary::default().advance(&[0xff; 4]).is_err());
    }
}
