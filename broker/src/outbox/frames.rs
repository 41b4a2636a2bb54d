//! Frames as a full queue sees them: how long, how many messages, which large message they belong to.

use laneway_proto::frame::extensions::{Extensions, Src};
use laneway_proto::framing::run::{CHECK_BYTES, check_data_frame};
use laneway_proto::header::{Flags, Header, Kind};
use laneway_proto::limits::HEADER_BYTES;

/// Bytes of a frame's front that [`Shape::of`] reads.
pub const FRONT_BYTES: usize = CHECK_BYTES;

/// A fragment's message, and its place in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// The message.
    pub src: Src,
    /// Fragments of the message before it.
    pub index: u16,
    /// No fragment follows.
    pub last: bool,
}

impl Fragment {
    /// Reads it from a routed frame's front, as [`Shape::of`] does; `None` if the frame is a whole message or more.
    pub fn of(header: &Header, front: &[u8]) -> Option<Self> {
        if !header.flags.has(Flags::FRAG) {
            return None;
        }
        let fixed = Flags(header.flags.0 & !Flags::XHDR.0);
        let (extensions, _) = Extensions::decode(fixed, &front[HEADER_BYTES..]).ok()?;
        let frag = extensions.frag?;
        Some(Self { src: extensions.src?, index: frag.index, last: frag.index + 1 == frag.count })
    }
}

/// One frame, without its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Bytes of the whole frame.
    pub len: u32,
    /// The broker's id of its topic.
    pub topic: u32,
    /// Conflation key.
    pub ckey: u16,
    /// Messages it counts for: a fragmented message counts with its first fragment.
    pub messages: u32,
    /// If it carries a part of a message.
    pub fragment: Option<Fragment>,
}

impl Shape {
    /// Reads a routed frame's front: its first [`FRONT_BYTES`], or all of a shorter one.
    pub fn of(front: &[u8]) -> Self {
        let header = front.first_chunk::<HEADER_BYTES>().map(Header::decode);
        let Some(Ok(header)) = header else { unreachable!("a routed frame has a valid header") };
        let Header { topic, ckey, .. } = header;
        if header.kind == Kind::PUB && header.flags.0 == 0 {
            return Self { len: u32::from(header.len), topic, ckey, messages: 1, fragment: None };
        }
        let whole = front.len().min(usize::from(header.len));
        let (front, len) = (&front[..whole], u32::from(header.len));
        if let Some(fragment) = Fragment::of(&header, front) {
            return Self { len, topic, ckey, messages: u32::from(fragment.index == 0), fragment: Some(fragment) };
        }
        // Options were checked when the frame was routed, and do not change what it counts for.
        let fixed = Header { flags: Flags(header.flags.0 & !Flags::XHDR.0), ..header };
        let messages = check_data_frame(&fixed, front, u32::MAX).unwrap_or(1);
        Self { len, topic, ckey, messages, fragment: None }
    }
}

/// Walks whole frames in one range.
pub fn walk(mut bytes: &[u8], mut visit: impl FnMut(&[u8], Shape)) {
    while bytes.len() >= HEADER_BYTES {
        let shape = Shape::of(bytes);
        let (frame, rest) = bytes.split_at((shape.len as usize).min(bytes.len()));
        visit(frame, shape);
        bytes = rest;
    }
}
