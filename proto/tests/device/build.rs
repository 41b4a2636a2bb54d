//! Compiles the device libraries and their test programs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's folder of the library.
pub(crate) fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/c")
}

/// Runs a command to its end.
///
/// # Panics
/// With all that it said, if it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    said
}

/// Compiles C sources of the library's folder into a program, with every warning an error and the sanitizers on.
///
/// # Panics
/// With what the compiler said, if it fails.
pub(crate) fn program(name: &str, sources: &[&str], defines: &[&str]) -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let new = out.with_extension(std::process::id().to_string());
    let strict = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-g", "-O1"];
    let checked = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    run(Command::new("cc")
        .args(strict)
        .args(checked)
        .args(defines)
        .args(sources.iter().map(|source| library().join(source)))
        .arg("-o")
        .arg(&new));
    std::fs::rename(&new, &out).expect("the program has its name");
    out
}

/// Builds the Rust library's process with these options, and nothing of this workspace.
///
/// # Panics
/// With what the compiler said, if it fails.
pub(crate) fn rust_program(options: &[&str]) -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("embedded");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/embedded/Cargo.toml");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--locked", "--profile", "sim", "--example", "process"]).args(options);
    run(command.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(&out).env_remove("RUSTFLAGS"));
    let name = format!("rust-device-{}", options.concat().replace('-', ""));
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let new = kept.with_extension(std::process::id().to_string());
    std::fs::copy(out.join("sim/examples/process"), &new).expect("the program is there");
    std::fs::rename(&new, &kept).expect("the program has its name");
    kept
}
