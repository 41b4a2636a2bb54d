//! From link to link: what becomes of that which was sent and of that which waits, if the session goes on and if it does not.

use std::collections::BTreeSet;

use laneway_proto::control::Control;
use laneway_proto::error::PeerFault;
use laneway_proto::frame::batch;
use laneway_proto::frame::count::LaneTotal;
use laneway_proto::frame::extensions::Extensions;
use laneway_proto::header::Kind;
use laneway_proto::limits::HEADER_BYTES;
use laneway_proto::time::Instant;

use super::{Outgoing, Shape};
use crate::core::interner::TopicId;
use crate::core::pending::Letter;
use crate::core::sent::Sent;
use crate::core::terms::Terms;
use crate::core::transmit::{Transmit, Untouched};

impl Outgoing {
    /// The link broke; `unsent` is what its writer has of what it was given last, sent or not. Publishing goes on within
    /// the bounds.
    ///
    /// If the session may be resumed, everything else is decided by [`Outgoing::on_link_up`]. Otherwise messages of which no
    /// byte was sent stay queued, in order; those that the broker may or may not have taken are counted as doubted, but for
    /// those that are to be delivered: they are sent again.
    pub fn on_link_down(&mut self, unsent: Transmit, may_resume: bool) {
        self.marks.clear();
        self.asked = None;
        self.link_is_up = false;
        // What its writer has may be the handshake still.
        let unsent = if self.takes == self.takes_before { Transmit::default() } else { unsent };
        if may_resume && self.sent.is_some() {
            self.park(unsent);
        } else {
            self.lose_session(&unsent, Words::Old);
        }
    }

    /// Whether goodbye was said.
    pub const fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Whether there is no link and the session may go on over another one.
    pub const fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// Whether the broker may lack something that was sent.
    pub fn is_uncounted(&self) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent.is_uncounted())
    }

    /// The session will not go on: what was sent is in doubt.
    pub fn forget_session(&mut self) {
        if let Some(unsent) = self.parked.take() {
            self.lose_session(&unsent, Words::New);
        }
    }

    /// A broker agreed on a new link; `requests` go ahead of what waits. If the session goes on, what the broker has not
    /// received is sent again; a fault is the broker's, and the session is then over. If another one begins, and it allows
    /// less than the one before, what waits was built too large for it and is counted as doubted.
    pub fn on_link_up(&mut self, now: Instant, terms: Terms, requests: &[Control]) -> Result<(), PeerFault> {
        let mut ready = Transmit::default();
        for request in requests {
            request.append_frame(&mut ready.inline);
        }
        if terms.resumed {
            self.go_on(&terms, ready).inspect_err(|_| self.forget_session())?;
        } else {
            self.forget_session();
            self.begin_anew(&terms, ready);
        }
        self.tail = None;
        self.link_is_up = true;
        self.takes_before = self.takes;
        self.shape = Shape::of(&terms);
        self.pending.on_link_up(now);
        if !self.leaving {
            self.terms = Some(terms);
        }
        self.tell_given_up();
        self.ask_what_is_accepted();
        Ok(())
    }

    /// The broker has received so many frames of a lane. True if there is room to publish where there was none.
    pub fn on_count(&mut self, total: LaneTotal) -> Result<bool, PeerFault> {
        self.sent.as_mut().map_or(Ok(false), |sent| sent.on_count(total.lane, total.total))
    }

    /// Keeps everything for the session's next link. What was said besides messages is said again there.
    fn park(&mut self, unsent: Transmit) {
        // Nothing that was accepted is in doubt yet.
        self.pending.on_link_down(0);
        self.topics.undeclare_all();
        let mut kept = Kept::default();
        kept.take_data(&self.ready);
        self.ready = Transmit::default();
        self.tail = None;
        self.put_back(kept);
        self.parked = Some(unsent);
    }

    /// The session goes on.
    fn go_on(&mut self, terms: &Terms, mut ready: Transmit) -> Result<(), PeerFault> {
        let (Some(unsent), Some(sent)) = (&self.parked, &mut self.sent) else { return Err(PeerFault::OutOfTurn) };
        let mut again = Kept::default();
        sent.on_resume(&terms.received, unsent, |frame| again.put(frame))?;
        self.resent += (again.messages + again.confirmed.len()) as u64;
        // What was never sent on lanes that lose is as good as it was.
        let mut lossy = Kept::default();
        lossy.take_some(unsent, |frame| !sent.keeps(frame.header.lane));
        self.ready_messages += lossy.messages;
        for topic in again.topics.iter().chain(&lossy.topics) {
            if let Some(declaration) = self.topics.declare_again(*topic) {
                declaration.append_frame(&mut ready.inline);
            }
        }
        ready.append(again.frames);
        ready.append(lossy.frames);
        ready.append(std::mem::take(&mut self.ready));
        self.ready = ready;
        self.parked = None;
        self.pending.on_resume();
        Ok(())
    }

    /// Another session begins.
    fn begin_anew(&mut self, terms: &Terms, mut ready: Transmit) {
        let waiting = std::mem::take(&mut self.ready);
        if self.terms.as_ref().is_none_or(|before| terms.allow_all_of(before)) {
            ready.append(waiting);
        } else {
            let plain = (self.ready_messages - self.ready_confirmed) as u64;
            self.doubted += plain;
            self.settled += plain;
            self.pending.on_link_down(self.settled);
            self.pending.doubt_deliveries();
            (self.ready_messages, self.ready_confirmed) = (0, 0);
            for frame in waiting.untouched().filter(|frame| !is_data(frame)) {
                ready.inline.extend_from_slice(frame.inline);
            }
        }
        self.ready = ready;
        self.sent = (self.resume && terms.resumes).then(|| Box::new(Sent::new()));
    }

    /// The session is over, and what its broker has taken nobody can tell.
    fn lose_session(&mut self, unsent: &Transmit, words: Words) {
        self.sent = None;
        let mut kept = Kept::default();
        kept.take_data(unsent);
        kept.take_data(&self.ready);
        let in_doubt = (self.published - self.settled).saturating_sub(kept.messages as u64);
        self.doubted += in_doubt;
        self.settled += in_doubt;
        self.pending.on_link_down(self.settled);
        self.pending.on_new_session();
        self.topics.undeclare_all();
        let before = std::mem::take(&mut self.ready);
        (self.ready_messages, self.ready_confirmed, self.tail) = (0, 0, None);
        // What was handed to the link went before what was not, on every lane.
        let handed = |letter: &&Letter| !kept.confirmed.contains(&(letter.options.lane.number(), letter.seq));
        let again: Vec<Letter> = self.pending.letters().filter(handed).cloned().collect();
        self.resent += again.len() as u64;
        self.post_all(&again);
        self.ready_messages += kept.messages + kept.confirmed.len();
        self.ready_confirmed += kept.confirmed.len();
        self.put_back(kept);
        if words == Words::New {
            for frame in before.untouched().filter(|frame| !is_data(frame)) {
                self.ready.put_frame(&frame);
            }
        }
    }

    /// Puts saved frames behind what is ready, and what their topics are called before them.
    fn put_back(&mut self, kept: Kept) {
        for topic in &kept.topics {
            if let Some(declaration) = self.topics.declaration(*topic) {
                declaration.append_frame(&mut self.ready.inline);
            }
        }
        self.ready.append(kept.frames);
    }
}

