use super::*;

struct Stage {
    oracle: Oracle,
    publisher: SessionId,
    subscriber: SessionId,
}

/// A publisher, and a session with a confirmed subscription to `a/#`.
fn stage() -> Stage {
    let mut oracle = Oracle::default();
    let (publisher, subscriber) = (oracle.open(false), oracle.open(false));
    oracle.subscribe(subscriber, &["a/#".into()], 1);
    oracle.confirm(subscriber, 1);
    Stage { oracle, publisher, subscriber }
}

impl Stage {
    fn publish(&mut self, topic: &str) -> Message {
        let (seq, payload) = self.oracle.publish(self.publisher, topic, 1, 40);
        Message { topic: topic.into(), lane: 1, seq, payload, retained: false }
    }

    /// What the oracle says about delivering these in this order.
    fn verdict(mut self, messages: &[&Message]) -> Option<String> {
        for message in messages {
            self.oracle.deliver(self.subscriber, message);
        }
        self.oracle.broken().first().cloned()
    }
}

fn with(change: impl FnOnce(&mut Stage) -> Vec<Message>) -> Option<String> {
    let mut stage = stage();
    let messages = change(&mut stage);
    stage.verdict(&messages.iter().collect::<Vec<_>>())
}

#[test]
fn deliveries_in_order_without_gaps_pass() {
    assert_eq!(with(|s| vec![s.publish("a/b"), s.publish("a/c"), s.publish("a")]), None);
}

#[test]
fn a_changed_byte_a_repeat_a_swap_and_a_gap_are_found() {
    let problem = with(|s| {
        let mut message = s.publish("a/b");
        message.payload[30] ^= 1;
        vec![message]
    });
    assert!(problem.is_some_and(|text| text.contains("not those that were sent")));
    let problem = with(|s| {
        let message = s.publish("a/b");
        vec![message.clone(), message]
    });
    assert!(problem.is_some_and(|text| text.contains("had been delivered before")));
    let problem = with(|s| {
        let (first, second) = (s.publish("a/b"), s.publish("a/b"));
        vec![second, first]
    });
    assert!(problem.is_some_and(|text| text.contains("is missing before it")));
}

#[test]
fn a_message_nobody_sent_or_nobody_wanted_is_found() {
    let problem = with(|s| {
        let message = s.publish("a/b");
        vec![Message { payload: speech::payload(Stamp { session: 0, lane: 1, seq: 9 }, 40), ..message }]
    });
    assert!(problem.is_some_and(|text| text.contains("never sent that number")));
    let problem = with(|s| vec![s.publish("b/a")]);
    assert!(problem.is_some_and(|text| text.contains("no filter")));
    let problem = with(|s| {
        let message = s.publish("a/b");
        vec![Message { topic: "a/c".into(), ..message }]
    });
    assert!(problem.is_some_and(|text| text.contains("published to `a/b`")));
}

#[test]
fn what_was_published_before_the_confirmation_is_not_owed() {
    let mut oracle = Oracle::default();
    let (publisher, subscriber) = (oracle.open(false), oracle.open(false));
    oracle.subscribe(subscriber, &["#".into()], 1);
    let _early = oracle.publish(publisher, "a", 1, 40);
    oracle.confirm(subscriber, 1);
    let (seq, payload) = oracle.publish(publisher, "a", 1, 40);
    oracle.deliver(subscriber, &Message { topic: "a".into(), lane: 1, seq, payload, retained: false });
    assert_eq!(oracle.broken(), [""; 0]);
}

#[test]
fn after_a_confirmed_unsubscribe_nothing_new_may_come() {
    let problem = with(|s| {
        let before = s.publish("a/b");
        s.oracle.unsubscribe(s.subscriber, &["a/#".into()], 2);
        let between = s.publish("a/b");
        s.oracle.confirm(s.subscriber, 2);
        vec![before, between, s.publish("a/b")]
    });
    assert!(problem.is_some_and(|text| text.contains("no filter") && text.contains("seq 3")));
}

#[test]
fn what_was_accepted_is_outstanding_until_it_is_delivered_or_the_session_ends() {
    let mut stage = stage();
    let message = stage.publish("a/b");
    assert_eq!(stage.oracle.outstanding().len(), 0, "nobody was promised anything yet");
    let mark = stage.oracle.mark();
    let _later = stage.publish("a/b");
    stage.oracle.accept(stage.publisher, mark);
    assert_eq!(stage.oracle.outstanding().len(), 1);
    stage.oracle.deliver(stage.subscriber, &message);
    assert_eq!(stage.oracle.outstanding().len(), 0);
    let mark = stage.oracle.mark();
    stage.oracle.accept(stage.publisher, mark);
    assert_eq!(stage.oracle.outstanding().len(), 1);
    stage.oracle.end(stage.subscriber);
    assert_eq!(stage.oracle.outstanding().len(), 0);
    stage.oracle.complete(stage.subscriber);
    assert_eq!(stage.oracle.outstanding().len(), 1, "a complete session cannot get it any more");
}

#[test]
fn the_naive_matcher_follows_the_rule() {
    for (filter, name, matches) in [
        ("a/b", "a/b", true),
        ("a/b", "a/b/c", false),
        ("a/+", "a/b", true),
        ("a/+", "a", false),
        ("a/#", "a", true),
        ("a/#", "a/b/c", true),
        ("+/b", "/b", true),
        ("#", "$sys/x", false),
        ("+/x", "$sys/x", false),
        ("$sys/#", "$sys/x", true),
        ("a/+/c", "a//c", true),
    ] {
        assert_eq!(naive_match(filter, name), matches, "{filter} {name}");
    }
}
