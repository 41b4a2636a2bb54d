//! Whose turn it is on the line: classes strictly, and inside a class airtime by weight.
//!
//! Each lane has a clock of its own that runs by the airtime it used, divided by its weight; the lane whose clock is
//! furthest behind is next. With lanes of up to a dozen bytes of state this is what the deficit round robin of IP links
//! does with bytes: the same classes, the same weights.

use crate::time::Duration;

/// How far behind a lane may fall that cannot send although it has something: half a second of weight 1.
const BEHIND_MAX: i32 = 500_000_000 >> SHIFT;
/// Clocks count units of 16 ns: they tell apart what lies within half a minute.
const SHIFT: u32 = 4;

/// A lane's place among the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(super) struct Share {
    class: u8,
    weight: u8,
    /// It has something to send, or something under way.
    active: bool,
    clock: u32,
}

impl Share {
    /// Class 0 to 7, 0 first; weight at least 1.
    pub(super) const fn new(class: u8, weight: u8) -> Self {
        Self { class, weight: if weight == 0 { 1 } else { weight }, active: false, clock: 0 }
    }

    /// Whether this one goes before `other`.
    pub(super) const fn is_before(&self, other: &Self) -> bool {
        if self.class == other.class {
            (self.clock.wrapping_sub(other.clock) as i32) < 0
        } else {
            self.class < other.class
        }
    }

    pub(super) const fn is_active(&self) -> bool {
        self.active
    }

    pub(super) const fn stop(&mut self) {
        self.active = false;
    }

    /// It becomes active among `others`: it saved nothing up, and owes nothing to a class that was idle.
    #[must_use]
    pub(super) fn started(mut self, others: impl Iterator<Item = Self> + Clone) -> Self {
        let class = others.filter(|other| other.class == self.class);
        let ahead = |a: u32, b: u32| a.wrapping_sub(b) as i32 > 0;
        let active = class.clone().filter(|other| other.active).map(|other| other.clock);
        let floor = match active.reduce(|a, b| if ahead(a, b) { b } else { a }) {
            Some(furthest_behind) => Some(furthest_behind),
            None => class.map(|other| other.clock).reduce(|a, b| if ahead(a, b) { a } else { b }),
        };
        if let Some(floor) = floor.filter(|&floor| ahead(floor, self.clock)) {
            self.clock = floor;
        }
        self.active = true;
        self
    }

    /// It used so much airtime.
    pub(super) fn charge(&mut self, airtime: Duration) {
        let units = (airtime.0.min(1_000_000_000) as u32 >> SHIFT) / u32::from(self.weight);
        self.clock = self.clock.wrapping_add(units);
    }

    /// Another lane was served: whoever does not send now does not save up without bound.
    pub(super) const fn keep_up(&mut self, served: &Self) {
        let least = served.clock.wrapping_sub(BEHIND_MAX as u32);
        if self.class == served.class && (self.clock.wrapping_sub(least) as i32) < 0 {
            self.clock = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    const FRAME: Duration = Duration::from_millis(10);

    /// Serves `frames` frames; whoever is in `busy` always has one more. Returns how many each lane sent.
    fn serve(lanes: &mut [Share], busy: &[usize], frames: usize) -> Vec<usize> {
        let mut sent = vec![0; lanes.len()];
        for at in 0..lanes.len() {
            let others = lanes.to_vec();
            match (busy.contains(&at), lanes[at].is_active()) {
                (true, false) => {
                    let others = others.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, share)| *share);
                    lanes[at] = lanes[at].started(others);
                }
                (false, true) => lanes[at].stop(),
                (true, true) | (false, false) => {}
            }
        }
        for _ in 0..frames {
            let first = busy.iter().copied().reduce(|a, b| if lanes[b].is_before(&lanes[a]) { b } else { a });
            let first = first.expect("somebody is busy");
            sent[first] += 1;
            lanes[first].charge(FRAME);
            let served = lanes[first];
            lanes.iter_mut().for_each(|lane| lane.keep_up(&served));
        }
        sent
    }

    #[test]
    fn classes_are_strict_and_weights_are_shares() {
        let mut lanes = [Share::new(1, 1), Share::new(5, 1), Share::new(5, 3)];
        assert_eq!(serve(&mut lanes, &[0, 1, 2], 100), [100, 0, 0]);
        assert_eq!(serve(&mut lanes, &[1, 2], 400), [0, 100, 300]);
    }

    #[test]
    fn who_was_idle_saved_nothing_and_who_was_alone_owes_nothing() {
        let mut lanes = [Share::new(5, 1), Share::new(5, 1), Share::new(5, 1)];
        serve(&mut lanes, &[0], 100_000);
        assert_eq!(serve(&mut lanes, &[0, 1], 10), [5, 5, 0]);
        serve(&mut lanes, &[], 0);
        assert_eq!(serve(&mut lanes, &[2], 1), [0, 0, 1]);
        assert_eq!(serve(&mut lanes, &[0, 1, 2], 30), [10, 10, 10]);
    }
}
