//! Computers around a switch, as network namespaces: one bridge in a namespace of its own, and a cable to each host.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns};

use crate::error::{Error, Result};

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
    /// Lays cables to so many hosts.
    ///
    /// # Errors
    /// [`Error::Missing`] without root, `ip`, or the right to make namespaces.
    pub fn lay(hosts: usize) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            let why = "network namespaces need root; run it with sudo, or in a container with CAP_NET_ADMIN and CAP_SYS_ADMIN";
            return Err(Error::Missing(why.into()));
        }
        let prefix = format!("lwbench-{}", std::process::id());
        let bridge = Self {
            switch: format!("{prefix}-switch"),
            hosts: (0..hosts).map(|host| format!("{prefix}-{host}")).collect(),
        };
        for name in std::iter::once(&bridge.switch).chain(&bridge.hosts) {
            ip(&["netns", "add", name])
                .map_err(|error| Error::Missing(format!("network namespaces cannot be made: {error}")))?;
            bridge.inside(name, &["sh", "-c", QUIET])?;
        }
        let switch = &bridge.switch;
        ip(&["-n", switch, "link", "add", "switch0", "type", "bridge", "mcast_snooping", "0"])?;
        ip(&["-n", switch, "link", "set", "switch0", "up"])?;
        for (place, host) in bridge.hosts.iter().enumerate() {
            let port = format!("port{place}");
            let address = format!("{}/24", Self::address(place));
            ip(&["link", "add", CABLE, "netns", host, "type", "veth", "peer", "name", &port, "netns", switch])?;
            ip(&["-n", switch, "link", "set", &port, "master", "switch0"])?;
            ip(&["-n", switch, "link", "set", &port, "up"])?;
            ip(&["-n", host, "address", "add", &address, "broadcast", "+", "dev", CABLE])?;
            ip(&["-n", host, "link", "set", "lo", "up"])?;
            ip(&["-n", host, "link", "set", CABLE, "up"])?;
        }
        Ok(bridge)
    }

    /// A host's address, of those that are reserved for measurements.
    pub fn address(place: usize) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, 1 + place as u8)
    }

    /// The broadcast address of all hosts.
    pub const BROADCAST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 255);

    /// Moves the calling thread, and those that it starts, to a host.
    pub fn enter(&self, place: usize) -> Result<()> {
        let path = Path::new("/run/netns").join(&self.hosts[place]);
        let namespace = File::open(&path).map_err(Error::io(format!("opening {}", path.display())))?;
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(Error::errno(format!("entering {}", path.display())))
    }

    fn inside(&self, name: &str, words: &[&str]) -> Result<String> {
        ip(&[&["netns", "exec", name], words].concat())
    }

    /// Packets that a host has sent on its cable.
    pub fn sent(&self, place: usize) -> Result<u64> {
        let table = self.inside(&self.hosts[place], &["cat", "/proc/net/dev"])?;
        let line = table.lines().find_map(|line| line.trim().strip_prefix(CABLE)?.strip_prefix(':'));
        // Received bytes, packets and six more; then sent bytes, packets.
        number(line.and_then(|line| line.split_whitespace().nth(9)), "/proc/net/dev")
    }

    /// Datagrams that a host's sockets on `port` did not take, whether a filter or a full queue dropped them.
    pub fn drops(&self, place: usize, port: u16) -> Result<u64> {
        let table = self.inside(&self.hosts[place], &["cat", "/proc/net/udp"])?;
        let port = format!(":{port:04X}");
        let mut drops = 0;
        for words in table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>()) {
            if words.get(1).is_some_and(|local| local.ends_with(&port)) {
                drops += number(words.last().copied(), "/proc/net/udp")?;
            }
        }
        Ok(drops)
    }

    /// Datagrams that programs on a host have taken from the kernel.
    pub fn taken(&self, place: usize) -> Result<u64> {
        let table = self.inside(&self.hosts[place], &["cat", "/proc/net/snmp"])?;
        let line = table.lines().filter_map(|line| line.strip_prefix("Udp: ")).nth(1);
        number(line.and_then(|line| line.split(' ').next()), "/proc/net/snmp")
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        for name in self.hosts.iter().chain([&self.switch]) {
            // Takes the cable with it; one that was never made is no loss.
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn number(word: Option<&str>, place: &str) -> Result<u64> {
    let parsed = word.and_then(|word| word.parse().ok());
    parsed.ok_or_else(|| Error::Failed(format!("{place} has no number where one is expected")))
}

fn ip(words: &[&str]) -> Result<String> {
    let done = Command::new("ip").args(words).output();
    let output = done.map_err(|error| Error::Missing(format!("the command 'ip' (iproute2): {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Failed(format!("ip {}: {}", words.join(" "), said.trim())))
}
