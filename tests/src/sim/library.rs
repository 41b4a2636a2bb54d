//! A client in the simulation that speaks through the client library's core: the same plan, somebody else's words.

mod resume;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use laneway_broker::io::{ListenerId, PeerAddress};
use laneway_client::core::{ConfirmId, Core, CoreOptions, Event, Identity, Inbox, SubscriptionId, Transmit};
use laneway_client::{
    ConfirmOptions, Item, Lane, Level, LossReport, PublishOptions, Reason, SubscribeOptions, TryPublishError,
};
use laneway_proto::error::CloseCode;
use laneway_proto::lane::policy::Policy;
use laneway_proto::time::{Duration, Instant};

use self::resume::Attempt;
use super::client::{Client, DIAL_PATIENCE, DIALS_MAX, REDIAL_PAUSE, UNANSWERED_MAX};
use super::hearing::Message;
use super::net::LinkId;
use super::oracle::{Oracle, SessionId};
use super::speech::{self, STAMP_BYTES, Stamp};
use super::workload::{Conduct, Leave, PeerPlan, Step, TAKEN_MAX};
use super::world::{Actor, ClientRead, World};

/// The oracle's request number of every subscription: each is a session of its own to the oracle.
const REQUEST: u32 = 1;
/// How long it waits to hear what became of a publish.
const CONFIRM_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(1_500);

/// How messages are published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    Plain,
    Retain,
    /// So many sessions are to have received it.
    Confirm(u16),
}

/// A publish of which it wants to know what became.
#[derive(Clone, Copy, Debug)]
struct Waits {
    lane: u8,
    seq: u32,
    receivers: u16,
}

/// What belongs to one connection.
#[derive(Debug)]
struct Call {
    link: LinkId,
    core: Core,
    transmit: Transmit,
    /// Publishes under this name.
    session: SessionId,
    subscriptions: Vec<Subscribed>,
    /// Subscriptions that were not confirmed yet.
    unconfirmed: usize,
    pings: BTreeMap<u64, u64>,
    confirming: BTreeMap<ConfirmId, Waits>,
    welcomed: bool,
    leaving: bool,
    last_word: Option<CloseCode>,
    since: Instant,
    /// As it was made, for the next link.
    options: CoreOptions,
    /// The link is gone, and the session waits for another.
    lost: bool,
}

#[derive(Debug)]
struct Subscribed {
    id: SubscriptionId,
    session: SessionId,
    filters: Vec<String>,
    confirmed: bool,
    /// What its application has not taken.
    inbox: Inbox,
}

/// A client.
#[derive(Debug)]
pub struct LibraryPeer {
    id: u32,
    world: Rc<RefCell<World>>,
    plan: PeerPlan,
    steps: VecDeque<Step>,
    call: Option<Call>,
    attempt: Option<Attempt>,
    rests_until: Instant,
    read_rests_until: Instant,
    take_rests_until: Instant,
    read_buffer: Vec<u8>,
    dials: u32,
    healed: bool,
    unanswered: u32,
    retired: bool,
}

impl LibraryPeer {
    /// A client that starts when its plan says so.
    ///
    /// # Panics
    /// If the plan is to break a rule: the library does not.
    pub fn new(id: u32, world: Rc<RefCell<World>>, plan: PeerPlan) -> Self {
        let Conduct::Good(steps) = &plan.conduct else { panic!("the library keeps the rules") };
        let steps = steps.clone().into();
        let rests_until = world.borrow().now() + plan.start_after;
        world.borrow_mut().wake(Actor::Client(id), plan.start_after);
        Self {
            id,
            world,
            plan,
            steps,
            call: None,
            attempt: None,
            rests_until,
            read_rests_until: Instant(0),
            take_rests_until: Instant(0),
            read_buffer: Vec::new(),
            dials: 0,
            healed: false,
            unanswered: 0,
            retired: false,
        }
    }

