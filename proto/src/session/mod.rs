//! The life of one peer on a stream link: preface, HELLO, open, closing, closed.
//!
//! The owner calls, in this order: the `on_` method for what happened, then sends what it was told to send, then asks
//! [`Session::poll_timeout`] when to call [`Session::on_timeout`]. The machine never blocks, sends or allocates.

pub mod handshake;

use crate::error::{PeerFault, Rejected};
use crate::header::{Header, Kind};
use crate::limits::{HANDSHAKE_MS_MAX_DEFAULT, LANES_MAX, MALFORMED_PER_SECOND_MAX, PARTIAL_FRAME_MS_MAX_DEFAULT};
use crate::time::{Duration, Instant};

/// Where a session stands. It only ever moves down this list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum State {
    /// Waiting for the peer's preface.
    Preface,
    /// Waiting for HELLO (broker) or WELCOME (client).
    Hello,
    /// Frames flow.
    Open,
    /// Goodbye was said; what is queued may still leave.
    Closing,
}

/// What to do with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Route it by topic and lane.
    Route,
    /// Decode the control message and hand it to its handler.
    Control,
    /// Answer with PONG.
    Ping,
    /// Hand it to whoever asked.
    Pong,
    /// Count what the peer says it will not send: [`crate::frame::lost::Lost::decode`].
    Lost,
    /// Allow more data to be sent: [`crate::frame::credit::decode`].
    Credit,
    /// Let go of what the peer has received: [`crate::frame::count::decode`].
    Count,
    /// Resolve the publishes it confirms: [`crate::frame::confirm::decode`].
    Confirm,
    /// Skip it silently.
    Skip,
    /// Drop it and count the reason.
    Reject(Rejected),
}

/// Time limits of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// From the first byte possible to the end of the handshake.
    pub handshake: Duration,
    /// From the first byte of a frame to its last.
    pub partial_frame: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_millis(HANDSHAKE_MS_MAX_DEFAULT),
            partial_frame: Duration::from_millis(PARTIAL_FRAME_MS_MAX_DEFAULT),
        }
    }
}

/// One side's view of one peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    state: State,
    patience: Patience,
    /// Of the handshake until it is over, then of the frame that is incomplete.
    deadline: Option<Instant>,
    malformed_since: Instant,
    malformed_count: u8,
}

impl Session {
    /// A session on a link that was just established.
    pub fn new(now: Instant, patience: Patience) -> Self {
        Self {
            state: State::Preface,
            patience,
            deadline: Some(now + patience.handshake),
            malformed_since: now,
            malformed_count: 0,
        }
    }

    /// Where the session stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// The peer's preface arrived.
    pub fn on_preface(&mut self, preface: &[u8; 8]) -> Result<(), PeerFault> {
        debug_assert!(self.state == State::Preface, "a link opens once");
        handshake::check_preface(preface)?;
        self.state = State::Hello;
        Ok(())
    }

    /// HELLO was accepted (broker) or WELCOME arrived (client).
    pub fn on_agreed(&mut self) -> Result<(), PeerFault> {
        if self.state != State::Hello {
            return Err(PeerFault::OutOfTurn);
        }
        self.state = State::Open;
        self.deadline = None;
        Ok(())
    }

    /// Goodbye was said by either side, or the session is being refused.
    pub fn on_closing(&mut self) {
        self.state = State::Closing;
        self.deadline = None;
    }

    /// A frame's header is complete. Says what to do with the frame once it is whole.
    pub const fn on_frame(&mut self, header: &Header) -> Result<Step, PeerFault> {
        if let Some(reason) = header.rejected() {
            return Ok(Step::Reject(reason));
        }
        if header.lane as usize >= LANES_MAX {
            return Err(PeerFault::LaneForbidden);
        }
        match header.kind {
            Kind::PUB | Kind::BATCH => match self.state {
                State::Open if header.lane == 0 => Err(PeerFault::LaneForbidden),
                State::Open => Ok(Step::Route),
                State::Preface | State::Hello => Err(PeerFault::DataBeforeWelcome),
                State::Closing => Ok(Step::Skip),
            },
            Kind::CTRL => Ok(Step::Control),
            Kind::PING => self.if_agreed(Step::Ping),
            Kind::PONG => self.if_agreed(Step::Pong),
            // It stands in for data of its lane, so it may come when data may.
            Kind::LOST => match self.state {
                State::Open if header.lane == 0 => Err(PeerFault::LaneForbidden),
                State::Open => Ok(Step::Lost),
                State::Preface | State::Hello => Err(PeerFault::DataBeforeWelcome),
                State::Closing => Ok(Step::Skip),
            },
            Kind::CREDIT => self.if_agreed(Step::Credit),
            Kind::COUNT => self.if_agreed(Step::Count),
            Kind::CONFIRM => self.if_agreed(Step::Confirm),
            Kind::PAD => Ok(Step::Skip),
            _ => Err(PeerFault::KindUnsupported),
        }
    }

    const fn if_agreed(&self, step: Step) -> Result<Step, PeerFault> {
        match self.state {
            State::Open | State::Closing => Ok(step),
            State::Preface | State::Hello => Err(PeerFault::DataBeforeWelcome),
        }
    }

    /// After reading: whether the last frame is still incomplete. Starts, keeps or stops its deadline.
    ///
    /// A read that completed frames and leaves a later one incomplete says both, `false` and then `true`: otherwise a
    /// stream that is never read exactly to a frame's end would run into the deadline of a frame long gone.
    pub fn on_partial(&mut self, now: Instant, incomplete: bool) {
        match self.state {
            State::Preface | State::Hello => {}
            State::Open | State::Closing if !incomplete => self.deadline = None,
            State::Open | State::Closing => {
                self.deadline.get_or_insert(now + self.patience.partial_frame);
            }
        }
    }

