//! Which session it is: HELLO, WELCOME, RESET and the nonces of both sides.
//!
//! Frames of a line arrive in the order they were sent, or not at all. So whatever a side has heard of its peer last is
//! what the peer said last, and old frames in the line are followed by newer ones that put them right.

use super::crc::{crc32, session_preset};
use super::hello::Role;
use super::limits::{SERIAL_HELLO_MS, SERIAL_REFUSED_MS};
use crate::error::CloseCode;
use crate::time::{Duration, Instant};

/// Where a side stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Phase {
    /// Nothing is known of the peer.
    Seeking,
    /// The peer's nonce is known; whether it knows ours is not.
    HalfOpen,
    /// Both know both.
    Open,
}

/// A LINK frame that is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Say {
    /// HELLO with this nonce.
    Hello {
        /// Ours.
        nonce: u32,
    },
    /// The peer's HELLO was read.
    Welcome {
        /// The peer's nonce.
        yours: u32,
        /// Ours.
        mine: u32,
    },
    /// The session is over, or the HELLO is refused.
    Reset {
        /// The peer's nonce.
        yours: u32,
        /// Ours, in that session.
        mine: u32,
        /// A close code.
        code: u8,
    },
}

/// What a HELLO means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// The peer is still there and has missed our WELCOME.
    Again,
    /// The peer has begun anew. Everything that was known of it, and of its lanes, is over.
    Anew {
        /// A session was open and has ended by it.
        was_open: bool,
    },
}

/// The life of one link; 40 bytes.
///
/// Invariant: `theirs` is 0 exactly while seeking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Handshake {
    role: Role,
    phase: Phase,
    mine: u32,
    theirs: u32,
    entropy: u32,
    /// When a HELLO is due, unless open.
    hello_at: Instant,
    owes_hello: bool,
    owes_welcome: bool,
    /// Its code and nonces.
    reset: Option<(u8, u32, u32)>,
}

impl Handshake {
    /// A side that seeks. `entropy`: 32 bits that differ from start to start.
    pub fn new(now: Instant, role: Role, entropy: u32) -> Self {
        let mut shake = Self {
            role,
            phase: Phase::Seeking,
            mine: 0,
            theirs: 0,
            entropy,
            hello_at: now,
            owes_hello: true,
            owes_welcome: false,
            reset: None,
        };
        shake.draw_nonce(now);
        shake
    }

    /// Which end this is.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Where the link stands.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// This side's nonce and the peer's; the latter is 0 while nothing is known of it.
    pub const fn nonces(&self) -> (u32, u32) {
        (self.mine, self.theirs)
    }

    /// What the frames of the session are checked with, once the peer's nonce is known.
    pub fn preset(&self) -> u32 {
        match self.role {
            Role::Host => session_preset(self.mine, self.theirs),
            Role::Device => session_preset(self.theirs, self.mine),
        }
    }

    /// A HELLO of the peer arrived, of a version that fits.
    pub fn on_hello(&mut self, nonce: u32) -> Heard {
        debug_assert!(nonce != 0, "a HELLO with nonce 0 is none");
        self.owes_welcome = true;
        if nonce == self.theirs {
            return Heard::Again;
        }
        let was_open = self.phase == Phase::Open;
        (self.theirs, self.phase) = (nonce, Phase::HalfOpen);
        self.owes_hello = true;
        Heard::Anew { was_open }
    }

    /// A HELLO of a version that does not fit arrived.
    pub fn on_unfit_hello(&mut self, nonce: u32) {
        self.reset = Some((CloseCode::Version as u8, nonce, self.mine));
    }

    /// A WELCOME arrived. Whether that opened the link.
    pub fn on_welcome(&mut self, yours: u32, mine: u32) -> bool {
        yours == self.mine && mine == self.theirs && self.on_good_frame()
    }

    /// A frame arrived that was checked with [`Self::preset`]. Whether that opened the link.
    pub fn on_good_frame(&mut self) -> bool {
        let opens = self.phase == Phase::HalfOpen;
        if opens {
            self.phase = Phase::Open;
            self.owes_hello = false;
        }
        opens
    }

    /// A RESET arrived. Whether it ended anything.
    pub fn on_reset(&mut self, now: Instant, yours: u32, mine: u32, code: u8) -> bool {
        if yours != self.mine || self.theirs != 0 && mine != self.theirs {
            return false;
        }
        self.seek(now);
        let helps = CloseCode::from_number(u32::from(code)).is_none_or(CloseCode::retryable);
        if !helps {
            self.owes_hello = false;
            self.hello_at = now + Duration::from_millis(SERIAL_REFUSED_MS);
        }
        true
    }

    /// This side ends the session, and seeks with a new nonce.
    pub fn end(&mut self, now: Instant, code: u8) {
        if self.theirs != 0 {
            self.reset = Some((code, self.theirs, self.mine));
        }
        self.draw_nonce(now);
        self.seek(now);
    }

