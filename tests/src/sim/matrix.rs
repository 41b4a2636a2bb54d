//! The matrix of streams: what may go wrong with a stream, by the lane its messages travel on, by what a full queue does.
//!
//! Every cell is a small system, judged by the same oracle as every other run; a cell names the promise that broke.

use std::fmt;

use laneway_broker::counters::CloseReason;
use laneway_proto::error::CloseCode;
use laneway_proto::lane::kind::LaneKind;
use laneway_proto::lane::policy::Policy;
use laneway_proto::lane::table::LaneTable;
use laneway_proto::time::Duration;

use super::faults::NetworkConfig;
use super::rng::Rng;
use super::story::{Story, pause_ms, subscribe};
use super::system::Failure;
use super::workload::{Leave, PeerPlan, Step};

/// What goes wrong with streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Reads and writes of 1 to 1,000 bytes.
    ShortIo,
    /// Links break, at any byte.
    Reset,
    /// Hosts vanish, and links are silent for up to half a minute.
    HalfOpen,
    /// One of the subscribers reads 10,000 bytes a second.
    SlowReader,
    /// Everybody dials at once, and few are let in at a time.
    Dials,
    /// Descriptors and buffers run out.
    Descriptors,
}

impl Trouble {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("short I/O", Self::ShortIo),
        ("reset", Self::Reset),
        ("half-open", Self::HalfOpen),
        ("slow reader", Self::SlowReader),
        ("dials", Self::Dials),
        ("descriptors", Self::Descriptors),
    ];
}

/// One cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// What goes wrong.
    pub trouble: Trouble,
    /// The lane: one of each kind.
    pub lane: u8,
    /// What a full queue does.
    pub policy: Policy,
}

/// What cells came to, added up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum {
    /// Runs.
    pub runs: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Messages reported as lost.
    pub lost: u64,
    /// Readers that were sent away because they did not keep up.
    pub sent_away: u64,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, lane {}, {}", self.trouble, self.lane, self.policy.name())
    }
}

/// The lanes, one of each kind.
pub const LANES: [u8; 4] = [1, 2, 3, 4];

/// The name of a lane's kind.
pub fn kind_name(lane: u8) -> &'static str {
    match LaneTable::STANDARD.get(lane).map(|spec| spec.kind) {
        Some(LaneKind::RO) => "RO",
        Some(LaneKind::RU) => "RU",
        Some(LaneKind::US) => "US",
        Some(LaneKind::UU) => "UU",
        None => "?",
    }
}

/// Every cell.
pub fn all() -> Vec<Cell> {
    let lanes = |trouble| LANES.into_iter().map(move |lane| (trouble, lane));
    let cells = Trouble::ALL.into_iter().flat_map(|(_, trouble)| lanes(trouble));
    cells
        .flat_map(|(trouble, lane)| Policy::ALL.into_iter().map(move |policy| Cell { trouble, lane, policy }))
        .collect()
}

/// A quarter of them, in which every two values of different columns meet.
pub fn cover() -> Vec<Cell> {
    let place = |cell: &Cell| {
        let trouble = Trouble::ALL.iter().position(|(_, trouble)| *trouble == cell.trouble);
        let policy = Policy::ALL.iter().position(|policy| *policy == cell.policy);
        trouble.unwrap_or(0) + usize::from(cell.lane) + policy.unwrap_or(0)
    };
    all().into_iter().filter(|cell| place(cell) % LANES.len() == 0).collect()
}

impl Cell {
    /// Plays it with a seed.
    pub fn play(&self, seed: u64) -> Result<Sum, Failure> {
        let mut system = self.story(seed).begin();
        system.play()?;
        let away = CloseReason::Ours(CloseCode::SlowConsumer);
        let count = |of: fn(&laneway_broker::counters::Counters) -> u64| -> u64 {
            system.shards().iter().map(|shard| of(shard.counters())).sum()
        };
        let lost = count(|counters| counters.dropped.iter().flatten().sum());
        let sent_away = system.shards().iter().map(|shard| shard.counters().closed_for(away)).sum();
        if self.policy.loss_reason().is_none() && self.lane <= 2 && lost > 0 {
            return Err(Failure::Promise(format!("{lost} messages were dropped")));
        }
        Ok(Sum { runs: 1, delivered: system.oracle().delivered(), lost, sent_away })
    }

