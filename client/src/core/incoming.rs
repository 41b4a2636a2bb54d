//! The receiving half of a session: finds frames, keeps the order of the handshake, and sorts messages to
//! subscriptions.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf as _, Bytes, BytesMut};
use laneway_proto::control::{Body, Control, PeerUpdate, Resume, StatsRequest};
use laneway_proto::error::{DecodeError, PeerFault};
use laneway_proto::frame::batch;
use laneway_proto::frame::confirm;
use laneway_proto::frame::count::{self, COUNT_FRAME_BYTES_MAX};
use laneway_proto::frame::credit;
use laneway_proto::frame::extensions::Extensions;
use laneway_proto::frame::lost;
use laneway_proto::frame::ping::{Ping, Pong};
use laneway_proto::framing::length::{Front, front};
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::lane::table::LaneTable;
use laneway_proto::lane::tally::Tally;
use laneway_proto::limits::{FRAME_BYTES_MAX, HEADER_BYTES, METADATA_BYTES_MAX, PREFACE_BYTES, WIRE_VERSION};
use laneway_proto::session::handshake::may_become_preface;
use laneway_proto::session::{Patience, Session, State, Step};
use laneway_proto::time::Instant;

use super::assembly::{Assemblies, Key};
use super::credit::{Charge, Credit};
use super::event::Event;
use super::inbox::{Inbox, Parcel, lane_of};
use super::keepalive::{Alarm, Keepalive, KeepaliveOptions, Verdict};
use super::names::Names;
use super::options::{CoreOptions, ROLE};
use super::repeats::{Fate, Repeats};
use super::requests::{RequestId, Requests};
use super::subscriptions::{Settled, SubscriptionId, Subscriptions};
use super::terms::Terms;
use crate::error::{Lost, Reason, RequestError, SubscribeError};
use crate::item::LossReport;
use crate::lane::Lane;
use crate::message::Message;
use crate::subscribe_options::SubscribeOptions;

/// What was received and not delivered, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReceiveCounts {
    /// Data frames received.
    pub frames: u64,
    /// Frames dropped because of a flag, kind, hop count or extension this version does not take.
    pub frames_rejected: u64,
    /// Messages no subscription wanted any more.
    pub messages_unwanted: u64,
    /// Messages that the broker reported as dropped for this session.
    pub messages_lost: u64,
    /// Messages that came again and had been taken before.
    pub messages_repeated: u64,
    /// Messages that came again behind newer ones, or too late to tell, and were dropped.
    pub messages_overtaken: u64,
    /// Large messages given up because their rest never came.
    pub messages_given_up: u64,
}

/// The receiving half. Its owner feeds bytes, then asks for events until there are none.
#[derive(Debug)]
pub struct Incoming {
    session: Session,
    terms: Option<Terms>,
    names: Names,
    subscriptions: Subscriptions,
    requests: Requests,
    assemblies: Assemblies,
    events: VecDeque<Event>,
    counts: ReceiveCounts,
    keepalive_options: Option<KeepaliveOptions>,
    /// From the WELCOME until this side leaves.
    keepalive: Option<Keepalive>,
    /// The unanswered PING whose PONG is nobody's business; at most one at a time.
    asked: Option<u64>,
    /// A doubt about the link has ended.
    recovered: bool,
    /// The room the broker is given; `None`: as much as it likes.
    credit: Option<Credit>,
    /// Whether the session is to outlive its link, and whether an earlier one is asked for.
    resume: bool,
    asks: bool,
    /// WELCOME said that the session goes on; RESUME has to follow.
    welcomed: Option<Box<Terms>>,
    /// What the broker is told was received; `None`: it does not want to know, or must not be told any more.
    tally: Option<Tally>,
    /// COUNT frames to be sent.
    counts_due: Vec<u8>,
    /// Goes on over all links.
    repeats: Repeats,
}

/// Consecutive frames of one topic in the chunk being read.
#[derive(Debug)]
struct Run {
    topic: u32,
    lane: u8,
    start: usize,
    end: usize,
    messages: usize,
}

