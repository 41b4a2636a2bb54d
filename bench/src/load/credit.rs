//! Lane credit of one connection of the load: what it may still send, and what it lets the broker send.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use laneway_proto::frame::credit::{self, CREDIT_FRAME_BYTES_MAX, LaneTotal};
use laneway_proto::header::{Header, Kind};
use laneway_proto::lane::credit::{CreditReceiver, CreditSender};
use laneway_proto::limits::HEADER_BYTES;

use super::link::{Link, why_closed};
use crate::error::{Error, Result};
use crate::wire::{Fault, Frames, goodbye};

/// What the broker takes of some lanes.
#[derive(Debug)]
pub(super) struct Spends {
    lanes: Vec<(u8, CreditSender)>,
    frames: Frames,
}

impl Spends {
    /// With what the broker gave when it welcomed `link`.
    pub(super) fn new(link: &Link, lanes: &[u8]) -> Self {
        let lanes = lanes.iter().map(|&lane| (lane, CreditSender::new(link.given(lane)))).collect();
        Self { lanes, frames: Frames::default() }
    }

    /// Takes the credit for a frame; `false` if it must wait.
    pub(super) fn spend(&mut self, lane: u8, frame_bytes: usize) -> bool {
        let credit = self.lanes.iter_mut().find(|own| own.0 == lane);
        credit.is_some_and(|(_, credit)| credit.spend(frame_bytes as u64))
    }

    /// Reads what the broker says; CREDIT frames are all that comes to a connection that only publishes.
    pub(super) fn read(&mut self, socket: &mut TcpStream, scratch: &mut [u8]) -> Result<()> {
        match socket.read(scratch) {
            Ok(0) => Err(Error::Failed("a publisher was disconnected".into())),
            Ok(count) => self.take(&scratch[..count]).map_err(|fault| Error::Failed(format!("a publisher: {fault}"))),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(error) => Err(Error::Failed(format!("a publisher: {error}"))),
        }
    }

    /// Takes what the broker said.
    pub(super) fn take(&mut self, bytes: &[u8]) -> std::result::Result<(), Fault> {
        let Self { lanes, frames } = self;
        frames.on_bytes(bytes, &mut |header, front| match header.kind {
            Kind::CREDIT => {
                let totals = credit::decode(&front[HEADER_BYTES..]).map_err(|error| Fault(error.to_string()))?;
                for LaneTotal { lane, total } in totals {
                    if let Some((_, credit)) = lanes.iter_mut().find(|own| own.0 == lane) {
                        credit.on_credit(total);
                    }
                }
                Ok(())
            }
            Kind::CTRL => goodbye(front).map_or(Ok(()), |text| Err(Fault(text))),
            other => Err(Fault(format!("nobody asked for a frame of kind {:#04x}", other.0))),
        })
    }
}

/// What the broker may send on some lanes; what arrived is consumed at once.
#[derive(Debug)]
pub(super) struct Grants {
    lanes: Vec<(u8, CreditReceiver)>,
    /// CREDIT frames, or the rest of one, that the socket did not take yet.
    unsent: Vec<u8>,
}

impl Grants {
    /// For a link that announced `window_bytes` of each lane and takes frames of `frame_bytes_max`.
    pub(super) fn new(lanes: &[u8], window_bytes: u64, frame_bytes_max: u64) -> Self {
        let receiver = CreditReceiver::new(window_bytes, frame_bytes_max);
        Self { lanes: lanes.iter().map(|&lane| (lane, receiver)).collect(), unsent: Vec::new() }
    }

    /// A data frame arrived.
    pub(super) fn on_data(&mut self, header: &Header) -> std::result::Result<(), Fault> {
        let Some((lane, credit)) = self.lanes.iter_mut().find(|own| own.0 == header.lane) else { return Ok(()) };
        let bytes = u64::from(header.len);
        credit.on_received(bytes).map_err(|_| Fault(format!("more than lane {lane} has credit for")))?;
        credit.on_consumed(bytes);
        if let Some(total) = credit.poll_grant() {
            let total = LaneTotal { lane: *lane, total };
            self.unsent.extend_from_slice(credit::encode(&[total], &mut [0; CREDIT_FRAME_BYTES_MAX]));
        }
        Ok(())
    }

    /// Sends what is worth it.
    pub(super) fn send(&mut self, socket: &mut TcpStream) -> Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        match socket.write(&self.unsent) {
            Ok(count) => drop(self.unsent.drain(..count)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(Error::Failed(why_closed(socket, &error))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: u8 = 5;

    fn spends(total: u64) -> Spends {
        Spends { lanes: vec![(LANE, CreditSender::new(total))], frames: Frames::default() }
    }

    #[test]
    fn what_is_granted_is_what_may_be_spent() {
        let (mut spends, mut grants) = (spends(100), Grants::new(&[LANE], 100, 50));
        let data = Header { lane: LANE, ..Header::new(Kind::PUB, 50 - HEADER_BYTES) };
        assert!(spends.spend(LANE, 50) && spends.spend(LANE, 50) && !spends.spend(LANE, 1));
        for _ in 0..2 {
            grants.on_data(&data).expect("within the credit");
        }
        for part in grants.unsent.chunks(7) {
            spends.take(part).expect("CREDIT frames");
        }
        assert!(spends.spend(LANE, 100) && !spends.spend(LANE, 1));
    }

    #[test]
    fn a_broker_that_sends_more_than_it_may_is_found_out() {
        let mut grants = Grants::new(&[LANE], 100, 50);
        let data = Header { lane: LANE, ..Header::new(Kind::PUB, 101 - HEADER_BYTES) };
        assert!(grants.on_data(&data).is_err());
        assert!(grants.on_data(&Header { lane: 1, ..data }).is_ok(), "nothing was agreed on this lane");
    }

    #[test]
    fn a_lane_without_credit_and_data_to_a_publisher_are_refused() {
        let mut spends = spends(100);
        assert!(!spends.spend(1, 1));
        assert!(spends.take(&Header::new(Kind::PUB, 0).encode()).is_err());
    }
}
