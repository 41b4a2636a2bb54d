//! The binary `laneway`, run as a user runs it.
#![cfg(all(feature = "cli", unix))]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use common::mini::MiniBroker;

fn laneway(url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_laneway"));
    command.env_remove("LANEWAY_URL").env("XDG_RUNTIME_DIR", "/nonexistent");
    command.args(["--url", url]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(url: &str, args: &[&str], input: &[u8]) -> Output {
    let mut child = laneway(url).args(args).stdin(Stdio::piped()).spawn().expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeding = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("ended");
    // It may have ended without reading everything.
    let _ = feeding.join().expect("no panic");
    output
}

/// A subscriber that has said that it is subscribed.
fn subscribed(url: &str, args: &[&str]) -> Child {
    let mut child = laneway(url).args(["sub", "--verbose"]).args(args).spawn().expect("started");
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    stderr.read_line(&mut line).expect("a line");
    assert_eq!(line, "subscribed\n");
    child.stderr = None;
    child
}

fn stdout_of(child: Child) -> (Option<i32>, Vec<u8>) {
    let output = child.wait_with_output().expect("ended");
    (output.status.code(), output.stdout)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// A broker on a thread of its own; it lives as long as the test process.
fn broker() -> String {
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            tell.send(MiniBroker::default().tcp().await).expect("the test waits");
            std::future::pending::<()>().await;
        });
    });
    told.recv().expect("a URL")
}

#[test]
fn what_pub_publishes_sub_prints() {
    let url = broker();
    let subscriber = subscribed(&url, &["sensors/#", "--count", "3"]);
    assert_eq!(run(&url, &["pub", "sensors/imu/x", "21.5"], b"").status.code(), Some(0));
    assert_eq!(run(&url, &["pub", "sensors/imu/y", "-1"], b"").status.code(), Some(0));
    assert_eq!(run(&url, &["pub", "sensors/log"], b"a\x1b[0m\nb").status.code(), Some(0));
    let expected = b"sensors/imu/x 21.5\nsensors/imu/y -1\nsensors/log a\\u{1b}[0m\\nb\n";
    assert_eq!(stdout_of(subscriber), (Some(0), expected.to_vec()));
}

#[test]
fn lines_come_out_as_they_went_in() {
    let url = broker();
    let input: Vec<u8> = (0..200_000).flat_map(|number| format!("{number}\r\n").into_bytes()).collect();
    let count = "200001";
    let subscriber = subscribed(&url, &["n", "--count", count, "--format", "raw"]);
    let counter = subscribed(&url, &["#", "--count", count, "--format", "quiet"]);
    let published = run(&url, &["pub", "n", "--lines", "--lane", "bulk"], &[&input[..], b"end"].concat());
    assert_eq!((published.status.code(), text(&published.stderr)), (Some(0), ""));
    let (code, output) = stdout_of(subscriber);
    assert_eq!(code, Some(0));
    assert!(output == [&input[..], b"end\n"].concat(), "the lines differ");
    assert_eq!(stdout_of(counter), (Some(0), b"200001\n".to_vec()));
}

#[test]
fn json_names_every_field_and_raw_can_do_without_newlines() {
    let url = broker();
    let json = subscribed(&url, &["a", "--count", "2", "--format", "json"]);
    let raw = subscribed(&url, &["a", "--count", "2", "--format", "raw", "--no-newline"]);
    run(&url, &["pub", "a", "say \"hi\"", "--lane", "event"], b"");
    run(&url, &["pub", "a"], b"\xff\xfe");
    let expected = "{\"topic\":\"a\",\"lane\":2,\"seq\":1,\"ts_ns\":null,\"payload\":\"say \\\"hi\\\"\"}\n\
                    {\"topic\":\"a\",\"lane\":1,\"seq\":1,\"ts_ns\":null,\"payload_base64\":\"//4=\"}\n";
    assert_eq!(text(&stdout_of(json).1), expected);
    assert_eq!(stdout_of(raw).1, b"say \"hi\"\xff\xfe");
}

