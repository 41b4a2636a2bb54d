//! A reliable lane over datagrams, exhaustively: whatever was ever sent may arrive at any time, again, or never, and the
//! sender may take anything for lost, or give a message up, whenever it likes. Every message is delivered once or reported
//! lost, never both; what the sender was told is what the receiver knows; and as soon as the network heals, all of it
//! comes to its end.
//!
//! The numbers of a lane run over their wrap, which takes the place of a small space of numbers.

mod explorer;

use std::collections::BTreeSet;

use explorer::{Model, explore};
use laneway_proto::datagram::loss::RangeLost;
use laneway_proto::datagram::outbound::{Carried, Content, FrameSlot, Outbound, Outcome, PayloadId};
use laneway_proto::datagram::received::{Received, Span};
use laneway_proto::datagram::sent::{Fate, SentSlot};
use laneway_proto::frame::extensions::Frag;
use laneway_proto::frame::lost::LossReason;
use laneway_proto::header::{Flags, Kind, seq_after};
use laneway_proto::lane::sequencer::{Before, ExactlyOnce, Verdict, forward};
use laneway_proto::time::Instant;

const NOW: Instant = Instant(1);
const LANE: u8 = 1;
/// The number of the lane's first frame: 0 is no number, so the third one is 1.
const FIRST: u32 = u32::MAX - 1;
const FRAMES_MAX: usize = 6;
const DATAGRAMS_KEPT: usize = 16;
/// Rounds within which a healed network brings everything to its end.
const HEALING_ROUNDS_MAX: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Frame {
    /// A frame, by its place in the lane.
    Data(usize),
    /// These will not come: the first one's place, how many, and the messages that are counted with them.
    Lost(usize, u32, u32),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Datagram {
    number: u32,
    /// The oldest that the sender waits for.
    trail: u32,
    frame: Frame,
}

/// An acknowledgement: everything through a number, and each other that arrived, a bit each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Ack {
    through: u32,
    others: u64,
}

/// What became of a frame at the receiver.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Known {
    Nothing,
    Held,
    Delivered,
    Lost,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Sender {
    outbound: Outbound<[FrameSlot; FRAMES_MAX], [SentSlot; DATAGRAMS_KEPT]>,
    next_number: u32,
    /// Frames of all messages that were sent or skipped.
    taken: usize,
    told: [Option<Outcome>; FRAMES_MAX],
    /// Messages that were given up, a bit each.
    given_up: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Receiver {
    received: Received<1>,
    lane: ExactlyOnce<[u64; 2]>,
    frames: [Known; FRAMES_MAX],
    /// Messages of which a part is lost, a bit each: what is there of them was dropped.
    cut: u8,
    /// Messages that were reported lost, a bit each.
    reported: u8,
}

/// Both sides, and everything that was ever sent: the network keeps it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct System {
    sender: Sender,
    receiver: Receiver,
    datagrams: BTreeSet<Datagram>,
    acks: BTreeSet<Ack>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    SendsNew,
    SendsAgain,
    /// The sender takes the oldest datagram in flight for lost.
    TakesForLost,
    GivesUp,
    Arrives(Datagram),
    Answers,
    Hears(Ack),
}

struct Arq {
    ordered: bool,
    window: u32,
    /// Frames of each message.
    messages: &'static [usize],
    /// Datagrams that the model sends; a healed network has as many more as it needs.
    datagrams_max: u32,
    given_up_max: u32,
}

impl Arq {
    fn frames(&self) -> usize {
        self.messages.iter().sum()
    }

    /// The message of a frame, and the place of its first frame.
    fn message_of(&self, frame: usize) -> (usize, usize) {
        let mut first = 0;
        for (message, &frames) in self.messages.iter().enumerate() {
            if frame < first + frames {
                return (message, first);
            }
            first += frames;
        }
        unreachable!("there are {} frames", self.frames())
    }

    fn carried(&self, frame: usize) -> Carried {
        let (message, first) = self.message_of(frame);
        let count = self.messages[message] as u16;
        let frag = Frag { index: (frame - first) as u16, count, total_len: 100 * u32::from(count) };
        Carried {
            kind: Kind::PUB,
            flags: Flags(0),
            hops: 0,
            ckey: 0,
            topic: 7,
            payload: PayloadId(frame as u32),
            body_bytes: 100,
            frag: (count > 1).then_some(frag),
            messages: 1,
            deadline: None,
        }
    }

