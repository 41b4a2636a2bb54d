//! A device library and a host for it: the library as a process, the real link with an application, and a line between them.

#![allow(dead_code, missing_docs, reason = "each test file uses a part of it; names say what things are")]

pub(crate) mod board;
pub(crate) mod build;
pub(crate) mod host;
pub(crate) mod pair;
pub(crate) mod process;
pub(crate) mod rig;
pub(crate) mod stories;
