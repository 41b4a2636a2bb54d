//! Network namespaces: computers of a test's own, and commands inside them.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns};

use super::process::Ended;
use super::run;

/// The end of the cable in each host.
pub const CABLE: &str = "cable0";
/// Keeps the kernel's own words of IPv6 off the cables, of those that will be there, too.
const QUIET: &str = "for key in all default; do echo 1 >/proc/sys/net/ipv6/conf/$key/disable_ipv6 || true; done";

/// Network namespaces with nothing in them yet; removed when dropped, and what is in them with them.
#[derive(Debug)]
pub struct Namespaces {
    names: Vec<String>,
}

impl Namespaces {
    /// `None`, said loudly, where that is not allowed.
    pub fn make(names: Vec<String>) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() || Command::new("ip").arg("-V").output().is_err() {
            eprintln!("!!! NOT ROOT, OR NO `ip` (iproute2): NOTHING IS CHECKED BETWEEN NETWORK NAMESPACES HERE !!!");
            return None;
        }
        let namespaces = Self { names };
        for name in &namespaces.names {
            let ended = ip(&["netns", "add", name]);
            if ended.code() != Some(0) {
                eprintln!("!!! NETWORK NAMESPACES ARE FORBIDDEN HERE, NOTHING IS CHECKED: {} !!!", ended.stderr);
                return None;
            }
            expect_inside(name, &["sh", "-c", QUIET]);
        }
        Some(namespaces)
    }

    /// In the order in which they were named.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in &self.names {
            // Takes the cables with it; one that was never made is no loss.
            ip(&["netns", "delete", name]);
        }
    }
}

/// This thread goes on inside a namespace, and so do those that it starts.
///
/// # Panics
/// If there is none of this name.
pub fn enter(name: &str) {
    let namespace = File::open(Path::new("/run/netns").join(name)).expect("a namespace that was made");
    setns(&namespace, CloneFlags::CLONE_NEWNET).expect("root may enter");
}

/// A command that runs inside a namespace; `ip` replaces itself by it.
pub fn inside(name: &str, words: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", name]).args(words);
    command
}

/// What a command inside a namespace says.
///
/// # Panics
/// If it fails.
pub fn expect_inside(name: &str, words: &[&str]) -> String {
    let ended = run(words[0], inside(name, words));
    assert_eq!(ended.code(), Some(0), "{words:?} in {name}: {}", ended.stderr);
    ended.text()
}

/// Packets that a host has received from and sent to its cable.
///
/// # Panics
/// If it has none.
pub fn packets(name: &str) -> (u64, u64) {
    let table = expect_inside(name, &["cat", "/proc/net/dev"]);
    let line = table.lines().find_map(|line| line.trim().strip_prefix(CABLE)?.strip_prefix(':'));
    let words = line.expect("the cable").split_whitespace();
    let fields: Vec<u64> = words.map(|word| word.parse().expect("a number")).collect();
    // Received bytes, packets and six more; then sent bytes, packets.
    (fields[1], fields[9])
}

/// Does something to a network.
///
/// # Panics
/// If it fails.
pub fn expect_ip(words: &[&str]) {
    let ended = ip(words);
    assert_eq!(ended.code(), Some(0), "ip {words:?}: {}", ended.stderr);
}

fn ip(words: &[&str]) -> Ended {
    let mut command = Command::new("ip");
    command.args(words);
    run("ip", command)
}
