//! What clients are going to do, drawn from the seed before anything runs.

use laneway_broker::config::{Limits, Pools, Settings};
use laneway_broker::pool::PoolShape;
use laneway_proto::lane::policy::Policy;
use laneway_proto::limits::LANE_CREDIT_BYTES_DEFAULT;
use laneway_proto::time::Duration;

use super::crime::Crime;
use super::faults::NetworkConfig;
use super::losses::may_lose;
use super::rng::Rng;

/// Topics that clients publish to; some differ in one level only.
const TOPICS: &[&str] = &["a/b", "a/c", "a/b/c", "s/1/x", "s/2/x", "s/2/y", "deep/l1/l2/l3/l4", "a", "/", "ünï/ço"];
/// Filters that clients subscribe to.
const FILTERS: &[&str] =
    &["#", "a/#", "a/+", "a/b", "+/b", "s/+/x", "s/2/#", "deep/#", "deep/+/l2/+/l4", "tiny/#", "+", "ünï/+", "none/x"];

/// How a session ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leave {
    /// It says goodbye and waits for the broker's end.
    Goodbye,
    /// It writes no more and waits for the broker's end.
    Finish,
    /// It closes.
    Close,
    /// It tears the connection down.
    Reset,
    /// It is gone without a sign.
    Vanish,
}

/// One thing a well-behaved client does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Asks for filters.
    Subscribe(Vec<String>),
    /// Asks for filters and the last values of their topics.
    SubscribeRetained(Vec<String>),
    /// Wants no more of them.
    Unsubscribe(Vec<String>),
    /// Waits for every answer it asked for.
    Settle,
    /// Publishes one message after the other, of these lengths; short ones go to a topic of its own.
    Publish {
        /// Where.
        topic: &'static str,
        /// On which lane.
        lane: u8,
        /// Bytes of each message.
        lens: Vec<usize>,
        /// All in one frame.
        batch: bool,
    },
    /// Publishes messages that are to be kept; short ones go to a topic of its own.
    Retain {
        /// Where.
        topic: &'static str,
        /// On which lane.
        lane: u8,
        /// Bytes of each message.
        lens: Vec<usize>,
    },
    /// Publishes messages, and wants to know of each how far it got; of the library only.
    Confirm {
        /// Where.
        topic: &'static str,
        /// On which lane.
        lane: u8,
        /// Bytes of each message.
        lens: Vec<usize>,
        /// Sessions that must have received it; 0: the broker's word is enough.
        receivers: u16,
    },
    /// Asks whether the broker has everything.
    Ping,
    /// Does nothing for a while.
    Pause(Duration),
    /// Ends the session; the next one starts with what follows.
    Leave(Leave),
}

/// How a client behaves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Conduct {
    /// It keeps the rules.
    Good(Vec<Step>),
    /// It breaks one.
    Bad(Crime),
}

/// One client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerPlan {
    /// What it does.
    pub conduct: Conduct,
    /// It speaks through the client library; else by hand.
    pub library: bool,
    /// When it starts.
    pub start_after: Duration,
    /// It does not want its own messages.
    pub no_echo: bool,
    /// Bytes it reads at a time.
    pub read_bytes_max: usize,
    /// How long it rests after reading; zero reads as fast as bytes arrive.
    pub read_pause: Duration,
    /// Bytes it writes at a time.
    pub write_bytes_max: usize,
    /// How long its application rests after taking what there is, up to [`TAKEN_MAX`]; of the library only.
    pub take_pause: Duration,
    /// Bytes of each lane it lets the broker send ahead; of the library only.
    pub lane_credit_bytes: u64,
    /// Its session outlives its links; of the library only.
    pub resume: bool,
    /// What a full queue towards it does; `None`: as its lanes say. Of the library only.
    pub policy: Option<Policy>,
}

/// Messages an application takes before it rests.
pub const TAKEN_MAX: usize = 10;

/// Everything about a run that is not the network's business.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workload {
    /// Shards of the broker.
    pub shards: u8,
    /// What the broker is set to.
    pub settings: Settings,
    /// The clients.
    pub peers: Vec<PeerPlan>,
    /// The broker shuts down in the middle of everything, after this.
    pub shut_down_after: Option<Duration>,
}

