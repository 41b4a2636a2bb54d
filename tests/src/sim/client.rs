//! What the system asks of a client, whoever speaks for it.

use std::fmt::Debug;

use laneway_proto::time::Duration;

use super::oracle::Oracle;

/// How long a client waits for the first answer before it dials again.
pub const DIAL_PATIENCE: Duration = Duration::from_millis(10_000);
/// How long a client waits before it dials again.
pub const REDIAL_PAUSE: Duration = Duration::from_millis(300);
/// Times a client dials before it gives up.
pub const DIALS_MAX: u32 = 40;

/// Dials nobody answers, once the faults are over, before that is the broker's fault.
pub const UNANSWERED_MAX: u32 = 5;

/// A client of a simulated system.
pub trait Client: Debug {
    /// Its turn.
    fn run(&mut self, oracle: &mut Oracle);

    /// The faults are over: it reads as fast as it can, and asks at last whether the broker has everything.
    fn heal(&mut self);

    /// Whether it has done everything it had planned.
    fn has_finished(&self) -> bool;

    /// Whether the broker has answered the last question, or there is nobody to answer.
    fn is_settled(&self) -> bool;

    /// Dials no more, whatever happens.
    fn retire(&mut self);

    /// Whether it has a connection.
    fn is_connected(&self) -> bool;

    /// What it is about, for a report.
    fn describe(&self) -> String;
}
