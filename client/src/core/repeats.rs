//! Messages that come again: each is taken once.

use laneway_proto::frame::extensions::Extensions;
use laneway_proto::header::{Header, seq_after};
use laneway_proto::lane::repeats::{self, Heard, Verdict};
use laneway_proto::lane::table::LaneTable;

/// Publishers' lanes of which it is remembered what was taken, 2 KiB each. Beyond it the one that was silent for longest is
/// forgotten: what it sends again then is taken again.
pub const ORIGINS_MAX: usize = 1_024;

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It is taken.
    Taken,
    /// It was taken before.
    Repeated,
    /// It would go back in order, or nobody can tell.
    Overtaken,
}

/// Grows with the publishers that are heard.
#[derive(Debug)]
pub(super) struct Repeats {
    heard: repeats::Repeats<Vec<Heard>>,
}

impl Default for Repeats {
    fn default() -> Self {
        Self { heard: repeats::Repeats::new(Vec::new()) }
    }
}

impl Repeats {
    /// `messages` with consecutive numbers arrived; only those that are to be delivered may come again. What came in one
    /// frame comes again in one.
    pub(super) fn on_messages(&mut self, header: &Header, extensions: &Extensions<'_>, messages: u32) -> Fate {
        let Some(src) = extensions.src.filter(|_| extensions.receivers_wanted() > 0) else { return Fate::Taken };
        if self.heard.is_full() && self.heard.places_mut().len() < ORIGINS_MAX {
            self.heard.places_mut().push(Heard::default());
        }
        let ordered = LaneTable::STANDARD.get(header.lane).is_none_or(|lane| lane.kind.is_ordered());
        let mut fate = Fate::Taken;
        for ahead in 0..messages {
            let verdict = self.heard.on_message(src.origin, header.lane, seq_after(src.seq, ahead), ordered);
            if ahead == 0 {
                fate = match verdict {
                    Verdict::First => Fate::Taken,
                    Verdict::Repeated => Fate::Repeated,
                    Verdict::Late => Fate::Overtaken,
                };
            }
        }
        fate
    }
}
