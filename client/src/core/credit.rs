//! What the broker may send: room for so many bytes of each lane, given back as the application takes messages.
//!
//! A charge travels with what arrived and gives its bytes back when the last owner is done with it, on whatever thread
//! that is. The session adds them up and tells the broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use laneway_proto::error::PeerFault;
use laneway_proto::frame::credit::{CREDIT_FRAME_BYTES_MAX, LaneTotal, encode};
use laneway_proto::lane::credit::CreditReceiver;
use laneway_proto::limits::{FRAME_BYTES_MAX, LANES_MAX};

/// A charge may stand for so many parts of the window; what arrives together shares it, so that small runs cost little.
const CHARGE_SHARE: u64 = 16;

/// One lane's bytes, as consumers see them.
#[derive(Debug, Default)]
struct Lane {
    /// Given back and not added up yet.
    returned: AtomicU64,
    /// Of charges that are alive.
    held: AtomicU64,
    /// Of them, messages that were put together: their fragments made room when they arrived, which is held back until
    /// the application has taken the message.
    whole: AtomicU64,
    /// What is left is too little for the largest frame, so the broker may be waiting.
    tight: AtomicBool,
}

/// Where consumers give bytes back.
#[derive(Debug)]
struct Ledger {
    lanes: [Lane; LANES_MAX],
    /// Bytes from which it is worth telling the broker.
    worth_bytes: u64,
    due: AtomicBool,
}

/// Bytes of one lane that are given back when the last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Charge(Arc<Held>);

#[derive(Debug)]
struct Held {
    ledger: Arc<Ledger>,
    lane: u8,
    /// Of frames, which make room when they are given back.
    frames: AtomicU64,
    /// Of a message that was put together.
    whole: u64,
}

/// The room a session gives its broker, by lane.
#[derive(Debug)]
pub(super) struct Credit {
    receivers: [CreditReceiver; LANES_MAX],
    ledger: Arc<Ledger>,
    /// The charge of what arrived last, while more may share it.
    open: Option<Charge>,
    charge_bytes_max: u64,
    window_bytes: u64,
}

impl Credit {
    /// Room for `window_bytes` on each lane.
    pub(super) fn new(window_bytes: u64) -> Self {
        let ledger = Ledger {
            lanes: std::array::from_fn(|_| Lane::default()),
            worth_bytes: window_bytes.div_ceil(2),
            due: AtomicBool::new(false),
        };
        Self {
            receivers: [CreditReceiver::new(window_bytes, FRAME_BYTES_MAX as u64); LANES_MAX],
            ledger: Arc::new(ledger),
            open: None,
            charge_bytes_max: window_bytes / CHARGE_SHARE,
            window_bytes,
        }
    }

    /// A data frame arrived; more than was granted is the broker's fault.
    pub(super) fn on_received(&mut self, lane: u8, bytes: u64) -> Result<(), PeerFault> {
        let Some(receiver) = self.receivers.get_mut(usize::from(lane)) else { return Ok(()) };
        receiver.on_received(bytes)?;
        let tight = receiver.available() < FRAME_BYTES_MAX as u64;
        self.ledger.lane(lane).tight.store(tight, Ordering::Relaxed);
        Ok(())
    }

    /// Frames that arrived and wait for a consumer from now on.
    pub(super) fn charge(&mut self, lane: u8, bytes: u64) -> Charge {
        self.ledger.lane(lane).held.fetch_add(bytes, Ordering::Relaxed);
        if let Some(Charge(open)) = &self.open
            && open.lane == lane
            && open.frames.load(Ordering::Relaxed) + bytes <= self.charge_bytes_max
        {
            open.frames.fetch_add(bytes, Ordering::Relaxed);
            return Charge(Arc::clone(open));
        }
        let held = Held { ledger: Arc::clone(&self.ledger), lane, frames: AtomicU64::new(bytes), whole: 0 };
        let charge = Charge(Arc::new(held));
        self.open = Some(charge.clone());
        charge
    }

