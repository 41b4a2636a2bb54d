//! Devices that speak other protocols: a real broker on a pseudo terminal, and their bytes at its other end.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use laneway_client::blocking::{Client, Subscription};
use laneway_client::{ConnectOptions, StatValue};
use laneway_proto::serial::foreign::mavlink;
use laneway_tests::real::process::GUARD;
use laneway_tests::real::{Launch, RealBroker};
use laneway_tests::serial::pty::Pty;

/// The device's end of a line.
struct Wire {
    pty: Pty,
    heard: Vec<u8>,
}

impl Wire {
    fn new() -> Self {
        Self { pty: Pty::new(), heard: Vec::new() }
    }

    fn url(&self, options: &str) -> String {
        format!("serial://{}?baud=115200&{options}", self.pty.path().display())
    }

    /// The device says `bytes`, in pieces that frames do not keep to.
    fn say(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(37) {
            let (until, mut at) = (Instant::now() + GUARD, 0);
            while at < piece.len() {
                assert!(Instant::now() < until, "nobody reads the port");
                at += self.pty.write(&piece[at..]);
            }
        }
    }

    /// What the broker has written, once it is as much as `bytes`.
    fn hear(&mut self, bytes: usize) -> &[u8] {
        let until = Instant::now() + GUARD;
        while self.heard.len() < bytes {
            assert!(Instant::now() < until, "heard only {:?}", String::from_utf8_lossy(&self.heard));
            self.heard.extend(self.pty.read());
            std::thread::sleep(Duration::from_millis(1));
        }
        &self.heard
    }
}

fn client(broker: &RealBroker) -> Client {
    ConnectOptions::new().connect_blocking(&broker.tcp().url()).expect("a broker is there")
}

fn next(subscription: &mut Subscription) -> (String, Vec<u8>) {
    let message = subscription.recv_timeout(GUARD).expect("connected").expect("a message in time");
    (message.topic.to_string(), message.payload.to_vec())
}

fn stat(client: &Client, name: &str) -> f64 {
    let stats = client.stats(name).expect("told");
    match stats.iter().find(|stat| stat.name == name).map(|stat| &stat.value) {
        Some(StatValue::Number(number)) => *number,
        other => panic!("{name} is {other:?}"),
    }
}

