//! A broker small enough to be obviously right: one lock, unbounded queues, no shards.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use laneway_proto::control::{Body, Control, Welcome};
use laneway_proto::error::CloseCode;
use laneway_proto::frame::ping::{Ping, Pong};
use laneway_proto::header::{Header, Kind};
use laneway_proto::topic::matches;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use super::{Frame, Peer, welcome};

#[derive(Clone, Default)]
pub(crate) struct MiniBroker {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<u32, Session>,
    ids: HashMap<String, u32>,
    last: u32,
    /// Another one stands for another process.
    epoch: Option<u64>,
    connections: Vec<AbortHandle>,
}

struct Session {
    filters: HashSet<String>,
    declared: HashSet<u32>,
    out: UnboundedSender<Vec<u8>>,
}

/// A session leaves the broker with its connection, however that ends.
struct Present(MiniBroker, u32);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.state.lock().expect("no panic").sessions.remove(&self.1);
    }
}

impl MiniBroker {
    /// A broker process of its own, with topic ids that no other one uses.
    pub(crate) fn with_epoch(epoch: u64) -> Self {
        let broker = Self::default();
        broker.state.lock().expect("no panic").epoch = Some(epoch);
        broker.state.lock().expect("no panic").ids.insert("$filler".into(), epoch as u32);
        broker
    }

    /// Listens on a free TCP port; returns the URL.
    pub(crate) async fn tcp(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("tcp://{}", listener.local_addr().expect("bound"));
        self.listen(listener);
        url
    }

    /// Takes connections until it is killed.
    pub(crate) fn listen(&self, listener: TcpListener) {
        let broker = self.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("TCP");
                let serving = tokio::spawn(broker.clone().serve(stream));
                broker.state.lock().expect("no panic").connections.push(serving.abort_handle());
            }
        });
        self.state.lock().expect("no panic").connections.insert(0, accepting.abort_handle());
    }

    /// Cuts every TCP connection; new ones are taken.
    pub(crate) fn sever(&self) {
        self.state.lock().expect("no panic").connections.drain(1..).for_each(|connection| connection.abort());
    }

    /// Ends at once, as a killed process does.
    pub(crate) fn kill(&self) {
        self.state.lock().expect("no panic").connections.drain(..).for_each(|task| task.abort());
    }

    /// Listens on a Unix socket; returns the URL.
    pub(crate) async fn unix(&self, path: &std::path::Path) -> String {
        let listener = UnixListener::bind(path).expect("a free path");
        let broker = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(broker.clone().serve(stream));
            }
        });
        format!("unix://{}", path.display())
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let (read, write) = tokio::io::split(stream);
        let (out, queue) = unbounded_channel();
        let session = {
            let mut state = self.state.lock().expect("no panic");
            state.last += 1;
            let session = state.last;
            state
                .sessions
                .insert(session, Session { filters: HashSet::new(), declared: HashSet::new(), out: out.clone() });
            session
        };
        let present = Present(self.clone(), session);
        let epoch = self.state.lock().expect("no panic").epoch.unwrap_or(42);
        let mut peer = Peer::new(tokio::io::join(read, tokio::io::sink()));
        tokio::spawn(send(queue, write));
        peer.hear_hello().await;
        let answer = Control::new(Body::Welcome(Welcome { session, epoch, ..welcome() })).to_frame();
        let _ = out.send([&laneway_proto::session::handshake::PREFACE[..], &answer].concat());
        let mut names = HashMap::new();
        while let Some(frame) = peer.frame().await {
            match frame.header.kind {
                Kind::PING => {
                    let t0 = Ping::decode(&frame.body).expect("a ping").t0;
                    let _ = out.send(Pong { t0, t1: 0, t2: 0 }.encode().to_vec());
                }
                Kind::CTRL => self.control(session, &frame, &mut names, &out),
                _ => self.route(&names[&frame.header.topic], &frame),
            }
        }
        drop(present);
    }

    fn control(&self, session: u32, frame: &Frame, names: &mut HashMap<u32, String>, out: &UnboundedSender<Vec<u8>>) {
        let control = frame.control();
        let mut state = self.state.lock().expect("no panic");
        let filters = &mut state.sessions.get_mut(&session).expect("registered").filters;
        match control.body {
            Some(Body::DeclareTopics(declare)) => {
                names.extend(declare.topics.into_iter().map(|topic| (topic.id, topic.name)));
            }
            Some(Body::Subscribe(subscribe)) => {
                filters.extend(subscribe.subs.into_iter().map(|sub| sub.pattern));
                let _ = out.send(Control::answer(control.id, CloseCode::Normal, "").to_frame());
            }
            Some(Body::Unsubscribe(unsubscribe)) => {
                for pattern in unsubscribe.patterns {
                    filters.remove(&pattern);
                }
            }
            Some(Body::Goodbye(_)) => {}
            other => panic!("unexpected {other:?}"),
        }
    }

    fn route(&self, name: &str, frame: &Frame) {
        let mut state = self.state.lock().expect("no panic");
        let next = state.ids.values().max().map_or(1, |id| id + 1);
        let topic = *state.ids.entry(name.into()).or_insert(next);
        let header = Header { topic, ..frame.header };
        let bytes = [&header.encode()[..], &frame.body].concat();
        for session in state.sessions.values_mut() {
            if session.filters.iter().any(|filter| matches(filter, name)) {
                if session.declared.insert(topic) {
                    let _ = session.out.send(super::declare(topic, name));
                }
                let _ = session.out.send(bytes.clone());
            }
        }
    }
}

async fn send<W: AsyncWrite + Unpin>(mut queue: UnboundedReceiver<Vec<u8>>, mut sink: W) {
    while let Some(bytes) = queue.recv().await {
        if sink.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = sink.shutdown().await;
}
