//! The two tasks of a link: one writes, one reads. Both end with the link.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::queue::Queue;
use super::receiving::Tidings;
use super::sending::Next;
use super::shared::{Ended, Shared};
use crate::core::Transmit;
use crate::error::Lost;

/// Bytes of one receive buffer; at least one whole frame fits beside the end of another.
pub(super) const RECEIVE_BUFFER_BYTES: usize = 128 * 1024;
/// Room below which a new receive buffer is begun.
const RECEIVE_ROOM_MIN: usize = 16 * 1024;

const _: () = assert!(
    RECEIVE_BUFFER_BYTES > laneway_proto::limits::FRAME_BYTES_MAX + RECEIVE_ROOM_MIN,
    "a whole frame fits a receive buffer"
);

/// How long the reader may take to find out why writing failed: the broker's goodbye may be on its way.
const VERDICT_WAIT: Duration = Duration::from_secs(1);

/// Both directions of a link on which both sides have agreed.
pub(super) struct Streams {
    pub(super) read: Box<dyn AsyncRead + Unpin + Send>,
    pub(super) write: Box<dyn AsyncWrite + Unpin + Send>,
    /// What came behind the handshake.
    pub(super) buffer: BytesMut,
}

/// The tasks of a link. Dropping it ends them where they stand.
pub(super) struct Tasks {
    writer: JoinHandle<Written>,
    reader: JoinHandle<()>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.writer.abort();
        self.reader.abort();
    }
}

impl Tasks {
    pub(super) fn start(shared: &Arc<Shared>, streams: Streams) -> Self {
        let Streams { read, write, buffer } = streams;
        let cut = shared.cut();
        Self {
            writer: tokio::spawn(self::write(Arc::clone(shared), write, cut)),
            reader: tokio::spawn(self::read(Arc::clone(shared), read, buffer)),
        }
    }

    /// Waits until both are over; returns what was given to the writer last. `None`: a task that panicked has sent who knows
    /// what; nothing of it is tried again.
    pub(super) async fn ended(mut self) -> Option<Transmit> {
        let written = (&mut self.writer).await.ok();
        if !written.as_ref().is_some_and(|written| written.finished) {
            // The reader has ended by itself, or would wait for what never comes.
            self.reader.abort();
        }
        let _ = (&mut self.reader).await;
        written.map(|written| written.left)
    }
}

/// How a writer ended.
struct Written {
    /// What it was given last, sent or not.
    left: Transmit,
    /// It closed its side in order, so the broker's last words may still come.
    finished: bool,
}

/// Writes whatever is ready, as much at a time as there is, until the link ends.
async fn write<W: AsyncWrite + Unpin>(shared: Arc<Shared>, mut sink: W, cut: Arc<Notify>) -> Written {
    let mut transmit = Transmit::default();
    let finished = loop {
        match shared.next_transmit(&mut transmit) {
            Next::Write { .. } => match race(drain(&mut sink, &mut transmit), cut.notified()).await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    if timeout(VERDICT_WAIT, cut.notified()).await.is_err() {
                        shared.on_link_lost(Lost::from_io(&error));
                    }
                    break false;
                }
                None => break false,
            },
            Next::Sleep(work, None) => work.await,
            Next::Sleep(work, Some(until)) => {
                race(work, sleep_until(shared.when(until))).await;
            }
            Next::Finish => {
                // The peer may be gone already; everything was written either way.
                let _ = sink.shutdown().await;
                shared.on_finished();
                break true;
            }
            Next::Stop => break false,
        }
    };
    Written { left: transmit, finished }
}

async fn drain<W: AsyncWrite + Unpin>(sink: &mut W, transmit: &mut Transmit) -> io::Result<()> {
    while transmit.has_remaining() {
        if sink.write_buf(transmit).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    sink.flush().await
}

/// Reads until the link ends. From a broker that keeps to no credit, stops reading while a subscriber's queue is full.
async fn read<R: AsyncRead + Unpin>(shared: Arc<Shared>, mut source: R, mut buffer: BytesMut) {
    let mut full: Vec<Arc<Queue>> = Vec::new();
    let mut tidings = Tidings::default();
    let mut alarm = pin!(sleep_until(Instant::now()));
    loop {
        // The first round takes what came together with the handshake.
        let mut deadline = match shared.on_bytes(&mut buffer, &mut full, &mut tidings) {
            Ok(deadline) => deadline,
            Err(Ended::Fault(fault)) => {
                shared.on_fault(fault);
                break;
            }
            Err(Ended::Goodbye(reason)) => {
                shared.on_link_lost(Lost::Goodbye(reason));
                break;
            }
            Err(Ended::Overtaken) => {
                shared.on_link_lost(Lost::Overtaken);
                break;
            }
        };
        if !full.is_empty() {
            for queue in full.drain(..) {
                queue.wait_for_room().await;
            }
            deadline = shared.on_resumed();
        }
        if buffer.capacity() - buffer.len() < RECEIVE_ROOM_MIN {
            buffer.reserve(RECEIVE_BUFFER_BYTES - buffer.len().min(RECEIVE_BUFFER_BYTES / 2));
        }
        let read = loop {
            match read_some(&mut source, &mut buffer, alarm.as_mut(), deadline).await {
                Some(read) => break Some(read),
                None => match shared.on_timeout() {
                    Ok(next) => deadline = next,
                    Err(Lost::Fault(fault)) => {
                        shared.on_fault(fault);
                        break None;
                    }
                    Err(lost) => {
                        shared.on_link_lost(lost);
                        break None;
                    }
                },
            }
        };
        match read {
            Some(Ok(0)) => {
                shared.on_link_lost(Lost::Ended);
                break;
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                shared.on_link_lost(Lost::from_io(&error));
                break;
            }
            None => break,
        }
    }
}

/// Reads once; `None` if the deadline passes first. The alarm may ring earlier than that: it is set anew only when it
/// has to be, not for every read.
async fn read_some<R: AsyncRead + Unpin>(
    source: &mut R,
    buffer: &mut BytesMut,
    mut alarm: Pin<&mut Sleep>,
    deadline: Option<Instant>,
) -> Option<io::Result<usize>> {
    let mut reading = pin!(source.read_buf(buffer));
    poll_fn(|context| {
        if let Poll::Ready(read) = reading.as_mut().poll(context) {
            return Poll::Ready(Some(read));
        }
        let Some(deadline) = deadline else { return Poll::Pending };
        if alarm.deadline() > deadline {
            alarm.as_mut().reset(deadline);
        }
        while alarm.as_mut().poll(context).is_ready() {
            if alarm.deadline() >= deadline {
                return Poll::Ready(None);
            }
            alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    })
    .await
}

/// The first future's output, or `None` if the second one ends before it.
pub(super) async fn race<A: Future, B: Future<Output = ()>>(first: A, second: B) -> Option<A::Output> {
    let mut first = pin!(first);
    let mut second = pin!(second);
    poll_fn(|context| {
        if let Poll::Ready(output) = first.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        second.as_mut().poll(context).map(|()| None)
    })
    .await
}
