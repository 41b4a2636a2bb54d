//! The handshake of a serial link, exhaustively: restarts of either side at any step, sessions given up, frames lost at
//! any place, and frames of earlier sessions still in the line. Both ends always can, and whenever nothing more happens do,
//! end in the same session, and no data of another one is accepted.

mod explorer;

use std::collections::VecDeque;

use laneway_proto::error::CloseCode;
use laneway_proto::serial::handshake::{Handshake, Heard, Phase, Say};
use laneway_proto::serial::hello::Role;
use laneway_proto::time::Instant;

use explorer::{Model, explore};

const NOW: Instant = Instant(0);
/// When every timer has run out.
const LATER: Instant = Instant(u64::MAX);
/// A frame on the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
enum Frame {
    Link(Say),
    /// What checks it, and the truth: the nonces (host, device) of the session in which it was sent.
    Data {
        preset: u32,
        session: (u32, u32),
    },
}

#[derive(Clone, PartialEq, Eq, Debug, Hash)]
struct End {
    shake: Handshake,
    /// Every session that this incarnation has opened.
    opened: Vec<(u32, u32)>,
}

#[derive(Clone, PartialEq, Eq, Debug, Hash)]
struct System {
    ends: [End; 2],
    /// What end 0 sent, and what end 1 sent.
    lines: [VecDeque<Frame>; 2],
    restarts: [u8; 2],
    given_up: u8,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The end sends the LINK frame that it owes.
    Says(usize),
    /// It has waited long enough, and says HELLO again.
    Repeats(usize),
    SendsData(usize),
    /// The end reads the next frame.
    Reads(usize),
    /// The next frame for this end is damaged.
    Loses(usize),
    Restarts(usize),
    /// It has heard nothing good for long.
    GivesUp(usize),
}

struct Shaking {
    /// Frames in one direction of the line. What is sent beyond that is lost, which the line may do at any time.
    line_frames_max: usize,
    restarts_max: u8,
    given_up_max: u8,
}

const ROLES: [Role; 2] = [Role::Host, Role::Device];

impl End {
    fn new(at: usize, incarnation: u8) -> Self {
        let entropy = 1 + 2 * u32::from(incarnation) + at as u32;
        Self { shake: Handshake::new(NOW, ROLES[at], entropy), opened: Vec::new() }
    }

    /// The nonces of host and device, as this end knows them.
    fn session(&self) -> (u32, u32) {
        let (mine, theirs) = self.shake.nonces();
        match self.shake.role() {
            Role::Host => (mine, theirs),
            Role::Device => (theirs, mine),
        }
    }

    fn on_opened(&mut self, opened: bool) -> Result<(), String> {
        if opened {
            if self.opened.contains(&self.session()) {
                return Err("a session was opened twice: its numbers begin anew, and old frames fit".into());
            }
            self.opened.push(self.session());
        }
        Ok(())
    }

    fn read(&mut self, frame: Frame) -> Result<(), String> {
        match frame {
            Frame::Link(Say::Hello { nonce }) => {
                let _: Heard = self.shake.on_hello(nonce);
            }
            Frame::Link(Say::Welcome { yours, mine }) => {
                let opened = self.shake.on_welcome(yours, mine);
                self.on_opened(opened)?;
            }
            Frame::Link(Say::Reset { yours, mine, code }) => {
                let _ended: bool = self.shake.on_reset(NOW, yours, mine, code);
            }
            Frame::Data { preset, session } => {
                if self.shake.phase() != Phase::Seeking && preset == self.shake.preset() {
                    if session != self.session() {
                        return Err(format!("data of {session:x?} are accepted in {:x?}", self.session()));
                    }
                    let opened = self.shake.on_good_frame();
                    self.on_opened(opened)?;
                }
            }
        }
        Ok(())
    }
}

impl System {
    fn send(&mut self, at: usize, frame: Frame, line_frames_max: usize) {
        if self.lines[at].len() < line_frames_max {
            self.lines[at].push_back(frame);
        }
    }
}