    /// Drops fragments of a message that was given up, and returns the frame that is next.
    fn peek(&self, sender: &mut Sender) -> Option<Carried> {
        while sender.taken < self.frames() {
            let carried = self.carried(sender.taken);
            if !sender.outbound.skips(LANE, carried.frag.map(|frag| frag.index)) {
                return Some(carried);
            }
            sender.taken += 1;
        }
        None
    }

    fn can_send_new(&self, sender: &Sender) -> bool {
        let mut sender = sender.clone();
        let Some(carried) = self.peek(&mut sender) else { return false };
        let begins = carried.frag.filter(|frag| frag.index == 0).map(|frag| frag.total_len);
        sender.outbound.check_room(LANE, 0, begins, u64::MAX).is_ok() && sender.outbound.has_room_for_datagram(NOW)
    }

    fn is_complete(&self, sender: &Sender) -> bool {
        let mut sender = sender.clone();
        self.peek(&mut sender).is_none() && sender.outbound.oldest_unsettled(LANE).is_none()
    }

    /// What a reader of the lane and its writer may never both believe.
    fn judge(&self, state: &System) -> Result<(), String> {
        let (sender, receiver) = (&state.sender, &state.receiver);
        let mut first = 0;
        for (message, &frames) in self.messages.iter().enumerate() {
            let known = &receiver.frames[first..first + frames];
            let told = &sender.told[first..first + frames];
            let reported = receiver.reported & 1 << message != 0;
            let given_up = sender.given_up & 1 << message != 0;
            let delivered = known.iter().all(|&known| known == Known::Delivered);
            if delivered && reported {
                return Err(format!("message {message} was delivered, and reported lost"));
            }
            if reported && !given_up {
                return Err(format!("message {message} was reported lost, and nobody had given it up"));
            }
            let arrived = |known: Known| matches!(known, Known::Delivered | Known::Held);
            let wrong = |(&known, &told): (&Known, &Option<Outcome>)| told == Some(Outcome::Acked) && !arrived(known);
            if !given_up && known.iter().zip(told).any(wrong) {
                return Err(format!("message {message} was acknowledged, and did not arrive"));
            }
            if self.is_complete(sender) && delivered == reported {
                return Err(format!("nobody waits for message {message}, and it is {known:?}, reported: {reported}"));
            }
            first += frames;
        }
        Ok(())
    }

    /// From now on everything arrives at once.
    fn heal(&self, state: &System) -> Result<(), String> {
        let mut state = state.clone();
        for _ in 0..HEALING_ROUNDS_MAX {
            while state.sender.outbound.lose_oldest(Fate::Unheard, |_| true).is_some() {}
            loop {
                let next = if state.sender.outbound.again(LANE).is_some() {
                    state.sender.send_again()
                } else if self.can_send_new(&state.sender) {
                    state.sender.send_new(self)
                } else {
                    break;
                };
                state.receiver.on_datagram(self, next)?;
                state.sender.on_ack(state.receiver.ack());
                self.judge(&state)?;
            }
            if self.is_complete(&state.sender) {
                return Ok(());
            }
        }
        Err(format!("the network has healed, and not all of it comes to its end: {state:#?}"))
    }
}

impl Sender {
    fn send_new(&mut self, model: &Arq) -> Datagram {
        let carried = model.peek(self).expect("the step is not offered otherwise");
        let seq = self.outbound.add_new(NOW, LANE, carried);
        assert_eq!(place_of(seq), self.taken, "a frame has the number of its place");
        self.taken += 1;
        self.close(Frame::Data(place_of(seq)))
    }

    fn send_again(&mut self) -> Datagram {
        let slot = *self.outbound.again(LANE).expect("the step is not offered otherwise");
        let frame = match slot.content() {
            Content::Frame(_) => Frame::Data(place_of(slot.first_seq())),
            Content::Lost { .. } | Content::Free => {
                let RangeLost { first, count, messages, .. } =
                    self.outbound.lost_again(LANE).expect("the step is not offered otherwise");
                Frame::Lost(place_of(first), count, messages)
            }
        };
        self.outbound.add_again(LANE);
        self.close(frame)
    }

    fn close(&mut self, frame: Frame) -> Datagram {
        let number = self.next_number;
        self.next_number += 1;
        assert!(self.outbound.has_room_for_datagram(NOW), "the table of datagrams is large enough");
        self.outbound.close(NOW, number, 200, true);
        let trail = self.outbound.sent().oldest().map_or(self.next_number, |slot| slot.number);
        Datagram { number, trail, frame }
    }

