//! What the user typed. Parsing does nothing but parse.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use laneway_client::{Lane, Policy};
use laneway_proto::serial::foreign::Protocol;
use laneway_proto::serial::foreign::line::Ending;

const EXAMPLES: &str = "\
Examples:
  laneway sub 'sensors/#'                         print everything below sensors/
  laneway pub sensors/imu/x 21.5                  publish one message
  dmesg | laneway pub log/kernel --lines          publish each line as a message
  laneway --url tcp://lab:5263 --wait 10 ping     wait for a broker, then measure
  laneway stats                                   what the broker counts

Exit code: 0 done, 1 failed, 2 wrong usage.";

const PUB_EXAMPLES: &str = "\
Examples:
  laneway pub door/front open
  laneway pub camera/0 < picture.jpg              standard input is one message
  seq 1000000 | laneway pub numbers --lines       each line is a message
  laneway pub lamp/1 on --retain                  the broker keeps it for who subscribes later
  laneway pub load/test --size 1024 --repeat 100000
  laneway pub clock/tick tock --repeat 60 --rate 1
  laneway pub plant/stop now --level delivered --min-receivers 2 --timeout 5

It returns when the broker has accepted everything. With --level delivered it returns when at least N subscribers'
client libraries have received every message, and prints the fewest that received one; a message that too few have
when its time is over is maybe delivered, and the exit code is 1.";

const SUB_EXAMPLES: &str = "\
Filters are MQTT's: '+' stands for one level, '#' at the end for the rest. Quote them.

Examples:
  laneway sub 'sensors/+/x' 'alarms/#'
  laneway sub numbers --count 1000000 --format raw > numbers.txt
  laneway sub '#' --format json | jq .payload
  laneway sub 'sensors/#' --format quiet          count until Ctrl-C
  laneway sub 'arm/#' --policy conflate           only the newest of each topic when this is slow
  laneway sub 'lamp/+' --retained                 what each lamp is now, then its changes

Messages that the broker dropped are reported: on standard error, or with --format json in a line of their own.";

const STATS_EXAMPLES: &str = "\
Names begin with broker., shard.N., shard.N.lane.NAME. and link.SESSION. ; times are microseconds (_us). Of the links of
each shard those 64 are told for which most waits; ask for link.SESSION. to see another one.

Examples:
  laneway stats                                   everything
  laneway stats shard.0.lane.command.             one lane of one shard
  laneway stats link. --json | jq 'keys'";

const SERIAL_EXAMPLES: &str = "\
Examples:
  laneway serial list                             ports, what is plugged in, and names that stay
  laneway serial doctor /dev/ttyACM0              why it does not work, or not well
  laneway serial monitor /dev/ttyACM0 --baud 921600
  laneway serial monitor /dev/ttyUSB0 --baud 4800 --protocol nmea --json

A port that lanewayd has open is looked at with 'laneway stats port.'.";

/// Bits per second unless something else is said.
const BAUD: u32 = 115_200;

/// Publish, subscribe and ping on a Laneway broker.
#[derive(Parser, Debug)]
#[command(name = "laneway", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) link: Link,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to reach the broker.
#[derive(Group, Debug)]
pub(crate) struct Link {
    /// The broker: tcp://HOST:PORT, udp://HOST:PORT or unix:///PATH; or all without one: udp+broadcast://ADDRESS:PORT
    /// [default: the local Unix socket, then tcp://127.0.0.1:5263]
    #[arg(long, global = true, value_name = "URL", env = "LANEWAY_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
    /// Keep trying for this long if no broker answers
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) wait: Option<Duration>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Publish messages to a topic
    Pub(Publish),
    /// Print the messages that match filters
    Sub(Subscribe),
    /// Measure the round trip to the broker
    Ping(Ping),
    /// Print what the broker counts
    Stats(Stats),
    /// Look at the serial ports of this machine
    Serial(Serial),
    /// Print what is on the wire of a broadcast or multicast address, a line for each frame
    #[cfg(target_os = "linux")]
    Tap(Tap),
}

