//! Runs of publishers that keep to credit, which are set aside when their lane's way is blocked and go on when it is free.

use laneway_proto::control::{Body as ControlBody, Control, Goodbye};
use laneway_proto::error::{CloseCode, PeerFault};
use laneway_proto::frame::credit::{CREDIT_FRAME_BYTES_MAX, LaneTotal, encode};
use laneway_proto::frame::ping::{Ping, Pong};
use laneway_proto::limits::{HOT_ENTRIES_MAX, LANES_MAX};

use super::{Body, Flow, Shard};
use crate::counters::CloseReason;
use crate::inbox::RunInfo;
use crate::inbox::granted::Held;
use crate::io::Io;
use crate::pool::Piece;
use crate::slab::Key;

/// Bytes of one lane that go on in one turn.
const BYTES_PER_TURN: u32 = 128 * 1024;

impl<I: Io> Shard<I> {
    /// Whether what arrives from a publisher on a lane has to be set aside, because something in front of it waits.
    pub(super) fn waits(&self, key: Key, lane: u8) -> bool {
        let conn = self.conns.at(key);
        conn.and_then(|conn| conn.inbox.granted.as_ref()).is_some_and(|granted| granted.waits(lane))
    }

    /// Data of a publisher arrived: counts it against its credit, if it keeps to that.
    pub(super) fn note_arrived(&mut self, key: Key, lane: u8, bytes: u32) -> Result<(), PeerFault> {
        let window_bytes = u64::from(self.settings.limits.lane_credit_bytes);
        let granted = self.conns.at_mut(key).and_then(|conn| conn.granted(window_bytes));
        granted.map_or(Ok(()), |granted| granted.on_received(lane, bytes))
    }

    /// It has been routed, or is of no use.
    pub(super) fn note_passed(&mut self, key: Key, lane: u8, bytes: u32) {
        if let Some(granted) = self.conns.at_mut(key).and_then(|conn| conn.inbox.granted.as_mut()) {
            granted.on_passed(lane, bytes);
        }
    }

    /// Sets a run aside that lies in a buffer. It is copied: what lets it go on may be a CREDIT, which needs a buffer to be
    /// received. False if its publisher keeps to no credit: it has to be stopped.
    pub(super) fn hold_piece(&mut self, key: Key, info: RunInfo, piece: Piece) -> bool {
        let Self { conns, partials, io, counters, .. } = self;
        let Some(granted) = conns.at_mut(key).and_then(|conn| conn.inbox.granted.as_mut()) else { return false };
        let mut body = partials.pop().unwrap_or_default();
        body.append(piece, io.pool_mut());
        granted.hold(info, body);
        counters.lane_waits += 1;
        true
    }

    /// Sets the frame aside that was put together. False as for [`Self::hold_piece`].
    pub(super) fn hold_partial(&mut self, key: Key, info: RunInfo) -> bool {
        let Some(conn) = self.conns.at_mut(key) else { return false };
        let Some(granted) = &mut conn.inbox.granted else { return false };
        let Some(mut body) = conn.inbox.partial.take() else { return false };
        body.collect(self.io.pool_mut());
        granted.hold(info, body);
        self.counters.lane_waits += 1;
        true
    }

    /// Routes what was set aside, as far as the ways are free: urgent lanes first. True if there is more to do at once.
    pub(super) fn retry_held(&mut self, key: Key) -> bool {
        let holding =
            |conn: &crate::conn::Conn| conn.inbox.granted.as_ref().is_some_and(|granted| granted.is_waiting());
        if self.drain.is_some() || !self.conns.at(key).is_some_and(holding) {
            return false;
        }
        let class = |lane: u8| self.settings.lanes.get(lane).map_or(u8::MAX, |spec| spec.class);
        let mut lanes: [u8; LANES_MAX] = std::array::from_fn(|lane| lane as u8);
        lanes.sort_by_key(|&lane| class(lane));
        let mut more = false;
        for lane in lanes {
            more |= self.retry_lane(key, lane);
        }
        self.answer_held(key);
        more
    }

