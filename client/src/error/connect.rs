//! Why no connection came about.

use std::fmt;
use std::io;
use std::time::Duration;

use laneway_proto::limits::{METADATA_BYTES_MAX, NETWORK_ID_BYTES_MAX, WILL_BYTES_MAX};

use super::{Class, Lost, Reason};
use crate::endpoint::{Endpoint, UrlError};

/// Options that no broker would accept; found before anything is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OptionsError {
    /// Keys and values together are over 4,096 bytes; holds how many.
    Metadata(usize),
    /// The network id is over 64 bytes; holds how many.
    NetworkId(usize),
    /// The will is over 16,384 bytes; holds how many.
    Will(usize),
    /// The will's topic cannot be published to; holds why.
    WillTopic(&'static str),
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata(bytes) => {
                write!(f, "metadata has {bytes} bytes; keys and values together may have {METADATA_BYTES_MAX}")
            }
            Self::NetworkId(bytes) => {
                write!(f, "the network id has {bytes} bytes; it may have {NETWORK_ID_BYTES_MAX}")
            }
            Self::Will(bytes) => write!(f, "the will has {bytes} bytes; it may have {WILL_BYTES_MAX}"),
            Self::WillTopic(why) => write!(f, "the topic of the will: {why}"),
        }
    }
}

/// Why `connect` failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is not understood. Nothing was tried.
    Url(UrlError),
    /// An option is out of its bounds. Nothing was tried.
    Options(OptionsError),
    /// The host's name could not be resolved.
    Dns {
        /// Where to.
        endpoint: Endpoint,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody listens there.
    Refused {
        /// Where to.
        endpoint: Endpoint,
        /// What the operating system said.
        source: io::Error,
    },
    /// No route to the host.
    Unreachable {
        /// Where to.
        endpoint: Endpoint,
        /// What the operating system said.
        source: io::Error,
    },
    /// Connection and handshake took longer than allowed.
    Timeout {
        /// Where to.
        endpoint: Endpoint,
        /// The time allowed.
        after: Duration,
    },
    /// Any other error of the operating system.
    Io {
        /// Where to.
        endpoint: Endpoint,
        /// What the operating system said.
        source: io::Error,
    },
    /// No protocol version in common.
    Version {
        /// Lowest version the broker speaks.
        broker_min: u32,
        /// Highest version the broker speaks.
        broker_max: u32,
    },
    /// The broker refused this client.
    Rejected {
        /// Code and sentence.
        reason: Reason,
        /// When the broker suggests to try again, if it does.
        retry_after: Option<Duration>,
    },
    /// The connection ended during the handshake, or the other side does not speak Laneway.
    Lost(Lost),
}

impl ConnectError {
    /// Sorts an error of the operating system by what it means for a dial.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the standard library's list grows")]
    pub fn from_io(endpoint: Endpoint, source: io::Error) -> Self {
        match source.kind() {
            // A Unix socket that does not exist is a broker that does not run.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Self::Refused { endpoint, source },
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
                Self::Unreachable { endpoint, source }
            }
            // The kernel gave up before our own clock did.
            io::ErrorKind::TimedOut => Self::Unreachable { endpoint, source },
            _ => Self::Io { endpoint, source },
        }
    }

    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Url(_) | Self::Options(_) => Class::Permanent,
            Self::Dns { .. } | Self::Refused { .. } | Self::Unreachable { .. } | Self::Timeout { .. } => {
                Class::Transient
            }
            Self::Io { source, .. } => Class::of_io(source.kind()),
            Self::Version { .. } => Class::Protocol,
            Self::Rejected { reason, .. } => reason.class(),
            Self::Lost(lost) => lost.class(),
        }
    }

    /// Whether trying again later can help without anybody changing a setting.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// # runtime.block_on(async {
    /// let error = laneway_client::connect("carrier-pigeon://roof").await.expect_err("no such scheme");
    /// assert!(!error.retryable());
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn retryable(&self) -> bool {
        match self {
            Self::Rejected { reason, .. } => reason.retryable(),
            Self::Lost(lost) => lost.retryable(),
            Self::Url(_)
            | Self::Options(_)
            | Self::Dns { .. }
            | Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Io { .. }
            | Self::Version { .. } => self.class() == Class::Transient,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => write!(f, "bad broker URL: {error}"),
            Self::Options(error) => error.fmt(f),
            Self::Dns { endpoint, source } => {
                write!(f, "{endpoint}: the host name could not be resolved: {source}; check the name")
            }
            Self::Refused { endpoint, source } => {
                write!(f, "{endpoint}: {}; start lanewayd there, or check the address", refusal(source))
            }
            Self::Unreachable { endpoint, source } => {
                write!(f, "{endpoint}: unreachable: {source}; check the address and the network")
            }
            Self::Timeout { endpoint, after } => {
                let seconds = after.as_secs_f64();
                write!(f, "{endpoint}: no answer within {seconds} s; check the address, or allow more time")
            }
            Self::Io { endpoint, source } => write!(f, "{endpoint}: {source}"),
            Self::Version { broker_min, broker_max } => write!(
                f,
                "no protocol version in common (here 1, broker {broker_min} to {broker_max}); upgrade the older side"
            ),
            Self::Rejected { reason, .. } => write!(f, "the broker refused this client: {reason}"),
            Self::Lost(lost) => write!(f, "the handshake failed: {lost}"),
        }
    }
}

fn refusal(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::NotFound { "no such socket" } else { "connection refused" }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Url(error) => Some(error),
            Self::Dns { source, .. }
            | Self::Refused { source, .. }
            | Self::Unreachable { source, .. }
            | Self::Io { source, .. } => Some(source),
            Self::Lost(lost) => Some(lost),
            Self::Options(_) | Self::Timeout { .. } | Self::Version { .. } | Self::Rejected { .. } => None,
        }
    }
}

impl From<UrlError> for ConnectError {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}
