//! What was sent on a reliable lane and may have to be sent again: a peer counts what it receives, and what it has not
//! counted is kept in case the link breaks.
//!
//! Kept is a queue of handles; where the bytes are is the owner's business. A handle may stand for several frames, and a
//! frame may take several handles: the one in which it begins counts it.
//!
//! ```text
//!   let go  |  kept: the peer may lack them                  |  not sent yet
//!  ---------+----------------------+-------------------------+--------------
//!         freed  <=  counted  <=  placed         <=        total
//!                 what the peer has   what is on this link    what was ever sent
//! ```
//!
//! On a new link `placed` begins where the peer's count ends, and grows again as the owner polls what has to be sent once
//! more. New frames follow behind the last of those.

use crate::error::PeerFault;

/// A handle and the frames that begin in it. In front of them it may hold the rest of a frame that began before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Entry<H> {
    /// What the owner needs to find the bytes.
    pub handle: H,
    /// Frames that begin in it.
    pub frames: u32,
}

/// A first-in first-out store of entries, which the owner provides.
pub trait Store {
    /// What the owner needs to find the bytes.
    type Handle: Copy;
    /// Entries in the store.
    fn count(&self) -> usize;
    /// The entry at `index` from the front.
    fn at(&self, index: usize) -> Option<Entry<Self::Handle>>;
    /// Puts an entry behind the last; false if there is no room.
    fn push(&mut self, entry: Entry<Self::Handle>) -> bool;
    /// Takes the entry in front out.
    fn pop(&mut self) -> Option<Entry<Self::Handle>>;
}

/// A handle to be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Again<H> {
    /// The handle.
    pub handle: H,
    /// `Some` for the first on a link: leave out the rest of a frame that it may begin with, and so many frames behind that,
    /// because the peer has them. `None`: all of it.
    pub skip: Option<u32>,
}

/// The frames of one lane that the peer has not counted.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Kept<S> {
    store: S,
    freed: u64,
    counted: u64,
    placed: u64,
    total: u64,
    /// The entry from which on nothing is on this link yet.
    again: usize,
}

impl<S: Store> Kept<S> {
    /// Nothing sent yet. `store` is empty.
    pub fn new(store: S) -> Self {
        assert!(store.count() == 0, "a new lane has sent nothing");
        Self { store, freed: 0, counted: 0, placed: 0, total: 0, again: 0 }
    }

    /// New frames are on the link, in `handle`. False, and nothing is kept, if the store has no room: then they must not
    /// be sent.
    ///
    /// # Panics
    /// In debug builds, if something is left to be sent again: that comes first.
    pub fn push(&mut self, handle: S::Handle, frames: u32) -> bool {
        debug_assert!(!self.has_again(), "{} frames come before a new one", self.total - self.placed);
        let kept = self.store.push(Entry { handle, frames });
        if kept {
            self.total += u64::from(frames);
            self.placed = self.total;
            self.again = self.store.count();
        }
        kept
    }

    /// The peer has received `total` frames of the lane since the session began. An older total changes nothing; one
    /// ahead of what is on the link is the peer's fault.
    pub fn on_count(&mut self, total: u64) -> Result<(), PeerFault> {
        if total > self.placed {
            return Err(PeerFault::CountAhead);
        }
        self.counted = self.counted.max(total);
        Ok(())
    }

    /// The next handle that is needed no more.
    pub fn poll_free(&mut self) -> Option<S::Handle> {
        let frames = u64::from(self.store.at(0)?.frames);
        if self.freed + frames > self.counted {
            return None;
        }
        self.freed += frames;
        self.poll_drop()
    }

    /// The link is gone; nothing is on the next one yet, and nobody counts.
    pub fn on_link_lost(&mut self) {
        self.again = 0;
        self.placed = self.counted;
    }

    /// The session goes on over a new link: the peer has received `total` frames. Fewer than it counted before, or more
    /// than were ever sent, is its fault. Then let go what [`Self::poll_free`] says, and send what [`Self::poll_again`]
    /// says.
    pub fn on_resume(&mut self, total: u64) -> Result<(), PeerFault> {
        self.may_resume(total)?;
        self.again = 0;
        self.counted = total;
        self.placed = total;
        Ok(())
    }

