//! Sockets of a broadcast or multicast address: the *ear* is bound to the address all share and hears what its filter lets
//! through; the *mouth* speaks from a port of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use laneway_proto::datagram::filter::{self, Instruction};
use laneway_proto::datagram::interest::Interest;
use laneway_proto::datagram::limits::FILTER_INSTRUCTIONS_MAX;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockFilter, SockRef, Socket, Type};

/// Bytes that a socket should hold; the system may allow less.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;

/// Where all who listen there are reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'a> {
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    /// The network interface; otherwise the system chooses.
    pub(crate) iface: Option<&'a str>,
}

impl Group<'_> {
    /// As an address to send to.
    pub(crate) fn destination(&self) -> SocketAddr {
        SocketAddr::from((self.address, self.port))
    }

    fn socket(&self) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind_device(self.iface.map(str::as_bytes))?;
        let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
        let _ = socket.set_send_buffer_size(SOCKET_BYTES);
        Ok(socket)
    }

    /// Hears what these interests may match; `None`: everything.
    pub(crate) fn ear(&self, interests: Option<&[Interest]>) -> io::Result<Socket> {
        let ear = self.socket()?;
        // Before it is bound, so that nothing comes by it.
        if let Some(interests) = interests {
            attach(SockRef::from(&ear), interests)?;
        }
        ear.set_reuse_address(true)?;
        ear.bind(&self.destination().into())?;
        if self.address.is_multicast() {
            let index = self.iface.map_or(Ok(0), index_of)?;
            ear.join_multicast_v4_n(&self.address, &InterfaceIndexOrAddress::Index(index))?;
        }
        Ok(ear)
    }

    /// Speaks to all, from a port of its own.
    pub(crate) fn mouth(&self) -> io::Result<Socket> {
        let (mouth, probe) = (self.socket()?, self.socket()?);
        if self.address.is_multicast() {
            mouth.set_multicast_ttl_v4(1)?;
        } else {
            mouth.set_broadcast(true)?;
            probe.set_broadcast(true)?;
        }
        // A datagram without a way to there would be lost without a word.
        probe.connect(&self.destination().into())?;
        mouth.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
        Ok(mouth)
    }
}

/// The system's number of an interface.
fn index_of(iface: &str) -> io::Result<u32> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{iface}/ifindex"))?;
    text.trim().parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Puts the filter of these interests in front of a socket, in place of the one before.
pub(crate) fn attach(socket: SockRef<'_>, interests: &[Interest]) -> io::Result<()> {
    let mut out = [Instruction::default(); FILTER_INSTRUCTIONS_MAX];
    let mut scratch = vec![0; filter::scratch_words(interests.len())];
    let (program, _) = filter::compile(interests, &mut scratch, &mut out);
    let step = |step: &Instruction| SockFilter::new(step.code, step.jump_true, step.jump_false, step.k);
    let program: Vec<SockFilter> = program.iter().map(step).collect();
    socket.attach_filter(&program)
}
