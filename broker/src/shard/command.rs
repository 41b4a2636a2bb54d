//! Control messages: HELLO, topics, subscriptions, goodbye.

use std::sync::Arc;

use laneway_proto::control::{
    Body, Control, DeclareTopics, Hello, Lane as LaneOffer, Limits, Reject, Sub, Subscribe, Unsubscribe, Welcome, Will,
};
use laneway_proto::error::{CloseCode, DecodeError, PeerFault};
use laneway_proto::lane::policy::Policy;
use laneway_proto::limits::{FRAGMENT_BYTES_STREAM, FRAME_BYTES_MAX, LANES_MAX, WILL_BYTES_MAX, WIRE_VERSION};
use laneway_proto::session::State;
use laneway_proto::session::handshake::{Offer, Refusal, feature};
use laneway_proto::topic;

use super::Shard;
use crate::access;
use crate::confirms::Confirms;
use crate::counters::CloseReason;
use crate::io::Io;
use crate::mesh::Envelope;
use crate::router::{SubOptions, Subscriber};
use crate::slab::Key;

/// Milliseconds a peer that was refused for want of room should wait.
const RETRY_AFTER_MS: u32 = 1_000;

/// A Subscribe that waits for other shards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ticket {
    /// Who asked.
    pub(super) key: Key,
    /// The message to answer.
    id: u32,
    /// Confirmations still to come.
    left: u32,
    /// Filters that come into effect with the last of them, together with the last values.
    retained: Vec<Arc<str>>,
}

impl<I: Io> Shard<I> {
    pub(super) fn on_control(&mut self, key: Key, control: Result<Control, DecodeError>) -> Result<(), PeerFault> {
        let now = self.now();
        let Some(conn) = self.conns.at_mut(key) else { return Ok(()) };
        let Ok(Control { id, body }) = control else {
            self.counters.control_malformed += 1;
            if conn.session.state() == State::Hello {
                return Err(DecodeError::BodyMalformed.into());
            }
            return conn.session.on_malformed_control(now);
        };
        match (conn.session.state(), body) {
            (State::Hello, Some(Body::Hello(hello))) => self.on_hello(key, hello),
            (State::Preface | State::Hello, _) => Err(PeerFault::DataBeforeWelcome),
            (State::Closing, _) => Ok(()),
            (State::Open, Some(Body::DeclareTopics(topics))) => self.on_declare(key, id, &topics),
            (State::Open, Some(Body::Subscribe(subscribe))) => {
                self.on_subscribe(key, id, &subscribe);
                Ok(())
            }
            (State::Open, Some(Body::Unsubscribe(unsubscribe))) => {
                self.on_unsubscribe(key, id, &unsubscribe);
                Ok(())
            }
            (State::Open, Some(Body::Goodbye(_))) => {
                self.on_goodbye(key);
                Ok(())
            }
            (State::Open, Some(Body::Hello(_) | Body::Welcome(_) | Body::Reject(_) | Body::Stats(_))) => {
                Err(PeerFault::OutOfTurn)
            }
            (State::Open, Some(Body::Result(_))) => Ok(()),
            (State::Open, Some(Body::StatsRequest(request))) => {
                self.on_stats_request(key, id, &request.selector);
                Ok(())
            }
            (State::Open, Some(Body::PeerUpdate(update))) => {
                self.on_peer_update(key, id, update);
                Ok(())
            }
            (State::Open, Some(Body::Resume(_)) | None) => {
                self.answer(key, id, CloseCode::UnsupportedKind, "this broker does not know that control message");
                Ok(())
            }
        }
    }

    /// Answers a control message that asked for it.
    pub(super) fn answer(&mut self, key: Key, id: u32, code: CloseCode, text: &str) {
        if id != 0 {
            self.push_control_bytes(key, &Control::answer(id, code, text).to_frame());
        }
    }

