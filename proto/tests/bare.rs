//! The core needs nothing: no dependency, no standard library, no allocator. Shown by building it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

/// Targets without an operating system, in the order of preference.
const BARE_TARGETS: [&str; 5] = [
    "thumbv6m-none-eabi",
    "thumbv7em-none-eabihf",
    "riscv32imac-unknown-none-elf",
    "aarch64-unknown-none",
    "x86_64-unknown-none",
];

/// Links the core into a program that has no `std` and no allocator: `std` would bring a second panic handler, and
/// `alloc` would miss its allocator.
const PROBE: &str = "
#![no_std]
extern crate laneway_proto;
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! { loop {} }
";

fn run(program: &OsStr, arguments: &[&OsStr]) -> Output {
    let output = Command::new(program).args(arguments).env_remove("RUSTFLAGS").output();
    output.unwrap_or_else(|error| panic!("cannot start {program:?}: {error}"))
}

fn cargo(arguments: &[&str]) -> Output {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = run(&cargo, &arguments.iter().map(OsStr::new).collect::<Vec<_>>());
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn rustc(arguments: &[&OsStr]) -> Output {
    run(&std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()), arguments)
}

fn scratch(name: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&place).expect("the target directory can be written");
    place
}

/// Builds the core for `target` (the host if `None`); returns its library.
fn build(target: Option<&str>, place: &Path) -> PathBuf {
    let target_dir = place.to_str().expect("a path in UTF-8");
    let mut arguments = vec!["build", "--quiet", "--offline", "--manifest-path", MANIFEST, "--no-default-features"];
    arguments.extend(["--target-dir", target_dir]);
    arguments.extend(target.iter().flat_map(|target| ["--target", target]));
    cargo(&arguments);
    target.map_or_else(|| place.to_owned(), |target| place.join(target)).join("debug/liblaneway_proto.rlib")
}

fn link_probe(source: &str, library: &Path, place: &Path) -> Output {
    let probe = place.join("probe.rs");
    std::fs::write(&probe, source).expect("the probe can be written");
    let mut with = std::ffi::OsString::from("laneway_proto=");
    with.push(library);
    let fixed = ["--edition=2024", "--crate-type=staticlib", "-Cpanic=abort", "--extern"].map(OsStr::new);
    let out_dir = [OsStr::new("--out-dir"), place.as_os_str(), probe.as_os_str()];
    rustc(&[&fixed[..], &[with.as_os_str()], &out_dir].concat())
}

#[test]
fn the_core_has_no_dependency() {
    let tree = ["tree", "--offline", "--manifest-path", MANIFEST, "--no-default-features", "--prefix", "none"];
    let output = cargo(&[&tree[..], &["--edges", "normal,build", "--target", "all"]].concat());
    let tree = String::from_utf8_lossy(&output.stdout);
    let packages: Vec<&str> = tree.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(packages.len(), 1, "only the crate itself: {packages:#?}");
    assert!(packages[0].starts_with("laneway-proto "), "{packages:?}");
}

#[test]
fn the_core_links_without_std_and_without_an_allocator() {
    let place = scratch("bare-host");
    let library = build(None, &place);
    let output = link_probe(PROBE, &library, &place);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for intruder in ["extern crate std;", "extern crate alloc;"] {
        let output = link_probe(&format!("{PROBE}{intruder}"), &library, &place);
        assert!(!output.status.success(), "the probe would not notice `{intruder}`");
    }
}

#[test]
fn the_core_builds_for_a_machine_without_an_operating_system() {
    let sysroot = rustc(&["--print".as_ref(), "sysroot".as_ref()]).stdout;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot).trim());
    let installed = BARE_TARGETS.iter().find(|target| sysroot.join("lib/rustlib").join(target).join("lib").is_dir());
    match installed {
        Some(target) => assert!(build(Some(target), &scratch("bare-target")).is_file(), "a library for {target}"),
        // Straight to the stream: the harness hides what a passing test prints.
        None => writeln!(
            std::io::stderr(),
            "SKIPPED: no bare-metal target is installed; `rustup target add {}` lets this test run",
            BARE_TARGETS[0]
        )
        .expect("standard error can be written"),
    }
}
