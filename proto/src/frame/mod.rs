//! The bodies of frames: what stands after the 16-byte header.

pub mod batch;
pub mod confirm;
pub mod count;
pub mod credit;
pub mod extensions;
pub mod fragment;
pub mod lost;
pub mod ping;
pub mod totals;
