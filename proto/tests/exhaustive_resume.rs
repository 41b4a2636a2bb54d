//! Resume counts across broken links, exhaustively: whatever is cut at whatever byte, and however late either side learns
//! of it, every frame of two reliable lanes arrives once and in order, both ways.
//!
//! A frame is two bytes here: a link may break between them. The client redials whenever it loses a link; the broker reads
//! what an old link still holds for as long as it likes, and an attempt that was overtaken may arrive last.

mod explorer;

use explorer::{Model, explore};
use laneway_proto::frame::count::{self, COUNT_FRAME_BYTES_MAX};
use laneway_proto::lane::kept::{Kept, Ring, Store as _};
use laneway_proto::lane::tally::Tally;
use laneway_proto::limits::{COUNT_MS_MAX, HEADER_BYTES};
use laneway_proto::time::{Duration, Instant};

const LANES: usize = 2;
/// Frames of a lane that are kept at most.
const KEPT_MAX: usize = 2;
/// Frames on their way in one direction of a link at most.
const PIPE_FRAMES_MAX: usize = 3;
const NOW: Instant = Instant(0);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Frame {
    /// HELLO or WELCOME, with what its sender has received on each lane.
    Resume([u64; LANES]),
    /// A message of a lane, by its number.
    Data(u8, u8),
    Count([Option<u64>; LANES]),
}

/// One direction of a link.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Pipe {
    frames: Vec<Frame>,
    /// The first byte of the frame in front was read.
    half: bool,
}

impl Pipe {
    fn read_byte(&mut self) -> Option<Frame> {
        self.half = !self.half;
        (!self.half).then(|| self.frames.remove(0))
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Link {
    to_client: Pipe,
    to_broker: Pipe,
    client_open: bool,
    broker_open: bool,
}

/// One end of the session.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct End {
    kept: [Kept<Ring<u8, KEPT_MAX>>; LANES],
    tally: Tally,
    /// Messages of each lane that were handed in so far.
    published: [u8; LANES],
    /// Messages of each lane that arrived, all of them once and in order.
    delivered: [u8; LANES],
    /// The link it uses, once the other side has said RESUME on it.
    link: Option<usize>,
}

impl End {
    fn new() -> Self {
        Self {
            kept: std::array::from_fn(|_| Kept::new(Ring::default())),
            tally: Tally::new(0b110),
            published: [0; LANES],
            delivered: [0; LANES],
            link: None,
        }
    }

    fn totals(&self) -> [u64; LANES] {
        std::array::from_fn(|lane| self.tally.total(lane as u8 + 1))
    }

    fn lose_link(&mut self) {
        self.link = None;
        self.kept.iter_mut().for_each(Kept::on_link_lost);
    }

    fn resume(&mut self, link: usize, totals: [u64; LANES]) -> Result<(), String> {
        self.lose_link();
        for (lane, total) in totals.into_iter().enumerate() {
            self.kept[lane].on_resume(total).map_err(|fault| format!("lane {lane}: {fault}"))?;
            while self.kept[lane].poll_free().is_some() {}
        }
        self.tally.on_told();
        self.link = Some(link);
        Ok(())
    }

    /// The next frame of a lane for the link: first what has to be sent again, then a new one of `wanted` in all.
    fn next_frame(&mut self, lane: usize, wanted: u8) -> Option<Frame> {
        if let Some(again) = self.kept[lane].poll_again() {
            return Some(Frame::Data(lane as u8, again.handle));
        }
        let number = self.published[lane] + 1;
        if number > wanted || !self.kept[lane].push(number, 1) {
            return None;
        }
        self.published[lane] = number;
        Some(Frame::Data(lane as u8, number))
    }

    fn next_count(&mut self) -> Option<Frame> {
        let mut out = [0; COUNT_FRAME_BYTES_MAX];
        let frame = self.tally.poll_transmit(NOW + Duration::from_millis(COUNT_MS_MAX), &mut out)?;
        let mut totals = [None; LANES];
        for entry in count::decode(&frame[HEADER_BYTES..]).expect("valid") {
            totals[usize::from(entry.lane) - 1] = Some(entry.total);
        }
        Some(Frame::Count(totals))
    }

