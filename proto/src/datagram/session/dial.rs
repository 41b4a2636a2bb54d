//! The client's side of a handshake: HELLO until there is an answer, shorter when nothing comes back.

use super::super::header::{DatagramHeader, Form};
use super::super::limits::{
    DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MIN, DATAGRAM_HEADER_BYTES, HELLO_MS_FIRST, HELLO_MS_MAX, HELLOS_PER_LENGTH,
};
use super::super::signs::{COOKIE_FRAME_BYTES, Cookie};
use super::accept::{pad, whole};
use crate::header::Kind;
use crate::limits::HEADER_BYTES;
use crate::time::{Duration, Instant};

/// An attempt to open a session. It goes on until its owner stops it.
#[derive(Clone, Debug)]
pub struct Dial {
    own: u32,
    epoch: u16,
    /// Bytes of the datagrams that are tried, one after the other.
    lengths: [usize; 3],
    /// Datagrams sent.
    sent: u32,
    cookie: Option<u64>,
    next_at: Instant,
    pause: Duration,
    /// When the last datagrams left, by the low bits of their numbers.
    left_at: [Instant; 8],
}

/// What an arrived datagram means for an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply<'a> {
    /// Nothing.
    None,
    /// HELLO goes again, with a cookie.
    Cookie,
    /// The session is open.
    Welcome {
        /// The CTRL frame.
        frame: &'a [u8],
        /// The broker's number.
        peer: u32,
        /// Low 16 bits of its epoch.
        epoch: u16,
        /// Bytes of the datagram: those to the broker are as long.
        bytes: usize,
        /// The round trip.
        rtt: Duration,
    },
    /// The broker refuses: the CTRL frame.
    Reject(&'a [u8]),
}

impl Dial {
    /// Begins an attempt as session `own` (not 0), with datagrams of `bytes` at first.
    pub fn new(now: Instant, own: u32, epoch: u16, bytes: usize) -> Self {
        let first = bytes.max(DATAGRAM_BYTES_MIN);
        Self {
            own,
            epoch,
            lengths: [first, first.min(DATAGRAM_BYTES_DEFAULT), DATAGRAM_BYTES_MIN],
            sent: 0,
            cookie: None,
            next_at: now,
            pause: Duration::from_millis(HELLO_MS_FIRST),
            left_at: [now; 8],
        }
    }

    /// Bytes of the longest datagram that is tried.
    pub const fn bytes_max(&self) -> usize {
        self.lengths[0]
    }

    /// Whether a HELLO of so many bytes, CTRL frame and all, can be said.
    pub const fn fits(hello_bytes: usize) -> bool {
        DATAGRAM_HEADER_BYTES + COOKIE_FRAME_BYTES + hello_bytes <= DATAGRAM_BYTES_MIN
    }

    fn length(&self) -> usize {
        let place = (self.sent / HELLOS_PER_LENGTH) as usize;
        self.lengths[place.min(self.lengths.len() - 1)]
    }

    /// When the next HELLO is due.
    pub const fn poll_timeout(&self) -> Instant {
        self.next_at
    }

    /// Writes the next HELLO, if it is due, to the front of `out`; `hello` is the CTRL frame. Returns the datagram's bytes.
    pub fn poll_transmit(&mut self, now: Instant, hello: &[u8], out: &mut [u8]) -> Option<usize> {
        if now < self.next_at {
            return None;
        }
        let length = self.length();
        let mut end = DATAGRAM_HEADER_BYTES;
        if let Some(cookie) = self.cookie {
            out[end..end + COOKIE_FRAME_BYTES].copy_from_slice(&Cookie(cookie).encode());
            end += COOKIE_FRAME_BYTES;
        }
        out.get_mut(end..end + hello.len())?.copy_from_slice(hello);
        end = pad(out, end + hello.len(), length);
        self.sent += 1;
        self.left_at[self.sent as usize % 8] = now;
        self.next_at = now + self.pause;
        self.pause = Duration(self.pause.0 * 2).min(Duration::from_millis(HELLO_MS_MAX));
        let form = Form::Hello { session: 0, own: self.own };
        Some(DatagramHeader { form, ack_me: false, crc: false, epoch: self.epoch, number: self.sent }.seal(out, end))
    }

    /// A datagram arrived.
    pub fn on_datagram<'a>(&mut self, now: Instant, datagram: &'a [u8]) -> Reply<'a> {
        let Ok((header, frames)) = DatagramHeader::open(datagram) else { return Reply::None };
        let Form::Hello { session, own } = header.form else { return Reply::None };
        let known = session == self.own && header.number != 0 && header.number <= self.sent;
        let Some(mut frames) = whole(frames).filter(|_| known) else { return Reply::None };
        match frames.find(|(frame, _)| matches!(frame.kind, Kind::COOKIE | Kind::CTRL)) {
            Some((frame, bytes)) if frame.kind == Kind::COOKIE => {
                let Ok(Cookie(cookie)) = Cookie::decode(&bytes[HEADER_BYTES..]) else { return Reply::None };
                if self.cookie != Some(cookie) {
                    (self.cookie, self.next_at) = (Some(cookie), now);
                }
                Reply::Cookie
            }
            Some((_, frame)) if own == 0 => Reply::Reject(frame),
            Some((_, frame)) => {
                let left_at = self.left_at[header.number as usize % 8];
                let rtt = now.since(left_at);
                Reply::Welcome { frame, peer: own, epoch: header.epoch, bytes: datagram.len(), rtt }
            }
            None => Reply::None,
        }
    }
}
