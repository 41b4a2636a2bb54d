//! A subscriber that stops beside one that reads on, at a rate everybody can deliver.

use std::net::TcpStream;
use std::time::Duration;

use laneway_proto::lane::policy::Policy;

use super::dialect::{Batch, Doors};
use super::rival::Rival;
use super::stage::{Stage, named, spoken};
use super::{CASE, Peer};
use crate::args::Common;
use crate::child::Child;
use crate::contest::Contestant;
use crate::error::{Error, Result};
use crate::load::Load;
use crate::load::beside::{self, Seen};
use crate::wire::{Block, Framing, Shape};

/// 50 MB of payload a second.
const RATE_HZ: u32 = 50_000;
const SHAPE: Shape = Shape { payload_bytes: 1_024, topics: 1 };
/// Messages of a write.
const MESSAGES: u32 = 10;
const SPAN: Duration = Duration::from_secs(5);
const SPAN_QUICK: Duration = Duration::from_millis(400);

/// What became of everybody.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Slowed {
    /// Of the one that reads.
    pub(super) seen: Seen,
    /// The broker's resident memory at its largest, over that before.
    pub(super) growth_bytes: f64,
    /// The one that stopped was disconnected.
    pub(super) cut_off: bool,
}

/// One result a rival; `None` where a peer failed.
pub(super) type Slow = Vec<(Rival, Option<Slowed>)>;

/// Measures everybody but Zenoh, whose load is apart.
pub(super) fn measure(stage: &Stage, peers: &[Peer], common: &Common) -> Result<Slow> {
    let span = if common.quick { SPAN_QUICK } else { SPAN };
    let own = [Rival::Own(Contestant::Single)];
    let others = peers.iter().copied().filter(|&peer| peer != Peer::Zenoh).map(Rival::Peer);
    let mut all = Vec::new();
    for rival in own.into_iter().chain(others) {
        let slowed = match (rival, once(stage, rival, span).map_err(|error| named(rival, error))) {
            (Rival::Peer(_), Err(Error::Failed(text))) => {
                eprintln!("{CASE}: {text}");
                None
            }
            (_, slowed) => Some(slowed?),
        };
        if let Some(Slowed { seen, growth_bytes, cut_off }) = slowed {
            eprintln!(
                "{CASE}: a stopped reader, {}: the other got {:.1} % and heard nothing for at most {:.0} ms; memory grew by {:.1} MiB; {}",
                rival.name(),
                seen.delivered / seen.offered * 100.0,
                seen.silence.as_secs_f64() * 1e3,
                growth_bytes / 1_048_576.0,
                if cut_off { "it was cut off" } else { "it stayed connected" },
            );
        }
        all.push((rival, slowed));
    }
    Ok(all)
}

fn once(stage: &Stage, rival: Rival, span: Duration) -> Result<Slowed> {
    let (child, doors, mut load) = match rival {
        Rival::Spinning | Rival::SpinningRelay => return Err(Error::Failed("it makes round trips only".into())),
        Rival::Own(contestant) => {
            let child = stage.arena.start(contestant, 2)?;
            let doors = Doors { publish: child.address, subscribe: child.address };
            let block = Block::with_messages(Framing::Single, SHAPE, MESSAGES);
            let load = Load::connect(child.address, Framing::Single, SHAPE, 1, block)?;
            (child, doors, load)
        }
        Rival::Peer(peer) => {
            let (child, doors) = stage.start(peer)?;
            let what = Batch { payload_bytes: SHAPE.payload_bytes, messages: Some(MESSAGES) };
            let load = spoken(peer)?.load(doors, 0, what, 1)?;
            (child, doors, load)
        }
    };
    let stopped = match rival {
        Rival::Own(_) | Rival::Spinning | Rival::SpinningRelay => {
            Load::held(doors.subscribe, u32::from(Policy::DropOldest.number()))?
        }
        Rival::Peer(peer) => {
            let stopped = stage.hold(rival, doors)?;
            spoken(peer)?.settle();
            stopped
        }
    };
    run(&child, &mut load, &stopped, span)
}

fn run(child: &Child, load: &mut Load, stopped: &TcpStream, span: Duration) -> Result<Slowed> {
    let before = child.resident_bytes()?;
    let mut largest = before;
    let seen = beside::run(load, RATE_HZ, span, || {
        largest = largest.max(child.resident_bytes()?);
        Ok(())
    })?;
    let growth_bytes = largest.saturating_sub(before) as f64;
    Ok(Slowed { seen, growth_bytes, cut_off: !is_held_by_peer(stopped)? })
}

/// Whether the other end of a loopback connection is still open: bytes that nobody reads hide its end from this side.
fn is_held_by_peer(socket: &TcpStream) -> Result<bool> {
    let port = socket.local_addr().map_err(Error::io("asking for the own address"))?.port();
    let path = "/proc/net/tcp";
    let table = std::fs::read_to_string(path).map_err(Error::io(format!("reading {path}")))?;
    Ok(is_established_from(&table, port))
}

/// Whether a line of the table is an established connection whose remote port is `port`.
fn is_established_from(table: &str, port: u16) -> bool {
    let remote = format!(":{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|address| address.ends_with(&remote)) && fields.next() == Some("01")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_end_of_a_connection_is_found_by_its_remote_port() {
        let table = "  sl  local_address rem_address   st\n   0: 0100007F:1F90 0100007F:A001 01 0\n   1: 0100007F:1F90 0100007F:A002 04 0\n";
        assert!(is_established_from(table, 0xA001));
        assert!(!is_established_from(table, 0xA002), "it is waiting for its last bytes to be read");
        assert!(!is_established_from(table, 0x1F90), "that is a local port");
    }
}
