//! What publishers are told: their publishes are accepted, or were received by as many sessions as they asked for.
//!
//! Whoever receives says by COUNT what it has. A publish that is to be confirmed leaves a mark at its last frame on the way
//! to each subscriber; a count that passes the mark is one receipt, which goes to the publisher's shard.

use laneway_proto::error::PeerFault;
use laneway_proto::frame::confirm;
use laneway_proto::frame::confirm::{CONFIRM_FRAME_BYTES_MAX, Level};
use laneway_proto::frame::count::{self, LaneTotal};
use laneway_proto::lane::sequencer::forward;

use super::Shard;
use crate::inbox::RunInfo;
use crate::io::Io;
use crate::mesh::{Envelope, Receipt};
use crate::outbox::Feeder;
use crate::outbox::counted::Mark;
use crate::slab::Key;

impl<I: Io> Shard<I> {
    /// A run of a local publisher, which wants to know when it is received, is about to be routed.
    #[cold]
    pub(super) fn track(&mut self, origin: Key, info: &RunInfo) -> Option<Mark> {
        let publisher = Feeder { shard: self.mesh.shard(), key: origin };
        let confirms = self.conns.at_mut(origin)?.confirms.as_mut()?;
        // A fragment that is not its message's last ends with the message before.
        let is_part = info.seq_through == 0 || forward(info.seq_first, info.seq_through).is_none();
        if info.seq_first != 0 && is_part {
            return Some(Mark { publisher, lane: info.lane, ticket: 0 });
        }
        self.counters.confirms_asked += 1;
        let ticket = confirms.on_message(info.lane, info.seq_first, info.seq_through, info.receivers);
        self.counters.confirms_uncounted += u64::from(ticket.is_none());
        Some(Mark { publisher, lane: info.lane, ticket: ticket? })
    }

    /// A run was routed.
    pub(super) fn note_accepted(&mut self, key: Key, info: &RunInfo) {
        let now = self.now();
        let confirms = self.conns.at_mut(key).and_then(|conn| conn.confirms.as_mut());
        if confirms.is_some_and(|confirms| confirms.on_accepted(now, info.lane, info.seq_through)) {
            self.arm_timer(key);
        }
    }

    /// A peer says what it has received.
    pub(super) fn on_count(&mut self, key: Key, body: &[u8]) -> Result<(), PeerFault> {
        for LaneTotal { lane, total } in count::decode(body)? {
            self.take_count(key, lane, total)?;
            let Some(conn) = self.conns.at_mut(key) else { break };
            if conn.outbox.on_count(lane, total, self.io.pool_mut())? {
                self.mark_dirty(key);
            }
        }
        Ok(())
    }

    /// A peer has received so many frames of a lane: whoever published what was in them is told.
    pub(super) fn take_count(&mut self, key: Key, lane: u8, total: u64) -> Result<(), PeerFault> {
        let mut received = std::mem::take(&mut self.received);
        let Some(conn) = self.conns.at_mut(key) else { return Ok(()) };
        let counted = conn.outbox.take_received(lane, total, &mut received);
        for Mark { publisher: Feeder { shard, key: publisher }, lane, ticket } in received.drain(..) {
            let receipt = Receipt { publisher, lane, ticket };
            if shard == self.mesh.shard() {
                self.on_receipt(receipt);
            } else {
                self.receipts.entry(shard).or_default().push(receipt);
            }
        }
        self.received = received;
        counted
    }

    /// A session, here or on another shard, has received a publish of one of our publishers.
    pub(super) fn on_receipt(&mut self, receipt: Receipt) {
        let Receipt { publisher, lane, ticket } = receipt;
        let confirms = self.conns.at_mut(publisher).and_then(|conn| conn.confirms.as_mut());
        if confirms.is_some_and(|confirms| confirms.on_received(lane, ticket)) {
            self.list_confirms(publisher);
        }
    }

    /// A publisher says up to where it waits for nothing any more.
    pub(super) fn on_given_up(&mut self, key: Key, body: &[u8]) -> Result<(), PeerFault> {
        let mut news = false;
        for given_up in confirm::decode(body)?.filter(|confirm| confirm.level == Level::Delivered) {
            let confirms = self.conns.at_mut(key).and_then(|conn| conn.confirms.as_mut());
            news |= confirms.is_some_and(|confirms| confirms.on_given_up(given_up.lane, given_up.seq_through));
        }
        if news {
            self.list_confirms(key);
        }
        Ok(())
    }

    /// There is something to tell this publisher at the end of the turn.
    pub(super) fn list_confirms(&mut self, key: Key) {
        if let Some(confirms) = self.conns.at_mut(key).and_then(|conn| conn.confirms.as_mut())
            && !confirms.listed
        {
            confirms.listed = true;
            self.confirming.push(key);
        }
    }

    /// Tells publishers their news, once a turn.
    pub(super) fn flush_confirms(&mut self) {
        while let Some(key) = self.confirming.pop() {
            let Some(conn) = self.conns.at_mut(key) else { continue };
            let away = conn.is_away();
            if let Some(confirms) = &mut conn.confirms {
                confirms.listed = false;
            }
            if away {
                // It is told when it is back.
                continue;
            }
            self.tell_confirms(key, false);
        }
    }

    /// Tells one publisher its news: those that are due, or all.
    pub(super) fn tell_confirms(&mut self, key: Key, all: bool) {
        let now = self.now();
        let mut out = [0; CONFIRM_FRAME_BYTES_MAX];
        while let Some(conn) = self.conns.at_mut(key)
            && let Some(frame) = conn.confirms.as_mut().and_then(|confirms| confirms.poll_transmit(now, all, &mut out))
        {
            conn.outbox.push_control(frame, self.io.pool_mut());
            self.mark_dirty(key);
        }
    }

    /// Sends the receipts of other shards' publishers on their way.
    pub(super) fn post_receipts(&mut self) {
        for (&shard, receipts) in self.receipts.iter_mut().filter(|(_, receipts)| !receipts.is_empty()) {
            self.mesh.post(shard, Envelope::Received(std::mem::take(receipts)));
        }
    }
}