/// What a scenario asks of the workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wishes {
    /// Clients that break a rule, per thousand.
    pub bad_permille: u32,
    /// Clients that read slowly, per thousand.
    pub slow_permille: u32,
    /// Whether sessions may end without a sign.
    pub vanish: bool,
    /// Whether the broker's bounds are small.
    pub tight: bool,
    /// Runs in which the broker shuts down in the middle, per thousand.
    pub shut_down_permille: u32,
}

impl Wishes {
    /// The wishes of a seed.
    pub fn draw(rng: &mut Rng) -> Self {
        Self {
            bad_permille: *rng.pick(&[0, 100, 300]),
            slow_permille: *rng.pick(&[0, 150, 400]),
            vanish: rng.chance(300),
            tight: rng.chance(500),
            shut_down_permille: 250,
        }
    }
}

impl Workload {
    /// The workload of a seed.
    pub fn draw(rng: &mut Rng, wishes: &Wishes, network: &NetworkConfig) -> Self {
        let shards = *rng.pick(&[1, 2, 2, 3, 4]);
        let settings = settings(rng, wishes.tight);
        let roomy = network.capacity_bytes_min >= 10_000;
        let large = if roomy { *rng.pick(&[3_000, 40_000, 300_000]) } else { 3_000 };
        let large = large.min(settings.limits.message_bytes_max as usize);
        let count = rng.between(2, 14);
        let peers = (0..count).map(|_| peer(rng, wishes, large)).collect();
        let shut_down_after = rng.chance(wishes.shut_down_permille).then(|| Duration::from_micros(rng.below(200_000)));
        Self { shards, settings, peers, shut_down_after }
    }
}

fn settings(rng: &mut Rng, tight: bool) -> Settings {
    let usual = Settings::default();
    if !tight {
        let shape = PoolShape { ingress_buffers: 8, ingress_buffers_max: 256, ..usual.pools.shape };
        return Settings { pools: Pools { shape, ..usual.pools }, ..usual };
    }
    let connections_max = *rng.pick(&[3, 8, 1_000]);
    let message_bytes_max = *rng.pick(&[3_000, 50_000, 1_048_576]);
    let (outbox_bytes_max, lane_credit_bytes) = *rng.pick(&[(2_000, 8_192), (20_000, 65_536), (65_536, 1_048_576)]);
    Settings {
        limits: Limits {
            connections_max,
            message_bytes_max,
            outbox_bytes_max,
            lane_credit_bytes,
            block_ms_max: *rng.pick(&[20, 500, 5_000]),
            handshake_ms_max: *rng.pick(&[500, 5_000]),
            partial_frame_ms_max: *rng.pick(&[500, 10_000]),
            linger_ms_max: *rng.pick(&[0, 50, 1_000]),
            drain_ms_max: *rng.pick(&[50, 5_000]),
            resume_grace_ms: *rng.pick(&[0, 100, 10_000]),
            resume_bytes_max: *rng.pick(&[65_536, 200_000]),
            resume_sessions_max: *rng.pick(&[0, 1, 100]),
            ..usual.limits
        },
        pools: Pools {
            shape: PoolShape {
                ingress_buffer_bytes: *rng.pick(&[1_024, 4_096, 16_384]),
                ingress_buffers: 4,
                ingress_buffers_max: *rng.pick(&[4, 16, 64]),
                egress_buffer_bytes: *rng.pick(&[1_024, 16_384]),
                egress_buffers_kept: *rng.pick(&[0, 4]),
            },
            copy_below_bytes: *rng.pick(&[0, 100, 1_024, 65_536]),
            mesh_chunks_max: *rng.pick(&[2, 4]),
        },
        ..usual
    }
}