    fn give_up(&mut self, model: &Arq) {
        let name = self.outbound.again(LANE).map(FrameSlot::first_seq).expect("the step is not offered otherwise");
        if self.outbound.abandon_again(LANE, LossReason::Ttl) {
            self.given_up |= 1 << model.message_of(place_of(name)).0;
        }
        self.hear_settled();
    }

    fn on_ack(&mut self, ack: Ack) {
        self.outbound.on_through(ack.through, &mut |_| {});
        for bit in (0..u64::BITS).filter(|bit| ack.others & 1 << bit != 0) {
            self.outbound.on_span(Span { first: bit, last: bit }, &mut |_| {});
        }
        self.hear_settled();
    }

    fn hear_settled(&mut self) {
        while let Some(settled) = self.outbound.poll_settled() {
            let told = &mut self.told[place_of(settled.seq)];
            assert_eq!(*told, None, "a frame is settled once");
            *told = Some(settled.outcome);
        }
    }
}

impl Receiver {
    fn on_datagram(&mut self, model: &Arq, datagram: Datagram) -> Result<(), String> {
        if self.received.place(datagram.number).is_none() {
            return Ok(());
        }
        self.received.insert(datagram.number);
        self.received.on_trail(datagram.trail);
        match datagram.frame {
            Frame::Data(place) => match self.lane.on_message(seq_of(place)) {
                Verdict::Deliver => self.deliver(model, place)?,
                Verdict::Hold if model.ordered => self.change(place, Known::Nothing, Known::Held)?,
                Verdict::Duplicate if self.frames[place] != Known::Nothing => {}
                verdict @ (Verdict::Hold | Verdict::Duplicate | Verdict::Beyond) => {
                    return Err(format!("frame {place}, which is {:?}: {verdict:?}", self.frames[place]));
                }
            },
            Frame::Lost(place, count, messages) => self.on_lost(model, place, count, messages)?,
        }
        while let Some(seq) = self.lane.release() {
            if self.frames[place_of(seq)] != Known::Held {
                return Err(format!("frame {} is released, and was not held", place_of(seq)));
            }
            self.deliver(model, place_of(seq))?;
        }
        Ok(())
    }

    fn change(&mut self, place: usize, from: Known, to: Known) -> Result<(), String> {
        if self.frames[place] != from {
            return Err(format!("frame {place} is {:?}, not {from:?}, and becomes {to:?}", self.frames[place]));
        }
        self.frames[place] = to;
        Ok(())
    }

    fn deliver(&mut self, model: &Arq, place: usize) -> Result<(), String> {
        let (message, _) = model.message_of(place);
        if self.cut & 1 << message != 0 {
            return Err(format!("frame {place} of message {message} is delivered, of which a part is lost"));
        }
        if matches!(self.frames[place], Known::Delivered | Known::Lost) {
            return Err(format!("frame {place} is {:?}, and is delivered", self.frames[place]));
        }
        let open = |known: &Known| matches!(known, Known::Nothing | Known::Held);
        if model.ordered && self.frames[..place].iter().any(open) {
            return Err(format!("frame {place} is delivered before one in front of it"));
        }
        self.frames[place] = Known::Delivered;
        Ok(())
    }

    fn on_lost(&mut self, model: &Arq, place: usize, count: u32, messages: u32) -> Result<(), String> {
        let mut lost = Vec::new();
        let mut each = |step: u32, before| lost.push((place + step as usize, before));
        let is_lost = self.lane.on_message_lost(seq_of(place), count, &mut each);
        for (place, before) in lost {
            let from = if before == Before::Held { Known::Held } else { Known::Nothing };
            self.change(place, from, Known::Lost)?;
        }
        if is_lost {
            let message = 1 << model.message_of(place).0;
            self.cut |= message;
            self.reported |= if messages > 0 { message } else { 0 };
        }
        Ok(())
    }

    fn ack(&self) -> Ack {
        let mut others = 0;
        for Span { first, last } in self.received.spans(1) {
            (first.max(1)..=last).for_each(|number| others |= 1 << number);
        }
        Ack { through: self.received.through(), others }
    }
}

fn seq_of(place: usize) -> u32 {
    seq_after(FIRST, place as u32)
}

fn place_of(seq: u32) -> usize {
    forward(FIRST, seq).expect("no number is older than the first") as usize
}

