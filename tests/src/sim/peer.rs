//! A client in the simulation: it speaks the protocol by hand, follows its plan, and tells the oracle what it sees.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use laneway_broker::io::{ListenerId, PeerAddress};
use laneway_proto::control::Body;
use laneway_proto::error::CloseCode;
use laneway_proto::frame::extensions::Src;
use laneway_proto::limits::{FRAGMENT_BYTES_STREAM, TOPIC_ID_DYNAMIC_FIRST};
use laneway_proto::time::{Duration, Instant};

use super::client::{Client, DIAL_PATIENCE, DIALS_MAX, REDIAL_PAUSE, UNANSWERED_MAX};
use super::crime::Crime;
use super::hearing::{Heard, Hearing};
use super::net::{End, LinkId};
use super::oracle::{Oracle, SessionId};
use super::speech::{self, STAMP_BYTES};
use super::workload::{Conduct, Leave, PeerPlan, Step};
use super::world::{Actor, ClientRead, World};

/// Bytes a client has waiting before it does its next step.
const UNSENT_BYTES_MAX: usize = 64 * 1024;

/// Where a connection stands, for its client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Waits for WELCOME.
    Opening,
    /// Follows its plan.
    Open,
    /// Has said or heard the last word.
    Leaving,
}

/// What belongs to one connection.
#[derive(Debug)]
struct Call {
    link: LinkId,
    session: SessionId,
    stage: Stage,
    since: Instant,
    heard_anything: bool,
    hearing: Hearing,
    unsent: Vec<u8>,
    sent: usize,
    request_last: u32,
    /// Requests that were not answered.
    requests: Vec<u32>,
    pings: BTreeMap<u64, u64>,
    topics: BTreeMap<String, u32>,
    last_word: Option<CloseCode>,
}

/// A client.
#[derive(Debug)]
pub struct Peer {
    id: u32,
    world: Rc<RefCell<World>>,
    plan: PeerPlan,
    steps: VecDeque<Step>,
    lines: VecDeque<(Duration, Vec<u8>)>,
    call: Option<Call>,
    /// Nothing is done before this.
    rests_until: Instant,
    read_rests_until: Instant,
    /// Reused.
    read_buffer: Vec<u8>,
    dials: u32,
    healed: bool,
    unanswered: u32,
    pings: u64,
    /// Dials no more.
    retired: bool,
}

impl Peer {
    /// A client that starts when its plan says so.
    pub fn new(id: u32, world: Rc<RefCell<World>>, plan: PeerPlan) -> Self {
        let (steps, lines) = match &plan.conduct {
            Conduct::Good(steps) => (steps.clone().into(), VecDeque::new()),
            Conduct::Bad(crime) => (VecDeque::new(), crime.lines.clone().into()),
        };
        let rests_until = world.borrow().now() + plan.start_after;
        world.borrow_mut().wake(Actor::Client(id), plan.start_after);
        Self {
            id,
            world,
            plan,
            steps,
            lines,
            call: None,
            rests_until,
            read_rests_until: Instant(0),
            read_buffer: Vec::new(),
            dials: 0,
            healed: false,
            unanswered: 0,
            pings: 0,
            retired: false,
        }
    }

    const fn crime(&self) -> Option<&Crime> {
        match &self.plan.conduct {
            Conduct::Good(_) => None,
            Conduct::Bad(crime) => Some(crime),
        }
    }

    fn dial_if_due(&mut self, now: Instant, oracle: &mut Oracle) {
        let done = self.crime().is_none() && self.steps.is_empty() && self.dials > 0;
        if self.retired || done || now < self.rests_until {
            return;
        }
        if self.dials >= DIALS_MAX {
            self.retired = true;
            return;
        }
        self.dials += 1;
        let address = PeerAddress::Unix { uid: 1_000, pid: self.id as i32 + 1 };
        let link = self.world.borrow_mut().dial(self.id, 0, ListenerId(0), address);
        let session = oracle.open(self.plan.no_echo);
        let proper = self.crime().is_none_or(|crime| crime.after_welcome);
        self.call = Some(Call {
            link,
            session,
            stage: if proper { Stage::Opening } else { Stage::Open },
            since: now,
            heard_anything: false,
            hearing: Hearing::default(),
            unsent: if proper { speech::opening(speech::hello(self.id)) } else { Vec::new() },
            sent: 0,
            request_last: 0,
            requests: Vec::new(),
            pings: BTreeMap::new(),
            topics: BTreeMap::new(),
            last_word: None,
        });
    }

