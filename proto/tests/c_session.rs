//! What the C library tells its application, and what it does at the edges of a session: refusals, filters, farewells,
//! messages that cannot be sent.

mod device;
mod serial;

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use laneway_proto::error::CloseCode;
use laneway_proto::frame::lost::LossReason;
use laneway_proto::serial::control::Control;
use laneway_proto::serial::link::Ended;

use device::build::{library, program, run};
use device::host::Wanted;
use device::process::{CLOSED, DROPPED, Device, LOST, MAYBE, NAMED, OPENED, RESULT, Told};
use device::rig::Rig;

const BAUD: u32 = 115_200;

fn c_device() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| program("c-session", &["tests/host.c", "laneway.c"], &[]))
}

fn open() -> Rig {
    Rig::open(c_device(), BAUD, true, 1)
}

fn last(device: &Device, kind: u8) -> &Told {
    device.told.iter().rev().find(|told| told.kind == kind).unwrap_or_else(|| panic!("{kind}: {:?}", device.told))
}

#[test]
fn the_header_is_good_c_plus_plus() {
    let header = library().join("laneway.h");
    run(Command::new("c++").args(["-x", "c++", "-Wall", "-Wextra", "-Wpedantic", "-fsyntax-only"]).arg(header));
}

#[test]
fn a_subscription_is_answered_kept_and_taken_back() {
    let mut rig = open();
    rig.run_ms(50);
    let told = last(&rig.device, RESULT);
    assert_eq!((told.code, told.topic), (0, 0x4001), "the host said yes");
    rig.host.answer = 7;
    assert_eq!(rig.device.ask("s secret 1"), 0x4002);
    rig.wake_device();
    rig.run_ms(100);
    assert!(rig.host.wanted.contains(&Wanted { topic: 0x4002, filter: String::new(), retained: true }));
    let told = last(&rig.device, RESULT);
    assert_eq!((told.code, told.topic), (7, 0x4002), "and no");
    rig.device.ask("u 16385");
    rig.wake_device();
    rig.run_ms(100);
    assert!(rig.host.wanted.iter().all(|wanted| wanted.topic != 0x4001), "{:?}", rig.host.wanted);
    rig.device.ask("s down 0");
    rig.wake_device();
    rig.run_ms(100);
    assert!(rig.host.wanted.iter().any(|wanted| wanted.topic == 0x4001), "{:?}", rig.host.wanted);
}

#[test]
fn what_a_filter_matched_comes_under_the_hosts_ids_whose_names_are_told() {
    let mut rig = open();
    assert_ne!(rig.device.ask("s house/+/lamp 0"), 0);
    rig.wake_device();
    rig.run_ms(100);
    let expected = Wanted { topic: 0, filter: "house/+/lamp".into(), retained: false };
    assert!(rig.host.wanted.contains(&expected), "{:?}", rig.host.wanted);
    let now = rig.now;
    rig.host.control(now, &Control::Topic { topic: 0x8005, retain: false, name: b"house/attic/lamp" });
    rig.run_ms(50);
    let now = rig.now;
    rig.host.publish(now, 1, 0x8005, b"on");
    // On a topic of the device that it does not subscribe to by itself.
    rig.host.publish(now, 1, 0x4000, b"echo");
    rig.run_ms(100);
    let named = last(&rig.device, NAMED);
    assert_eq!((named.topic, named.text.as_str()), (0x8005, "house/attic/lamp"));
    let received: Vec<_> = rig.device.received.iter().map(|got| (got.topic, &got.payload[..])).collect();
    assert_eq!(received, [(0x8005, &b"on"[..]), (0x4000, b"echo")]);
}

#[test]
fn a_device_that_is_refused_waits_and_one_that_says_goodbye_is_silent() {
    let mut rig = open();
    rig.run_ms(50);
    let now = rig.now;
    rig.host.link.close(now, CloseCode::Denied);
    rig.host_is_dead = true;
    // Only its RESET, behind two zeros: a HELLO would end the wait.
    let farewell = rig.host.service(now);
    let end = 3 + farewell[2..].iter().position(|&byte| byte == 0).expect("a frame");
    rig.wires[0].send(now, &farewell[..end]);
    rig.run_ms(100);
    assert_eq!((last(&rig.device, CLOSED).code, rig.device.is_open), (9, false));
    let busy = rig.wires[1].busy;
    rig.run_ms(4_800);
    assert_eq!(rig.wires[1].busy, busy, "five seconds of silence");
    rig.run_ms(300);
    assert!(rig.wires[1].busy > busy, "then it asks again");
    rig.host_is_dead = false;
    rig.reset_host(3);
    assert!(rig.run_until(500, |rig| rig.device.is_open && rig.host.link.is_open()));

    rig.device.ask("d 1");
    rig.wake_device();
    rig.run_ms(50);
    assert_eq!(rig.host.ended.last(), Some(&Ended::PeerReset(1)), "the host is told of the shutdown");
    let busy = rig.wires[1].busy;
    rig.run_ms(2_000);
    assert_eq!((rig.wires[1].busy, rig.device.is_open), (busy, false), "nothing more is said");
    let now = rig.device_us();
    rig.device.ask(&format!("c {now}"));
    rig.wake_device();
    assert!(rig.run_until(500, |rig| rig.device.is_open && rig.host.link.is_open()));
}

