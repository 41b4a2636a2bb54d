//! A client that comes and goes: each of its connections gets so far into a session and then dies in some way.

use std::cell::RefCell;
use std::rc::Rc;

use laneway_broker::io::{ListenerId, PeerAddress};
use laneway_proto::control::Body;
use laneway_proto::limits::TOPIC_ID_DYNAMIC_FIRST;
use laneway_proto::session::handshake::PREFACE;
use laneway_proto::time::{Duration, Instant};

use super::client::Client;
use super::hearing::{Heard, Hearing};
use super::net::LinkId;
use super::oracle::Oracle;
use super::rng::Rng;
use super::speech;
use super::workload::Leave;
use super::world::{Actor, ClientRead, World};

/// How long a connection waits for what its script expects next; dials may be refused, or hang.
const PATIENCE: Duration = Duration::from_millis(2_000);
/// How long it waits for the broker's end after its own.
const LEAVING_PATIENCE: Duration = Duration::from_millis(20_000);
const TOPIC: u32 = TOPIC_ID_DYNAMIC_FIRST;

/// A moment in the life of a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Moment {
    /// The dial is on its way.
    Dialled,
    /// The broker has taken the connection in, and nothing was said.
    Accepted,
    /// Half of the preface was sent.
    HalfPreface,
    /// All of it.
    Preface,
    /// The broker's own has arrived.
    PrefaceAnswered,
    /// Half of HELLO was sent.
    HalfHello,
    /// All of it.
    Hello,
    /// WELCOME has arrived.
    Welcome,
    /// A topic was declared and subscribed to.
    Subscribe,
    /// The broker has confirmed the subscription.
    Subscribed,
    /// Half of a publish was sent.
    HalfPublish,
    /// All of it.
    Publish,
    /// It came back.
    Delivered,
    /// Goodbye was said.
    Goodbye,
    /// The broker's own has arrived.
    GoodbyeAnswered,
}

impl Moment {
    /// Every moment, in order.
    pub const ALL: [Self; 15] = [
        Self::Dialled,
        Self::Accepted,
        Self::HalfPreface,
        Self::Preface,
        Self::PrefaceAnswered,
        Self::HalfHello,
        Self::Hello,
        Self::Welcome,
        Self::Subscribe,
        Self::Subscribed,
        Self::HalfPublish,
        Self::Publish,
        Self::Delivered,
        Self::Goodbye,
        Self::GoodbyeAnswered,
    ];

    /// What the client says to get there.
    fn words(self, client: u32) -> Vec<u8> {
        let half = |bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec();
        let rest = |bytes: Vec<u8>| bytes[bytes.len() / 2..].to_vec();
        let name = format!("churn/{client}");
        let hello = || speech::opening(speech::hello(client)).split_off(PREFACE.len());
        let publish = || speech::publish(TOPIC, 1, 1, &[7; 600]);
        match self {
            Self::HalfPreface => half(PREFACE.to_vec()),
            Self::Preface => rest(PREFACE.to_vec()),
            Self::HalfHello => half(hello()),
            Self::Hello => rest(hello()),
            Self::Subscribe => [speech::declare(TOPIC, &name), speech::subscribe(1, &[name], false)].concat(),
            Self::HalfPublish => half(publish()),
            Self::Publish => rest(publish()),
            Self::Goodbye => speech::goodbye(),
            Self::Dialled
            | Self::Accepted
            | Self::PrefaceAnswered
            | Self::Welcome
            | Self::Subscribed
            | Self::Delivered
            | Self::GoodbyeAnswered => Vec::new(),
        }
    }
}

/// How many connections there are to be, and how each ends.
#[derive(Clone, Debug)]
pub struct Churn {
    /// Connections, one after the other.
    pub cycles: u64,
    /// Moments at which they die; each picks one.
    pub moments: Vec<Moment>,
    /// Ways of dying; each picks one.
    pub ways: Vec<Leave>,
    /// The stream the picks are drawn from.
    pub rng: Rng,
}

#[derive(Debug)]
struct Call {
    link: LinkId,
    /// Moments that have come, and the one that is the last.
    at: usize,
    last: usize,
    way: Leave,
    unsent: Vec<u8>,
    until: Instant,
    hearing: Hearing,
    heard: u64,
    welcomed: bool,
    confirmed: bool,
    delivered: bool,
    dismissed: bool,
    leaving: bool,
}

/// The client.
#[derive(Debug)]
pub struct Churner {
    id: u32,
    world: Rc<RefCell<World>>,
    churn: Churn,
    done: u64,
    /// Connections that got as far as they were to.
    arrived: u64,
    call: Option<Call>,
}

impl Churner {
    /// A client that starts at once.
    pub fn new(id: u32, world: Rc<RefCell<World>>, churn: Churn) -> Self {
        world.borrow_mut().wake(Actor::Client(id), Duration::ZERO);
        Self { id, world, churn, done: 0, arrived: 0, call: None }
    }

