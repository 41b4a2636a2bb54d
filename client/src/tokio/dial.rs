//! From a URL to an open session.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use laneway_proto::control::Resume;
use laneway_proto::error::CloseCode;
use laneway_proto::limits::PREFACE_BYTES;
use laneway_proto::session::handshake::PREFACE;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout};

#[cfg(target_os = "linux")]
use super::broadcasts;
use super::client::{Client, Link};
use super::clock::Clock;
use super::datagrams;
use super::lock;
use super::shared::{Agreed, Shared};
use super::supervisor::{Redial, supervise};
use super::tasks::{RECEIVE_BUFFER_BYTES, Streams};
use crate::core::{Core, CoreOptions, Event, Identity, Incoming, Outgoing, Terms, Transmit};
use crate::endpoint::Endpoint;
use crate::error::{ConnectError, Lost};
#[cfg(target_os = "linux")]
use crate::group::Group;
use crate::link::Reconnector;
use crate::options::ConnectOptions;
use crate::peer::{Peer, Transport};
use crate::random::random_u64;

/// Connects to the broker at `url` with the default options.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = laneway_client::connect("tcp://127.0.0.1:5263").await?;
/// client.publish("sensors/imu/x", "21.5").await?;
/// client.close().await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// A bad URL is refused before anything is tried; the other variants of [`ConnectError`] say which step failed.
pub async fn connect(url: &str) -> Result<Client, ConnectError> {
    ConnectOptions::new().connect(url).await
}

impl ConnectOptions {
    /// Connects to the broker at `url`. Must be called inside a tokio runtime with input, output and time enabled;
    /// tasks of it carry the connection. Dropping the future leaves nothing behind.
    pub async fn connect(&self, url: &str) -> Result<Client, ConnectError> {
        let endpoint: Endpoint = url.parse()?;
        self.check().map_err(ConnectError::Options)?;
        let clock = Clock::start();
        let mut dialler = Dialler { options: self.clone(), identity: self.core().identity, endpoint };
        let started = Instant::now();
        let mut failures = 0;
        let dialled = loop {
            let error = match dialler.attempt(clock, None, None).await {
                Ok(dialled) => break dialled,
                Err(error) => error,
            };
            failures += 1;
            let wait = self
                .retry
                .filter(|_| error.retryable())
                .and_then(|retry| retry.wait(failures, started.elapsed(), random_u64()));
            let Some(wait) = wait else { return Err(error) };
            sleep(wait.max(suggested_wait(&error))).await;
        };
        let redial =
            self.reconnect.map(|options| Redial { dialler, reconnector: Reconnector::new(options, random_u64()) });
        Ok(self.begin(dialled, redial))
    }

    /// A session over a stream that the caller brought: an in-memory pipe, a tunnel. Options about dialling, such as
    /// `retry`, `reconnect` and `nodelay`, have no effect.
    ///
    /// ```no_run
    /// # async fn example(stream: tokio::io::DuplexStream) -> Result<(), laneway_client::ConnectError> {
    /// let client = laneway_client::ConnectOptions::new().connect_over(stream).await?;
    /// # Ok(()) }
    /// ```
    pub async fn connect_over<S>(&self, stream: S) -> Result<Client, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        self.check().map_err(ConnectError::Options)?;
        let (read, write) = tokio::io::split(stream);
        let ends = Ends { transport: Transport::Other, local: String::new(), remote: String::new() };
        let endpoint = Endpoint::Unix("(a stream of the caller)".into());
        let opening = open(self.core(), Clock::start(), Reached::new(read, write, ends));
        let late = ConnectError::Timeout { endpoint, after: self.timeout };
        Ok(self.begin(timeout(self.timeout, opening).await.unwrap_or(Err(late))?, None))
    }

    /// Starts the connection's tasks.
    fn begin(&self, dialled: Dialled, redial: Option<Redial>) -> Client {
        let (shared, streams) = Shared::new(dialled, self, redial.is_some());
        let supervisor = tokio::spawn(supervise(Arc::clone(&shared), streams, redial));
        shared.set_supervisor(supervisor.abort_handle());
        Client::new(Link::new(shared))
    }
}

