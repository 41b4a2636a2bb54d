//! What is counted. Everything is done once before it counts, so that nothing is new any more.

use std::hint::black_box;
use std::sync::Arc;

use laneway_broker::intern::{Intern, TopicIndex};
use laneway_broker::router::{Router, SubOptions, Subscriber};
use laneway_proto::frame::batch::Messages;
use laneway_proto::framing::run::take_run;
use laneway_proto::header::{Header, Kind};
use laneway_proto::limits::{FRAME_BYTES_MAX, HEADER_BYTES, MESSAGE_BYTES_MAX_DEFAULT};

use super::shard::Broker;
use crate::error::{Error, Result};
use crate::wire::{Block, Framing, Shape};

const SHAPE: Shape = Shape { payload_bytes: 64, topics: 1 };
const CYCLE: Shape = Shape { payload_bytes: 64, topics: 10 };
/// Repetitions of the small ones.
const REPEATS: u32 = 1_000;
/// Blocks through a shard, and before it counts.
const BLOCKS: u32 = 50;
const BLOCKS_BEFORE: u32 = 5;
const ROUTER_TOPICS: u32 = 1_000;
/// A topic id of the broker's.
const TOPIC: u32 = 70_000;

/// Something whose instructions are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Work {
    /// A header encoded and decoded.
    CodecHeader,
    /// A message of a run of 64 KiB, cut and given the broker's topic id.
    CodecRun,
    /// A message of a BATCH frame, found.
    CodecBatch,
    /// The route of a known topic.
    Route,
    /// The route of a topic after a subscription changed.
    RouteRebuild,
    /// A message from received bytes to the send: one subscriber.
    Shard1,
    /// The same of messages each of which arrives alone: mostly what a turn costs.
    OneATurn,
    /// A message in a block from received bytes to the send: ten subscribers.
    Fanout10,
    /// The same as BATCH frames.
    Fanout10Batch,
    /// A message of a stream that cycles through ten topics, each with its subscriber.
    Topics10,
}

impl Work {
    /// All of it.
    pub const ALL: [Self; 10] = [
        Self::CodecHeader,
        Self::CodecRun,
        Self::CodecBatch,
        Self::Route,
        Self::RouteRebuild,
        Self::Shard1,
        Self::OneATurn,
        Self::Fanout10,
        Self::Fanout10Batch,
        Self::Topics10,
    ];

    /// Its name in rows, in the baseline and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CodecHeader => "codec-header",
            Self::CodecRun => "codec-run",
            Self::CodecBatch => "codec-batch",
            Self::Route => "route",
            Self::RouteRebuild => "route-rebuild",
            Self::Shard1 => "shard1",
            Self::OneATurn => "one-a-turn",
            Self::Fanout10 => "fanout10",
            Self::Fanout10Batch => "fanout10-batch",
            Self::Topics10 => "topics10",
        }
    }

    /// What the instructions are divided by: messages published, or routes.
    pub fn units(self) -> u32 {
        match self {
            Self::CodecHeader | Self::Route | Self::RouteRebuild => REPEATS,
            Self::OneATurn => BLOCKS,
            Self::CodecRun => REPEATS * Block::new(Framing::Single, SHAPE).messages(),
            Self::CodecBatch => REPEATS * Block::new(Framing::Batch, SHAPE).messages(),
            Self::Shard1 | Self::Fanout10 => BLOCKS * Block::new(Framing::Single, SHAPE).messages(),
            Self::Fanout10Batch => BLOCKS * Block::new(Framing::Batch, SHAPE).messages(),
            Self::Topics10 => BLOCKS * Block::new(Framing::Single, CYCLE).messages(),
        }
    }

    /// Does it, in a process that callgrind watches.
    pub fn run(self) -> Result<()> {
        match self {
            Self::CodecHeader => codec_header(),
            Self::CodecRun => codec_run(),
            Self::CodecBatch => codec_batch(),
            Self::Route => route(),
            Self::RouteRebuild => route_rebuild(),
            Self::Shard1 => through_shard(Block::new(Framing::Single, SHAPE), SHAPE, 1),
            Self::OneATurn => through_shard(Block::with_messages(Framing::Single, SHAPE, 1), SHAPE, 1),
            Self::Fanout10 => through_shard(Block::new(Framing::Single, SHAPE), SHAPE, 10),
            Self::Fanout10Batch => through_shard(Block::new(Framing::Batch, SHAPE), SHAPE, 10),
            Self::Topics10 => through_shard(Block::new(Framing::Single, CYCLE), CYCLE, 10),
        }
    }
}

