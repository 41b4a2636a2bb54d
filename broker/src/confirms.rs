//! What one publisher is told of its publishes: how far each reliable lane is accepted, and how far it is delivered.

use laneway_proto::frame::confirm::{CONFIRM_FRAME_BYTES_MAX, Confirm, Level, encode};
use laneway_proto::lane::confirm::{Delivered, Deliveries, Delivery};
use laneway_proto::lane::sequencer::forward;
use laneway_proto::limits::{COUNT_MS_MAX, HOT_ENTRIES_MAX, LANES_MAX};
use laneway_proto::time::{Duration, Instant};

/// Places for messages that wait for receivers, at first.
const PLACES_FIRST: usize = 16;

#[derive(Debug, Default)]
struct Lane {
    /// The last number that was accepted; 0: none.
    accepted: u32,
    /// Made with the first message that is to be confirmed as delivered.
    deliveries: Option<Box<Deliveries<Vec<Delivery>>>>,
}

/// One publisher's lanes.
#[derive(Debug)]
pub struct Confirms {
    lanes: [Lane; LANES_MAX],
    /// Bit per lane that confirms.
    reliable: u16,
    /// Bit per lane of which something was accepted that the publisher was not told.
    accepted_news: u16,
    /// The same of what was delivered.
    delivered_news: u16,
    /// When it has to be told what was accepted.
    due: Option<Instant>,
    /// Messages of a lane that may wait for receivers.
    pending_max: usize,
    /// It is in the list of those that are told at the end of the turn.
    pub listed: bool,
}

impl Confirms {
    /// Nothing was published yet. `reliable` has a bit for each lane that confirms.
    pub fn new(reliable: u16, pending_max: u32) -> Self {
        Self {
            lanes: Default::default(),
            reliable,
            accepted_news: 0,
            delivered_news: 0,
            due: None,
            pending_max: pending_max as usize,
            listed: false,
        }
    }

    /// Everything up to `seq_through` was routed. True if that made the publisher's news due.
    pub fn on_accepted(&mut self, now: Instant, lane: u8, seq_through: u32) -> bool {
        if self.reliable & 1 << lane == 0 || seq_through == 0 {
            return false;
        }
        let accepted = &mut self.lanes[usize::from(lane)].accepted;
        if *accepted != 0 && forward(*accepted, seq_through).is_none() {
            return false;
        }
        *accepted = seq_through;
        self.accepted_news |= 1 << lane;
        let first = self.due.is_none();
        self.due.get_or_insert(now + Duration::from_millis(COUNT_MS_MAX));
        first
    }

    /// Messages `first` to `through` are about to be routed, and are confirmed once `wanted` sessions have received them.
    /// Returns the ticket by which those are counted; `None` if nobody counts them.
    pub fn on_message(&mut self, lane: u8, first: u32, through: u32, wanted: u16) -> Option<u32> {
        if self.reliable & 1 << lane == 0 {
            return None;
        }
        let pending_max = self.pending_max;
        let deliveries = self.lanes[usize::from(lane)]
            .deliveries
            .get_or_insert_with(|| Box::new(Deliveries::new(vec![Delivery::default(); PLACES_FIRST.min(pending_max)])));
        if deliveries.is_full() && deliveries.pending() < pending_max {
            let places = (deliveries.pending() * 2).min(pending_max);
            deliveries.move_to(vec![Delivery::default(); places]);
        }
        deliveries.on_message(first, through, wanted)
    }

    /// One more session has received what this ticket is for. True if there is news for the publisher.
    pub fn on_received(&mut self, lane: u8, ticket: u32) -> bool {
        self.with_deliveries(lane, |deliveries| deliveries.on_received(ticket))
    }

    /// The publisher waits for nothing up to `seq` any more. True if there is news for it.
    pub fn on_given_up(&mut self, lane: u8, seq: u32) -> bool {
        self.with_deliveries(lane, |deliveries| deliveries.on_given_up(seq))
    }