    fn dial_if_due(&mut self, now: Instant, oracle: &mut Oracle) {
        let done = self.retired || self.steps.is_empty() && self.dials > 0;
        if self.call.is_some() || done || now < self.rests_until {
            return;
        }
        if self.dials >= DIALS_MAX {
            self.retired = true;
            return;
        }
        self.dials += 1;
        let address = PeerAddress::Unix { uid: 1_000, pid: self.id as i32 + 1 };
        let link = self.world.borrow_mut().dial(self.id, 0, ListenerId(0), address);
        let session = oracle.open(false);
        let mut node_id = [0x4C; 16];
        node_id[..4].copy_from_slice(&self.id.to_le_bytes());
        let identity = Identity { node_id, epoch: 1, nonce: u64::from(self.dials), origin: session.0 };
        let mut options = CoreOptions::new(identity);
        options.send_bytes_max = 20_000;
        options.lane_credit_bytes = self.plan.lane_credit_bytes;
        options.resume = self.plan.resume;
        self.call = Some(Call {
            link,
            core: Core::new(now, &options),
            transmit: Transmit::default(),
            session,
            subscriptions: Vec::new(),
            unconfirmed: 0,
            pings: BTreeMap::new(),
            confirming: BTreeMap::new(),
            welcomed: false,
            leaving: false,
            last_word: None,
            since: now,
            options,
            lost: false,
        });
    }

    fn read(&mut self, now: Instant, oracle: &mut Oracle) {
        let mut bytes = std::mem::take(&mut self.read_buffer);
        bytes.resize(self.plan.read_bytes_max, 0);
        while let Some(call) = &mut self.call
            && !call.lost
            && now >= self.read_rests_until
        {
            let read = self.world.borrow_mut().client_read(call.link, &mut bytes);
            match read {
                ClientRead::Bytes(count) => {
                    if let Err(fault) = call.core.on_bytes(now, &bytes[..count]) {
                        oracle.broke(format!("client {}'s library blames the broker: {fault}", self.id));
                    }
                    self.take_events(now, oracle);
                    if self.plan.read_pause > Duration::ZERO {
                        self.read_rests_until = now + self.plan.read_pause;
                    }
                }
                ClientRead::Nothing => break,
                ClientRead::Ended(_) => {
                    self.hang_up(now, oracle);
                    break;
                }
            }
        }
        self.read_buffer = bytes;
    }

    fn take_events(&mut self, now: Instant, oracle: &mut Oracle) {
        while let Some(call) = &mut self.call
            && let Some(event) = call.core.poll_event(now)
        {
            match event {
                Event::Welcomed(_) => call.welcomed = true,
                Event::Subscribed(id) => {
                    // Unless its end was asked for before.
                    if let Some(subscribed) = call.subscribed(id) {
                        subscribed.confirmed = true;
                        oracle.confirm(subscribed.session, REQUEST);
                        call.unconfirmed -= 1;
                    }
                }
                Event::Messages(id) => match call.subscriptions.iter_mut().find(|one| one.id == id) {
                    Some(one) => call.core.take_messages(id, &mut one.inbox),
                    None => oracle.broke("messages for a subscription that has ended"),
                },
                Event::Pong { own: true, .. } => {}
                Event::Pong { token, .. } => match call.pings.remove(&token) {
                    Some(mark) => oracle.accept(call.session, mark),
                    None => oracle.broke(format!("client {} never asked for PONG {token}", self.id)),
                },
                Event::SubscribeRefused(_, reason) => {
                    oracle.broke(format!("client {} may not subscribe: {reason}", self.id));
                }
                Event::Rejected { reason, .. } | Event::Goodbye(reason) => self.on_last_word(&reason, now, oracle),
                Event::Answered(..) => oracle.broke("an answer to what nobody asked"),
                Event::Pinged(_) | Event::Confirm(_) | Event::Counted(_) | Event::Credit(_) => {
                    oracle.broke("the core does that itself")
                }
                Event::Settled(id, settled) => {
                    let mark = call.settle(id, settled.ok().map(|confirmed| confirmed.receivers), oracle);
                    self.world.borrow_mut().marks.hit(mark);
                }
                Event::Overtaken => {
                    self.world.borrow_mut().marks.hit("overtaken");
                    self.world.borrow_mut().client_close(call.link);
                    self.give_up(now, oracle);
                }
            }
        }
    }

