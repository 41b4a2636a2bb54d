//! What leaves next, in its order on the link: whole frames, the one in front perhaps partly sent.

use std::collections::VecDeque;

use super::{Counted, Mark, Tail};
use crate::io::SEND_PIECES_MAX;
use crate::pool::{Piece, Pool};

/// Capacity kept by a queue that has run empty.
const IDLE_CAPACITY_MAX: usize = 256;

/// Ranges that were given their place on the link.
///
/// Invariant: `bytes` is the sum of the queued pieces' lengths, and every queued piece holds one reference.
#[derive(Debug, Default)]
pub struct Wire {
    queue: VecDeque<Piece>,
    bytes: u64,
    tail: Tail,
    /// Bytes handed to the door and not answered yet.
    in_flight: Option<u64>,
    /// The frames' numbers, if the peer counts what it receives.
    counted: Option<Box<Counted>>,
    frames_out: u64,
}

impl Wire {
    /// Bytes waiting, those in flight included.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ranges waiting.
    pub fn pieces(&self) -> usize {
        self.queue.len()
    }

    /// Frames of lanes that were pushed so far.
    pub const fn frames_out(&self) -> u64 {
        self.frames_out
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a send is in flight.
    pub const fn in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Bytes of the send in flight.
    pub fn bytes_in_flight(&self) -> u64 {
        self.in_flight.unwrap_or(0)
    }

    /// Appends a copy of `bytes`.
    pub fn push_copy(&mut self, bytes: &[u8], pool: &mut Pool) {
        self.push_copy_seen(bytes, pool, &mut |_, _| {});
    }

    /// Appends a copy of `bytes`; `seen` is shown each range of it.
    pub fn push_copy_seen(&mut self, bytes: &[u8], pool: &mut Pool, seen: &mut impl FnMut(Piece, &mut Pool)) {
        let Self { queue, bytes: total, tail, .. } = self;
        tail.append(bytes, pool, &mut |piece, pool| {
            seen(piece, pool);
            push(queue, total, piece, pool);
        });
    }

    /// Appends a range and takes over the caller's reference.
    pub fn push(&mut self, piece: Piece, pool: &mut Pool) {
        push(&mut self.queue, &mut self.bytes, piece, pool);
    }

    /// Frames of a lane are numbered from now on: the peer will say how many it has received.
    pub fn count_frames(&mut self) {
        self.counted.get_or_insert_default();
    }

    /// The frames' numbers, if the peer counts what it receives.
    pub fn counted(&mut self) -> Option<&mut Counted> {
        self.counted.as_deref_mut()
    }

    /// What was pushed last was so many frames of `lane`; `mark` stands at the last of them.
    pub fn on_frames(&mut self, lane: u8, frames: u32, mark: Option<Mark>) {
        self.frames_out += u64::from(frames);
        if let Some(counted) = &mut self.counted {
            counted.on_frames(lane, frames, mark);
        }
    }

    /// The pieces for the next send, from the front. Marks a send as in flight unless there is nothing to send.
    pub fn start_send(&mut self, out: &mut [Piece; SEND_PIECES_MAX]) -> usize {
        assert!(self.in_flight.is_none(), "a peer has one send in flight");
        let mut bytes = 0;
        let mut count = 0;
        for (place, &piece) in out.iter_mut().zip(&self.queue) {
            *place = piece;
            bytes += u64::from(piece.len);
            count += 1;
        }
        self.in_flight = (count > 0).then_some(bytes);
        count
    }

    /// The send is over and took `sent` bytes from the front. True if that was not all it was given.
    pub fn on_sent(&mut self, sent: u32, pool: &mut Pool) -> bool {
        let given = self.in_flight.take();
        assert!(given.is_some_and(|given| u64::from(sent) <= given), "the kernel takes what it was given, once");
        self.bytes -= u64::from(sent);
        let mut left = sent;
        while let Some(front) = self.queue.front_mut() {
            if left < front.len {
                front.start += left;
                front.len -= left;
                break;
            }
            left -= front.len;
            let buf = front.buf;
            self.queue.pop_front();
            pool.release(buf);
        }
        if self.queue.is_empty() {
            self.on_empty(pool);
        }
        given.is_some_and(|given| u64::from(sent) < given)
    }

    /// Appends everything that waits to `out`, for a peer whose bytes are sent otherwise.
    pub fn drain_to(&mut self, out: &mut Vec<u8>, pool: &mut Pool) {
        for piece in self.queue.drain(..) {
            out.extend_from_slice(pool.piece(piece));
            pool.release(piece.buf);
        }
        self.bytes = 0;
        self.on_empty(pool);
    }

    /// Drops everything that waits. A send in flight keeps its own references.
    pub fn clear(&mut self, pool: &mut Pool) {
        for piece in self.queue.drain(..) {
            pool.release(piece.buf);
        }
        self.bytes = 0;
        self.on_empty(pool);
    }

    /// A send in flight came to an end that took nothing, after [`Self::clear`] or a failure.
    pub const fn on_send_failed(&mut self) {
        self.in_flight = None;
    }

    fn on_empty(&mut self, pool: &mut Pool) {
        self.tail.close(pool);
        if self.queue.capacity() > IDLE_CAPACITY_MAX {
            self.queue.shrink_to(IDLE_CAPACITY_MAX);
        }
    }
}

fn push(queue: &mut VecDeque<Piece>, bytes: &mut u64, piece: Piece, pool: &mut Pool) {
    *bytes += u64::from(piece.len);
    match queue.back_mut() {
        Some(last) if last.buf == piece.buf && last.start + last.len == piece.start => {
            last.len += piece.len;
            pool.release(piece.buf);
        }
        Some(_) | None => queue.push_back(piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::tests::SHAPE;
    use crate::pool::BufId;

    fn start(wire: &mut Wire) -> usize {
        wire.start_send(&mut [Piece { buf: BufId(0), start: 0, len: 0 }; SEND_PIECES_MAX])
    }

    fn waiting(wire: &Wire, pool: &Pool) -> Vec<u8> {
        wire.queue.iter().flat_map(|&piece| pool.piece(piece).to_vec()).collect()
    }

    #[test]
    fn copies_and_ranges_leave_in_the_order_they_came() {
        let mut pool = Pool::new(SHAPE);
        let mut wire = Wire::default();
        let shared = pool.take_egress();
        pool.bytes_mut(shared)[..6].copy_from_slice(b"SHARED");
        wire.push_copy(b"one", &mut pool);
        wire.push_copy(b"two", &mut pool);
        wire.push(Piece { buf: shared, start: 0, len: 6 }, &mut pool);
        wire.push_copy(b"three", &mut pool);
        assert_eq!(waiting(&wire, &pool), b"onetwoSHAREDthree");
        assert_eq!((wire.bytes(), wire.pieces()), (17, 3), "the first two copies are one range");
        wire.clear(&mut pool);
        assert_eq!(pool.held(), 0);
    }

    #[test]
    fn a_short_send_leaves_exactly_the_rest_and_the_last_byte_frees_all_buffers() {
        let mut pool = Pool::new(SHAPE);
        let mut wire = Wire::default();
        let bytes: Vec<u8> = (0..200).collect();
        wire.push_copy(&bytes, &mut pool);
        for left in (0..200).rev() {
            assert!(start(&mut wire) > 0);
            wire.on_sent(1, &mut pool);
            assert_eq!(waiting(&wire, &pool), &bytes[200 - left..]);
        }
        assert_eq!((pool.held(), wire.bytes(), start(&mut wire)), (0, 0, 0));
    }

    #[test]
    fn bytes_appended_during_a_send_are_kept_for_the_next_one() {
        let mut pool = Pool::new(SHAPE);
        let mut wire = Wire::default();
        wire.push_copy(b"abc", &mut pool);
        assert_eq!(start(&mut wire), 1);
        wire.push_copy(b"de", &mut pool);
        wire.on_sent(3, &mut pool);
        assert_eq!(waiting(&wire, &pool), b"de");
    }
}
