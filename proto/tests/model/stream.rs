//! A byte stream walked frame by frame, to compare with the walk by runs over a stream that arrives in pieces.

use laneway_proto::error::{DecodeError, PeerFault};
use laneway_proto::framing::length::{self, Front};
use laneway_proto::framing::run::{self, Run};
use laneway_proto::header::Header;

use super::frame;

/// What the walks are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Bytes of the largest frame the peer may send.
    pub frame_bytes_max: usize,
    /// Bytes of the largest message the peer may send.
    pub message_bytes_max: u32,
    /// The id that data frames leave with.
    pub topic_out: u32,
}

/// What a walk did with one stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Walk {
    /// Every frame that was passed on, in order; data frames with their new topic id.
    pub frames: Vec<Vec<u8>>,
    /// Messages in the data frames.
    pub messages: u64,
    /// Why the walk ended early.
    pub fault: Option<PeerFault>,
    /// Bytes of the last, incomplete frame.
    pub pending: usize,
}

fn is_data(frame: &[u8]) -> bool {
    matches!(frame[2], 0x01 | 0x05)
}

/// Whether the session lets the frame reach the router; everything else is passed on as it is.
fn is_routed(frame: &[u8]) -> bool {
    is_data(frame) && frame[3] & 0x80 == 0 && frame[9] < 8
}

/// The bytes of the frame at the front: `Ok(None)` if it is not whole yet.
fn front(bytes: &[u8], frame_bytes_max: usize) -> Result<Option<usize>, DecodeError> {
    let [l0, l1, ..] = *bytes else { return Ok(None) };
    let len = usize::from(u16::from_le_bytes([l0, l1]));
    if len < 16 {
        Err(DecodeError::LengthTooSmall)
    } else if bytes.len() >= 16 && len > frame_bytes_max {
        Err(DecodeError::LengthTooLarge)
    } else {
        Ok((bytes.len() >= 16 && bytes.len() >= len).then_some(len))
    }
}

/// Walks a stream that is there at once, frame by frame.
pub fn walk(stream: &[u8], bounds: Bounds) -> Walk {
    let mut walk = Walk::default();
    let mut rest = stream;
    loop {
        let len = match front(rest, bounds.frame_bytes_max) {
            Ok(Some(len)) => len,
            Ok(None) => {
                walk.pending = rest.len();
                return walk;
            }
            Err(error) => {
                walk.fault = Some(error.into());
                return walk;
            }
        };
        let mut frame = rest[..len].to_vec();
        if is_routed(&frame) {
            match frame::compare_check(&frame, bounds.message_bytes_max) {
                Ok(messages) => walk.messages += u64::from(messages),
                Err(fault) => {
                    walk.fault = Some(fault);
                    return walk;
                }
            }
            frame[4..8].copy_from_slice(&bounds.topic_out.to_le_bytes());
        }
        walk.frames.push(frame);
        rest = &rest[len..];
    }
}

/// The run at the front of `bytes`, found frame by frame.
pub fn run(bytes: &[u8], bounds: Bounds) -> Run {
    let mut run = Run::default();
    let key = |frame: &[u8]| (frame[4..8].to_vec(), frame[8], frame[9]);
    loop {
        let rest = &bytes[run.bytes..];
        let Ok(Some(len)) = front(rest, bounds.frame_bytes_max) else { return run };
        let frame = &rest[..len];
        // A frame with options of its own (flag bit 4) is a run of its own; frames that ask to be confirmed (SRC without
        // FRAG) are not mixed with others.
        let alone = run.frames > 0 && (bytes[3] | frame[3]) & 0x10 != 0;
        let asks = |frame: &[u8]| frame[3] & 0x0A == 0x08;
        if !is_routed(frame) || key(frame) != key(bytes) || alone || asks(frame) != asks(bytes) {
            return run;
        }
        let Ok(messages) = frame::messages(frame, bounds.message_bytes_max) else { return run };
        run = Run {
            bytes: run.bytes + len,
            frames: run.frames + 1,
            messages: run.messages + messages,
            seq_through: frame::seq_through(frame),
        };
    }
}

/// Walks a stream that arrives in `pieces`, as a receiver does: what is incomplete waits for the next piece.
///
/// # Panics
/// If a run of the crate is not the model's run.
pub fn walk_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]>, bounds: Bounds) -> Walk {
    let mut walk = Walk::default();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let consumed = match take_whole(&mut buffer, bounds, &mut walk) {
            Ok(consumed) => consumed,
            Err(fault) => {
                walk.fault = Some(fault);
                return walk;
            }
        };
        buffer.drain(..consumed);
    }
    walk.pending = buffer.len();
    walk
}

fn take_whole(buffer: &mut [u8], bounds: Bounds, walk: &mut Walk) -> Result<usize, PeerFault> {
    let mut at = 0;
    loop {
        let rest = &mut buffer[at..];
        let header = match length::front(rest, bounds.frame_bytes_max)? {
            Front::Whole(header) => header,
            Front::Partial(header) => {
                assert!(usize::from(header.len) > rest.len(), "a partial frame lacks bytes");
                return Ok(at);
            }
            Front::Short => {
                assert!(rest.len() < 16, "16 bytes are a header");
                return Ok(at);
            }
        };
        at += take_front(rest, &header, bounds, walk)?;
    }
}

/// Takes the run, or the one other frame, at the front of `rest`; returns its bytes.
fn take_front(rest: &mut [u8], header: &Header, bounds: Bounds, walk: &mut Walk) -> Result<usize, PeerFault> {
    let len = usize::from(header.len);
    if !header.kind.is_data() || header.rejected().is_some() {
        assert!(!is_routed(&rest[..len]), "the model routes what the crate does not");
        walk.frames.push(rest[..len].to_vec());
        return Ok(len);
    }
    let expected = run(rest, bounds);
    let before = rest.to_vec();
    let taken = run::take_run(rest, header, bounds.topic_out, bounds.frame_bytes_max, bounds.message_bytes_max);
    let Ok(taken) = taken else {
        assert_eq!(expected.frames, 0, "the crate refuses what the model takes");
        assert_eq!(rest, before, "a refused frame is left as it came");
        return taken.map(|run| run.bytes);
    };
    assert_eq!(taken, expected, "the run");
    assert!(taken.frames > 0, "a walk that takes nothing never ends");
    assert_eq!(rest[taken.bytes..], before[taken.bytes..], "what stands behind the run is left as it came");
    walk.messages += u64::from(taken.messages);
    let mut run_rest = &rest[..taken.bytes];
    while !run_rest.is_empty() {
        let (frame, tail) = run_rest.split_at(usize::from(u16::from_le_bytes([run_rest[0], run_rest[1]])));
        walk.frames.push(frame.to_vec());
        run_rest = tail;
    }
    Ok(taken.bytes)
}

/// Walks `stream` in one go and in pieces of `piece_bytes` (cycled; 0 counts as 1), and compares.
///
/// # Panics
/// If the walks differ.
pub fn compare(stream: &[u8], piece_bytes: &[u8], bounds: Bounds) -> Walk {
    let mut rest = stream;
    let mut sizes = piece_bytes.iter().map(|&size| usize::from(size).max(1)).cycle();
    let pieces = core::iter::from_fn(|| {
        if rest.is_empty() {
            return None;
        }
        let (piece, tail) = rest.split_at(sizes.next().unwrap_or(rest.len()).min(rest.len()));
        rest = tail;
        Some(piece)
    });
    let in_pieces = walk_pieces(pieces, bounds);
    let at_once = walk(stream, bounds);
    assert_eq!(in_pieces, at_once, "frame by frame and run by run");
    at_once
}