#[derive(Group, Debug)]
#[command(after_help = PUB_EXAMPLES)]
pub(crate) struct Publish {
    /// Where to publish, as in sensors/imu/x
    pub(crate) topic: String,
    /// The message; without it standard input is the message
    #[arg(allow_negative_numbers = true, conflicts_with_all = ["lines", "size"])]
    pub(crate) payload: Option<OsString>,
    /// Publish each line of standard input, without its newline
    #[arg(long, conflicts_with_all = ["size", "repeat"])]
    pub(crate) lines: bool,
    /// Publish the message N times
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) repeat: u64,
    /// Publish a message of this many generated bytes
    #[arg(long, value_name = "BYTES")]
    pub(crate) size: Option<u32>,
    /// Publish at most this many messages a second
    #[arg(long, value_name = "HZ", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Lane: command, event, state, stream, bulk or 1 to 15
    #[arg(long, value_name = "LANE", default_value_t = Lane::COMMAND)]
    pub(crate) lane: Lane,
    /// When a message counts as published: written to the socket, accepted by the broker, or received by subscribers
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = Level::Accepted)]
    pub(crate) level: Level,
    /// Ask the broker to keep it as the topic's last value; an empty message deletes that value
    #[arg(long)]
    pub(crate) retain: bool,
    /// Drop it, and report it lost, if it still waits at the broker after this many milliseconds; 0: never
    #[arg(long, value_name = "MS")]
    pub(crate) ttl: Option<u32>,
    /// With --level delivered: how many subscribers must have received each message [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) min_receivers: Option<u16>,
    /// With --level delivered: how long each message may take for that [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<Duration>,
}

/// When a message counts as published.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    /// Written to the socket
    Sent,
    /// Accepted by the broker
    Accepted,
    /// Received by as many subscribers as --min-receivers says, on a reliable lane
    Delivered,
}

#[derive(Group, Debug)]
#[command(after_help = SUB_EXAMPLES)]
pub(crate) struct Subscribe {
    /// What to print, as in 'sensors/#'
    #[arg(required = true, value_name = "FILTER")]
    pub(crate) filters: Vec<String>,
    /// End after N messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// How to print a message
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// With --format raw: no newline after each payload
    #[arg(long)]
    pub(crate) no_newline: bool,
    /// Say 'subscribed' on standard error once the broker has confirmed
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Receive on this lane instead of the publisher's: command, event, state, stream, bulk or 1 to 15
    #[arg(long, value_name = "LANE")]
    pub(crate) lane: Option<Lane>,
    /// Begin with the last value of each topic that was published with --retain
    #[arg(long)]
    pub(crate) retained: bool,
    /// What to do when too much waits for this command: block, drop_oldest, drop_newest, conflate or disconnect
    /// [default: the lane's]
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<Policy>,
}

/// How a message is printed.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// Topic and payload, control characters escaped
    Text,
    /// One JSON object a line
    Json,
    /// The payload as it is, and a newline
    Raw,
    /// Only the number of messages, at the end
    Quiet,
}

#[derive(Group, Debug)]
pub(crate) struct Ping {
    /// How many times
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Time between two pings
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) interval: Duration,
}

