//! What became of the frames that were taken from an outbox: whether the device has all messages of each, in their order.

use std::collections::VecDeque;

/// How far a reliable lane has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// Its number.
    pub lane: u8,
    /// Frames taken of it, of which it is known.
    pub total: u64,
    /// The device has the last of them, and those before it of which was not told yet.
    pub received: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fate {
    /// Messages that are not settled.
    left: u32,
    /// The device does not get all of it.
    lost: bool,
}

/// The frames of one lane.
#[derive(Debug, Default)]
pub(super) struct Fates {
    /// Frames of which it is known, and all before them.
    settled: u64,
    pending: VecDeque<Fate>,
}

impl Fates {
    /// A frame of so many messages was taken. Returns its number.
    pub(super) fn on_taken(&mut self, messages: u32, lost: bool) -> u64 {
        self.pending.push_back(Fate { left: messages, lost });
        self.settled + self.pending.len() as u64
    }

    /// The device has one of its messages, or will never have it.
    pub(super) fn on_settled(&mut self, frame: u64, lost: bool) {
        let place = frame.checked_sub(self.settled + 1).and_then(|place| usize::try_from(place).ok());
        if let Some(fate) = place.and_then(|place| self.pending.get_mut(place)) {
            fate.left = fate.left.saturating_sub(1);
            fate.lost |= lost;
        }
    }

    /// The next thing to be told; `None`: nothing more is known.
    pub(super) fn poll(&mut self, lane: u8) -> Option<Count> {
        let mut told = None;
        while let Some(&Fate { left: 0, lost }) = self.pending.front() {
            if lost && told.is_some() {
                break;
            }
            self.pending.pop_front();
            self.settled += 1;
            told = Some(Count { lane, total: self.settled, received: !lost });
            if lost {
                break;
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_in_their_order_once_all_of_their_messages_are_settled() {
        let mut fates = Fates::default();
        let count = |total, received| Some(Count { lane: 2, total, received });
        let [first, second, third] =
            [(2, false), (1, false), (0, false)].map(|(messages, lost)| fates.on_taken(messages, lost));
        assert_eq!([first, second, third], [1, 2, 3]);
        fates.on_settled(second, false);
        fates.on_settled(first, false);
        assert_eq!(fates.poll(2), None, "a message of the first is missing");
        fates.on_settled(first, false);
        assert_eq!((fates.poll(2), fates.poll(2)), (count(3, true), None));
        let [fourth, fifth] = [fates.on_taken(1, false), fates.on_taken(0, true)];
        fates.on_settled(fourth, false);
        fates.on_taken(0, false);
        assert_eq!(fifth, 5);
        assert_eq!(
            [fates.poll(2), fates.poll(2), fates.poll(2), fates.poll(2)],
            [count(4, true), count(5, false), count(6, true), None],
            "what was lost is told for itself"
        );
        fates.on_settled(1, true);
        assert_eq!(fates.poll(2), None, "long settled");
    }
}
