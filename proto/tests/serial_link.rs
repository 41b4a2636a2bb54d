//! Two ends over a line that damages what passes: nothing wrong is ever delivered, and reliable lanes lose nothing.

mod serial;

use laneway_proto::serial::hello::Role;
use laneway_proto::serial::link::Outcome;
use laneway_proto::time::Duration;

use serial::end::{End, setup};
use serial::line::Damage;
use serial::{Line, START};

fn ends(baud: u32, mtu: u16, window: u8, selective: bool) -> [End; 2] {
    [Role::Host, Role::Device].map(|role| End::new(START, setup(role, baud, mtu, window, selective), role as u32 + 7))
}

fn open(baud: u32, mtu: u16, window: u8, selective: bool, seed: u64) -> Line {
    let mut line = Line::new(baud, seed, ends(baud, mtu, window, selective));
    let until = START + Duration::from_millis(500);
    assert!(line.run_until(until, |line| line.ends.iter().all(|end| end.link.is_open())), "a good line opens");
    line
}

#[test]
fn both_ends_open_and_every_lane_carries_messages_of_every_size_both_ways() {
    let mut line = open(115_200, 96, 4, true, 1);
    for at in 0..2 {
        for lane in 1..6 {
            for bytes in [9, 10, 95, 96, 97, 192, 193, 400] {
                line.ends[at].publish(line.now, lane, bytes);
            }
        }
    }
    line.run_ms(3_000);
    for at in 0..2 {
        assert_eq!(line.ends[at].received.len(), 40, "end {at}");
        let other = &line.ends[1 - at].store;
        assert_eq!((line.ends[1 - at].unsent(), other.outcomes.len()), (0, 40));
        let outcome = |lane| if matches!(lane, 3 | 4) { Outcome::Sent } else { Outcome::Arrived };
        assert!(other.outcomes.iter().all(|((lane, _), given)| *given == outcome(*lane)), "{:?}", other.outcomes);
        assert_eq!(line.ends[at].link.counters().repeated, 0, "on a line without errors");
    }
}

#[test]
fn reliable_lanes_deliver_everything_once_over_a_bad_line_and_unreliable_ones_nothing_wrong() {
    for (selective, seed) in [(true, 1), (true, 2), (false, 3), (false, 4)] {
        let mut line = open(115_200, 96, 4, selective, seed);
        line.damage(Damage { flip: 2e-4, drop: 5e-4, insert: 1e-4, burst: 1e-4 });
        for round in 0..100 {
            for at in 0..2 {
                for lane in 1..6 {
                    line.ends[at].publish(line.now, lane, 20 + round);
                }
            }
        }
        let until = line.now + Duration::from_millis(60_000);
        let done = line.run_until(until, |line| line.ends.iter().all(|end| end.unsent() == 0));
        println!("seed {seed}: {:?}", line.ends[0].link.counters());
        assert!(done, "seed {seed}: everything is acknowledged within a minute");
        for end in &line.ends {
            assert_eq!(end.ended, [], "seed {seed}");
            for lane in [1, 2, 5] {
                let count = end.received.iter().filter(|(_, label)| label.lane == lane).count();
                assert_eq!(count, 100, "seed {seed}, lane {lane}");
            }
        }
    }
}

/// From now until a message published from now on has passed each way. One is published every 20 ms: what is under way
/// when a session ends is finished as `Maybe`, and not sent again.
fn flows_again(line: &mut Line) -> Duration {
    let start = line.now;
    let arrived = |line: &Line| {
        (0..2).all(|at| {
            let published = &line.ends[1 - at].store.published;
            line.ends[at].received.iter().rev().take_while(|(when, _)| *when >= start).any(|(_, label)| {
                label.lane == 1 && published.get(&(1, label.number)).is_some_and(|when| *when >= start)
            })
        })
    };
    for _ in 0..250 {
        for at in 0..2 {
            line.ends[at].publish(line.now, 1, 30);
        }
        if line.run_until(line.now + Duration::from_millis(20), arrived) {
            return line.now.since(start);
        }
    }
    panic!("nothing flows five seconds later: {:?}", line.ends);
}

#[test]
fn a_reset_at_every_byte_of_a_frame_heals_by_itself() {
    for (baud, bound_ms) in [(9_600, 1_000), (115_200, 500), (921_600, 500)] {
        let byte_ns = 10_000_000_000 / u64::from(baud);
        let mut worst = Duration::ZERO;
        // 16 bytes of payload are 27 on the line.
        for (who, offset) in (0..2).flat_map(|who| (0..=27).map(move |offset| (who, offset))) {
            let mut line = open(baud, 96, 4, true, 9);
            line.run_ms(400);
            line.ends[who].publish(line.now, 1, 16);
            line.run_until(line.now + Duration(byte_ns * offset), |_| false);
            line.reset(who, 1_000 + offset as u32);
            worst = worst.max(flows_again(&mut line));
            assert!(line.ends[1 - who].ended.len() <= 1, "{:?}", line.ends[1 - who].ended);
        }
        println!("{baud}: {worst:?}");
        assert!(worst <= Duration::from_millis(bound_ms), "{baud} baud: {worst:?}");
    }
}

#[test]
fn both_may_be_reset_in_either_order_and_a_session_that_is_silent_is_given_up() {
    for (first, gap_ms) in [(0, 0), (1, 0), (0, 3), (1, 3), (0, 300), (1, 300)] {
        let mut line = open(115_200, 96, 4, true, 5);
        line.run_ms(100);
        line.reset(first, 77);
        line.run_ms(gap_ms);
        line.reset(1 - first, 78);
        assert!(flows_again(&mut line) <= Duration::from_millis(500), "{first} first, {gap_ms} ms");
    }
    let mut line = open(115_200, 96, 4, true, 5);
    line.wires.iter_mut().for_each(|wire| wire.unplugged = true);
    line.run_ms(2_000);
    assert!(line.ends.iter().all(|end| !end.link.is_open() && end.ended.len() == 1), "{:?}", line.ends);
    line.wires.iter_mut().for_each(|wire| wire.unplugged = false);
    assert!(flows_again(&mut line) <= Duration::from_millis(500));
}

#[test]
fn garbage_of_any_length_before_between_and_inside_frames_delivers_nothing_wrong() {
    for (seed, bytes) in [1, 2, 3, 8, 27, 64, 254, 255, 1_000, 4_096, 10_000].into_iter().enumerate() {
        let mut line = Line::new(921_600, seed as u64, ends(921_600, 96, 4, true));
        line.wires.iter_mut().for_each(|wire| wire.garbage(START, bytes));
        assert!(flows_again(&mut line) <= Duration::from_millis(1_000), "{bytes} bytes before the first frame");
        line.run_ms(50);
        let now = line.now;
        line.wires.iter_mut().for_each(|wire| wire.garbage(now, bytes));
        assert!(flows_again(&mut line) <= Duration::from_millis(1_000), "{bytes} bytes between frames");
        line.damage(Damage { insert: 0.01, ..Damage::default() });
        for _ in 0..20 {
            flows_again(&mut line);
        }
    }
}
