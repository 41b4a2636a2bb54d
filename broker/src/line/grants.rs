//! How much a device may send on its reliable lanes: as much as before again, as long as the broker takes it.

use laneway_proto::serial::control::{Control, Entries, LaneLimit};
use laneway_proto::serial::limits::SERIAL_LANES_MAX;

use super::{Desk, LINE_LANES, Line};

/// Frames of a lane that a device may send before it is allowed more.
pub(super) const CREDIT_FRAMES: u16 = 64;
/// Frames that have to be taken before it is worth a message.
const WORTH_FRAMES: u16 = CREDIT_FRAMES / 2;
/// Bytes of one entry of CREDIT.
const ENTRY_BYTES: usize = 3;

/// One lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Grant {
    /// The newest number that has arrived.
    newest: u16,
    /// The newest of when more was allowed last: [`CREDIT_FRAMES`] behind it may come.
    base: u16,
}

impl Grant {
    pub(super) fn on_frame(&mut self, seq: u16) {
        if seq.wrapping_sub(self.newest) as i16 > 0 {
            self.newest = seq;
        }
    }

    /// The last number that may come from now on, if that is worth a message.
    fn more(&mut self) -> Option<u16> {
        if self.newest.wrapping_sub(self.base) < WORTH_FRAMES {
            return None;
        }
        self.base = self.newest;
        Some(self.base.wrapping_add(CREDIT_FRAMES))
    }
}

impl Desk {
    /// Whether what is published on the lane has to be taken.
    pub(super) const fn must_take(&self, lane: u8) -> bool {
        self.facts.reliable & 1 << lane != 0
    }
}

impl Line {
    /// Whether the broker takes what the device publishes. While it does not, reliable lanes stand still, and what comes on
    /// others is dropped.
    pub fn set_flowing(&mut self, flowing: bool) {
        let Self { link, desk, .. } = self;
        desk.stopped = !flowing;
        if !flowing {
            return;
        }
        let mut limits = [LaneLimit { lane: 0, through: 0 }; LINE_LANES];
        let mut count = 0;
        for lane in 1..LINE_LANES as u8 {
            if let Some(through) = desk.grants[usize::from(lane)].more() {
                limits[count] = LaneLimit { lane, through };
                count += 1;
            }
        }
        if count > 0 {
            limits[..count].iter().for_each(|&limit| link.grant(limit));
            let mut bytes = [0; ENTRY_BYTES * SERIAL_LANES_MAX];
            desk.push_control(&Control::Credit(Entries::credit(&limits[..count], &mut bytes)), 0, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_allowed_when_half_was_taken_across_the_wrap_of_numbers() {
        let mut grant = Grant { newest: 65_500, base: 65_500 };
        (65_501..=65_531).for_each(|seq| grant.on_frame(seq));
        assert_eq!(grant.more(), None);
        grant.on_frame(65_532);
        assert_eq!((grant.more(), grant.more()), (Some(60), None));
        grant.on_frame(28);
        grant.on_frame(65_533);
        assert_eq!(grant.more(), Some(92), "what is late changes nothing");
    }
}