/// What a data frame amounts to.
enum Data {
    /// Messages that stay packed in their frame.
    Packed(usize),
    /// A message that was put together, or one that was kept.
    Alone(Message, Option<Charge>),
    /// Nothing to deliver yet, or at all.
    Nothing,
}

impl Incoming {
    /// A half that waits for the broker's preface.
    pub fn new(now: Instant, patience: Patience) -> Self {
        Self {
            session: Session::new(now, patience),
            terms: None,
            names: Names::default(),
            subscriptions: Subscriptions::default(),
            requests: Requests::default(),
            assemblies: Assemblies::default(),
            events: VecDeque::new(),
            counts: ReceiveCounts::default(),
            keepalive_options: Some(KeepaliveOptions::default()),
            keepalive: None,
            asked: None,
            recovered: false,
            credit: None,
            resume: false,
            asks: false,
            welcomed: None,
            tally: None,
            counts_due: Vec::new(),
            repeats: Repeats::default(),
        }
    }

    /// The same half that gives the broker room for `window_bytes` on each lane, as its HELLO says.
    #[must_use]
    pub fn credit(mut self, window_bytes: u64) -> Self {
        self.credit = Some(Credit::new(window_bytes));
        self
    }

    /// The same half with a session that outlives its link, as its HELLO says.
    #[must_use]
    pub const fn resume(mut self, options: &CoreOptions) -> Self {
        (self.resume, self.asks) = (options.resume, options.session.is_some());
        self
    }

    /// What it takes to go on with this session over another link; `None`: it cannot.
    pub fn offer(&self) -> Option<Resume> {
        let terms = self.terms.as_ref().filter(|terms| self.resume && terms.resumes)?;
        let goes_on = self.session.state() == State::Open && !self.subscriptions.is_flooded();
        let tally = self.tally.as_ref().filter(|_| goes_on)?;
        Some(Resume::new(terms.session, terms.broker_epoch, tally.totals()))
    }

    /// The session is not to be resumed.
    pub const fn forget_session(&mut self) {
        self.resume = false;
    }

    /// Whether the broker sends no more than the credit of each lane allows.
    pub const fn keeps_credit(&self) -> bool {
        self.credit.is_some()
    }

    /// The CREDIT frame to be sent, if there is one.
    pub fn poll_credit(&mut self) -> Option<Vec<u8>> {
        self.credit.as_mut()?.poll_frame()
    }

    /// The COUNT frames to be sent, if there are any; call after [`Incoming::on_bytes`] and [`Incoming::on_timeout`].
    pub fn poll_count(&mut self) -> Option<Vec<u8>> {
        (!self.counts_due.is_empty()).then(|| std::mem::take(&mut self.counts_due))
    }

    fn count_if_due(&mut self, now: Instant) {
        let Some(tally) = &mut self.tally else { return };
        if let Some(frame) = tally.poll_transmit(now, &mut [0; COUNT_FRAME_BYTES_MAX]) {
            self.counts_due.extend_from_slice(frame);
        }
    }

    /// The same half with another watch over silence; `None`: none.
    #[must_use]
    pub const fn keepalive(mut self, options: Option<KeepaliveOptions>) -> Self {
        self.keepalive_options = options;
        self
    }

    /// The link broke: nobody answers what was asked on it.
    pub fn on_link_down(&mut self) {
        self.requests.forget_all();
    }

    /// The connection goes on over a new link, on which `fresh` has shaken hands. If the session is another one, the
    /// broker's names are forgotten and half messages are given up. The returned requests are to be sent: they make every
    /// subscription again, or repeat what was not answered if the session goes on, and each gets its answer as an event.
    pub fn adopt(&mut self, fresh: Self) -> Vec<Control> {
        let resumed = fresh.terms.as_ref().is_some_and(|terms| terms.resumed);
        self.session = fresh.session;
        self.terms = fresh.terms;
        self.keepalive = fresh.keepalive;
        (self.asked, self.recovered) = (None, false);
        self.events.extend(fresh.events);
        self.resume = fresh.resume;
        if resumed {
            let reliable = LaneTable::STANDARD.reliable();
            self.assemblies.give_up_but(reliable);
            self.tally.iter_mut().for_each(Tally::on_told);
            self.counts_due = self.credit.as_mut().map_or_else(Vec::new, |credit| credit.on_resume(reliable));
            return self.subscriptions.unanswered();
        }
        self.names = fresh.names;
        self.assemblies.give_up_all();
        self.credit = fresh.credit;
        self.tally = fresh.tally;
        self.counts_due = fresh.counts_due;
        self.subscriptions.request_all()
    }