    /// The CONFIRM to send now: what was delivered at once, what was accepted when it is due or `all` is to be told.
    pub fn poll_transmit<'a>(
        &mut self,
        now: Instant,
        all: bool,
        out: &'a mut [u8; CONFIRM_FRAME_BYTES_MAX],
    ) -> Option<&'a [u8]> {
        let mut entries = [Confirm { lane: 0, level: Level::Accepted, receivers: 0, seq_through: 0 }; HOT_ENTRIES_MAX];
        let mut count = 0;
        let due = all || self.due.is_some_and(|due| due <= now);
        for lane in 1..LANES_MAX as u8 {
            let bit = 1 << lane;
            let place = &mut self.lanes[usize::from(lane)];
            if self.delivered_news & bit != 0 && count < HOT_ENTRIES_MAX {
                self.delivered_news &= !bit;
                let delivered = place.deliveries.as_mut().and_then(|deliveries| deliveries.poll_delivered());
                if let Some(Delivered { seq_through, receivers }) = delivered {
                    entries[count] = Confirm { lane, level: Level::Delivered, receivers, seq_through };
                    count += 1;
                }
            }
            if due && self.accepted_news & bit != 0 && count < HOT_ENTRIES_MAX {
                self.accepted_news &= !bit;
                let seq_through = place.accepted;
                entries[count] = Confirm { lane, level: Level::Accepted, receivers: 0, seq_through };
                count += 1;
            }
        }
        if self.accepted_news == 0 {
            self.due = None;
        }
        (count > 0).then(|| encode(&entries[..count], out))
    }

    /// What was told may have been lost with a link: the publisher is told again how far everything is.
    pub fn tell_again(&mut self) {
        for (lane, place) in (0u16..).zip(&mut self.lanes) {
            if place.accepted != 0 {
                self.accepted_news |= 1 << lane;
                self.due.get_or_insert(Instant(0));
            }
            if let Some(deliveries) = &mut place.deliveries {
                deliveries.tell_again();
                self.delivered_news |= 1 << lane;
            }
        }
    }

    /// When [`Self::poll_transmit`] has something that is due.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn with_deliveries(&mut self, lane: u8, tell: impl FnOnce(&mut Deliveries<Vec<Delivery>>) -> bool) -> bool {
        let deliveries = self.lanes.get_mut(usize::from(lane)).and_then(|lane| lane.deliveries.as_mut());
        let news = deliveries.is_some_and(|deliveries| tell(deliveries));
        if news {
            self.delivered_news |= 1 << lane;
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laneway_proto::frame::confirm::decode;
    use laneway_proto::limits::HEADER_BYTES;

    const RELIABLE: u16 = 0b10_0110;

    fn polled(confirms: &mut Confirms, now: Instant, all: bool) -> Vec<(u8, u8, u16, u32)> {
        let mut out = [0; CONFIRM_FRAME_BYTES_MAX];
        let Some(frame) = confirms.poll_transmit(now, all, &mut out) else { return Vec::new() };
        let entries = decode(&frame[HEADER_BYTES..]).expect("ours");
        entries.map(|entry| (entry.lane, entry.level.number(), entry.receivers, entry.seq_through)).collect()
    }

    #[test]
    fn what_was_accepted_is_told_together_after_a_while_and_an_older_number_changes_nothing() {
        let mut confirms = Confirms::new(RELIABLE, 100);
        let start = Instant(5);
        let due = start + Duration::from_millis(COUNT_MS_MAX);
        assert!(confirms.on_accepted(start, 1, 7) && !confirms.on_accepted(start, 5, 2));
        assert!(!confirms.on_accepted(start, 1, 9) && !confirms.on_accepted(start, 1, 8));
        assert!(!confirms.on_accepted(start, 3, 9) && !confirms.on_accepted(start, 1, 0), "not reliable, not numbered");
        assert_eq!((confirms.poll_timeout(), polled(&mut confirms, start, false)), (Some(due), vec![]));
        assert_eq!(polled(&mut confirms, due, false), [(1, 1, 0, 9), (5, 1, 0, 2)]);
        assert_eq!((confirms.poll_timeout(), polled(&mut confirms, due, true)), (None, vec![]));
        confirms.on_accepted(due, 1, 10);
        assert_eq!(polled(&mut confirms, due, true), [(1, 1, 0, 10)]);
    }

    #[test]
    fn what_was_delivered_is_told_at_once() {
        let mut confirms = Confirms::new(RELIABLE, 100);
        let ticket = confirms.on_message(1, 5, 6, 2).expect("a reliable lane");
        assert!(!confirms.on_received(1, ticket) && confirms.on_received(1, ticket));
        assert_eq!(polled(&mut confirms, Instant(0), false), [(1, 2, 2, 6)]);
        assert_eq!(confirms.on_message(3, 1, 1, 1), None);
        assert!(!confirms.on_received(2, 1) && !confirms.on_received(200, 1), "nobody asked there");
    }

    #[test]
    fn many_wait_up_to_the_bound_and_what_is_given_up_makes_room() {
        let mut confirms = Confirms::new(RELIABLE, 40);
        let tickets: Vec<_> = (1..=50).map(|seq| confirms.on_message(1, seq, seq, 1)).collect();
        assert_eq!(tickets.iter().flatten().count(), 40);
        assert!(!confirms.on_given_up(1, 50));
        let ticket = confirms.on_message(1, 51, 51, 1).expect("room again");
        assert!(confirms.on_received(1, ticket));
        assert_eq!(polled(&mut confirms, Instant(0), false), [(1, 2, 1, 51)]);
    }
}
