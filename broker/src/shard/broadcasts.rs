//! Links to all: each is a connection without a socket, whose subscriptions are what goes out, and that publishes what it
//! hears.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::net::SocketAddr;

use laneway_proto::datagram::broadcast::{Broadcast, Repair, Setup};
use laneway_proto::datagram::limits::DATAGRAM_BYTES_DEFAULT;
use laneway_proto::session::Session;

use super::{Ear, Shard};
use crate::config::url::BroadcastOptions;
use crate::conn::datagrams::DatagramLink;
use crate::conn::{Conn, Receiving};
use crate::io::{Io, ListenerId, PeerAddress, Socket};

/// Bytes a second of one link unless its URL says otherwise: half of what a gigabit carries, since nobody says when it is too much.
const BYTES_PER_S_DEFAULT: u64 = 60_000_000;

/// A link to all, and the sockets that it has.
#[derive(Clone, Debug)]
pub struct ToAll {
    /// Hears what is said to all.
    pub ear: ListenerId,
    /// Speaks to all, and hears who answers.
    pub mouth: ListenerId,
    /// Where, and what of.
    pub options: BroadcastOptions,
}

impl<I: Io> Shard<I> {
    pub(super) fn start_broadcasts(&mut self) {
        for link in std::mem::take(&mut self.broadcasts) {
            self.start_broadcast(link);
        }
    }

    fn start_broadcast(&mut self, ToAll { ear, mouth, options }: ToAll) {
        let BroadcastOptions { group, port, out, heard, repair_percent, bytes_per_s, iface: _ } = options;
        let Some(refused) = self.admit(mouth) else { return };
        let now = self.now();
        // Nobody else has these: they are drawn from what nobody else knows.
        let draw =
            |of: &str| BuildHasherDefault::<DefaultHasher>::default().hash_one((self.identity.secret, of, mouth.0));
        let (low, high) = (draw("low").to_le_bytes(), draw("high").to_le_bytes());
        let mut node_id = [0; 16];
        let (front, back) = node_id.split_at_mut(8);
        front.copy_from_slice(&low);
        back.copy_from_slice(&high);
        let setup = Setup {
            sender: (draw("sender") as u32).max(1),
            epoch: 0,
            datagram_bytes: DATAGRAM_BYTES_DEFAULT,
            bytes_per_s: bytes_per_s.unwrap_or(BYTES_PER_S_DEFAULT),
            lanes: self.settings.lanes,
            repair: repair_percent.map(|percent| Repair { percent, ..Repair::default() }),
            node_id,
        };
        let session = Session::new(now, self.settings.limits.patience());
        let address = SocketAddr::from((group, port));
        let link = Broadcast::for_broker(setup, out, heard);
        let key = self.conns.insert_with(|_| Conn {
            refused,
            receiving: Receiving::Many,
            datagrams: Some(Box::new(DatagramLink::to_all(link, address))),
            ..Conn::new(Socket::NONE, PeerAddress::All(address), mouth, session, now)
        });
        for listener in [ear, mouth] {
            self.datagrams.add_ear(Ear { listener, key });
        }
        self.list_link(key);
        self.arm_timer(key);
    }
}
