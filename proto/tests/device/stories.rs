//! What every device library has to do: stories of a device and the hosts' link on a line in virtual time.

use std::path::Path;

use laneway_proto::serial::control::{Control, Entries, LaneLimit};
use laneway_proto::time::Duration;

use crate::serial::line::Damage;

use super::process::{ACKED, CLOSED, OPENED};
use super::rig::Rig;

/// Topics are declared, and messages pass both ways on every lane.
pub(crate) fn messages_pass(program: &Path) {
    for baud in [9_600, 115_200, 3_000_000] {
        let mut rig = Rig::open(program, baud, true, 1);
        assert_eq!(rig.host.names, [(0x4000, "up".to_owned()), (0x4001, "down".to_owned())].into());
        for lane in 1..5 {
            assert!(rig.device_publish(lane, &[lane, 0, 0, 7]), "lane {lane}");
            rig.host.publish(rig.now, lane, 0x4001, &[lane, 0, 9]);
        }
        rig.run_ms(500);
        let expected: Vec<_> = (1..5).map(|lane| (lane, 0x4000, vec![lane, 0, 0, 7])).collect();
        let mut received = rig.host.received.clone();
        received.sort();
        assert_eq!(received, expected, "{baud}");
        let mut lanes: Vec<_> = rig.device.received.iter().map(|message| message.payload[0]).collect();
        lanes.sort_unstable();
        assert_eq!(lanes, [1, 2, 3, 4], "{baud}");
        assert_eq!((rig.device.count(ACKED), rig.device.count(OPENED), rig.host.opened), (2, 1, 1));
        assert_eq!(rig.host.link.counters().bad, 0);
    }
}

/// An idle session stays open, and clocks wrap.
pub(crate) fn idles(program: &Path) {
    let mut rig = Rig::open(program, 115_200, true, 2);
    rig.run_ms(60_000);
    assert_eq!((rig.device.count(CLOSED), &rig.host.ended[..]), (0, &[][..]));
}

/// Sends `count` numbered messages each way on lanes 1 and 2 of a line with this damage.
fn exchange(program: &Path, baud: u32, selective: bool, seed: u64, damage: Damage, count: u32) {
    let mut rig = Rig::open(program, baud, selective, seed);
    rig.damage(damage);
    // At 9,600 baud a frame carries 32 bytes.
    let more = if baud < 50_000 { 28 } else { 60 };
    let payload = |number: u32| {
        let rest = (4..4 + number % more).map(|at| (number.wrapping_mul(at | 1) >> 5) as u8);
        number.to_le_bytes().into_iter().chain(rest).collect::<Vec<_>>()
    };
    let mut next = [0; 2];
    let deadline = u64::from(count) * 2_000 * 115_200 / u64::from(baud);
    let done = rig.run_until(deadline, |rig| {
        for (lane, next) in [1, 2].into_iter().zip(&mut next) {
            while *next < count && *next < rig.device.acked[usize::from(lane)] + 2 {
                assert!(rig.device_publish(lane, &payload(*next)), "there is room for two");
                rig.host.publish(rig.now, lane, 0x4001, &payload(*next));
                *next += 1;
            }
        }
        next == [count; 2] && rig.host.unsent() == 0 && rig.device.acked[1..3] == [count; 2]
    });
    let counters = *rig.host.link.counters();
    println!("{baud} baud, selective {selective}, seed {seed}, {:?}: {counters:?}", rig.now);
    assert!(done, "{next:?} sent, {} acknowledged", rig.device.count(ACKED));
    let expected: Vec<_> = (0..count).map(payload).collect();
    for lane in [1, 2] {
        let mut up: Vec<_> = rig.host.received.iter().filter(|got| got.0 == lane).map(|got| got.2.clone()).collect();
        let mut down: Vec<_> =
            rig.device.received.iter().filter(|got| got.lane == lane).map(|got| got.payload.clone()).collect();
        if lane == 2 {
            // No order is promised.
            up.sort_by_key(|message| u32::from_le_bytes(*message.first_chunk().expect("a number")));
            down.sort_by_key(|message| u32::from_le_bytes(*message.first_chunk().expect("a number")));
        }
        assert!(up == expected, "lane {lane} upwards: {} of {count}", up.len());
        assert!(down == expected, "lane {lane} downwards: {} of {count}", down.len());
    }
    assert_eq!((rig.device.count(CLOSED), &rig.host.ended[..]), (0, &[][..]), "the session lives on");
}

/// Reliable lanes are complete and in order over lossy lines.
pub(crate) fn survives_losses(program: &Path) {
    let bad = Damage { flip: 2e-4, drop: 1e-4, ..Damage::default() };
    let worse = Damage { flip: 2e-4, drop: 5e-4, insert: 1e-4, burst: 1e-4 };
    let count = if std::env::var_os("LANEWAY_LONG").is_some() { 10_000 } else { 300 };
    for (seed, (baud, selective, damage)) in [
        (115_200, true, Damage::default()),
        (115_200, true, bad),
        (115_200, false, bad),
        (115_200, true, worse),
        (115_200, false, worse),
        (921_600, true, bad),
        (9_600, true, bad),
    ]
    .into_iter()
    .enumerate()
    {
        exchange(program, baud, selective, seed as u64 + 10, damage, count);
    }
}

