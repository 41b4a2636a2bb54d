//! Everything that is said at a broadcast or multicast address, as it is on the wire.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use crate::endpoint::{Endpoint, UrlError};
use crate::error::ConnectError;
use crate::group::Group;

/// A socket that hears all datagrams at an address, whoever they are for. It says nothing.
#[derive(Debug)]
pub struct Tap {
    socket: UdpSocket,
}

impl Tap {
    /// Listens at `udp+broadcast://…` or `udp+multicast://…`; other endpoints have nothing that everybody may hear.
    ///
    /// # Errors
    /// [`ConnectError::Url`] for another endpoint; otherwise what the system says.
    pub fn open(endpoint: &Endpoint) -> Result<Self, ConnectError> {
        let Endpoint::Broadcast { group, port, iface, .. } = endpoint else {
            let scheme = endpoint.to_string().split(':').next().unwrap_or_default().to_owned();
            return Err(ConnectError::Url(UrlError::Scheme(scheme)));
        };
        let group = Group { address: *group, port: *port, iface: iface.as_deref() };
        let socket = group.ear(None).map_err(|source| ConnectError::from_io(endpoint.clone(), source))?;
        Ok(Self { socket: socket.into() })
    }

    /// Waits for the next datagram; its bytes at the front of `buffer`, and where it came from.
    ///
    /// # Errors
    /// What the system says.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(buffer)
    }
}
