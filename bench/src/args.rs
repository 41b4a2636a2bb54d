//! The command line.

use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::compare::{Part, Peer};
use crate::count::Work;
use crate::error::{Error, Result};
use crate::relay::{Base, Job};
use crate::wire::PAYLOAD_BYTES_MIN;

/// Measures lanewayd against baseline relays on this machine.
#[derive(Debug, Parser)]
#[command(name = "laneway-bench", version, subcommand_value_name = "CASE", subcommand_help_heading = "Cases")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The cases.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Delivered messages per second over the bare relay's and the others'; has bars
    Floor(Common),
    /// Beside other brokers: throughput, latency, round trips, idle connections, a slow consumer; has bars
    Compare(CompareOptions),
    /// Instructions of codec, route and fan-out over those of the committed baseline; has bars
    Count(CountOptions),
    /// Do what is counted, once
    #[command(hide = true)]
    Counted {
        /// What
        work: Work,
    },
    /// Run one relay in the foreground until it is ended
    Relay(RelayOptions),
    /// Delivered messages per second by payload size and fan-out, beside the bare relay
    Throughput(ThroughputOptions),
    /// Open-loop latency from the intended moment of sending, at 1,000 and 20,000 messages per second
    Latency(Common),
    /// Round trips, one at a time: PING to PONG, and publish to delivery
    Ping(Common),
    /// A hundred subscribers, one stops reading: each policy's accounts, memory and effect on the others; has bars
    SlowConsumer(Common),
    /// 200 values, 1,000 updates a second each, a reader of 10 kB/s: how old what it knows can be; has bars
    Conflate(Common),
    /// Commands on a connection that a bulk lane saturates, over commands on an idle one; has bars
    LaneIsolation(Common),
    /// The broker killed, then connections reset, under load: what was confirmed is there once and in order; has bars
    Kill(Common),
    /// UDP broadcasts at hosts in network namespaces: what nobody wants ends in the kernel; needs root; has bars
    UdpFilter(Common),
    /// A repaired lane of UDP broadcasts to 32 hosts in network namespaces, with loss; needs root; has bars
    UdpBroadcast(Common),
    /// Become another program that ends with the process that started this one
    #[command(hide = true)]
    Child(ChildOptions),
}

/// Options of every case that measures.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct Common {
    /// Write the rows to FILE as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Exit 1 if a bar is not met, 3 if it cannot be measured here
    #[arg(long)]
    pub gate: bool,
    /// A smoke of a few seconds; its figures mean little
    #[arg(long)]
    pub quick: bool,
    /// Interleaved rounds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: Option<u32>,
    /// The broker's executable [default: lanewayd beside this one]
    #[arg(long, value_name = "PATH")]
    pub broker: Option<PathBuf>,
}

impl Common {
    /// How many rounds: what was asked, else `default`, or one for a smoke.
    pub fn rounds(&self, default: u32) -> u32 {
        self.runs.unwrap_or(if self.quick { 1 } else { default })
    }
}

/// Options of `throughput`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct ThroughputOptions {
    /// Options of every case.
    #[command(flatten)]
    pub common: Common,
    /// Payload bytes, several separated by commas
    #[arg(long, value_name = "BYTES", value_delimiter = ',', value_parser = parse_payload_bytes)]
    pub size: Vec<usize>,
    /// Subscribers, several separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub fanout: Vec<u32>,
    /// Let one stream cycle through N topics, each with its own subscriber, beside the index relay
    #[arg(long, value_name = "N", conflicts_with = "fanout", value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub topics: Option<u32>,
    /// Publish BATCH frames
    #[arg(long)]
    pub batch: bool,
    /// Publish single PUB frames, the default
    #[arg(long, conflicts_with = "batch")]
    pub single: bool,
}

