//! Payload buffers: allocated once, counted by hand, named by [`BufId`].
//!
//! A buffer has one of three homes, where its memory goes when the last reference is released: the *ingress* class is
//! lent to the kernel, which fills it; the *egress* class is filled by the shard for one connection; a *mesh* buffer was
//! adopted from another shard and goes back to it. While the kernel owns an ingress buffer, the pool does not hold its
//! memory at all, so nobody can read what is being written.

use std::collections::VecDeque;

/// The egress class grows by this part of itself.
const EGRESS_GROWTH_DIVISOR: u32 = 8;

/// Names a buffer of one shard's pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct BufId(pub u32);

/// A range of one buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The buffer.
    pub buf: BufId,
    /// First byte.
    pub start: u32,
    /// Bytes.
    pub len: u32,
}

/// Where a buffer's memory goes when its last reference is released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// Back to the kernel, to be filled again.
    Ingress,
    /// To the free list of buffers the shard fills itself.
    Egress,
    /// To the shard that sent it.
    Mesh(u8),
}

/// Sizes of a pool. Counts are buffers, sizes are bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolShape {
    /// Bytes of one ingress buffer.
    pub ingress_buffer_bytes: u32,
    /// Ingress buffers at the start.
    pub ingress_buffers: u16,
    /// Ingress buffers at most; more are added while fewer than a quarter are with the kernel.
    pub ingress_buffers_max: u16,
    /// Bytes of one egress buffer.
    pub egress_buffer_bytes: u32,
    /// Free egress buffers kept for reuse; more are given back to the system.
    pub egress_buffers_kept: u32,
}

#[derive(Debug)]
struct Slot {
    /// `None` while the kernel owns the memory, or while the slot is unused.
    bytes: Option<Box<[u8]>>,
    refs: u32,
    home: Home,
}

/// What the pool did, for the counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PoolStats {
    /// Ingress buffers added after the start.
    pub ingress_grown: u64,
    /// Egress buffers allocated; steady state reuses them.
    pub egress_allocated: u64,
    /// Payload bytes copied by the shard, for the zero-copy promise.
    pub bytes_copied: u64,
}

/// The buffers of one shard.
///
/// Invariant: ingress buffers are numbered `0..ingress_buffers_max`, and
/// `lent + free_ingress + pinned == ingress_total <= ingress_buffers_max`.
#[derive(Debug)]
pub struct Pool {
    shape: PoolShape,
    slots: Vec<Slot>,
    ingress_total: u32,
    lent: u32,
    free_ingress: Vec<BufId>,
    free_egress: Vec<BufId>,
    egress_total: u32,
    free_slots: Vec<BufId>,
    adopted: Vec<u32>,
    homeward: VecDeque<(u8, Box<[u8]>)>,
    stats: PoolStats,
}

impl Pool {
    /// Allocates the initial ingress buffers.
    pub fn new(shape: PoolShape) -> Self {
        let unused = || Slot { bytes: None, refs: 0, home: Home::Ingress };
        let mut pool = Self {
            shape,
            slots: (0..shape.ingress_buffers_max).map(|_| unused()).collect(),
            ingress_total: 0,
            lent: 0,
            free_ingress: Vec::with_capacity(usize::from(shape.ingress_buffers_max)),
            free_egress: Vec::new(),
            egress_total: 0,
            free_slots: Vec::new(),
            adopted: Vec::new(),
            homeward: VecDeque::new(),
            stats: PoolStats::default(),
        };
        while pool.ingress_total < u32::from(shape.ingress_buffers) && pool.grow_ingress() {}
        pool.stats.ingress_grown = 0;
        pool
    }

    /// The sizes it was made with.
    pub const fn shape(&self) -> &PoolShape {
        &self.shape
    }

    /// What it did so far.
    pub const fn stats(&self) -> &PoolStats {
        &self.stats
    }

    /// The memory of a buffer somebody holds.
    ///
    /// # Panics
    /// If the kernel owns it: a bug of the shard.
    pub fn bytes(&self, buf: BufId) -> &[u8] {
        self.slots[buf.0 as usize].bytes.as_deref().expect("a held buffer has its memory")
    }

    /// The bytes of a piece.
    pub fn piece(&self, piece: Piece) -> &[u8] {
        &self.bytes(piece.buf)[piece.start as usize..(piece.start + piece.len) as usize]
    }

    /// The memory of a buffer somebody holds, to be written. Bytes already handed to the kernel may not be changed.
    pub fn bytes_mut(&mut self, buf: BufId) -> &mut [u8] {
        self.slots[buf.0 as usize].bytes.as_deref_mut().expect("a held buffer has its memory")
    }

    /// The bytes of a piece somebody holds, to be written under the same rule.
    pub fn piece_mut(&mut self, piece: Piece) -> &mut [u8] {
        &mut self.bytes_mut(piece.buf)[piece.start as usize..(piece.start + piece.len) as usize]
    }

