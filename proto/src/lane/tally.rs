//! What was received on the reliable lanes of a session, counted so that its sender may forget it, and when to say so.
//!
//! Data frames and LOST frames count, each as one. The counts go on when the session is resumed: RESUME says them.

use crate::frame::count::{self, COUNT_FRAME_BYTES_MAX, LaneTotal};
use crate::limits::{COUNT_FRAMES_MAX, COUNT_MS_MAX, HOT_ENTRIES_MAX, LANES_MAX};
use crate::time::{Duration, Instant};

/// Bytes after which a peer is told sooner than it has to be. A sender that keeps what is not counted then needs not much
/// more than that, however long its frames are.
pub const COUNT_BYTES: u32 = 256 * 1024;

/// The receiving side of a session that counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tally {
    totals: [u64; LANES_MAX],
    /// Bit per lane that is counted.
    lanes: u16,
    /// Bit per lane of which the peer has not been told everything.
    untold: u16,
    /// Frames that the peer has not been told of.
    untold_frames: u32,
    /// Bytes of them, where the owner says.
    untold_bytes: u32,
    /// When it has to be told.
    due: Option<Instant>,
}

impl Tally {
    /// Nothing received yet; `lanes` has a bit for each reliable lane that carries data.
    pub const fn new(lanes: u16) -> Self {
        Self { totals: [0; LANES_MAX], lanes: lanes & !1, untold: 0, untold_frames: 0, untold_bytes: 0, due: None }
    }

    /// `frames` data or LOST frames of `lane` were received; those of lanes that are not counted are not.
    pub fn on_received(&mut self, now: Instant, lane: u8, frames: u32) {
        let Some(total) = self.totals.get_mut(usize::from(lane)) else { return };
        if self.lanes & 1 << lane == 0 || frames == 0 {
            return;
        }
        *total += u64::from(frames);
        self.untold |= 1 << lane;
        self.untold_frames = self.untold_frames.saturating_add(frames);
        self.due.get_or_insert(now + Duration::from_millis(COUNT_MS_MAX));
    }

    /// What was received had so many bytes: after [`COUNT_BYTES`] the peer is told, so that it need not keep much more.
    pub fn on_bytes(&mut self, bytes: u32) {
        if self.untold != 0 {
            self.untold_bytes = self.untold_bytes.saturating_add(bytes);
        }
    }