/// Until the device's session is there: before that nothing reaches it.
fn wait_for_session(client: &Client, port: u32) {
    let until = Instant::now() + GUARD;
    while stat(client, &format!("port.{port}.in_session")) != 1.0 {
        assert!(Instant::now() < until, "no session");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_device_that_says_lines_needs_no_firmware_of_ours() {
    for shards in [1, 2] {
        let mut wire = Wire::new();
        let broker = Launch::new(shards).also_listen(&wire.url("protocol=line&ending=crlf&topic=scale")).start();
        let client = client(&broker);
        let mut said = client.subscribe("scale/#").expect("subscribed");
        wait_for_session(&client, 0);
        wire.say(b"12.5 kg\r\n\r\n13.0 kg\r\n");
        for line in ["12.5 kg", "", "13.0 kg"] {
            assert_eq!(next(&mut said), ("scale/rx".to_owned(), line.as_bytes().to_vec()));
        }
        client.publish("scale/tx", "TARE").expect("published");
        client.publish("scale/tx/slow", "ZERO\r\n").expect("published");
        assert_eq!(wire.hear(12), b"TARE\r\nZERO\r\n");
        assert_eq!(broker.stop().code(), Some(0));
    }
}

#[test]
fn any_bytes_pass_through_raw_slip_and_cobs_unchanged_in_both_directions() {
    let all: Vec<u8> = (0..2_000_u32).map(|at| (at * 7 + at / 256) as u8).collect();
    let mut wires = [Wire::new(), Wire::new(), Wire::new()];
    let urls = ["raw&lane=1", "slip&lane=1", "cobs&lane=1"].map(|protocol| format!("protocol={protocol}"));
    let launch = Launch::new(2);
    let launch = wires.iter().zip(&urls).fold(launch, |launch, (wire, url)| {
        launch.also_listen(&wire.url(&format!("{url}&topic=port/{}", &url[9..url.len() - 7])))
    });
    let broker = launch.start();
    let client = client(&broker);
    for (port, name) in ["raw", "slip", "cobs"].into_iter().enumerate() {
        let mut said = client.subscribe(&format!("port/{name}/rx")).expect("subscribed");
        wait_for_session(&client, port as u32);
        client.publish(&format!("port/{name}/tx"), &all[..]).expect("published");
        // What the broker has written is what the device says.
        let wire = &mut wires[port];
        let bytes = if name == "raw" { all.len() } else { all.len() + 2 };
        while wire.hear(bytes).len() < bytes || (name != "raw" && !wire.heard.ends_with(&[end_of(name)])) {
            let more = wire.heard.len() + 1;
            wire.hear(more);
        }
        let echo = std::mem::take(&mut wire.heard);
        wire.say(&echo);
        let mut back = Vec::new();
        while back.len() < all.len() {
            back.extend(next(&mut said).1);
        }
        assert_eq!(back, all, "{name}");
    }
}

const fn end_of(name: &str) -> u8 {
    if name.len() == 4 && name.as_bytes()[0] == b's' { 0xC0 } else { 0 }
}

/// Python with the libraries of `tests/python/requirements.txt`, or `None` where it cannot be had.
fn python() -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let make = || {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
        let program = folder.join("bin/python");
        let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/requirements.txt");
        let works = |command: &mut Command| {
            let output = command.stdin(Stdio::null()).output();
            output.is_ok_and(|output| output.status.success())
        };
        let mut pip = Command::new(&program);
        pip.args(["-m", "pip", "--disable-pip-version-check", "--quiet", "--timeout", "20", "install"]);
        pip.args(["--no-compile", "-r"]).arg(&libraries);
        let there = works(Command::new(&program).args(["-c", "import pymavlink, pynmea2"]))
            || (works(Command::new("python3").args(["-m", "venv"]).arg(&folder)) && works(&mut pip));
        if !there {
            eprintln!("SKIPPED: pymavlink and pynmea2 cannot be installed into {}", folder.display());
        }
        there.then_some(program)
    };
    PYTHON.get_or_init(make).clone()
}

/// What the script says, given `input`.
fn script(python: &Path, arguments: &[&str], input: &[u8]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/foreign.py");
    let mut child = Command::new(python)
        .arg(path)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Frames of three components, of both versions, some signed: topic below `rx`, and bytes.
fn frames(python: &Path, count: u32) -> Vec<(String, Vec<u8>)> {
    let text = script(python, &["mavlink", &count.to_string(), "1"], &[]);
    let frames = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let hex = words[3].as_bytes().chunks(2).map(|digits| std::str::from_utf8(digits).expect("digits"));
        let bytes = hex.map(|digits| u8::from_str_radix(digits, 16).expect("a number")).collect();
        (words[..3].join("/"), bytes)
    });
    frames.collect()
}

fn concat(frames: &[(String, Vec<u8>)]) -> Vec<u8> {
    frames.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect()
}

#[test]
fn what_pymavlink_says_goes_into_topics_and_out_of_them_byte_by_byte() {
    const FRAMES: u32 = 400;
    let Some(python) = python() else { return };
    let frames = frames(&python, FRAMES);
    let stream = concat(&frames);
    let mut wire = Wire::new();
    let broker = Launch::new(1).also_listen(&wire.url("protocol=mavlink&topic=drone&lane=1")).start();
    let client = client(&broker);
    let mut said = client.subscribe("drone/#").expect("subscribed");
    wait_for_session(&client, 0);
    wire.say(&stream);
    for (below, bytes) in &frames {
        assert_eq!(next(&mut said), (format!("drone/rx/{below}"), bytes.clone()));
    }
    for name in ["bad", "lost", "unknown", "dropped"] {
        assert_eq!(stat(&client, &format!("port.0.frames_{name}")), 0.0, "{name}");
    }
    let ground = ConnectOptions::new().connect_blocking(&broker.unix().url()).expect("connected");
    drop(said);
    for (_, bytes) in &frames {
        ground.publish("drone/tx", &bytes[..]).expect("published");
    }
    assert_eq!(wire.hear(stream.len()), stream);
    assert_eq!(script(&python, &["read-mavlink"], &wire.heard).trim(), format!("{FRAMES} 0"));
    // What is no frame would only disturb the device.
    ground.publish("drone/tx", "no frame").expect("published");
    ground.publish("drone/tx", &frames[0].1[..]).expect("published");
    assert!(wire.hear(stream.len() + frames[0].1.len()).ends_with(&frames[0].1));
    assert_eq!(stat(&client, "port.0.frames_unfit"), 1.0);
    drop(ground);
}

