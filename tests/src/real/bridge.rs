//! A switch with computers around it, as network namespaces: one bridge in a namespace of its own, and a cable to each host.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use super::binaries;
use super::netns::{CABLE, Namespaces, expect_inside, expect_ip, inside, packets};
use super::process::Process;

/// Hosts around a switch; all of it is removed when dropped.
#[derive(Debug)]
pub struct Bridge {
    /// The switch first.
    namespaces: Namespaces,
}

impl Bridge {
    /// `None`, said loudly, where that is not allowed.
    pub fn lay(hosts: usize) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("laneway-{}-b{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let hosts = (0..hosts).map(|host| format!("{prefix}-{host}"));
        let namespaces = Namespaces::make(std::iter::once(format!("{prefix}-switch")).chain(hosts).collect())?;
        let bridge = Self { namespaces };
        let switch = &bridge.namespaces.names()[0];
        expect_ip(&["-n", switch, "link", "add", "switch0", "type", "bridge", "mcast_snooping", "0"]);
        expect_ip(&["-n", switch, "link", "set", "switch0", "up"]);
        for (place, host) in bridge.hosts().iter().enumerate() {
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
        &self.namespaces.names()[1..]
    }

    /// A host's address, of those that are reserved for measurements.
    pub fn address(place: usize) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, 1 + place as u8)
    }

    /// The command line client on a host.
    pub fn laneway(&self, place: usize, words: &[&str], input: impl Into<Stdio>) -> Process {
        let program: &Path = binaries::laneway();
        let program = program.to_str().expect("a plain path");
        Process::spawn_with_input("laneway", inside(&self.hosts()[place], &[&[program], words].concat()), input)
    }

    /// Packets that a host has received from and sent to its cable.
    pub fn packets(&self, place: usize) -> (u64, u64) {
        packets(&self.hosts()[place])
    }

    /// Datagrams that a host's sockets on `port` did not take from the kernel, whether a filter or a full queue dropped them.
    pub fn drops(&self, place: usize, port: u16) -> u64 {
        let table = expect_inside(&self.hosts()[place], &["cat", "/proc/net/udp"]);
        let port = format!(":{port:04X}");
        let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let rows = rows.filter(|words| words.get(1).is_some_and(|local| local.ends_with(&port)));
        rows.map(|words| words.last().and_then(|drops| drops.parse::<u64>().ok()).expect("a number at the end")).sum()
    }

    /// Datagrams that programs on a host have taken from the kernel.
    pub fn taken(&self, place: usize) -> u64 {
        let table = expect_inside(&self.hosts()[place], &["cat", "/proc/net/snmp"]);
        let line = table.lines().filter_map(|line| line.strip_prefix("Udp: ")).nth(1).expect("a line of numbers");
        line.split(' ').next().and_then(|count| count.parse().ok()).expect("InDatagrams comes first")
    }
}
