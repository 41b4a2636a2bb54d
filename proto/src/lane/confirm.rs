//! Publishes that wait for the word that they were delivered: [`Deliveries`] in the broker, [`Awaited`] at the publisher.
//! One of each for a publisher's lane.
//!
//! Confirmations are cumulative. A message that is not delivered holds up those behind it on its lane, and no other lane,
//! until its publisher gives it up.

use super::ring::Ring;
use super::sequencer::forward;
use crate::header::seq_after;

/// A place of [`Deliveries`]: messages that were routed together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delivery {
    first: u32,
    through: u32,
    wanted: u16,
    received: u16,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// Waits until `received` is `wanted`.
    #[default]
    Open,
    /// Its messages were sent again, and wait behind it.
    Superseded,
    /// Its messages were routed, but there was no place to keep count of them.
    Uncounted,
}

/// How far a lane is delivered: a CONFIRM of level 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// Everything up to this number is delivered, or was given up.
    pub seq_through: u32,
    /// Each of the messages that are delivered since the last such word was received by at least so many sessions.
    pub receivers: u16,
}

/// The broker's side: who has received what. `S` is a row of [`Delivery`]: its length bounds what may wait.
///
/// Invariant: the entries have consecutive tickets, from `ticket` on, and all but superseded ones rising numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deliveries<S> {
    ring: Ring<S>,
    /// Of the first entry, or of the next one.
    ticket: u32,
    /// The last number that came; 0: none.
    newest: u32,
    /// The last number that was delivered; 0: none.
    delivered: u32,
    /// The fewest receivers since the last word.
    receivers: u16,
    /// The same of the last word.
    told: u16,
    news: bool,
}

impl<S: AsRef<[Delivery]> + AsMut<[Delivery]>> Deliveries<S> {
    /// Nothing waits yet.
    pub const fn new(places: S) -> Self {
        Self {
            ring: Ring::new(places),
            ticket: 1,
            newest: 0,
            delivered: 0,
            receivers: u16::MAX,
            told: u16::MAX,
            news: false,
        }
    }

    /// Messages `first` to `through`, which are to be received by `wanted` sessions, are about to be routed. Returns the
    /// ticket by which to count those sessions, never 0. `None`: nothing is kept of them, because they have no number, or
    /// because there is no place left: then nothing from them on is confirmed until their publisher gives them up.
    ///
    /// Numbers that do not rise are messages sent again. From `first` on, only what is routed now counts.
    pub fn on_message(&mut self, first: u32, through: u32, wanted: u16) -> Option<u32> {
        if first == 0 || through == 0 {
            return None;
        }
        if self.newest != 0 && forward(self.newest, first).is_none_or(|ahead| ahead == 0) {
            self.supersede(first);
        }
        self.newest = through;
        let entry = Delivery { first, through, wanted: wanted.max(1), received: 0, state: State::Open };
        if self.ring.push(entry) {
            return Some(seq_after(self.ticket, self.ring.len() as u32 - 1));
        }
        if let Some(last) = self.ring.len().checked_sub(1).and_then(|index| self.ring.at_mut(index)) {
            let first = if last.state == State::Superseded { first } else { last.first };
            *last = Delivery { first, through, state: State::Uncounted, ..*last };
        }
        None
    }

    /// One more session has received, in full, what this ticket is for. True if [`Self::poll_delivered`] has news.
    pub fn on_received(&mut self, ticket: u32) -> bool {
        let index = forward(self.ticket, ticket).unwrap_or(u32::MAX);
        if let Some(entry) = self.ring.at_mut(index as usize) {
            entry.received = entry.received.saturating_add(1);
            if index == 0 {
                self.advance();
            }
        }
        self.news
    }

    /// The publisher waits for nothing up to `seq` any more. True if [`Self::poll_delivered`] has news.
    pub fn on_given_up(&mut self, seq: u32) -> bool {
        if seq != 0 {
            let over = |first: Delivery| first.state == State::Superseded || forward(first.through, seq).is_some();
            while self.ring.at(0).is_some_and(over) {
                self.pop();
            }
            if let Some(entry) = self.ring.at_mut(0)
                && forward(entry.first, seq).is_some()
            {
                entry.first = seq_after(seq, 1);
            }
            self.advance();
        }
        self.news
    }

    /// What to tell the publisher, once.
    pub const fn poll_delivered(&mut self) -> Option<Delivered> {
        if !self.news {
            return None;
        }
        let delivered = Delivered { seq_through: self.delivered, receivers: self.receivers };
        (self.news, self.told, self.receivers) = (false, self.receivers, u16::MAX);
        Some(delivered)
    }

    /// What was told may have been lost on the way: there is news as soon as anything is delivered.
    pub const fn tell_again(&mut self) {
        self.news = self.delivered != 0;
        if self.told < self.receivers {
            self.receivers = self.told;
        }
    }