fn peer(rng: &mut Rng, wishes: &Wishes, large: usize) -> PeerPlan {
    let slow = rng.chance(wishes.slow_permille);
    let write_bytes_max = *rng.pick(&[1, 7, 300, 5_000, 64 * 1024, 64 * 1024]);
    // Large messages, byte by byte, would take all the time there is.
    let large = large.min(write_bytes_max * 1_000).min(if write_bytes_max < 1_000 { 3_000 } else { usize::MAX });
    let conduct = if rng.chance(wishes.bad_permille) {
        Conduct::Bad(Crime::draw(rng))
    } else {
        Conduct::Good(steps(rng, wishes, large))
    };
    let library = matches!(conduct, Conduct::Good(_)) && rng.chance(400);
    PeerPlan {
        conduct,
        library,
        start_after: Duration::from_micros(rng.below(50_000)),
        no_echo: rng.chance(200),
        read_bytes_max: if slow { rng.between(1, 2_000) as usize } else { 64 * 1024 },
        read_pause: if slow { Duration::from_micros(rng.between(1_000, 300_000)) } else { Duration::ZERO },
        write_bytes_max,
        take_pause: if rng.chance(wishes.slow_permille) {
            Duration::from_micros(rng.between(1_000, 50_000))
        } else {
            Duration::ZERO
        },
        // The largest frame has to fit.
        lane_credit_bytes: *rng.pick(&[65_535, LANE_CREDIT_BYTES_DEFAULT]),
        resume: library && rng.chance(600),
        policy: None,
    }
}

fn steps(rng: &mut Rng, wishes: &Wishes, large: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for session in 0..rng.between(1, 3) {
        if session > 0 {
            let mut ends = vec![Leave::Goodbye, Leave::Finish, Leave::Close, Leave::Reset];
            if wishes.vanish {
                ends.push(Leave::Vanish);
            }
            steps.push(Step::Leave(*rng.pick(&ends)));
        }
        let (subscribes, publishes) = *rng.pick(&[(true, false), (true, true), (false, true)]);
        if subscribes {
            let filters = (0..rng.between(1, 3)).map(|_| (*rng.pick(FILTERS)).to_owned()).collect();
            steps.push(if rng.chance(300) { Step::SubscribeRetained(filters) } else { Step::Subscribe(filters) });
            if rng.chance(800) {
                steps.push(Step::Settle);
            }
        }
        for _ in 0..rng.between(2, 20) {
            let step = step(rng, subscribes, publishes, large);
            steps.push(step);
        }
    }
    steps
}

fn step(rng: &mut Rng, subscribes: bool, publishes: bool, large: usize) -> Step {
    match rng.below(20) {
        0 if subscribes => {
            let filters = vec![(*rng.pick(FILTERS)).to_owned()];
            if rng.chance(500) { Step::SubscribeRetained(filters) } else { Step::Subscribe(filters) }
        }
        1 if subscribes => Step::Unsubscribe(vec![(*rng.pick(FILTERS)).to_owned()]),
        2 => Step::Settle,
        3 | 4 => Step::Ping,
        5..=7 => Step::Pause(Duration::from_micros(rng.between(1, 20_000))),
        _ if publishes => {
            let count = *rng.pick(&[1, 1, 3, 20]);
            let large = if count > 3 { large.min(3_000) } else { large };
            let lens = (0..count).map(|_| length(rng, large)).collect();
            let (topic, lane) = (TOPICS[rng.index(TOPICS.len())], rng.between(1, 4) as u8);
            let batch = rng.chance(250);
            match rng.below(1_000) {
                0..300 => Step::Retain { topic, lane, lens },
                // Lanes that may lose confirm no delivery.
                draw @ 300..500 => {
                    Step::Confirm { topic, lane, lens, receivers: if may_lose(lane) { 0 } else { (draw % 4) as u16 } }
                }
                _ => Step::Publish { topic, lane, lens, batch },
            }
        }
        _ => Step::Pause(Duration::from_micros(rng.between(1, 200_000))),
    }
}

fn length(rng: &mut Rng, large: usize) -> usize {
    let bound = *rng.pick(&[16, 64, 64, 64, 1_500, 3_000, large]);
    rng.index(bound.min(large) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_drawn_from_its_seed() {
        let draw = |seed| {
            let mut rng = Rng::new(seed, 2);
            let wishes = Wishes::draw(&mut rng);
            Workload::draw(&mut rng, &wishes, &NetworkConfig::calm())
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }
}
