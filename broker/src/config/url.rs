//! Listen addresses: `tcp://host:port`, `udp://host:port` and `unix:///path`, each with options as in `?connections_max=N`,
//! and serial ports.

use std::fmt;
use std::path::PathBuf;

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
            Some((scheme, _)) => {
                return Err(format!(
                    "'{scheme}' is not a transport of this version; use tcp://, udp://, unix:// or serial://"
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
            ("http://x:1", "use tcp://, udp://, unix:// or serial://"),
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
