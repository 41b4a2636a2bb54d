//! The command line as scripts rely on it: formats to the byte, exit codes, and what is said where.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use laneway_tests::real::link::Place;
use laneway_tests::real::peer::Peer;
use laneway_tests::real::process::{Ended, Process};
use laneway_tests::real::{Launch, Scratch, laneway, run};
use nix::sys::signal::Signal;

fn subscribe(place: &Place, arguments: &[&str]) -> Process {
    let command = laneway(&place.url(), &[&["sub", "--verbose"], arguments].concat());
    let mut subscriber = Process::spawn("laneway sub", command);
    subscriber.wait_for_stderr("subscribed\n");
    subscriber
}

fn publish(place: &Place, arguments: &[&str]) {
    let ended = run("laneway pub", laneway(&place.url(), &[&["pub"], arguments].concat()));
    assert_eq!((ended.code(), ended.text().as_str(), ended.stderr.as_str()), (Some(0), "", ""), "{arguments:?}");
}

fn expect(ended: &Ended, code: i32, stdout: &str, stderr_holds: &str) {
    assert_eq!((ended.code(), ended.text().as_str()), (Some(code), stdout), "{}", ended.stderr);
    assert!(ended.stderr.contains(stderr_holds), "'{stderr_holds}' is missing in: {}", ended.stderr);
}

/// Payloads with a quote, control characters, bytes that are no text, and nothing.
const PAYLOADS: [&[u8]; 5] = [b"21.5", b"say \"hi\"\n\tend\x1b[0m", "grün 日本".as_bytes(), b"\xff\x00\xfe", b""];

#[test]
fn the_formats_are_exact() {
    let text = "a/b 21.5\na/b say \"hi\"\\n\\tend\\u{1b}[0m\na/b grün 日本\na/b \\xff\\u{0}\\xfe\na/b \n";
    let json = concat!(
        r#"{"topic":"a/b","lane":1,"seq":1,"ts_ns":null,"payload":"21.5"}"#,
        "\n",
        r#"{"topic":"a/b","lane":1,"seq":2,"ts_ns":null,"payload":"say \"hi\"\n\tend\u001b[0m"}"#,
        "\n",
        r#"{"topic":"a/b","lane":1,"seq":3,"ts_ns":null,"payload":"grün 日本"}"#,
        "\n",
        r#"{"topic":"a/b","lane":1,"seq":4,"ts_ns":null,"payload_base64":"/wD+"}"#,
        "\n",
        r#"{"topic":"a/b","lane":1,"seq":5,"ts_ns":null,"payload":""}"#,
        "\n",
    );
    let raw = [PAYLOADS.join(&b'\n'), b"\n".to_vec()].concat();
    for shards in [1, 2] {
        let broker = Launch::new(shards).start();
        let formats: [(&[&str], &[u8]); 6] = [
            (&[], text.as_bytes()),
            (&["--format", "text"], text.as_bytes()),
            (&["--format", "json"], json.as_bytes()),
            (&["--format", "raw"], &raw),
            (&["--format", "raw", "--no-newline"], &PAYLOADS.concat()),
            (&["--format", "quiet"], b"5\n"),
        ];
        let subscribers: Vec<Process> = formats
            .iter()
            .map(|(format, _)| subscribe(broker.tcp(), &[&["a/b", "--count", "5"], *format].concat()))
            .collect();
        let mut publisher = Peer::open(broker.unix());
        for payload in PAYLOADS {
            publisher.publish("a/b", payload);
        }
        publisher.ping();
        for (subscriber, (format, expected)) in subscribers.into_iter().zip(formats) {
            let ended = subscriber.finish();
            assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), "subscribed\n"));
            let [got, expected] = [&ended.stdout, expected].map(String::from_utf8_lossy);
            assert_eq!(got, expected, "{format:?}");
        }
    }
}

#[test]
fn a_topic_is_escaped_in_text_and_in_json() {
    let broker = Launch::new(1).start();
    let text = subscribe(broker.tcp(), &["#", "--count", "1"]);
    let json = subscribe(broker.tcp(), &["#", "--count", "1", "--format", "json"]);
    Peer::open(broker.tcp()).publish("a\n\"b\"\x1b", b"x");
    assert_eq!(text.finish().text(), "a\\n\"b\"\\u{1b} x\n");
    let line = r#"{"topic":"a\n\"b\"\u001b","lane":1,"seq":1,"ts_ns":null,"payload":"x"}"#;
    assert_eq!(json.finish().text(), format!("{line}\n"));
}

