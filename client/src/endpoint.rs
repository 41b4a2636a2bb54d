//! Where a broker is reached: the URL, parsed and refused before any input or output.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use laneway_proto::datagram::limits::REPAIR_PERCENT_DEFAULT;

/// The TCP or UDP port of a URL that names none.
pub const TCP_PORT_DEFAULT: u16 = 5263;

/// A broker's address.
///
/// ```
/// use laneway_client::Endpoint;
/// let endpoint: Endpoint = "tcp://broker.local".parse()?;
/// assert_eq!(endpoint.to_string(), "tcp://broker.local:5263");
/// assert!("localhost:5263".parse::<Endpoint>().is_err(), "a scheme is needed");
/// # Ok::<(), laneway_client::UrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Endpoint {
    /// `tcp://host:port`; the port may be left out, an IPv6 address stands in brackets.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port, not 0.
        port: u16,
    },
    /// `udp://host:port`, in the same form.
    Udp {
        /// Name or address, without brackets.
        host: String,
        /// Port, not 0.
        port: u16,
    },
    /// `unix:///path/to/socket`.
    Unix(PathBuf),
    /// `udp+broadcast://address:port` or `udp+multicast://group:port`: no broker, but all who listen there. Options behind
    /// `?`, with `&` between: `iface=NAME`, `repair=nak` or `repair=PERCENT`, `rate=BYTES`.
    Broadcast {
        /// An IPv4 broadcast address, or a multicast group.
        group: Ipv4Addr,
        /// Port, not 0.
        port: u16,
        /// The network interface; otherwise the system chooses.
        iface: Option<String>,
        /// Reliable lanes are repaired, and repairs may take so many percent of the rate; otherwise what is lost is lost.
        repair_percent: Option<u32>,
        /// Bytes a second to send at most, 0: no limit; otherwise 60,000,000.
        bytes_per_s: Option<u64>,
    },
}

/// Why a URL was refused. Nothing was tried.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum UrlError {
    /// No `scheme://` in front; holds the text.
    NoScheme(String),
    /// A scheme that this version does not speak; holds it.
    Scheme(String),
    /// No host after `tcp://` or `udp://`.
    NoHost,
    /// The port is no number from 1 to 65535; holds it.
    Port(String),
    /// No IPv4 address to broadcast to, or none of a multicast group; holds what stood there.
    Group(String),
    /// No absolute path after `unix://`; holds what stood there.
    Path(String),
    /// Something after the address: a path, query or fragment; holds it.
    Extra(String),
    /// This platform has no Unix sockets.
    NoUnix,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScheme(text) => {
                write!(f, "'{text}' has no scheme; write tcp://HOST:PORT, udp://HOST:PORT or unix:///PATH")
            }
            Self::Scheme(scheme) => {
                write!(
                    f,
                    "the scheme '{scheme}' is not supported; use tcp://HOST:PORT, udp://HOST:PORT or unix:///PATH"
                )
            }
            Self::NoHost => f.write_str("no host; write tcp://HOST:PORT, as in tcp://127.0.0.1:5263"),
            Self::Port(port) => write!(f, "'{port}' is no port; use a number from 1 to 65535"),
            Self::Group(text) => {
                write!(
                    f,
                    "'{text}' is no address for that; write udp+broadcast://192.168.1.255:5263 or udp+multicast://239.1.2.3:5263"
                )
            }
            Self::Path(path) => {
                write!(f, "'{path}' is no absolute path; write unix:///PATH with three slashes")
            }
            Self::Extra(extra) => write!(f, "'{extra}' is not understood after the address; leave it out"),
            Self::NoUnix => f.write_str("this platform has no Unix sockets; use tcp://HOST:PORT"),
        }
    }
}

impl std::error::Error for UrlError {}

impl FromStr for Endpoint {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(UrlError::NoScheme(url.into()));
        };
        match scheme {
            "tcp" => host_and_port(rest).map(|(host, port)| Self::Tcp { host, port }),
            "udp" => host_and_port(rest).map(|(host, port)| Self::Udp { host, port }),
            "udp+broadcast" | "udp+multicast" if cfg!(target_os = "linux") => group(rest, scheme == "udp+multicast"),
            "unix" if !cfg!(unix) => Err(UrlError::NoUnix),
            "unix" if rest.len() > 1 && rest.starts_with('/') => Ok(Self::Unix(PathBuf::from(rest))),
            "unix" => Err(UrlError::Path(rest.into())),
            _ => Err(UrlError::Scheme(scheme.into())),
        }
    }
}

/// A broadcast address or a multicast group, and perhaps an interface.
fn group(rest: &str, multicast: bool) -> Result<Endpoint, UrlError> {
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let (host, port) = host_and_port(place)?;
    let group: Ipv4Addr = host.parse().map_err(|_| UrlError::Group(host.clone()))?;
    if group.is_multicast() != multicast || group.is_unspecified() {
        return Err(UrlError::Group(host));
    }
    let (mut iface, mut repair_percent, mut bytes_per_s) = (None, None, None);
    for option in query.into_iter().flat_map(|query| query.split('&')) {
        let wrong = || UrlError::Extra(format!("?{option}"));
        match option.split_once('=') {
            Some(("iface", name)) if (1..16).contains(&name.len()) && !name.contains('/') => iface = Some(name.into()),
            Some(("repair", "nak")) => repair_percent = Some(REPAIR_PERCENT_DEFAULT),
            Some(("repair", percent)) => {
                let percent = percent.parse().ok().filter(|percent| (1..=1_000).contains(percent));
                repair_percent = Some(percent.ok_or_else(wrong)?);
            }
            Some(("rate", rate)) => bytes_per_s = Some(rate.parse().map_err(|_| wrong())?),
            Some(_) | None => return Err(wrong()),
        }
    }
    Ok(Endpoint::Broadcast { group, port, iface, repair_percent, bytes_per_s })
}