    /// A control message could not be decoded. Tolerated a few times a second.
    pub fn on_malformed_control(&mut self, now: Instant) -> Result<(), PeerFault> {
        if now.since(self.malformed_since) > Duration::from_millis(1_000) {
            self.malformed_since = now;
            self.malformed_count = 0;
        }
        self.malformed_count = self.malformed_count.saturating_add(1);
        if self.malformed_count > MALFORMED_PER_SECOND_MAX { Err(PeerFault::ControlMalformed) } else { Ok(()) }
    }

    /// When [`Self::on_timeout`] wants to be called.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Time has come to `now`; an error if a deadline has passed.
    pub fn on_timeout(&mut self, now: Instant) -> Result<(), PeerFault> {
        match self.deadline {
            Some(deadline) if deadline <= now => {
                self.deadline = None;
                Err(match self.state {
                    State::Preface | State::Hello => PeerFault::HandshakeTimeout,
                    State::Open | State::Closing => PeerFault::PartialFrameTimeout,
                })
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DecodeError;

    const START: Instant = Instant(1_000);

    fn open() -> Session {
        let mut session = Session::new(START, Patience::default());
        session.on_preface(&handshake::PREFACE).expect("preface");
        session.on_agreed().expect("agreed");
        session
    }

    #[test]
    fn data_before_welcome_is_a_fault_and_after_it_is_routed() {
        let data = Header { lane: 1, topic: 70_000, ..Header::new(Kind::PUB, 0) };
        let mut session = Session::new(START, Patience::default());
        assert_eq!(session.on_frame(&data), Err(PeerFault::DataBeforeWelcome));
        session.on_preface(&handshake::PREFACE).expect("preface");
        assert_eq!(session.on_frame(&data), Err(PeerFault::DataBeforeWelcome));
        session.on_agreed().expect("agreed");
        assert_eq!(session.on_frame(&data), Ok(Step::Route));
        assert_eq!(session.on_agreed(), Err(PeerFault::OutOfTurn), "a second HELLO");
    }

    #[test]
    fn the_control_lane_and_lanes_that_do_not_exist_carry_no_data() {
        for lane in [0, 16, 255] {
            let data = Header { lane, ..Header::new(Kind::PUB, 0) };
            assert_eq!(open().on_frame(&data), Err(PeerFault::LaneForbidden), "lane {lane}");
        }
    }

    #[test]
    fn losses_come_where_data_may_and_totals_until_the_end() {
        let lost = |lane| Header { lane, ..Header::new(Kind::LOST, 12) };
        let (mut early, mut late) = (Session::new(START, Patience::default()), open());
        late.on_closing();
        assert_eq!(open().on_frame(&lost(1)), Ok(Step::Lost));
        assert_eq!(open().on_frame(&lost(0)), Err(PeerFault::LaneForbidden));
        assert_eq!(late.on_frame(&lost(1)), Ok(Step::Skip));
        early.on_preface(&handshake::PREFACE).expect("preface");
        assert_eq!(early.on_frame(&lost(1)), Err(PeerFault::DataBeforeWelcome));
        for (kind, step) in [(Kind::CREDIT, Step::Credit), (Kind::COUNT, Step::Count), (Kind::CONFIRM, Step::Confirm)] {
            let header = Header::new(kind, 4);
            assert_eq!((open().on_frame(&header), late.on_frame(&header)), (Ok(step), Ok(step)));
            assert_eq!(early.on_frame(&header), Err(PeerFault::DataBeforeWelcome));
        }
    }

    #[test]
    fn unknown_kinds_are_skipped_or_close_by_their_bit_6() {
        let mut session = open();
        assert_eq!(session.on_frame(&Header::new(Kind(0x4f), 0)), Ok(Step::Reject(Rejected::UnknownKind)));
        assert_eq!(session.on_frame(&Header::new(Kind(0x0f), 0)), Err(PeerFault::KindUnsupported));
    }

    #[test]
    fn a_peer_that_never_finishes_its_handshake_times_out() {
        let mut session = Session::new(START, Patience::default());
        let deadline = session.poll_timeout().expect("a deadline");
        assert_eq!(deadline, START + Duration::from_millis(5_000));
        assert_eq!(session.on_timeout(Instant(deadline.0 - 1)), Ok(()));
        assert_eq!(session.on_timeout(deadline), Err(PeerFault::HandshakeTimeout));
    }

    #[test]
    fn an_incomplete_frame_times_out_from_its_first_byte_and_a_whole_one_does_not() {
        let mut session = open();
        session.on_partial(START, true);
        session.on_partial(START + Duration::from_millis(9_000), true);
        assert_eq!(session.poll_timeout(), Some(START + Duration::from_millis(10_000)));
        session.on_partial(START, false);
        assert_eq!(session.poll_timeout(), None);
    }

    #[test]
    fn malformed_control_is_tolerated_three_times_a_second() {
        let mut session = open();
        for _ in 0..3 {
            assert_eq!(session.on_malformed_control(START), Ok(()));
        }
        assert_eq!(session.on_malformed_control(START), Err(PeerFault::ControlMalformed));
        let later = START + Duration::from_millis(1_001);
        assert_eq!(open().on_malformed_control(later), Ok(()));
    }

    #[test]
    fn something_else_than_laneway_is_refused_at_the_preface() {
        let mut session = Session::new(START, Patience::default());
        assert_eq!(session.on_preface(b"GET / HT"), Err(PeerFault::Decode(DecodeError::NotLaneway)));
    }
}
