//! The Rust library on emulated microcontrollers, `tests/firmware/rust`, against the link of the hosts. Where QEMU or the
//! compiler's target is missing, the tests say so and pass.

mod device;
mod serial;

use std::path::{Path, PathBuf};
use std::process::Command;

use device::board::{costs_little, emulator, is_there, talks};
use device::build::run;

/// The image of a board, or `None` where it cannot be built or run.
fn image(board: &str, machine: &str, program: &str) -> Option<PathBuf> {
    let target = if machine == "virt" { "riscv32imc-unknown-none-elf" } else { "thumbv6m-none-eabi" };
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let library = run(Command::new(rustc).args(["--print", "target-libdir", "--target", target]));
    if !Path::new(library.trim()).is_dir() {
        println!("SKIPPED: there is no target {target}");
        return None;
    }
    if !is_there(emulator(machine)) {
        println!("SKIPPED: there is no {}", emulator(machine));
        return None;
    }
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rust-{board}-{program}.elf"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/firmware/rust/build.sh");
    run(Command::new(script).arg(board).arg(&out).arg(program));
    Some(out)
}

#[test]
fn a_cortex_m3_publishes_and_subscribes() {
    if let Some(image) = image("lm3s", "lm3s6965evb", "main") {
        talks("lm3s6965evb", &image);
    }
}

#[test]
fn a_cortex_m0_publishes_and_subscribes() {
    if let Some(image) = image("microbit", "microbit", "main") {
        talks("microbit", &image);
    }
}

#[test]
fn a_riscv_core_publishes_and_subscribes() {
    if let Some(image) = image("virt", "virt", "main") {
        talks("virt", &image);
    }
}

#[test]
fn a_message_of_64_bytes_costs_a_cortex_m0_few_instructions() {
    if let Some(image) = image("microbit", "microbit", "bench") {
        costs_little(&image);
    }
}
