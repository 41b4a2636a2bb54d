//! Frames by their numbers on the link, and whom to tell once the peer says that it has received so many.
//!
//! Data and LOST frames of a lane count, in the order in which they get their place on the link. Publishes whose publisher
//! wants to know that they were delivered leave a [`Mark`] at the number of their last frame.

use std::collections::VecDeque;

use laneway_proto::error::PeerFault;
use laneway_proto::frame::extensions::Src;
use laneway_proto::header::Header;
use laneway_proto::limits::{HEADER_BYTES, LANES_MAX};

use super::{Feeder, Fragment};

/// Marks of one peer that wait for its count, on all lanes. Beyond it, the oldest is forgotten: this peer then does not
/// count as one of that publish's receivers.
pub const MARKS_MAX: usize = 16_384;
/// Large messages of which the first fragments have passed and the last one has not, of one queue. Beyond it, the oldest
/// does not count as received.
const BEGUN_MAX: usize = 16;

/// Who is to be told that one more session has received a publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The publisher.
    pub publisher: Feeder,
    /// The lane it published on.
    pub lane: u8,
    /// What it is known by there; 0 for a fragment that is not its message's last.
    pub ticket: u32,
}

/// The numbers of one peer's frames.
#[derive(Debug, Default)]
pub struct Counted {
    sent: [u64; LANES_MAX],
    /// By lane, in rising order of the numbers.
    marks: Vec<(u8, VecDeque<(u64, Mark)>)>,
    waiting: usize,
}

impl Counted {
    /// So many more frames of `lane` have their place on the link; `mark` stands at the last of them.
    pub fn on_frames(&mut self, lane: u8, frames: u32, mark: Option<Mark>) {
        let Some(sent) = self.sent.get_mut(usize::from(lane)) else { return };
        *sent += u64::from(frames);
        if let Some(mark) = mark {
            let at = *sent;
            self.put(lane, at, mark);
        }
    }

    /// The peer has received `total` frames of `lane`: appends whom to tell. More than were sent is its fault.
    pub fn on_count(&mut self, lane: u8, total: u64, out: &mut Vec<Mark>) -> Result<(), PeerFault> {
        if self.sent.get(usize::from(lane)).is_none_or(|&sent| total > sent) {
            return Err(PeerFault::CountAhead);
        }
        let Some((_, marks)) = self.marks.iter_mut().find(|(of, _)| *of == lane) else { return Ok(()) };
        while let Some(&(at, mark)) = marks.front()
            && at <= total
        {
            marks.pop_front();
            self.waiting -= 1;
            out.push(mark);
        }
        Ok(())
    }

    /// Frames of `lane` that had their place on the link, ever.
    pub fn sent(&self, lane: u8) -> u64 {
        self.sent.get(usize::from(lane)).copied().unwrap_or(0)
    }

    #[cold]
    fn put(&mut self, lane: u8, at: u64, mark: Mark) {
        if self.waiting >= MARKS_MAX
            && let Some((_, longest)) = self.marks.iter_mut().max_by_key(|(_, marks)| marks.len())
        {
            longest.pop_front();
            self.waiting -= 1;
        }
        let place = self.marks.iter().position(|(of, _)| *of == lane).unwrap_or_else(|| {
            self.marks.push((lane, VecDeque::new()));
            self.marks.len() - 1
        });
        self.marks[place].1.push_back((at, mark));
        self.waiting += 1;
    }
}

/// The marks of the frames in one queue, in their order, and the large messages that are half through it.
#[derive(Debug, Default)]
pub struct Marks {
    queued: VecDeque<Mark>,
    /// A message, and the fragment of it that is next.
    begun: VecDeque<(Src, u16)>,
}

impl Marks {
    /// Frames are queued that begin with `front`. True if they have a mark now: they then leave, or are dropped, in the
    /// order of [`Marks::pop`]. The last fragment of a message has one if the queue has had all of them.
    #[cold]
    pub fn push(&mut self, mark: Mark, front: &[u8]) -> bool {
        if let Some(fragment) = fragment(front)
            && !self.goes_on(fragment)
        {
            return false;
        }
        if mark.ticket != 0 {
            self.queued.push_back(mark);
        }
        mark.ticket != 0
    }

    /// The mark of the first marked frames, which leave the queue.
    pub fn pop(&mut self) -> Option<Mark> {
        self.queued.pop_front()
    }

