//! Two computers with a cable between them, as network namespaces: a million messages each way from a static
//! configuration, and nothing on the cable but what was asked for.

use std::fs::File;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use laneway_tests::real::process::{Ended, Process};
use laneway_tests::real::{Scratch, binaries, run};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

const MESSAGES: u64 = 1_000_000;
const PORT: u16 = 5263;
/// Of the addresses that are reserved for measurements between networks.
const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2)];
/// The end of the cable in each namespace.
const CABLE: &str = "cable0";

/// Two namespaces joined by a cable; removed when dropped.
struct Network {
    names: [String; 2],
}

impl Network {
    /// `None`, said loudly, where that is not allowed.
    fn lay() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() || Command::new("ip").arg("-V").output().is_err() {
            eprintln!("!!! NOT ROOT, OR NO `ip` (iproute2): NOTHING IS CHECKED BETWEEN NETWORK NAMESPACES HERE !!!");
            return None;
        }
        let names = ["a", "b"].map(|end| format!("laneway-{}-{end}", std::process::id()));
        let network = Self { names };
        let [a, b] = &network.names;
        for name in [a, b] {
            let ended = ip(&["netns", "add", name]);
            if ended.code() != Some(0) {
                eprintln!("!!! NETWORK NAMESPACES ARE FORBIDDEN HERE, NOTHING IS CHECKED: {} !!!", ended.stderr);
                return None;
            }
            // Otherwise the kernel itself looks for neighbours and routers of IPv6.
            let quiet = "for key in all default; do echo 1 >/proc/sys/net/ipv6/conf/$key/disable_ipv6 || true; done";
            network.expect_inside(name, &["sh", "-c", quiet]);
        }
        expect_ip(&["link", "add", CABLE, "netns", a, "type", "veth", "peer", "name", CABLE, "netns", b]);
        for (name, host) in [a, b].into_iter().zip(HOSTS) {
            expect_ip(&["-n", name, "address", "add", &format!("{host}/30"), "dev", CABLE]);
            expect_ip(&["-n", name, "link", "set", "lo", "up"]);
            expect_ip(&["-n", name, "link", "set", CABLE, "up"]);
        }
        Some(network)
    }

    /// A command that runs inside a namespace; `ip` replaces itself by it.
    fn inside(&self, name: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name]).args(words);
        command
    }

    fn expect_inside(&self, name: &str, words: &[&str]) -> String {
        let ended = run(words[0], self.inside(name, words));
        assert_eq!(ended.code(), Some(0), "{words:?} in {name}: {}", ended.stderr);
        ended.text()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            // Takes the cable with it; one that was never made is no loss.
            ip(&["netns", "delete", name]);
        }
    }
}

fn ip(words: &[&str]) -> Ended {
    let mut command = Command::new("ip");
    command.args(words);
    run("ip", command)
}

fn expect_ip(words: &[&str]) {
    let ended = ip(words);
    assert_eq!(ended.code(), Some(0), "ip {words:?}: {}", ended.stderr);
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
        let namespace = File::open(Path::new("/run/netns").join(name)).expect("a namespace that was made");
        let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let (into, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let (ready, is_ready) = std::sync::mpsc::channel();
        // A thread enters the namespace alone.
        let thread = std::thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).expect("root may enter");
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

/// Packets that a namespace's end of the cable has passed, both ways.
fn packets(network: &Network, name: &str) -> u64 {
    let table = network.expect_inside(name, &["cat", "/proc/net/dev"]);
    let line = table.lines().find_map(|line| line.trim().strip_prefix(CABLE)?.strip_prefix(':')).expect("the cable");
    let fields: Vec<u64> = line.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    // Received bytes, packets and six more; then sent bytes, packets.
    fields[1] + fields[9]
}

/// Numbered lines of one direction.
fn lines(from: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..MESSAGES {
        writeln!(bytes, "{from} {number}").expect("memory takes it");
    }
    bytes
}

/// A broker in the first namespace that listens on its address and takes peers of this network only.
fn broker(network: &Network, scratch: &Scratch) -> Process {
    let [a, b] = HOSTS;
    let state = scratch.path("state");
    let config = format!(
        "listen = [\"tcp://{a}:{PORT}\"]\nshards = 2\npin = false\nstate_dir = \"{}\"\n[peers]\nknown_only = true\n\
         allow = [\"cidr:{a}/32\", \"cidr:{b}/32\"]\n",
        state.display()
    );
    let config = scratch.file("lanewayd.toml", config);
    let words = [binaries::lanewayd(), Path::new("--config"), &config].map(|word| word.to_str().expect("plain"));
    let mut broker = Process::spawn("lanewayd", network.inside(&network.names[0], &words));
    let said = broker.wait_for_stdout("ready\n");
    assert_eq!(said, format!("listening tcp://{a}:{PORT}\nready\n"));
    broker
}

/// The command line client inside a namespace.
fn laneway(network: &Network, name: &str, words: &[&str], input: Stdio) -> Process {
    let url = format!("tcp://{}:{PORT}", HOSTS[0]);
    let program = binaries::laneway().to_str().expect("a plain path");
    let command = network.inside(name, &[&[program, "--url", &url], words].concat());
    Process::spawn_with_input("laneway", command, input)
}

#[test]
fn a_million_messages_each_way_between_two_computers_and_nothing_else_on_the_cable() {
    let Some(network) = Network::lay() else { return };
    let scratch = Scratch::new();
    let listeners: Vec<Listener> = network.names.iter().map(|name| Listener::at(name)).collect();
    let broker = broker(&network, &scratch);
    let count = MESSAGES.to_string();
    let [a, b] = [&network.names[0], &network.names[1]];
    let both = [(a, b), (b, a)];
    let subscribers = both.map(|(from, to)| {
        let words = ["sub", from, "--count", &count, "--format", "raw", "--verbose"];
        let mut subscriber = laneway(&network, to, &words, Stdio::null());
        subscriber.wait_for_stderr("subscribed\n");
        subscriber
    });
    let publishers = both.map(|(from, _)| {
        let input = File::open(scratch.file(from, lines(from))).expect("just written");
        laneway(&network, from, &["pub", from, "--lines"], Stdio::from(input))
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
    for name in &network.names {
        for table in ["udp", "udp6", "raw", "raw6"] {
            let text =
                network.expect_inside(name, &["sh", "-c", &format!("cat /proc/net/{table} 2>/dev/null || true")]);
            assert!(text.lines().count() <= 1, "{name} has sockets that are not TCP: {text}");
        }
    }
    broker.signal(Signal::SIGTERM);
    let ended = broker.finish();
    assert_eq!(ended.counted("messages_out"), 2 * MESSAGES, "{}", ended.stderr);
    for (name, listener) in network.names.iter().zip(listeners) {
        let passed = packets(&network, name);
        let (arp, broker, other) = listener.finish();
        eprintln!("{name}: {passed} packets, of them {arp} of ARP, {broker} of the broker's port, {other} others");
        assert_eq!(other, 0, "packets on the cable that nobody asked for");
        assert!(broker > 0 && arp + broker >= passed, "of {passed} packets {} were seen", arp + broker);
    }
}
