//! Protocols of devices that do not speak this link: where their messages begin and end, in both directions.
//!
//! | module | a message is |
//! | --- | --- |
//! | [`mod@line`] | a line of text, without its ending |
//! | [`raw`] | what came without a pause, or as much as fits |
//! | [`slip`], [`cobs`] | what stands between two delimiters, decoded |
//! | [`nmea`] | a sentence whose checksum is right, from its `$` to its checksum |
//! | [`mavlink`] | a whole frame of version 1 or 2 whose checksum is right |
//!
//! None of them repeats anything: what is damaged on the line is lost, and counted where the protocol lets it be seen.

pub mod cobs;
mod extras;
pub mod line;
pub mod mavlink;
pub mod nmea;
pub mod raw;
pub mod slip;

use self::line::Ending;
use crate::time::Duration;

/// A protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Protocol {
    /// Lines of text; sent ones end like this.
    Line(Ending),
    /// Bytes as they come.
    Raw,
    /// RFC 1055.
    Slip,
    /// COBS frames ended by a zero, without a checksum.
    Cobs,
    /// NMEA 0183.
    Nmea,
    /// MAVLink 1 and 2.
    Mavlink,
}

/// Something that was found among the bytes of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    /// A message.
    Message(&'a [u8]),
    /// Bytes that are none: damaged, too long, or not of this protocol. Those that follow each other are one.
    Bad,
}

/// The message cannot be sent in this protocol, or not into so small a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unfit;

/// Finds the messages of a protocol, of up to `N` bytes each, from the middle of anything.
#[allow(clippy::large_enum_variant, reason = "there is no heap here that the large ones could be on")]
#[derive(Clone, Debug)]
pub enum Decoder<const N: usize> {
    /// Of [`Protocol::Line`].
    Line(line::Lines<N>),
    /// Of [`Protocol::Raw`].
    Raw(raw::Chunks),
    /// Of [`Protocol::Slip`].
    Slip(slip::Frames<N>),
    /// Of [`Protocol::Cobs`].
    Cobs(cobs::Frames<N>),
    /// Of [`Protocol::Nmea`].
    Nmea(nmea::Sentences),
    /// Of [`Protocol::Mavlink`].
    Mavlink(mavlink::Frames),
}

impl Protocol {
    /// What a message takes on the line at most.
    pub const fn wire_bytes_max(message: usize) -> usize {
        // SLIP doubles; every other one adds less.
        2 * message + 8
    }

    /// Writes a message as it travels. Returns the bytes written.
    pub fn encode(self, message: &[u8], out: &mut [u8]) -> Result<usize, Unfit> {
        match self {
            Self::Line(ending) => line::encode(message, ending, out),
            Self::Raw => put(out, &[message]),
            Self::Slip => slip::encode(message, out),
            Self::Cobs => cobs::encode(message, out),
            Self::Nmea => nmea::encode(message, out),
            Self::Mavlink => mavlink::encode(message, out),
        }
    }
}

impl<const N: usize> Decoder<N> {
    /// One that has seen nothing.
    pub const fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Line(_) => Self::Line(line::Lines::new()),
            Protocol::Raw => Self::Raw(raw::Chunks::new()),
            Protocol::Slip => Self::Slip(slip::Frames::new()),
            Protocol::Cobs => Self::Cobs(cobs::Frames::new()),
            Protocol::Nmea => Self::Nmea(nmea::Sentences::new()),
            Protocol::Mavlink => Self::Mavlink(mavlink::Frames::new()),
        }
    }

    /// Takes bytes from the front of `bytes` until something is found. Called until it finds nothing more, and then has
    /// taken all.
    pub fn push(&mut self, bytes: &mut &[u8]) -> Option<Found<'_>> {
        match self {
            Self::Line(lines) => lines.push(bytes),
            Self::Raw(chunks) => chunks.push(bytes),
            Self::Slip(frames) => frames.push(bytes),
            Self::Cobs(frames) => frames.push(bytes),
            Self::Nmea(sentences) => sentences.push(bytes),
            Self::Mavlink(frames) => frames.push(bytes),
        }
    }

    /// How long a silence means something to it; `None`: it waits for more bytes however long they take.
    pub const fn silence(&self) -> Option<Duration> {
        match self {
            Self::Raw(_) => Some(raw::SILENCE),
            Self::Mavlink(_) => Some(mavlink::SILENCE),
            Self::Line(_) | Self::Slip(_) | Self::Cobs(_) | Self::Nmea(_) => None,
        }
    }

    /// Whether it holds bytes that a silence would decide about.
    pub const fn waits(&self) -> bool {
        match self {
            Self::Raw(chunks) => chunks.waits(),
            Self::Mavlink(frames) => frames.waits(),
            Self::Line(_) | Self::Slip(_) | Self::Cobs(_) | Self::Nmea(_) => false,
        }
    }

    /// Nothing has come for [`Self::silence`]. Called until it finds nothing more.
    pub fn on_silence(&mut self) -> Option<Found<'_>> {
        match self {
            Self::Raw(chunks) => chunks.on_silence(),
            Self::Mavlink(frames) => frames.on_silence(),
            Self::Line(_) | Self::Slip(_) | Self::Cobs(_) | Self::Nmea(_) => None,
        }
    }
}

/// What is collected of a message.
#[derive(Clone, Debug)]
struct Gathered<const N: usize> {
    bytes: [u8; N],
    len: usize,
    /// There was more than fits.
    over: bool,
}

impl<const N: usize> Gathered<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], len: 0, over: false }
    }

    fn put(&mut self, byte: u8) {
        match self.bytes.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.over = true,
        }
    }

    /// What was collected; the next byte begins anew.
    fn take(&mut self) -> (usize, bool) {
        (core::mem::take(&mut self.len), core::mem::take(&mut self.over))
    }

    fn upto(&self, len: usize) -> &[u8] {
        self.bytes.get(..len).unwrap_or_default()
    }
}

/// Takes the first of `bytes`.
fn next(bytes: &mut &[u8]) -> Option<u8> {
    let (&first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(first)
}

/// Writes all parts behind each other.
fn put(out: &mut [u8], parts: &[&[u8]]) -> Result<usize, Unfit> {
    let mut at = 0;
    for part in parts {
        out.get_mut(at..at + part.len()).ok_or(Unfit)?.copy_from_slice(part);
        at += part.len();
    }
    Ok(at)
}

#[cfg(test)]
mod tests;
