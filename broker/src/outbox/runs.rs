//! A queue of whole frames by reference, which can be cut at any frame's border.
//!
//! Frames that lie behind each other in one buffer are one entry, so a queue costs little however many frames are in it;
//! only a queue that has to drop or divide looks at single frames.

use std::collections::VecDeque;

use laneway_proto::frame::extensions::Src;
use laneway_proto::time::Instant;

use super::{FRONT_BYTES, Fragment, Frames, Mark, Marks, Shape, Tail};
use crate::pool::{Home, Piece, Pool};

/// Never too late.
pub const NEVER: Instant = Instant(u64::MAX);
/// Entries a queue has room for once more than a few wait in it.
const CAPACITY_SMALL: usize = 64;
/// Queue capacity that a queue keeps whatever it is used for.
const IDLE_CAPACITY_MAX: usize = 256;
/// Times in a row that a queue has to run empty without having used a quarter of its capacity, before it gives the rest
/// back. A queue that is full again and again keeps its memory.
const UNUSED_TIMES_MAX: u16 = 10_000;
/// Large messages remembered of which a fragment was dropped.
const CUTS_MAX: usize = 16;

/// What the frames of an entry have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Common {
    /// Their topic; 0 in a queue that never drops.
    pub topic: u32,
    /// Until when they are worth sending.
    pub deadline: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    piece: Piece,
    common: Common,
    /// Frames that lie in it and, if its last one goes on in the next entries, in those; 0 in such an entry.
    frames: u32,
    /// The next of the queue's marks stands at the last of those frames.
    marked: bool,
    /// Its first byte is a frame's first.
    starts: bool,
    /// Its last byte is a frame's last.
    ends: bool,
}

/// Frames that are queued together.
#[derive(Clone, Copy, Debug)]
struct Group {
    common: Common,
    frames: u32,
    marked: bool,
    share: bool,
}

/// The queue. Its front is always a frame's first byte; `bytes` is the sum of the entries' lengths; every entry holds one
/// reference on its buffer.
#[derive(Debug, Default)]
pub struct Runs {
    queue: VecDeque<Entry>,
    bytes: u64,
    tail: Tail,
    /// Messages of which a fragment was dropped: they were counted as lost.
    cuts: VecDeque<Src>,
    /// The most entries since the queue was empty.
    entries_peak: u32,
    /// Times in a row that it ran empty without having needed its capacity.
    unused_times: u16,
    /// Made when the first frame comes whose publisher wants to know what became of it.
    marks: Option<Box<Marks>>,
}

/// Frames that left a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Taken {
    /// Their bytes.
    pub bytes: u64,
    /// How many.
    pub frames: u32,
    /// Whom to tell when the last of them is received.
    pub mark: Option<Mark>,
}

impl Runs {
    /// Bytes waiting.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Appends whole frames: by reference if they say so, else copied.
    pub fn push(&mut self, frames: &Frames<'_>, common: Common, pool: &mut Pool) {
        let &Frames { head, pieces, share, count, mark, .. } = frames;
        if let ([], [piece], false, None) = (head, pieces, share, mark)
            && self.extend(*piece, count, common, pool)
        {
            return;
        }
        let marked = mark.is_some_and(|mark| self.mark(mark, frames, pool));
        self.put(head, pieces, Group { common, frames: count, marked, share }, pool);
    }

    fn put(&mut self, head: &[u8], pieces: &[Piece], group: Group, pool: &mut Pool) {
        let Group { common, frames, marked, share } = group;
        let total = head.len() as u64 + pieces.iter().map(|piece| u64::from(piece.len)).sum::<u64>();
        let mut seen = 0;
        let Self { queue, bytes, tail, entries_peak, .. } = self;
        let mut put = |piece: Piece, pool: &mut Pool| {
            let starts = seen == 0;
            seen += u64::from(piece.len);
            *bytes += u64::from(piece.len);
            let (frames, marked) = if starts { (frames, marked) } else { (0, false) };
            append(queue, Entry { piece, common, frames, marked, starts, ends: seen == total }, pool);
            *entries_peak = (*entries_peak).max(queue.len() as u32);
        };
        tail.append(head, pool, &mut put);
        for &piece in pieces {
            if share {
                pool.retain(piece.buf);
                put(piece, pool);
            } else {
                tail.append_piece(piece, pool, &mut put);
            }
        }
    }

