//! One to all over UDP broadcast and multicast: by the URL alone, without a broker and with one, on one machine and around a
//! switch between network namespaces, where hosts without interest reject everything in the kernel.

use std::process::{Command, Stdio};

use laneway_tests::real::bridge::Bridge;
use laneway_tests::real::process::Process;
use laneway_tests::real::{Launch, Scratch, binaries};
use nix::sys::signal::Signal;

/// A port of this test process on loopback; nobody outside of this machine hears it.
fn port(of: u16) -> u16 {
    20_000 + (std::process::id() % 3_000) as u16 * 10 + of
}

fn laneway(url: &str, words: &[&str]) -> Process {
    let mut command = Command::new(binaries::laneway());
    command.args(["--url", url]).args(words);
    Process::spawn("laneway", command)
}

fn publish(url: &str, words: &[&str]) {
    let ended = laneway(url, &[&["pub"], words].concat()).finish();
    assert_eq!((ended.code(), ended.text().as_str()), (Some(0), ""), "{}", ended.stderr);
}

fn subscriber(url: &str, words: &[&str]) -> Process {
    let mut subscriber = laneway(url, &[&["sub", "--verbose"], words].concat());
    subscriber.wait_for_stderr("subscribed\n");
    subscriber
}

fn expect(subscriber: Process, stdout: &str) {
    let ended = subscriber.finish();
    assert_eq!((ended.code(), ended.text().as_str()), (Some(0), stdout), "{}", ended.stderr);
}

#[test]
fn everybody_on_the_machine_hears_what_is_published_without_a_broker() {
    let urls = [
        format!("udp+broadcast://127.255.255.255:{}", port(0)),
        format!("udp+multicast://239.77.1.2:{}?iface=lo", port(1)),
    ];
    for url in urls {
        let three = [0; 3].map(|_| subscriber(&url, &["state/#", "--count", "3"]));
        let other = subscriber(&url, &["other/+", "--count", "1"]);
        publish(&url, &["state/a", "1", "--lane", "stream"]);
        publish(&url, &["other/x", "2", "--lane", "stream"]);
        // In the order of numbers, and in fragments.
        publish(&url, &["state/a", "3"]);
        publish(&url, &["state/b", "--size", "9000", "--lane", "state"]);
        let large: String = (0..9_000u32).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
        for subscriber in three {
            expect(subscriber, &format!("state/a 1\nstate/a 3\nstate/b {large}\n"));
        }
        expect(other, "other/x 2\n");
    }
}

#[test]
fn a_broker_tells_all_what_it_is_told_to_and_hears_what_it_should() {
    let url = format!("udp+broadcast://127.255.255.255:{}", port(2));
    let broker = Launch::new(2).also_listen(&format!("{url}?out=state/#&in=alarm/+")).start();
    let tcp = broker.tcp().url();
    let on_air = subscriber(&url, &["#", "--count", "3"]);
    let over_tcp = subscriber(&tcp, &["alarm/#", "--count", "1"]);
    publish(&tcp, &["state/a", "1"]);
    publish(&tcp, &["private/a", "2"]);
    publish(&tcp, &["state/b/c", "3", "--lane", "stream"]);
    publish(&url, &["alarm/fire", "now", "--lane", "event"]);
    expect(over_tcp, "alarm/fire now\n");
    let ended = on_air.finish();
    let mut lines: Vec<&str> = std::str::from_utf8(&ended.stdout).expect("text").lines().collect();
    // Two processes have published.
    lines.sort_unstable();
    assert_eq!(lines, ["alarm/fire now", "state/a 1", "state/b/c 3"], "{}", ended.stderr);
}

/// Lines so long that two never share a datagram.
fn lines(count: usize) -> String {
    (0..count).map(|number| format!("{number:0>1000}\n")).collect()
}

#[test]
fn each_of_32_hosts_gets_all_of_one_sender_and_a_host_without_interest_rejects_all_of_it_in_the_kernel() {
    const RECEIVERS: usize = 32;
    const MESSAGES: usize = 200;
    const PORT: u16 = 5263;
    let Some(network) = Bridge::lay(RECEIVERS + 2) else { return };
    let scratch = Scratch::new();
    let url = format!("udp+broadcast://255.255.255.255:{PORT}?iface=cable0");
    let count = MESSAGES.to_string();
    let subscribe = |place: usize, words: &[&str]| {
        let mut subscriber =
            network.laneway(place, &[&["--url", &url, "sub", "--verbose"], words].concat(), Stdio::null());
        subscriber.wait_for_stderr("subscribed\n");
        subscriber
    };
    let receivers: Vec<Process> =
        (1..=RECEIVERS).map(|place| subscribe(place, &["plant/x", "--count", &count, "--format", "raw"])).collect();
    let uninterested = RECEIVERS + 1;
    let bystander = subscribe(uninterested, &["plant/y", "house/#", "--format", "quiet"]);
    let (_, sent_before) = network.packets(0);
    let input = scratch.file("lines", lines(MESSAGES));
    let words = ["--url", &url, "pub", "plant/x", "--lines", "--lane", "stream", "--rate", "400"];
    let publisher = network.laneway(0, &words, std::fs::File::open(input).expect("just written"));
    let ended = publisher.finish();
    assert_eq!((ended.code(), ended.text().as_str()), (Some(0), ""), "{}", ended.stderr);
    for (place, receiver) in receivers.into_iter().enumerate() {
        let ended = receiver.finish();
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        assert!(ended.text() == lines(MESSAGES), "receiver {place} got something else");
    }
    let sent = network.packets(0).1 - sent_before;
    assert_eq!(sent, MESSAGES as u64, "one datagram on the cable for each message, whoever listens");
    assert_eq!(network.drops(uninterested, PORT), sent, "the kernel rejects every datagram");
    assert_eq!(network.taken(uninterested), 0, "and none reaches the program");
    bystander.signal(Signal::SIGINT);
    assert_eq!(bystander.finish().text(), "0\n");
    for place in 1..=uninterested {
        assert_eq!(network.packets(place).1, 0, "host {place} answered, though nothing is repaired");
    }
}