    /// Takes all whole frames off the front of `buffer` and leaves the rest. Payloads are slices of what was taken. A
    /// fault is the broker's and ends the session.
    pub fn on_bytes(&mut self, now: Instant, buffer: &mut BytesMut) -> Result<(), PeerFault> {
        if let Some(keepalive) = &mut self.keepalive {
            self.recovered |= keepalive.on_heard(now);
        }
        if self.session.state() == State::Preface && !self.on_preface(buffer)? {
            return Ok(());
        }
        // What follows a WELCOME that resumes is for the half that the session belongs to.
        while self.asks && self.session.state() < State::Open || self.welcomed.is_some() {
            let Front::Whole(header) = front(buffer, FRAME_BYTES_MAX)? else {
                self.session.on_partial(now, !buffer.is_empty());
                return Ok(());
            };
            self.on_chunk(now, &buffer.split_to(usize::from(header.len)).freeze())?;
        }
        if std::mem::take(&mut self.asks) {
            return Ok(());
        }
        let mut whole = 0;
        while let Front::Whole(header) = front(&buffer[whole..], FRAME_BYTES_MAX)? {
            whole += usize::from(header.len);
        }
        if whole > 0 {
            self.on_chunk(now, &buffer.split_to(whole).freeze()).inspect_err(|_| self.resume = false)?;
            // What is left is another frame than the one that was incomplete before: it has its full time.
            self.session.on_partial(now, false);
        }
        self.session.on_partial(now, !buffer.is_empty());
        Ok(())
    }

    fn on_preface(&mut self, buffer: &mut BytesMut) -> Result<bool, PeerFault> {
        let Some(preface) = buffer.first_chunk::<PREFACE_BYTES>() else {
            return if may_become_preface(buffer) { Ok(false) } else { Err(DecodeError::NotLaneway.into()) };
        };
        self.session.on_preface(preface)?;
        buffer.advance(PREFACE_BYTES);
        Ok(true)
    }

    fn on_chunk(&mut self, now: Instant, chunk: &Bytes) -> Result<(), PeerFault> {
        let mut open: Option<Run> = None;
        let mut at = 0;
        while let Some(head) = chunk[at..].first_chunk::<HEADER_BYTES>() {
            let header = Header::decode(head)?;
            let end = at + usize::from(header.len);
            let body = &chunk[at + HEADER_BYTES..end];
            let step = self.session.on_frame(&header)?;
            // Its sender has counted it.
            let counts = header.kind.is_data() || header.kind == Kind::LOST;
            let counts = counts && matches!(step, Step::Route | Step::Lost | Step::Reject(_));
            let data = if step == Step::Route { self.on_charged(chunk, &header, body)? } else { Data::Nothing };
            if counts && let Some(tally) = &mut self.tally {
                tally.on_received(now, header.lane, 1);
                tally.on_bytes(u32::from(header.len));
            }
            match (&mut open, data) {
                (Some(run), Data::Packed(messages)) if run.topic == header.topic && run.lane == header.lane => {
                    run.end = end;
                    run.messages += messages;
                }
                (open, Data::Packed(messages)) => {
                    let run = Run { topic: header.topic, lane: header.lane, start: at, end, messages };
                    if let Some(before) = open.replace(run) {
                        self.deliver_run(chunk, before);
                    }
                }
                (open, other) => {
                    if let Some(before) = open.take() {
                        self.deliver_run(chunk, before);
                    }
                    if let Data::Alone(message, charge) = other {
                        self.deliver_alone(header.topic, message, charge);
                    }
                    self.on_other(now, step, &header, body)?;
                }
            }
            at = end;
        }
        if let Some(last) = open {
            self.deliver_run(chunk, last);
        }
        if let Some(credit) = &mut self.credit {
            credit.on_chunk_end();
        }
        self.count_if_due(now);
        Ok(())
    }

