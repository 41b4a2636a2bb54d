//! What one shard has asked of the network: its listeners, receives and sends.

use std::collections::VecDeque;

use laneway_broker::io::{Errno, ListenerId, ReceiveEnd, Wait};
use laneway_broker::pool::BufId;
use laneway_broker::slab::Key;
use laneway_proto::time::Instant;

use super::net::{End, LinkId, Side};
use super::world::World;

#[derive(Debug, Default)]
pub(super) struct Listener {
    pub(super) open: bool,
    pub(super) armed: bool,
    /// Accepting ends with this as soon as the shard looks.
    pub(super) ending: Option<Option<Errno>>,
    pub(super) backlog: VecDeque<LinkId>,
}

/// A receive in flight.
#[derive(Debug)]
pub(super) struct Receive {
    pub(super) key: Key,
    pub(super) link: LinkId,
    pub(super) how: laneway_broker::io::Receive,
    pub(super) cancelled: bool,
}

/// A send in flight.
#[derive(Debug)]
pub(super) struct Send {
    pub(super) key: Key,
    pub(super) link: LinkId,
    pub(super) bytes: Vec<u8>,
    /// The pieces: buffer, start, length.
    pub(super) bufs: Vec<(BufId, u32, u32)>,
    pub(super) done: usize,
    /// Ends short once this many bytes were taken.
    pub(super) enough: usize,
    pub(super) started: bool,
    pub(super) result: Option<Result<u32, Errno>>,
}

/// The kernel's side of one shard.
#[derive(Debug)]
pub struct Port {
    pub(super) listeners: Vec<Listener>,
    pub(super) receives: Vec<Receive>,
    pub(super) sends: Vec<Send>,
    pub(super) rung: bool,
    /// Something was started and not handed over yet.
    pub(super) submitted: bool,
    /// The next turn finds nothing, and returns all the same.
    pub(super) spurious: bool,
    /// Something else has its core until then.
    pub(super) stalled_until: Instant,
    /// How long the last turn was ready to wait.
    pub(super) wait: Wait,
}

impl Port {
    pub(super) fn new(listeners: u16) -> Self {
        let open = || Listener { open: true, ..Listener::default() };
        Self {
            listeners: (0..listeners).map(|_| open()).collect(),
            receives: Vec::new(),
            sends: Vec::new(),
            rung: false,
            submitted: false,
            spurious: false,
            stalled_until: Instant(0),
            wait: Wait::No,
        }
    }

    /// The queue of connections that wait to be accepted, while the listener is open.
    pub(super) fn backlog(&mut self, listener: ListenerId) -> Option<&mut VecDeque<LinkId>> {
        let listener = self.listeners.get_mut(usize::from(listener.0))?;
        listener.open.then_some(&mut listener.backlog)
    }
}

impl World {
    /// Whether the next turn of a shard would find something.
    pub(super) fn port_ready(&self, shard: u8) -> bool {
        let port = &self.ports[usize::from(shard)];
        let due = match port.wait {
            Wait::No => true,
            Wait::Forever => false,
            Wait::Until(deadline) => deadline <= self.now(),
        };
        let accepts = |listener: &Listener| {
            listener.ending.is_some() || (listener.armed && listener.open && !listener.backlog.is_empty())
        };
        due || port.rung
            || port.submitted
            || port.listeners.iter().any(accepts)
            || shard == 0 && self.datagrams.are_ready()
            || port.receives.iter().any(|receive| self.receive_ready(receive))
            || port.sends.iter().any(|send| send.result.is_some())
    }

    pub(super) fn receive_ready(&self, receive: &Receive) -> bool {
        let link = &self.links[receive.link.0 as usize];
        let now = self.now();
        receive.cancelled || link.broker_shut || link.to_broker.has_arrived(now) || link.to_broker.ended(now).is_some()
    }

    /// How a receive that has nothing left to hand over ends.
    pub(super) fn receive_end(&self, receive: &Receive) -> Option<ReceiveEnd> {
        let link = &self.links[receive.link.0 as usize];
        match link.to_broker.ended(self.now()) {
            Some(End::Reset) => Some(ReceiveEnd::Failed(Errno(libc::ECONNRESET))),
            Some(End::Fin) => Some(ReceiveEnd::Closed),
            None if link.broker_shut => Some(ReceiveEnd::Closed),
            None if receive.cancelled => Some(ReceiveEnd::Cancelled),
            None => None,
        }
    }

    /// Moves bytes of the send in flight on a connection, as the kernel does without the shard.
    pub(super) fn pump(&mut self, id: LinkId) {
        let shard = usize::from(self.links[id.0 as usize].shard);
        let Some(place) = self.ports[shard].sends.iter().position(|send| send.link == id && send.started) else {
            return;
        };
        let mut send = self.ports[shard].sends.swap_remove(place);
        if send.result.is_none() {
            self.push_bytes(&mut send);
        }
        self.ports[shard].sends.push(send);
    }

    fn push_bytes(&mut self, send: &mut Send) {
        let id = send.link;
        if self.links[id.0 as usize].client_closed && self.links[id.0 as usize].to_client.ending().is_none() {
            // Bytes for a peer that is gone are taken; its answer is a reset.
            send.done = send.bytes.len();
            self.break_link(id);
        } else if self.links[id.0 as usize].to_client.ending().is_none() {
            let left = &send.bytes[send.done..send.enough];
            send.done += self.carry(id, Side::Broker, left);
        }
        send.result = match (self.links[id.0 as usize].to_client.ending(), send.done) {
            (_, done) if done >= send.enough => Some(Ok(done as u32)),
            (Some(End::Fin), 0) => Some(Err(Errno(libc::EPIPE))),
            (Some(End::Reset), 0) => Some(Err(Errno(libc::ECONNRESET))),
            (Some(_), done) => Some(Ok(done as u32)),
            (None, _) => None,
        };
        if send.result.is_some_and(|result| result.is_ok_and(|count| (count as usize) < send.bytes.len())) {
            self.marks.hit("short_send");
        }
    }

    /// The connection behind a descriptor that the broker holds.
    ///
    /// # Panics
    /// If the broker does not hold it: a bug of the shard.
    pub(super) fn link_of(&self, descriptor: i32) -> LinkId {
        let link = usize::try_from(descriptor).ok().and_then(|index| self.descriptors.get(index).copied().flatten());
        link.unwrap_or_else(|| panic!("the shard used descriptor {descriptor}, which it does not hold"))
    }

    /// Gives a connection the lowest free descriptor, as the kernel does, so that numbers are reused at once.
    pub(super) fn open_descriptor(&mut self, id: LinkId) -> i32 {
        let free = self.descriptors.iter().position(Option::is_none).unwrap_or(self.descriptors.len());
        if free == self.descriptors.len() {
            self.descriptors.push(None);
        }
        self.descriptors[free] = Some(id);
        self.links[id.0 as usize].descriptor = Some(free as i32);
        free as i32
    }
}
