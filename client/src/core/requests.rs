//! What the broker was asked beside subscriptions, until it has answered.

use std::collections::HashMap;

use laneway_proto::control::{Body, Control, Stats};
use laneway_proto::error::PeerFault;

use crate::error::{Reason, RequestError};
use crate::stat::Stat;

/// Requests that may wait for their answers at a time.
pub const REQUESTS_MAX: usize = 64;
/// Samples of one answer; a broker that tells more breaks a rule.
const SAMPLES_MAX: usize = 1024 * 1024;
/// The bit that tells these requests' numbers from those of subscriptions.
const REQUEST_BIT: u32 = 1 << 31;

/// A request of this session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(u32);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// With what has been answered so far.
    waiting: HashMap<RequestId, Vec<Stat>>,
    last: u32,
}

/// What an answer amounts to: counters, if they were asked for.
pub type Answered = Result<Vec<Stat>, Reason>;

impl Requests {
    /// The message that asks.
    pub(super) fn ask(&mut self, body: Body) -> Result<(RequestId, Control), RequestError> {
        if self.waiting.len() >= REQUESTS_MAX {
            return Err(RequestError::TooManyPending { pending_max: REQUESTS_MAX });
        }
        self.last = self.last.wrapping_add(1) | REQUEST_BIT;
        let id = RequestId(self.last);
        self.waiting.insert(id, Vec::new());
        Ok((id, Control::request(self.last, body)))
    }

    /// Nobody answers any more.
    pub(super) fn forget_all(&mut self) {
        self.waiting.clear();
    }

    /// The broker says yes or no; `None` if nobody asked.
    pub(super) fn on_answer(&mut self, request: u32, answer: &Reason) -> Option<(RequestId, Answered)> {
        let id = RequestId(request);
        let stats = self.waiting.remove(&id)?;
        Some((id, if answer.number() == 0 { Ok(stats) } else { Err(answer.clone()) }))
    }

    /// The broker tells counters; `None` if nobody asked, or there is more to come.
    pub(super) fn on_stats(&mut self, request: u32, stats: Stats) -> Result<Option<(RequestId, Answered)>, PeerFault> {
        let id = RequestId(request);
        let Some(told) = self.waiting.get_mut(&id) else { return Ok(None) };
        if told.len() + stats.samples.len() > SAMPLES_MAX {
            return Err(PeerFault::LimitExceeded);
        }
        told.extend(stats.samples.into_iter().map(Stat::new));
        if stats.more {
            return Ok(None);
        }
        Ok(self.waiting.remove(&id).map(|told| (id, Ok(told))))
    }

    /// Whether a number is of these requests.
    pub(super) const fn has_number(request: u32) -> bool {
        request & REQUEST_BIT != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laneway_proto::control::{Sample, StatsRequest};

    fn ask(requests: &mut Requests) -> Result<(RequestId, Control), RequestError> {
        requests.ask(Body::StatsRequest(StatsRequest::default()))
    }

    fn part(names: &[&str], more: bool) -> Stats {
        let sample = |&name: &&str| Sample { name: name.into(), value: 1.0, ..Sample::default() };
        Stats { samples: names.iter().map(sample).collect(), more }
    }

    #[test]
    fn an_answer_in_parts_is_told_when_the_last_part_is_there() {
        let mut requests = Requests::default();
        let (first, message) = ask(&mut requests).expect("room");
        let (second, _) = ask(&mut requests).expect("room");
        assert!(Requests::has_number(message.id) && first != second);
        assert_eq!(requests.on_stats(message.id, part(&["a"], true)), Ok(None));
        let names = |answered: Answered| answered.map(|stats| stats.into_iter().map(|stat| stat.name).collect());
        let told = requests.on_stats(message.id, part(&["b"], false)).expect("within bounds").expect("all of it");
        assert_eq!((told.0, names(told.1)), (first, Ok(vec!["a".to_owned(), "b".into()])));
        assert_eq!(requests.on_stats(message.id, part(&["c"], false)), Ok(None), "nobody asks any more");
    }

    #[test]
    fn a_refusal_ends_a_request_and_so_does_a_new_link() {
        let mut requests = Requests::default();
        let (id, message) = ask(&mut requests).expect("room");
        let no = Reason::new(8, "later".into());
        assert_eq!(requests.on_answer(message.id, &no), Some((id, Err(no.clone()))));
        let (_, message) = ask(&mut requests).expect("room");
        requests.forget_all();
        assert_eq!(requests.on_answer(message.id, &no), None);
    }

    #[test]
    fn requests_are_bounded() {
        let mut requests = Requests::default();
        (0..REQUESTS_MAX).for_each(|_| drop(ask(&mut requests).expect("room")));
        assert_eq!(ask(&mut requests), Err(RequestError::TooManyPending { pending_max: REQUESTS_MAX }));
    }
}
