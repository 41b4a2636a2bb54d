//! The simulator's door under test.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;

use laneway_broker::io::{Completion, Io as _, PeerAddress, Wait};
use laneway_broker::pool::PoolShape;
use laneway_proto::time::{Duration, Instant};

use super::{Doors, FarRead, LISTENER, SHAPE};
use crate::sim::faults::NetworkConfig;
use crate::sim::io::SimIo;
use crate::sim::net::LinkId;
use crate::sim::rng::Rng;
use crate::sim::world::{Actor, ClientRead, World};

/// Virtual time that one brief turn waits at most.
const BRIEFLY: Duration = Duration::from_millis(10_000);
/// Virtual time that any turn waits at most.
const LONG: Duration = Duration::from_millis(3_600_000);

/// Two simulated shards.
#[derive(Debug)]
pub struct SimulatedDoors {
    world: Rc<RefCell<World>>,
    doors: [SimIo; 2],
    dials: u32,
}

impl SimulatedDoors {
    /// Doors into the world of a seed whose network delays, cuts and interrupts, but does not break connections.
    pub fn open(seed: u64) -> Self {
        let mut config = NetworkConfig::draw(&mut Rng::new(seed, 9));
        config.heal();
        config.backlog_max = 1_000;
        let world = Rc::new(RefCell::new(World::new(seed, config, 2, 1, false)));
        let door = |shard| SimIo::new(Rc::clone(&world), shard, PoolShape { ingress_buffer_bytes: 256, ..SHAPE });
        let mut this = Self { doors: [door(0), door(1)], world, dials: 0 };
        this.doors[0].accept(LISTENER);
        this
    }

    fn turn_within(&mut self, shard: u8, wait: Wait, limit: Duration) -> Vec<Completion> {
        let mut completions = Vec::new();
        let end = self.world.borrow().now() + limit;
        loop {
            match self.doors[usize::from(shard)].turn(wait, &mut completions) {
                Ok(()) => return completions,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "a simulated turn fails in one way"),
            }
            let next = self.world.borrow_mut().next(end);
            match next {
                Some(Actor::Shard(_)) => {}
                // The far end has something to do.
                Some(Actor::Client(_)) if limit == BRIEFLY => return completions,
                Some(Actor::Client(_)) => {}
                None => return completions,
            }
        }
    }
}

impl Doors for SimulatedDoors {
    type Io = SimIo;
    type Far = LinkId;
    const MANY_BYTES: usize = 6_000;

    fn io(&mut self, shard: u8) -> &mut SimIo {
        &mut self.doors[usize::from(shard)]
    }

    fn turn(&mut self, shard: u8, wait: Wait) -> Vec<Completion> {
        self.turn_within(shard, wait, LONG)
    }

    fn turn_briefly(&mut self, shard: u8) -> Vec<Completion> {
        let until: Instant = self.world.borrow().now() + BRIEFLY;
        self.turn_within(shard, Wait::Until(until), BRIEFLY)
    }

    fn dial(&mut self) -> LinkId {
        self.dials += 1;
        let address = PeerAddress::Unix { uid: 1_000, pid: self.dials as i32 };
        self.world.borrow_mut().dial(self.dials, 0, LISTENER, address)
    }

    fn write(&mut self, far: &mut LinkId, bytes: &[u8]) -> usize {
        self.world.borrow_mut().client_write(*far, bytes)
    }

    fn read(&mut self, far: &mut LinkId) -> FarRead {
        let mut bytes = vec![0; 100_000];
        match self.world.borrow_mut().client_read(*far, &mut bytes) {
            ClientRead::Bytes(count) => {
                bytes.truncate(count);
                FarRead::Bytes(bytes)
            }
            ClientRead::Nothing => FarRead::Nothing,
            ClientRead::Ended(_) => FarRead::Ended,
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.world.borrow_mut().client_datagram(0, bytes);
    }

    fn hear(&mut self) -> Option<Vec<u8>> {
        self.world.borrow_mut().client_take_datagram(0)
    }

    fn datagram_bytes_max(&self) -> usize {
        // Its buffers are that small.
        256
    }

    fn finish(&mut self, far: &mut LinkId) {
        self.world.borrow_mut().client_finish(*far);
    }

    fn reset(&mut self, far: LinkId) -> bool {
        self.world.borrow_mut().client_reset(far);
        true
    }

    fn refuses(&mut self) -> bool {
        let far = self.dial();
        self.turn_briefly(0);
        self.world.borrow().client_refused(far)
    }
}
