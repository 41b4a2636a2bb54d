//! What the documents tell people to do works, and what they name exists.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use laneway_tests::real::process::{Ended, Process};
use laneway_tests::real::{Scratch, binaries, group};
use laneway_tests::tidy::root;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A block may build the release first.
const BLOCK_GUARD: Duration = Duration::from_secs(45 * 60);
/// How long what a block has stopped may take to end.
const END_GUARD: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// A fenced block of a document.
struct Block {
    line: usize,
    language: String,
    text: String,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in markdown.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(_), Some(block)) => blocks.push(block),
            (Some(language), None) => {
                open = Some(Block { line: number + 1, language: language.into(), text: String::new() });
            }
            (None, Some(block)) => open = Some(Block { text: block.text + line + "\n", ..block }),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fenced block is closed");
    blocks
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn readme_blocks(language: &str) -> Vec<Block> {
    let found: Vec<Block> = blocks(&read("README.md")).into_iter().filter(|block| block.language == language).collect();
    assert!(!found.is_empty(), "README.md has blocks of {language}");
    found
}

/// The directory of the programs under test, and the target directory it lies in.
fn built() -> (PathBuf, PathBuf) {
    binaries::laneway();
    let programs = binaries::lanewayd().parent().expect("a file lies in a directory").to_owned();
    let target = programs.parent().expect("a profile's directory lies in the target directory").to_owned();
    (programs, target)
}

/// Runs a block as somebody would who pasted it into a shell, but at home in `scratch` and on another port.
fn run_block(block: &Block, scratch: &Scratch) -> Ended {
    let (programs, target) = built();
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c"]).process_group(0);
    if block.text.contains("./demo") {
        command.arg(&block.text).current_dir(root()).env("CARGO_TARGET_DIR", target);
        return finish(block, command);
    }
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    // A reader's machine is not busy with tests.
    let text = block.text.replace("5263", &port.to_string()).replace("sleep 1\n", "sleep 5\n");
    // What is waited for may have ended long before, and the shell may have noticed.
    let text = text.replace("\nwait ", "\nsleep 1\nwait ");
    let path = std::env::var("PATH").unwrap_or_default();
    command.arg(text).env("PATH", format!("{}:{path}", programs.display()));
    for (name, folder) in [("HOME", "home"), ("XDG_RUNTIME_DIR", "run"), ("XDG_STATE_HOME", "state")] {
        fs::create_dir_all(scratch.path(folder)).expect("the test's own directory");
        command.env(name, scratch.path(folder));
    }
    let here = scratch.path("here");
    fs::create_dir_all(&here).expect("the test's own directory");
    symlink(fs::canonicalize(root().join("configs")).expect("configs/"), here.join("configs")).expect("a new link");
    command.current_dir(here).env("LANEWAY_URL", format!("tcp://127.0.0.1:{port}"));
    finish(block, command)
}

/// Waits for the end of a block and of everything it started, by force if need be.
fn finish(block: &Block, command: Command) -> Ended {
    let mut process = Process::spawn("bash", command);
    let leader = process.pid();
    let until = Instant::now() + BLOCK_GUARD;
    while process.is_running() && Instant::now() < until {
        std::thread::sleep(POLL);
    }
    let status = process.status();
    // A block that fails leaves what it has started and would have stopped: why it failed is what has to be told.
    let failed = status.is_some_and(|status| !status.success());
    let until = Instant::now() + END_GUARD;
    while status.is_some() && !failed && !group::members(leader).is_empty() && Instant::now() < until {
        std::thread::sleep(POLL);
    }
    let left: Vec<String> = group::members(leader).into_iter().map(group::describe).collect();
    // Nobody may be left to be killed.
    let _ = killpg(Pid::from_raw(leader as i32), Signal::SIGKILL);
    let ended = process.finish();
    let what = if status.is_some() { "leaves running" } else { "does not end" };
    assert!(failed || left.is_empty(), "README.md:{} {what}: {}\n{}", block.line, left.join("\n"), ended.stderr);
    ended
}

#[test]
fn every_shell_block_of_the_readme_runs() {
    for block in readme_blocks("sh") {
        let ended = run_block(&block, &Scratch::new());
        let (text, place) = (ended.text(), format!("README.md:{}", block.line));
        assert_eq!(ended.code(), Some(0), "{place}: {}\n{}{text}", ended.stderr.trim_end(), block.text);
        if block.text.contains("./demo") || block.text.contains(" sub 'sensors/#'") {
            assert!(text.contains("sensors/imu/x 21.5"), "{place} shows no message arriving: {text}");
        }
    }
}

/// What is wrong with a command line that is too long to be run here.
fn wrong_command(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (&program, arguments) = words.split_first()?;
    if let Some(script) = program.strip_prefix("./") {
        let path = root().join(script);
        let executable = path.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o111 == 0o111);
        let checked = Command::new("bash").arg("-n").arg(&path).output().expect("bash");
        return (!executable || !checked.status.success()).then(|| format!("{program} is no script that can be run"));
    }
    let mut command = match program.strip_prefix("target/release/") {
        Some(name) => Command::new(workspace_binary(name)),
        None => Command::new(program),
    };
    // Everything in front of it has to be right before help is given.
    let output = command.args(arguments).arg("--help").output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("{line}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Some(format!("{program}: {error}")),
    }
}

/// A binary of the workspace, built with the running test's profile.
fn workspace_binary(name: &str) -> PathBuf {
    let (programs, target) = built();
    let profile = match programs.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--profile", profile, "--workspace", "--all-features", "--bin", name]);
    let output = cargo.current_dir(root()).arg("--target-dir").arg(target).output().expect("cargo runs");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    programs.join(name)
}

