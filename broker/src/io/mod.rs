//! The door to the outside: operations in, completions out, and the time.
//!
//! There are two implementations: [`uring`], and the seeded simulator of the test crate. Both keep these promises, which
//! one contract suite checks:
//!
//! 1. A socket has at most one receive and one send in flight; the shard does not start a second one.
//! 2. [`Io::receive`] keeps delivering [`Completion::Received`] until exactly one [`Completion::ReceiveEnded`].
//! 3. Every [`Io::send`] ends in exactly one [`Completion::Sent`], which may report fewer bytes than were given. The
//!    door holds a reference of its own on each buffer until then.
//! 4. Each `Received` carries one reference on its buffer, which the shard releases.
//! 5. Bytes of one socket arrive in order; a `ReceiveEnded` comes after all of them.
//! 6. After [`Io::shutdown`], whatever is in flight on the socket ends soon. [`Io::close`] is called only when nothing
//!    is in flight on it.
//! 7. [`Io::now`] changes only inside [`Io::turn`], and never goes back.
//! 8. [`Io::receive_datagrams`] keeps delivering [`Completion::Datagram`], each with one reference on a buffer of its own,
//!    until exactly one [`Completion::DatagramsEnded`].
//! 9. [`Io::send_datagram`] sends all of it or nothing, and nobody hears which. The door holds a reference of its own on
//!    the buffer until it is over.

pub mod token;
pub mod uring;

use std::net::SocketAddr;

use laneway_proto::time::Instant;

use crate::pool::{BufId, Piece, Pool};
use crate::slab::Key;
use crate::tty::{TtyErrors, TtyOptions};

/// Ranges one send gathers at most.
pub const SEND_PIECES_MAX: usize = 64;

/// A connected socket, named by its descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Socket(pub i32);

impl Socket {
    /// Of a connection that has none of its own.
    pub const NONE: Self = Self(-1);
}

/// A listening socket, or one for datagrams, named by its place in the shard's list of listeners.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct ListenerId(pub u16);

/// An error number of the operating system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

impl Errno {
    /// The system's text for it.
    pub fn text(self) -> String {
        std::io::Error::from_raw_os_error(self.0).to_string()
    }
}

/// Who is on the other side of a socket, as far as the system knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerAddress {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A UDP peer.
    Udp(SocketAddr),
    /// All who listen at a broadcast or multicast address.
    All(SocketAddr),
    /// A process on this machine, by its user.
    Unix {
        /// Effective user id of the peer when it connected.
        uid: u32,
        /// Its process id.
        pid: i32,
    },
    /// What is at the other end of a serial port: the port's path.
    Tty(std::sync::Arc<str>),
    /// The system would not say.
    Unknown,
}

impl PeerAddress {
    /// Whether it is reached over IP without leaving the machine.
    pub const fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.ip().is_loopback(),
            Self::All(_) | Self::Unix { .. } | Self::Tty(_) | Self::Unknown => false,
        }
    }
}

/// How long a receive goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receive {
    /// Until it is cancelled or something is wrong.
    Many,
    /// Until one buffer was filled, as far as bytes are there: then it ends with [`ReceiveEnd::Restart`].
    Once,
}

/// Why a receive ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReceiveEnd {
    /// The peer finished sending.
    Closed,
    /// No ingress buffer was free; start again once one was released.
    NoBuffers,
    /// [`Io::cancel_receive`] was called.
    Cancelled,
    /// Nothing is wrong, but it has to be started again.
    Restart,
    /// The connection failed.
    Failed(Errno),
}

/// Something that happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completion {
    /// A peer connected. Accepting goes on.
    Accepted {
        /// Where it connected.
        listener: ListenerId,
        /// Its socket; nobody else closes it.
        socket: Socket,
    },
    /// Accepting ended; start it again with [`Io::accept`].
    AcceptEnded {
        /// Which listener.
        listener: ListenerId,
        /// `None` if nothing is wrong.
        error: Option<Errno>,
    },
    /// Bytes arrived.
    Received {
        /// The connection.
        key: Key,
        /// The buffer; one reference moves to the shard.
        buf: BufId,
        /// Bytes, from the buffer's start.
        len: u32,
    },
    /// No more bytes will arrive without a new [`Io::receive`].
    ReceiveEnded {
        /// The connection.
        key: Key,
        /// Why.
        end: ReceiveEnd,
    },
    /// A send is over.
    Sent {
        /// The connection.
        key: Key,
        /// Bytes the kernel took, counted from the front of the pieces.
        result: Result<u32, Errno>,
    },
    /// A datagram arrived.
    Datagram {
        /// Where.
        listener: ListenerId,
        /// Who sent it.
        from: SocketAddr,
        /// The buffer; one reference moves to the shard.
        buf: BufId,
        /// The first byte.
        start: u32,
        /// Bytes.
        len: u32,
    },
    /// No more datagrams will arrive without a new [`Io::receive_datagrams`].
    DatagramsEnded {
        /// Where.
        listener: ListenerId,
        /// Why.
        end: ReceiveEnd,
    },
    /// Another shard, or the main thread, has left something for us.
    Doorbell,
}

