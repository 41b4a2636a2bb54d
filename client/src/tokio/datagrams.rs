//! A session over UDP in the shape of a stream: a task of its own moves datagrams, the reader and the writer know nothing of
//! them.
//!
//! ```text
//! writer ─► pipe ─► [session: lanes, acknowledgements, what is sent again] ─► datagrams
//! reader ◄─ pipe ◄─ [frames in the order of their lanes                  ] ◄─ datagrams
//! ```

use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use laneway_proto::datagram::limits::{DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MAX};
use laneway_proto::datagram::stream::{End, Stream};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use super::clock::Clock;
use super::lock;
use crate::random::random_u64;

/// Bytes of the stream that wait between the tasks, each way.
const PIPE_BYTES: usize = 128 * 1024;
/// Bytes that arrived and wait for the reader at most; beyond, frames of lanes are not taken.
const UP_BYTES_MAX: usize = 512 * 1024;
/// Datagrams taken in one go before some are sent.
const RECEIVES_MAX: usize = 32;
/// How long the last words may take to arrive.
const LINGER: Duration = Duration::from_secs(1);
/// When nothing is due.
const FAR: Duration = Duration::from_secs(3_600);

/// What the socket said while the session was not open yet.
pub(super) type Failure = Arc<Mutex<Option<io::Error>>>;

/// A socket on which only `address` is heard.
pub(super) async fn dial(bind: Option<SocketAddr>, address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(bind.unwrap_or(any)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// Starts a session with this epoch; the near end of its stream, and what goes wrong before it is open. Its task ends soon
/// after the near end is dropped.
pub(super) fn carry(clock: Clock, socket: UdpSocket, epoch: u64) -> (DuplexStream, Failure) {
    let (near, far) = duplex(PIPE_BYTES);
    let failure = Failure::default();
    let own = (random_u64() as u32).max(1);
    let stream = Stream::dial(clock.now(), own, epoch as u16, DATAGRAM_BYTES_DEFAULT);
    let carrier = Carrier {
        clock,
        socket,
        stream,
        far,
        failure: Arc::clone(&failure),
        buffer: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
        out: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
        unsent: 0,
        finished: false,
        deaf: false,
    };
    tokio::spawn(carrier.run());
    (near, failure)
}

struct Carrier {
    clock: Clock,
    socket: UdpSocket,
    stream: Stream,
    far: DuplexStream,
    failure: Failure,
    buffer: Box<[u8]>,
    /// A datagram that the socket has not taken yet, and its bytes; 0: none.
    out: Box<[u8]>,
    unsent: usize,
    /// The writer has said everything.
    finished: bool,
    /// The reader is gone.
    deaf: bool,
}

impl Carrier {
    async fn run(mut self) {
        let mut alarm = pin!(sleep_until(Instant::now()));
        let mut linger: Option<Instant> = None;
        loop {
            let over = self.stream.end().is_some() && self.stream.up().is_empty();
            let done = self.finished && self.deaf && self.stream.is_done();
            if over || done || linger.is_some_and(|until| until <= Instant::now()) {
                return;
            }
            if self.finished && self.deaf {
                linger.get_or_insert_with(|| Instant::now() + LINGER);
            }
            let due = self.stream.poll_timeout().map(|at| self.clock.when(at));
            let due = [due, linger].into_iter().flatten().min().unwrap_or_else(|| Instant::now() + FAR);
            alarm.as_mut().reset(due);
            poll_fn(|context| {
                let moved = self.step(context);
                if alarm.as_mut().poll(context).is_ready() || moved { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let now = self.clock.now();
            if self.stream.poll_timeout().is_some_and(|at| at <= now) {
                self.stream.on_timeout(now);
            }
        }
    }

    /// Everything that can be done now; whether anything was.
    fn step(&mut self, context: &mut Context<'_>) -> bool {
        let heard = self.receive(context);
        let spoke = self.take_words(context);
        let told = self.hand_up(context);
        let sent = self.transmit(context);
        heard || spoke || told || sent
    }

    fn receive(&mut self, context: &mut Context<'_>) -> bool {
        let mut heard = false;
        for _ in 0..RECEIVES_MAX {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match self.socket.poll_recv(context, &mut buffer) {
                Poll::Ready(Ok(())) => {
                    heard = true;
                    let has_room = self.stream.up().len() < UP_BYTES_MAX;
                    self.stream.set_room(has_room);
                    let _ = self.stream.on_datagram(self.clock.now(), buffer.filled());
                }
                Poll::Ready(Err(error)) => {
                    heard = true;
                    if !self.stream.is_open() {
                        *lock(&self.failure) = Some(error);
                        self.stream.give_up(End::Gone);
                    }
                    break;
                }
                Poll::Pending => break,
            }
        }
        heard
    }

    /// What the writer says.
    fn take_words(&mut self, context: &mut Context<'_>) -> bool {
        let mut spoke = false;
        while !self.finished && self.stream.has_room() {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match Pin::new(&mut self.far).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.stream.offer(self.clock.now(), buffer.filled());
                }
                Poll::Ready(_) => self.finished = true,
                Poll::Pending => break,
            }
            spoke = true;
        }
        spoke
    }

    /// What the reader is told.
    fn hand_up(&mut self, context: &mut Context<'_>) -> bool {
        let mut told = false;
        while !self.stream.up().is_empty() {
            let written = if self.deaf {
                Poll::Ready(Ok(self.stream.up().len()))
            } else {
                Pin::new(&mut self.far).poll_write(context, self.stream.up())
            };
            match written {
                Poll::Ready(Ok(bytes)) => self.stream.take_up(bytes),
                Poll::Ready(Err(_)) => self.deaf = true,
                Poll::Pending => break,
            }
            told = true;
        }
        told
    }

    fn transmit(&mut self, context: &mut Context<'_>) -> bool {
        let mut sent = false;
        loop {
            if self.unsent == 0 {
                match self.stream.poll_transmit(self.clock.now(), &mut self.out) {
                    Some(bytes) => self.unsent = bytes,
                    None => return sent,
                }
            }
            match self.socket.poll_send(context, &self.out[..self.unsent]) {
                // One that the system did not take is lost, as on the way.
                Poll::Ready(_) => self.unsent = 0,
                Poll::Pending => return sent,
            }
            sent = true;
        }
    }
}