    /// Whether [`Self::on_resume`] with this count is right, to be asked before anything is given up for it.
    pub const fn may_resume(&self, total: u64) -> Result<(), PeerFault> {
        if total < self.counted || total > self.total { Err(PeerFault::CountAhead) } else { Ok(()) }
    }

    /// Whether something has to be sent again before anything new.
    pub fn has_again(&self) -> bool {
        self.again < self.store.count()
    }

    /// The next handle that has to be sent again, if any. Where it begins with the rest of a frame, nothing else of the
    /// link may come before it.
    pub fn next_again(&self) -> Option<S::Handle> {
        self.store.at(self.again).map(|entry| entry.handle)
    }

    /// Takes the next handle that has to be sent again; it is on the link from now on. [`Self::poll_free`] comes first.
    pub fn poll_again(&mut self) -> Option<Again<S::Handle>> {
        let entry = self.store.at(self.again)?;
        // Before the first of a link, what is placed is what the peer has counted.
        let skip = (self.again == 0).then(|| (self.placed - self.freed) as u32);
        let left_out = skip.unwrap_or(0);
        debug_assert!(left_out == 0 || left_out < entry.frames, "the peer has all {} frames of it", entry.frames);
        self.again += 1;
        self.placed += u64::from(entry.frames - left_out);
        Some(Again { handle: entry.handle, skip })
    }

    /// The handle in front, counted or not: for an owner that gives up the session.
    pub fn poll_drop(&mut self) -> Option<S::Handle> {
        let front = self.store.pop()?;
        self.again = self.again.saturating_sub(1);
        Some(front.handle)
    }

    /// Frames sent since the session began.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// What is kept.
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// What is kept, for an owner that moves its bytes elsewhere while nothing of it is on a link: the frames stay the same,
    /// in however many entries.
    pub fn store_mut(&mut self) -> &mut S {
        debug_assert!(self.again == 0, "{} entries are on the link", self.again);
        &mut self.store
    }
}

/// A store of at most `N` entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ring<H, const N: usize> {
    entries: [Entry<H>; N],
    first: usize,
    count: usize,
}

impl<H: Copy + Default, const N: usize> Default for Ring<H, N> {
    fn default() -> Self {
        Self { entries: [Entry { handle: H::default(), frames: 0 }; N], first: 0, count: 0 }
    }
}

impl<H: Copy, const N: usize> Store for Ring<H, N> {
    type Handle = H;

    fn count(&self) -> usize {
        self.count
    }

    fn at(&self, index: usize) -> Option<Entry<H>> {
        (index < self.count).then(|| self.entries[(self.first + index) % N])
    }

    fn push(&mut self, entry: Entry<H>) -> bool {
        let room = self.count < N;
        if room {
            self.entries[(self.first + self.count) % N] = entry;
            self.count += 1;
        }
        room
    }

