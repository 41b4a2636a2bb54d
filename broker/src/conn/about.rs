//! What a session says of itself: what others are told of it, and what is published when it ends.

use std::collections::BTreeMap;

use laneway_proto::control::{Hello, PeerUpdate, Will};
use laneway_proto::time::Duration;

/// The shortest silence after which a peer counts as dead, in milliseconds: shorter ones would be asked after in every turn.
const DEAD_AFTER_MS_MIN: u32 = 100;

/// What a session says of itself.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct About {
    /// Its number among the peers that others are told of; `None`: they are not told.
    pub number: Option<u32>,
    /// What it is.
    pub roles: Vec<String>,
    /// What it tells of itself.
    pub metadata: BTreeMap<String, String>,
    /// Of the last update; 0: as HELLO said.
    pub version: u64,
    /// To be published unless the client says GOODBYE.
    pub will: Option<Will>,
    /// The client said GOODBYE.
    pub said_goodbye: bool,
    /// Others were told that it is gone.
    pub is_down: bool,
    /// Silence after which the client takes itself for dead; zero: it may be silent for ever.
    pub dead_after: Duration,
    /// It was asked whether it is there, and has not been heard since.
    pub asked: bool,
}

impl About {
    /// As HELLO says.
    pub fn new(hello: &Hello) -> Self {
        let dead_after_ms = hello.limits.as_ref().map_or(0, |limits| limits.dead_after_ms);
        Self {
            roles: hello.roles.clone(),
            metadata: hello.metadata.clone(),
            will: hello.will.clone(),
            dead_after: match dead_after_ms {
                0 => Duration::default(),
                said => Duration::from_millis(said.max(DEAD_AFTER_MS_MIN)),
            },
            ..Self::default()
        }
    }

    /// It tells something else from now on. False if that is older than what is known.
    pub fn update(&mut self, update: PeerUpdate) -> bool {
        if update.version <= self.version {
            return false;
        }
        let PeerUpdate { version, roles, metadata } = update;
        (self.version, self.roles, self.metadata) = (version, roles, metadata);
        true
    }
}
