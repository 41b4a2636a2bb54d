//! From link to link: what becomes of that which was sent and of that which waits, if the session goes on and if it does not.

use std::collections::BTreeSet;

use laneway_proto::control::Control;
use laneway_proto::error::PeerFault;
use laneway_proto::frame::batch;
use laneway_proto::frame::count::LaneTotal;
use laneway_proto::frame::extensions::Extensions;
use laneway_proto::header::{Header, Kind};
use laneway_proto::limits::{HEADER_BYTES, LANES_MAX};
use laneway_proto::time::Instant;

use super::lanes::{Begins, Lanes};
use super::{Outgoing, Shape};
use crate::core::interner::{Interner, TopicId};
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
        // It is said again on the next link.
        self.words.clear();
        self.topics.undeclare_all();
        // What its writer has may be the handshake still.
        let unsent = if self.takes == self.takes_before { Transmit::default() } else { unsent };
        if may_resume && self.sent.is_some() {
            self.park(unsent);
        } else {
            self.lose_session(&unsent);
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
            self.lose_session(&unsent);
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

    /// Keeps everything for the session's next link.
    fn park(&mut self, unsent: Transmit) {
        // Nothing that was accepted is in doubt yet.
        self.pending.on_link_down(&[0; LANES_MAX]);
        let topics: BTreeSet<TopicId> = self
            .again
            .frames()
            .chain(self.lanes.frames())
            .map(|frame| TopicId::from_wire(frame.header.topic))
            .collect();
        topics.into_iter().for_each(|topic| self.declare(topic));
        self.parked = Some(unsent);
    }

    /// The session goes on.
    fn go_on(&mut self, terms: &Terms, mut ready: Transmit) -> Result<(), PeerFault> {
        let (Some(unsent), Some(sent)) = (&self.parked, &mut self.sent) else { return Err(PeerFault::OutOfTurn) };
        let mut again = Transmit::default();
        let mut topics = BTreeSet::new();
        let mut resent = 0;
        sent.on_resume(&terms.received, unsent, |frame| {
            topics.insert(TopicId::from_wire(frame.header.topic));
            resent += messages_of(begins(frame));
            again.put_frame(frame);
        })?;
        self.resent += resent as u64;
        for topic in topics {
            if let Some(declaration) = self.topics.declare_again(topic) {
                declaration.append_frame(&mut ready.inline);
            }
        }
        self.again.append(&mut again);
        // What was never sent on lanes that lose is as good as it was.
        let waiting = self.lanes.take_out();
        let lossy = unsent.untouched().filter(|frame| !sent.keeps(frame.header.lane));
        let kept = survivors(lossy.chain(waiting.frames()), |lane| sent.keeps(lane));
        let reliable = (0..LANES_MAX as u8).filter(|&lane| sent.keeps(lane)).map(|lane| 1 << lane).sum();
        self.lanes.set_credit(terms.lane_credit.as_ref(), reliable);
        put_back(&mut self.lanes, &mut self.topics, &mut ready, &kept);
        self.lanes.on_put_back(waiting.placed);
        ready.append(&mut self.words);
        self.words = ready;
        self.parked = None;
        self.pending.on_resume();
        Ok(())
    }

    /// Another session begins.
    fn begin_anew(&mut self, terms: &Terms, mut ready: Transmit) {
        if self.terms.as_ref().is_some_and(|before| !terms.allow_all_of(before)) {
            for lane in 0..LANES_MAX {
                let plain = self.lanes.plain_messages(lane) as u64;
                self.doubted += plain;
                self.settled[lane] += plain;
            }
            self.pending.on_link_down(&self.settled);
            self.pending.doubt_deliveries();
            let waiting = self.lanes.take_out();
            self.lanes.on_put_back(waiting.placed);
        }
        self.lanes.set_credit(terms.lane_credit.as_ref(), 0);
        ready.append(&mut self.words);
        self.words = ready;
        self.sent = (self.resume && terms.resumes).then(|| Box::new(Sent::new()));
    }

    /// The session is over, and what its broker has taken nobody can tell.
    fn lose_session(&mut self, unsent: &Transmit) {
        self.sent = None;
        let waiting = self.lanes.take_out();
        let again = std::mem::take(&mut self.again);
        let kept = survivors(again.frames().chain(unsent.untouched()).chain(waiting.frames()), |_| false);
        let confirmed: BTreeSet<(u8, u32)> = kept
            .iter()
            .filter(|frame| is_to_be_delivered(frame))
            .map(|frame| (frame.header.lane, frame.header.seq))
            .collect();
        // What was handed to the link went before what was not, on every lane.
        let handed = |letter: &&Letter| !confirmed.contains(&(letter.options.lane.number(), letter.seq));
        let letters: Vec<Letter> = self.pending.letters().filter(handed).cloned().collect();
        self.resent += letters.len() as u64;
        self.post_all(&letters);
        put_back(&mut self.lanes, &mut self.topics, &mut self.words, &kept);
        self.lanes.on_put_back(waiting.placed);
        for lane in 0..LANES_MAX {
            let in_doubt = self.unconfirmed_on(lane);
            self.doubted += in_doubt;
            self.settled[lane] += in_doubt;
        }
        self.pending.on_link_down(&self.settled);
        self.pending.on_new_session();
    }
}