/// What counts is what is done in here.
#[inline(never)]
fn counted_part(part: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    black_box(part)()
}

fn codec_header() -> Result<()> {
    let header = Header { topic: TOPIC, lane: 1, seq: 7, ..Header::new(Kind::PUB, 64) };
    counted_part(&mut || {
        for _ in 0..REPEATS {
            let bytes = black_box(&header).encode();
            let _ = black_box(Header::decode(black_box(&bytes)));
        }
        Ok(())
    })
}

fn codec_run() -> Result<()> {
    let mut bytes = Block::new(Framing::Single, SHAPE).bytes().to_vec();
    let first = bytes.first_chunk().and_then(|front| Header::decode(front).ok());
    let first = first.ok_or_else(|| Error::Failed("a block starts with a header".into()))?;
    counted_part(&mut || {
        for _ in 0..REPEATS {
            let _ =
                black_box(take_run(&mut bytes, black_box(&first), TOPIC, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX_DEFAULT));
            // What was replaced in place is put back: a run is of the publisher's topic id.
            restore(&mut bytes, &first);
        }
        Ok(())
    })
}

/// Gives every frame of a run of one length its topic id back.
fn restore(bytes: &mut [u8], first: &Header) {
    for frame in bytes.chunks_exact_mut(usize::from(first.len)) {
        frame[4..8].copy_from_slice(&first.topic.to_le_bytes());
    }
}

fn codec_batch() -> Result<()> {
    let block = Block::new(Framing::Batch, SHAPE);
    let body = &block.bytes()[HEADER_BYTES..];
    counted_part(&mut || {
        for _ in 0..REPEATS {
            let messages = Messages::new(black_box(body));
            black_box(messages.map(|messages| messages.flatten().map(<[u8]>::len).sum::<usize>()).ok());
        }
        Ok(())
    })
}

/// A router with an exact filter for each topic, and some wildcards.
fn router() -> (Router, Vec<TopicIndex>) {
    let name = |number: u32| format!("site/hall-{}/robot-{number}/arm/torque", number % 10);
    let intern = Arc::new(Intern::new(ROUTER_TOPICS));
    let topics = (0..ROUTER_TOPICS).filter_map(|number| intern.intern(&name(number))).collect();
    let mut router = Router::new(intern);
    for number in 0..ROUTER_TOPICS {
        router.subscribe(&name(number), Subscriber::Local(number), SubOptions::default());
    }
    for hall in 0..10 {
        router.subscribe(&format!("site/hall-{hall}/#"), Subscriber::Local(1_000 + hall), SubOptions::default());
    }
    (router, topics)
}

fn route() -> Result<()> {
    let (mut router, topics) = router();
    for &topic in &topics {
        let _ = router.route(topic);
    }
    counted_part(&mut || {
        for &topic in topics.iter().cycle().take(REPEATS as usize) {
            black_box(router.route(black_box(topic)).map(|route| route.targets.len()));
        }
        Ok(())
    })
}

fn route_rebuild() -> Result<()> {
    let (mut router, topics) = router();
    let Some(&topic) = topics.get(17) else { return Err(Error::Failed("there are a thousand topics".into())) };
    counted_part(&mut || {
        for _ in 0..REPEATS {
            router.subscribe("office/#", Subscriber::Local(7), SubOptions::default());
            black_box(router.route(black_box(topic)).map(|route| route.targets.len()));
        }
        Ok(())
    })
}

fn through_shard(block: Block, shape: Shape, subscribers: usize) -> Result<()> {
    let mut broker = Broker::open(block, shape, subscribers)?;
    for _ in 0..BLOCKS_BEFORE {
        broker.put();
        broker.deliver()?;
    }
    let before = broker.sent();
    for _ in 0..BLOCKS {
        broker.put();
        counted_part(&mut || broker.deliver())?;
    }
    // At least the payloads, to every subscriber of their topic.
    let copies = subscribers as u64 / u64::from(shape.topics);
    let messages = u64::from(BLOCKS * broker.messages()) * copies;
    if broker.sent() - before < messages * shape.payload_bytes as u64 {
        return Err(Error::Failed(format!("of {messages} deliveries only {} bytes were sent", broker.sent() - before)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn all_work_can_be_done_and_asked_for_by_its_name() {
        for work in Work::ALL {
            work.run().unwrap_or_else(|error| panic!("{}: {error}", work.name()));
            assert!(work.units() > 0);
            assert_eq!(Work::from_str(work.name(), false), Ok(work));
        }
    }
}