    /// The application takes messages, and rests.
    fn take(&mut self, now: Instant, oracle: &mut Oracle) {
        let Some(call) = &mut self.call else { return };
        if now < self.take_rests_until {
            return;
        }
        let taken_max = if self.plan.take_pause > Duration::ZERO { TAKEN_MAX } else { usize::MAX };
        let taken = call.take(taken_max, oracle);
        if taken > 0 && self.plan.take_pause > Duration::ZERO {
            self.take_rests_until = now + self.plan.take_pause;
        }
    }

    fn on_last_word(&mut self, reason: &Reason, now: Instant, oracle: &mut Oracle) {
        let Some(call) = &mut self.call else { return };
        if call.leaving && reason.code() == Some(CloseCode::Normal) {
            // The answer to our own goodbye: everything in front of it was taken.
            oracle.accept(call.session, oracle.mark());
        }
        call.leaving = true;
        call.last_word = reason.code();
        self.rests_until = now + REDIAL_PAUSE;
        let fair = matches!(
            reason.code(),
            Some(
                CloseCode::Normal
                    | CloseCode::Shutdown
                    | CloseCode::Timeout
                    | CloseCode::SlowConsumer
                    | CloseCode::Limit
            )
        );
        if !fair {
            oracle.broke(format!("{} was sent away: {reason}", self.describe()));
        }
    }

    /// The connection is over, whoever ended it.
    fn hang_up(&mut self, now: Instant, oracle: &mut Oracle) {
        if self.survive(now, oracle) {
            return;
        }
        let Some(mut call) = self.call.take() else { return };
        call.take(usize::MAX, oracle);
        for session in call.sessions() {
            if call.last_word == Some(CloseCode::Shutdown) {
                oracle.complete(session);
            } else {
                oracle.end(session);
            }
        }
        self.world.borrow_mut().client_close(call.link);
        self.rests_until = self.rests_until.max(now + REDIAL_PAUSE);
    }

    fn watch_the_time(&mut self, now: Instant, oracle: &mut Oracle) {
        let Some(call) = self.call.as_mut().filter(|call| !call.lost) else { return };
        let (opening, since) = (!call.welcomed && !call.leaving, call.since);
        let late = call.core.poll_timeout().is_some_and(|at| at <= now) && call.core.on_timeout(now).is_err();
        if !late {
            self.take_events(now, oracle);
        }
        if late || opening && now.since(since) >= DIAL_PATIENCE {
            self.hang_up(now, oracle);
            self.unanswered += u32::from(self.healed && opening);
        }
        if self.unanswered > UNANSWERED_MAX {
            oracle.broke(format!("nobody lets client {} in", self.id));
        }
    }

    fn follow_plan(&mut self, now: Instant, oracle: &mut Oracle) {
        while let Some(call) = &self.call
            && call.welcomed
            && !call.leaving
            && now >= self.rests_until
        {
            if self.steps.front() == Some(&Step::Settle) && call.waits() {
                break;
            }
            if call.lost && matches!(self.steps.front(), Some(Step::Leave(_) | Step::Ping)) {
                break;
            }
            let Some(step) = self.steps.pop_front() else { break };
            if let Some(later) = self.take_step(step, now, oracle) {
                self.steps.push_front(later);
                break;
            }
        }
    }