    /// Copies a piece into another buffer somebody holds, at `start`.
    pub fn copy(&mut self, from: Piece, to: BufId, start: u32) {
        debug_assert!(from.buf != to, "a buffer is not copied into itself");
        let slots = self.slots.get_disjoint_mut([from.buf.0 as usize, to.0 as usize]);
        let Ok([Slot { bytes: Some(source), .. }, Slot { bytes: Some(target), .. }]) = slots else {
            unreachable!("two held buffers have their memory");
        };
        let source = &source[from.start as usize..(from.start + from.len) as usize];
        target[start as usize..(start + from.len) as usize].copy_from_slice(source);
    }

    /// Where the buffer will go.
    pub fn home(&self, buf: BufId) -> Home {
        self.slots[buf.0 as usize].home
    }

    /// Adds a reference.
    pub fn retain(&mut self, buf: BufId) {
        let slot = &mut self.slots[buf.0 as usize];
        assert!(slot.refs > 0, "buffer {} is held by somebody before it is shared", buf.0);
        slot.refs += 1;
    }

    /// Drops a reference; the last one sends the buffer home.
    pub fn release(&mut self, buf: BufId) {
        let slot = &mut self.slots[buf.0 as usize];
        assert!(slot.refs > 0, "buffer {} was released more often than held", buf.0);
        slot.refs -= 1;
        if slot.refs > 0 {
            return;
        }
        match slot.home {
            Home::Ingress => self.free_ingress.push(buf),
            Home::Egress if self.free_egress.len() < self.shape.egress_buffers_kept as usize => {
                self.free_egress.push(buf);
            }
            Home::Egress => {
                slot.bytes = None;
                self.egress_total -= 1;
                self.free_slots.push(buf);
            }
            Home::Mesh(shard) => {
                let bytes = slot.bytes.take().expect("an adopted buffer has its memory");
                self.free_slots.push(buf);
                self.adopted[usize::from(shard)] -= 1;
                self.homeward.push_back((shard, bytes));
            }
        }
    }

    /// Takes the memory of a free ingress buffer out, to be lent to the kernel. Grows the class when the kernel has
    /// less than a quarter of it.
    pub fn lend(&mut self) -> Option<(BufId, Box<[u8]>)> {
        if self.free_ingress.is_empty() && self.lent * 4 < self.ingress_total {
            self.grow_ingress();
        }
        let buf = self.free_ingress.pop()?;
        let bytes = self.slots[buf.0 as usize].bytes.take().expect("a free buffer has its memory");
        self.lent += 1;
        Some((buf, bytes))
    }

    /// Takes back memory from the kernel. The caller holds the one reference.
    pub fn restore(&mut self, buf: BufId, bytes: Box<[u8]>) {
        let slot = &mut self.slots[buf.0 as usize];
        assert!(slot.bytes.is_none() && slot.refs == 0, "buffer {} was not lent", buf.0);
        slot.bytes = Some(bytes);
        slot.refs = 1;
        self.lent -= 1;
    }

    /// Ingress buffers the kernel will have once every one that may be lent is.
    pub fn lendable(&self) -> u32 {
        let idle = self.lent + self.free_ingress.len() as u32;
        let growth = u32::from(self.shape.ingress_buffers_max) - self.ingress_total;
        // It is grown until a quarter is with the kernel.
        let missing = (self.ingress_total / 4 + 1).saturating_sub(idle);
        idle + missing.min(growth)
    }

    /// Ingress buffers with the kernel.
    pub const fn lent(&self) -> u32 {
        self.lent
    }

    /// Whether more references to buffers of `home` should be avoided by copying, because slow readers already hold
    /// half of what the class may ever have. `mesh_chunks_max` bounds one neighbour's chunks.
    pub fn pressed(&self, home: Home, mesh_chunks_max: u32) -> bool {
        match home {
            Home::Ingress => {
                let pinned = self.ingress_total - self.lent - self.free_ingress.len() as u32;
                pinned * 2 > u32::from(self.shape.ingress_buffers_max)
            }
            Home::Egress => false,
            Home::Mesh(shard) => {
                self.adopted.get(usize::from(shard)).is_some_and(|&adopted| adopted * 2 > mesh_chunks_max)
            }
        }
    }

    /// A buffer for the shard to fill; how many exist is bounded by the outboxes that ask. The caller holds the one
    /// reference.
    pub fn take_egress(&mut self) -> BufId {
        if self.free_egress.is_empty() {
            self.grow_egress();
        }
        let buf = self.free_egress.pop().expect("the class has just grown");
        self.slots[buf.0 as usize].refs = 1;
        buf
    }

    /// Takes over memory that another shard filled. The caller holds the one reference.
    pub fn adopt(&mut self, from: u8, bytes: Box<[u8]>) -> BufId {
        if self.adopted.len() <= usize::from(from) {
            self.adopted.resize(usize::from(from) + 1, 0);
        }
        self.adopted[usize::from(from)] += 1;
        let buf = self.place(bytes, Home::Mesh(from));
        self.slots[buf.0 as usize].refs = 1;
        buf
    }

    /// Memory on its way back to the shard it came from.
    pub fn poll_homeward(&mut self) -> Option<(u8, Box<[u8]>)> {
        self.homeward.pop_front()
    }

