//! The subscriptions of one session: their filters, the broker's answers, and what arrived for each.

use std::collections::{BTreeMap, HashMap};

use laneway_proto::control::{Body, Control, Subscribe, Unsubscribe};
use laneway_proto::topic::{check_filter, matches};

use super::inbox::{Inbox, Parcel};
use crate::error::{Reason, SubscribeError};
use crate::subscribe_options::SubscribeOptions;

/// Filters in one control message, so that it fits a frame.
const FILTERS_PER_CONTROL: usize = 128;

/// Requests without an answer beyond which a session is not resumed.
const UNANSWERED_MAX: usize = 4_096;

/// The largest number of a request; the rest is for other requests.
const REQUEST_MAX: u32 = u32::MAX >> 1;

const _: () = assert!(
    FILTERS_PER_CONTROL * (laneway_proto::limits::TOPIC_BYTES_MAX + 16) < laneway_proto::limits::CONTROL_BYTES_MAX,
    "a list of the longest filters fits a control message"
);

/// A subscription of this session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubscriptionId(pub(super) u32);

#[derive(Debug)]
struct Held {
    filters: Vec<String>,
    options: SubscribeOptions,
    staged: Inbox,
    /// Whether the owner knows that something is staged.
    announced: bool,
    unanswered: usize,
    refused: Option<Reason>,
}

/// What an answer of the broker settled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Subscribed(SubscriptionId),
    Refused(SubscriptionId, Reason),
}

/// All subscriptions of one session.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    held: HashMap<SubscriptionId, Held>,
    /// How many subscriptions hold each filter: the broker knows it once.
    uses: HashMap<String, u32>,
    requests: HashMap<u32, SubscriptionId>,
    /// What the broker was asked and has not answered, ends of subscriptions included, in order.
    unanswered: BTreeMap<u32, Control>,
    request_last: u32,
    id_last: u32,
}

impl Subscriptions {
    /// A new subscription to all of `filters`, and the requests that announce it.
    pub(super) fn add(
        &mut self,
        filters: &[&str],
        options: SubscribeOptions,
        filters_max: u32,
    ) -> Result<(SubscriptionId, Vec<Control>), SubscribeError> {
        if filters.is_empty() {
            return Err(SubscribeError::NoFilter);
        }
        for &filter in filters {
            check_filter(filter).map_err(|error| SubscribeError::Filter { filter: filter.into(), error })?;
        }
        let new = filters.iter().filter(|&&filter| !self.uses.contains_key(filter)).count();
        if self.uses.len() + new > filters_max as usize {
            return Err(SubscribeError::TooMany { filters_max });
        }
        self.id_last += 1;
        let id = SubscriptionId(self.id_last);
        let chunks = filters.chunks(FILTERS_PER_CONTROL);
        let requests: Vec<_> = chunks.map(|chunk| self.request(id, chunk, &options)).collect();
        for &filter in filters {
            *self.uses.entry(filter.into()).or_default() += 1;
        }
        let held = Held {
            filters: filters.iter().map(|&filter| filter.into()).collect(),
            options,
            staged: Inbox::default(),
            announced: false,
            unanswered: requests.len(),
            refused: None,
        };
        self.held.insert(id, held);
        Ok((id, requests))
    }

    /// All subscriptions once more, for a broker that knows none of them. Answers to earlier requests count no more.
    pub(super) fn request_all(&mut self) -> Vec<Control> {
        self.requests.clear();
        self.unanswered.clear();
        let mut all = Vec::new();
        for id in self.all() {
            let Some(mut held) = self.held.remove(&id) else { continue };
            let filters: Vec<&str> = held.filters.iter().map(String::as_str).collect();
            let before = all.len();
            all.extend(filters.chunks(FILTERS_PER_CONTROL).map(|chunk| self.request(id, chunk, &held.options)));
            (held.unanswered, held.refused) = (all.len() - before, None);
            self.held.insert(id, held);
        }
        all
    }

    fn request(&mut self, id: SubscriptionId, filters: &[&str], options: &SubscribeOptions) -> Control {
        let subs = filters.iter().map(|filter| options.sub(filter)).collect();
        let request = self.ask(Body::Subscribe(Subscribe { subs }));
        self.requests.insert(request.id, id);
        request
    }