    /// Entries that wait.
    pub const fn pending(&self) -> usize {
        self.ring.len()
    }

    /// Whether the next entry finds no place.
    pub fn is_full(&self) -> bool {
        self.ring.is_full()
    }

    /// Goes on with other places, at least as many as are in use; returns the old ones.
    ///
    /// # Panics
    /// If there are too few.
    pub fn move_to(&mut self, places: S) -> S {
        self.ring.move_to(places)
    }

    fn supersede(&mut self, first: u32) {
        for index in (0..self.ring.len()).rev() {
            let Some(entry) = self.ring.at_mut(index) else { break };
            if entry.state == State::Superseded {
                continue;
            }
            if forward(first, entry.first).is_none() {
                // It begins before; what of it is not sent again still counts.
                if forward(first, entry.through).is_some() {
                    entry.through = if first == 1 { u32::MAX } else { first - 1 };
                }
                break;
            }
            entry.state = State::Superseded;
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some(first) = self.ring.at(0) {
            match first.state {
                State::Open if first.received >= first.wanted => {
                    if self.delivered == 0 || forward(self.delivered, first.through).is_some() {
                        self.delivered = first.through;
                    }
                    self.receivers = self.receivers.min(first.received);
                    self.news = true;
                }
                State::Superseded => {}
                State::Open | State::Uncounted => break,
            }
            self.pop();
        }
    }

    fn pop(&mut self) {
        if self.ring.pop().is_some() {
            self.ticket = seq_after(self.ticket, 1);
        }
    }
}

/// A place of [`Awaited`]: one publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Await {
    seq: u32,
    given_up: bool,
}

/// The publisher's side: which publishes of a lane wait for a level, in the order of their numbers. `S` is a row of
/// [`Await`]: its length bounds what may wait. The owner keeps whatever else it knows of each in a queue of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Awaited<S> {
    ring: Ring<S>,
}

impl<S: AsRef<[Await]> + AsMut<[Await]>> Awaited<S> {
    /// Nothing waits yet.
    pub const fn new(places: S) -> Self {
        Self { ring: Ring::new(places) }
    }

    /// A message with this number, newer than all before it, waits from now on; false if there is no place for it.
    pub fn on_published(&mut self, seq: u32) -> bool {
        debug_assert!(seq != 0, "0 numbers nothing");
        self.ring.push(Await { seq, given_up: false })
    }

    /// Everything up to `seq_through` is confirmed: so many from the front are done, those that were given up included.
    pub fn on_confirm(&mut self, seq_through: u32) -> usize {
        self.pop_while(|first| forward(first.seq, seq_through).is_some())
    }

    /// Nobody waits for the publish `index` places behind the front any more. Returns, if there are any now, how many from
    /// the front are done by that, and the number up to which the broker need not count.
    pub fn on_given_up(&mut self, index: usize) -> Option<(usize, u32)> {
        self.ring.at_mut(index)?.given_up = true;
        let mut seq = 0;
        let done = self.pop_while(|first| {
            if first.given_up {
                seq = first.seq;
            }
            first.given_up
        });
        (done > 0).then_some((done, seq))
    }

    /// The place, counted from the front, of the publish with this number.
    pub fn index_of(&self, seq: u32) -> Option<usize> {
        let (mut low, mut high) = (0, self.ring.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.ring.at(middle)?;
            match forward(found.seq, seq) {
                Some(0) => return Some(middle),
                Some(_) => low = middle + 1,
                None => high = middle,
            }
        }
        None
    }

    /// Publishes that wait, those given up behind others included.
    pub const fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Whether the next publish finds no place.
    pub fn is_full(&self) -> bool {
        self.ring.is_full()
    }

    /// Goes on with other places, at least as many as are in use; returns the old ones.
    ///
    /// # Panics
    /// If there are too few.
    pub fn move_to(&mut self, places: S) -> S {
        self.ring.move_to(places)
    }

