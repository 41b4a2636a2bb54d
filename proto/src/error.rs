//! Errors, sorted by whose fault they are, and the close code each one ends a session with.
//!
//! | blame | type | reaction |
//! | --- | --- | --- |
//! | bytes are not a frame | [`DecodeError`] | close, count |
//! | a frame at the wrong time, or over a limit | [`PeerFault`] | close with its code, count |
//! | a frame that is well framed but not for us | [`Rejected`] | drop the frame, count, keep the session |

use core::fmt;

/// The bytes are not a Laneway frame. On a stream the framing is lost, so the session ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// The link did not open with Laneway's preface.
    NotLaneway,
    /// The length field is smaller than a header.
    LengthTooSmall,
    /// The frame is longer than the peer was allowed to send.
    LengthTooLarge,
    /// Extensions or body are longer than the frame that carries them.
    BodyTruncated,
    /// A count or length inside the body contradicts the frame's length.
    BodyMalformed,
}

/// A well-framed frame that is dropped and counted; the session lives on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejected {
    /// A reserved flag bit is set.
    ReservedFlag,
    /// The kind is unknown and may be skipped (bit 6 is set).
    UnknownKind,
    /// The frame already passed the largest number of brokers.
    TooManyHops,
    /// An extension marked critical is unknown.
    UnknownCriticalExtension,
}

/// The peer broke a rule of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerFault {
    /// Bytes that are no frame.
    Decode(DecodeError),
    /// Preface and handshake were not finished in time.
    HandshakeTimeout,
    /// A frame stayed incomplete for too long.
    PartialFrameTimeout,
    /// A data frame or a control message other than HELLO before WELCOME.
    DataBeforeWelcome,
    /// A second HELLO, or a message only the other side may send.
    OutOfTurn,
    /// No protocol version in common.
    VersionUnsupported,
    /// A kind this version does not know and may not skip.
    KindUnsupported,
    /// A lane number of 16 or more, or data on the control lane.
    LaneForbidden,
    /// A data frame on a topic id that was never declared.
    TopicUndeclared,
    /// A topic id outside the session's range, or declared twice with different names.
    TopicIdInvalid,
    /// A message larger than the announced maximum.
    MessageTooLarge,
    /// Fragments out of sequence, or a fragment without a source.
    FragmentInvalid,
    /// More malformed control messages within a second than allowed.
    ControlMalformed,
    /// More topics, subscriptions or metadata than allowed.
    LimitExceeded,
    /// More bytes on a lane than its credit allowed.
    FlowControl,
    /// More frames counted than were sent, or fewer than were counted before.
    CountAhead,
}

/// Why a session ends; the number travels in GOODBYE and REJECT. Numbers are never reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// Nothing went wrong: the peer is done.
    Normal = 0,
    /// The process is shutting down.
    Shutdown = 1,
    /// The bytes were not Laneway frames.
    Malformed = 2,
    /// A frame at the wrong time.
    OutOfTurn = 3,
    /// The handshake, or a frame, took too long.
    Timeout = 4,
    /// No common protocol version.
    Version = 5,
    /// A frame kind that this side does not support.
    UnsupportedKind = 6,
    /// A lane or topic id that may not be used.
    Forbidden = 7,
    /// A limit was exceeded: connections, topics, subscriptions, sizes.
    Limit = 8,
    /// The peer is not on the list of allowed peers.
    Denied = 9,
    /// The peer belongs to another network.
    Network = 10,
    /// The peer read too slowly for longer than allowed.
    SlowConsumer = 11,
    /// More data than the credit allowed.
    FlowControl = 12,
    /// A fault of this side; its log says more.
    Internal = 13,
    /// A newer process of the same node has taken the session's place.
    Replaced = 14,
}

