//! What one subscriber is still to be sent of the last values: a search that goes on as its queues have room.
//!
//! A topic that changes meanwhile is sent as it stood, right before its change; so it is as if everything had been sent
//! in the moment of the request, but nothing is copied before there is room for it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use laneway_proto::topic;

use super::{Found, Retained};
use crate::intern::TopicIndex;

/// A request for the last values of some filters.
#[derive(Debug)]
struct Request {
    /// The store's count of changes when it was made.
    since: u64,
    /// Filters not done yet; the last one is being searched.
    filters: Vec<Arc<str>>,
    /// The name where that search stands.
    after: Option<Arc<str>>,
    /// Topics that are done, as far as the search could find them again.
    done: HashSet<TopicIndex>,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// This topic, as it stood so many changes ago.
    Topic(TopicIndex, u64),
    /// The budget is used up.
    Later,
    /// Nothing any more.
    Done,
}

/// The requests of one subscriber, in the order they were made.
#[derive(Debug, Default)]
pub struct Replay {
    requests: VecDeque<Request>,
    /// It is in the shard's line of replays.
    pub in_line: bool,
}

impl Replay {
    /// Adds a request, made now.
    pub fn add(&mut self, mut filters: Vec<Arc<str>>, retained: &Retained) {
        filters.reverse();
        self.requests.push_back(Request { since: retained.changes(), filters, after: None, done: HashSet::new() });
    }

    /// The next topic; it counts as sent. Looks at `budget` names at most.
    pub fn next(&mut self, retained: &Retained, budget: &mut u32) -> Next {
        while let Some(request) = self.requests.front_mut() {
            let Some(filter) = request.filters.last() else {
                self.requests.pop_front();
                continue;
            };
            match retained.find(filter, request.after.as_deref(), budget) {
                Found::End => {
                    request.filters.pop();
                    request.after = None;
                }
                Found::Later(last) => {
                    request.after = last.or_else(|| request.after.take());
                    return Next::Later;
                }
                Found::Topic(topic, name) => {
                    request.after = Some(name);
                    let stands = retained.stands(topic, request.since);
                    // Only another filter can find it again.
                    let first = if request.filters.len() > 1 {
                        request.done.insert(topic)
                    } else {
                        !request.done.contains(&topic)
                    };
                    if stands && first {
                        return Next::Topic(topic, request.since);
                    }
                }
            }
            if *budget == 0 {
                return Next::Later;
            }
        }
        Next::Done
    }

    /// A topic is about to change: as of when it has to be sent before, if it was asked for and has not been sent.
    pub fn overtake(&mut self, topic: TopicIndex, name: &str, retained: &Retained) -> Option<u64> {
        let mut due = None;
        for request in &mut self.requests {
            if !retained.stands(topic, request.since) || request.done.contains(&topic) {
                continue;
            }
            let passed = request.after.as_deref();
            let wanted = request.filters.iter().enumerate().any(|(place, filter)| {
                let searched = place + 1 == request.filters.len();
                let is_behind = !searched || passed.is_none_or(|passed| passed < name);
                is_behind && topic::matches(filter, name)
            });
            if wanted {
                request.done.insert(topic);
                due.get_or_insert(request.since);
            }
        }
        due
    }
}
