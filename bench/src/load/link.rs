//! One TCP connection of the load, while it is being opened: blocking, with a time limit.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use laneway_broker::boot::listen::UNPACED;
use laneway_proto::control::{Body, Control, Hello, Limits};
use laneway_proto::framing::length::{Front, front};
use laneway_proto::header::{Header, Kind};
use laneway_proto::limits::{FRAME_BYTES_MAX, HEADER_BYTES, LANES_MAX, NODE_ID_BYTES, PREFACE_BYTES};
use laneway_proto::session::handshake::{PREFACE, check_preface, feature};
use socket2::{Domain, Socket, Type};

use crate::error::{Error, Result};
use crate::wire::Fault;

/// How long a connection and each answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Connects; small segments leave at once.
pub(crate) fn connect(at: SocketAddr) -> Result<TcpStream> {
    connect_holding(at, Holds::default())
}

/// What the kernel may hold for one end of a connection, in bytes; 0: as it likes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Holds {
    /// SO_RCVBUF, set before the connection is made.
    pub(super) receive: usize,
    /// SO_SNDBUF.
    pub(super) send: usize,
    /// TCP_NOTSENT_LOWAT.
    pub(super) not_sent: u32,
    /// Not the kernel's: bytes of each lane that the broker may send before it is given more credit. 0: no credit in
    /// either direction.
    pub(super) lane_credit: u64,
}

fn connect_holding(at: SocketAddr, holds: Holds) -> Result<TcpStream> {
    let what = || format!("connecting to {at}");
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None).map_err(Error::io(what()))?;
    if holds.receive > 0 {
        socket.set_recv_buffer_size(holds.receive).map_err(Error::io("setting SO_RCVBUF"))?;
    }
    if holds.send > 0 {
        socket.set_send_buffer_size(holds.send).map_err(Error::io("setting SO_SNDBUF"))?;
    }
    if holds.not_sent > 0 {
        socket.set_tcp_notsent_lowat(holds.not_sent).map_err(Error::io("setting TCP_NOTSENT_LOWAT"))?;
    }
    // A publisher that is paced measures its pace.
    let _ = socket.set_tcp_congestion(UNPACED.as_bytes());
    socket.connect_timeout(&at.into(), ANSWER_WITHIN).map_err(Error::io(what()))?;
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true).map_err(Error::io("setting TCP_NODELAY"))?;
    socket.set_read_timeout(Some(ANSWER_WITHIN)).map_err(Error::io("setting a time limit"))?;
    Ok(socket)
}

/// Why a peer closed: what it said before, if it said something.
pub(super) fn why_closed(socket: &mut TcpStream, error: &std::io::Error) -> String {
    let mut said = [0; 4_096];
    let count = socket.read(&mut said).unwrap_or(0);
    crate::wire::goodbye(&said[..count]).unwrap_or_else(|| format!("the publisher's connection failed: {error}"))
}

/// A session with the broker that waits for its answers.
pub(super) struct Link {
    socket: TcpStream,
    inbox: Vec<u8>,
    request: u32,
    /// Bytes of each lane that the broker takes before it gives more credit; empty: it keeps none.
    given: Vec<u64>,
}

impl Link {
    /// Connects and shakes hands.
    pub(super) fn open(at: SocketAddr) -> Result<Self> {
        Self::open_holding(at, Holds::default())
    }

