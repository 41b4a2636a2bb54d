//! What Laneway's tests are made of. Not published, and never part of a release binary.
#![forbid(unsafe_code)]

pub mod contract;
pub mod real;
pub mod serial;
pub mod sim;
pub mod tidy;