    /// The usual way of a small run: copied behind the last one, as a part of its entry. False if it cannot be.
    fn extend(&mut self, piece: Piece, count: u32, common: Common, pool: &mut Pool) -> bool {
        let Some(last) = self.queue.back_mut() else { return false };
        let goes_on = last.starts && last.ends && last.common == common && !last.marked;
        if !goes_on || !self.tail.extend(last.piece, piece, pool) {
            return false;
        }
        last.piece.len += piece.len;
        last.frames += count;
        self.bytes += u64::from(piece.len);
        true
    }

    #[cold]
    fn mark(&mut self, mark: Mark, frames: &Frames<'_>, pool: &Pool) -> bool {
        let front = match frames.pieces {
            [piece, ..] if frames.head.is_empty() => pool.piece(*piece),
            _ => frames.head,
        };
        self.marks.get_or_insert_default().push(mark, front)
    }

    /// The topic of each entry; not again if it is that of the entry before.
    pub fn topics(&self) -> impl Iterator<Item = u32> {
        let topics = self.queue.iter().map(|entry| entry.common.topic);
        topics.scan(0, |before, topic| Some((topic != std::mem::replace(before, topic)).then_some(topic))).flatten()
    }

    /// Topic and deadline of the frame in front.
    pub fn front(&self) -> Option<Common> {
        self.queue.front().map(|entry| entry.common)
    }

    /// Bytes of the frame in front; 0 if nothing waits.
    pub fn front_bytes(&self, pool: &Pool) -> u32 {
        if self.queue.is_empty() { 0 } else { self.shape_of_front(pool).len }
    }

    /// Moves whole frames of one entry to `put`, with their references: as many as fit into `bytes_max`, at least one.
    pub fn take(&mut self, bytes_max: u64, pool: &mut Pool, put: &mut impl FnMut(Piece, &mut Pool)) -> Taken {
        let mut taken = Taken::default();
        let Some(front) = self.queue.front() else { return taken };
        if u64::from(front.piece.len) > bytes_max || !front.ends && self.front_group_bytes() > bytes_max {
            let (bytes, frames) = match whole_frames(front.piece, bytes_max, pool) {
                (0, _) => (self.front_bytes(pool), 1),
                fit => fit,
            };
            return self.take_frames(bytes, frames, pool, put);
        }
        while let Some(entry) = self.queue.pop_front() {
            taken.bytes += u64::from(entry.piece.len);
            taken.frames += entry.frames;
            if entry.marked {
                taken.mark = self.marks.as_mut().and_then(|marks| marks.pop());
            }
            put(entry.piece, pool);
            if entry.ends {
                break;
            }
        }
        self.bytes -= taken.bytes;
        if self.queue.is_empty() {
            self.on_empty(pool);
        }
        taken
    }

    /// Moves so many whole frames, which have `bytes`, off the front.
    fn take_frames(
        &mut self,
        bytes: u32,
        frames: u32,
        pool: &mut Pool,
        put: &mut impl FnMut(Piece, &mut Pool),
    ) -> Taken {
        let mut taken = Taken { bytes: u64::from(bytes), frames, mark: None };
        let Some(front) = self.queue.front() else { return taken };
        let (left, marked) = (front.frames - frames, front.marked);
        self.bytes -= taken.bytes;
        let mut rest = bytes;
        while let Some(front) = self.queue.front_mut()
            && rest >= front.piece.len
        {
            rest -= front.piece.len;
            put(front.piece, pool);
            self.queue.pop_front();
        }
        if left == 0 && marked {
            taken.mark = self.marks.as_mut().and_then(|marks| marks.pop());
        }
        match self.queue.front_mut() {
            Some(front) if left > 0 => {
                if rest > 0 {
                    pool.retain(front.piece.buf);
                    put(Piece { len: rest, ..front.piece }, pool);
                }
                front.piece.start += rest;
                front.piece.len -= rest;
                (front.frames, front.marked, front.starts) = (left, marked, true);
            }
            Some(_) => {}
            None => self.on_empty(pool),
        }
        taken
    }

