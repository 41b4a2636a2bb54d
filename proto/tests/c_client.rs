//! The C library of devices, `client/c`: the vectors of `docs/SERIAL.md`, and the library against the link of the hosts
//! over lines of every kind, in virtual time.

mod device;
pub mod document;
mod serial;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use laneway_proto::serial::crc::session_preset;

use device::build::{library, program, run};
use device::process::hex;
use device::rig::Rig;
use device::stories;

const DOCUMENT: &str = include_str!("../../docs/SERIAL.md");

fn c_device() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| program("c-device", &["tests/host.c", "laneway.c"], &[]))
}

#[test]
fn the_c_library_says_and_understands_the_golden_vectors() {
    let mut lines = String::new();
    for (title, text) in document::blocks(DOCUMENT) {
        let (frame, wire) = text.split_once("=>").expect("a frame and what travels");
        let session = format!("{:08x}", session_preset(0x1122_3344, 0xA1B2_C3D4));
        let (name, preset) = title.split_once(" preset ").unwrap_or((title, &session));
        lines += &format!("{name} {preset} {} {}\n", hex(&document::bytes(frame)), hex(&document::bytes(wire)));
    }
    for (name, defines) in [
        ("golden", &[][..]),
        ("golden-large", &["-DLW_MTU=1024", "-DLW_WINDOW=16"]),
        ("golden-half-duplex", &["-DLW_HALF_DUPLEX=1"]),
    ] {
        let mut child = Command::new(program(name, &["tests/golden.c"], defines))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("it listens");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn topics_are_declared_and_messages_pass_both_ways_on_every_lane() {
    stories::messages_pass(c_device());
}

#[test]
fn an_idle_session_stays_open_and_clocks_may_wrap() {
    stories::idles(c_device());
}

#[test]
fn reliable_lanes_are_complete_and_in_order_over_a_lossy_line() {
    stories::survives_losses(c_device());
}

#[test]
fn nothing_that_arrives_takes_the_c_library_out_of_its_bounds() {
    for (name, defines) in [
        ("fuzz", &["-DFUZZ_SEED=5", "-DFUZZ_INPUTS=10000"][..]),
        ("fuzz-large", &["-DFUZZ_SEED=6", "-DFUZZ_INPUTS=5000", "-DLW_MTU=512", "-DLW_WINDOW=8", "-DLW_TOPICS=4"]),
        ("fuzz-half-duplex", &["-DFUZZ_SEED=8", "-DFUZZ_INPUTS=5000", "-DLW_HALF_DUPLEX=1"]),
        ("fuzz-small", &["-DFUZZ_SEED=7", "-DFUZZ_INPUTS=5000", "-DLW_MTU=32", "-DLW_WINDOW=1", "-DLW_TOPICS=5"]),
    ] {
        println!("{}", run(&mut Command::new(program(name, &["tests/fuzz.c"], defines))));
    }
}

#[test]
fn the_c_library_keeps_its_bars_of_flash_and_memory() {
    if Command::new("arm-none-eabi-gcc").arg("--version").output().is_ok() {
        println!("{}", run(&mut Command::new(library().join("size.sh"))));
    } else {
        println!("SKIPPED: there is no arm-none-eabi-gcc");
    }
}

#[test]
fn a_reset_of_either_end_at_any_byte_heals_by_itself() {
    stories::survives_resets(c_device());
}

#[test]
fn an_unplugged_line_a_killed_host_and_noise_heal_by_themselves() {
    stories::survives_the_world(c_device());
}

#[test]
fn the_device_keeps_to_the_credit_of_the_host_and_grants_its_own() {
    let program = program("c-credit", &["tests/host.c", "laneway.c"], CREDIT_LANES);
    stories::keeps_to_credit(Rig::new(&program, 115_200, true, 3));
}

const CREDIT_LANES: &[&str] = &["-DLW_LANES=3", "-DLW_LANE_TABLE={{LW_RO,0,0},{LW_RO,1,4},{LW_RU,2,0}}"];
