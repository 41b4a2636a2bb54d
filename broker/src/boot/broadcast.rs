//! The sockets of a link to all: the *ear* is bound to the address all share, behind a filter that lets through what the link
//! hears; the *mouth* speaks from a port of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use laneway_proto::datagram::filter::{self, Instruction};
use laneway_proto::datagram::interest::Interest;
use laneway_proto::datagram::limits::FILTER_INSTRUCTIONS_MAX;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockFilter, Socket, Type};

use super::DATAGRAM_BUFFER_BYTES;
use crate::config::url::BroadcastOptions;

/// Ear and mouth.
pub(super) fn open(options: &BroadcastOptions) -> io::Result<(OwnedFd, OwnedFd)> {
    let BroadcastOptions { group, port, iface, heard, .. } = options;
    let address = SocketAddr::from((*group, *port));
    let make = || {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind_device(iface.as_ref().map(|name| name.as_bytes()))?;
        let _ = socket.set_recv_buffer_size(DATAGRAM_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(DATAGRAM_BUFFER_BYTES);
        Ok::<_, io::Error>(socket)
    };
    let ear = make()?;
    // Before it is bound, so that nothing comes by it.
    attach(&ear, heard)?;
    ear.set_reuse_address(true)?;
    ear.bind(&address.into())?;
    let mouth = make()?;
    let probe = make()?;
    if group.is_multicast() {
        let index = iface.as_ref().map_or(Ok(0), |name| if_nametoindex(name.as_str()))?;
        ear.join_multicast_v4_n(group, &InterfaceIndexOrAddress::Index(index))?;
        mouth.set_multicast_ttl_v4(1)?;
    } else {
        mouth.set_broadcast(true)?;
        probe.set_broadcast(true)?;
    }
    mouth.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    // A datagram without a way to there would be lost without a word.
    probe.connect(&address.into())?;
    Ok((ear.into(), mouth.into()))
}

/// Puts a filter in front of the socket that rejects in the kernel what nobody wants to hear.
fn attach(socket: &Socket, heard: &[String]) -> io::Result<()> {
    let interests: Vec<Interest> = heard.iter().map(|filter| Interest::of(filter)).collect();
    let mut out = [Instruction::default(); FILTER_INSTRUCTIONS_MAX];
    let mut scratch = vec![0; filter::scratch_words(interests.len())];
    let (program, _) = filter::compile(&interests, &mut scratch, &mut out);
    let step = |step: &Instruction| SockFilter::new(step.code, step.jump_true, step.jump_false, step.k);
    let program: Vec<SockFilter> = program.iter().map(step).collect();
    socket.attach_filter(&program)
}
