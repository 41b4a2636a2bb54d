//! Listen addresses: `tcp://host:port`, `udp://host:port` and `unix:///path`, each with options as in `?connections_max=N`,
//! serial ports, and links to all: `udp+broadcast://address:port` and `udp+multicast://group:port`.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use laneway_proto::datagram::limits::REPAIR_PERCENT_DEFAULT;
use laneway_proto::topic::check_filter;

use crate::tty::TtyOptions;

/// The port of Laneway's TCP and UDP listeners unless a URL says otherwise.
pub const PORT_DEFAULT: u16 = 5263;

/// Where a listener binds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A TCP address; the host may be a name.
    Tcp {
        /// Host, without brackets.
        host: String,
        /// Port; 0 lets the system choose.
        port: u16,
    },
    /// A UDP address; the host may be a name.
    Udp {
        /// Host, without brackets.
        host: String,
        /// Port; 0 lets the system choose.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
    /// A serial port, with the device at its other end.
    Serial(TtyOptions),
    /// All who listen at a broadcast or multicast address.
    Broadcast(BroadcastOptions),
}

/// A link to all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BroadcastOptions {
    /// A broadcast address, or a multicast group.
    pub group: Ipv4Addr,
    /// Port, not 0.
    pub port: u16,
    /// The network interface; otherwise the system chooses.
    pub iface: Option<String>,
    /// Topics (as filters) that go out to all.
    pub out: Vec<String>,
    /// Topics (as filters) that are heard.
    pub heard: Vec<String>,
    /// Reliable lanes are repaired, and repairs may take so many percent of the rate; otherwise what is lost is lost.
    pub repair_percent: Option<u32>,
    /// Bytes a second to send at most, 0: no limit.
    pub bytes_per_s: Option<u64>,
}

/// One endpoint to listen on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenUrl {
    /// Where.
    pub place: Place,
    /// Connections through this endpoint at once; 0 leaves only the total bound.
    pub connections_max: u32,
    /// Bytes a second that are sent to one of its peers; 0 leaves what holds for all.
    pub egress_bytes_per_s: u32,
    /// Bytes of messages a second that one of its peers may publish; 0 leaves what holds for all.
    pub ingress_bytes_per_s: u32,
}

impl ListenUrl {
    /// An endpoint without options.
    pub const fn new(place: Place) -> Self {
        Self { place, connections_max: 0, egress_bytes_per_s: 0, ingress_bytes_per_s: 0 }
    }

    /// Whether it is a serial port.
    pub const fn is_serial(&self) -> bool {
        matches!(self.place, Place::Serial(_))
    }

    /// Loopback TCP, and the user's Unix socket.
    pub fn defaults() -> Vec<Self> {
        let tcp = Place::Tcp { host: "127.0.0.1".into(), port: PORT_DEFAULT };
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
        let unix = runtime.map_or_else(
            || PathBuf::from(format!("/tmp/laneway-{}.sock", nix::unistd::getuid())),
            |dir| PathBuf::from(dir).join("laneway.sock"),
        );
        [tcp, Place::Unix(unix)].into_iter().map(Self::new).collect()
    }

    /// Reads a URL; the error says what is wrong and what to do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (base, query) = text.split_once('?').map_or((text, None), |(base, query)| (base, Some(query)));
        let place = match base.split_once("://") {
            Some(("tcp", rest)) => {
                let (host, port) = host_and_port(rest)?;
                Place::Tcp { host, port }
            }
            Some(("udp", rest)) => {
                let (host, port) = host_and_port(rest)?;
                Place::Udp { host, port }
            }
            Some(("unix", path)) if path.starts_with('/') => Place::Unix(PathBuf::from(path)),
            Some(("unix", _)) => {
                return Err("a Unix socket needs an absolute path, as in unix:///run/laneway.sock".into());
            }
            Some(("serial", path)) => {
                return Ok(Self::new(Place::Serial(TtyOptions::parse(path, query)?)));
            }
            Some(("udp+broadcast", rest)) => {
                return Ok(Self::new(Place::Broadcast(broadcast(rest, query, false)?)));
            }
            Some(("udp+multicast", rest)) => {
                return Ok(Self::new(Place::Broadcast(broadcast(rest, query, true)?)));
            }
            Some((scheme, _)) => {
                return Err(format!(
                    "'{scheme}' is not a transport of this version; use tcp://, udp://, unix://, serial://, udp+broadcast:// or \
                     udp+multicast://"
                ));
            }
            None => {
                return Err("an address needs a scheme, as in tcp://127.0.0.1:5263 or unix:///run/laneway.sock".into());
            }
        };
        let mut url = Self::new(place);
        for option in query.into_iter().flat_map(|query| query.split('&')) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let Some((_, number)) = url.options_mut().into_iter().find(|(known, _)| *known == name) else {
                return Err(format!(
                    "unknown option '{option}'; there are connections_max, egress_bytes_per_s and ingress_bytes_per_s"
                ));
            };
            *number = value.parse().map_err(|_| format!("{option} is not a number; write {name}=N"))?;
        }
        Ok(url)
    }

    fn options_mut(&mut self) -> [(&'static str, &mut u32); 3] {
        [
            ("connections_max", &mut self.connections_max),
            ("egress_bytes_per_s", &mut self.egress_bytes_per_s),
            ("ingress_bytes_per_s", &mut self.ingress_bytes_per_s),
        ]
    }
}

