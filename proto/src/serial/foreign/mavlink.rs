//! MAVLink 1 and 2: frames with a length, numbers and a checksum.
//!
//! ```text
//! version 1:  FE | len | seq | sys | comp | msg          | payload | crc
//! version 2:  FD | len | incompat | compat | seq | sys | comp | msg x 3 | payload | crc | signature x 13, if incompat & 1
//! ```
//! The checksum includes a byte that stands for the layout of the message and does not travel. Of messages that are not
//! known here any such byte is accepted, so that their checksum still finds 255 of 256 damaged frames.

use super::extras::EXTRAS;
use super::{Found, Unfit, put};
use crate::time::Duration;

/// How long a frame may pause; what follows then is looked at anew from behind its first byte.
pub const SILENCE: Duration = Duration::from_millis(100);
/// Bytes of a frame at most: version 2, signed.
pub const FRAME_BYTES_MAX: usize = HEAD_BYTES_V2 + 255 + CRC_BYTES + SIGNATURE_BYTES;

const START_V1: u8 = 0xFE;
const START_V2: u8 = 0xFD;
const HEAD_BYTES_V1: usize = 6;
const HEAD_BYTES_V2: usize = 10;
const CRC_BYTES: usize = 2;
const SIGNATURE_BYTES: usize = 13;
const SIGNED: u8 = 1;

/// What the head of a frame says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Counts the frames of a component.
    pub seq: u8,
    /// The system it comes from.
    pub system: u8,
    /// The component of that system.
    pub component: u8,
    /// Which message it is.
    pub message: u32,
    /// Bytes of the whole frame.
    bytes: usize,
    /// Bytes of its head and payload.
    covered: usize,
}

/// What the bytes at the front are.
enum Front {
    /// Not enough of them yet: so many belong to the frame, or to what has to be known of it.
    More(usize),
    Frame(usize),
    None,
}

impl Head {
    /// Of bytes that begin with a frame; `None` if they do not, or are too few.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [START_V1, len, seq, system, component, message, ..] => {
                let covered = HEAD_BYTES_V1 + usize::from(len);
                let message = u32::from(message);
                Some(Self { seq, system, component, message, bytes: covered + CRC_BYTES, covered })
            }
            [START_V2, len, incompatible, _, seq, system, component, low, middle, high, ..] => {
                // What else may be asked of a receiver changes the frame's layout.
                if incompatible & !SIGNED != 0 {
                    return None;
                }
                let covered = HEAD_BYTES_V2 + usize::from(len);
                let signature = if incompatible & SIGNED != 0 { SIGNATURE_BYTES } else { 0 };
                let message = u32::from_le_bytes([low, middle, high, 0]);
                Some(Self { seq, system, component, message, bytes: covered + CRC_BYTES + signature, covered })
            }
            _ => None,
        }
    }

    /// Whether its message is one whose layout is known here.
    pub fn is_known(&self) -> bool {
        extra(self.message).is_some()
    }
}

/// The byte that stands for the layout of a message.
pub fn extra(message: u32) -> Option<u8> {
    let place = EXTRAS.binary_search_by_key(&message, |&(id, _)| id).ok()?;
    EXTRAS.get(place).map(|&(_, extra)| extra)
}

fn accumulate(crc: u16, byte: u8) -> u16 {
    let mut mixed = byte ^ crc as u8;
    mixed ^= mixed << 4;
    let mixed = u16::from(mixed);
    crc >> 8 ^ mixed << 8 ^ mixed << 3 ^ mixed >> 4
}

fn checksum_is_right(head: &Head, frame: &[u8]) -> bool {
    let covered = frame.get(1..head.covered).unwrap_or_default();
    let Some(&[low, high]) = frame.get(head.covered..head.covered + CRC_BYTES) else { return false };
    let wanted = u16::from_le_bytes([low, high]);
    let crc = covered.iter().fold(0xFFFF, |crc, &byte| accumulate(crc, byte));
    match extra(head.message) {
        Some(extra) => accumulate(crc, extra) == wanted,
        None => (0..=u8::MAX).any(|extra| accumulate(crc, extra) == wanted),
    }
}

