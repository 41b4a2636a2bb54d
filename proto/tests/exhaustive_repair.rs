//! Repair of a broadcast lane with two receivers, exhaustively: each of the first datagrams at each receiver, be it a
//! message, a request, a repair or a heartbeat, arrives, is lost, or comes late and behind others, in every combination.
//! Everybody ends with each message or with the report that it is lost, and with the message if the source still has it.
#![cfg(feature = "control")]

pub mod broadcast;

use broadcast::Node;
use broadcast::world::{MS, World};
use laneway_proto::datagram::broadcast::Repair;
use laneway_proto::datagram::limits::REPAIR_MS_DEFAULT;

const COMMAND: u8 = 1;
const EVENT: u8 = 2;
const RECEIVERS: usize = 2;
const MESSAGES: u32 = 3;
/// Longer than from one message to the next, and than it takes to ask.
const LATE_NS: u64 = 3 * MS;

/// What happens to the first datagrams, one digit each: 0 arrives, 1 is lost, 2 is late. What comes behind them arrives.
struct Fates {
    digits: u32,
    left: u32,
}

impl Fates {
    fn late_by(&mut self) -> Option<u64> {
        let digit = if self.left > 0 { self.digits % 3 } else { 0 };
        self.digits /= 3;
        self.left = self.left.saturating_sub(1);
        [Some(0), None, Some(LATE_NS)][digit as usize]
    }
}

fn world() -> World {
    let repair = Repair { percent: 200, receivers: RECEIVERS as u32 };
    let mut nodes: Vec<Node> =
        (1..=RECEIVERS as u32 + 1).map(|sender| Node::repaired(sender, 0, repair, 10_000_000)).collect();
    nodes[1..].iter_mut().for_each(|node| node.subscribe(&["a/#"]));
    World::new(nodes)
}

/// A message that is long enough to be alone in its datagram.
fn publish(world: &mut World, lane: u8, number: u32) {
    let mut payload = vec![0x5A; 1_000];
    payload[..4].copy_from_slice(&number.to_le_bytes());
    world.nodes[0].publish("a/b", lane, &payload);
}

/// Every message once, or lost, and in order where the lane says so; how many are lost.
fn check(node: &mut Node, lane: u8, sent: u32, what: &str) -> u64 {
    let number = |payload: &[u8]| u32::from_le_bytes(payload[..4].try_into().expect("four bytes"));
    let mut heard: Vec<u32> = node.heard().iter().map(|(_, payload)| number(payload)).collect();
    assert!(lane == EVENT || heard.is_sorted(), "{what}: out of order: {heard:?}");
    let count = heard.len();
    heard.sort_unstable();
    heard.dedup();
    assert_eq!(heard.len(), count, "{what}: something came twice");
    let accounted = count as u64 + node.lost;
    assert_eq!(accounted, u64::from(sent), "{what}: heard {heard:?}, and {} are lost", node.lost);
    node.lost
}

/// All fates of the first `datagrams`; calls `each` with the world in which they happened to the first messages.
fn explore(datagrams: u32, mut each: impl FnMut(World, u8, &str)) {
    for lane in [COMMAND, EVENT] {
        for digits in 0..3u32.pow(datagrams) {
            let mut fates = Fates { digits, left: datagrams };
            let mut world = world();
            for number in 0..MESSAGES {
                publish(&mut world, lane, number);
                let until = world.now + MS;
                world.run_delaying(until, &mut |_| fates.late_by());
            }
            let until = world.now + 60 * MS;
            world.run_delaying(until, &mut |_| fates.late_by());
            each(world, lane, &format!("lane {lane}, fates {digits}"));
        }
    }
}

/// How many datagrams have a fate: three messages at two receivers, and what follows from them.
fn datagrams() -> u32 {
    if std::env::var_os("LANEWAY_LONG").is_some() { 12 } else { 10 }
}

#[test]
fn whatever_happens_to_the_first_datagrams_everybody_gets_every_message() {
    let mut asked = 0;
    explore(datagrams(), |mut world, lane, what| {
        let until = world.now + 4_000 * MS;
        world.run(until, &mut |_| false);
        for place in 1..=RECEIVERS {
            let what = format!("{what}, receiver {place}");
            assert_eq!(check(&mut world.nodes[place], lane, MESSAGES, &what), 0, "{what}");
            asked += world.nodes[place].link.stats().requests_out;
        }
    });
    assert!(asked > 1_000, "{asked} requests: nothing was repaired");
}

#[test]
fn what_the_source_has_no_more_is_reported_by_everybody_who_lacks_it() {
    let (mut lost, mut lost_all) = (0, 0);
    explore(datagrams(), |mut world, lane, what| {
        // Nothing gets through until the source has forgotten.
        let until = world.now + 2 * u64::from(REPAIR_MS_DEFAULT) * MS;
        world.run(until, &mut |_| true);
        publish(&mut world, lane, MESSAGES);
        let until = world.now + 4_000 * MS;
        world.run(until, &mut |_| false);
        for place in 1..=RECEIVERS {
            let own = check(&mut world.nodes[place], lane, MESSAGES + 1, &format!("{what}, receiver {place}"));
            lost += own;
            // Who has heard nothing before hears by the number of the last message how many there were.
            lost_all += u64::from(own == u64::from(MESSAGES));
        }
    });
    assert!(lost > 100 && lost_all > 0, "{lost} lost, {lost_all} times all: nothing was forgotten");
}
