//! What a connection costs that is subscribed and hears nothing: resident memory of the broker.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::dialect::Doors;
use super::rival::Rival;
use super::stage::{Stage, named};
use super::{CASE, Peer};
use crate::args::Common;
use crate::contest::Contestant;
use crate::error::{Error, Result};

const CONNECTIONS: u32 = 2_000;
const CONNECTIONS_QUICK: u32 = 50;
/// After connecting: what was needed for the opening only may be given back.
const SETTLE: Duration = Duration::from_millis(500);
/// Files open beside the connections.
const OTHER_FILES: u64 = 64;

/// Bytes of resident memory for each connection; `None` where a peer failed.
pub(super) type Idle = Vec<(Rival, Option<f64>)>;

/// Measures everybody but Zenoh, whose client would open a thread pool for each session.
pub(super) fn measure(stage: &Stage, peers: &[Peer], common: &Common) -> Result<Idle> {
    let count = if common.quick { CONNECTIONS_QUICK } else { CONNECTIONS };
    allow_files(u64::from(count) + OTHER_FILES)?;
    let own = [Rival::Own(Contestant::Single)];
    let others = peers.iter().copied().filter(|&peer| peer != Peer::Zenoh).map(Rival::Peer);
    let mut all = Vec::new();
    for rival in own.into_iter().chain(others) {
        let bytes = match (rival, once(stage, rival, count).map_err(|error| named(rival, error))) {
            (Rival::Peer(_), Err(Error::Failed(text))) => {
                eprintln!("{CASE}: {text}");
                None
            }
            (_, bytes) => Some(bytes?),
        };
        let shown = bytes.map_or_else(|| "failed".into(), |bytes| format!("{bytes:.0} bytes each"));
        eprintln!("{CASE}: {count} idle connections {}: {shown}", rival.name());
        all.push((rival, bytes));
    }
    Ok(all)
}

fn once(stage: &Stage, rival: Rival, count: u32) -> Result<f64> {
    let (child, doors) = match rival {
        Rival::Spinning | Rival::SpinningRelay => return Err(Error::Failed("it makes round trips only".into())),
        Rival::Own(contestant) => {
            let child = stage.arena.start(contestant, 0)?;
            let doors = Doors { publish: child.address, subscribe: child.address };
            (child, doors)
        }
        Rival::Peer(peer) => stage.start(peer)?,
    };
    // The first one pays for what all need.
    let _first = stage.hold(rival, doors)?;
    thread::sleep(SETTLE);
    let before = child.resident_bytes()?;
    let held: Vec<TcpStream> = (0..count).map(|_| stage.hold(rival, doors)).collect::<Result<_>>()?;
    thread::sleep(SETTLE);
    let growth = child.resident_bytes()?.saturating_sub(before);
    drop(held);
    Ok(growth as f64 / f64::from(count))
}

/// This process and those it starts may open so many files.
fn allow_files(count: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(Error::errno("reading the limit of open files"))?;
    if soft >= count {
        return Ok(());
    }
    if hard < count {
        return Err(Error::Missing(format!("{count} open files are needed and {hard} allowed; raise 'ulimit -n'")));
    }
    setrlimit(Resource::RLIMIT_NOFILE, count, hard).map_err(Error::errno("raising the limit of open files"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::bars;

    #[test]
    fn memory_is_told_for_each_rival_and_a_failed_one_is_left_out() {
        let own = Rival::Own(Contestant::Single);
        let rows = bars::idle(&vec![
            (own, Some(1_000.0)),
            (Rival::Peer(Peer::Nats), Some(4e4)),
            (Rival::Peer(Peer::Redis), None),
        ]);
        let shown: Vec<_> = rows.iter().map(|row| (row.laneway, row.floor, row.ratio)).collect();
        assert_eq!(shown, [(Some(1_000.0), Some(4e4), Some(0.025)), (Some(1_000.0), None, None)]);
    }
}