    fn ask(&mut self, body: Body) -> Control {
        // 0 would ask for no answer.
        self.request_last = (self.request_last % REQUEST_MAX) + 1;
        let request = Control::request(self.request_last, body);
        self.unanswered.insert(request.id, request.clone());
        request
    }

    /// What the broker has not answered, for a session that goes on: it may or may not have heard it.
    pub(super) fn unanswered(&self) -> Vec<Control> {
        self.unanswered.values().cloned().collect()
    }

    /// Whether so much is unanswered that a session which goes on would begin with a flood.
    pub(super) fn is_flooded(&self) -> bool {
        self.unanswered.len() > UNANSWERED_MAX
    }

    /// Ends a subscription; returns what the broker has to be told. What was staged is gone.
    pub(super) fn remove(&mut self, id: SubscriptionId) -> Vec<Control> {
        let Some(held) = self.held.remove(&id) else { return Vec::new() };
        let mut unused = Vec::new();
        for filter in held.filters {
            let Some(uses) = self.uses.get_mut(&filter) else { continue };
            *uses -= 1;
            if *uses == 0 {
                self.uses.remove(&filter);
                unused.push(filter);
            }
        }
        let chunks = unused.chunks(FILTERS_PER_CONTROL);
        chunks.map(|patterns| self.ask(Body::Unsubscribe(Unsubscribe { patterns: patterns.into() }))).collect()
    }

    /// The broker answered a request; `None` if that settles nothing yet, or nobody asks any more.
    pub(super) fn on_answer(&mut self, request: u32, answer: Reason) -> Option<Settled> {
        self.unanswered.remove(&request);
        let id = self.requests.remove(&request)?;
        let held = self.held.get_mut(&id)?;
        held.unanswered -= 1;
        if answer.number() != 0 {
            held.refused.get_or_insert(answer);
        }
        if held.unanswered > 0 {
            return None;
        }
        Some(held.refused.take().map_or(Settled::Subscribed(id), |reason| Settled::Refused(id, reason)))
    }

    /// All of them, in order.
    pub(super) fn all(&self) -> Vec<SubscriptionId> {
        let mut ids: Vec<_> = self.held.keys().copied().collect();
        // A map's order is random; runs shall be repeatable.
        ids.sort_unstable();
        ids
    }

    /// Who wants a topic.
    pub(super) fn wanting(&self, name: &str) -> Vec<SubscriptionId> {
        let mut ids: Vec<_> = self.held.iter().filter(|(_, held)| held.wants(name)).map(|(&id, _)| id).collect();
        // A map's order is random; runs shall be repeatable.
        ids.sort_unstable();
        ids
    }

    /// Whether a subscription wants a topic.
    pub(super) fn wants(&self, id: SubscriptionId, name: &str) -> bool {
        self.held.get(&id).is_some_and(|held| held.wants(name))
    }

    /// Whether a subscription asked for last values.
    pub(super) fn wants_retained(&self, id: SubscriptionId) -> bool {
        self.held.get(&id).is_some_and(|held| held.options.retained)
    }

    /// Puts a parcel aside for its owner; true if the owner has to be told.
    pub(super) fn stage(&mut self, id: SubscriptionId, parcel: Parcel) -> bool {
        let Some(held) = self.held.get_mut(&id) else { return false };
        held.staged.push(parcel);
        !std::mem::replace(&mut held.announced, true)
    }

    /// Moves what was staged behind what is in `out`.
    pub(super) fn take(&mut self, id: SubscriptionId, out: &mut Inbox) {
        if let Some(held) = self.held.get_mut(&id) {
            held.announced = false;
            out.append(&mut held.staged);
        }
    }
}

