//! A guest in a simulated system: it follows a script through the client library, and a test looks at what it heard.
//!
//! The oracle does not know it; the test judges.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Buf as _;
use laneway_broker::io::{ListenerId, PeerAddress};
use laneway_client::core::{Answered, Core, CoreOptions, Event, Identity, Inbox, SubscriptionId, Transmit};
use laneway_client::{Item, Message, PublishOptions, Reason, Stat, SubscribeOptions};
use laneway_proto::time::{Duration, Instant};

use super::client::Client;
use super::line::Line;
use super::oracle::Oracle;
use super::world::{Actor, ClientRead, World};

const READ_BYTES: usize = 64 * 1024;

/// One thing a guest does; each waits until what came before it was answered.
#[derive(Clone, Debug)]
pub enum Act {
    /// Does nothing for a while.
    Pause(Duration),
    /// Reads nothing for a while.
    Deaf(Duration),
    /// Subscribes.
    Subscribe(&'static str, SubscribeOptions),
    /// Publishes, and waits until the broker has it.
    Publish(String, Vec<u8>, PublishOptions),
    /// Publishes, and waits for nothing.
    Post(String, Vec<u8>, PublishOptions),
    /// Asks for counters.
    Stats(&'static str),
    /// Asks for counters twice in one breath.
    Both(&'static str, &'static str),
    /// Asks for counters and tears the connection down.
    AskAndReset,
    /// Says goodbye.
    Goodbye,
    /// Closes without a word.
    Close,
    /// Tears the connection down.
    Reset,
    /// Reads and writes nothing any more.
    Freeze,
}

/// What a guest heard.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Messages, with the time they came.
    pub messages: Vec<(Instant, Message)>,
    /// When it published.
    pub published: Vec<Instant>,
    /// Messages that were reported as lost.
    pub lost: u32,
    /// Answers, in order.
    pub answers: Vec<Answered>,
    /// The broker's last word.
    pub last_word: Option<Reason>,
    /// When the connection ended.
    pub ended: Option<Instant>,
    /// The number of its session.
    pub session: u32,
}

impl Heard {
    /// The counters of the first answer.
    ///
    /// # Panics
    /// If there is none.
    pub fn stats(&self) -> &[Stat] {
        self.answers.first().and_then(|answer| answer.as_ref().ok()).expect("the broker told its counters")
    }

    /// Topic and text of every message, in order.
    pub fn texts(&self) -> Vec<(String, String)> {
        let text = |message: &Message| (message.topic.to_string(), String::from_utf8_lossy(&message.payload).into());
        self.messages.iter().map(|(_, message)| text(message)).collect()
    }
}

/// The guest.
#[derive(Debug)]
pub struct Guest {
    id: u32,
    world: Rc<RefCell<World>>,
    options: CoreOptions,
    acts: VecDeque<Act>,
    heard: Rc<RefCell<Heard>>,
    call: Option<Call>,
    rests_until: Instant,
    deaf_until: Instant,
    frozen: bool,
    dialled: bool,
    udp: bool,
}

#[derive(Debug)]
struct Call {
    line: Line,
    core: Core,
    transmit: Transmit,
    subscriptions: Vec<SubscriptionId>,
    welcomed: bool,
    leaving: bool,
    unanswered: usize,
}

impl Guest {
    /// A guest that dials at once; the handle shows what it heard.
    pub fn new(
        id: u32,
        world: Rc<RefCell<World>>,
        options: impl FnOnce(&mut CoreOptions),
        acts: impl IntoIterator<Item = Act>,
    ) -> (Self, Rc<RefCell<Heard>>) {
        let mut node_id = [0x47; 16];
        node_id[..4].copy_from_slice(&id.to_be_bytes());
        let identity = Identity { node_id, epoch: 1, nonce: u64::from(id), origin: 900_000 + id };
        let mut core_options = CoreOptions::new(identity);
        options(&mut core_options);
        world.borrow_mut().wake(Actor::Client(id), Duration::ZERO);
        let heard = Rc::new(RefCell::new(Heard::default()));
        let guest = Self {
            id,
            world,
            options: core_options,
            acts: acts.into_iter().collect(),
            heard: Rc::clone(&heard),
            call: None,
            rests_until: Instant(0),
            deaf_until: Instant(0),
            frozen: false,
            dialled: false,
            udp: false,
        };
        (guest, heard)
    }

    /// The same over UDP.
    #[must_use]
    pub const fn over_udp(mut self) -> Self {
        self.udp = true;
        self
    }

    fn dial(&mut self, now: Instant) {
        if std::mem::replace(&mut self.dialled, true) {
            return;
        }
        let line = if self.udp {
            Line::datagrams(now, self.id)
        } else {
            let address = PeerAddress::Unix { uid: 1_000, pid: self.id as i32 + 1 };
            Line::Stream(self.world.borrow_mut().dial(self.id, 0, ListenerId(0), address))
        };
        self.call = Some(Call {
            line,
            core: Core::new(now, &self.options),
            transmit: Transmit::default(),
            subscriptions: Vec::new(),
            welcomed: false,
            leaving: false,
            unanswered: 0,
        });
    }

    fn read(&mut self, now: Instant, oracle: &mut Oracle) {
        let mut bytes = vec![0; READ_BYTES];
        while let Some(call) = &mut self.call
            && now >= self.deaf_until
        {
            let read = call.line.read(&mut self.world.borrow_mut(), &mut bytes);
            match read {
                ClientRead::Bytes(count) => {
                    if let Err(fault) = call.core.on_bytes(now, &bytes[..count]) {
                        oracle.broke(format!("guest {} blames the broker: {fault}", self.id));
                    }
                    self.take_events(now, oracle);
                }
                ClientRead::Nothing => return,
                ClientRead::Ended(_) => self.hang_up(now, false),
            }
        }
    }

