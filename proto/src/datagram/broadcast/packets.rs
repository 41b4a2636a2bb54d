//! Frames on their way into datagrams: those of one tag share one as long as they fit, classes go before one another.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::limits::LANE_CLASSES;

/// Packets of a class behind the newest one in which a frame may find a place.
const LOOK_BACK: usize = 8;

/// The frames of one datagram.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) tag: u32,
    pub(super) frames: Vec<u8>,
}

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct Packets {
    classes: [VecDeque<Packet>; LANE_CLASSES],
    room: usize,
    bytes: usize,
}

impl Packets {
    /// Datagrams have room for so many bytes of frames.
    pub(super) fn new(room: usize) -> Self {
        Self { classes: [const { VecDeque::new() }; LANE_CLASSES], room, bytes: 0 }
    }

    /// A frame, in pieces, that fits a datagram. Of a tag and class frames stay in their order.
    pub(super) fn push(&mut self, class: u8, tag: u32, pieces: [&[u8]; 4]) {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let Some(class) = self.classes.get_mut(usize::from(class)) else { return };
        let near = class.len().saturating_sub(LOOK_BACK);
        let last = class.range_mut(near..).rev().find(|packet| packet.tag == tag);
        let packet = match last.filter(|packet| packet.frames.len() + len <= self.room) {
            Some(packet) => packet,
            None => {
                class.push_back(Packet { tag, frames: Vec::with_capacity(self.room) });
                let Some(packet) = class.back_mut() else { return };
                packet
            }
        };
        pieces.iter().for_each(|piece| packet.frames.extend_from_slice(piece));
        self.bytes += len;
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The next datagram.
    pub(super) fn pop(&mut self) -> Option<Packet> {
        let packet = self.classes.iter_mut().find_map(VecDeque::pop_front)?;
        self.bytes -= packet.frames.len();
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_a_tag_share_datagrams_and_the_first_class_goes_first() {
        let mut packets = Packets::new(10);
        for (class, tag, bytes) in [(3, 1, 4), (3, 2, 4), (3, 1, 6), (3, 1, 1), (1, 1, 10)] {
            packets.push(class, tag, [&[class; 10][..bytes], &[], &[], &[]]);
        }
        assert_eq!(packets.bytes(), 25);
        let sent: Vec<_> =
            core::iter::from_fn(|| packets.pop()).map(|packet| (packet.tag, packet.frames.len())).collect();
        assert_eq!(sent, [(1, 10), (1, 10), (2, 4), (1, 1)]);
        assert_eq!(packets.bytes(), 0);
    }
}
