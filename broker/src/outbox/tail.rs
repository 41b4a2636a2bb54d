//! The buffer that copies are appended to, so that many small ones leave as one range.

use crate::pool::{BufId, Piece, Pool};

/// A buffer being filled.
#[derive(Debug, Default)]
pub struct Tail {
    open: Option<(BufId, u32)>,
}

impl Tail {
    /// Appends a copy of `bytes`; `put` gets each range written, with one reference of its own.
    pub fn append(&mut self, mut bytes: &[u8], pool: &mut Pool, put: &mut impl FnMut(Piece, &mut Pool)) {
        while !bytes.is_empty() {
            let (buf, start, room) = self.room(pool);
            let (now, later) = bytes.split_at(bytes.len().min(room as usize));
            pool.bytes_mut(buf)[start as usize..start as usize + now.len()].copy_from_slice(now);
            self.written(Piece { buf, start, len: now.len() as u32 }, pool, put);
            bytes = later;
        }
    }

    /// Appends a copy of a piece's bytes, like [`Self::append`].
    pub fn append_piece(&mut self, mut piece: Piece, pool: &mut Pool, put: &mut impl FnMut(Piece, &mut Pool)) {
        while piece.len > 0 {
            let (buf, start, room) = self.room(pool);
            let len = piece.len.min(room);
            pool.copy(Piece { len, ..piece }, buf, start);
            self.written(Piece { buf, start, len }, pool, put);
            piece.start += len;
            piece.len -= len;
        }
    }

    /// Appends a copy of a piece's bytes right behind `last`, if that is where the buffer goes on and there is room. The
    /// owner of `last` makes it so much longer: no reference changes.
    pub fn extend(&mut self, last: Piece, piece: Piece, pool: &mut Pool) -> bool {
        let Some((buf, filled)) = &mut self.open else { return false };
        if *buf != last.buf
            || *filled != last.start + last.len
            || *filled + piece.len > pool.shape().egress_buffer_bytes
        {
            return false;
        }
        pool.copy(piece, *buf, *filled);
        pool.on_copied(piece.len as usize);
        *filled += piece.len;
        true
    }

    /// Lets the buffer go; what was written stays with those who have ranges of it.
    pub fn close(&mut self, pool: &mut Pool) {
        if let Some((buf, _)) = self.open.take() {
            pool.release(buf);
        }
    }

    /// The buffer to copy into, the first free byte of it, and how many are free (at least one).
    fn room(&mut self, pool: &mut Pool) -> (BufId, u32, u32) {
        let size = pool.shape().egress_buffer_bytes;
        if let Some((full, _)) = self.open.take_if(|(_, filled)| *filled == size) {
            pool.release(full);
        }
        let (buf, filled) = *self.open.get_or_insert_with(|| (pool.take_egress(), 0));
        (buf, filled, size - filled)
    }

    fn written(&mut self, piece: Piece, pool: &mut Pool, put: &mut impl FnMut(Piece, &mut Pool)) {
        pool.on_copied(piece.len as usize);
        self.open = Some((piece.buf, piece.start + piece.len));
        pool.retain(piece.buf);
        put(piece, pool);
    }
}
