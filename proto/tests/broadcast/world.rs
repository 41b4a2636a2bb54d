//! Ends of a broadcast link in virtual time, with a network between them that loses what a rule says.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use laneway_proto::time::Instant;

use super::{Node, address};

/// Nanoseconds of a millisecond.
pub const MS: u64 = 1_000_000;
/// How long a datagram takes; a little more for each receiver, so that they do not act as one.
const ONE_WAY_NS: u64 = 100_000;

/// Numbers that follow from a seed.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ z >> 31) % bound
    }
}

/// A datagram on its way, as the rule about losses sees it.
pub struct Way<'a> {
    /// Places of sender and receiver among the nodes.
    pub from: usize,
    pub to: usize,
    /// Counts datagrams of all: the same for all receivers of one.
    pub number: u64,
    pub now: u64,
    pub bytes: &'a [u8],
}

/// All nodes, and what is under way.
pub struct World {
    pub now: u64,
    pub nodes: Vec<Node>,
    under_way: BTreeMap<(u64, u64), (usize, SocketAddr, Vec<u8>)>,
    put: u64,
    sent: u64,
}

impl World {
    /// Node `n` speaks from `address(n + 1)`.
    pub fn new(nodes: Vec<Node>) -> Self {
        Self { now: 1, nodes, under_way: BTreeMap::new(), put: 0, sent: 0 }
    }

    /// Sends what nodes have to send, and lets time go on to `until`, as far as anything happens; `lost` decides about each
    /// datagram and receiver.
    pub fn run(&mut self, until: u64, lost: &mut dyn FnMut(&Way<'_>) -> bool) {
        self.run_delaying(until, &mut |way| (!lost(way)).then_some(0));
    }

    /// The same; what is not lost is late by so many nanoseconds.
    pub fn run_delaying(&mut self, until: u64, late_by: &mut dyn FnMut(&Way<'_>) -> Option<u64>) {
        loop {
            self.send(late_by);
            let arrival = self.under_way.keys().next().map(|(at, _)| *at);
            let timers = self.nodes.iter().filter_map(|node| node.link.poll_timeout()).map(|at| at.0);
            let next = arrival.into_iter().chain(timers).min().unwrap_or(u64::MAX);
            if next > until {
                self.advance(until);
                return;
            }
            self.advance(next.max(self.now));
            while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, from, bytes) = entry.remove();
                let node = &mut self.nodes[to];
                let _ = node.link.on_datagram(node.now, from, &bytes);
            }
            for node in &mut self.nodes {
                node.link.on_timeout(node.now);
            }
        }
    }

    fn advance(&mut self, now: u64) {
        self.now = now;
        self.nodes.iter_mut().for_each(|node| node.now = Instant(now));
    }

    fn send(&mut self, late_by: &mut dyn FnMut(&Way<'_>) -> Option<u64>) {
        let mut out = vec![0; 1_472];
        for from in 0..self.nodes.len() {
            while let Some(sent) = {
                let node = &mut self.nodes[from];
                node.link.poll_transmit(node.now, &mut out)
            } {
                self.sent += 1;
                let bytes = &out[..sent.bytes];
                for to in (0..self.nodes.len()).filter(|&to| to != from) {
                    let is_meant = sent.to.is_none_or(|meant| meant == address(to as u32 + 1));
                    let way = Way { from, to, number: self.sent, now: self.now, bytes };
                    if !is_meant {
                        continue;
                    }
                    let Some(late_ns) = late_by(&way) else { continue };
                    self.put += 1;
                    let due = self.now + ONE_WAY_NS + to as u64 * 100 + late_ns;
                    self.under_way.insert((due, self.put), (to, address(from as u32 + 1), bytes.to_vec()));
                }
            }
        }
    }
}
