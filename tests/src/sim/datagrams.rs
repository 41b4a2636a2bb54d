//! Simulated datagrams: each is lost, doubled, damaged or delayed by the seed, on its own.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use laneway_broker::io::ListenerId;
use laneway_proto::time::{Duration, Instant};

use super::world::{Actor, World};

/// The listener for datagrams of shard 0.
pub const DATAGRAMS: ListenerId = ListenerId(1);
/// The port of client 0; the others follow.
const PORT_FIRST: u16 = 10_000;
/// Datagrams that a socket holds at most; further ones are lost.
const WAITING_MAX: usize = 256;

/// What happens to datagrams: parts of a thousand, and microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DatagramHarm {
    /// They are lost.
    pub lost_permille: u32,
    /// They come twice.
    pub doubled_permille: u32,
    /// A bit of them is flipped.
    pub damaged_permille: u32,
    /// Only their first half comes.
    pub cut_permille: u32,
    /// How long they take at least.
    pub delay_us: u64,
    /// How much longer they take at most: they overtake one another.
    pub jitter_us: u64,
}

/// Who a datagram is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum To {
    Broker(SocketAddr),
    Client(u32),
}

/// Datagrams under way, and those that have arrived.
#[derive(Debug, Default)]
pub struct Datagrams {
    /// What happens to them.
    pub harm: DatagramHarm,
    under_way: BTreeMap<(Instant, u64), (To, Vec<u8>)>,
    put: u64,
    /// The broker's socket is read.
    pub(super) armed: bool,
    pub(super) at_broker: VecDeque<(SocketAddr, Vec<u8>)>,
    at_clients: BTreeMap<u32, VecDeque<Vec<u8>>>,
}

/// Where a client is.
pub fn address_of(client: u32) -> SocketAddr {
    ([127, 0, 0, 1], PORT_FIRST + client as u16).into()
}

impl Datagrams {
    /// Whether the broker's next turn finds one.
    pub(super) fn are_ready(&self) -> bool {
        self.armed && !self.at_broker.is_empty()
    }
}

impl World {
    /// A client sends a datagram to the broker.
    pub fn client_datagram(&mut self, client: u32, bytes: &[u8]) {
        self.put_datagram(To::Broker(address_of(client)), bytes);
    }

    /// A datagram that has arrived at a client.
    pub fn client_take_datagram(&mut self, client: u32) -> Option<Vec<u8>> {
        self.datagrams.at_clients.get_mut(&client)?.pop_front()
    }

    /// The broker sends a datagram.
    pub(super) fn broker_datagram(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.put_datagram(To::Client(u32::from(to.port().saturating_sub(PORT_FIRST))), bytes);
    }

    fn put_datagram(&mut self, to: To, bytes: &[u8]) {
        let harm = self.datagrams.harm;
        let mut bytes = bytes.to_vec();
        let network = &mut self.streams.network;
        let copies = if network.chance(harm.doubled_permille) { 2 } else { 1 };
        if network.chance(harm.damaged_permille) {
            let bit = network.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            self.marks.hit("datagram_damaged");
        }
        if network.chance(harm.cut_permille) {
            bytes.truncate(bytes.len() / 2);
            self.marks.hit("datagram_cut");
        }
        for _ in 0..copies {
            if self.streams.network.chance(harm.lost_permille) {
                self.marks.hit("datagram_lost");
                continue;
            }
            let jitter = self.streams.network.below(harm.jitter_us + 1);
            let due = self.now() + Duration::from_micros(harm.delay_us + jitter);
            self.datagrams.put += 1;
            self.datagrams.under_way.insert((due, self.datagrams.put), (to, bytes.clone()));
            self.plan_datagrams(due);
        }
    }

    /// Those that are due arrive.
    pub(super) fn datagrams_arrive(&mut self) {
        let now = self.now();
        while let Some(first) = self.datagrams.under_way.first_entry()
            && first.key().0 <= now
        {
            let (to, bytes) = first.remove();
            match to {
                To::Broker(from) => {
                    if self.datagrams.at_broker.len() < WAITING_MAX {
                        self.datagrams.at_broker.push_back((from, bytes));
                    }
                    if self.datagrams.are_ready() {
                        self.wake_soon(Actor::Shard(0));
                    }
                }
                To::Client(client) => {
                    let waiting = self.datagrams.at_clients.entry(client).or_default();
                    if waiting.len() < WAITING_MAX {
                        waiting.push_back(bytes);
                    }
                    self.wake_soon(Actor::Client(client));
                }
            }
        }
    }
}