    fn take_events(&mut self, now: Instant, oracle: &mut Oracle) {
        let Some(call) = &mut self.call else { return };
        let mut heard = self.heard.borrow_mut();
        while let Some(event) = call.core.poll_event(now) {
            match event {
                Event::Welcomed(terms) => {
                    heard.session = terms.session;
                    call.welcomed = true;
                }
                Event::Subscribed(_) | Event::Pong { own: false, .. } => call.unanswered -= 1,
                Event::Messages(id) => {
                    let mut inbox = Inbox::default();
                    call.core.take_messages(id, &mut inbox);
                    while let Some(item) = inbox.pop_item() {
                        match item {
                            Item::Message(message) => heard.messages.push((now, message)),
                            Item::Lost(report) => heard.lost += report.messages,
                        }
                    }
                }
                Event::Answered(_, answered) => {
                    call.unanswered -= 1;
                    heard.answers.push(answered);
                }
                Event::Rejected { reason, .. } | Event::Goodbye(reason) => {
                    call.leaving = true;
                    heard.last_word = Some(reason);
                }
                Event::Pong { own: true, .. } => {}
                Event::SubscribeRefused(_, reason) => oracle.broke(format!("guest {} is refused: {reason}", self.id)),
                Event::Pinged(_) | Event::Confirm(_) | Event::Counted(_) | Event::Credit(_) => {
                    oracle.broke("the core does that itself")
                }
                Event::Settled(..) => oracle.broke("nobody asked what becomes of a publish"),
                Event::Overtaken => oracle.broke("nothing is sent again"),
            }
        }
    }

    fn hang_up(&mut self, now: Instant, reset: bool) {
        let Some(mut call) = self.call.take() else { return };
        call.line.hang_up(&mut self.world.borrow_mut(), reset);
        self.heard.borrow_mut().ended = Some(now);
    }

    fn act(&mut self, now: Instant) {
        while let Some(call) = &mut self.call
            && call.welcomed
            && !call.leaving
            && call.unanswered == 0
            && now >= self.rests_until
            && let Some(act) = self.acts.pop_front()
        {
            match act {
                Act::Pause(span) => self.rests_until = now + span,
                Act::Deaf(span) => self.deaf_until = now + span,
                Act::Subscribe(filter, options) => {
                    let id = call.core.subscribe_with(&[filter], options).expect("a good filter");
                    call.subscriptions.push(id);
                    call.unanswered += 1;
                }
                Act::Publish(topic, payload, options) => {
                    call.core.publish_with(&topic, payload, options).expect("there is room");
                    self.heard.borrow_mut().published.push(now);
                    call.core.ping(now);
                    call.unanswered += 1;
                }
                Act::Post(topic, payload, options) => {
                    call.core.publish_with(&topic, payload, options).expect("there is room");
                    self.heard.borrow_mut().published.push(now);
                }
                Act::Stats(selector) => {
                    call.core.ask_stats(selector).expect("the session is open");
                    call.unanswered += 1;
                }
                Act::Both(one, other) => {
                    for selector in [one, other] {
                        call.core.ask_stats(selector).expect("the session is open");
                        call.unanswered += 1;
                    }
                }
                Act::AskAndReset => {
                    call.core.ask_stats("").expect("the session is open");
                    self.write();
                    self.hang_up(now, true);
                }
                Act::Goodbye => {
                    call.leaving = true;
                    call.core.close();
                }
                Act::Close => self.hang_up(now, false),
                Act::Reset => self.hang_up(now, true),
                Act::Freeze => {
                    self.frozen = true;
                    return;
                }
            }
        }
    }

    fn write(&mut self) {
        let Some(call) = &mut self.call else { return };
        loop {
            if call.transmit.is_empty() && !call.core.poll_transmit(&mut call.transmit) {
                return;
            }
            let count = call.line.write(&mut self.world.borrow_mut(), call.transmit.chunk());
            if count == 0 {
                return;
            }
            call.transmit.advance(count);
        }
    }

    fn plan_wake(&self, now: Instant) {
        let Some(call) = &self.call else { return };
        let mut world = self.world.borrow_mut();
        let due = call.core.poll_timeout().into_iter().chain(call.line.poll_timeout());
        for at in due.chain([self.rests_until, self.deaf_until]) {
            if at > now {
                world.wake(Actor::Client(self.id), at.since(now));
            }
        }
    }
}

impl Client for Guest {
    fn run(&mut self, oracle: &mut Oracle) {
        if self.frozen {
            return;
        }
        let now = self.world.borrow().now();
        self.dial(now);
        if let Some(call) = &mut self.call {
            call.line.hear(&mut self.world.borrow_mut());
        }
        self.read(now, oracle);
        if let Some(call) = &mut self.call
            && call.core.poll_timeout().is_some_and(|at| at <= now)
            && call.core.on_timeout(now).is_err()
        {
            self.hang_up(now, false);
        }
        self.act(now);
        self.write();
        if let Some(call) = &mut self.call {
            call.line.say(&mut self.world.borrow_mut());
        }
        self.plan_wake(now);
    }

    fn heal(&mut self) {}

    fn has_finished(&self) -> bool {
        self.frozen || self.call.as_ref().is_none_or(|call| call.unanswered == 0 && self.acts.is_empty())
    }

    fn is_settled(&self) -> bool {
        true
    }

    fn retire(&mut self) {}

    fn is_connected(&self) -> bool {
        self.call.is_some() && !self.frozen
    }

    fn describe(&self) -> String {
        format!(
            "guest {}: {} acts left, {} unanswered",
            self.id,
            self.acts.len(),
            self.call.as_ref().map_or(0, |call| call.unanswered)
        )
    }
}