    fn read(&mut self, now: Instant, oracle: &mut Oracle) {
        let mut bytes = std::mem::take(&mut self.read_buffer);
        bytes.resize(self.plan.read_bytes_max, 0);
        while let Some(call) = &mut self.call
            && now >= self.read_rests_until
        {
            let read = self.world.borrow_mut().client_read(call.link, &mut bytes);
            match read {
                ClientRead::Bytes(count) => {
                    call.heard_anything = true;
                    call.hearing.feed(&bytes[..count]);
                    match call.hearing.listen() {
                        Ok(heard) => heard.into_iter().for_each(|heard| self.on_heard(heard, oracle)),
                        Err(problem) => oracle.broke(format!("client {} heard {problem}", self.id)),
                    }
                    if self.plan.read_pause > Duration::ZERO {
                        self.read_rests_until = now + self.plan.read_pause;
                    }
                }
                ClientRead::Nothing => break,
                ClientRead::Ended(end) => {
                    self.on_ended(end, now, oracle);
                    break;
                }
            }
        }
        self.read_buffer = bytes;
    }

    fn on_heard(&mut self, heard: Heard, oracle: &mut Oracle) {
        let Some(call) = &mut self.call else { return };
        if let Some(word) = call.last_word {
            oracle.broke(format!("client {} heard {heard:?} after the broker's last word ({word})", self.id));
        }
        match heard {
            Heard::Message(message) if message.retained => oracle.replay(call.session, &message),
            Heard::Message(message) => oracle.deliver(call.session, &message),
            Heard::Lost(Some(topic), lost) => oracle.lose(call.session, &topic, lost.lane, lost.count),
            Heard::Lost(None, _) => oracle.broke("a report of several topics, of which there are few"),
            Heard::Pong(t0) => match call.pings.remove(&t0) {
                Some(mark) => oracle.accept(call.session, mark),
                None => oracle.broke(format!("client {} never asked PING {t0}", self.id)),
            },
            Heard::Control(body, request) => self.on_control(*body, request, oracle),
        }
    }

    fn on_control(&mut self, body: Body, request: u32, oracle: &mut Oracle) {
        let crime = self.crime().map(|crime| crime.code);
        let Some(call) = &mut self.call else { return };
        match body {
            Body::Welcome(_) if call.stage == Stage::Opening => call.stage = Stage::Open,
            Body::Result(answer) => {
                let asked = call.requests.iter().position(|&other| other == request);
                match asked {
                    Some(place) => drop(call.requests.remove(place)),
                    None => oracle.broke(format!("client {} got an answer it never asked for", self.id)),
                }
                if answer.code == 0 {
                    oracle.confirm(call.session, request);
                }
            }
            Body::Goodbye(goodbye) => self.on_last_word(goodbye.code, crime, oracle),
            Body::Reject(reject) => {
                self.world.borrow_mut().marks.hit("rejected");
                self.on_last_word(reject.code, crime, oracle);
            }
            body @ (Body::Hello(_)
            | Body::Welcome(_)
            | Body::DeclareTopics(_)
            | Body::Subscribe(_)
            | Body::Unsubscribe(_)
            | Body::Resume(_)
            | Body::PeerUpdate(_)
            | Body::StatsRequest(_)
            | Body::Stats(_)) => oracle.broke(format!("client {} heard {body:?}", self.id)),
        }
    }

