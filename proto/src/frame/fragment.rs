//! Cutting large messages, and checking that their fragments arrive as they were cut.
//!
//! All fragments but the last carry exactly `fragment_bytes`, so a fragment's place in the message is
//! `index * fragment_bytes` and any fragment is enough to reserve the whole message once.

use core::ops::Range;

use crate::error::PeerFault;
use crate::frame::extensions::Frag;
use crate::limits::FRAGMENTS_MAX;

/// Cuts a message of `total_len` bytes; yields each fragment's block and the payload range it carries.
#[derive(Clone, Debug)]
pub struct Cutter {
    total_len: u32,
    fragment_bytes: u32,
    count: u16,
    index: u16,
}

impl Cutter {
    /// `None` if the message needs no cutting, or would need more fragments than a message may have.
    pub const fn new(total_len: u32, fragment_bytes: u32) -> Option<Self> {
        if fragment_bytes == 0 || total_len <= fragment_bytes {
            return None;
        }
        let count = total_len.div_ceil(fragment_bytes);
        if count > FRAGMENTS_MAX as u32 {
            return None;
        }
        Some(Self { total_len, fragment_bytes, count: count as u16, index: 0 })
    }
}

impl Iterator for Cutter {
    type Item = (Frag, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.index == self.count {
            return None;
        }
        let start = u32::from(self.index) * self.fragment_bytes;
        let end = self.total_len.min(start.saturating_add(self.fragment_bytes));
        let frag = Frag { index: self.index, count: self.count, total_len: self.total_len };
        self.index += 1;
        Some((frag, start as usize..end as usize))
    }
}

/// Follows the fragments of one message on an ordered link.
///
/// Invariant: `next_index <= count` and `received <= total_len`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Assembly {
    count: u16,
    next_index: u16,
    total_len: u32,
    received: u32,
}

/// What a fragment means to its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// More fragments follow.
    Partial,
    /// The message is complete.
    Complete,
}

impl Assembly {
    /// Starts with a message's first fragment. `message_bytes_max` bounds what the caller reserves for it.
    pub const fn start(frag: Frag, payload_bytes: usize, message_bytes_max: u32) -> Result<Self, PeerFault> {
        if frag.index != 0 {
            return Err(PeerFault::FragmentInvalid);
        }
        if frag.total_len > message_bytes_max {
            return Err(PeerFault::MessageTooLarge);
        }
        if payload_bytes as u64 > frag.total_len as u64 || payload_bytes == 0 {
            return Err(PeerFault::FragmentInvalid);
        }
        Ok(Self { count: frag.count, next_index: 1, total_len: frag.total_len, received: payload_bytes as u32 })
    }

    /// Takes the next fragment of the same message.
    pub const fn on_fragment(&mut self, frag: Frag, payload_bytes: usize) -> Result<Progress, PeerFault> {
        let same = frag.count == self.count && frag.total_len == self.total_len && frag.index == self.next_index;
        let fits = payload_bytes as u64 + self.received as u64 <= self.total_len as u64;
        if !same || !fits || payload_bytes == 0 {
            return Err(PeerFault::FragmentInvalid);
        }
        self.next_index += 1;
        self.received += payload_bytes as u32;
        let last = self.next_index == self.count;
        if last != (self.received == self.total_len) {
            return Err(PeerFault::FragmentInvalid);
        }
        Ok(if last { Progress::Complete } else { Progress::Partial })
    }

    /// The place of the fragment that goes on.
    pub const fn next_index(&self) -> u16 {
        self.next_index
    }

    /// Bytes received so far.
    pub const fn received(&self) -> u32 {
        self.received
    }

    /// Bytes of the whole message.
    pub const fn total_len(&self) -> u32 {
        self.total_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_message_is_cut_into_equal_fragments_and_a_rest() {
        let cuts: Vec<_> = Cutter::new(40_000, 16_384).into_iter().flatten().collect();
        let ranges: Vec<_> = cuts.iter().map(|(_, range)| range.clone()).collect();
        assert_eq!(ranges, [0..16_384, 16_384..32_768, 32_768..40_000]);
        assert_eq!(cuts[2].0, Frag { index: 2, count: 3, total_len: 40_000 });
        assert!(Cutter::new(16_384, 16_384).is_none(), "a message that fits is not cut");
    }

    #[test]
    fn fragments_complete_only_with_the_last_byte() {
        let frag = |index| Frag { index, count: 3, total_len: 10 };
        let mut assembly = Assembly::start(frag(0), 4, 100).expect("first");
        assert_eq!(assembly.on_fragment(frag(1), 4), Ok(Progress::Partial));
        assert_eq!(assembly.on_fragment(frag(2), 2), Ok(Progress::Complete));
    }

    #[test]
    fn a_skipped_repeated_or_oversized_fragment_is_a_fault() {
        let frag = |index| Frag { index, count: 3, total_len: 10 };
        let fresh = || Assembly::start(frag(0), 4, 100).expect("first");
        assert_eq!(Assembly::start(frag(1), 4, 100), Err(PeerFault::FragmentInvalid));
        assert_eq!(Assembly::start(frag(0), 4, 9), Err(PeerFault::MessageTooLarge));
        assert_eq!(fresh().on_fragment(frag(2), 4), Err(PeerFault::FragmentInvalid));
        assert_eq!(fresh().on_fragment(frag(0), 4), Err(PeerFault::FragmentInvalid));
        assert_eq!(fresh().on_fragment(frag(1), 7), Err(PeerFault::FragmentInvalid));
        assert_eq!(fresh().on_fragment(frag(1), 6), Err(PeerFault::FragmentInvalid), "full before the last fragment");
        let mut short = fresh();
        assert_eq!(short.on_fragment(frag(1), 1), Ok(Progress::Partial));
        assert_eq!(short.on_fragment(frag(2), 1), Err(PeerFault::FragmentInvalid), "last fragment, bytes missing");
    }
}
