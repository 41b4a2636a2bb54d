//! The soak, for a few seconds: that it runs, judges, and ends well. `./tests/run --soak MINUTES` runs it for as long as one
//! likes.

use std::process::Command;

use laneway_tests::tidy::root;

/// Seconds of load.
const SECONDS: f64 = 9.0;

/// What a soak of a few seconds prints.
fn soak() -> String {
    let minutes = format!("{}", SECONDS / 60.0);
    let output =
        Command::new(env!("CARGO_BIN_EXE_soak")).args(["--minutes", &minutes]).output().expect("the soak starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_short_soak_loses_nothing_judges_its_memory_and_ends_well() {
    let printed = soak();
    println!("{printed}");
    // In a few seconds pools still grow: what is judged of memory counts in minutes.
    assert!(printed.contains("memory: ") && printed.contains("test result: "), "{printed}");
    assert!(printed.contains("the broker ended with Some(0)"), "{printed}");
    let counts = printed.lines().find(|line| line.contains(" received by two readers each")).expect("counts");
    let mut words = counts.split_whitespace();
    let mut number = || words.find_map(|word| word.parse::<u64>().ok()).expect("a number");
    let (published, received) = (number(), number());
    assert!(published > 0 && received == 2 * published, "{counts}");
}

#[test]
fn the_command_for_long_soaks_runs_the_same_program() {
    let script = std::fs::read_to_string(root().join("tests/run")).expect("tests/run");
    assert!(script.contains("release/soak\" --minutes \"$soak_minutes\""), "tests/run --soak runs it");
}
