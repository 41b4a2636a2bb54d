//! One operation of the door that fails: the n-th of its kind. Every n is tried, so that no failure is left out.

use libc::{
    EBADF, ECANCELED, ECONNABORTED, ECONNRESET, EIO, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOTCONN, EOPNOTSUPP, EPERM,
    EPIPE, EPROTO, ETIMEDOUT,
};

/// What a shard asks of the door, and can be refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Operation {
    /// A connection to be accepted.
    Accept,
    /// Who is on the other side of a new connection.
    Peer,
    /// The options of a new connection.
    Configure,
    /// Bytes to be received.
    Receive,
    /// Bytes to be sent.
    Send,
    /// The end of the sending direction.
    ShutdownSend,
    /// The end of both directions.
    Shutdown,
    /// A whole turn.
    Turn,
}

/// One way to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What fails.
    pub operation: Operation,
    /// How, as the operating system's number.
    pub errno: i32,
}

/// How each operation can fail on a real kernel.
const FAULTS: &[(Operation, &[i32])] = &[
    (Operation::Accept, &[EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EPERM, EPROTO]),
    (Operation::Peer, &[ENOTCONN]),
    (Operation::Configure, &[ENOBUFS, EOPNOTSUPP]),
    (Operation::Receive, &[ECONNRESET, ETIMEDOUT, ENOMEM, EIO, ENOBUFS, ECANCELED]),
    (Operation::Send, &[EPIPE, ECONNRESET, ETIMEDOUT, ENOBUFS, ENOMEM]),
    (Operation::ShutdownSend, &[ENOTCONN]),
    (Operation::Shutdown, &[ENOTCONN]),
    (Operation::Turn, &[ENOMEM, EBADF]),
];

impl Fault {
    /// Every fault there is.
    pub fn all() -> impl Iterator<Item = Self> {
        let each = |&(operation, errors): &(Operation, &'static [i32])| {
            errors.iter().map(move |&errno| Self { operation, errno })
        };
        FAULTS.iter().flat_map(each)
    }
}

/// What is to fail, and what has passed so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Injection {
    planned: Option<(Fault, u64)>,
    seen: u64,
}

impl Injection {
    /// The `nth` operation of the fault's kind fails, counted from 1.
    pub const fn nth(fault: Fault, nth: u64) -> Self {
        Self { planned: Some((fault, nth)), seen: 0 }
    }

    /// Counts an operation; `Some` if it is the one to fail, with the error's number.
    pub fn strikes(&mut self, operation: Operation) -> Option<i32> {
        let (fault, nth) = self.planned.filter(|(fault, _)| fault.operation == operation)?;
        self.seen += 1;
        (self.seen == nth).then_some(fault.errno)
    }

    /// Whether the planned operation has come, and failed.
    pub fn has_struck(&self) -> bool {
        self.planned.is_some_and(|(_, nth)| self.seen >= nth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_nth_operation_of_the_kind_fails() {
        let fault = Fault { operation: Operation::Send, errno: EPIPE };
        let mut injection = Injection::nth(fault, 2);
        assert_eq!(injection.strikes(Operation::Send), None);
        assert_eq!(injection.strikes(Operation::Receive), None);
        assert!(!injection.has_struck());
        assert_eq!(injection.strikes(Operation::Send), Some(EPIPE));
        assert_eq!(injection.strikes(Operation::Send), None);
        assert!(injection.has_struck());
        assert_eq!(Injection::default().strikes(Operation::Send), None);
    }
}
