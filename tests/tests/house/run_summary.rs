//! The summary of a failed step of `tests/run` says what went wrong.

use std::fs;
use std::process::Command;

use laneway_tests::real::Scratch;
use laneway_tests::tidy::root;

/// What the summary shows of a log.
fn summary(log: &str) -> Vec<String> {
    let script = fs::read_to_string(root().join("tests/run")).expect("tests/run");
    let (_, rest) = script.split_once("\nfailures() {\n").expect("tests/run defines failures()");
    let (body, _) = rest.split_once("\n}\n").expect("and ends it");
    let scratch = Scratch::new();
    let log = scratch.file("step.log", log);
    let script = format!("set -euo pipefail\nfailures() {{\n{body}\n}}\nfailures \"$1\"");
    let output = Command::new("bash").args(["-c", &script, "summary"]).arg(log).output().expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect()
}

#[test]
fn a_panic_is_shown_with_its_message_and_nothing_else_of_the_log() {
    let log = "\
running 2 tests
test good ... ok
test bad ... FAILED

failures:

---- bad stdout ----

thread 'bad' (4711) panicked at tests/tests/readme.rs:109:5:
assertion `left == right` failed: README.md:83
  left: Some(127)
 right: Some(0)
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace

failures:
    bad

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
error: test failed, to rerun pass `--test readme`
";
    let expected = [
        "test bad ... FAILED",
        "thread 'bad' (4711) panicked at tests/tests/readme.rs:109:5:",
        "  assertion `left == right` failed: README.md:83",
        "    left: Some(127)",
        "   right: Some(0)",
        "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        "error: test failed, to rerun pass `--test readme`",
    ];
    assert_eq!(summary(log), expected);
}

#[test]
fn long_messages_and_long_lists_are_cut() {
    let panic = format!("thread 'bad' panicked at a.rs:1:1:\n{}\n{}", "long ".repeat(1_000), "line\n".repeat(100));
    let shown = summary(&panic);
    assert_eq!(shown.len(), 5, "the place and four lines: {shown:?}");
    assert!(shown.iter().all(|line| line.len() <= 240), "{shown:?}");
    assert_eq!(summary(&panic.repeat(50)).len(), 60);
}

#[test]
fn a_log_without_a_failure_shows_nothing() {
    assert_eq!(summary("running 1 test\ntest good ... ok\n\ntest result: ok. 1 passed; 0 failed;\n"), [""; 0]);
}