/// Address, port and options of a link to all.
fn broadcast(rest: &str, query: Option<&str>, multicast: bool) -> Result<BroadcastOptions, String> {
    let (host, port) = host_and_port(rest)?;
    let group: Option<Ipv4Addr> = host.parse().ok();
    let fits = |group: &Ipv4Addr| group.is_multicast() == multicast && !group.is_unspecified();
    let Some(group) = group.filter(fits).filter(|_| port != 0) else {
        let example = if multicast { "udp+multicast://239.1.2.3:5263" } else { "udp+broadcast://192.168.1.255:5263" };
        return Err(format!("'{rest}' is no address and port for that; write it as {example}"));
    };
    let mut options = BroadcastOptions {
        group,
        port,
        iface: None,
        out: Vec::new(),
        heard: Vec::new(),
        repair_percent: None,
        bytes_per_s: None,
    };
    for option in query.into_iter().flat_map(|query| query.split('&')) {
        let filter = |text: &str| match check_filter(text) {
            Ok(()) => Ok(text.to_owned()),
            Err(error) => Err(format!("'{text}' is no topic filter: {}", error.text())),
        };
        match option.split_once('=') {
            Some(("iface", name)) if !name.is_empty() => options.iface = Some(name.into()),
            Some(("out", text)) => options.out.push(filter(text)?),
            Some(("in", text)) => options.heard.push(filter(text)?),
            Some(("repair", "nak")) => options.repair_percent = Some(REPAIR_PERCENT_DEFAULT),
            Some(("repair", percent)) => {
                let parsed = percent.parse().ok().filter(|percent| (1..=1_000).contains(percent));
                let wrong = || format!("repair={percent} is neither 'nak' nor a number of percent from 1 to 1000");
                options.repair_percent = Some(parsed.ok_or_else(wrong)?);
            }
            Some(("rate", rate)) => {
                let wrong = |_| format!("rate={rate} is not a number of bytes a second");
                options.bytes_per_s = Some(rate.parse().map_err(wrong)?);
            }
            Some(_) | None => {
                return Err(format!(
                    "unknown option '{option}'; there are out=FILTER, in=FILTER, iface=NAME, repair=nak and rate=BYTES"
                ));
            }
        }
    }
    if options.out.is_empty() && options.heard.is_empty() {
        return Err("say which topics go out and which are heard, as in ?out=state/#&in=alarm/#".into());
    }
    Ok(options)
}

fn host_and_port(rest: &str) -> Result<(String, u16), String> {
    let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
        let (host, tail) = bracketed.split_once(']').ok_or("an IPv6 address ends with ']', as in tcp://[::1]:5263")?;
        (host, tail.strip_prefix(':'))
    } else {
        rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port)))
    };
    if host.is_empty() {
        return Err("the host is missing; use 127.0.0.1 for this machine only, 0.0.0.0 for every interface".into());
    }
    let port = port.map_or(Ok(PORT_DEFAULT), |port| {
        port.parse().map_err(|_| format!("'{port}' is not a port; use a number from 0 (any free one) to 65535"))
    })?;
    Ok((host.into(), port))
}

impl fmt::Display for ListenUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}")?,
            Place::Tcp { host, port } => write!(f, "tcp://{host}:{port}")?,
            Place::Udp { host, port } if host.contains(':') => write!(f, "udp://[{host}]:{port}")?,
            Place::Udp { host, port } => write!(f, "udp://{host}:{port}")?,
            Place::Unix(path) => write!(f, "unix://{}", path.display())?,
            Place::Serial(tty) => return write!(f, "{tty}"),
            Place::Broadcast(options) => return write!(f, "{options}"),
        }
        let mut before = '?';
        for (name, number) in self.clone().options_mut() {
            if *number > 0 {
                write!(f, "{before}{name}={number}")?;
                before = '&';
            }
        }
        Ok(())
    }
}

