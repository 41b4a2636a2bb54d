//! Which nodes have sessions here: a new process of a node ends the sessions of the one before it.

use std::collections::BTreeMap;

use laneway_proto::error::CloseCode;
use laneway_proto::limits::NODE_ID_BYTES;

use super::Shard;
use crate::io::Io;
use crate::mesh::Envelope;
use crate::slab::Key;

/// A node's name.
pub(super) type NodeId = [u8; NODE_ID_BYTES];

/// Sessions by node, with the epoch that each stated.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    sessions: BTreeMap<(NodeId, Key), u64>,
}

impl Nodes {
    /// Sessions of a node that stated another epoch than this.
    fn older(&self, node_id: NodeId, epoch: u64) -> Vec<Key> {
        let first = (node_id, Key { slot: 0, generation: 0 });
        let of_node = self.sessions.range(first..).take_while(|((node, _), _)| *node == node_id);
        of_node.filter(|(_, known)| **known != epoch).map(|((_, key), _)| *key).collect()
    }
}

impl<I: Io> Shard<I> {
    /// A session of a node begins: those of its earlier processes end, on all shards.
    pub(super) fn enter_node(&mut self, key: Key, epoch: u64) {
        let Some(node_id) = self.conns.at(key).map(|conn| conn.node_id) else { return };
        if node_id == NodeId::default() {
            return;
        }
        self.replace_node(node_id, epoch);
        for shard in self.mesh.others() {
            self.mesh.post(shard, Envelope::Node { node_id, epoch });
        }
        self.nodes.sessions.insert((node_id, key), epoch);
    }

    /// A session is over.
    pub(super) fn leave_node(&mut self, key: Key) {
        if let Some(conn) = self.conns.at(key) {
            self.nodes.sessions.remove(&(conn.node_id, key));
        }
    }

    /// Ends the sessions here of other processes of a node.
    pub(super) fn replace_node(&mut self, node_id: NodeId, epoch: u64) {
        for key in self.nodes.older(node_id, epoch) {
            if self.conns.at(key).is_some_and(crate::conn::Conn::is_away) {
                self.end_away(key);
            } else {
                self.say_goodbye(key, CloseCode::Replaced, "a newer process of this node has connected");
            }
        }
    }
}