    fn retry_lane(&mut self, key: Key, lane: u8) -> bool {
        let mut bytes = 0;
        while bytes < BYTES_PER_TURN {
            let granted = self.conns.at_mut(key).and_then(|conn| conn.inbox.granted.as_mut());
            let Some(held) = granted.and_then(|granted| granted.pop(lane)) else { return false };
            let info = held.info;
            let flow = self.deliver(key, &info, Body { head: held.body.head(), pieces: held.body.held() });
            if flow == Flow::Stopped {
                self.put_held_back(key, held);
                return false;
            }
            bytes += info.bytes;
            self.recycle(held.body);
            self.note_routed(key, &info);
        }
        true
    }

    fn put_held_back(&mut self, key: Key, mut held: Held) {
        match self.conns.at_mut(key).and_then(|conn| conn.inbox.granted.as_mut()) {
            Some(granted) => granted.put_back(held),
            None => held.body.clear(self.io.pool_mut()),
        }
    }

    /// Answers what stood behind runs that have passed.
    fn answer_held(&mut self, key: Key) {
        let now = self.now();
        loop {
            let granted = self.conns.at_mut(key).and_then(|conn| conn.inbox.granted.as_mut());
            let Some(granted) = granted else { return };
            if let Some(t0) = granted.pop_ping() {
                self.push_control_bytes(key, &Pong { t0, t1: now.0, t2: now.0 }.encode());
                continue;
            }
            if granted.farewell && !granted.is_holding() {
                granted.farewell = false;
                self.say_farewell(key);
            }
            return;
        }
    }

    /// A PING: answered at once, or behind what waits in front of it.
    pub(super) fn on_ping(&mut self, key: Key, ping: Ping) -> Result<(), PeerFault> {
        let now = self.now();
        if let Some(granted) = self.conns.at_mut(key).and_then(|conn| conn.inbox.granted.as_mut())
            && granted.is_holding()
        {
            return granted.push_ping(ping.t0);
        }
        self.push_control_bytes(key, &Pong { t0: ping.t0, t1: now.0, t2: now.0 }.encode());
        Ok(())
    }

    /// A peer leaves: at once, or behind what waits in front of its goodbye.
    pub(super) fn on_goodbye(&mut self, key: Key) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        if let Some(about) = &mut conn.about {
            about.said_goodbye = true;
        }
        if let Some(granted) = &mut conn.inbox.granted
            && granted.is_holding()
        {
            granted.farewell = true;
            return;
        }
        self.say_farewell(key);
    }

    fn say_farewell(&mut self, key: Key) {
        let reply = Goodbye { code: CloseCode::Normal.number(), reason: String::new(), drain_ms: 0 };
        self.begin_close(key, CloseReason::PeerLeft, Some(Control::new(ControlBody::Goodbye(reply))));
    }

    /// Tells a publisher what room there is, if that is worth it.
    pub(super) fn give_credit(&mut self, key: Key) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        let Some(granted) = &mut conn.inbox.granted else { return };
        let mut totals = [LaneTotal { lane: 0, total: 0 }; HOT_ENTRIES_MAX];
        let totals = granted.poll_totals(&mut totals);
        if !totals.is_empty() && conn.closing.is_none() && !conn.is_away() {
            self.push_control_bytes(key, encode(totals, &mut [0; CREDIT_FRAME_BYTES_MAX]));
        }
    }

    /// The session goes on over another link: says again what room there is.
    pub(super) fn give_credit_again(&mut self, key: Key) {
        let reliable = self.settings.lanes.reliable();
        let Some(granted) = self.conns.at_mut(key).and_then(|conn| conn.inbox.granted.as_mut()) else { return };
        let mut totals = [LaneTotal { lane: 0, total: 0 }; HOT_ENTRIES_MAX];
        let totals = granted.on_resume(reliable, &mut totals);
        if !totals.is_empty() {
            self.push_control_bytes(key, encode(totals, &mut [0; CREDIT_FRAME_BYTES_MAX]));
        }
    }
}