    /// Three subscribers with the policy, two of them with sessions that last, and two publishers of a topic each.
    fn story(&self, seed: u64) -> Story {
        let mut rng = Rng::new(seed, 7);
        let mut story = Story::new(1 + (seed % 3) as u8);
        story.seed = seed;
        story.network = self.network(&mut rng);
        let limits = &mut story.workload.settings.limits;
        limits.outbox_bytes_max = 64 * 1024;
        limits.block_ms_max = 2_000;
        limits.resume_grace_ms = *rng.pick(&[500, 10_000]);
        let reader = || [subscribe("a/#"), vec![pause_ms(2_000)]].concat();
        for number in 0..3 {
            story = story.library(reader()).who(|who| {
                who.policy = Some(self.policy);
                who.resume = number > 0;
                self.trouble_reader(number, who);
            });
        }
        for topic in ["a/b", "a/c"] {
            let lens = |rng: &mut Rng, bound: u64| (0..60).map(|_| rng.between(16, bound) as usize).collect();
            let burst = |lens| Step::Publish { topic, lane: self.lane, lens, batch: false };
            let mut steps = vec![pause_ms(100)];
            for bound in [100, 1_500, 6_000] {
                steps.extend([burst(lens(&mut rng, bound)), pause_ms(30), Step::Ping]);
            }
            if self.trouble == Trouble::HalfOpen && topic == "a/c" {
                steps.extend([Step::Leave(Leave::Vanish), burst(lens(&mut rng, 100))]);
            }
            steps.extend([Step::Ping, Step::Settle]);
            let lasts = rng.chance(500);
            story = story.library(steps).who(|who| who.resume = lasts);
        }
        if self.trouble == Trouble::Dials {
            for _ in 0..60 {
                story = story.client(vec![Step::Publish { topic: "z", lane: self.lane, lens: vec![20], batch: false }]);
            }
        }
        story
    }

    fn trouble_reader(&self, number: u32, who: &mut PeerPlan) {
        if self.trouble == Trouble::SlowReader && number == 1 {
            (who.read_bytes_max, who.read_pause) = (1_000, Duration::from_millis(100));
        }
    }

    fn network(&self, rng: &mut Rng) -> NetworkConfig {
        let calm = NetworkConfig { latency_us_max: *rng.pick(&[100, 2_000]), ..NetworkConfig::calm() };
        match self.trouble {
            Trouble::ShortIo => NetworkConfig {
                capacity_bytes_min: 500,
                capacity_bytes_max: 5_000,
                receive_bytes_max: rng.between(1, 1_000),
                receive_one_byte_permille: 100,
                short_send_permille: 500,
                ..calm
            },
            Trouble::Reset => {
                let bytes = *rng.pick(&[200, 3_000, 60_000]);
                NetworkConfig { reset_permille: 600, reset_after_bytes_max: bytes, ..calm }
            }
            Trouble::HalfOpen => {
                NetworkConfig { partition_per_10k: 100, partition_ms_max: 30_000, slow_pair_permille: 200, ..calm }
            }
            Trouble::SlowReader => NetworkConfig { capacity_bytes_min: 4_096, capacity_bytes_max: 8_192, ..calm },
            Trouble::Dials => NetworkConfig { backlog_max: 2, refuse_permille: 100, hang_permille: 50, ..calm },
            Trouble::Descriptors => NetworkConfig {
                descriptors_max: rng.between(3, 6) as u32,
                no_descriptor_permille: 200,
                no_buffers_permille: 100,
                ..calm
            },
        }
    }
}

/// The table: a row for each trouble and kind, a column for each policy. `of` says what a cell came to.
pub fn table(of: impl Fn(&Cell) -> String) -> String {
    let mut text = format!("{:<18}", "");
    for policy in Policy::ALL {
        text += &format!(" | {:^20}", policy.name());
    }
    for (name, trouble) in Trouble::ALL {
        for lane in LANES {
            text += &format!("\n{name:<15} {}", kind_name(lane));
            for policy in Policy::ALL {
                text += &format!(" | {:^20}", of(&Cell { trouble, lane, policy }));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_cover_every_two_values_meet() {
        let cover = cover();
        assert_eq!((all().len(), cover.len()), (120, 30));
        for cell in all() {
            assert!(cover.iter().any(|one| (one.trouble, one.lane) == (cell.trouble, cell.lane)));
            assert!(cover.iter().any(|one| (one.trouble, one.policy) == (cell.trouble, cell.policy)));
            assert!(cover.iter().any(|one| (one.lane, one.policy) == (cell.lane, cell.policy)));
        }
    }
}