    fn pop(&mut self) -> Option<Entry<H>> {
        let front = self.at(0)?;
        self.first = (self.first + 1) % N;
        self.count -= 1;
        Some(front)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    type Few = Kept<Ring<char, 8>>;

    fn kept(entries: &[(char, u32)]) -> Few {
        let mut kept = Few::new(Ring::default());
        entries.iter().for_each(|&(handle, frames)| assert!(kept.push(handle, frames)));
        kept
    }

    fn freed(kept: &mut Few) -> Vec<char> {
        core::iter::from_fn(|| kept.poll_free()).collect()
    }

    fn again(kept: &mut Few) -> Vec<(char, Option<u32>)> {
        core::iter::from_fn(|| kept.poll_again()).map(|again| (again.handle, again.skip)).collect()
    }

    #[test]
    fn a_count_frees_the_handles_it_covers_and_an_older_one_nothing() {
        let mut kept = kept(&[('a', 2), ('b', 1), ('c', 3)]);
        assert_eq!((kept.on_count(1), freed(&mut kept)), (Ok(()), vec![]), "a handle goes as a whole");
        assert_eq!((kept.on_count(5), freed(&mut kept)), (Ok(()), vec!['a', 'b']));
        assert_eq!((kept.on_count(2), freed(&mut kept)), (Ok(()), vec![]));
        assert_eq!((kept.on_count(7), kept.on_count(6)), (Err(PeerFault::CountAhead), Ok(())));
        assert_eq!((freed(&mut kept), kept.store().count(), kept.total()), (vec!['c'], 0, 6));
    }

    #[test]
    fn a_frame_in_parts_goes_with_its_beginning_and_is_sent_again_from_there() {
        // b and c are the rest of a's second frame; d holds the rest of it too, and one more, of which e is the rest.
        let mut kept = kept(&[('a', 2), ('b', 0), ('c', 0), ('d', 1), ('e', 0)]);
        kept.on_link_lost();
        assert_eq!((kept.on_resume(1), freed(&mut kept)), (Ok(()), vec![]));
        let whole = [('b', None), ('c', None), ('d', None), ('e', None)];
        assert_eq!(again(&mut kept), [&[('a', Some(1))], &whole[..]].concat());
        assert_eq!((kept.on_count(2), freed(&mut kept)), (Ok(()), vec!['a', 'b', 'c']));
        kept.on_link_lost();
        assert_eq!((kept.on_resume(2), freed(&mut kept)), (Ok(()), vec![]));
        assert_eq!(again(&mut kept), [('d', Some(0)), ('e', None)], "without the rest of what the peer has");
        assert_eq!((kept.on_count(3), freed(&mut kept)), (Ok(()), vec!['d', 'e']));
    }

    #[test]
    fn on_a_new_link_a_count_may_only_say_what_is_on_it() {
        let mut kept = kept(&[('a', 2), ('b', 2)]);
        kept.on_link_lost();
        assert_eq!(kept.on_count(1), Err(PeerFault::CountAhead), "nothing is on any link");
        assert_eq!(kept.on_resume(1), Ok(()));
        assert_eq!(kept.poll_again().map(|again| (again.handle, again.skip)), Some(('a', Some(1))));
        assert_eq!((kept.on_count(3), kept.on_count(2)), (Err(PeerFault::CountAhead), Ok(())));
        assert_eq!((freed(&mut kept), again(&mut kept)), (vec!['a'], vec![('b', Some(0))]));
        assert_eq!(kept.on_count(4), Ok(()));
    }

    #[test]
    fn a_link_that_breaks_again_and_again_sends_the_same_again() {
        let mut kept = kept(&[('a', 3), ('b', 1)]);
        for _ in 0..3 {
            kept.on_link_lost();
            assert_eq!((kept.on_resume(2), freed(&mut kept)), (Ok(()), vec![]));
            assert_eq!(again(&mut kept), [('a', Some(2)), ('b', None)]);
            assert!(!kept.has_again());
        }
        assert!(kept.push('c', 1));
        kept.on_link_lost();
        assert_eq!(
            (kept.on_resume(3), freed(&mut kept), again(&mut kept)),
            (Ok(()), vec!['a'], vec![('b', Some(0)), ('c', None)])
        );
    }

    #[test]
    fn a_resume_may_not_say_less_than_was_counted_or_more_than_was_sent() {
        let mut kept = kept(&[('a', 3)]);
        assert_eq!(kept.on_count(2), Ok(()));
        kept.on_link_lost();
        assert_eq!((kept.on_resume(1), kept.on_resume(4)), (Err(PeerFault::CountAhead), Err(PeerFault::CountAhead)));
        assert_eq!((kept.on_resume(3), freed(&mut kept), kept.has_again()), (Ok(()), vec!['a'], false));
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let mut kept = Kept::new(Ring::<u8, 1>::default());
        assert!(kept.push(1, 1) && !kept.push(2, 1));
        assert_eq!((kept.total(), kept.poll_drop(), kept.poll_drop()), (1, Some(1), None));
    }
}
