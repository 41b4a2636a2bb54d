//! The broker's side of a handshake: what a HELLO datagram says, and answers to it that are never longer.

use super::super::header::{DatagramHeader, Form, Stray};
use super::super::limits::{DATAGRAM_BYTES_MIN, DATAGRAM_HEADER_BYTES};
use super::super::signs::{COOKIE_FRAME_BYTES, Cookie, GONE_FRAME_BYTES, Gone};
use crate::header::{Header, Kind};
use crate::limits::HEADER_BYTES;

/// A HELLO datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt<'a> {
    /// The client's own session, by which it wants to be addressed.
    pub own: u32,
    /// Low 16 bits of its epoch.
    pub epoch: u16,
    /// The attempt's number.
    pub number: u32,
    /// The cookie that it was given.
    pub cookie: Option<u64>,
    /// The CTRL frame with HELLO.
    pub hello: &'a [u8],
    /// Bytes of the datagram: no answer is longer.
    pub bytes: usize,
}

/// Reads a HELLO datagram of a client; `None`: it is none, or too short to be answered.
pub fn attempt(datagram: &[u8]) -> Option<Attempt<'_>> {
    if datagram.len() < DATAGRAM_BYTES_MIN {
        return None;
    }
    let (header, frames) = DatagramHeader::open(datagram).ok()?;
    let Form::Hello { session: 0, own } = header.form else { return None };
    let (mut cookie, mut hello) = (None, None);
    for (frame_header, frame) in whole(frames)? {
        match frame_header.kind {
            Kind::COOKIE => cookie = Some(Cookie::decode(&frame[HEADER_BYTES..]).ok()?.0),
            Kind::CTRL => hello = Some(frame),
            _ => {}
        }
    }
    let hello = hello.filter(|_| own != 0)?;
    Some(Attempt { own, epoch: header.epoch, number: header.number, cookie, hello, bytes: datagram.len() })
}

/// The frames of a datagram, if they are whole; a rest too short for a header is filling.
pub(super) fn whole(frames: &[u8]) -> Option<impl Iterator<Item = (Header, &[u8])>> {
    let mut rest = frames;
    while let Some(head) = rest.first_chunk::<HEADER_BYTES>() {
        let len = usize::from(Header::decode(head).ok()?.len);
        rest = rest.get(len..)?;
    }
    let mut rest = frames;
    Some(core::iter::from_fn(move || {
        let header = Header::decode(rest.first_chunk::<HEADER_BYTES>()?).ok()?;
        let (frame, behind) = rest.split_at_checked(usize::from(header.len))?;
        rest = behind;
        Some((header, frame))
    }))
}

/// Fills `out` up to `bytes` with a PAD frame behind `end`, as far as one fits; returns the datagram's bytes.
pub(super) fn pad(out: &mut [u8], end: usize, bytes: usize) -> usize {
    let Some(body) = bytes.checked_sub(end + HEADER_BYTES) else { return end };
    out[end..end + HEADER_BYTES].copy_from_slice(&Header::new(Kind::PAD, body).encode());
    out[end + HEADER_BYTES..bytes].fill(0);
    bytes
}

/// What the broker says to an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<'a> {
    /// Come again with this cookie: the address is not trusted.
    Cookie(u64),
    /// The CTRL frame with WELCOME. The session has this number, and its sender an epoch.
    Welcome {
        /// The frame.
        frame: &'a [u8],
        /// The broker's number.
        own: u32,
    },
    /// The CTRL frame with REJECT.
    Reject(&'a [u8]),
}

/// Writes the answer to an attempt of `own`, `number` and `bytes` to the front of `out`; returns its bytes, or `None` if it
/// would be longer than the attempt.
pub fn answer(peer: u32, number: u32, bytes: usize, epoch: u16, answer: Answer<'_>, out: &mut [u8]) -> Option<usize> {
    let cookie;
    let (own, frame, fills): (u32, &[u8], bool) = match answer {
        Answer::Cookie(value) => {
            cookie = Cookie(value).encode();
            (0, &cookie, false)
        }
        Answer::Welcome { frame, own } => (own, frame, true),
        Answer::Reject(frame) => (0, frame, false),
    };
    let end = DATAGRAM_HEADER_BYTES + frame.len();
    if end > bytes || bytes > out.len() {
        return None;
    }
    out[DATAGRAM_HEADER_BYTES..end].copy_from_slice(frame);
    let end = if fills { pad(out, end, bytes) } else { end };
    let form = Form::Hello { session: peer, own };
    Some(DatagramHeader { form, ack_me: false, crc: false, epoch, number }.seal(out, end))
}

/// Bytes of a datagram with GONE.
pub const GONE_BYTES: usize = DATAGRAM_HEADER_BYTES + GONE_FRAME_BYTES;

const _: () = assert!(GONE_BYTES < DATAGRAM_BYTES_MIN && COOKIE_FRAME_BYTES < DATAGRAM_BYTES_MIN);

/// The answer to a datagram of a session that nobody knows, if there is one: not to what is shorter.
pub fn answer_gone(datagram: &[u8], epoch: u16) -> Option<[u8; GONE_BYTES]> {
    let (header, _) = DatagramHeader::open(datagram).ok()?;
    let Form::Session { session, .. } = header.form else { return None };
    if datagram.len() < GONE_BYTES {
        return None;
    }
    let mut out = [0; GONE_BYTES];
    out[DATAGRAM_HEADER_BYTES..].copy_from_slice(&Gone(session).encode());
    let form = Form::Hello { session: 0, own: 0 };
    DatagramHeader { form, ack_me: false, crc: false, epoch, number: 0 }.seal(&mut out, GONE_BYTES);
    Some(out)
}

/// The session that a datagram says nobody knows.
pub fn gone_session(datagram: &[u8]) -> Option<u32> {
    let (header, frames) = DatagramHeader::open(datagram).ok()?;
    if header.form != (Form::Hello { session: 0, own: 0 }) || header.number != 0 {
        return None;
    }
    let (_, frame) = whole(frames)?.find(|(header, _)| header.kind == Kind::GONE)?;
    Gone::decode(&frame[HEADER_BYTES..]).ok().map(|gone| gone.0)
}

/// The session that a datagram is addressed to, by its receiver's number: where to look it up.
pub fn session_of(datagram: &[u8]) -> Result<Option<u32>, Stray> {
    let head = datagram.first_chunk().ok_or(Stray::NotLaneway)?;
    Ok(match DatagramHeader::decode(head)?.form {
        Form::Session { session, .. } => Some(session),
        Form::Hello { .. } | Form::Broadcast { .. } => None,
    })
}