    fn on_last_word(&mut self, code: u32, crime: Option<CloseCode>, oracle: &mut Oracle) {
        let Some(call) = &mut self.call else { return };
        let Some(code) = CloseCode::from_number(code) else {
            oracle.broke(format!("client {} heard the close code {code}, which does not exist", self.id));
            return;
        };
        call.last_word = Some(code);
        if code == CloseCode::Normal && call.stage == Stage::Leaving {
            // The answer to our own goodbye: everything in front of it was taken.
            oracle.accept(call.session, oracle.mark());
        }
        call.stage = Stage::Leaving;
        // Whoever keeps the rules may be slow, unlucky, or meet a full broker that shuts down.
        let anybodys =
            [CloseCode::Normal, CloseCode::Shutdown, CloseCode::Timeout, CloseCode::SlowConsumer, CloseCode::Limit];
        let fair = anybodys.contains(&code) || crime == Some(code);
        if !fair {
            oracle.broke(format!("{} was sent away with {code}", self.describe()));
        }
        // A full broker is asked again later; the plan goes on with the next session.
        self.rests_until = self.world.borrow().now() + REDIAL_PAUSE;
    }

    fn on_ended(&mut self, end: End, now: Instant, oracle: &mut Oracle) {
        let Some(call) = self.call.take() else { return };
        if call.last_word == Some(CloseCode::Shutdown) {
            oracle.complete(call.session);
        } else {
            oracle.end(call.session);
        }
        let mut world = self.world.borrow_mut();
        if call.hearing.is_incomplete() {
            world.marks.hit("cut_inside_a_frame");
        }
        if end == End::Fin && call.last_word == Some(CloseCode::Normal) && call.hearing.is_incomplete() {
            oracle.broke(format!("client {}'s last frame was cut", self.id));
        }
        world.client_close(call.link);
        drop(world);
        self.rests_until = self.rests_until.max(now + REDIAL_PAUSE);
        if let Conduct::Bad(crime) = &self.plan.conduct {
            // Whoever was turned away for something else comes back and tries again.
            let done = call.last_word != Some(CloseCode::Limit) && end == End::Fin;
            self.retired |= done || crime.code == CloseCode::Malformed;
            self.rewind();
        }
    }

    fn give_up_if_unanswered(&mut self, now: Instant, oracle: &mut Oracle) {
        let Some(call) = &self.call else { return };
        // Whoever breaks a rule waits for the broker to end it, once it was let in.
        let waits = self.crime().is_some() && self.world.borrow().client_accepted(call.link);
        if waits || call.heard_anything || now.since(call.since) < DIAL_PATIENCE {
            return;
        }
        oracle.end(call.session);
        self.world.borrow_mut().client_close(call.link);
        self.call = None;
        self.rests_until = now + REDIAL_PAUSE;
        self.rewind();
        self.unanswered += u32::from(self.healed);
        if self.unanswered > UNANSWERED_MAX {
            oracle.broke(format!("nobody lets client {} in", self.id));
        }
    }

    /// A crime is committed from its beginning.
    fn rewind(&mut self) {
        if let Conduct::Bad(crime) = &self.plan.conduct {
            self.lines = crime.lines.clone().into();
        }
    }

    fn follow_plan(&mut self, now: Instant, oracle: &mut Oracle) {
        while let Some(call) = &self.call
            && call.stage == Stage::Open
            && now >= self.rests_until
            && call.unsent.len() - call.sent < UNSENT_BYTES_MAX
        {
            if let Some((pause, bytes)) = self.lines.pop_front() {
                let call = self.call.as_mut().expect("just seen");
                call.unsent.extend(bytes);
                self.rests_until = now + self.lines.front().map_or(pause, |(pause, _)| *pause);
                continue;
            }
            if self.steps.front() == Some(&Step::Settle) && call.waits() {
                break;
            }
            let Some(step) = self.steps.pop_front() else { break };
            self.take_step(step, now, oracle);
        }
    }

