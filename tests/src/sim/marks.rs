//! Conditions that must have been reached by some seed: a simulator that never meets a fault proves nothing.

use std::collections::BTreeMap;

/// How often each condition was reached.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    counts: BTreeMap<&'static str, u64>,
}

/// Conditions that two hundred seeds must reach, each at least once.
pub const EXPECTED: &[&str] = &[
    "accept_paused",
    "accept_restart",
    "broker_rejected",
    "broker_saw_no_buffers",
    "broker_saw_short_send",
    "closed_by_peer",
    "closed_forbidden",
    "closed_limit",
    "closed_malformed",
    "closed_out_of_turn",
    "closed_shutdown",
    "closed_timeout",
    "closed_with_unread_bytes",
    "connection_failed",
    "connection_handed_on",
    "control_malformed",
    "crossed_shards",
    "cut_inside_a_frame",
    "dial_hangs",
    "dial_refused",
    "doorbell_rung",
    "frame_resent",
    "frame_split",
    "link_lost_in_a_session",
    "message_conflated",
    "message_overflowed",
    "no_buffers",
    "no_descriptor",
    "partition",
    "publish_accepted",
    "publish_delivered",
    "publish_in_doubt",
    "publisher_paused_by_mesh",
    "publisher_paused_by_outbox",
    "receive_cancelled",
    "receive_restart",
    "received_once",
    "rejected",
    "reset",
    "run_copied",
    "run_shared",
    "run_unrouted",
    "value_replayed",
    "session_evicted",
    "session_expired",
    "session_not_resumed",
    "session_parked",
    "session_resumed",
    "short_send",
    "shut_down_in_the_middle",
    "slow_consumer_disconnected",
    "stall",
    "vanished",
];

impl Marks {
    /// The condition was reached.
    pub fn hit(&mut self, name: &'static str) {
        self.add(name, 1);
    }

    /// The condition was reached `count` times more.
    pub fn add(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            *self.counts.entry(name).or_default() += count;
        }
    }

    /// How often it was reached.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Adds another run's marks.
    pub fn merge(&mut self, other: &Self) {
        for (&name, &count) in &other.counts {
            self.add(name, count);
        }
    }

    /// Expected conditions that were never reached.
    pub fn missing<'a>(&self, expected: &[&'a str]) -> Vec<&'a str> {
        expected.iter().copied().filter(|name| self.count(name) == 0).collect()
    }

    /// All conditions with their counts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().map(|(&name, &count)| (name, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_reached_is_missing() {
        let mut marks = Marks::default();
        marks.hit("short_send");
        marks.add("reset", 0);
        assert_eq!(marks.missing(&["short_send", "reset"]), ["reset"]);
        let mut all = Marks::default();
        all.add("reset", 2);
        all.merge(&marks);
        assert_eq!((all.missing(&["short_send", "reset"]), all.count("reset")), (vec![], 2));
    }
}
