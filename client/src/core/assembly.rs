//! Large messages on their way back together from fragments.

use std::collections::HashMap;

use bytes::BytesMut;
use laneway_proto::error::PeerFault;
use laneway_proto::frame::extensions::{Frag, Src};
use laneway_proto::frame::fragment::{Assembly, Progress};

/// Bytes reserved for unfinished messages of one session. Beyond it the one that waited longest is given up.
pub const ASSEMBLY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Unfinished messages of one session. Beyond it the one that waited longest is given up.
pub const ASSEMBLIES_MAX: usize = 1_024;

const _: () = assert!(
    laneway_proto::limits::MESSAGE_BYTES_MAX_CEILING as usize <= ASSEMBLY_BYTES_MAX,
    "the largest message can be put together"
);

/// Where a message comes from; on an ordered link one publisher sends one message per lane and topic at a time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    pub(super) origin: u32,
    pub(super) topic: u32,
    pub(super) lane: u8,
}

#[derive(Debug)]
struct Unfinished {
    seq: u32,
    progress: Assembly,
    bytes: BytesMut,
    /// When it last grew, in fragments seen by the session.
    touched: u64,
}

/// The unfinished messages of one session.
///
/// Invariant: `reserved` is the sum of the messages' total bytes, at most [`ASSEMBLY_BYTES_MAX`].
#[derive(Debug, Default)]
pub(super) struct Assemblies {
    unfinished: HashMap<Key, Unfinished>,
    reserved: usize,
    clock: u64,
    given_up: u64,
}

impl Assemblies {
    /// Messages given up because their rest never came.
    pub(super) const fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Takes one fragment; returns the message when it is the last one.
    pub(super) fn on_fragment(
        &mut self,
        key: Key,
        src: Src,
        frag: Frag,
        payload: &[u8],
        message_bytes_max: u32,
    ) -> Result<Option<BytesMut>, PeerFault> {
        self.clock += 1;
        if frag.index == 0 {
            self.give_up(key);
            let progress = Assembly::start(frag, payload.len(), message_bytes_max)?;
            self.make_room(frag.total_len as usize);
            let mut bytes = BytesMut::with_capacity(frag.total_len as usize);
            bytes.extend_from_slice(payload);
            self.reserved += frag.total_len as usize;
            self.unfinished.insert(key, Unfinished { seq: src.seq, progress, bytes, touched: self.clock });
            return Ok(None);
        }
        let Some(unfinished) = self.unfinished.get_mut(&key).filter(|unfinished| unfinished.seq == src.seq) else {
            // The subscription began in the middle of this message, or its start was given up.
            return Ok(None);
        };
        if frag.index > unfinished.progress.next_index() {
            // The broker's queue dropped what is missing, and reports the message as lost.
            self.give_up(key);
            return Ok(None);
        }
        let progress = unfinished.progress.on_fragment(frag, payload.len())?;
        unfinished.bytes.extend_from_slice(payload);
        unfinished.touched = self.clock;
        match progress {
            Progress::Partial => Ok(None),
            Progress::Complete => Ok(self.remove(key).map(|whole| whole.bytes)),
        }
    }

    fn remove(&mut self, key: Key) -> Option<Unfinished> {
        let removed = self.unfinished.remove(&key)?;
        self.reserved -= removed.progress.total_len() as usize;
        Some(removed)
    }

    fn give_up(&mut self, key: Key) {
        if self.remove(key).is_some() {
            self.given_up += 1;
        }
    }

    /// The link they came on is gone.
    pub(super) fn give_up_all(&mut self) {
        self.given_up += self.unfinished.len() as u64;
        self.unfinished.clear();
        self.reserved = 0;
    }

    /// The link they came on is gone, and the session goes on: the rest of what came on `reliable` lanes (a bit each) will
    /// come.
    pub(super) fn give_up_but(&mut self, reliable: u16) {
        let lost: Vec<Key> =
            self.unfinished.keys().filter(|key| reliable & 1 << (key.lane & 15) == 0).copied().collect();
        lost.into_iter().for_each(|key| self.give_up(key));
    }

