//! A bulk lane without pause and a command lane at a fixed pace, on one connection of one hop.
//!
//! Towards the client, each lane has a publisher's connection of its own and one subscriber hears both; towards the
//! broker, one connection publishes both and each lane has a subscriber of its own. All of them keep to lane credit, in both
//! directions: what a socket holds of the bulk lane stands in front of every command.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use laneway_proto::control::{Body, Sub, Subscribe};
use laneway_proto::header::{Header, Kind, seq_after};
use laneway_proto::limits::{FRAME_BYTES_MAX, HEADER_BYTES, TOPIC_ID_DYNAMIC_FIRST};

use super::credit::{Grants, Spends};
use super::laneway::publishing;
use super::link::{Holds, Link, why_closed};
use super::paced::Pace;
use crate::error::{Error, Result};
use crate::wire::{Fault, Frames, goodbye};

/// Bytes of one frame of the bulk lane: a fragment.
pub const BULK_FRAME_BYTES: usize = 16 * 1024;
/// Bytes of one frame of the command lane.
const COMMAND_FRAME_BYTES: usize = HEADER_BYTES + 64;
/// Commands a second.
pub const COMMANDS_HZ: u32 = 1_000;
const LANE_COMMAND: u8 = 1;
const LANE_BULK: u8 = 5;
const LANES: [u8; 2] = [LANE_COMMAND, LANE_BULK];
/// Bytes of one receive call: what arrives behind them waits for the next turn.
const RECEIVE_BYTES_MAX: usize = 256 * 1024;
/// Between two turns of the load that take some ten microseconds each: longer, and its processor did something else.
const STOOD_STILL_NS: u64 = 200_000;
/// How long the last commands may take.
const DRAIN_MAX: Duration = Duration::from_secs(10);
const SEQ_AT: usize = 12;

/// The connection both lanes share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hop {
    /// From the broker to one subscriber.
    ToClient,
    /// From one publisher to the broker.
    ToBroker,
}

/// The frames of one lane, one after the other.
#[derive(Debug)]
struct Source {
    lane: u8,
    frame: Vec<u8>,
    seq: u32,
}

impl Source {
    fn new(lane: u8, topic: u32, frame_bytes: usize) -> Self {
        let header = Header {
            lane,
            topic: TOPIC_ID_DYNAMIC_FIRST + topic,
            ..Header::new(Kind::PUB, frame_bytes - HEADER_BYTES)
        };
        let mut frame = header.encode().to_vec();
        frame.resize(frame_bytes, b'.');
        Self { lane, frame, seq: 0 }
    }

    fn number(&mut self) {
        self.seq = seq_after(self.seq, 1);
        self.frame[SEQ_AT..HEADER_BYTES].copy_from_slice(&self.seq.to_le_bytes());
    }
}

/// A publishing connection, perhaps in the middle of a frame.
#[derive(Debug)]
struct Out {
    socket: TcpStream,
    left: usize,
    /// The frame being written is a command.
    command: bool,
    credit: Spends,
}

impl Out {
    fn open(at: SocketAddr, names: &[&str], holds: Holds) -> Result<Self> {
        let link = publishing(at, names.iter().map(|&name| name.to_owned()), holds)?;
        let mut credit = Spends::new(&link, &LANES);
        let (socket, inbox) = link.into_parts();
        credit.take(&inbox).map_err(|fault| Error::Failed(fault.to_string()))?;
        socket.set_nonblocking(true).map_err(Error::io("making a socket non-blocking"))?;
        Ok(Self { socket, left: 0, command: false, credit })
    }

    /// Starts a frame, if its lane has credit; the one before it was written.
    fn begin(&mut self, source: &mut Source, command: bool, scratch: &mut [u8]) -> Result<bool> {
        if !self.credit.spend(source.lane, source.frame.len()) {
            self.credit.read(&mut self.socket, scratch)?;
            return Ok(false);
        }
        source.number();
        (self.left, self.command) = (source.frame.len(), command);
        Ok(true)
    }