    /// A message that was put together and waits for a consumer from now on.
    pub(super) fn charge_whole(&self, lane: u8, bytes: u64) -> Charge {
        let account = self.ledger.lane(lane);
        account.held.fetch_add(bytes, Ordering::Relaxed);
        account.whole.fetch_add(bytes, Ordering::Relaxed);
        let ledger = Arc::clone(&self.ledger);
        Charge(Arc::new(Held { ledger, lane, frames: AtomicU64::new(0), whole: bytes }))
    }

    /// The session goes on over a new link. Returns the CREDIT frame that says again how much may come on `reliable` lanes
    /// (a bit each); on the others the broker begins anew, as what was under way is gone.
    pub(super) fn on_resume(&mut self, reliable: u16) -> Vec<u8> {
        self.open = None;
        let mut totals = Vec::new();
        for (lane, receiver) in (0u8..).zip(&mut self.receivers).skip(1) {
            if reliable & 1 << lane != 0 {
                totals.push(LaneTotal { lane, total: receiver.granted() });
            } else {
                *receiver = CreditReceiver::new(self.window_bytes, FRAME_BYTES_MAX as u64);
                // What waits here still will be given back, and makes room a little early then.
                self.ledger.lane(lane).tight.store(false, Ordering::Relaxed);
            }
        }
        encode(&totals, &mut [0; CREDIT_FRAME_BYTES_MAX]).to_vec()
    }

    /// All that arrived together has been charged for.
    pub(super) fn on_chunk_end(&mut self) {
        self.open = None;
    }

    /// Frames that arrived and take no room any more.
    pub(super) fn give_back(&self, lane: u8, bytes: u64) {
        self.ledger.give_back(lane, bytes);
    }

    /// The CREDIT frame to send now, if it is worth one.
    pub(super) fn poll_frame(&mut self) -> Option<Vec<u8>> {
        if !self.ledger.due.swap(false, Ordering::AcqRel) {
            return None;
        }
        let mut totals = Vec::new();
        for ((lane, account), receiver) in (0u8..).zip(&self.ledger.lanes).zip(&mut self.receivers) {
            let returned = account.returned.swap(0, Ordering::AcqRel);
            let freed = returned.min(receiver.held().saturating_sub(account.whole.load(Ordering::Acquire)));
            account.returned.fetch_add(returned - freed, Ordering::AcqRel);
            receiver.on_consumed(freed);
            if let Some(total) = receiver.poll_grant() {
                account.tight.store(false, Ordering::Relaxed);
                totals.push(LaneTotal { lane, total });
            }
        }
        (!totals.is_empty()).then(|| encode(&totals, &mut [0; CREDIT_FRAME_BYTES_MAX]).to_vec())
    }
}

impl Ledger {
    fn lane(&self, lane: u8) -> &Lane {
        &self.lanes[usize::from(lane) % LANES_MAX]
    }

    fn give_back(&self, lane: u8, bytes: u64) {
        let account = self.lane(lane);
        let returned = account.returned.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let waiting = account.held.load(Ordering::Acquire) == 0 && account.tight.load(Ordering::Relaxed);
        if returned >= self.worth_bytes + account.whole.load(Ordering::Acquire) || waiting {
            self.due.store(true, Ordering::Release);
        }
    }
}

