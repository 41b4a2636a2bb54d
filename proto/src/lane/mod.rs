//! What a lane promises, and the machines that keep the promise. Each is told what happened and decides; none holds
//! a message, a socket or a clock.

pub mod bucket;
pub mod confirm;
pub mod credit;
pub mod kept;
pub mod kind;
pub mod policy;
pub mod repeats;
pub mod scheduler;
pub mod seen;
pub mod sequencer;
pub mod table;
pub mod tally;

mod ring;