impl Model for Arq {
    type State = System;
    type Step = Step;

    fn start(&self) -> System {
        let (frames, datagrams) = ([FrameSlot::default(); FRAMES_MAX], [SentSlot::default(); DATAGRAMS_KEPT]);
        System {
            sender: Sender {
                outbound: Outbound::new(frames, datagrams, FIRST, self.window),
                next_number: 1,
                taken: 0,
                told: [None; FRAMES_MAX],
                given_up: 0,
            },
            receiver: Receiver {
                received: Received::new(1),
                lane: ExactlyOnce::with_words([0; 2], FIRST, self.ordered),
                frames: [Known::Nothing; FRAMES_MAX],
                cut: 0,
                reported: 0,
            },
            datagrams: BTreeSet::new(),
            acks: BTreeSet::new(),
        }
    }

    fn steps(&self, state: &System, out: &mut Vec<Step>) {
        let sender = &state.sender;
        let may_send = sender.next_number <= self.datagrams_max;
        match sender.outbound.again(LANE).map(FrameSlot::content) {
            Some(content) => {
                out.extend(may_send.then_some(Step::SendsAgain));
                let more = sender.given_up.count_ones() < self.given_up_max;
                out.extend((more && matches!(content, Content::Frame(_))).then_some(Step::GivesUp));
            }
            None => out.extend((may_send && self.can_send_new(sender)).then_some(Step::SendsNew)),
        }
        if may_send && sender.outbound.sent().in_flight() > 0 {
            out.push(Step::TakesForLost);
        }
        let new = |datagram: &&Datagram| state.receiver.received.place(datagram.number).is_some();
        out.extend(state.datagrams.iter().filter(new).copied().map(Step::Arrives));
        if !state.acks.contains(&state.receiver.ack()) {
            out.push(Step::Answers);
        }
        out.extend(state.acks.iter().copied().map(Step::Hears));
    }

    fn take(&self, state: &System, step: Step) -> Result<System, String> {
        let mut next = state.clone();
        match step {
            Step::SendsNew => {
                let datagram = next.sender.send_new(self);
                next.datagrams.insert(datagram);
            }
            Step::SendsAgain => {
                let datagram = next.sender.send_again();
                next.datagrams.insert(datagram);
            }
            Step::TakesForLost => drop(next.sender.outbound.lose_oldest(Fate::Overtaken, |_| true)),
            Step::GivesUp => next.sender.give_up(self),
            Step::Arrives(datagram) => next.receiver.on_datagram(self, datagram)?,
            Step::Answers => drop(next.acks.insert(next.receiver.ack())),
            Step::Hears(ack) => next.sender.on_ack(ack),
        }
        self.judge(&next)?;
        self.heal(&next)?;
        Ok(next)
    }

    /// That all of it comes to its end is judged in every state; here it is enough that something did happen.
    fn is_done(&self, state: &System) -> bool {
        self.is_complete(&state.sender) || state.sender.next_number > self.datagrams_max
    }
}

/// Looks at all of it, and prints how much that was.
fn check(messages: &'static [usize], window: u32, datagrams_max: u32, given_up_max: u32) {
    for ordered in [false, true] {
        let explored = explore(&Arq { ordered, window, messages, datagrams_max, given_up_max }, 3_000_000);
        println!("{messages:?}, window {window}, ordered {ordered}: {explored:?}");
        assert!(explored.states > 1_000 && explored.done > 0, "{explored:?}");
    }
}

/// Whether the large models are to be looked at, too.
fn is_long() -> bool {
    std::env::var_os("LANEWAY_LONG").is_some()
}

#[test]
fn every_message_arrives_once_whatever_the_network_does() {
    check(&[1, 1], 2, 4, 0);
    check(&[1, 1, 1], 2, 4, 0);
    if is_long() {
        check(&[1, 1, 1, 1], 3, 5, 0);
        check(&[1, 2, 1], 3, 5, 0);
    }
}

#[test]
fn what_is_given_up_is_delivered_or_reported_and_both_sides_believe_the_same() {
    check(&[1, 1], 2, 4, 2);
    check(&[2, 1], 2, 4, 1);
    // A message of more fragments than the window has room for is reported in parts.
    check(&[3], 2, 4, 1);
    check(&[4], 2, 4, 1);
    if is_long() {
        check(&[1, 1, 1], 2, 4, 2);
        check(&[1, 3, 1], 2, 5, 1);
    }
}
