//! What has arrived from one peer and is not routed yet: ranges of ingress buffers, and the one frame that lies across
//! their borders.
//!
//! A split data frame is kept as references to its parts, so its payload is not copied; small frames, control frames and
//! parts too small to be worth a reference are collected in one piece of memory.

pub mod granted;

use std::collections::VecDeque;

use laneway_proto::error::DecodeError;
use laneway_proto::framing::run::CHECK_BYTES;
use laneway_proto::header::{Flags, Header};
use laneway_proto::limits::HEADER_BYTES;

use self::granted::Granted;
use crate::intern::TopicIndex;
use crate::pool::{Home, Piece, Pool};

/// Parts of one frame held by reference at most; beyond it the frame is collected.
const HELD_PIECES_MAX: usize = 8;
/// Parts smaller than this are collected instead of held.
const HELD_PIECE_BYTES_MIN: u32 = 64;

/// Ranges a list has room for, once more than a few wait in it: what arrives until a stopped receive has ended.
const PIECES_GROWTH: usize = 60;

/// What a run is, without its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunInfo {
    /// The topic.
    pub topic: TopicIndex,
    /// The lane.
    pub lane: u8,
    /// Bytes of all frames.
    pub bytes: u32,
    /// Frames.
    pub frames: u32,
    /// Messages.
    pub messages: u32,
    /// The number of the first message.
    pub seq_first: u32,
    /// The number of the last message that is whole with the run; 0: none, or unnumbered.
    pub seq_through: u32,
    /// Sessions that must have received them before they are confirmed as delivered; 0: nobody wants to know.
    pub receivers: u16,
    /// Milliseconds after which they are not sent any more; 0: as the subscription and the lane say;
    /// [`TTL_NEVER`](crate::retained::TTL_NEVER): never.
    pub ttl_ms: u32,
    /// It is to be kept as its topic's last value.
    pub retain: bool,
}

/// A frame that lies across buffers: `head` first, then the pieces, which hold a reference each.
#[derive(Debug, Default)]
pub struct Partial {
    head: Vec<u8>,
    held: Vec<Piece>,
    held_bytes: usize,
    header: Option<Header>,
}

impl Partial {
    /// The frame's header, once 16 bytes are there.
    pub const fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Whether the frame's last byte is there.
    pub fn is_whole(&self) -> bool {
        self.header.is_some_and(|header| self.have() == usize::from(header.len))
    }

    /// Bytes collected, in front of the pieces.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Bytes of the collected front, to be changed.
    pub fn head_mut(&mut self) -> &mut [u8] {
        &mut self.head
    }

    /// The parts held by reference.
    pub fn held(&self) -> &[Piece] {
        &self.held
    }

    /// Takes as much of `piece` as belongs to the frame and returns how many bytes that was. A reference of its own is
    /// taken where bytes are held.
    pub fn feed(
        &mut self,
        piece: Piece,
        pool: &mut Pool,
        copy_below_bytes: u32,
        frame_bytes_max: usize,
    ) -> Result<u32, DecodeError> {
        let mut taken = 0;
        if self.header.is_none() {
            let missing = (HEADER_BYTES - self.head.len()) as u32;
            taken = missing.min(piece.len);
            self.head.extend_from_slice(pool.piece(Piece { len: taken, ..piece }));
            self.read_header(frame_bytes_max)?;
        }
        let Some(header) = self.header else { return Ok(taken) };
        let missing = (usize::from(header.len) - self.have()) as u32;
        let part = Piece { start: piece.start + taken, len: missing.min(piece.len - taken), ..piece };
        self.take(part, &header, pool, copy_below_bytes);
        Ok(taken + part.len)
    }

    fn read_header(&mut self, frame_bytes_max: usize) -> Result<(), DecodeError> {
        if let Some(bytes) = self.head.first_chunk::<HEADER_BYTES>() {
            let header = Header::decode(bytes)?;
            if usize::from(header.len) > frame_bytes_max {
                return Err(DecodeError::LengthTooLarge);
            }
            self.header = Some(header);
        } else if let [l0, l1, ..] = *self.head
            && usize::from(u16::from_le_bytes([l0, l1])) < HEADER_BYTES
        {
            return Err(DecodeError::LengthTooSmall);
        }
        Ok(())
    }