    /// Bytes of the entries in front up to the first one that ends with a frame.
    fn front_group_bytes(&self) -> u64 {
        let mut bytes = 0;
        for entry in &self.queue {
            bytes += u64::from(entry.piece.len);
            if entry.ends {
                break;
            }
        }
        bytes
    }

    /// Drops the frame in front, and if it is a fragment, those of its message that follow it. Returns its topic and the
    /// messages that are lost by it.
    pub fn drop_front(&mut self, pool: &mut Pool) -> Option<(u32, u32)> {
        self.front()?;
        let shape = self.shape_of_front(pool);
        let topic = shape.topic;
        self.advance(shape.len, pool);
        let Some(fragment) = shape.fragment else { return Some((topic, shape.messages)) };
        let messages = u32::from(!self.is_cut(fragment.src));
        let mut last = fragment.last;
        while !last && !self.queue.is_empty() {
            let next = self.shape_of_front(pool);
            let Some(follows) = next.fragment.filter(|next| next.src == fragment.src) else { break };
            self.advance(next.len, pool);
            last = follows.last;
        }
        self.note_cut(Fragment { last, ..fragment });
        Some((topic, messages))
    }

    /// Whether a part of the fragment's message that came before it was dropped.
    pub fn is_rest_of_cut(&self, fragment: Fragment) -> bool {
        fragment.index > 0 && self.is_cut(fragment.src)
    }

    /// A fragment was refused before it was queued; returns the messages that are lost by it.
    pub fn refuse(&mut self, fragment: Fragment) -> u32 {
        let messages = u32::from(!self.is_cut(fragment.src));
        self.note_cut(fragment);
        messages
    }

    /// Moves everything out of buffers that the shard receives into, or that other shards lent: the queue may wait for long.
    pub fn copy_out(&mut self, pool: &mut Pool) {
        if self.queue.iter().all(|entry| pool.home(entry.piece.buf) == Home::Egress) {
            return;
        }
        // Copies go to buffers of their own: what is copied may lie in the one that was being filled.
        self.tail.close(pool);
        let old = std::mem::take(&mut self.queue);
        self.bytes = 0;
        let (mut parts, mut group) = (Vec::new(), None);
        for Entry { piece, common, frames, marked, ends, .. } in old {
            parts.push(piece);
            let first = *group.get_or_insert(Group { common, frames, marked, share: false });
            if ends {
                self.put(&[], &parts, first, pool);
                group = None;
                parts.drain(..).for_each(|piece| pool.release(piece.buf));
            }
        }
        assert!(parts.is_empty(), "a queue holds whole frames");
    }

    /// Drops everything.
    pub fn clear(&mut self, pool: &mut Pool) {
        for entry in self.queue.drain(..) {
            pool.release(entry.piece.buf);
        }
        self.bytes = 0;
        self.marks = None;
        self.on_empty(pool);
    }

    fn is_cut(&self, src: Src) -> bool {
        self.cuts.contains(&src)
    }

    fn note_cut(&mut self, fragment: Fragment) {
        self.cuts.retain(|cut| *cut != fragment.src);
        if !fragment.last {
            if self.cuts.len() == CUTS_MAX {
                self.cuts.pop_front();
            }
            self.cuts.push_back(fragment.src);
        }
    }

