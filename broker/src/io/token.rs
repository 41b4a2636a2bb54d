//! The 64 bits that travel with an operation through the kernel.
//!
//! ```text
//!  63      56 55                      32 31                               0
//!  |   tag   |       generation         |               slot              |
//! ```

use crate::slab::{GENERATIONS_MAX, Key};

/// Which kind of operation a completion belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Tag {
    /// A multishot accept; the slot is the listener.
    Accept = 1,
    /// A multishot receive of the connection `key`.
    Receive = 2,
    /// A send; the slot is the send's place in the ring's table.
    Send = 3,
    /// A message from another shard's ring.
    Doorbell = 4,
    /// The wake-up descriptor became readable.
    Wake = 5,
    /// An operation whose result nobody waits for.
    Ignore = 6,
    /// A message to another shard's ring; the slot is the shard.
    Ring = 7,
    /// The peer of the connection `key` has ended its side.
    Hangup = 8,
    /// A multishot receive of datagrams; the slot is the listener.
    Datagrams = 9,
    /// A datagram that is sent; the slot is its place in the ring's table.
    SendDatagram = 10,
}

impl Tag {
    const ALL: [Self; 10] = [
        Self::Accept,
        Self::Receive,
        Self::Send,
        Self::Doorbell,
        Self::Wake,
        Self::Ignore,
        Self::Ring,
        Self::Hangup,
        Self::Datagrams,
        Self::SendDatagram,
    ];
}

/// Packs a tag and a key.
pub const fn pack(tag: Tag, key: Key) -> u64 {
    debug_assert!(key.generation < GENERATIONS_MAX, "a generation has 24 bits");
    (tag as u64) << 56 | (key.generation as u64) << 32 | key.slot as u64
}

/// Packs a tag and a plain number.
pub const fn pack_slot(tag: Tag, slot: u32) -> u64 {
    pack(tag, Key { slot, generation: 0 })
}

/// Unpacks; `None` for bits this process never made.
pub fn unpack(bits: u64) -> Option<(Tag, Key)> {
    let number = (bits >> 56) as u8;
    let tag = Tag::ALL.into_iter().find(|&tag| tag as u8 == number)?;
    Some((tag, Key { slot: bits as u32, generation: (bits >> 32) as u32 & (GENERATIONS_MAX - 1) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_slot_and_generation_survive_the_trip_at_their_bounds() {
        for tag in Tag::ALL {
            for key in [Key { slot: 0, generation: 0 }, Key { slot: u32::MAX, generation: GENERATIONS_MAX - 1 }] {
                assert_eq!(unpack(pack(tag, key)), Some((tag, key)));
            }
        }
        assert_eq!(unpack(0), None);
        assert_eq!(unpack(u64::MAX), None);
    }
}