impl fmt::Display for BroadcastOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, port, iface, out, heard, repair_percent, bytes_per_s } = self;
        let scheme = if group.is_multicast() { "udp+multicast" } else { "udp+broadcast" };
        write!(f, "{scheme}://{group}:{port}")?;
        let iface = iface.iter().map(|name| ("iface", name.clone()));
        let out = out.iter().map(|filter| ("out", filter.clone()));
        let heard = heard.iter().map(|filter| ("in", filter.clone()));
        let repair = repair_percent.iter().map(|percent| ("repair", percent.to_string()));
        let rate = bytes_per_s.iter().map(|rate| ("rate", rate.to_string()));
        let options = iface.chain(out).chain(heard).chain(repair).chain(rate);
        for (place, (key, value)) in options.enumerate() {
            write!(f, "{}{key}={value}", if place == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_written_the_same() {
        for text in [
            "tcp://127.0.0.1:5263",
            "tcp://[::1]:0",
            "unix:///run/x.sock",
            "udp://[::1]:5263",
            "tcp://h:1?connections_max=5",
            "udp://h:1?egress_bytes_per_s=1000000&ingress_bytes_per_s=7",
            "serial:///dev/ttyACM0?baud=921600",
            "udp+broadcast://10.0.0.255:5263?out=state/#&out=a/+/b&in=alarm/#",
            "udp+multicast://239.1.2.3:9?iface=eth0&in=#",
            "udp+multicast://239.1.2.3:9?in=#&repair=50&rate=1000",
            "serial:///dev/ttyS0?baud=9600&parity=even&flow=hardware&dtr=none",
            "serial:///dev/ttyS0?baud=4800&protocol=nmea",
            "serial:///dev/ttyUSB0?baud=9600&addresses=1,2,3,9",
            "serial:///dev/ttyS0?baud=4800&protocol=line&ending=crlf&topic=scale&lane=1",
            "serial:///dev/ttyUSB0?baud=57600&protocol=mavlink&topic=mav/a&send=mav/+/rx/#&send=x",
        ] {
            assert_eq!(ListenUrl::parse(text).map(|url| url.to_string()).as_deref(), Ok(text));
        }
        assert_eq!(ListenUrl::parse("tcp://host").map(|url| url.to_string()).as_deref(), Ok("tcp://host:5263"));
        let full = "serial:///dev/ttyACM0?baud=921600&parity=none&flow=none&dtr=both";
        assert_eq!(
            ListenUrl::parse(full).map(|url| url.to_string()).as_deref(),
            Ok("serial:///dev/ttyACM0?baud=921600"),
            "what is as it is by default is left out"
        );
    }

    #[test]
    fn a_wrong_url_says_what_to_write_instead() {
        for (text, hint) in [
            ("127.0.0.1:5263", "needs a scheme"),
            ("http://x:1", "use tcp://, udp://, unix://, serial://"),
            ("udp+broadcast://lab:1?out=#", "write it as udp+broadcast://192.168.1.255:5263"),
            ("udp+multicast://10.0.0.255:1?out=#", "write it as udp+multicast://239.1.2.3:5263"),
            ("udp+broadcast://10.0.0.255", "which topics go out"),
            ("udp+broadcast://10.0.0.255?out=a/#/b", "no topic filter"),
            ("udp+broadcast://10.0.0.255?out=a&repair=0", "number of percent"),
            ("udp+broadcast://10.0.0.255?out=a&ttl=1", "iface=NAME"),
            ("tcp://:5263", "host is missing"),
            ("tcp://a:b", "not a port"),
            ("unix://relative", "absolute path"),
            ("tcp://a:1?nodelay=1", "unknown option"),
            ("tcp://a:1?egress_bytes_per_s=fast", "egress_bytes_per_s=N"),
            ("serial://ttyACM0", "absolute path"),
            ("serial:///dev/ttyACM0?baud=1200", "another rate"),
            ("serial:///dev/ttyACM0?baud=fast", "bits per second"),
            ("serial:///dev/ttyACM0?parity=mark", "none, even, odd"),
            ("serial:///dev/ttyACM0?connections_max=1", "baud, parity, flow and dtr"),
            ("serial:///dev/ttyACM0?addresses=0-3", "1 to 127"),
            ("serial:///dev/ttyACM0?addresses=1-64", "too many"),
            ("serial:///dev/ttyACM0?addresses=1&protocol=raw", "Laneway's own link"),
            ("serial:///dev/ttyACM0?topic=a", "say which, as in protocol=line"),
            ("serial:///dev/ttyACM0?protocol=modbus", "laneway, line, raw, slip"),
            ("serial:///dev/ttyACM0?protocol=raw&topic=a/#", "topic=a/#"),
            ("serial:///dev/ttyACM0?protocol=raw&send=a/#/b", "send=a/#/b"),
            ("serial:///dev/ttyACM0?protocol=raw&lane=16", "1 to 15"),
            ("serial:///dev/ttyACM0?protocol=raw&ending=lf", "for protocol=line"),
        ] {
            let error = ListenUrl::parse(text).expect_err(text);
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
