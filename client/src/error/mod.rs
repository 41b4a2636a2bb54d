//! Errors, one type per operation, each sorted by what a caller can do about it.
//!
//! | class | what helps |
//! | --- | --- |
//! | [`Class::Transient`] | trying again later |
//! | [`Class::Limit`] | sending less, or raising a limit |
//! | [`Class::Permanent`] | changing a setting or the call |
//! | [`Class::Protocol`] | upgrading or repairing one side |

mod confirm;
mod connect;
mod flush;
mod lost;
mod publish;
mod reason;
mod request;
mod subscribe;

pub use confirm::{ConfirmError, Doubt};
pub use connect::{ConnectError, OptionsError};
pub use flush::{CloseError, FlushError};
pub use lost::Lost;
pub use publish::{PublishError, TryPublishError};
pub use reason::Reason;
pub use request::RequestError;
pub use subscribe::SubscribeError;

use std::io::ErrorKind;

/// What kind of trouble an error is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Class {
    /// It may pass by itself.
    Transient,
    /// It stays until a setting or the call is changed.
    Permanent,
    /// One side does not keep to the protocol, or speaks another version.
    Protocol,
    /// A bound was reached.
    Limit,
}

impl Class {
    /// The class of an error of the operating system.
    ///
    /// ```
    /// use laneway_client::Class;
    /// assert_eq!(Class::of_io(std::io::ErrorKind::ConnectionReset), Class::Transient);
    /// assert_eq!(Class::of_io(std::io::ErrorKind::PermissionDenied), Class::Permanent);
    /// ```
    #[expect(clippy::wildcard_enum_match_arm, reason = "the standard library's list grows")]
    pub const fn of_io(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::PermissionDenied
            | ErrorKind::InvalidInput
            | ErrorKind::Unsupported
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory => Self::Permanent,
            ErrorKind::InvalidData => Self::Protocol,
            ErrorKind::OutOfMemory | ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Limit,
            _ => Self::Transient,
        }
    }
}

#[cfg(test)]
mod tests;
