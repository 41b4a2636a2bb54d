//! The owner's side: a client, for which this is its broker, or a broker, for which this is one of its clients.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::Setup;
use crate::control::{Body, Control, Hello, Limits, Sub, Subscribe, Welcome};
use crate::error::CloseCode;
use crate::limits::{FRAGMENT_BYTES_STREAM, FRAME_BYTES_MAX, WIRE_VERSION};
use crate::session::handshake::{PREFACE, feature};

/// Who the owner is.
#[derive(Debug)]
pub(super) enum Owner {
    /// A client; what it has subscribed to.
    Client { filters: Vec<String> },
    /// A broker; what of it goes out.
    Broker { out: Vec<String> },
}

/// What a control message of the owner asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing more.
    Nothing,
    /// Topics by their numbers.
    Topics(Vec<(u32, String)>),
    /// These filters are what is wanted from now on.
    Filters(Vec<String>),
    /// The owner has said its last word.
    End,
}

impl Owner {
    /// A broker's link begins by asking to be let in.
    pub(super) fn begin(&self, setup: &Setup, up: &mut Vec<u8>) {
        if let Self::Broker { .. } = self {
            up.extend_from_slice(&PREFACE);
            let hello = Hello {
                version_min: u32::from(WIRE_VERSION),
                version_max: u32::from(WIRE_VERSION),
                node_id: setup.node_id.to_vec(),
                epoch: u64::from(setup.epoch),
                features: feature::BATCH | feature::FRAGMENTS,
                ..Hello::default()
            };
            Control::new(Body::Hello(hello)).append_frame(up);
        }
    }

    /// A control message of the owner; answers go to `up`.
    pub(super) fn on_control(&mut self, setup: &Setup, message: Control, up: &mut Vec<u8>) -> Asked {
        let mut answer = |code: CloseCode, text: &str| {
            if message.id != 0 {
                Control::answer(message.id, code, text).append_frame(up);
            }
        };
        let Some(body) = message.body else { return Asked::Nothing };
        match (self, body) {
            (_, Body::DeclareTopics(declared)) => {
                answer(CloseCode::Normal, "");
                Asked::Topics(declared.topics.into_iter().map(|topic| (topic.id, topic.name)).collect())
            }
            (_, Body::Goodbye(_) | Body::Reject(_)) => Asked::End,
            (Self::Broker { out }, Body::Welcome(_)) => {
                let subs = out.iter().map(|pattern| Sub { pattern: pattern.clone(), no_echo: true, ..Sub::default() });
                let subscribe = Subscribe { subs: subs.collect() };
                if !subscribe.subs.is_empty() {
                    Control::new(Body::Subscribe(subscribe)).append_frame(up);
                }
                Asked::Nothing
            }
            (Self::Client { .. }, Body::Hello(hello)) => {
                up.extend_from_slice(&PREFACE);
                Control::new(Body::Welcome(welcome(setup, &hello))).append_frame(up);
                Asked::Nothing
            }
            (Self::Client { filters }, Body::Subscribe(subscribe)) => {
                if subscribe.subs.iter().any(|sub| !sub.queue_group.is_empty()) {
                    answer(CloseCode::UnsupportedKind, "a broadcast goes to all; leave the queue group out");
                    return Asked::Nothing;
                }
                for sub in subscribe.subs {
                    if !filters.contains(&sub.pattern) {
                        filters.push(sub.pattern);
                    }
                }
                answer(CloseCode::Normal, "");
                Asked::Filters(filters.clone())
            }
            (Self::Client { filters }, Body::Unsubscribe(unsubscribe)) => {
                filters.retain(|filter| !unsubscribe.patterns.contains(filter));
                answer(CloseCode::Normal, "");
                Asked::Filters(filters.clone())
            }
            (Self::Client { .. }, Body::PeerUpdate(_)) => {
                answer(CloseCode::Normal, "");
                Asked::Nothing
            }
            (Self::Client { .. }, Body::StatsRequest(_) | Body::Resume(_) | Body::Welcome(_) | Body::Stats(_)) => {
                answer(CloseCode::UnsupportedKind, "nobody is asked here: this link has no broker");
                Asked::Nothing
            }
            (
                Self::Broker { .. },
                Body::Hello(_)
                | Body::Subscribe(_)
                | Body::Unsubscribe(_)
                | Body::PeerUpdate(_)
                | Body::StatsRequest(_)
                | Body::Resume(_)
                | Body::Stats(_),
            )
            | (_, Body::Result(_)) => Asked::Nothing,
        }
    }
}

/// What a client is told: no credit, no confirmations and no resuming, since nobody answers.
fn welcome(setup: &Setup, hello: &Hello) -> Welcome {
    Welcome {
        version: u32::from(WIRE_VERSION),
        session: setup.sender,
        epoch: u64::from(setup.epoch),
        nonce: hello.nonce,
        node_id: setup.node_id.to_vec(),
        limits: Some(Limits {
            max_frame: FRAME_BYTES_MAX as u32,
            frag_size: FRAGMENT_BYTES_STREAM as u32,
            ..Limits::default()
        }),
        network_id: hello.network_id.to_string(),
        features: feature::BATCH | feature::FRAGMENTS,
        ..Welcome::default()
    }
}