    /// Half-duplex: one's own turn begins. Whoever is not open, or has not been answered, says HELLO in it.
    pub const fn on_turn(&mut self, unanswered: bool) {
        self.owes_hello = unanswered || !matches!(self.phase, Phase::Open);
    }

    fn seek(&mut self, now: Instant) {
        (self.phase, self.theirs) = (Phase::Seeking, 0);
        (self.owes_hello, self.owes_welcome, self.hello_at) = (true, false, now);
    }

    fn draw_nonce(&mut self, now: Instant) {
        self.entropy = crc32(self.entropy, &now.0.to_le_bytes());
        let mut nonce = self.entropy;
        while nonce == 0 || nonce == self.mine {
            nonce = nonce.wrapping_add(0x9E37_79B9);
        }
        self.mine = nonce;
    }

    /// The next LINK frame to send at `now`, once. `timed`: HELLO is repeated by time, not by turns.
    pub fn poll(&mut self, now: Instant, timed: bool) -> Option<Say> {
        if let Some((code, yours, mine)) = self.reset.take() {
            return Some(Say::Reset { yours, mine, code });
        }
        let due = timed && self.phase != Phase::Open && self.hello_at <= now;
        if self.owes_hello || due {
            self.owes_hello = false;
            self.hello_at = now + Duration::from_millis(SERIAL_HELLO_MS);
            return Some(Say::Hello { nonce: self.mine });
        }
        if self.owes_welcome {
            self.owes_welcome = false;
            return Some(Say::Welcome { yours: self.theirs, mine: self.mine });
        }
        None
    }

    /// When [`Self::poll`] has something; `None`: not by itself.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.owes_hello || self.owes_welcome || self.reset.is_some() {
            return Some(Instant(0));
        }
        (self.phase != Phase::Open).then_some(self.hello_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Handshake, Handshake) {
        (Handshake::new(Instant(0), Role::Host, 1), Handshake::new(Instant(0), Role::Device, 2))
    }

    /// Hands everything that `from` says to `to`.
    fn pass(now: Instant, from: &mut Handshake, to: &mut Handshake) {
        while let Some(say) = from.poll(now, true) {
            match say {
                Say::Hello { nonce } => drop(to.on_hello(nonce)),
                Say::Welcome { yours, mine } => drop(to.on_welcome(yours, mine)),
                Say::Reset { yours, mine, code } => drop(to.on_reset(now, yours, mine, code)),
            }
        }
    }

    fn open() -> (Handshake, Handshake) {
        let (mut host, mut device) = pair();
        for _ in 0..3 {
            pass(Instant(0), &mut host, &mut device);
            pass(Instant(0), &mut device, &mut host);
        }
        assert_eq!((host.phase(), device.phase()), (Phase::Open, Phase::Open));
        assert_eq!(host.preset(), device.preset());
        (host, device)
    }

    #[test]
    fn both_open_with_the_same_preset_whoever_begins() {
        open();
        let (mut host, mut device) = pair();
        pass(Instant(0), &mut device, &mut host);
        pass(Instant(0), &mut host, &mut device);
        assert_eq!(device.phase(), Phase::Open, "after one way back");
        pass(Instant(0), &mut device, &mut host);
        assert_eq!((host.phase(), host.preset()), (Phase::Open, device.preset()));
    }

    #[test]
    fn a_hello_with_another_nonce_is_a_restart_and_the_same_one_is_answered_only() {
        let (mut host, device) = open();
        let mut again = device;
        again.owes_hello = true;
        pass(Instant(0), &mut again, &mut host);
        assert_eq!(
            (host.phase(), host.poll(Instant(0), true)),
            (Phase::Open, { Some(Say::Welcome { yours: device.mine, mine: host.mine }) })
        );
        let restarted = Handshake::new(Instant(0), Role::Device, 3);
        assert_eq!(host.on_hello(restarted.mine), Heard::Anew { was_open: true });
        assert_eq!(host.phase(), Phase::HalfOpen);
    }

    #[test]
    fn a_reset_of_another_session_is_ignored_and_a_refusal_waits() {
        let (mut host, mut device) = open();
        let (mine, theirs) = device.nonces();
        assert!(!device.on_reset(Instant(0), mine, theirs ^ 1, 2) && !device.on_reset(Instant(0), mine ^ 1, theirs, 2));
        host.end(Instant(5), CloseCode::Denied as u8);
        assert_ne!(host.nonces().0, theirs, "a new nonce");
        let Some(Say::Reset { yours, mine, code }) = host.poll(Instant(5), true) else { panic!("RESET goes first") };
        assert!(device.on_reset(Instant(5), yours, mine, code));
        assert_eq!(device.poll(Instant(5), true), None);
        assert_eq!(device.poll_timeout(), Some(Instant(5) + Duration::from_millis(SERIAL_REFUSED_MS)));
        pass(Instant(5), &mut host, &mut device);
        assert!(matches!(device.poll(Instant(5), true), Some(Say::Hello { .. })), "a HELLO ends the wait");
    }
}
