//! The programs under test, built as the running test was: same profile, same target directory; or, if
//! `LANEWAY_BIN_DIR` is set, those that were built there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

#[derive(Debug)]
struct Binaries {
    lanewayd: PathBuf,
    laneway: PathBuf,
    confine: PathBuf,
}

/// All are built before the first is used: peers that wait for a program to do something must not wait for its compiler.
fn binaries() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(|| Binaries {
        lanewayd: build("laneway-broker", "lanewayd", &[]),
        laneway: build("laneway-client", "laneway", &["--features", "cli"]),
        confine: build("laneway-tests", "confine", &[]),
    })
}

/// The broker.
pub fn lanewayd() -> &'static Path {
    &binaries().lanewayd
}

/// The command line client.
pub fn laneway() -> &'static Path {
    &binaries().laneway
}

/// Starts another program with less than it would have; see `src/bin/confine.rs`.
fn confine() -> &'static Path {
    &binaries().confine
}

/// The words in front of a command that start it with at most this many file descriptors.
pub fn with_descriptors(count: u64) -> Vec<String> {
    vec![confine().display().to_string(), "descriptors".into(), count.to_string()]
}

/// The words in front of a command that start it where `io_uring_setup` fails with this error: `EPERM` or `ENOSYS`.
pub fn without_io_uring(error: &str) -> Vec<String> {
    vec![confine().display().to_string(), "no-io-uring".into(), error.into()]
}

/// The words in front of a command that start it where a ring fails with `EPERM` as soon as it is to wait until some
/// moment, and not only for something to happen.
pub fn without_deadlines() -> Vec<String> {
    vec![confine().display().to_string(), "no-io-uring-deadlines".into(), "EPERM".into()]
}

fn build(package: &str, binary: &str, options: &[&str]) -> PathBuf {
    if let Some(dir) = std::env::var_os("LANEWAY_BIN_DIR") {
        return PathBuf::from(dir).join(binary);
    }
    let profile_dir = profile_dir();
    let target_dir = profile_dir.parent().expect("a profile's directory lies in the target directory");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.toml");
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--profile", profile, "-p", package, "--bin", binary])
        .args(options)
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(target_dir)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{binary} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    profile_dir.join(binary)
}

/// Where this test's profile puts its binaries.
fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("a running program has a path");
    let dir = exe.parent().expect("a file lies in a directory");
    let above = dir.parent().filter(|_| dir.ends_with("deps"));
    above.unwrap_or(dir).to_owned()
}