    /// Does a step; what did not fit the library's queue is left for later.
    fn take_step(&mut self, step: Step, now: Instant, oracle: &mut Oracle) -> Option<Step> {
        let call = self.call.as_mut()?;
        match step {
            Step::Settle => {}
            Step::Pause(span) => self.rests_until = now + span,
            Step::Ping => {
                let token = call.core.ping(now);
                call.pings.insert(token, oracle.mark());
            }
            Step::Subscribe(filters) => call.subscribe((filters, self.plan.policy), false, oracle),
            Step::SubscribeRetained(filters) => call.subscribe((filters, self.plan.policy), true, oracle),
            Step::Unsubscribe(filters) => call.unsubscribe(&filters, oracle),
            Step::Publish { topic, lane, mut lens, batch } => {
                let sent = call.publish((now, Manner::Plain), topic, lane, &lens, oracle);
                lens.drain(..sent);
                return (!lens.is_empty()).then_some(Step::Publish { topic, lane, lens, batch });
            }
            Step::Retain { topic, lane, mut lens } => {
                let sent = call.publish((now, Manner::Retain), topic, lane, &lens, oracle);
                lens.drain(..sent);
                return (!lens.is_empty()).then_some(Step::Retain { topic, lane, lens });
            }
            Step::Confirm { topic, lane, mut lens, receivers } => {
                let sent = call.publish((now, Manner::Confirm(receivers)), topic, lane, &lens, oracle);
                lens.drain(..sent);
                return (!lens.is_empty()).then_some(Step::Confirm { topic, lane, lens, receivers });
            }
            Step::Leave(leave) => self.leave(leave, now, oracle),
        }
        None
    }

    fn leave(&mut self, leave: Leave, now: Instant, oracle: &mut Oracle) {
        let resume = self.plan.resume;
        let Some(call) = &mut self.call else { return };
        // Whose session outlives its link has to say that it leaves.
        call.leaving = !resume || !matches!(leave, Leave::Close | Leave::Reset);
        let link = call.link;
        self.rests_until = now + REDIAL_PAUSE;
        match leave {
            Leave::Goodbye | Leave::Finish => call.core.close(),
            Leave::Close => self.hang_up(now, oracle),
            Leave::Reset => {
                self.world.borrow_mut().client_reset(link);
                self.hang_up(now, oracle);
            }
            Leave::Vanish => {
                self.world.borrow_mut().marks.hit("vanished");
                if let Some(call) = self.call.take() {
                    oracle.excuse(call.session);
                    call.subscriptions.iter().for_each(|subscribed| oracle.end(subscribed.session));
                    oracle.end(call.session);
                }
            }
        }
    }

    fn write(&mut self) {
        let bytes_max = self.plan.write_bytes_max;
        let mut world = self.world.borrow_mut();
        if let Some(attempt) = &mut self.attempt {
            attempt.write(&mut world, bytes_max);
        }
        if let Some(call) = self.call.as_mut().filter(|call| !call.lost) {
            write_all(&mut world, call.link, &mut call.core, &mut call.transmit, bytes_max);
        }
    }

    fn plan_wake(&self, now: Instant) {
        let mut world = self.world.borrow_mut();
        let mut wake = |at: Instant| {
            if at > now {
                world.wake(Actor::Client(self.id), at.since(now));
            }
        };
        let Some(call) = &self.call else {
            if !self.retired {
                wake(self.rests_until);
            }
            return;
        };
        if call.lost {
            wake(self.attempt.as_ref().map_or(self.rests_until, Attempt::until));
            wake(self.take_rests_until);
            return;
        }
        // What was written made room for the next step.
        let waits = self.steps.front() == Some(&Step::Settle) && call.waits();
        let written = call.transmit.is_empty() && !call.core.is_waiting();
        if call.welcomed && !call.leaving && written && !waits && !self.steps.is_empty() {
            wake(Instant(now.0 + 1).max(self.rests_until));
        }
        wake(self.rests_until);
        wake(self.read_rests_until);
        if call.subscriptions.iter().any(|one| !one.inbox.is_empty()) {
            wake(self.take_rests_until);
        }
        call.core.poll_timeout().into_iter().for_each(&mut wake);
        if !call.welcomed {
            wake(call.since + DIAL_PATIENCE);
        }
    }
}

impl Client for LibraryPeer {
    fn run(&mut self, oracle: &mut Oracle) {
        let now = self.world.borrow().now();
        self.dial_if_due(now, oracle);
        self.read(now, oracle);
        self.take(now, oracle);
        self.watch_the_time(now, oracle);
        self.seek(now, oracle);
        self.follow_plan(now, oracle);
        self.write();
        self.plan_wake(now);
    }

