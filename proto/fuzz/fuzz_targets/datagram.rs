//! Under `cargo fuzz`, feeds libFuzzer's inputs to the target `datagram`; otherwise, the files named on the command line.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| laneway_proto_fuzz::datagram::check(data));

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    laneway_proto_fuzz::replay_arguments(laneway_proto_fuzz::datagram::check)
}