    fn take(&mut self, mut part: Piece, header: &Header, pool: &mut Pool, copy_below_bytes: u32) {
        let large = header.kind.is_data()
            && !header.flags.has(Flags::XHDR)
            && u32::from(header.len) >= copy_below_bytes
            && !pool.pressed(Home::Ingress, 0);
        if large && self.held.is_empty() {
            // The front must be checkable in one range, whatever follows by reference.
            let plain = header.flags == Flags::default() && header.kind == laneway_proto::header::Kind::PUB;
            let front = if plain { HEADER_BYTES } else { CHECK_BYTES };
            let missing = (front.saturating_sub(self.head.len()) as u32).min(part.len);
            self.append(Piece { len: missing, ..part }, pool);
            part = Piece { start: part.start + missing, len: part.len - missing, ..part };
        }
        if part.len == 0 {
            return;
        }
        if large && part.len >= HELD_PIECE_BYTES_MIN && self.held.len() < HELD_PIECES_MAX {
            pool.retain(part.buf);
            self.held.push(part);
            self.held_bytes += part.len as usize;
            return;
        }
        self.collect(pool);
        self.append(part, pool);
    }

    /// Copies a part behind what is collected.
    pub fn append(&mut self, part: Piece, pool: &mut Pool) {
        pool.on_copied(part.len as usize);
        self.head.extend_from_slice(pool.piece(part));
    }

    /// Copies what is held, so that the whole frame lies in `head`.
    pub fn collect(&mut self, pool: &mut Pool) {
        for piece in self.held.drain(..) {
            pool.on_copied(piece.len as usize);
            self.head.extend_from_slice(pool.piece(piece));
            pool.release(piece.buf);
        }
        self.held_bytes = 0;
    }

    /// Forgets the frame and releases what is held.
    pub fn clear(&mut self, pool: &mut Pool) {
        for piece in self.held.drain(..) {
            pool.release(piece.buf);
        }
        self.head.clear();
        self.held_bytes = 0;
        self.header = None;
    }

    fn have(&self) -> usize {
        self.head.len() + self.held_bytes
    }
}

/// What waits to be routed.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Ranges received, in order; each holds one reference.
    pub pieces: VecDeque<Piece>,
    /// The frame across buffers, if any.
    pub partial: Option<Box<Partial>>,
    /// A run whose way was blocked: already checked and renamed. It is the partial frame if there is one, else it stands
    /// at the front of the first piece.
    pub stalled: Option<RunInfo>,
    /// What a publisher may send that keeps to credit, and what of it waits; made when it first publishes.
    pub granted: Option<Box<Granted>>,
}

impl Inbox {
    /// Appends a range that has arrived, and takes over its reference.
    pub fn push(&mut self, piece: Piece) {
        if self.pieces.len() == self.pieces.capacity() && !self.pieces.is_empty() {
            self.pieces.reserve(PIECES_GROWTH);
        }
        self.pieces.push_back(piece);
    }

