//! What a device has to send: its messages wait here until the link has no more use for them.

use std::collections::{BTreeMap, VecDeque};

use laneway_proto::serial::Handle;
use laneway_proto::serial::frame::SerialKind;
use laneway_proto::serial::link::{Outgoing, Source};

use super::device::LANES;

/// A message: what it is, its topic's id, its bytes.
pub(super) type Letter = (SerialKind, u16, Vec<u8>);

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) queues: [VecDeque<Letter>; LANES],
    under_way: BTreeMap<u32, (u8, Letter)>,
    last: u32,
    /// Control messages of the beginning that have not arrived; nothing else is sent before.
    pub(super) undeclared: usize,
}

impl Store {
    /// The link has no more use for it; its lane and what it was.
    pub(super) fn finish(&mut self, Handle(handle): Handle) -> Option<(u8, Letter)> {
        self.under_way.remove(&handle)
    }
}

impl Source for Store {
    fn next(&mut self, lane: u8) -> Option<Handle> {
        if lane > 0 && self.undeclared > 0 {
            return None;
        }
        let letter = self.queues[usize::from(lane)].pop_front()?;
        self.last += 1;
        self.under_way.insert(self.last, (lane, letter));
        Some(Handle(self.last))
    }

    fn describe(&self, message: Handle) -> Outgoing {
        let (_, (kind, topic, bytes)) = &self.under_way[&message.0];
        Outgoing { kind: *kind, topic: *topic, ts: None, correlation: None, bytes: bytes.len() as u32 }
    }

    fn bytes(&self, message: Handle, offset: usize, bytes: usize) -> &[u8] {
        let (_, (_, _, whole)) = &self.under_way[&message.0];
        &whole[offset..offset + bytes]
    }
}
