//! Publisher and subscriber of the broker. They speak the wire format themselves, so no client library is measured.

use std::net::{SocketAddr, TcpStream};

use laneway_proto::control::{Body, DeclareTopics, Sub, Subscribe, Topic};
use laneway_proto::limits::TOPIC_ID_DYNAMIC_FIRST;

use super::link::{Holds, Link, Taken, take_control};
use crate::error::{Error, Result};
use crate::wire::{Batch, Expect, Fault, Framing, Pieces, Receive, SINGLE_BYTES_MAX, Shape, Single, Walk};

pub(super) fn topic_name(topic: u32) -> String {
    format!("bench/{topic}")
}

/// A session that has declared its topics.
pub(super) fn publisher(at: SocketAddr, topics: u32) -> Result<TcpStream> {
    publisher_of(at, (0..topics).map(topic_name), Holds::default())
}

/// A session that has declared these topics, from the first dynamic id.
pub(super) fn publisher_of(at: SocketAddr, names: impl IntoIterator<Item = String>, holds: Holds) -> Result<TcpStream> {
    Ok(publishing(at, names, holds)?.into_parts().0)
}

/// The same with what the broker said.
pub(super) fn publishing(at: SocketAddr, names: impl IntoIterator<Item = String>, holds: Holds) -> Result<Link> {
    let mut link = Link::open_holding(at, holds)?;
    let topics =
        (TOPIC_ID_DYNAMIC_FIRST..).zip(names).map(|(id, name)| Topic { id, name, ..Topic::default() }).collect();
    link.request(Body::DeclareTopics(DeclareTopics { topics }))?;
    Ok(link)
}

/// A session whose subscription is confirmed.
pub(super) fn subscriber(at: SocketAddr, topic: u32, mut opening: Opening) -> Result<(TcpStream, Opening)> {
    let mut link = Link::open(at)?;
    link.request(Body::Subscribe(Subscribe { subs: vec![Sub { pattern: topic_name(topic), ..Sub::default() }] }))?;
    let (socket, inbox) = link.into_parts();
    opening.on_bytes(&inbox).map_err(|fault| Error::Failed(fault.to_string()))?;
    Ok((socket, opening))
}

/// What a subscriber receives: the broker's declaration of the topic first, then data on the declared id.
pub(super) struct Opening {
    framing: Framing,
    shape: Shape,
    topic: u32,
    expect: Expect,
    batch_items: u32,
    inbox: Vec<u8>,
    declared: Option<u32>,
    data: Option<Box<dyn Receive>>,
}

impl Opening {
    /// For a subscriber of one topic; `batch_items` messages are in each BATCH frame.
    pub(super) fn new(framing: Framing, shape: Shape, topic: u32, expect: Expect, batch_items: u32) -> Self {
        Self { framing, shape, topic, expect, batch_items, inbox: Vec::new(), declared: None, data: None }
    }

    fn walk(&self, topic_id: u32) -> Box<dyn Receive> {
        let Self { shape, expect, batch_items, .. } = *self;
        match self.framing {
            Framing::Batch => Box::new(Walk::new(Batch::new(expect, shape, topic_id, batch_items))),
            Framing::Relay | Framing::Index | Framing::Single if shape.payload_bytes > SINGLE_BYTES_MAX => {
                Box::new(Walk::new(Pieces::new(expect, shape, topic_id)))
            }
            Framing::Relay | Framing::Index | Framing::Single => {
                Box::new(Walk::new(Single::new(expect, shape, topic_id)))
            }
        }
    }

    #[cold]
    fn open(&mut self, bytes: &[u8]) -> std::result::Result<(), Fault> {
        self.inbox.extend_from_slice(bytes);
        loop {
            match take_control(&mut self.inbox)? {
                Taken::Nothing => return Ok(()),
                Taken::Control(control) => {
                    if let Some(Body::DeclareTopics(declared)) = control.body {
                        let name = topic_name(self.topic);
                        let own = declared.topics.into_iter().find(|topic| topic.name == name);
                        self.declared = own.map(|topic| topic.id).or(self.declared);
                    }
                }
                Taken::Data(header) => {
                    if self.declared != Some(header.topic) {
                        return Err(Fault(format!("topic id {} was used before it was declared", header.topic)));
                    }
                    let mut data = self.walk(header.topic);
                    data.on_bytes(&std::mem::take(&mut self.inbox))?;
                    self.data = Some(data);
                    return Ok(());
                }
            }
        }
    }
}

impl Receive for Opening {
    fn on_bytes(&mut self, bytes: &[u8]) -> std::result::Result<(), Fault> {
        match &mut self.data {
            Some(data) => data.on_bytes(bytes),
            None => self.open(bytes),
        }
    }

    fn messages(&self) -> u64 {
        self.data.as_ref().map_or(0, |data| data.messages())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Block;
    use laneway_proto::control::Control;

    const SHAPE: Shape = Shape { payload_bytes: 64, topics: 1 };

    fn opening() -> (Opening, Vec<u8>) {
        let block = Block::new(Framing::Single, SHAPE);
        let expect = Expect::new(0, SHAPE, block.messages());
        (Opening::new(Framing::Single, SHAPE, 0, expect, 0), block.bytes().to_vec())
    }

    fn declaration(name: &str) -> Vec<u8> {
        let topic = Topic { id: TOPIC_ID_DYNAMIC_FIRST, name: name.into(), ..Topic::default() };
        Control::new(Body::DeclareTopics(DeclareTopics { topics: vec![topic] })).to_frame()
    }

    #[test]
    fn data_is_checked_from_the_first_frame_after_the_declaration() {
        let (mut receive, data) = opening();
        for part in [declaration("bench/0"), data].concat().chunks(11) {
            receive.on_bytes(part).expect("good");
        }
        assert_eq!(receive.messages(), 819);
    }

    #[test]
    fn data_before_its_declaration_is_a_fault() {
        let (mut receive, data) = opening();
        assert!(receive.on_bytes(&data).is_err());
        let (mut receive, data) = opening();
        assert!(receive.on_bytes(&[declaration("bench/1"), data].concat()).is_err());
    }
}