    fn heal(&mut self) {
        self.healed = true;
        self.dials = self.dials.min(1);
        self.plan.read_pause = Duration::ZERO;
        self.plan.read_bytes_max = 64 * 1024;
        self.read_rests_until = Instant(0);
        self.plan.take_pause = Duration::ZERO;
        self.take_rests_until = Instant(0);
        if !self.retired {
            self.steps.push_back(Step::Ping);
        }
        self.world.borrow_mut().wake(Actor::Client(self.id), Duration::ZERO);
    }

    fn has_finished(&self) -> bool {
        let idle = self.call.as_ref().is_none_or(|call| !call.waits() && !call.lost && call.transmit.is_empty());
        self.retired || self.steps.is_empty() && self.dials > 0 && idle
    }

    fn is_settled(&self) -> bool {
        match &self.call {
            None => self.retired || self.steps.is_empty(),
            Some(call) => call.leaving || self.has_finished(),
        }
    }

    fn retire(&mut self) {
        self.retired = true;
        self.world.borrow_mut().wake(Actor::Client(self.id), Duration::ZERO);
    }

    fn is_connected(&self) -> bool {
        self.call.is_some()
    }

    fn describe(&self) -> String {
        let (id, steps, dials) = (self.id, self.steps.len(), self.dials);
        let Some(call) = &self.call else {
            return format!("client {id} (library): no connection, {steps} steps left, {dials} dials");
        };
        format!(
            "client {id} (library): connection {}, welcomed: {}, leaving: {}, {} bytes unsent, waits for {} \
             confirmations and {} PONGs, {steps} steps left, {dials} dials, lost: {}",
            call.link.0,
            call.welcomed,
            call.leaving,
            call.transmit.len() + call.core.waiting_bytes(),
            call.unconfirmed,
            call.pings.len(),
            call.lost
        )
    }
}

/// Writes what a core has to say, as far as the link takes it.
fn write_all(world: &mut World, link: LinkId, core: &mut Core, transmit: &mut Transmit, bytes_max: usize) {
    use bytes::Buf as _;
    loop {
        if transmit.is_empty() && !core.poll_transmit(transmit) {
            return;
        }
        let chunk = transmit.chunk();
        let chunk = &chunk[..chunk.len().min(bytes_max)];
        let count = world.client_write(link, chunk);
        if count == 0 {
            return;
        }
        transmit.advance(count);
    }
}

impl Call {
    fn waits(&self) -> bool {
        self.unconfirmed > 0 || !self.pings.is_empty() || !self.confirming.is_empty()
    }

    fn subscribed(&mut self, id: SubscriptionId) -> Option<&mut Subscribed> {
        self.subscriptions.iter_mut().find(|subscribed| subscribed.id == id)
    }

    fn subscribe(&mut self, (mut filters, policy): (Vec<String>, Option<Policy>), retained: bool, oracle: &mut Oracle) {
        filters.sort();
        filters.dedup();
        let borrowed: Vec<&str> = filters.iter().map(String::as_str).collect();
        let options = SubscribeOptions { retained, policy, ..SubscribeOptions::default() };
        match self.core.subscribe_with(&borrowed, options) {
            Ok(id) => {
                let session = oracle.open_beside(self.session);
                oracle.serve(session, policy);
                if retained {
                    oracle.subscribe_retained(session, &filters, REQUEST, false);
                } else {
                    oracle.subscribe(session, &filters, REQUEST);
                }
                self.subscriptions.push(Subscribed { id, session, filters, confirmed: false, inbox: Inbox::default() });
                self.unconfirmed += 1;
            }
            Err(error) => oracle.broke(format!("the library refuses {filters:?}: {error}")),
        }
    }

    fn unsubscribe(&mut self, filters: &[String], oracle: &mut Oracle) {
        let place = self.subscriptions.iter().position(|one| one.filters.iter().any(|f| filters.contains(f)));
        let Some(place) = place else { return };
        let Subscribed { id, session, confirmed, .. } = self.subscriptions.swap_remove(place);
        self.core.unsubscribe(id);
        self.unconfirmed -= usize::from(!confirmed);
        // What arrives for it is received and taken by nobody.
        oracle.excuse(session);
        oracle.end(session);
    }

