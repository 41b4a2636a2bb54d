//! How sessions over UDP begin: through loss, with cookies, and never with a longer answer.

mod udp;

use laneway_proto::datagram::session::accept::{self, Answer};
use laneway_proto::datagram::session::dial::{Dial, Reply};
use laneway_proto::header::{Header, Kind};
use laneway_proto::time::{Duration, Instant};
use udp::{Dice, Path, Wire};

fn control(body: &[u8]) -> Vec<u8> {
    [&Header { seq: 1, ..Header::new(Kind::CTRL, body.len()) }.encode()[..], body].concat()
}

/// A broker that asks for a cookie and keeps one session; how it went.
struct Outcome {
    opened: Option<(u32, usize)>,
    sessions: u32,
    ms: u64,
}

fn shake(seed: u64, path: Path, bytes: usize, carries: usize) -> Outcome {
    let mut dice = Dice::new(seed);
    let start = Instant(1_000_000_000);
    let (mut now, mut wires) = (start, [Wire::default(), Wire::default()]);
    let mut dial = Dial::new(now, 0x1234, 7, bytes);
    let (hello, welcome) = (control(b"hello"), control(b"welcome"));
    let mut known: Option<(u32, u16)> = None;
    let mut sessions = 0;
    let mut out = [0; 9_000];
    while now.since(start) < Duration::from_millis(20_000) {
        while let Some(datagram) = wires[0].take(now) {
            let Some(attempt) = accept::attempt(&datagram) else { continue };
            assert_eq!(attempt.hello, &hello[..]);
            let answer = if attempt.cookie != Some(99) {
                Answer::Cookie(99)
            } else {
                if known != Some((attempt.own, attempt.epoch)) {
                    known = Some((attempt.own, attempt.epoch));
                    sessions += 1;
                }
                Answer::Welcome { frame: &welcome, own: 0x505 }
            };
            let bytes = accept::answer(attempt.own, attempt.number, attempt.bytes, 3, answer, &mut out);
            let bytes = bytes.expect("it is no longer than the attempt");
            assert!(bytes <= datagram.len());
            if bytes <= carries {
                wires[1].put(now, path, &mut dice, &out[..bytes]);
            }
        }
        while let Some(datagram) = wires[1].take(now) {
            if let Reply::Welcome { frame, peer, epoch, bytes, rtt } = dial.on_datagram(now, &datagram) {
                assert_eq!((frame, epoch), (&welcome[..], 3));
                assert!(rtt >= Duration::from_micros(2 * path.delay_us));
                return Outcome { opened: Some((peer, bytes)), sessions, ms: now.since(start).as_millis() };
            }
        }
        while let Some(bytes) = dial.poll_transmit(now, &hello, &mut out) {
            assert!(bytes >= 1_200);
            if bytes <= carries {
                wires[0].put(now, path, &mut dice, &out[..bytes]);
            }
        }
        let next = [Some(dial.poll_timeout()), wires[0].next_at(), wires[1].next_at()];
        now = next.into_iter().flatten().min().unwrap_or(now).max(now + Duration(1));
    }
    Outcome { opened: None, sessions, ms: 20_000 }
}

#[test]
fn fifty_of_fifty_handshakes_succeed_at_thirty_percent_loss_both_ways() {
    let path = Path { loss_percent: 30.0, double_percent: 5.0, delay_us: 300, jitter_us: 2_000, ..Path::CLEAN };
    let mut slowest = 0;
    for seed in 1..=50 {
        let outcome = shake(seed, path, 1_472, 1_472);
        assert!(outcome.opened.is_some(), "seed {seed}: no session");
        assert_eq!(outcome.sessions, 1, "seed {seed}: one session, however often HELLO arrives");
        slowest = slowest.max(outcome.ms);
    }
    println!("the slowest took {slowest} ms");
}

#[test]
fn datagrams_become_as_short_as_the_path_needs() {
    let path = Path { delay_us: 300, ..Path::default() };
    for (first, carries, expected) in [(8_972, 9_000, 8_972), (8_972, 1_500, 1_472), (1_472, 1_300, 1_200)] {
        let outcome = shake(1, path, first, carries);
        assert_eq!(outcome.opened, Some((0x505, expected)), "{first} on a path that carries {carries}");
    }
}

#[test]
fn answers_of_others_and_short_attempts_are_nothing() {
    let now = Instant(5);
    let mut dial = Dial::new(now, 0x1234, 7, 1_200);
    let mut out = [0; 1_500];
    let (hello, reject) = (control(b"hello"), control(b"reject"));
    let bytes = dial.poll_transmit(now, &hello, &mut out).expect("the first HELLO");
    assert_eq!(dial.poll_transmit(now, &hello, &mut out), None, "the second one is not due");
    assert!(accept::attempt(&out[..bytes]).is_some());
    assert_eq!(accept::attempt(&out[..bytes - 1]), None, "shorter than any path");
    let mut answer = |peer, number| {
        let mut out = [0; 1_500];
        let bytes = accept::answer(peer, number, 1_200, 3, Answer::Reject(&reject), &mut out).expect("it fits");
        dial.on_datagram(now, &out[..bytes]) == Reply::Reject(&reject)
    };
    assert!(!answer(0x1235, 1) && !answer(0x1234, 2) && !answer(0x1234, 0) && answer(0x1234, 1));
    let long = control(&[0; 1_300]);
    assert_eq!(accept::answer(1, 1, 1_200, 3, Answer::Reject(&long), &mut out), None);
}
