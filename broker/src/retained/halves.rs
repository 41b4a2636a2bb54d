//! Large messages that are to be kept and have not arrived whole.

use laneway_proto::frame::extensions::Frag;

use super::{Piece, Publisher};
use crate::intern::TopicIndex;

/// Unfinished messages at most; beyond it the one that waited longest is given up.
const HALVES_MAX: usize = 64;

/// One fragment, without its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) topic: TopicIndex,
    pub(super) publisher: Publisher,
    pub(super) lane: u8,
    pub(super) ttl_ms: u32,
    pub(super) seq: u32,
    pub(super) frag: Frag,
}

/// What a fragment made of its message.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Whole {
    /// There is more to come.
    NotYet,
    /// It was the last one, and these are all.
    Yes(Vec<u8>),
    /// The message is not kept.
    Never,
}

/// The frames so far; of one publisher and lane there is one at a time.
#[derive(Debug)]
struct Half {
    part: Part,
    frames: Vec<u8>,
    started: u64,
    touched: u64,
}

/// All of a shard.
#[derive(Debug, Default)]
pub(super) struct Halves {
    halves: Vec<Half>,
    bytes: u64,
    /// Memory for the next one.
    spare: Vec<u8>,
}

impl Halves {
    /// Bytes of all frames.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes a fragment, with `room` bytes for all halves together; `change` is the store's count of changes.
    pub(super) fn put(&mut self, part: Part, frame: &[u8], room: u64, change: u64) -> Whole {
        let place = self.place(part.publisher, part.lane);
        if part.frag.index == 0 {
            if let Some(place) = place {
                self.drop_at(place);
            }
            if self.bytes + frame.len() as u64 > room {
                return Whole::Never;
            }
            if self.halves.len() == HALVES_MAX {
                self.drop_oldest();
            }
            let mut frames = std::mem::take(&mut self.spare);
            frames.extend_from_slice(frame);
            self.bytes += frame.len() as u64;
            self.halves.push(Half { part, frames, started: change, touched: change });
            return Whole::NotYet;
        }
        let Some(place) = place else { return Whole::Never };
        let half = &mut self.halves[place];
        let Part { topic, seq, frag, .. } = half.part;
        let goes_on =
            (topic, seq, frag.index + 1, frag.count) == (part.topic, part.seq, part.frag.index, part.frag.count);
        if !goes_on || self.bytes + frame.len() as u64 > room {
            self.drop_at(place);
            return Whole::Never;
        }
        half.frames.extend_from_slice(frame);
        (half.part, half.touched) = (part, change);
        self.bytes += frame.len() as u64;
        if part.frag.index + 1 < part.frag.count {
            return Whole::NotYet;
        }
        let half = self.halves.swap_remove(place);
        self.bytes -= half.frames.len() as u64;
        Whole::Yes(half.frames)
    }

    /// Gives up those that waited longest until `bytes` more fit into `room`.
    pub(super) fn make_room(&mut self, bytes: u64, room: u64) {
        while self.bytes + bytes > room && self.halves.len() > 1 || self.bytes > room {
            self.drop_oldest();
        }
    }

    /// A publisher began something else on a lane.
    pub(super) fn forget(&mut self, publisher: Publisher, lane: u8) {
        if let Some(place) = self.place(publisher, lane) {
            self.drop_at(place);
        }
    }

    /// A publisher is gone.
    pub(super) fn forget_all(&mut self, publisher: Publisher) -> bool {
        let before = self.halves.len();
        while let Some(place) = self.halves.iter().position(|half| half.part.publisher == publisher) {
            self.drop_at(place);
        }
        self.halves.len() < before
    }

    /// What has come of a topic's messages that began before `since`.
    pub(super) fn of(&self, topic: TopicIndex, since: u64) -> impl Iterator<Item = Piece<'_>> {
        let wanted = move |half: &&Half| half.part.topic == topic && half.started <= since;
        self.halves.iter().filter(wanted).map(|half| Piece {
            frames: &half.frames,
            lane: half.part.lane,
            publisher: half.part.publisher,
            ttl_ms: half.part.ttl_ms,
        })
    }

    /// Takes memory back.
    pub(super) fn recycle(&mut self, mut frames: Vec<u8>) {
        frames.clear();
        if frames.capacity() > self.spare.capacity() {
            self.spare = frames;
        }
    }

    fn place(&self, publisher: Publisher, lane: u8) -> Option<usize> {
        self.halves.iter().position(|half| half.part.publisher == publisher && half.part.lane == lane)
    }

    fn drop_oldest(&mut self) {
        let oldest = self.halves.iter().enumerate().min_by_key(|(_, half)| half.touched);
        if let Some((place, _)) = oldest {
            self.drop_at(place);
        }
    }

    fn drop_at(&mut self, place: usize) {
        let half = self.halves.swap_remove(place);
        self.bytes -= half.frames.len() as u64;
        self.recycle(half.frames);
    }
}
