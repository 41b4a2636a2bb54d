//! Credit of two lanes over one shared stream, exhaustively: whatever is sent, read, taken and granted in whatever order,
//! nobody gets more than they have room for, both lanes always can come to their end both ways, and a lane whose
//! application has stopped for good keeps no other one from it.

mod explorer;

use std::collections::VecDeque;

use explorer::{Model, explore};
use laneway_proto::lane::credit::{CreditReceiver, CreditSender};

const LANES: usize = 2;
/// Frames on their way in one direction at most: the stream is shared, so what is in front holds up what is behind.
const PIPE_FRAMES_MAX: usize = 2;
/// Bytes that each lane of each end has room for.
const WINDOW_BYTES: u64 = 4;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Frame {
    /// The next message of a lane.
    Data(usize),
    /// A lane's new total.
    Credit(usize, u64),
}

/// One lane at one end, both ways.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Lane {
    sender: CreditSender,
    receiver: CreditReceiver,
    sent: u8,
    arrived: u8,
    /// Messages that the application has taken.
    taken: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct End {
    lanes: [Lane; LANES],
    /// What is on its way to it.
    pipe: VecDeque<Frame>,
}

/// What the end with this number does.
#[derive(Clone, Copy, Debug)]
enum Step {
    Sends(usize, usize),
    Reads(usize),
    Takes(usize, usize),
    Grants(usize, usize),
}

/// Two ends, the messages of each lane that they send, and how long each message is.
struct Crediting {
    /// By end and lane.
    messages: [[u8; LANES]; 2],
    /// Bytes of the messages, by lane: these again and again.
    bytes: [&'static [u64]; LANES],
    /// At this end nobody ever takes what comes on this lane.
    stopped: Option<(usize, usize)>,
}

impl Crediting {
    fn bytes(&self, lane: usize, number: u8) -> u64 {
        self.bytes[lane][usize::from(number) % self.bytes[lane].len()]
    }

    fn frame_bytes_max(&self) -> u64 {
        self.bytes.iter().flat_map(|bytes| bytes.iter()).copied().max().unwrap_or(0)
    }

    fn takes(&self, end: usize, lane: usize) -> bool {
        self.stopped != Some((end, lane))
    }
}

const fn other(end: usize) -> usize {
    1 - end
}

impl Model for Crediting {
    type State = [End; 2];
    type Step = Step;

    fn start(&self) -> [End; 2] {
        let lane = || Lane {
            sender: CreditSender::new(WINDOW_BYTES),
            receiver: CreditReceiver::new(WINDOW_BYTES, self.frame_bytes_max()),
            sent: 0,
            arrived: 0,
            taken: 0,
        };
        std::array::from_fn(|_| End { lanes: std::array::from_fn(|_| lane()), pipe: VecDeque::new() })
    }

    fn steps(&self, state: &[End; 2], out: &mut Vec<Step>) {
        for (number, end) in state.iter().enumerate() {
            let room = state[other(number)].pipe.len() < PIPE_FRAMES_MAX;
            if !end.pipe.is_empty() {
                out.push(Step::Reads(number));
            }
            for (at, lane) in end.lanes.iter().enumerate() {
                let more = lane.sent < self.messages[number][at];
                if room && more && lane.sender.available() >= self.bytes(at, lane.sent) {
                    out.push(Step::Sends(number, at));
                }
                if lane.taken < lane.arrived && self.takes(number, at) {
                    out.push(Step::Takes(number, at));
                }
                if room && lane.receiver.clone().poll_grant().is_some() {
                    out.push(Step::Grants(number, at));
                }
            }
        }
    }

    fn take(&self, before: &[End; 2], step: Step) -> Result<[End; 2], String> {
        let mut state = before.clone();
        match step {
            Step::Sends(end, at) => {
                let lane = &mut state[end].lanes[at];
                if !lane.sender.spend(self.bytes(at, lane.sent)) {
                    return Err("there is less credit than it said".into());
                }
                lane.sent += 1;
                state[other(end)].pipe.push_back(Frame::Data(at));
            }
            Step::Reads(end) => match state[end].pipe.pop_front() {
                Some(Frame::Data(at)) => {
                    let lane = &mut state[end].lanes[at];
                    let received = lane.receiver.on_received(self.bytes(at, lane.arrived));
                    received.map_err(|fault| format!("lane {at} at end {end}: {fault}"))?;
                    lane.arrived += 1;
                }
                Some(Frame::Credit(at, total)) => {
                    state[end].lanes[at].sender.on_credit(total);
                }
                None => {}
            },
            Step::Takes(end, at) => {
                let lane = &mut state[end].lanes[at];
                lane.receiver.on_consumed(self.bytes(at, lane.taken));
                lane.taken += 1;
            }
            Step::Grants(end, at) => {
                if let Some(total) = state[end].lanes[at].receiver.poll_grant() {
                    state[other(end)].pipe.push_back(Frame::Credit(at, total));
                }
            }
        }
        match state.iter().flat_map(|end| &end.lanes).find(|lane| lane.receiver.held() > WINDOW_BYTES) {
            Some(lane) => Err(format!("more is held than there is room for: {lane:?}")),
            None => Ok(state),
        }
    }

    fn is_done(&self, state: &[End; 2]) -> bool {
        let ended =
            |end: usize, at: usize| !self.takes(end, at) || state[end].lanes[at].taken == self.messages[other(end)][at];
        (0..2).all(|end| (0..LANES).all(|at| ended(end, at)))
    }
}

/// Looks at all of it, and prints how much that was.
fn check(messages: [[u8; LANES]; 2], bytes: [&'static [u64]; LANES], stopped: Option<(usize, usize)>) {
    let explored = explore(&Crediting { messages, bytes, stopped }, 3_000_000);
    println!("{explored:?}");
    assert!(explored.states > 1_000 && explored.done > 0, "{explored:?}");
}

#[test]
fn two_lanes_both_ways_always_come_to_their_end() {
    check([[3, 3], [1, 1]], [&[2], &[1, 3]], None);
    check([[2, 2], [2, 2]], [&[4], &[3]], None);
    // Less than half of the window is free again, and the next message needs all of it.
    check([[3, 2], [2, 2]], [&[1, 4], &[3]], None);
}

#[test]
fn a_lane_that_nobody_takes_from_keeps_no_other_one_from_its_end() {
    for stopped in [(1, 0), (1, 1), (0, 0)] {
        check([[3, 3], [2, 2]], [&[2], &[1, 3]], Some(stopped));
    }
}

#[test]
#[should_panic(expected = "a dead end")]
fn a_message_that_never_fits_would_wait_for_ever() {
    check([[2, 2], [0, 0]], [&[WINDOW_BYTES + 1], &[1]], None);
}