    fn make_room(&mut self, bytes: usize) {
        while self.reserved + bytes > ASSEMBLY_BYTES_MAX || self.unfinished.len() >= ASSEMBLIES_MAX {
            let oldest = self.unfinished.iter().min_by_key(|(_, unfinished)| unfinished.touched).map(|(key, _)| *key);
            let Some(oldest) = oldest else { return };
            self.give_up(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = 1 << 20;

    fn key(origin: u32) -> Key {
        Key { origin, topic: 1, lane: 1 }
    }

    fn put(assemblies: &mut Assemblies, origin: u32, seq: u32, index: u16, payload: &[u8]) -> Option<BytesMut> {
        let frag = Frag { index, count: 2, total_len: 4 };
        assemblies.on_fragment(key(origin), Src { origin, seq }, frag, payload, MAX).expect("no fault")
    }

    #[test]
    fn publishers_fragments_may_interleave() {
        let mut assemblies = Assemblies::default();
        assert!(put(&mut assemblies, 1, 7, 0, b"ab").is_none());
        assert!(put(&mut assemblies, 2, 7, 0, b"AB").is_none());
        assert_eq!(put(&mut assemblies, 1, 7, 1, b"cd").as_deref(), Some(&b"abcd"[..]));
        assert_eq!(put(&mut assemblies, 2, 7, 1, b"CD").as_deref(), Some(&b"ABCD"[..]));
        assert_eq!((assemblies.reserved, assemblies.given_up()), (0, 0));
    }

    #[test]
    fn a_message_whose_start_was_never_seen_is_skipped() {
        let mut assemblies = Assemblies::default();
        assert!(put(&mut assemblies, 1, 7, 1, b"cd").is_none());
        assert!(put(&mut assemblies, 1, 8, 0, b"ab").is_none());
        assert!(put(&mut assemblies, 1, 7, 1, b"xx").is_none(), "the rest of another message");
        assert_eq!(put(&mut assemblies, 1, 8, 1, b"cd").as_deref(), Some(&b"abcd"[..]));
    }

    #[test]
    fn a_message_with_a_hole_is_given_up_and_the_next_one_is_not() {
        let mut assemblies = Assemblies::default();
        for index in [0, 2] {
            let frag = Frag { index, count: 4, total_len: 8 };
            let taken = assemblies.on_fragment(key(1), Src { origin: 1, seq: 7 }, frag, b"ab", MAX);
            assert_eq!(taken, Ok(None));
        }
        assert_eq!((assemblies.reserved, assemblies.given_up()), (0, 1));
        put(&mut assemblies, 1, 8, 0, b"ab");
        assert_eq!(put(&mut assemblies, 1, 8, 1, b"cd").as_deref(), Some(&b"abcd"[..]));
    }

    #[test]
    fn a_publisher_that_died_halfway_is_forgotten_when_room_is_needed() {
        let mut assemblies = Assemblies::default();
        for origin in 0..=ASSEMBLIES_MAX as u32 {
            put(&mut assemblies, origin, 1, 0, b"ab");
        }
        assert_eq!((assemblies.unfinished.len(), assemblies.given_up()), (ASSEMBLIES_MAX, 1));
        assert!(put(&mut assemblies, 0, 1, 1, b"cd").is_none(), "the oldest one went");
        assert!(put(&mut assemblies, 1, 1, 1, b"cd").is_some());
    }

    #[test]
    fn a_message_that_still_grows_outlives_one_that_stands_still() {
        let mut assemblies = Assemblies::default();
        let frag = |index| Frag { index, count: 3, total_len: 6 };
        let src = Src { origin: 0, seq: 1 };
        let grow = |assemblies: &mut Assemblies, index| {
            assemblies.on_fragment(key(0), src, frag(index), b"ab", MAX).expect("no fault")
        };
        assert!(grow(&mut assemblies, 0).is_none());
        for origin in 1..ASSEMBLIES_MAX as u32 {
            put(&mut assemblies, origin, 1, 0, b"ab");
        }
        assert!(grow(&mut assemblies, 1).is_none());
        put(&mut assemblies, u32::MAX, 1, 0, b"ab");
        assert_eq!(grow(&mut assemblies, 2).as_deref(), Some(&b"ababab"[..]));
        assert!(put(&mut assemblies, 1, 1, 1, b"cd").is_none(), "the one that stood still longest went");
    }

    #[test]
    fn a_message_over_the_bound_is_the_brokers_fault() {
        let frag = Frag { index: 0, count: 2, total_len: MAX + 1 };
        let mut assemblies = Assemblies::default();
        let fault = assemblies.on_fragment(key(1), Src { origin: 1, seq: 1 }, frag, b"x", MAX);
        assert_eq!(fault, Err(PeerFault::MessageTooLarge));
        assert_eq!(assemblies.reserved, 0);
    }
}
