//! The receivers of the four lane kinds, by sets of everything that ever happened.

use std::collections::BTreeSet;

use laneway_proto::lane::confirm::{Await, Awaited, Delivered, Deliveries, Delivery};
use laneway_proto::lane::repeats::{Heard, REPEAT_WINDOW, Repeats, Verdict as Taken};
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
    let (mut seen, mut all) = (Seen::<32>::new(), BTreeSet::new());
    for &place in places {
        let old = all.last().is_some_and(|&newest| place + u64::from(SEEN_WINDOW) < newest);
        let expected = !old && all.insert(place);
        assert_eq!(seen.is_first(number(first, place)), expected, "{place} in {all:?}");
    }
}

/// What happens to a lane whose publisher wants to know what was delivered. Places count from its first number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asking {
    /// The publisher sends so many messages and one behind the last ones, to be received by so many sessions.
    Message(u8, u16),
    /// It goes back to the so many-th message from the end, and sends it and all behind it again.
    Again(u64, u16),
    /// A session has received what was routed as the so many-th, modulo how many there were.
    Received(usize),
    /// The publisher gives up everything up to so many messages behind the last one settled.
    GiveUp(u64),
    /// The publisher is told what there is to tell.
    Tell,
}

/// A message, as the model remembers it for ever.
#[derive(Clone, Copy, Debug)]
struct Asked {
    wanted: u16,
    /// Sessions that received it since it was routed last.
    received: u16,
    routing: usize,
    given_up: bool,
}

/// A lane, message by message.
struct AskingLane {
    first: u32,
    lane: Deliveries<Vec<Delivery>>,
    messages: Vec<Asked>,
    /// First and last place, and the ticket if somebody counts.
    routings: Vec<(u64, u64, Option<u32>)>,
    awaited: Awaited<Vec<Await>>,
    waiting: Vec<u64>,
    /// Behind the last place told.
    told: usize,
    /// Behind the last place given up.
    gave_up: usize,
}

impl AskingLane {
    fn route(&mut self, from: u64, through: u64, wanted: u16) {
        let ticket = self.lane.on_message(number(self.first, from), number(self.first, through), wanted);
        let routing = self.routings.len();
        self.routings.push((from, through, ticket));
        for place in from..=through {
            let asked = Asked { wanted: wanted.max(1), received: 0, routing, given_up: false };
            match self.messages.get_mut(place as usize) {
                Some(message) => *message = asked,
                None => {
                    self.messages.push(asked);
                    self.waiting.push(place);
                    assert!(self.awaited.on_published(number(self.first, place)));
                }
            }
        }
    }

    /// Behind the last place of which, and of all before it, nothing is to be waited for.
    fn settled(&self) -> usize {
        self.messages.iter().take_while(|message| message.given_up || message.received >= message.wanted).count()
    }

    fn tell(&mut self, exact: bool) {
        let told = self.lane.poll_delivered();
        let settled = self.settled();
        let delivered = |place: &usize| !self.messages[*place].given_up;
        let newest = (self.told..settled).rev().find(delivered);
        if told.is_none() {
            assert!(!exact || newest.is_none(), "{newest:?} is not told: {:?}", self.messages);
        }
        let Some(Delivered { seq_through, receivers }) = told else { return };
        let through = (self.told..settled).find(|&place| number(self.first, place as u64) == seq_through);
        let through = through.unwrap_or_else(|| panic!("{seq_through} is told, {:?}", self.messages));
        assert!(!exact || newest.is_none_or(|newest| newest <= through), "{through} is told of {:?}", self.messages);
        // Where there were too few places, the machine may have given up what the model counts as received.
        let from = if exact { self.told } else { self.told.max(self.gave_up) };
        let fresh: Vec<Asked> = (from..=through).filter(delivered).map(|place| self.messages[place]).collect();
        assert!(fresh.iter().all(|message| receivers <= message.received), "{receivers} are too many: {fresh:?}");
        // What was given up in part may be told for nobody.
        assert!(fresh.iter().all(|message| receivers >= message.wanted.min(1)), "{receivers} are too few: {fresh:?}");
        self.told = through + 1;
        let done = self.waiting.iter().take_while(|&&waits| waits <= through as u64).count();
        assert_eq!(self.awaited.on_confirm(seq_through), done);
        self.waiting.drain(..done);
    }
}

