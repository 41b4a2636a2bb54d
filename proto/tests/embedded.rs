//! The Rust library of devices, `client/embedded`, against the link of the hosts over lines of every kind, in virtual time.

mod device;
mod serial;

use std::path::PathBuf;
use std::sync::OnceLock;

use device::build::rust_program;
use device::rig::Rig;
use device::stories;

fn rust_device() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| rust_program(&[]))
}

#[test]
fn topics_are_declared_and_messages_pass_both_ways_on_every_lane() {
    stories::messages_pass(rust_device());
}

#[test]
fn an_idle_session_stays_open_and_clocks_may_wrap() {
    stories::idles(rust_device());
}

#[test]
fn reliable_lanes_are_complete_and_in_order_over_a_lossy_line() {
    stories::survives_losses(rust_device());
}

#[test]
fn a_reset_of_either_end_at_any_byte_heals_by_itself() {
    stories::survives_resets(rust_device());
}

#[test]
fn an_unplugged_line_a_killed_host_and_noise_heal_by_themselves() {
    stories::survives_the_world(rust_device());
}

#[test]
fn the_device_keeps_to_the_credit_of_the_host_and_grants_its_own() {
    let mut rig = Rig::new(rust_device(), 115_200, true, 3);
    rig.device.ask("l");
    rig.reset_device(24);
    stories::keeps_to_credit(rig);
}