impl Charge {
    /// Gives up this clone. True if the broker is worth being told.
    pub(super) fn release(self) -> bool {
        let ledger = Arc::clone(&self.0.ledger);
        drop(self);
        ledger.due.load(Ordering::Acquire)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let frames = *self.frames.get_mut();
        let account = self.ledger.lane(self.lane);
        account.held.fetch_sub(frames + self.whole, Ordering::AcqRel);
        account.whole.fetch_sub(self.whole, Ordering::AcqRel);
        self.ledger.give_back(self.lane, frames);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laneway_proto::frame::credit::decode;
    use laneway_proto::limits::HEADER_BYTES;

    fn totals(frame: Option<Vec<u8>>) -> Vec<(u8, u64)> {
        let Some(frame) = frame else { return Vec::new() };
        decode(&frame[HEADER_BYTES..]).expect("ours").map(|total| (total.lane, total.total)).collect()
    }

    fn arrive_with_more(credit: &mut Credit, lane: u8, bytes: u64) -> Charge {
        assert_eq!(credit.on_received(lane, bytes), Ok(()));
        credit.charge(lane, bytes)
    }

    fn arrive(credit: &mut Credit, lane: u8, bytes: u64) -> Charge {
        let charge = arrive_with_more(credit, lane, bytes);
        credit.on_chunk_end();
        charge
    }

    #[test]
    fn bytes_come_back_once_when_the_last_owner_is_done() {
        let mut credit = Credit::new(1_000_000);
        let charge = arrive(&mut credit, 3, 600_000);
        let other = charge.clone();
        assert!(!charge.release(), "somebody else still has it");
        assert_eq!(totals(credit.poll_frame()), []);
        assert!(other.release());
        assert_eq!(totals(credit.poll_frame()), [(3, 1_600_000)]);
        assert_eq!(totals(credit.poll_frame()), []);
    }

    #[test]
    fn little_is_not_worth_a_frame_unless_the_broker_may_be_waiting() {
        let mut credit = Credit::new(1_000_000);
        assert!(!arrive(&mut credit, 1, 100).release());
        let mut small = Credit::new(1_000);
        let (first, second) = (arrive(&mut small, 1, 100), arrive(&mut small, 1, 100));
        assert!(!first.release(), "more is on its way to the application");
        assert!(second.release());
        assert_eq!(totals(small.poll_frame()), [(1, 1_200)]);
    }

    #[test]
    fn small_runs_that_arrive_together_share_a_charge() {
        let mut credit = Credit::new(1_600);
        let (first, second) = (arrive_with_more(&mut credit, 1, 50), arrive_with_more(&mut credit, 1, 50));
        assert!(Arc::ptr_eq(&first.0, &second.0));
        let third = arrive_with_more(&mut credit, 1, 50);
        assert!(!Arc::ptr_eq(&second.0, &third.0), "a sixteenth of the window is the most");
        credit.on_chunk_end();
        let fourth = arrive(&mut credit, 1, 10);
        assert!(!Arc::ptr_eq(&third.0, &fourth.0), "it arrived later");
        assert!(!first.release());
        assert_eq!(credit.ledger.lanes[1].returned.load(Ordering::Relaxed), 0, "the second is alive");
        assert!(!second.release());
        assert_eq!(credit.ledger.lanes[1].returned.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn a_large_message_takes_room_until_it_is_taken_and_may_be_larger_than_the_window() {
        let mut credit = Credit::new(1_000);
        let mut granted = 1_000;
        for _ in 0..5 {
            assert_eq!(credit.on_received(5, 500), Ok(()));
            credit.give_back(5, 500);
            granted += 500;
            assert_eq!(totals(credit.poll_frame()), [(5, granted)], "its fragments make room at once");
        }
        let message = credit.charge_whole(5, 2_500);
        assert_eq!(credit.on_received(5, 1_000), Ok(()));
        credit.give_back(5, 1_000);
        assert_eq!(totals(credit.poll_frame()), [], "nobody has taken the message");
        assert_eq!(credit.on_received(5, 1), Err(PeerFault::FlowControl));
        assert!(message.release());
        assert_eq!(totals(credit.poll_frame()), [(5, granted + 1_000)]);
    }

    #[test]
    fn lanes_do_not_share_their_room() {
        let mut credit = Credit::new(1_000);
        let _held = arrive(&mut credit, 1, 1_000);
        assert_eq!(credit.on_received(1, 1), Err(PeerFault::FlowControl));
        assert_eq!(credit.on_received(2, 1_000), Ok(()));
    }
}