/// Feeds `events` to a [`Deliveries`] with `places` places beside a list of all messages, and what it tells to an
/// [`Awaited`].
///
/// # Panics
/// If a message is confirmed that fewer sessions received than were wanted; or, where there are places enough, if one is
/// not although nothing is in its way.
pub fn compare_deliveries(first: u32, places: usize, events: &[Asking]) {
    let mut lane = AskingLane {
        first,
        lane: Deliveries::new(vec![Delivery::default(); places]),
        messages: Vec::new(),
        routings: Vec::new(),
        awaited: Awaited::new(vec![Await::default(); 1_000]),
        waiting: Vec::new(),
        told: 0,
        gave_up: 0,
    };
    for &event in events {
        let next = lane.messages.len() as u64;
        match event {
            Asking::Message(count, wanted) => lane.route(next, next + u64::from(count), wanted),
            Asking::Again(back, wanted) if lane.settled() < lane.messages.len() => {
                let from = (lane.settled() as u64).max(next.saturating_sub(1 + back));
                lane.route(from, from, wanted);
                if from + 1 < next {
                    lane.route(from + 1, next - 1, wanted);
                }
            }
            Asking::Received(which) if !lane.routings.is_empty() => {
                let which = which % lane.routings.len();
                if let (from, through, Some(ticket)) = lane.routings[which] {
                    let current = |message: &&mut Asked| message.routing == which;
                    let range = from as usize..=through as usize;
                    lane.messages[range].iter_mut().filter(current).for_each(|message| message.received += 1);
                    lane.lane.on_received(ticket);
                }
            }
            Asking::GiveUp(count) if next > 0 => {
                let through = (lane.settled() as u64 + count).min(next - 1);
                // What is confirmed, but was not told yet, stays so.
                let settled = lane.settled();
                let given_up =
                    (0..).zip(&mut lane.messages).filter(|(place, _)| (settled as u64..=through).contains(place));
                given_up.for_each(|(_, message)| message.given_up = true);
                lane.gave_up = lane.gave_up.max(through as usize + 1);
                lane.lane.on_given_up(number(first, through));
            }
            Asking::Tell => lane.tell(places >= 200),
            Asking::Again(..) | Asking::Received(_) | Asking::GiveUp(_) => {}
        }
        assert!(lane.lane.pending() <= places, "{:?}", lane.lane);
    }
}

/// Feeds messages, as (origin, place), to a [`Repeats`] beside lists of what each origin was heard to say.
///
/// # Panics
/// If a message is taken twice or, on an ordered lane, behind a newer one; or is not taken although it should be.
pub fn compare_repeats(first: u32, ordered: bool, places: usize, messages: &[(u32, u64)]) {
    let mut repeats = Repeats::new(vec![Heard::default(); places]);
    // From the one that was silent for longest to the most recent one.
    let mut heard: Vec<(u32, Vec<u64>)> = Vec::new();
    for &(origin, place) in messages {
        let mut known = match heard.iter().position(|(other, _)| *other == origin) {
            Some(at) => heard.remove(at).1,
            None => {
                if heard.len() >= places.max(1) {
                    heard.remove(0);
                }
                Vec::new()
            }
        };
        let newest = known.iter().copied().max();
        let expected = match newest {
            _ if places == 0 => Taken::First,
            Some(newest) if place + u64::from(REPEAT_WINDOW) < newest => Taken::Late,
            Some(_) if known.contains(&place) => Taken::Repeated,
            Some(newest) if ordered && place < newest => Taken::Late,
            Some(_) | None => Taken::First,
        };
        assert_eq!(repeats.on_message(origin, 1, number(first, place), ordered), expected, "{origin}: {place}");
        if expected == Taken::First {
            known.push(place);
        }
        heard.push((origin, known));
    }
}