/// Puts frames behind what waits, and what their topics are called into `words`.
fn put_back(lanes: &mut Lanes, topics: &mut Interner, words: &mut Transmit, kept: &[Untouched<'_>]) {
    for frame in kept {
        if let Some(declaration) = topics.declaration(TopicId::from_wire(frame.header.topic)) {
            declaration.append_frame(&mut words.inline);
        }
        lanes.put(frame.header.lane, begins(frame), None, |transmit| transmit.put_frame(frame));
    }
}

/// Data frames that can be sent alone: the rest of a message whose start was sent cannot, unless its lane `goes_on`.
fn survivors<'a>(frames: impl Iterator<Item = Untouched<'a>>, goes_on: impl Fn(u8) -> bool) -> Vec<Untouched<'a>> {
    let mut last = [None; LANES_MAX];
    let survives = |frame: &Untouched<'_>| {
        let Header { lane, seq, .. } = frame.header;
        let last = &mut last[usize::from(lane) % LANES_MAX];
        // Fragments of one message follow each other.
        let whole = fragment_index(frame).is_none_or(|at| at == 0) || *last == Some(seq) || goes_on(lane);
        if whole {
            *last = Some(seq);
        }
        whole
    };
    frames.filter(|frame| frame.header.kind.is_data()).filter(survives).collect()
}

/// What a frame begins.
fn begins(frame: &Untouched<'_>) -> Begins {
    match (frame.header.kind, fragment_index(frame)) {
        (_, Some(1..)) => Begins::Nothing,
        _ if is_to_be_delivered(frame) => Begins::Confirmed,
        (Kind::BATCH, _) => {
            Begins::Messages(batch::message_count(&frame.inline[HEADER_BYTES..]).map_or(1, usize::from))
        }
        (_, None | Some(0)) => Begins::Messages(1),
    }
}

const fn messages_of(begins: Begins) -> usize {
    match begins {
        Begins::Messages(messages) => messages,
        Begins::Confirmed => 1,
        Begins::Nothing => 0,
    }
}

fn is_to_be_delivered(frame: &Untouched<'_>) -> bool {
    let extensions = Extensions::decode(frame.header.flags, &frame.inline[HEADER_BYTES..]);
    extensions.is_ok_and(|(extensions, _)| extensions.receivers_wanted() > 0)
}

fn fragment_index(frame: &Untouched<'_>) -> Option<u16> {
    let extensions = Extensions::decode(frame.header.flags, &frame.inline[HEADER_BYTES..]);
    extensions.ok().and_then(|(extensions, _)| extensions.frag).map(|frag| frag.index)
}