/// A link on which the broker has agreed.
pub(super) struct Dialled {
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Incoming,
    pub(super) agreed: Agreed,
    pub(super) clock: Clock,
    pub(super) streams: Streams,
}

/// Makes links to one broker, all as the same node.
pub(super) struct Dialler {
    options: ConnectOptions,
    identity: Identity,
    endpoint: Endpoint,
}

impl Dialler {
    /// What is told of this client from now on.
    pub(super) fn tell(&mut self, metadata: &BTreeMap<String, String>) {
        self.options.metadata.clone_from(metadata);
    }

    /// One attempt within its time, to go on with a session if there is one, over a stream that was reached before if
    /// there is one.
    pub(super) async fn attempt(
        &mut self,
        clock: Clock,
        session: Option<Resume>,
        reached: Option<Reached>,
    ) -> Result<Dialled, ConnectError> {
        self.identity.nonce = random_u64();
        let after = self.options.timeout;
        let late = || ConnectError::Timeout { endpoint: self.endpoint.clone(), after };
        let opening = async {
            match reached {
                Some(reached) => open(self.session_options(session), clock, reached).await,
                None => self.dial(clock, session).await,
            }
        };
        timeout(after, opening).await.unwrap_or_else(|_| Err(late()))
    }

    async fn dial(&self, clock: Clock, session: Option<Resume>) -> Result<Dialled, ConnectError> {
        let options = self.session_options(session);
        match &self.endpoint {
            Endpoint::Udp { host, port } => self.open_udp(options, clock, host, *port).await,
            #[cfg(target_os = "linux")]
            Endpoint::Broadcast { .. } => self.open_group(options, clock).await,
            #[cfg(not(target_os = "linux"))]
            Endpoint::Broadcast { .. } => {
                Err(ConnectError::Url(crate::endpoint::UrlError::Scheme("udp+broadcast".into())))
            }
            Endpoint::Tcp { .. } | Endpoint::Unix(_) => open(options, clock, self.reach().await?).await,
        }
    }

    fn session_options(&self, session: Option<Resume>) -> CoreOptions {
        // A session over datagrams is its own link: there is no other to go on over.
        let streams = matches!(self.endpoint, Endpoint::Tcp { .. } | Endpoint::Unix(_));
        let resume = streams && self.options.reconnect.is_some();
        let session = session.filter(|_| streams);
        CoreOptions { identity: self.identity, resume, session, ..self.options.core() }
    }

    /// A stream at whose other end the broker has answered, within the time of an attempt; the session is opened there
    /// later, if at all. `None`: it cannot be had.
    pub(super) async fn reach_beside(&self) -> Option<Reached> {
        let reaching = async {
            let mut reached = self.reach().await.ok()?;
            reached.write.write_all(&PREFACE).await.ok()?;
            reached.write.flush().await.ok()?;
            let mut answer = [0; PREFACE_BYTES];
            reached.read.read_exact(&mut answer).await.ok()?;
            reached.preface = Some(answer);
            Some(reached)
        };
        timeout(self.options.timeout, reaching).await.ok().flatten()
    }

    async fn reach(&self) -> Result<Reached, ConnectError> {
        let failed = |source| ConnectError::from_io(self.endpoint.clone(), source);
        match &self.endpoint {
            Endpoint::Tcp { host, port } => {
                let stream = self.dial_tcp(host, *port).await?;
                stream.set_nodelay(self.options.nodelay).map_err(failed)?;
                let ends = Ends {
                    transport: Transport::Tcp,
                    local: stream.local_addr().map_err(failed)?.to_string(),
                    remote: stream.peer_addr().map_err(failed)?.to_string(),
                };
                let (read, write) = stream.into_split();
                Ok(Reached::new(read, write, ends))
            }
            // Whatever goes on over one of these is a link of its own, for which no other one can be made.
            Endpoint::Udp { .. } | Endpoint::Broadcast { .. } => Err(failed(io::ErrorKind::Unsupported.into())),
            #[cfg(unix)]
            Endpoint::Unix(path) => {
                let stream = tokio::net::UnixStream::connect(path).await.map_err(failed)?;
                let remote = path.display().to_string();
                let ends = Ends { transport: Transport::Unix, local: String::new(), remote };
                let (read, write) = stream.into_split();
                Ok(Reached::new(read, write, ends))
            }
            #[cfg(not(unix))]
            Endpoint::Unix(_) => Err(ConnectError::Url(crate::endpoint::UrlError::NoUnix)),
        }
    }