    /// Whether a frame is incomplete.
    pub fn is_incomplete(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| !partial.is_whole())
    }

    /// Drops everything.
    pub fn clear(&mut self, pool: &mut Pool) {
        for piece in self.pieces.drain(..) {
            pool.release(piece.buf);
        }
        if let Some(mut partial) = self.partial.take() {
            partial.clear(pool);
        }
        self.stalled = None;
        if let Some(granted) = &mut self.granted {
            granted.clear(pool);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::{BufId, PoolShape};
    use laneway_proto::header::Kind;

    const SHAPE: PoolShape = PoolShape {
        ingress_buffer_bytes: 8_192,
        ingress_buffers: 8,
        ingress_buffers_max: 8,
        egress_buffer_bytes: 64,
        egress_buffers_kept: 4,
    };

    fn received(pool: &mut Pool, bytes: &[u8]) -> Piece {
        let (buf, mut memory) = pool.lend().expect("a free buffer");
        memory[..bytes.len()].copy_from_slice(bytes);
        pool.restore(buf, memory);
        Piece { buf, start: 0, len: bytes.len() as u32 }
    }

    fn frame(body: usize) -> Vec<u8> {
        let mut bytes = Header { topic: 70_000, lane: 1, ..Header::new(Kind::PUB, body) }.encode().to_vec();
        bytes.extend((0..body).map(|index| index as u8));
        bytes
    }

    fn whole(partial: &Partial, pool: &Pool) -> Vec<u8> {
        let mut bytes = partial.head().to_vec();
        partial.held().iter().for_each(|&piece| bytes.extend_from_slice(pool.piece(piece)));
        bytes
    }

    #[test]
    fn a_frame_split_anywhere_is_put_together_and_every_buffer_comes_back() {
        for body in [0, 100, 3_000] {
            let bytes = frame(body);
            for cut in 1..bytes.len() {
                let mut pool = Pool::new(SHAPE);
                let mut partial = Partial::default();
                for part in [&bytes[..cut], &bytes[cut..]] {
                    assert!(!partial.is_whole());
                    let piece = received(&mut pool, part);
                    assert_eq!(partial.feed(piece, &mut pool, 1_024, 65_535), Ok(piece.len));
                    pool.release(piece.buf);
                }
                assert!(partial.is_whole(), "body {body}, cut {cut}");
                assert_eq!(whole(&partial, &pool), bytes);
                partial.clear(&mut pool);
                assert_eq!(pool.held(), 0);
            }
        }
    }

    #[test]
    fn a_large_payload_is_held_and_not_copied_and_bytes_of_the_next_frame_are_left() {
        let bytes = frame(6_000);
        let mut pool = Pool::new(SHAPE);
        let mut partial = Partial::default();
        let first = received(&mut pool, &bytes[..3_000]);
        let second = received(&mut pool, &[&bytes[3_000..], &[1, 2, 3][..]].concat());
        assert_eq!(partial.feed(first, &mut pool, 1_024, 65_535), Ok(3_000));
        assert_eq!(partial.feed(second, &mut pool, 1_024, 65_535), Ok(second.len - 3));
        assert!(partial.is_whole());
        assert_eq!((partial.head().len(), pool.stats().bytes_copied), (HEADER_BYTES, 0));
    }

    #[test]
    fn of_a_large_batch_only_what_is_checked_is_copied() {
        let mut bytes = frame(6_000);
        bytes[2] = Kind::BATCH.0;
        let mut pool = Pool::new(SHAPE);
        for cut in [1, 15, 16, 17, CHECK_BYTES, 3_000] {
            let copied = pool.stats().bytes_copied;
            let mut partial = Partial::default();
            for part in [&bytes[..cut], &bytes[cut..]] {
                let piece = received(&mut pool, part);
                assert_eq!(partial.feed(piece, &mut pool, 1_024, 65_535), Ok(piece.len));
                pool.release(piece.buf);
            }
            assert_eq!(whole(&partial, &pool), bytes, "cut at {cut}");
            assert_eq!(partial.head().len(), CHECK_BYTES, "cut at {cut}");
            assert_eq!(pool.stats().bytes_copied - copied, (CHECK_BYTES - HEADER_BYTES) as u64, "cut at {cut}");
            partial.clear(&mut pool);
            assert_eq!(pool.held(), 0);
        }
    }

    #[test]
    fn dribbled_bytes_do_not_pin_a_buffer_each() {
        let bytes = frame(3_000);
        let mut pool = Pool::new(SHAPE);
        let mut partial = Partial::default();
        for byte in &bytes {
            let piece = received(&mut pool, &[*byte]);
            partial.feed(piece, &mut pool, 1_024, 65_535).expect("valid");
            pool.release(piece.buf);
            assert_eq!(pool.held(), 0);
        }
        assert_eq!(whole(&partial, &pool), bytes);
    }

    #[test]
    fn a_false_length_is_found_at_its_second_byte() {
        let mut pool = Pool::new(SHAPE);
        let piece = received(&mut pool, &[3, 0]);
        let mut partial = Partial::default();
        assert_eq!(partial.feed(piece, &mut pool, 1_024, 65_535), Err(DecodeError::LengthTooSmall));
        assert_eq!(piece.buf, BufId(7));
    }
}
