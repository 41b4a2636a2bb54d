//! How long messages stay in the broker: from the end of the turn's wait in which they arrived to the moment in which their
//! send is handed over.
//!
//! A sample, so that it costs next to nothing: every few turns the last frame of each queue that got one is followed, and
//! the clock is read once more in a turn in which such a frame leaves.

use laneway_proto::limits::LANES_MAX;
use laneway_proto::time::Instant;

use crate::conn::Conn;
use crate::histogram::Histogram;

/// Turns from one in which frames began to be followed to the next.
const TURNS_BETWEEN: u64 = 8;

/// What one shard knows of it.
#[derive(Debug)]
pub(super) struct Residency {
    lanes: Box<[Histogram; LANES_MAX]>,
    /// The turn from which on frames are followed again.
    begin_at: u64,
    turn: u64,
    /// Frames that come in this turn are followed.
    begins: bool,
    /// When this turn's sends are handed over, if anybody has asked.
    handed_over: Option<Instant>,
}

impl Residency {
    pub(super) fn new() -> Self {
        let lanes = Box::new([Histogram::default(); LANES_MAX]);
        Self { lanes, begin_at: 0, turn: 0, begins: true, handed_over: None }
    }

    /// Of messages that left on `lane`.
    pub(super) fn of_lane(&self, lane: u8) -> &Histogram {
        &self.lanes[usize::from(lane) % LANES_MAX]
    }

    pub(super) const fn begin_flush(&mut self, turn: u64) {
        self.turn = turn;
        self.begins = self.begin_at <= turn;
        self.handed_over = None;
    }

    /// A connection got something in this turn, perhaps.
    pub(super) fn follow(&mut self, now: Instant, conn: &mut Conn) {
        if conn.outbox.follow(now, self.begins) {
            self.begin_at = self.turn + TURNS_BETWEEN;
        }
    }

    /// What had its place on the link is being sent; `clock` tells the time.
    pub(super) fn on_sending(&mut self, conn: &mut Conn, clock: impl Fn() -> Instant) {
        let Conn { outbox, residency, .. } = conn;
        for (lane, since) in outbox.take_samples() {
            let span = self.handed_over.get_or_insert_with(&clock).since(since);
            self.lanes[usize::from(lane) % LANES_MAX].record(span);
            residency.get_or_insert_default().record(span);
        }
    }
}