    fn dial(&mut self, now: Instant) {
        let rng = &mut self.churn.rng;
        let (moment, way) = (*rng.pick(&self.churn.moments), *rng.pick(&self.churn.ways));
        let last = Moment::ALL.iter().position(|&other| other == moment).unwrap_or(0);
        let address = PeerAddress::Unix { uid: 1_000, pid: self.id as i32 + 1 };
        let link = self.world.borrow_mut().dial(self.id, 0, ListenerId(0), address);
        self.call = Some(Call {
            link,
            at: 0,
            last,
            way,
            unsent: Vec::new(),
            until: now + PATIENCE,
            hearing: Hearing::default(),
            heard: 0,
            welcomed: false,
            confirmed: false,
            delivered: false,
            dismissed: false,
            leaving: false,
        });
    }

    /// Reads what is there. False once nothing more will come.
    fn read(&mut self, oracle: &mut Oracle) -> bool {
        let Some(call) = &mut self.call else { return false };
        let mut bytes = [0; 4_096];
        loop {
            let count = match self.world.borrow_mut().client_read(call.link, &mut bytes) {
                ClientRead::Bytes(count) => count,
                ClientRead::Nothing => return true,
                ClientRead::Ended(_) => return false,
            };
            call.heard += count as u64;
            call.hearing.feed(&bytes[..count]);
            let heard = match call.hearing.listen() {
                Ok(heard) => heard,
                Err(problem) => {
                    oracle.broke(format!("client {} heard {problem}", self.id));
                    return false;
                }
            };
            for heard in heard {
                match heard {
                    Heard::Message(_) => call.delivered = true,
                    Heard::Control(body, _) => {
                        call.welcomed |= matches!(*body, Body::Welcome(_));
                        call.confirmed |= matches!(&*body, Body::Result(result) if result.code == 0);
                        call.dismissed |= matches!(*body, Body::Goodbye(_) | Body::Reject(_));
                    }
                    Heard::Lost(..) | Heard::Pong(_) => {}
                }
            }
        }
    }

    /// Goes from moment to moment as far as it can; true once the last one has come.
    fn go_on(&mut self) -> bool {
        let Some(call) = &mut self.call else { return false };
        loop {
            let mut world = self.world.borrow_mut();
            let sent = world.client_write(call.link, &call.unsent);
            call.unsent.drain(..sent);
            let has_come = call.unsent.is_empty()
                && match Moment::ALL[call.at] {
                    Moment::Accepted => world.client_accepted(call.link),
                    Moment::PrefaceAnswered => call.heard >= PREFACE.len() as u64,
                    Moment::Welcome => call.welcomed,
                    Moment::Subscribed => call.confirmed,
                    Moment::Delivered => call.delivered,
                    Moment::GoodbyeAnswered => call.dismissed,
                    Moment::Dialled
                    | Moment::HalfPreface
                    | Moment::Preface
                    | Moment::HalfHello
                    | Moment::Hello
                    | Moment::Subscribe
                    | Moment::HalfPublish
                    | Moment::Publish
                    | Moment::Goodbye => true,
                };
            if !has_come {
                return false;
            }
            if call.at == call.last {
                return true;
            }
            call.at += 1;
            call.unsent = Moment::ALL[call.at].words(self.id);
        }
    }

    /// Dies as planned. What ends only with the broker's own end stays a little.
    fn die(&mut self, now: Instant) {
        let Some(call) = &mut self.call else { return };
        let mut world = self.world.borrow_mut();
        match call.way {
            Leave::Close => world.client_close(call.link),
            Leave::Reset => world.client_reset(call.link),
            Leave::Vanish => {}
            Leave::Goodbye | Leave::Finish => {
                world.client_finish(call.link);
                call.leaving = true;
                call.until = now + LEAVING_PATIENCE;
                return;
            }
        }
        drop(world);
        self.next_cycle();
    }

    fn next_cycle(&mut self) {
        self.call = None;
        self.done += 1;
        if self.done < self.churn.cycles {
            self.world.borrow_mut().wake_soon(Actor::Client(self.id));
        }
    }
}

impl Client for Churner {
    fn run(&mut self, oracle: &mut Oracle) {
        let now = self.world.borrow().now();
        if self.call.is_none() {
            if self.done == self.churn.cycles {
                return;
            }
            self.dial(now);
        }
        let open = self.read(oracle);
        let leaving = self.call.as_ref().is_some_and(|call| call.leaving);
        if open && !leaving && self.go_on() {
            self.arrived += 1;
            self.die(now);
        }
        let Some(call) = &self.call else { return };
        if !open || now >= call.until {
            if open && call.leaving {
                oracle.broke(format!("client {} left, and the broker never ended its side", self.id));
            }
            self.world.borrow_mut().client_close(call.link);
            self.next_cycle();
        } else {
            self.world.borrow_mut().wake(Actor::Client(self.id), call.until.since(now));
        }
    }

    fn heal(&mut self) {}

    fn has_finished(&self) -> bool {
        self.done == self.churn.cycles
    }

    fn is_settled(&self) -> bool {
        self.has_finished()
    }

    fn retire(&mut self) {
        self.churn.cycles = self.done + u64::from(self.call.is_some());
    }

    fn is_connected(&self) -> bool {
        self.call.is_some()
    }

    fn describe(&self) -> String {
        let (id, done, cycles) = (self.id, self.done, self.churn.cycles);
        let moment = self.call.as_ref().map(|call| (Moment::ALL[call.at], call.leaving));
        format!("client {id} (churn): {done} of {cycles} connections, {} as planned, at {moment:?}", self.arrived)
    }
}
