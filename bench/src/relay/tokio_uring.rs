//! The relay on tokio-uring: as on tokio, with buffers that move into each operation and back.

use std::rc::Rc;

use bytes::BytesMut;
use tokio_uring::buf::BoundedBuf as _;
use tokio_uring::net::{TcpListener, TcpStream};

use super::queue::{Fanout, Queue};
use super::{Job, RECEIVE_BYTES, announce, frames};
use crate::error::{Error, Result};

pub(super) fn serve(job: Job) -> Result<()> {
    tokio_uring::start(accept(job))
}

async fn accept(job: Job) -> Result<()> {
    let listener = TcpListener::bind(job.listen).map_err(Error::io(format!("listening on {}", job.listen)))?;
    announce(listener.local_addr().map_err(Error::io("asking for the port"))?)?;
    let mut fanout: Option<Rc<Fanout>> = None;
    loop {
        let (socket, _) = listener.accept().await.map_err(Error::io("accepting"))?;
        socket.set_nodelay(true).map_err(Error::io("setting TCP_NODELAY"))?;
        if let Some(queue) = fanout.as_ref().and_then(|fanout| fanout.join()) {
            tokio_uring::spawn(write(socket, queue));
        } else {
            let next = Rc::new(Fanout::default());
            tokio_uring::spawn(read(socket, Rc::clone(&next), job.subscribers));
            fanout = Some(next);
        }
    }
}

async fn read(socket: TcpStream, fanout: Rc<Fanout>, subscribers: usize) {
    fanout.joined(subscribers).await;
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(RECEIVE_BYTES);
        let filled = buffer.len();
        let (result, slice) = socket.read(buffer.slice(filled..)).await;
        buffer = slice.into_inner();
        match result {
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

async fn write(socket: TcpStream, queue: Rc<Queue>) {
    while let Some(chunk) = queue.pop().await {
        let (result, _) = socket.write_all(chunk).await;
        if result.is_err() {
            break;
        }
    }
    queue.abandon();
}