#[test]
fn a_block_that_fails_is_told_by_its_own_words_and_not_by_what_it_leaves() {
    let text = "sleep 600 &\nls /no/such/file\nkill $!\n";
    let block = Block { line: 1, language: "sh".into(), text: text.into() };
    let ended = run_block(&block, &Scratch::new());
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("/no/such/file"), "{}", ended.stderr);
}

#[test]
fn every_command_of_a_console_block_is_one() {
    let blocks = readme_blocks("console");
    let problems: Vec<String> = blocks.iter().flat_map(|block| block.text.lines()).filter_map(wrong_command).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_modes_of_the_test_run_that_the_readme_names_are_its_modes() {
    let (readme, script) = (read("README.md"), read("tests/run"));
    let modes: Vec<&str> = names(&readme).filter_map(|name| name.strip_prefix("./tests/run --")).collect();
    assert!(modes.len() >= 3, "README.md tells of the long modes: {modes:?}");
    for mode in modes.iter().map(|mode| mode.split(' ').next().unwrap_or(mode)) {
        assert!(script.contains(&format!("\n  --{mode})")), "tests/run knows no --{mode}");
    }
}

#[test]
fn the_readmes_rust_is_compiled_with_the_clients_documentation() {
    let rust = blocks(&read("README.md")).into_iter().filter(|block| block.language.starts_with("rust"));
    for block in rust {
        let runs = block.language.split(',').all(|word| matches!(word, "rust" | "no_run"));
        assert!(runs, "README.md:{}: `{}` is not compiled", block.line, block.language);
    }
    let hook = "include_str!(\"../../README.md\")";
    assert!(read("client/src/lib.rs").contains(hook), "client/src/lib.rs has {hook}");
}

/// The documents for people, from the repository's root.
fn documents() -> Vec<String> {
    let mut found: Vec<String> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(String::from).into();
    for folder in ["docs", "docs/decisions"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder").filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.extend(name.ends_with(".md").then(|| format!("{folder}/{name}")));
        }
    }
    found
}

/// The text without its fenced blocks.
fn prose(markdown: &str) -> String {
    let mut fenced = false;
    let keep = markdown.lines().filter(|line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    keep.collect::<Vec<_>>().join("\n")
}

/// A heading's name in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().trim().to_lowercase().replace(' ', "-")
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let mut problems = Vec::new();
    for document in documents() {
        let text = prose(&read(&document));
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.starts_with("https://")) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(&document).parent().expect("a file lies in a folder");
            let path = if path.is_empty() { PathBuf::from(&document) } else { folder.join(path) };
            let Ok(target) = fs::canonicalize(root().join(&path)) else {
                problems.push(format!("{document}: {link} leads nowhere"));
                continue;
            };
            let target =
                if heading.is_empty() { String::new() } else { prose(&fs::read_to_string(target).expect("text")) };
            let mut headings =
                target.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
            if !heading.is_empty() && !headings.any(|found| anchor(found) == heading) {
                problems.push(format!("{document}: {link} names no heading"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// What stands between single backticks.
fn names(markdown: &str) -> impl Iterator<Item = &str> {
    markdown.split("\n```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2))
}

/// Every file and folder that can be named, from the repository's root; folders end with a slash.
fn tree() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a folder").filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && !matches!(name.as_str(), "target" | ".git") {
                folders.push(format!("{folder}{name}/"));
                found.insert(format!("{folder}{name}/"));
            } else if !is_folder {
                found.insert(format!("{folder}{name}"));
            }
        }
    }
    found
}

/// Whether a name means a file or a folder of this repository, and not a topic.
fn is_path(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    let file = [".rs", ".toml", ".proto", ".md"].iter().any(|ending| name.ends_with(ending));
    let tops = ["proto/", "broker/", "client/", "bench/", "tests/", "configs/", "docs/"];
    plain && (file || tops.iter().any(|top| name.starts_with(top)) || name.ends_with('/') && name.len() > "a/".len())
}

/// Named from the root, or from anywhere inside the broker.
fn exists(name: &str, tree: &BTreeSet<String>) -> bool {
    let inside = |path: &String| path.starts_with("broker/src/") && path.ends_with(&format!("/{name}"));
    tree.contains(name) || tree.contains(&format!("{name}/")) || tree.iter().any(inside)
}

#[test]
fn documents_name_only_files_that_exist() {
    let tree = tree();
    let mut checked = 0;
    let mut problems = Vec::new();
    for document in documents() {
        let text = read(&document);
        for name in names(&text).filter(|name| is_path(name)) {
            checked += 1;
            problems.extend((!exists(name, &tree)).then(|| format!("{document}: `{name}` does not exist")));
        }
    }
    assert!(checked > 30, "only {checked} names were found");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn documents_name_only_configuration_keys_that_exist() {
    let config = read("configs/lanewayd.toml");
    let tables = ["limits", "pools", "tcp", "unix", "peers"];
    let mut problems = Vec::new();
    for document in documents() {
        let text = read(&document);
        let keys = names(&text).filter_map(|name| name.split_once('.')).filter(|(table, _)| tables.contains(table));
        for (table, key) in keys {
            let section = config.split(&format!("\n[{table}]\n")).nth(1).and_then(|rest| rest.split("\n[").next());
            if !section.is_some_and(|section| section.lines().any(|line| line.starts_with(&format!("{key} = ")))) {
                problems.push(format!("{document}: `{table}.{key}` is no key"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
