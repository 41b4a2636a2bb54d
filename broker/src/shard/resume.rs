//! Sessions that outlive their links: a broken link is taken off its session, which then waits, and a connection whose
//! client asks for a session is handed to it, on whichever shard it is.
//!
//! ```text
//!            link breaks            nothing of it in flight           grace over, bound, full queue
//!   Up  ───────────────────►  Cut  ───────────────────────►  Away  ───────────────────────────────►  over
//!    ▲                                                         │
//!    └─────────────── a connection arrives: WELCOME, RESUME ───┘
//! ```

use laneway_proto::control::{Body, Control, DeclareTopics, Hello, Resume, Topic};
use laneway_proto::error::PeerFault;
use laneway_proto::frame::count::COUNT_FRAME_BYTES_MAX;
use laneway_proto::limits::{LANES_MAX, TOPIC_BYTES_MAX};
use laneway_proto::session::handshake::{PREFACE, feature};
use laneway_proto::session::{Session, State};
use laneway_proto::time::Duration;

use super::{Shard, note_link_over};
use crate::conn::lasting::{Lasting, LinkState};
use crate::conn::{Conn, Receiving};
use crate::counters::CloseReason;
use crate::inbox::Inbox;
use crate::io::Io;
use crate::mesh::{Arrival, Envelope, Handover};
use crate::outbox::tail::Tail;
use crate::pool::Pool;
use crate::slab::Key;

/// Names in one message, so that it fits a frame.
const NAMES_PER_CONTROL: usize = 200;

const _: () = assert!(
    NAMES_PER_CONTROL * (TOPIC_BYTES_MAX + 16) < laneway_proto::limits::CONTROL_BYTES_MAX,
    "a list of the longest names fits a control message"
);

impl<I: Io> Shard<I> {
    /// A session that has just been agreed on outlives its link, if both sides want that.
    pub(super) fn make_lasting(&mut self, key: Key, hello: &Hello) {
        let limits = &self.settings.limits;
        let reliable = self.settings.lanes.reliable();
        let Some(conn) = self.conns.at_mut(key) else { return };
        if limits.resume_grace_ms == 0 || hello.features & feature::RESUME == 0 {
            return;
        }
        conn.outbox.count_frames();
        conn.outbox.keep(reliable, limits.resume_bytes_max);
        conn.lasting = Some(Box::new(Lasting::new(hello.epoch, reliable)));
        self.lasting.insert(conn.number, key);
    }

    /// Frames of a lane were received and routed, or dropped where that is the rule.
    pub(super) fn note_received(&mut self, key: Key, lane: u8, frames: u32, bytes: u32) {
        let now = self.now();
        let Some(lasting) = self.conns.at_mut(key).and_then(|conn| conn.lasting.as_mut()) else { return };
        lasting.tally.on_received(now, lane, frames);
        lasting.tally.on_bytes(bytes);
        if lasting.tally.poll_timeout().is_some() && !lasting.listed {
            lasting.listed = true;
            self.counting.push(key);
        }
    }

    /// Tells who counts what was received, once a turn.
    pub(super) fn flush_counts(&mut self) {
        let now = self.now();
        while let Some(key) = self.counting.pop() {
            let Some(conn) = self.conns.at_mut(key) else { continue };
            let Some(lasting) = &mut conn.lasting else { continue };
            lasting.listed = false;
            // While something is in flight this would only wait behind it, however long that takes; its end asks again.
            if lasting.link != LinkState::Up || conn.outbox.in_flight() {
                continue;
            }
            if let Some(frame) = lasting.tally.poll_transmit(now, &mut [0; COUNT_FRAME_BYTES_MAX]) {
                conn.outbox.push_control(frame, self.io.pool_mut());
                self.mark_dirty(key);
            } else {
                self.arm_timer(key);
            }
        }
    }

    /// It is time to tell a peer what was received.
    pub(super) fn list_counts(&mut self, key: Key) {
        if let Some(lasting) = self.conns.at_mut(key).and_then(|conn| conn.lasting.as_mut())
            && !lasting.listed
        {
            lasting.listed = true;
            self.counting.push(key);
        }
    }