    async fn open_udp(
        &self,
        options: CoreOptions,
        clock: Clock,
        host: &str,
        port: u16,
    ) -> Result<Dialled, ConnectError> {
        let dns = |source| ConnectError::Dns { endpoint: self.endpoint.clone(), source };
        let failed = |source| ConnectError::from_io(self.endpoint.clone(), source);
        let address = lookup_host((host, port)).await.map_err(dns)?.next();
        let address = address.ok_or_else(|| dns(io::Error::new(io::ErrorKind::NotFound, "the name has no address")))?;
        let socket = datagrams::dial(self.options.bind, address).await.map_err(failed)?;
        let ends = Ends {
            transport: Transport::Udp,
            local: socket.local_addr().map_err(failed)?.to_string(),
            remote: address.to_string(),
        };
        let (near, failure) = datagrams::carry(clock, socket, self.identity.epoch);
        let (read, write) = tokio::io::split(near);
        let opened = open(options, clock, Reached::new(read, write, ends)).await;
        opened.map_err(|error| lock(&failure).take().map_or(error, failed))
    }

    #[cfg(target_os = "linux")]
    async fn open_group(&self, options: CoreOptions, clock: Clock) -> Result<Dialled, ConnectError> {
        let failed = |source| ConnectError::from_io(self.endpoint.clone(), source);
        let Endpoint::Broadcast { group, port, iface, repair_percent, bytes_per_s } = &self.endpoint else {
            return Err(failed(io::ErrorKind::Unsupported.into()));
        };
        let address = Group { address: *group, port: *port, iface: iface.as_deref() };
        let link = broadcasts::open(address).map_err(failed)?;
        let remote = format!("{group}:{port}");
        let ends = Ends { transport: Transport::Broadcast, local: link.local().map_err(failed)?, remote };
        let manner = broadcasts::Manner { repair_percent: *repair_percent, bytes_per_s: *bytes_per_s };
        let (read, write) = tokio::io::split(broadcasts::carry(clock, link, self.identity, manner));
        open(options, clock, Reached::new(read, write, ends)).await
    }

    async fn dial_tcp(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let dns = |source| ConnectError::Dns { endpoint: self.endpoint.clone(), source };
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let mut tried = false;
        for address in lookup_host((host, port)).await.map_err(dns)? {
            match self.dial_address(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => (failure, tried) = (error, true),
            }
        }
        Err(if tried { ConnectError::from_io(self.endpoint.clone(), failure) } else { dns(failure) })
    }

    async fn dial_address(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if address.ip().is_loopback() {
            do_not_pace(&socket);
        }
        if let Some(bind) = self.options.bind {
            socket.bind(bind)?;
        }
        socket.connect(address).await
    }
}

/// Where the system paces connections by what it measures of the network (BBR does), one without a network does better
/// with a congestion control that does not. Refused, it stays as it is.
#[cfg(target_os = "linux")]
fn do_not_pace(socket: &TcpSocket) {
    let _ = socket2::SockRef::from(socket).set_tcp_congestion(b"reno");
}

#[cfg(not(target_os = "linux"))]
fn do_not_pace(_: &TcpSocket) {}

