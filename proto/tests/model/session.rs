//! The life of a session, as a list of what may happen when.

use laneway_proto::error::{PeerFault, Rejected};
use laneway_proto::header::Header;
use laneway_proto::session::{Patience, Session, State, Step};
use laneway_proto::time::{Duration, Instant};

/// Something that happens to a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Time passes, in milliseconds.
    Wait(u16),
    /// The peer's preface.
    Preface([u8; 8]),
    /// HELLO was accepted.
    Agreed,
    /// Goodbye was said.
    Closing,
    /// A frame's header.
    Frame([u8; 16]),
    /// The end of a read; `true` if it left a frame incomplete.
    Read(bool),
    /// A control message that does not decode.
    Malformed,
    /// The owner's timer fires.
    Timeout,
}

/// A session beside what is known of it.
#[derive(Debug)]
pub struct Watched {
    session: Session,
    patience: Patience,
    now: Instant,
    /// When the handshake runs out, unless it is over or has run out.
    handshake_until: Option<Instant>,
    /// When the incomplete frame runs out.
    frame_until: Option<Instant>,
    /// When the current window of malformed control messages began, and how many are in it.
    malformed: (Instant, u32),
}

impl Watched {
    /// A session on a new link.
    pub fn new(now: Instant, patience: Patience) -> Self {
        let session = Session::new(now, patience);
        let handshake_until = Some(now + patience.handshake);
        Self { session, patience, now, handshake_until, frame_until: None, malformed: (now, 0) }
    }

    /// Lets `event` happen; returns whether the session survives it.
    ///
    /// # Panics
    /// If the session does what it may not.
    pub fn on(&mut self, event: Event) -> bool {
        let before = self.session;
        let alive = match event {
            Event::Wait(ms) => {
                self.now = self.now + Duration::from_millis(u32::from(ms));
                true
            }
            Event::Preface(preface) => self.on_preface(&preface),
            Event::Agreed => self.on_agreed(),
            Event::Closing => {
                self.session.on_closing();
                (self.handshake_until, self.frame_until) = (None, None);
                self.session.state() == State::Closing
            }
            Event::Frame(bytes) => self.on_frame(&bytes),
            Event::Read(incomplete) => {
                self.on_read(incomplete);
                true
            }
            Event::Malformed => self.on_malformed(),
            Event::Timeout => self.on_timeout(),
        };
        assert!(self.session.state() >= before.state(), "{event:?} led back from {:?}", before.state());
        assert_eq!(self.session.poll_timeout(), self.handshake_until.or(self.frame_until), "deadline after {event:?}");
        alive
    }

    fn on_preface(&mut self, preface: &[u8; 8]) -> bool {
        if self.session.state() != State::Preface {
            return true; // The owner reads a preface once; the bytes are frames now.
        }
        let accepted = self.session.on_preface(preface);
        assert_eq!(accepted.is_ok(), preface[..4] == [0x8B, 0x4C, 0x42, 0x1A], "{preface:02x?}");
        assert_eq!(self.session.state() == State::Hello, accepted.is_ok());
        accepted.is_ok()
    }

    fn on_agreed(&mut self) -> bool {
        let in_turn = self.session.state() == State::Hello;
        let agreed = self.session.on_agreed();
        assert_eq!(agreed, if in_turn { Ok(()) } else { Err(PeerFault::OutOfTurn) });
        if in_turn {
            self.handshake_until = None;
            assert_eq!(self.session.state(), State::Open);
        }
        in_turn
    }

    fn on_frame(&mut self, bytes: &[u8; 16]) -> bool {
        let Ok(header) = Header::decode(bytes) else { return true };
        let before = self.session;
        let step = self.session.on_frame(&header);
        assert_eq!(step, expected_step(bytes, before.state()), "{header:?} in {:?}", before.state());
        assert_eq!(self.session, before, "looking at a frame changes nothing");
        step.is_ok()
    }

    fn on_read(&mut self, incomplete: bool) {
        self.session.on_partial(self.now, incomplete);
        if matches!(self.session.state(), State::Open | State::Closing) {
            let until = self.frame_until.unwrap_or(self.now + self.patience.partial_frame);
            self.frame_until = incomplete.then_some(until);
        }
    }

    /// Three in a window are tolerated; a window ends with the first message more than a second after its start.
    fn on_malformed(&mut self) -> bool {
        let (start, count) = &mut self.malformed;
        if self.now.0 - start.0 > 1_000_000_000 {
            (*start, *count) = (self.now, 0);
        }
        *count += 1;
        let expected = if *count > 3 { Err(PeerFault::ControlMalformed) } else { Ok(()) };
        assert_eq!(self.session.on_malformed_control(self.now), expected, "the {count}. since {start:?}");
        expected.is_ok()
    }

    fn on_timeout(&mut self) -> bool {
        let due = |until: Option<Instant>| until.is_some_and(|until| until <= self.now);
        let expected = if due(self.handshake_until) {
            Err(PeerFault::HandshakeTimeout)
        } else if due(self.frame_until) {
            Err(PeerFault::PartialFrameTimeout)
        } else {
            Ok(())
        };
        assert_eq!(self.session.on_timeout(self.now), expected);
        if expected.is_err() {
            (self.handshake_until, self.frame_until) = (None, None);
        }
        expected.is_ok()
    }
}

/// What has to become of a frame, by the table in the specification.
fn expected_step(header: &[u8; 16], state: State) -> Result<Step, PeerFault> {
    let (kind, flags, lane, hops) = (header[2], header[3], header[8], header[9]);
    let known = matches!(kind, 0x00 | 0x01 | 0x05 | 0x80 | 0x81 | 0x82 | 0x86..=0x89);
    let agreed = matches!(state, State::Open | State::Closing);
    match kind {
        _ if flags & 0x80 != 0 => Ok(Step::Reject(Rejected::ReservedFlag)),
        _ if !known && kind & 0x40 != 0 => Ok(Step::Reject(Rejected::UnknownKind)),
        _ if hops >= 8 => Ok(Step::Reject(Rejected::TooManyHops)),
        _ if lane >= 16 => Err(PeerFault::LaneForbidden),
        0x00 => Ok(Step::Skip),
        0x80 => Ok(Step::Control),
        0x01 | 0x05 | 0x81 | 0x82 | 0x86..=0x89 if !agreed => Err(PeerFault::DataBeforeWelcome),
        0x01 | 0x05 | 0x87 if state == State::Closing => Ok(Step::Skip),
        0x01 | 0x05 | 0x87 if lane == 0 => Err(PeerFault::LaneForbidden),
        0x01 | 0x05 => Ok(Step::Route),
        0x81 => Ok(Step::Ping),
        0x82 => Ok(Step::Pong),
        0x86 => Ok(Step::Credit),
        0x87 => Ok(Step::Lost),
        0x88 => Ok(Step::Count),
        0x89 => Ok(Step::Confirm),
        _ => Err(PeerFault::KindUnsupported),
    }
}
