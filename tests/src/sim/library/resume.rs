//! A client whose session outlives its links: it dials again, and goes on where it stood.

use laneway_broker::io::{ListenerId, PeerAddress};
use laneway_client::core::{Core, Event, Terms, Transmit};
use laneway_proto::error::CloseCode;
use laneway_proto::time::{Duration, Instant};

use super::{Call, LibraryPeer};
use crate::sim::client::{DIAL_PATIENCE, DIALS_MAX, REDIAL_PAUSE};
use crate::sim::net::LinkId;
use crate::sim::oracle::Oracle;
use crate::sim::world::{ClientRead, World};

/// A new link for a session that has none.
#[derive(Debug)]
pub(super) struct Attempt {
    link: LinkId,
    core: Core,
    transmit: Transmit,
    since: Instant,
}

impl Attempt {
    /// Says what there is to say.
    pub(super) fn write(&mut self, world: &mut World, bytes_max: usize) {
        super::write_all(world, self.link, &mut self.core, &mut self.transmit, bytes_max);
    }

    /// When its patience is over.
    pub(super) fn until(&self) -> Instant {
        self.since + DIAL_PATIENCE
    }
}

/// What an attempt came to.
enum Outcome {
    Waits,
    Failed,
    Blamed(String),
    Agreed(Box<Terms>),
}

impl LibraryPeer {
    /// The link broke. True if the session waits for another.
    pub(super) fn survive(&mut self, now: Instant, oracle: &mut Oracle) -> bool {
        let Some(call) = &mut self.call else { return false };
        if !self.plan.resume || call.leaving || !call.welcomed || call.core.offer().is_none() || self.retired {
            return false;
        }
        call.lost = true;
        let mut world = self.world.borrow_mut();
        world.client_close(call.link);
        world.marks.hit("link_lost_in_a_session");
        drop(world);
        call.sessions().for_each(|session| oracle.cut(session));
        self.rests_until = now + Duration(REDIAL_PAUSE.0 / 30);
        true
    }

    /// Whether the session has no link.
    pub(super) fn is_lost(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.lost)
    }

    /// Finds the session another link, a step at a time.
    pub(super) fn seek(&mut self, now: Instant, oracle: &mut Oracle) {
        if !self.is_lost() {
            return;
        }
        if self.retired || self.dials >= DIALS_MAX && self.attempt.is_none() {
            self.give_up(now, oracle);
            return;
        }
        if self.attempt.is_none() && now >= self.rests_until {
            self.dial_again(now);
        }
        match self.hear_attempt(now) {
            Outcome::Waits => {}
            Outcome::Blamed(reason) => oracle.broke(format!("client {} may not resume: {reason}", self.id)),
            Outcome::Failed => {
                self.drop_attempt();
                self.rests_until = now + REDIAL_PAUSE;
            }
            Outcome::Agreed(terms) if terms.resumed => self.go_on(now, *terms, oracle),
            Outcome::Agreed(_) => {
                let mut world = self.world.borrow_mut();
                world.marks.hit("session_not_resumed");
                // Nobody has a use for the session that it is given instead.
                if let Some(attempt) = &mut self.attempt {
                    attempt.core.close();
                    attempt.write(&mut world, usize::MAX);
                }
                drop(world);
                self.give_up(now, oracle);
            }
        }
    }

    fn dial_again(&mut self, now: Instant) {
        self.dials += 1;
        let Some(call) = &self.call else { return };
        let options = laneway_client::core::CoreOptions {
            identity: laneway_client::core::Identity { nonce: u64::from(self.dials), ..call.options.identity },
            session: call.core.offer(),
            ..call.options.clone()
        };
        let address = PeerAddress::Unix { uid: 1_000, pid: self.id as i32 + 1 };
        let link = self.world.borrow_mut().dial(self.id, 0, ListenerId(0), address);
        let core = Core::new(now, &options);
        self.attempt = Some(Attempt { link, core, transmit: Transmit::default(), since: now });
    }

    fn hear_attempt(&mut self, now: Instant) -> Outcome {
        let Some(attempt) = &mut self.attempt else { return Outcome::Waits };
        let mut bytes = vec![0; self.plan.read_bytes_max];
        loop {
            while let Some(event) = attempt.core.poll_event(now) {
                match event {
                    Event::Welcomed(terms) => return Outcome::Agreed(terms),
                    Event::Goodbye(reason) if reason.code() == Some(CloseCode::OutOfTurn) => {
                        return Outcome::Blamed(reason.to_string());
                    }
                    Event::Rejected { .. } | Event::Goodbye(_) => return Outcome::Failed,
                    // Nothing else comes before the session goes on.
                    Event::Subscribed(_)
                    | Event::SubscribeRefused(..)
                    | Event::Messages(_)
                    | Event::Pinged(_)
                    | Event::Pong { .. }
                    | Event::Answered(..)
                    | Event::Confirm(_)
                    | Event::Counted(_)
                    | Event::Credit(_)
                    | Event::Settled(..)
                    | Event::Overtaken => {}
                }
            }
            let read = self.world.borrow_mut().client_read(attempt.link, &mut bytes);
            match read {
                ClientRead::Bytes(count) if attempt.core.on_bytes(now, &bytes[..count]).is_ok() => {}
                ClientRead::Nothing if now < attempt.until() => return Outcome::Waits,
                ClientRead::Bytes(_) | ClientRead::Nothing | ClientRead::Ended(_) => return Outcome::Failed,
            }
        }
    }

    fn go_on(&mut self, now: Instant, terms: Terms, oracle: &mut Oracle) {
        let (Some(call), Some(attempt)) = (&mut self.call, self.attempt.take()) else { return };
        self.world.borrow_mut().marks.hit("session_resumed");
        let unsent = std::mem::take(&mut call.transmit);
        if let Err(fault) = call.core.adopt(now, unsent, attempt.core, terms) {
            oracle.broke(format!("client {}'s library blames the broker that resumes: {fault}", self.id));
        }
        (call.link, call.lost) = (attempt.link, false);
        // Nobody answers what was asked on the old link.
        if let Some(mark) = std::mem::take(&mut call.pings).into_values().max() {
            let token = call.core.ping(now);
            call.pings.insert(token, mark);
        }
        self.dials = self.dials.min(1);
        self.take_events(now, oracle);
    }

    /// The session is over for its client.
    pub(super) fn give_up(&mut self, now: Instant, oracle: &mut Oracle) {
        self.drop_attempt();
        let Some(mut call) = self.call.take() else { return };
        call.take(usize::MAX, oracle);
        call.sessions().for_each(|session| oracle.end(session));
        self.rests_until = self.rests_until.max(now + REDIAL_PAUSE);
    }

    fn drop_attempt(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.world.borrow_mut().client_close(attempt.link);
        }
    }
}

impl Call {
    /// What the oracle knows it as.
    pub(super) fn sessions(&self) -> impl Iterator<Item = crate::sim::oracle::SessionId> {
        self.subscriptions.iter().map(|subscribed| subscribed.session).chain([self.session])
    }
}
