//! The connection is gone.

use std::fmt;
use std::io;
use std::time::Duration;

use laneway_proto::error::PeerFault;

use super::{Class, Reason};

/// Why a connection ended. Every operation on it fails with the same value from then on.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Lost {
    /// This side closed it.
    Closed,
    /// The broker's side ended without a word: it was killed, or the network cut the connection.
    Ended,
    /// The operating system reported an error.
    Io {
        /// Its kind.
        kind: io::ErrorKind,
        /// Its text.
        text: String,
    },
    /// The broker said goodbye.
    Goodbye(Reason),
    /// The broker broke a rule of the protocol; this side closed.
    Fault(PeerFault),
    /// Nothing was heard for this long, though the broker was asked: it hangs, or the network swallows everything.
    Silent(Duration),
    /// The broker refused this subscription when it was made again on a new link. Only the subscription has ended.
    Refused(Reason),
    /// A message that was sent again came behind newer ones and was dropped. This side ended the link so that it does not
    /// count as received.
    Overtaken,
    /// The link was slow or in doubt, and this side went over to another one; that one did not hold.
    Replaced,
    /// No new link came about.
    Unreachable {
        /// Attempts since the link broke.
        attempts: u32,
        /// What kind of trouble the last one met.
        class: Class,
        /// What the last one said.
        text: String,
    },
}

impl Lost {
    /// From an error of a read or write.
    pub fn from_io(error: &io::Error) -> Self {
        Self::Io { kind: error.kind(), text: error.to_string() }
    }

    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Closed => Class::Permanent,
            Self::Ended | Self::Overtaken | Self::Replaced => Class::Transient,
            Self::Io { kind, .. } => Class::of_io(*kind),
            Self::Goodbye(reason) | Self::Refused(reason) => reason.class(),
            // A broker that stopped in the middle of a frame is slow or cut off, not wrong.
            Self::Fault(PeerFault::PartialFrameTimeout | PeerFault::HandshakeTimeout) | Self::Silent(_) => {
                Class::Transient
            }
            Self::Fault(_) => Class::Protocol,
            Self::Unreachable { class, .. } => *class,
        }
    }

    /// Whether the broker may have kept the session: nobody ended it.
    pub(crate) const fn leaves_session(&self) -> bool {
        match self {
            Self::Ended
            | Self::Io { .. }
            | Self::Silent(_)
            | Self::Replaced
            | Self::Fault(PeerFault::PartialFrameTimeout) => true,
            Self::Closed
            | Self::Goodbye(_)
            | Self::Fault(_)
            | Self::Refused(_)
            | Self::Overtaken
            | Self::Unreachable { .. } => false,
        }
    }

    /// Whether connecting again can help without anybody changing a setting.
    ///
    /// ```
    /// use laneway_client::Lost;
    /// assert!(Lost::Ended.retryable() && !Lost::Closed.retryable());
    /// ```
    pub fn retryable(&self) -> bool {
        match self {
            Self::Goodbye(reason) | Self::Refused(reason) => reason.retryable(),
            Self::Closed
            | Self::Ended
            | Self::Io { .. }
            | Self::Fault(_)
            | Self::Silent(_)
            | Self::Overtaken
            | Self::Replaced
            | Self::Unreachable { .. } => self.class() == Class::Transient,
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection was closed by this side; connect again to go on"),
            Self::Ended => f.write_str("the broker ended the connection without a goodbye; connect again"),
            Self::Io { text, .. } => write!(f, "the connection broke: {text}; connect again"),
            Self::Goodbye(reason) => write!(f, "the broker closed the connection: {reason}"),
            Self::Fault(fault) if self.class() == Class::Transient => {
                write!(f, "the broker was too slow: {fault}; connect again")
            }
            Self::Fault(fault) => write!(f, "the broker broke the protocol: {fault}; upgrade the older side"),
            Self::Silent(silence) => {
                write!(f, "the broker was silent for {:.1} s; check it and the network", silence.as_secs_f64())
            }
            Self::Overtaken => f.write_str("a message came again behind newer ones and is not received; connect again"),
            Self::Replaced => f.write_str("the link was given up for another one, which did not hold; connect again"),
            Self::Refused(reason) => write!(f, "the broker refused the subscription on the new link: {reason}"),
            Self::Unreachable { attempts, text, .. } => write!(f, "no new link after {attempts} attempts: {text}"),
        }
    }
}

impl std::error::Error for Lost {}
