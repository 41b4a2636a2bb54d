//! Two computers with a cable between them, as network namespaces: a million messages each way from a static
//! configuration, and nothing on the cable but what was asked for; a route that comes and goes; a name that nobody knows.

use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use laneway_client::blocking::{Client, Events};
use laneway_client::{ConnectOptions, ConnectionEvent, Lane, ReconnectOptions, Retry};
use laneway_tests::real::netns::{CABLE, Namespaces, enter, expect_inside, expect_ip, inside, packets};
use laneway_tests::real::process::{GUARD, Process};
use laneway_tests::real::{Scratch, binaries};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

const MESSAGES: u64 = 1_000_000;
const PORT: u16 = 5263;
/// Of the addresses that are reserved for measurements between networks.
const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2)];
/// Two hosts joined by a cable, called after what they are for.
fn lay(what: &str) -> Option<Namespaces> {
    let names = ["a", "b"].map(|end| format!("laneway-{}-{what}-{end}", std::process::id()));
    let hosts = Namespaces::make(names.to_vec())?;
    let [a, b] = &names;
    expect_ip(&["link", "add", CABLE, "netns", a, "type", "veth", "peer", "name", CABLE, "netns", b]);
    for (name, host) in [a, b].into_iter().zip(HOSTS) {
        expect_ip(&["-n", name, "address", "add", &format!("{host}/30"), "dev", CABLE]);
        expect_ip(&["-n", name, "link", "set", "lo", "up"]);
        expect_ip(&["-n", name, "link", "set", CABLE, "up"]);
    }
    Some(hosts)
}

/// What was seen on the cable.
#[derive(Default)]
struct Seen {
    arp: AtomicU64,
    broker: AtomicU64,
    other: AtomicU64,
}

