//! The ring's door under test, on real sockets: TCP on the loopback interface, and Unix.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use laneway_broker::io::uring::{Doorbell, UringIo, UringParts};
use laneway_broker::io::{Completion, Io as _, Wait};
use laneway_proto::time::Duration;
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};

use super::{Doors, FarRead, LISTENER, SHAPE};

const BRIEFLY: Duration = Duration::from_millis(2);

/// Where peers dial.
#[derive(Clone, Debug)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A peer's end of a real connection.
#[derive(Debug)]
pub enum Far {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// Two rings.
#[derive(Debug)]
pub struct KernelDoors {
    doors: [UringIo; 2],
    address: Address,
    /// A peer's socket for datagrams, connected to the first door's.
    speaker: UdpSocket,
}

impl KernelDoors {
    /// Rings with a TCP listener; `None`, loudly, where this machine has no io_uring.
    pub fn tcp() -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on the loopback interface");
        let address = Address::Tcp(listener.local_addr().expect("a bound listener has an address"));
        Self::open(listener.into(), address)
    }

    /// Rings with a Unix listener; `None`, loudly, where this machine has no io_uring.
    pub fn unix() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("laneway-contract-{}-{number}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).expect("a socket in the directory for temporary files");
        Self::open(listener.into(), Address::Unix(path))
    }

    fn open(listener: OwnedFd, address: Address) -> Option<Self> {
        let doorbells: Arc<[Doorbell]> = (0..2).map(|_| Doorbell::new().expect("an event descriptor")).collect();
        let start = std::time::Instant::now();
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a free port on the loopback interface");
        let speaker = UdpSocket::bind("127.0.0.1:0").expect("another");
        speaker.connect(datagrams.local_addr().expect("bound")).expect("an address of this machine");
        speaker.set_nonblocking(true).expect("a socket takes the option");
        let open = |shard, listeners| {
            let parts = UringParts { shard, doorbells: Arc::clone(&doorbells), listeners, pool: SHAPE, start };
            UringIo::open(parts)
        };
        match (open(0, vec![listener, datagrams.into()]), open(1, Vec::new())) {
            (Ok(first), Ok(second)) => {
                let mut this = Self { doors: [first, second], address, speaker };
                this.doors[0].accept(LISTENER);
                Some(this)
            }
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("SKIPPED on the ring: {error}");
                None
            }
        }
    }

    fn try_dial(&self) -> std::io::Result<Far> {
        match &self.address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nonblocking(true)?;
                Ok(Far::Tcp(stream))
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Ok(Far::Unix(stream))
            }
        }
    }
}

impl Drop for KernelDoors {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Doors for KernelDoors {
    type Io = UringIo;
    type Far = Far;
    const MANY_BYTES: usize = 150_000;

    fn io(&mut self, shard: u8) -> &mut UringIo {
        &mut self.doors[usize::from(shard)]
    }

    fn turn(&mut self, shard: u8, wait: Wait) -> Vec<Completion> {
        let mut completions = Vec::new();
        self.io(shard).turn(wait, &mut completions).expect("the ring turns");
        completions
    }

    fn turn_briefly(&mut self, shard: u8) -> Vec<Completion> {
        let until = self.io(shard).now() + BRIEFLY;
        self.turn(shard, Wait::Until(until))
    }

    fn dial(&mut self) -> Far {
        self.try_dial().expect("the listener is open")
    }

    fn write(&mut self, far: &mut Far, bytes: &[u8]) -> usize {
        let written = match far {
            Far::Tcp(stream) => stream.write(bytes),
            Far::Unix(stream) => stream.write(bytes),
        };
        written.unwrap_or(0)
    }

    fn read(&mut self, far: &mut Far) -> FarRead {
        let mut bytes = vec![0; 100_000];
        let read = match far {
            Far::Tcp(stream) => stream.read(&mut bytes),
            Far::Unix(stream) => stream.read(&mut bytes),
        };
        match read {
            Ok(0) => FarRead::Ended,
            Ok(count) => {
                bytes.truncate(count);
                FarRead::Bytes(bytes)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => FarRead::Nothing,
            Err(_) => FarRead::Ended,
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        assert_eq!(self.speaker.send(bytes).ok(), Some(bytes.len()));
    }

    fn hear(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 65_536];
        let count = self.speaker.recv(&mut bytes).ok()?;
        bytes.truncate(count);
        Some(bytes)
    }

    fn datagram_bytes_max(&self) -> usize {
        4_096
    }

    fn finish(&mut self, far: &mut Far) {
        let done = match far {
            Far::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Far::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
        done.expect("a connected socket can be half closed");
    }

    fn reset(&mut self, far: Far) -> bool {
        match far {
            Far::Tcp(stream) => {
                let at_once = linger { l_onoff: 1, l_linger: 0 };
                setsockopt(&stream, sockopt::Linger, &at_once).expect("a TCP socket lingers as told");
                true
            }
            Far::Unix(_) => false,
        }
    }

    fn refuses(&mut self) -> bool {
        self.try_dial().is_err()
    }
}
