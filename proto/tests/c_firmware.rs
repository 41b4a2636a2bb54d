//! The C library on emulated microcontrollers, `tests/firmware/c`, against the link of the hosts. Where QEMU or the cross
//! compiler is missing, the tests say so and pass.

mod device;
mod serial;

use std::path::{Path, PathBuf};
use std::process::Command;

use device::board::{costs_little, is_there, talks};
use device::build::run;

/// The image of a board, or `None` where it cannot be built or run.
fn image(board: &str, program: &str) -> Option<PathBuf> {
    let missing = ["arm-none-eabi-gcc", "qemu-system-arm"].into_iter().find(|program| !is_there(program));
    if let Some(program) = missing {
        println!("SKIPPED: there is no {program}");
        return None;
    }
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{board}-{program}.elf"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/firmware/c/build.sh");
    run(Command::new(script).arg(board).arg(&out).arg(program));
    Some(out)
}

#[test]
fn a_cortex_m3_publishes_and_subscribes() {
    if let Some(image) = image("lm3s", "main") {
        talks("lm3s6965evb", &image);
    }
}

#[test]
fn a_cortex_m0_publishes_and_subscribes() {
    if let Some(image) = image("microbit", "main") {
        talks("microbit", &image);
    }
}

#[test]
fn an_rp2040_publishes_and_subscribes() {
    if std::env::var_os("LANEWAY_RP2040JS").is_none() {
        println!("SKIPPED: LANEWAY_RP2040JS does not say where rp2040js is");
    } else if let Some(image) = image("rp2040", "main") {
        talks("rp2040", &image);
    }
}

#[test]
fn a_message_of_64_bytes_costs_a_cortex_m0_few_instructions() {
    if let Some(image) = image("microbit", "bench") {
        costs_little(&image);
    }
}
