//! The other end of the line: a peer that a test scripts frame by frame, and a small broker that routes.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod mini;

use bytes::{Buf as _, BytesMut};
use laneway_proto::control::{Body, Control, Hello, Limits, Welcome};
use laneway_proto::error::CloseCode;
use laneway_proto::framing::length::{Front, front};
use laneway_proto::header::{Header, Kind};
use laneway_proto::session::handshake::{PREFACE, feature};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};

/// What a broker says by default.
pub(crate) fn welcome() -> Welcome {
    Welcome {
        version: 1,
        session: 0x0101,
        epoch: 42,
        node_id: vec![9; 16],
        features: feature::BATCH | feature::FRAGMENTS,
        limits: Some(Limits { max_message: 1 << 20, ..Limits::default() }),
        ..Welcome::default()
    }
}

/// One frame as it arrived.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    pub(crate) fn control(&self) -> Control {
        assert_eq!(self.header.kind, Kind::CTRL, "{self:?}");
        Control::decode_body(&self.body).expect("a control message")
    }
}

/// The broker's end of one connection, driven by the test.
pub(crate) struct Peer<S> {
    stream: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Shakes hands; returns the client's HELLO.
    pub(crate) async fn greet(&mut self, welcome: Welcome) -> Hello {
        let hello = self.hear_hello().await;
        self.send(&[&PREFACE[..], &Control::new(Body::Welcome(welcome)).to_frame()].concat()).await;
        hello
    }

    pub(crate) async fn hear_hello(&mut self) -> Hello {
        while self.buffer.len() < 8 {
            assert!(self.fill().await, "no preface");
        }
        assert_eq!(self.buffer[..8], PREFACE);
        self.buffer.advance(8);
        match self.frame().await.expect("HELLO").control().body {
            Some(Body::Hello(hello)) => hello,
            other => panic!("not HELLO: {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the client reads");
    }

    /// The next frame, or `None` at the end.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Front::Whole(header) = front(&self.buffer, 65_535).expect("frames") {
                let frame = self.buffer.split_to(header.len.into());
                return Some(Frame { header, body: frame[16..].to_vec() });
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The next frame of another kind than CTRL.
    pub(crate) async fn data(&mut self) -> Frame {
        loop {
            let frame = self.frame().await.expect("a data frame");
            if frame.header.kind != Kind::CTRL {
                return frame;
            }
        }
    }

    /// Answers the next subscription.
    pub(crate) async fn confirm(&mut self, code: CloseCode, text: &str) -> Control {
        let control = self.frame().await.expect("a subscription").control();
        assert!(matches!(control.body, Some(Body::Subscribe(_))), "{control:?}");
        self.send(&Control::answer(control.id, code, text).to_frame()).await;
        control
    }

    async fn fill(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(count) if count > 0)
    }
}

/// A client's stream and the scripted broker at its other end; the pipe holds `bytes` each way.
pub(crate) fn pipe(bytes: usize) -> (DuplexStream, Peer<DuplexStream>) {
    let (client, broker) = tokio::io::duplex(bytes);
    (client, Peer::new(broker))
}

/// A data frame.
pub(crate) fn frame(kind: Kind, topic: u32, seq: u32, body: &[u8]) -> Vec<u8> {
    let header = Header { topic, lane: 1, seq, ..Header::new(kind, body.len()) };
    [&header.encode()[..], body].concat()
}

/// The declaration of a topic.
pub(crate) fn declare(id: u32, name: &str) -> Vec<u8> {
    let topic = laneway_proto::control::Topic { id, name: name.into(), ..Default::default() };
    let topics = laneway_proto::control::DeclareTopics { topics: vec![topic] };
    Control::new(Body::DeclareTopics(topics)).to_frame()
}

/// A connected client and the scripted broker it talks to.
pub(crate) async fn connected(
    options: laneway_client::ConnectOptions,
    bytes: usize,
) -> (laneway_client::Client, Peer<DuplexStream>) {
    let (stream, mut peer) = pipe(bytes);
    let (client, _) = tokio::join!(options.connect_over(stream), peer.greet(welcome()));
    (client.expect("connected"), peer)
}