    fn on_hello(&mut self, key: Key, mut hello: Hello) -> Result<(), PeerFault> {
        let Some(conn) = self.conns.at_mut(key) else { return Ok(()) };
        if conn.datagrams.is_some() {
            // Such a session is its own link: there is no other to go on over.
            hello.features &= !feature::RESUME;
            hello.resume = None;
        }
        if let Err(refusal) = judge(&hello, &self.settings, conn) {
            self.reject(key, refusal);
            return Ok(());
        }
        if self.shard_of_resume(&hello).is_some() {
            self.begin_move(key, hello);
            return Ok(());
        }
        self.counters.resumes_refused += u64::from(hello.resume.is_some());
        self.open_session(key, &hello)
    }

    /// A connection whose HELLO is in order begins a session of its own.
    pub(super) fn open_session(&mut self, key: Key, hello: &Hello) -> Result<(), PeerFault> {
        let Some(conn) = self.conns.at_mut(key) else { return Ok(()) };
        conn.session.on_agreed()?;
        if hello.features & feature::CONFIRM != 0 {
            conn.outbox.count_frames();
            let pending_max = self.settings.limits.confirms_pending_max;
            conn.confirms = Some(Box::new(Confirms::new(self.settings.lanes.reliable(), pending_max)));
        }
        if hello.features & feature::CREDIT != 0 {
            let totals = hello.limits.as_ref().map_or(&[][..], |limits| &limits.lane_credit);
            conn.outbox.set_credit(totals);
            conn.keeps_credit = true;
        }
        conn.takes_batches = conn.datagrams.is_none() && conn.line.is_none();
        self.sessions_made += 1;
        self.counters.welcomed += 1;
        let session = self.sessions_made << 8 | u32::from(self.mesh.shard());
        conn.number = session;
        conn.node_id = hello.node_id.as_slice().try_into().unwrap_or_default();
        self.enter_node(key, hello.epoch);
        self.make_lasting(key, hello);
        let mut welcome = self.welcome(hello, session, false);
        if self.conns.at(key).is_some_and(|conn| conn.datagrams.is_some()) {
            welcome.features &= !feature::RESUME;
            // What lanes promise is kept on both sides of such a session.
            welcome.lanes = self.settings.lanes.iter().map(|(number, lane)| LaneOffer::new(number, lane)).collect();
        }
        self.push_control_bytes(key, &Control::new(Body::Welcome(welcome)).to_frame());
        self.introduce_peer(key, hello);
        self.arm_timer(key);
        Ok(())
    }

    /// What a client is told of its session.
    pub(super) fn welcome(&self, hello: &Hello, session: u32, resumed: bool) -> Welcome {
        let limits = &self.settings.limits;
        let resume = if limits.resume_grace_ms > 0 { feature::RESUME } else { 0 };
        Welcome {
            version: u32::from(WIRE_VERSION),
            session,
            epoch: self.identity.epoch,
            nonce: hello.nonce,
            node_id: self.identity.node_id.to_vec(),
            limits: Some(Limits {
                max_frame: FRAME_BYTES_MAX as u32,
                max_message: limits.message_bytes_max,
                frag_size: FRAGMENT_BYTES_STREAM as u32,
                max_topics: limits.session_topics_max,
                max_subs: limits.session_subscriptions_max,
                resume_grace_ms: limits.resume_grace_ms,
                lane_credit: lane_credit(hello, limits.lane_credit_bytes),
                ..Limits::default()
            }),
            clock_ns: self.now().0,
            resumed,
            network_id: self.settings.network_id.clone(),
            features: feature::BATCH | feature::FRAGMENTS | feature::CREDIT | feature::CONFIRM | resume,
            ..Welcome::default()
        }
    }

    fn reject(&mut self, key: Key, refusal: Refusal) {
        self.counters.rejected += 1;
        let version = u32::from(WIRE_VERSION);
        let retry_after_ms = if refusal.code == CloseCode::Limit { RETRY_AFTER_MS } else { 0 };
        let reject = Reject {
            code: refusal.code.number(),
            reason: refusal.reason.into(),
            version_min: version,
            version_max: version,
            retry_after_ms,
        };
        self.begin_close(key, CloseReason::Ours(refusal.code), Some(Control::new(Body::Reject(reject))));
    }