    fn receive(&mut self, frame: Frame) -> Result<(), String> {
        match frame {
            Frame::Resume(_) => Err("a second RESUME on a link".into()),
            Frame::Data(lane, number) => {
                let delivered = &mut self.delivered[usize::from(lane)];
                if number != *delivered + 1 {
                    return Err(format!("lane {lane}: number {number} behind number {delivered}"));
                }
                *delivered = number;
                self.tally.on_received(NOW, lane + 1, 1);
                Ok(())
            }
            Frame::Count(totals) => {
                for (lane, total) in totals.into_iter().enumerate() {
                    let Some(total) = total else { continue };
                    self.kept[lane].on_count(total).map_err(|fault| format!("lane {lane}: {fault}"))?;
                    while self.kept[lane].poll_free().is_some() {}
                }
                Ok(())
            }
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct System {
    client: End,
    broker: End,
    links: Vec<Link>,
    breaks: u8,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    ClientReads,
    BrokerReads(usize),
    ClientSends(usize),
    BrokerSends(usize),
    ClientCounts,
    BrokerCounts,
    /// The client loses its link and dials.
    Breaks,
    /// The broker learns that a link is gone; what it had not read is lost.
    BrokerNotices(usize),
}

/// Two ends that want to send so many messages on each lane, while links break.
struct Resuming {
    from_client: [u8; LANES],
    from_broker: [u8; LANES],
    breaks_max: u8,
}

impl Resuming {
    fn dial(state: &mut System) {
        let mut link =
            Link { to_client: Pipe::default(), to_broker: Pipe::default(), client_open: true, broker_open: true };
        link.to_broker.frames.push(Frame::Resume(state.client.totals()));
        state.links.push(link);
    }

    fn present(state: &System) -> usize {
        state.links.len() - 1
    }

    /// Forgets what can make no difference any more, so that equal states look equal.
    fn tidy(state: &mut System) {
        let present = Self::present(state);
        for (number, link) in state.links.iter_mut().enumerate() {
            if !link.client_open {
                link.to_client = Pipe::default();
            }
            if !link.broker_open {
                link.to_broker = Pipe::default();
            }
            debug_assert!(link.client_open == (number == present), "the client uses the link it dialled last");
        }
    }

    /// A whole frame arrived at the broker.
    fn broker_receives(state: &mut System, link: usize, frame: Frame) -> Result<(), String> {
        if state.broker.link == Some(link) {
            return state.broker.receive(frame);
        }
        let Frame::Resume(totals) = frame else { return Err("an attempt does not begin with RESUME".into()) };
        // The counts are looked at before anything is given up for them.
        let mut resumed = state.broker.clone();
        if resumed.resume(link, totals).is_err() {
            if link == Self::present(state) {
                return Err(format!("the counts {totals:?} of the newest attempt were refused"));
            }
            state.links[link].broker_open = false;
            return Ok(());
        }
        if let Some(old) = state.broker.link {
            state.links[old].broker_open = false;
        }
        let answer = Frame::Resume(resumed.totals());
        state.broker = resumed;
        if state.links[link].client_open {
            state.links[link].to_client.frames.push(answer);
        }
        Ok(())
    }

    fn client_receives(state: &mut System, frame: Frame) -> Result<(), String> {
        let present = Self::present(state);
        match (state.client.link, frame) {
            (None, Frame::Resume(totals)) => state.client.resume(present, totals),
            (None, frame) => Err(format!("{frame:?} before the broker's RESUME")),
            (Some(_), frame) => state.client.receive(frame),
        }
    }
}

impl Model for Resuming {
    type State = System;
    type Step = Step;

    fn start(&self) -> System {
        let mut state = System { client: End::new(), broker: End::new(), links: Vec::new(), breaks: 0 };
        Self::dial(&mut state);
        state
    }

    fn steps(&self, state: &System, out: &mut Vec<Step>) {
        let present = Self::present(state);
        let link = &state.links[present];
        if !link.to_client.frames.is_empty() {
            out.push(Step::ClientReads);
        }
        for (number, link) in state.links.iter().enumerate().filter(|(_, link)| link.broker_open) {
            if !link.to_broker.frames.is_empty() {
                out.push(Step::BrokerReads(number));
            }
            if !link.client_open {
                out.push(Step::BrokerNotices(number));
            }
        }
        let lanes = |end: &End, wanted| (0..LANES).filter(|&lane| has_more(end, lane, wanted)).collect::<Vec<_>>();
        if state.client.link.is_some() && link.to_broker.frames.len() < PIPE_FRAMES_MAX {
            out.extend(lanes(&state.client, self.from_client).into_iter().map(Step::ClientSends));
            if state.client.tally.poll_timeout().is_some() {
                out.push(Step::ClientCounts);
            }
        }
        if let Some(used) = state.broker.link
            && state.links[used].to_client.frames.len() < PIPE_FRAMES_MAX
        {
            out.extend(lanes(&state.broker, self.from_broker).into_iter().map(Step::BrokerSends));
            if state.broker.tally.poll_timeout().is_some() {
                out.push(Step::BrokerCounts);
            }
        }
        if state.breaks < self.breaks_max || !link.broker_open {
            out.push(Step::Breaks);
        }
    }

    fn take(&self, before: &System, step: Step) -> Result<System, String> {
        let mut state = before.clone();
        let present = Self::present(&state);
        match step {
            Step::ClientReads => {
                if let Some(frame) = state.links[present].to_client.read_byte() {
                    Self::client_receives(&mut state, frame)?;
                }
            }
            Step::BrokerReads(link) => {
                if let Some(frame) = state.links[link].to_broker.read_byte() {
                    Self::broker_receives(&mut state, link, frame)?;
                }
            }
            Step::ClientSends(lane) => {
                let frame = state.client.next_frame(lane, self.from_client[lane]);
                state.links[present].to_broker.frames.extend(frame);
            }
            Step::BrokerSends(lane) => {
                let frame = state.broker.next_frame(lane, self.from_broker[lane]);
                let used = state.broker.link.expect("the step is not offered otherwise");
                state.links[used].to_client.frames.extend(frame);
            }
            Step::ClientCounts => {
                let frame = state.client.next_count();
                state.links[present].to_broker.frames.extend(frame);
            }
            Step::BrokerCounts => {
                let frame = state.broker.next_count();
                let used = state.broker.link.expect("the step is not offered otherwise");
                state.links[used].to_client.frames.extend(frame);
            }
            Step::Breaks => {
                // A link that the broker has ended is no new misfortune.
                state.breaks += u8::from(state.links[present].broker_open);
                state.links[present].client_open = false;
                state.client.lose_link();
                Self::dial(&mut state);
            }
            Step::BrokerNotices(link) => {
                state.links[link].broker_open = false;
                if state.broker.link == Some(link) {
                    state.broker.lose_link();
                }
            }
        }
        Self::tidy(&mut state);
        Ok(state)
    }

    fn is_done(&self, state: &System) -> bool {
        let forgotten = |end: &End| end.kept.iter().all(|kept| kept.store().count() == 0);
        state.broker.delivered == self.from_client
            && state.client.delivered == self.from_broker
            && forgotten(&state.client)
            && forgotten(&state.broker)
    }
}

/// Whether a lane has a frame for the link.
fn has_more(end: &End, lane: usize, wanted: [u8; LANES]) -> bool {
    let kept = &end.kept[lane];
    kept.has_again() || end.published[lane] < wanted[lane] && kept.store().count() < KEPT_MAX
}

/// Looks at all of it, and prints how much that was.
fn check(from_client: [u8; LANES], from_broker: [u8; LANES], breaks_max: u8) {
    let explored = explore(&Resuming { from_client, from_broker, breaks_max }, 2_000_000);
    println!("{explored:?}");
    assert!(explored.states > 1_000 && explored.done > 0, "{explored:?}");
}

#[test]
fn four_frames_to_the_client_arrive_once_and_in_order_however_often_the_link_breaks() {
    let long = std::env::var_os("LANEWAY_LONG").is_some_and(|value| value == "1");
    check([0, 0], [2, 2], if long { 3 } else { 2 });
}

#[test]
fn frames_both_ways_arrive_once_and_in_order_however_often_the_link_breaks() {
    let long = std::env::var_os("LANEWAY_LONG").is_some_and(|value| value == "1");
    check([1, 1], [1, 1], if long { 2 } else { 1 });
}

#[test]
fn two_frames_arrive_once_and_in_order_over_four_links() {
    check([0, 0], [2, 0], 3);
    check([0, 0], [1, 1], 3);
    check([1, 0], [1, 0], 3);
}