    fn take_step(&mut self, step: Step, now: Instant, oracle: &mut Oracle) {
        let Some(call) = &mut self.call else { return };
        match step {
            Step::Settle => {}
            Step::Pause(span) => self.rests_until = now + span,
            Step::Ping => {
                self.pings += 1;
                call.pings.insert(self.pings, oracle.mark());
                call.unsent.extend(speech::ping(self.pings));
            }
            Step::Subscribe(filters) => {
                let request = call.ask();
                oracle.subscribe(call.session, &filters, request);
                call.unsent.extend(speech::subscribe(request, &filters, self.plan.no_echo));
            }
            Step::SubscribeRetained(filters) => {
                let request = call.ask();
                oracle.subscribe_retained(call.session, &filters, request, true);
                call.unsent.extend(speech::subscribe_retained(request, &filters, self.plan.no_echo));
            }
            Step::Unsubscribe(filters) => {
                let request = call.ask();
                oracle.unsubscribe(call.session, &filters, request);
                call.unsent.extend(speech::unsubscribe(request, &filters));
            }
            Step::Publish { topic, lane, lens, batch } => call.publish(topic, lane, &lens, batch, oracle),
            // Nobody who speaks by hand asks what becomes of it.
            Step::Confirm { topic, lane, lens, .. } => call.publish(topic, lane, &lens, false, oracle),
            Step::Retain { topic, lane, lens } => call.retain(topic, lane, &lens, oracle),
            Step::Leave(leave) => self.leave(leave, now, oracle),
        }
    }

    fn leave(&mut self, leave: Leave, now: Instant, oracle: &mut Oracle) {
        let Some(call) = &mut self.call else { return };
        call.stage = Stage::Leaving;
        let (link, session) = (call.link, call.session);
        self.rests_until = now + REDIAL_PAUSE;
        match leave {
            Leave::Goodbye => {
                call.unsent.extend(speech::goodbye());
                return;
            }
            Leave::Finish => {
                self.write();
                self.world.borrow_mut().client_finish(link);
                return;
            }
            Leave::Close => self.world.borrow_mut().client_close(link),
            Leave::Reset => self.world.borrow_mut().client_reset(link),
            Leave::Vanish => self.world.borrow_mut().marks.hit("vanished"),
        }
        oracle.end(session);
        self.call = None;
    }

    fn write(&mut self) {
        let Some(call) = &mut self.call else { return };
        while call.sent < call.unsent.len() {
            let end = call.unsent.len().min(call.sent + self.plan.write_bytes_max);
            let count = self.world.borrow_mut().client_write(call.link, &call.unsent[call.sent..end]);
            call.sent += count;
            if count == 0 {
                return;
            }
        }
        call.unsent.clear();
        call.sent = 0;
    }

    fn plan_wake(&self, now: Instant) {
        let mut world = self.world.borrow_mut();
        let mut wake = |at: Instant| {
            if at > now {
                world.wake(Actor::Client(self.id), at.since(now));
            }
        };
        match &self.call {
            None if !self.retired => wake(self.rests_until),
            None => {}
            Some(call) => {
                // What was written made room for the next step.
                let waits = self.steps.front() == Some(&Step::Settle) && call.waits();
                if call.stage == Stage::Open && call.unsent.is_empty() && !waits && !self.steps.is_empty() {
                    wake(Instant(now.0 + 1).max(self.rests_until));
                }
                wake(self.rests_until);
                wake(self.read_rests_until);
                if !call.heard_anything {
                    wake(call.since + DIAL_PATIENCE);
                }
            }
        }
    }
}

impl Client for Peer {
    fn has_finished(&self) -> bool {
        let idle = self.call.as_ref().is_none_or(|call| call.requests.is_empty() && call.unsent.is_empty());
        self.retired || self.steps.is_empty() && self.lines.is_empty() && self.dials > 0 && idle
    }

    fn heal(&mut self) {
        self.healed = true;
        self.dials = self.dials.min(1);
        self.plan.read_pause = Duration::ZERO;
        self.plan.read_bytes_max = 64 * 1024;
        self.read_rests_until = Instant(0);
        if self.crime().is_none() && !self.retired {
            self.steps.push_back(Step::Ping);
        }
        self.world.borrow_mut().wake(Actor::Client(self.id), Duration::ZERO);
    }