    /// Takes one data frame within the credit given for it. A fragment makes room at once, so that a message larger than
    /// the credit arrives; what was put together takes room until somebody has taken it.
    fn on_charged(&mut self, chunk: &Bytes, header: &Header, body: &[u8]) -> Result<Data, PeerFault> {
        let bytes = u64::from(header.len);
        if let Some(credit) = &mut self.credit {
            credit.on_received(header.lane, bytes)?;
        }
        let mut data = self.on_data(chunk, header, body)?;
        if let Some(credit) = &self.credit
            && !matches!(data, Data::Packed(_))
        {
            credit.give_back(header.lane, bytes);
            if let Data::Alone(message, charge) = &mut data {
                *charge = Some(credit.charge_whole(header.lane, message.payload.len() as u64));
            }
        }
        Ok(data)
    }

    /// Checks one data frame down to its last byte, so that unpacking it later cannot fail.
    fn on_data(&mut self, chunk: &Bytes, header: &Header, body: &[u8]) -> Result<Data, PeerFault> {
        self.counts.frames += 1;
        self.names.find(header.topic).ok_or(PeerFault::TopicUndeclared)?;
        if header.kind == Kind::PUB && header.flags.0 == 0 {
            return Ok(Data::Packed(1));
        }
        let (extensions, payload) = Extensions::decode(header.flags, body)?;
        if extensions.xhdr.is_some_and(|xhdr| xhdr.has_unknown_critical()) {
            self.counts.frames_rejected += 1;
            return Ok(Data::Nothing);
        }
        if header.kind == Kind::BATCH {
            if extensions.frag.is_some() {
                return Err(DecodeError::BodyMalformed.into());
            }
            let mut messages = 0u32;
            for item in batch::Messages::new(payload)? {
                item?;
                messages += 1;
            }
            let taken = self.takes(header, &extensions, messages);
            return Ok(if taken { Data::Packed(messages as usize) } else { Data::Nothing });
        }
        let retained = is_retained(header, &extensions);
        let Some(frag) = extensions.frag else {
            if !self.takes(header, &extensions, 1) {
                return Ok(Data::Nothing);
            }
            if !retained {
                return Ok(Data::Packed(1));
            }
            return Ok(self.alone(header, &extensions, chunk.slice_ref(payload)));
        };
        let src = extensions.src.ok_or(PeerFault::FragmentInvalid)?;
        let key = Key { origin: src.origin, topic: header.topic, lane: header.lane };
        let message_bytes_max = self.terms.as_ref().map_or(0, |terms| terms.message_bytes_max);
        match self.assemblies.on_fragment(key, src, frag, payload, message_bytes_max)? {
            Some(whole) if self.takes(header, &extensions, 1) => Ok(self.alone(header, &extensions, whole.freeze())),
            Some(_) | None => Ok(Data::Nothing),
        }
    }

    /// A message on its own.
    fn alone(&self, header: &Header, extensions: &Extensions<'_>, payload: Bytes) -> Data {
        let Some(name) = self.names.find(header.topic) else { return Data::Nothing };
        let (topic, lane) = (name.topic.clone(), lane_of(header));
        let seq = extensions.src.map_or(header.seq, |src| src.seq);
        let (ts_ns, retained) = (extensions.ts, is_retained(header, extensions));
        Data::Alone(Message { topic, payload, lane, seq, ts_ns, retained }, None)
    }

    /// Whether messages are taken; counts those that are not. The broker must not be told that what was overtaken is
    /// received: the session counts no more.
    fn takes(&mut self, header: &Header, extensions: &Extensions<'_>, messages: u32) -> bool {
        // A value that was kept is a message of its own.
        if is_retained(header, extensions) {
            return true;
        }
        match self.repeats.on_messages(header, extensions, messages) {
            Fate::Taken => return true,
            Fate::Repeated => self.counts.messages_repeated += u64::from(messages),
            Fate::Overtaken => {
                self.counts.messages_overtaken += u64::from(messages);
                if self.tally.take().is_some() {
                    self.events.push_back(Event::Overtaken);
                }
            }
        }
        false
    }

