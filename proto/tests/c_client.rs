//! The C library of devices, `client/c`: the vectors of `docs/SERIAL.md`, and the library against the link of the hosts
//! over lines of every kind, in virtual time.

pub mod device;
pub mod document;
mod serial;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use laneway_proto::serial::crc::session_preset;

use device::build::program;
use device::process::{ACKED, CLOSED, OPENED, hex};
use device::rig::Rig;
use serial::line::Damage;

const DOCUMENT: &str = include_str!("../../docs/SERIAL.md");

fn c_device() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| program("c-device", &["tests/host.c", "laneway.c"], &[]))
}

fn open(baud: u32, selective: bool, seed: u64) -> Rig {
    let mut rig = Rig::new(c_device(), baud, selective, seed);
    let ready = |rig: &mut Rig| rig.device.is_open && rig.host.link.is_open() && !rig.host.wanted.is_empty();
    assert!(rig.run_until(1_000, ready), "a good line opens: {:?}", rig.device.told);
    rig
}

#[test]
fn the_c_library_says_and_understands_the_golden_vectors() {
    let mut lines = String::new();
    for (title, text) in document::blocks(DOCUMENT) {
        let (frame, wire) = text.split_once("=>").expect("a frame and what travels");
        let session = format!("{:08x}", session_preset(0x1122_3344, 0xA1B2_C3D4));
        let (name, preset) = title.split_once(" preset ").unwrap_or((title, &session));
        lines += &format!("{name} {preset} {} {}\n", hex(&document::bytes(frame)), hex(&document::bytes(wire)));
    }
    for (name, defines) in [("golden", &[][..]), ("golden-large", &["-DLW_MTU=1024", "-DLW_WINDOW=16"])] {
        let mut child = Command::new(program(name, &["tests/golden.c"], defines))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("it listens");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn topics_are_declared_and_messages_pass_both_ways_on_every_lane() {
    for baud in [9_600, 115_200, 3_000_000] {
        let mut rig = open(baud, true, 1);
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

#[test]
fn an_idle_session_stays_open_and_clocks_may_wrap() {
    let mut rig = open(115_200, true, 2);
    rig.run_ms(60_000);
    assert_eq!((rig.device.count(CLOSED), &rig.host.ended[..]), (0, &[][..]));
}

/// Sends `count` numbered messages each way on lanes 1 and 2 of a line with this damage.
fn exchange(baud: u32, selective: bool, seed: u64, damage: Damage, count: u32) {
    let mut rig = open(baud, selective, seed);
    rig.damage(damage);
    let payload = |number: u32| {
        let rest = (4..4 + number % 60).map(|at| (number.wrapping_mul(at | 1) >> 5) as u8);
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

#[test]
fn reliable_lanes_are_complete_and_in_order_over_a_lossy_line() {
    let bad = Damage { flip: 2e-4, drop: 1e-4, ..Damage::default() };
    let worse = Damage { flip: 2e-4, drop: 5e-4, insert: 1e-4, burst: 1e-4 };
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
        exchange(baud, selective, seed as u64 + 10, damage, 300);
    }
}