    fn is_settled(&self) -> bool {
        match (&self.call, self.crime()) {
            (Some(_), Some(_)) => false,
            (None, Some(_)) => self.retired,
            (None, None) => self.retired || self.steps.is_empty(),
            (Some(call), None) => call.stage == Stage::Leaving || self.has_finished() && call.pings.is_empty(),
        }
    }

    fn describe(&self) -> String {
        let crime = self.crime().map_or("good", |crime| crime.name);
        let (steps, dials) = (self.steps.len(), self.dials);
        let next = self.steps.front();
        let Some(call) = &self.call else {
            return format!("client {} ({crime}): no connection, {steps} steps left, {dials} dials", self.id);
        };
        format!(
            "client {} ({crime}): connection {} {:?}, {} bytes unsent, waits for {} answers and {} PONGs until {}, \
             {steps} steps left from {next:?}, {dials} dials",
            self.id,
            call.link.0,
            call.stage,
            call.unsent.len() - call.sent,
            call.requests.len(),
            call.pings.len(),
            self.rests_until.0
        )
    }

    fn retire(&mut self) {
        self.retired = true;
    }

    fn is_connected(&self) -> bool {
        self.call.is_some()
    }

    fn run(&mut self, oracle: &mut Oracle) {
        let now = self.world.borrow().now();
        if self.call.is_none() {
            self.dial_if_due(now, oracle);
        }
        self.read(now, oracle);
        self.give_up_if_unanswered(now, oracle);
        self.follow_plan(now, oracle);
        self.write();
        self.plan_wake(now);
    }
}

impl Call {
    /// Whether something was asked that is not answered.
    fn waits(&self) -> bool {
        !(self.requests.is_empty() && self.pings.is_empty())
    }

    fn ask(&mut self) -> u32 {
        self.request_last += 1;
        self.requests.push(self.request_last);
        self.request_last
    }

    fn topic(&mut self, name: &str) -> u32 {
        if let Some(&id) = self.topics.get(name) {
            return id;
        }
        let id = TOPIC_ID_DYNAMIC_FIRST + self.topics.len() as u32;
        self.topics.insert(name.to_owned(), id);
        self.unsent.extend(speech::declare(id, name));
        id
    }

    fn publish(&mut self, topic: &str, lane: u8, lens: &[usize], batch: bool, oracle: &mut Oracle) {
        let short = lens.iter().any(|&len| len < STAMP_BYTES);
        let name = if short { format!("tiny/{}", self.session.0) } else { topic.to_owned() };
        let id = self.topic(&name);
        let mut messages: Vec<(u32, Vec<u8>)> = Vec::new();
        for &len in lens {
            messages.push(oracle.publish(self.session, &name, lane, len));
        }
        let total: usize = lens.iter().map(|len| len + 2).sum();
        if batch && total < FRAGMENT_BYTES_STREAM {
            let payloads: Vec<Vec<u8>> = messages.iter().map(|(_, payload)| payload.clone()).collect();
            self.unsent.extend(speech::publish_batch(id, lane, messages[0].0, &payloads));
            return;
        }
        for (seq, payload) in messages {
            self.unsent.extend(self.frames(id, lane, seq, &payload));
        }
    }

    fn retain(&mut self, topic: &str, lane: u8, lens: &[usize], oracle: &mut Oracle) {
        for &len in lens {
            let name = if len < STAMP_BYTES { format!("tiny/{}", self.session.0) } else { topic.to_owned() };
            let id = self.topic(&name);
            let (seq, payload) = oracle.publish_retained(self.session, &name, lane, len);
            self.unsent.extend(speech::retained(&self.frames(id, lane, seq, &payload)));
        }
    }

    fn frames(&self, topic: u32, lane: u8, seq: u32, payload: &[u8]) -> Vec<u8> {
        let src = Src { origin: self.session.0, seq };
        let cut = speech::publish_cut(topic, src, lane, payload, FRAGMENT_BYTES_STREAM as u32);
        if cut.is_empty() { speech::publish(topic, lane, seq, payload) } else { cut }
    }
}