    /// The COUNT to send now, if one is due: after [`COUNT_MS_MAX`], [`COUNT_FRAMES_MAX`] or [`COUNT_BYTES`], whichever comes
    /// first. Asked once for each read, it is sent at most so often.
    pub fn poll_transmit<'a>(&mut self, now: Instant, out: &'a mut [u8; COUNT_FRAME_BYTES_MAX]) -> Option<&'a [u8]> {
        let due = self.due.is_some_and(|due| due <= now)
            || self.untold_frames >= COUNT_FRAMES_MAX
            || self.untold_bytes >= COUNT_BYTES;
        if due { self.take_untold(out) } else { None }
    }

    /// The COUNT of everything that was not told, due or not: for somebody who leaves.
    pub fn take_untold<'a>(&mut self, out: &'a mut [u8; COUNT_FRAME_BYTES_MAX]) -> Option<&'a [u8]> {
        if self.untold == 0 {
            return None;
        }
        let mut entries = [LaneTotal { lane: 0, total: 0 }; HOT_ENTRIES_MAX];
        let mut count = 0;
        for lane in (1..LANES_MAX as u8).filter(|lane| self.untold & 1 << lane != 0) {
            entries[count] = LaneTotal { lane, total: self.totals[usize::from(lane)] };
            count += 1;
        }
        self.on_told();
        Some(count::encode(&entries[..count], out))
    }

    /// When [`Self::poll_transmit`] has something to send at the latest.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// The peer knows everything, because RESUME said it, or nobody can be told.
    pub const fn on_told(&mut self) {
        self.untold = 0;
        self.untold_frames = 0;
        self.untold_bytes = 0;
        self.due = None;
    }

    /// Frames received on `lane`.
    pub fn total(&self, lane: u8) -> u64 {
        self.totals.get(usize::from(lane)).copied().unwrap_or(0)
    }

    /// The lanes on which something was received, with their totals: for RESUME.
    pub fn totals(&self) -> impl Iterator<Item = LaneTotal> + '_ {
        let lanes = (1..LANES_MAX as u8).map(|lane| LaneTotal { lane, total: self.total(lane) });
        lanes.filter(|entry| entry.total > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HEADER_BYTES;
    use alloc::vec;
    use alloc::vec::Vec;

    const RELIABLE: u16 = 1 << 1 | 1 << 2 | 1 << 5;
    const START: Instant = Instant(1_000);

    fn polled(tally: &mut Tally, now: Instant) -> Option<Vec<(u8, u64)>> {
        let mut out = [0; COUNT_FRAME_BYTES_MAX];
        let frame = tally.poll_transmit(now, &mut out)?;
        let totals = count::decode(&frame[HEADER_BYTES..]).expect("valid");
        Some(totals.map(|entry| (entry.lane, entry.total)).collect())
    }

    #[test]
    fn the_first_untold_frame_is_told_after_twenty_milliseconds_with_all_that_followed() {
        let mut tally = Tally::new(RELIABLE);
        assert_eq!((tally.poll_timeout(), polled(&mut tally, START)), (None, None));
        tally.on_received(START, 5, 1);
        let due = START + Duration::from_millis(20);
        tally.on_received(START + Duration::from_millis(19), 1, 2);
        assert_eq!((tally.poll_timeout(), polled(&mut tally, Instant(due.0 - 1))), (Some(due), None));
        assert_eq!(polled(&mut tally, due), Some(vec![(1, 2), (5, 1)]));
        assert_eq!((tally.poll_timeout(), polled(&mut tally, due)), (None, None));
        tally.on_received(due, 5, 3);
        assert_eq!(polled(&mut tally, due + Duration::from_millis(20)), Some(vec![(5, 4)]), "only what changed");
    }

    #[test]
    fn sixty_four_frames_are_told_at_once() {
        let mut tally = Tally::new(RELIABLE);
        tally.on_received(START, 1, 63);
        assert_eq!(polled(&mut tally, START), None);
        tally.on_received(START, 2, 1);
        assert_eq!(polled(&mut tally, START), Some(vec![(1, 63), (2, 1)]));
    }

    #[test]
    fn who_leaves_tells_at_once_what_was_not_told() {
        let mut tally = Tally::new(RELIABLE);
        tally.on_received(START, 5, 3);
        let mut out = [0; COUNT_FRAME_BYTES_MAX];
        let frame = tally.take_untold(&mut out).expect("three frames");
        let totals = count::decode(&frame[HEADER_BYTES..]).expect("valid");
        assert_eq!(totals.map(|entry| (entry.lane, entry.total)).collect::<Vec<_>>(), [(5, 3)]);
        assert_eq!((tally.take_untold(&mut out), tally.poll_timeout()), (None, None));
    }

    #[test]
    fn lanes_that_lose_are_not_counted() {
        let mut tally = Tally::new(RELIABLE | 1);
        for lane in [0, 3, 4, 16, 255] {
            tally.on_received(START, lane, 100);
        }
        assert_eq!((tally.poll_timeout(), tally.totals().count()), (None, 0));
    }

    #[test]
    fn a_resume_tells_everything() {
        let mut tally = Tally::new(RELIABLE);
        tally.on_received(START, 2, 70);
        assert_eq!(tally.totals().collect::<Vec<_>>(), [LaneTotal { lane: 2, total: 70 }]);
        tally.on_told();
        assert_eq!((tally.poll_timeout(), polled(&mut tally, START), tally.total(2)), (None, None, 70));
    }
}