#[derive(Group, Debug)]
#[command(after_help = STATS_EXAMPLES)]
pub(crate) struct Stats {
    /// Print the counters whose names begin like this [default: all]
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Print one JSON object, names to numbers and texts
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Group, Debug)]
#[command(after_help = SERIAL_EXAMPLES)]
pub(crate) struct Serial {
    #[command(subcommand)]
    pub(crate) command: SerialCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum SerialCommand {
    /// Print the ports of this machine, and what is plugged in
    List(SerialList),
    /// Print what is said on a port that nobody else has open
    Monitor(SerialMonitor),
    /// Say why a port does not work, or not well, and what to do
    Doctor(SerialDoctor),
}

#[derive(Group, Debug)]
pub(crate) struct SerialList {
    /// Print JSON: a list with an object for each port
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Group, Debug)]
pub(crate) struct SerialMonitor {
    /// The port, as in /dev/ttyACM0
    pub(crate) port: PathBuf,
    /// Bits per second
    #[arg(long, value_name = "BAUD", default_value_t = BAUD, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) baud: u32,
    /// How the device speaks
    #[arg(long, value_enum, value_name = "PROTOCOL")]
    pub(crate) protocol: Option<SerialProtocol>,
    /// End after this time
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: Option<Duration>,
    /// End after N frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Print a JSON object for each frame, and one at the end
    #[arg(long)]
    pub(crate) json: bool,
}

/// How a device speaks.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SerialProtocol {
    /// Laneway's own link
    Laneway,
    /// Lines of text
    Line,
    /// Bytes
    Raw,
    /// SLIP frames
    Slip,
    /// COBS frames
    Cobs,
    /// NMEA 0183 sentences
    Nmea,
    /// MAVLink 1 and 2
    Mavlink,
}

impl SerialProtocol {
    /// `None`: Laneway's own link.
    pub(crate) const fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Laneway => None,
            Self::Line => Some(Protocol::Line(Ending::Lf)),
            Self::Raw => Some(Protocol::Raw),
            Self::Slip => Some(Protocol::Slip),
            Self::Cobs => Some(Protocol::Cobs),
            Self::Nmea => Some(Protocol::Nmea),
            Self::Mavlink => Some(Protocol::Mavlink),
        }
    }
}

#[derive(Group, Debug)]
pub(crate) struct SerialDoctor {
    /// The port, as in /dev/ttyACM0
    pub(crate) port: PathBuf,
    /// Bits per second
    #[arg(long, value_name = "BAUD", default_value_t = BAUD, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) baud: u32,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(target_os = "linux")]
#[derive(Group, Debug)]
pub(crate) struct Tap {
    /// Where to listen: udp+broadcast://ADDRESS:PORT or udp+multicast://GROUP:PORT, each with ?iface=NAME [default: --url]
    #[arg(value_name = "AT")]
    pub(crate) at: Option<String>,
    /// End after N datagrams
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "a number of seconds is needed, as in 10 or 0.5".to_owned();
    text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or_else(wrong)
}

fn rate(text: &str) -> Result<f64, String> {
    let wrong = || "a number of messages a second above 0 is needed, as in 100 or 0.5".to_owned();
    text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parsed(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in ["laneway --url tcp://a --wait 2 ping", "laneway ping --url tcp://a --wait 2"] {
            let args = parsed(line).expect("valid");
            assert_eq!(args.link.url.as_deref(), Some("tcp://a"), "{line}");
            assert_eq!(args.link.wait, Some(Duration::from_secs(2)), "{line}");
        }
    }

    #[test]
    fn a_negative_number_is_a_payload() {
        let Command::Pub(publish) = parsed("laneway pub t -3.5").expect("valid").command else {
            panic!("not pub");
        };
        assert_eq!(publish.payload, Some("-3.5".into()));
    }

    #[test]
    fn contradictions_and_nonsense_are_usage_errors() {
        for line in [
            "laneway pub t x --lines",
            "laneway pub t x --size 5",
            "laneway pub t --lines --repeat 2",
            "laneway pub t --lane 16",
            "laneway pub t --rate 0",
            "laneway pub t --ttl -1",
            "laneway sub t --lane 0",
            "laneway sub t --policy newest",
            "laneway pub t --level maybe",
            "laneway pub t --level delivered --min-receivers 0",
            "laneway pub t --level delivered --timeout soon",
            "laneway sub",
            "laneway sub t --count 0",
            "laneway --wait never ping",
        ] {
            assert_eq!(parsed(line).map_err(|error| error.exit_code()).err(), Some(2), "{line}");
        }
    }
}
