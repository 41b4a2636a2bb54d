//! Runs: consecutive whole data frames of one topic and lane, which the broker routes as one range.
//!
//! This is the loop that sees every frame, so it does the least it can: compare kind, flags and topic as one word,
//! compare the lane, and write the broker's topic id in place.

use crate::error::{DecodeError, PeerFault};
use crate::frame::batch;
use crate::frame::extensions::Extensions;
use crate::header::{Flags, Header, Kind, seq_after};
use crate::limits::{EXTENSION_BYTES, HEADER_BYTES, LANES_MAX};

/// A range of whole frames that share topic and lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Run {
    /// Bytes of the range.
    pub bytes: usize,
    /// Frames in it.
    pub frames: u32,
    /// Messages in it: a BATCH counts each of its messages, a fragmented message counts once, with its first fragment.
    pub messages: u32,
    /// The number of the last message that is whole with it; 0: none, or it has no number.
    pub seq_through: u32,
}

/// Bytes at the front of a data frame that [`check_data_frame`] needs: header, every fixed extension, batch count.
pub const CHECK_BYTES: usize = HEADER_BYTES + 4 * EXTENSION_BYTES + batch::BATCH_PREFIX_BYTES;

/// Checks one data frame; returns the messages it counts for.
///
/// `front` is the frame or its first bytes: at least [`CHECK_BYTES`] of a longer frame, and all of it if it carries XHDR.
/// `message_bytes_max` is the announced bound on one message.
pub fn check_data_frame(header: &Header, front: &[u8], message_bytes_max: u32) -> Result<u32, PeerFault> {
    let body = front.get(HEADER_BYTES..).unwrap_or_default();
    let (extensions, payload) = Extensions::decode(header.flags, body)?;
    let payload_bytes = usize::from(header.len) - (front.len() - payload.len());
    match extensions.frag {
        _ if header.kind == Kind::BATCH => {
            if extensions.frag.is_some() || extensions.corr.is_some() || extensions.xhdr.is_some() {
                return Err(DecodeError::BodyMalformed.into());
            }
            Ok(u32::from(batch::message_count_of(payload, payload_bytes)?))
        }
        // Publishers' fragments meet on one lane at the subscriber; only the source tells them apart.
        Some(_) if extensions.src.is_none() => Err(PeerFault::FragmentInvalid),
        Some(frag) if frag.total_len > message_bytes_max => Err(PeerFault::MessageTooLarge),
        Some(frag) => Ok(u32::from(frag.index == 0)),
        None if payload_bytes as u64 > u64::from(message_bytes_max) => Err(PeerFault::MessageTooLarge),
        None => Ok(1),
    }
}

/// The number of the last message that is whole with this checked data frame: the one before, if it carries a fragment
/// that is not the last; 0: none, or unnumbered. `front` as for [`check_data_frame`].
pub fn seq_through(header: &Header, front: &[u8]) -> u32 {
    if header.seq == 0 || header.kind == Kind::PUB && !header.flags.has(Flags::FRAG) {
        return header.seq;
    }
    let fixed = Flags(header.flags.0 & !Flags::XHDR.0);
    let Ok((extensions, payload)) = Extensions::decode(fixed, front.get(HEADER_BYTES..).unwrap_or_default()) else {
        return 0;
    };
    match (extensions.frag, payload) {
        (Some(frag), _) if frag.index + 1 == frag.count => header.seq,
        (Some(_), _) => header.seq - 1,
        (None, &[c0, c1, ..]) => seq_after(header.seq, u32::from(u16::from_le_bytes([c0, c1])).saturating_sub(1)),
        (None, _) => 0,
    }
}

/// Whether a frame with these flags asks, without XHDR, to be confirmed as delivered.
const fn asks_by_src(flags: Flags) -> bool {
    flags.0 & (Flags::SRC.0 | Flags::FRAG.0) == Flags::SRC.0
}

/// The header of the frame in front, if that is whole and plain: one message on a lane, without extensions, that no rule
/// rejects.
pub const fn plain_front(bytes: &[u8]) -> Option<Header> {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else { return None };
    let Ok(header) = Header::decode(head) else { return None };
    let plain = matches!(header.kind, Kind::PUB) && header.flags.0 == 0 && header.rejected().is_none();
    let lane = header.lane != 0 && (header.lane as usize) < LANES_MAX;
    if plain && lane && header.len as usize <= bytes.len() { Some(header) } else { None }
}

