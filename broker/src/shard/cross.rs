//! Mail from other shards: runs for local subscribers, their interest, who has to stop, and new connections.

use super::{Body, Shard, service_of};
use crate::inbox::RunInfo;
use crate::intern::TopicIndex;
use crate::io::Io;
use crate::mesh::{Envelope, RECORD_BYTES, Record};
use crate::outbox::counted::Mark;
use crate::outbox::{Blocked, Feeder};
use crate::pool::Piece;
use crate::retained::Publisher;
use crate::router::{SubOptions, Subscriber};
use crate::slab::Key;

/// Envelopes taken from one shard in one turn.
const ENVELOPES_PER_TURN_MAX: u32 = 64;

impl<I: Io> Shard<I> {
    pub(super) fn receive_mail(&mut self) {
        for from in self.mesh.others() {
            for _ in 0..ENVELOPES_PER_TURN_MAX {
                let Some(envelope) = self.mesh.receive(from) else { break };
                self.on_envelope(from, envelope);
            }
        }
    }

    fn on_envelope(&mut self, from: u8, envelope: Envelope) {
        match envelope {
            Envelope::Runs { chunk, len } => self.on_runs(from, chunk, len),
            Envelope::Interest { filter, add, ticket } => {
                if add {
                    self.router.subscribe(&filter, Subscriber::Remote(from), SubOptions::default());
                    // Behind every value that was to be kept: the other shard's store has them when it hears this.
                    self.mesh.post_last(from, Envelope::InterestDone { ticket });
                } else {
                    self.router.unsubscribe(&filter, Subscriber::Remote(from));
                }
            }
            Envelope::Ask { ticket } => self.mesh.post_last(from, Envelope::InterestDone { ticket }),
            Envelope::InterestDone { ticket } => self.on_interest_done(ticket),
            Envelope::Block { publisher, lane } => self.stop_publisher(publisher, lane),
            Envelope::Received(receipts) => receipts.into_iter().for_each(|receipt| self.on_receipt(receipt)),
            Envelope::Abandoned { publisher } => {
                self.retained.forget(Publisher { shard: from, key: publisher });
            }
            Envelope::Unblock { publisher, lane } => self.unblock_local(publisher, lane),
            Envelope::StatsAsk { ticket, selector } => {
                let samples = self.samples(&selector);
                self.mesh.post(from, Envelope::StatsTold { ticket, samples });
            }
            Envelope::StatsTold { ticket, samples } => self.on_stats_told(ticket, samples),
            Envelope::Node { node_id, epoch } => self.replace_node(node_id, epoch),
            Envelope::Connection(handover) if self.drain.is_some() => self.io.close(handover.socket),
            Envelope::Connection(handover) => self.own(handover),
            Envelope::Arrival(arrival) => self.on_arrival(*arrival),
            Envelope::Moved { from: before } => self.on_moved(before, from),
            Envelope::Left { listener, refused } => self.on_left(from, listener, refused),
            Envelope::Drained => self.on_drained(from),
        }
    }

    fn on_runs(&mut self, from: u8, chunk: Box<[u8]>, len: u32) {
        let buf = self.io.pool_mut().adopt(from, chunk);
        let mut at = 0;
        while at < len {
            let record = Record::decode(&self.io.pool().bytes(buf)[at as usize..len as usize]);
            let record = record.expect("another shard writes whole records");
            at += RECORD_BYTES as u32;
            let piece = Piece { buf, start: at, len: record.bytes };
            at += record.bytes;
            let topic = TopicIndex::from_wire(record.topic).expect("another shard has named the topic");
            let info = RunInfo {
                topic,
                lane: record.lane,
                bytes: record.bytes,
                frames: record.frames,
                messages: record.messages,
                seq_first: 0,
                seq_through: 0,
                receivers: 0,
                ttl_ms: record.ttl_ms,
                retain: record.stamp > 0,
            };
            let publisher = Feeder { shard: from, key: record.origin };
            let mark = record.ticket.map(|ticket| Mark { publisher, lane: record.lane, ticket });
            let body = Body { head: &[], pieces: &[piece] };
            self.deliver_here(None, &info, body, mark);
            if record.stamp > 0 {
                self.keep(Publisher { shard: from, key: record.origin }, record.stamp, &info, body);
            }
            self.stop_remote_if_full(from, record.origin, &info);
        }
        self.io.pool_mut().release(buf);
    }

    /// The run was taken in any case; if an outbox is full now, the publisher's shard is told to stop it.
    fn stop_remote_if_full(&mut self, from: u8, publisher: Key, info: &RunInfo) {
        let now = self.now();
        let Self { router, conns, mesh, counters, blocked, settings, .. } = self;
        let Some(route) = router.route(info.topic) else { return };
        for target in &route.targets {
            let Some(conn) = conns.slot_mut(target.slot) else { continue };
            let service = service_of(&target.options, info.lane, info.ttl_ms, settings);
            if conn.closing.is_some() || !conn.outbox.is_full(&service) {
                continue;
            }
            let stopped = Blocked { feeder: Feeder { shard: from, key: publisher }, lane: info.lane };
            if conn.outbox.block(&service, stopped, now) {
                counters.paused_by_outbox += 1;
                mesh.post(from, Envelope::Block { publisher, lane: info.lane });
                blocked.push(target.slot);
            }
        }
        while let Some(slot) = self.blocked.pop() {
            self.arm_slot_timer(slot);
        }
    }

    /// A reader on this or another shard has room again for one of our publishers.
    pub(super) fn unblock_local(&mut self, publisher: Key, lane: u8) {
        let Some(conn) = self.conns.at_mut(publisher) else { return };
        assert!(conn.stops > 0, "a publisher is let go as often as it was stopped");
        conn.stops -= 1;
        let free = conn.inbox.granted.as_mut().is_none_or(|granted| granted.on_let_go(lane));
        if free && !conn.is_stopped() {
            self.line_up(publisher);
        }
    }

    /// A queue stops a lane of a local publisher, or all that it sends if it keeps to no credit.
    pub(super) fn stop_publisher(&mut self, publisher: Key, lane: u8) {
        let Some(conn) = self.conns.at_mut(publisher) else { return };
        conn.stops += 1;
        match &mut conn.inbox.granted {
            Some(granted) => granted.on_stopped(lane),
            None => self.stop_receiving(publisher),
        }
    }

    /// Lets the publishers in `self.unblocked`, of any shard, go on: those that have waited longest first, so that all of
    /// them get their turn.
    pub(super) fn unblock(&mut self) {
        let mut unblocked = std::mem::take(&mut self.unblocked);
        for Blocked { feeder: Feeder { shard, key }, lane } in unblocked.drain(..) {
            if shard == self.mesh.shard() {
                self.unblock_local(key, lane);
            } else {
                self.mesh.post(shard, Envelope::Unblock { publisher: key, lane });
            }
        }
        self.unblocked = unblocked;
    }

    pub(super) fn send_chunks_home(&mut self) {
        while let Some((shard, chunk)) = self.io.pool_mut().poll_homeward() {
            if self.mesh.send_home(shard, chunk) {
                self.counters.doorbells += 1;
                self.io.ring_doorbell(shard);
            }
        }
    }

    pub(super) fn flush_mesh(&mut self) {
        let mut wake = self.mesh.flush();
        while wake != 0 {
            let shard = wake.trailing_zeros() as u8;
            wake &= wake - 1;
            self.counters.doorbells += 1;
            self.io.ring_doorbell(shard);
        }
    }
}
