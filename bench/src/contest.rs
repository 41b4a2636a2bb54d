//! Who is measured, and on what.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::args::Common;
use crate::child::{self, Child};
use crate::error::{Error, Result};
use crate::load::Load;
use crate::relay::Base;
use crate::sched::{self, Cores};
use crate::wire::{Block, Framing, Shape};

/// What one measurement moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// Payloads and topics.
    pub shape: Shape,
    /// Subscribers; with several topics, one for each.
    pub subscribers: u32,
}

impl Cell {
    /// One topic for all subscribers.
    pub const fn fanout(payload_bytes: usize, subscribers: u32) -> Self {
        Self { shape: Shape { payload_bytes, topics: 1 }, subscribers }
    }

    /// One stream that cycles through topics, each with its own subscriber.
    pub const fn cycle(payload_bytes: usize, topics: u32) -> Self {
        Self { shape: Shape { payload_bytes, topics }, subscribers: topics }
    }

    /// Its name in rows.
    pub fn name(&self) -> String {
        let size = size_name(self.shape.payload_bytes);
        match self.shape.topics {
            1 => format!("1→{} {size}", self.subscribers),
            topics => format!("{topics} topics {size}"),
        }
    }
}

fn size_name(bytes: usize) -> String {
    match bytes {
        _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contestant {
    /// `lanewayd`, fed with PUB frames.
    Single,
    /// `lanewayd`, fed with BATCH frames.
    Batch,
    /// A relay.
    Relay(Base),
    /// The relay that routes by a 4-byte index.
    IndexRelay,
}

impl Contestant {
    /// Its name in rows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "laneway single",
            Self::Batch => "laneway batch",
            Self::Relay(Base::Uring) => "bare relay",
            Self::Relay(Base::Tokio) => "tokio relay",
            Self::Relay(Base::TokioUring) => "tokio-uring relay",
            Self::Relay(Base::Glommio) => "glommio relay",
            Self::IndexRelay => "index relay",
        }
    }

    /// How its messages are framed.
    pub const fn framing(self) -> Framing {
        match self {
            Self::Single => Framing::Single,
            Self::Batch => Framing::Batch,
            Self::Relay(_) => Framing::Relay,
            Self::IndexRelay => Framing::Index,
        }
    }
}

/// What the measurements of one case share.
#[derive(Debug)]
pub struct Arena {
    own: PathBuf,
    broker: PathBuf,
    cores: Cores,
}

impl Arena {
    /// Looks for everything a measurement needs, before the first one starts.
    pub fn open(common: &Common) -> Result<Self> {
        let cores = Cores::find()?;
        sched::pin_self(cores.load)?;
        sched::Account::of_this_thread()?;
        Ok(Self { own: child::own_program()?, broker: child::find_broker(common.broker.as_deref())?, cores })
    }

    /// Starts a contestant alone on its core.
    pub fn start(&self, contestant: Contestant, subscribers: u32) -> Result<Child> {
        let subscribers = subscribers as usize;
        match contestant {
            Contestant::Single | Contestant::Batch => Child::broker(&self.own, &self.broker, self.cores),
            Contestant::Relay(base) => Child::relay(&self.own, base, None, subscribers, self.cores),
            Contestant::IndexRelay => Child::relay(&self.own, Base::Uring, Some("--index"), subscribers, self.cores),
        }
        .map_err(|error| named(contestant, error))
    }

    /// Starts a relay with one more option, for one subscriber.
    pub(crate) fn start_relay(&self, base: Base, flag: &str) -> Result<Child> {
        Child::relay(&self.own, base, Some(flag), 1, self.cores)
    }

    /// Starts another server alone on its core; it is ready when it accepts connections at every address of `at`.
    pub(crate) fn server(&self, program: &Path, arguments: &[String], at: &[SocketAddr]) -> Result<Child> {
        Child::server(&self.own, program, arguments, at, self.cores)
    }

    /// The processors of the target and of the load.
    pub(crate) const fn cores(&self) -> Cores {
        self.cores
    }

    /// The broker's executable.
    pub(crate) fn broker_program(&self) -> &Path {
        &self.broker
    }

    /// Starts the broker alone on its core, on a free port, with the keys of `config`, TOML.
    pub fn broker(&self, config: &str) -> Result<Child> {
        self.broker_at(config, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The same at an address.
    pub fn broker_at(&self, config: &str, at: SocketAddr) -> Result<Child> {
        let path = std::env::temp_dir().join(format!("laneway-bench-{}.toml", std::process::id()));
        std::fs::write(&path, config).map_err(Error::io(format!("writing {}", path.display())))?;
        let child = Child::configured_broker(&self.own, &self.broker, &path, at, self.cores);
        // It was read before the broker said that it is ready.
        let _ = std::fs::remove_file(&path);
        child
    }

    /// Starts a contestant and connects a load whose blocks hold `messages`, or as many as fit a write.
    pub fn connect(&self, contestant: Contestant, cell: Cell, messages: Option<u32>) -> Result<(Child, Load)> {
        let framing = contestant.framing();
        let block = match messages {
            Some(messages) => Block::with_messages(framing, cell.shape, messages),
            None => Block::new(framing, cell.shape),
        };
        let child = self.start(contestant, cell.subscribers)?;
        let load = Load::connect(child.address, framing, cell.shape, cell.subscribers, block)
            .map_err(|error| named(contestant, error))?;
        Ok((child, load))
    }
}

/// The error with the contestant's name in front.
pub fn named(contestant: Contestant, error: Error) -> Error {
    match error {
        Error::Failed(text) => Error::Failed(format!("{}: {text}", contestant.name())),
        Error::Missing(text) => Error::Missing(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_named_as_people_say_them() {
        assert_eq!(Cell::fanout(64, 10).name(), "1→10 64 B");
        assert_eq!(Cell::fanout(1_024, 1).name(), "1→1 1 KiB");
        assert_eq!(Cell::fanout(1_048_576, 1).name(), "1→1 1 MiB");
        assert_eq!(Cell::cycle(64, 10).name(), "10 topics 64 B");
    }
}