impl Held {
    fn wants(&self, name: &str) -> bool {
        self.filters.iter().any(|filter| matches(filter, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> Reason {
        Reason::new(0, String::new())
    }

    fn patterns(controls: &[Control]) -> Vec<Vec<String>> {
        let one = |control: &Control| match control.body.clone() {
            Some(Body::Subscribe(subscribe)) => subscribe.subs.into_iter().map(|sub| sub.pattern).collect(),
            Some(Body::Unsubscribe(unsubscribe)) => unsubscribe.patterns,
            other => panic!("unexpected {other:?}"),
        };
        controls.iter().map(one).collect()
    }

    #[test]
    fn a_subscription_counts_only_once_every_part_was_answered() {
        let filters: Vec<String> = (0..200).map(|number| format!("a/{number}")).collect();
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let mut subscriptions = Subscriptions::default();
        let (id, requests) = subscriptions.add(&filters, SubscribeOptions::default(), 1_000).expect("valid");
        assert_eq!(patterns(&requests).iter().map(Vec::len).collect::<Vec<_>>(), [128, 72]);
        assert_eq!(subscriptions.on_answer(requests[1].id, done()), None);
        assert_eq!(subscriptions.on_answer(requests[0].id, done()), Some(Settled::Subscribed(id)));
        assert_eq!(subscriptions.on_answer(requests[0].id, done()), None, "an answer counts once");
    }

    #[test]
    fn a_new_broker_is_asked_for_everything_and_old_answers_count_no_more() {
        let mut subscriptions = Subscriptions::default();
        let (first, before) = subscriptions.add(&["a", "b"], SubscribeOptions::default(), 9).expect("valid");
        let (second, _) = subscriptions.add(&["b"], SubscribeOptions::default(), 9).expect("valid");
        let requests = subscriptions.request_all();
        assert_eq!(patterns(&requests), [vec!["a", "b"], vec!["b"]]);
        assert_eq!(subscriptions.on_answer(before[0].id, done()), None, "an answer of the old broker");
        assert_eq!(subscriptions.on_answer(requests[1].id, done()), Some(Settled::Subscribed(second)));
        assert_eq!(subscriptions.on_answer(requests[0].id, done()), Some(Settled::Subscribed(first)));
    }

    #[test]
    fn one_refused_part_refuses_the_subscription() {
        let mut subscriptions = Subscriptions::default();
        let (id, requests) = subscriptions.add(&["a"], SubscribeOptions::default(), 9).expect("valid");
        let no = Reason::new(7, "no".into());
        assert_eq!(subscriptions.on_answer(requests[0].id, no.clone()), Some(Settled::Refused(id, no)));
    }

    #[test]
    fn the_broker_is_told_when_the_last_user_of_a_filter_is_gone() {
        let mut subscriptions = Subscriptions::default();
        let (first, _) = subscriptions.add(&["a", "b"], SubscribeOptions::default(), 9).expect("valid");
        let (second, _) = subscriptions.add(&["b"], SubscribeOptions::default(), 9).expect("valid");
        assert_eq!(patterns(&subscriptions.remove(first)), [["a"]]);
        assert_eq!(patterns(&subscriptions.remove(second)), [["b"]]);
        assert!(subscriptions.remove(second).is_empty());
    }

    #[test]
    fn bad_filters_and_too_many_are_refused_here() {
        let mut subscriptions = Subscriptions::default();
        assert_eq!(subscriptions.add(&[], SubscribeOptions::default(), 9).err(), Some(SubscribeError::NoFilter));
        assert!(
            matches!(subscriptions.add(&["a", "a#"], SubscribeOptions::default(), 9), Err(SubscribeError::Filter { filter, .. }) if filter == "a#")
        );
        subscriptions.add(&["a", "b"], SubscribeOptions::default(), 2).expect("valid");
        subscriptions.add(&["b"], SubscribeOptions::default(), 2).expect("a filter that is known already");
        assert_eq!(
            subscriptions.add(&["c"], SubscribeOptions::default(), 2).err(),
            Some(SubscribeError::TooMany { filters_max: 2 })
        );
    }

    #[test]
    fn a_topic_reaches_every_local_subscription_that_wants_it() {
        let mut subscriptions = Subscriptions::default();
        let (all, _) = subscriptions.add(&["#"], SubscribeOptions::default(), 9).expect("valid");
        let (one, _) = subscriptions.add(&["a/+", "a/b"], SubscribeOptions::default(), 9).expect("valid");
        assert_eq!(subscriptions.wanting("a/b"), [all, one]);
        assert_eq!(subscriptions.wanting("c"), [all]);
        assert_eq!(subscriptions.wanting("$sys/a"), []);
        assert!(subscriptions.wants(one, "a/x") && !subscriptions.wants(one, "b"));
    }
}