/// Shakes hands.
async fn open(options: CoreOptions, clock: Clock, reached: Reached) -> Result<Dialled, ConnectError> {
    let Reached { mut read, mut write, ends, preface } = reached;
    let (mut outgoing, mut incoming) = Core::new(clock.now(), &options).split();
    let mut buffer = BytesMut::with_capacity(RECEIVE_BUFFER_BYTES);
    let mut transmit = Transmit::default();
    outgoing.poll_transmit(&mut transmit);
    if let Some(answer) = preface {
        // Both sides have said theirs.
        transmit.advance(PREFACE_BYTES);
        buffer.extend_from_slice(&answer);
    }
    let terms = shake_hands(clock, transmit, &mut incoming, &mut read, &mut write, &mut buffer).await?;
    outgoing.on_welcome(terms.clone());
    let local = Peer {
        node_id: options.identity.node_id,
        epoch: options.identity.epoch,
        transport: ends.transport,
        address: ends.local,
        metadata: options.metadata,
    };
    let remote = Peer {
        node_id: terms.broker_node_id,
        epoch: terms.broker_epoch,
        transport: ends.transport,
        address: ends.remote,
        metadata: terms.metadata.clone(),
    };
    let agreed =
        Agreed { metadata_version: 0, terms: Arc::new(terms), local: Arc::new(local), remote: Arc::new(remote) };
    Ok(Dialled { outgoing, incoming, agreed, clock, streams: Streams { read, write, buffer } })
}

/// A stream to a broker.
pub(super) struct Reached {
    read: Box<dyn AsyncRead + Unpin + Send>,
    write: Box<dyn AsyncWrite + Unpin + Send>,
    ends: Ends,
    /// The broker's answer, if this side has said its preface already.
    preface: Option<[u8; PREFACE_BYTES]>,
}

impl Reached {
    /// A stream on which nothing was said yet.
    fn new(
        read: impl AsyncRead + Unpin + Send + 'static,
        write: impl AsyncWrite + Unpin + Send + 'static,
        ends: Ends,
    ) -> Self {
        Self { read: Box::new(read), write: Box::new(write), ends, preface: None }
    }
}

/// The addresses of a connection's two ends.
struct Ends {
    transport: Transport,
    local: String,
    remote: String,
}

/// How long the broker asks to be left alone.
pub(super) fn suggested_wait(error: &ConnectError) -> Duration {
    let ConnectError::Rejected { retry_after, .. } = error else { return Duration::ZERO };
    retry_after.unwrap_or_default().min(Duration::from_secs(30))
}

async fn shake_hands<R, W>(
    clock: Clock,
    mut transmit: Transmit,
    incoming: &mut Incoming,
    read: &mut R,
    write: &mut W,
    buffer: &mut BytesMut,
) -> Result<Terms, ConnectError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    while transmit.has_remaining() {
        write.write_buf(&mut transmit).await.map_err(lost)?;
    }
    write.flush().await.map_err(lost)?;
    loop {
        if read.read_buf(buffer).await.map_err(lost)? == 0 {
            return Err(ConnectError::Lost(Lost::Ended));
        }
        incoming.on_bytes(clock.now(), buffer).map_err(|fault| ConnectError::Lost(Lost::Fault(fault)))?;
        // Only the first event matters here; the reader finds what came behind a WELCOME.
        match incoming.poll_event() {
            Some(Event::Welcomed(terms)) => return Ok(*terms),
            Some(Event::Rejected { reason, version_min, version_max, retry_after_ms }) => {
                if reason.code() == Some(CloseCode::Version) {
                    return Err(ConnectError::Version { broker_min: version_min, broker_max: version_max });
                }
                let retry_after = (retry_after_ms > 0).then(|| Duration::from_millis(retry_after_ms.into()));
                return Err(ConnectError::Rejected { reason, retry_after });
            }
            Some(Event::Goodbye(reason)) => return Err(ConnectError::Lost(Lost::Goodbye(reason))),
            Some(_) | None => {}
        }
    }
}

fn lost(error: io::Error) -> ConnectError {
    ConnectError::Lost(Lost::from_io(&error))
}
