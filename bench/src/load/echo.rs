//! One message at a time: how long until it has come back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Instant;

use hdrhistogram::Histogram;
use laneway_proto::frame::ping::{PONG_BYTES, Ping, Pong};
use laneway_proto::limits::HEADER_BYTES;

use super::link::Link;
use super::{Load, SILENCE_MAX};
use crate::error::{Error, Result};

/// Publishes `count` messages of the load's one-message block, each after the one before it was delivered.
pub fn run(load: &mut Load, count: u32, round_trips: &mut Histogram<u64>) -> Result<()> {
    for _ in 0..count {
        let wanted = load.delivered() + 1;
        let start = Instant::now();
        load.begin_block();
        load.heard_at = start;
        while load.delivered() < wanted {
            if load.source.left() > 0 {
                load.write()?;
            }
            load.receive(Instant::now())?;
        }
        record(round_trips, start);
    }
    Ok(())
}

/// Sends `count` PINGs, each after the PONG before it.
pub fn ping(at: SocketAddr, count: u32, round_trips: &mut Histogram<u64>) -> Result<()> {
    let (mut socket, _) = Link::open(at)?.into_parts();
    socket.set_nonblocking(true).map_err(Error::io("making a socket non-blocking"))?;
    for t0 in 1..=u64::from(count) {
        let start = Instant::now();
        socket.write_all(&Ping { t0 }.encode()).map_err(Error::io("sending a PING"))?;
        let mut frame = [0; PONG_BYTES];
        let mut filled = 0;
        while filled < PONG_BYTES {
            match socket.read(&mut frame[filled..]) {
                Ok(0) => return Err(Error::Failed("the broker closed the connection".into())),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if start.elapsed() > SILENCE_MAX {
                        return Err(Error::Failed(format!("no PONG within {SILENCE_MAX:?}")));
                    }
                }
                Err(error) => return Err(Error::Failed(format!("waiting for a PONG: {error}"))),
            }
        }
        record(round_trips, start);
        let pong = Pong::decode(&frame[HEADER_BYTES..]).map_err(|error| Error::Failed(format!("PONG: {error}")))?;
        if pong.t0 != t0 {
            return Err(Error::Failed(format!("PONG {} came for PING {t0}", pong.t0)));
        }
    }
    Ok(())
}

fn record(round_trips: &mut Histogram<u64>, start: Instant) {
    round_trips.saturating_record(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1));
}
