//! Real input through the command line: what goes in at one end comes out at the other, complete, in order, unchanged.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it expects; everything else fails it")]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use laneway_tests::real::link::Place;
use laneway_tests::real::peer::{Event, Peer};
use laneway_tests::real::process::{Ended, Process};
use laneway_tests::real::{Launch, RealBroker, Scratch, laneway};

const REAL_LOG: &str = "/var/log/dpkg.log";

/// Lines of the large run: a million, or ten with `LANEWAY_LONG=1`.
fn lines_of_the_large_run() -> u64 {
    if std::env::var_os("LANEWAY_LONG").is_some_and(|value| value == "1") { 10_000_000 } else { 1_000_000 }
}

/// A log of this machine, or, said loudly, one that looks like it.
fn log_of_this_machine() -> Vec<u8> {
    match std::fs::read(REAL_LOG) {
        Ok(log) if !log.is_empty() => log,
        Ok(_) | Err(_) => {
            eprintln!("!!! {REAL_LOG} is missing here: THIS RUN USES A GENERATED LOG INSTEAD OF A REAL ONE !!!");
            let line = |n: u32| {
                let (day, minute, second) = (1 + n % 28, n / 60 % 60, n % 60);
                format!(
                    "2026-09-{day:02} 04:{minute:02}:{second:02} status half-configured libgrün{n}:amd64 {n}.4-1~deb13u{n}\n"
                )
            };
            (0..4_000).map(line).collect::<String>().into_bytes()
        }
    }
}

/// What `seq N` prints.
fn seq(lines: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 1..=lines {
        writeln!(bytes, "{number}").expect("memory takes it");
    }
    bytes
}

/// Starts `laneway sub` and waits until it is subscribed.
fn subscribe(place: &Place, arguments: &[&str]) -> Process {
    let command = laneway(&place.url(), &[&["sub", "--verbose"], arguments].concat());
    let mut subscriber = Process::spawn("laneway sub", command);
    subscriber.wait_for_stderr("subscribed\n");
    subscriber
}

/// Runs `laneway pub` with a file as its input.
fn publish_file(place: &Place, arguments: &[&str], input: &Path) -> Ended {
    let command = laneway(&place.url(), &[&["pub"], arguments].concat());
    let input = File::open(input).expect("the input is readable");
    Process::spawn_with_input("laneway pub", command, Stdio::from(input)).finish()
}

fn expect_quiet_success(what: &str, ended: &Ended) {
    assert_eq!((ended.code(), ended.text().as_str()), (Some(0), ""), "{what}: {}", ended.stderr);
}

/// Whether the bytes are the same; a failure names the first that is not, instead of printing megabytes.
fn expect_same(what: &str, got: &[u8], expected: &[u8]) {
    let differs = got.iter().zip(expected).position(|(got, expected)| got != expected);
    assert_eq!(differs, None, "{what}: place of the first wrong byte");
    assert_eq!(got.len(), expected.len(), "{what}: bytes");
}

/// `laneway sub --count N --format raw` of what `laneway pub --lines` reads from `bytes`.
fn through_lines(broker: &RealBroker, bytes: &[u8]) -> Vec<u8> {
    let scratch = Scratch::new();
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count().to_string();
    let subscriber = subscribe(broker.tcp(), &["log/#", "--count", &lines, "--format", "raw"]);
    let input = scratch.file("input", bytes);
    expect_quiet_success("pub", &publish_file(broker.unix(), &["log/this", "--lines"], &input));
    let ended = subscriber.finish();
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), "subscribed\n"));
    ended.stdout
}

/// A subscriber's process stands on the first shard and a publisher's on the last.
fn check_shards(broker: RealBroker, shards: u32, messages: u64) {
    let ended = broker.stop_idle();
    let drained: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("drained shard=")).collect();
    assert_eq!(drained.len(), shards as usize, "{}", ended.stderr);
    let count = |line: &&str, field: &str| line.contains(&format!("{field}={messages} "));
    assert!(drained.first().is_some_and(|line| count(line, "messages_out")), "{}", ended.stderr);
    assert!(drained.last().is_some_and(|line| count(line, "messages_in")), "{}", ended.stderr);
}

#[test]
fn a_real_log_comes_out_byte_for_byte() {
    let mut log = log_of_this_machine();
    if log.last() != Some(&b'\n') {
        log.push(b'\n');
    }
    for shards in [1, 2] {
        let broker = Launch::new(shards).start();
        expect_same("the log", &through_lines(&broker, &log), &log);
        let lines = log.iter().filter(|&&byte| byte == b'\n').count() as u64;
        check_shards(broker, shards, lines);
    }
}

#[test]
fn a_million_numbered_lines_arrive_complete_and_in_order_across_shards() {
    let lines = lines_of_the_large_run();
    let numbers = seq(lines);
    for shards in [1, 2] {
        let broker = Launch::new(shards).start();
        expect_same("the numbers", &through_lines(&broker, &numbers), &numbers);
        check_shards(broker, shards, lines);
    }
}

