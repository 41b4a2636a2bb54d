//! The soak, for a few seconds: that it runs, judges, and ends well. `./tests/run --soak MINUTES` runs it for as long as one
//! likes.

use std::process::Command;

use laneway_tests::tidy::root;

/// Seconds of load; the judgement of memory needs a few more minutes to be worth anything.
const SECONDS: f64 = 9.0;

/// What a soak of a few seconds prints, and whether it passed.
fn soak() -> (String, bool) {
    let minutes = format!("{}", SECONDS / 60.0);
    let output =
        Command::new(env!("CARGO_BIN_EXE_soak")).args(["--minutes", &minutes]).output().expect("the soak starts");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

#[test]
fn a_short_soak_loses_nothing_keeps_its_memory_and_ends_well() {
    // A pool may grow late on a machine that is busy otherwise.
    for attempt in 1..=3 {
        let (printed, passed) = soak();
        println!("attempt {attempt}:\n{printed}");
        assert!(printed.contains(" received by two readers each") && printed.contains("memory: "), "{printed}");
        assert!(printed.contains("the broker ended with Some(0)"), "{printed}");
        if passed {
            return;
        }
    }
    panic!("three times in a row memory grew or messages were lost");
}

#[test]
fn the_command_for_long_soaks_runs_the_same_program() {
    let script = std::fs::read_to_string(root().join("tests/run")).expect("tests/run");
    assert!(script.contains("release/soak\" --minutes \"$soak_minutes\""), "tests/run --soak runs it");
}
