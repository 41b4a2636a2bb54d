//! What a subscriber expects next, and whether it came. One kind of unit a framing; all of them look at no more than a
//! unit's first bytes and its last one, because the load's core is what limits the measurement.

use laneway_proto::frame::batch::{BATCH_ITEM_PREFIX_BYTES, BATCH_PREFIX_BYTES};
use laneway_proto::header::{Flags, Kind};
use laneway_proto::limits::{FRAGMENT_BYTES_STREAM, HEADER_BYTES};

use super::{LANE, NUMBER_BYTES, Shape, last_byte};

/// Bytes of a unit's front that a check may look at.
pub(super) const HEAD_BYTES_MAX: usize = HEADER_BYTES + 16 + NUMBER_BYTES;

/// Bytes in front of the first message of a BATCH.
const BATCH_HEAD_BYTES: usize = HEADER_BYTES + BATCH_PREFIX_BYTES;

/// Which message comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expect {
    next: u32,
    slot: u32,
    step: u32,
    slots: u32,
}

impl Expect {
    /// A subscriber of topic `topic`, fed by blocks of `block_messages`.
    pub const fn new(topic: u32, shape: Shape, block_messages: u32) -> Self {
        Self { next: 1 + topic, slot: topic, step: shape.topics, slots: block_messages }
    }

    /// The number of the message that comes next.
    pub const fn next(&self) -> u32 {
        self.next
    }

    pub(super) fn is_next(&mut self, number: u32, last: u8) -> bool {
        let good = number == self.next && last == last_byte(self.slot);
        self.next = self.next.wrapping_add(self.step);
        self.slot += self.step;
        if self.slot >= self.slots {
            self.slot -= self.slots;
        }
        good
    }
}

/// The units of one framing: what is checked at once.
pub trait Units {
    /// Bytes of the unit that comes next and begins with `front`; `None` if that is too little to say.
    fn unit_bytes(&self, front: &[u8]) -> Option<usize>;

    /// Whether the unit with this front and this last byte is the right one; the messages it completes if so.
    fn check(&mut self, front: &[u8], last: u8) -> Option<u32>;

    /// What was expected.
    fn expect(&self) -> &Expect;
}