    /// The link of a session that outlives it is over.
    pub(super) fn cut_link(&mut self, key: Key, reason: CloseReason) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        let Some(lasting) = &mut conn.lasting else { return };
        lasting.link = LinkState::Cut;
        // What was not routed was not counted: it comes again.
        conn.inbox.clear(self.io.pool_mut());
        conn.session.on_partial(self.io.now(), false);
        self.io.shutdown(conn.socket);
        note_link_over(conn, reason, self.io.now(), &mut self.log_budget, &mut self.counters);
        self.counters.sessions_parked += 1;
        self.tell_gone(key, reason);
        self.progress_cut(key);
    }

    /// Takes a link that is over off its session, once nothing of it is in flight.
    pub(super) fn progress_cut(&mut self, key: Key) {
        let until = self.now() + Duration::from_millis(self.settings.limits.resume_grace_ms);
        let Some(conn) = self.conns.at_mut(key) else { return };
        let idle = matches!(conn.receiving, Receiving::Off | Receiving::Waiting) && !conn.outbox.in_flight();
        let Some(lasting) = conn.lasting.as_mut().filter(|lasting| lasting.link == LinkState::Cut && idle) else {
            return;
        };
        lasting.link = LinkState::Away(until);
        let next = lasting.next.take();
        conn.receiving = Receiving::Off;
        conn.ended = None;
        let pool = self.io.pool_mut();
        conn.outbox.on_link_lost(pool);
        conn.outbox.copy_out(pool);
        conn.outbox.take_unblocked(false, &mut self.unblocked);
        let listener = conn.listener;
        self.io.close(conn.socket);
        self.tell_left(listener, false);
        self.away.insert((until, key));
        self.unblock();
        match next {
            Some(arrival) => self.attach(key, *arrival),
            None => {
                self.bound_away();
                self.arm_timer(key);
            }
        }
    }

    /// Ends sessions that wait for a link, while there are too many.
    fn bound_away(&mut self) {
        while self.away.len() > self.settings.limits.resume_sessions_max as usize
            && let Some(&(_, key)) = self.away.first()
        {
            self.counters.sessions_evicted += 1;
            self.end_away(key);
        }
    }

    /// Nobody has resumed the session in time.
    pub(super) fn expire(&mut self, key: Key) {
        self.counters.sessions_expired += 1;
        self.end_away(key);
    }

    /// Ends a session that has no link.
    pub(super) fn end_away(&mut self, key: Key) {
        self.end_session(key);
        let Some(mut conn) = self.conns.remove(key) else { return };
        let pool = self.io.pool_mut();
        conn.inbox.clear(pool);
        conn.outbox.clear(pool);
        tracing::debug!(session = conn.number, peer = conn.name(), "a session without a link has ended");
    }

    /// The session is over and cannot be resumed any more: forgets what would be needed for that. A connection that was
    /// to go on with it begins a new one.
    pub(super) fn forget_lasting(&mut self, key: Key) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        let Some(lasting) = conn.lasting.take() else { return };
        self.lasting.remove(&conn.number);
        if let LinkState::Away(until) = lasting.link {
            self.away.remove(&(until, key));
        }
        if let Some(arrival) = lasting.next {
            self.begin_anew(*arrival);
        }
    }

    /// The shard whose session a HELLO asks for, if this broker may have made it.
    pub(super) fn shard_of_resume(&self, hello: &Hello) -> Option<u8> {
        let asked = hello.resume.as_ref()?;
        let may = self.settings.limits.resume_grace_ms > 0 && hello.features & feature::RESUME != 0;
        let shard = asked.session as u8;
        (may && asked.epoch == self.identity.epoch && shard < self.mesh.shards()).then_some(shard)
    }

    /// A HELLO asks for a session: its connection goes there, once nothing of it is in flight.
    pub(super) fn begin_move(&mut self, key: Key, hello: Hello) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        conn.moving = Some(Box::new(hello));
        self.stop_receiving(key);
        self.movers.push(key);
    }

    /// Sends connections to their sessions, as far as they can go.
    pub(super) fn move_connections(&mut self) {
        while let Some(key) = self.movers.pop() {
            self.try_move(key);
        }
    }

    fn try_move(&mut self, key: Key) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        let idle = matches!(conn.receiving, Receiving::Off | Receiving::Waiting)
            && !conn.outbox.in_flight()
            && conn.outbox.is_empty();
        if conn.closing.is_some() || conn.moving.is_none() || !idle || self.drain.is_some() {
            return;
        }
        if let Some(reason) = conn.ended {
            self.begin_close(key, reason, None);
            return;
        }
        let Some(mut conn) = self.conns.remove(key) else { return };
        let Some(hello) = conn.moving.take() else { return };
        let Some(owner) = self.shard_of_resume(&hello) else { return };
        let pool = self.io.pool_mut();
        let unread = conn.inbox.pieces.iter().flat_map(|&piece| pool.piece(piece).to_vec()).collect();
        conn.inbox.clear(pool);
        conn.outbox.clear(pool);
        self.io.release(conn.socket);
        let Conn { socket, address, listener, .. } = conn;
        let handover = Handover { socket, address, listener, refused: None };
        let arrival = Arrival { handover, from: self.mesh.shard(), hello: *hello, unread };
        if owner == self.mesh.shard() {
            self.on_arrival(arrival);
        } else {
            self.mesh.post(owner, Envelope::Arrival(Box::new(arrival)));
        }
    }

    /// A connection's client asks for a session of this shard.
    pub(super) fn on_arrival(&mut self, arrival: Arrival) {
        let me = self.mesh.shard();
        if arrival.from != me {
            self.tell_moved(arrival.from);
        }
        if self.drain.is_some() {
            self.turn_away(&arrival);
            return;
        }
        match self.judge_arrival(&arrival.hello) {
            Ok(Some(key)) => self.replace_link(key, arrival),
            Ok(None) => {
                self.counters.resumes_refused += 1;
                self.begin_anew(arrival);
            }
            Err(fault) => {
                let (key, _) = self.take_in(arrival);
                self.fail(key, fault);
            }
        }
    }

    /// The session that a HELLO asks for, if there is one and it is its client's.
    fn judge_arrival(&self, hello: &Hello) -> Result<Option<Key>, PeerFault> {
        let Some(resume) = &hello.resume else { return Ok(None) };
        let Some(&key) = self.lasting.get(&resume.session) else { return Ok(None) };
        let Some(conn) = self.conns.at(key) else { return Ok(None) };
        let epoch = conn.lasting.as_ref().map(|lasting| lasting.epoch);
        if conn.closing.is_some() || epoch != Some(hello.epoch) || conn.node_id[..] != hello.node_id[..] {
            return Ok(None);
        }
        conn.outbox.may_resume(&resume.totals()?)?;
        Ok(Some(key))
    }

    /// A session goes on over another link; the one it has, if any, is ended first.
    fn replace_link(&mut self, key: Key, arrival: Arrival) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        let Some(lasting) = &mut conn.lasting else { return };
        match lasting.link {
            LinkState::Away(_) => self.attach(key, arrival),
            LinkState::Up | LinkState::Cut => {
                let overtaken = lasting.next.replace(Box::new(arrival));
                let up = lasting.link == LinkState::Up;
                if let Some(overtaken) = overtaken {
                    self.turn_away(&overtaken);
                }
                if up {
                    self.stop_receiving(key);
                    self.cut_link(key, CloseReason::ConnectionFailed);
                }
            }
        }
    }

    /// Closes a connection that nobody listens to.
    fn turn_away(&mut self, arrival: &Arrival) {
        self.counters.on_closed(CloseReason::ConnectionFailed);
        self.io.close(arrival.handover.socket);
        self.tell_left(arrival.handover.listener, false);
    }

    /// The session has a link again: says how much was received, and goes on where its client stands.
    fn attach(&mut self, key: Key, arrival: Arrival) {
        let Arrival { handover, hello, unread, .. } = arrival;
        let now = self.now();
        let reliable = self.settings.lanes.reliable();
        let totals = hello.resume.as_ref().and_then(|resume| resume.totals().ok()).unwrap_or([0; LANES_MAX]);
        let Some(conn) = self.conns.at_mut(key) else { return };
        let Some(lasting) = &mut conn.lasting else { return };
        if let LinkState::Away(until) = lasting.link {
            self.away.remove(&(until, key));
        }
        (lasting.link, lasting.resumed) = (LinkState::Up, true);
        (conn.socket, conn.address, conn.listener) = (handover.socket, handover.address, handover.listener);
        (conn.since, conn.bytes_in, conn.bytes_out) = (now, 0, 0);
        conn.session = open_session(now, self.settings.limits.patience());
        let agreed = conn.session.on_agreed();
        let pool = self.io.pool_mut();
        let again = agreed.and_then(|()| conn.outbox.on_resume(&totals, pool));
        let first = hello.limits.as_ref().map_or(&[][..], |limits| &limits.lane_credit);
        conn.outbox.renew_credit(first, reliable);
        put_unread(&mut conn.inbox, &unread, pool);
        if let Some(confirms) = &mut conn.confirms {
            confirms.tell_again();
        }
        let replays = conn.replay.is_some();
        match again {
            Ok(again) => self.counters.frames_resent += again,
            Err(fault) => {
                self.fail(key, fault);
                return;
            }
        }
        for (lane, total) in (0u8..).zip(totals).filter(|&(_, total)| total > 0) {
            let known = self.take_count(key, lane, total);
            debug_assert!(known.is_ok(), "the counts were found to be possible");
        }
        self.counters.sessions_resumed += 1;
        self.gatherings.retain(|_, gathering| gathering.key != key);
        self.say_resumed(key, &hello);
        self.give_credit_again(key);
        self.reintroduce_peer(key);
        self.list_confirms(key);
        if replays {
            self.line_up_replay(key);
        }
        // Receives again, behind what came with HELLO.
        self.line_up(key);
        self.mark_dirty(key);
    }

    /// WELCOME, what was received, and the names that the client may need.
    fn say_resumed(&mut self, key: Key, hello: &Hello) {
        let Some(conn) = self.conns.at_mut(key) else { return };
        let session = conn.number;
        let Some(lasting) = &mut conn.lasting else { return };
        lasting.tally.on_told();
        let resume = Resume::new(session, self.identity.epoch, lasting.tally.totals());
        let mut told: Vec<_> = conn.told.iter().copied().collect();
        // A set's order is random; runs shall be repeatable.
        told.sort_unstable();
        let mut words = Control::new(Body::Welcome(self.welcome(hello, session, true))).to_frame();
        words.extend(Control::new(Body::Resume(resume)).to_frame());
        for some in told.chunks(NAMES_PER_CONTROL) {
            let names = some.iter().filter_map(|&index| Some((index, self.intern.name(index)?)));
            let topics =
                names.map(|(index, name)| Topic { id: index.wire(), name: (*name).into(), ..Topic::default() });
            words.extend(Control::new(Body::DeclareTopics(DeclareTopics { topics: topics.collect() })).to_frame());
        }
        self.push_control_bytes(key, &words);
    }

    /// A connection begins a session of its own, although its client had asked for another.
    fn begin_anew(&mut self, arrival: Arrival) {
        if self.drain.is_some() {
            self.turn_away(&arrival);
            return;
        }
        let (key, hello) = self.take_in(arrival);
        if let Err(fault) = self.open_session(key, &hello) {
            self.fail(key, fault);
        }
    }

    /// Takes a connection in whose HELLO was read.
    fn take_in(&mut self, arrival: Arrival) -> (Key, Hello) {
        let Arrival { handover, hello, unread, .. } = arrival;
        let Handover { socket, address, listener, .. } = handover;
        let now = self.now();
        let session = open_session(now, self.settings.limits.patience());
        let key = self.conns.insert_with(|_| Conn::new(socket, address, listener, session, now));
        self.limit_rates(key);
        if let Some(conn) = self.conns.at_mut(key) {
            put_unread(&mut conn.inbox, &unread, self.io.pool_mut());
        }
        self.line_up(key);
        self.arm_timer(key);
        (key, hello)
    }

    /// A connection that was counted for another shard is ours.
    fn tell_moved(&mut self, from: u8) {
        let me = self.mesh.shard();
        if me == 0 {
            self.on_moved(from, me);
        } else {
            self.mesh.post(0, Envelope::Moved { from });
        }
    }
}

/// The session machine behind the preface.
fn open_session(now: laneway_proto::time::Instant, patience: laneway_proto::session::Patience) -> Session {
    let mut session = Session::new(now, patience);
    let preface = session.on_preface(&PREFACE);
    debug_assert!(preface.is_ok() && session.state() == State::Hello, "our own preface is in order");
    session
}

/// Puts what arrived elsewhere in front of what will arrive.
pub(super) fn put_unread(inbox: &mut Inbox, unread: &[u8], pool: &mut Pool) {
    let mut tail = Tail::default();
    tail.append(unread, pool, &mut |piece, _| inbox.push(piece));
    tail.close(pool);
}