    fn pop_while(&mut self, mut done: impl FnMut(Await) -> bool) -> usize {
        let mut popped = 0;
        while self.ring.at(0).is_some_and(&mut done) {
            self.ring.pop();
            popped += 1;
        }
        popped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deliveries(places: usize) -> Deliveries<alloc::vec::Vec<Delivery>> {
        Deliveries::new(alloc::vec![Delivery::default(); places])
    }

    #[test]
    fn a_message_is_delivered_with_the_last_session_that_was_wanted() {
        let mut lane = deliveries(4);
        let ticket = lane.on_message(7, 9, 3).expect("a place");
        assert!(!lane.on_received(ticket) && !lane.on_received(ticket));
        assert_eq!(lane.poll_delivered(), None);
        assert!(lane.on_received(ticket));
        assert_eq!(lane.poll_delivered(), Some(Delivered { seq_through: 9, receivers: 3 }));
        assert_eq!((lane.poll_delivered(), lane.pending()), (None, 0));
        assert!(!lane.on_received(ticket), "too late to matter");
    }

    #[test]
    fn what_was_told_is_told_again_with_the_fewest_receivers_of_both_times() {
        let mut lane = deliveries(4);
        lane.tell_again();
        assert_eq!(lane.poll_delivered(), None, "nothing was delivered");
        let first = lane.on_message(7, 7, 2).expect("a place");
        assert!(!lane.on_received(first) && lane.on_received(first));
        assert_eq!(lane.poll_delivered(), Some(Delivered { seq_through: 7, receivers: 2 }));
        lane.tell_again();
        assert_eq!(lane.poll_delivered(), Some(Delivered { seq_through: 7, receivers: 2 }));
        let second = lane.on_message(8, 8, 1).expect("a place");
        assert!(lane.on_received(second));
        lane.tell_again();
        assert_eq!(lane.poll_delivered(), Some(Delivered { seq_through: 8, receivers: 1 }));
    }

    #[test]
    fn what_is_not_delivered_holds_up_what_is_behind_it_until_it_is_given_up() {
        let mut lane = deliveries(4);
        let tickets: alloc::vec::Vec<u32> = [5, 6, 8].iter().filter_map(|&seq| lane.on_message(seq, seq, 1)).collect();
        assert!(!lane.on_received(tickets[2]));
        assert!(!lane.on_received(tickets[1]));
        assert!(!lane.on_received(tickets[1]));
        assert!(lane.on_given_up(5));
        assert_eq!(lane.poll_delivered(), Some(Delivered { seq_through: 8, receivers: 1 }), "6 has two, 8 has one");
    }

    #[test]
    fn without_a_place_messages_are_uncounted_until_they_are_given_up() {
        let mut lane = deliveries(2);
        let first = lane.on_message(1, 1, 1).expect("a place");
        let second = lane.on_message(2, 2, 1).expect("a place");
        assert_eq!((lane.is_full(), lane.on_message(3, 3, 1), lane.on_message(4, 6, 1)), (true, None, None));
        assert!(lane.on_received(first) && lane.on_received(second));
        assert_eq!(lane.poll_delivered().map(|word| word.seq_through), Some(1), "2 went with what had no place");
        assert!(!lane.on_given_up(5));
        let third = lane.on_message(7, 7, 1).expect("a place again");
        assert!(!lane.on_received(third));
        assert!(lane.on_given_up(6));
        assert_eq!(lane.poll_delivered().map(|word| word.seq_through), Some(7));
    }

    #[test]
    fn a_message_that_is_sent_again_is_counted_anew() {
        let mut lane = deliveries(4);
        let first = lane.on_message(5, 5, 2).expect("a place");
        assert!(!lane.on_received(first));
        let again = lane.on_message(5, 5, 2).expect("a place");
        assert_ne!(first, again);
        assert!(!lane.on_received(first), "a session counts once for what is routed now");
        assert!(!lane.on_received(again));
        assert!(lane.on_received(again));
        assert_eq!(lane.poll_delivered(), Some(Delivered { seq_through: 5, receivers: 2 }));
    }

    #[test]
    fn places_can_be_exchanged_for_more_while_messages_wait() {
        let mut lane = deliveries(2);
        let first = lane.on_message(1, 1, 1).expect("a place");
        assert!(lane.on_received(first));
        let second = lane.on_message(2, 2, 1).expect("a place");
        let third = lane.on_message(3, 3, 1).expect("a place");
        let old = lane.move_to(alloc::vec![Delivery::default(); 8]);
        assert_eq!(old.len(), 2);
        assert!(!lane.is_full());
        lane.on_received(third);
        lane.on_received(second);
        assert_eq!(lane.poll_delivered().map(|word| word.seq_through), Some(3));
    }

    #[test]
    fn a_publisher_waits_until_a_confirmation_or_until_it_gives_up_from_the_front() {
        let mut lane = Awaited::new([Await::default(); 4]);
        assert!([u32::MAX, 1, 3, 4].into_iter().all(|seq| lane.on_published(seq)));
        assert!(lane.is_full() && !lane.on_published(5));
        assert_eq!(
            [u32::MAX, 1, 2, 3, 4, 5].map(|seq| lane.index_of(seq)),
            [Some(0), Some(1), None, Some(2), Some(3), None]
        );
        assert_eq!(lane.on_given_up(1), None, "one before it still waits");
        assert_eq!(lane.on_given_up(0), Some((2, 1)));
        assert_eq!((lane.on_confirm(2), lane.on_confirm(3), lane.len()), (0, 1, 1));
        assert_eq!((lane.on_confirm(3), lane.on_confirm(9), lane.is_empty()), (0, 1, true));
    }
}