#[test]
fn a_length_that_is_damaged_on_the_line_costs_one_frame_and_it_is_counted() {
    let Some(python) = python() else { return };
    let frames = frames(&python, 60);
    let mut wire = Wire::new();
    let broker = Launch::new(1).also_listen(&wire.url("protocol=mavlink&topic=drone&lane=1")).start();
    let client = client(&broker);
    let mut said = client.subscribe("drone/rx/#").expect("subscribed");
    wait_for_session(&client, 0);
    for (hurt, length) in [(20, 255), (21, 0), (22, 17)] {
        let mut stream = frames.clone();
        stream[hurt].1[1] = length;
        wire.say(&concat(&stream));
        stream.remove(hurt);
        for (below, bytes) in stream {
            assert_eq!(next(&mut said), (format!("drone/rx/{below}"), bytes));
        }
    }
    assert_eq!(stat(&client, "port.0.frames_bad"), 3.0);
    // The stream begins anew each time, which is no loss.
    assert_eq!(stat(&client, "port.0.frames_lost"), 3.0);
}

#[test]
fn ports_with_one_topic_are_one_group_and_what_one_says_is_said_to_other_groups_only() {
    let Some(python) = python() else { return };
    let frames = frames(&python, 30);
    let mut wires = [Wire::new(), Wire::new(), Wire::new()];
    let send = "send=mav/%2B/rx/#".replace("%2B", "+");
    let options = ["drone", "drone", "ground"].map(|topic| format!("protocol=mavlink&lane=1&topic=mav/{topic}&{send}"));
    let launch = Launch::new(2);
    let broker = wires
        .iter()
        .zip(&options)
        .fold(launch, |launch, (wire, options)| launch.also_listen(&wire.url(options)))
        .start();
    let client = client(&broker);
    (0..3).for_each(|port| wait_for_session(&client, port));
    let stream = concat(&frames);
    wires[0].say(&stream);
    assert_eq!(wires[2].hear(stream.len()), stream, "the ground hears it");
    // Answers reach both links of the drone; nothing that it has said itself has come back before them.
    let answer = concat(&frames[..3]);
    wires[2].say(&answer);
    for (link, wire) in wires.iter_mut().take(2).enumerate() {
        assert_eq!(wire.hear(answer.len()), answer, "link {link}");
    }
    assert_eq!(wires[2].hear(stream.len()), stream, "and nothing of it the ground");
}

#[test]
fn what_pynmea2_says_is_sorted_by_talker_and_type_and_goes_out_with_its_checksum() {
    const SENTENCES: usize = 100;
    let Some(python) = python() else { return };
    let text = script(&python, &["nmea", &(SENTENCES / 2).to_string()], &[]);
    let sentences: Vec<(String, &str)> = text
        .lines()
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().expect("three words");
            (format!("{}/{}", word(), word()), word())
        })
        .collect();
    let stream: String = sentences.iter().map(|(_, sentence)| format!("{sentence}\r\n")).collect();
    let mut wire = Wire::new();
    let broker = Launch::new(1).also_listen(&wire.url("protocol=nmea&topic=gps&lane=1")).start();
    let client = client(&broker);
    let mut said = client.subscribe("gps/rx/#").expect("subscribed");
    wait_for_session(&client, 0);
    wire.say(stream.as_bytes());
    for (below, sentence) in &sentences {
        assert_eq!(next(&mut said), (format!("gps/rx/{below}"), sentence.as_bytes().to_vec()));
    }
    wire.say(b"$GPGGA,damaged*00\r\n");
    for (place, (_, sentence)) in sentences.iter().enumerate() {
        let end = if place % 2 == 0 { sentence.len() } else { sentence.len() - 3 };
        client.publish("gps/tx", &sentence[..end]).expect("published");
    }
    assert_eq!(wire.hear(stream.len()), stream.as_bytes());
    assert_eq!(script(&python, &["read-nmea"], &wire.heard).trim(), format!("{SENTENCES} 0"));
    assert_eq!((stat(&client, "port.0.frames_good"), stat(&client, "port.0.frames_bad")), (SENTENCES as f64, 1.0));
}

#[test]
fn the_layouts_that_are_known_are_those_that_pymavlink_knows() {
    let Some(python) = python() else { return };
    let mut count = 0;
    for line in script(&python, &["extras"], &[]).lines() {
        let (message, wanted) = line.split_once(' ').expect("two numbers");
        // Number -1 is not one.
        if let Ok(message) = message.parse() {
            assert_eq!(mavlink::extra(message), wanted.parse().ok(), "message {message}");
            count += 1;
        }
    }
    assert!(count > 300, "{count}");
}
