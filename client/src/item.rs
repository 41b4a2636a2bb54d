//! What a subscription yields: messages, and word of those that will not come.

use std::fmt;
use std::sync::Arc;

use laneway_proto::frame::lost::LossReason;

use crate::lane::Lane;
use crate::message::Message;

/// The next thing on a subscription, in the order in which the broker sent it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A message.
    Message(Message),
    /// Messages that will not come.
    Lost(LossReport),
}

/// The broker's word that messages were dropped for this session: what was published is what is received plus what is
/// reported.
///
/// A report stands in front of the topic's next message on that lane, or comes alone within about a second. It reaches
/// every subscription of the connection that wants its topic, as a message does. Topics of the broker's own (`$...`) are
/// reported like all others. Nothing is reported for the time in which there was no link, or no subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LossReport {
    /// Their topic. `None`: of several topics, too many to be told apart; every subscription of the connection gets the
    /// report, whether or not the messages were meant for it.
    pub topic: Option<Arc<str>>,
    /// The lane they would have come on.
    pub lane: Lane,
    /// Why they were dropped.
    pub reason: LossReason,
    /// How many messages, at least 1.
    pub messages: u32,
}

impl Item {
    /// The message, unless it is a report.
    pub fn message(self) -> Option<Message> {
        match self {
            Self::Message(message) => Some(message),
            Self::Lost(_) => None,
        }
    }
}

impl fmt::Display for LossReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.messages == 1 { "" } else { "s" };
        let topic = self.topic.as_deref().unwrap_or("several topics");
        write!(f, "{} message{plural} of {topic} lost on lane {}: {}", self.messages, self.lane, self.reason.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_a_sentence() {
        let one =
            LossReport { topic: Some("a/b".into()), lane: Lane::STATE, reason: LossReason::Conflated, messages: 1 };
        assert_eq!(one.to_string(), "1 message of a/b lost on lane state: conflated");
        let many = LossReport { topic: None, reason: LossReason::Ttl, messages: 2, ..one };
        assert_eq!(many.to_string(), "2 messages of several topics lost on lane state: ttl");
    }
}
