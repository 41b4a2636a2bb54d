//! Whose end is watched for, beside the receive that should find it.
//!
//! Linux 6.18 can lose it: if bytes and the end arrive back to back, the multishot receive takes both wake-ups for the
//! bytes, and then waits for ever. A poll for the end alone is not woken by bytes; once it is over, the receive is cancelled
//! and made anew, and finds what is left and then the end.

use std::collections::HashSet;

use crate::io::Socket;
use crate::slab::Key;

/// The polls in flight, and the receives that were cancelled because of one.
#[derive(Debug, Default)]
pub(super) struct Hangups {
    /// By descriptor.
    watched: Vec<Option<Key>>,
    cancelled: HashSet<Key>,
}

impl Hangups {
    /// Whether a poll has to be made for this connection: once in its life.
    pub(super) fn watch(&mut self, key: Key, socket: Socket) -> bool {
        let place = socket.0.max(0) as usize;
        if self.watched.len() <= place {
            self.watched.resize(place + 1, None);
        }
        self.watched[place].replace(key) != Some(key)
    }

    /// The peer has ended its side.
    pub(super) fn on_hangup(&mut self, key: Key) {
        self.cancelled.insert(key);
    }

    /// Whether a receive that was cancelled was so because of its peer's end, and not because somebody asked.
    pub(super) fn take(&mut self, key: Key) -> bool {
        self.cancelled.remove(&key)
    }

    /// The socket is about to be closed: whose poll may still be in flight.
    pub(super) fn forget(&mut self, socket: Socket) -> Option<Key> {
        let key = self.watched.get_mut(socket.0.max(0) as usize)?.take()?;
        self.cancelled.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_watched_once_and_a_later_one_on_its_descriptor_again() {
        let mut hangups = Hangups::default();
        let (first, second) = (Key { slot: 3, generation: 1 }, Key { slot: 3, generation: 2 });
        assert!(hangups.watch(first, Socket(9)) && !hangups.watch(first, Socket(9)));
        hangups.on_hangup(first);
        assert_eq!((hangups.forget(Socket(9)), hangups.forget(Socket(9))), (Some(first), None));
        assert!(!hangups.take(first), "nothing of it is left");
        assert!(hangups.watch(second, Socket(9)));
        hangups.on_hangup(second);
        assert!(hangups.take(second) && !hangups.take(second));
    }
}
