//! Serial lines without hardware: pseudo terminals, a line between two of them that is as slow and as bad as one likes, and
//! a device at its end.

pub mod device;
pub mod line;
pub mod pty;
mod store;