/// What is ready besides messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Words {
    /// Was meant for the link that broke.
    Old,
    /// Was said since then.
    New,
}

/// Data frames saved from a broken link.
#[derive(Default)]
struct Kept {
    frames: Transmit,
    /// Messages but for those that are to be delivered.
    messages: usize,
    /// Those, by lane and number.
    confirmed: BTreeSet<(u8, u32)>,
    topics: BTreeSet<TopicId>,
}

impl Kept {
    fn take_data(&mut self, from: &Transmit) {
        self.take_some(from, |_| true);
    }

    /// Takes data frames of which no byte was sent.
    fn take_some(&mut self, from: &Transmit, wanted: impl Fn(&Untouched<'_>) -> bool) {
        let mut last = None;
        for frame in from.untouched().filter(|frame| is_data(frame) && wanted(frame)) {
            let message = Some((frame.header.lane, frame.header.seq));
            // The rest of a message whose start was sent cannot be sent alone; fragments of one follow each other.
            if fragment_index(&frame).is_none_or(|at| at == 0) || last == message {
                self.put(&frame);
                last = message;
            }
        }
    }

    fn put(&mut self, frame: &Untouched<'_>) {
        self.topics.insert(TopicId::from_wire(frame.header.topic));
        self.frames.put_frame(frame);
        if is_to_be_delivered(frame) {
            self.confirmed.insert((frame.header.lane, frame.header.seq));
            return;
        }
        self.messages += match (frame.header.kind, fragment_index(frame)) {
            (Kind::BATCH, _) => batch::message_count(&frame.inline[HEADER_BYTES..]).map_or(1, usize::from),
            (_, None | Some(0)) => 1,
            (_, Some(_)) => 0,
        };
    }
}

fn is_to_be_delivered(frame: &Untouched<'_>) -> bool {
    let extensions = Extensions::decode(frame.header.flags, &frame.inline[HEADER_BYTES..]);
    extensions.is_ok_and(|(extensions, _)| extensions.receivers_wanted() > 0)
}

fn is_data(frame: &Untouched<'_>) -> bool {
    matches!(frame.header.kind, Kind::PUB | Kind::BATCH)
}

fn fragment_index(frame: &Untouched<'_>) -> Option<u16> {
    let extensions = Extensions::decode(frame.header.flags, &frame.inline[HEADER_BYTES..]);
    extensions.ok().and_then(|(extensions, _)| extensions.frag).map(|frag| frag.index)
}