/// How long a turn may wait for the first completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until something happens.
    Forever,
    /// Until something happens, or this moment.
    Until(Instant),
}

/// What a connected socket should be set to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SocketOptions {
    /// Send small segments at once.
    pub nodelay: bool,
    /// Have the system's congestion control again, which a listener that does not pace has replaced.
    pub paced_again: bool,
    /// Seconds of silence before the kernel probes; 0 leaves probing off.
    pub keepalive_s: u32,
    /// Bytes the kernel may hold unsent; 0 leaves the system's default.
    pub notsent_lowat_bytes: u32,
    /// Bytes of the kernel's send buffer; 0 leaves the system's default.
    pub send_buffer_bytes: u32,
    /// Bytes of the kernel's receive buffer; 0 leaves the system's default.
    pub receive_buffer_bytes: u32,
}

/// The door.
pub trait Io {
    /// The time of this turn.
    fn now(&self) -> Instant;

    /// The time now, read anew: not before [`Io::now`]. For measuring how long a turn takes, not for deciding anything.
    fn clock(&self) -> Instant;

    /// The shard's buffers.
    fn pool(&self) -> &Pool;

    /// The shard's buffers.
    fn pool_mut(&mut self) -> &mut Pool;

    /// Starts accepting on a listener.
    fn accept(&mut self, listener: ListenerId);

    /// Starts receiving datagrams into ingress buffers.
    fn receive_datagrams(&mut self, listener: ListenerId);

    /// Sends the bytes of a piece as one datagram.
    fn send_datagram(&mut self, listener: ListenerId, to: SocketAddr, piece: Piece);

    /// Stops accepting, or receiving datagrams, and closes the listener.
    fn close_listener(&mut self, listener: ListenerId);

    /// Who is on the other side.
    fn peer(&self, socket: Socket) -> PeerAddress;

    /// Sets a connected socket's options. All of them are tried; the error is that of the first one refused.
    fn configure(&mut self, socket: Socket, options: &SocketOptions) -> Result<(), Errno>;

    /// Opens a serial port and sets it up, for nobody else. It is then used like a connected socket, but that it is always
    /// received from as with [`Receive::Many`], that its end may be any [`ReceiveEnd`] but `Cancelled` and `NoBuffers`, and
    /// that a send which finds no room fails with `EAGAIN`.
    ///
    /// # Errors
    /// What the system says, if there is no such port or it cannot be used.
    fn open_tty(&mut self, tty: &TtyOptions) -> std::io::Result<Socket>;

    /// Bytes that a serial port has taken and that have not left, as far as its driver knows.
    fn tty_unsent(&self, socket: Socket) -> u32;

    /// What the driver of a serial port has counted; nothing if it does not count.
    fn tty_errors(&self, socket: Socket) -> TtyErrors;

    /// Starts receiving into ingress buffers.
    fn receive(&mut self, key: Key, socket: Socket, how: Receive);

    /// Asks for an early end of a receive; `ReceiveEnded` follows.
    fn cancel_receive(&mut self, key: Key);

    /// Sends the bytes of up to [`SEND_PIECES_MAX`] pieces.
    fn send(&mut self, key: Key, socket: Socket, pieces: &[Piece]);

    /// Tells the peer that nothing more will be sent; receiving goes on.
    fn shutdown_send(&mut self, socket: Socket);

    /// Ends the connection in both directions; what is in flight ends soon.
    fn shutdown(&mut self, socket: Socket);

    /// This door has no more to do with the socket: another connection or shard goes on with it. Called only when nothing
    /// is in flight on it.
    fn release(&mut self, socket: Socket);

    /// Gives the socket back to the system.
    fn close(&mut self, socket: Socket);

    /// Wakes another shard.
    fn ring_doorbell(&mut self, shard: u8);

    /// Hands over what was started, waits as told, and appends what happened to `completions`.
    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> std::io::Result<()>;
}
