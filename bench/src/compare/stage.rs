//! Starts a rival alone on its core and connects the load to it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;

use super::dialect::{Batch, Dialect, Doors};
use super::rival::{Rival, Work};
use super::{Peer, zenoh};
use crate::args::CompareOptions;
use crate::child::{self, Child};
use crate::contest::{Arena, Cell, Contestant};
use crate::error::{Error, Result};
use crate::load::Load;
use crate::load::saturate::{self, Figure, Timing};
use crate::relay::Base;
use crate::rounds::Waited;
use crate::wire::{Block, Framing, Shape};

const SMALL: Shape = Shape { payload_bytes: 64, topics: 1 };

/// What one saturated run found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Pushed {
    pub(super) figure: Figure,
    /// Of its core, that the rival was on: near 1 it is what limits, else the load does.
    pub(super) busy_share: f64,
}

impl Waited for Pushed {
    fn wait_share(&self) -> f64 {
        self.figure.wait_share
    }
}

/// Everything that a comparison needs.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) arena: Arena,
    /// Where the peers are.
    pub(super) peers: PathBuf,
}

impl Stage {
    pub(super) fn open(options: &CompareOptions) -> Result<Self> {
        let arena = Arena::open(&options.common)?;
        let beside = || Ok::<_, Error>(child::own_program()?.with_file_name("../peers"));
        let peers = options.peers.clone().map_or_else(beside, Ok)?;
        // The launchers among them are run from anywhere.
        let peers = peers.canonicalize().unwrap_or(peers);
        Ok(Self { arena, peers })
    }

    /// Starts a peer at free ports.
    pub(super) fn start(&self, peer: Peer) -> Result<(Child, Doors)> {
        let program = peer.program(&self.peers).ok_or_else(|| {
            Error::Missing(format!("no {} in {}; run bench/peers/install", peer.name(), self.peers.display()))
        })?;
        let mut at = vec![free_address()?];
        if peer == Peer::Zeromq {
            at.push(free_address()?);
        }
        let launch = peer.launch(&at)?;
        let path = std::env::temp_dir().join(format!("laneway-bench-{}-{}.conf", std::process::id(), peer.name()));
        if let Some(config) = &launch.config {
            std::fs::write(&path, config).map_err(Error::io(format!("writing {}", path.display())))?;
        }
        let config = path.display().to_string();
        let arguments: Vec<String> =
            launch.arguments.iter().map(|argument| argument.replace("{config}", &config)).collect();
        let child = self.arena.server(&program, &arguments, &at);
        // It was read before the peer accepted connections.
        let _ = std::fs::remove_file(&path);
        let doors = Doors { publish: at[0], subscribe: at[at.len() - 1] };
        Ok((child?, doors))
    }

    /// Starts a rival and connects the load of this work; not for Zenoh.
    pub(super) fn connect(&self, rival: Rival, work: Work) -> Result<(Child, Vec<Load>)> {
        match (rival, work) {
            (Rival::Own(contestant), Work::Fanout(cell)) => {
                self.arena.connect(contestant, cell, None).map(|(child, load)| (child, vec![load]))
            }
            (Rival::Own(contestant), Work::Unbatched) => {
                let cell = Cell::fanout(SMALL.payload_bytes, 1);
                self.arena.connect(contestant, cell, Some(1)).map(|(child, load)| (child, vec![load]))
            }
            (Rival::Own(contestant), Work::Pairs(count)) => self.connect_pairs(contestant, count),
            (Rival::Spinning | Rival::SpinningRelay, work) => self.connect_spinning(rival, work),
            (Rival::Peer(peer), work) => {
                let dialect = spoken(peer)?;
                let (child, doors) = self.start(peer)?;
                let (subscribers, streams) = work.subscribers();
                let what = Batch { payload_bytes: work.payload_bytes(), messages: work.messages() };
                let loads = (0..streams).map(|topic| dialect.load(doors, topic, what, subscribers));
                let loads = loads.collect::<Result<_>>()?;
                dialect.settle();
                Ok((child, loads))
            }
        }
    }

    fn connect_spinning(&self, rival: Rival, work: Work) -> Result<(Child, Vec<Load>)> {
        let (child, framing) = if rival == Rival::SpinningRelay {
            (self.arena.start_relay(Base::Uring, "--spin")?, Framing::Relay)
        } else {
            (self.arena.broker("latency = \"spin\"\n")?, Framing::Single)
        };
        let block = Block::with_messages(framing, SMALL, work.messages().unwrap_or(1));
        let load = Load::connect(child.address, framing, SMALL, 1, block)?;
        Ok((child, vec![load]))
    }

    fn connect_pairs(&self, contestant: Contestant, count: u32) -> Result<(Child, Vec<Load>)> {
        let framing = contestant.framing();
        let block = Block::new(framing, SMALL);
        let child = match contestant {
            Contestant::Relay(_) | Contestant::IndexRelay => self.arena.start_relay(Base::Tokio, "--pairs")?,
            Contestant::Single | Contestant::Batch => self.arena.start(contestant, 1)?,
        };
        let at = child.address;
        let loads = (0..count).map(|topic| match contestant {
            Contestant::Relay(_) | Contestant::IndexRelay => Load::connect(at, framing, SMALL, 1, block.clone()),
            Contestant::Single | Contestant::Batch => Load::pair(at, framing, SMALL, topic, block.clone()),
        });
        Ok((child, loads.collect::<Result<_>>()?))
    }

    /// One run as fast as it goes.
    pub(super) fn push(&self, rival: Rival, work: Work, timing: Timing) -> Result<Pushed> {
        let (figure, watched) = match rival {
            Rival::Peer(Peer::Zenoh) => zenoh::push(self, work, timing)?,
            Rival::Own(_) | Rival::Spinning | Rival::SpinningRelay | Rival::Peer(_) => {
                let (child, mut loads) = self.connect(rival, work)?;
                saturate::run_all(&mut loads, &child, timing, work.writes())?
            }
        };
        let wait_share = rival.waited(&watched);
        let busy_share = watched.target_run_ns as f64 / watched.elapsed.as_nanos().max(1) as f64;
        Ok(Pushed { figure: Figure { wait_share, ..figure }, busy_share })
    }

    /// A connection that is subscribed to the first topic and does nothing.
    pub(super) fn hold(&self, rival: Rival, doors: Doors) -> Result<TcpStream> {
        match rival {
            Rival::Own(_) | Rival::Spinning | Rival::SpinningRelay => Load::held(doors.subscribe, 0),
            Rival::Peer(peer) => spoken(peer)?.subscriber(doors.subscribe, 0).map(|(socket, _)| socket),
        }
    }
}

/// The dialect of a peer whose load is in this program.
pub(super) fn spoken(peer: Peer) -> Result<Dialect> {
    peer.dialect().ok_or_else(|| Error::Failed(format!("{} has a load of its own", peer.name())))
}

/// An address nobody listens at now.
pub(super) fn free_address() -> Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(Error::io("finding a free port"))
}

/// An error with the rival's name in front.
pub(super) fn named(rival: Rival, error: Error) -> Error {
    match error {
        Error::Failed(text) => Error::Failed(format!("{}: {text}", rival.name())),
        Error::Missing(text) => Error::Missing(text),
    }
}
