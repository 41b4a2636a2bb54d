//! The receivers of the four lane kinds, by sets of everything that ever happened.

use std::collections::BTreeSet;

use laneway_proto::lane::seen::{SEEN_WINDOW, Seen};
use laneway_proto::lane::sequencer::{EXACT_WINDOW, ExactlyOnce, Verdict};

/// The number `steps` after the first of a stream that begins at `first`: an endless count becomes what travels.
pub fn number(first: u32, steps: u64) -> u32 {
    let ring = u64::from(u32::MAX);
    ((u64::from(first) - 1 + steps) % ring) as u32 + 1
}

/// What happens to a reliable lane's receiver. Places count from the stream's first number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// The message at this place.
    Message(u64),
    /// The sender gives up so many from this place on.
    Lost(u64, u32),
}

/// Feeds `arrivals` to an [`ExactlyOnce`] beside sets of what was delivered, held and lost.
///
/// # Panics
/// If the machine delivers something twice, out of order on RO, or after it was lost; or does not deliver it at all.
pub fn compare_exact(first: u32, ordered: bool, arrivals: &[Arrival]) {
    let mut lane = ExactlyOnce::new(first, ordered);
    let (mut delivered, mut held, mut lost) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let mut next = 0u64;
    for &arrival in arrivals {
        match arrival {
            Arrival::Message(place) => {
                let expected = if place >= next + u64::from(EXACT_WINDOW) {
                    Verdict::Beyond
                } else if delivered.contains(&place) || held.contains(&place) || lost.contains(&place) {
                    Verdict::Duplicate
                } else if ordered && place > next {
                    held.insert(place);
                    Verdict::Hold
                } else {
                    delivered.push(place);
                    Verdict::Deliver
                };
                assert_eq!(lane.on_message(number(first, place)), expected, "{arrival:?} at {next}");
            }
            Arrival::Lost(place, count) => {
                let told = lane.on_lost(number(first, place), count);
                let before = lost.len();
                // What is beyond the window is taken only where nothing in between is held.
                let room = next + u64::from(EXACT_WINDOW);
                let blocked = place > next || held.iter().any(|&held| held < room);
                let end = place + u64::from(count);
                let end = if blocked { end.min(room) } else { end };
                lost.extend((place..end).filter(|place| !delivered.contains(place) && !held.contains(place)));
                assert_eq!(told as usize, lost.len() - before, "{arrival:?} at {next}");
            }
        }
        loop {
            if delivered.contains(&next) || lost.contains(&next) {
                next += 1;
            } else if held.remove(&next) {
                assert_eq!(lane.release(), Some(number(first, next)), "after {arrival:?}");
                delivered.push(next);
            } else {
                break;
            }
        }
        assert_eq!((lane.release(), lane.next()), (None, number(first, next)), "after {arrival:?}");
    }
    assert!(!ordered || delivered.is_sorted(), "{delivered:?}");
}

/// Feeds numbers, `places` after `first` modulo the ring, to a [`Seen`] beside the set of them.
///
/// # Panics
/// If a number is taken for new twice, or a new one within the window for old.
pub fn compare_seen(first: u32, places: &[u64]) {
    let (mut seen, mut all) = (Seen::new(), BTreeSet::new());
    for &place in places {
        let old = all.last().is_some_and(|&newest| place + u64::from(SEEN_WINDOW) < newest);
        let expected = !old && all.insert(place);
        assert_eq!(seen.is_first(number(first, place)), expected, "{place} in {all:?}");
    }
}