/// Options of `compare`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct CompareOptions {
    /// Options of every case.
    #[command(flatten)]
    pub common: Common,
    /// Peers to do without, several separated by commas
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    pub without: Vec<Peer>,
    /// Measure only these parts, several separated by commas
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub part: Vec<Part>,
    /// Where bench/peers/install has put the peers [default: peers in the target directory]
    #[arg(long, value_name = "DIR", env = "LANEWAY_PEERS_DIR")]
    pub peers: Option<PathBuf>,
    /// Write a page with tables and plots into DIR
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Options of `count`.
#[derive(Clone, Debug, ClapArgs)]
pub struct CountOptions {
    /// Options of every case.
    #[command(flatten)]
    pub common: Common,
    /// What was counted before
    #[arg(long, value_name = "FILE", default_value = "bench/instructions.txt")]
    pub baseline: PathBuf,
    /// Write what is counted now to the baseline
    #[arg(long)]
    pub refresh: bool,
}

/// Options of `child`.
#[derive(Clone, Debug, ClapArgs)]
pub struct ChildOptions {
    /// The process to follow
    pub parent: u32,
    /// The program
    pub program: PathBuf,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// Options of `relay`.
#[derive(Clone, Debug, ClapArgs)]
pub struct RelayOptions {
    /// Where to listen, as tcp://HOST:PORT; port 0 takes a free one
    #[arg(long, value_name = "URL", default_value = "tcp://127.0.0.1:0")]
    pub listen: String,
    /// What it stands on
    #[arg(long, value_enum, default_value_t = Base::Uring)]
    pub base: Base,
    /// Do not read from the publisher before N subscribers have connected
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub subscribers: usize,
    /// Subscriber k gets only frames whose payload starts with the 4-byte index k
    #[arg(long)]
    pub index: bool,
    /// A publisher has as many subscribers as it waits for; the next connection publishes again (base tokio)
    #[arg(long, conflicts_with = "index")]
    pub pairs: bool,
    /// Never sleep (base uring)
    #[arg(long)]
    pub spin: bool,
}

impl RelayOptions {
    /// Resolves the address to listen on.
    pub fn job(&self) -> Result<Job> {
        let Self { subscribers, pairs, spin, .. } = *self;
        Ok(Job { listen: parse_url(&self.listen)?, subscribers, pairs, spin })
    }
}

fn parse_url(url: &str) -> Result<SocketAddr> {
    let Some(address) = url.strip_prefix("tcp://") else {
        return Err(Error::Failed(format!("'{url}' is no URL a relay can listen on; write tcp://HOST:PORT")));
    };
    let found = address.to_socket_addrs().map_err(Error::io(format!("resolving '{address}'")))?.next();
    found.ok_or_else(|| Error::Failed(format!("'{address}' has no address")))
}

fn parse_payload_bytes(text: &str) -> std::result::Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| format!("'{text}' is not a number of bytes"))?;
    if (PAYLOAD_BYTES_MIN..=1024 * 1024).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("a payload has {PAYLOAD_BYTES_MIN} to 1048576 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_stand_behind_the_case() {
        let args =
            Args::try_parse_from("laneway-bench floor --json out.json --gate --quick --runs 3 --broker b".split(' '));
        let Ok(Args { command: Command::Floor(common) }) = args else { panic!("{args:?}") };
        assert!(common.gate && common.quick);
        assert_eq!((common.rounds(5), common.json), (3, Some("out.json".into())));
    }

    #[test]
    fn lists_of_sizes_and_impossible_sizes_are_told_apart() {
        let parse = |size: &str| Args::try_parse_from(["laneway-bench", "throughput", "--size", size]);
        let Ok(Args { command: Command::Throughput(options) }) = parse("16,1048576") else { panic!("refused") };
        assert_eq!(options.size, [16, 1_048_576]);
        assert!(parse("7").is_err() && parse("1048577").is_err() && parse("x").is_err());
    }

    #[test]
    fn a_relay_listens_on_tcp_only() {
        assert!(parse_url("tcp://127.0.0.1:0").is_ok());
        assert!(parse_url("unix:///tmp/x.sock").is_err());
    }
}
