//! PINGs that stand behind what was published before them, and what their PONGs therefore say.

use std::collections::VecDeque;

use laneway_proto::limits::LANES_MAX;

/// Unanswered PINGs that stand for something; further ones say nothing of what was published.
const MARKS_MAX: usize = 2_048;

/// A number for each lane.
pub(super) type ByLane = [u64; LANES_MAX];

#[derive(Debug)]
struct Mark {
    token: u64,
    /// Messages published on each lane when it was made.
    published: ByLane,
    /// Frames that have to be with the link before it is.
    placed: ByLane,
}

/// Unanswered PINGs, in the order of their numbers; the first `sent` of them are with the link.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: VecDeque<Mark>,
    sent: usize,
}

impl Marks {
    /// A PING behind everything; false if there are too many.
    pub(super) fn push(&mut self, token: u64, published: ByLane, placed: ByLane) -> bool {
        let fits = self.marks.len() < MARKS_MAX;
        if fits {
            self.marks.push_back(Mark { token, published, placed });
        }
        fits
    }

    /// The number of the PING that goes next, and what has to go before it.
    pub(super) fn next(&self) -> Option<(u64, &ByLane)> {
        self.marks.get(self.sent).map(|mark| (mark.token, &mark.placed))
    }

    /// That PING is with the link.
    pub(super) const fn on_sent(&mut self) {
        self.sent += 1;
    }

    /// A PING was answered: what had been published when it was made, if it stood for something.
    pub(super) fn on_pong(&mut self, token: u64) -> Option<ByLane> {
        let sent = self.marks.iter().take(self.sent).position(|mark| mark.token == token)?;
        self.sent -= sent + 1;
        self.marks.drain(..=sent).next_back().map(|mark| mark.published)
    }

    /// No PONG comes any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether a PING waits to be sent.
    pub(super) fn waits(&self) -> bool {
        self.sent < self.marks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pong_to_a_ping_that_was_sent_says_something() {
        let mut marks = Marks::default();
        for token in [3, 5, 9] {
            assert!(marks.push(token, [token; LANES_MAX], [0; LANES_MAX]));
        }
        assert_eq!(marks.on_pong(3), None, "not sent yet");
        marks.on_sent();
        marks.on_sent();
        assert_eq!(marks.on_pong(4), None, "somebody else's");
        assert_eq!(marks.on_pong(9), None, "not sent yet");
        assert_eq!(marks.on_pong(5), Some([5; LANES_MAX]));
        assert_eq!(marks.next().map(|(token, _)| token), Some(9));
        assert_eq!(marks.on_pong(3), None, "it is settled");
    }
}
