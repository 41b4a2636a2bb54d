//! What is done to a connected socket by plain system calls, at most a few times in its life.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use nix::sys::socket::{self, SockaddrLike as _, SockaddrStorage, sockopt};

use super::super::{Errno, PeerAddress, Socket, SocketOptions};

/// What connections have unless somebody says otherwise; read once.
fn systems_congestion_control() -> Option<&'static OsString> {
    static CONTROL: OnceLock<Option<OsString>> = OnceLock::new();
    CONTROL
        .get_or_init(|| {
            let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").ok()?;
            Some(OsString::from(text.trim()))
        })
        .as_ref()
}

/// The descriptor, for a system call.
pub(super) fn borrow(socket: &Socket) -> BorrowedFd<'_> {
    // SAFETY: a `Socket` names a descriptor that the shard owns and closes only through `Io::close`, after which it
    // forgets it; the borrow ends within the calling function.
    unsafe { BorrowedFd::borrow_raw(socket.0) }
}

/// Who is on the other side.
pub(super) fn peer(socket: Socket) -> PeerAddress {
    let Ok(address) = socket::getpeername::<SockaddrStorage>(socket.0) else { return PeerAddress::Unknown };
    match address.family() {
        Some(socket::AddressFamily::Unix) => {
            socket::getsockopt(&borrow(&socket), sockopt::PeerCredentials).map_or(PeerAddress::Unknown, |credentials| {
                PeerAddress::Unix { uid: credentials.uid(), pid: credentials.pid() }
            })
        }
        Some(_) | None => tcp_peer(&address),
    }
}

fn tcp_peer(address: &SockaddrStorage) -> PeerAddress {
    if let Some(v4) = address.as_sockaddr_in() {
        return PeerAddress::Tcp(SocketAddr::new(IpAddr::V4(v4.ip()), v4.port()));
    }
    address.as_sockaddr_in6().map_or(PeerAddress::Unknown, |v6| {
        let ip: Ipv6Addr = v6.ip();
        // A dual-stack listener reports IPv4 peers in mapped form; rules are written in plain form.
        let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
        PeerAddress::Tcp(SocketAddr::new(ip, v6.port()))
    })
}

/// Sets options, all that are asked for; the error is that of the first one refused.
pub(super) fn configure(socket: Socket, options: &SocketOptions) -> Result<(), Errno> {
    let descriptor = borrow(&socket);
    let mut refused = None;
    let mut note = |set: nix::Result<()>| {
        if let Err(errno) = set {
            refused.get_or_insert(Errno(errno as i32));
        }
    };
    if options.nodelay {
        note(socket::setsockopt(&descriptor, sockopt::TcpNoDelay, &true));
    }
    if options.paced_again
        && let Some(control) = systems_congestion_control()
    {
        note(socket::setsockopt(&descriptor, sockopt::TcpCongestion, control));
    }
    if options.keepalive_s > 0 {
        note(socket::setsockopt(&descriptor, sockopt::TcpKeepIdle, &options.keepalive_s));
        note(socket::setsockopt(&descriptor, sockopt::KeepAlive, &true));
    }
    if options.send_buffer_bytes > 0 {
        note(socket::setsockopt(&descriptor, sockopt::SndBuf, &(options.send_buffer_bytes as usize)));
    }
    if options.receive_buffer_bytes > 0 {
        note(socket::setsockopt(&descriptor, sockopt::RcvBuf, &(options.receive_buffer_bytes as usize)));
    }
    if options.notsent_lowat_bytes > 0 {
        note(set_notsent_lowat(socket, options.notsent_lowat_bytes));
    }
    refused.map_or(Ok(()), Err)
}

fn set_notsent_lowat(socket: Socket, bytes: u32) -> nix::Result<()> {
    let value = bytes as libc::c_int;
    // SAFETY: the kernel reads `size_of::<c_int>()` bytes from `value` during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.0,
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    nix::errno::Errno::result(result).map(drop)
}

/// Datagrams are never cut on the way: one that is too long for it is lost, and shorter ones follow.
pub(super) fn forbid_fragments(descriptor: i32) {
    let options = [
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO),
    ];
    for (level, name, value) in options {
        // One of them is of the other family, and refused.
        // SAFETY: the kernel reads `size_of::<c_int>()` bytes from `value` during the call.
        unsafe {
            libc::setsockopt(
                descriptor,
                level,
                name,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
    }
}

/// Ends the sending direction.
pub(super) fn shutdown_send(socket: Socket) {
    let _ = socket::shutdown(socket.0, socket::Shutdown::Write);
}

/// Ends both directions.
pub(super) fn shutdown(socket: Socket) {
    let _ = socket::shutdown(socket.0, socket::Shutdown::Both);
}