/// Looks at every packet at one end of the cable.
struct Listener {
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Listener {
    fn at(name: &str) -> Self {
        let name = name.to_owned();
        let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let (into, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let (ready, is_ready) = std::sync::mpsc::channel();
        // A thread enters the namespace alone.
        let thread = std::thread::spawn(move || {
            enter(&name);
            let tap = tap();
            let cable = if_nametoindex(CABLE).expect("the cable is plugged in");
            ready.send(()).expect("somebody waits");
            // What is queued when it is told to stop is looked at, too.
            while look(&tap, cable, &into) || !stopped.load(Ordering::Relaxed) {}
        });
        is_ready.recv().expect("the tap is open");
        Self { seen, stop, thread }
    }

    /// Packets of ARP, to or from the broker's port, and others.
    fn finish(self) -> (u64, u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("listening does not fail");
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (count(&self.seen.arp), count(&self.seen.broker), count(&self.seen.other))
    }
}

/// A socket that sees all packets of its namespace, both ways.
fn tap() -> OwnedFd {
    let tap = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
    let tap = tap.expect("root may look");
    setsockopt(&tap, sockopt::RcvBufForce, &(64 * 1024 * 1024)).expect("root may have memory");
    setsockopt(&tap, sockopt::ReceiveTimeout, &TimeVal::milliseconds(50)).expect("a socket");
    tap
}

/// Takes one packet; false if none came for a while.
fn look(tap: &OwnedFd, cable: u32, seen: &Seen) -> bool {
    // Enough for the headers; the rest of a packet is cut off.
    let mut packet = [0; 128];
    let packet = match recvfrom::<LinkAddr>(tap.as_raw_fd(), &mut packet) {
        Ok((bytes, Some(way))) if way.ifindex() == cable as usize => &packet[..bytes],
        // Inside one computer.
        Ok(_) => return true,
        Err(Errno::EAGAIN | Errno::EINTR) => return false,
        Err(error) => panic!("the tap failed: {error}"),
    };
    let count = match kind(packet) {
        Some(Packet::Arp) => &seen.arp,
        Some(Packet::Broker) => &seen.broker,
        None => {
            eprintln!("on the cable: {packet:02x?}");
            &seen.other
        }
    };
    count.fetch_add(1, Ordering::Relaxed);
    true
}

enum Packet {
    Arp,
    Broker,
}

/// What a packet is, if it is one of the two that may be.
///
/// ```text
///  0             6             12     14                  14 + 4 * (byte & 15)
///  | destination | source      | type | IPv4 header ... | source port, destination port ...
/// ```
fn kind(packet: &[u8]) -> Option<Packet> {
    const TCP: u8 = 6;
    let pair = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    match pair(12)? {
        0x0806 => Some(Packet::Arp),
        0x0800 if *packet.get(14 + 9)? == TCP => {
            let ports = 14 + 4 * usize::from(packet.get(14)? & 15);
            (pair(ports)? == PORT || pair(ports + 2)? == PORT).then_some(Packet::Broker)
        }
        _ => None,
    }
}

/// Numbered lines of one direction.
fn lines(from: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..MESSAGES {
        writeln!(bytes, "{from} {number}").expect("memory takes it");
    }
    bytes
}

/// A broker on the first host that listens on its address and takes peers of this network only.
fn broker(hosts: &Namespaces, scratch: &Scratch) -> Process {
    let [a, b] = HOSTS;
    let state = scratch.path("state");
    let config = format!(
        "listen = [\"tcp://{a}:{PORT}\"]\nshards = 2\npin = false\nstate_dir = \"{}\"\n[peers]\nknown_only = true\n\
         allow = [\"cidr:{a}/32\", \"cidr:{b}/32\"]\n",
        state.display()
    );
    let config = scratch.file("lanewayd.toml", config);
    let words = [binaries::lanewayd(), Path::new("--config"), &config].map(|word| word.to_str().expect("plain"));
    let mut broker = Process::spawn("lanewayd", inside(&hosts.names()[0], &words));
    let said = broker.wait_for_stdout("ready\n");
    assert_eq!(said, format!("listening tcp://{a}:{PORT}\nready\n"));
    broker
}

/// The command line client on a host.
fn laneway(name: &str, words: &[&str], input: Stdio) -> Process {
    let url = format!("tcp://{}:{PORT}", HOSTS[0]);
    let program = binaries::laneway().to_str().expect("a plain path");
    let command = inside(name, &[&[program, "--url", &url], words].concat());
    Process::spawn_with_input("laneway", command, input)
}

#[test]
fn a_million_messages_each_way_between_two_computers_and_nothing_else_on_the_cable() {
    let Some(hosts) = lay("million") else { return };
    let scratch = Scratch::new();
    let listeners: Vec<Listener> = hosts.names().iter().map(|name| Listener::at(name)).collect();
    let broker = broker(&hosts, &scratch);
    let count = MESSAGES.to_string();
    let [a, b] = [&hosts.names()[0], &hosts.names()[1]];
    let both = [(a, b), (b, a)];
    let subscribers = both.map(|(from, to)| {
        let words = ["sub", from, "--count", &count, "--format", "raw", "--verbose"];
        let mut subscriber = laneway(to, &words, Stdio::null());
        subscriber.wait_for_stderr("subscribed\n");
        subscriber
    });
    let publishers = both.map(|(from, _)| {
        let input = File::open(scratch.file(from, lines(from))).expect("just written");
        laneway(from, &["pub", from, "--lines"], Stdio::from(input))
    });
    for publisher in publishers {
        let ended = publisher.finish();
        assert_eq!((ended.code(), ended.text().as_str()), (Some(0), ""), "{}", ended.stderr);
    }
    for ((from, to), subscriber) in both.into_iter().zip(subscribers) {
        let ended = subscriber.finish();
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        assert!(ended.stdout == lines(from), "{to} got something else than {from} sent");
    }
    for name in hosts.names() {
        for table in ["udp", "udp6", "raw", "raw6"] {
            let text = expect_inside(name, &["sh", "-c", &format!("cat /proc/net/{table} 2>/dev/null || true")]);
            assert!(text.lines().count() <= 1, "{name} has sockets that are not TCP: {text}");
        }
    }
    broker.signal(Signal::SIGTERM);
    let ended = broker.finish();
    assert_eq!(ended.counted("messages_out"), 2 * MESSAGES, "{}", ended.stderr);
    for (name, listener) in hosts.names().iter().zip(listeners) {
        let (in_packets, out_packets) = packets(name);
        let passed = in_packets + out_packets;
        let (arp, broker, other) = listener.finish();
        eprintln!("{name}: {passed} packets, of them {arp} of ARP, {broker} of the broker's port, {other} others");
        assert_eq!(other, 0, "packets on the cable that nobody asked for");
        assert!(broker > 0 && arp + broker >= passed, "of {passed} packets {} were seen", arp + broker);
    }
}

/// Publishes numbers from `first` on; returns the one behind the last.
fn publish_some(client: &Client, first: u32) -> u32 {
    for number in first..first + 20 {
        client.publish_with("a", &number.to_le_bytes()[..], Lane::COMMAND.into()).expect("a session");
    }
    first + 20
}

fn wait_for(events: &mut Events, wanted: impl Fn(&ConnectionEvent) -> bool) {
    let until = Instant::now() + GUARD;
    while !events.try_recv().is_some_and(|event| wanted(&event)) {
        assert!(Instant::now() < until, "it is not told");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A client on `host` talks to the broker while its route there comes and goes.
fn talk_over_a_flapping_route(host: &str) {
    let waits = Retry::new().waits(Duration::from_millis(1), Duration::from_millis(50));
    let reconnect = ReconnectOptions::new().retry(waits).breaker(0, Duration::ZERO);
    let options = ConnectOptions::new().reconnect(reconnect);
    let options = options.keepalive(Duration::from_millis(100), Duration::from_millis(400));
    let client = options.connect_blocking(&format!("tcp://{}:{PORT}", HOSTS[0])).expect("a broker");
    let mut heard = client.subscribe("a").expect("allowed");
    let mut events = client.events();
    let (mut published, mut received) = (0, 0);
    for _ in 0..3 {
        published = publish_some(&client, published);
        expect_ip(&["-n", host, "route", "flush", "dev", CABLE]);
        published = publish_some(&client, published);
        wait_for(&mut events, |event| matches!(event, ConnectionEvent::Down { will_retry_in: Some(_), .. }));
        published = publish_some(&client, published);
        expect_ip(&["-n", host, "route", "add", "198.18.0.0/30", "dev", CABLE, "src", &HOSTS[1].to_string()]);
        wait_for(&mut events, |event| matches!(event, ConnectionEvent::Up { resumed: true, restarted: false, .. }));
        while received < published {
            let message = heard.recv_timeout(GUARD).expect("a session").expect("a message in time");
            assert_eq!(message.payload.as_ref(), received.to_le_bytes(), "once and in order");
            received += 1;
        }
    }
    assert_eq!((client.state().links_lost, client.state().maybe_delivered), (3, 0));
    client.close().expect("a clean end");
}

#[test]
fn a_route_that_comes_and_goes_costs_nothing_and_a_name_that_nobody_knows_is_told_as_such() {
    let Some(hosts) = lay("route") else { return };
    let scratch = Scratch::new();
    let broker = broker(&hosts, &scratch);
    let there = hosts.names()[1].clone();
    let talking = std::thread::spawn({
        let there = there.clone();
        move || {
            enter(&there);
            talk_over_a_flapping_route(&there);
        }
    });
    talking.join().expect("everything came once and in order");
    let program = binaries::laneway().to_str().expect("a plain path");
    let words = [program, "--url", "tcp://broker.invalid:5263", "pub", "a", "x"];
    let ended = Process::spawn("laneway", inside(&there, &words)).finish();
    let told = "broker.invalid:5263: the host name could not be resolved: ";
    assert!(ended.code() == Some(1) && ended.stderr.contains(told), "{:?}: {}", ended.code(), ended.stderr);
    broker.signal(Signal::SIGTERM);
    let ended = broker.finish();
    assert_eq!(ended.counted("messages_out"), 180, "{}", ended.stderr);
}