impl CloseCode {
    /// Every code, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Normal,
        Self::Shutdown,
        Self::Malformed,
        Self::OutOfTurn,
        Self::Timeout,
        Self::Version,
        Self::UnsupportedKind,
        Self::Forbidden,
        Self::Limit,
        Self::Denied,
        Self::Network,
        Self::SlowConsumer,
        Self::FlowControl,
        Self::Internal,
        Self::Replaced,
    ];

    /// The number that travels.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The code behind a number; unknown numbers (from a newer peer) are `None`.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// The word used in logs, metrics and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Shutdown => "shutdown",
            Self::Malformed => "malformed",
            Self::OutOfTurn => "out_of_turn",
            Self::Timeout => "timeout",
            Self::Version => "version",
            Self::UnsupportedKind => "unsupported_kind",
            Self::Forbidden => "forbidden",
            Self::Limit => "limit",
            Self::Denied => "denied",
            Self::Network => "network",
            Self::SlowConsumer => "slow_consumer",
            Self::FlowControl => "flow_control",
            Self::Internal => "internal",
            Self::Replaced => "replaced",
        }
    }

    /// Whether dialling again later can help without anybody changing a setting.
    pub const fn retryable(self) -> bool {
        match self {
            Self::Normal | Self::Shutdown | Self::Timeout | Self::Limit | Self::SlowConsumer | Self::Internal => true,
            Self::Malformed
            | Self::OutOfTurn
            | Self::Version
            | Self::UnsupportedKind
            | Self::Forbidden
            | Self::Denied
            | Self::Network
            | Self::FlowControl
            | Self::Replaced => false,
        }
    }
}

impl PeerFault {
    /// The code that the session is closed with. Total on purpose: a new fault must choose.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Decode(_) | Self::ControlMalformed | Self::FragmentInvalid => CloseCode::Malformed,
            Self::HandshakeTimeout | Self::PartialFrameTimeout => CloseCode::Timeout,
            Self::DataBeforeWelcome | Self::OutOfTurn | Self::CountAhead => CloseCode::OutOfTurn,
            Self::VersionUnsupported => CloseCode::Version,
            Self::KindUnsupported => CloseCode::UnsupportedKind,
            Self::LaneForbidden | Self::TopicUndeclared | Self::TopicIdInvalid => CloseCode::Forbidden,
            Self::MessageTooLarge | Self::LimitExceeded => CloseCode::Limit,
            Self::FlowControl => CloseCode::FlowControl,
        }
    }

    /// One sentence for people, without a full stop.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Decode(DecodeError::NotLaneway) => "the peer does not speak Laneway (wrong preface)",
            Self::Decode(DecodeError::LengthTooSmall) => "a frame claims to be shorter than its header",
            Self::Decode(DecodeError::LengthTooLarge) => "a frame is longer than allowed",
            Self::Decode(DecodeError::BodyTruncated) => "a frame's body is longer than the frame",
            Self::Decode(DecodeError::BodyMalformed) => "a frame's body contradicts its length",
            Self::HandshakeTimeout => "the handshake was not finished in time",
            Self::PartialFrameTimeout => "a frame stayed incomplete for too long",
            Self::DataBeforeWelcome => "data was sent before the handshake was over",
            Self::OutOfTurn => "a message arrived that may not be sent now",
            Self::VersionUnsupported => "no protocol version in common",
            Self::KindUnsupported => "a frame kind that this version does not know",
            Self::LaneForbidden => "a lane that may not carry data, or does not exist",
            Self::TopicUndeclared => "a topic id that was not declared before its first frame",
            Self::TopicIdInvalid => "a topic id outside the session's range, or declared twice",
            Self::MessageTooLarge => "a message larger than the announced maximum",
            Self::FragmentInvalid => "fragments out of sequence or without a source",
            Self::ControlMalformed => "too many malformed control messages",
            Self::LimitExceeded => "more topics, subscriptions or metadata than allowed",
            Self::FlowControl => "more data on a lane than its credit allowed",
            Self::CountAhead => "a count of frames that contradicts what was sent and counted before",
        }
    }
}

impl From<DecodeError> for PeerFault {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PeerFault::Decode(*self).text())
    }
}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for DecodeError {}
impl core::error::Error for PeerFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_are_numbered_by_their_place_and_never_reused() {
        for (place, code) in CloseCode::ALL.into_iter().enumerate() {
            assert_eq!(code.number() as usize, place, "{code}");
            assert_eq!(CloseCode::from_number(code.number()), Some(code));
        }
        assert_eq!(CloseCode::from_number(15), None);
    }
}