fn host_and_port(rest: &str) -> Result<(String, u16), UrlError> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if let Some(at) = rest.find(['/', '?', '#']) {
        return Err(UrlError::Extra(rest[at..].into()));
    }
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => match v6.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, tail)) => (host, Some(tail.strip_prefix(':').ok_or_else(|| UrlError::Extra(tail.into()))?)),
            None => return Err(UrlError::NoHost),
        },
        None => match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let port = match port {
        None => TCP_PORT_DEFAULT,
        Some(text) => text.parse().ok().filter(|&port| port != 0).ok_or_else(|| UrlError::Port(text.into()))?,
    };
    Ok((host.into(), port))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Udp { host, port } if host.contains(':') => write!(f, "udp://[{host}]:{port}"),
            Self::Udp { host, port } => write!(f, "udp://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Broadcast { group, port, iface, repair_percent, bytes_per_s } => {
                let scheme = if group.is_multicast() { "udp+multicast" } else { "udp+broadcast" };
                write!(f, "{scheme}://{group}:{port}")?;
                let mut mark = '?';
                let mut option = |name: &str, value: Option<&dyn fmt::Display>| {
                    let Some(value) = value else { return Ok(()) };
                    write!(f, "{}{name}={value}", std::mem::replace(&mut mark, '&'))
                };
                option("iface", iface.as_ref().map(|iface| iface as &dyn fmt::Display))?;
                option("repair", repair_percent.as_ref().map(|percent| percent as &dyn fmt::Display))?;
                option("rate", bytes_per_s.as_ref().map(|rate| rate as &dyn fmt::Display))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<String, UrlError> {
        url.parse::<Endpoint>().map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn good_urls_read_back_as_they_were_meant() {
        assert_eq!(parsed("tcp://127.0.0.1:1"), Ok("tcp://127.0.0.1:1".into()));
        assert_eq!(parsed("tcp://lab/"), Ok("tcp://lab:5263".into()));
        assert_eq!(parsed("tcp://[::1]:9"), Ok("tcp://[::1]:9".into()));
        assert_eq!(parsed("tcp://[::1]"), Ok("tcp://[::1]:5263".into()));
        assert_eq!(parsed("udp://lab"), Ok("udp://lab:5263".into()));
        assert_eq!(parsed("udp://[::1]:9"), Ok("udp://[::1]:9".into()));
        #[cfg(target_os = "linux")]
        for url in [
            "udp+broadcast://192.168.1.255:5263",
            "udp+multicast://239.1.2.3:9?iface=eth0",
            "udp+broadcast://10.0.0.255:9?iface=eth0&repair=50&rate=1000",
        ] {
            assert_eq!(parsed(url), Ok(url.into()));
        }
        #[cfg(unix)]
        assert_eq!(parsed("unix:///run/laneway.sock"), Ok("unix:///run/laneway.sock".into()));
    }

    #[test]
    fn each_mistake_has_its_own_error() {
        assert_eq!(parsed("127.0.0.1:5263"), Err(UrlError::NoScheme("127.0.0.1:5263".into())));
        assert_eq!(parsed("http://lab"), Err(UrlError::Scheme("http".into())));
        assert_eq!(parsed("tcp://"), Err(UrlError::NoHost));
        assert_eq!(parsed("tcp://:5263"), Err(UrlError::NoHost));
        assert_eq!(parsed("tcp://lab:0"), Err(UrlError::Port("0".into())));
        assert_eq!(parsed("tcp://lab:99999"), Err(UrlError::Port("99999".into())));
        assert_eq!(parsed("tcp://lab?nodelay=1"), Err(UrlError::Extra("?nodelay=1".into())));
        #[cfg(target_os = "linux")]
        {
            assert_eq!(parsed("udp+multicast://10.0.0.255"), Err(UrlError::Group("10.0.0.255".into())));
            assert_eq!(parsed("udp+broadcast://239.1.2.3"), Err(UrlError::Group("239.1.2.3".into())));
            assert_eq!(parsed("udp+broadcast://lab"), Err(UrlError::Group("lab".into())));
            assert_eq!(
                parsed("udp+broadcast://10.0.0.255?repair=nak"),
                Ok("udp+broadcast://10.0.0.255:5263?repair=25".into())
            );
            assert_eq!(parsed("udp+broadcast://10.0.0.255?repair=0"), Err(UrlError::Extra("?repair=0".into())));
            assert_eq!(parsed("udp+broadcast://10.0.0.255?ttl=1"), Err(UrlError::Extra("?ttl=1".into())));
        }
        #[cfg(unix)]
        assert_eq!(parsed("unix://run/x"), Err(UrlError::Path("run/x".into())));
    }
}