/// Finds the longest run at the front of `bytes` and rewrites its topic ids to `topic_out`.
///
/// `first` is the decoded header of the first frame, which must be whole, a data frame, and already accepted by the
/// session. The run ends before the first frame that is partial, of another topic or lane, or not plainly valid; that
/// frame is then looked at on its own, so errors are found in one place. Frames that ask to be confirmed as delivered are
/// in runs of their own.
pub fn take_run(
    bytes: &mut [u8],
    first: &Header,
    topic_out: u32,
    frame_bytes_max: usize,
    message_bytes_max: u32,
) -> Result<Run, PeerFault> {
    let topic_in = first.topic;
    let (alone, asks) = (first.flags.has(Flags::XHDR), asks_by_src(first.flags));
    let mut run = Run::default();
    let (mut last_at, mut last_plain) = (0, false);
    let mut rest = &mut *bytes;
    while let Some(head) = rest.first_chunk::<HEADER_BYTES>() {
        let word = u64::from_le_bytes([head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7]]);
        let len = (word & 0xFFFF) as usize;
        let same = (word >> 32) as u32 == topic_in && head[8] == first.lane && head[9] == first.hops;
        if !same || alone && run.frames > 0 || len < HEADER_BYTES || len > rest.len() || len > frame_bytes_max {
            break;
        }
        let kind_and_flags = (word >> 16) as u16;
        let plain = kind_and_flags == u16::from_le_bytes([Kind::PUB.0, 0]) && len as u64 <= message_bytes_max as u64;
        let (frames, messages) = if plain {
            if asks {
                break;
            }
            let alike = rename_alike(rest, word, u16::from_le_bytes([first.lane, first.hops]), len, topic_out);
            (alike, alike)
        } else {
            match check_other(head, &rest[..len], message_bytes_max) {
                // What the publisher asks for one message holds for that one alone.
                Ok(_) if run.frames > 0 && (Flags(head[3]).has(Flags::XHDR) || asks_by_src(Flags(head[3])) != asks) => {
                    break;
                }
                Ok(messages) => {
                    rest[4..8].copy_from_slice(&topic_out.to_le_bytes());
                    (1, messages)
                }
                Err(fault) if run.frames == 0 => return Err(fault),
                Err(_) => break,
            }
        };
        let bytes = frames as usize * len;
        (last_at, last_plain) = (run.bytes + bytes - len, plain);
        run.bytes += bytes;
        run.frames += frames;
        run.messages += messages;
        rest = &mut rest[bytes..];
    }
    let last = &bytes[last_at..run.bytes.max(last_at)];
    run.seq_through = match last.first_chunk::<HEADER_BYTES>() {
        Some(&[.., s0, s1, s2, s3]) if last_plain => u32::from_le_bytes([s0, s1, s2, s3]),
        Some(head) => Header::decode(head).map_or(0, |header| seq_through(&header, last)),
        None => 0,
    };
    Ok(run)
}

/// Renames the topic of the frames in front that start with exactly `word` (length, kind, flags, topic) and `lane_hops`;
/// returns how many there were.
///
/// Frames of one publisher are mostly of one length. Walking them with a fixed stride, the processor need not wait for
/// one frame's length to find the next frame, which is most of the cost of a walk that reads each length.
fn rename_alike(bytes: &mut [u8], word: u64, lane_hops: u16, len: usize, topic_out: u32) -> u32 {
    let topic = topic_out.to_le_bytes();
    // The stride costs a division: not for a frame that stands alone.
    let next = bytes.get(len..).and_then(|next| next.first_chunk::<8>());
    if next.is_none_or(|next| u64::from_le_bytes(*next) != word) {
        bytes[4..8].copy_from_slice(&topic);
        return 1;
    }
    let mut alike = 0;
    for frame in bytes.chunks_exact_mut(len) {
        let Some(head) = frame.first_chunk_mut::<HEADER_BYTES>() else { break };
        let [w0, w1, w2, w3, w4, w5, w6, w7, lane, hops, ..] = *head;
        let same = u64::from_le_bytes([w0, w1, w2, w3, w4, w5, w6, w7]) == word;
        if !same || u16::from_le_bytes([lane, hops]) != lane_hops {
            break;
        }
        [head[4], head[5], head[6], head[7]] = topic;
        alike += 1;
    }
    alike
}

#[cold]
fn not_data() -> PeerFault {
    PeerFault::KindUnsupported
}

fn check_other(head: &[u8; HEADER_BYTES], frame: &[u8], message_bytes_max: u32) -> Result<u32, PeerFault> {
    let header = Header::decode(head)?;
    if !header.kind.is_data() || header.rejected().is_some() {
        return Err(not_data());
    }
    check_data_frame(&header, frame, message_bytes_max)
}

#[cfg(test)]
mod tests;
