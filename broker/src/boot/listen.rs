//! Listening sockets: bound plainly, so that a port somebody else holds is an error.

use std::ffi::OsString;
use std::io;
use std::net::{TcpListener, ToSocketAddrs as _, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{Backlog, setsockopt, sockopt};

use super::{BootError, open_to_all};
use crate::config::Settings;
use crate::config::url::{ListenUrl, Place};
use crate::descriptors;

/// A congestion control that is in every kernel, that everybody may ask for, and that does not pace. The listener has it,
/// for its connections to have it from their first moment: what another has begun to pace, it would go on pacing.
pub const UNPACED: &str = "reno";
/// Bytes that a socket for datagrams should hold; the system may allow less.
pub(super) const DATAGRAM_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Times an address in use is tried again.
const REBINDS_MAX: u32 = 25;
/// Pause before it is.
const REBIND_PAUSE: Duration = Duration::from_millis(20);

/// A bound endpoint.
#[derive(Debug)]
pub struct Endpoint {
    /// Its address, with the port the system chose.
    pub url: ListenUrl,
    /// The listening socket, until the accepting shard takes it; a serial port has none.
    pub(super) socket: Option<OwnedFd>,
    /// Of a link to all: the socket that speaks.
    pub(super) mouth: Option<OwnedFd>,
}

/// Binds every endpoint; on a failure none is kept.
pub(super) fn bind_all(settings: &Settings) -> Result<Vec<Endpoint>, BootError> {
    let mut endpoints = Vec::new();
    for url in &settings.listen {
        match bind(url, settings) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(error) => {
                remove_sockets(&endpoints);
                return Err(error);
            }
        }
    }
    Ok(endpoints)
}

fn bind(url: &ListenUrl, settings: &Settings) -> Result<Endpoint, BootError> {
    let backlog = Backlog::new(settings.tcp.backlog as i32).unwrap_or(Backlog::MAXCONN);
    let mut url = url.clone();
    let socket = match &mut url.place {
        Place::Tcp { host, port } => {
            let listener = patiently(|| bind_tcp(host, *port)).map_err(|error| explain_ip(&url, &error))?;
            let bound = listener.local_addr().map_err(|error| explain_ip(&url, &error))?.port();
            if let Place::Tcp { port, .. } = &mut url.place {
                *port = bound;
            }
            if !settings.tcp.loopback_paced {
                // Refused, connections stay as the system has them.
                let _ = setsockopt(&listener, sockopt::TcpCongestion, &OsString::from(UNPACED));
            }
            OwnedFd::from(listener)
        }
        Place::Udp { host, port } => {
            let socket = patiently(|| bind_udp(host, *port)).map_err(|error| explain_ip(&url, &error))?;
            let bound = socket.local_addr().map_err(|error| explain_ip(&url, &error))?.port();
            if let Place::Udp { port, .. } = &mut url.place {
                *port = bound;
            }
            let _ = setsockopt(&socket, sockopt::RcvBuf, &DATAGRAM_BUFFER_BYTES);
            let _ = setsockopt(&socket, sockopt::SndBuf, &DATAGRAM_BUFFER_BYTES);
            return Ok(Endpoint { url, socket: Some(OwnedFd::from(socket)), mouth: None });
        }
        Place::Unix(path) => {
            let path = path.clone();
            let listener = patiently(|| bind_unix(&path)).map_err(|error| explain_unix(&path, &error))?;
            let mode = std::fs::Permissions::from_mode(settings.unix.mode);
            std::fs::set_permissions(&path, mode).map_err(|error| explain_unix(&path, &error))?;
            OwnedFd::from(listener)
        }
        // Its shard opens it, and again whenever it was unplugged.
        Place::Serial(_) => return Ok(Endpoint { url, socket: None, mouth: None }),
        Place::Broadcast(options) => {
            let (ear, mouth) = patiently(|| open_to_all(options)).map_err(|error| explain_ip(&url, &error))?;
            return Ok(Endpoint { url, socket: Some(ear), mouth: Some(mouth) });
        }
    };
    nix::sys::socket::listen(&socket, backlog)
        .map_err(|error| BootError::new(format!("cannot listen on {url}: {error}")))?;
    Ok(Endpoint { url, socket: Some(socket), mouth: None })
}

/// Tries again for a while if the address is in use: the kernel gives up a killed broker's listening sockets together with
/// its rings, which is some time after the process is gone.
fn patiently<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..REBINDS_MAX {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => std::thread::sleep(REBIND_PAUSE),
            bound => return bound,
        }
    }
    bind()
}

fn bind_tcp(host: &str, port: u16) -> io::Result<TcpListener> {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    TcpListener::bind(addresses.as_slice())
}

fn bind_udp(host: &str, port: u16) -> io::Result<UdpSocket> {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    UdpSocket::bind(addresses.as_slice())
}

/// A socket file that nobody listens on any more is replaced.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let stale = std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
                && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
            if !stale {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

fn explain_ip(url: &ListenUrl, error: &io::Error) -> BootError {
    let (host, port, scheme, sockets) = match &url.place {
        Place::Tcp { host, port } => (host, port, "tcp", "-ltnp"),
        Place::Udp { host, port } => (host, port, "udp", "-lunp"),
        Place::Broadcast(options) => (&options.group.to_string(), &options.port, "udp", "-lunp"),
        Place::Unix(_) | Place::Serial(_) => return BootError::new(error.to_string()),
    };
    if let Some(remedy) = descriptors::remedy_if_out(error) {
        return BootError::new(format!("cannot listen on {url}: {error}; {remedy}"));
    }
    let remedy = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => format!(
            "another process, perhaps another lanewayd, holds the port. See which with: ss {sockets} 'sport = :{port}'. Stop \
             it, or choose another port with --listen {scheme}://{host}:PORT"
        ),
        Some(libc::EACCES) => "ports below 1024 need a privilege; choose a higher one with --listen".to_owned(),
        Some(libc::EADDRNOTAVAIL) => {
            format!("no interface of this machine has the address {host}; 'ip address' lists them")
        }
        Some(_) | None => format!("check that '{host}' is an address or name of this machine"),
    };
    BootError::new(format!("cannot listen on {url}: {error}; {remedy}"))
}

fn explain_unix(path: &Path, error: &io::Error) -> BootError {
    let remedy = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            "another process, perhaps another lanewayd, listens there, or the file is no socket; \
             stop it, or choose another path with --listen unix:///PATH"
        }
        Some(libc::ENOENT) => "its directory does not exist; create it, or choose another path with --listen",
        Some(libc::EACCES) => "this user may not create it; choose another path with --listen",
        Some(_) | None => "choose another path with --listen unix:///PATH",
    };
    BootError::with_remedy(&format!("cannot listen on unix://{}", path.display()), error, remedy)
}

/// Removes the files of Unix sockets.
pub(super) fn remove_sockets(endpoints: &[Endpoint]) {
    for endpoint in endpoints {
        if let Place::Unix(path) = &endpoint.url.place {
            let _ = std::fs::remove_file(path);
        }
    }
}