    /// Publishes as many messages as the library takes; returns how many that were.
    fn publish(
        &mut self,
        (now, manner): (Instant, Manner),
        topic: &str,
        lane: u8,
        lens: &[usize],
        oracle: &mut Oracle,
    ) -> usize {
        for (place, &len) in lens.iter().enumerate() {
            let name = if len < STAMP_BYTES { format!("tiny/{}", self.session.0) } else { topic.to_owned() };
            let seq = oracle.published(self.session, lane) as u32 + 1;
            let payload = speech::payload(Stamp { session: self.session.0, lane, seq }, len);
            let lane_named = Lane::new(lane).unwrap_or_default();
            let options =
                PublishOptions { lane: lane_named, retain: manner == Manner::Retain, ..PublishOptions::default() };
            let taken = match manner {
                Manner::Plain | Manner::Retain => self.core.publish_with(&name, payload, options).map(|()| None),
                Manner::Confirm(receivers) => {
                    let level = if receivers == 0 { Level::Accepted } else { Level::delivered(receivers) };
                    let options = ConfirmOptions { level, timeout: CONFIRM_TIMEOUT, publish: options };
                    let id = self.core.publish_confirmed(now, &name, payload, options);
                    id.map(|id| Some((id, Waits { lane, seq, receivers })))
                }
            };
            match taken {
                Ok(None) if manner == Manner::Retain => drop(oracle.publish_retained(self.session, &name, lane, len)),
                Ok(None) => drop(oracle.publish(self.session, &name, lane, len)),
                Ok(Some((id, waits))) => {
                    if waits.receivers > 0 {
                        oracle.publish_again(self.session, &name, lane, len);
                    } else {
                        oracle.publish(self.session, &name, lane, len);
                    }
                    self.confirming.insert(id, waits);
                }
                Err(TryPublishError::Full) => return place,
                Err(TryPublishError::Refused(error)) => {
                    oracle.broke(format!("the library refuses {len} bytes to {name}: {error}"));
                    return lens.len();
                }
            }
        }
        lens.len()
    }

    /// It was told what became of a publish; returns the condition that was reached.
    fn settle(&mut self, id: ConfirmId, receivers: Option<u16>, oracle: &mut Oracle) -> &'static str {
        let Some(Waits { lane, seq, receivers: wanted }) = self.confirming.remove(&id) else {
            oracle.broke("nobody asked what becomes of a publish");
            return "settled_twice";
        };
        match receivers {
            None => "publish_in_doubt",
            Some(receivers) => {
                oracle.settle(self.session, lane, seq, wanted, receivers);
                if wanted > 0 { "publish_delivered" } else { "publish_accepted" }
            }
        }
    }

    /// Takes up to `taken_max` messages and reports; returns how many there were.
    fn take(&mut self, taken_max: usize, oracle: &mut Oracle) -> usize {
        let mut taken = 0;
        for Subscribed { session, inbox, .. } in &mut self.subscriptions {
            while taken < taken_max
                && let Some(item) = inbox.pop_item()
            {
                taken += 1;
                deliver(*session, item, oracle);
            }
        }
        taken
    }
}

fn deliver(session: SessionId, item: Item, oracle: &mut Oracle) {
    match item {
        Item::Message(message) => {
            let (topic, payload) = (message.topic.to_string(), message.payload.to_vec());
            let (lane, seq, retained) = (message.lane.number(), message.seq, message.retained);
            let message = Message { topic, lane, seq, payload, retained };
            if retained {
                oracle.replay(session, &message);
            } else {
                oracle.deliver(session, &message);
            }
        }
        Item::Lost(LossReport { topic: Some(topic), lane, messages, .. }) => {
            oracle.lose(session, &topic, lane.number(), messages);
        }
        Item::Lost(_) => oracle.broke("a report of several topics, of which there are few"),
    }
}