    fn deliver_run(&mut self, chunk: &Bytes, run: Run) {
        let Some(name) = self.names.find(run.topic) else { return };
        let frames = chunk.slice(run.start..run.end);
        let charge = self.credit.as_mut().map(|credit| credit.charge(run.lane, frames.len() as u64));
        let parcel = Parcel::Frames { topic: name.topic.clone(), frames, messages: run.messages, charge };
        self.deliver(run.topic, parcel, run.messages);
    }

    /// A value that was kept is for those only who asked for it.
    fn deliver_alone(&mut self, topic: u32, message: Message, charge: Option<Charge>) {
        if !message.retained {
            self.deliver(topic, Parcel::Whole(message, charge), 1);
            return;
        }
        let Self { names, subscriptions, events, .. } = self;
        for &id in names.find(topic).map_or(&[][..], |name| &name.wanted_by) {
            let parcel = Parcel::Whole(message.clone(), charge.clone());
            if subscriptions.wants_retained(id) && subscriptions.stage(id, parcel) {
                events.push_back(Event::Messages(id));
            }
        }
    }

    fn deliver(&mut self, topic: u32, parcel: Parcel, messages: usize) {
        let Self { names, subscriptions, events, counts, .. } = self;
        let wanted_by = names.find(topic).map_or(&[][..], |name| &name.wanted_by);
        let Some((&last, others)) = wanted_by.split_last() else {
            counts.messages_unwanted += messages as u64;
            return;
        };
        let mut stage = |id, parcel| {
            if subscriptions.stage(id, parcel) {
                events.push_back(Event::Messages(id));
            }
        };
        for &id in others {
            stage(id, parcel.clone());
        }
        stage(last, parcel);
    }

    fn on_other(&mut self, now: Instant, step: Step, header: &Header, body: &[u8]) -> Result<(), PeerFault> {
        match step {
            Step::Control => match Control::decode_body(body) {
                Ok(control) => self.on_control(now, control)?,
                Err(_) => self.session.on_malformed_control(now)?,
            },
            Step::Ping => self.events.push_back(Event::Pinged(Ping::decode(body)?.t0)),
            Step::Pong => {
                let token = Pong::decode(body)?.t0;
                let own = self.asked.take_if(|asked| *asked == token).is_some();
                self.events.push_back(Event::Pong { token, rtt: now.since(Instant(token)), own });
            }
            Step::Reject(_) => self.counts.frames_rejected += 1,
            Step::Lost => self.on_lost(lost::Lost::decode(header, body)?)?,
            Step::Confirm => self.events.extend(confirm::decode(body)?.map(Event::Confirm)),
            Step::Count => self.events.extend(count::decode(body)?.map(Event::Counted)),
            Step::Credit => self.events.extend(credit::decode(body)?.map(Event::Credit)),
            Step::Route | Step::Skip => {}
        }
        Ok(())
    }

    /// Puts a report of dropped messages among those of whoever wants their topic; a mixed one concerns everybody.
    fn on_lost(&mut self, lost: lost::Lost) -> Result<(), PeerFault> {
        self.counts.messages_lost += u64::from(lost.count);
        let Self { names, subscriptions, events, .. } = self;
        let (topic, concerned) = if lost.topic == 0 {
            (None, subscriptions.all())
        } else {
            let name = names.find(lost.topic).ok_or(PeerFault::TopicUndeclared)?;
            (Some(name.topic.clone()), name.wanted_by.clone())
        };
        let lane = Lane::new(lost.lane).unwrap_or_default();
        let report = LossReport { topic, lane, reason: lost.reason, messages: lost.count };
        for id in concerned {
            if subscriptions.stage(id, Parcel::Lost(report.clone())) {
                events.push_back(Event::Messages(id));
            }
        }
        Ok(())
    }