    /// The same with bounds for what is under way.
    pub(super) fn open_holding(at: SocketAddr, holds: Holds) -> Result<Self> {
        let mut link = Self { socket: connect_holding(at, holds)?, inbox: Vec::new(), request: 0, given: Vec::new() };
        let mut opening = PREFACE.to_vec();
        let gives_credit = holds.lane_credit > 0;
        let limits = || Limits { lane_credit: vec![holds.lane_credit; LANES_MAX], ..Limits::default() };
        let hello = Hello {
            version_min: 1,
            version_max: 1,
            node_id: vec![0xBE; NODE_ID_BYTES],
            epoch: u64::from(std::process::id()),
            nonce: u64::from(link.socket.local_addr().map_or(0, |own| own.port())),
            features: feature::BATCH | feature::FRAGMENTS | if gives_credit { feature::CREDIT } else { 0 },
            limits: gives_credit.then(limits),
            ..Hello::default()
        };
        Control::new(Body::Hello(hello)).append_frame(&mut opening);
        link.send(&opening)?;
        while link.inbox.len() < PREFACE_BYTES {
            link.fill()?;
        }
        let preface = link.inbox.first_chunk().copied().unwrap_or_default();
        check_preface(&preface).map_err(|fault| Error::Failed(fault.to_string()))?;
        link.inbox.drain(..PREFACE_BYTES);
        match link.control()?.body {
            Some(Body::Welcome(welcome)) => {
                link.given = welcome.limits.map(|limits| limits.lane_credit).unwrap_or_default();
                Ok(link)
            }
            other => Err(Error::Failed(format!("instead of a welcome the broker sent {other:?}"))),
        }
    }

    /// Sends a request and waits until the broker has done it.
    pub(super) fn request(&mut self, body: Body) -> Result<()> {
        self.request += 1;
        let id = self.request;
        self.send(&Control::request(id, body).to_frame())?;
        loop {
            let answer = self.control()?;
            match answer.body {
                Some(Body::Result(result)) if answer.id == id && result.code == 0 => return Ok(()),
                Some(Body::Result(result)) if answer.id == id => {
                    return Err(Error::Failed(format!("the broker refused ({}): {}", result.code, result.text)));
                }
                _ => {}
            }
        }
    }

    /// Bytes of `lane` that may be sent before the broker gives more credit.
    pub(super) fn given(&self, lane: u8) -> u64 {
        self.given.get(usize::from(lane)).copied().unwrap_or(u64::MAX)
    }

    /// The socket, and the bytes behind the last answer.
    pub(super) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.socket, self.inbox)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket.write_all(bytes).map_err(Error::io("writing to the broker"))
    }

    fn fill(&mut self) -> Result<()> {
        let mut part = [0; 4_096];
        match self.socket.read(&mut part) {
            Ok(0) => Err(Error::Failed("the broker closed the connection while it was being opened".into())),
            Ok(count) => {
                self.inbox.extend_from_slice(&part[..count]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Error::Failed(format!("the broker did not answer within {ANSWER_WITHIN:?}")))
            }
            Err(error) => Err(Error::Failed(format!("reading from the broker: {error}"))),
        }
    }

    /// The next control message.
    fn control(&mut self) -> Result<Control> {
        loop {
            let next = take_control(&mut self.inbox).map_err(|fault| Error::Failed(fault.to_string()))?;
            match next {
                Taken::Control(control) => return Ok(*control),
                Taken::Data(header) => {
                    return Err(Error::Failed(format!("a {:?} frame came before the answer", header.kind)));
                }
                Taken::Nothing => self.fill()?,
            }
        }
    }
}

/// What stands at the front of an inbox.
pub(super) enum Taken {
    /// A control message; it was removed.
    Control(Box<Control>),
    /// The start of another frame; it was left there.
    Data(Header),
    /// No whole control message yet.
    Nothing,
}

/// Takes the next control message off the front of `inbox`.
pub(super) fn take_control(inbox: &mut Vec<u8>) -> std::result::Result<Taken, Fault> {
    let (header, whole) = match front(inbox, FRAME_BYTES_MAX).map_err(|error| Fault(error.to_string()))? {
        Front::Whole(header) => (header, true),
        Front::Partial(header) => (header, false),
        Front::Short => return Ok(Taken::Nothing),
    };
    if header.kind != Kind::CTRL {
        return Ok(Taken::Data(header));
    }
    if !whole {
        return Ok(Taken::Nothing);
    }
    if let Some(text) = crate::wire::goodbye(inbox) {
        return Err(Fault(text));
    }
    let frame: Vec<u8> = inbox.drain(..usize::from(header.len)).collect();
    Control::decode_body(&frame[HEADER_BYTES..])
        .map(|control| Taken::Control(Box::new(control)))
        .map_err(|error| Fault(error.to_string()))
}
