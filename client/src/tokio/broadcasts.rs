//! A broadcast or multicast link in the shape of a stream: a task of its own moves datagrams, and keeps the filter in the
//! kernel as the subscriptions are.

use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use laneway_proto::datagram::broadcast::{Broadcast, Repair, Sent, Setup};
use laneway_proto::datagram::limits::{DATAGRAM_BYTES_DEFAULT, DATAGRAM_BYTES_MAX};
use laneway_proto::lane::table::LaneTable;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use super::clock::Clock;
use crate::core::Identity;
use crate::group::{Group, attach};
use crate::random::random_u64;

/// Bytes of the stream that wait between the tasks, each way.
const PIPE_BYTES: usize = 128 * 1024;
/// Bytes that arrived and wait for the reader at most; beyond, datagrams stay in the kernel, which drops the newest.
const UP_BYTES_MAX: usize = 512 * 1024;
/// Datagrams taken in one go before some are sent.
const RECEIVES_MAX: usize = 64;
/// Bytes a second unless said otherwise: half of what a gigabit carries, since nobody says when it is too much.
const BYTES_PER_S_DEFAULT: u64 = 60_000_000;
/// When nothing is due.
const FAR: Duration = Duration::from_secs(3_600);

/// How a link speaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Percent of its rate that may go into repairs; `None`: what is lost is lost.
    pub(super) repair_percent: Option<u32>,
    /// Bytes a second; 0: no limit.
    pub(super) bytes_per_s: Option<u64>,
}

/// The sockets of a link.
pub(super) struct Sockets {
    ear: UdpSocket,
    mouth: UdpSocket,
    group: SocketAddr,
}

impl Sockets {
    /// Where it speaks from.
    pub(super) fn local(&self) -> io::Result<String> {
        Ok(self.mouth.local_addr()?.to_string())
    }
}

/// Opens both sockets; the ear hears nothing yet.
pub(super) fn open(group: Group<'_>) -> io::Result<Sockets> {
    let (ear, mouth) = (group.ear(Some(&[]))?, group.mouth()?);
    for socket in [&ear, &mouth] {
        socket.set_nonblocking(true)?;
    }
    Ok(Sockets {
        ear: UdpSocket::from_std(ear.into())?,
        mouth: UdpSocket::from_std(mouth.into())?,
        group: group.destination(),
    })
}

/// Starts the link; the near end of its stream. Its task ends soon after that is dropped.
pub(super) fn carry(clock: Clock, sockets: Sockets, identity: Identity, manner: Manner) -> DuplexStream {
    let (near, far) = duplex(PIPE_BYTES);
    let setup = Setup {
        // A link of its own each time: who hears it needs to know nothing of an earlier one.
        sender: (random_u64() as u32).max(1),
        epoch: 0,
        datagram_bytes: DATAGRAM_BYTES_DEFAULT,
        bytes_per_s: manner.bytes_per_s.unwrap_or(BYTES_PER_S_DEFAULT),
        lanes: LaneTable::STANDARD,
        repair: manner.repair_percent.map(|percent| Repair { percent, ..Repair::default() }),
        node_id: identity.node_id,
    };
    let carrier = Carrier {
        clock,
        sockets,
        link: Broadcast::for_client(setup),
        far,
        buffer: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
        out: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
        unsent: None,
        attached: 0,
        finished: false,
        deaf: false,
    };
    tokio::spawn(carrier.run());
    near
}

struct Carrier {
    clock: Clock,
    sockets: Sockets,
    link: Broadcast,
    far: DuplexStream,
    buffer: Box<[u8]>,
    /// A datagram that the socket has not taken yet.
    out: Box<[u8]>,
    unsent: Option<Sent>,
    /// The version of the interests that the filter stands for.
    attached: u64,
    /// The writer has said everything.
    finished: bool,
    /// The reader is gone.
    deaf: bool,
}

impl Carrier {
    async fn run(mut self) {
        let mut alarm = pin!(sleep_until(Instant::now()));
        loop {
            let silent = self.finished || self.link.has_ended();
            if silent && self.link.is_done() && self.unsent.is_none() && (self.deaf || self.link.up().is_empty()) {
                return;
            }
            let due = self.link.poll_timeout().map(|at| self.clock.when(at));
            alarm.as_mut().reset(due.unwrap_or_else(|| Instant::now() + FAR));
            poll_fn(|context| {
                let moved = self.step(context);
                if alarm.as_mut().poll(context).is_ready() || moved { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }

    /// Everything that can be done now; whether anything was.
    fn step(&mut self, context: &mut Context<'_>) -> bool {
        let heard = self.receive(context);
        let spoke = self.take_words(context);
        self.listen();
        let sent = self.transmit(context);
        let told = self.hand_up(context);
        heard || spoke || sent || told
    }

    /// Brings the filter up to date before the owner learns that it has subscribed.
    fn listen(&mut self) {
        if self.link.interest_version() != self.attached {
            let (version, interests) = self.link.interests();
            self.attached = version;
            // Without a filter everything comes, and what is not wanted is dropped here.
            if attach(SockRef::from(&self.sockets.ear), &interests).is_err() {
                let _ = SockRef::from(&self.sockets.ear).detach_filter();
            }
        }
    }

    fn receive(&mut self, context: &mut Context<'_>) -> bool {
        let mut heard = false;
        for _ in 0..RECEIVES_MAX {
            if self.link.up().len() >= UP_BYTES_MAX {
                break;
            }
            let (mut came, mut pending) = (None, 0);
            let mut buffer = ReadBuf::new(&mut self.buffer);
            for socket in [&self.sockets.mouth, &self.sockets.ear] {
                match socket.poll_recv_from(context, &mut buffer) {
                    Poll::Ready(Ok(from)) => {
                        came = Some(from);
                        break;
                    }
                    // An ICMP error of an earlier datagram; the socket is as good as before.
                    Poll::Ready(Err(_)) => {}
                    Poll::Pending => pending += 1,
                }
            }
            match came {
                Some(from) => {
                    let _ = self.link.on_datagram(self.clock.now(), from, buffer.filled());
                }
                None if pending == 2 => break,
                None => {}
            }
            heard = true;
        }
        heard
    }

    /// What the writer says.
    fn take_words(&mut self, context: &mut Context<'_>) -> bool {
        let mut spoke = false;
        while !self.finished && self.link.has_room() {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            match Pin::new(&mut self.far).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.link.offer(self.clock.now(), buffer.filled());
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
        while !self.link.up().is_empty() {
            let written = if self.deaf {
                Poll::Ready(Ok(self.link.up().len()))
            } else {
                Pin::new(&mut self.far).poll_write(context, self.link.up())
            };
            match written {
                Poll::Ready(Ok(bytes)) => self.link.take_up(bytes),
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
            if self.unsent.is_none() {
                self.unsent = self.link.poll_transmit(self.clock.now(), &mut self.out);
            }
            let Some(Sent { bytes, to }) = self.unsent else { return sent };
            let to = to.unwrap_or(self.sockets.group);
            match self.sockets.mouth.poll_send_to(context, &self.out[..bytes], to) {
                // One that the system did not take is lost, as on the way.
                Poll::Ready(_) => self.unsent = None,
                Poll::Pending => return sent,
            }
            sent = true;
        }
    }
}
