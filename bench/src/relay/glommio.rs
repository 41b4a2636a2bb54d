//! The relay on glommio: as on tokio; its executor spins before it sleeps, which shows as processor time.

use std::rc::Rc;

use bytes::BytesMut;
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement, spawn_local};

use super::queue::{Fanout, Queue};
use super::{Job, RECEIVE_BYTES, announce, frames};
use crate::error::{Error, Result};

fn failed(what: &'static str) -> impl FnOnce(glommio::GlommioError<()>) -> Error {
    move |error| Error::Failed(format!("{what}: {error}"))
}

pub(super) fn serve(job: Job) -> Result<()> {
    // The process is pinned already; the executor stays where it is.
    let executor =
        LocalExecutorBuilder::new(Placement::Unbound).make().map_err(failed("starting the glommio executor"))?;
    executor.run(accept(job))
}

async fn accept(job: Job) -> Result<()> {
    let listener = TcpListener::bind(job.listen).map_err(failed("listening"))?;
    announce(listener.local_addr().map_err(failed("asking for the port"))?)?;
    let mut fanout: Option<Rc<Fanout>> = None;
    loop {
        let socket = listener.accept().await.map_err(failed("accepting"))?;
        socket.set_nodelay(true).map_err(failed("setting TCP_NODELAY"))?;
        if let Some(queue) = fanout.as_ref().and_then(|fanout| fanout.join()) {
            spawn_local(write(socket, queue)).detach();
        } else {
            let next = Rc::new(Fanout::default());
            spawn_local(read(socket, Rc::clone(&next), job.subscribers)).detach();
            fanout = Some(next);
        }
    }
}

async fn read(mut socket: TcpStream, fanout: Rc<Fanout>, subscribers: usize) {
    fanout.joined(subscribers).await;
    let mut buffer = BytesMut::new();
    loop {
        // It reads into initialised memory only; zeroing costs a small part of what TCP's copy costs.
        let filled = buffer.len();
        buffer.resize(filled + RECEIVE_BYTES, 0);
        match socket.read(&mut buffer[filled..]).await {
            Ok(0) | Err(_) => break,
            Ok(count) => buffer.truncate(filled + count),
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