    fn shape_of_front(&self, pool: &Pool) -> Shape {
        if let Some(entry) = self.queue.front()
            && let bytes = pool.piece(entry.piece)
            && bytes.len() >= FRONT_BYTES
        {
            return Shape::of(bytes);
        }
        let mut front = [0; FRONT_BYTES];
        let mut have = 0;
        for entry in &self.queue {
            let bytes = pool.piece(entry.piece);
            let part = bytes.len().min(FRONT_BYTES - have);
            front[have..have + part].copy_from_slice(&bytes[..part]);
            have += part;
            if have == FRONT_BYTES {
                break;
            }
        }
        Shape::of(&front[..have])
    }

    /// Drops the frame in front, which has so many bytes. Those it is marked together with are then not received in full.
    fn advance(&mut self, mut bytes: u32, pool: &mut Pool) {
        self.bytes -= u64::from(bytes);
        let mut left = 0;
        if let Some(front) = self.queue.front() {
            left = front.frames - 1;
            if front.marked {
                self.marks.as_mut().and_then(|marks| marks.pop());
            }
        }
        // Whether the entry in front holds frames that were queued together with this one.
        let mut same = true;
        while let Some(front) = self.queue.front_mut() {
            if same {
                (front.frames, front.marked) = (left, false);
            }
            if bytes < front.piece.len {
                front.piece.start += bytes;
                front.piece.len -= bytes;
                front.starts = true;
                return;
            }
            bytes -= front.piece.len;
            same = !front.ends;
            pool.release(front.piece.buf);
            self.queue.pop_front();
        }
        assert!(bytes == 0, "a queue holds whole frames");
        self.on_empty(pool);
    }

    fn on_empty(&mut self, pool: &mut Pool) {
        self.tail.close(pool);
        let peak = std::mem::take(&mut self.entries_peak) as usize;
        if self.queue.capacity() <= IDLE_CAPACITY_MAX || peak * 4 > self.queue.capacity() {
            self.unused_times = 0;
            return;
        }
        self.unused_times += 1;
        if self.unused_times == UNUSED_TIMES_MAX {
            self.unused_times = 0;
            self.queue.shrink_to(IDLE_CAPACITY_MAX.max(peak * 2));
        }
    }
}

/// Appends an entry, as a part of the last one if it touches that. What begins inside a frame stays an entry of its own,
/// so that a frame in parts is never divided.
fn append(queue: &mut VecDeque<Entry>, entry: Entry, pool: &mut Pool) {
    match queue.back_mut() {
        Some(last)
            if last.piece.buf == entry.piece.buf
                && last.piece.start + last.piece.len == entry.piece.start
                && last.common == entry.common
                && (if entry.starts { last.starts && !last.marked && !entry.marked } else { !last.ends }) =>
        {
            last.piece.len += entry.piece.len;
            last.frames += entry.frames;
            last.ends = entry.ends;
            pool.release(entry.piece.buf);
        }
        Some(_) | None => {
            if queue.len() == queue.capacity() && !queue.is_empty() {
                queue.reserve(CAPACITY_SMALL.max(queue.len()));
            }
            queue.push_back(entry);
        }
    }
}

/// Bytes and number of the whole frames at the front of a range that fit into `bytes_max`, at least the first; 0 if that
/// goes on in the next entry.
fn whole_frames(piece: Piece, bytes_max: u64, pool: &Pool) -> (u32, u32) {
    let bytes = pool.piece(piece);
    let (mut at, mut frames) = (0, 0);
    while let Some([l0, l1]) = bytes.get(at..at + 2) {
        let next = at + usize::from(u16::from_le_bytes([*l0, *l1]));
        if next > bytes.len() {
            break;
        }
        if at > 0 && next as u64 > bytes_max {
            break;
        }
        at = next;
        frames += 1;
    }
    (at as u32, frames)
}

#[cfg(test)]
mod tests;