    fn on_control(&mut self, now: Instant, control: Control) -> Result<(), PeerFault> {
        // A message of a kind that a newer broker sends has no body here.
        let Some(body) = control.body else { return Ok(()) };
        match (self.session.state(), body) {
            (State::Hello, Body::Welcome(welcome)) => {
                if welcome.version != u32::from(WIRE_VERSION) {
                    return Err(PeerFault::VersionUnsupported);
                }
                self.session.on_agreed()?;
                let terms = Terms::new(welcome);
                if terms.lane_credit.is_none() {
                    // It knows no credit and keeps to none.
                    self.credit = None;
                }
                let counts = terms.confirms || self.resume && terms.resumes;
                self.tally = counts.then(|| Tally::new(LaneTable::STANDARD.reliable()));
                self.keepalive = self.keepalive_options.map(|options| Keepalive::new(now, options, &terms));
                self.terms = Some(terms.clone());
                match (terms.resumed, self.asks) {
                    (false, _) => self.events.push_back(Event::Welcomed(Box::new(terms))),
                    (true, true) => self.welcomed = Some(Box::new(terms)),
                    (true, false) => return Err(PeerFault::OutOfTurn),
                }
            }
            (State::Open, Body::Resume(resume)) if self.welcomed.is_some() => {
                let Some(mut terms) = self.welcomed.take() else { return Ok(()) };
                terms.received = resume.totals()?;
                self.events.push_back(Event::Welcomed(terms));
            }
            (State::Hello, Body::Reject(reject)) => {
                self.session.on_closing();
                self.events.push_back(Event::Rejected {
                    reason: Reason::new(reject.code, reject.reason),
                    version_min: reject.version_min,
                    version_max: reject.version_max,
                    retry_after_ms: reject.retry_after_ms,
                });
            }
            (_, Body::Goodbye(goodbye)) => {
                self.session.on_closing();
                self.keepalive = None;
                self.events.push_back(Event::Goodbye(Reason::new(goodbye.code, goodbye.reason)));
            }
            (State::Open, Body::DeclareTopics(declare)) => {
                for topic in declare.topics {
                    let wanting = |name: &str| self.subscriptions.wanting(name);
                    self.names.declare(topic.id, &topic.name, wanting)?;
                }
            }
            (State::Open, Body::Result(answer)) if Requests::has_number(control.id) => {
                let answered = self.requests.on_answer(control.id, &Reason::new(answer.code, answer.text));
                self.events.extend(answered.map(|(id, answered)| Event::Answered(id, answered)));
            }
            (State::Open, Body::Stats(stats)) => {
                let answered = self.requests.on_stats(control.id, stats)?;
                self.events.extend(answered.map(|(id, answered)| Event::Answered(id, answered)));
            }
            (State::Open, Body::Result(answer)) => {
                let settled = self.subscriptions.on_answer(control.id, Reason::new(answer.code, answer.text));
                self.events.extend(settled.map(|settled| match settled {
                    Settled::Subscribed(id) => Event::Subscribed(id),
                    Settled::Refused(id, reason) => Event::SubscribeRefused(id, reason),
                }));
            }
            (State::Closing, _) => {}
            _ => return Err(PeerFault::OutOfTurn),
        }
        Ok(())
    }

    /// Registers a subscription to all of `filters`; the returned messages are to be sent in order. Messages may arrive
    /// before [`Event::Subscribed`].
    pub fn subscribe(&mut self, filters: &[&str]) -> Result<(SubscriptionId, Vec<Control>), SubscribeError> {
        self.subscribe_with(filters, SubscribeOptions::default())
    }

    /// [`Incoming::subscribe`] to be served as `options` say.
    pub fn subscribe_with(
        &mut self,
        filters: &[&str],
        options: SubscribeOptions,
    ) -> Result<(SubscriptionId, Vec<Control>), SubscribeError> {
        let terms = self.terms.as_ref().ok_or(SubscribeError::NotOpen)?;
        let (id, requests) = self.subscriptions.add(filters, options, terms.filters_max)?;
        let Self { names, subscriptions, .. } = self;
        names.add_subscription(id, |name| subscriptions.wants(id, name));
        Ok((id, requests))
    }

    /// Ends a subscription; the returned messages are to be sent. What was staged for it is gone.
    pub fn unsubscribe(&mut self, id: SubscriptionId) -> Vec<Control> {
        self.names.remove_subscription(id);
        self.subscriptions.remove(id)
    }