#[test]
fn generated_messages_are_repeated_and_paced() {
    let url = broker();
    let subscriber = subscribed(&url, &["a", "--count", "5", "--format", "raw"]);
    run(&url, &["pub", "a", "--size", "30", "--repeat", "2"], b"");
    run(&url, &["pub", "a", "tick", "--repeat", "3", "--rate", "1000"], b"");
    let expected = "abcdefghijklmnopqrstuvwxyzabcd\n".repeat(2) + "tick\ntick\ntick\n";
    assert_eq!(text(&stdout_of(subscriber).1), expected);
}

#[test]
fn ping_answers_and_sums_up() {
    let output = run(&broker(), &["ping", "--count", "2", "--interval", "0"], b"");
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!((output.status.code(), lines.len()), (Some(0), 3), "{output:?}");
    assert!(lines[0].starts_with("pong from tcp://127.0.0.1:"), "{}", lines[0]);
}

#[test]
fn without_a_broker_it_ends_at_once_with_the_reason() {
    for url in ["tcp://127.0.0.1:1", "unix:///nonexistent/x.sock"] {
        let output = run(url, &["pub", "a", "b"], b"");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains(url), "{output:?}");
        assert!(output.stdout.is_empty());
    }
    let refused = run("tcp://127.0.0.1:1", &["ping"], b"");
    assert!(text(&refused.stderr).contains("connection refused"), "{refused:?}");
    let waited = run("unix:///nonexistent/x.sock", &["--wait", "0.2", "ping"], b"");
    assert_eq!(waited.status.code(), Some(1));
}

#[test]
fn a_mistake_on_the_command_line_is_exit_2_with_a_remedy() {
    let none = "unix:///nonexistent/x.sock";
    for (url, args) in [
        ("localhost", &["ping"][..]),
        ("http://localhost", &["ping"]),
        (none, &["pub", "a", "b", "--ttl", "soon"]),
        (none, &["pub", "a", "b", "--level", "sent", "--timeout", "2"]),
        (none, &["pub", "a", "b", "--min-receivers", "2"]),
        (none, &["pub", "a/#", "b"]),
        (none, &["pub", "$sys/a", "b"]),
        (none, &["sub", "a/#/b"]),
        (none, &["sub", "a", "--lane", "16"]),
        (none, &["sub", "a", "--policy", "latest"]),
        (none, &["sub", "a", "--no-newline"]),
        (none, &["frobnicate"]),
    ] {
        let output = run(url, args, b"");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let url = broker();
    let mut subscriber = subscribed(&url, &["a"]);
    let mut stdout = subscriber.stdout.take().expect("piped");
    run(&url, &["pub", "a", "first"], b"");
    let mut first = [0; 8];
    stdout.read_exact(&mut first).expect("the first line");
    drop(stdout);
    // Another test that is just starting a process may hold a copy of the pipe for a moment, so one write may succeed.
    let ended = (0..100).find_map(|_| {
        run(&url, &["pub", "a", "more"], b"");
        subscriber.try_wait().expect("its state")
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}

#[test]
fn a_signal_ends_sub_in_order() {
    let url = broker();
    let subscriber = subscribed(&url, &["a", "--format", "quiet"]);
    run(&url, &["pub", "a", "x", "--repeat", "7"], b"");
    let id = nix::unistd::Pid::from_raw(subscriber.id().try_into().expect("a process id"));
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).expect("it runs");
    let (code, output) = stdout_of(subscriber);
    assert_eq!(code, Some(0));
    assert!(text(&output).trim().parse::<u32>().is_ok(), "{output:?}");
}

#[test]
fn help_teaches_with_examples_and_has_no_colours_off_a_terminal() {
    for args in [&["--help"][..], &["pub", "--help"], &["sub", "--help"]] {
        let output = run("x", args, b"");
        let help = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0));
        assert!(help.contains("Examples:\n  ") && !help.contains('\x1b'), "{help}");
    }
}
