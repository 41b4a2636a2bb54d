//! `laneway serial`: what it says of ports, and of what is said on them.

use std::process::Command;

use laneway_tests::real::process::Process;
use laneway_tests::real::{Launch, Scratch, laneway, run};
use laneway_tests::serial::device::Make;
use laneway_tests::serial::line::{Faults, Line};
use laneway_tests::serial::pty::Pty;
use serde_json::Value;

fn serial(arguments: &[&str]) -> Command {
    laneway("tcp://127.0.0.1:1", &[&["serial"], arguments].concat())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_ports_of_this_machine_are_listed() {
    let listed = run("laneway serial list", serial(&["list"]));
    assert_eq!(listed.code(), Some(0), "{}", listed.stderr);
    assert!(!listed.stdout.is_empty(), "none is told, too");
    let listed = run("laneway serial list", serial(&["list", "--json"]));
    let ports = json(&listed.text());
    for port in ports.as_array().expect("a list") {
        assert!(port["path"].as_str().is_some_and(|path| path.starts_with("/dev/")), "{port}");
    }
}

#[test]
fn a_monitor_shows_a_session_with_its_frames() {
    let scratch = Scratch::new();
    let line = Line::new(scratch.path("tty"), 115_200, 1, Faults::default());
    let topics = vec![(0x4000, "probe/level", false)];
    let _device = Make { topics, ..Make::new() }.start(line.device_path());
    let port = scratch.path("tty").display().to_string();
    let seen = run("laneway serial monitor", serial(&["monitor", &port, "--count", "3", "--json"]));
    assert_eq!(seen.code(), Some(0), "{}", seen.stderr);
    let text = seen.text();
    let lines: Vec<Value> = text.lines().map(json).collect();
    // Nobody answers: it says HELLO again and again.
    assert_eq!(lines.len(), 4, "{text}");
    for line in &lines[..3] {
        assert_eq!((&line["link"], &line["name"]), (&"HELLO".into(), &"probe".into()), "{line}");
        assert!(line["airtime_ms"].as_f64().is_some_and(|time| time > 1.0), "{line}");
    }
    assert_eq!((&lines[3]["frames"], &lines[3]["bad"]), (&3.into(), &0.into()), "{text}");
}

#[test]
fn a_monitor_reads_other_protocols() {
    let mut pty = Pty::new();
    let port = pty.path().display().to_string();
    let arguments = ["monitor", &port, "--protocol", "nmea", "--count", "2"];
    let monitor = Process::spawn("laneway serial monitor", serial(&arguments));
    let until = std::time::Instant::now() + laneway_tests::real::process::GUARD;
    let mut monitor = Some(monitor);
    // What was said before it listens is lost.
    while monitor.as_mut().is_some_and(Process::is_running) {
        assert!(std::time::Instant::now() < until, "it does not end");
        pty.write(b"$GPGGA*56\r\n");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let ended = monitor.take().expect("it ran").finish();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!(ended.text().matches("$GPGGA*56").count(), 2, "{}", ended.text());
    assert!(ended.text().contains("2 frames, "), "{}", ended.text());
}

#[test]
fn a_doctor_says_what_is_wrong_with_a_port_and_what_to_do() {
    let pty = Pty::new();
    let port = pty.path().display().to_string();
    let healthy = run("laneway serial doctor", serial(&["doctor", &port, "--json"]));
    assert_eq!((healthy.code(), &json(&healthy.text())["works"]), (Some(0), &true.into()), "{}", healthy.text());
    for (port, wanted) in
        [("/dev/not-there", "plug the device in"), ("/dev/null/x", "name a file"), ("/", "serial list")]
    {
        let sick = run("laneway serial doctor", serial(&["doctor", port]));
        assert_eq!(sick.code(), Some(1), "{port}");
        assert!(sick.text().contains("bad") && sick.text().contains(wanted), "{}", sick.text());
    }
    let broker = Launch::new(1).also_listen(&format!("serial://{port}")).start();
    let busy = run("laneway serial doctor", serial(&["doctor", &port]));
    assert_eq!(busy.code(), Some(1));
    assert!(busy.text().contains("lanewayd") && busy.text().contains("laneway stats port."), "{}", busy.text());
    let watched = run("laneway serial monitor", serial(&["monitor", &port, "--seconds", "1"]));
    assert!(watched.code() == Some(1) && watched.stderr.contains("doctor"), "{}", watched.stderr);
    drop(broker);
}