    /// Asks for the counters whose names begin with `selector`; the returned message is to be sent, and
    /// [`Event::Answered`] follows.
    pub fn ask_stats(&mut self, selector: &str) -> Result<(RequestId, Control), RequestError> {
        if self.terms.is_none() {
            return Err(RequestError::NotOpen);
        }
        self.requests.ask(Body::StatsRequest(StatsRequest { selector: selector.into() }))
    }

    /// Tells what this client is from now on; the returned message is to be sent, and [`Event::Answered`] follows. The
    /// version has to grow from update to update.
    pub fn tell_metadata(
        &mut self,
        version: u64,
        metadata: BTreeMap<String, String>,
    ) -> Result<(RequestId, Control), RequestError> {
        let bytes = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(RequestError::TooLarge(bytes));
        }
        if self.terms.is_none() {
            return Err(RequestError::NotOpen);
        }
        self.requests.ask(Body::PeerUpdate(PeerUpdate { version, roles: vec![ROLE.into()], metadata }))
    }

    /// Moves the messages staged for a subscription behind those in `out`.
    pub fn take_messages(&mut self, id: SubscriptionId, out: &mut Inbox) {
        self.subscriptions.take(id, out);
    }

    /// What happened; call until `None` after every [`Incoming::on_bytes`].
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Incoming::on_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let keepalive = self.keepalive.as_ref().map(Keepalive::poll_timeout);
        let tally = self.tally.as_ref().and_then(Tally::poll_timeout);
        self.session.poll_timeout().into_iter().chain(keepalive).chain(tally).min()
    }

    /// Time has passed. `unconfirmed` says whether [`Outgoing::unconfirmed`](super::Outgoing::unconfirmed) is not 0. An
    /// error means that the broker took too long, or that the link is dead.
    pub fn on_timeout(&mut self, now: Instant, unconfirmed: bool) -> Result<Alarm, Lost> {
        self.session.on_timeout(now).map_err(Lost::Fault)?;
        self.count_if_due(now);
        match self.keepalive.as_mut().map(|keepalive| keepalive.on_timeout(now, unconfirmed)) {
            // The PONG that the broker still owes, behind whatever else it says, is as good an answer.
            Some(Verdict::Alive(Alarm::Ping)) if self.asked.is_some() => Ok(Alarm::Nothing),
            Some(Verdict::Alive(alarm)) => Ok(alarm),
            Some(Verdict::Dead(silence)) => Err(Lost::Silent(std::time::Duration::from_nanos(silence.0))),
            None => Ok(Alarm::Nothing),
        }
    }

    /// The PING that [`Alarm::Ping`] asked for was queued under this token.
    pub const fn on_asked(&mut self, token: u64) {
        self.asked = Some(token);
    }

    /// Whether the broker has been heard again after [`Alarm::Doubtful`]; tells it once.
    pub const fn take_recovered(&mut self) -> bool {
        std::mem::replace(&mut self.recovered, false)
    }

    /// This side leaves: the link need not prove its life any more, and what was received is counted at once.
    pub fn on_leaving(&mut self) {
        self.keepalive = None;
        if let Some(tally) = &mut self.tally
            && let Some(frame) = tally.take_untold(&mut [0; COUNT_FRAME_BYTES_MAX])
        {
            self.counts_due.extend_from_slice(frame);
        }
    }

    /// The owner did not read for a while by its own choice: an incomplete frame is given its full time again, and the
    /// silence is not the broker's.
    pub fn on_resumed(&mut self, now: Instant) {
        if self.session.state() >= State::Open && self.session.poll_timeout().is_some() {
            self.session.on_partial(now, false);
            self.session.on_partial(now, true);
        }
        if let Some(keepalive) = &mut self.keepalive {
            self.recovered |= keepalive.on_heard(now);
        }
    }

    /// What was received and not delivered.
    pub fn counts(&self) -> ReceiveCounts {
        ReceiveCounts { messages_given_up: self.assemblies.given_up(), ..self.counts }
    }
}

/// Whether this is a topic's last value, from the broker's store.
fn is_retained(header: &Header, extensions: &Extensions<'_>) -> bool {
    header.flags.has(Flags::RETX) && extensions.xhdr.is_some_and(|xhdr| xhdr.options().retain)
}

#[cfg(test)]
mod tests;
