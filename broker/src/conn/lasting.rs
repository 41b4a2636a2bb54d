//! What lets a session outlive its link: who may resume it, what was received of it, and how its link stands.

use std::collections::VecDeque;

use laneway_proto::lane::tally::Tally;
use laneway_proto::time::Instant;

use crate::mesh::Arrival;

/// Subscribe messages of a session that are remembered by their ids: a client that resumes says again what it was not
/// answered. Of older ones that ask for last values, those are sent again.
const ASKED_MAX: usize = 64;

/// How the link of a session stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkState {
    /// It works, as far as we know.
    Up,
    /// It is over, but something of it is still in flight.
    Cut,
    /// There is none. Without a new one the session ends then.
    Away(Instant),
}

/// A session that outlives its link.
#[derive(Debug)]
pub struct Lasting {
    /// The epoch its client stated: another process of the same node is another client.
    pub epoch: u64,
    /// What was received on its reliable lanes.
    pub tally: Tally,
    /// In the list of those that may have to be told what was received.
    pub listed: bool,
    /// How its link stands.
    pub link: LinkState,
    /// The link it goes on over, once nothing of the old one is in flight.
    pub next: Option<Box<Arrival>>,
    /// It had another link before.
    pub resumed: bool,
    asked: VecDeque<u32>,
}

impl Lasting {
    /// On its first link. `reliable` has a bit for each lane that is counted.
    pub const fn new(epoch: u64, reliable: u16) -> Self {
        Self {
            epoch,
            tally: Tally::new(reliable),
            listed: false,
            link: LinkState::Up,
            next: None,
            resumed: false,
            asked: VecDeque::new(),
        }
    }

    /// A Subscribe with this id arrived. True if it came before, over an earlier link.
    pub fn is_repeated(&mut self, id: u32) -> bool {
        if id == 0 {
            return false;
        }
        if self.asked.contains(&id) {
            return self.resumed;
        }
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(id);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_again_only_on_a_later_link_and_a_bounded_number_is_remembered() {
        let mut lasting = Lasting::new(1, 2);
        assert!(!lasting.is_repeated(7) && !lasting.is_repeated(7) && !lasting.is_repeated(0));
        lasting.resumed = true;
        assert!(lasting.is_repeated(7) && !lasting.is_repeated(8) && !lasting.is_repeated(0));
        (100..100 + ASKED_MAX as u32).for_each(|id| assert!(!lasting.is_repeated(id)));
        assert!(!lasting.is_repeated(7), "it is forgotten");
    }
}
