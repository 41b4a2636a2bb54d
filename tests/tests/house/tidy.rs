//! The house rules that a machine can check. Each check's own tests, in `laneway_tests::tidy`, feed it a bad sample.

use std::process::Command;

use laneway_tests::tidy::{crates, layers, lengths, requirements, root, rust_files, words};

/// Functions over the bound that already exist: path, name and exact length. They may only shrink.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];
/// Lines of `ARCHITECTURE.md` at most: two pages.
const ARCHITECTURE_LINES_MAX: usize = 150;

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn the_brokers_arrows_point_down() {
    assert_none(&layers::upward(&rust_files()));
}

#[test]
fn files_of_one_folder_meet_only_in_their_parent() {
    assert_none(&layers::sideways(&rust_files()));
}

#[test]
fn every_file_is_short() {
    assert_none(&lengths::long_files(&rust_files()));
}

#[test]
fn every_function_is_short() {
    assert_none(&lengths::long_functions(&rust_files(), LONG_FUNCTIONS));
}

#[test]
fn nothing_is_unfinished_or_silenced_without_a_reason() {
    let sources = rust_files();
    assert_none(&words::banned(&sources));
    assert_none(&words::silent_allows(&sources));
}

#[test]
fn unsafe_code_stands_only_where_the_kernel_is_told_addresses() {
    assert_none(&words::stray_unsafe(&rust_files()));
}

#[test]
fn crates_know_only_what_they_may() {
    let problems = crates::ARROWS.iter().flat_map(|(folder, allowed)| {
        let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a manifest");
        crates::wrong_arrows(folder, &manifest, allowed)
    });
    assert_none(&problems.collect::<Vec<_>>());
}

/// What a release build of `package` is made of.
fn tree(package: &str) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let arguments = ["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--package", package];
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    assert!(text.starts_with(package), "{text}");
    text
}

#[test]
fn the_release_broker_holds_no_test_code_and_no_runtime() {
    let forbidden = ["laneway-tests", "laneway-client", "laneway-bench", "tokio", "tokio-uring", "glommio", "proptest"];
    assert_none(&crates::forbidden_packages(&tree("laneway-broker"), &forbidden));
}

#[test]
fn the_protocol_has_no_dependency_by_default() {
    assert_eq!(tree("laneway-proto").lines().count(), 1, "{}", tree("laneway-proto"));
}

#[test]
fn the_architecture_fits_two_pages() {
    if let Ok(text) = std::fs::read_to_string(root().join("ARCHITECTURE.md")) {
        let lines = text.lines().count();
        assert!(lines <= ARCHITECTURE_LINES_MAX, "{lines} lines, at most {ARCHITECTURE_LINES_MAX}");
    }
}

#[test]
fn every_requirement_of_this_version_has_a_test_that_exists() {
    let document = std::fs::read_to_string(root().join("docs/REQUIREMENTS.md")).expect("docs/REQUIREMENTS.md");
    let wanted = requirements::ids(requirements::ANSWERED);
    assert_none(&requirements::check(&document, &wanted, &rust_files(), |path| root().join(path).exists()));
}
