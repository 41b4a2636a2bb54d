//! Naive models of the protocol: each rule once more, written for the eye instead of the clock.
//!
//! The property tests and the fuzz targets compare the crate with these. They index into slices, collect into vectors
//! and recurse, and they share no code with what they judge beyond the plain data types.

pub mod batch;
pub mod fragment;
pub mod frame;
pub mod hot;
pub mod lane;
pub mod session;
pub mod stream;
pub mod topic;