/// Reads messages and compares them with lines, without keeping them.
fn read_lines(mut peer: Peer, expected: &[u8]) {
    let mut rest = expected;
    while !rest.is_empty() {
        match peer.event() {
            Event::Message(message) => {
                let line = rest.get(..message.payload.len()).expect("no more than was published");
                assert!(line == message.payload && rest[line.len()] == b'\n', "{message:?} is not the next line");
                rest = &rest[line.len() + 1..];
            }
            other => panic!("a message was expected, not {other:?}"),
        }
    }
}

#[test]
fn a_hundred_subscribers_each_get_every_one_of_100_000_lines() {
    const LINES: u64 = 100_000;
    const PEERS: usize = 95;
    let numbers: &'static [u8] = seq(LINES).leak();
    let scratch = Scratch::new();
    let input = scratch.file("numbers", numbers);
    for shards in [1, 2] {
        let broker = Launch::new(shards).start();
        let places = [broker.tcp(), broker.unix()].into_iter().cycle();
        let readers: Vec<JoinHandle<()>> = places
            .take(PEERS)
            .map(|place| {
                let mut peer = Peer::open(place);
                peer.subscribe(&["numbers"]);
                std::thread::spawn(move || read_lines(peer, numbers))
            })
            .collect();
        let count = LINES.to_string();
        let commands: Vec<Process> =
            (PEERS..100).map(|_| subscribe(broker.tcp(), &["numbers", "--count", &count, "--format", "raw"])).collect();
        expect_quiet_success("pub", &publish_file(broker.tcp(), &["numbers", "--lines"], &input));
        for reader in readers {
            reader.join().expect("a subscriber got every line in order");
        }
        for command in commands {
            expect_same("a subscribing process", &command.finish().stdout, numbers);
        }
        let ended = broker.stop_idle();
        assert_eq!(ended.counted("messages_out"), 100 * LINES, "{}", ended.stderr);
        assert_eq!(ended.closed("peer_left"), 101, "{}", ended.stderr);
    }
}

#[test]
fn a_message_of_1_mib_arrives_intact_and_a_larger_one_is_refused_by_the_client() {
    const MIB: usize = 1024 * 1024;
    let scratch = Scratch::new();
    // No newline and every byte value, zeros and invalid UTF-8 included.
    let message: Vec<u8> = (0..MIB).map(|place| (place ^ place >> 8 ^ place >> 16) as u8).collect();
    let input = scratch.file("message", &message);
    let larger = scratch.file("larger", [&message[..], &[0]].concat());
    for shards in [1, 2] {
        let broker = Launch::new(shards).start();
        let raw = ["big/one", "--count", "2", "--format", "raw", "--no-newline"];
        let subscriber = subscribe(broker.unix(), &raw);
        let refused = publish_file(broker.tcp(), &["big/one"], &larger);
        assert_eq!(refused.code(), Some(1), "{}", refused.stderr);
        assert!(refused.stderr.contains("1048576 bytes"), "the limit is named: {}", refused.stderr);
        for _ in 0..2 {
            expect_quiet_success("pub", &publish_file(broker.tcp(), &["big/one"], &input));
        }
        let ended = subscriber.finish();
        expect_same("two messages of 1 MiB", &ended.stdout, &message.repeat(2));
    }
}

#[test]
fn lines_keep_what_is_odd_about_them() {
    let odd = b"\n\n  two spaces and a tab\t\r\nno end: \xff\xfe\n\0nul\n\x1b[31mred\n".to_vec();
    let broker = Launch::new(2).start();
    expect_same("odd lines", &through_lines(&broker, &odd), &odd);
    // A last line without its end is a line.
    let subscriber = subscribe(broker.tcp(), &["log/#", "--count", "2", "--format", "raw"]);
    let scratch = Scratch::new();
    let input = scratch.file("input", "one\ntwo");
    expect_quiet_success("pub", &publish_file(broker.unix(), &["log/this", "--lines"], &input));
    assert_eq!(subscriber.finish().text(), "one\ntwo\n");
}

#[test]
fn a_reader_that_stops_early_ends_both_sides_quietly() {
    let broker = Launch::new(2).start();
    let mut head = Command::new("head");
    head.args(["-n", "3"]);
    let command = laneway(&broker.tcp().url(), &["sub", "numbers", "--verbose"]);
    let mut command = command;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut subscriber = command.spawn().expect("it starts");
    let piped = subscriber.stdout.take().expect("a pipe");
    let mut subscribed = [0; 11];
    let mut stderr = subscriber.stderr.take().expect("a pipe");
    std::io::Read::read_exact(&mut stderr, &mut subscribed).expect("it says that it is subscribed");
    let head = Process::spawn_with_input("head", head, Stdio::from(piped));
    let scratch = Scratch::new();
    let input = scratch.file("input", seq(100_000));
    expect_quiet_success("pub", &publish_file(broker.tcp(), &["numbers", "--lines"], &input));
    assert_eq!(head.finish().text(), "numbers 1\nnumbers 2\nnumbers 3\n");
    let status = subscriber.wait().expect("it ends");
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut rest).expect("text");
    assert_eq!((status.code(), rest.as_str()), (Some(0), ""), "a closed pipe ends it quietly");
}