impl Model for Shaking {
    type State = System;
    type Step = Step;

    fn start(&self) -> System {
        let ends = [End::new(0, 0), End::new(1, 0)];
        System { ends, lines: Default::default(), restarts: [0; 2], given_up: 0 }
    }

    fn steps(&self, state: &System, out: &mut Vec<Step>) {
        for at in 0..2 {
            let shake = &state.ends[at].shake;
            if owes(&state.ends[at]) {
                out.push(Step::Says(at));
            } else if shake.phase() != Phase::Open && !state.lines[at].iter().any(is_hello) {
                out.push(Step::Repeats(at));
            }
            let has_data = state.lines[at].iter().any(|frame| matches!(frame, Frame::Data { .. }));
            if shake.phase() == Phase::Open && !has_data {
                out.push(Step::SendsData(at));
            }
            if !state.lines[1 - at].is_empty() {
                out.extend([Step::Reads(at), Step::Loses(at)]);
            }
            if state.restarts[0] + state.restarts[1] < self.restarts_max {
                out.push(Step::Restarts(at));
            }
            if shake.phase() == Phase::Open && state.given_up < self.given_up_max {
                out.push(Step::GivesUp(at));
            }
        }
    }

    fn take(&self, state: &System, step: Step) -> Result<System, String> {
        let mut next = state.clone();
        match step {
            Step::Says(at) => {
                let say = next.ends[at].shake.poll(NOW, true).expect("the step is not offered otherwise");
                next.send(at, Frame::Link(say), self.line_frames_max);
            }
            Step::Repeats(at) => {
                let say = next.ends[at].shake.poll(LATER, true).ok_or("an end that is not open falls silent")?;
                next.send(at, Frame::Link(say), self.line_frames_max);
            }
            Step::SendsData(at) => {
                let end = &next.ends[at];
                let frame = Frame::Data { preset: end.shake.preset(), session: end.session() };
                next.send(at, frame, self.line_frames_max);
            }
            Step::Reads(at) => {
                let frame = next.lines[1 - at].pop_front().expect("the step is not offered otherwise");
                next.ends[at].read(frame)?;
            }
            Step::Loses(at) => drop(next.lines[1 - at].pop_front()),
            Step::Restarts(at) => {
                next.restarts[at] += 1;
                next.ends[at] = End::new(at, next.restarts[at]);
            }
            Step::GivesUp(at) => {
                next.given_up += 1;
                next.ends[at].shake.end(NOW, CloseCode::Timeout as u8);
            }
        }
        Ok(next)
    }

    fn is_done(&self, state: &System) -> bool {
        let [host, device] = &state.ends;
        let open = |end: &End| end.shake.phase() == Phase::Open && !owes(end);
        open(host) && open(device) && host.session() == device.session() && state.lines.iter().all(VecDeque::is_empty)
    }
}

fn is_hello(frame: &Frame) -> bool {
    matches!(frame, Frame::Link(Say::Hello { .. }))
}

/// Looks at all of it, and prints how much that was.
fn check(line_frames_max: usize, restarts_max: u8, given_up_max: u8) {
    let explored = explore(&Shaking { line_frames_max, restarts_max, given_up_max }, 3_000_000);
    println!("{restarts_max} restarts, {given_up_max} given up: {explored:?}");
    assert!(explored.states > 1_000 && explored.done > 0, "{explored:?}");
}

#[test]
fn both_ends_meet_in_one_session_whoever_restarts_when_and_take_no_data_of_another() {
    check(3, 1, 0);
    if long() {
        check(2, 2, 0);
    }
}

#[test]
fn both_ends_meet_again_after_one_of_them_gave_the_session_up() {
    check(2, 0, 1);
    if long() {
        check(2, 1, 1);
    }
}

fn long() -> bool {
    std::env::var_os("LANEWAY_LONG").is_some_and(|value| value == "1")
}

/// Whether the end has something to say without waiting.
fn owes(end: &End) -> bool {
    let mut shake = end.shake;
    shake.poll(NOW, true).is_some()
}