#[test]
fn what_a_session_left_open_is_told_and_what_was_not_sent_waits_for_the_next() {
    let mut rig = open();
    rig.run_ms(50);
    rig.host_is_dead = true;
    for number in 0..2 {
        assert!(rig.device_publish(1, &[number]));
    }
    assert!(!rig.device_publish(1, &[9]), "the lane is full");
    rig.run_ms(2_000);
    assert_eq!((rig.device.count(CLOSED), rig.device.count(MAYBE)), (1, 2), "the silence was noticed");
    // Without a session: reliable lanes and the newest state wait, a stream does not.
    assert_eq!(rig.device.publish(1, &[20]), 0);
    assert_eq!(rig.device.publish(3, &[30]), 0);
    assert_eq!(rig.device.publish(3, &[31]), 0);
    assert_eq!(rig.device.publish(4, &[40]), 5);
    assert_eq!(rig.device.ask("p 7 16384 00"), 3, "no such lane");
    assert_eq!(rig.device.ask("p 1 16399 00"), 4, "no such topic");
    assert_eq!(rig.device.publish(1, &[0; 97]), 2, "more than a frame");
    rig.host_is_dead = false;
    rig.reset_host(8);
    rig.host.received.clear();
    rig.run_ms(1_000);
    let mut received = rig.host.received.clone();
    received.sort();
    assert_eq!(received, [(1, 0x4000, vec![20]), (3, 0x4000, vec![31])]);
}

#[test]
fn a_host_with_small_frames_or_without_a_lane_drops_nothing_silently() {
    let mut rig = Rig::new(c_device(), BAUD, true, 4);
    rig.host.set_mtu(32);
    rig.reset_host(2);
    let long = "a-name-that-takes-more-bytes-than-there-are";
    let id = rig.device.ask(&format!("t {long}"));
    assert_eq!(rig.device.ask(&format!("p 1 {id} 00")), 0, "nobody knows the host yet");
    assert_eq!(rig.device.publish(2, &[1; 40]), 0);
    assert_eq!(rig.device.publish(2, &[1; 20]), 0);
    rig.wake_device();
    rig.run_ms(1_000);
    let told = last(&rig.device, RESULT);
    assert!(
        rig.device.told.iter().any(|told| told.kind == RESULT && told.code == 8 && told.topic == id as u16),
        "{told:?}"
    );
    assert_eq!(rig.device.count(DROPPED), 2, "the message on that topic, and the one of 40 bytes");
    assert_eq!(rig.host.received, [(2, 0x4000, vec![1; 20])]);
    assert_eq!(rig.device.ask(&format!("p 1 {id} 00")), 4);
    assert_eq!(rig.device.publish(2, &[1; 33]), 2);
}

#[test]
fn losses_are_told_and_gaps_of_unreliable_lanes_counted() {
    let mut rig = open();
    let now = rig.now;
    rig.host.control(now, &Control::Lost { lane: 3, reason: LossReason::Conflated, count: 70_000 });
    rig.run_ms(50);
    let told = last(&rig.device, LOST);
    assert_eq!((told.lane, told.code, told.count), (3, 5, 70_000));
    for number in 0..6 {
        rig.wires[0].unplugged = (2..5).contains(&number);
        let now = rig.now;
        rig.host.publish(now, 4, 0x4001, &[number]);
        rig.run_ms(20);
    }
    let received: Vec<_> = rig.device.received.iter().map(|got| (got.payload[0], got.missed)).collect();
    assert_eq!(received, [(0, 0), (1, 0), (5, 3)]);
}

#[test]
fn a_host_that_breaks_a_rule_loses_the_session_and_gets_another() {
    let mut rig = open();
    // An id of the device's range is not the host's to bind.
    let now = rig.now;
    rig.host.control(now, &Control::Topic { topic: 0x4000, retain: false, name: b"yours" });
    assert!(rig.run_until(500, |rig| rig.device.count(CLOSED) == 1));
    assert_eq!(last(&rig.device, CLOSED).code, 2);
    // `malformed` does not help to try again: the host is silent for a while, but the device's HELLO ends that.
    assert!(rig.run_until(500, |rig| rig.device.count(OPENED) == 2 && rig.host.link.is_open()));
    assert_eq!(rig.host.ended.last(), Some(&Ended::PeerReset(2)));
}

#[test]
fn every_size_of_the_library_works() {
    for (name, defines) in [
        ("c-small", &["-DLW_MTU=32", "-DLW_WINDOW=1", "-DLW_TOPICS=2"][..]),
        ("c-odd", &["-DLW_MTU=100", "-DLW_WINDOW=3", "-DLW_TOPICS=3"]),
        ("c-large", &["-DLW_MTU=1024", "-DLW_WINDOW=16", "-DLW_TOPICS=255"]),
    ] {
        let program = program(name, &["tests/host.c", "laneway.c"], defines);
        let mut rig = Rig::open(&program, 921_600, true, 5);
        rig.damage(serial::line::Damage { drop: 1e-3, ..serial::line::Damage::default() });
        let mut next = 0;
        let done = rig.run_until(20_000, |rig| {
            if next < 200 && rig.device_publish(1, &[next as u8; 20]) {
                let now = rig.now;
                rig.host.publish(now, 1, 0x4001, &[next as u8; 20]);
                next += 1;
            }
            rig.device.received.len() == 200 && rig.host.received.len() == 200
        });
        assert!(done, "{name}: {} {} {}", next, rig.device.received.len(), rig.host.received.len());
        let up: Vec<_> = rig.host.received.iter().map(|got| got.2[0]).collect();
        let down: Vec<_> = rig.device.received.iter().map(|got| got.payload[0]).collect();
        assert_eq!((&up, &down), (&(0..200).collect(), &(0..200).collect()), "{name}");
    }
}
