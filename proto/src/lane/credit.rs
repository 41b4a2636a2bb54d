//! Credit of one lane in one direction: how many bytes its receiver has room for.
//!
//! Totals count from the session's beginning and only grow, so CREDIT frames may be lost, repeated or overtaken. What
//! counts is the `len` field of every data frame, the first time it is sent. A session that is resumed keeps its totals on
//! reliable lanes, where every frame arrives in the end; on unreliable lanes both sides begin anew.

use crate::error::PeerFault;

/// The side that sends.
///
/// Invariant: `spent <= total`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CreditSender {
    first_total: u64,
    total: u64,
    spent: u64,
}

impl CreditSender {
    /// May send `first_total` bytes until the first CREDIT comes.
    pub const fn new(first_total: u64) -> Self {
        Self { first_total, total: first_total, spent: 0 }
    }

    /// Bytes that may be sent now.
    pub const fn available(&self) -> u64 {
        self.total - self.spent
    }

    /// Whether a frame of `frame_bytes` could not be sent even to a receiver that has consumed everything: cut it smaller
    /// or report it, it must not wait.
    pub const fn never_fits(&self, frame_bytes: u64) -> bool {
        frame_bytes > self.first_total
    }

    /// Takes the credit for a frame of `frame_bytes`; `false`, and nothing is taken, if there is too little.
    pub const fn spend(&mut self, frame_bytes: u64) -> bool {
        if frame_bytes > self.available() {
            return false;
        }
        self.spent += frame_bytes;
        true
    }

    /// A CREDIT arrived. `true` if it allows more than before.
    pub const fn on_credit(&mut self, total: u64) -> bool {
        let more = total > self.total;
        if more {
            self.total = total;
        }
        more
    }

    /// Bytes sent since the session began.
    pub const fn spent(&self) -> u64 {
        self.spent
    }
}

/// The side that receives.
///
/// Invariant: `consumed <= received <= granted <= consumed + window`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CreditReceiver {
    window_bytes: u64,
    frame_bytes_max: u64,
    granted: u64,
    received: u64,
    consumed: u64,
}

impl CreditReceiver {
    /// Has room for `window_bytes`, which was announced as the first total. The peer's frames are at most `frame_bytes_max`
    /// long; a window of at least twice that needs the fewest CREDIT frames.
    pub const fn new(window_bytes: u64, frame_bytes_max: u64) -> Self {
        let frame_bytes_max = if frame_bytes_max < window_bytes { frame_bytes_max } else { window_bytes };
        Self { window_bytes, frame_bytes_max, granted: window_bytes, received: 0, consumed: 0 }
    }

    /// A data frame of `frame_bytes` arrived. More than was granted is the peer's fault and ends the session.
    pub const fn on_received(&mut self, frame_bytes: u64) -> Result<(), PeerFault> {
        if frame_bytes > self.granted - self.received {
            return Err(PeerFault::FlowControl);
        }
        self.received += frame_bytes;
        Ok(())
    }

    /// The room of `frame_bytes` that had arrived is free again.
    ///
    /// # Panics
    /// In debug builds, if more is freed than arrived: a bug of the caller.
    pub fn on_consumed(&mut self, frame_bytes: u64) {
        let consumed = self.consumed.saturating_add(frame_bytes);
        debug_assert!(consumed <= self.received, "{frame_bytes} bytes consumed of {}", self.held());
        self.consumed = consumed.min(self.received);
    }

    /// What arrived and was not consumed is dropped, and will arrive again.
    pub const fn on_forgotten(&mut self) {
        self.received = self.consumed;
    }

    /// The total to announce in a CREDIT now, if it is worth one: half the window was consumed, or everything was and
    /// what is left of the credit is too little for the largest frame.
    pub const fn poll_grant(&mut self) -> Option<u64> {
        let total = self.consumed.saturating_add(self.window_bytes);
        let gained = total - self.granted;
        let left = self.granted - self.received;
        let stuck = self.consumed == self.received && left < self.frame_bytes_max;
        if gained == 0 || !(gained >= self.window_bytes.div_ceil(2) || stuck) {
            return None;
        }
        self.granted = total;
        Some(total)
    }

    /// Bytes that may still arrive.
    pub const fn available(&self) -> u64 {
        self.granted - self.received
    }

    /// Bytes that arrived and were not consumed yet.
    pub const fn held(&self) -> u64 {
        self.received - self.consumed
    }

    /// The last total that was announced.
    pub const fn granted(&self) -> u64 {
        self.granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_spent_once_and_an_older_total_changes_nothing() {
        let mut sender = CreditSender::new(100);
        assert!(sender.spend(60) && !sender.spend(41) && sender.spend(40));
        assert_eq!((sender.available(), sender.spent()), (0, 100));
        assert!(!sender.on_credit(100) && !sender.on_credit(7));
        assert!(sender.on_credit(130) && !sender.on_credit(120));
        assert_eq!(sender.available(), 30);
        assert_eq!((sender.never_fits(100), sender.never_fits(101)), (false, true));
    }

    #[test]
    fn one_byte_over_the_grant_is_a_fault_of_flow_control() {
        let mut receiver = CreditReceiver::new(100, 10);
        assert_eq!(receiver.on_received(100), Ok(()));
        assert_eq!(receiver.on_received(1), Err(PeerFault::FlowControl));
        assert_eq!(receiver.held(), 100, "what was refused is not held");
    }

    #[test]
    fn half_a_consumed_window_is_granted_again_and_less_is_not() {
        let mut receiver = CreditReceiver::new(100, 10);
        assert_eq!(receiver.on_received(90), Ok(()));
        receiver.on_consumed(49);
        assert_eq!(receiver.poll_grant(), None);
        receiver.on_consumed(1);
        assert_eq!((receiver.poll_grant(), receiver.poll_grant()), (Some(150), None));
        assert_eq!(receiver.granted(), 150);
    }

    #[test]
    fn a_small_window_never_keeps_its_largest_frame_waiting() {
        let (mut sender, mut receiver) = (CreditSender::new(100), CreditReceiver::new(100, 65_535));
        for frame_bytes in [40, 100, 1, 100, 99, 100] {
            assert!(sender.spend(frame_bytes), "{frame_bytes} bytes: {sender:?} {receiver:?}");
            assert_eq!(receiver.on_received(frame_bytes), Ok(()));
            receiver.on_consumed(frame_bytes);
            assert!(receiver.poll_grant().is_some_and(|total| sender.on_credit(total)));
        }
    }
}
