//! The index relay: frames carry a 4-byte index in front of their payload, and subscriber `k` gets those of index `k`.
//!
//! ```text
//! u32 len | u32 index | payload        len counts the index
//! ```
//! What a broker is compared with when one stream is spread over many topics: frames of one index do not stand side by
//! side, so they are copied together into a chunk for their subscriber.

use laneway_broker::pool::{BufId, Piece, Pool};

use super::frames::{LENGTH_BYTES, frame_bytes};
use super::ring::{self, Distribute, Outboxes};
use super::{Job, RECEIVE_BYTES};
use crate::error::{Error, Result};

/// Whom the pool gives the memory of chunks back to; there is only this relay.
const HOME: u8 = 0;

pub(super) fn serve(job: Job) -> Result<()> {
    ring::serve::<ByIndex>(job)
}

/// Frames copied behind each other for one subscriber.
#[derive(Clone, Debug)]
struct Chunk {
    place: usize,
    memory: Box<[u8]>,
    filled: usize,
}

/// Copies each frame to the subscriber its index names.
#[derive(Debug, Default)]
struct ByIndex {
    /// The start of a frame that is not complete.
    partial: Vec<u8>,
    /// What this receive brought, at most one chunk for each subscriber.
    filling: Vec<Option<Chunk>>,
    full: Vec<Chunk>,
    spare: Vec<Box<[u8]>>,
}

impl ByIndex {
    /// Appends a whole frame to the chunk it belongs to; a frame nobody waits for is dropped.
    fn deliver(&mut self, mut frame: &[u8]) -> Result<()> {
        let index = frame.get(LENGTH_BYTES..).and_then(|rest| rest.first_chunk::<4>());
        let Some(place) = index.map(|bytes| u32::from_le_bytes(*bytes) as usize) else {
            return Err(Error::Failed("a frame is too short for an index".into()));
        };
        let Some(slot) = self.filling.get_mut(place) else { return Ok(()) };
        while !frame.is_empty() {
            let chunk = slot.get_or_insert_with(|| {
                let memory = self.spare.pop().unwrap_or_else(|| vec![0; RECEIVE_BYTES].into_boxed_slice());
                Chunk { place, memory, filled: 0 }
            });
            let room = &mut chunk.memory[chunk.filled..];
            let count = room.len().min(frame.len());
            room[..count].copy_from_slice(&frame[..count]);
            chunk.filled += count;
            frame = &frame[count..];
            if count == room.len() {
                self.full.extend(slot.take());
            }
        }
        Ok(())
    }

    /// Copies the next bytes of the stream to where they belong.
    fn sort(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = &bytes[self.complete(bytes)?..];
        while let Some(frame) = frame_bytes(rest)?.and_then(|count| rest.get(..count)) {
            self.deliver(frame)?;
            rest = &rest[frame.len()..];
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// Completes the frame that began in earlier bytes; returns how many bytes of `bytes` it took.
    fn complete(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut taken = 0;
        let mut partial = std::mem::take(&mut self.partial);
        while !partial.is_empty() {
            let wanted = frame_bytes(&partial)?.unwrap_or(LENGTH_BYTES);
            let count = (wanted - partial.len()).min(bytes.len() - taken);
            partial.extend_from_slice(&bytes[taken..taken + count]);
            taken += count;
            if frame_bytes(&partial)? == Some(partial.len()) {
                self.deliver(&partial)?;
                partial.clear();
            } else if taken == bytes.len() {
                break;
            }
        }
        self.partial = partial;
        Ok(taken)
    }
}

impl Distribute for ByIndex {
    fn on_received(&mut self, buf: BufId, len: u32, pool: &mut Pool, outboxes: &mut Outboxes) -> Result<()> {
        while let Some((_, memory)) = pool.poll_homeward() {
            self.spare.push(memory);
        }
        self.filling.resize_with(outboxes.len(), || None);
        self.sort(&pool.bytes(buf)[..len as usize])?;
        self.full.extend(self.filling.iter_mut().filter_map(Option::take));
        for Chunk { place, memory, filled } in self.full.drain(..) {
            let chunk = pool.adopt(HOME, memory);
            outboxes[place].push(Piece { buf: chunk, start: 0, len: filled as u32 }, pool);
            pool.release(chunk);
        }
        Ok(())
    }

    fn on_left(&mut self, _pool: &mut Pool) {
        self.partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(index: u32, text: &[u8]) -> Vec<u8> {
        let len = 4 + text.len() as u32;
        [&len.to_le_bytes()[..], &index.to_le_bytes(), text].concat()
    }

    #[test]
    fn frames_reach_the_subscriber_their_index_names_however_the_stream_is_cut() {
        let stream = [frame(0, b"a"), frame(1, b"bb"), frame(9, b"nobody"), frame(0, b""), frame(1, b"c")].concat();
        for cut in 1..stream.len() {
            let mut relay = ByIndex { filling: vec![None, None], ..ByIndex::default() };
            for part in stream.chunks(cut) {
                relay.sort(part).expect("good");
            }
            let got: Vec<_> = relay.filling.iter().flatten().map(|chunk| &chunk.memory[..chunk.filled]).collect();
            assert_eq!(got[0], [frame(0, b"a"), frame(0, b"")].concat(), "cut by {cut}");
            assert_eq!(got[1], [frame(1, b"bb"), frame(1, b"c")].concat(), "cut by {cut}");
        }
    }
}
