//! How long one of a queue's frames waits: the last one that came is followed until it leaves.
//!
//! Nothing is noted with a frame. Bytes leave a queue in the order they came, so the bytes that stood in it when the frame
//! was its last are those that have to leave before it has left. One frame is followed at a time.

use laneway_proto::time::Instant;

/// What is followed of one queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sample {
    /// When the frame that is followed came, and the bytes up to its end that are still in the queue.
    followed: Option<(Instant, u64)>,
    /// When the frame came that has left last, until somebody asks.
    pub left: Option<Instant>,
    /// Bytes that were in the queue when it was looked at last.
    rest: u64,
}

impl Sample {
    /// The queue holds `bytes`; what was not in it before came at `now`. If `begin` says so and nothing is followed, its
    /// last frame is from now on; then it is true.
    pub fn follow(&mut self, now: Instant, bytes: u64, begin: bool) -> bool {
        let came = bytes > self.rest;
        self.rest = bytes;
        if !came || !begin || self.followed.is_some() {
            return false;
        }
        self.followed = Some((now, bytes));
        true
    }

    /// Bytes left the queue for the link.
    pub fn on_left(&mut self, before: u64, after: u64) {
        if let Some(since) = self.pass(before, after) {
            self.left = Some(since);
        }
    }

    /// Bytes left the queue for good.
    pub fn on_dropped(&mut self, before: u64, after: u64) {
        self.pass(before, after);
    }

    /// When the frame came that was followed up to now.
    fn pass(&mut self, before: u64, after: u64) -> Option<Instant> {
        self.rest = self.rest.min(after);
        let (since, bytes) = self.followed.as_mut()?;
        *bytes = bytes.saturating_sub(before.saturating_sub(after));
        if *bytes > 0 {
            return None;
        }
        let since = *since;
        self.followed = None;
        Some(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_frame_that_came_is_followed_until_every_byte_up_to_it_has_left() {
        let mut sample = Sample::default();
        assert!(sample.follow(Instant(5), 100, true));
        assert!(!sample.follow(Instant(9), 400, true), "one at a time");
        sample.on_left(400, 301);
        assert_eq!(sample.left.take(), None, "one byte of it is missing");
        sample.on_left(350, 349);
        assert_eq!(sample.left.take(), Some(Instant(5)));
    }

    #[test]
    fn what_came_while_nothing_was_to_be_followed_is_not_taken_for_new_later() {
        let mut sample = Sample::default();
        assert!(!sample.follow(Instant(5), 100, false));
        assert!(!sample.follow(Instant(6), 100, true));
        assert!(sample.follow(Instant(7), 101, true));
    }

    #[test]
    fn what_is_dropped_has_not_waited_for_the_link() {
        let mut sample = Sample::default();
        assert!(sample.follow(Instant(5), 100, true));
        sample.on_dropped(300, 150);
        sample.on_left(150, 0);
        assert_eq!(sample.left, None);
    }

    #[test]
    fn a_queue_to_which_nothing_came_is_not_followed_anew() {
        let mut sample = Sample::default();
        assert!(sample.follow(Instant(5), 100, true));
        sample.on_left(100, 40);
        assert!(!sample.follow(Instant(6), 40, true));
        sample.on_left(40, 0);
        assert_eq!(sample.left.take(), Some(Instant(5)));
        assert!(!sample.follow(Instant(7), 0, true), "it is empty");
        assert!(sample.follow(Instant(8), 1, true));
    }
}