    /// The queue was emptied.
    pub fn clear(&mut self) {
        self.queued.clear();
        self.begun.clear();
    }

    /// Whether this is the fragment that follows the last one of its message.
    fn goes_on(&mut self, Fragment { src, index, last }: Fragment) -> bool {
        if index == 0 {
            if self.begun.len() == BEGUN_MAX {
                self.begun.pop_front();
            }
            self.begun.push_back((src, 1));
            return true;
        }
        let Some(place) = self.begun.iter().position(|(of, _)| *of == src) else { return false };
        let follows = self.begun[place].1 == index;
        if follows && !last {
            self.begun[place].1 = index + 1;
        } else {
            self.begun.remove(place);
        }
        follows
    }
}

/// The part of a message that a frame is.
fn fragment(front: &[u8]) -> Option<Fragment> {
    Fragment::of(&Header::decode(front.first_chunk::<HEADER_BYTES>()?).ok()?, front)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;

    const fn mark(ticket: u32) -> Mark {
        Mark { publisher: Feeder { shard: 0, key: Key { slot: 1, generation: 2 } }, lane: 3, ticket }
    }

    fn counted(counted: &mut Counted, lane: u8, total: u64) -> Result<Vec<u32>, PeerFault> {
        let mut out = Vec::new();
        counted.on_count(lane, total, &mut out)?;
        Ok(out.iter().map(|mark| mark.ticket).collect())
    }

    #[test]
    fn a_mark_is_reached_with_the_last_of_its_frames_and_once() {
        let mut frames = Counted::default();
        frames.on_frames(1, 5, None);
        frames.on_frames(1, 3, Some(mark(7)));
        frames.on_frames(2, 1, Some(mark(9)));
        frames.on_frames(1, 1, Some(mark(8)));
        assert_eq!(counted(&mut frames, 1, 7), Ok(vec![]));
        assert_eq!(counted(&mut frames, 1, 8), Ok(vec![7]));
        assert_eq!(counted(&mut frames, 1, 8), Ok(vec![]));
        assert_eq!(counted(&mut frames, 1, 10), Err(PeerFault::CountAhead), "nine were sent");
        assert_eq!(counted(&mut frames, 16, 0), Err(PeerFault::CountAhead), "no such lane");
        assert_eq!((counted(&mut frames, 2, 1), counted(&mut frames, 1, 9)), (Ok(vec![9]), Ok(vec![8])));
        assert_eq!(frames.sent(1), 9);
    }

    #[test]
    fn a_peer_that_never_counts_costs_a_bounded_memory() {
        let mut frames = Counted::default();
        for ticket in 1..=MARKS_MAX as u32 + 10 {
            frames.on_frames(1, 1, Some(mark(ticket)));
        }
        let told = counted(&mut frames, 1, MARKS_MAX as u64 + 10).expect("all were sent");
        assert_eq!((told.len(), told.first()), (MARKS_MAX, Some(&11)), "the oldest were forgotten");
    }

    fn part(index: u16, count: u16, seq: u32) -> Vec<u8> {
        use laneway_proto::frame::extensions::Frag;
        use laneway_proto::header::{Flags, Kind};
        let flags = Flags::FRAG.with(Flags::SRC);
        let mut bytes = Header { flags, ..Header::new(Kind::PUB, 16) }.encode().to_vec();
        bytes.extend(Frag { index, count, total_len: 9 }.encode());
        bytes.extend(Src { origin: 1, seq }.encode());
        bytes
    }

    #[test]
    fn a_large_message_is_marked_with_its_last_fragment_if_none_is_missing() {
        let mut marks = Marks::default();
        assert!(!marks.push(mark(0), &part(0, 3, 5)) && !marks.push(mark(0), &part(0, 2, 6)));
        assert!(!marks.push(mark(0), &part(1, 3, 5)) && marks.push(mark(8), &part(1, 2, 6)));
        assert!(marks.push(mark(7), &part(2, 3, 5)));
        assert_eq!([marks.pop(), marks.pop(), marks.pop()], [Some(mark(8)), Some(mark(7)), None]);
        assert!(!marks.push(mark(9), &part(1, 2, 7)), "its beginning was never here");
        assert!(!marks.push(mark(0), &part(0, 3, 8)) && !marks.push(mark(9), &part(2, 3, 8)), "its middle was not");
    }
}
