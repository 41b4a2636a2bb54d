//! Losses on lanes that may lose: what a session should have got, what it got, and what it was told it will not get.

use std::collections::BTreeMap;

use laneway_proto::lane::table::LaneTable;

/// Topic and lane, of all publishers together: that is how losses are reported.
type Place = (usize, u8);

/// One session's balance of one topic and lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Balance {
    /// Messages that were owed and passed over.
    skipped: u64,
    /// Messages that were delivered.
    delivered: u64,
    /// Messages that were reported.
    reported: u64,
}

/// One session's books.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Losses {
    balances: BTreeMap<Place, Balance>,
    /// A link was lost, and what was under way on it: nobody is told of that.
    cut: bool,
}

/// Whether messages of a lane may be lost when they are reported.
pub fn may_lose(lane: u8) -> bool {
    LaneTable::STANDARD.get(lane).is_some_and(|spec| spec.policy.loss_reason().is_some())
}

impl Losses {
    /// The session lost a link and went on over another.
    pub const fn cut(&mut self) {
        self.cut = true;
    }

    /// Whether it lost a link.
    pub const fn was_cut(&self) -> bool {
        self.cut
    }

    /// A message was delivered, and `skipped` owed ones before it were not. An error if some of them were not reported.
    pub fn deliver(&mut self, place: Place, skipped: u64) -> Result<(), String> {
        let balance = self.balances.entry(place).or_default();
        balance.skipped += skipped;
        balance.delivered += 1;
        if balance.skipped > balance.reported && !self.cut {
            return Err(format!("{} were passed over, {} reported", balance.skipped, balance.reported));
        }
        Ok(())
    }

    /// A loss was reported. An error if there are not as many messages, of `published` in all.
    pub fn report(&mut self, place: Place, messages: u64, published: u64) -> Result<(), String> {
        let balance = self.balances.entry(place).or_default();
        balance.reported += messages;
        if balance.delivered + balance.reported > published {
            let Balance { delivered, reported, .. } = *balance;
            return Err(format!("{delivered} delivered and {reported} reported of {published} published"));
        }
        Ok(())
    }

    /// Of `waiting` owed messages and those passed over, how many were not reported.
    pub fn unexplained(&self, place: Place, waiting: u64) -> u64 {
        if self.cut {
            return 0;
        }
        let balance = self.balances.get(&place).copied().unwrap_or_default();
        (balance.skipped + waiting).saturating_sub(balance.reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_reported_before_the_next_message_and_never_twice() {
        let mut losses = Losses::default();
        assert_eq!(losses.report((0, 4), 2, 5), Ok(()));
        assert_eq!(losses.deliver((0, 4), 2), Ok(()));
        assert!(losses.deliver((0, 4), 1).is_err(), "nobody was told of the third");
        assert!(losses.report((0, 4), 2, 5).is_err(), "two delivered and four lost are more than five");
    }

    #[test]
    fn what_is_neither_delivered_nor_reported_is_unexplained() {
        let mut losses = Losses::default();
        assert_eq!(losses.unexplained((0, 4), 3), 3);
        assert_eq!(losses.report((0, 4), 1, 3), Ok(()));
        assert_eq!((losses.unexplained((0, 4), 3), losses.unexplained((1, 4), 1)), (2, 1));
    }

    #[test]
    fn only_lanes_that_say_so_may_lose() {
        assert_eq!((1..=5).filter(|&lane| may_lose(lane)).collect::<Vec<_>>(), [3, 4]);
    }
}