    fn write(&mut self, frame: &[u8]) -> Result<()> {
        match self.socket.write(&frame[frame.len() - self.left..]) {
            Ok(count) => self.left -= count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(Error::Failed(why_closed(&mut self.socket, &error))),
        }
        Ok(())
    }
}

#[derive(Debug)]
struct In {
    socket: TcpStream,
    frames: Frames,
    credit: Grants,
}

/// What arrived of both lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Arrived {
    commands: u64,
    bulk_frames: u64,
}

impl Arrived {
    fn on_frame(&mut self, header: &Header, front: &[u8]) -> std::result::Result<(), Fault> {
        let before = match (header.kind, header.lane) {
            (Kind::PUB, LANE_COMMAND) => &mut self.commands,
            (Kind::PUB, LANE_BULK) => &mut self.bulk_frames,
            (Kind::CTRL, _) => return goodbye(front).map_or(Ok(()), |text| Err(Fault(text))),
            (kind, lane) => return Err(Fault(format!("nobody asked for kind {:#04x} on lane {lane}", kind.0))),
        };
        *before += 1;
        // Far fewer than would make the number wrap.
        if u64::from(header.seq) == *before {
            Ok(())
        } else {
            Err(Fault(format!("number {} of lane {} came in the place of {before}", header.seq, header.lane)))
        }
    }
}

/// What a run was besides its latencies.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ran {
    /// Bytes of bulk that arrived per second.
    pub bulk_bytes_per_s: f64,
    /// Commands that were left out.
    pub left_out: u64,
}

/// Publishers and subscribers of both lanes.
#[derive(Debug)]
pub struct TwoLanes {
    outs: Vec<Out>,
    ins: Vec<In>,
    command: Source,
    bulk: Source,
    arrived: Arrived,
    scratch: Vec<u8>,
}

impl TwoLanes {
    /// Connects everybody; publishers leave `not_sent_bytes` unsent in the kernel at most, 0: as it likes. Subscribers give
    /// `lane_credit_bytes` for each lane; the broker gives what it is configured to.
    pub fn connect(at: SocketAddr, hop: Hop, not_sent_bytes: u32, lane_credit_bytes: u64) -> Result<Self> {
        const NAMES: [&str; 2] = ["lanes/command", "lanes/bulk"];
        let holds = Holds { not_sent: not_sent_bytes, lane_credit: lane_credit_bytes, ..Holds::default() };
        let hears = Holds { lane_credit: lane_credit_bytes, ..Holds::default() };
        let [command, bulk] = NAMES;
        let (outs, ins, bulk_topic) = match hop {
            Hop::ToClient => {
                let outs = vec![Out::open(at, &[command], holds)?, Out::open(at, &[bulk], holds)?];
                (outs, vec![subscribe(at, &NAMES, hears)?], 0)
            }
            Hop::ToBroker => {
                let outs = vec![Out::open(at, &NAMES, holds)?];
                (outs, vec![subscribe(at, &[command], hears)?, subscribe(at, &[bulk], hears)?], 1)
            }
        };
        Ok(Self {
            outs,
            ins,
            command: Source::new(LANE_COMMAND, 0, COMMAND_FRAME_BYTES),
            bulk: Source::new(LANE_BULK, bulk_topic, BULK_FRAME_BYTES),
            arrived: Arrived::default(),
            scratch: vec![0; RECEIVE_BYTES_MAX],
        })
    }

    /// Publishes commands at their pace for `span`, and as much bulk as goes if there is `bulk`. Latencies count from the
    /// intended moments; those of commands that were under way or due while this thread did not run are left out, for they
    /// are its own.
    pub fn run(&mut self, span: Duration, bulk: bool, latencies: &mut Histogram<u64>) -> Result<Ran> {
        let mut pace = Pace::new(COMMANDS_HZ, span);
        let (commands_before, bulk_before) = (self.arrived.commands, self.arrived.bulk_frames);
        let start = Instant::now();
        let mut turned = Duration::ZERO;
        while !pace.is_done() {
            let now = start.elapsed();
            if now.saturating_sub(turned).as_nanos() as u64 > STOOD_STILL_NS {
                pace.on_stood_still(now.as_nanos() as u64);
            }
            turned = now;
            if now > span + DRAIN_MAX {
                return Err(Error::Failed(format!("the last commands did not arrive within {DRAIN_MAX:?}")));
            }
            self.write(&mut pace, now.as_nanos() as u64, bulk)?;
            for place in 0..self.ins.len() {
                self.read(place)?;
                let total = self.arrived.commands - commands_before;
                pace.on_received(total, start.elapsed().as_nanos() as u64, latencies);
            }
        }
        let frames = self.arrived.bulk_frames - bulk_before;
        let bulk_bytes_per_s = frames as f64 * BULK_FRAME_BYTES as f64 / start.elapsed().as_secs_f64();
        Ok(Ran { bulk_bytes_per_s, left_out: pace.disturbed() })
    }

