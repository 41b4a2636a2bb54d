//! A door under test, with the far ends of its connections: the same for the simulator and for the kernel.

pub mod kernel;
pub mod simulated;

use laneway_broker::io::{Completion, Io, ListenerId, ReceiveEnd, Socket, Wait};
use laneway_broker::pool::PoolShape;
use laneway_broker::slab::Key;

/// Sizes small enough that every bound is reached quickly.
pub const SHAPE: PoolShape = PoolShape {
    ingress_buffer_bytes: 4_096,
    ingress_buffers: 8,
    ingress_buffers_max: 16,
    egress_buffer_bytes: 16 * 1024,
    egress_buffers_kept: 64,
};

/// Turns within which anything that was asked for has happened.
pub const TURNS_MAX: usize = 20_000;

/// The listener of every door under test.
pub const LISTENER: ListenerId = ListenerId(0);

/// Its socket for datagrams.
pub const DATAGRAMS: ListenerId = ListenerId(1);

/// What the far end of a connection finds when it reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FarRead {
    /// Bytes.
    Bytes(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// Nothing any more.
    Ended,
}

/// Two shards' doors that share doorbells, and peers that dial the first.
pub trait Doors {
    /// The implementation under test.
    type Io: Io;
    /// A peer's end of a connection.
    type Far;

    /// Bytes that are many for these doors: more than the pool holds.
    const MANY_BYTES: usize;

    /// A shard's door: 0 or 1.
    fn io(&mut self, shard: u8) -> &mut Self::Io;

    /// One turn that waits as told, but for a bounded time.
    fn turn(&mut self, shard: u8, wait: Wait) -> Vec<Completion>;

    /// One turn that waits a little if nothing is ready.
    fn turn_briefly(&mut self, shard: u8) -> Vec<Completion>;

    /// Dials shard 0.
    fn dial(&mut self) -> Self::Far;

    /// Writes what fits.
    fn write(&mut self, far: &mut Self::Far, bytes: &[u8]) -> usize;

    /// Reads what is there.
    fn read(&mut self, far: &mut Self::Far) -> FarRead;

    /// Writes no more, but still reads.
    fn finish(&mut self, far: &mut Self::Far);

    /// Tears the connection down; `false` if this kind of connection cannot be.
    fn reset(&mut self, far: Self::Far) -> bool;

    /// Whether a dial would be refused now.
    fn refuses(&mut self) -> bool;

    /// Sends a datagram to shard 0.
    fn say(&mut self, bytes: &[u8]);

    /// A datagram from shard 0, if one is there.
    fn hear(&mut self) -> Option<Vec<u8>>;

    /// Bytes of a datagram that shard 0 can take.
    fn datagram_bytes_max(&self) -> usize;

    /// Turns until `done` says so; completions that `done` does not want are its own business.
    ///
    /// # Panics
    /// If that takes more than [`TURNS_MAX`] turns.
    fn turn_until(&mut self, what: &str, mut done: impl FnMut(&mut Self, &[Completion]) -> bool)
    where
        Self: Sized,
    {
        for _ in 0..TURNS_MAX {
            let completions = self.turn_briefly(0);
            if done(self, &completions) {
                return;
            }
        }
        panic!("{TURNS_MAX} turns passed, and still not: {what}");
    }

    /// Dials, accepts, and names the connection `slot`.
    fn connect(&mut self, slot: u32) -> Connected<Self::Far>
    where
        Self: Sized,
    {
        let far = self.dial();
        let mut socket = None;
        self.turn_until("the dial is accepted", |door, completions| {
            for completion in completions {
                match *completion {
                    Completion::Accepted { socket: accepted, .. } => socket = Some(accepted),
                    Completion::AcceptEnded { listener, .. } => door.io(0).accept(listener),
                    Completion::Received { .. }
                    | Completion::ReceiveEnded { .. }
                    | Completion::Sent { .. }
                    | Completion::Datagram { .. }
                    | Completion::DatagramsEnded { .. }
                    | Completion::Doorbell => {}
                }
            }
            socket.is_some()
        });
        let socket = socket.unwrap_or(Socket(-1));
        Connected { key: Key { slot, generation: slot + 7 }, socket, far }
    }
}

/// An accepted connection and its far end.
#[derive(Debug)]
pub struct Connected<F> {
    /// The name its completions carry.
    pub key: Key,
    /// The near end.
    pub socket: Socket,
    /// The far end.
    pub far: F,
}

/// Whether a receive that ended so is simply started again.
pub const fn resumes(end: ReceiveEnd) -> bool {
    match end {
        ReceiveEnd::NoBuffers | ReceiveEnd::Restart => true,
        ReceiveEnd::Closed | ReceiveEnd::Cancelled | ReceiveEnd::Failed(_) => false,
    }
}

/// Bytes whose place can be told from their value.
pub fn pattern(count: usize) -> Vec<u8> {
    (0..count as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}
