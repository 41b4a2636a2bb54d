//! The provided-buffer ring: ingress memory that the kernel picks from when bytes arrive.
//!
//! The memory of a lent buffer is owned here, so no other code can look at it while the kernel writes.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::SetupError;
use crate::pool::{BufId, Pool};

/// The one buffer group of a shard's ring.
pub(super) const GROUP: u16 = 0;
/// Alignment the kernel asks for.
const PAGE_BYTES: usize = 4096;

/// The ring of free buffers shared with the kernel, and the memory it names.
#[derive(Debug)]
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    layout: Layout,
    mask: u16,
    tail: u16,
    /// Memory of each lent buffer, by buffer id.
    lent: Vec<Option<Box<[u8]>>>,
}

impl BufferRing {
    /// Allocates the ring and tells the kernel. It has a place for every ingress buffer there can be.
    pub(super) fn register(ring: &IoUring, buffers_max: u16) -> Result<Self, SetupError> {
        let count = buffers_max.next_power_of_two();
        let bytes = usize::from(count) * size_of::<BufRingEntry>();
        let layout = Layout::from_size_align(bytes, PAGE_BYTES).expect("a ring of at most 32768 entries has a layout");
        // SAFETY: the layout has a size: `count` is at least 1.
        let memory = unsafe { alloc_zeroed(layout) };
        let entries = NonNull::new(memory.cast::<BufRingEntry>()).ok_or_else(SetupError::out_of_memory)?;
        let this = Self { entries, layout, mask: count - 1, tail: 0, lent: (0..buffers_max).map(|_| None).collect() };
        // SAFETY: `entries` is page-aligned memory for `count` entries and lives until `this` is dropped, which happens
        // after the ring's operations have ended (see `UringIo::drop`) or not at all (`leak`).
        unsafe { ring.submitter().register_buf_ring_with_flags(entries.as_ptr() as u64, count, GROUP, 0) }
            .map_err(|error| SetupError::buffer_ring(&error))?;
        Ok(this)
    }

    /// Lends every free ingress buffer to the kernel.
    pub(super) fn replenish(&mut self, pool: &mut Pool) {
        let before = self.tail;
        while let Some((buf, mut memory)) = pool.lend() {
            let place = usize::from(self.tail & self.mask);
            // SAFETY: `place` is below the number of entries, and the kernel does not read an entry at or behind the
            // tail it was told.
            let entry = unsafe { &mut *self.entries.as_ptr().add(place) };
            entry.set_addr(memory.as_mut_ptr() as u64);
            entry.set_len(memory.len() as u32);
            entry.set_bid(buf.0 as u16);
            let stale = self.lent[buf.0 as usize].replace(memory);
            assert!(stale.is_none(), "buffer {} was lent twice", buf.0);
            self.tail = self.tail.wrapping_add(1);
        }
        if self.tail != before {
            // SAFETY: the tail lives in the first entry's reserved field, as the kernel's ABI defines; the memory is
            // ours, aligned for u16, and only this thread writes it.
            let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr()).cast_mut()) };
            tail.store(self.tail, Ordering::Release);
        }
    }

    /// Gives the memory of a buffer the kernel has filled back to the pool.
    pub(super) fn take_back(&mut self, bid: u16, pool: &mut Pool) -> BufId {
        let buf = BufId(u32::from(bid));
        let memory = self.lent[usize::from(bid)].take().expect("the kernel returns only what it was lent");
        pool.restore(buf, memory);
        buf
    }

    /// Gives all memory up for good, because the kernel may still write to it.
    pub(super) fn leak(&mut self) {
        for memory in self.lent.drain(..).flatten() {
            let _ = Box::leak(memory);
        }
        self.layout = Layout::new::<()>();
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: allocated with this layout in `register`; nothing is in flight any more (else `leak` was called).
            unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) };
        }
    }
}