fn front(bytes: &[u8]) -> Front {
    let head_bytes = match bytes.first() {
        None => return Front::More(1),
        Some(&START_V1) => HEAD_BYTES_V1,
        Some(&START_V2) => HEAD_BYTES_V2,
        Some(_) => return Front::None,
    };
    if bytes.len() < head_bytes {
        return Front::More(head_bytes);
    }
    match Head::of(bytes) {
        Some(head) if bytes.len() < head.bytes => Front::More(head.bytes),
        Some(head) if checksum_is_right(&head, bytes) => Front::Frame(head.bytes),
        Some(_) | None => Front::None,
    }
}

/// Finds frames. Behind one that is damaged, in its length too, the search goes on one byte behind where it began.
#[derive(Clone, Debug)]
pub struct Frames {
    bytes: [u8; FRAME_BYTES_MAX],
    len: usize,
    /// Of those in front, so many were found already.
    told: usize,
    /// It was said that what comes now is bad.
    lost: bool,
}

impl Frames {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; FRAME_BYTES_MAX], len: 0, told: 0, lost: false }
    }

    pub(super) fn push(&mut self, bytes: &mut &[u8]) -> Option<Found<'_>> {
        loop {
            self.drop_front(self.told);
            match front(self.bytes.get(..self.len).unwrap_or_default()) {
                Front::Frame(len) => return Some(self.tell(len)),
                Front::None => {
                    if self.skip() {
                        return Some(Found::Bad);
                    }
                }
                Front::More(wanted) => {
                    let (now, later) = bytes.split_at_checked(wanted - self.len).unwrap_or((bytes, &[]));
                    if now.is_empty() {
                        return None;
                    }
                    self.bytes.get_mut(self.len..self.len + now.len())?.copy_from_slice(now);
                    self.len += now.len();
                    *bytes = later;
                }
            }
        }
    }

    pub(super) const fn waits(&self) -> bool {
        self.len > self.told
    }

    pub(super) fn on_silence(&mut self) -> Option<Found<'_>> {
        loop {
            self.drop_front(self.told);
            if self.len == 0 {
                return None;
            }
            match front(self.bytes.get(..self.len).unwrap_or_default()) {
                Front::Frame(len) => return Some(self.tell(len)),
                Front::None | Front::More(_) => {
                    if self.skip() {
                        return Some(Found::Bad);
                    }
                }
            }
        }
    }

    fn tell(&mut self, len: usize) -> Found<'_> {
        (self.told, self.lost) = (len, false);
        Found::Message(self.bytes.get(..len).unwrap_or_default())
    }

    /// Goes on where the next frame may begin. True if it has to be told that something is bad.
    fn skip(&mut self) -> bool {
        let held = self.bytes.get(1..self.len).unwrap_or_default();
        let begins = held.iter().position(|&byte| matches!(byte, START_V1 | START_V2));
        self.drop_front(begins.map_or(self.len, |place| place + 1));
        !core::mem::replace(&mut self.lost, true)
    }

    fn drop_front(&mut self, bytes: usize) {
        if bytes > 0 {
            self.bytes.copy_within(bytes..self.len, 0);
            self.len -= bytes;
            self.told = 0;
        }
    }
}

/// One frame, or several behind each other, untouched.
pub(super) fn encode(message: &[u8], out: &mut [u8]) -> Result<usize, Unfit> {
    let mut rest = message;
    loop {
        match front(rest) {
            Front::Frame(len) if len == rest.len() => return put(out, &[message]),
            Front::Frame(len) => rest = rest.get(len..).unwrap_or_default(),
            Front::More(_) | Front::None => return Err(Unfit),
        }
    }
}

/// Counts what was lost, by the numbers of up to `N` components; what further ones lose is not counted.
#[derive(Clone, Debug)]
pub struct Losses<const N: usize> {
    next: [Option<(u8, u8, u8)>; N],
}

impl<const N: usize> Default for Losses<N> {
    fn default() -> Self {
        Self { next: [None; N] }
    }
}

impl<const N: usize> Losses<N> {
    /// A frame has arrived. Returns how many of its component are missing before it; a number that goes back counts as a
    /// component that began anew.
    pub fn on_frame(&mut self, head: &Head) -> u8 {
        let Head { seq, system, component, .. } = *head;
        let of = |place: &&mut Option<(u8, u8, u8)>| place.is_none_or(|(s, c, _)| (s, c) == (system, component));
        let Some(place) = self.next.iter_mut().find(of) else { return 0 };
        let missing = place.map_or(0, |(_, _, next)| seq.wrapping_sub(next));
        *place = Some((system, component, seq.wrapping_add(1)));
        if missing < 128 { missing } else { 0 }
    }
}