    /// Counts payload bytes that were copied.
    pub const fn on_copied(&mut self, bytes: usize) {
        self.stats.bytes_copied += bytes as u64;
    }

    /// Buffers somebody holds: 0 once everything was released.
    pub fn held(&self) -> u32 {
        self.slots.iter().filter(|slot| slot.refs > 0).count() as u32
    }

    /// Ingress buffers that exist.
    pub const fn ingress_total(&self) -> u32 {
        self.ingress_total
    }

    fn place(&mut self, bytes: Box<[u8]>, home: Home) -> BufId {
        let slot = Slot { bytes: Some(bytes), refs: 0, home };
        match self.free_slots.pop() {
            Some(buf) => {
                self.slots[buf.0 as usize] = slot;
                buf
            }
            None => {
                self.slots.push(slot);
                BufId((self.slots.len() - 1) as u32)
            }
        }
    }

    /// Adds an eighth of what there is, so that a use that creeps up buffer by buffer is met by a few steps.
    fn grow_egress(&mut self) {
        let added = (self.egress_total / EGRESS_GROWTH_DIVISOR).min(self.shape.egress_buffers_kept).max(1);
        // Room for all of them at once: they may all be free at the same time.
        self.free_egress.reserve((self.egress_total + added) as usize);
        for _ in 0..added {
            let bytes = vec![0; self.shape.egress_buffer_bytes as usize].into_boxed_slice();
            let buf = self.place(bytes, Home::Egress);
            self.free_egress.push(buf);
        }
        self.egress_total += added;
        self.stats.egress_allocated += u64::from(added);
    }

    fn grow_ingress(&mut self) -> bool {
        if self.ingress_total == u32::from(self.shape.ingress_buffers_max) {
            return false;
        }
        let buf = BufId(self.ingress_total);
        self.slots[buf.0 as usize].bytes = Some(vec![0; self.shape.ingress_buffer_bytes as usize].into_boxed_slice());
        self.free_ingress.push(buf);
        self.ingress_total += 1;
        self.stats.ingress_grown += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: PoolShape = PoolShape {
        ingress_buffer_bytes: 64,
        ingress_buffers: 2,
        ingress_buffers_max: 4,
        egress_buffer_bytes: 32,
        egress_buffers_kept: 1,
    };

    #[test]
    fn an_ingress_buffer_goes_back_to_the_kernel_with_its_last_reference() {
        let mut pool = Pool::new(SHAPE);
        let (buf, bytes) = pool.lend().expect("a free buffer");
        pool.restore(buf, bytes);
        pool.retain(buf);
        pool.release(buf);
        assert_eq!(pool.held(), 1);
        pool.release(buf);
        assert_eq!(pool.held(), 0);
        assert_eq!(pool.lend().map(|(id, _)| id), Some(buf), "it is lent again");
    }

    #[test]
    fn the_ingress_class_grows_to_its_bound_only_while_the_kernel_runs_dry() {
        let mut pool = Pool::new(SHAPE);
        let mut held = Vec::new();
        while let Some((buf, bytes)) = pool.lend() {
            pool.restore(buf, bytes);
            held.push(buf);
        }
        assert_eq!((held.len(), pool.stats().ingress_grown), (4, 2));
        assert!(pool.pressed(Home::Ingress, 0));
        for buf in held {
            pool.release(buf);
        }
        assert!(!pool.pressed(Home::Ingress, 0));
    }

    #[test]
    fn egress_buffers_are_reused_and_a_burst_is_given_back() {
        let mut pool = Pool::new(SHAPE);
        let burst = [pool.take_egress(), pool.take_egress()];
        for buf in burst {
            pool.release(buf);
        }
        assert_eq!(pool.take_egress(), burst[0], "the first one back was kept");
        pool.take_egress();
        assert_eq!(pool.stats().egress_allocated, 3, "the second one was given to the system");
    }

    #[test]
    fn a_use_that_creeps_up_makes_the_egress_class_grow_in_few_steps() {
        let mut pool = Pool::new(PoolShape { egress_buffers_kept: 1_000, ..SHAPE });
        let steps = (1..=800).filter(|_| {
            let before = pool.stats().egress_allocated;
            pool.take_egress();
            pool.stats().egress_allocated > before
        });
        let steps = steps.count();
        assert!((8..=64).contains(&steps), "{steps} steps to 800 buffers");
        assert!(pool.stats().egress_allocated <= 900, "never more than an eighth too many");
    }

    #[test]
    fn adopted_memory_travels_home_when_the_last_reader_is_done() {
        let mut pool = Pool::new(SHAPE);
        let buf = pool.adopt(3, vec![7; 8].into_boxed_slice());
        assert_eq!(pool.piece(Piece { buf, start: 2, len: 2 }), [7, 7]);
        assert_eq!(pool.poll_homeward(), None);
        pool.release(buf);
        assert_eq!(pool.poll_homeward(), Some((3, vec![7; 8].into_boxed_slice())));
    }

    #[test]
    #[should_panic(expected = "released more often than held")]
    fn releasing_twice_is_caught() {
        let mut pool = Pool::new(SHAPE);
        let buf = pool.take_egress();
        pool.release(buf);
        pool.release(buf);
    }
}