    /// At most one frame a connection; a command that is due goes first.
    fn write(&mut self, pace: &mut Pace, now_ns: u64, bulk: bool) -> Result<()> {
        let Self { outs, command, bulk: bulk_source, scratch, .. } = self;
        let shared = outs.len() == 1;
        for (place, out) in outs.iter_mut().enumerate() {
            let (commands_here, bulk_here) = (place == 0, shared || place == 1);
            if out.left == 0 {
                if commands_here && pace.is_due(now_ns) {
                    if out.begin(command, true, scratch)? {
                        pace.on_sent();
                    }
                } else if bulk_here && bulk && !pace.is_sent() {
                    out.begin(bulk_source, false, scratch)?;
                }
            }
            if out.left > 0 {
                out.write(if out.command { &command.frame } else { &bulk_source.frame })?;
            }
        }
        Ok(())
    }

    fn read(&mut self, place: usize) -> Result<()> {
        let Self { ins, arrived, scratch, .. } = self;
        let from = &mut ins[place];
        match from.socket.read(scratch) {
            Ok(0) => Err(Error::Failed("a subscriber was disconnected".into())),
            Ok(count) => {
                let In { socket, frames, credit } = from;
                let mut each = |header: &Header, front: &[u8]| {
                    arrived.on_frame(header, front)?;
                    credit.on_data(header)
                };
                frames.on_bytes(&scratch[..count], &mut each).map_err(|fault| Error::Failed(fault.to_string()))?;
                credit.send(socket)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(error) => Err(Error::Failed(format!("a subscriber: {error}"))),
        }
    }
}

fn subscribe(at: SocketAddr, names: &[&str], holds: Holds) -> Result<In> {
    let mut link = Link::open_holding(at, holds)?;
    let subs = names.iter().map(|&name| Sub { pattern: name.into(), ..Sub::default() }).collect();
    link.request(Body::Subscribe(Subscribe { subs }))?;
    let (socket, inbox) = link.into_parts();
    if !inbox.is_empty() {
        return Err(Error::Failed("something came before anything was published".into()));
    }
    socket.set_nonblocking(true).map_err(Error::io("making a socket non-blocking"))?;
    let credit = Grants::new(&LANES, holds.lane_credit, FRAME_BYTES_MAX as u64);
    Ok(In { socket, frames: Frames::default(), credit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lane_is_counted_and_checked_by_its_own_numbers() {
        let mut arrived = Arrived::default();
        let mut frame = |lane, seq| {
            let header = Header { lane, seq, ..Header::new(Kind::PUB, 0) };
            arrived.on_frame(&header, &header.encode())
        };
        assert!(frame(LANE_COMMAND, 1).is_ok() && frame(LANE_BULK, 1).is_ok() && frame(LANE_COMMAND, 2).is_ok());
        assert!(frame(LANE_BULK, 3).is_err(), "number 2 is missing");
        assert!(frame(LANE_COMMAND, 2).is_err(), "it came twice");
    }

    #[test]
    fn the_frames_of_a_source_are_numbered_from_one() {
        let mut source = Source::new(LANE_BULK, 1, 64);
        for seq in [1, 2] {
            source.number();
            let header = Header::decode(source.frame.first_chunk().expect("a header")).expect("valid");
            assert_eq!((header.seq, header.lane, header.topic, header.len), (seq, 5, TOPIC_ID_DYNAMIC_FIRST + 1, 64));
        }
    }
}