    fn on_declare(&mut self, key: Key, id: u32, declare: &DeclareTopics) -> Result<(), PeerFault> {
        for declared in &declare.topics {
            let Some(conn) = self.conns.at_mut(key) else { return Ok(()) };
            if let Err(error) = topic::check_publish(&declared.name) {
                self.answer(key, id, CloseCode::Forbidden, error.text());
                // Frames on this id may follow at once, and would be refused without a reason.
                self.say_goodbye(key, CloseCode::Forbidden, error.text());
                return Ok(());
            }
            let Some(index) = self.intern.intern(&declared.name) else {
                let text = "the broker knows as many topics as it may; raise limits.topics_max";
                self.answer(key, id, CloseCode::Limit, text);
                self.say_goodbye(key, CloseCode::Limit, text);
                return Ok(());
            };
            if !conn.topics.bind(declared.id, index, self.settings.limits.session_topics_max) {
                return Err(PeerFault::TopicIdInvalid);
            }
        }
        self.answer(key, id, CloseCode::Normal, "");
        Ok(())
    }

    fn on_subscribe(&mut self, key: Key, id: u32, subscribe: &Subscribe) {
        let subscriptions_max = self.settings.limits.session_subscriptions_max as usize;
        if let Err((code, text)) = subscribe.subs.iter().try_for_each(check_sub) {
            self.answer(key, id, code, text);
            return;
        }
        let Some(conn) = self.conns.at_mut(key) else { return };
        let repeated = conn.lasting.as_mut().is_some_and(|lasting| lasting.is_repeated(id));
        if !repeated && conn.filters.len() + subscribe.subs.len() > subscriptions_max {
            let text = "too many subscriptions; use wildcards, or raise limits.session_subscriptions_max";
            self.answer(key, id, CloseCode::Limit, text);
            return;
        }
        self.ticket_last += 1;
        let ticket = self.ticket_last;
        let mut left = 0;
        let mut retained = Vec::new();
        let subscriber = Subscriber::Local(key.slot);
        for sub in &subscribe.subs {
            let filter: Arc<str> = sub.pattern.as_str().into();
            if repeated && self.conns.at(key).is_some_and(|conn| conn.filters.contains(&filter)) {
                continue;
            }
            let is_new = if sub.retained {
                retained.push(Arc::clone(&filter));
                self.router.subscribe_later(&filter, subscriber, options_of(sub))
            } else {
                self.router.subscribe(&filter, subscriber, options_of(sub))
            };
            if is_new {
                left += self.tell_interest(&filter, true, ticket);
                if let Some(conn) = self.conns.at_mut(key) {
                    conn.filters.push(filter);
                }
            }
        }
        if left == 0 && (repeated || !retained.is_empty()) {
            // Its first request may be under way still.
            // Every value that any shard accepted before now is in this shard's store when all have answered.
            for shard in self.mesh.others() {
                self.mesh.post(shard, Envelope::Ask { ticket });
                left += 1;
            }
        }
        let ticket_in_full = Ticket { key, id, left, retained };
        if left == 0 {
            self.on_known_everywhere(ticket_in_full);
        } else {
            self.tickets.insert(ticket, ticket_in_full);
        }
    }

    /// The whole broker knows the filters.
    fn on_known_everywhere(&mut self, ticket: Ticket) {
        let Ticket { key, id, retained, .. } = ticket;
        self.answer(key, id, CloseCode::Normal, "");
        if !retained.is_empty() {
            self.begin_replay(key, retained);
        }
    }

    fn on_unsubscribe(&mut self, key: Key, id: u32, unsubscribe: &Unsubscribe) {
        for pattern in &unsubscribe.patterns {
            let Some(conn) = self.conns.at_mut(key) else { return };
            let Some(place) = conn.filters.iter().position(|filter| **filter == **pattern) else {
                self.answer(key, id, CloseCode::Forbidden, "there is no subscription to that filter");
                return;
            };
            let filter = conn.filters.swap_remove(place);
            self.router.unsubscribe(&filter, Subscriber::Local(key.slot));
            self.tell_interest(&filter, false, 0);
        }
        self.answer(key, id, CloseCode::Normal, "");
    }