fn u32_at(front: &[u8], at: usize) -> u32 {
    front.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(front: &[u8], at: usize) -> u64 {
    front.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// `u32 len | payload`.
#[derive(Debug)]
pub struct Relay {
    expect: Expect,
    payload_bytes: u32,
}

impl Relay {
    /// Frames of one length.
    pub const fn new(expect: Expect, shape: Shape) -> Self {
        Self { expect, payload_bytes: shape.payload_bytes as u32 }
    }
}

impl Units for Relay {
    fn unit_bytes(&self, _: &[u8]) -> Option<usize> {
        Some(4 + self.payload_bytes as usize)
    }

    fn check(&mut self, front: &[u8], last: u8) -> Option<u32> {
        let word = u64_at(front, 0);
        let good = self.expect.is_next((word >> 32) as u32, last);
        (good && word as u32 == self.payload_bytes).then_some(1)
    }

    fn expect(&self) -> &Expect {
        &self.expect
    }
}

/// `u32 len | u32 index | payload`.
#[derive(Debug)]
pub struct Index {
    expect: Expect,
    head: u64,
    unit_bytes: usize,
}

impl Index {
    /// Frames of one length and one index.
    pub const fn new(expect: Expect, shape: Shape, index: u32) -> Self {
        let unit_bytes = 8 + shape.payload_bytes;
        Self { expect, head: (unit_bytes - 4) as u64 | (index as u64) << 32, unit_bytes }
    }
}

impl Units for Index {
    fn unit_bytes(&self, _: &[u8]) -> Option<usize> {
        Some(self.unit_bytes)
    }

    fn check(&mut self, front: &[u8], last: u8) -> Option<u32> {
        let good = self.expect.is_next(u32_at(front, 8), last);
        (good && u64_at(front, 0) == self.head).then_some(1)
    }

    fn expect(&self) -> &Expect {
        &self.expect
    }
}

/// The first word of a header: length, kind, flags, topic.
const fn first_word(len: usize, kind: Kind, flags: Flags, topic: u32) -> u64 {
    len as u64 | (kind.0 as u64) << 16 | (flags.0 as u64) << 24 | (topic as u64) << 32
}

/// The messages of a BATCH, all of one length: the head is one unit, each message another.
#[derive(Debug)]
struct Items {
    topic: u32,
    payload_bytes: u16,
    left: u32,
}

impl Items {
    const fn new(shape: Shape, topic: u32) -> Self {
        Self { topic, payload_bytes: shape.payload_bytes as u16, left: 0 }
    }

    const fn unit_bytes(&self) -> usize {
        BATCH_ITEM_PREFIX_BYTES + self.payload_bytes as usize
    }

    /// Checks the head of a frame; how many messages follow if it is right.
    #[cold]
    fn check_head(&mut self, front: &[u8]) -> Option<u32> {
        self.left = u32_at(front, HEADER_BYTES);
        let frame_bytes = BATCH_HEAD_BYTES + self.left as usize * self.unit_bytes();
        let good = u64_at(front, 0) == first_word(frame_bytes, Kind::BATCH, Flags(0), self.topic);
        (good && self.left > 0 && front.get(8) == Some(&LANE)).then_some(self.left)
    }

    #[inline]
    fn check(&mut self, expect: &mut Expect, front: &[u8], last: u8) -> Option<u32> {
        self.left -= 1;
        let word = u64_at(front, 0);
        let good = expect.is_next((word >> 16) as u32, last);
        (good && word as u16 == self.payload_bytes).then_some(1)
    }
}

/// Messages published in PUB frames: each arrives in its own, or with others in a BATCH that the broker made of them.
#[derive(Debug)]
pub struct Single {
    expect: Expect,
    word: u64,
    unit_bytes: usize,
    items: Items,
}

impl Single {
    /// Messages of one length on the broker's topic id `topic`.
    pub const fn new(expect: Expect, shape: Shape, topic: u32) -> Self {
        let unit_bytes = HEADER_BYTES + shape.payload_bytes;
        let word = first_word(unit_bytes, Kind::PUB, Flags(0), topic);
        Self { expect, word, unit_bytes, items: Items::new(shape, topic) }
    }
}

impl Units for Single {
    fn unit_bytes(&self, front: &[u8]) -> Option<usize> {
        if self.items.left > 0 {
            return Some(self.items.unit_bytes());
        }
        let is_batch = *front.get(2)? == Kind::BATCH.0;
        Some(if is_batch { BATCH_HEAD_BYTES } else { self.unit_bytes })
    }

    #[expect(clippy::inline_always, reason = "called once for each message, it took a fifth of the load's time")]
    #[inline(always)]
    fn check(&mut self, front: &[u8], last: u8) -> Option<u32> {
        if self.items.left > 0 {
            return self.items.check(&mut self.expect, front, last);
        }
        let word = u64_at(front, 0);
        if (word >> 16) as u8 == Kind::BATCH.0 {
            return self.items.check_head(front).map(|_| 0);
        }
        let good = self.expect.is_next(u32_at(front, HEADER_BYTES), last);
        (good && word == self.word && front.get(8) == Some(&LANE)).then_some(1)
    }

    fn expect(&self) -> &Expect {
        &self.expect
    }
}

/// BATCH frames of one length, as they were published.
#[derive(Debug)]
pub struct Batch {
    expect: Expect,
    items: Items,
    count: u32,
}

impl Batch {
    /// Frames of `count` messages each on the broker's topic id `topic`.
    pub const fn new(expect: Expect, shape: Shape, topic: u32, count: u32) -> Self {
        Self { expect, items: Items::new(shape, topic), count }
    }
}

impl Units for Batch {
    fn unit_bytes(&self, _: &[u8]) -> Option<usize> {
        Some(if self.items.left == 0 { BATCH_HEAD_BYTES } else { self.items.unit_bytes() })
    }

    #[inline]
    fn check(&mut self, front: &[u8], last: u8) -> Option<u32> {
        if self.items.left > 0 {
            return self.items.check(&mut self.expect, front, last);
        }
        (self.items.check_head(front)? == self.count).then_some(0)
    }

    fn expect(&self) -> &Expect {
        &self.expect
    }
}

/// Fragments of messages that do not fit one frame.
#[derive(Debug)]
pub struct Pieces {
    expect: Expect,
    topic: u32,
    message_bytes: usize,
    count: usize,
    index: usize,
}

impl Pieces {
    /// Messages of one length on the broker's topic id `topic`.
    pub const fn new(expect: Expect, shape: Shape, topic: u32) -> Self {
        let count = shape.payload_bytes.div_ceil(FRAGMENT_BYTES_STREAM);
        Self { expect, topic, message_bytes: shape.payload_bytes, count, index: 0 }
    }

    fn fragment_bytes(&self) -> usize {
        let left = self.message_bytes - self.index * FRAGMENT_BYTES_STREAM;
        HEADER_BYTES + 16 + if left < FRAGMENT_BYTES_STREAM { left } else { FRAGMENT_BYTES_STREAM }
    }
}

impl Units for Pieces {
    fn unit_bytes(&self, _: &[u8]) -> Option<usize> {
        Some(self.fragment_bytes())
    }

    fn check(&mut self, front: &[u8], last: u8) -> Option<u32> {
        let flags = Flags::FRAG.with(Flags::SRC);
        let word = first_word(self.fragment_bytes(), Kind::PUB, flags, self.topic);
        let place = self.index as u32 | (self.count as u32) << 16;
        let good = u64_at(front, 0) == word
            && u32_at(front, HEADER_BYTES) == place
            && u32_at(front, HEADER_BYTES + 4) == self.message_bytes as u32
            && u32_at(front, HEADER_BYTES + 12) == self.expect.next
            && (self.index > 0 || u32_at(front, HEADER_BYTES + 16) == self.expect.next);
        self.index += 1;
        if self.index < self.count {
            return good.then_some(0);
        }
        self.index = 0;
        let number = self.expect.next;
        (good && self.expect.is_next(number, last)).then_some(1)
    }

    fn expect(&self) -> &Expect {
        &self.expect
    }
}
