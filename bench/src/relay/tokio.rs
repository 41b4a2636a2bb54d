//! The relay on tokio: one thread, a reader task, a writer task for each subscriber.

use std::rc::Rc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use super::queue::{Fanout, Queue};
use super::{Job, RECEIVE_BYTES, announce, frames};
use crate::error::{Error, Result};

pub(super) fn serve(job: Job) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(Error::io("starting the tokio runtime"))?;
    LocalSet::new().block_on(&runtime, accept(job))
}

async fn accept(job: Job) -> Result<()> {
    let listener = TcpListener::bind(job.listen).await.map_err(Error::io(format!("listening on {}", job.listen)))?;
    announce(listener.local_addr().map_err(Error::io("asking for the port"))?)?;
    let mut fanout: Option<Rc<Fanout>> = None;
    let mut joined = 0;
    loop {
        let (socket, _) = listener.accept().await.map_err(Error::io("accepting"))?;
        socket.set_nodelay(true).map_err(Error::io("setting TCP_NODELAY"))?;
        if let Some(queue) = fanout.as_ref().and_then(|fanout| fanout.join()) {
            spawn_local(write(socket, queue));
            joined += 1;
            if job.pairs && joined == job.subscribers {
                fanout = None;
            }
        } else {
            joined = 0;
            let next = Rc::new(Fanout::default());
            spawn_local(read(socket, Rc::clone(&next), job.subscribers));
            fanout = Some(next);
        }
    }
}

async fn read(mut socket: TcpStream, fanout: Rc<Fanout>, subscribers: usize) {
    fanout.joined(subscribers).await;
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(RECEIVE_BYTES);
        match socket.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        match frames::whole_bytes(&buffer) {
            Ok(0) => {}
            Ok(whole) => fanout.push(buffer.split_to(whole).freeze()).await,
            Err(error) => {
                eprintln!("{error}");
                break;
            }
        }
    }
    fanout.finish();
}

async fn write(mut socket: TcpStream, queue: Rc<Queue>) {
    while let Some(chunk) = queue.pop().await {
        if socket.write_all(&chunk).await.is_err() {
            break;
        }
    }
    queue.abandon();
}
