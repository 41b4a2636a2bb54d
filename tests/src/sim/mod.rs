//! The simulator: whole systems by seed, on one thread, in virtual time.
//!
//! [`io::SimIo`] is the broker's door into a [`world::World`]; everything random comes from separate streams of one seed.

pub mod churn;
pub mod client;
pub mod clock;
pub mod crime;
pub mod datagrams;
pub mod faults;
pub mod guest;
pub mod hearing;
pub mod injection;
pub mod io;
pub mod library;
pub mod line;
pub mod losses;
pub mod marks;
pub mod matrix;
pub mod net;
pub mod oracle;
pub mod peer;
pub mod port;
pub mod rng;
pub mod scenario;
pub mod speech;
pub mod story;
pub mod system;
pub mod trace;
pub mod workload;
pub mod world;