#[test]
fn pub_sends_what_it_is_told_in_the_ways_it_offers() {
    let broker = Launch::new(2).start();
    let json = subscribe(broker.tcp(), &["t", "--count", "8", "--format", "json"]);
    publish(broker.tcp(), &["t", "-3.5"]);
    publish(broker.unix(), &["t", "again", "--repeat", "3", "--lane", "event"]);
    publish(broker.unix(), &["t", "--size", "5", "--lane", "7"]);
    publish(broker.unix(), &["t", "--size", "0"]);
    publish(broker.tcp(), &["t", "paced", "--repeat", "2", "--rate", "1000", "--level", "sent"]);
    let line = |lane: u8, seq: u32, payload: &str| {
        format!("{{\"topic\":\"t\",\"lane\":{lane},\"seq\":{seq},\"ts_ns\":null,\"payload\":\"{payload}\"}}\n")
    };
    let expected = [
        line(1, 1, "-3.5"),
        line(2, 1, "again"),
        line(2, 2, "again"),
        line(2, 3, "again"),
        line(7, 1, "abcde"),
        line(1, 1, ""),
        line(1, 1, "paced"),
        line(1, 2, "paced"),
    ];
    assert_eq!(json.finish().text(), expected.concat());
}

/// What a line of `--format json` stands for: messages received, and messages reported lost.
fn accounted(line: &str) -> (u64, u64) {
    let Some(rest) = line.strip_prefix("{\"lost\":") else { return (1, 0) };
    let number = rest.split(',').next().and_then(|number| number.parse().ok());
    (0, number.unwrap_or_else(|| panic!("no number of lost messages: {line}")))
}

#[test]
fn what_a_slow_sub_misses_is_reported_and_everything_is_accounted_for() {
    const MESSAGES: u64 = 60_000;
    const NEWEST: &str = r#""payload":"the last""#;
    // Between shards, the last message could overtake those of another publisher.
    let broker = Launch::new(1).config("[limits]\noutbox_bytes_max = 65536").start();
    let subscribe = |format: &str| {
        let arguments = ["t", "--format", format, "--lane", "bulk", "--policy", "drop_oldest"];
        subscribe(broker.tcp(), &arguments)
    };
    let (mut json, mut text) = (subscribe("json"), subscribe("text"));
    // Stopped, they read nothing, whatever they are about to.
    for subscriber in [&json, &text] {
        subscriber.signal(Signal::SIGSTOP);
    }
    let (size, repeat) = ("1000", (MESSAGES - 1).to_string());
    publish(broker.unix(), &["t", "--size", size, "--repeat", &repeat, "--ttl", "3600000", "--retain"]);
    publish(broker.unix(), &["t", "the last"]);
    for subscriber in [&json, &text] {
        subscriber.signal(Signal::SIGCONT);
    }
    json.wait_for_stdout(NEWEST);
    text.wait_for_stdout("t the last\n");
    for subscriber in [&json, &text] {
        subscriber.signal(Signal::SIGTERM);
    }
    let (json, text) = (json.finish(), text.finish());
    let out = json.text();
    let (received, lost) = out.lines().map(accounted).fold((0, 0), |sum, line| (sum.0 + line.0, sum.1 + line.1));
    assert_eq!((json.code(), received + lost), (Some(0), MESSAGES), "{received} received, {lost} reported");
    assert_eq!((json.stderr.as_str(), lost > 0), ("subscribed\n", true));
    let report = out.lines().find(|line| accounted(line).1 > 0).expect("a report");
    assert!(report.ends_with(r#","topic":"t","lane":5,"reason":"overflow"}"#), "{report}");
    let reported = text.stderr.lines().filter_map(|line| line.split_once(" message"));
    let lost: u64 = reported.filter_map(|(number, _)| number.parse::<u64>().ok()).sum();
    assert_eq!((text.code(), text.text().lines().count() as u64 + lost), (Some(0), MESSAGES), "{}", text.stderr);
}

#[test]
fn pub_returns_only_after_the_broker_has_accepted_everything() {
    let broker = Launch::new(2).start();
    let mut subscriber = Peer::open(broker.tcp());
    subscriber.subscribe(&["done"]);
    for round in 0..20u32 {
        publish(broker.unix(), &["done", &round.to_string(), "--repeat", "100"]);
        // Whatever comes after the command has ended is routed behind what it published.
        let mut after = Peer::open(broker.unix());
        after.publish("done", b"after");
        for _ in 0..100 {
            subscriber.expect_message("done", round.to_string().as_bytes());
        }
        subscriber.expect_message("done", b"after");
    }
}

#[test]
fn sub_takes_several_filters_and_prints_each_message_once() {
    let broker = Launch::new(2).start();
    let subscriber = subscribe(broker.tcp(), &["a/+", "a/b", "c/#", "--count", "3"]);
    for topic in ["a/b", "x", "c", "c/d/e"] {
        publish(broker.tcp(), &[topic, topic]);
    }
    assert_eq!(subscriber.finish().text(), "a/b a/b\nc c\nc/d/e c/d/e\n");
}

#[test]
fn a_signal_ends_sub_in_order_with_what_it_has() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let broker = Launch::new(1).start();
        let mut text = subscribe(broker.tcp(), &["n"]);
        let quiet = subscribe(broker.tcp(), &["n", "--format", "quiet"]);
        publish(broker.tcp(), &["n", "1", "--repeat", "3"]);
        text.wait_for_stdout("n 1\nn 1\nn 1\n");
        // One subscriber has printed them all, so the other has received them or is about to.
        for subscriber in [&text, &quiet] {
            subscriber.signal(signal);
        }
        let (text, quiet) = (text.finish(), quiet.finish());
        assert_eq!((text.code(), text.text().as_str()), (Some(0), "n 1\nn 1\nn 1\n"), "{}", text.stderr);
        assert_eq!(quiet.code(), Some(0), "{}", quiet.stderr);
        assert!(quiet.text().trim().parse::<u32>().is_ok_and(|count| count <= 3), "{}", quiet.text());
        let ended = broker.stop_idle();
        assert_eq!(ended.closed("peer_left"), 3, "{}", ended.stderr);
    }
}

