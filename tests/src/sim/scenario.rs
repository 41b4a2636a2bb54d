//! Named scenarios: one family of faults at a time, or all of them by seed.

use super::faults::NetworkConfig;
use super::rng::{Rng, Streams};
use super::workload::{Wishes, Workload};

/// What may go wrong in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scenario {
    /// Whatever the seed draws.
    Any,
    /// Nothing.
    Calm,
    /// Dials are refused, hang, or find no descriptor.
    Connect,
    /// Bytes come and go in small pieces.
    Partial,
    /// Connections break at any byte.
    Reset,
    /// Readers are slow, and bounds are small.
    SlowReader,
    /// Buffers and descriptors run out.
    Exhaustion,
    /// Clients break every rule.
    BadInput,
    /// Hosts vanish, and links stall.
    Partition,
    /// The broker shuts down in the middle of everything.
    Shutdown,
    /// Everybody is held back, both ways, and bytes come and go in pieces.
    Rates,
}

impl Scenario {
    /// All scenarios with their names.
    pub const ALL: [(&'static str, Self); 11] = [
        ("any", Self::Any),
        ("calm", Self::Calm),
        ("connect", Self::Connect),
        ("partial", Self::Partial),
        ("reset", Self::Reset),
        ("slow_reader", Self::SlowReader),
        ("exhaustion", Self::Exhaustion),
        ("bad_input", Self::BadInput),
        ("partition", Self::Partition),
        ("shutdown", Self::Shutdown),
        ("rates", Self::Rates),
    ];

    /// The scenario of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(other, _)| *other == name).map(|&(_, scenario)| scenario)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|&&(_, other)| other == self).map_or("any", |&(name, _)| name)
    }

    /// Network and workload of a seed.
    pub fn draw(self, seed: u64) -> (NetworkConfig, Workload) {
        let Streams { mut network, mut workload, .. } = Streams::new(seed ^ 0x5EED);
        let config = self.network(&mut network);
        let wishes = self.wishes(&mut workload);
        let mut workload = Workload::draw(&mut workload, &wishes, &config);
        if self == Self::Rates {
            let limits = &mut workload.settings.limits;
            (limits.egress_bytes_per_s, limits.ingress_bytes_per_s) = (150_000, 100_000);
            limits.rate_burst_bytes = 4_096;
        }
        (config, workload)
    }

    fn network(self, rng: &mut Rng) -> NetworkConfig {
        let calm = NetworkConfig::calm();
        match self {
            Self::Any => NetworkConfig::draw(rng),
            Self::Calm | Self::SlowReader | Self::BadInput | Self::Shutdown => calm,
            Self::Connect => NetworkConfig {
                refuse_permille: 200,
                hang_permille: 200,
                no_descriptor_permille: 300,
                accept_restart_permille: 300,
                backlog_max: 2,
                ..calm
            },
            Self::Partial | Self::Rates => NetworkConfig {
                capacity_bytes_min: 1,
                capacity_bytes_max: 900,
                receive_bytes_max: rng.between(1, 100),
                receive_one_byte_permille: 300,
                short_send_permille: 500,
                restart_permille: 100,
                completions_max: 3,
                spurious_permille: 300,
                ..calm
            },
            Self::Reset => {
                NetworkConfig { reset_permille: 700, reset_after_bytes_max: *rng.pick(&[30, 300, 30_000]), ..calm }
            }
            Self::Exhaustion => {
                NetworkConfig { no_buffers_permille: 200, descriptors_max: rng.between(2, 6) as u32, ..calm }
            }
            Self::Partition => NetworkConfig {
                partition_per_10k: 200,
                partition_ms_max: 8_000,
                slow_pair_permille: 300,
                latency_us_max: 1_000,
                ..calm
            },
        }
    }

    fn wishes(self, rng: &mut Rng) -> Wishes {
        let none = Wishes { bad_permille: 0, slow_permille: 0, vanish: false, tight: false, shut_down_permille: 0 };
        match self {
            Self::Any => Wishes::draw(rng),
            Self::Calm | Self::Connect | Self::Partial | Self::Reset | Self::Rates => none,
            Self::SlowReader => Wishes { slow_permille: 500, tight: true, ..none },
            Self::Exhaustion => Wishes { tight: true, ..none },
            Self::BadInput => Wishes { bad_permille: 600, ..none },
            Self::Partition => Wishes { vanish: true, ..none },
            Self::Shutdown => Wishes { slow_permille: 200, shut_down_permille: 1_000, ..none },
        }
    }
}
