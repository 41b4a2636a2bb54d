//! A way to a broker on which connections are reset: bytes pass both ways until somebody says that one is enough.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::dice::Dice;
use crate::error::{Error, Result};

/// How often it is looked whether something is to be done.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What is asked of the thread that passes bytes on.
enum Order {
    /// Reset one connection; the answer says whether there was one.
    Cut(mpsc::Sender<bool>),
    /// End.
    Stop,
}

/// The thread that passes bytes on. Dropping it resets every connection.
#[derive(Debug)]
pub struct Cutter {
    /// Where it listens.
    pub address: SocketAddr,
    orders: mpsc::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Cutter {
    /// A way to `target` on a port of its own; `dice` choose the connections to reset.
    pub fn start(target: SocketAddr, dice: Dice) -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(Error::io("binding a free port"))?;
        listener.set_nonblocking(true).map_err(Error::io("making a listener non-blocking"))?;
        let address = listener.local_addr().map_err(Error::io("asking for the own address"))?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::io("starting a runtime"))?;
        let (orders, received) = mpsc::channel();
        let thread = thread::spawn(move || runtime.block_on(pass(listener, target, &received, dice)));
        Ok(Self { address, orders, thread: Some(thread) })
    }

    /// Resets one connection; false if there is none.
    pub fn cut(&self) -> bool {
        let (answer, answered) = mpsc::channel();
        self.orders.send(Order::Cut(answer)).is_ok() && answered.recv_timeout(Duration::from_secs(10)) == Ok(true)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        // If the thread is gone there is nothing to stop.
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn pass(listener: std::net::TcpListener, target: SocketAddr, orders: &mpsc::Receiver<Order>, mut dice: Dice) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut links = Vec::new();
    loop {
        if let Ok(Ok((client, _))) = timeout(LOOK_EVERY, listener.accept()).await {
            links.push(tokio::spawn(carry(client, target)));
        }
        loop {
            match orders.try_recv() {
                Ok(Order::Cut(answer)) => {
                    links.retain(|link| !link.is_finished());
                    let chosen =
                        (!links.is_empty()).then(|| links.swap_remove(dice.below(links.len() as u64) as usize));
                    // A link that is dropped in the middle is reset.
                    let cut = chosen.inspect(tokio::task::JoinHandle::abort).is_some();
                    let _ = answer.send(cut);
                }
                Ok(Order::Stop) | Err(mpsc::TryRecvError::Disconnected) => return,
                Err(mpsc::TryRecvError::Empty) => break,
            }
        }
    }
}

/// Carries bytes until one side ends.
async fn carry(mut client: TcpStream, target: SocketAddr) {
    let Ok(mut broker) = TcpStream::connect(target).await else { return };
    for stream in [&client, &broker] {
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
    if tokio::io::copy_bidirectional(&mut client, &mut broker).await.is_ok() {
        for stream in [&client, &broker] {
            let _ = SockRef::from(stream).set_linger(None);
        }
    }
}