/// From now until a message published from now on has passed each way, of those published every 20 ms.
fn flows_again(rig: &mut Rig, tag: u8) -> Duration {
    let start = rig.now;
    for _ in 0..250 {
        rig.device_publish(1, &[b'u', tag]);
        let now = rig.now;
        rig.host.publish(now, 1, 0x4001, &[b'd', tag]);
        let done = rig.run_until(20, |rig| {
            let up = rig.host.received.iter().rev().any(|got| got.2 == [b'u', tag]);
            up && rig.device.received.iter().rev().any(|got| got.payload == [b'd', tag])
        });
        if done {
            return rig.now.since(start);
        }
    }
    panic!("nothing flows five seconds later: {:?} {:?}", rig.device.told, rig.host.ended);
}

/// A reset of either end at any byte heals by itself.
pub(crate) fn survives_resets(program: &Path) {
    for (baud, bound_ms) in [(9_600, 1_000), (115_200, 500), (921_600, 500)] {
        let byte_ns = 10_000_000_000 / u64::from(baud);
        let mut worst = Duration::ZERO;
        let mut rig = Rig::open(program, baud, true, 9);
        // 16 bytes of payload are 27 on the line; the first byte leaves at once.
        for (round, (who, offset)) in (0..2).flat_map(|who| (0..=27).map(move |offset| (who, offset))).enumerate() {
            rig.run_ms(400);
            rig.device_publish(1, &[0x55; 16]);
            let now = rig.now;
            rig.host.publish(now, 1, 0x4001, &[0x55; 16]);
            rig.run_until_ns(byte_ns * offset, |_| false);
            let (ended, closed) = (rig.host.ended.len(), rig.device.count(CLOSED));
            if who == 0 {
                rig.reset_host(1_000 + round as u32);
            } else {
                rig.reset_device(2_000 + round as u32);
            }
            let took = flows_again(&mut rig, round as u8);
            assert!(rig.host.ended.len() <= ended + 1 && rig.device.count(CLOSED) <= closed + 1, "one end at most");
            worst = worst.max(took);
        }
        println!("{baud}: {worst:?}");
        assert!(worst <= Duration::from_millis(bound_ms), "{baud} baud: {worst:?}");
    }
}

/// An unplugged line, a killed host and noise heal by themselves.
pub(crate) fn survives_the_world(program: &Path) {
    let mut rig = Rig::open(program, 115_200, true, 21);
    for (round, ms) in [100, 1_000, 10_000].into_iter().enumerate() {
        rig.wires.iter_mut().for_each(|wire| wire.unplugged = true);
        rig.run_ms(ms);
        rig.wires.iter_mut().for_each(|wire| wire.unplugged = false);
        let took = flows_again(&mut rig, round as u8);
        assert!(took <= Duration::from_millis(1_000), "unplugged for {ms} ms: {took:?}");
        rig.run_ms(100);
    }
    rig.host_is_dead = true;
    rig.run_ms(5_000);
    assert!(!rig.device.is_open, "the device noticed");
    rig.host_is_dead = false;
    rig.reset_host(99);
    assert!(flows_again(&mut rig, 10) <= Duration::from_millis(500));
    for (round, bytes) in [1, 27, 254, 1_000, 4_096].into_iter().enumerate() {
        rig.run_ms(50);
        let now = rig.now;
        rig.wires.iter_mut().for_each(|wire| wire.garbage(now, bytes));
        let took = flows_again(&mut rig, 20 + round as u8);
        assert!(took <= Duration::from_millis(1_500), "{bytes} bytes of noise: {took:?}");
    }
}

/// The device keeps to the credit of the host and grants its own: four messages on lane 1.
pub(crate) fn keeps_to_credit(mut rig: Rig) {
    assert!(rig.run_until(500, |rig| rig.device.is_open && !rig.host.wanted.is_empty()));
    for number in 0..10 {
        let now = rig.now;
        rig.host.publish(now, 1, 0x4001, &[number]);
    }
    rig.run_ms(500);
    assert_eq!(rig.device.received.len(), 4, "the device allows four");
    rig.device.ask("g 1 3");
    rig.wake_device();
    rig.run_ms(500);
    assert_eq!(rig.host.granted, [(1, 7)].into(), "CREDIT says the last number");
    assert_eq!(rig.device.received.len(), 7, "then seven");

    rig.host.set_credit(1, 3);
    rig.reset_host(5);
    assert!(rig.run_until(500, |rig| rig.host.opened == 2 && !rig.host.wanted.is_empty()));
    let (mut published, before) = (0, rig.host.received.len());
    let mut publish = |rig: &mut Rig, ms| {
        rig.run_until(ms, |rig| {
            published += u32::from(published < rig.device.acked[1] + 2 && rig.device_publish(1, &[published as u8]));
            false
        });
    };
    publish(&mut rig, 500);
    assert_eq!(rig.host.received.len(), before + 3, "the host allows three");
    let limit = LaneLimit { lane: 1, through: 8 };
    rig.host.link.grant(limit);
    let (now, mut room) = (rig.now, [0; 24]);
    rig.host.control(now, &Control::Credit(Entries::credit(&[limit], &mut room)));
    publish(&mut rig, 500);
    assert_eq!(rig.host.received.len(), before + 8, "then eight");
    assert_eq!(rig.device.count(CLOSED), 1);
}
