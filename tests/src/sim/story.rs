//! Scripted runs: named clients in a chosen network, for tests of one property each.

use laneway_broker::config::Settings;
use laneway_proto::limits::LANE_CREDIT_BYTES_DEFAULT;
use laneway_proto::time::Duration;

use super::crime::Crime;
use super::faults::NetworkConfig;
use super::system::{Failure, System};
use super::workload::{Conduct, PeerPlan, Step, Workload};

/// A run to be scripted.
#[derive(Clone, Debug)]
pub struct Story {
    /// The seed of what stays random.
    pub seed: u64,
    /// The network.
    pub network: NetworkConfig,
    /// The broker and the clients.
    pub workload: Workload,
}

impl Story {
    /// A calm network, a broker of `shards` shards with its defaults, and nobody there yet.
    pub fn new(shards: u8) -> Self {
        let workload = Workload { shards, settings: Settings::default(), peers: Vec::new(), shut_down_after: None };
        Self { seed: 1, network: NetworkConfig::calm(), workload }
    }

    /// A client that keeps the rules.
    #[must_use]
    pub fn client(mut self, steps: Vec<Step>) -> Self {
        self.workload.peers.push(plan(Conduct::Good(steps)));
        self
    }

    /// The same, through the client library.
    #[must_use]
    pub fn library(mut self, steps: Vec<Step>) -> Self {
        self.workload.peers.push(PeerPlan { library: true, ..plan(Conduct::Good(steps)) });
        self
    }

    /// A client that breaks one.
    #[must_use]
    pub fn criminal(mut self, crime: Crime) -> Self {
        self.workload.peers.push(plan(Conduct::Bad(crime)));
        self
    }

    /// Two of five connections break after exactly `bytes`, which is the seed, too.
    #[must_use]
    pub const fn broken_after(mut self, bytes: u64) -> Self {
        self.seed = bytes;
        self.network.reset_permille = 400;
        self.network.reset_after_bytes_min = bytes;
        self.network.reset_after_bytes_max = bytes;
        self
    }

    /// Changes the client that was added last.
    #[must_use]
    pub fn who(mut self, change: impl FnOnce(&mut PeerPlan)) -> Self {
        change(self.workload.peers.last_mut().expect("a client was added"));
        self
    }

    /// The system before its first turn.
    pub fn begin(self) -> System {
        System::new(self.seed, self.network, self.workload, false)
    }

    /// The whole run.
    pub fn play(self) -> Result<System, Failure> {
        let mut system = self.begin();
        system.play()?;
        Ok(system)
    }
}

fn plan(conduct: Conduct) -> PeerPlan {
    PeerPlan {
        conduct,
        library: false,
        start_after: Duration::ZERO,
        no_echo: false,
        read_bytes_max: 64 * 1024,
        read_pause: Duration::ZERO,
        write_bytes_max: 64 * 1024,
        take_pause: Duration::ZERO,
        lane_credit_bytes: LANE_CREDIT_BYTES_DEFAULT,
        resume: false,
        policy: None,
    }
}

/// Waits for a while.
pub const fn pause_ms(ms: u32) -> Step {
    Step::Pause(Duration::from_millis(ms))
}

/// Asks for one filter, and waits until it is in effect.
pub fn subscribe(filter: &str) -> Vec<Step> {
    vec![Step::Subscribe(vec![filter.to_owned()]), Step::Settle]
}

/// The same, and wants to know of each that so many sessions have received it; 0: that the broker has it.
pub fn confirm(topic: &'static str, lane: u8, count: usize, len: usize, receivers: u16) -> Step {
    Step::Confirm { topic, lane, lens: vec![len; count], receivers }
}

/// Publishes `count` messages of `len` bytes on lane 1.
pub fn publish(topic: &'static str, count: usize, len: usize) -> Step {
    Step::Publish { topic, lane: 1, lens: vec![len; count], batch: false }
}
