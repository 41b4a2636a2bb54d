//! A switch with computers around it, as network namespaces: one bridge in a namespace of its own, and a cable to each host.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::process::{Ended, Process};
use super::{binaries, run};

/// The end of the cable in each host.
pub const CABLE: &str = "cable0";
/// Keeps the kernel's own words of IPv6 off the cables, of those that will be there, too.
const QUIET: &str = "for key in all default; do echo 1 >/proc/sys/net/ipv6/conf/$key/disable_ipv6 || true; done";

/// Hosts around a switch; all of it is removed when dropped.
#[derive(Debug)]
pub struct Bridge {
    switch: String,
    hosts: Vec<String>,
}

impl Bridge {
    /// `None`, said loudly, where that is not allowed.
    pub fn lay(hosts: usize) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() || Command::new("ip").arg("-V").output().is_err() {
            eprintln!("!!! NOT ROOT, OR NO `ip` (iproute2): NOTHING IS CHECKED BETWEEN NETWORK NAMESPACES HERE !!!");
            return None;
        }
        let prefix = format!("laneway-{}-b{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let bridge = Self {
            switch: format!("{prefix}-switch"),
            hosts: (0..hosts).map(|host| format!("{prefix}-{host}")).collect(),
        };
        for name in std::iter::once(&bridge.switch).chain(&bridge.hosts) {
            let ended = ip(&["netns", "add", name]);
            if ended.code() != Some(0) {
                eprintln!("!!! NETWORK NAMESPACES ARE FORBIDDEN HERE, NOTHING IS CHECKED: {} !!!", ended.stderr);
                return None;
            }
            bridge.expect_inside(name, &["sh", "-c", QUIET]);
        }
        let switch = &bridge.switch;
        expect_ip(&["-n", switch, "link", "add", "switch0", "type", "bridge", "mcast_snooping", "0"]);
        expect_ip(&["-n", switch, "link", "set", "switch0", "up"]);
        for (place, host) in bridge.hosts.iter().enumerate() {
            let port = format!("port{place}");
            let address = format!("{}/24", Self::address(place));
            expect_ip(&["link", "add", CABLE, "netns", host, "type", "veth", "peer", "name", &port, "netns", switch]);
            expect_ip(&["-n", switch, "link", "set", &port, "master", "switch0"]);
            expect_ip(&["-n", switch, "link", "set", &port, "up"]);
            expect_ip(&["-n", host, "address", "add", &address, "broadcast", "+", "dev", CABLE]);
            expect_ip(&["-n", host, "link", "set", "lo", "up"]);
            expect_ip(&["-n", host, "link", "set", CABLE, "up"]);
        }
        Some(bridge)
    }

    /// The hosts' names.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// A host's address, of those that are reserved for measurements.
    pub fn address(place: usize) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, 1 + place as u8)
    }

    /// A command that runs inside a namespace; `ip` replaces itself by it.
    pub fn inside(&self, name: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name]).args(words);
        command
    }

    /// What a command inside says.
    ///
    /// # Panics
    /// If it fails.
    pub fn expect_inside(&self, name: &str, words: &[&str]) -> String {
        let ended = run(words[0], self.inside(name, words));
        assert_eq!(ended.code(), Some(0), "{words:?} in {name}: {}", ended.stderr);
        ended.text()
    }

    /// The command line client on a host.
    pub fn laneway(&self, place: usize, words: &[&str], input: impl Into<Stdio>) -> Process {
        let program: &Path = binaries::laneway();
        let program = program.to_str().expect("a plain path");
        Process::spawn_with_input("laneway", self.inside(&self.hosts[place], &[&[program], words].concat()), input)
    }

    /// Packets that a host has received from and sent to its cable.
    pub fn packets(&self, place: usize) -> (u64, u64) {
        let table = self.expect_inside(&self.hosts[place], &["cat", "/proc/net/dev"]);
        let line = table.lines().find_map(|line| line.trim().strip_prefix(CABLE)?.strip_prefix(':'));
        let words = line.expect("the cable").split_whitespace();
        let fields: Vec<u64> = words.map(|word| word.parse().expect("a number")).collect();
        // Received bytes, packets and six more; then sent bytes, packets.
        (fields[1], fields[9])
    }

    /// Datagrams that a host's sockets on `port` did not take from the kernel, whether a filter or a full queue dropped them.
    pub fn drops(&self, place: usize, port: u16) -> u64 {
        let table = self.expect_inside(&self.hosts[place], &["cat", "/proc/net/udp"]);
        let port = format!(":{port:04X}");
        let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let rows = rows.filter(|words| words.get(1).is_some_and(|local| local.ends_with(&port)));
        rows.map(|words| words.last().and_then(|drops| drops.parse::<u64>().ok()).expect("a number at the end")).sum()
    }

    /// Datagrams that programs on a host have taken from the kernel.
    pub fn taken(&self, place: usize) -> u64 {
        let table = self.expect_inside(&self.hosts[place], &["cat", "/proc/net/snmp"]);
        let line = table.lines().filter_map(|line| line.strip_prefix("Udp: ")).nth(1).expect("a line of numbers");
        line.split(' ').next().and_then(|count| count.parse().ok()).expect("InDatagrams comes first")
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        for name in self.hosts.iter().chain([&self.switch]) {
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