    /// Tells every other shard of a subscription; returns how many will confirm it.
    pub(super) fn tell_interest(&mut self, filter: &Arc<str>, add: bool, ticket: u64) -> u32 {
        let mut told = 0;
        for shard in self.mesh.others() {
            self.mesh.post(shard, Envelope::Interest { filter: Arc::clone(filter), add, ticket });
            told += 1;
        }
        told
    }

    pub(super) fn on_interest_done(&mut self, number: u64) {
        let Some(ticket) = self.tickets.get_mut(&number) else { return };
        ticket.left -= 1;
        if ticket.left == 0
            && let Some(ticket) = self.tickets.remove(&number)
        {
            self.on_known_everywhere(ticket);
        }
    }
}

/// Whether a HELLO is accepted.
fn judge(hello: &Hello, settings: &crate::config::Settings, conn: &crate::conn::Conn) -> Result<(), Refusal> {
    let offer = Offer {
        version_min: hello.version_min,
        version_max: hello.version_max,
        network_id: &hello.network_id,
        node_id_bytes: hello.node_id.len(),
        metadata_bytes: hello.metadata_bytes(),
    };
    offer.check(&settings.network_id)?;
    access::admit(&settings.peers, &conn.address, &hello.node_id)?;
    hello.will.as_ref().map_or(Ok(()), check_will)?;
    let needed = feature::BATCH | feature::FRAGMENTS;
    if hello.features & needed != needed {
        let reason = "the client does not understand batches and fragments; use a client of this version";
        return Err(Refusal { code: CloseCode::Version, reason });
    }
    match conn.refused {
        Some(code) => Err(Refusal { code, reason: "the broker has as many connections as it may; try again later" }),
        None => Ok(()),
    }
}

/// Whether a will can be published when its time comes.
fn check_will(will: &Will) -> Result<(), Refusal> {
    topic::check_publish(&will.topic).map_err(|error| Refusal { code: CloseCode::Forbidden, reason: error.text() })?;
    if will.lane == 0 || will.lane as usize >= LANES_MAX {
        return Err(Refusal { code: CloseCode::Forbidden, reason: "the will is on no lane for messages; use 1 to 15" });
    }
    if will.payload.len() > WILL_BYTES_MAX {
        return Err(Refusal { code: CloseCode::Limit, reason: "the will has more than 16384 bytes" });
    }
    Ok(())
}

fn check_sub(sub: &Sub) -> Result<(), (CloseCode, &'static str)> {
    topic::check_filter(&sub.pattern).map_err(|error| (CloseCode::Forbidden, error.text()))?;
    if !sub.queue_group.is_empty() {
        let text = "this broker knows no queue groups yet; leave them out";
        return Err((CloseCode::UnsupportedKind, text));
    }
    if sub.policy != 0 && Policy::from_number(sub.policy).is_none() {
        return Err((CloseCode::Forbidden, "no such policy; use 1 block to 5 disconnect, or 0 for the lane's own"));
    }
    if sub.lane_plus_one == 1 || sub.lane_plus_one as usize > LANES_MAX {
        return Err((CloseCode::Forbidden, "no such lane for messages; use 1 to 15"));
    }
    Ok(())
}

/// How a checked subscription wants to be served.
fn options_of(sub: &Sub) -> SubOptions {
    SubOptions {
        no_echo: sub.no_echo,
        lane: sub.lane_plus_one.checked_sub(1).map(|lane| lane as u8),
        policy: Policy::from_number(sub.policy),
        queue_bytes: sub.queue_bytes,
        ttl_ms: sub.ttl_ms,
        max_rate_hz: sub.max_rate_hz,
    }
}

/// What a publisher may send on each lane at first, if it keeps to that.
fn lane_credit(hello: &Hello, bytes: u32) -> Vec<u64> {
    if hello.features & feature::CREDIT == 0 {
        return Vec::new();
    }
    std::iter::once(0).chain([u64::from(bytes); LANES_MAX - 1]).collect()
}
