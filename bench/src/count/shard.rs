//! A whole shard behind a door in memory: a publisher and its subscribers, sessions open.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use laneway_broker::config::Settings;
use laneway_broker::intern::Intern;
use laneway_broker::io::Wait;
use laneway_broker::mesh;
use laneway_broker::shard::{Identity, Shard, ShardParts};
use laneway_proto::control::{Body, Control, DeclareTopics, Hello, Sub, Subscribe, Topic};
use laneway_proto::limits::{NODE_ID_BYTES, TOPIC_ID_DYNAMIC_FIRST};
use laneway_proto::session::handshake::{PREFACE, feature};

use super::door::{Door, Wires};
use crate::error::{Error, Result};
use crate::wire::{Block, Shape};

/// Turns that a session takes to open, with room to spare.
const OPENING_TURNS: u32 = 20;
/// Turns after which what arrived must have been received and sent.
const TURNS_MAX: u32 = 1_000;

/// The publisher's connection; the subscribers follow.
const PUBLISHER: usize = 0;

/// The shard, and what its publisher writes.
pub(super) struct Broker {
    shard: Shard<Door>,
    wires: Rc<RefCell<Wires>>,
    block: Block,
    next_number: u32,
    subscribers: usize,
}

impl Broker {
    /// A shard to whose topics, one for each of `shape`, `subscribers` connections have subscribed in turn; its publisher
    /// writes `block`.
    pub(super) fn open(block: Block, shape: Shape, subscribers: usize) -> Result<Self> {
        let settings = Arc::new(Settings::default());
        let mesh = mesh::wire(1, settings.pools.mesh_chunks_max).into_iter().next();
        let mesh = mesh.ok_or_else(|| Error::Failed("a shard has an end of the mesh".into()))?;
        let io = Door::new(settings.pools.shape, subscribers + 1);
        let wires = io.wires();
        let mut shard = Shard::new(ShardParts {
            io,
            mesh,
            intern: Arc::new(Intern::new(settings.limits.topics_max)),
            settings,
            identity: Identity { node_id: [1; NODE_ID_BYTES], epoch: 1, secret: 1 },
            listeners: vec![0],
            datagrams: Vec::new(),
            broadcasts: Vec::new(),
        });
        shard.start();
        let mut broker = Self { shard, wires, block, next_number: 1, subscribers };
        broker.turns(OPENING_TURNS)?;
        let topics = (0..shape.topics)
            .map(|place| Topic { id: TOPIC_ID_DYNAMIC_FIRST + place, name: name(place), ..Topic::default() })
            .collect();
        broker.say(PUBLISHER, Body::DeclareTopics(DeclareTopics { topics }))?;
        for link in 1..=subscribers {
            let pattern = name((link as u32 - 1) % shape.topics);
            broker.say(link, Body::Subscribe(Subscribe { subs: vec![Sub { pattern, ..Sub::default() }] }))?;
        }
        // Declares its topics to the subscribers.
        broker.put();
        broker.deliver()?;
        Ok(broker)
    }

    /// Opens a session and asks for something.
    fn say(&mut self, link: usize, body: Body) -> Result<()> {
        let mut bytes = PREFACE.to_vec();
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            node_id: vec![link as u8 + 1; NODE_ID_BYTES],
            epoch: 1,
            nonce: link as u64 + 1,
            features: feature::BATCH | feature::FRAGMENTS,
            ..Hello::default()
        };
        Control::new(Body::Hello(hello)).append_frame(&mut bytes);
        bytes.extend_from_slice(&Control::request(1, body).to_frame());
        self.arrive(link, &bytes);
        self.turns(OPENING_TURNS)
    }

    fn arrive(&self, link: usize, bytes: &[u8]) {
        self.wires.borrow_mut().put(link, bytes);
    }

    /// Messages of a block.
    pub(super) fn messages(&self) -> u32 {
        self.block.messages()
    }

    /// Lets the next block arrive.
    pub(super) fn put(&mut self) {
        self.block.number_from(self.next_number);
        self.next_number += self.block.messages();
        self.arrive(PUBLISHER, self.block.bytes());
    }

    /// Turns until everything that arrived is received and sent.
    pub(super) fn deliver(&mut self) -> Result<()> {
        for _ in 0..TURNS_MAX {
            self.turns(1)?;
            if self.shard.io().is_empty() && self.shard.outbox_bytes() == 0 {
                return Ok(());
            }
        }
        Err(Error::Failed(format!("nothing was delivered in {TURNS_MAX} turns")))
    }

    /// Bytes sent to all subscribers together.
    pub(super) fn sent(&self) -> u64 {
        (1..=self.subscribers).map(|link| self.shard.io().sent(link)).sum()
    }

    fn turns(&mut self, count: u32) -> Result<()> {
        for _ in 0..count {
            self.shard.turn(Wait::No).map_err(Error::io("a turn of the shard"))?;
        }
        Ok(())
    }
}

fn name(place: u32) -> String {
    format!("bench/{place}")
}
