//! What the broker said when it refused something or left.

use std::fmt;

use laneway_proto::error::CloseCode;

use super::Class;

/// A code and a sentence from the broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reason {
    number: u32,
    text: String,
}

impl Reason {
    /// From the two fields that travel.
    pub const fn new(number: u32, text: String) -> Self {
        Self { number, text }
    }

    /// The code, if this version knows it.
    pub fn code(&self) -> Option<CloseCode> {
        CloseCode::from_number(self.number)
    }

    /// The code's number on the wire.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// The broker's sentence; may be empty.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What kind of trouble it is. Unknown codes come from a newer broker and count as permanent.
    pub fn class(&self) -> Class {
        let Some(code) = self.code() else {
            return Class::Permanent;
        };
        match code {
            CloseCode::Normal
            | CloseCode::Shutdown
            | CloseCode::Timeout
            | CloseCode::SlowConsumer
            | CloseCode::Internal => Class::Transient,
            CloseCode::Limit => Class::Limit,
            CloseCode::Malformed
            | CloseCode::OutOfTurn
            | CloseCode::Version
            | CloseCode::UnsupportedKind
            | CloseCode::FlowControl => Class::Protocol,
            CloseCode::Forbidden | CloseCode::Denied | CloseCode::Network | CloseCode::Replaced => Class::Permanent,
        }
    }

    /// Whether trying again later can help without anybody changing a setting.
    pub fn retryable(&self) -> bool {
        self.code().is_some_and(CloseCode::retryable)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            Some(code) => f.write_str(code.name())?,
            None => write!(f, "code {}", self.number)?,
        }
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}
