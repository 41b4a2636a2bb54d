//! Under `cargo fuzz`, feeds libFuzzer's inputs to the target `device`; otherwise, the files named on the command line.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    laneway_embedded_fuzz::check(data);
});

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    for path in std::env::args().skip(1) {
        laneway_embedded_fuzz::check(&std::fs::read(path)?);
    }
    Ok(())
}
