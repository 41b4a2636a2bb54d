//! What the fuzz targets check: one module a target, one plain function `check(data)` a module.
//!
//! | to | run |
//! | --- | --- |
//! | replay all corpora, on stable | `cargo test --manifest-path proto/fuzz/Cargo.toml` |
//! | fuzz one target for a minute | `cargo +nightly fuzz run --fuzz-dir proto/fuzz TARGET SCRATCH proto/fuzz/corpus/TARGET -- -max_total_time=60` |
//! | look at one input | `cargo run --manifest-path proto/fuzz/Cargo.toml --bin TARGET -- FILE` |
//!
//! `SCRATCH` is an empty directory that takes what libFuzzer finds; the corpus is only read. Without a nightly compiler
//! use `RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none …`.
//!
//! Every module says how its bytes are read, so that seeds can be written by hand. A `check` panics when the crate
//! breaks a promise, and for no other reason.

pub mod batch;
pub mod confirm;
pub mod control;
pub mod count;
pub mod credit;
pub mod datagram;
pub mod delivered;
pub mod extensions;
pub mod foreign;
pub mod fragment;
pub mod framing;
pub mod header;
mod input;
pub mod lost;
#[path = "../../tests/model/mod.rs"]
pub mod model;
pub mod ping;
pub mod reliable;
pub mod repeats;
pub mod session;
pub mod topic;

use std::process::ExitCode;

/// What a target does with one input.
pub type Check = fn(&[u8]);

/// Every target with its name, which is also that of its binary and of its corpus.
pub const TARGETS: [(&str, Check); 18] = [
    ("batch", batch::check),
    ("confirm", confirm::check),
    ("control", control::check),
    ("count", count::check),
    ("credit", credit::check),
    ("datagram", datagram::check),
    ("delivered", delivered::check),
    ("extensions", extensions::check),
    ("foreign", foreign::check),
    ("fragment", fragment::check),
    ("framing", framing::check),
    ("header", header::check),
    ("lost", lost::check),
    ("ping", ping::check),
    ("reliable", reliable::check),
    ("repeats", repeats::check),
    ("session", session::check),
    ("topic", topic::check),
];

/// Feeds the files named on the command line to `check`; fails if one cannot be read.
pub fn replay_arguments(check: Check) -> ExitCode {
    for path in std::env::args_os().skip(1) {
        match std::fs::read(&path) {
            Ok(data) => check(&data),
            Err(error) => {
                eprintln!("{}: {error}; name the inputs to replay", path.to_string_lossy());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