#[test]
fn without_a_broker_every_command_fails_at_once_and_says_why() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let scratch = Scratch::new();
    let nowhere = scratch.path("nobody");
    for url in [format!("tcp://{free}"), format!("unix://{}", nowhere.display())] {
        for arguments in [&["pub", "t", "x"][..], &["sub", "t"], &["ping"]] {
            let ended = run("laneway", laneway(&url, arguments));
            expect(&ended, 1, "", url.split("://").nth(1).unwrap_or_default());
        }
    }
    let refused = run("laneway", laneway(&format!("tcp://{free}"), &["ping"]));
    assert!(refused.stderr.contains("refused"), "{}", refused.stderr);
}

#[test]
fn wait_reaches_a_broker_that_starts_later_and_gives_up_when_told() {
    let scratch = Scratch::new();
    let path = scratch.path("later");
    let url = format!("unix://{}", path.display());
    let started = Instant::now();
    let ended = run("laneway", laneway(&url, &["--wait", "0.3", "ping"]));
    expect(&ended, 1, "", "later");
    assert!(started.elapsed() >= Duration::from_millis(200), "it tried for a while");
    let ping = Process::spawn("laneway", laneway(&url, &["ping", "--count", "1", "--wait", "60"]));
    let broker = Launch::new(1).start();
    let Place::Unix(real) = broker.unix() else { panic!("a Unix socket") };
    std::os::unix::fs::symlink(real, &path).expect("a name for the broker's socket");
    let ended = ping.finish();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}

#[test]
fn wrong_usage_exits_with_2_before_anything_is_dialled() {
    let nowhere = "tcp://127.0.0.1:1";
    for (arguments, word) in [
        (&["pub"][..], "TOPIC"),
        (&["pub", "a/#", "x"], "a/#"),
        (&["pub", "$SYS/x", "x"], "$SYS"),
        (&["pub", "a", "x", "--lines"], "--lines"),
        (&["pub", "a", "x", "--lane", "16"], "--lane"),
        (&["pub", "a", "x", "--level", "certain"], "--level"),
        (&["pub", "a", "x", "--ttl", "soon"], "--ttl"),
        (&["sub"], "FILTER"),
        (&["sub", "a/#/b"], "a/#/b"),
        (&["sub", "a", "--count", "0"], "--count"),
        (&["sub", "a", "--format", "xml"], "json"),
        (&["sub", "a", "--lane", "16"], "--lane"),
        (&["sub", "a", "--policy", "newest"], "drop_oldest"),
        (&["sub", "a", "--no-newline"], "--no-newline"),
        (&["fly"], "fly"),
    ] {
        let ended = run("laneway", laneway(nowhere, arguments));
        expect(&ended, 2, "", word);
    }
    let ended = run("laneway", laneway("carrier-pigeon://loft", &["ping"]));
    expect(&ended, 2, "", "carrier-pigeon");
}

#[test]
fn the_url_comes_from_the_environment_if_it_is_not_given() {
    let broker = Launch::new(1).start();
    let mut command = std::process::Command::new(laneway_tests::real::binaries::laneway());
    command.args(["ping", "--count", "1"]).env("LANEWAY_URL", broker.unix().url());
    let ended = run("laneway", command);
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!(broker.stop_idle().counted("welcomed"), 1);
}
